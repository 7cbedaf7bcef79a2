/* SPDX-License-Identifier: BSD-3-Clause */
/* What is answered by hand, as bytes of HTTP/2. */
#include "server/refusal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define LINE "PROXY TCP4 10.0.0.1 10.0.0.2 1024 22\r\n"

static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0},
		     acknowledgement[] = {0, 0, 0, 4, 1, 0, 0, 0, 0},
		     ping[] = {0, 0, 8, 6, 0, 0, 0, 0, 0,
			       1, 2, 3, 4, 5, 6, 7, 8},
		     call[] = {0, 0, 1, 1, 4, 0, 0, 0, 7, 0x83},
		     call_begins[] = {0, 0, 1, 1, 0, 0, 0, 0, 9, 0x83},
		     call_ends[] = {0, 0, 1, 9, 4, 0, 0, 0, 9, 0x86};

static struct refusal fresh(void)
{
	struct err why = {.kind = ERR_PERMISSION,
			  .what = "user 1 may not\n",
			  .hint = "Ask"};
	struct refusal r;

	refusal_init(&r, &why);
	return r;
}

#define TAKE(r, bytes) refusal_take(r, (const uint8_t *)bytes, sizeof(bytes))
#define TAKE_TEXT(r, text) refusal_take(r, (const uint8_t *)text, strlen(text))

static const uint8_t *has(const struct refusal *r, const char *text)
{
	return memmem(r->out, r->n_out, text, strlen(text));
}

static void a_call_is_answered_with_trailers(void **state)
{
	struct refusal r = fresh();

	(void)state;
	assert_true(TAKE_TEXT(&r, PREFACE));
	assert_int_equal(r.n_out, 9);
	assert_memory_equal(r.out, settings, 9);
	r.n_out = 0;
	assert_true(TAKE(&r, settings));
	assert_int_equal(r.n_out, 9);
	assert_memory_equal(r.out, acknowledgement, 9);
	r.n_out = 0;
	assert_true(TAKE(&r, acknowledgement) && TAKE(&r, ping));
	assert_int_equal(r.n_out, 0);
	assert_true(TAKE(&r, call));
	/* HEADERS that end the stream and themselves, of the call's. */
	assert_int_equal(r.out[0] << 16 | r.out[1] << 8 | r.out[2],
			 r.n_out - 9);
	assert_memory_equal(r.out + 3, "\1\5\0\0\0\7\x88", 7);
	assert_non_null(has(&r, "\0content-type\20application/grpc" + 1));
	assert_non_null(has(&r, "grpc-status\0017"));
	assert_non_null(has(&r, "grpc-message\021user 1 may not%0A"));
	assert_non_null(has(&r, "pcap-hint\3Ask"));
	/* Status 7, and its message: a google.rpc.Status begins with them. */
	assert_non_null(has(&r, "CAcSD3VzZXIgMSBtYXkgbm90C"));
	/* Once its headers are all there. */
	r.n_out = 0;
	assert_true(TAKE(&r, call_begins));
	assert_int_equal(r.n_out, 0);
	assert_true(TAKE(&r, call_ends));
	assert_int_equal(r.out[8], 9);
	assert_int_equal(r.n_calls, 2);
}

static void a_line_may_come_first(void **state)
{
	struct refusal r = fresh();

	(void)state;
	assert_true(TAKE_TEXT(&r, LINE) && TAKE_TEXT(&r, PREFACE) &&
		    TAKE(&r, call));
	assert_int_equal(r.n_calls, 1);
}

static void what_is_no_http2_is_not_worth_it(void **state)
{
	static const char *const bad[] = {"GET / HTTP/1.1\r\n", "PRO\nPRO",
					  "PCAPD-DATA 00", "PRI * HTTP/1"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct refusal r = fresh();

		assert_false(TAKE_TEXT(&r, bad[i]));
		assert_int_equal(r.n_out, 0);
	}
}

static void neither_calls_nor_bytes_are_endless(void **state)
{
	static uint8_t much[REFUSAL_TAKES - 24 - 9 + 1];
	static const uint8_t data[] = {0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1};
	struct refusal r = fresh();

	(void)state;
	assert_true(TAKE_TEXT(&r, PREFACE));
	for (unsigned i = 1; i < REFUSAL_CALLS; i++)
		assert_true(TAKE(&r, call));
	assert_false(TAKE(&r, call));
	r = fresh();
	assert_true(TAKE_TEXT(&r, PREFACE) && TAKE(&r, data));
	assert_true(refusal_take(&r, much, sizeof(much) - 1));
	assert_false(refusal_take(&r, much, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_is_answered_with_trailers),
		cmocka_unit_test(a_line_may_come_first),
		cmocka_unit_test(what_is_no_http2_is_not_worth_it),
		cmocka_unit_test(neither_calls_nor_bytes_are_endless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
