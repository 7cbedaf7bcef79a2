/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sequences into bits. Guarantees what any zstd reads for any sequences, in
 * time that grows with their number only. Leaves out the default tables and
 * those of the block before: a description costs some 50 bytes in 128 KiB.
 */
#include "zpack/fse.h"

#include <stdbool.h>
#include <string.h>

/* --- codes: RFC 8878, 3.1.1.3.2.1.1 --- */

/* Values from 16 and 32 on share a code with others, and say which in bits. */
static const uint8_t literals_bits[36] = {[16] = 1, 1,	1,  1,	2,  2, 3,
					  3,	    4,	6,  7,	8,  9, 10,
					  11,	    12, 13, 14, 15, 16};
static const uint8_t length_bits[53] = {[32] = 1, 1,  1,  1,  2,  2,  3,
					3,	  4,  4,  5,  7,  8,  9,
					10,	  11, 12, 13, 14, 15, 16};
const uint8_t sequence_literals_codes[64] = {
	0,  1,	2,  3,	4,  5,	6,  7,	8,  9,	10, 11, 12, 13, 14, 15,
	16, 16, 17, 17, 18, 18, 19, 19, 20, 20, 20, 20, 21, 21, 21, 21,
	22, 22, 22, 22, 22, 22, 22, 22, 23, 23, 23, 23, 23, 23, 23, 23,
	24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24};
const uint8_t sequence_length_codes[128] = {
	0,  1,	2,  3,	4,  5,	6,  7,	8,  9,	10, 11, 12, 13, 14, 15,
	16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
	32, 32, 33, 33, 34, 34, 35, 35, 36, 36, 36, 36, 37, 37, 37, 37,
	38, 38, 38, 38, 38, 38, 38, 38, 39, 39, 39, 39, 39, 39, 39, 39,
	40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40,
	41, 41, 41, 41, 41, 41, 41, 41, 41, 41, 41, 41, 41, 41, 41, 41,
	42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42,
	42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42, 42};

/* --- bits, the first in the lowest --- */

struct bits {
	uint64_t held;
	unsigned n;
	uint8_t *to;
};

/* The lowest n of v. */
static inline void add_bits(struct bits *b, uint64_t v, unsigned n)
{
	b->held |= (v & ((1ull << n) - 1)) << b->n;
	b->n += n;
}

/* Leaves 7 at most; 63 is the most there may be. */
static inline void write_bits(struct bits *b)
{
	memcpy(b->to, &b->held, 8);
	b->to += b->n >> 3;
	b->held >>= b->n & ~7u;
	b->n &= 7;
}

static uint8_t *end_bits(struct bits *b)
{
	write_bits(b);
	return b->to + (b->n > 0);
}

void fse_begin(struct sequence_coder *c)
{
	memset(c->literals.count, 0, sizeof(c->literals.count));
	memset(c->lengths.count, 0, sizeof(c->lengths.count));
	memset(c->offsets.count, 0, sizeof(c->offsets.count));
}

/* --- tables: RFC 8878, 4.1 --- */

/* Shares of 2^log that are near those of count: 1 at least for what is there,
 * and what is missing or too much goes to the most frequent. Two symbols at
 * least are there, and no more than 2^log. */
static void fse_share(const uint32_t *count, uint32_t total, unsigned log,
		      uint16_t *shares)
{
	int32_t left = 1 << log;
	unsigned most = 0;

	for (unsigned s = 0; s < SYMBOLS_MAX; s++) {
		shares[s] = (uint16_t)(((uint64_t)count[s] << log) / total);
		if (count[s] && !shares[s])
			shares[s] = 1;
		left -= shares[s];
		if (shares[s] > shares[most])
			most = s;
	}
	/* Rounding up takes more than the largest has only with many of the
	 * rare, who then pay. */
	while (left < 0 && shares[most] + left < 1) {
		unsigned next = 0;

		left += shares[most] - 1;
		shares[most] = 1;
		for (unsigned s = 0; s < SYMBOLS_MAX; s++)
			if (shares[s] > shares[next])
				next = s;
		most = next;
	}
	shares[most] = (uint16_t)(shares[most] + left);
}

static uint8_t *fse_describe(const uint16_t *shares, unsigned log, uint8_t *to)
{
	struct bits b = {.to = to};
	uint32_t left = 1u << log;

	add_bits(&b, log - 5, 4);
	for (unsigned s = 0; left > 0; s++) {
		/* A number from 0 to left + 1, the low ones in a bit less. */
		uint32_t v = shares[s] + 1u, most = left + 1;
		unsigned n = high_bit(most) + 1;
		uint32_t low = (1u << n) - 1 - most;

		if (v < low)
			add_bits(&b, v, n - 1);
		else
			add_bits(&b, v < 1u << (n - 1) ? v : v + low, n);
		left -= shares[s];
		if (!shares[s]) {
			unsigned zeros = 0;

			while (!shares[s + 1 + zeros])
				zeros++;
			s += zeros;
			for (; zeros >= 3; zeros -= 3) {
				add_bits(&b, 3, 2);
				write_bits(&b);
			}
			add_bits(&b, zeros, 2);
		}
		write_bits(&b);
	}
	return end_bits(&b);
}

