/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * broadcast: from a capture tail to the queues of its listeners.
 *
 * Threads: any; a capture thread's part is a push and at most a wake.
 * Ownership: a subscriber is its listener's, and in a broadcast between
 * broadcast_join and broadcast_leave. A broadcast is there while it has any.
 * Limits: BROADCAST_SLICES slices of a capture wait to be handed out; more are
 * lost for all of its listeners, which are told.
 */
#ifndef PCAPD_SERVER_BROADCAST_H
#define PCAPD_SERVER_BROADCAST_H

#include "packet/capture_tail.h"
#include "packet/slice_queue.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/queue.h>

/* That wait to be handed out to the listeners of one capture tail. */
#define BROADCAST_SLICES 32

struct broadcast;

struct subscriber {
	struct slice_queue queue;
	/* Under the broadcasts' lock. */
	struct broadcast *broadcast; /* NULL: it is in none */
	LIST_ENTRY(subscriber) entry;
};

struct broadcasts {
	sem_t work;
	atomic_bool woken, stop;
	pthread_mutex_t lock; /* guards everything below, and handing out */
	LIST_HEAD(, broadcast) list;
};

void broadcasts_init(struct broadcasts *all);
void broadcasts_done(struct broadcasts *all); /* all have left */
/* Hands out until broadcasts_stop, on a thread of the server. */
void broadcasts_run(struct broadcasts *all);
void broadcasts_stop(struct broadcasts *all);
/* From here on m->queue gets what is published; it is closed with the capture
 * tail. A slice without a block is packets that all listeners of the capture
 * tail lost. The tail has to stay until m leaves. false: out of memory. */
bool broadcast_join(struct broadcasts *all, struct capture_tail *tail,
		    struct subscriber *m);
/* Closes the queue behind what is published already. */
void broadcast_close(struct broadcasts *all, struct subscriber *m);
/* After it returns nothing is pushed. false: it was in no broadcast. */
bool broadcast_leave(struct broadcasts *all, struct subscriber *m);

#endif
