/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Savefiles: what tcpdump reads from a file, goes into the capture tail, and
 * nothing else; a file that ends or breaks in the middle is told from a whole
 * one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "capture/capture.h"
#include "catch.h"

#include <dirent.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

static char folder[] = "/tmp/pcapd-savefile-XXXXXX";
static char path[64];

/* --- files by hand --- */

struct form {
	const char *name;
	uint32_t magic;
	bool big_endian, pcapng;
};
static const struct form forms[] = {
	{"microseconds", 0xa1b2c3d4, false, false},
	{"nanoseconds", 0xa1b23c4d, false, false},
	{"microseconds, big-endian", 0xa1b2c3d4, true, false},
	{"nanoseconds, big-endian", 0xa1b23c4d, true, false},
	{"pcapng", 0, false, true},
	{"pcapng, big-endian", 0, true, true},
};
#define FORMS (sizeof(forms) / sizeof(*forms))

static void put32(struct bytes *b, const struct form *f, uint32_t v)
{
	v = f->big_endian ? htobe32(v) : htole32(v);
	bytes_add(b, &v, sizeof(v));
}

static void put16(struct bytes *b, const struct form *f, uint16_t v)
{
	v = f->big_endian ? htobe16(v) : htole16(v);
	bytes_add(b, &v, sizeof(v));
}

static void put_header(struct bytes *b, const struct form *f,
		       uint32_t link_type)
{
	if (!f->pcapng) {
		put32(b, f, f->magic);
		put16(b, f, 2);
		put16(b, f, 4);
		put32(b, f, 0);
		put32(b, f, 0);
		put32(b, f, 65535);
		put32(b, f, link_type);
		return;
	}
	put32(b, f, 0x0a0d0d0a); /* section header */
	put32(b, f, 28);
	put32(b, f, 0x1a2b3c4d);
	put16(b, f, 1);
	put16(b, f, 0);
	put32(b, f, 0xffffffff);
	put32(b, f, 0xffffffff);
	put32(b, f, 28);
	put32(b, f, 1); /* interface, in nanoseconds */
	put32(b, f, 32);
	put16(b, f, (uint16_t)link_type);
	put16(b, f, 0);
	put32(b, f, 65535);
	put16(b, f, 9);
	put16(b, f, 1);
	bytes_add(b, "\x09\0\0\0", 4);
	put32(b, f, 0);
	put32(b, f, 32);
}

/* n bytes of a packet with a time; where its record ends in b. */
static size_t put_packet(struct bytes *b, const struct form *f, uint32_t i,
			 uint32_t n)
{
	uint32_t sec = 1700000000 + i, nsec = 123456000 + i * 1000;
	uint8_t body[256], zero[4] = {0};

	for (uint32_t k = 0; k < n; k++)
		body[k] = (uint8_t)(i * 31 + k);
	if (f->pcapng) {
		uint64_t t = (uint64_t)sec * NS_PER_S + nsec;
		uint32_t padded = (n + 3) & ~3u;

		put32(b, f, 6);
		put32(b, f, 32 + padded);
		put32(b, f, 0);
		put32(b, f, (uint32_t)(t >> 32));
		put32(b, f, (uint32_t)t);
		put32(b, f, n);
		put32(b, f, n + 40);
		bytes_add(b, body, n);
		bytes_add(b, zero, padded - n);
		put32(b, f, 32 + padded);
	} else {
		put32(b, f, sec);
		put32(b, f, f->magic == 0xa1b2c3d4 ? nsec / 1000 : nsec);
		put32(b, f, n);
		put32(b, f, n + 40);
		bytes_add(b, body, n);
	}
	return b->n;
}

static struct bytes zstd_of(const void *bytes, size_t n)
{
	struct bytes made = {.at = malloc(ZSTD_compressBound(n))};

	assert_non_null(made.at);
	made.n = made.room = ZSTD_compressBound(n);
	made.n = ZSTD_compress(made.at, made.n, bytes, n, 1);
	assert_false(ZSTD_isError(made.n));
	return made;
}

/* --- reading --- */

struct reader {
	const uint8_t *at;
	size_t n, at_most;
	bool fails; /* at the end */
};

static int64_t reader_read(void *ctx, void *to, size_t n, struct err *e)
{
	struct reader *r = ctx;

	if (n > r->n)
		n = r->n;
	if (r->at_most && n > r->at_most)
		n = r->at_most;
	if (n == 0 && r->fails) {
		err_set(e, ERR_CANCELLED, "the client went away");
		return -1;
	}
	memcpy(to, r->at, n);
	r->at += n;
	r->n -= n;
	return (int64_t)n;
}

struct imported {
	bool opened, ok;
	struct err e;
	uint32_t link_type, snaplen;
	uint64_t packets, raw_bytes, blocks;
	struct savefile_result r;
	struct bytes records;
};

static void imported_free(struct imported *i)
{
	bytes_free(&i->records);
}

