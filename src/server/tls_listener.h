/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls_listener: TCP and TLS.
 *
 * Threads: all but what a connection's own thread does is called on the
 * accepting thread, or before it runs and after it has ended.
 * Ownership: embedded in the server.
 * Limits: LISTEN_MAX addresses; max-handshakes handshakes at once.
 */
#ifndef PCAPD_SERVER_TLS_LISTENER_H
#define PCAPD_SERVER_TLS_LISTENER_H

#include "control/captures.h"

#include <pthread.h>

struct server;
struct allow;
struct ssl_ctx_st;

#define LISTEN_MAX OWN_CONNECTIONS_LISTENERS_MAX

struct tls_listener {
	struct allow *allow; /* NULL: nobody listens */
	struct config config;
	int fds[LISTEN_MAX];
	unsigned n_fds;
	pthread_mutex_t lock; /* guards everything below */
	struct ssl_ctx_st *context;
	int64_t files_ns[3]; /* when they were changed */
	bool files_failed;   /* they are tried again */
};

bool tls_listener_open(struct server *s, const struct config *c, struct err *e);
/* A connection waits at fd. On the accepting thread. */
void tls_listener_accept(struct server *s, int fd);
/* What was changed in the files since. On the accepting thread. */
void tls_listener_look(struct server *s);
/* Nobody can connect any more. */
void tls_listener_shut(struct server *s);
void tls_listener_close(struct server *s);

#endif
