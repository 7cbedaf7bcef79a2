/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What pack makes of packets and of anything else. libzstd's decoder says
 * whether it is a frame, and of what; nothing is read or written out of bounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "packet/block.h"
#include "packet/link_layer.h"
#include "traffic.h"
#include "zpack/encode.h"
#include "zpack/fse.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zstd.h>

#define PAGE 4096u
#define ROOM (ZPACK_BOUND(BLOCK_MAX) + ZPACK_SLACK)

struct world {
	struct zpack *packer;
	uint8_t *input;	 /* BLOCK_MAX bytes, which end where nothing is */
	uint8_t *output; /* so do these, after ROOM */
	uint8_t *plain;
};

/* n bytes before a page that nobody may touch. */
static uint8_t *fenced(size_t n)
{
	size_t all = (n + PAGE - 1) / PAGE * PAGE;
	uint8_t *p = mmap(NULL, all + PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	assert_int_equal(mprotect(p + all, PAGE, PROT_NONE), 0);
	return p + all - n;
}

static void unfence(uint8_t *p, size_t n)
{
	size_t all = (n + PAGE - 1) / PAGE * PAGE;

	munmap(p + n - all, all + PAGE);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->packer = zpack_new();
	w->input = fenced(BLOCK_MAX);
	w->output = fenced(ROOM);
	w->plain = malloc(BLOCK_MAX);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	zpack_free(w->packer);
	unfence(w->input, BLOCK_MAX);
	unfence(w->output, ROOM);
	free(w->plain);
	free(w);
	return 0;
}

static void assert_unpacks(struct world *w, const uint8_t *frame, size_t packed,
			   const uint8_t *to, uint32_t n)
{
	assert_int_equal(ZSTD_findFrameCompressedSize(frame, packed), packed);
	assert_int_equal(ZSTD_getFrameContentSize(frame, packed), n);
	assert_int_equal(ZSTD_decompress(w->plain, BLOCK_MAX, frame, packed),
			 n);
	assert_memory_equal(w->plain, to, n);
}

/* The n bytes, at the fence and with no more room than asked for; the size of
 * their frame. */
static size_t pack_fenced(struct world *w, uint32_t link_type,
			  const uint8_t *bytes, uint32_t n, unsigned step)
{
	size_t bound = ZPACK_BOUND(n);
	uint8_t *out = w->output + ROOM - bound - ZPACK_SLACK;
	uint8_t *in = w->input + BLOCK_MAX - n;

	memmove(in, bytes, n);
	struct link_layer l = link_layer_of(link_type);
	struct zpack_layer layer = {l.header, l.type_at, l.tags};
	size_t packed = zpack(w->packer, layer, in, n, step, out);
	assert_in_range(packed, 1, bound);
	assert_unpacks(w, out, packed, in, n);
	/* The checksum is the last thing in it. */
	out[packed - 1] ^= 1;
	assert_true(ZSTD_isError(
		ZSTD_decompress(w->plain, BLOCK_MAX, out, packed)));
	out[packed - 1] ^= 1;
	return packed;
}

static void any_packets_come_back(void **state)
{
	static const unsigned steps[] = {ZPACK_STORE, 1, 2, 20, 100000};
	struct world *w = *state;
	struct dice d = {7};
	uint8_t *block = malloc(BLOCK_MAX);

	for (unsigned i = 0; i < 200; i++) {
		uint32_t link_type = traffic_link_types[roll(
			&d, (uint32_t)traffic_link_types_n)];
		unsigned most = BLOCK_MAX / (16 + TRAFFIC_PACKET_MAX);
		unsigned packets = roll(&d, 4) ? roll(&d, 40) : roll(&d, most);
		uint32_t n = traffic_block(&d, link_type, packets, block);

		/* Also cut anywhere, and with a bit wrong. */
		if (n && roll(&d, 3) == 0)
			n -= roll(&d, n < 100 ? n : 100);
		for (unsigned k = roll(&d, 3); n && k > 0; k--)
			block[roll(&d, n)] ^= (uint8_t)(1u << roll(&d, 8));
		for (size_t k = 0; k < sizeof(steps) / sizeof(*steps); k++)
			pack_fenced(w, link_type, block, n, steps[k]);
	}
	free(block);
}

/* Bytes with repetitions of any length and distance: no packets at all, or
 * whatever a record's length happens to say. */
static uint32_t make_anything(struct dice *d, uint8_t *to)
{
	uint32_t n = roll(d, 3) ? roll(d, 3000) : roll(d, BLOCK_MAX + 1);
	unsigned kinds = 1 + roll(d, 4), values = 1 + roll(d, 256);

	for (uint32_t i = 0; i < n;) {
		uint32_t most = roll(d, 8) ? 40 : 300000;
		uint32_t k = 1 + roll(d, most);

		k = k < n - i ? k : n - i;
		if (i > 0 && roll(d, kinds)) {
			uint32_t from = roll(d, i);

			for (uint32_t j = 0; j < k; j++)
				to[i + j] = to[from + j];
		} else {
			for (uint32_t j = 0; j < k; j++)
				to[i + j] = (uint8_t)roll(d, values);
		}
		i += k;
	}
	return n;
}

static void anything_comes_back(void **state)
{
	struct world *w = *state;
	struct dice d = {11};
	uint8_t *bytes = malloc(BLOCK_MAX);

	for (unsigned i = 0; i < 300; i++)
		pack_fenced(w, i % 3, bytes, make_anything(&d, bytes),
			    1 + roll(&d, 3));
	for (uint32_t n = 0; n < 200; n++)
		pack_fenced(w, 0, bytes, n, n % 2 ? 1 : ZPACK_STORE);
	free(bytes);
}

/* One record is larger than a zstd block; one fills the block. */
static void a_packet_of_any_size_comes_back(void **state)
{
	static const uint32_t sizes[] = {0,
					 1,
					 63,
					 64,
					 65,
					 80,
					 (128 << 10) - 16,
					 131057,
					 300000,
					 BLOCK_PACKET_MAX};
	struct world *w = *state;
	uint8_t *bytes = calloc(1, BLOCK_MAX);
	struct dice d = {5};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint32_t n = 0;

		while (n + 16 + sizes[i] <= BLOCK_MAX && n < 400000) {
			struct packet_head h = {0, roll(&d, 1000), sizes[i],
						sizes[i]};

			memcpy(bytes + n, &h, sizeof(h));
			memset(bytes + n + 16, (int)roll(&d, 2), sizes[i]);
			n += 16 + sizes[i];
		}
		assert_true(pack_fenced(w, 1, bytes, n, 1) < 100 + n / 2);
	}
	free(bytes);
}

