/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who reads. Guarantees that a reader gets all of a segment that it has begun,
 * or is told. Leaves out what goes: retention.c.
 */
#include "store/readers.h"

#include <pthread.h>
#include <stdlib.h>

struct readers {
	pthread_mutex_t lock; /* guards everything below */
	LIST_HEAD(, reader) all;
};

struct readers *readers_new(void)
{
	struct readers *l = calloc(1, sizeof(*l));

	if (l)
		pthread_mutex_init(&l->lock, NULL);
	return l;
}

void readers_free(struct readers *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void readers_add(struct readers *l, struct reader *r)
{
	pthread_mutex_lock(&l->lock);
	LIST_INSERT_HEAD(&l->all, r, link);
	pthread_mutex_unlock(&l->lock);
}

void readers_remove(struct readers *l, struct reader *r)
{
	pthread_mutex_lock(&l->lock);
	LIST_REMOVE(r, link);
	pthread_mutex_unlock(&l->lock);
}

bool readers_hold(struct readers *l, struct reader *r, uint64_t segment,
		  uint64_t last)
{
	pthread_mutex_lock(&l->lock);
	/* Again the one that it holds: it has more blocks, or not. */
	bool ok = r->held == segment || r->position <= last;
	if (r->held != segment) {
		r->held = ok ? segment : 0;
		r->held_gone = 0;
	}
	if (ok && r->position <= last)
		r->position = last + 1;
	pthread_mutex_unlock(&l->lock);
	return ok;
}

void readers_pass(struct readers *l, struct reader *r, uint64_t position)
{
	pthread_mutex_lock(&l->lock);
	if (position > r->position)
		r->position = position;
	pthread_mutex_unlock(&l->lock);
}

uint64_t readers_expired(struct readers *l, struct reader *r)
{
	pthread_mutex_lock(&l->lock);
	uint64_t packets = r->expired;
	r->expired = 0;
	pthread_mutex_unlock(&l->lock);
	return packets;
}

void readers_tell(struct readers *l, const struct removed_segment *v)
{
	pthread_mutex_lock(&l->lock);
	struct reader *r;
	LIST_FOREACH(r, &l->all, link) {
		if (r->capture != v->capture || v->first_seq > r->end_seq)
			continue;
		if (r->held == v->first_seq) {
			r->held_gone = v->bytes;
		} else if (r->position <= v->last_seq) {
			r->position = v->last_seq + 1;
			if (v->max_ns >= r->since_ns && v->min_ns < r->until_ns)
				r->expired += v->packets;
		}
	}
	pthread_mutex_unlock(&l->lock);
}

uint64_t readers_held_bytes(struct readers *l)
{
	uint64_t sum = 0;

	pthread_mutex_lock(&l->lock);
	const struct reader *r;
	LIST_FOREACH(r, &l->all, link) {
		const struct reader *same;

		LIST_FOREACH(same, &l->all, link)
			if (same == r || (same->capture == r->capture &&
					  same->held == r->held))
				break;
		if (same == r)
			sum += r->held_gone;
	}
	pthread_mutex_unlock(&l->lock);
	return sum;
}
