/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ring_group: one or several rings of an interface, as one source.
 *
 * What: with several, the kernel fills each from CPUs of its own, without the
 * lock that one ring has (PACKET_FANOUT, packet(7)). They are read by one
 * thread, which needs 10 to 40 ns a packet where the kernel needs a
 * microsecond, and merged by time on the way into the block: what is stored,
 * replayed and listened to has one order.
 * Rings are small until there is traffic: then others, as large as the capture
 * wants them, join the group, the kernel is told between two packets to use
 * these, and what the small ones have is taken. After a quiet time the other
 * way round. Every packet comes to one ring, so none is lost over it or comes
 * twice.
 * Threads: one at a time; what waits for the kernel is done by a thread of its
 * own, which ring_group_close waits for.
 * Ownership: ring_group_open gives, ring_group_close takes. The options outlive
 * it.
 * Limits: CAPTURE_RINGS_MAX. Packets of two rings are in order as far as the
 * kernel hands them over within RING_GROUP_REORDER_NS; later ones come late,
 * and none is dropped for that. What comes faster than a small ring is read is
 * dropped and counted until there is a large one.
 */
#ifndef PCAPD_CAPTURE_RING_GROUP_H
#define PCAPD_CAPTURE_RING_GROUP_H

#include "capture/source.h"

struct ring_group;

/* As ring_open and ring_listen; *opened_ns: just before that. */
struct ring_group *ring_group_open(const struct capture_options *o,
				   const struct bpf_filter *filter,
				   int64_t *opened_ns);
void ring_group_close(struct ring_group *f); /* NULL is fine */

/* The contract of source.h. */
/* It changes with ring_group_resize. */
int ring_group_fd(const struct ring_group *f);
/* To be called now and then: sees whether the rings have the right size. It
 * waits for nothing. */
void ring_group_resize(struct ring_group *f);
/* The i-th ring's socket; -1: there are no more. */
int ring_group_socket(const struct ring_group *f, unsigned i);
int ring_group_take(struct ring_group *f, int max, source_packet packet,
		    void *ctx, struct err *e);
void ring_group_add_drops(struct ring_group *f, struct source_drops *d);
void ring_group_add_known(struct ring_group *f, struct source_drops *d);
uint64_t ring_group_left(struct ring_group *f);
bool ring_group_was_down(struct ring_group *f);
bool ring_group_drained(struct ring_group *f);
bool ring_group_is_filling(const struct ring_group *f);

#endif
