/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes that somebody imports. What goes in is whole packets, as many as are
 * counted, and the same in whatever pieces the bytes come (of a packed file
 * that is damaged, as far as both came: libzstd says sooner or later that it
 * is); of a file that is not packed libpcap reads the same from memory, but for
 * pcapng with what libpcap refuses and we do not, where it reads no more. As a
 * program of its own it replays the files that it is given, and fails without
 * any.
 */
#include "capture/capture.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* A few bytes can unpack to gigabytes. */
#define ENOUGH_BYTES (24u << 20)
#define KEPT_BYTES (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct bytes {
	const uint8_t *data;
	size_t n, at, piece;
};

static int64_t read_piece(void *ctx, void *to, size_t n, struct err *e)
{
	struct bytes *b = ctx;

	(void)e;
	if (n > b->piece)
		n = b->piece;
	if (n > b->n - b->at)
		n = b->n - b->at;
	memcpy(to, b->data + b->at, n);
	b->at += n;
	return (int64_t)n;
}

/* What went in. */
struct result {
	uint64_t packets, raw_bytes;
	uint32_t link_type, snaplen;
	bool opened, good, enough;
	struct err e;
	uint8_t *kept; /* the first KEPT_BYTES of it */
};

struct pipeline {
	struct capture_tail *tail;
	struct result *r;
};

static void take(struct result *r, const struct block *b)
{
	struct block_info is = {0};

	assert(packets_measure(b->arena, b->used, &is) == b->used);
	assert(is.packets == b->info.packets);
	assert(is.min_ns == b->info.min_ns && is.max_ns == b->info.max_ns);
	assert(b->link_type == r->link_type);
	if (r->raw_bytes < KEPT_BYTES) {
		uint64_t room = KEPT_BYTES - r->raw_bytes;

		memcpy(r->kept + r->raw_bytes, b->arena,
		       b->used < room ? b->used : room);
	}
	r->packets += is.packets;
	r->raw_bytes += b->used;
}

/* Until the capture tail is closed and empty. */
static void *sink_main(void *arg)
{
	struct pipeline *s = arg;
	uint64_t seq = 1, end;
	uint32_t at;

	for (;;) {
		capture_tail_wait(s->tail, seq, INT64_MAX);
		struct block *b = capture_tail_find(s->tail, seq);

		capture_tail_position(s->tail, &end, &at);
		if (!b && end == seq)
			return NULL;
		if (b && block_sealed(b)) {
			take(s->r, b);
			capture_tail_release(s->tail, seq++);
		}
		block_unref(b);
		if (s->r->raw_bytes > ENOUGH_BYTES && !s->r->enough) {
			s->r->enough = true;
			capture_tail_close(s->tail);
		}
	}
}

static void import(const uint8_t *data, size_t n, size_t piece,
		   struct result *r)
{
	struct bytes b = {data, n, 0, piece};
	struct pipeline sink = {capture_tail_new_waiting(1, 1, 4), r};
	struct savefile_result result;
	pthread_t thread;
	struct savefile *s = savefile_open(read_piece, &b, "in", &r->e);

	r->opened = s;
	if (s) {
		r->link_type = savefile_link_type(s);
		r->snaplen = savefile_snaplen(s);
		assert(pthread_create(&thread, NULL, sink_main, &sink) == 0);
		r->good = savefile_copy(s, sink.tail, 60 * NS_PER_S, &result,
					&r->e);
		capture_tail_close(sink.tail);
		pthread_join(thread, NULL);
		assert(result.packets == r->packets &&
		       result.raw_bytes == r->raw_bytes);
	}
	savefile_close(s);
	capture_tail_unref(sink.tail);
}

static bool is_pcapng(const uint8_t *data, size_t n)
{
	return n >= 4 && memcmp(data, "\n\r\r\n", 4) == 0;
}

static void assert_as_libpcap(const uint8_t *data, size_t n,
			      const struct result *r)
{
	char said[PCAP_ERRBUF_SIZE];
	struct pcap_pkthdr *head;
	const u_char *body;
	uint64_t packets = 0;
	FILE *file = fmemopen((void *)(uintptr_t)data, n, "r");
	pcap_t *p = file ? pcap_fopen_offline_with_tstamp_precision(
				   file, PCAP_TSTAMP_PRECISION_NANO, said)
			 : NULL;

	if (!p) {
		assert(!r->opened || is_pcapng(data, n));
		if (file)
			fclose(file);
		return;
	}
	assert(r->opened);
	while (pcap_next_ex(p, &head, &body) == 1)
		if (head->caplen > BLOCK_PACKET_MAX)
			continue;
		else if (is_pcapng(data, n) &&
			 (head->ts.tv_sec < 0 || head->ts.tv_sec > UINT32_MAX))
			continue;
		else
			packets++;
	if (is_pcapng(data, n))
		assert(packets <= r->packets);
	else
		assert(packets == r->packets);
	pcap_close(p);
}

static bool is_packed(const uint8_t *data, size_t n)
{
	uint32_t magic = 0;

	memcpy(&magic, data, n < 4 ? n : 4);
	return magic == 0xfd2fb528 || (magic & 0xfffffff0) == 0x184d2a50 ||
	       (magic & 0xffffff) == 0x088b1f;
}

static void assert_same(const struct result *a, const struct result *b)
{
	assert(a->opened == b->opened && a->good == b->good &&
	       a->packets == b->packets && a->raw_bytes == b->raw_bytes &&
	       a->link_type == b->link_type && a->snaplen == b->snaplen &&
	       a->e.kind == b->e.kind && strcmp(a->e.what, b->e.what) == 0);
}

static void assert_as_far(const struct result *a, const struct result *b)
{
	uint64_t n = a->raw_bytes < b->raw_bytes ? a->raw_bytes : b->raw_bytes;

	assert(memcmp(a->kept, b->kept, n < KEPT_BYTES ? n : KEPT_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static uint8_t kept[2][KEPT_BYTES];
	struct result whole = {.e = ERR_INIT, .kept = kept[0]},
		      pieces = {.e = ERR_INIT, .kept = kept[1]};

	import(data, n, SIZE_MAX, &whole);
	if (whole.enough)
		return 0;
	import(data, n, 1 + n % 7, &pieces);
	assert_as_far(&whole, &pieces);
	if (!is_packed(data, n) || whole.good || pieces.good)
		assert_same(&whole, &pieces);
	if (n && !is_packed(data, n))
		assert_as_libpcap(data, n, &whole);
	return 0;
}