static struct imported import(struct reader r)
{
	struct imported i = {0};
	struct catcher c;
	struct savefile *s = savefile_open(reader_read, &r, "x.pcap", &i.e);

	if (!s)
		return i;
	i.opened = true;
	i.link_type = savefile_link_type(s);
	i.snaplen = savefile_snaplen(s);
	struct capture_tail *f = capture_tail_new_waiting(1, 1, 3);
	catch_init(&c, f);
	catch_release(&c);
	i.ok = savefile_copy(s, f, 60 * NS_PER_S, &i.r, &i.e);
	i.packets = i.r.packets;
	i.raw_bytes = i.r.raw_bytes;
	savefile_close(s);
	uint32_t at;
	capture_tail_position(f, &i.blocks, &at);
	i.blocks--;
	assert_int_equal(at, 0); /* the last block is sealed */
	assert_int_equal(i.packets, c.packets);
	assert_int_equal(i.raw_bytes, c.records.n);
	i.records = c.records;
	c.records = (struct bytes){0};
	catch_done(&c);
	capture_tail_close(f);
	capture_tail_unref(f);
	return i;
}

static struct imported import_bytes(const void *bytes, size_t n)
{
	return import((struct reader){.at = bytes, .n = n});
}

/* What tcpdump makes of a file, as the records of a savefile like ours. */
static struct bytes tcpdump_of(const char *file, const char *unpack)
{
	struct bytes b = output_of("%s '%s' | tcpdump -Z root --nano -r - -w - "
				   "2>/dev/null",
				   unpack, file);

	if (b.n >= SAVEFILE_HEAD_BYTES) {
		b.n -= SAVEFILE_HEAD_BYTES;
		memmove(b.at, b.at + SAVEFILE_HEAD_BYTES, b.n);
	}
	return b;
}

static void assert_as_tcpdump(const struct imported *i, const void *bytes,
			      size_t n, const char *unpack)
{
	write_file(path, bytes, n);
	struct bytes oracle = tcpdump_of(path, unpack);

	assert_int_equal(i->records.n, oracle.n);
	if (oracle.n)
		assert_memory_equal(i->records.at, oracle.at, oracle.n);
	bytes_free(&oracle);
}

static void each_form_comes_out_as_tcpdump_reads_it(void **state)
{
	(void)state;
	for (size_t k = 0; k < FORMS; k++) {
		struct bytes b = {0};

		put_header(&b, &forms[k], 101);
		for (uint32_t i = 0; i < 50; i++)
			put_packet(&b, &forms[k], i, (i * 7) % 200);
		struct imported plain = import_bytes(b.at, b.n);
		assert_true(plain.ok);
		assert_int_equal(plain.packets, 50);
		assert_int_equal(plain.link_type, 101);
		assert_as_tcpdump(&plain, b.at, b.n, "cat");

		struct bytes z = zstd_of(b.at, b.n);
		struct imported packed = import(
			(struct reader){.at = z.at, .n = z.n, .at_most = 3});
		assert_true(packed.ok);
		assert_as_tcpdump(&packed, b.at, b.n, "cat");
		imported_free(&plain);
		imported_free(&packed);
		bytes_free(&z);
		bytes_free(&b);
	}
}

static void cut_anywhere_gives_exactly_the_whole_packets(void **state)
{
	(void)state;
	for (size_t k = 0; k < FORMS; k++) {
		struct bytes b = {0};
		size_t end[5];

		put_header(&b, &forms[k], 1);
		end[0] = b.n;
		for (uint32_t i = 1; i < 5; i++)
			end[i] = put_packet(&b, &forms[k], i, i * 17);
		struct imported all = import_bytes(b.at, b.n);
		assert_int_equal(all.packets, 4);
		for (size_t n = 0; n < b.n; n++) {
			struct imported i = import_bytes(b.at, n);
			uint64_t whole = 0;

			while (whole < 4 && end[whole + 1] <= n)
				whole++;
			bool between = n == end[whole];
			/* pcapng tells its interfaces after its header. */
			if (n < end[0]) {
				assert_false(i.opened);
				assert_int_equal(i.e.kind, ERR_USAGE);
				continue;
			}
			assert_int_equal(i.packets, whole);
			assert_memory_equal(i.records.at ? i.records.at
							 : (void *)"",
					    all.records.at, i.records.n);
			assert_int_equal(i.ok, between);
			if (!between)
				assert_int_equal(i.e.kind, ERR_INCOMPLETE);
			imported_free(&i);
		}
		imported_free(&all);
		bytes_free(&b);
	}
}

/* libpcap ends at what is no fault of pcapng: a second interface of another
 * link type or snaplen. It gives no more than we. */
static void assert_as_far_as_tcpdump(const struct imported *i,
				     const void *bytes, size_t n)
{
	write_file(path, bytes, n);
	struct bytes oracle = tcpdump_of(path, "cat");

	assert_true(i->records.n >= oracle.n);
	if (oracle.n)
		assert_memory_equal(i->records.at, oracle.at, oracle.n);
	bytes_free(&oracle);
}

