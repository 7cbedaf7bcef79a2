/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes behind a segment's blocks: what is encoded comes back, and what was
 * altered or cut comes back as nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "index/synopsis_build.h"
#include "index/synopsis_codec.h"
#include "store/segment_format.h"
#include "store/store.h"
#include "traffic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 7
#define FRAMES_END 5000
#define HEAD_BYTES 29

struct world {
	struct dice dice;
	struct block_info blocks[BLOCKS];
	struct segment_footer head;
	struct capture_row row;
	char *aliases[2];
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->dice.state = 3;
	for (unsigned i = 0; i < BLOCKS; i++)
		w->blocks[i] =
			(struct block_info){.capture = 3,
					    .segment = 11,
					    .seq = 11 + i,
					    .offset = HEAD_BYTES + 600ull * i,
					    .stored_bytes = 500 + i,
					    .raw_bytes = 1000 + i,
					    .packets = i};
	w->head = (struct segment_footer){.blocks = BLOCKS,
					  .capture = 3,
					  .first_seq = 11,
					  .link_type = 113,
					  .snaplen = 262144};
	w->aliases[0] = "gate";
	w->aliases[1] = "web";
	w->row = (struct capture_row){.uuid = "0123456789abcdef",
				      .savefile = true,
				      .promiscuous = true,
				      .interface = "eth7",
				      .filter = "tcp port 80",
				      .buffer_bytes = 1ull << 40,
				      .people = "ada,bob",
				      .aliases = w->aliases,
				      .n_aliases = 2};
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

/* A copy that ends where memory does, to be read no further. */
static uint8_t *exactly(const uint8_t *from, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	assert_non_null(copy);
	memcpy(copy, from, n);
	return copy;
}

/* --- the footer --- */

static void assert_footer(const struct world *w, const struct block_info *b,
			  const struct segment_footer *head,
			  const struct capture_row *row)
{
	assert_non_null(b);
	assert_memory_equal(b, w->blocks, head->blocks * sizeof(*b));
	assert_int_equal(head->blocks, w->head.blocks);
	assert_int_equal(head->capture, 3);
	assert_int_equal(head->first_seq, 11);
	assert_int_equal(row->id, 3);
	assert_int_equal(row->link_type, 113);
	assert_int_equal(row->snaplen, 262144);
	assert_int_equal(row->buffer_bytes, 1ull << 40);
	assert_true(row->savefile && row->promiscuous);
	assert_string_equal(row->uuid, w->row.uuid);
	assert_string_equal(row->people, w->row.people);
	assert_string_equal(row->interface, w->row.interface);
	assert_string_equal(row->filter, w->row.filter);
	assert_int_equal(row->n_aliases, w->row.n_aliases);
	for (size_t i = 0; i < row->n_aliases; i++)
		assert_string_equal(row->aliases[i], w->aliases[i]);
}

static void a_footer_comes_back(void **state)
{
	struct world *w = *state;

	/* Also without blocks, and of a capture without anything. */
	for (unsigned i = 0; i < 3; i++) {
		struct segment_footer head;
		struct capture_row row;
		size_t n;

		if (i == 1)
			w->head.blocks = 0;
		if (i == 2) {
			w->row.interface = w->row.filter = "";
			w->row.uuid[0] = w->row.people[0] = '\0';
			w->row.n_aliases = 0;
		}
		uint8_t *frame =
			segment_footer_encode(w->head, w->blocks, &w->row, &n);
		assert_non_null(frame);
		struct block_info *b =
			segment_footer_decode(frame, n, &head, &row);
		assert_footer(w, b, &head, &row);
		capture_row_done(&row);
		free(b);
		b = segment_footer_decode(frame, n, &head, NULL);
		assert_non_null(b);
		free(b);
		free(frame);
	}
}

static void no_footer(const uint8_t *frame, size_t n)
{
	uint8_t *copy = exactly(frame, n);
	struct segment_footer head;
	struct capture_row row;

	errno = EIO;
	assert_null(segment_footer_decode(copy, n, &head, &row));
	assert_int_equal(errno, 0);
	free(copy);
}

static void a_footer_that_was_altered_or_cut_is_none(void **state)
{
	struct world *w = *state;
	unsigned came_back = 0;
	size_t n;
	uint8_t *frame = segment_footer_encode(w->head, w->blocks, &w->row, &n);

	for (size_t i = 0; i < n; i++)
		no_footer(frame, i);
	for (size_t i = 0; i < 8 * n; i++) {
		struct segment_footer head;
		uint8_t *copy = exactly(frame, n);

		copy[i / 8] ^= (uint8_t)(1u << i % 8);
		struct capture_row row;
		struct block_info *b =
			segment_footer_decode(copy, n, &head, &row);
		/* Some bits of a zstd frame may be any. */
		if (b) {
			assert_footer(w, b, &head, &row);
			capture_row_done(&row);
		}
		came_back += b != NULL;
		free(b);
		free(copy);
	}
	assert_in_range(came_back, 0, n / 4); /* of 8 * n */
	free(frame);
}

/* --- the seek table --- */

static uint32_t word_of(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

/* Walks the entries as a reader of the seekable format does: they lie side by
 * side, and blocks are where they are. */
static void assert_table(const struct world *w, const uint8_t *table, size_t n,
			 uint64_t file_bytes)
{
	uint32_t entries = word_of(table + n - 9);
	uint64_t at = 0;
	unsigned block = 0;

	assert_int_equal(word_of(table), 0x184D2A5E);
	assert_int_equal(word_of(table + 4), n - 8);
	assert_int_equal(n, 8 + 8ull * entries + 9);
	assert_int_equal(table[n - 5], 0);
	assert_int_equal(word_of(table + n - 4), 0x8F92EAB1);
	for (uint32_t i = 0; i < entries; i++) {
		uint32_t stored = word_of(table + 8 + 8 * i),
			 raw = word_of(table + 12 + 8 * i);

		if (i == 0) {
			assert_int_equal(stored, HEAD_BYTES);
			assert_int_equal(raw, 24);
		} else if (raw) {
			assert_int_equal(at, w->blocks[block].offset);
			assert_int_equal(stored, w->blocks[block].stored_bytes);
			assert_int_equal(raw, w->blocks[block].raw_bytes);
			block++;
		}
		at += stored;
	}
	assert_int_equal(block, BLOCKS);
	assert_int_equal(at, file_bytes - n);
}

static void the_end_says_where_index_and_footer_are(void **state)
{
	struct world *w = *state;
	static const uint64_t index_bytes[] = {0, 8, 12345};

	for (unsigned i = 0; i < 3; i++) {
		size_t n;
		uint8_t *table =
			seek_table_encode(w->blocks, BLOCKS, HEAD_BYTES,
					  FRAMES_END, index_bytes[i], 777, &n);
		uint64_t all = FRAMES_END + index_bytes[i] + 777 + n;

		assert_non_null(table);
		assert_table(w, table, n, all);
		const uint8_t *end = table + n - SEGMENT_TAIL_BYTES;
		struct segment_tail t = segment_tail_decode(end, all);
		assert_int_equal(t.footer, FRAMES_END + index_bytes[i]);
		/* Damage before a footer looks like an index of so many bytes,
		 * whose first bytes then say that it is none. */
		assert_int_equal(t.index_bytes,
				 i ? index_bytes[i]
				   : FRAMES_END - (HEAD_BYTES + 600 * 6 + 506));
		assert_int_equal(t.index + t.index_bytes, t.footer);
		/* A file that is too short for what its end says. */
		t = segment_tail_decode(end, 777 + n - 1);
		assert_int_equal(t.footer, 0);
		assert_int_equal(t.index_bytes, 0);
		if (i == 2) {
			t = segment_tail_decode(end, 777 + n + 12344);
			assert_int_equal(t.footer, 12344);
			assert_int_equal(t.index_bytes, 0);
		}
		free(table);
	}
}

static void an_end_that_is_anything_names_nothing_outside(void **state)
{
	struct world *w = *state;
	uint8_t end[SEGMENT_TAIL_BYTES];
	const uint32_t magic = 0x8F92EAB1;

	for (unsigned i = 0; i < 20000; i++) {
		uint64_t all = roll(&w->dice, 2) ? 1000 : 1ull << 40;

		for (size_t k = 0; k < sizeof(end); k++)
			end[k] = (uint8_t)(roll(&w->dice, 2)
						   ? 0
						   : roll(&w->dice, 256));
		if (roll(&w->dice, 8))
			memcpy(end + 21, &magic, 4);
		struct segment_tail t = segment_tail_decode(end, all);
		assert_true(t.footer <= all);
		assert_true(t.index_bytes <= t.footer);
		assert_true(!t.index_bytes ||
			    t.index + t.index_bytes == t.footer);
		if (memcmp(end + 21, &magic, 4) != 0)
			assert_int_equal(t.footer, 0);
	}
}

/* --- the index --- */

#define SYNOPSES 3

struct index_parts {
	struct synopsis *all;
	uint8_t *bytes;
	size_t n_bytes;
	struct segment_index_entry entries[SYNOPSES];
};

static void make_parts(struct world *w, struct index_parts *p)
{
	uint8_t *packets = malloc(40 * (16 + TRAFFIC_PACKET_MAX));
	struct synopsis_maker *one = synopsis_maker_new(1, SYNOPSIS_KEYS_BLOCK),
			      *all = synopsis_maker_new(1,
							SYNOPSIS_KEYS_SEGMENT);

	*p = (struct index_parts){.bytes = malloc(SYNOPSES << 16)};
	for (uint32_t i = 0; i < SYNOPSES; i++) {
		uint32_t n = traffic_block(&w->dice, 1, 40, packets);

		synopsis_maker_reset(one, 1);
		synopsis_maker_packets(one, packets, n);
		struct synopsis *s = synopsis_make(one);
		synopsis_maker_union(all, s);
		p->entries[i] = (struct segment_index_entry){
			2 * i, (uint32_t)synopsis_bytes(s)};
		assert_in_range(p->entries[i].bytes, 1, 1 << 16);
		synopsis_write(s, p->bytes + p->n_bytes);
		p->n_bytes += p->entries[i].bytes;
		synopsis_free(s);
	}
	p->all = synopsis_make(all);
	synopsis_maker_free(one);
	synopsis_maker_free(all);
	free(packets);
}

static void parts_done(struct index_parts *p)
{
	synopsis_free(p->all);
	free(p->bytes);
}

static uint8_t *encode_parts(const struct index_parts *p, bool with_union,
			     size_t *n)
{
	const struct segment_index_head head = {
		.link_type = 1, .capture = 3, .first_seq = 11};

	return segment_index_encode(head, with_union ? p->all : NULL,
				    p->entries, SYNOPSES, p->bytes, p->n_bytes,
				    n);
}

static uint32_t count_values(const struct synopsis *s)
{
	uint32_t n = 0;

	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		n += s->count[set];
	return n;
}

/* All of what a frame of n bytes says: true, and it is what p has; or false. */
static bool decodes(const struct index_parts *p, const uint8_t *frame, size_t n)
{
	struct segment_index_start s;
	struct synopsis_pages pages;
	size_t have = n < sizeof(s) ? n : sizeof(s), at[SYNOPSES];
	struct segment_index_entry entries[SYNOPSES];

	memcpy(&s, frame, have);
	if (!segment_index_begins(&s, have, n, 3, 11) ||
	    !segment_index_front_whole(&s))
		return false;
	assert_int_equal(s.head.blocks, SYNOPSES);
	size_t values = (s.head.union_bytes - s.head.front_bytes) / 4;
	struct synopsis *u = malloc(sizeof(*u) + 4 * values);
	const uint8_t *from = frame + SEGMENT_INDEX_LEAST;
	bool ok =
		!s.head.union_bytes || segment_index_sets(&s, NULL, u, &pages);
	if (ok && s.head.union_bytes) {
		uint32_t page = 0;

		assert_int_equal(values, count_values(p->all));
		assert_int_equal(u->present, p->all->present);
		assert_memory_equal(u->count, p->all->count, sizeof(u->count));
		memcpy(u->values, from + s.head.front_bytes, 4 * values);
		for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
			for (uint32_t i = 0;
			     i < synopsis_pages_of(u->count[set]); i++, page++)
				ok &= segment_index_page_sum(
					      set, i,
					      u->values + u->first[set] +
						      i * SYNOPSIS_PAGE,
					      segment_index_page_values(
						      u->count[set], i)) ==
				      pages.page[page].sum;
		if (ok)
			assert_memory_equal(u->values, p->all->values,
					    4 * values);
	}
	uint8_t *bytes = malloc(s.head.body_bytes + 1u);
	size_t front = SEGMENT_INDEX_LEAST + s.head.union_bytes;
	ok = ok && segment_index_body_decode(&s.head, frame + front, n - front,
					     bytes, entries, at);
	if (ok) {
		assert_memory_equal(entries, p->entries, sizeof(entries));
		assert_memory_equal(bytes + at[0], p->bytes, p->n_bytes);
	}
	free(bytes);
	free(u);
	return ok;
}

static void an_index_comes_back(void **state)
{
	struct index_parts p;
	size_t n;

	make_parts(*state, &p);
	for (int with_union = 0; with_union < 2; with_union++) {
		uint8_t *frame = encode_parts(&p, with_union, &n);

		assert_non_null(frame);
		assert_int_equal(word_of(frame), 0x184D2A5D);
		assert_int_equal(word_of(frame + 4), n - 8);
		assert_true(decodes(&p, frame, n));
		free(frame);
	}
	parts_done(&p);
}

static void an_index_that_was_altered_or_cut_is_none(void **state)
{
	struct world *w = *state;
	struct index_parts p;
	size_t n;

	make_parts(w, &p);
	uint8_t *frame = encode_parts(&p, true, &n);
	unsigned came_back = 0;
	for (size_t i = 0; i < n; i += i < 100 ? 1 : 1 + roll(&w->dice, 40)) {
		uint8_t *copy = exactly(frame, i);

		assert_false(decodes(&p, copy, i));
		free(copy);
		copy = exactly(frame, n);
		copy[i] ^= (uint8_t)(1u << roll(&w->dice, 8));
		/* Some bits of a zstd frame may be any. */
		came_back += decodes(&p, copy, n);
		free(copy);
	}
	assert_in_range(came_back, 0, 4);
	free(frame);
	parts_done(&p);
}

static void an_index_of_another_segment_or_version_is_none(void **state)
{
	struct segment_index_start s;
	struct index_parts p;
	size_t n;

	make_parts(*state, &p);
	uint8_t *frame = encode_parts(&p, false, &n);
	size_t have = n < sizeof(s) ? n : sizeof(s);
	memcpy(&s, frame, have);
	assert_true(segment_index_begins(&s, have, n, 3, 11));
	assert_false(segment_index_begins(&s, have, n, 4, 11));
	assert_false(segment_index_begins(&s, have, n, 3, 12));
	assert_false(segment_index_begins(&s, have, n + 1, 3, 11));
	assert_false(segment_index_begins(&s, have, n - 1, 3, 11));
	assert_false(segment_index_outdated(&s, n));
	/* Two of four are enough to go round it. */
	assert_true(segment_index_resembles(&s, n, 4, 12));
	assert_false(segment_index_resembles(&s, n + 1, 4, 12));
	s.head.version = 1;
	assert_false(segment_index_begins(&s, have, n, 3, 11));
	assert_true(segment_index_outdated(&s, n));
	assert_false(segment_index_outdated(&s, n + 1));
	s.head.version = 3;
	assert_false(segment_index_outdated(&s, n));
	free(frame);
	parts_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(a_footer_comes_back),
		T(a_footer_that_was_altered_or_cut_is_none),
		T(the_end_says_where_index_and_footer_are),
		T(an_end_that_is_anything_names_nothing_outside),
		T(an_index_comes_back),
		T(an_index_that_was_altered_or_cut_is_none),
		T(an_index_of_another_segment_or_version_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
