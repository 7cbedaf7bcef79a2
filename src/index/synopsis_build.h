/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * synopsis_build: a synopsis of packets, or of other synopses.
 *
 * Threads: one at a time for a maker.
 * Ownership: synopsis_make gives, synopsis_free takes.
 * Limits: a maker keeps max_keys values in all, and allocates nothing after
 * synopsis_maker_new but in synopsis_make.
 */
#ifndef PCAPD_INDEX_SYNOPSIS_BUILD_H
#define PCAPD_INDEX_SYNOPSIS_BUILD_H

#include "index/synopsis.h"

/* max_keys for a block, and for the union of a segment's. */
#define SYNOPSIS_KEYS_BLOCK 4096u
#define SYNOPSIS_KEYS_SEGMENT 98304u

struct synopsis_maker;

/* NULL when memory is out. */
struct synopsis_maker *synopsis_maker_new(uint32_t link_type,
					  uint32_t max_keys);
void synopsis_maker_free(struct synopsis_maker *m);
/* As new, for the next block. */
void synopsis_maker_reset(struct synopsis_maker *m, uint32_t link_type);
/* The packets in records [0, n), laid out as in a block. */
void synopsis_maker_packets(struct synopsis_maker *m, const uint8_t *records,
			    uint32_t n);
/* What is in s, which is of the same link type: unions are made of this. */
void synopsis_maker_union(struct synopsis_maker *m, const struct synopsis *s);
/* What was added since the last reset. NULL when memory is out. */
struct synopsis *synopsis_make(struct synopsis_maker *m);

#endif
