/* SPDX-License-Identifier: BSD-3-Clause */
#include "index/synopsis_build.h"
#include "index/synopsis_codec.h"

#include "traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ETHERNET 1
#define BLOCK_BYTES (256u << 10)

static struct synopsis *made_of(uint32_t link_type, const uint8_t *records,
				uint32_t n, uint32_t max_keys)
{
	struct synopsis_maker *m = synopsis_maker_new(link_type, max_keys);
	struct synopsis *s;

	assert_non_null(m);
	synopsis_maker_packets(m, records, n);
	s = synopsis_make(m);
	assert_non_null(s);
	synopsis_maker_free(m);
	return s;
}

static uint32_t add_record(uint8_t *to, uint32_t at, const void *p, uint32_t n)
{
	struct packet_head h = {0, 0, n, n};

	memcpy(to + at, &h, sizeof(h));
	memcpy(to + at + sizeof(h), p, n);
	return at + (uint32_t)sizeof(h) + n;
}

/* The set of the word at this offset in a class; it has to have one. */
static uint32_t set_at(const struct synopsis *s, unsigned class,
		       enum word_place place, uint32_t offset)
{
	struct header_layout l;

	header_layout(s->link_type, class, &l);
	for (uint32_t i = 0; i < l.n; i++)
		if (l.words[i].place == place && l.words[i].offset == offset &&
		    !l.words[i].fixed)
			return class * SYNOPSIS_WORDS + i;
	fail_msg("class %u has no word at %u", class, offset);
	return 0;
}

static void assert_set(const struct synopsis *s, uint32_t set, uint32_t value)
{
	assert_int_equal(s->level[set], 0);
	assert_int_equal(s->count[set], 1);
	assert_int_equal(s->values[s->first[set]], value);
}

/* 10.0.0.1:40000 > 203.0.113.9:445 */
static const uint8_t tcp[] = {
	0,    0, 0x5e, 0,  0x53, 1, 0,	  0,	0x5e, 0,    0x53, 2, 8,	 0,
	0x45, 0, 0,    40, 0,	 1, 0x40, 0,	64,   6,    0,	  0, 10, 0,
	0,    1, 203,  0,  113,	 9, 0x9c, 0x40, 1,    0xbd, 0,	  0, 0,	 0,
	0,    0, 0,    0,  0x50, 2, 0,	  0,	0,    0,    0,	  0};

static void a_packet_s_words_are_in_the_sets_of_its_class(void **state)
{
	uint8_t records[128];
	uint32_t n = add_record(records, 0, tcp, sizeof(tcp));
	struct synopsis *s = made_of(ETHERNET, records, n, 100);

	(void)state;
	assert_int_equal(s->present, 1u << KIND_IP4_TCP);
	assert_set(s, set_at(s, KIND_IP4_TCP, WORD_AT, 8), 0x5e005302);
	assert_set(s, set_at(s, KIND_IP4_TCP, WORD_AT, 26), 0x0a000001);
	assert_set(s, set_at(s, KIND_IP4_TCP, WORD_AT, 30), 0xcb007109);
	assert_set(s, set_at(s, KIND_IP4_TCP, WORD_AFTER_HEADER, 14), 40000);
	assert_set(s, set_at(s, KIND_IP4_TCP, WORD_AFTER_HEADER, 16), 445);
	assert_set(s, set_at(s, KIND_IP4_TCP, WORD_WIRE_LENGTH, 0), 0);
	synopsis_free(s);
}

static void a_word_that_is_cut_is_anything(void **state)
{
	uint8_t records[128];
	uint32_t n = add_record(records, 0, tcp, 33);
	struct synopsis *s = made_of(ETHERNET, records, n, 100);
	uint32_t to = set_at(s, KIND_IP4_TCP, WORD_AT, 30);
	uint32_t from = set_at(s, KIND_IP4_TCP, WORD_AT, 26);
	uint32_t port = set_at(s, KIND_IP4_TCP, WORD_AFTER_HEADER, 14);

	(void)state;
	assert_int_equal(s->level[to], SYNOPSIS_ANY);
	assert_set(s, from, 0x0a000001);
	assert_int_equal(s->level[port], 0); /* not there at all */
	assert_int_equal(s->count[port], 0);
	synopsis_free(s);
}

