/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a capture tail to the queues of its listeners. Guarantees that a capture
 * thread spends a push and at most a wake on what it publishes, however many
 * listen, and that a listener has everything that is published after it joined
 * and nothing from before. Leaves out what a listener makes of it: see
 * listen.c.
 */
#include "server/broadcast.h"

#include <stdlib.h>

/* The listeners of one capture tail. There is one while there are any. */
struct broadcast {
	struct capture_tail *tail; /* its subscribers' */
	struct capture_tail_watch watch;
	struct slice_queue queue;

	/* Under the broadcasts' lock. */
	LIST_ENTRY(broadcast) entry;
	LIST_HEAD(, subscriber) subscribers;
	bool closed;
};

/* --- on a capture thread, under the capture tail's lock --- */

static void broadcast_on_published(void *ctx, const struct slice *s)
{
	struct broadcast *c = ctx;
	struct slice ours = *s;

	block_ref(ours.block);
	slice_queue_push(&c->queue, ours);
}

static void broadcast_on_closed(void *ctx)
{
	struct broadcast *c = ctx;

	slice_queue_close(&c->queue);
}

static void broadcast_on_wake(void *ctx)
{
	struct broadcasts *all = ctx;

	if (!atomic_exchange(&all->woken, true))
		sem_post(&all->work);
}

/* --- handing out; with the lock: nobody may overtake a slice --- */

static void broadcast_give(struct broadcast *c, struct slice s, uint64_t lost)
{
	struct subscriber *m;

	LIST_FOREACH(m, &c->subscribers, entry) {
		if (lost)
			slice_queue_push(&m->queue,
					 (struct slice){.packets = lost});
		block_ref(s.block);
		slice_queue_push(&m->queue, s);
	}
	block_unref(s.block);
}

/* false: there is nothing now. */
static bool hand_one(struct broadcast *c)
{
	struct slice s;
	struct subscriber *m;
	uint64_t lost = 0;
	int got = slice_queue_pop(&c->queue, &s, &lost);

	if (got > 0)
		broadcast_give(c, s, lost);
	if (got < 0 && !c->closed) {
		c->closed = true;
		LIST_FOREACH(m, &c->subscribers, entry)
			slice_queue_close(&m->queue);
	}
	return got > 0;
}

/* At least what was published until now, and not for ever. */
static void hand_all(struct broadcast *c)
{
	for (unsigned i = 0; i < BROADCAST_SLICES && hand_one(c); i++)
		;
}

/* true: there may be more. The lock is given back between: who joins or leaves
 * does not wait for a whole queue. */
static bool hand_round(struct broadcasts *all)
{
	struct broadcast *c;
	bool more = false;

	pthread_mutex_lock(&all->lock);
	LIST_FOREACH(c, &all->list, entry)
		more |= hand_one(c);
	pthread_mutex_unlock(&all->lock);
	return more;
}

void broadcasts_run(struct broadcasts *all)
{
	for (;;) {
		while (sem_wait(&all->work))
			; /* a signal */
		if (atomic_load(&all->stop))
			return;
		atomic_store(&all->woken, false);
		while (hand_round(all))
			;
	}
}

void broadcasts_stop(struct broadcasts *all)
{
	atomic_store(&all->stop, true);
	sem_post(&all->work);
}

void broadcasts_init(struct broadcasts *all)
{
	pthread_mutex_init(&all->lock, NULL);
	sem_init(&all->work, 0, 0);
}

void broadcasts_done(struct broadcasts *all)
{
	sem_destroy(&all->work);
	pthread_mutex_destroy(&all->lock);
}

/* --- who is in it; with the lock --- */

static struct broadcast *broadcast_new(struct broadcasts *all,
				       struct capture_tail *tail)
{
	struct broadcast *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	if (!slice_queue_init(&c->queue, BROADCAST_SLICES, broadcast_on_wake,
			      all)) {
		slice_queue_done(&c->queue);
		free(c);
		return NULL;
	}
	c->tail = tail;
	LIST_INSERT_HEAD(&all->list, c, entry);
	c->watch =
		(struct capture_tail_watch){.published = broadcast_on_published,
					    .closed = broadcast_on_closed,
					    .ctx = c};
	capture_tail_watch(tail, &c->watch);
	return c;
}

static void broadcast_free(struct broadcast *c)
{
	capture_tail_unwatch(c->tail, &c->watch);
	LIST_REMOVE(c, entry);
	slice_queue_done(&c->queue);
	free(c);
}

bool broadcast_join(struct broadcasts *all, struct capture_tail *tail,
		    struct subscriber *m)
{
	struct broadcast *c;

	pthread_mutex_lock(&all->lock);
	LIST_FOREACH(c, &all->list, entry) {
		if (c->tail == tail)
			break;
	}
	if (!c)
		c = broadcast_new(all, tail);
	if (c) {
		hand_all(c); /* is not for who comes now */
		m->broadcast = c;
		LIST_INSERT_HEAD(&c->subscribers, m, entry);
		if (c->closed)
			slice_queue_close(&m->queue);
	}
	pthread_mutex_unlock(&all->lock);
	return c != NULL;
}

void broadcast_close(struct broadcasts *all, struct subscriber *m)
{
	pthread_mutex_lock(&all->lock);
	if (m->broadcast)
		hand_all(m->broadcast);
	slice_queue_close(&m->queue);
	pthread_mutex_unlock(&all->lock);
}

bool broadcast_leave(struct broadcasts *all, struct subscriber *m)
{
	pthread_mutex_lock(&all->lock);
	struct broadcast *c = m->broadcast;
	if (c) {
		m->broadcast = NULL;
		LIST_REMOVE(m, entry);
		if (LIST_EMPTY(&c->subscribers))
			broadcast_free(c);
	}
	pthread_mutex_unlock(&all->lock);
	return c != NULL;
}
