/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any program over any synopsis, and over the synopsis of any packets.
 *
 * Input: the number of instructions (2 bytes, little-endian), those, a byte
 * that says which link type, or 255; then a block's records, or, behind 255,
 * a synopsis as it lies on disk.
 *
 * Holds: it ends, in bounds; a synopsis that is read is written as it was; what
 * bpf_filter accepts is not ruled out, whatever the packets were united from
 * or cut down to; and the words that a program says it needs are all that
 * matters.
 */
#include "index/bpf_prune.h"
#include "index/synopsis_build.h"
#include "index/synopsis_codec.h"

#include <stdlib.h>

static const uint32_t link_types[] = {1, 113, 276, 101, 228, 229, 0, 108, 9};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Codes that bpf_filter knows; it aborts at any other. */
static bool known(uint32_t code)
{
	switch (code) {
	case BPF_RET | BPF_K:
	case BPF_RET | BPF_A:
	case BPF_LD | BPF_W | BPF_ABS:
	case BPF_LD | BPF_H | BPF_ABS:
	case BPF_LD | BPF_B | BPF_ABS:
	case BPF_LD | BPF_W | BPF_IND:
	case BPF_LD | BPF_H | BPF_IND:
	case BPF_LD | BPF_B | BPF_IND:
	case BPF_LD | BPF_W | BPF_LEN:
	case BPF_LDX | BPF_W | BPF_LEN:
	case BPF_LDX | BPF_B | BPF_MSH:
	case BPF_LD | BPF_IMM:
	case BPF_LDX | BPF_IMM:
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
	case BPF_ST:
	case BPF_STX:
	case BPF_JMP | BPF_JA:
	case BPF_ALU | BPF_NEG:
	case BPF_MISC | BPF_TAX:
	case BPF_MISC | BPF_TXA:
		return true;
	default:
		return (BPF_CLASS(code) == BPF_JMP && code < 0x50 &&
			BPF_OP(code) != BPF_JA) ||
		       (BPF_CLASS(code) == BPF_ALU && code < 0xb0 &&
			BPF_OP(code) != BPF_NEG);
	}
}

/* Can bpf_filter run it, to an end, with nothing that is not set? */
static bool runnable(const struct bpf_program *p)
{
	if (!bpf_validate(p->bf_insns, (int)p->bf_len))
		return false;
	for (uint32_t i = 0; i < p->bf_len; i++) {
		const struct bpf_insn *at = &p->bf_insns[i];

		if (!known(at->code) ||
		    (at->code == (BPF_JMP | BPF_JA) && at->k >= p->bf_len - i))
			return false;
		/* Undefined in C, so in bpf_filter. */
		if (BPF_CLASS(at->code) == BPF_ALU &&
		    (BPF_OP(at->code) == BPF_LSH ||
		     BPF_OP(at->code) == BPF_RSH) &&
		    (BPF_SRC(at->code) == BPF_X || at->k > 31))
			return false;
		if (BPF_MODE(at->code) == BPF_MEM &&
		    BPF_CLASS(at->code) <= BPF_LDX)
			return false;
	}
	return true;
}

static void ask_summary(const struct bpf_program *p, const uint8_t *from,
			size_t n)
{
	struct err e = ERR_INIT;
	struct synopsis *s = synopsis_read(from, n, &e);

	if (!s)
		return;
	uint8_t *again = malloc(n);
	if (synopsis_bytes(s) != n)
		abort();
	synopsis_write(s, again);
	if (memcmp(again, from, n) != 0)
		abort();
	free(again);
	bpf_prune_may_match(p, s);
	if (synopsis_fit(s, n / 2) && synopsis_bytes(s) > n / 2)
		abort();
	bpf_prune_may_match(p, s);
	synopsis_free(s);
}

static bool matches(const struct bpf_program *p, const uint8_t *records,
		    uint32_t n)
{
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = 0;

	while (packet_next(records, n, &at, &h, &body) > 0)
		if (bpf_filter(p->bf_insns, body, h.len, h.caplen))
			return true;
	return false;
}

/* The same answer from no more than is needed. */
static void ask_some(const struct bpf_program *p, const struct synopsis *s)
{
	uint32_t need[SYNOPSIS_CLASSES];
	size_t n = synopsis_bytes(s);
	uint8_t *bytes = malloc(n);
	struct err e;

	bpf_prune_needs(p, s->link_type, need);
	synopsis_write(s, bytes);
	struct synopsis *some = synopsis_read_some(bytes, n, need, &e);
	if (!some || bpf_prune_may_match(p, some) != bpf_prune_may_match(p, s))
		abort();
	synopsis_free(some);
	free(bytes);
}

static void ask_packets(const struct bpf_program *p, uint32_t link_type,
			const uint8_t *records, uint32_t n)
{
	struct synopsis_maker *m = synopsis_maker_new(link_type, 24);
	struct synopsis_maker *all = synopsis_maker_new(link_type, 4096);
	bool match = matches(p, records, n);

	synopsis_maker_packets(m, records, n);
	struct synopsis *s = synopsis_make(m);
	if (match && !bpf_prune_may_match(p, s))
		abort();
	ask_some(p, s);
	synopsis_maker_union(all, s);
	synopsis_free(s);
	synopsis_maker_reset(m, link_type);
	s = synopsis_make(m);
	if (bpf_prune_may_match(p, s) && runnable(p))
		abort(); /* no packets */
	synopsis_maker_union(all, s);
	synopsis_free(s);
	s = synopsis_make(all);
	synopsis_fit(s, n / 4);
	if (match && !bpf_prune_may_match(p, s))
		abort();
	synopsis_free(s);
	synopsis_maker_free(all);
	synopsis_maker_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 3)
		return 0;
	uint32_t insns = data[0] | (uint32_t)data[1] << 8;
	size_t bytes = insns * sizeof(struct bpf_insn);
	data += 2;
	n -= 2;
	if (bytes >= n)
		return 0;
	struct bpf_program p = {insns, malloc(bytes + 1)};
	memcpy(p.bf_insns, data, bytes);
	data += bytes;
	n -= bytes;
	if (data[0] == 255)
		ask_summary(&p, data + 1, n - 1);
	else if (runnable(&p))
		ask_packets(&p,
			    link_types[data[0] % (sizeof(link_types) /
						  sizeof(*link_types))],
			    data + 1, (uint32_t)n - 1);
	free(p.bf_insns);
	return 0;
}
