/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames and records through the decoders to a file. The client is ours. */
#include "cli/pipeline.h"

#include "packet/block.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <zstd.h>

#include <cmocka.h>

#define EVENTS 200
#define RAW_BYTES (64u << 10)

/* An event and its bytes, in two pieces. */
struct sent {
	struct client_event event;
	struct iovec pieces[2];
	uint8_t bytes[RAW_BYTES + 1024];
};

static atomic_uint freed, cancelled;

void client_event_free(struct client_event *ev)
{
	atomic_fetch_add(&freed, 1);
	free(ev);
}

void client_cancel(struct client *c)
{
	(void)c;
	atomic_fetch_add(&cancelled, 1);
}

void client_tend(struct client *c)
{
	(void)c;
}

struct fixture {
	struct pipeline pipeline;
	int fd;
	uint8_t *wanted; /* what should be in the file */
	size_t n_wanted;
};

static struct fixture set_up(const char *path)
{
	struct fixture f = {.fd = path ? open(path, O_WRONLY)
				       : memfd_create("sink", MFD_CLOEXEC)};

	assert_true(f.fd >= 0);
	f.wanted = malloc((size_t)EVENTS * RAW_BYTES);
	assert_non_null(f.wanted);
	atomic_store(&freed, 0);
	atomic_store(&cancelled, 0);
	return f;
}

static void tear_down(struct fixture *f)
{
	close(f->fd);
	free(f->wanted);
}

/* Event i: a few bytes that say so, then noise that repeats. */
static size_t fill(unsigned i, uint8_t *to)
{
	size_t n = i % 3 ? 100 + i : RAW_BYTES - i;

	for (size_t k = 0; k < n; k++)
		to[k] = (uint8_t)(k % 251 * (i + 1));
	return n;
}

static struct client_event *event(unsigned i, bool frame, bool damage)
{
	struct sent *s = calloc(1, sizeof(*s));
	uint8_t raw[RAW_BYTES];

	assert_non_null(s);
	size_t n = fill(i, raw), stored = n;
	if (frame)
		stored = ZSTD_compress(s->bytes, sizeof(s->bytes), raw, n, 1);
	else
		memcpy(s->bytes, raw, n);
	assert_false(ZSTD_isError(stored));
	if (damage)
		s->bytes[0] ^= 1; /* of the magic number */
	s->pieces[0] = (struct iovec){s->bytes, stored / 3};
	s->pieces[1] =
		(struct iovec){s->bytes + stored / 3, stored - stored / 3};
	s->event = (struct client_event){.count = 1,
					 .bytes = stored,
					 .zstd_raw_bytes = frame ? n : 0,
					 .n_pieces = 2,
					 .pieces = s->pieces};
	return &s->event;
}

static void put(struct fixture *f, unsigned i, bool frame, bool damage)
{
	pipeline_put(&f->pipeline, event(i, frame, damage));
	if (!damage)
		f->n_wanted += fill(i, f->wanted + f->n_wanted);
}

static void start(struct fixture *f)
{
	struct err e = ERR_INIT;

	assert_true(pipeline_start(&f->pipeline, f->fd, false, NULL, &e));
}

static void assert_file(const struct fixture *f)
{
	uint8_t *got = malloc(f->n_wanted + 1);

	assert_non_null(got);
	assert_int_equal(pread(f->fd, got, f->n_wanted + 1, 0), f->n_wanted);
	assert_memory_equal(got, f->wanted, f->n_wanted);
	free(got);
}

static void what_was_put_is_written_in_its_order(void **state)
{
	struct fixture f = set_up(NULL);

	(void)state;
	start(&f);
	/* Runs of either kind, longer and shorter than what may wait. */
	for (unsigned i = 0; i < EVENTS; i++)
		put(&f, i, i / 7 % 2 == 0 || i > EVENTS / 2, false);
	pipeline_stop(&f.pipeline);
	assert_int_equal(f.pipeline.error, 0);
	assert_int_equal(f.pipeline.packets, EVENTS);
	assert_int_equal(f.pipeline.bytes, f.n_wanted);
	assert_int_equal(atomic_load(&freed), EVENTS);
	assert_file(&f);
	tear_down(&f);
}

static void a_damaged_frame_costs_what_is_in_it(void **state)
{
	struct fixture f = set_up(NULL);
	unsigned damaged = 0;

	(void)state;
	start(&f);
	for (unsigned i = 0; i < EVENTS; i++) {
		bool damage = i % 5 == 3;

		put(&f, i, true, damage);
		damaged += damage;
	}
	pipeline_stop(&f.pipeline);
	assert_int_equal(f.pipeline.error, 0);
	assert_int_equal(f.pipeline.damaged, damaged);
	assert_int_equal(f.pipeline.packets, EVENTS - damaged);
	assert_file(&f);
	tear_down(&f);
}

static void a_write_that_fails_cancels_and_the_rest_is_dropped(void **state)
{
	struct fixture f = set_up("/dev/full");

	(void)state;
	start(&f);
	for (unsigned i = 0; i < EVENTS; i++)
		put(&f, i, i % 2, false);
	pipeline_stop(&f.pipeline);
	assert_int_equal(f.pipeline.error, ENOSPC);
	assert_int_equal(f.pipeline.packets, 0);
	assert_int_equal(atomic_load(&cancelled), 1);
	assert_int_equal(atomic_load(&freed), EVENTS);
	tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_written_in_its_order),
		cmocka_unit_test(a_damaged_frame_costs_what_is_in_it),
		cmocka_unit_test(
			a_write_that_fails_cancels_and_the_rest_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
