/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The in-memory end of a capture. Guarantees that between capture_tail_open and
 * capture_tail_release a block can be found, that sequence numbers have no
 * holes, and that a watch gets every slice after it was registered. Leaves out
 * any policy about what to do when there is no room.
 */
#include "packet/capture_tail.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* What a producer may fill while the writer waits for the disk. */
#define WARM_BLOCKS 32

struct capture_tail {
	uint64_t capture;
	unsigned max_blocks;
	bool waits; /* the producer, for room */
	struct block_pool *pool;
	atomic_uint refs;
	atomic_ullong losses;
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t sealed, room;
	struct block **ring; /* max_blocks places */
	unsigned head, count;
	uint64_t next_seq; /* of the block after the newest in ring */
	uint64_t bound;	   /* of the blocks that may be given */
	LIST_HEAD(, capture_tail_watch) watches;
	bool nudged, closed;
	bool full; /* the disk: nothing is given at the bound for long */
};

void loss_add(struct loss *l, uint64_t packets, int64_t from_ns, int64_t to_ns)
{
	if (!packets)
		return;
	if (!l->packets || from_ns < l->from_ns)
		l->from_ns = from_ns;
	if (!l->packets || to_ns > l->to_ns)
		l->to_ns = to_ns;
	l->packets += packets;
}

struct capture_tail *capture_tail_new(uint64_t capture, uint64_t next_seq,
				      unsigned max_blocks)
{
	struct capture_tail *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->ring = calloc(max_blocks, sizeof(*f->ring));
	f->pool = block_pool_new(max_blocks);
	if (!f->ring || !f->pool) {
		block_pool_unref(f->pool);
		free(f->ring);
		free(f);
		return NULL;
	}
	f->capture = capture;
	f->next_seq = next_seq;
	f->bound = UINT64_MAX;
	f->max_blocks = max_blocks;
	atomic_init(&f->refs, 1);
	atomic_init(&f->losses, 0);
	pthread_mutex_init(&f->lock, NULL);
	cond_init(&f->sealed);
	cond_init(&f->room);
	return f;
}

struct capture_tail *capture_tail_new_waiting(uint64_t capture,
					      uint64_t next_seq,
					      unsigned max_blocks)
{
	struct capture_tail *f =
		capture_tail_new(capture, next_seq, max_blocks);

	if (f)
		f->waits = true;
	return f;
}

struct capture_tail *capture_tail_ref(struct capture_tail *f)
{
	atomic_fetch_add(&f->refs, 1);
	return f;
}

void capture_tail_unref(struct capture_tail *f)
{
	if (!f || atomic_fetch_sub(&f->refs, 1) != 1)
		return;
	for (unsigned i = 0; i < f->count; i++)
		block_unref(f->ring[(f->head + i) % f->max_blocks]);
	pthread_cond_destroy(&f->sealed);
	pthread_cond_destroy(&f->room);
	pthread_mutex_destroy(&f->lock);
	block_pool_unref(f->pool);
	free(f->ring);
	free(f);
}

uint64_t capture_tail_capture(const struct capture_tail *f)
{
	return f->capture;
}

static struct block *capture_tail_newest(struct capture_tail *f)
{
	return f->count ? f->ring[(f->head + f->count - 1) % f->max_blocks]
			: NULL;
}

/* With the lock held. NULL if seq is not here. */
static struct block *capture_tail_block(struct capture_tail *f, uint64_t seq)
{
	uint64_t first = f->next_seq - f->count;

	if (seq < first || seq >= f->next_seq)
		return NULL;
	return f->ring[(f->head + (seq - first)) % f->max_blocks];
}

static struct block *open_locked(struct capture_tail *f, uint32_t link_type,
				 uint32_t snaplen)
{
	if (f->closed || f->count == f->max_blocks)
		return NULL;
	assert(!capture_tail_newest(f) || block_sealed(capture_tail_newest(f)));
	struct block *b = block_new(f->pool, link_type, snaplen);
	if (!b)
		return NULL;
	b->opened_ns = monotonic_ns();
	b->info.capture = f->capture;
	b->info.seq = f->next_seq++;
	f->ring[(f->head + f->count++) % f->max_blocks] = b;
	return b;
}

