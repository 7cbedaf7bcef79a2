/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fse: what a zstd block says about where its bytes were before, in
 * bits. Private to this folder.
 *
 * What: the sequences section of a compressed block (RFC 8878, 3.1.1.3.2): a
 * count, three tables made of what is in it, and the codes in FSE (tANS, Duda,
 * arXiv:1311.2540), read from the back. Who finds the sequences: encode.c.
 * Threads: one at a time.
 * Ownership: struct sequence_coder is the caller's memory.
 */
#ifndef PCAPD_ZPACK_FSE_H
#define PCAPD_ZPACK_FSE_H

#include <stddef.h>
#include <stdint.h>

/* A function that shifts by numbers all the time is also made for processors
 * that have BMI2, and the one that fits is taken when the program is loaded:
 * too early for the thread sanitizer. Clang 14 makes symbols of it that do not
 * link when more than one file has them. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(ZPACK_PORTABLE) &&   \
	!defined(__SANITIZE_THREAD__) && !defined(__clang__)
#define SHIFTS_MUCH __attribute__((target_clones("bmi2", "default"), flatten))
#else
#define SHIFTS_MUCH
#endif

/* A match has three bytes at least, a block 128 KiB at most. */
#define SEQUENCE_LEAST 3u
#define FSE_MAX (0x7f00u + 0xffffu)
/* Of how many bytes n sequences are written, at most. */
#define FSE_BYTES(n) (512 + 10 * (size_t)(n))

struct sequence {
	uint32_t literals; /* bytes before it that are as they are */
	uint32_t length;   /* bytes that were before, SEQUENCE_LEAST to 128 K */
	uint32_t offset;   /* RFC 8878's Offset_Value: 1 to 3, or 3 more than
			      the distance, which is under 2^27 */
	struct {
		uint8_t literals, length, offset;
	} code; /* sequence_count's */
};

/* As many as the largest of the three alphabets has. */
#define SYMBOLS_MAX 53
#define TABLE_LOG_MAX 8

/* One table of FSE. A state is 2^log to 2^(log+1)-1. */
struct state_table {
	uint32_t count[SYMBOLS_MAX]; /* of what it will be made for */
	unsigned log;
	struct {
		uint32_t bits; /* (state + bits) >> 16 are written, */
		int32_t first; /* what is left is looked up from here on */
	} of[SYMBOLS_MAX];
	uint16_t next[1 << TABLE_LOG_MAX];
};

struct sequence_coder {
	struct state_table literals, offsets, lengths;
};

/* RFC 8878, 3.1.1.3.2.1.1: of the smaller numbers. */
extern const uint8_t sequence_literals_codes[64], sequence_length_codes[128];

static inline unsigned high_bit(uint32_t v)
{
	return 31u - (unsigned)__builtin_clz(v);
}

/* Before the first sequence of each block. */
void fse_begin(struct sequence_coder *c);

/* Each sequence once, beside whatever finds them. */
static inline void sequence_count(struct sequence_coder *c, struct sequence *q)
{
	uint32_t literals = q->literals, length = q->length - SEQUENCE_LEAST;

	q->code.literals =
		(uint8_t)(literals < 64 ? sequence_literals_codes[literals]
					: high_bit(literals) + 19);
	q->code.length = (uint8_t)(length < 128 ? sequence_length_codes[length]
						: high_bit(length) + 36);
	q->code.offset = (uint8_t)high_bit(q->offset);
	c->literals.count[q->code.literals]++;
	c->lengths.count[q->code.length]++;
	c->offsets.count[q->code.offset]++;
}

/* Writes n sequences, 1 to FSE_MAX, that were counted since
 * fse_begin; returns the bytes written. The eight behind them are
 * overwritten, too. */
size_t fse_write(struct sequence_coder *c, const struct sequence *from,
		 uint32_t n, uint8_t *to);

#endif
