/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks into zstd frames. Guarantees a frame that any zstd reads, for any
 * bytes whatever, in one pass over them while they are in the cache, and that
 * what does not shrink costs a copy, a checksum and an eighth of looking at it.
 * Leaves out what a frame is for, and coding (fse.c).
 */
#include "zpack/encode.h"

#include "zpack/fse.h"
#include "zpack/xxh64.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#if defined(__SSE2__) && !defined(ZPACK_PORTABLE)
#define ZPACK_SSE2
#include <emmintrin.h>
#endif

/* RFC 8878, 3.1.1 */
#define FRAME_HEAD_BYTES 9
/* A content size of 4 bytes, which is the window's, and a checksum. */
#define FRAME_DESCRIPTOR (2u << 6 | 1u << 5 | 1u << 2)
#define BLOCK_HEAD_BYTES 3
#define BLOCK_RAW 0u
#define BLOCK_COMPRESSED 2u
#define LITERALS_HEAD_BYTES 3
#define LITERALS_RAW (0u | 3u << 2) /* and a size of 20 bits */

/* A zstd block's most. */
#define CHUNK (128u << 10)
/* When a frame did not shrink by a part that is worth it, one chunk in so many
 * of the next one is looked at, and the others are stored. */
#define LOOK_EVERY 8
#define SHRINK_PART 28

/* What of a packet's record is compared with another at the same place: the
 * record's head, and headers up to those of TCP. */
#define HEADERS 80
#define RUN_LEAST SEQUENCE_LEAST
/* How many bytes are looked for elsewhere, and after how many in vain the steps
 * become longer by one. */
#define MATCH_LEAST 8
#define PATIENCE 16
/* How far ahead of what is worked on memory is asked for. */
#define AHEAD_BYTES 2048

#define SEEN_BITS 15
#define FLOW_BITS 13
#define LENGTH_BITS 10
/* A place in a block, and in the rest a check, so that a place whose bytes are
 * others is seldom looked at. */
#define PLACE_BITS 20
#define PLACE ((1u << PLACE_BITS) - 1)
_Static_assert(ZPACK_MAX <= PLACE + 1, "a place in a block");

/* What is known of a flow: where its newest record is, plus 1, and how often
 * bodies of it were looked for in vain. Each time the steps double: what is
 * encrypted stays so. */
struct encode_flow {
	uint32_t place : 21, vain : 11;
};
#define VAIN_MAX 6
#define BODY_LEAST 16

struct zpack {
	struct encode_flow flow[1 << FLOW_BITS];
	uint32_t length[1 << LENGTH_BITS]; /* places + 1 of records of it */
	uint32_t seen[1 << SEEN_BITS];
	bool in_doubt; /* the frame before did not shrink */
	uint32_t n;
	struct sequence sequences[CHUNK / RUN_LEAST + 1];
	struct sequence_coder coder;
	uint8_t coded[FSE_BYTES(CHUNK / RUN_LEAST + 1)];
};
_Static_assert(CHUNK / RUN_LEAST + 1 <= FSE_MAX, "of a chunk");

struct zpack *zpack_new(void)
{
	return calloc(1, sizeof(struct zpack));
}

void zpack_free(struct zpack *k)
{
	free(k);
}

/* What is under way. */
struct parse {
	struct zpack *k;
	const uint8_t *from, *end; /* the block */
	struct xxh64 sum;
	struct zpack_layer link;
	uint32_t step;
	uint32_t strangers_vain; /* of packets whose flow is new */
	uint32_t recent[3];	 /* distances: RFC 8878, 3.1.1.5 */
	const uint8_t *literals; /* not yet copied */
	uint8_t *out;		 /* where they go */
};

/* The upper bits are the better ones. */
static inline uint64_t encode_mix(uint64_t v)
{
	return v * 0x9fb21c651e98df25ull;
}

/* --- what was found --- */