static void a_word_that_just_ends_the_packet_is_whole(void **state)
{
	uint8_t records[128];
	uint32_t n = add_record(records, 0, tcp, 38);
	struct synopsis *s = made_of(ETHERNET, records, n, 100);

	(void)state;
	assert_set(s, set_at(s, KIND_IP4_TCP, WORD_AFTER_HEADER, 16), 445);
	synopsis_free(s);
}

static bool holds(const struct synopsis *s, uint32_t set, const struct word *w,
		  uint32_t value)
{
	if (s->level[set] == SYNOPSIS_ANY)
		return true;
	for (uint32_t i = 0; i < s->count[set]; i++)
		if (s->values[s->first[set] + i] ==
		    value >> synopsis_shift(w, s->level[set]))
			return true;
	return false;
}

/* The promise of synopsis.h, for one packet and one class. */
static bool promise_holds(const struct synopsis *s, unsigned class,
			  const struct packet_head *h, const uint8_t *p)
{
	struct header_layout l;

	header_layout(s->link_type, class, &l);
	for (uint32_t i = 0; i < l.n; i++) {
		const struct word *w = &l.words[i];
		uint32_t set = class * SYNOPSIS_WORDS + i, value = 0;
		uint64_t at = w->offset;

		if (w->place == WORD_WIRE_LENGTH) {
			if (!holds(s, set, w, h->len))
				return false;
			continue;
		}
		if (w->place == WORD_AFTER_HEADER) {
			if (h->caplen <= l.header)
				continue;
			at += 4 * (p[l.header] & 0xf);
		}
		if (at >= h->caplen && !w->fixed)
			continue;
		if (at + w->bytes > h->caplen) {
			if (w->fixed || s->level[set] != SYNOPSIS_ANY)
				return false;
			continue;
		}
		for (unsigned b = 0; b < w->bytes; b++)
			value = value << 8 | p[at + b];
		if (w->fixed ? value != w->value : !holds(s, set, w, value))
			return false;
	}
	return true;
}

static void assert_promise(const struct synopsis *s, const uint8_t *records,
			   uint32_t n)
{
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = 0;

	while (packet_next(records, n, &at, &h, &body) > 0) {
		bool kept = false;

		for (unsigned c = 0; c < SYNOPSIS_CLASSES; c++)
			kept |= s->present >> c & 1 &&
				promise_holds(s, c, &h, body);
		assert_true(kept);
	}
}

static void the_promise_holds_for_any_packets_and_any_size(void **state)
{
	static const uint32_t keys[] = {1, 2, 7, 30, 200, SYNOPSIS_KEYS_BLOCK};
	struct dice d = {7};
	uint8_t *records = malloc(40 * (16 + TRAFFIC_PACKET_MAX));

	(void)state;
	for (int round = 0; round < 2000; round++) {
		uint32_t link_type = traffic_link_types[roll(
			&d, (uint32_t)traffic_link_types_n)];
		uint32_t n =
			traffic_block(&d, link_type, 1 + roll(&d, 40), records);
		uint32_t max = keys[roll(&d, 6)], total = 0;
		struct synopsis *s = made_of(link_type, records, n, max);

		for (uint32_t i = 0; i < SYNOPSIS_SETS; i++)
			total += s->count[i];
		assert_true(total <= max);
		assert_promise(s, records, n);
		size_t bytes = synopsis_bytes(s);
		if (synopsis_fit(s, bytes / 2))
			assert_true(synopsis_bytes(s) <= bytes / 2);
		assert_promise(s, records, n);
		synopsis_free(s);
	}
	free(records);
}

/* --- exactly --- */

