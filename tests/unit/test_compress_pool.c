/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks compressed ahead. libzstd's decoder says whether what comes back is a
 * frame, and whose.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/compress_pool.h"
#include "store/segment_file.h"

#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>

#define JOBS 40

/* Packets that say which block they are of. */
static struct block *new_block(struct block_pool *pool, uint8_t mark)
{
	struct block *b = block_new(pool, 1, 262144);
	uint8_t body[1000];

	assert_non_null(b);
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(mark + i % 7);
	struct packet_head h = {.caplen = sizeof(body), .len = sizeof(body)};
	while (block_fits(b, h.caplen))
		block_append(b, &h, body);
	block_publish(b);
	block_seal(b);
	return b;
}

static void assert_frame_of(const struct compress_pool_job *j,
			    const struct block *b)
{
	uint8_t *plain = malloc(b->used);

	assert_true(j->n > 0 && j->n < b->used);
	assert_int_equal(ZSTD_findFrameCompressedSize(j->out, j->n), j->n);
	assert_int_equal(ZSTD_decompress(plain, b->used, j->out, j->n),
			 b->used);
	assert_memory_equal(plain, b->arena, b->used);
	free(plain);
}

struct writer_like {
	struct job_pool *compressors;
	struct block_pool *pool;
	uint8_t mark;
};

/* Posts some ahead, takes them in order, again and again. */
static void *post_and_take(void *arg)
{
	struct writer_like *w = arg;
	struct compress_pool_job jobs[4] = {0};
	struct block *blocks[4];
	struct block_compressor *own = block_compressor_new();

	assert_non_null(own);
	for (unsigned i = 0; i < JOBS + 3; i++) {
		if (i < JOBS) {
			struct block *b =
				new_block(w->pool, (uint8_t)(w->mark + i));

			blocks[i % 4] = block_ref(b);
			assert_true(compress_pool_post(w->compressors,
						       &jobs[i % 4], b, -1));
		}
		if (i < 3)
			continue;
		compress_pool_take(w->compressors, &jobs[(i - 3) % 4], own);
		assert_frame_of(&jobs[(i - 3) % 4], blocks[(i - 3) % 4]);
		block_unref(blocks[(i - 3) % 4]);
	}
	for (unsigned i = 0; i < 4; i++)
		compress_pool_job_done(&jobs[i]);
	block_compressor_free(own);
	return NULL;
}

static void each_writer_gets_its_own_frames_in_order(void **state)
{
	struct err e = ERR_INIT;
	struct writer_like writers[3];
	pthread_t threads[3];
	struct block_pool *pool = block_pool_new(32);
	struct job_pool *p = compress_pool_new(2, &e);

	(void)state;
	assert_non_null(p);
	for (unsigned i = 0; i < 3; i++) {
		writers[i] = (struct writer_like){p, pool, (uint8_t)(50 * i)};
		assert_int_equal(pthread_create(&threads[i], NULL,
						post_and_take, &writers[i]),
				 0);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	job_pool_free(p);
	block_pool_unref(pool);
}

static void who_waits_compresses_when_nobody_else_does(void **state)
{
	struct err e = ERR_INIT;
	struct block_pool *pool = block_pool_new(32);
	struct job_pool *p = compress_pool_new(0, &e);
	struct writer_like w = {p, pool, 1};

	(void)state;
	assert_int_equal(compress_pool_ahead(p), 0);
	post_and_take(&w);
	job_pool_free(p);
	block_pool_unref(pool);
}

static void a_job_that_was_not_posted_is_nothing_to_wait_for(void **state)
{
	struct err e = ERR_INIT;
	struct job_pool *p = compress_pool_new(1, &e);
	struct compress_pool_job j = {0};

	(void)state;
	assert_in_range(compress_pool_ahead(p), 1, COMPRESS_POOL_AHEAD - 1);
	compress_pool_take(p, &j, NULL);
	compress_pool_job_done(&j);
	job_pool_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_writer_gets_its_own_frames_in_order),
		cmocka_unit_test(who_waits_compresses_when_nobody_else_does),
		cmocka_unit_test(
			a_job_that_was_not_posted_is_nothing_to_wait_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
