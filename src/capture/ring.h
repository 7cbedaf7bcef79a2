/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ring: packets of an Ethernet interface straight from the kernel's ring
 * (AF_PACKET, TPACKET_V3).
 *
 * What: the same bytes, times and counts as libpcap gives, without a call of
 * its own a packet. Tags that the kernel took out are put back, and what
 * leaves by the loopback interface is left out, since it comes in as well.
 * Threads: one at a time.
 * Ownership: ring_open gives, ring_close takes.
 * Limits: Ethernet and loopback; the rest is libpcap's (source.c).
 */
#ifndef PCAPD_CAPTURE_RING_H
#define PCAPD_CAPTURE_RING_H

#include "capture/source.h"

struct ring;

/* The least of a small one: room for 320 ms of few packets. */
#define RING_SMALL_MIN (2u << 20)

/* NULL, with errno: not here, or not for this interface; libpcap knows better.
 * It takes nothing in until ring_listen. small: with smaller blocks, if
 * ring_may_be_small. */
struct ring *ring_open(const struct capture_options *o, uint64_t buffer_bytes,
		       bool small);
/* The longest packet of the interface has room in it. */
bool ring_may_be_small(const struct capture_options *o);
/* Takes in what passes the filter from now on. */
bool ring_listen(struct ring *r, const struct bpf_insn *filter, unsigned n);
void ring_close(struct ring *r); /* NULL is fine */
/* One of a group (PACKET_FANOUT, packet(7)): each packet comes to one of them.
 * first: another one of them, or NULL. Before ring_listen. */
bool ring_join(struct ring *r, const struct ring *first);
/* From now on a packet comes to one of n of the group, by its CPU: to the n
 * from first on, in the order in which they joined. It waits until no packet
 * is on its way to another one. */
bool ring_choose(struct ring *r, unsigned first, unsigned n);
/* No packet comes to it any more: what it has can be taken at once. */
void ring_end(struct ring *r);

/* The contract of source.h. */
int ring_fd(const struct ring *r);
/* Only packets until that time. */
int ring_take(struct ring *r, int max, int64_t until_ns, source_packet packet,
	      void *ctx, struct err *e);
void ring_add_drops(struct ring *r, struct loss *l);
void ring_add_known(struct ring *r, struct loss *l);
uint64_t ring_left(struct ring *r);
bool ring_was_down(struct ring *r);
bool ring_drained(struct ring *r);
bool ring_is_filling(const struct ring *r);
/* A block was filled before its time was over since the last call, a quarter
 * waits to be taken, or packets are long: a small one may soon be too small. */
bool ring_was_busy(struct ring *r);

/* The time of the next packet to take; false: none is handed over yet. */
bool ring_head(struct ring *r, int64_t *ns);

#endif
