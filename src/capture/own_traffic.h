/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * own_traffic: what a capture does about connections that it is to leave out.
 *
 * What: follows the set of them, tells the source's kernel filter, which lets
 * only the beginnings of their packets through, and drops and counts those.
 * Until the kernel has heard of a change it looks at all packets: what lies in
 * the ring was taken in by the filter of before. The first packets of a
 * connection come before it is in the set: what is at an address where pcapd
 * listens, and in no connection that is known, waits until one that it belongs
 * to would be.
 * Threads: the capture's.
 * Limits: a connection that takes longer than OWN_TRAFFIC_WAIT_NS to be made
 * leaves the packets that are older behind. A daemon that does not get to
 * accepting it has OWN_TRAFFIC_WAIT_MAX_NS. A ring that fills up ends every
 * wait.
 */
#ifndef PCAPD_CAPTURE_OWN_TRAFFIC_H
#define PCAPD_CAPTURE_OWN_TRAFFIC_H

#include "capture/bpf_exclude.h"
#include "capture/source.h"

#include <stdatomic.h>

/* A round trip on a LAN, from SYN to ACK. */
#define OWN_TRAFFIC_WAIT_NS (20 * NS_PER_S / 1000)
/* Less than a reader waits for what was captured (capture_catch_up). */
#define OWN_TRAFFIC_WAIT_MAX_NS (200 * NS_PER_S / 1000)

struct own_traffic {
	uint64_t version; /* of the set that was seen last */
	bool fresh;	  /* the source does not know it yet */
	bool whole;	  /* the kernel has all of it */
	unsigned n;	  /* of connections that the kernel has */
	enum layout layout;
	struct flow *flows; /* OWN_CONNECTIONS_MAX, and before them as many of
			       before */
	uint16_t *places;
	unsigned n_old; /* of the set of before */
	/* All packets up to then are compared with them; 0: none. */
	int64_t until_ns;
	/* What was left out, by a connection's place. Read by others, too. */
	atomic_uint_fast64_t left_out[OWN_CONNECTIONS_MAX];
	uint64_t all_left_out;

	struct flow listeners[OWN_CONNECTIONS_LISTENERS_MAX];
	unsigned n_listeners;
	/* What is not newer can be in no connection that is not in the set. */
	int64_t sure_ns;
	/* The packet that waits, and everything behind it. */
	bool deferred;
	struct packet_head head;
	uint8_t *body;
	uint32_t room;
};

/* Another source. */
void own_traffic_renew(struct own_traffic *v);
/* Before packets are taken. true: the set has changed. */
bool own_traffic_follow(struct own_traffic *v, struct own_connections *x,
			struct source *s);
void own_traffic_done(struct own_traffic *v);

/* Counts it, too. */
bool own_traffic_matches(struct own_traffic *v, const struct packet_head *h,
			 const uint8_t *body);
bool own_traffic_is_early(const struct own_traffic *v,
			  const struct packet_head *h, const uint8_t *body);
/* Keeps the packet, to be looked at again. false: out of memory. */
bool own_traffic_defer(struct own_traffic *v, const struct packet_head *h,
		       const uint8_t *body);

/* No packet that the kernel cut is longer: libpcap may put a header of SLL2 in
 * front. */
#define OWN_TRAFFIC_CUT_MAX (EXCLUDED_SNAPLEN + 20)

/* For every packet: mostly there is nothing to look at. */
static inline bool own_traffic_drops(struct own_traffic *v,
				     const struct packet_head *h,
				     const uint8_t *body)
{
	if (__builtin_expect(!v->until_ns && !v->n, 1))
		return false;
	if (v->until_ns && packet_time_ns(h) > v->until_ns) {
		v->until_ns = 0;
		v->n_old = 0;
	}
	if (!v->until_ns && h->caplen > OWN_TRAFFIC_CUT_MAX)
		return false;
	return own_traffic_matches(v, h, body);
}

/* Of one that it does not drop: not yet. */
static inline bool own_traffic_waits(const struct own_traffic *v,
				     const struct packet_head *h,
				     const uint8_t *body)
{
	return v->n_listeners && packet_time_ns(h) > v->sure_ns &&
	       own_traffic_is_early(v, h, body);
}

#endif
