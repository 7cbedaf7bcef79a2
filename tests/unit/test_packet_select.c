/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Picking: what comes out of slices is what a plain walk over the packets, or
 * tcpdump, would keep.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "capture/capture.h"
#include "catch.h"
#include "packet/packet_select.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ETHERNET 1

struct fixture {
	struct block_pool *pool;
	struct block *block;
};

/* Packet i: time start + i, 60 + i bytes, UDP if i is even, else TCP. */
static struct block *numbered(struct block_pool *pool, unsigned n,
			      uint32_t start)
{
	struct block *b = block_new(pool, ETHERNET, 65535);

	assert_non_null(b);
	b->info.seq = 7;
	for (unsigned i = 0; i < n; i++) {
		uint8_t frame[2000] = {[12] = 0x08, [14] = 0x45};
		struct packet_head h = {start + i, 5, 60 + i, 100 + i};

		frame[23] = i % 2 ? 6 : 17;
		frame[40] = (uint8_t)i;
		block_append(b, &h, frame);
	}
	block_seal(b);
	return b;
}

static int set_up(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	x->pool = block_pool_new(2);
	x->block = numbered(x->pool, 100, 1000);
	*state = x;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(atomic_load(&x->block->refs), 1);
	block_unref(x->block);
	block_pool_unref(x->pool);
	free(x);
	return 0;
}

static struct slice whole(struct fixture *x)
{
	return (struct slice){block_ref(x->block), 0, x->block->used, 100};
}

static struct bpf_filter *filter_of(const char *text)
{
	struct err e = ERR_INIT;
	struct bpf_filter *f = bpf_filter_compile(text, ETHERNET, 262144, &e);

	if (!f)
		fail_msg("%s", e.what);
	return f;
}

static void everything_passes_without_a_copy(void **state)
{
	struct fixture *x = *state;
	struct packet_select p = {.pool = x->pool};
	struct err e = ERR_INIT;
	struct slice out;

	assert_true(packet_select_all(&p));
	assert_int_equal(packet_select_slice(&p, whole(x), &out, &e), 1);
	assert_ptr_equal(out.block, x->block);
	assert_int_equal(out.from, 0);
	assert_int_equal(out.to, x->block->used);
	assert_int_equal(out.packets, 100);
	assert_int_equal(p.examined, 100);
	assert_int_equal(p.packets, 100);
	assert_int_equal(p.min_ns, 1000 * NS_PER_S + 5);
	assert_int_equal(p.max_ns, 1099 * NS_PER_S + 5);
	block_unref(out.block);
}

static void ends_are_trimmed_without_a_copy(void **state)
{
	struct fixture *x = *state;
	/* At or after 1010.5, before 1020.5. */
	struct packet_select p = {.pool = x->pool,
				  .since_ns = 1010 * NS_PER_S + 5,
				  .until_ns = 1020 * NS_PER_S + 5};
	struct err e = ERR_INIT;
	struct slice out;

	assert_false(packet_select_all(&p));
	assert_int_equal(packet_select_slice(&p, whole(x), &out, &e), 1);
	assert_ptr_equal(out.block, x->block);
	assert_int_equal(out.packets, 10);
	assert_int_equal(p.min_ns, 1010 * NS_PER_S + 5);
	assert_int_equal(p.max_ns, 1019 * NS_PER_S + 5);
	assert_int_equal(p.examined, 100);
	block_unref(out.block);
}

static void scattered_packets_are_copied_in_order(void **state)
{
	struct fixture *x = *state;
	struct bpf_filter *udp = filter_of("udp");
	struct packet_select p = {.pool = x->pool, .filter = udp};
	struct err e = ERR_INIT;
	struct slice out;
	struct packet_head h = {0};
	const uint8_t *body = NULL;

	assert_int_equal(packet_select_slice(&p, whole(x), &out, &e), 1);
	assert_ptr_not_equal(out.block, x->block);
	assert_true(block_sealed(out.block));
	assert_int_equal(out.from, 0);
	assert_int_equal(out.to, out.block->used);
	assert_int_equal(out.packets, 50);
	assert_int_equal(out.block->info.packets, 50);
	assert_int_equal(out.block->link_type, ETHERNET);
	for (unsigned i = 0; i < 50; i++) {
		uint32_t at = out.from;

		assert_int_equal(
			packet_next(out.block->arena, out.to, &at, &h, &body),
			1);
		assert_int_equal(h.sec, 1000 + 2 * i);
		assert_int_equal(h.caplen, 60 + 2 * i);
		assert_int_equal(body[40], 2 * i);
		out.from = at;
	}
	block_unref(out.block);
	bpf_filter_free(udp);
}