enum { PACKETS = 120 };

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* New ones, the same again, and such that differ in a byte or in length. */
static uint32_t block_of_likes(struct dice *d, uint32_t link_type, uint8_t *to)
{
	uint32_t at = 0, begins[PACKETS];

	for (uint32_t i = 0; i < PACKETS; i++) {
		struct packet_head h = {0};
		uint8_t p[TRAFFIC_PACKET_MAX];

		begins[i] = at;
		if (i == 0 || roll(d, 4) == 0) {
			h.caplen = traffic_packet(d, link_type, p, &h.len);
		} else {
			uint32_t other = begins[roll(d, i)];

			memcpy(&h, to + other, sizeof(h));
			memcpy(p, to + other + sizeof(h), h.caplen);
			if (roll(d, 3) && h.caplen)
				p[roll(d, h.caplen < 70 ? h.caplen : 70)] ^=
					(uint8_t)(1u << roll(d, 8));
			if (roll(d, 4) == 0)
				h.len += roll(d, 6000);
		}
		memcpy(to + at, &h, sizeof(h));
		memcpy(to + at + sizeof(h), p, h.caplen);
		at += (uint32_t)sizeof(h) + h.caplen;
	}
	return at;
}

/* What the packet's word is: 1, or 0 where it has none, -1 where it is cut. */
static int word_of(const struct header_layout *l, const struct word *w,
		   const struct packet_head *h, const uint8_t *p,
		   uint32_t *value)
{
	uint64_t at = w->offset;

	*value = h->len;
	if (w->place == WORD_WIRE_LENGTH)
		return 1;
	if (w->place == WORD_AFTER_HEADER && h->caplen > l->header)
		at += 4 * (p[l->header] & 0xf);
	if (at >= h->caplen ||
	    (w->place == WORD_AFTER_HEADER && h->caplen <= l->header))
		return 0;
	if (at + w->bytes > h->caplen)
		return -1;
	*value = 0;
	for (unsigned b = 0; b < w->bytes; b++)
		*value = *value << 8 | p[at + b];
	return 1;
}

/* A maker tells a packet's class where it has no other packets. */
static unsigned class_of(struct synopsis_maker *m, uint32_t link_type,
			 const uint8_t *record, uint32_t n)
{
	synopsis_maker_reset(m, link_type);
	synopsis_maker_packets(m, record, n);
	struct synopsis *s = synopsis_make(m);
	unsigned class = (unsigned)__builtin_ctz(s->present);

	assert_int_equal(s->present, 1u << class);
	synopsis_free(s);
	return class;
}

static void assert_exact(const struct synopsis *s, uint32_t set,
			 const struct header_layout *l, const unsigned *class,
			 const uint8_t *records, uint32_t n)
{
	const struct word *w = &l->words[set % SYNOPSIS_WORDS];
	uint32_t values[PACKETS], count = 0, unique = 0, at = 0, value;
	struct packet_head h;
	const uint8_t *body;
	bool any = false;

	while (packet_next(records, n, &at, &h, &body) > 0) {
		if (*class ++ != set / SYNOPSIS_WORDS)
			continue;
		int got = word_of(l, w, &h, body, &value);
		any |= got < 0;
		if (got > 0)
			values[count++] = value >> synopsis_shift(w, 0);
	}
	assert_int_equal(s->level[set], any ? SYNOPSIS_ANY : 0);
	if (any)
		count = 0;
	qsort(values, count, sizeof(*values), by_value);
	for (uint32_t i = 0; i < count; i++)
		if (unique == 0 || values[unique - 1] != values[i])
			values[unique++] = values[i];
	assert_int_equal(s->count[set], unique);
	if (unique)
		assert_memory_equal(s->values + s->first[set], values,
				    unique * sizeof(*values));
}

/* The maker is the same for all, so that nothing may be left in it. */
static void sets_have_the_values_of_the_packets_and_no_others(void **state)
{
	struct dice d = {13};
	struct synopsis_maker *one = synopsis_maker_new(ETHERNET, 100),
			      *m = synopsis_maker_new(ETHERNET, 4096);
	uint8_t *room = malloc(PACKETS * (16 + TRAFFIC_PACKET_MAX));
	unsigned class[PACKETS];
	struct header_layout l;

	(void)state;
	for (int round = 0; round < 400; round++) {
		uint32_t link_type = traffic_link_types[roll(
			&d, (uint32_t)traffic_link_types_n)];
		uint32_t n = block_of_likes(&d, link_type, room), at = 0;
		/* No byte behind it. */
		uint8_t *records = malloc(n);

		memcpy(records, room, n);
		for (uint32_t i = 0, end = 0; i < PACKETS; i++, at = end) {
			struct packet_head h;
			const uint8_t *body;

			packet_next(records, n, &end, &h, &body);
			class[i] = class_of(one, link_type, records + at,
					    end - at);
		}
		synopsis_maker_reset(m, link_type);
		synopsis_maker_packets(m, records, n);
		struct synopsis *s = synopsis_make(m);
		for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
			header_layout(link_type, set / SYNOPSIS_WORDS, &l);
			if (set % SYNOPSIS_WORDS < l.n &&
			    !l.words[set % SYNOPSIS_WORDS].fixed)
				assert_exact(s, set, &l, class, records, n);
			else
				assert_int_equal(s->count[set], 0);
		}
		synopsis_free(s);
		free(records);
	}
	free(room);
	synopsis_maker_free(one);
	synopsis_maker_free(m);
}

