/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Indexes: what goes into a segment's file comes out of it with the same
 * answers, and what is damaged there answers that anything may match.
 */
#include "packet/bpf_filter.h"
#include "store/segment_format.h"
#include "store/segment_index.h"
#include "traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOCKS 24
#define PACKETS 40
#define FIRST 1000
#define FILTERS 60

struct world {
	struct segment_index_maker *maker;
	struct segment_index *index;
	struct dice dice;
	uint8_t blocks[BLOCKS][PACKETS * (16 + TRAFFIC_PACKET_MAX)];
	uint32_t bytes[BLOCKS];
	int fd;
	struct segment_index_place at;
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->dice.state = 7;
	w->fd = -1;
	w->maker = segment_index_maker_new();
	assert_non_null(w->maker);
	w->index = segment_index_new(w->maker, 3, FIRST, 1);
	assert_non_null(w->index);
	for (unsigned i = 0; i < BLOCKS; i++) {
		w->bytes[i] = traffic_block(
			&w->dice, 1, 1 + roll(&w->dice, PACKETS), w->blocks[i]);
		/* Numbers that a writer lost are left out. */
		segment_index_add(w->index, w->maker, FIRST + 2 * i,
				  w->blocks[i], w->bytes[i]);
	}
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	if (w->fd >= 0)
		close(w->fd);
	segment_index_unref(w->index);
	segment_index_maker_free(w->maker);
	free(w);
	return 0;
}

/* A file as a segment ends: blocks, index, footer, seek table. */
static void put_file(struct world *w)
{
	static const uint8_t blocks[100], footer[30];
	size_t n;
	uint8_t *frame = segment_index_frame(w->index, w->maker, &n);
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
	w->at = segment_index_locate(w->fd);
	assert_int_equal(w->at.offset, 100);
	assert_int_equal(w->at.bytes, n);
}

static struct bpf_filter *random_filter(struct world *w)
{
	char text[TRAFFIC_FILTER_MAX];
	struct bpf_filter *f = NULL;
	struct err ignored;

	while (!f) {
		traffic_filter(&w->dice, text);
		f = bpf_filter_compile(text, 1, 65535, &ignored);
	}
	return f;
}

static bool has_match(const struct world *w, unsigned block,
		      const struct bpf_filter *f)
{
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = 0;

	while (packet_next(w->blocks[block], w->bytes[block], &at, &h, &body) >
	       0)
		if (bpf_filter_matches(f, &h, body))
			return true;
	return false;
}

static void a_file_answers_as_memory_does(void **state)
{
	struct world *w = *state;
	unsigned pruned = 0;
	bool none;

	put_file(w);
	struct segment_index *x = segment_index_read(w->fd, &w->at, 3, FIRST);
	struct synopsis *all =
		segment_index_read_union(w->fd, &w->at, 3, FIRST, &none);
	struct union_reader *u = union_reader_new();
	assert_non_null(x);
	assert_non_null(all);
	for (unsigned i = 0; i < FILTERS; i++) {
		struct bpf_filter *f = random_filter(w);
		struct question q = {.program = &f->program};

		bpf_prune_needs(&f->program, 1, q.need);
		struct synopsis *some =
			union_open(u, w->fd, &w->at, 3, FIRST, q.need);
		bool any = bpf_prune_may_match(&f->program, all);
		assert_non_null(some);
		assert_int_equal(any, bpf_prune_may_match(&f->program, some));

		for (unsigned b = 0; b < BLOCKS; b++) {
			bool may = segment_index_may_match(x, FIRST + 2 * b, &q,
							   NULL);

			assert_int_equal(may, segment_index_may_match(
						      w->index, FIRST + 2 * b,
						      &q, NULL));
			if (has_match(w, b, f))
				assert_true(may && any);
			pruned += !may;
		}
		bpf_filter_free(f);
	}
	assert_true(pruned > BLOCKS * FILTERS / 10);
	union_reader_free(u);
	synopsis_free(all);
	segment_index_unref(x);
}

