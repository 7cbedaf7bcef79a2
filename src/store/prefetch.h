/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * prefetch: blocks that are read before their turn comes. Private to this
 * folder.
 *
 * What: a line of loads, taken in the order in which they were posted, that
 * threads of its own do meanwhile: none behind the first block, one more behind
 * each, up to one more than there are threads.
 * Threads: one at a time. Ownership: a part of its cursor; begins as zeros.
 */
#ifndef PCAPD_STORE_PREFETCH_H
#define PCAPD_STORE_PREFETCH_H

#include "store/block_reader.h"
#include "store/store.h"

struct prefetch {
	struct block_reader loads[CURSOR_LOADS]; /* a ring */
	unsigned first, n, most;
	bool began;		  /* this is not the first block */
	struct job_pool *loaders; /* NULL: not yet, or not at all */
};

/* Before each block: there may be one more, if there are threads for it. */
void prefetch_grow(struct prefetch *p, unsigned threads);
static inline bool prefetch_has_room(const struct prefetch *p)
{
	return p->n < p->most;
}
void prefetch_post(struct prefetch *p, const struct block_reader *load);
/* That block is the first in the line. */
bool prefetch_has(const struct prefetch *p, uint64_t seq);
/* The first of the line, done, until the next one is posted; d: to help. */
struct block_reader *prefetch_take(struct prefetch *p, struct decoder *d);
void prefetch_drop(struct prefetch *p); /* the line */
/* The threads as well: there is nothing to read for long. */
void prefetch_stop(struct prefetch *p);

#endif
