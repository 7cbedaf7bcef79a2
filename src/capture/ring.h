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

/* NULL: not here, or not for this interface; libpcap knows better. */
struct ring *ring_open(const struct capture_options *o,
		       const struct filter *filter);
void ring_close(struct ring *r); /* NULL is fine */

/* The contract of source.h. */
int ring_fd(const struct ring *r);
int ring_take(struct ring *r, int max, source_packet packet, void *ctx,
	      struct err *e);
void ring_add_drops(struct ring *r, struct source_drops *d);
bool ring_drained(struct ring *r);

#endif
