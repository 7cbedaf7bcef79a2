/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * packet_select: which packets of a slice a reader gets.
 *
 * What: time range, filter, snaplen and count, applied to slices. A slice of
 * which everything is wanted passes without a copy; of any other the wanted
 * packets are copied into a block of their own.
 * Threads: one at a time.
 * Ownership: packet_select_slice takes over the reference of the slice it is
 * given and gives one with the slice it makes.
 */
#ifndef PCAPD_PACKET_PACKET_SELECT_H
#define PCAPD_PACKET_PACKET_SELECT_H

#include "packet/bpf_filter.h"

struct packet_select {
	const struct bpf_filter *filter; /* NULL: all; the caller's */
	int64_t since_ns;		 /* at or after; 0: no bound */
	int64_t until_ns;		 /* before; 0: no bound */
	uint64_t max_packets;		 /* 0: no bound */
	uint32_t snaplen;		 /* 0: as captured */
	struct block_pool *pool;	 /* for copies */
	/* What came of it. */
	uint64_t examined, packets;
	int64_t min_ns, max_ns; /* of the packets taken */
};

/* Everything is taken as it is: no walk over the packets is needed to know
 * which. (Counts and times still take one.) */
bool packet_select_all(const struct packet_select *p);

/*
 * in: whole packets. out: what is left of them, packets counted; out->block is
 * NULL if nothing is. 1: go on; 0: max_packets are reached, out is the last;
 * -1: memory is out (in is given back).
 */
int packet_select_slice(struct packet_select *p, struct slice in,
			struct slice *out, struct err *e);

/* Counts a block all of whose packets are taken as they are, unseen. */
void packet_select_whole(struct packet_select *p, const struct block_info *i);

/*
 * Cuts the front of *s, whole packets of at most max bytes (one packet at
 * least), into *front with a reference of its own and counted; *s keeps the
 * rest. false when *s was empty.
 */
bool slice_cut(struct slice *s, uint32_t max, struct slice *front);

#endif
