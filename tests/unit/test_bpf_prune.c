/* SPDX-License-Identifier: BSD-3-Clause */
#include "index/bpf_prune.h"
#include "index/synopsis_build.h"
#include "index/synopsis_codec.h"

#include "catch.h"
#include "packet/bpf_filter.h"
#include "traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <zstd.h>

#define BLOCKS 48
#define FILTERS 800
#define PACKETS_MAX 12

struct traffic {
	uint32_t link_type, n;
	uint8_t records[PACKETS_MAX * (16 + TRAFFIC_PACKET_MAX)];
};

struct tally {
	uint64_t pairs, match, pruned, wrong;
};

/* bpf_filter decides, on each packet. */
static bool matches(const struct bpf_program *p, const uint8_t *records,
		    uint32_t n)
{
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = 0;

	while (packet_next(records, n, &at, &h, &body) > 0) {
		struct pcap_pkthdr head = {.caplen = h.caplen, .len = h.len};

		if (pcap_offline_filter(p, &head, body))
			return true;
	}
	return false;
}

static struct synopsis *summarize(uint32_t link_type, const uint8_t *records,
				  uint32_t n, uint32_t max_keys)
{
	struct synopsis_maker *m = synopsis_maker_new(link_type, max_keys);
	struct synopsis *s;

	assert_non_null(m);
	synopsis_maker_packets(m, records, n);
	s = synopsis_make(m);
	assert_non_null(s);
	synopsis_maker_free(m);
	return s;
}

static struct synopsis *through_bytes(struct synopsis *s)
{
	size_t n = synopsis_bytes(s);
	uint8_t *bytes = malloc(n);
	struct err e = ERR_INIT;

	synopsis_write(s, bytes);
	synopsis_free(s);
	s = synopsis_read(bytes, n, &e);
	if (!s)
		fail_msg("%s", e.what);
	free(bytes);
	return s;
}

/* As the store could come by it: small or large, coarse, out of parts, and
 * always written and read. */
static struct synopsis *summary_of(struct dice *d, const struct traffic *b)
{
	static const uint32_t keys[] = {SYNOPSIS_KEYS_BLOCK,
					SYNOPSIS_KEYS_BLOCK,
					SYNOPSIS_KEYS_BLOCK,
					40,
					8,
					1};
	uint32_t max_keys = keys[roll(d, 6)];
	struct synopsis *s =
		summarize(b->link_type, b->records, b->n, max_keys);

	if (roll(d, 4) == 0)
		synopsis_fit(s, 8 + roll(d, 200));
	if (roll(d, 4) == 0) {
		struct synopsis_maker *m =
			synopsis_maker_new(b->link_type, max_keys);
		struct packet_head h;
		const uint8_t *body;
		uint32_t at = 0;

		assert_non_null(m);
		assert_true(packet_next(b->records, b->n, &at, &h, &body) > 0);
		synopsis_free(s);
		s = summarize(b->link_type, b->records, at, max_keys);
		synopsis_maker_union(m, s);
		synopsis_free(s);
		s = summarize(b->link_type, b->records + at, b->n - at,
			      1 + roll(d, 60));
		synopsis_maker_union(m, s);
		synopsis_free(s);
		s = synopsis_make(m);
		synopsis_maker_free(m);
	}
	return through_bytes(s);
}

/* Takes one value out of each set that has one. */
static void forget(struct dice *d, struct synopsis *s)
{
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
		uint32_t *v = s->values + s->first[set];

		if (!s->count[set])
			continue;
		uint32_t i = roll(d, s->count[set]);
		s->count[set]--;
		memmove(v + i, v + i + 1, (s->count[set] - i) * sizeof(*v));
	}
}

static void compare(const struct bpf_program *p, const struct traffic *b,
		    const struct synopsis *s, struct tally *t)
{
	bool match = matches(p, b->records, b->n);
	bool may = bpf_prune_may_match(p, s);

	t->pairs++;
	t->match += match;
	t->pruned += !may;
	t->wrong += match && !may;
}

struct world {
	struct traffic blocks[BLOCKS];
	struct synopsis *summaries[BLOCKS];
};

static void world_make(struct world *w, struct dice *d, uint32_t link_type,
		       bool forgetful)
{
	for (int i = 0; i < BLOCKS; i++) {
		struct traffic *b = &w->blocks[i];

		b->link_type = link_type;
		b->n = traffic_block(d, link_type, 1 + roll(d, PACKETS_MAX),
				     b->records);
		w->summaries[i] = summary_of(d, b);
		if (forgetful)
			forget(d, w->summaries[i]);
	}
}

