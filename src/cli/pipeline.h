/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pipeline: where the packets of a stream go. Threads of its own decode and
 * write, so that the connection is served while a file or a pipe is slow.
 *
 * What: events stand in a ring in the order in which they came. Those that
 * are zstd frames are decoded by whoever of the decoders is free, unless that
 * is what the output takes; the writer takes them from the front.
 * Threads: all from the receiving thread.
 * Ownership: pipeline_put takes the event over.
 * Limits: PIPELINE_EVENTS events wait; a frame that is to be decoded only
 * behind fewer than there are decoders and two more, as what lies longer is not
 * in the processor's cache any more. Then pipeline_put waits, and tends the
 * client.
 */
#ifndef PCAPD_CLI_PIPELINE_H
#define PCAPD_CLI_PIPELINE_H

#include "cli/savefile_writer.h"
#include "client/client.h"

#include <pthread.h>

#define PIPELINE_EVENTS 16
#define PIPELINE_DECODERS_MAX 4
#define PIPELINE_FRAMES_MAX (PIPELINE_DECODERS_MAX + 2)

/* A place in the ring. */
struct pipeline_place {
	enum { PLACE_RAW, PLACE_DECODING, PLACE_READY } state;
	struct client_event *event;
	uint8_t *decoded; /* NULL: not yet, or not at all */
	bool damaged;
};

struct pipeline {
	struct savefile_writer out; /* the writer's */
	struct client *client;
	pthread_t writer, decoders[PIPELINE_DECODERS_MAX];
	unsigned n_threads;   /* writer included */
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t room;  /* a place is free */
	pthread_cond_t raw;   /* there is something to decode */
	pthread_cond_t ready; /* the first place may be written */
	struct pipeline_place ring[PIPELINE_EVENTS];
	unsigned head, count;
	/* To decode into; the one that was written last is taken first. */
	uint8_t *spare[PIPELINE_FRAMES_MAX];
	unsigned n_spare;
	bool closed;
	int error;	  /* errno of the write that failed; then no more */
	uint64_t packets; /* written */
	uint64_t bytes;
	uint64_t damaged; /* packets in frames that do not decode */
};

/* packed: as zstd frames. The client is cancelled when a write fails. */
bool pipeline_start(struct pipeline *s, int fd, bool packed, struct client *c,
		    struct err *e);
/* A Header or packets. */
void pipeline_put(struct pipeline *s, struct client_event *ev);
/* Writes what waits and ends the threads. Afterwards error, packets, bytes and
 * damaged may be read. Without a start it does nothing. */
void pipeline_stop(struct pipeline *s);

#endif