/* Most are short; what is read and written too much is there. */
static inline void copy_literals(struct parse *s, uint32_t n)
{
	const uint8_t *from = s->literals;
	uint8_t *to = s->out;

	s->out += n;
	if ((size_t)(s->end - from) < n + 32u) {
		memcpy(to, from, n);
		return;
	}
	memcpy(to, from, 16);
	memcpy(to + 16, from + 16, 16);
	for (uint32_t i = 32; i < n; i += 16)
		memcpy(to + i, from + i, 16);
}

static inline uint32_t offset_value(uint32_t *recent, uint32_t distance,
				    bool literals)
{
	uint32_t value = distance + 3;

	if (literals && distance == recent[0])
		return 1;
	if (distance == recent[1]) {
		value = literals ? 2 : 1;
	} else {
		if (distance == recent[2])
			value = literals ? 3 : 2;
		recent[2] = recent[1];
	}
	recent[1] = recent[0];
	recent[0] = distance;
	return value;
}

/* The n bytes at p are those that are `distance` before. */
static inline void encode_found(struct parse *s, const uint8_t *p, uint32_t n,
				uint32_t distance)
{
	uint32_t literals = (uint32_t)(p - s->literals);

	copy_literals(s, literals);
	struct sequence *q = &s->k->sequences[s->k->n++];
	q->literals = literals;
	q->length = n;
	q->offset = offset_value(s->recent, distance, literals > 0);
	sequence_count(&s->k->coder, q);
	s->literals = p + n;
}

/* --- looking --- */

/* How many bytes from a on are those from b on, b before a. */
static inline uint32_t encode_alike(const uint8_t *a, const uint8_t *b,
				    const uint8_t *end)
{
	const uint8_t *from = a;

	for (; end - a >= 8; a += 8, b += 8) {
		uint64_t x = zpack_load64(a) ^ zpack_load64(b);

		if (x)
			return (uint32_t)(a - from) +
			       ((uint32_t)__builtin_ctzll(x) >> 3);
	}
	while (a < end && *a == *b)
		a++, b++;
	return (uint32_t)(a - from);
}

/* A bit for each of 16 bytes that are the same. */
#ifdef ZPACK_SSE2
static inline uint64_t encode_same16(const uint8_t *a, const uint8_t *b)
{
	__m128i same = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)a),
				      _mm_loadu_si128((const __m128i *)b));

	return (uint32_t)_mm_movemask_epi8(same);
}
#else
static inline uint64_t encode_same8(const uint8_t *a, const uint8_t *b)
{
	const uint64_t low = 0x7f7f7f7f7f7f7f7f;
	uint64_t x = zpack_load64(a) ^ zpack_load64(b);
	uint64_t same = ~(((x & low) + low) | x | low);

	/* Bit 7 of byte i to bit i. */
	return (same >> 7) * 0x0102040810204080 >> 56;
}

static inline uint64_t encode_same16(const uint8_t *a, const uint8_t *b)
{
	return encode_same8(a, b) | encode_same8(a + 8, b + 8) << 8;
}
#endif

/* A bit for each of HEADERS bytes. */
struct same {
	uint64_t low, high;
};

static inline struct same same_headers(const uint8_t *a, const uint8_t *b)
{
	struct same m = {0, encode_same16(a + 64, b + 64)};

	for (unsigned i = 0; i < 64; i += 16)
		m.low |= encode_same16(a + i, b + i) << i;
	return m;
}

static inline void encode_skip(struct same *m, unsigned n)
{
	if (n >= 64) {
		m->low = m->high >> (n - 64);
		m->high = 0;
	} else if (n) {
		m->low = m->low >> n | m->high << (64 - n);
		m->high >>= n;
	}
}

/* The lowest bit that is set; one is. */
static inline unsigned first_set(uint64_t low, uint64_t high)
{
	return low ? (unsigned)__builtin_ctzll(low)
		   : 64 + (unsigned)__builtin_ctzll(high);
}