static void world_done(struct world *w)
{
	for (int i = 0; i < BLOCKS; i++)
		synopsis_free(w->summaries[i]);
}

/* Filters as libpcap optimizes them, and now and then as they were before. */
static struct tally filters_over_traffic(uint64_t seed, int filters,
					 bool forgetful)
{
	struct world *w = malloc(sizeof(*w));
	struct tally t = {0};
	struct dice d = {seed};

	assert_non_null(w);
	for (size_t l = 0; l < traffic_link_types_n; l++) {
		uint32_t link_type = traffic_link_types[l];
		pcap_t *p = pcap_open_dead(dlt_of_link_type(link_type), 262144);
		uint64_t wrong = t.wrong;

		world_make(w, &d, link_type, forgetful);
		for (int f = 0; f < filters;) {
			char text[TRAFFIC_FILTER_MAX];
			struct bpf_program program;

			traffic_filter(&d, text);
			if (pcap_compile(p, &program, text, roll(&d, 4) != 0,
					 0) != 0)
				continue;
			f++;
			for (int i = 0; i < BLOCKS; i++)
				compare(&program, &w->blocks[i],
					w->summaries[i], &t);
			pcap_freecode(&program);
			if (t.wrong > wrong && !forgetful) {
				print_error("seed %llu, link type %u: %s\n",
					    (unsigned long long)seed, link_type,
					    text);
				wrong = t.wrong;
			}
		}
		world_done(w);
		pcap_close(p);
	}
	free(w);
	return t;
}

static uint64_t seed(void)
{
	const char *given = getenv("PCAPD_TEST_SEED");

	return given ? strtoull(given, NULL, 0) : 20;
}

static void a_block_with_a_match_is_never_ruled_out(void **state)
{
	struct tally t = filters_over_traffic(seed(), FILTERS, false);

	(void)state;
	print_message("%llu pairs of filter and block: %llu match, %llu of the "
		      "others are ruled out\n",
		      (unsigned long long)t.pairs, (unsigned long long)t.match,
		      (unsigned long long)t.pruned);
	assert_int_equal(t.wrong, 0);
	assert_true(t.pairs >= 100000);
	/* It has to have had a chance to be wrong, and has to be of use. */
	assert_true(t.match * 10 > t.pairs);
	assert_true(t.pruned * 3 > t.pairs - t.match);
}

static void the_comparison_finds_a_value_that_is_missing(void **state)
{
	struct tally t = filters_over_traffic(seed(), 30, true);

	(void)state;
	assert_true(t.wrong * 50 > t.pairs);
}

/* --- programs that no compiler makes --- */

static uint32_t random_offset(struct dice *d)
{
	static const uint32_t likely[] = {0,  2,  4,  6,  8,  9,  10, 12, 14,
					  16, 18, 20, 22, 23, 26, 28, 30, 34,
					  38, 40, 42, 46, 54, 56, 58, 60};

	switch (roll(d, 12)) {
	case 0:
		return roll(d, 100);
	case 1:
		return UINT32_MAX - roll(d, 0x1010);
	default:
		return likely[roll(d, sizeof(likely) / sizeof(*likely))];
	}
}

static uint32_t random_constant(struct dice *d, const struct traffic *b)
{
	uint32_t v = 0;

	switch (roll(d, 4)) {
	case 0:
		return roll(d, 40);
	case 1:
		return UINT32_MAX << roll(d, 32);
	default: /* what occurs */
		memcpy(&v, b->records + 16 + roll(d, 64), 4);
		return __builtin_bswap32(v) >> 8 * (3 & ~roll(d, 2));
	}
}

static void random_insn(struct dice *d, const struct traffic *b,
			struct bpf_insn *i, uint32_t left)
{
	static const uint16_t load[] = {
		BPF_LD | BPF_W | BPF_ABS, BPF_LD | BPF_H | BPF_ABS,
		BPF_LD | BPF_B | BPF_ABS, BPF_LD | BPF_W | BPF_ABS,
		BPF_LD | BPF_H | BPF_ABS, BPF_LD | BPF_B | BPF_ABS,
		BPF_LD | BPF_W | BPF_IND, BPF_LD | BPF_H | BPF_IND,
		BPF_LD | BPF_B | BPF_IND, BPF_LDX | BPF_B | BPF_MSH};
	static const uint16_t other[] = {BPF_LD | BPF_W | BPF_LEN,
					 BPF_LDX | BPF_W | BPF_LEN,
					 BPF_LD | BPF_IMM,
					 BPF_LDX | BPF_IMM,
					 BPF_MISC | BPF_TAX,
					 BPF_MISC | BPF_TXA,
					 BPF_ST,
					 BPF_STX,
					 BPF_LD | BPF_MEM,
					 BPF_LDX | BPF_MEM};
	static const uint16_t op[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV,
				      BPF_OR,  BPF_AND, BPF_LSH, BPF_RSH,
				      BPF_NEG, BPF_MOD, BPF_XOR, BPF_AND};
	static const uint16_t jump[] = {BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET};

