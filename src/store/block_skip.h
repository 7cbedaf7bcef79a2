/*
 * sieve: which segments and blocks a filter has to read. Private to this
 * folder.
 *
 * What: asks the union of a segment, and when that may match, the summary of
 * each of its blocks. Segments of another link type than the filter's, and
 * such without an index, pass whole.
 * Threads: one at a time.
 * Ownership: sieve_new gives, sieve_free takes; the program is the caller's.
 */
#ifndef PCAPD_STORE_SIEVE_H
#define PCAPD_STORE_SIEVE_H

#include "store/segment_index.h"

struct sieve;

/* NULL: memory is out. */
struct sieve *sieve_new(struct indexes *written,
			const struct bpf_program *program, uint32_t link_type);
void sieve_free(struct sieve *v); /* NULL is fine */

/* The segment that is asked about next; fd is its file, or -1, and stays open
 * meanwhile. false: none of its packets matches. */
bool sieve_segment(struct sieve *v, int fd, uint64_t capture,
		   uint64_t first_seq, uint32_t link_type);
/* false: none of the packets in this block of it matches. */
bool sieve_block(struct sieve *v, uint64_t seq);
/* Of what was asked last, the union or a block's summary: which of the words
 * that the filter needs are "any" there, as bits by class. */
const uint32_t *sieve_any(const struct sieve *v);
/* The segment has summaries to ask; after a sieve_block of it. */
bool sieve_has_index(const struct sieve *v);

#endif