/* Wrong bytes anywhere: whatever libpcap still makes of them. */
static void damaged_files_give_what_tcpdump_gets_from_them(void **state)
{
	unsigned opened = 0, complete = 0;

	(void)state;
	srandom(2);
	for (unsigned round = 0; round < 150; round++) {
		struct bytes b = {0};

		put_header(&b, &forms[round % FORMS], 1);
		for (uint32_t i = 1; i < 6; i++)
			put_packet(&b, &forms[round % FORMS], i, i * 17);
		for (int k = 0; k < 2; k++) {
			size_t at = (size_t)random() % b.n;

			/* Not the link type: tcpdump -w refuses most. */
			if ((at & ~3u) !=
			    (forms[round % FORMS].pcapng ? 36 : 20))
				b.at[at] ^= (uint8_t)(1 << random() % 8);
		}
		struct imported i = import_bytes(b.at, b.n);
		if (forms[round % FORMS].pcapng)
			assert_as_far_as_tcpdump(&i, b.at, b.n);
		else
			assert_as_tcpdump(&i, b.at, b.n, "cat");
		opened += i.opened;
		complete += i.ok;
		imported_free(&i);
		bytes_free(&b);
	}
	/* Of each kind there were some. */
	assert_true(opened < 150 && opened > complete && complete > 10);
}

static void truncation_says_after_how_many_packets(void **state)
{
	struct bytes b = {0};

	(void)state;
	put_header(&b, &forms[0], 1);
	put_packet(&b, &forms[0], 0, 100);
	put_packet(&b, &forms[0], 1, 100);
	struct imported i = import_bytes(b.at, b.n - 97);
	assert_int_equal(i.e.kind, ERR_INCOMPLETE);
	assert_string_equal(i.e.what,
			    "x.pcap: after 1 packet: truncated dump file; "
			    "tried to read 100 captured bytes, only got 3");
	imported_free(&i);
	bytes_free(&b);
}

/* As our own segments: the header, then packets, flushed one by one. */
static struct bytes flushed_frames(const struct form *f, uint32_t packets)
{
	struct bytes made = {0}, plain = {0};
	uint8_t out[4096];
	ZSTD_CCtx *z = ZSTD_createCCtx();

	put_header(&plain, f, 1);
	for (uint32_t i = 0; i <= packets; i++) {
		ZSTD_inBuffer from = {plain.at, plain.n, 0};
		ZSTD_outBuffer to = {out, sizeof(out), 0};
		bool ends = i % 3 == 0;
		size_t r = ZSTD_compressStream2(
			z, &to, &from, ends ? ZSTD_e_end : ZSTD_e_flush);

		assert_int_equal(r, 0);
		bytes_add(&made, out, to.pos);
		/* A skippable frame between two frames. */
		if (ends)
			bytes_add(&made,
				  "\x5e\x2a\x4d\x18\x03\0\0\0"
				  "abc",
				  11);
		plain.n = 0;
		put_packet(&plain, f, i, 50 + i * 3);
	}
	bytes_free(&plain);
	ZSTD_freeCCtx(z);
	return made;
}

static void frames_and_skippable_frames_are_one_file(void **state)
{
	struct bytes z = flushed_frames(&forms[1], 12);
	struct imported i = import_bytes(z.at, z.n);

	(void)state;
	assert_true(i.ok);
	assert_int_equal(i.packets, 12);
	assert_as_tcpdump(&i, z.at, z.n, "zstd -dcq <");
	imported_free(&i);
	bytes_free(&z);
}

static void cut_zstd_gives_what_zstd_and_tcpdump_get_from_it(void **state)
{
	struct bytes z = flushed_frames(&forms[1], 6);
	unsigned incomplete = 0;
	struct imported all = import_bytes(z.at, z.n);

	(void)state;
	for (size_t n = 0; n < z.n; n++) {
		struct imported i = import_bytes(z.at, n);

		if (i.opened) {
			assert_memory_equal(i.records.at ? i.records.at
							 : (void *)"",
					    all.records.at, i.records.n);
			if (n % 5 == 0)
				assert_as_tcpdump(&i, z.at, n,
						  "zstd -dcq 2>/dev/null <");
		}
		if (i.opened && !i.ok) {
			assert_int_equal(i.e.kind, ERR_INCOMPLETE);
			incomplete++;
		}
		/* A good end is only where frames end. */
		if (i.opened && i.ok)
			assert_true(i.packets % 3 == 0);
		imported_free(&i);
	}
	assert_true(incomplete > z.n / 2);
	imported_free(&all);
	bytes_free(&z);
}

