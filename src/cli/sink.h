/*
 * sink: where the packets of a stream go. A thread of its own writes, so that
 * the connection is served while a file or a pipe is slow.
 *
 * Threads: all from the receiving thread.
 * Ownership: sink_put takes the event over.
 * Limits: SINK_EVENTS events wait; then sink_put waits, and tends the client.
 */
#ifndef PCAPD_CLI_SINK_H
#define PCAPD_CLI_SINK_H

#include "../rpc/client.h"

#include <pthread.h>

#define SINK_EVENTS 32

struct sink {
	int fd;
	struct client *client;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t work, room;
	struct client_event *ring[SINK_EVENTS];
	unsigned head, count;
	bool closed;
	int error;	  /* errno of the write that failed; then no more */
	uint64_t packets; /* written */
	uint64_t bytes;
};

/* The client is cancelled when a write fails. */
bool sink_start(struct sink *s, int fd, struct client *c, struct err *e);
/* A Header or packets. */
void sink_put(struct sink *s, struct client_event *ev);
/* Writes what waits and ends the thread. Afterwards error, packets and bytes
 * may be read. Without a start it does nothing. */
void sink_stop(struct sink *s);

#endif
