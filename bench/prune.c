/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * prune: what synopses cost and what they save, on the packets of a savefile.
 *
 *	zstd -dc mixed.pcap.zst | prune - [block KiB [filter ...]]
 *
 * For each filter: the blocks that have a match, the blocks that pruning would
 * read, and what a look at one block's synopsis takes. Times are medians.
 */
#include "index/bpf_prune.h"
#include "index/synopsis_build.h"
#include "index/synopsis_codec.h"
#include "packet/bpf_filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <zstd.h>

#define ROUNDS 9

static const char *const usual[] = {
	"host 192.168.2.100",
	"host 10.64.0.127",
	"host 216.58.210.206",
	"host 185.235.81.1",
	"net 172.217.0.0/16",
	"net 8.8.8.0/24",
	"port 53",
	"tcp port 445",
	"udp port 5353",
	"portrange 6881-6889",
	"tcp port 445 and not host 10.0.2.15",
	"tcp port 443 and host 216.58.210.206",
	"host 192.168.2.100 and udp port 53",
	"ip6 host 2a00:1450:4007:805::2002",
	"ip6 net 64:ff9b::/96",
	"arp",
	"icmp",
	"vlan",
	"vlan 77",
	"ether host 00:50:56:33:78:9e",
	"not (tcp or udp)",
	"tcp",
};

struct bytes {
	uint8_t *at;
	size_t n, room;
};

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void add(struct bytes *b, const void *from, size_t n)
{
	while (b->n + n > b->room) {
		b->room = b->room ? 2 * b->room : 1u << 20;
		b->at = realloc(b->at, b->room);
		if (!b->at)
			abort();
	}
	memcpy(b->at + b->n, from, n);
	b->n += n;
}