/* As many resets as a maker can tell apart, and some: what it had first is
 * still where it was. */
static void a_maker_forgets_however_often_it_is_reset(void **state)
{
	enum { EPOCHS = 1 << 22 };
	uint8_t records[128];
	uint32_t n = add_record(records, 0, tcp, sizeof(tcp));
	struct synopsis_maker *m = synopsis_maker_new(ETHERNET, 4096);

	(void)state;
	synopsis_maker_packets(m, records, n);
	for (uint32_t i = 1; i < EPOCHS + 8; i++) {
		synopsis_maker_reset(m, ETHERNET);
		if (i < EPOCHS - 1)
			continue;
		struct synopsis *s = synopsis_make(m);
		assert_int_equal(s->present, 0);
		synopsis_free(s);
		synopsis_maker_packets(m, records, n);
		s = synopsis_make(m);
		assert_set(s, set_at(s, KIND_IP4_TCP, WORD_AT, 26), 0x0a000001);
		assert_set(s, set_at(s, KIND_IP4_TCP, WORD_AFTER_HEADER, 16),
			   445);
		synopsis_free(s);
	}
	synopsis_maker_free(m);
}

static void a_union_keeps_what_each_of_its_parts_promised(void **state)
{
	struct dice d = {8};
	enum { PARTS = 8 };
	uint8_t *records[PARTS];
	uint32_t n[PARTS];

	(void)state;
	for (int round = 0; round < 100; round++) {
		struct synopsis_maker *m =
			synopsis_maker_new(ETHERNET, 1u << (1 + roll(&d, 12)));

		for (int i = 0; i < PARTS; i++) {
			records[i] = malloc(20 * (16 + TRAFFIC_PACKET_MAX));
			n[i] = traffic_block(&d, ETHERNET, 20, records[i]);
			struct synopsis *s = made_of(ETHERNET, records[i], n[i],
						     10 + roll(&d, 500));
			synopsis_maker_union(m, s);
			synopsis_free(s);
		}
		struct synopsis *all = synopsis_make(m);
		for (int i = 0; i < PARTS; i++) {
			assert_promise(all, records[i], n[i]);
			free(records[i]);
		}
		synopsis_free(all);
		synopsis_maker_free(m);
	}
}

/* Packets that have nothing in common, or nearly nothing new. */
static struct synopsis *part_of(struct dice *d, bool new)
{
	enum { N = 1000 };
	uint8_t packet[sizeof(tcp)];
	uint8_t *records = malloc(N * (16 + sizeof(tcp)));
	uint32_t n = 0;

	memcpy(packet, tcp, sizeof(tcp));
	for (unsigned i = 0; i < N; i++) {
		for (unsigned at = 27; at < 38; at++)
			packet[at] = (uint8_t)roll(d, new ? 256 : 3);
		n = add_record(records, n, packet, sizeof(packet));
	}
	struct synopsis *s = made_of(ETHERNET, records, n, 4 * N + 100);
	free(records);
	return s;
}