	*i = (struct bpf_insn){0, 0, 0, random_constant(d, b)};
	switch (roll(d, 8)) {
	case 0:
	case 1:
	case 2:
		i->code = load[roll(d, 10)];
		i->k = random_offset(d);
		break;
	case 3:
		i->code = other[roll(d, 10)];
		i->k = roll(d, BPF_MEMWORDS);
		break;
	case 4:
		i->code = (uint16_t)(BPF_ALU | op[roll(d, 12)]);
		if (roll(d, 5) == 0 && BPF_OP(i->code) != BPF_NEG)
			i->code |= BPF_X;
		i->k += !i->k;
		if (BPF_OP(i->code) == BPF_LSH || BPF_OP(i->code) == BPF_RSH)
			i->k %= 32;
		break;
	default:
		i->code = (uint16_t)(BPF_JMP | jump[roll(d, 4)] |
				     (roll(d, 9) ? BPF_K : BPF_X));
		i->jt = (uint8_t)roll(d, left < 6 ? left : 6);
		i->jf = (uint8_t)roll(d, left < 6 ? left : 6);
	}
}

static void any_program_agrees_with_the_interpreter(void **state)
{
	struct dice d = {seed()};
	struct tally t = {0};
	struct traffic *b = malloc(sizeof(*b));

	(void)state;
	for (int round = 0; round < 3000; round++) {
		uint32_t link_type =
			traffic_link_types[round % traffic_link_types_n];
		b->link_type = link_type;
		b->n = traffic_block(&d, link_type, 1 + roll(&d, 3),
				     b->records);
		struct synopsis *s = summary_of(&d, b);

		for (int k = 0; k < 20; k++) {
			struct bpf_insn insns[40];
			uint32_t n = 3 + roll(&d, 30), at = 0;

			for (uint32_t m = 0; m < BPF_MEMWORDS && k % 2; m++)
				insns[at++] =
					(struct bpf_insn){BPF_ST, 0, 0, m};
			for (; at < n; at++)
				random_insn(&d, b, &insns[at], n - at);
			insns[at++] = (struct bpf_insn){
				BPF_RET | (roll(&d, 2) ? BPF_A : BPF_K), 0, 0,
				roll(&d, 2)};
			if (roll(&d, 2)) /* most paths reject */
				insns[at - 1] = (struct bpf_insn){
					BPF_RET | BPF_K, 0, 0, 1};
			uint32_t middle = at / 2;
			if (middle > BPF_MEMWORDS)
				insns[middle] = (struct bpf_insn){
					BPF_RET | BPF_K, 0, 0, 0};
			struct bpf_program p = {at, insns};
			if (!bpf_validate(insns, (int)at))
				fail_msg("not a program");
			compare(&p, b, s, &t);
		}
		synopsis_free(s);
	}
	print_message("%llu programs: %llu match, %llu ruled out\n",
		      (unsigned long long)t.pairs, (unsigned long long)t.match,
		      (unsigned long long)t.pruned);
	assert_int_equal(t.wrong, 0);
	assert_true(t.match * 20 > t.pairs);
	assert_true(t.pruned * 20 > t.pairs);
	free(b);
}

/* A number out of a packet, and some steps with it. Returns their count. */
static uint32_t random_calculation(struct dice *d, const struct traffic *b,
				   struct bpf_insn *to)
{
	static const uint16_t size[] = {BPF_W, BPF_H, BPF_B};
	static const uint16_t op[] = {BPF_AND, BPF_AND, BPF_AND, BPF_RSH,
				      BPF_RSH, BPF_LSH, BPF_ADD, BPF_SUB,
				      BPF_OR,  BPF_MUL};
	static const uint32_t header[] = {14, 14, 14, 18, 16, 20, 0, 4, 22};
	static const uint32_t small[] = {0, 1, 4, 8, 16, 24, 31};
	uint32_t n = 0;
	uint16_t mode = BPF_ABS;

