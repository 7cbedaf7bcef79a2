/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * block_skip: which segments and blocks a filter has to read. Private to this
 * folder.
 *
 * What: asks the union of a segment, and when that may match, the synopsis of
 * each of its blocks. Segments of another link type than the filter's, and
 * such without an index, pass whole.
 * Threads: one at a time.
 * Ownership: block_skip_new gives, block_skip_free takes; the program is the
 * caller's.
 */
#ifndef PCAPD_STORE_BLOCK_SKIP_H
#define PCAPD_STORE_BLOCK_SKIP_H

#include "store/segment_index.h"

struct block_skip;

/* NULL: memory is out. */
struct block_skip *block_skip_new(struct segment_indexes *written,
				  const struct bpf_program *program,
				  uint32_t link_type);
void block_skip_free(struct block_skip *v); /* NULL is fine */

/* The segment that is asked about next; fd is its file, or -1, and stays open
 * meanwhile. false: none of its packets matches. */
bool block_skip_segment(struct block_skip *v, int fd, uint64_t capture,
			uint64_t first_seq, uint32_t link_type);
/* false: none of the packets in this block of it matches. */
bool block_skip_block(struct block_skip *v, uint64_t seq);
/* Of what was asked last, the union or a block's synopsis: which of the words
 * that the filter needs are "any" there, as bits by class. */
const uint32_t *block_skip_any(const struct block_skip *v);
/* The segment has synopses to ask; after a block_skip_block of it. */
bool block_skip_has_index(const struct block_skip *v);

#endif