struct block *capture_tail_open(struct capture_tail *f, uint32_t link_type,
				uint32_t snaplen)
{
	pthread_mutex_lock(&f->lock);
	while (f->waits && !f->closed && f->count == f->max_blocks)
		pthread_cond_wait(&f->room, &f->lock);
	struct block *b = f->waits || f->next_seq < f->bound
				  ? open_locked(f, link_type, snaplen)
				  : NULL;
	pthread_mutex_unlock(&f->lock);
	return b;
}

void capture_tail_lost(struct capture_tail *f)
{
	atomic_fetch_add(&f->losses, 1);
}

uint64_t capture_tail_losses(const struct capture_tail *f)
{
	return atomic_load(&f->losses);
}

unsigned capture_tail_room(struct capture_tail *f)
{
	pthread_mutex_lock(&f->lock);
	unsigned room = f->closed ? 0 : f->max_blocks - f->count;
	if (f->next_seq >= f->bound)
		room = 0;
	else if (room > f->bound - f->next_seq)
		room = (unsigned)(f->bound - f->next_seq);
	pthread_mutex_unlock(&f->lock);
	return room;
}

void capture_tail_bound(struct capture_tail *f, uint64_t seq, bool full)
{
	pthread_mutex_lock(&f->lock);
	f->bound = seq;
	f->full = full;
	pthread_mutex_unlock(&f->lock);
}

bool capture_tail_refuses(struct capture_tail *f)
{
	pthread_mutex_lock(&f->lock);
	bool yes = f->full && f->next_seq >= f->bound;
	pthread_mutex_unlock(&f->lock);
	return yes;
}

uint64_t capture_tail_next(struct capture_tail *f)
{
	pthread_mutex_lock(&f->lock);
	uint64_t seq = f->next_seq;
	pthread_mutex_unlock(&f->lock);
	return seq;
}

static void publish_locked(struct capture_tail *f, struct block *b,
			   uint64_t packets)
{
	struct slice s = {b, block_filled(b), b->used, packets};

	if (s.from == s.to)
		return;
	block_publish(b);
	b->published = b->info;
	b->published.raw_bytes = b->used;
	struct capture_tail_watch *w;
	LIST_FOREACH(w, &f->watches, link)
		w->published(w->ctx, &s);
}

void capture_tail_publish(struct capture_tail *f, struct block *b,
			  uint64_t packets)
{
	pthread_mutex_lock(&f->lock);
	publish_locked(f, b, packets);
	pthread_mutex_unlock(&f->lock);
}

void capture_tail_seal(struct capture_tail *f, struct block *b)
{
	bool empty = b->used == 0;

	pthread_mutex_lock(&f->lock);
	assert(b == capture_tail_newest(f) && block_filled(b) == b->used);
	block_seal(b);
	if (empty) {
		f->count--;
		f->next_seq--;
	} else {
		pthread_cond_signal(&f->sealed);
	}
	pthread_mutex_unlock(&f->lock);
	if (empty)
		block_unref(b);
}

void capture_tail_wait(struct capture_tail *f, uint64_t seq,
		       int64_t deadline_ns)
{
	bool late = false;

	pthread_mutex_lock(&f->lock);
	while (!late && !f->nudged) {
		struct block *b = capture_tail_block(f, seq);

		if ((b && block_sealed(b)) || (!b && f->closed))
			break;
		late = !cond_wait_until(&f->sealed, &f->lock, deadline_ns);
	}
	f->nudged = false;
	pthread_mutex_unlock(&f->lock);
}

void capture_tail_nudge(struct capture_tail *f)
{
	pthread_mutex_lock(&f->lock);
	f->nudged = true;
	pthread_cond_signal(&f->sealed);
	pthread_mutex_unlock(&f->lock);
}

