/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queue between whoever has packets and one stream. Guarantees a bound on
 * memory and an exact count of what was dropped. Leaves out fairness between
 * streams: each has its own queue.
 */
#include "packet/slice_queue.h"

#include <assert.h>
#include <stdlib.h>

bool slice_queue_init(struct slice_queue *q, unsigned room,
		      void (*wake)(void *ctx), void *ctx)
{
	memset(q, 0, sizeof(*q));
	q->wake = wake;
	q->ctx = ctx;
	q->room = room;
	pthread_mutex_init(&q->lock, NULL);
	q->ring = calloc(room, sizeof(*q->ring));
	return q->ring != NULL;
}

void slice_queue_done(struct slice_queue *q)
{
	for (; q->count; q->count--) {
		block_unref(q->ring[q->head].block);
		q->head = (q->head + 1) % q->room;
	}
	free(q->ring);
	pthread_mutex_destroy(&q->lock);
}

static struct slice *slice_queue_newest(struct slice_queue *q)
{
	return q->count ? &q->ring[(q->head + q->count - 1) % q->room] : NULL;
}

static bool slice_queue_join(struct slice_queue *q, const struct slice *s)
{
	struct slice *last = slice_queue_newest(q);

	if (!last || last->block != s->block || last->to != s->from ||
	    s->to - last->from > SLICE_MAX)
		return false;
	last->to = s->to;
	last->packets += s->packets;
	return true;
}

static void slice_queue_append(struct slice_queue *q, struct slice s)
{
	assert(q->count < q->room);
	q->ring[(q->head + q->count++) % q->room] = s;
}

void slice_queue_push(struct slice_queue *q, struct slice s)
{
	struct block *gone = NULL;

	pthread_mutex_lock(&q->lock);
	if (q->closed || slice_queue_join(q, &s)) {
		gone = s.block;
	} else {
		if (q->count == q->room) {
			gone = q->ring[q->head].block;
			q->lost_packets += q->ring[q->head].packets;
			q->head = (q->head + 1) % q->room;
			q->count--;
		}
		slice_queue_append(q, s);
	}
	pthread_mutex_unlock(&q->lock);
	block_unref(gone);
	q->wake(q->ctx);
}

int slice_queue_pop(struct slice_queue *q, struct slice *s,
		    uint64_t *lost_packets)
{
	int got = 0;

	pthread_mutex_lock(&q->lock);
	if (q->count) {
		*s = q->ring[q->head];
		*lost_packets = q->lost_packets;
		q->lost_packets = 0;
		q->head = (q->head + 1) % q->room;
		q->count--;
		got = 1;
	} else if (q->closed) {
		got = -1;
	}
	pthread_mutex_unlock(&q->lock);
	return got;
}

void slice_queue_close(struct slice_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_mutex_unlock(&q->lock);
	q->wake(q->ctx);
}
