/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slice_queue: a bounded line of slices to one stream.
 *
 * What: a push never waits: when the queue is full the oldest slice goes and
 * its packets are counted. A slice that continues the newest one (same block,
 * no gap) is joined to it up to SLICE_MAX, so that a quiet link costs few
 * places and few messages. A slice without a block is packets that were lost
 * before they came here.
 * Threads: any may push, one pops. wake is called outside the lock, on the
 * pushing thread, when there is something to pop or when the queue is closed;
 * it must be quick and may not call back into the queue.
 * Ownership: a push takes over the slice's reference, also when it fails; a
 * pop hands it over.
 * Limits: as many slices as slice_queue_init says, that is at most so many
 * blocks held.
 */
#ifndef PCAPD_PACKET_SLICE_QUEUE_H
#define PCAPD_PACKET_SLICE_QUEUE_H

#include "packet/block.h"

#include <pthread.h>

#define SLICE_MAX (256u << 10)

struct slice_queue {
	void (*wake)(void *ctx);
	void *ctx;
	pthread_mutex_t lock; /* guards everything below */
	struct slice *ring;
	unsigned room, head, count;
	uint64_t lost_packets; /* since the last pop that told it */
	bool closed;
};

/* room: for so many slices, not 0. false: out of memory. */
bool slice_queue_init(struct slice_queue *q, unsigned room,
		      void (*wake)(void *ctx), void *ctx);
void slice_queue_done(
	struct slice_queue *q); /* gives back what is still inside */

void slice_queue_push(struct slice_queue *q, struct slice s);

/* 1 a slice; 0 nothing now; -1 closed and empty. *lost_packets is what was
 * dropped before this slice; it is told once. */
int slice_queue_pop(struct slice_queue *q, struct slice *s,
		    uint64_t *lost_packets);

/* No more pushes; what is inside can still be popped. */
void slice_queue_close(struct slice_queue *q);

#endif