static void cut_zstd_says_so(void **state)
{
	struct bytes z = flushed_frames(&forms[1], 5);
	struct imported i = import_bytes(z.at, z.n - 1);

	(void)state;
	assert_int_equal(i.e.kind, ERR_INCOMPLETE);
	assert_string_equal(i.e.what, "x.pcap: after 4 packets: the zstd "
				      "stream ends in the middle of a frame");
	imported_free(&i);
	bytes_free(&z);
}

static void damaged_zstd_is_incomplete(void **state)
{
	struct bytes z = flushed_frames(&forms[1], 12);
	size_t first = z.n;

	(void)state;
	/* The magic number of the last frame. */
	for (size_t n = 30; n + 4 < z.n; n++)
		if (memcmp(z.at + n, "\x28\xb5\x2f\xfd", 4) == 0)
			first = n;
	z.at[first] ^= 0xff;
	struct imported i = import_bytes(z.at, z.n);
	assert_int_equal(i.e.kind, ERR_INCOMPLETE);
	assert_int_equal(i.packets, 9);
	assert_string_equal(i.e.what, "x.pcap: after 9 packets: Unknown frame "
				      "descriptor");
	imported_free(&i);
	bytes_free(&z);
}

static void what_is_no_savefile_is_refused(void **state)
{
	static const struct {
		const char *bytes;
		const char *what;
	} cases[] = {
		{"", "x.pcap: not a savefile: truncated dump file; tried to "
		     "read 4 file header bytes, only got 0"},
		{"hello, this is a text and no savefile at all",
		 "x.pcap: not a savefile: unknown file format"},
	};

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct imported i =
			import_bytes(cases[k].bytes, strlen(cases[k].bytes));
		assert_false(i.opened);
		assert_int_equal(i.e.kind, ERR_USAGE);
		assert_string_equal(i.e.what, cases[k].what);
		assert_string_equal(i.e.hint,
				    "Expected a pcap or pcapng file, as it is "
				    "or compressed with zstd or gzip.");
		struct bytes z =
			zstd_of(cases[k].bytes, strlen(cases[k].bytes));
		i = import_bytes(z.at, z.n);
		assert_string_equal(i.e.what, cases[k].what);
		bytes_free(&z);
	}
}

static void readers_own_error_comes_out(void **state)
{
	struct bytes b = {0};

	(void)state;
	put_header(&b, &forms[0], 1);
	for (uint32_t i = 0; i < 3; i++)
		put_packet(&b, &forms[0], i, 100);
	struct bytes z = zstd_of(b.at, b.n);
	struct imported i[] = {
		import((struct reader){b.at, b.n, 10, true}),
		import((struct reader){b.at, b.n - 5, 10, true}),
		import((struct reader){z.at, z.n - 5, 10, true}),
		import((struct reader){b.at, 10, 10, true}),
		import((struct reader){b.at, 0, 10, true}),
	};
	static const char *const text[] = {
		"x.pcap: after 3 packets: the client went away",
		"x.pcap: after 2 packets: the client went away",
		"x.pcap: the client went away",
		"x.pcap: the client went away",
		"x.pcap: the client went away",
	};
	assert_int_equal(i[0].packets, 3);
	assert_int_equal(i[1].packets, 2);
	for (size_t k = 0; k < 5; k++) {
		assert_false(i[k].ok);
		assert_int_equal(i[k].e.kind, ERR_CANCELLED);
		assert_string_equal(i[k].e.what, text[k]);
		imported_free(&i[k]);
	}
	bytes_free(&z);
	bytes_free(&b);
}

/* A packet of n bytes, of any number. */
static void put_large(struct bytes *b, const struct form *f, uint32_t i,
		      uint32_t n)
{
	uint8_t *body = calloc(1, n + 4);
	uint64_t t = i * (uint64_t)NS_PER_S;
	uint32_t padded = (n + 3) & ~3u;

	put32(b, f, f->pcapng ? 6 : i);
	put32(b, f, f->pcapng ? 32 + padded : 0);
	if (f->pcapng) {
		put32(b, f, 0);
		put32(b, f, (uint32_t)(t >> 32));
		put32(b, f, (uint32_t)t);
	}
	put32(b, f, n);
	put32(b, f, n);
	bytes_add(b, body, f->pcapng ? padded : n);
	if (f->pcapng)
		put32(b, f, 32 + padded);
	free(body);
}

static void packets_larger_than_a_block_are_left_out(void **state)
{
	static const size_t which[] = {1, 4, 5};

	(void)state;
	for (size_t k = 0; k < 3; k++) {
		const struct form *f = &forms[which[k]];
		struct bytes b = {0};

		/* D-Bus messages may be this large. */
		put_header(&b, f, 231);
		put_packet(&b, f, 0, 100);
		put_large(&b, f, 7, 1500000);
		put_packet(&b, f, 2, 100);
		put_large(&b, f, 9, BLOCK_PACKET_MAX + 1);
		put_large(&b, f, 10, BLOCK_PACKET_MAX);
		struct imported i = import_bytes(b.at, b.n);
		const struct savefile_loss *l = &i.r.losses[SAVEFILE_TOO_LARGE];
		assert_int_equal(i.packets, 3);
		assert_int_equal(i.e.kind, ERR_INCOMPLETE);
		assert_string_equal(i.e.what,
				    "x.pcap: 2 packets left out: 1500000 "
				    "bytes, over the limit of 1048560");
		assert_int_equal(l->packets, 2);
		assert_int_equal(l->from_ns, 7 * NS_PER_S);
		assert_int_equal(l->to_ns, 9 * NS_PER_S + 1);
		assert_string_equal(i.r.losses[SAVEFILE_CUT].why, "");
		imported_free(&i);
		bytes_free(&b);
	}
}

