/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * listen: the method Listen, and the thread that filters for its listeners.
 *
 * Threads: pump_run is the filtering thread; the method's functions are called
 * as method.h says.
 * Ownership: a listener is its call's.
 */
#ifndef PCAPD_SERVER_LISTEN_H
#define PCAPD_SERVER_LISTEN_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

struct call;
struct listener;
struct server;

struct listen_pump {
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t work;
	STAILQ_HEAD(, listener) ready;
	bool stop;
};

void run_listen(struct call *c);
void listen_idle(struct call *c);
void listen_closed(struct call *c);
void listen_stop(struct call *c);
void pump_run(struct server *s);
void pump_stop(struct server *s);
void listener_free(void *state);

#endif