/* --- packets of flows --- */

/* Ethernet, IPv4, TCP of 20 + 12 bytes of options, and a body of noise. */
static uint32_t put_segment(struct dice *d, uint32_t flow, uint32_t body,
			    uint8_t *to)
{
	static const uint8_t headers[] = {
		2, 0, 0, 0,   0, 1,  2,	 0, 0, 0,  0, 2, 8,    0,    0x45, 0, 0,
		0, 0, 0, 64,  0, 64, 6,	 0, 0, 10, 0, 0, 1,    10,   0,	   0, 2,
		0, 0, 1, 187, 0, 0,  0,	 0, 0, 0,  0, 0, 0x80, 0x10, 1,	   0, 0,
		0, 0, 0, 1,   1, 8,  10, 0, 1, 2,  0, 0, 1,    2,    0};
	uint32_t n = (uint32_t)sizeof(headers) + body;
	struct packet_head h = {1764100000, roll(d, 1000000000), n, n};

	memcpy(to, &h, sizeof(h));
	to += sizeof(h);
	memcpy(to, headers, sizeof(headers));
	to[29] = (uint8_t)flow;
	to[35] = (uint8_t)(flow * 7);
	for (unsigned i = 0; i < 3; i++) {
		to[39 + i] = (uint8_t)roll(d, 256); /* sequence */
		to[43 + i] = (uint8_t)roll(d, 256); /* acknowledgement */
	}
	for (uint32_t i = 0; i < body; i++)
		to[sizeof(headers) + i] = (uint8_t)roll(d, 256);
	return (uint32_t)sizeof(h) + n;
}

static size_t zstd_of(const uint8_t *bytes, uint32_t n, int level)
{
	size_t bound = ZSTD_compressBound(n);
	uint8_t *to = malloc(bound);
	size_t packed = ZSTD_compress(to, bound, bytes, n, level);

	free(to);
	assert_false(ZSTD_isError(packed));
	return packed;
}

/* No worse than zstd at the level that it stands for, and with bodies that do
 * not shrink its headers still do. */