static void nothing_wanted_gives_no_block(void **state)
{
	struct fixture *x = *state;
	struct packet_select p = {.pool = x->pool, .since_ns = 5000 * NS_PER_S};
	struct err e = ERR_INIT;
	struct slice out;

	assert_int_equal(packet_select_slice(&p, whole(x), &out, &e), 1);
	assert_null(out.block);
	assert_int_equal(out.packets, 0);
	assert_int_equal(p.packets, 0);
	assert_int_equal(p.examined, 100);
}

static void count_ends_it_at_exactly_that_packet(void **state)
{
	struct fixture *x = *state;
	struct packet_select p = {.pool = x->pool, .max_packets = 130};
	struct err e = ERR_INIT;
	struct slice out;

	assert_int_equal(packet_select_slice(&p, whole(x), &out, &e), 1);
	assert_int_equal(out.packets, 100);
	block_unref(out.block);
	assert_int_equal(packet_select_slice(&p, whole(x), &out, &e), 0);
	assert_int_equal(out.packets, 30);
	assert_ptr_equal(out.block, x->block);
	block_unref(out.block);
	assert_int_equal(p.packets, 130);
	assert_int_equal(p.examined, 130);
	/* Asked again all the same. */
	assert_int_equal(packet_select_slice(&p, whole(x), &out, &e), 0);
	assert_null(out.block);
}

static void the_last_packet_of_a_slice_can_be_the_last(void **state)
{
	struct fixture *x = *state;
	struct packet_select p = {.pool = x->pool, .max_packets = 100};
	struct err e = ERR_INIT;
	struct slice out;

	assert_int_equal(packet_select_slice(&p, whole(x), &out, &e), 0);
	assert_int_equal(out.packets, 100);
	block_unref(out.block);
}

static void snaplen_cuts_what_was_captured_and_keeps_the_length(void **state)
{
	struct fixture *x = *state;
	struct packet_select p = {.pool = x->pool, .snaplen = 80};
	struct err e = ERR_INIT;
	struct slice out;
	struct packet_head h = {0};
	const uint8_t *body = NULL;
	uint32_t at = 0;

	assert_int_equal(packet_select_slice(&p, whole(x), &out, &e), 1);
	assert_int_equal(out.packets, 100);
	assert_int_equal(out.block->snaplen, 80);
	for (unsigned i = 0; i < 100; i++) {
		packet_next(out.block->arena, out.to, &at, &h, &body);
		assert_int_equal(h.caplen, i < 20 ? 60 + i : 80);
		assert_int_equal(h.len, 100 + i);
		assert_int_equal(body[40], i);
	}
	assert_int_equal(at, out.to);
	block_unref(out.block);
}

static void snaplen_that_cuts_nothing_copies_nothing(void **state)
{
	struct fixture *x = *state;
	struct packet_select p = {.pool = x->pool, .snaplen = 159};
	struct err e = ERR_INIT;
	struct slice out;

	assert_int_equal(packet_select_slice(&p, whole(x), &out, &e), 1);
	assert_ptr_equal(out.block, x->block);
	block_unref(out.block);
}

/* The filter is for the packet as captured. */
static void filter_comes_before_snaplen(void **state)
{
	struct fixture *x = *state;
	struct bpf_filter *f = filter_of("ether[50] = 0 and ether[40] = 9");
	struct packet_select p = {.pool = x->pool, .filter = f, .snaplen = 20};
	struct err e = ERR_INIT;
	struct slice out;

	assert_int_equal(packet_select_slice(&p, whole(x), &out, &e), 1);
	assert_int_equal(out.packets, 1);
	assert_int_equal(out.to, 16 + 20);
	block_unref(out.block);
	bpf_filter_free(f);
}