/* Takes what the headers of the record [p, end) have of those of an earlier
 * one. Returns where to look for the rest. */
static inline const uint8_t *look_aside(struct parse *s, const uint8_t *p,
					const uint8_t *before,
					const uint8_t *end)
{
	uint32_t distance = (uint32_t)(p - before), at = 0;
	uint32_t n = end - p < HEADERS ? (uint32_t)(end - p) : HEADERS;

	if (s->end - p < HEADERS)
		return p;
	struct same m = same_headers(p, before);
	if (n <= 64) {
		m.low &= ~0ull >> (64 - n);
		m.high = 0;
	} else {
		m.high &= ~0ull >> (128 - n);
	}
	while (m.low | m.high) {
		unsigned gap = first_set(m.low, m.high);

		encode_skip(&m, gap);
		at += gap;
		uint32_t length = first_set(~m.low, ~m.high);
		if (at + length == HEADERS)
			length += encode_alike(p + HEADERS, before + HEADERS,
					       end);
		if (length >= RUN_LEAST)
			encode_found(s, p + at, length, distance);
		at += length;
		if (at >= n)
			break;
		encode_skip(&m, length);
	}
	return s->literals > p + 64 ? s->literals : p + (n < 64 ? n : 64);
}

struct hash {
	uint32_t slot, check;
};

static inline struct hash encode_hash_of(uint64_t v)
{
	uint64_t h = encode_mix(v);

	return (struct hash){(uint32_t)(h >> (64 - SEEN_BITS)),
			     (uint32_t)(h >> (32 - SEEN_BITS)) & ~PLACE};
}

static inline void encode_remember(struct parse *s, const uint8_t *p)
{
	struct hash h = encode_hash_of(zpack_load64(p));

	s->k->seen[h.slot] = (uint32_t)(p - s->from) | h.check;
}

/* Looks for [p, end) in all that was, in steps that begin with this one; says
 * whether anything was found. */
static inline bool look_back(struct parse *s, const uint8_t *p,
			     const uint8_t *end, uint32_t step)
{
	uint32_t n_before = s->k->n;
	const uint8_t *vain = p; /* nothing was found since */
	uint32_t *seen = s->k->seen;

	while (end - p >= MATCH_LEAST) {
		uint64_t v = zpack_load64(p);
		struct hash h = encode_hash_of(v);
		uint32_t was = seen[h.slot];
		const uint8_t *at = s->from + (was & PLACE);

		seen[h.slot] = (uint32_t)(p - s->from) | h.check;
		if ((was & ~PLACE) != h.check || at >= p ||
		    zpack_load64(at) != v) {
			p += step + (uint32_t)(p - vain) / PATIENCE;
			continue;
		}
		uint32_t n = 8 + encode_alike(p + 8, at + 8, end);
		while (p > s->literals && at > s->from && p[-1] == at[-1])
			p--, at--, n++;
		encode_found(s, p, n, (uint32_t)(p - at));
		p += n;
		vain = p;
		if (end - p >= MATCH_LEAST)
			encode_remember(s, p - 2);
	}
	return s->k->n > n_before;
}

/* --- packets --- */

/* A record: two words of its time, the bytes behind this head, and how many
 * there were on the wire. */
#define RECORD_HEAD 16

/* The bytes of the record at p; what is no record is one that has all. */
static inline uint32_t record_bytes(const uint8_t *p, const uint8_t *end)
{
	uint32_t left = (uint32_t)(end - p);

	if (left < RECORD_HEAD || zpack_load32(p + 8) > left - RECORD_HEAD)
		return left;
	return RECORD_HEAD + zpack_load32(p + 8);
}

static inline bool encode_is_tag(const uint8_t *p)
{
	return (p[0] == 0x81 && p[1] == 0x00) ||
	       (p[0] == 0x88 && p[1] == 0xa8) || (p[0] == 0x91 && p[1] == 0x00);
}

