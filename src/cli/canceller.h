/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * canceller: what may end a stream from outside: a signal, the time that was
 * asked for, the reader of our output going away.
 *
 * Threads: watch_* from one thread; a thread of its own cancels the client.
 * A second signal ends the program the hard way.
 */
#ifndef PCAPD_CLI_CANCELLER_H
#define PCAPD_CLI_CANCELLER_H

#include "client/client.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum canceller_reason {
	CANCELLER_NONE,
	CANCELLER_SIGNAL,
	CANCELLER_TIME,
	CANCELLER_READER_GONE
};

struct canceller {
	struct client *client;
	sigset_t before; /* the mask to go back to */
	int signals, timer, stop, out;
	pthread_t thread;
	atomic_int reason;
};

/* Blocks the signals for every thread made from here on: before client_open.*/
bool canceller_init(struct canceller *w, struct err *e);
/* for_ns 0: no end by time. out: the pipe that is written to, or -1. */
bool canceller_start(struct canceller *w, struct client *c, int64_t for_ns,
		     int out, struct err *e);
/* Ends the thread and lets signals do what they did before. Fine without a
 * start. */
enum canceller_reason canceller_done(struct canceller *w);

#endif
