/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server_internal: the server itself, which all its parts know.
 *
 * What: limits, threads, and lists of what is there.
 * Threads: as server.h says. Locks: see CONTRIBUTING.md.
 * Ownership: the server's parts are embedded. server_stop waits for every call
 * and every peer.
 */
#ifndef PCAPD_SERVER_SERVER_INTERNAL_H
#define PCAPD_SERVER_SERVER_INTERNAL_H

#include "server/admission.h"
#include "server/audit.h"
#include "server/broadcast.h"
#include "server/listen.h"
#include "server/peer.h"
#include "server/server.h"
#include "server/tls_listener.h"
#include "server/unix_listener.h"

#include <sys/queue.h>

struct call;

#define WORKERS 4

struct thread {
	pthread_t id;
	bool running;
};

struct server {
	struct control *control;
	atomic_uint limits[BOUNDS];
	atomic_uint max_peer_connections;
	atomic_uint max_streams; /* of one connection */
	atomic_uint max_message;
	atomic_uint queue_blocks; /* of a listener */
	atomic_uint request_timeout_s, send_timeout_s;
	atomic_bool stopping;
	grpc_completion_queue *cq;
	struct block_pool *pool; /* for what filters and snaplens copy */
	struct unix_listener unix_listener;
	struct tls_listener tls_listener;
	struct broadcasts broadcasts;
	struct listen_pump pump;
	struct thread accept_thread, cq_thread, broadcast_thread, pump_thread;
	struct thread workers[WORKERS];

	pthread_mutex_t lock;	/* guards everything below */
	pthread_cond_t changed; /* calls, peers */
	pthread_cond_t work_ready;
	LIST_HEAD(, call) calls;
	LIST_HEAD(, peer) peers;
	unsigned n_peers, n_places[PLACES];
	LIST_HEAD(, person) persons;
	struct places places[BOUNDS];
	struct audit_refusals refusals;
	STAILQ_HEAD(, call) work;
	bool workers_stop;
};

/* imports: it may get messages of more than REQUEST_MAX. */
grpc_server *server_make_grpc(struct server *s, bool imports);
/* The next call of one, NULL: of all, with a reference; c: NULL, or the one
 * before, whose reference is given back. Who comes meanwhile may be left out.
 */
struct call *server_next_call(struct server *s, const struct peer *of,
			      struct call *c);

/* The call joins the server's list; false: over its method's bound. */
bool server_admit(struct server *s, struct call *c, struct err *e);
void server_enlist(struct server *s, struct call *c);
void server_dismiss(struct server *s, struct call *c);
/* A thread that nobody joins, with so much stack (0: the usual). false: errno
 * says why. */
bool server_thread(void *(*body)(void *), void *arg, size_t stack_bytes);

#endif