/* A number of the flow: IP's addresses and the ports behind them, or what the
 * packet begins with. Whether it is IP is a guess, and a wrong one costs
 * nothing but bytes. */
static inline uint32_t flow_of(const struct parse *s, const uint8_t *record,
			       uint32_t n)
{
	const uint8_t *p = record + RECORD_HEAD;
	uint32_t at = s->link.header;
	uint64_t h;

	if (n <= RECORD_HEAD)
		return 0;
	n -= RECORD_HEAD;
	if (s->link.tags && n >= at && encode_is_tag(p + s->link.type_at))
		at += 4;
	if (n >= at + 24 && p[at] >> 4 == 4) {
		h = encode_mix(zpack_load64(p + at + 12)) >> 20 ^
		    zpack_load32(p + at + 20);
	} else if (n >= at + 44 && p[at] >> 4 == 6) {
		h = encode_mix(zpack_load64(p + at + 8) ^
			       3 * zpack_load64(p + at + 16)) >>
		    20;
		h = encode_mix(h ^ zpack_load64(p + at + 24)) >> 20;
		h = encode_mix(h ^ zpack_load64(p + at + 32)) >> 20 ^
		    zpack_load32(p + at + 40);
	} else if (n >= 16) {
		h = encode_mix(zpack_load64(p)) >> 20 ^ zpack_load64(p + 8);
	} else {
		h = n;
	}
	return (uint32_t)(encode_mix(h) >> (64 - FLOW_BITS));
}

static inline void look_at(struct parse *s, const uint8_t *p,
			   const uint8_t *end)
{
	uint32_t n = (uint32_t)(end - p), here = (uint32_t)(p - s->from) + 1;
	struct encode_flow *kept = &s->k->flow[flow_of(s, p, n)], flow = *kept;
	uint32_t *length = &s->k->length[n & ((1u << LENGTH_BITS) - 1)];
	bool stranger = flow.place == 0;
	uint32_t like = stranger ? *length : flow.place;
	uint32_t vain = stranger ? s->strangers_vain : flow.vain;
	const uint8_t *rest = p;

	/* Prefetch as many bytes; harmless where there are none. */
	for (uint32_t i = 0; i < n; i += 64)
		__builtin_prefetch(p + AHEAD_BYTES + i);
	if (like)
		rest = look_aside(s, p, s->from + like - 1, end);
	if (look_back(s, rest, end, s->step << vain))
		vain = stranger ? 0 : vain / 2;
	else if (end - rest >= BODY_LEAST && vain < VAIN_MAX)
		vain++;
	if (stranger)
		s->strangers_vain = vain;
	*kept = (struct encode_flow){here, stranger ? vain / 3 : vain};
	*length = here;
}

static void begin_block(struct parse *s, struct zpack_layer layer)
{
	struct zpack *k = s->k;

	memset(k->flow, 0, sizeof(k->flow));
	memset(k->length, 0, sizeof(k->length));
	memset(k->seen, 0, sizeof(k->seen));
	s->recent[0] = 1;
	s->recent[1] = 4;
	s->recent[2] = 8;
	s->link = layer;
}

/* --- frames --- */

static uint8_t *put_block_head(uint8_t *to, bool last, uint32_t type,
			       uint32_t n)
{
	uint32_t head = last | type << 1 | n << 3;

	memcpy(to, &head, BLOCK_HEAD_BYTES);
	return to + BLOCK_HEAD_BYTES;
}

static uint8_t *store_chunk(struct parse *s, const uint8_t *from, uint32_t n,
			    uint8_t *out)
{
	out = put_block_head(out, from + n == s->end, BLOCK_RAW, n);
	xxh64_and_copy(&s->sum, from, n, out);
	return out + n;
}

/* Packs the records from `from` on that are a chunk; *to: behind them.
 * Returns the end of what it is in out, or NULL: it does not shrink. */