static void assert_union(const struct synopsis *all, struct synopsis **parts,
			 unsigned n_parts, uint32_t set)
{
	uint32_t *values, count = 0, unique = 0;

	if (all->level[set] == SYNOPSIS_ANY)
		return;
	for (unsigned i = 0; i < n_parts; i++)
		count += parts[i]->count[set];
	values = malloc((count + 1) * sizeof(*values));
	count = 0;
	for (unsigned i = 0; i < n_parts; i++) {
		const uint32_t *v = parts[i]->values + parts[i]->first[set];

		assert_int_equal(parts[i]->level[set], 0);
		for (uint32_t k = 0; k < parts[i]->count[set]; k++)
			values[count++] = v[k] >> 4 * all->level[set];
	}
	qsort(values, count, sizeof(*values), by_value);
	for (uint32_t i = 0; i < count; i++)
		if (unique == 0 || values[unique - 1] != values[i])
			values[unique++] = values[i];
	assert_int_equal(all->count[set], unique);
	if (unique)
		assert_memory_equal(all->values + all->first[set], values,
				    unique * sizeof(*values));
	free(values);
}

/* As large as a segment's, which looks for ports elsewhere than for addresses,
 * and the same one for all: first with what floods it, then with little. */
static void
a_large_union_has_the_values_of_its_parts_and_no_others(void **state)
{
	enum { PARTS = 60 };
	struct synopsis_maker *m =
		synopsis_maker_new(ETHERNET, SYNOPSIS_KEYS_SEGMENT);
	struct synopsis *parts[PARTS], *all;
	struct dice d = {17};

	(void)state;
	for (int round = 0; round < 6; round++) {
		unsigned n_parts = round % 2 ? 3 : PARTS, coarse = 0;

		synopsis_maker_reset(m, ETHERNET);
		for (unsigned i = 0; i < n_parts; i++) {
			parts[i] = part_of(&d, round % 2 == 0);
			synopsis_maker_union(m, parts[i]);
		}
		all = synopsis_make(m);
		for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
			assert_union(all, parts, n_parts, set);
			coarse += all->level[set] > 0;
		}
		assert_int_equal(coarse > 0, round % 2 == 0);
		assert_int_equal(
			all->level[set_at(all, KIND_IP4_TCP, WORD_AT, 0)], 0);
		for (unsigned i = 0; i < n_parts; i++)
			synopsis_free(parts[i]);
		synopsis_free(all);
	}
	synopsis_maker_free(m);
}

static uint32_t values_of(const struct synopsis *s, unsigned *coarse)
{
	uint32_t n = 0;

	*coarse = 0;
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
		n += s->count[set];
		*coarse += s->level[set] > 0;
	}
	return n;
}

/* With room for just what there is, what comes again needs none. */
static void what_a_full_union_has_already_costs_nothing(void **state)
{
	enum { PARTS = 20 };
	struct synopsis_maker *m =
		synopsis_maker_new(ETHERNET, SYNOPSIS_KEYS_SEGMENT);
	struct synopsis *parts[PARTS], *all;
	struct dice d = {19};
	unsigned coarse;

	(void)state;
	for (unsigned i = 0; i < PARTS; i++) {
		parts[i] = part_of(&d, true);
		synopsis_maker_union(m, parts[i]);
	}
	all = synopsis_make(m);
	uint32_t n = values_of(all, &coarse);
	assert_int_equal(coarse, 0);
	synopsis_free(all);
	synopsis_maker_free(m);
	m = synopsis_maker_new(ETHERNET, n);
	for (unsigned i = 0; i < 2 * PARTS; i++)
		synopsis_maker_union(m, parts[i % PARTS]);
	all = synopsis_make(m);
	assert_int_equal(values_of(all, &coarse), n);
	assert_int_equal(coarse, 0);
	synopsis_free(all);
	synopsis_maker_free(m);
	for (unsigned i = 0; i < PARTS; i++)
		synopsis_free(parts[i]);
}

static void a_maker_begins_anew_after_reset(void **state)
{
	uint8_t records[128];
	uint32_t n = add_record(records, 0, tcp, sizeof(tcp));
	struct synopsis_maker *m = synopsis_maker_new(113, 100);

	(void)state;
	synopsis_maker_packets(m, records, n);
	synopsis_maker_reset(m, ETHERNET);
	struct synopsis *s = synopsis_make(m);
	assert_int_equal(s->present, 0);
	synopsis_free(s);
	synopsis_maker_packets(m, records, n);
	synopsis_maker_packets(m, records, n);
	s = synopsis_make(m);
	assert_int_equal(s->link_type, ETHERNET);
	assert_set(s, set_at(s, KIND_IP4_TCP, WORD_AT, 26), 0x0a000001);
	synopsis_free(s);
	synopsis_maker_free(m);
}

