/*
 * prune: can a packet of a block match a filter? Asked of the block's
 * summary. Private to this folder.
 *
 * What: runs a compiled filter abstractly. "No" is certain: there is no packet
 * with this summary for which bpf_filter gives anything but 0. "Yes" only
 * means that nothing here rules it out: a load of what no summary has, values
 * that occur but never in one packet, a program that bpf_validate refuses or
 * that jumps back, and too much work are all "yes".
 * Threads: any; nothing is kept.
 * Limits: a bound on steps, and with it on memory (16 MiB) and on time (some
 * milliseconds), whatever the program and the summary are.
 */
#ifndef PCAPD_STORE_PRUNE_H
#define PCAPD_STORE_PRUNE_H

#include "index/synopsis.h"

#include <pcap/pcap.h>

/* program: compiled for the summary's link type. */
bool prune_may_match(const struct bpf_program *program,
		     const struct summary *s);

/* Which words of which classes the program looks at, as summary_read_some has
 * it: prune_may_match needs no others. */
void prune_needs(const struct bpf_program *program, uint32_t link_type,
		 uint32_t need[SUMMARY_CLASSES]);

#define PRUNE_DOUBT 96
/* The loads that no class of packets has a word for, so that they rule nothing
 * out: a sentence each. Returns how many, at most max. */
size_t prune_doubts(const struct bpf_program *program, uint32_t link_type,
		    char (*doubts)[PRUNE_DOUBT], size_t max);

#endif
