/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * xxh64: the checksum of a frame, beside a copy. Private to this folder.
 *
 * What: XXH64 without a seed (xxHash's specification, 0.1.1), of which a zstd
 * frame keeps the lower half (RFC 8878, 3.1.1). Its multiplications are what it
 * takes its time for, so what is also copied is copied beside them: two calls
 * of libraries take half as long again.
 * Threads: one at a time.
 * Limits: all bytes lie in one run, from xxh64_begin to xxh64_end.
 */
#ifndef PCAPD_ZPACK_XXH64_H
#define PCAPD_ZPACK_XXH64_H

#include <stdint.h>
#include <string.h>

#define XXH_1 0x9e3779b185ebca87ull
#define XXH_2 0xc2b2ae3d27d4eb4full
#define XXH_3 0x165667b19e3779f9ull
#define XXH_4 0x85ebca77c2b2ae63ull
#define XXH_5 0x27d4eb2f165667c5ull
#define STRIPE 32

struct xxh64 {
	const uint8_t *at; /* the next stripe */
	uint64_t lane[4];
};

/* As memory is loaded. */
static inline uint32_t zpack_load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t zpack_load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t turn(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static inline uint64_t xxh64_round(uint64_t lane, uint64_t v)
{
	lane = turn(lane + v * XXH_2, 31) * XXH_1;
	/* Lanes side by side in one register would be slower: there is no such
	 * multiplication. */
	__asm__("" : "+r"(lane));
	return lane;
}

static inline struct xxh64 xxh64_begin(const uint8_t *at)
{
	return (struct xxh64){at, {XXH_1 + XXH_2, XXH_2, 0, -XXH_1}};
}

static inline void xxh64_stripe(struct xxh64 *s)
{
	s->lane[0] = xxh64_round(s->lane[0], zpack_load64(s->at));
	s->lane[1] = xxh64_round(s->lane[1], zpack_load64(s->at + 8));
	s->lane[2] = xxh64_round(s->lane[2], zpack_load64(s->at + 16));
	s->lane[3] = xxh64_round(s->lane[3], zpack_load64(s->at + 24));
	s->at += STRIPE;
}

static inline void xxh64_until(struct xxh64 *sum, const uint8_t *end)
{
	struct xxh64 s = *sum;

	while (end - s.at >= STRIPE)
		xxh64_stripe(&s);
	*sum = s;
}

/* Bound by its multiplications, a copy beside it costs nothing. [from, from+n)
 * is summed up but for less than a stripe. */
static inline void xxh64_and_copy(struct xxh64 *sum, const uint8_t *from,
				  uint32_t n, uint8_t *to)
{
	struct xxh64 s = *sum;
	const uint8_t *end = from + n;

	for (; end - from >= STRIPE; from += STRIPE, to += STRIPE) {
		memcpy(to, from, STRIPE);
		xxh64_stripe(&s);
	}
	memcpy(to, from, (size_t)(end - from));
	*sum = s;
	xxh64_until(sum, end);
}

/* What a frame keeps of it. begin: where xxh64_begin was; end: of all. */
static inline uint32_t xxh64_end(struct xxh64 *s, const uint8_t *begin,
				 const uint8_t *end)
{
	uint64_t h = XXH_5, n = (uint64_t)(end - begin);
	const uint8_t *p;

	xxh64_until(s, end);
	if (n >= STRIPE) {
		h = turn(s->lane[0], 1) + turn(s->lane[1], 7) +
		    turn(s->lane[2], 12) + turn(s->lane[3], 18);
		for (unsigned i = 0; i < 4; i++)
			h = (h ^ xxh64_round(0, s->lane[i])) * XXH_1 + XXH_4;
	}
	h += n;
	for (p = s->at; end - p >= 8; p += 8)
		h = turn(h ^ xxh64_round(0, zpack_load64(p)), 27) * XXH_1 +
		    XXH_4;
	for (; end - p >= 4; p += 4)
		h = turn(h ^ zpack_load32(p) * XXH_1, 23) * XXH_2 + XXH_3;
	for (; p < end; p++)
		h = turn(h ^ *p * XXH_5, 11) * XXH_1;
	h = (h ^ h >> 33) * XXH_2;
	h = (h ^ h >> 29) * XXH_3;
	return (uint32_t)(h ^ h >> 32);
}

#endif
