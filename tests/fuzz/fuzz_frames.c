/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes that a peer sends to gRPC, through the guard of frames. The verdict is
 * the same in whatever pieces they come, and what has passed has no header
 * block, no run of CONTINUATION frames and no other frame over its bound, as
 * another reading of the frames says. To who is refused by hand the same bytes
 * bring the same answers in whatever pieces, and few of them.
 */
#include "server/frame_guard.h"
#include "server/refusal.h"

#include <assert.h>
#include <string.h>

#define NS 1000000000ll
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define PREFACE_BYTES 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* How many bytes the guard lets through. */
static size_t passed(const uint8_t *data, size_t n, size_t piece, struct err *e)
{
	struct frame_budgets budgets = {0};
	struct frame_guard g;
	size_t at = 0;

	frame_guard_init(&g, &budgets, 10 * NS);
	assert(frame_guard_take(&g, (const uint8_t *)PREFACE, PREFACE_BYTES, NS,
				e));
	while (at < n) {
		size_t some = n - at < piece ? n - at : piece;

		if (!frame_guard_take(&g, data + at, some, NS, e))
			break;
		at += some;
	}
	return at;
}

static void assert_bounds(const uint8_t *data, size_t n)
{
	size_t block = 0, continuations = 0;

	for (size_t at = 0; at + 9 <= n;) {
		size_t length = (size_t)data[at] << 16 | data[at + 1] << 8 |
				data[at + 2];
		unsigned type = data[at + 3];

		if (type == 1 || type == 9) {
			block = type == 1 ? length : block + length;
			continuations = type == 1 ? 0 : continuations + 1;
			assert(block <= FRAME_HEADERS_MAX);
			assert(continuations <= FRAME_CONTINUATIONS_MAX);
		} else if (type) {
			assert(length <= FRAME_OTHER_MAX);
		}
		at += 9 + length;
	}
}

/* The calls that are answered, and the bytes of it. */
static size_t refused(const uint8_t *data, size_t n, size_t piece,
		      unsigned *calls)
{
	struct err why = {.kind = ERR_PERMISSION, .what = "no", .hint = "Yes"};
	static struct refusal r;
	size_t at = 0, sent = 0;
	bool goes_on = true;

	refusal_init(&r, &why);
	while (goes_on && at < n) {
		size_t some = n - at < piece ? n - at : piece;

		goes_on = refusal_take(&r, data + at, some);
		at += some;
		assert(r.n_out <= sizeof(r.out));
		sent += r.n_out;
		r.n_out = 0;
	}
	assert(r.n_calls <= REFUSAL_CALLS);
	*calls = r.n_calls;
	return sent;
}

static void fuzz_refusal(const uint8_t *data, size_t n)
{
	static uint8_t all[PREFACE_BYTES + 1024];
	unsigned some, other;

	if (n > sizeof(all) - PREFACE_BYTES)
		n = sizeof(all) - PREFACE_BYTES;
	memcpy(all, PREFACE, PREFACE_BYTES);
	memcpy(all + PREFACE_BYTES, data, n);
	n += PREFACE_BYTES;
	assert(refused(all, n, 1, &some) == refused(all, n, 7, &other));
	assert(some == other);
	/* A line, or nothing that is known. */
	refused(data, n - PREFACE_BYTES, 7, &some);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err one = ERR_INIT, whole = ERR_INIT, odd = ERR_INIT;
	size_t good = passed(data, n, 1, &one);

	assert((passed(data, n, n ? n : 1, &whole) == n) == (good == n));
	assert((passed(data, n, 7, &odd) == n) == (good == n));
	assert(strcmp(one.what, whole.what) == 0);
	assert(strcmp(one.what, odd.what) == 0);
	assert(one.kind == (good == n ? ERR_NONE : ERR_LIMIT));
	assert_bounds(data, good);
	fuzz_refusal(data, n);
	return 0;
}