/* --- pcapng that libpcap does not read --- */

/* An interface of a link type, a snaplen, and options as they are. */
static void put_interface(struct bytes *b, const struct form *f,
			  uint16_t link_type, uint32_t snaplen,
			  const void *options, uint32_t n)
{
	put32(b, f, 1);
	put32(b, f, 20 + n);
	put16(b, f, link_type);
	put16(b, f, 0);
	put32(b, f, snaplen);
	bytes_add(b, options, n);
	put32(b, f, 20 + n);
}

static void put_enhanced(struct bytes *b, const struct form *f,
			 uint32_t interface, uint64_t units, const void *body,
			 uint32_t n)
{
	put32(b, f, 6);
	put32(b, f, 32 + n);
	put32(b, f, interface);
	put32(b, f, (uint32_t)(units >> 32));
	put32(b, f, (uint32_t)units);
	put32(b, f, n);
	put32(b, f, n);
	bytes_add(b, body, n);
	put32(b, f, 32 + n);
}

static void put_section(struct bytes *b, const struct form *f)
{
	put32(b, f, 0x0a0d0d0a);
	put32(b, f, 28);
	put32(b, f, 0x1a2b3c4d);
	put16(b, f, 1);
	put16(b, f, 0);
	put32(b, f, 0xffffffff);
	put32(b, f, 0xffffffff);
	put32(b, f, 28);
}

static const struct form *const both_orders[] = {&forms[4], &forms[5]};

static struct packet_head head_at(const struct imported *i, uint32_t n)
{
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = 0;

	for (uint32_t k = 0; k <= n; k++)
		assert_int_equal(packet_next(i->records.at,
					     (uint32_t)i->records.n, &at, &h,
					     &body),
				 1);
	return h;
}

static void interfaces_have_snaplens_and_units_of_their_own(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		const struct form *f = both_orders[k];
		struct bytes b = {0};

		put_section(&b, f);
		put_interface(&b, f, 1, 65535, "", 0);
		/* if_tsresol: milliseconds; and 2^-20 of a second. */
		uint8_t milli[8] = {0, 9, 0, 1, 3},
			binary[8] = {0, 9, 0, 1, 0x94};
		if (!f->big_endian)
			memcpy(milli, "\x09\0\x01\0", 4),
				memcpy(binary, "\x09\0\x01\0", 4);
		put_interface(&b, f, 1, 262144, milli, 8);
		put_interface(&b, f, 1, 0, binary, 8);
		put_enhanced(&b, f, 0, 1700000000123456ull, "abcd", 4);
		put_enhanced(&b, f, 1, 1700000001123ull, "abcdefgh", 8);
		put_enhanced(&b, f, 2, (1700000002ull << 20) | (1u << 19),
			     "abcd", 4);
		/* A section of its own begins to count at 0. */
		put_section(&b, both_orders[!k]);
		put_interface(&b, both_orders[!k], 1, 96, "", 0);
		put_enhanced(&b, both_orders[!k], 0, 1700000003000000ull,
			     "abcd", 4);
		struct imported i = import_bytes(b.at, b.n);
		assert_true(i.ok);
		assert_int_equal(i.packets, 4);
		assert_int_equal(head_at(&i, 0).nsec, 123456000);
		assert_int_equal(head_at(&i, 1).sec, 1700000001);
		assert_int_equal(head_at(&i, 1).nsec, 123000000);
		assert_int_equal(head_at(&i, 2).sec, 1700000002);
		assert_int_equal(head_at(&i, 2).nsec, 500000000);
		assert_int_equal(head_at(&i, 3).sec, 1700000003);
		imported_free(&i);
		bytes_free(&b);
	}
}