static void a_block_without_a_summary_may_have_anything(void **state)
{
	struct world *w = *state;
	struct err e;
	struct bpf_filter *f =
		bpf_filter_compile("host 203.0.113.77", 1, 65535, &e);
	struct question q = {.program = &f->program};
	bool none;

	bpf_prune_needs(&f->program, 1, q.need);
	assert_false(segment_index_may_match(w->index, FIRST, &q, NULL));
	assert_true(segment_index_may_match(w->index, FIRST + 1, &q, NULL));
	assert_true(segment_index_may_match(w->index, FIRST - 1, &q, NULL));
	assert_true(segment_index_may_match(w->index, UINT64_MAX, &q, NULL));
	/* And its segment, too. */
	segment_index_add_unknown(w->index);
	put_file(w);
	assert_null(segment_index_read_union(w->fd, &w->at, 3, FIRST, &none));
	assert_true(none);
	bpf_filter_free(f);
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
		struct segment_index *x =
			segment_index_read(w->fd, &w->at, 3, FIRST);
		struct synopsis *all = segment_index_read_union(
			w->fd, &w->at, 3, FIRST, &none);
		/* Not every bit of a zstd frame means something; its checksum
		 * is of what it decodes to. */
		if (x && all)
			assert_true(i >= behind_union);
		segment_index_unref(x);
		synopsis_free(all);
		assert_int_equal(pwrite(w->fd, &was, 1, at), 1);
	}
}

/* --- sets of many pages --- */

#define WIDE_BLOCKS 100u
#define WIDE_PACKETS 60u
#define WIDE_BYTES 2000u /* long ones: synopses get a part of them */

/* TCP from and to a host and a port of which few occur twice. */
static void wide_packet(struct dice *d, uint8_t *p)
{
	memset(p, 0, WIDE_BYTES);
	p[12] = 8; /* IPv4 */
	p[14] = 0x45;
	p[14 + 9] = 6;
	for (unsigned at = 14 + 12; at < 14 + 20; at += 4) {
		p[at] = at == 14 + 16 && roll(d, 2) ? 192 : 10;
		p[at + 1] = (uint8_t)roll(d, 9);
		p[at + 2] = (uint8_t)roll(d, 250);
		p[at + 3] = (uint8_t)roll(d, 256);
	}
	for (unsigned at = 34; at < 38; at += 2) {
		p[at] = (uint8_t)roll(d, 250);
		p[at + 1] = (uint8_t)roll(d, 256);
	}
}

static void make_wide(struct world *w)
{
	static uint8_t records[WIDE_PACKETS * (16 + WIDE_BYTES)];
	struct packet_head h = {0, 0, WIDE_BYTES, WIDE_BYTES};

	segment_index_unref(w->index);
	w->index = segment_index_new(w->maker, 3, FIRST, 1);
	assert_non_null(w->index);
	for (uint32_t i = 0; i < WIDE_BLOCKS; i++) {
		for (uint32_t k = 0; k < WIDE_PACKETS; k++) {
			uint8_t *p = records + k * (16 + WIDE_BYTES);

			memcpy(p, &h, sizeof(h));
			wide_packet(&w->dice, p + sizeof(h));
		}
		segment_index_add(w->index, w->maker, FIRST + i, records,
				  sizeof(records));
	}
}

static struct bpf_filter *wide_filter(struct world *w)
{
	char host[32], text[128];
	struct err e;
	unsigned a = roll(&w->dice, 3) ? 10 : 192, k = roll(&w->dice, 65000);

	snprintf(host, sizeof(host), "%u.%u.%u.%u", a, roll(&w->dice, 10),
		 roll(&w->dice, 42), roll(&w->dice, 256));
	switch (roll(&w->dice, 8)) {
	case 0:
		snprintf(text, sizeof(text), "net %u.%u.%u.0/%u", a,
			 roll(&w->dice, 10), 8 * roll(&w->dice, 32), 21);
		break;
	case 1:
		snprintf(text, sizeof(text), "src net %u.%u.%u", a,
			 roll(&w->dice, 10), roll(&w->dice, 256));
		break;
	case 2:
		snprintf(text, sizeof(text),
			 "ip[12:4] > 0x%02x%06x and port %u", a,
			 roll(&w->dice, 0xa0000), k);
		break;
	case 3:
		snprintf(text, sizeof(text), "ip[16:4] & 0xff00ffff = %u",
			 a << 24 | roll(&w->dice, 65536));
		break;
	case 4:
		snprintf(text, sizeof(text), "portrange %u-%u", k, k + 3);
		break;
	case 5:
		snprintf(text, sizeof(text), "src host %s and not port %u",
			 host, k);
		break;
	default:
		snprintf(text, sizeof(text), "host %s", host);
	}
	struct bpf_filter *f = bpf_filter_compile(text, 1, 65535, &e);
	assert_non_null(f);
	return f;
}

