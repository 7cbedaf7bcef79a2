/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Helpers of the tests. Guarantees nothing to anyone else; what fails here
 * aborts the test.
 */
#include "catch.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void bytes_add(struct bytes *b, const void *more, size_t n)
{
	if (n == 0)
		return;
	if (b->n + n > b->room) {
		b->room = 2 * (b->n + n);
		b->at = realloc(b->at, b->room);
		assert(b->at);
	}
	memcpy(b->at + b->n, more, n);
	b->n += n;
}

void bytes_free(struct bytes *b)
{
	free(b->at);
	*b = (struct bytes){0};
}

struct bytes output_of(const char *fmt, ...)
{
	struct bytes made = {0};
	char command[4096], part[65536];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = (size_t)vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	assert(n < sizeof(command));
	FILE *pipe = popen(command, "r");
	assert(pipe);
	while ((n = fread(part, 1, sizeof(part), pipe)) > 0)
		bytes_add(&made, part, n);
	pclose(pipe);
	return made;
}

void write_file(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "w");

	assert(f);
	size_t written = fwrite(bytes, 1, n, f);
	assert(written == n);
	int r = fclose(f);
	assert(r == 0);
}

const char *shared_data(const char *name, char *path, size_t n)
{
	const char *source = getenv("SOURCE_DIR");
	const char *end = strrchr(__FILE__, '/');

	if (source)
		snprintf(path, n, "%s/../shared/data/%s", source, name);
	else
		snprintf(path, n, "%.*s/../../shared/data/%s",
			 end ? (int)(end - __FILE__) : 1, end ? __FILE__ : ".",
			 name);
	return access(path, R_OK) == 0 ? path : NULL;
}

static void published(void *ctx, const struct slice *s)
{
	struct catcher *c = ctx;

	pthread_mutex_lock(&c->lock);
	bytes_add(&c->records, s->block->arena + s->from, s->to - s->from);
	c->packets += s->packets;
	c->slices++;
	pthread_cond_signal(&c->more);
	pthread_mutex_unlock(&c->lock);
}

void catch_init(struct catcher *c, struct capture_tail *f)
{
	pthread_condattr_t attr;

	*c = (struct catcher){.tail = f};
	c->watch.published = published;
	c->watch.ctx = c;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->more, &attr);
	pthread_condattr_destroy(&attr);
	capture_tail_watch(f, &c->watch);
}

static bool over(struct catcher *c)
{
	pthread_mutex_lock(&c->lock);
	bool done = c->done;
	pthread_mutex_unlock(&c->lock);
	return done;
}

static void *release(void *arg)
{
	struct catcher *c = arg;

	for (uint64_t seq = 1; !over(c);) {
		capture_tail_wait(c->tail, seq, monotonic_ns() + NS_PER_S);
		struct block *b = capture_tail_find(c->tail, seq);

		if (b && block_sealed(b))
			capture_tail_release(c->tail, seq++);
		block_unref(b);
	}
	return NULL;
}

void catch_release(struct catcher *c)
{
	c->releasing = true;
	int r = pthread_create(&c->releaser, NULL, release, c);
	assert(r == 0);
}

bool catch_wait(struct catcher *c, uint64_t packets)
{
	int64_t deadline = monotonic_ns() + 10 * NS_PER_S;
	struct timespec t = {deadline / NS_PER_S, deadline % NS_PER_S};
	int r = 0;

	pthread_mutex_lock(&c->lock);
	while (c->packets < packets && r == 0)
		r = pthread_cond_timedwait(&c->more, &c->lock, &t);
	bool enough = c->packets >= packets;
	pthread_mutex_unlock(&c->lock);
	return enough;
}

void catch_done(struct catcher *c)
{
	capture_tail_unwatch(c->tail, &c->watch);
	if (c->releasing) {
		pthread_mutex_lock(&c->lock);
		c->done = true;
		pthread_mutex_unlock(&c->lock);
		capture_tail_nudge(c->tail);
		pthread_join(c->releaser, NULL);
	}
	pthread_cond_destroy(&c->more);
	pthread_mutex_destroy(&c->lock);
	bytes_free(&c->records);
}