/* --- what floods --- */

enum flood { ADDRESSES, SCAN, EVERYTHING, LENGTHS, GARBAGE, TINY, FLOODS };

static uint32_t flood_packet(struct dice *d, enum flood what, uint32_t i,
			     uint8_t *p)
{
	static const uint8_t kinds[] = {6, 17, 132, 1};
	uint32_t n = sizeof(tcp);

	memcpy(p, tcp, sizeof(tcp));
	if (what == ADDRESSES)
		for (int k = 26; k < 38; k++)
			p[k] = (uint8_t)roll(d, 256);
	else if (what == SCAN)
		for (int k = 0; k < 4; k++)
			p[30 + k] = (uint8_t)(i >> 8 * (3 - k));
	else if (what == LENGTHS)
		n = roll(d, sizeof(tcp) + 1);
	else if (what == GARBAGE || what == TINY)
		n = roll(d, what == TINY ? 15 : 100);
	if (what == EVERYTHING || what == GARBAGE || what == TINY)
		for (uint32_t k = 0; k < n; k++)
			p[k] = (uint8_t)roll(d, 256);
	if (what == EVERYTHING) {
		uint32_t at = roll(d, 2) ? 12 : 16;

		if (at == 16)
			memcpy(p + 12, "\x81\0", 2);
		memcpy(p + at, roll(d, 2) ? "\x08\0" : "\x86\xdd", 2);
		p[at + 11] = kinds[roll(d, 4)];
		p[at + 8] = kinds[roll(d, 4)];
	}
	return n;
}

static uint32_t flood_block(struct dice *d, enum flood what, uint8_t *to)
{
	uint8_t p[128];
	uint32_t at = 0;

	for (uint32_t i = 0; at + 16 + sizeof(p) < BLOCK_BYTES; i++)
		at = add_record(to, at, p, flood_packet(d, what, i, p));
	return at;
}

static void no_flood_takes_more_than_a_hundredth(void **state)
{
	struct dice d = {9};
	uint8_t *records = malloc(BLOCK_BYTES);

	(void)state;
	for (enum flood f = 0; f < FLOODS; f++) {
		uint32_t n = flood_block(&d, f, records);
		struct synopsis *s =
			made_of(ETHERNET, records, n, SYNOPSIS_KEYS_BLOCK);

		assert_true(synopsis_fit(s, n / 100));
		assert_true(synopsis_bytes(s) <= n / 100);
		assert_promise(s, records, n);
		synopsis_free(s);
	}
	free(records);
}

static void a_flooded_word_costs_only_itself(void **state)
{
	struct dice d = {10};
	uint8_t *records = malloc(BLOCK_BYTES);
	uint32_t n = flood_block(&d, SCAN, records);
	struct synopsis *s = made_of(ETHERNET, records, n, 1000);
	uint32_t to = set_at(s, KIND_IP4_TCP, WORD_AT, 30);

	(void)state;
	assert_true(s->level[to] > 0 && s->level[to] < SYNOPSIS_ANY);
	assert_set(s, set_at(s, KIND_IP4_TCP, WORD_AT, 26), 0x0a000001);
	assert_set(s, set_at(s, KIND_IP4_TCP, WORD_AFTER_HEADER, 16), 445);
	synopsis_free(s);
	free(records);
}

/* --- bytes --- */

struct written {
	uint8_t *bytes;
	size_t n;
};

static struct written written_of(const struct synopsis *s)
{
	struct written w = {NULL, synopsis_bytes(s)};

	w.bytes = malloc(w.n + 1);
	w.bytes[w.n] = 0xa5;
	synopsis_write(s, w.bytes);
	assert_int_equal(w.bytes[w.n], 0xa5);
	return w;
}

static void assert_same(const struct synopsis *a, const struct synopsis *b)
{
	assert_int_equal(a->link_type, b->link_type);
	assert_int_equal(a->present, b->present);
	assert_memory_equal(a->level, b->level, sizeof(a->level));
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
		assert_int_equal(a->count[set], b->count[set]);
		if (a->count[set])
			assert_memory_equal(a->values + a->first[set],
					    b->values + b->first[set],
					    a->count[set] * sizeof(uint32_t));
	}
}