	if (roll(d, 3) == 0) {
		mode = BPF_IND;
		to[n++] =
			(struct bpf_insn){roll(d, 4) ? BPF_LDX | BPF_B | BPF_MSH
						     : BPF_LDX | BPF_IMM,
					  0, 0, header[roll(d, 9)]};
	}
	to[n++] = (struct bpf_insn){
		(uint16_t)(BPF_LD | size[roll(d, 3)] | mode), 0, 0,
		mode == BPF_IND ? header[roll(d, 9)] + 2 * roll(d, 2)
				: random_offset(d)};
	if (roll(d, 12) == 0)
		to[n - 1].code = BPF_LD | BPF_W | BPF_LEN;
	for (uint32_t k = roll(d, 4); k > 0; k--) {
		to[n] = (struct bpf_insn){
			(uint16_t)(BPF_ALU | op[roll(d, 10)] | BPF_K), 0, 0,
			small[roll(d, 7)]};
		if (BPF_OP(to[n].code) == BPF_AND)
			to[n].k = random_constant(d, b) | roll(d, 256);
		n++;
	}
	return n;
}

/* Compared with what it is for one of the packets, or nearly. */
static void any_calculation_agrees_with_the_interpreter(void **state)
{
	static const uint16_t op[] = {BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET};
	struct dice d = {seed()};
	struct tally t = {0};
	struct traffic *b = malloc(sizeof(*b));

	(void)state;
	for (int round = 0; round < 8000; round++) {
		b->link_type = traffic_link_types[(size_t)round %
						  traffic_link_types_n];
		b->n = traffic_block(&d, b->link_type, 1 + roll(&d, 3),
				     b->records);
		struct synopsis *s = summary_of(&d, b);
		struct packet_head h = {0};
		const uint8_t *body = NULL;
		uint32_t at = 0;

		assert_true(packet_next(b->records, b->n, &at, &h, &body) > 0);
		for (int k = 0; k < 40; k++) {
			struct bpf_insn insns[16];
			uint32_t n = random_calculation(&d, b, insns);
			struct bpf_program p = {n + 3, insns};

			insns[n] = (struct bpf_insn){BPF_RET | BPF_A, 0, 0, 0};
			uint32_t v = bpf_filter(insns, body, h.len, h.caplen);
			insns[n] = (struct bpf_insn){
				(uint16_t)(BPF_JMP | op[roll(&d, 4)] | BPF_K),
				(uint8_t)roll(&d, 2), 0, v + roll(&d, 3) - 1};
			insns[n].jf = !insns[n].jt;
			insns[n + 1] =
				(struct bpf_insn){BPF_RET | BPF_K, 0, 0, 1};
			insns[n + 2] =
				(struct bpf_insn){BPF_RET | BPF_K, 0, 0, 0};
			compare(&p, b, s, &t);
		}
		synopsis_free(s);
	}
	print_message("%llu programs: %llu match, %llu ruled out\n",
		      (unsigned long long)t.pairs, (unsigned long long)t.match,
		      (unsigned long long)t.pruned);
	assert_int_equal(t.wrong, 0);
	assert_true(t.match * 10 > t.pairs);
	assert_true(t.pruned * 50 > t.pairs);
	free(b);
}

/* Which way a packet came is not known any more where ways meet; what it left
 * behind may be either. */
static void ways_that_meet_keep_what_both_left_behind(void **state)
{
	struct bpf_insn insns[] = {
		{BPF_LD | BPF_W | BPF_ABS, 0, 0, 26},
		{BPF_JMP | BPF_JEQ, 0, 3, 0x0a000001},
		{BPF_LD | BPF_IMM, 0, 0, 1},
		{BPF_ST, 0, 0, 0},
		{BPF_JMP | BPF_JA, 0, 0, 2},
		{BPF_LD | BPF_IMM, 0, 0, 2},
		{BPF_ST, 0, 0, 0},
		{BPF_LD | BPF_IMM, 0, 0, 0},
		{BPF_LD | BPF_MEM, 0, 0, 0},
		{BPF_JMP | BPF_JEQ, 0, 1, 0},
		{BPF_RET | BPF_K, 0, 0, 1},
		{BPF_RET | BPF_K, 0, 0, 0},
	};
	struct bpf_program p = {12, insns};
	uint8_t records[2 * (16 + 64)];
	struct packet_head h = {0, 0, 64, 64};

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		uint8_t *to = records + i * (16 + 64);

		memcpy(to, &h, 16);
		memset(to + 16, 0, 64);
		memcpy(to + 16 + 12, "\x08\0\x45", 3);
		memcpy(to + 16 + 26, i ? "\x0a\0\0\1" : "\x0a\0\0\2", 4);
	}
	struct synopsis *s = summarize(1, records, sizeof(records), 100);
	for (uint32_t k = 1; k <= 2; k++) {
		insns[9].k = k;
		assert_true(matches(&p, records, sizeof(records)));
		assert_true(bpf_prune_may_match(&p, s));
	}
	synopsis_free(s);
}