static void other_link_types_are_left_out_and_counted(void **state)
{
	const struct form *f = &forms[4];
	struct bytes b = {0};

	(void)state;
	put_section(&b, f);
	put_interface(&b, f, 1, 0, "", 0);
	put_interface(&b, f, 101, 0, "", 0);
	put_enhanced(&b, f, 0, 1000000, "abcd", 4);
	put_enhanced(&b, f, 1, 2000000, "abcd", 4);
	put_enhanced(&b, f, 1, 4000000, "abcd", 4);
	put_enhanced(&b, f, 0, 5000000, "abcd", 4);
	struct imported i = import_bytes(b.at, b.n);
	const struct savefile_loss *l = &i.r.losses[SAVEFILE_LINK_TYPE];
	assert_int_equal(i.packets, 2);
	assert_int_equal(i.e.kind, ERR_INCOMPLETE);
	assert_string_equal(i.e.what, "x.pcap: 2 packets left out: link type "
				      "101, and the first interface has 1");
	assert_int_equal(l->packets, 2);
	assert_int_equal(l->from_ns, 2 * NS_PER_S);
	assert_int_equal(l->to_ns, 4 * NS_PER_S + 1);
	imported_free(&i);
	bytes_free(&b);
}

static void times_that_no_savefile_has_are_left_out_and_counted(void **state)
{
	const struct form *f = &forms[4];
	uint8_t back[12] = {14, 0, 8, 0};
	int64_t offset = -10;
	struct bytes b = {0};

	(void)state;
	put_section(&b, f);
	put_interface(&b, f, 1, 0, "", 0);
	memcpy(back + 4, &offset, 8); /* if_tsoffset */
	put_interface(&b, f, 1, 0, back, 12);
	put_enhanced(&b, f, 0, (uint64_t)UINT32_MAX * 1000000, "last", 4);
	put_enhanced(&b, f, 0, ((uint64_t)UINT32_MAX + 1) * 1000000, "late", 4);
	put_enhanced(&b, f, 0, UINT64_MAX, "ever", 4);
	put_enhanced(&b, f, 1, 9000000, "-1 s", 4);
	put_enhanced(&b, f, 1, 11000000, "+1 s", 4);
	struct imported i = import_bytes(b.at, b.n);
	assert_int_equal(i.packets, 2);
	assert_int_equal(head_at(&i, 0).sec, UINT32_MAX);
	assert_int_equal(head_at(&i, 1).sec, 1);
	assert_int_equal(i.r.losses[SAVEFILE_TIME].packets, 3);
	assert_int_equal(i.e.kind, ERR_INCOMPLETE);
	assert_string_equal(i.e.what,
			    "x.pcap: 3 packets left out: a time after 2106, "
			    "the last that a savefile can say");
	imported_free(&i);
	bytes_free(&b);
}

static void broken_pcapng_says_how(void **state)
{
	const struct form *f = &forms[4];
	struct bytes b = {0};

	(void)state;
	put_section(&b, f);
	put_interface(&b, f, 1, 0, "", 0);
	put_enhanced(&b, f, 0, 1000000, "abcd", 4);
	size_t good = b.n;
	static const struct {
		size_t at; /* in a second packet */
		uint8_t byte;
		const char *why;
	} cases[] = {
		{8, 7, "a packet is of an interface that is not there"},
		{20, 200, "a block is too short for what is in it"},
		{4, 0, "a block is too short for what is in it"},
		{7, 9, "the file ends in the middle of a block"},
		{32, 0,
		 "a block's length at its end is not that at its "
		 "beginning"},
	};
	put_enhanced(&b, f, 0, 2000000, "abcd", 4);
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		uint8_t before = b.at[good + cases[k].at];
		char what[160];

		b.at[good + cases[k].at] = cases[k].byte;
		struct imported i = import_bytes(b.at, b.n);
		snprintf(what, sizeof(what), "x.pcap: after 1 packet: %s",
			 cases[k].why);
		assert_int_equal(i.packets, 1);
		assert_string_equal(i.e.what, what);
		assert_int_equal(i.r.losses[SAVEFILE_CUT].from_ns, NS_PER_S);
		assert_int_equal(i.r.losses[SAVEFILE_CUT].to_ns, INT64_MAX);
		imported_free(&i);
		b.at[good + cases[k].at] = before;
	}
	bytes_free(&b);
}

static void interfaces_have_a_bound(void **state)
{
	const struct form *f = &forms[4];
	struct bytes b = {0};

	(void)state;
	put_section(&b, f);
	for (unsigned i = 0; i < 4096; i++)
		put_interface(&b, f, 1, 0, "", 0);
	put_enhanced(&b, f, 4095, 1000000, "abcd", 4);
	struct imported i = import_bytes(b.at, b.n);
	assert_true(i.ok);
	imported_free(&i);
	put_interface(&b, f, 1, 0, "", 0);
	i = import_bytes(b.at, b.n);
	assert_int_equal(i.packets, 1);
	assert_string_equal(i.e.what, "x.pcap: after 1 packet: a section has "
				      "over 4096 interfaces");
	imported_free(&i);
	bytes_free(&b);
}

/* --- what a header says --- */

