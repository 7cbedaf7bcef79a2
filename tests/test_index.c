/*
 * Indexes: what goes into a segment's file comes out of it with the same
 * answers, and what is damaged there answers that anything may match.
 */
#include "filter.h"
#include "store/index.h"
#include "traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOCKS 24
#define PACKETS 40
#define FIRST 1000
#define FILTERS 60

struct world {
	struct index_maker *maker;
	struct index *index;
	struct dice dice;
	uint8_t blocks[BLOCKS][PACKETS * (16 + TRAFFIC_PACKET_MAX)];
	uint32_t bytes[BLOCKS];
	int fd;
	struct index_place at;
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->dice.state = 7;
	w->fd = -1;
	w->maker = index_maker_new();
	assert_non_null(w->maker);
	w->index = index_new(w->maker, 3, FIRST, 1);
	assert_non_null(w->index);
	for (unsigned i = 0; i < BLOCKS; i++) {
		w->bytes[i] = traffic_block(
			&w->dice, 1, 1 + roll(&w->dice, PACKETS), w->blocks[i]);
		/* Numbers that a writer lost are left out. */
		index_add(w->index, w->maker, FIRST + 2 * i, w->blocks[i],
			  w->bytes[i]);
	}
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	if (w->fd >= 0)
		close(w->fd);
	index_unref(w->index);
	index_maker_free(w->maker);
	free(w);
	return 0;
}

/* A file as a segment ends: blocks, index, footer, seek table. */
static void put_file(struct world *w)
{
	static const uint8_t blocks[100], footer[30];
	size_t n;
	uint8_t *frame = index_frame(w->index, w->maker, &n);
	uint32_t table[] = {0x184d2a5e,	 8 * 3 + 9,  100, 5,
			    (uint32_t)n, 0,	     30,  0,
			    3,		 0x92eab100, 0x8f};

	assert_non_null(frame);
	w->fd = memfd_create("segment", MFD_CLOEXEC);
	assert_int_equal(write(w->fd, blocks, 100), 100);
	assert_int_equal(write(w->fd, frame, n), n);
	assert_int_equal(write(w->fd, footer, 30), 30);
	assert_int_equal(write(w->fd, table, 8 + 8 * 3 + 9), 8 + 8 * 3 + 9);
	free(frame);
	w->at = index_locate(w->fd);
	assert_int_equal(w->at.offset, 100);
	assert_int_equal(w->at.bytes, n);
}

static struct filter *random_filter(struct world *w)
{
	char text[TRAFFIC_FILTER_MAX];
	struct filter *f = NULL;
	struct err ignored;

	while (!f) {
		traffic_filter(&w->dice, text);
		f = filter_compile(text, 1, 65535, &ignored);
	}
	return f;
}

static bool has_match(const struct world *w, unsigned block,
		      const struct filter *f)
{
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = 0;

	while (packet_next(w->blocks[block], w->bytes[block], &at, &h, &body) >
	       0)
		if (filter_matches(f, &h, body))
			return true;
	return false;
}

static void a_file_answers_as_memory_does(void **state)
{
	struct world *w = *state;
	unsigned pruned = 0;
	bool none;

	put_file(w);
	struct index *x = index_read(w->fd, &w->at, 3, FIRST);
	struct summary *all =
		index_read_union(w->fd, &w->at, 3, FIRST, NULL, &none);
	assert_non_null(x);
	assert_non_null(all);
	for (unsigned i = 0; i < FILTERS; i++) {
		struct filter *f = random_filter(w);
		struct question q = {.program = &f->program};

		prune_needs(&f->program, 1, q.need);
		struct summary *some = index_read_union(w->fd, &w->at, 3, FIRST,
							q.need, &none);
		bool any = prune_may_match(&f->program, all);
		assert_non_null(some);
		assert_int_equal(any, prune_may_match(&f->program, some));
		summary_free(some);

		for (unsigned b = 0; b < BLOCKS; b++) {
			bool may = index_may_match(x, FIRST + 2 * b, &q);

			assert_int_equal(
				may,
				index_may_match(w->index, FIRST + 2 * b, &q));
			if (has_match(w, b, f))
				assert_true(may && any);
			pruned += !may;
		}
		filter_free(f);
	}
	assert_true(pruned > BLOCKS * FILTERS / 10);
	summary_free(all);
	index_unref(x);
}

static void a_block_without_a_summary_may_have_anything(void **state)
{
	struct world *w = *state;
	struct err e;
	struct filter *f = filter_compile("host 203.0.113.77", 1, 65535, &e);
	struct question q = {.program = &f->program};
	bool none;

	prune_needs(&f->program, 1, q.need);
	assert_false(index_may_match(w->index, FIRST, &q));
	assert_true(index_may_match(w->index, FIRST + 1, &q));
	assert_true(index_may_match(w->index, FIRST - 1, &q));
	assert_true(index_may_match(w->index, UINT64_MAX, &q));
	/* And its segment, too. */
	index_add_unknown(w->index);
	put_file(w);
	assert_null(index_read_union(w->fd, &w->at, 3, FIRST, NULL, &none));
	assert_true(none);
	filter_free(f);
}

static void damage_anywhere_is_noticed(void **state)
{
	struct world *w = *state;
	uint32_t union_bytes;
	bool none;

	put_file(w);
	assert_int_equal(pread(w->fd, &union_bytes, 4, 100 + 8 + 32), 4);
	uint64_t behind_union = 8 + 48 + union_bytes;
	for (uint64_t i = 0; i < w->at.bytes; i++) {
		off_t at = (off_t)(w->at.offset + i);
		uint8_t was, is;

		assert_int_equal(pread(w->fd, &was, 1, at), 1);
		is = was ^ (uint8_t)(1u << roll(&w->dice, 8));
		assert_int_equal(pwrite(w->fd, &is, 1, at), 1);
		struct index *x = index_read(w->fd, &w->at, 3, FIRST);
		struct summary *all =
			index_read_union(w->fd, &w->at, 3, FIRST, NULL, &none);
		/* Not every bit of a zstd frame means something; its checksum
		 * is of what it decodes to. */
		if (x && all)
			assert_true(i >= behind_union);
		index_unref(x);
		summary_free(all);
		assert_int_equal(pwrite(w->fd, &was, 1, at), 1);
	}
}

static void another_segment_s_index_is_none(void **state)
{
	struct world *w = *state;
	bool none;

	put_file(w);
	assert_null(index_read(w->fd, &w->at, 4, FIRST));
	assert_null(index_read(w->fd, &w->at, 3, FIRST + 1));
	assert_null(index_read_union(w->fd, &w->at, 4, FIRST, NULL, &none));
	assert_false(none);
}

static void readers_find_what_is_being_written(void **state)
{
	struct world *w = *state;
	struct indexes *l = indexes_new();

	assert_null(indexes_find(l, 3, FIRST));
	indexes_add(l, w->index);
	struct index *x = indexes_find(l, 3, FIRST);
	assert_ptr_equal(x, w->index);
	assert_null(indexes_find(l, 3, FIRST + 1));
	indexes_remove(l, w->index);
	assert_null(indexes_find(l, 3, FIRST));
	index_unref(x);
	indexes_free(l);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_file_answers_as_memory_does),
		TEST(a_block_without_a_summary_may_have_anything),
		TEST(damage_anywhere_is_noticed),
		TEST(another_segment_s_index_is_none),
		TEST(readers_find_what_is_being_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