static void fse_build(struct state_table *t, const uint16_t *shares,
		      unsigned log)
{
	uint32_t size = 1u << log, step = (size >> 1) + (size >> 3) + 3;
	uint32_t at[SYMBOLS_MAX], pos = 0, first = 0;
	uint8_t symbol[1 << TABLE_LOG_MAX];

	t->log = log;
	for (unsigned s = 0; s < SYMBOLS_MAX; s++) {
		uint32_t n = shares[s];

		at[s] = first;
		if (!n)
			continue;
		/* States from n << most on write `most` bits, others one
		 * less. */
		unsigned most = log - (n > 1 ? high_bit(n - 1) : 0);

		t->of[s].bits = (most << 16) - (n << most);
		t->of[s].first = (int32_t)first - (int32_t)n;
		first += n;
		for (uint32_t i = 0; i < n; i++) {
			symbol[pos] = (uint8_t)s;
			pos = (pos + step) & (size - 1);
		}
	}
	for (uint32_t i = 0; i < size; i++)
		t->next[at[symbol[i]]++] = (uint16_t)(size + i);
}

/* One symbol, which takes no bits. */
static void build_single(struct state_table *t, unsigned s)
{
	t->log = 0;
	t->of[s].bits = 0;
	t->of[s].first = 0;
	t->next[0] = 0;
}

enum mode {
	MODE_SINGLE = 1, /* RLE_Mode */
	MODE_TABLE = 2	 /* FSE_Compressed_Mode */
};

static enum mode make_table(struct state_table *t, uint32_t total, uint8_t **to)
{
	const uint32_t *count = t->count;
	/* The alphabets have up to 53 symbols: 2^6 is the least for all. */
	unsigned log = total < 512 ? 6 : TABLE_LOG_MAX;
	uint16_t shares[SYMBOLS_MAX];

	for (unsigned s = 0; s < SYMBOLS_MAX; s++)
		if (count[s] == total) {
			build_single(t, s);
			*(*to)++ = (uint8_t)s;
			return MODE_SINGLE;
		}
	fse_share(count, total, log, shares);
	*to = fse_describe(shares, log, *to);
	fse_build(t, shares, log);
	return MODE_TABLE;
}

/* --- states --- */

static inline uint32_t begin_state(const struct state_table *t, unsigned s)
{
	uint32_t bits = (t->of[s].bits + (1u << 15)) >> 16;
	uint32_t state = (bits << 16) - t->of[s].bits;

	return t->next[(int32_t)(state >> bits) + t->of[s].first];
}

static inline uint32_t next_state(const struct state_table *t, unsigned s,
				  uint32_t state, struct bits *b)
{
	unsigned n = (state + t->of[s].bits) >> 16;

	add_bits(b, state, n);
	return t->next[(int32_t)(state >> n) + t->of[s].first];
}

static uint8_t *put_count(uint8_t *to, uint32_t n)
{
	if (n < 128) {
		*to++ = (uint8_t)n;
	} else if (n < 0x7f00) {
		*to++ = (uint8_t)((n >> 8) + 128);
		*to++ = (uint8_t)n;
	} else {
		*to++ = 255;
		*to++ = (uint8_t)(n - 0x7f00);
		*to++ = (uint8_t)((n - 0x7f00) >> 8);
	}
	return to;
}

/* What the numbers say beyond their codes. 48 bits at most. */
static inline void add_numbers(struct bits *b, const struct sequence *q)
{
	add_bits(b, q->literals, literals_bits[q->code.literals]);
	add_bits(b, q->length - SEQUENCE_LEAST, length_bits[q->code.length]);
	write_bits(b);
	add_bits(b, q->offset, q->code.offset);
	write_bits(b);
}

/* Backwards, since it is read from the end. */
static uint8_t *put_sequences(const struct sequence_coder *c,
			      const struct sequence *from, uint32_t n,
			      uint8_t *to)
{
	const struct sequence *q = &from[n - 1];
	uint32_t literals = begin_state(&c->literals, q->code.literals),
		 length = begin_state(&c->lengths, q->code.length),
		 offset = begin_state(&c->offsets, q->code.offset);
	struct bits b = {.to = to};

	add_numbers(&b, q);
	while (q-- > from) {
		/* 7 + 3 * 8 + 2 * 16 bits fit. */
		offset = next_state(&c->offsets, q->code.offset, offset, &b);
		length = next_state(&c->lengths, q->code.length, length, &b);
		literals = next_state(&c->literals, q->code.literals, literals,
				      &b);
		add_numbers(&b, q);
	}
	add_bits(&b, length, c->lengths.log);
	add_bits(&b, offset, c->offsets.log);
	add_bits(&b, literals, c->literals.log);
	/* Where the bits end. */
	add_bits(&b, 1, 1);
	return end_bits(&b);
}

SHIFTS_MUCH
size_t fse_write(struct sequence_coder *c, const struct sequence *from,
		 uint32_t n, uint8_t *to)
{
	uint8_t *end = put_count(to, n), *modes = end++;

	*modes = (uint8_t)(make_table(&c->literals, n, &end) << 6);
	*modes |= (uint8_t)(make_table(&c->offsets, n, &end) << 4);
	*modes |= (uint8_t)(make_table(&c->lengths, n, &end) << 2);
	return (size_t)(put_sequences(c, from, n, end) - to);
}