static void packets_of_flows_shrink_as_with_zstd(void **state)
{
	static const uint32_t bodies[] = {0, 30, 200, 1000};
	struct world *w = *state;
	uint8_t *bytes = malloc(BLOCK_MAX);
	struct dice d = {3};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		uint32_t n = 0;

		while (n + 100 + bodies[i] <= BLOCK_MAX)
			n += put_segment(&d, roll(&d, 50), bodies[i],
					 bytes + n);
		size_t packed = pack_fenced(w, 1, bytes, n, 1);
		assert_true(packed < zstd_of(bytes, n, -1));
	}
	free(bytes);
}

static void what_is_looked_at_in_larger_steps_shrinks_less(void **state)
{
	struct world *w = *state;
	uint8_t *bytes = malloc(BLOCK_MAX);
	struct dice d = {13};
	uint32_t n = traffic_block(&d, 1, 3000, bytes);
	size_t closely = pack_fenced(w, 1, bytes, n, 1),
	       far = pack_fenced(w, 1, bytes, n, 20),
	       stored = pack_fenced(w, 1, bytes, n, ZPACK_STORE);

	assert_true(closely < far && far < stored);
	assert_in_range(stored, n, n + 64);
	free(bytes);
}

/* --- sequences --- */

/* A number whose size is anything, not only its value. */
static uint32_t roll_wide(struct dice *d, uint32_t most)
{
	uint32_t n = roll(d, 2u << roll(d, 17));

	return n > most ? most : n;
}

static size_t write_counted(struct sequence_coder *c, struct sequence *q,
			    uint32_t n, uint8_t *to)
{
	fse_begin(c);
	for (uint32_t i = 0; i < n; i++)
		sequence_count(c, &q[i]);
	return fse_write(c, q, n, to);
}

/*
 * Sequences of all kinds, as a frame of one block that we put together and
 * carry out here: literals are noise, matches copy what came before.
 */
static void sequences_are_read_as_they_were_meant(void **state)
{
	const uint32_t most = 128u << 10;
	struct world *w = *state;
	struct sequence_coder *coder = malloc(sizeof(*coder));
	struct sequence *q = malloc(most * sizeof(*q));
	uint8_t *expected = malloc(most), *literals = malloc(most);
	struct dice d = {17};

	for (unsigned round = 0; round < 400; round++) {
		uint32_t n = 0, size = 0, n_literals = 0;
		/* From very much of one kind to everything. */
		unsigned usual = roll(&d, 4) * 30;
		uint32_t wanted =
			1 + (roll(&d, 2) ? roll(&d, 40) : roll(&d, 20000));

		while (n < wanted) {
			bool any = usual == 0 || roll(&d, usual) == 0;
			uint32_t l = any ? roll_wide(&d, 70000) : 3,
				 m = SEQUENCE_LEAST +
				     (any ? roll_wide(&d, 70000) : 4);

			l += size == 0;
			if (size + l + m > most)
				break;
			for (uint32_t i = 0; i < l; i++)
				expected[size + i] = literals[n_literals + i] =
					(uint8_t)roll(&d, 256);
			size += l;
			n_literals += l;
			uint32_t distance =
				1 + (any ? roll(&d, size)
					 : roll(&d, size < 8 ? size : 8));
			for (uint32_t i = 0; i < m; i++)
				expected[size + i] =
					expected[size + i - distance];
			size += m;
			q[n++] = (struct sequence){.literals = l,
						   .length = m,
						   .offset = distance + 3};
		}
		if (n == 0)
			continue;
		uint8_t *to = w->output;
		const uint32_t magic = ZSTD_MAGICNUMBER;
		memcpy(to, &magic, 4);
		to[4] = 2 << 6 | 1 << 5;
		memcpy(to + 5, &size, 4);
		uint32_t literals_head = 3u << 2 | n_literals << 4;
		memcpy(to + 12, &literals_head, 3);
		memcpy(to + 15, literals, n_literals);
		size_t coded = write_counted(coder, q, n, to + 15 + n_literals);
		assert_in_range(coded, 1, FSE_BYTES(n));
		uint32_t content = 3 + n_literals + (uint32_t)coded;
		/* A zstd block has no more than 128 KiB. */
		if (content > most)
			continue;
		uint32_t head = 1 | 2 << 1 | content << 3;
		memcpy(to + 9, &head, 3);
		assert_unpacks(w, to, 12 + content, expected, size);
	}
	free(coder);
	free(q);
	free(expected);
	free(literals);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(any_packets_come_back),
		T(anything_comes_back),
		T(a_packet_of_any_size_comes_back),
		T(packets_of_flows_shrink_as_with_zstd),
		T(what_is_looked_at_in_larger_steps_shrinks_less),
		T(sequences_are_read_as_they_were_meant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
