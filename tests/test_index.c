/*
 * Indexes: what goes into a segment's file comes out of it with the same
 * answers, and what is damaged there answers that anything may match.
 */
#include "packet/bpf_filter.h"
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
	struct summary *all = index_read_union(w->fd, &w->at, 3, FIRST, &none);
	struct union_reader *u = union_reader_new();
	assert_non_null(x);
	assert_non_null(all);
	for (unsigned i = 0; i < FILTERS; i++) {
		struct filter *f = random_filter(w);
		struct question q = {.program = &f->program};

		prune_needs(&f->program, 1, q.need);
		struct summary *some =
			union_open(u, w->fd, &w->at, 3, FIRST, q.need);
		bool any = prune_may_match(&f->program, all);
		assert_non_null(some);
		assert_int_equal(any, prune_may_match(&f->program, some));

		for (unsigned b = 0; b < BLOCKS; b++) {
			bool may = index_may_match(x, FIRST + 2 * b, &q, NULL);

			assert_int_equal(may, index_may_match(w->index,
							      FIRST + 2 * b, &q,
							      NULL));
			if (has_match(w, b, f))
				assert_true(may && any);
			pruned += !may;
		}
		filter_free(f);
	}
	assert_true(pruned > BLOCKS * FILTERS / 10);
	union_reader_free(u);
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
	assert_false(index_may_match(w->index, FIRST, &q, NULL));
	assert_true(index_may_match(w->index, FIRST + 1, &q, NULL));
	assert_true(index_may_match(w->index, FIRST - 1, &q, NULL));
	assert_true(index_may_match(w->index, UINT64_MAX, &q, NULL));
	/* And its segment, too. */
	index_add_unknown(w->index);
	put_file(w);
	assert_null(index_read_union(w->fd, &w->at, 3, FIRST, &none));
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
			index_read_union(w->fd, &w->at, 3, FIRST, &none);
		/* Not every bit of a zstd frame means something; its checksum
		 * is of what it decodes to. */
		if (x && all)
			assert_true(i >= behind_union);
		index_unref(x);
		summary_free(all);
		assert_int_equal(pwrite(w->fd, &was, 1, at), 1);
	}
}

/* --- sets of many pages --- */

#define WIDE_BLOCKS 100u
#define WIDE_PACKETS 60u
#define WIDE_BYTES 2000u /* long ones: summaries get a part of them */

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

	index_unref(w->index);
	w->index = index_new(w->maker, 3, FIRST, 1);
	assert_non_null(w->index);
	for (uint32_t i = 0; i < WIDE_BLOCKS; i++) {
		for (uint32_t k = 0; k < WIDE_PACKETS; k++) {
			uint8_t *p = records + k * (16 + WIDE_BYTES);

			memcpy(p, &h, sizeof(h));
			wide_packet(&w->dice, p + sizeof(h));
		}
		index_add(w->index, w->maker, FIRST + i, records,
			  sizeof(records));
	}
}

static struct filter *wide_filter(struct world *w)
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
	struct filter *f = filter_compile(text, 1, 65535, &e);
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
	struct summary *all = index_read_union(w->fd, &w->at, 3, FIRST, &none);
	assert_non_null(all);
	for (uint32_t set = 0; set < SUMMARY_SETS; set++)
		most = all->count[set] > most ? all->count[set] : most;
	assert_true(most > 4 * SUMMARY_PAGE);
	for (unsigned i = 0; i < 2000; i++) {
		struct filter *f = wide_filter(w);
		uint32_t need[SUMMARY_CLASSES];

		prune_needs(&f->program, 1, need);
		struct summary *s =
			union_open(u, w->fd, &w->at, 3, FIRST, need);
		assert_non_null(s);
		bool may = prune_may_match(&f->program, all);
		assert_int_equal(prune_may_match(&f->program, s), may);
		yes += may;
		no += !may;
		filter_free(f);
	}
	assert_true(no > 200 && yes > 200);
	summary_free(all);
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
	struct summary *all = index_read_union(w->fd, &w->at, 3, FIRST, &none);
	for (uint32_t i = 0; i < 1000; i++) {
		struct filter *f = wide_filter(w);
		uint32_t need[SUMMARY_CLASSES];
		off_t at = 100 + 56 + (off_t)roll(&w->dice, union_bytes);
		uint8_t was, is;

		prune_needs(&f->program, 1, need);
		assert_int_equal(pread(w->fd, &was, 1, at), 1);
		is = was ^ (uint8_t)(1u << roll(&w->dice, 8));
		assert_int_equal(pwrite(w->fd, &is, 1, at), 1);
		struct summary *s =
			union_open(u, w->fd, &w->at, 3, FIRST, need);
		bool may = !s || prune_may_match(&f->program, s);
		bool really = prune_may_match(&f->program, all);
		assert_true(may || !really);
		noticed += may && !really;
		assert_int_equal(pwrite(w->fd, &was, 1, at), 1);
		filter_free(f);
	}
	assert_true(noticed > 0);
	summary_free(all);
	union_reader_free(u);
}

static void an_older_version_is_told_from_damage(void **state)
{
	struct world *w = *state;
	struct union_reader *u = union_reader_new();
	uint32_t version;

	put_file(w);
	assert_false(index_is_older(w->fd, &w->at));
	for (version = 0; version < INDEX_VERSION + 2; version++) {
		assert_int_equal(pwrite(w->fd, &version, 4, 108), 4);
		assert_int_equal(index_is_older(w->fd, &w->at),
				 version && version < INDEX_VERSION);
		struct summary *s =
			union_open(u, w->fd, &w->at, 3, FIRST, NULL);
		assert_int_equal(s != NULL, version == INDEX_VERSION);
	}
	union_reader_free(u);
}

static void another_segment_s_index_is_none(void **state)
{
	struct world *w = *state;
	bool none;

	put_file(w);
	assert_null(index_read(w->fd, &w->at, 4, FIRST));
	assert_null(index_read(w->fd, &w->at, 3, FIRST + 1));
	assert_null(index_read_union(w->fd, &w->at, 4, FIRST, &none));
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
		TEST(pages_answer_as_all_of_a_union_does),
		TEST(a_damaged_page_may_have_anything),
		TEST(an_older_version_is_told_from_damage),
		TEST(another_segment_s_index_is_none),
		TEST(readers_find_what_is_being_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
