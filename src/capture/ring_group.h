/*
 * fanout: one or several rings of an interface, as one source.
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
 * own, which fanout_close waits for.
 * Ownership: fanout_open gives, fanout_close takes. The options outlive it.
 * Limits: CAPTURE_RINGS_MAX. Packets of two rings are in order as far as the
 * kernel hands them over within FANOUT_HOLD_NS; later ones come late, and none
 * is dropped for that. What comes faster than a small ring is read is dropped
 * and counted until there is a large one.
 */
#ifndef PCAPD_FANOUT_H
#define PCAPD_FANOUT_H

#include "capture/source.h"

struct fanout;

/* As ring_open and ring_listen; *opened_ns: just before that. */
struct fanout *fanout_open(const struct capture_options *o,
			   const struct filter *filter, int64_t *opened_ns);
void fanout_close(struct fanout *f); /* NULL is fine */

/* The contract of source.h. */
/* It changes with fanout_resize. */
int fanout_fd(const struct fanout *f);
/* To be called now and then: sees whether the rings have the right size. It
 * waits for nothing. */
void fanout_resize(struct fanout *f);
/* The i-th ring's socket; -1: there are no more. */
int fanout_socket(const struct fanout *f, unsigned i);
int fanout_take(struct fanout *f, int max, source_packet packet, void *ctx,
		struct err *e);
void fanout_add_drops(struct fanout *f, struct source_drops *d);
void fanout_add_known(struct fanout *f, struct source_drops *d);
uint64_t fanout_left(struct fanout *f);
bool fanout_was_down(struct fanout *f);
bool fanout_drained(struct fanout *f);
bool fanout_is_filling(const struct fanout *f);

#endif