static void pages_answer_as_all_of_a_union_does(void **state)
{
	struct world *w = *state;
	struct union_reader *u = union_reader_new();
	unsigned no = 0, yes = 0;
	uint32_t most = 0;
	bool none;

	make_wide(w);
	put_file(w);
	struct synopsis *all =
		segment_index_read_union(w->fd, &w->at, 3, FIRST, &none);
	assert_non_null(all);
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		most = all->count[set] > most ? all->count[set] : most;
	assert_true(most > 4 * SYNOPSIS_PAGE);
	for (unsigned i = 0; i < 2000; i++) {
		struct bpf_filter *f = wide_filter(w);
		uint32_t need[SYNOPSIS_CLASSES];

		bpf_prune_needs(&f->program, 1, need);
		struct synopsis *s =
			union_open(u, w->fd, &w->at, 3, FIRST, need);
		assert_non_null(s);
		bool may = bpf_prune_may_match(&f->program, all);
		assert_int_equal(bpf_prune_may_match(&f->program, s), may);
		yes += may;
		no += !may;
		bpf_filter_free(f);
	}
	assert_true(no > 200 && yes > 200);
	synopsis_free(all);
	union_reader_free(u);
}

static void a_damaged_page_may_have_anything(void **state)
{
	struct world *w = *state;
	struct union_reader *u = union_reader_new();
	uint32_t union_bytes;
	unsigned noticed = 0;
	bool none;

	make_wide(w);
	put_file(w);
	assert_int_equal(pread(w->fd, &union_bytes, 4, 100 + 8 + 32), 4);
	struct synopsis *all =
		segment_index_read_union(w->fd, &w->at, 3, FIRST, &none);
	for (uint32_t i = 0; i < 1000; i++) {
		struct bpf_filter *f = wide_filter(w);
		uint32_t need[SYNOPSIS_CLASSES];
		off_t at = 100 + 56 + (off_t)roll(&w->dice, union_bytes);
		uint8_t was, is;

		bpf_prune_needs(&f->program, 1, need);
		assert_int_equal(pread(w->fd, &was, 1, at), 1);
		is = was ^ (uint8_t)(1u << roll(&w->dice, 8));
		assert_int_equal(pwrite(w->fd, &is, 1, at), 1);
		struct synopsis *s =
			union_open(u, w->fd, &w->at, 3, FIRST, need);
		bool may = !s || bpf_prune_may_match(&f->program, s);
		bool really = bpf_prune_may_match(&f->program, all);
		assert_true(may || !really);
		noticed += may && !really;
		assert_int_equal(pwrite(w->fd, &was, 1, at), 1);
		bpf_filter_free(f);
	}
	assert_true(noticed > 0);
	synopsis_free(all);
	union_reader_free(u);
}

static void an_older_version_is_told_from_damage(void **state)
{
	struct world *w = *state;
	struct union_reader *u = union_reader_new();
	uint32_t version;

	put_file(w);
	assert_false(segment_index_is_older(w->fd, &w->at));
	for (version = 0; version < SEGMENT_INDEX_VERSION + 2; version++) {
		assert_int_equal(pwrite(w->fd, &version, 4, 108), 4);
		assert_int_equal(segment_index_is_older(w->fd, &w->at),
				 version && version < SEGMENT_INDEX_VERSION);
		struct synopsis *s =
			union_open(u, w->fd, &w->at, 3, FIRST, NULL);
		assert_int_equal(s != NULL, version == SEGMENT_INDEX_VERSION);
	}
	union_reader_free(u);
}

static void another_segment_s_index_is_none(void **state)
{
	struct world *w = *state;
	bool none;

	put_file(w);
	assert_null(segment_index_read(w->fd, &w->at, 4, FIRST));
	assert_null(segment_index_read(w->fd, &w->at, 3, FIRST + 1));
	assert_null(segment_index_read_union(w->fd, &w->at, 4, FIRST, &none));
	assert_false(none);
}

static void readers_find_what_is_being_written(void **state)
{
	struct world *w = *state;
	struct segment_indexes *l = segment_indexes_new();

	assert_null(segment_indexes_find(l, 3, FIRST));
	segment_indexes_add(l, w->index);
	struct segment_index *x = segment_indexes_find(l, 3, FIRST);
	assert_ptr_equal(x, w->index);
	assert_null(segment_indexes_find(l, 3, FIRST + 1));
	segment_indexes_remove(l, w->index);
	assert_null(segment_indexes_find(l, 3, FIRST));
	segment_index_unref(x);
	segment_indexes_free(l);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_file_answers_as_memory_does),
		TEST(a_block_without_a_summary_may_have_anything),
		TEST(damage_anywhere_is_noticed),
		TEST(pages_answer_as_all_of_a_union_does),
		TEST(a_damaged_page_may_have_anything),
		TEST(an_older_version_is_told_from_damage),
		TEST(another_segment_s_index_is_none),
		TEST(readers_find_what_is_being_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