/* libpcap would cut the second packet to the header's 96 bytes. */
static void nothing_is_cut_to_the_snaplen_of_a_header(void **state)
{
	(void)state;
	for (size_t k = 0; k < 4; k++) {
		struct bytes b = {0};

		put_header(&b, &forms[k], 1);
		memset(b.at + 16, 0, 4);
		b.at[forms[k].big_endian ? 19 : 16] = 96;
		put_packet(&b, &forms[k], 0, 90);
		put_packet(&b, &forms[k], 1, 200);
		struct imported i = import_bytes(b.at, b.n);
		assert_true(i.ok);
		assert_int_equal(i.snaplen, 96);
		assert_int_equal(head_at(&i, 1).caplen, 200);
		/* What is said of a block's packets is true of each. */
		assert_int_equal(i.blocks, 2);
		imported_free(&i);
		bytes_free(&b);
	}
}

static void bits_of_a_check_sequence_stay_with_the_link_type(void **state)
{
	const struct form *f = &forms[1];
	uint8_t fcs[8] = {13, 0, 1, 0, 4};
	struct bytes b = {0}, ng = {0};

	(void)state;
	put_header(&b, f, 0x24000001);
	put_packet(&b, f, 0, 64);
	put_section(&ng, &forms[4]);
	put_interface(&ng, &forms[4], 1, 0, fcs, 8);
	struct imported i = import_bytes(b.at, b.n);
	assert_int_equal(i.link_type, 0x24000001);
	imported_free(&i);
	i = import_bytes(ng.at, ng.n);
	assert_int_equal(i.link_type, 0x24000001);
	imported_free(&i);
	bytes_free(&b);
	bytes_free(&ng);
}

/* --- packed files --- */

static struct bytes gzip_of(const void *bytes, size_t n)
{
	write_file(path, bytes, n);
	return output_of("gzip -c '%s'", path);
}

static void gzip_members_are_one_file(void **state)
{
	(void)state;
	for (size_t k = 1; k < FORMS; k += 3) {
		struct bytes b = {0};

		put_header(&b, &forms[k], 1);
		for (uint32_t i = 0; i < 50; i++)
			put_packet(&b, &forms[k], i, (i * 7) % 200);
		struct bytes z = gzip_of(b.at, b.n / 2);
		struct bytes rest = gzip_of(b.at + b.n / 2, b.n - b.n / 2);
		bytes_add(&z, rest.at, rest.n);
		for (size_t piece = 0; piece < 4; piece += 3) {
			struct imported i = import((struct reader){
				.at = z.at, .n = z.n, .at_most = piece});
			assert_true(i.ok);
			assert_as_tcpdump(&i, b.at, b.n, "cat");
			imported_free(&i);
		}
		bytes_free(&rest);
		bytes_free(&z);
		bytes_free(&b);
	}
}

static void cut_gzip_gives_whole_packets_and_says_so(void **state)
{
	struct bytes b = {0};
	unsigned some = 0;

	(void)state;
	put_header(&b, &forms[1], 1);
	for (uint32_t i = 0; i < 50; i++)
		put_packet(&b, &forms[1], i, (i * 7) % 200);
	struct bytes z = gzip_of(b.at, b.n);
	for (size_t n = 0; n < z.n; n++) {
		struct imported i = import_bytes(z.at, n);

		assert_false(i.ok);
		if (i.opened) {
			assert_int_equal(i.e.kind, ERR_INCOMPLETE);
			assert_memory_equal(b.at + SAVEFILE_HEAD_BYTES,
					    i.records.n ? i.records.at
							: (void *)"",
					    i.records.n);
			some += i.packets > 0;
		}
		imported_free(&i);
	}
	assert_true(some > 0);
	bytes_free(&z);
	bytes_free(&b);
}

/* The checksum is at the end: by then the altered packet is in. */
static void wrong_checksums_make_packets_doubtful(void **state)
{
	(void)state;
	for (int gzip = 0; gzip < 2; gzip++) {
		struct bytes b = {0};

		put_header(&b, &forms[1], 1);
		for (uint32_t i = 0; i < 2000; i++)
			put_packet(&b, &forms[1], i, 200);
		struct bytes z = {0};
		if (gzip) {
			z = gzip_of(b.at, b.n);
			z.at[z.n - 8] ^= 1;
		} else {
			write_file(path, b.at, b.n);
			z = output_of("zstd -qc --check '%s'", path);
			z.at[z.n - 1] ^= 1;
		}
		struct imported i = import_bytes(z.at, z.n);
		const struct savefile_loss *l = &i.r.losses[SAVEFILE_DOUBTFUL];
		assert_int_equal(i.e.kind, ERR_INCOMPLETE);
		assert_true(i.packets > 100);
		assert_int_equal(l->packets, i.packets);
		assert_int_equal(l->from_ns, 1700000000 * NS_PER_S + 123456000);
		assert_non_null(strstr(i.e.what, "may have been altered: "));
		imported_free(&i);
		bytes_free(&z);
		bytes_free(&b);
	}
}

static void other_ways_of_packing_are_named(void **state)
{
	struct imported i = import_bytes("\xfd"
					 "7zXZ\0 and so on, and on",
					 25);

	(void)state;
	assert_int_equal(i.e.kind, ERR_USAGE);
	assert_non_null(strstr(i.e.hint, "packed with xz: unpack it"));
}

