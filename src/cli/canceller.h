/*
 * watch: what may end a stream from outside: a signal, the time that was
 * asked for, the reader of our output going away.
 *
 * Threads: watch_* from one thread; a thread of its own cancels the client.
 * A second signal ends the program the hard way.
 */
#ifndef PCAPD_CLI_WATCH_H
#define PCAPD_CLI_WATCH_H

#include "client/client.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum watch_reason { WATCH_NONE, WATCH_SIGNAL, WATCH_TIME, WATCH_READER_GONE };

struct watch {
	struct client *client;
	sigset_t before; /* the mask to go back to */
	int signals, timer, stop, out;
	pthread_t thread;
	atomic_int reason;
};

/* Blocks the signals for every thread made from here on: before client_open.*/
bool watch_init(struct watch *w, struct err *e);
/* for_ns 0: no end by time. out: the pipe that is written to, or -1. */
bool watch_start(struct watch *w, struct client *c, int64_t for_ns, int out,
		 struct err *e);
/* Ends the thread and lets signals do what they did before. Fine without a
 * start. */
enum watch_reason watch_done(struct watch *w);

#endif