static void what_cannot_be_run_may_match(void **state)
{
	struct dice d = {1};
	struct traffic *b = malloc(sizeof(*b));
	struct bpf_insn reject = {BPF_RET | BPF_K, 0, 0, 0};
	struct bpf_insn back[] = {{BPF_JMP | BPF_JA, 0, 0, UINT32_MAX}, reject};
	struct bpf_insn odd[] = {{BPF_JMP | BPF_JA | BPF_X, 200, 200, 0},
				 reject};
	struct bpf_insn wild[] = {{BPF_JMP | BPF_JEQ, 9, 9, 0}, reject};
	struct bpf_insn cell[] = {{BPF_ST, 0, 0, BPF_MEMWORDS}, reject};
	struct bpf_insn loop[] = {{BPF_LD | BPF_B | BPF_ABS, 0, 0, 0},
				  {BPF_JMP | BPF_JA, 0, 0, (uint32_t)-2},
				  reject};

	(void)state;
	b->n = traffic_block(&d, 1, 4, b->records);
	struct synopsis *s = summarize(1, b->records, b->n, 4096);
	assert_false(bpf_prune_may_match(&(struct bpf_program){1, &reject}, s));
	assert_true(bpf_prune_may_match(&(struct bpf_program){2, back}, s));
	assert_true(bpf_prune_may_match(&(struct bpf_program){2, odd}, s));
	assert_true(bpf_prune_may_match(&(struct bpf_program){2, wild}, s));
	assert_true(bpf_prune_may_match(&(struct bpf_program){2, cell}, s));
	assert_true(bpf_prune_may_match(&(struct bpf_program){3, loop}, s));
	assert_true(bpf_prune_may_match(&(struct bpf_program){0, NULL}, s));
	synopsis_free(s);
	free(b);
}

/* Each instruction keeps a state for a far one, and each looks into all there
 * is: more than anyone is to wait for. */
static void a_program_made_to_take_long_is_given_up(void **state)
{
	enum { N = 4096 };
	struct bpf_insn *insns = calloc(N, sizeof(*insns));
	uint8_t *records = calloc(4000, 16 + 42);
	uint32_t at = 0;

	(void)state;
	for (uint32_t i = 0; i < 4000; i++) {
		struct packet_head h = {0, 0, 42, 42};
		uint8_t *p = records + at + 16;

		memcpy(records + at, &h, 16);
		p[12] = 8;
		p[14] = 0x45;
		p[23] = 6;
		memcpy(p + 26, &i, 4);
		at += 16 + 42;
	}
	insns[0] = (struct bpf_insn){BPF_LD | BPF_W | BPF_ABS, 0, 0, 26};
	for (uint32_t i = 1; i < N - 1; i++)
		insns[i] = (struct bpf_insn){BPF_JMP | BPF_JEQ,
					     i + 256 < N ? 255 : 0, 0, i};
	insns[N - 1] = (struct bpf_insn){BPF_RET | BPF_K, 0, 0, 0};
	struct synopsis *s = summarize(1, records, at, 1u << 16);
	struct bpf_program p = {N, insns};
	assert_true(bpf_prune_may_match(&p, s));
	p.bf_len = N + 1; /* over the limit, not even looked at */
	assert_true(bpf_prune_may_match(&p, s));
	synopsis_free(s);
	free(records);
	free(insns);
}

/* --- what libpcap's code looks like, by hand --- */

struct case_of_one {
	const char *filter;
	bool may;
};

