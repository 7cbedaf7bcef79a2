/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guard of frames, fed in pieces of every size: what good clients send
 * passes, and every bound has a first byte that is over it.
 */
#include "server/frame_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NS 1000000000ll
#define NOW (1000 * NS)
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

enum {
	DATA,
	HEADERS,
	PRIORITY,
	RST,
	SETTINGS,
	PUSH,
	PING,
	GOAWAY,
	WINDOW,
	CONTINUATION
};

struct world {
	struct frame_budgets budgets;
	struct frame_guard guard;
	int64_t now;
	struct err e;
	uint8_t *bytes;
	size_t n;
};

static void fresh(struct world *w)
{
	memset(&w->budgets, 0, sizeof(w->budgets));
	memset(&w->e, 0, sizeof(w->e));
	w->now = NOW;
	frame_guard_init(&w->guard, &w->budgets, NOW + 10 * NS);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->bytes = malloc(1 << 20);
	fresh(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	free(w->bytes);
	free(w);
	return 0;
}

static void add(struct world *w, const void *bytes, size_t n)
{
	memcpy(w->bytes + w->n, bytes, n);
	w->n += n;
}

static void frame(struct world *w, uint8_t type, uint8_t flags, uint32_t stream,
		  const void *body, size_t n)
{
	uint8_t head[9] = {(uint8_t)(n >> 16),
			   (uint8_t)(n >> 8),
			   (uint8_t)n,
			   type,
			   flags,
			   (uint8_t)(stream >> 24),
			   (uint8_t)(stream >> 16),
			   (uint8_t)(stream >> 8),
			   (uint8_t)stream};

	add(w, head, sizeof(head));
	if (n)
		add(w, body, n);
}

/* What was added, in pieces; then nothing is there any more. */
static bool take(struct world *w, size_t piece)
{
	bool ok = true;

	for (size_t at = 0; ok && at < w->n; at += piece) {
		size_t some = w->n - at < piece ? w->n - at : piece;

		/* Memory of its own, so that a byte too far is seen. */
		uint8_t *copy = malloc(some);
		memcpy(copy, w->bytes + at, some);
		ok = frame_guard_take(&w->guard, copy, some, w->now, &w->e);
		free(copy);
	}
	w->n = 0;
	return ok;
}

static void passes(struct world *w)
{
	if (!take(w, SIZE_MAX))
		fail_msg("%s", w->e.what);
}

static void is_over(struct world *w, const char *what)
{
	assert_false(take(w, SIZE_MAX));
	assert_int_equal(w->e.kind, ERR_LIMIT);
	assert_string_equal(w->e.what, what);
}

/* The preface, SETTINGS, the acknowledgement of ours, and PINGs: as a client of
 * gRPC's begins. */
static void hello(struct world *w)
{
	add(w, PREFACE, 24);
	frame(w, SETTINGS, 0, 0, "\0\3\0\0\0\100", 6);
	frame(w, SETTINGS, 1, 0, NULL, 0);
	frame(w, PING, 0, 0, "12345678", 8);
	frame(w, PING, 1, 0, "12345678", 8);
}

/* And all that is not counted of a connection. */
static void long_hello(struct world *w)
{
	hello(w);
	for (unsigned i = 2; i < FRAME_GREETINGS; i++) {
		frame(w, SETTINGS, 0, 0, NULL, 0);
		frame(w, PING, 0, 0, "12345678", 8);
	}
}

/* :method POST, :scheme http, :path of a literal, te: trailers as an entry. */
static const uint8_t request[] = {0x83, 0x86, 0x04, 5,	 '/', 'L', 'i', 's',
				  't',	0x40, 2,    't', 'e', 8,   't', 'r',
				  'a',	'i',  'l',  'e', 'r', 's'};

static void a_call_passes_in_pieces_of_every_size(void **state)
{
	struct world *w = *state;
	uint8_t padded[64] = {3, 0, 0, 0, 0, 16}; /* 3 of padding, priority */

	for (size_t piece = 1; piece < 300; piece++) {
		fresh(w);
		hello(w);
		frame(w, HEADERS, 4, 1, request, sizeof(request));
		frame(w, DATA, 1, 1, "\0\0\0\0\0", 5);
		/* In three frames, cut within a string. */
		frame(w, HEADERS, 0, 3, request, 6);
		frame(w, CONTINUATION, 0, 3, request + 6, 10);
		frame(w, CONTINUATION, 4, 3, request + 16,
		      sizeof(request) - 16);
		memcpy(padded + 6, request, sizeof(request));
		frame(w, HEADERS, 4 | 8 | 0x20, 5, padded,
		      6 + sizeof(request) + 3);
		frame(w, WINDOW, 0, 0, "\0\0\1\0", 4);
		frame(w, PING, 0, 0, "12345678", 8);
		frame(w, RST, 0, 5, "\0\0\0\10", 4);
		frame(w, GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
		if (!take(w, piece))
			fail_msg("pieces of %zu: %s", piece, w->e.what);
		assert_true(w->guard.acknowledged);
	}
}

static void what_does_not_begin_as_http2_is_cut_off(void **state)
{
	struct world *w = *state;

	for (size_t at = 0; at < 24; at++) {
		fresh(w);
		add(w, PREFACE, 24);
		w->bytes[at] ^= 1;
		is_over(w, "it does not speak HTTP/2");
	}
	fresh(w);
	add(w, "GET / HTTP/1.1\r\n", 16);
	is_over(w, "it does not speak HTTP/2");
}

static void a_header_block_is_bounded_over_its_frames(void **state)
{
	static uint8_t much[FRAME_HEADERS_MAX + 1];
	struct world *w = *state;

	/* A literal of as much as there may be. */
	much[0] = 0;
	much[1] = 1;
	much[2] = 'x';
	uint32_t n = FRAME_HEADERS_MAX - 6;
	memcpy(much + 3,
	       (uint8_t[]){0x7f, (uint8_t)((n - 127) | 0x80),
			   (uint8_t)((n - 127) >> 7)},
	       3);
	assert_true((n - 127) >> 7 < 128);
	hello(w);
	frame(w, HEADERS, 4, 1, much, FRAME_HEADERS_MAX);
	passes(w);
	frame(w, HEADERS, 0, 3, much, FRAME_HEADERS_MAX);
	passes(w);
	/* The head of the next frame says it. */
	frame(w, CONTINUATION, 4, 3, "x", 1);
	is_over(w, "a header block of over 16384 bytes");
	/* So does that of one alone. */
	fresh(w);
	hello(w);
	frame(w, HEADERS, 4, 1, much, sizeof(much));
	w->n -= sizeof(much);
	is_over(w, "a header block of over 16384 bytes");
}

static void continuations_are_few(void **state)
{
	struct world *w = *state;

	hello(w);
	frame(w, HEADERS, 0, 1, NULL, 0);
	for (unsigned i = 0; i < FRAME_CONTINUATIONS_MAX; i++)
		frame(w, CONTINUATION, 0, 1, NULL, 0);
	passes(w);
	frame(w, CONTINUATION, 0, 1, NULL, 0);
	is_over(w, "over 8 CONTINUATION frames in a header block");
}

static void header_blocks_are_not_mixed(void **state)
{
	static const char interrupted[] = "a header block that is interrupted";
	struct world *w = *state;

	hello(w);
	frame(w, HEADERS, 0, 1, request, 1);
	frame(w, PING, 0, 0, "12345678", 8);
	is_over(w, interrupted);
	fresh(w);
	hello(w);
	frame(w, HEADERS, 0, 1, request, 1);
	frame(w, CONTINUATION, 4, 3, request + 1, 1);
	is_over(w, interrupted);
	fresh(w);
	hello(w);
	frame(w, CONTINUATION, 4, 1, request, 1);
	is_over(w, "a header block that is continued by nothing that began");
	fresh(w);
	hello(w);
	frame(w, HEADERS, 4, 1, request, 6);
	is_over(w, "a header block that ends in a field");
	fresh(w);
	hello(w);
	frame(w, HEADERS, 4, 0, request, 1);
	is_over(w, "HEADERS of no stream");
	fresh(w);
	hello(w);
	frame(w, PUSH, 4, 1, request, 1);
	is_over(w, "PUSH_PROMISE of a client");
}

/* A string's length is refused when it is read, not when it is there. */
static void hpack_announces_no_more_than_can_come(void **state)
{
	static const uint8_t giant[] = {0x00, 1,    'x',  0x7f,
					0xf0, 0xff, 0xff, 0x0f},
			     endless[] = {0x00, 0x7f, 0x80, 0x80,
					  0x80, 0x80, 0x80, 0x80},
			     index[] = {0xff, 0x80, 0x80, 0x80, 0x80, 0x80};
	struct world *w = *state;

	hello(w);
	frame(w, HEADERS, 0, 1, giant, sizeof(giant));
	is_over(w, "a string of a header block has over 16384 bytes");
	fresh(w);
	hello(w);
	frame(w, HEADERS, 0, 1, endless, sizeof(endless));
	is_over(w, "a number of a header block has over 28 bits");
	fresh(w);
	hello(w);
	frame(w, HEADERS, 0, 1, index, sizeof(index));
	is_over(w, "a number of a header block has over 28 bits");
}

/* An entry of 4000 bytes, and a byte for each time that it is meant. */
static void what_comes_out_of_hpack_is_bounded(void **state)
{
	uint8_t block[5000] = {0x40, 1, 'x', 0x7f, 0xa1, 0x1e};
	struct world *w = *state;

	/* 127 + 0x21 + (0x1e << 7) = 4000 */
	for (int over = 0; over < 2; over++) {
		fresh(w);
		hello(w);
		size_t n = 6 + 4000, times = 15 + (size_t)over * 2;
		memset(block + n, 0xbe, times);
		frame(w, HEADERS, 4, 1, block, n + times);
		if (!over)
			passes(w);
	}
	is_over(w, "the fields of a header block have over 65536 bytes");
	/* In another block, too: the table stays. */
	fresh(w);
	hello(w);
	frame(w, HEADERS, 4, 1, block, 4006);
	memset(block, 0xbe, 17);
	frame(w, HEADERS, 4, 3, block, 17);
	is_over(w, "the fields of a header block have over 65536 bytes");
	/* A field that is nothing is bounded, too. */
	fresh(w);
	hello(w);
	memset(block, 0x20, sizeof(block));
	frame(w, HEADERS, 4, 1, block, 2049);
	is_over(w, "the fields of a header block have over 65536 bytes");
	fresh(w);
	hello(w);
	frame(w, HEADERS, 4, 1, (uint8_t[]){0x3f, 0xe2, 0x1f}, 3);
	is_over(w, "HPACK's table of 4096 bytes was made 4097");
}

/* As Huffman's code makes it: the entry may be there still, and may be large.
 */
static void entries_of_unknown_size_are_kept_and_counted(void **state)
{
	uint8_t block[3010] = {0x40, 1, 'x', 0xff, 0xb9, 0x16};
	struct world *w = *state;

	/* 127 + 0x39 + (0x16 << 7) = 3000 bytes: 800 to 4800. */
	hello(w);
	frame(w, HEADERS, 4, 1, block, 3006);
	/* Two more of these push it out only if they are large. */
	frame(w, HEADERS, 4, 3, block, 3006);
	frame(w, HEADERS, 4, 5, block, 3006);
	memset(block, 0xc0, 13); /* the oldest of the three */
	frame(w, HEADERS, 4, 7, block, 13);
	passes(w);
	memset(block, 0xc0, 14);
	frame(w, HEADERS, 4, 9, block, 14);
	is_over(w, "the fields of a header block have over 65536 bytes");
}

static void other_frames_are_small(void **state)
{
	static const uint8_t nothing[FRAME_OTHER_MAX + 1];
	struct world *w = *state;

	for (uint8_t type = PRIORITY; type < 20; type++) {
		if (type == PUSH || type == CONTINUATION)
			continue;
		fresh(w);
		hello(w);
		frame(w, type, 0, 1, nothing, FRAME_OTHER_MAX);
		passes(w);
		frame(w, type, 0, 1, nothing, sizeof(nothing));
		assert_false(take(w, SIZE_MAX));
		assert_non_null(strstr(w->e.what, "and over 1024 bytes"));
	}
}

static const struct {
	uint8_t type, flags;
	const char *body, *what;
	size_t n;
	unsigned burst, per_s;
} rates[] = {
	{HEADERS, 4, "\x83", "over 500 streams a second", 1, 2000, 500},
	{RST, 0, "\0\0\0\10", "over 100 resets of streams a second", 4, 1000,
	 100},
	{SETTINGS, 0, "", "over 20 SETTINGS a second", 0, 1000, 20},
	{PING, 0, "12345678", "over 50 PINGs a second", 8, 1000, 50},
	{WINDOW, 0, "\0\0\0\1", "over 1000 WINDOW_UPDATEs a second", 4, 10000,
	 1000},
	{PRIORITY, 0, "\0\0\0\0\1", "over 10 frames that say nothing a second",
	 5, 200, 10},
	{DATA, 0, "", "over 10 frames that say nothing a second", 0, 200, 10},
	{0x77, 0, "x", "over 10 frames that say nothing a second", 1, 200, 10},
};

/* More than the burst, at once: on one connection, or over another of the same
 * person. What a second brings is for both, too. */
static void rates_are_bounded_over_all_connections(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		fresh(w);
		long_hello(w);
		passes(w);
		memset(&w->budgets, 0, sizeof(w->budgets));
		for (unsigned k = 0; k < rates[i].burst; k++) {
			frame(w, rates[i].type, rates[i].flags, 1 + 2 * k,
			      rates[i].body, rates[i].n);
			passes(w);
		}
		w->now += NS;
		for (unsigned k = 0; k < rates[i].per_s; k++)
			frame(w, rates[i].type, rates[i].flags, 1,
			      rates[i].body, rates[i].n);
		passes(w);
		frame_guard_init(&w->guard, &w->budgets, NOW + 10 * NS);
		long_hello(w);
		frame(w, rates[i].type, rates[i].flags, 1, rates[i].body,
		      rates[i].n);
		is_over(w, rates[i].what);
	}
}

/* A loop in a shell: each command connects, asks and goes. */
static void who_connects_often_is_not_cut_off(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 10000; i++) {
		frame_guard_init(&w->guard, &w->budgets, w->now + 10 * NS);
		hello(w);
		frame(w, HEADERS, 4, 1, request, sizeof(request));
		passes(w);
		w->now += NS / 400;
	}
}

