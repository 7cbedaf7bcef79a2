/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * call: one call, from the moment that gRPC hands it out until nobody uses it
 * any more.
 *
 * Threads: any. One SEND_MESSAGE is under way at a time: messages wait in the
 * call's outbox, and whoever finds nobody sending sends; when one has left, the
 * completion-queue thread sends the next. call.lock is not held while a batch
 * is started. Taking it after each event and before each batch is also what
 * orders memory between threads, as gRPC is a black box to the thread
 * sanitizer.
 * Ownership: calls are counted. Every operation that gRPC has under way holds a
 * reference, so does every thread, list and subscription that knows the call.
 */
#ifndef PCAPD_SERVER_CALL_H
#define PCAPD_SERVER_CALL_H

#include "base/err.h"
#include "server/audit.h"
#include "server/method.h"
#include "server/op.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <pthread.h>
#include <sys/queue.h>

struct peer;
struct server;

/* Of a message, but for those of an import. It is kept as long as its call. */
#define REQUEST_MAX (64u << 10)

struct message {
	STAILQ_ENTRY(message) entry;
	grpc_byte_buffer *bytes;
};

STAILQ_HEAD(messages, message);

/* How far it is; it only goes on. */
enum call_phase {
	CALL_AWAITED,	/* gRPC was asked for it */
	CALL_ARRIVED,	/* its request is waited for */
	CALL_STARTED,	/* method->start was called */
	CALL_FINISHING, /* the status follows what is in the outbox */
	CALL_FINISHED,	/* the status is on its way, or has left */
	CALL_LOST,	/* the peer was gone before */
};

struct call {
	struct server *server;
	struct peer *peer;
	const struct method *method; /* NULL until it is known */
	atomic_uint refs;
	grpc_call *grpc;
	grpc_call_details details;
	grpc_metadata_array metadata;
	struct op op_new, op_close, op_receive, op_send;
	ProtobufCMessage *request;
	int close_cancelled;	    /* gRPC writes it */
	grpc_byte_buffer *received; /* gRPC writes it */
	/* Under the server's lock. */
	LIST_ENTRY(call) entry;
	STAILQ_ENTRY(call) work_entry;
	bool bounded; /* counts against method->bound */

	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t news;  /* room in the outbox, a message, or the end */
	enum call_phase phase;
	struct messages outbox;
	unsigned outbox_count;
	size_t outbox_bytes;
	grpc_byte_buffer *sending_bytes;
	bool sending;	      /* somebody has the right to start a batch */
	bool greeted;	      /* initial metadata is sent */
	int64_t arrived_ns;   /* CLOCK_MONOTONIC */
	int64_t sending_ns;   /* since when a batch is under way; 0: none is */
	int64_t receiving_ns; /* since when a receive is; 0: none is */
	grpc_status_code status;
	grpc_slice status_text;
	grpc_metadata trailing[2]; /* details, and the hint */
	size_t n_trailing;
	uint64_t capture;  /* which it is about; 0: none, or not known yet */
	uint64_t excluded; /* control_exclude's number, while it streams */
	struct call_audit audit;
	void *state; /* its method's, by call_attach */
};

/* Asks gRPC for the next call of a peer. */
void call_request(struct peer *who);
struct call *call_ref(struct call *c);
/* For who has a pointer but no reference: false when the last one is gone. */
bool call_ref_living(struct call *c);
/* Ends calls whose request does not come, or whose client takes nothing, and
 * asks for the next call of who had to wait for memory. */
void calls_review(struct server *s);
/* It ends: who made it may not go on. */
void call_forbid(struct call *c, const char *why);
/* Who may see that capture has changed: calls of others about it end. */
void calls_restrict(struct server *s, uint64_t capture, const char *people);
void call_unref(struct call *c);

/* Takes bytes over in any case. */
void call_send(struct call *c, grpc_byte_buffer *bytes);
/* Between these, messages and the status only line up. Nobody else may be
 * sending messages: for who knows that the outbox is empty. False: the call is
 * over or about to be, whoever said so, and nothing is held. */
bool call_hold(struct call *c);
void call_release(struct call *c);
/* Waits for room; false: the call is over or the server stops, and nothing
 * was sent. */
bool call_send_wait(struct call *c, grpc_byte_buffer *bytes);
/* The status, after what is in the outbox. The first one counts. */
void call_finish(struct call *c, grpc_status_code status, const char *what,
		 const char *hint);
void call_fail(struct call *c, const struct err *e);
/* One message and OK: a unary call's answer. */
void call_answer(struct call *c, const ProtobufCMessage *m);
/* With the call's lock: nobody will read what is sent. */
static inline bool call_has_ended(const struct call *c)
{
	return c->phase > CALL_STARTED;
}
/* The same without it. */
bool call_is_over(struct call *c);
bool call_is_stopping(struct call *c);
void call_wake(struct call *c);
/* From here on the method's functions get it; NULL: it is gone. */
void call_attach(struct call *c, void *state);
/* Asks for another message, which goes to method->more. */
void call_receive(struct call *c);

#endif