static void ask(const uint8_t *packet, uint32_t n, uint32_t copies,
		const struct case_of_one *cases, size_t n_cases)
{
	uint8_t records[2 * (16 + 128)];
	struct packet_head h = {0, 0, n, n};
	pcap_t *p = pcap_open_dead(DLT_EN10MB, 262144);

	memcpy(records, &h, 16);
	memcpy(records + 16, packet, n);
	struct synopsis *s = summarize(1, records, copies * (16 + n), 4096);
	for (size_t i = 0; i < n_cases; i++) {
		struct bpf_program program;

		assert_int_equal(
			pcap_compile(p, &program, cases[i].filter, 1, 0), 0);
		if (bpf_prune_may_match(&program, s) != cases[i].may)
			fail_msg("%s: expected %d", cases[i].filter,
				 cases[i].may);
		pcap_freecode(&program);
	}
	synopsis_free(s);
	pcap_close(p);
}

/* 10.0.0.1:40000 > 203.0.113.9:445, tagged if tci is not 0. */
static uint32_t tcp_packet(uint8_t *p, uint32_t tci)
{
	static const uint8_t macs[] = {0, 0, 0x5e, 0, 0x53, 1,
				       0, 0, 0x5e, 0, 0x53, 2};
	static const uint8_t ip[] = {
		0x08, 0,    0x45, 0,	0, 40, 0, 1,   0x40, 0,	  64,
		6,    0,    0,	  10,	0, 0,  1, 203, 0,    113, 9,
		0x9c, 0x40, 0x01, 0xbd, 0, 0,  0, 0,   0,    0,	  0,
		0,    0x50, 2,	  0,	0, 0,  0, 0,   0};
	uint8_t *at = p;

	memcpy(at, macs, sizeof(macs));
	at += sizeof(macs);
	if (tci) {
		const uint8_t tag[] = {0x81, 0, (uint8_t)(tci >> 8),
				       (uint8_t)tci};

		memcpy(at, tag, 4);
		at += 4;
	}
	memcpy(at, ip, sizeof(ip));
	return (uint32_t)(at + sizeof(ip) - p);
}

static void one_packet_says_no_to_what_it_is_not(void **state)
{
	static const struct case_of_one cases[] = {
		{"host 10.0.0.1", true},
		{"dst host 10.0.0.1", false},
		{"host 10.0.0.2", false},
		{"net 203.0.113.0/24", true},
		{"net 203.0.112.0/24", false},
		{"tcp port 445 and host 203.0.113.9", true},
		{"tcp port 445 and not host 203.0.113.9", false},
		{"udp port 445", false},
		{"src port 445", false},
		{"portrange 400-500", true},
		{"src portrange 400-500", false},
		{"portrange 446-39999", false},
		{"ip6", false},
		{"arp", false},
		{"icmp", false},
		{"vlan", false},
		{"not vlan", true},
		{"not ip", false},
		{"not net 10.0.0.0/8 and not net 203.0.113.0/24", false},
		{"ether host 00:00:5e:00:53:01", true},
		{"ether host 00:00:5e:00:53:03", false},
		{"multicast", false},
		{"ip[16] >= 224", false},
		{"ip[16] >= 200", true},
		{"ip[6:2] & 0x1fff != 0", false},
		{"greater 1000", false},
		{"less 60", true},
		{"tcp[tcpflags] & tcp-syn != 0", true},
		{"tcp[13] = 77", true}, /* not a word of a synopsis */
		{"port 80 or port 53 or host 10.9.9.9", false},
	};
	uint8_t p[128];

	(void)state;
	ask(p, tcp_packet(p, 0), 1, cases, sizeof(cases) / sizeof(*cases));
}

static void a_tag_moves_everything_by_four(void **state)
{
	static const struct case_of_one cases[] = {
		{"vlan", true},
		{"vlan 5", true},
		{"vlan 6", false},
		{"vlan 5 and host 10.0.0.1", true},
		{"vlan and host 10.0.0.2", false},
		{"vlan 5 and tcp port 445", true},
		{"vlan 5 and tcp port 446", false},
		{"vlan and vlan", false},
		{"host 10.0.0.1", false},
		{"vlan and ip6", false},
		{"ether host 00:00:5e:00:53:02 and vlan", true},
	};
	uint8_t p[128];

	(void)state;
	ask(p, tcp_packet(p, 0x2005), 1, cases, sizeof(cases) / sizeof(*cases));
}

static void no_packets_match_nothing(void **state)
{
	static const struct case_of_one cases[] = {{"", false}, {"ip", false}};
	uint8_t p[128];

	(void)state;
	ask(p, tcp_packet(p, 0), 0, cases, 2);
}

/* --- real packets --- */

#define MIXED "mixed.pcap.zst"
#define SMALL_BLOCK (256u << 10)
#define SMALL_BLOCKS_MAX 1024
#define EACH 30 /* filters of a kind */

