/*
 * Savefiles: what tcpdump reads from a file, goes into the feed, and nothing
 * else; a file that ends or breaks in the middle is told from a whole one.
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
	uint32_t link_type;
	uint64_t packets, raw_bytes, blocks;
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
	struct feed *f = feed_new(1, 1, 3);
	catch_init(&c, f);
	catch_release(&c);
	i.ok = savefile_copy(s, f, &i.packets, &i.raw_bytes, &i.e);
	savefile_close(s);
	uint32_t at;
	feed_position(f, &i.blocks, &at);
	i.blocks--;
	assert_int_equal(at, 0); /* the last block is sealed */
	assert_int_equal(i.packets, c.packets);
	assert_int_equal(i.raw_bytes, c.records.n);
	i.records = c.records;
	c.records = (struct bytes){0};
	catch_done(&c);
	feed_close(f);
	feed_unref(f);
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
				    "or compressed with zstd.");
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
	assert_int_equal(i[0].packets, 3);
	assert_int_equal(i[1].packets, 2);
	for (size_t k = 0; k < 5; k++) {
		assert_false(i[k].ok);
		assert_int_equal(i[k].e.kind, ERR_CANCELLED);
		assert_string_equal(i[k].e.what,
				    "x.pcap: the client went away");
		imported_free(&i[k]);
	}
	bytes_free(&z);
	bytes_free(&b);
}

static void packet_larger_than_a_block_ends_the_import(void **state)
{
	const struct form *f = &forms[1];
	struct bytes b = {0};
	uint32_t large = 1500000;

	(void)state;
	/* D-Bus messages may be this large. */
	put_header(&b, f, 231);
	b.at[17] = b.at[18] = b.at[19] = 0x7f; /* snaplen */
	put_packet(&b, f, 0, 100);
	put32(&b, f, 1);
	put32(&b, f, 1);
	put32(&b, f, large);
	put32(&b, f, large);
	uint8_t *body = calloc(1, large);
	bytes_add(&b, body, large);
	free(body);
	put_packet(&b, f, 2, 100);
	struct imported i = import_bytes(b.at, b.n);
	assert_int_equal(i.packets, 1);
	assert_int_equal(i.e.kind, ERR_INCOMPLETE);
	assert_string_equal(i.e.what,
			    "x.pcap: after 1 packet: the next one has 1500000 "
			    "bytes, over the limit of 1048560");
	imported_free(&i);
	bytes_free(&b);
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
	struct feed *f = feed_new(1, 1, 2);
	struct err e = ERR_INIT;
	uint64_t packets, raw_bytes;

	(void)state;
	put_header(&b, &forms[1], 1);
	put_packet(&b, &forms[1], 0, 200);
	struct reader r = {b.at, b.n, 0, false};
	struct savefile *s = savefile_open(reader_read, &r, "x.pcap", &e);
	assert_non_null(s);
	feed_close(f);
	assert_false(savefile_copy(s, f, &packets, &raw_bytes, &e));
	assert_int_equal(packets, 0);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	savefile_close(s);
	feed_unref(f);
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
		cmocka_unit_test(packet_larger_than_a_block_ends_the_import),
		cmocka_unit_test(import_waits_for_room),
		cmocka_unit_test(closed_feed_ends_the_import),
		cmocka_unit_test(the_traces_come_out_as_tcpdump_reads_them),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
