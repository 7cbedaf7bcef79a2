/*
 * From a feed to the queues of its listeners. Guarantees that a capture thread
 * spends a push and at most a wake on what it publishes, however many listen,
 * and that a listener has everything that is published after it joined and
 * nothing from before. Leaves out what a listener makes of it: see listen.c.
 */
#include "server/server_internal.h"

#include <stdlib.h>

/* The listeners of one feed. There is one while there are any. */
struct crowd {
	struct feed *feed; /* its members' */
	struct feed_watch watch;
	struct queue queue;

	/* Under the crowds' lock. */
	struct crowd *next, **link;
	struct member *members;
	bool closed;
};

/* --- on a capture thread, under the feed's lock --- */

static void on_published(void *ctx, const struct slice *s)
{
	struct crowd *c = ctx;
	struct slice ours = *s;

	block_ref(ours.block);
	queue_push(&c->queue, ours);
}

static void on_closed(void *ctx)
{
	struct crowd *c = ctx;

	queue_close(&c->queue);
}

static void on_wake(void *ctx)
{
	struct crowds *all = ctx;

	if (!atomic_exchange(&all->woken, true))
		sem_post(&all->work);
}

/* --- handing out; with the lock: nobody may overtake a slice --- */

static void give(struct crowd *c, struct slice s, uint64_t lost)
{
	for (struct member *m = c->members; m; m = m->next) {
		if (lost)
			queue_push(&m->queue, (struct slice){.packets = lost});
		block_ref(s.block);
		queue_push(&m->queue, s);
	}
	block_unref(s.block);
}

/* false: there is nothing now. */
static bool hand_one(struct crowd *c)
{
	struct slice s;
	uint64_t lost = 0;
	int got = queue_pop(&c->queue, &s, &lost);

	if (got > 0)
		give(c, s, lost);
	if (got < 0 && !c->closed) {
		c->closed = true;
		for (struct member *m = c->members; m; m = m->next)
			queue_close(&m->queue);
	}
	return got > 0;
}

/* At least what was published until now, and not for ever. */
static void hand_all(struct crowd *c)
{
	for (unsigned i = 0; i < CROWD_SLICES && hand_one(c); i++)
		;
}

/* true: there may be more. The lock is given back between: who joins or leaves
 * does not wait for a whole queue. */
static bool hand_round(struct crowds *all)
{
	bool more = false;

	pthread_mutex_lock(&all->lock);
	for (struct crowd *c = all->first; c; c = c->next)
		more |= hand_one(c);
	pthread_mutex_unlock(&all->lock);
	return more;
}

void crowds_run(struct crowds *all)
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

void crowds_stop(struct crowds *all)
{
	atomic_store(&all->stop, true);
	sem_post(&all->work);
}

void crowds_init(struct crowds *all)
{
	pthread_mutex_init(&all->lock, NULL);
	sem_init(&all->work, 0, 0);
}

void crowds_done(struct crowds *all)
{
	sem_destroy(&all->work);
	pthread_mutex_destroy(&all->lock);
}

/* --- who is in it; with the lock --- */

static struct crowd *crowd_new(struct crowds *all, struct feed *feed)
{
	struct crowd *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	if (!queue_init(&c->queue, CROWD_SLICES, on_wake, all)) {
		queue_done(&c->queue);
		free(c);
		return NULL;
	}
	c->feed = feed;
	c->next = all->first;
	c->link = &all->first;
	if (c->next)
		c->next->link = &c->next;
	all->first = c;
	c->watch = (struct feed_watch){on_published, on_closed, c, NULL, NULL};
	feed_watch(feed, &c->watch);
	return c;
}

static void crowd_free(struct crowd *c)
{
	feed_unwatch(c->feed, &c->watch);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	queue_done(&c->queue);
	free(c);
}

bool crowd_join(struct crowds *all, struct feed *feed, struct member *m)
{
	pthread_mutex_lock(&all->lock);
	struct crowd *c = all->first;
	while (c && c->feed != feed)
		c = c->next;
	if (!c)
		c = crowd_new(all, feed);
	if (c) {
		hand_all(c); /* is not for who comes now */
		m->crowd = c;
		m->next = c->members;
		m->link = &c->members;
		if (m->next)
			m->next->link = &m->next;
		c->members = m;
		if (c->closed)
			queue_close(&m->queue);
	}
	pthread_mutex_unlock(&all->lock);
	return c != NULL;
}

void crowd_close(struct crowds *all, struct member *m)
{
	pthread_mutex_lock(&all->lock);
	if (m->crowd)
		hand_all(m->crowd);
	queue_close(&m->queue);
	pthread_mutex_unlock(&all->lock);
}

bool crowd_leave(struct crowds *all, struct member *m)
{
	pthread_mutex_lock(&all->lock);
	struct crowd *c = m->crowd;
	if (c) {
		m->crowd = NULL;
		*m->link = m->next;
		if (m->next)
			m->next->link = m->link;
		if (!c->members)
			crowd_free(c);
	}
	pthread_mutex_unlock(&all->lock);
	return c != NULL;
}