struct capture {
	uint8_t *bytes;
	size_t n;
	size_t blocks;
	size_t at[SMALL_BLOCKS_MAX + 1]; /* where block i begins */
	struct synopsis *summaries[SMALL_BLOCKS_MAX];
};

/* The whole file, unpacked; false if it is not there. */
static bool unpack(struct capture *c)
{
	char path[1024];

	if (!shared_data(MIXED, path, sizeof(path)))
		return false;
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	size_t packed_n = (size_t)ftell(f), room = 256u << 20;
	uint8_t *packed = malloc(packed_n);
	rewind(f);
	assert_int_equal(fread(packed, 1, packed_n, f), packed_n);
	fclose(f);
	c->bytes = malloc(room);
	c->n = ZSTD_decompress(c->bytes, room, packed, packed_n);
	assert_false(ZSTD_isError(c->n));
	free(packed);
	return true;
}

/* Block by block, each with a synopsis of at most 1 % of it. */
static void cut_and_summarize(struct capture *c)
{
	size_t at = SAVEFILE_HEAD_BYTES;

	while (at < c->n) {
		struct packet_head h;
		const uint8_t *body;
		uint32_t next = 0, n = 0;
		size_t left = c->n - at;
		uint32_t end =
			left < SMALL_BLOCK ? (uint32_t)left : SMALL_BLOCK;

		while (packet_next(c->bytes + at, end, &next, &h, &body) > 0)
			n = next;
		assert_true(n > 0 && c->blocks < SMALL_BLOCKS_MAX);
		struct synopsis *s =
			summarize(1, c->bytes + at, n, SYNOPSIS_KEYS_BLOCK);
		assert_true(synopsis_fit(s, n / 100));
		c->at[c->blocks] = at;
		c->summaries[c->blocks++] = s;
		at += n;
	}
	c->at[c->blocks] = at;
}

static void they_are_small(const struct capture *c)
{
	uint8_t *all = malloc(c->n / 100), *packed = malloc(c->n / 100);
	size_t n = 0;

	for (size_t i = 0; i < c->blocks; i++) {
		size_t one = synopsis_bytes(c->summaries[i]);

		assert_true(one <= (c->at[i + 1] - c->at[i]) / 100);
		synopsis_write(c->summaries[i], all + n);
		n += one;
	}
	size_t packed_n = ZSTD_compress(packed, c->n / 100, all, n, 3);
	assert_false(ZSTD_isError(packed_n));
	print_message(
		"%zu blocks, summaries %.3f %% of them, as zstd %.3f %%\n",
		c->blocks, 100.0 * (double)n / (double)c->n,
		100.0 * (double)packed_n / (double)c->n);
	assert_true(packed_n * 200 <= c->n);
	free(packed);
	free(all);
}

/* A filter that some packet here passes, or "" if this packet has no such. */
typedef void describe(const uint8_t *p, uint32_t n, bool other, char to[128]);

static bool is_ip4(const uint8_t *p, uint32_t n)
{
	return n >= 54 && p[12] == 8 && p[13] == 0 && p[14] == 0x45;
}

static void by_host(const uint8_t *p, uint32_t n, bool other, char to[128])
{
	const uint8_t *a = p + (other ? 26 : 30);

	if (is_ip4(p, n))
		snprintf(to, 128, "host %u.%u.%u.%u", a[0], a[1], a[2], a[3]);
}

static void by_net(const uint8_t *p, uint32_t n, bool other, char to[128])
{
	const uint8_t *a = p + (other ? 26 : 30);

	if (is_ip4(p, n))
		snprintf(to, 128, "net %u.%u.%u.0/24", a[0], a[1], a[2]);
}

static void by_port(const uint8_t *p, uint32_t n, bool other, char to[128])
{
	const uint8_t *a = p + (other ? 34 : 36);

	if (is_ip4(p, n) && (p[23] == 6 || p[23] == 17))
		snprintf(to, 128, "port %u", a[0] << 8 | a[1]);
}

static void by_port_and_host(const uint8_t *p, uint32_t n, bool other,
			     char to[128])
{
	const uint8_t *a = p + (other ? 34 : 36), *b = p + (other ? 26 : 30);

	if (is_ip4(p, n) && p[23] == 6)
		snprintf(to, 128, "tcp port %u and host %u.%u.%u.%u",
			 a[0] << 8 | a[1], b[0], b[1], b[2], b[3]);
}

