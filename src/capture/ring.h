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
#ifndef PCAPD_RING_H
#define PCAPD_RING_H

#include "source.h"

struct ring;

/* NULL: not here, or not for this interface; libpcap knows better. It takes
 * nothing in until ring_listen. */
struct ring *ring_open(const struct capture_options *o, uint64_t buffer_bytes);
/* Takes in what passes the filter from now on. */
bool ring_listen(struct ring *r, const struct filter *filter);
void ring_close(struct ring *r); /* NULL is fine */
/* One of several that each get a part of the packets: that of some CPUs
 * (PACKET_FANOUT, packet(7)). first: another one of them, or NULL. Before
 * ring_listen. */
bool ring_join(struct ring *r, const struct ring *first);

/* The contract of source.h. */
int ring_fd(const struct ring *r);
/* Only packets until that time. */
int ring_take(struct ring *r, int max, int64_t until_ns, source_packet packet,
	      void *ctx, struct err *e);
void ring_add_drops(struct ring *r, struct source_drops *d);
void ring_add_known(struct ring *r, struct source_drops *d);
uint64_t ring_left(struct ring *r);
bool ring_was_down(struct ring *r);
bool ring_drained(struct ring *r);
bool ring_is_filling(const struct ring *r);

/* The time of the next packet to take; false: none is handed over yet. */
bool ring_head(struct ring *r, int64_t *ns);

#endif