unsigned capture_tail_backlog(struct capture_tail *f, uint64_t seq)
{
	pthread_mutex_lock(&f->lock);
	struct block *b = capture_tail_newest(f);
	uint64_t end = f->next_seq - (b && !block_sealed(b));
	bool none = f->waits || seq >= end;
	pthread_mutex_unlock(&f->lock);
	return none ? 0 : (unsigned)(end - seq);
}

void capture_tail_warm(struct capture_tail *f)
{
	block_pool_warm(f->pool, WARM_BLOCKS);
}

void capture_tail_release(struct capture_tail *f, uint64_t seq)
{
	struct block *gone[16];
	bool idle;
	unsigned n;

	do {
		n = 0;
		pthread_mutex_lock(&f->lock);
		while (n < 16 && f->count && f->next_seq - f->count <= seq) {
			assert(block_sealed(f->ring[f->head]));
			gone[n++] = f->ring[f->head];
			f->head = (f->head + 1) % f->max_blocks;
			f->count--;
		}
		idle = f->count == 0;
		if (n)
			pthread_cond_signal(&f->room);
		pthread_mutex_unlock(&f->lock);
		for (unsigned i = 0; i < n; i++)
			block_unref(gone[i]);
	} while (n == 16);
	/* Stopped: nobody needs a block soon. */
	if (idle)
		block_pool_trim(f->pool);
}

struct block *capture_tail_find(struct capture_tail *f, uint64_t seq)
{
	pthread_mutex_lock(&f->lock);
	uint64_t first = f->next_seq - f->count;
	struct block *b = capture_tail_block(f, seq < first ? first : seq);
	if (b)
		block_ref(b);
	pthread_mutex_unlock(&f->lock);
	return b;
}

unsigned capture_tail_blocks(struct capture_tail *f, struct block_info *out)
{
	pthread_mutex_lock(&f->lock);
	unsigned n = f->count;
	for (unsigned i = 0; i < n; i++)
		out[i] = f->ring[(f->head + i) % f->max_blocks]->published;
	pthread_mutex_unlock(&f->lock);
	return n;
}

unsigned capture_tail_max(const struct capture_tail *f)
{
	return f->max_blocks;
}

unsigned capture_tail_depth(struct capture_tail *f)
{
	pthread_mutex_lock(&f->lock);
	unsigned depth = f->count;
	pthread_mutex_unlock(&f->lock);
	return depth;
}

void capture_tail_watch(struct capture_tail *f, struct capture_tail_watch *w)
{
	pthread_mutex_lock(&f->lock);
	LIST_INSERT_HEAD(&f->watches, w, link);
	w->watching = true;
	if (f->closed && w->closed)
		w->closed(w->ctx);
	pthread_mutex_unlock(&f->lock);
}

void capture_tail_position(struct capture_tail *f, uint64_t *seq, uint32_t *at)
{
	pthread_mutex_lock(&f->lock);
	struct block *b = capture_tail_newest(f);
	bool open = b && !block_sealed(b);
	*seq = open ? b->info.seq : f->next_seq;
	*at = open ? block_filled(b) : 0;
	pthread_mutex_unlock(&f->lock);
}

void capture_tail_unwatch(struct capture_tail *f, struct capture_tail_watch *w)
{
	pthread_mutex_lock(&f->lock);
	if (w->watching)
		LIST_REMOVE(w, link);
	w->watching = false;
	pthread_mutex_unlock(&f->lock);
}

void capture_tail_close(struct capture_tail *f)
{
	struct capture_tail_watch *w;

	pthread_mutex_lock(&f->lock);
	if (!f->closed) {
		f->closed = true;
		LIST_FOREACH(w, &f->watches, link)
			if (w->closed)
				w->closed(w->ctx);
	}
	pthread_cond_broadcast(&f->sealed);
	pthread_cond_broadcast(&f->room);
	pthread_mutex_unlock(&f->lock);
}
