/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks and the pool of their arenas. Guarantees that an arena is reused
 * only after its last reference is gone. Leaves out who may fill one: see
 * capture_tail.h.
 */
#include "packet/block.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_BYTES (2u << 20)
#define HUGE_ARENAS (HUGE_BYTES / BLOCK_MAX)

struct block_pool {
	atomic_uint refs; /* the owner's and one a living block */
	unsigned keep;
	pthread_mutex_t lock; /* guards everything below */
	unsigned kept;
	uint8_t **free;
};

struct block_pool *block_pool_new(unsigned keep)
{
	struct block_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->free = calloc(keep ? keep : 1, sizeof(*p->free));
	if (!p->free) {
		free(p);
		return NULL;
	}
	p->keep = keep;
	atomic_init(&p->refs, 1);
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

void block_pool_unref(struct block_pool *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	for (unsigned i = 0; i < p->kept; i++)
		munmap(p->free[i], BLOCK_MAX);
	pthread_mutex_destroy(&p->lock);
	free(p->free);
	free(p);
}

void block_pool_trim(struct block_pool *p)
{
	pthread_mutex_lock(&p->lock);
	while (p->kept)
		munmap(p->free[--p->kept], BLOCK_MAX);
	pthread_mutex_unlock(&p->lock);
}

static uint8_t *arena_get(struct block_pool *p)
{
	uint8_t *arena = NULL;

	pthread_mutex_lock(&p->lock);
	if (p->kept)
		arena = p->free[--p->kept];
	pthread_mutex_unlock(&p->lock);
	if (arena)
		return arena;
	void *fresh = mmap(NULL, BLOCK_MAX, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return fresh == MAP_FAILED ? NULL : fresh;
}

static void arena_put(struct block_pool *p, uint8_t *arena)
{
	pthread_mutex_lock(&p->lock);
	if (p->kept < p->keep) {
		p->free[p->kept++] = arena;
		arena = NULL;
	}
	pthread_mutex_unlock(&p->lock);
	if (arena)
		munmap(arena, BLOCK_MAX);
}

/* NULL: memory is out. */
static uint8_t *map_huge(void)
{
	uint8_t *all = mmap(NULL, 2 * HUGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (all == MAP_FAILED)
		return NULL;
	uint8_t *page = all + (-(uintptr_t)all & (HUGE_BYTES - 1));
	if (page > all)
		munmap(all, (size_t)(page - all));
	munmap(page + HUGE_BYTES, (size_t)(all + HUGE_BYTES - page));
	/* Either may be refused: use faults it in, too. */
	madvise(page, HUGE_BYTES, MADV_HUGEPAGE);
	madvise(page, HUGE_BYTES, MADV_POPULATE_WRITE);
	return page;
}

static bool is_warm(struct block_pool *p, unsigned n)
{
	/* Those in use come back. */
	unsigned in_use = atomic_load(&p->refs) - 1;

	pthread_mutex_lock(&p->lock);
	bool enough = p->kept >= n || in_use + p->kept >= p->keep;
	pthread_mutex_unlock(&p->lock);
	return enough;
}

void block_pool_warm(struct block_pool *p, unsigned n)
{
	uint8_t *page;

	while (!is_warm(p, n) && (page = map_huge()))
		for (unsigned i = 0; i < HUGE_ARENAS; i++)
			arena_put(p, page + i * BLOCK_MAX);
}

struct block *block_new(struct block_pool *p, uint32_t link_type,
			uint32_t snaplen)
{
	struct block *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->arena = arena_get(p);
	if (!b->arena) {
		free(b);
		return NULL;
	}
	atomic_init(&b->refs, 1);
	atomic_init(&b->filled, 0);
	atomic_init(&b->sealed, false);
	b->link_type = link_type;
	b->snaplen = snaplen;
	b->pool = p;
	atomic_fetch_add(&p->refs, 1);
	return b;
}

struct block *block_ref(struct block *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void block_unref(struct block *b)
{
	if (!b || atomic_fetch_sub(&b->refs, 1) != 1)
		return;
	arena_put(b->pool, b->arena);
	block_pool_unref(b->pool);
	free(b);
}

void block_seal(struct block *b)
{
	assert(!block_sealed(b));
	b->info.raw_bytes = b->used;
	block_publish(b);
	atomic_store_explicit(&b->sealed, true, memory_order_release);
}

uint32_t packets_measure(const uint8_t *bytes, uint32_t n,
			 struct block_info *info)
{
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = 0;

	info->packets = 0;
	info->first_ns = info->last_ns = info->min_ns = info->max_ns = 0;
	while (packet_next(bytes, n, &at, &h, &body) == 1) {
		int64_t t = packet_time_ns(&h);

		if (info->packets++ == 0)
			info->first_ns = info->min_ns = info->max_ns = t;
		if (t < info->min_ns)
			info->min_ns = t;
		if (t > info->max_ns)
			info->max_ns = t;
		info->last_ns = t;
	}
	info->raw_bytes = at;
	return at;
}

void savefile_head(uint8_t out[SAVEFILE_HEAD_BYTES], uint32_t link_type,
		   uint32_t snaplen)
{
	const struct {
		uint32_t magic;
		uint16_t major, minor;
		int32_t zone;
		uint32_t sigfigs, snaplen, link_type;
	} head = {SAVEFILE_MAGIC_NS, 2, 4, 0, 0, snaplen, link_type};

	_Static_assert(sizeof(head) == SAVEFILE_HEAD_BYTES, "as in the file");
	memcpy(out, &head, sizeof(head));
}
