/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * source: packets from a live interface, one after the other.
 *
 * What: the half of a capture that knows libpcap and the kernel: opening,
 * the kernel's filter, taking packets out of the ring, drop counters.
 * Threads: one at a time.
 * Ownership: source_open gives, source_close takes. The options outlive it.
 */
#ifndef PCAPD_CAPTURE_SOURCE_H
#define PCAPD_CAPTURE_SOURCE_H

#include "capture/capture.h"
#include "capture/own_connections.h"

/* The kernel hands over what it has after so long, full or not. */
#define SOURCE_TIMEOUT_MS 20

/* A counter that is read now and then. Its growth lies between two readings. */
struct reading {
	int64_t real_ns, monotonic_ns;
};
/* Adds what it grew since *r, which becomes now. clean_ns: a packet before
 * which nothing of it was lost; 0: not known. */
void reading_add(struct reading *r, struct loss *l, uint64_t packets,
		 int64_t clean_ns);

struct source;

/* ERR_NOT_FOUND: no such interface; ERR_STATE: it is down, or (*other_type)
 * the interface is of another link type than the filter is for. */
struct source *source_open(const struct capture_options *o,
			   const struct bpf_filter *filter, int64_t filter_type,
			   bool *other_type, struct err *e);
void source_close(struct source *s); /* NULL is fine */

uint32_t source_link_type(const struct source *s);
/* No packet is longer. */
uint32_t source_snaplen(const struct source *s);

/* CLOCK_REALTIME: no packet that it hands over came before. */
int64_t source_opened_ns(const struct source *s);
/* CLOCK_REALTIME: from then on it takes in everything. */
int64_t source_listening_ns(const struct source *s);

/* Readable when there are packets; -1: there is nothing to poll. It changes
 * with source_resize. */
int source_fd(const struct source *s);
/* To be called now and then, also when there is nothing to take or no place for
 * it: more room for packets where there are more, less after a quiet time.
 * Waits for nothing, and no packet is lost over it. */
void source_resize(struct source *s);
/* false ends source_take after this packet; the next call goes on behind. */
typedef bool (*source_packet)(void *ctx, const struct packet_head *h,
			      const uint8_t *body);

/* Hands over at most max packets of those that are there, without waiting.
 * How many; 0: none now; -1: the source has broken. */
int source_take(struct source *s, int max, source_packet packet, void *ctx,
		struct err *e);

/*
 * From when it returns on, of packets of the first of these connections only
 * EXCLUDED_SNAPLEN bytes are taken in, or nothing; what is in the ring by then
 * may be whole. It waits for nothing, and no other packet is lost over it. How
 * many connections that is: fewer if the filter would become too long, 0 with
 * some link types; the others are taken in.
 */
unsigned source_exclude(struct source *s, const struct flow *flows, unsigned n);

struct source_drops {
	struct loss kernel, interface;
};
/* Adds what was dropped since the last call. */
void source_add_drops(struct source *s, struct source_drops *d);
/* Adds what is known without asking: with it, all that the kernel dropped
 * before the packets that were handed over last. */
void source_add_known(struct source *s, struct source_drops *d);
/* How many packets lie in the kernel, taken in and not handed over; 0: or it
 * is not known. */
uint64_t source_left(struct source *s);
/* From now on the kernel takes nothing in. What it has can still be taken. */
void source_close_intake(struct source *s);
/* The kernel said since the last call that the interface is down: it took
 * nothing in from some time before that on. */
bool source_was_down(struct source *s);
/* Every packet that the kernel has accepted so far was handed over. false: not
 * known. */
bool source_drained(struct source *s);
/* More than half of the room for packets is taken, three quarters where there
 * is little. false: or it is not known. */
bool source_is_filling(const struct source *s);

#endif