/* A WINDOW_UPDATE for every 512 bytes is what a reader sends. */
static void who_reads_may_say_so(void **state)
{
	struct world *w = *state;

	hello(w);
	passes(w);
	for (int i = 0; i < 100; i++) {
		for (int k = 0; k < 1000; k++)
			frame(w, WINDOW, 0, 1, "\0\0\2\0", 4);
		passes(w);
		frame_budgets_sent(&w->budgets, 1000 * 512, w->now);
	}
}

static void settings_are_acknowledged_in_time(void **state)
{
	struct world *w = *state;

	add(w, PREFACE, 24);
	frame(w, SETTINGS, 0, 0, NULL, 0);
	for (unsigned i = 0; i < FRAME_EARLY_STREAMS; i++)
		frame(w, HEADERS, 4, 1 + 2 * i, request, 1);
	passes(w);
	assert_true(frame_guard_in_time(&w->guard, NOW + 10 * NS, &w->e));
	frame(w, HEADERS, 4, 999, request, 1);
	is_over(w, "over 64 streams before SETTINGS were acknowledged");
	fresh(w);
	add(w, PREFACE, 24);
	passes(w);
	w->now += 10 * NS + 1;
	frame(w, PING, 0, 0, "12345678", 8);
	is_over(w, "SETTINGS were not acknowledged");
	fresh(w);
	hello(w);
	passes(w);
	assert_true(frame_guard_in_time(&w->guard, NOW + 99 * NS, &w->e));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_call_passes_in_pieces_of_every_size),
		TEST(what_does_not_begin_as_http2_is_cut_off),
		TEST(a_header_block_is_bounded_over_its_frames),
		TEST(continuations_are_few),
		TEST(header_blocks_are_not_mixed),
		TEST(hpack_announces_no_more_than_can_come),
		TEST(what_comes_out_of_hpack_is_bounded),
		TEST(entries_of_unknown_size_are_kept_and_counted),
		TEST(other_frames_are_small),
		TEST(rates_are_bounded_over_all_connections),
		TEST(who_connects_often_is_not_cut_off),
		TEST(who_reads_may_say_so),
		TEST(settings_are_acknowledged_in_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
