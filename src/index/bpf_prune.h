/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bpf_prune: can a packet of a block match a filter? Asked of the block's
 * synopsis.
 *
 * What: runs a compiled filter abstractly. "No" is certain: there is no packet
 * with this synopsis for which bpf_filter gives anything but 0. "Yes" only
 * means that nothing here rules it out: a load of what no synopsis has, values
 * that occur but never in one packet, a program that bpf_validate refuses or
 * that jumps back, and too much work are all "yes".
 * Threads: any; nothing is kept.
 * Limits: a bound on steps, and with it on memory (16 MiB) and on time (some
 * milliseconds), whatever the program and the synopsis are.
 */
#ifndef PCAPD_INDEX_BPF_PRUNE_H
#define PCAPD_INDEX_BPF_PRUNE_H

#include "index/synopsis.h"

#include <pcap/pcap.h>

/* program: compiled for the synopsis's link type. */
bool bpf_prune_may_match(const struct bpf_program *program,
			 const struct synopsis *s);

/* Which words of which classes the program looks at, as synopsis_read_some has
 * it: bpf_prune_may_match needs no others. */
void bpf_prune_needs(const struct bpf_program *program, uint32_t link_type,
		     uint32_t need[SYNOPSIS_CLASSES]);

#define BPF_PRUNE_DOUBT 96
/* The loads that no class of packets has a word for, so that they rule nothing
 * out: a sentence each. Returns how many, at most max. */
size_t bpf_prune_doubts(const struct bpf_program *program, uint32_t link_type,
			char (*doubts)[BPF_PRUNE_DOUBT], size_t max);

#endif
