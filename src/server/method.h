/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * method: what a method is: a row of `methods`, from its path to its end.
 *
 * Threads: each function says on which it is called. Events of gRPC arrive on
 * the completion-queue thread, which never waits. Whatever waits (catalog,
 * interfaces) runs on a worker; what waits for a filter to be compiled, or for
 * its client, on a thread of its own.
 * Ownership: the table is constant.
 */
#ifndef PCAPD_SERVER_METHOD_H
#define PCAPD_SERVER_METHOD_H

#include "server/admission.h"
#include "tls/allow.h"

#include <protobuf-c/protobuf-c.h>

struct call;

struct method {
	const char *path; /* "/package.Service/Method" */
	const ProtobufCMessageDescriptor *request;
	enum bound bound;
	enum role role; /* that it takes */
	bool audited;	/* from its beginning on */
	/* The first message is in call.request. On the completion-queue
	 * thread. */
	void (*start)(struct call *c);
	/* What start hands to a worker or to a thread of the call. */
	void (*run)(struct call *c);
	/* A later message, the callee's from here on; NULL at the end. On the
	 * completion-queue thread. NULL: there are none. */
	void (*more)(struct call *c, ProtobufCMessage *m);
	/* The outbox is empty and the call goes on. On the completion-queue
	 * thread. */
	void (*idle)(struct call *c);
	/* The call is over. On the completion-queue thread. */
	void (*closed)(struct call *c);
	/* The server stops: come to an end. On server_stop's thread. */
	void (*stop)(struct call *c);
	/* What call_attach gave. With the call's lock: nobody reads any more;
	 * and since when what goes beside the outbox is not taken (0: it is).
	 * Without it: nobody knows the call any more. */
	void (*over)(void *state);
	int64_t (*beside_ns)(const void *state);
	void (*free)(void *state);
};

extern const struct method methods[];
extern const size_t n_methods;
const struct method *method_find(const char *path, size_t n);

void start_on_worker(struct call *c);
void start_on_thread(struct call *c);

#endif
