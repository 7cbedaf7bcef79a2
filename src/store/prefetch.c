/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loads in a line. Guarantees that what was posted is taken or dropped before
 * its file is closed. Leaves out which blocks, and what is said of damage,
 * which has to be in order: cursor.c.
 */
#include "store/prefetch.h"

void prefetch_grow(struct prefetch *p, unsigned threads)
{
	struct err ignored;

	if (threads >= CURSOR_LOADS)
		threads = CURSOR_LOADS - 1;
	if (p->began && !p->loaders && threads)
		p->loaders = block_readers_new(threads, &ignored);
	if (p->loaders && p->most <= threads)
		p->most++;
	p->began = true;
}

void prefetch_post(struct prefetch *p, const struct block_reader *load)
{
	struct block_reader *l = &p->loads[(p->first + p->n++) % CURSOR_LOADS];

	*l = *load;
	block_reader_post(p->loaders, l);
}

bool prefetch_has(const struct prefetch *p, uint64_t seq)
{
	return p->n && p->loads[p->first].info.seq == seq;
}

static struct block_reader *prefetch_shift(struct prefetch *p)
{
	struct block_reader *l = &p->loads[p->first];

	p->first = (p->first + 1) % CURSOR_LOADS;
	p->n--;
	return l;
}

struct block_reader *prefetch_take(struct prefetch *p, struct decoder *d)
{
	struct block_reader *l = prefetch_shift(p);

	job_pool_take(p->loaders, &l->job, d);
	return l;
}

void prefetch_drop(struct prefetch *p)
{
	while (p->n) {
		struct block_reader *l = prefetch_shift(p);

		if (job_pool_drop(p->loaders, &l->job))
			block_unref(l->block);
	}
}

void prefetch_stop(struct prefetch *p)
{
	prefetch_drop(p);
	job_pool_free(p->loaders);
	*p = (struct prefetch){0};
}