static struct bytes read_all(const char *path, uint32_t *link_type)
{
	char why[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_open_offline_with_tstamp_precision(
		path, PCAP_TSTAMP_PRECISION_NANO, why);
	struct pcap_pkthdr *h;
	const uint8_t *body;
	struct bytes all = {0};

	if (!p) {
		fprintf(stderr, "%s\n", why);
		exit(1);
	}
	*link_type = link_type_of_dlt(pcap_datalink(p));
	while (pcap_next_ex(p, &h, &body) == 1) {
		struct packet_head head = {(uint32_t)h->ts.tv_sec,
					   (uint32_t)h->ts.tv_usec, h->caplen,
					   h->len};

		add(&all, &head, sizeof(head));
		add(&all, body, h->caplen);
	}
	pcap_close(p);
	return all;
}

struct world {
	uint32_t link_type;
	struct bytes all;
	size_t n; /* blocks; block i is all[at[i], at[i + 1]) */
	size_t *at;
	uint64_t packets;
	struct synopsis **summaries;
	struct synopsis *all_of_them;
};

static void cut(struct world *w, uint32_t block_bytes)
{
	size_t pos = 0, max = w->all.n / 16 + 2;

	w->at = calloc(max, sizeof(*w->at));
	if (!w->at)
		abort();
	while (pos < w->all.n) {
		struct packet_head h;

		memcpy(&h, w->all.at + pos, sizeof(h));
		size_t next = pos + sizeof(h) + h.caplen;
		if (next - w->at[w->n] > block_bytes && pos > w->at[w->n])
			w->at[++w->n] = pos;
		pos = next;
		w->packets++;
	}
	w->at[++w->n] = pos;
}

static void packed_sizes(const struct world *w)
{
	struct bytes raw = {0};
	size_t largest = 0;

	for (size_t i = 0; i < w->n; i++) {
		size_t n = synopsis_bytes(w->summaries[i]);
		uint8_t *to = malloc(n);

		if (!to)
			abort();
		synopsis_write(w->summaries[i], to);
		add(&raw, to, n);
		free(to);
		largest = n > largest ? n : largest;
	}
	size_t room = ZSTD_compressBound(raw.n);
	void *packed = malloc(room);
	size_t n = ZSTD_compress(packed, room, raw.at, raw.n, 3);
	printf("summaries: %zu bytes (%.3f %%), as zstd %zu bytes (%.3f %%), "
	       "the largest of a block %zu; of all blocks together %zu\n",
	       raw.n, 100.0 * (double)raw.n / (double)w->all.n, n,
	       100.0 * (double)n / (double)w->all.n, largest,
	       synopsis_bytes(w->all_of_them));
	free(packed);
	free(raw.at);
}

/* Beside what zstd takes for the same, in turns. */
static void make(struct world *w)
{
	double ours[ROUNDS], theirs[ROUNDS], joined[ROUNDS];
	struct synopsis_maker *m =
		synopsis_maker_new(w->link_type, SYNOPSIS_KEYS_BLOCK);
	struct synopsis_maker *sum =
		synopsis_maker_new(w->link_type, SYNOPSIS_KEYS_SEGMENT);
	ZSTD_CCtx *z = ZSTD_createCCtx();
	size_t room = ZSTD_compressBound(16u << 20);
	void *packed = malloc(room);

	w->summaries = calloc(w->n, sizeof(struct synopsis *));
	if (!m || !sum || !w->summaries || !packed)
		abort();
	for (int r = 0; r < ROUNDS; r++) {
		ours[r] = theirs[r] = joined[r] = 0;
		synopsis_maker_reset(sum, w->link_type);
		for (size_t i = 0; i < w->n; i++) {
			const uint8_t *at = w->all.at + w->at[i];
			size_t n = w->at[i + 1] - w->at[i];
			double t0 = now_ns();

			ZSTD_compressCCtx(z, packed, room, at, n, -1);
			double t1 = now_ns();
			synopsis_free(w->summaries[i]);
			synopsis_maker_reset(m, w->link_type);
			synopsis_maker_packets(m, at, (uint32_t)n);
			w->summaries[i] = synopsis_make(m);
			if (!w->summaries[i])
				abort();
			synopsis_fit(w->summaries[i], n / 100);
			double t2 = now_ns();
			synopsis_maker_union(sum, w->summaries[i]);
			theirs[r] += t1 - t0;
			ours[r] += t2 - t1;
			joined[r] += now_ns() - t2;
		}
	}
	w->all_of_them = synopsis_make(sum);
	qsort(ours, ROUNDS, sizeof(*ours), by_value);
	qsort(theirs, ROUNDS, sizeof(*theirs), by_value);
	qsort(joined, ROUNDS, sizeof(*joined), by_value);
	printf("%llu packets, %zu bytes, %zu blocks\n",
	       (unsigned long long)w->packets, w->all.n, w->n);
	printf("a packet: zstd -1 %.0f ns, summary %.1f ns (%.1f %%), union "
	       "%.1f ns (%.1f %%)\n",
	       theirs[ROUNDS / 2] / (double)w->packets,
	       ours[ROUNDS / 2] / (double)w->packets,
	       100 * ours[ROUNDS / 2] / theirs[ROUNDS / 2],
	       joined[ROUNDS / 2] / (double)w->packets,
	       100 * joined[ROUNDS / 2] / theirs[ROUNDS / 2]);
	ZSTD_freeCCtx(z);
	free(packed);
	synopsis_maker_free(m);
	synopsis_maker_free(sum);
}

static bool has_match(const struct world *w, const struct bpf_filter *f,
		      size_t i)
{
	const uint8_t *at = w->all.at + w->at[i], *body;
	uint32_t n = (uint32_t)(w->at[i + 1] - w->at[i]), pos = 0;
	struct packet_head h;

	while (packet_next(at, n, &pos, &h, &body) > 0)
		if (bpf_filter_matches(f, &h, body))
			return true;
	return false;
}

static void ask(const struct world *w, const char *text)
{
	struct err e = ERR_INIT;
	struct bpf_filter *f =
		bpf_filter_compile(text, w->link_type, 262144, &e);
	size_t needed = 0, read = 0;
	double took[ROUNDS];

	if (!f) {
		printf("%-40s %s\n", text, e.what);
		return;
	}
	for (int r = 0; r < ROUNDS; r++) {
		double t0 = now_ns();

		read = 0;
		for (size_t i = 0; i < w->n; i++)
			read += bpf_prune_may_match(&f->program,
						    w->summaries[i]);
		took[r] = now_ns() - t0;
	}
	for (size_t i = 0; i < w->n; i++) {
		bool match = has_match(w, f, i);

		needed += match;
		if (match &&
		    !bpf_prune_may_match(&f->program, w->summaries[i])) {
			fprintf(stderr, "%s: block %zu is lost\n", text, i);
			exit(1);
		}
	}
	qsort(took, ROUNDS, sizeof(*took), by_value);
	printf("%-40s %7zu %7zu %6.2f %9.2f %6s\n", text, needed, read,
	       needed ? (double)read / (double)needed : 0,
	       took[ROUNDS / 2] / 1e3 / (double)w->n,
	       bpf_prune_may_match(&f->program, w->all_of_them) ? "yes" : "no");
	bpf_filter_free(f);
}

int main(int argc, char **argv)
{
	struct world w = {0};
	uint32_t block_bytes = 256u << 10;

	if (argc < 2) {
		fprintf(stderr, "prune FILE [block KiB [filter ...]]\n");
		return 2;
	}
	if (argc > 2)
		block_bytes = (uint32_t)atoi(argv[2]) << 10;
	w.all = read_all(argv[1], &w.link_type);
	cut(&w, block_bytes);
	make(&w);
	packed_sizes(&w);
	printf("%-40s %7s %7s %6s %9s %6s\n", "filter", "needed", "read", "of",
	       "us/block", "union");
	if (argc > 3)
		for (int i = 3; i < argc; i++)
			ask(&w, argv[i]);
	else
		for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++)
			ask(&w, usual[i]);
	for (size_t i = 0; i < w.n; i++)
		synopsis_free(w.summaries[i]);
	free(w.summaries);
	synopsis_free(w.all_of_them);
	free(w.at);
	free(w.all.at);
	return 0;
}
