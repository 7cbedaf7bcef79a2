/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * synopsis: which values the headers of a block's packets have, so that a
 * filter can rule the block out unread (bpf_prune.h).
 *
 * What: each packet belongs to one class, by its tag (a VLAN tag or none) and
 * its kind (unfragmented TCP over IPv4, ARP, ...). A class has a layout: the
 * words of its headers (header_layout.h). A synopsis is a set of values for
 * each word of each class. The one promise, on which prune rests:
 *	for every packet, every word of its class, if the packet has at least
 *	one of the word's bytes, then the value of the whole word is in the
 *	word's set; or, where the packet has not all of them, the set is "any".
 * How a packet gets its class is free, it only makes sets sharper.
 * A set that is too large becomes coarser: its values lose their low 4 bits,
 * then 8, then it is "any value". So one flooded word costs only itself.
 * It is made by synopsis_build.h, and is bytes by synopsis_codec.h.
 * Threads: one at a time for a synopsis that has pages; else a struct synopsis
 * does not change but in synopsis_fit.
 */
#ifndef PCAPD_INDEX_SYNOPSIS_H
#define PCAPD_INDEX_SYNOPSIS_H

#include "index/header_layout.h"

#define SYNOPSIS_SETS (SYNOPSIS_CLASSES * SYNOPSIS_WORDS)
#define SYNOPSIS_ANY 3u /* the coarsest level */

/* Values that are there once they are asked for: page p of a set has its
 * values from p * SYNOPSIS_PAGE on. */
#define SYNOPSIS_PAGE 256u
static inline uint32_t synopsis_pages_of(uint32_t values)
{
	return (values + SYNOPSIS_PAGE - 1) / SYNOPSIS_PAGE;
}
struct synopsis_page {
	uint32_t least; /* its first value */
	uint32_t sum;	/* of who loads it */
};
struct synopsis_pages {
	const struct synopsis_page *page; /* of all sets, in order */
	uint32_t first[SYNOPSIS_SETS];	  /* each one's first in page */
	/* false: the page is damaged and may have anything. */
	bool (*load)(struct synopsis_pages *p, uint32_t set, uint32_t page);
};

struct synopsis {
	uint32_t link_type;
	uint32_t present;	      /* bit c: there are packets of class c */
	struct synopsis_pages *pages; /* NULL: all values are there */
	uint8_t level[SYNOPSIS_SETS];
	uint32_t first[SYNOPSIS_SETS]; /* index in values */
	uint32_t count[SYNOPSIS_SETS];
	/* Ascending in each set, without the low bits that synopsis_shift says.
	 * None where the level is SYNOPSIS_ANY. */
	uint32_t values[];
};

static inline unsigned synopsis_shift(const struct word *w, unsigned level)
{
	return level == SYNOPSIS_ANY ? 32 : w->base + 4 * level;
}

/* The set with the largest of sizes, of those that are not `any`. */
uint32_t synopsis_largest(const uint32_t *size, const uint8_t *level);
void synopsis_free(struct synopsis *s); /* NULL is fine */

#endif