static void what_is_written_is_read_the_same(void **state)
{
	struct dice d = {11};
	uint8_t *records = malloc(40 * (16 + TRAFFIC_PACKET_MAX));
	struct err e = ERR_INIT;

	(void)state;
	for (int round = 0; round < 500; round++) {
		uint32_t link_type =
			traffic_link_types[round % traffic_link_types_n];
		uint32_t n =
			traffic_block(&d, link_type, roll(&d, 40), records);
		struct synopsis *s =
			made_of(link_type, records, n, 1u << roll(&d, 13));
		struct written w = written_of(s);
		struct synopsis *again = synopsis_read(w.bytes, w.n, &e);

		assert_non_null(again);
		assert_same(s, again);
		synopsis_free(again);
		synopsis_free(s);
		free(w.bytes);
	}
	free(records);
}

static void
bytes_that_are_damaged_are_refused_or_are_another_summary(void **state)
{
	struct dice d = {12};
	uint8_t records[20 * (16 + TRAFFIC_PACKET_MAX)];
	uint32_t n = traffic_block(&d, ETHERNET, 20, records);
	struct synopsis *s = made_of(ETHERNET, records, n, 4096);
	struct written w = written_of(s);
	struct err e = ERR_INIT;

	(void)state;
	synopsis_free(s);
	for (size_t i = 0; i < w.n; i++) {
		uint8_t *cut = malloc(i ? i : 1);

		memcpy(cut, w.bytes, i);
		assert_null(synopsis_read(cut, i, &e));
		free(cut);
	}
	assert_null(synopsis_read(w.bytes, w.n + 1, &e));
	assert_string_not_equal(e.what, "");
	for (size_t i = 0; i < w.n * 8; i++) {
		w.bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		s = synopsis_read(w.bytes, w.n, &e);
		if (s) {
			struct written other = written_of(s);

			assert_int_equal(other.n, w.n);
			assert_memory_equal(other.bytes, w.bytes, w.n);
			free(other.bytes);
			synopsis_free(s);
		}
		w.bytes[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	free(w.bytes);
}

static void another_version_is_refused_by_name(void **state)
{
	const uint8_t bytes[] = {7, 1, 0};
	struct err e = ERR_INIT;

	(void)state;
	assert_null(synopsis_read(bytes, sizeof(bytes), &e));
	assert_int_equal(e.kind, ERR_FAILED);
	assert_string_equal(e.what,
			    "summary: expected version 1 and at most 1048576 "
			    "bytes, got version 7 and 3 bytes");
	assert_null(synopsis_read(bytes, 0, &e));
}

static void what_cannot_be_made_to_fit_says_so(void **state)
{
	uint8_t records[128];
	uint32_t n = add_record(records, 0, tcp, sizeof(tcp));
	struct synopsis *s = made_of(ETHERNET, records, n, 100);

	(void)state;
	assert_false(synopsis_fit(s, 4));
	assert_promise(s, records, n);
	synopsis_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_packet_s_words_are_in_the_sets_of_its_class),
		cmocka_unit_test(a_word_that_is_cut_is_anything),
		cmocka_unit_test(a_word_that_just_ends_the_packet_is_whole),
		cmocka_unit_test(
			the_promise_holds_for_any_packets_and_any_size),
		cmocka_unit_test(
			sets_have_the_values_of_the_packets_and_no_others),
		cmocka_unit_test(a_maker_forgets_however_often_it_is_reset),
		cmocka_unit_test(a_union_keeps_what_each_of_its_parts_promised),
		cmocka_unit_test(
			a_large_union_has_the_values_of_its_parts_and_no_others),
		cmocka_unit_test(what_a_full_union_has_already_costs_nothing),
		cmocka_unit_test(a_maker_begins_anew_after_reset),
		cmocka_unit_test(no_flood_takes_more_than_a_hundredth),
		cmocka_unit_test(a_flooded_word_costs_only_itself),
		cmocka_unit_test(what_is_written_is_read_the_same),
		cmocka_unit_test(
			bytes_that_are_damaged_are_refused_or_are_another_summary),
		cmocka_unit_test(another_version_is_refused_by_name),
		cmocka_unit_test(what_cannot_be_made_to_fit_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