static void part_of_a_record_is_an_error(void **state)
{
	struct fixture *x = *state;
	struct packet_select p = {.pool = x->pool};
	struct err e = ERR_INIT;
	struct slice in = whole(x), out;

	in.to -= 1;
	assert_int_equal(packet_select_slice(&p, in, &out, &e), -1);
	assert_int_equal(e.kind, ERR_FAILED);
	assert_string_equal(e.what, "block 7 does not end with a whole packet");
	assert_null(out.block);
}

/* Random ranges, counts, filters and snaplens against a walk of the plainest
 * kind, over slices that begin anywhere. */
static void random_picks_are_what_a_plain_walk_keeps(void **state)
{
	struct fixture *x = *state;
	struct bpf_filter *filters[] = {NULL, filter_of("udp"),
					filter_of("ether[40] & 3 = 1"),
					filter_of("greater 150")};
	static uint8_t expected[BLOCK_MAX];

	srandom(1);
	for (unsigned round = 0; round < 3000; round++) {
		struct packet_select p = {.pool = x->pool,
					  .filter = filters[random() % 4]};
		struct err e = ERR_INIT;
		struct slice in = whole(x), out;
		struct packet_head h = {0};
		const uint8_t *body = NULL;
		uint32_t at, n = 0;
		uint64_t packets = 0;

		if (random() % 2)
			p.since_ns = (1000 + random() % 110) * NS_PER_S;
		if (random() % 2)
			p.until_ns = (1000 + random() % 110) * NS_PER_S;
		if (random() % 2)
			p.snaplen = 1 + (uint32_t)random() % 170;
		if (random() % 2)
			p.max_packets = 1 + (uint64_t)random() % 60;
		for (long skipped = random() % 50; skipped; skipped--)
			packet_next(x->block->arena, in.to, &in.from, &h,
				    &body);
		at = in.from;
		while (packet_next(x->block->arena, in.to, &at, &h, &body) ==
		       1) {
			int64_t t = packet_time_ns(&h);

			if ((p.since_ns && t < p.since_ns) ||
			    (p.until_ns && t >= p.until_ns) ||
			    (p.max_packets && packets == p.max_packets) ||
			    (p.filter &&
			     !bpf_filter_matches(p.filter, &h, body)))
				continue;
			if (p.snaplen && h.caplen > p.snaplen)
				h.caplen = p.snaplen;
			memcpy(expected + n, &h, sizeof(h));
			memcpy(expected + n + sizeof(h), body, h.caplen);
			n += (uint32_t)sizeof(h) + h.caplen;
			packets++;
		}
		int r = packet_select_slice(&p, in, &out, &e);
		assert_int_equal(r, !p.max_packets || packets < p.max_packets);
		assert_int_equal(out.packets, packets);
		assert_int_equal(p.packets, packets);
		assert_int_equal(out.to - out.from, n);
		if (n)
			assert_memory_equal(out.block->arena + out.from,
					    expected, n);
		block_unref(out.block);
	}
	for (unsigned i = 0; i < 4; i++)
		bpf_filter_free(filters[i]);
}

static void cutting_a_slice_keeps_packets_whole(void **state)
{
	struct fixture *x = *state;

	for (uint32_t max = 1; max < 3000; max += 37) {
		struct slice rest = whole(x), front;
		uint64_t packets = 0;
		uint32_t at = 0;

		while (slice_cut(&rest, max, &front)) {
			assert_ptr_equal(front.block, x->block);
			assert_int_equal(front.from, at);
			assert_true(front.packets > 0);
			assert_true(front.packets == 1 ||
				    front.to - front.from <= max);
			struct block_info info;
			assert_int_equal(
				packets_measure(x->block->arena + front.from,
						front.to - front.from, &info),
				front.to - front.from);
			assert_int_equal(info.packets, front.packets);
			/* Not a packet less than would have gone in. */
			if (front.to < x->block->used) {
				memcpy(&info.raw_bytes,
				       x->block->arena + front.to + 8, 4);
				assert_true(front.to - front.from + 16 +
						    (uint32_t)info.raw_bytes >
					    max);
			}
			at = front.to;
			packets += front.packets;
			block_unref(front.block);
		}
		assert_int_equal(packets, 100);
		assert_int_equal(at, x->block->used);
		assert_int_equal(rest.packets, 0);
		block_unref(rest.block);
	}
}