static void by_ip6_host(const uint8_t *p, uint32_t n, bool other, char to[128])
{
	const uint8_t *a = p + (other ? 22 : 38);
	int at;

	if (n < 54 || p[12] != 0x86 || p[13] != 0xdd)
		return;
	at = snprintf(to, 128, "ip6 host %x", a[0] << 8 | a[1]);
	for (int i = 2; i < 16; i += 2)
		at += snprintf(to + at, 128 - (size_t)at, ":%x",
			       a[i] << 8 | a[i + 1]);
}

static void by_tag(const uint8_t *p, uint32_t n, bool other, char to[128])
{
	(void)other;
	if (n >= 18 && p[12] == 0x81 && p[13] == 0)
		snprintf(to, 128, "vlan %u", (p[14] & 0xf) << 8 | p[15]);
}

static const struct {
	const char
		*name; /* the filter itself, if there is nothing to describe */
	describe *describe;
} kinds[] = {
	{"host", by_host},
	{"net", by_net},
	{"port", by_port},
	{"tcp port and host", by_port_and_host},
	{"ip6 host", by_ip6_host},
	{"vlan N", by_tag},
	{"vlan", NULL},
	{"arp", NULL},
	{"icmp", NULL},
};

static void count(const struct capture *c, const char *text, size_t *needed,
		  size_t *read)
{
	struct err e = ERR_INIT;
	struct bpf_filter *f = bpf_filter_compile(text, 1, 262144, &e);

	if (!f)
		fail_msg("%s", e.what);
	for (size_t i = 0; i < c->blocks; i++) {
		bool match = matches(&f->program, c->bytes + c->at[i],
				     (uint32_t)(c->at[i + 1] - c->at[i]));
		bool may = bpf_prune_may_match(&f->program, c->summaries[i]);

		if (match && !may)
			fail_msg("%s: block %zu is lost", text, i);
		*needed += match;
		*read += may;
	}
	bpf_filter_free(f);
}

/* A filter made of a packet anywhere. */
static void any_filter(struct dice *d, const struct capture *c, size_t kind,
		       char text[128])
{
	struct packet_head h;
	const uint8_t *body;

	for (text[0] = 0; !text[0];) {
		size_t i = roll(d, (uint32_t)c->blocks);
		uint32_t n = (uint32_t)(c->at[i + 1] - c->at[i]), at = 0;
		uint32_t start = roll(d, n);

		while (!text[0] &&
		       packet_next(c->bytes + c->at[i], n, &at, &h, &body) > 0)
			if (at > start)
				kinds[kind].describe(body, h.caplen, roll(d, 2),
						     text);
	}
}

static void real_packets_need_few_blocks_more_than_match(void **state)
{
	struct capture *c = calloc(1, sizeof(*c));
	struct dice d = {seed()};

	(void)state;
	if (!unpack(c)) {
		print_message("SKIPPED: no " MIXED " beside the checkout\n");
		free(c);
		skip();
		return;
	}
	cut_and_summarize(c);
	they_are_small(c);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		size_t needed = 0, read = 0;
		char text[128];

		for (int i = 0; kinds[k].describe && i < EACH; i++) {
			any_filter(&d, c, k, text);
			count(c, text, &needed, &read);
		}
		if (!kinds[k].describe)
			count(c, kinds[k].name, &needed, &read);
		print_message("%-20s %5zu needed %5zu read %.2f\n",
			      kinds[k].name, needed, read,
			      (double)read / (double)needed);
		assert_true(needed > 0 && read * 10 <= needed * 11);
	}
	for (size_t i = 0; i < c->blocks; i++)
		synopsis_free(c->summaries[i]);
	free(c->bytes);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_with_a_match_is_never_ruled_out),
		cmocka_unit_test(the_comparison_finds_a_value_that_is_missing),
		cmocka_unit_test(any_program_agrees_with_the_interpreter),
		cmocka_unit_test(any_calculation_agrees_with_the_interpreter),
		cmocka_unit_test(ways_that_meet_keep_what_both_left_behind),
		cmocka_unit_test(what_cannot_be_run_may_match),
		cmocka_unit_test(a_program_made_to_take_long_is_given_up),
		cmocka_unit_test(one_packet_says_no_to_what_it_is_not),
		cmocka_unit_test(a_tag_moves_everything_by_four),
		cmocka_unit_test(no_packets_match_nothing),
		cmocka_unit_test(real_packets_need_few_blocks_more_than_match),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