static uint8_t *zpack_chunk(struct parse *s, const uint8_t *from,
			    const uint8_t **to, uint8_t *out)
{
	uint8_t *literals = out + BLOCK_HEAD_BYTES + LITERALS_HEAD_BYTES;
	uint32_t recent[3], head, n;
	const uint8_t *p = from;

	memcpy(recent, s->recent, sizeof(recent));
	s->k->n = 0;
	fse_begin(&s->k->coder);
	s->literals = from;
	s->out = literals;
	while (p < s->end) {
		n = record_bytes(p, s->end);
		if (n > CHUNK - (p - from)) {
			if (p > from)
				break;
			n = CHUNK;
		}
		look_at(s, p, p + n);
		p += n;
	}
	*to = p;
	n = (uint32_t)(p - from);
	copy_literals(s, (uint32_t)(p - s->literals));
	if (s->k->n) {
		size_t coded = fse_write(&s->k->coder, s->k->sequences, s->k->n,
					 s->k->coded);

		if (s->out + coded < out + BLOCK_HEAD_BYTES + n) {
			head = LITERALS_RAW | (uint32_t)(s->out - literals)
						      << 4;
			memcpy(literals - LITERALS_HEAD_BYTES, &head,
			       LITERALS_HEAD_BYTES);
			memcpy(s->out, s->k->coded, coded);
			s->out += coded;
			put_block_head(out, p == s->end, BLOCK_COMPRESSED,
				       (uint32_t)(s->out - out) -
					       BLOCK_HEAD_BYTES);
			return s->out;
		}
	}
	/* Who reads it will not know of these. */
	memcpy(s->recent, recent, sizeof(recent));
	return NULL;
}

/* A chunk from p on, or what records of it are whole; *next: behind it. */
static uint8_t *put_chunk(struct parse *s, const uint8_t *p,
			  const uint8_t **next, bool store, uint8_t *out)
{
	uint8_t *end = NULL;

	*next = s->end - p > (ptrdiff_t)CHUNK ? p + CHUNK : s->end;
	if (!store)
		end = zpack_chunk(s, p, next, out);
	if (end)
		xxh64_until(&s->sum, *next);
	else
		end = store_chunk(s, p, (uint32_t)(*next - p), out);
	return end;
}

static bool encode_shrank(size_t from, size_t to)
{
	return to + from / SHRINK_PART <= from;
}

SHIFTS_MUCH
size_t zpack(struct zpack *k, struct zpack_layer layer, const uint8_t *records,
	     uint32_t n, unsigned step, uint8_t *out)
{
	struct parse s = {.k = k,
			  .from = records,
			  .end = records + n,
			  .sum = xxh64_begin(records),
			  .step = step};
	const uint8_t *p = records, *next;
	uint8_t *to = out + FRAME_HEAD_BYTES, *end;
	const uint32_t magic = ZSTD_MAGICNUMBER;
	size_t looked_at = 0, packed = 0;

	memcpy(out, &magic, sizeof(magic));
	out[4] = FRAME_DESCRIPTOR;
	memcpy(out + 5, &n, sizeof(n));
	if (step != ZPACK_STORE)
		begin_block(&s, layer);
	for (unsigned i = 0; p < s.end || i == 0; i++, p = next, to = end) {
		bool store = step == ZPACK_STORE ||
			     (k->in_doubt && i % LOOK_EVERY != 0);

		end = put_chunk(&s, p, &next, store, to);
		if (store)
			continue;
		looked_at += (size_t)(next - p);
		packed += (size_t)(end - to);
		k->in_doubt &=
			!encode_shrank((size_t)(next - p), (size_t)(end - to));
	}
	if (step != ZPACK_STORE)
		k->in_doubt = !encode_shrank(looked_at, packed);
	uint32_t sum = xxh64_end(&s.sum, records, s.end);
	memcpy(to, &sum, sizeof(sum));
	return (size_t)(to + sizeof(sum) - out);
}