/* --- against tcpdump, on real traffic --- */

static int64_t pipe_read(void *ctx, void *to, size_t n, struct err *e)
{
	(void)e;
	return (int64_t)fread(to, 1, n, ctx);
}

/* All of a compressed savefile, in blocks of a capture tail. */
static struct capture_tail *feed_of(const char *file)
{
	struct capture_tail *f = capture_tail_new(1, 1, 256);
	struct err e = ERR_INIT;
	struct savefile_result result;
	FILE *in = fopen(file, "r");
	struct savefile *s = savefile_open(pipe_read, in, file, &e);

	if (!s || !savefile_copy(s, f, 60 * NS_PER_S, &result, &e))
		fail_msg("%s", e.what);
	savefile_close(s);
	fclose(in);
	return f;
}

static struct bytes picked_from(struct capture_tail *f, struct packet_select *p)
{
	struct bytes made = {0};
	struct err e = ERR_INIT;
	struct slice out;
	uint64_t end;
	uint32_t at;

	capture_tail_position(f, &end, &at);
	for (uint64_t seq = 1; seq < end; seq++) {
		struct block *b = capture_tail_find(f, seq);
		struct slice in = {b, 0, block_filled(b), b->info.packets};

		assert_int_equal(packet_select_slice(p, in, &out, &e), 1);
		if (!out.block)
			continue;
		bytes_add(&made, out.block->arena + out.from,
			  out.to - out.from);
		block_unref(out.block);
	}
	return made;
}

static void filters_keep_what_tcpdump_keeps(void **state)
{
	static const char *const texts[] = {
		"",
		"tcp",
		"udp port 53",
		"tcp port 80 or tcp port 443",
		"ip6",
		"arp",
		"icmp or icmp6",
		"vlan",
		"net 192.168.0.0/16 and not tcp",
		"host 192.168.1.1",
		"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
		"greater 1000 and udp",
		"ip broadcast or multicast",
		"ip6 and tcp portrange 1-1024",
		"tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
	};
	struct fixture *x = *state;
	char file[512];

	if (!shared_data("mixed.pcap.zst", file, sizeof(file))) {
		print_message(
			"SKIPPED: there is no ../shared/data/mixed.pcap.zst\n");
		skip();
	}
	struct capture_tail *f = feed_of(file);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct bpf_filter *filter = filter_of(texts[i]);
		struct packet_select p = {.pool = x->pool, .filter = filter};
		struct bytes ours = picked_from(f, &p);
		struct bytes tcpdumps = output_of(
			"zstd -dcq '%s' | tcpdump -Z root --nano -r - -w - "
			"'%s' 2>/dev/null",
			file, texts[i]);

		print_message("%-50s %8llu packets of %llu\n", texts[i],
			      (unsigned long long)p.packets,
			      (unsigned long long)p.examined);
		assert_int_equal(p.examined, 102031);
		assert_int_equal(ours.n, tcpdumps.n - SAVEFILE_HEAD_BYTES);
		if (ours.n)
			assert_memory_equal(ours.at,
					    tcpdumps.at + SAVEFILE_HEAD_BYTES,
					    ours.n);
		bytes_free(&ours);
		bytes_free(&tcpdumps);
		bpf_filter_free(filter);
	}
	capture_tail_close(f);
	capture_tail_unref(f);
}

#define with_block(test)                                                       \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_block(everything_passes_without_a_copy),
		with_block(ends_are_trimmed_without_a_copy),
		with_block(scattered_packets_are_copied_in_order),
		with_block(nothing_wanted_gives_no_block),
		with_block(count_ends_it_at_exactly_that_packet),
		with_block(the_last_packet_of_a_slice_can_be_the_last),
		with_block(snaplen_cuts_what_was_captured_and_keeps_the_length),
		with_block(snaplen_that_cuts_nothing_copies_nothing),
		with_block(filter_comes_before_snaplen),
		with_block(part_of_a_record_is_an_error),
		with_block(random_picks_are_what_a_plain_walk_keeps),
		with_block(cutting_a_slice_keeps_packets_whole),
		with_block(filters_keep_what_tcpdump_keeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