/* Three blocks may wait, these are more: nothing is dropped for want of
 * room. */
static void import_waits_for_room(void **state)
{
	struct bytes b = {0};

	(void)state;
	put_header(&b, &forms[1], 1);
	for (uint32_t i = 0; i < 40000; i++)
		put_packet(&b, &forms[1], i, 200);
	struct imported i = import_bytes(b.at, b.n);
	assert_true(i.ok);
	assert_int_equal(i.packets, 40000);
	assert_true(i.blocks > 6);
	assert_memory_equal(i.records.at, b.at + SAVEFILE_HEAD_BYTES,
			    i.records.n);
	imported_free(&i);
	bytes_free(&b);
}

static void closed_feed_ends_the_import(void **state)
{
	struct bytes b = {0};
	struct capture_tail *f = capture_tail_new_waiting(1, 1, 2);
	struct err e = ERR_INIT;
	struct savefile_result result;

	(void)state;
	put_header(&b, &forms[1], 1);
	put_packet(&b, &forms[1], 0, 200);
	struct reader r = {b.at, b.n, 0, false};
	struct savefile *s = savefile_open(reader_read, &r, "x.pcap", &e);
	assert_non_null(s);
	capture_tail_close(f);
	assert_false(savefile_copy(s, f, 60 * NS_PER_S, &result, &e));
	assert_int_equal(result.packets, 0);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	savefile_close(s);
	capture_tail_unref(f);
	bytes_free(&b);
}

static void the_traces_come_out_as_tcpdump_reads_them(void **state)
{
	char name[512], file[1024];
	struct dirent **all;

	(void)state;
	if (!shared_data("linktypes", name, sizeof(name))) {
		print_message(
			"SKIPPED: there is no ../shared/data/linktypes\n");
		skip();
	}
	int n = scandir(name, &all, NULL, alphasort);
	assert_true(n > 2);
	for (int k = 0; k < n; k++) {
		snprintf(file, sizeof(file), "%s/%s", name, all[k]->d_name);
		bool hidden = all[k]->d_name[0] == '.';
		free(all[k]);
		if (hidden)
			continue;
		struct bytes whole = output_of("cat '%s'", file);
		struct imported i = import_bytes(whole.at, whole.n);
		struct bytes oracle = tcpdump_of(file, "cat");
		bool broken = strstr(file, "fuzz");

		print_message("%s: %llu packets, link type %u%s%s\n", file,
			      (unsigned long long)i.packets, i.link_type,
			      i.ok ? "" : ": ", i.ok ? "" : i.e.what);
		assert_int_equal(i.records.n, oracle.n);
		if (oracle.n)
			assert_memory_equal(i.records.at, oracle.at, oracle.n);
		assert_int_equal(i.ok, !broken);
		imported_free(&i);
		bytes_free(&oracle);
		bytes_free(&whole);
	}
	free(all);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/x.pcap", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_form_comes_out_as_tcpdump_reads_it),
		cmocka_unit_test(cut_anywhere_gives_exactly_the_whole_packets),
		cmocka_unit_test(
			damaged_files_give_what_tcpdump_gets_from_them),
		cmocka_unit_test(truncation_says_after_how_many_packets),
		cmocka_unit_test(frames_and_skippable_frames_are_one_file),
		cmocka_unit_test(
			cut_zstd_gives_what_zstd_and_tcpdump_get_from_it),
		cmocka_unit_test(cut_zstd_says_so),
		cmocka_unit_test(damaged_zstd_is_incomplete),
		cmocka_unit_test(what_is_no_savefile_is_refused),
		cmocka_unit_test(readers_own_error_comes_out),
		cmocka_unit_test(packets_larger_than_a_block_are_left_out),
		cmocka_unit_test(
			interfaces_have_snaplens_and_units_of_their_own),
		cmocka_unit_test(other_link_types_are_left_out_and_counted),
		cmocka_unit_test(
			times_that_no_savefile_has_are_left_out_and_counted),
		cmocka_unit_test(broken_pcapng_says_how),
		cmocka_unit_test(interfaces_have_a_bound),
		cmocka_unit_test(nothing_is_cut_to_the_snaplen_of_a_header),
		cmocka_unit_test(
			bits_of_a_check_sequence_stay_with_the_link_type),
		cmocka_unit_test(gzip_members_are_one_file),
		cmocka_unit_test(cut_gzip_gives_whole_packets_and_says_so),
		cmocka_unit_test(wrong_checksums_make_packets_doubtful),
		cmocka_unit_test(other_ways_of_packing_are_named),
		cmocka_unit_test(import_waits_for_room),
		cmocka_unit_test(closed_feed_ends_the_import),
		cmocka_unit_test(the_traces_come_out_as_tcpdump_reads_them),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
