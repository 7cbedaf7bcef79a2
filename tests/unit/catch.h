/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * catch: everything that a capture tail publishes, for tests to look at; and
 * how to make and read bytes without our own code.
 */
#ifndef PCAPD_TESTS_CATCH_H
#define PCAPD_TESTS_CATCH_H

#include "packet/capture_tail.h"

#include <pthread.h>
#include <stddef.h>

struct bytes {
	uint8_t *at;
	size_t n, room;
};
void bytes_add(struct bytes *b, const void *more, size_t n);
void bytes_free(struct bytes *b);

/* What a shell command prints on stdout. */
__attribute__((format(printf, 1, 2))) struct bytes output_of(const char *fmt,
							     ...);
void write_file(const char *path, const void *bytes, size_t n);

/* A file of the data folder beside the checkout, or NULL. */
const char *shared_data(const char *name, char *path, size_t n);

/* Registers with a capture tail. Catches records (packet_head and bytes) in
 * order. */
struct catcher {
	struct capture_tail *tail;
	struct capture_tail_watch watch;
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t more;
	struct bytes records;
	uint64_t packets;
	unsigned slices;
	bool releasing, done;
	pthread_t releaser;
};
void catch_init(struct catcher *c, struct capture_tail *f);
/* Takes the writer's part from now on: sealed blocks are let go. */
void catch_release(struct catcher *c);
/* false: there are fewer after ten seconds. */
bool catch_wait(struct catcher *c, uint64_t packets);
void catch_done(struct catcher *c);

#endif
