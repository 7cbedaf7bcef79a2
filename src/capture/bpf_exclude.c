/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BPF that recognises connections. Guarantees that no load leaves a packet,
 * which would end the program and lose it. Leaves out which connections, and
 * when: own_connections.c, source.c.
 */
#include "capture/bpf_exclude.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>

#define PORTS_BYTES 4

/* Words of scratch memory. */
enum { AT, PORTS, SOURCE, TARGET = SOURCE + 4 };
#define NEAR_PORTS_MAX 8

struct program {
	struct bpf_insn *to;
	unsigned n;
	bool full;
	uint32_t drop; /* what is returned for one of these connections */
	/* Jumps to what is not there yet. */
	unsigned jumps[64], n_jumps;
};

static void bpf_exclude_put(struct program *p, unsigned code, uint32_t k)
{
	if (p->n == BPF_FILTER_INSNS_MAX) {
		p->full = true;
		return;
	}
	p->to[p->n++] = (struct bpf_insn)BPF_STMT((unsigned short)code, k);
}

static void put_jump(struct program *p, unsigned code, uint32_t k, unsigned yes,
		     unsigned no)
{
	unsigned at = p->n;

	bpf_exclude_put(p, code, k);
	if (p->full)
		return;
	p->to[at].jt = (uint8_t)yes;
	p->to[at].jf = (uint8_t)no;
}

/* To the end: the capture's own filter has taken the packet. */
static void bpf_exclude_pass(struct program *p)
{
	p->jumps[p->n_jumps++] = p->n;
	bpf_exclude_put(p, BPF_JMP | BPF_JA, 0);
}

static void bpf_exclude_land(struct program *p, unsigned from)
{
	if (!p->full)
		p->to[from].k = p->n - from - 1;
}

/* Otherwise the packet is taken. */
static void bpf_exclude_need(struct program *p, unsigned test, uint32_t k,
			     bool holds)
{
	put_jump(p, BPF_JMP | test, k, holds ? 1 : 0, holds ? 0 : 1);
	bpf_exclude_pass(p);
}

/* X + bytes are there; A and X are lost. */
static void need_bytes(struct program *p, uint32_t bytes)
{
	bpf_exclude_put(p, BPF_MISC | BPF_TXA, 0);
	bpf_exclude_put(p, BPF_ALU | BPF_ADD | BPF_K, bytes);
	bpf_exclude_put(p, BPF_MISC | BPF_TAX, 0);
	bpf_exclude_put(p, BPF_LD | BPF_LEN, 0);
	bpf_exclude_need(p, BPF_JGE | BPF_X, 0, true);
}

/* --- where IP begins --- */

/* With the EtherType in A: X is where IP begins and A the type; anything else
 * leaves. */
static void find_behind_tag(struct program *p, uint32_t l3, uint32_t type_at,
			    uint32_t behind)
{
	bpf_exclude_put(p, BPF_LDX | BPF_IMM, l3);
	put_jump(p, BPF_JMP | BPF_JEQ, TYPE_IPV4, 9, 0);
	put_jump(p, BPF_JMP | BPF_JEQ, TYPE_IPV6, 8, 0);
	put_jump(p, BPF_JMP | BPF_JEQ, TYPE_TAG, 2, 0);
	put_jump(p, BPF_JMP | BPF_JEQ, TYPE_TAG_OUTER, 1, 0);
	bpf_exclude_pass(p);
	bpf_exclude_put(p, BPF_LD | BPF_LEN, 0);
	put_jump(p, BPF_JMP | BPF_JGE, behind, 1, 0);
	bpf_exclude_pass(p);
	bpf_exclude_put(p, BPF_LD | BPF_H | BPF_ABS, type_at);
	bpf_exclude_put(p, BPF_LDX | BPF_IMM, behind);
}

static void bpf_exclude_find_ip(struct program *p, enum layout layout)
{
	switch (layout) {
	case LAYOUT_ETHER:
		bpf_exclude_put(p, BPF_LD | BPF_LEN, 0);
		bpf_exclude_need(p, BPF_JGE, 14, true);
		bpf_exclude_put(p, BPF_LD | BPF_H | BPF_ABS, 12);
		find_behind_tag(p, 14, 16, 18);
		break;
	case LAYOUT_COOKED:
		bpf_exclude_put(p, BPF_LD | BPF_H | BPF_ABS,
				(uint32_t)(SKF_AD_OFF + SKF_AD_PROTOCOL));
		find_behind_tag(p, 0, 2, 4);
		break;
	default: /* LAYOUT_RAW */
		bpf_exclude_put(p, BPF_LD | BPF_LEN, 0);
		bpf_exclude_need(p, BPF_JGE, 1, true);
		bpf_exclude_put(p, BPF_LDX | BPF_IMM, 0);
		bpf_exclude_put(p, BPF_LD | BPF_B | BPF_ABS, 0);
		bpf_exclude_put(p, BPF_ALU | BPF_RSH | BPF_K, 4);
		put_jump(p, BPF_JMP | BPF_JEQ, 4, 0, 2);
		bpf_exclude_put(p, BPF_LD | BPF_IMM, TYPE_IPV4);
		bpf_exclude_put(p, BPF_JMP | BPF_JA, 1);
		bpf_exclude_put(p, BPF_LD | BPF_IMM, TYPE_IPV6);
	}
}

/* --- what is compared --- */

static void keep_words(struct program *p, uint32_t at, unsigned word,
		       unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		bpf_exclude_put(p, BPF_LD | BPF_W | BPF_IND, at + 4 * i);
		bpf_exclude_put(p, BPF_ST, word + i);
	}
}

static void load_four(struct program *p)
{
	bpf_exclude_put(p, BPF_STX, AT);
	need_bytes(p, 20);
	bpf_exclude_put(p, BPF_LDX | BPF_MEM, AT);
	bpf_exclude_put(p, BPF_LD | BPF_B | BPF_IND, 9);
	bpf_exclude_need(p, BPF_JEQ, IPPROTO_TCP, true);
	bpf_exclude_put(p, BPF_LD | BPF_H | BPF_IND, 6);
	bpf_exclude_need(p, BPF_JSET, 0x1fff, false);
	keep_words(p, 12, SOURCE, 1);
	keep_words(p, 16, TARGET, 1);
	bpf_exclude_put(p, BPF_LD | BPF_B | BPF_IND, 0);
	bpf_exclude_put(p, BPF_ALU | BPF_AND | BPF_K, 0xf);
	bpf_exclude_put(p, BPF_ALU | BPF_LSH | BPF_K, 2);
	bpf_exclude_put(p, BPF_ALU | BPF_ADD | BPF_X, 0);
	bpf_exclude_put(p, BPF_ST, AT);
	bpf_exclude_put(p, BPF_MISC | BPF_TAX, 0);
	need_bytes(p, PORTS_BYTES);
	bpf_exclude_put(p, BPF_LDX | BPF_MEM, AT);
	keep_words(p, 0, PORTS, 1);
}

/* Our own connections have no extension headers. */
static void load_six(struct program *p)
{
	bpf_exclude_put(p, BPF_STX, AT);
	need_bytes(p, 40 + PORTS_BYTES);
	bpf_exclude_put(p, BPF_LDX | BPF_MEM, AT);
	bpf_exclude_put(p, BPF_LD | BPF_B | BPF_IND, 6);
	bpf_exclude_need(p, BPF_JEQ, IPPROTO_TCP, true);
	keep_words(p, 8, SOURCE, 4);
	keep_words(p, 24, TARGET, 4);
	keep_words(p, 40, PORTS, 1);
}

/* Most packets have nothing to do with the ports that pcapd and sshd listen
 * on; more than a few of these are not worth it. */
static void sort_out(struct program *p, const struct flow *flows, unsigned n,
		     int family)
{
	uint16_t ports[NEAR_PORTS_MAX];
	unsigned n_ports = 0, at[2];

	for (unsigned i = 0; i < n; i++) {
		unsigned k = 0;

		if (flows[i].family != family)
			continue;
		while (k < n_ports && ports[k] != flows[i].near_port)
			k++;
		if (k == NEAR_PORTS_MAX)
			return;
		ports[k] = flows[i].near_port;
		n_ports += k == n_ports;
	}
	for (int half = 0; half < 2; half++) {
		bpf_exclude_put(p, BPF_LD | BPF_MEM, PORTS);
		bpf_exclude_put(p, BPF_ALU | (half ? BPF_RSH : BPF_AND) | BPF_K,
				half ? 16 : 0xffff);
		for (unsigned k = 0; k < n_ports; k++)
			put_jump(p, BPF_JMP | BPF_JEQ, ports[k], n_ports - k,
				 0);
		bpf_exclude_put(p, BPF_JMP | BPF_JA, 1);
		at[half] = p->n;
		bpf_exclude_put(p, BPF_JMP | BPF_JA, 0);
	}
	bpf_exclude_pass(p);
	bpf_exclude_land(p, at[0]);
	bpf_exclude_land(p, at[1]);
}

static void bpf_exclude_differ(struct program *p, const uint8_t *address,
			       unsigned word, unsigned n, unsigned left)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t value;

		memcpy(&value, address + 4 * i, 4);
		bpf_exclude_put(p, BPF_LD | BPF_MEM, word + i);
		put_jump(p, BPF_JMP | BPF_JEQ, ntohl(value), 0, left - 2 * i);
	}
}

static void bpf_exclude_drop(struct program *p, const struct flow *f, bool out)
{
	unsigned words = f->family == AF_INET ? 1 : 4;
	uint32_t near = f->near_port, far = f->far_port;
	uint32_t ports = out ? near << 16 | far : far << 16 | near;

	bpf_exclude_put(p, BPF_LD | BPF_MEM, PORTS);
	put_jump(p, BPF_JMP | BPF_JEQ, ports, 0, 4 * words + 1);
	bpf_exclude_differ(p, out ? f->near : f->far, SOURCE, words,
			   4 * words - 1);
	bpf_exclude_differ(p, out ? f->far : f->near, TARGET, words,
			   2 * words - 1);
	bpf_exclude_put(p, BPF_RET | BPF_K, p->drop);
}

static bool any_of(const struct flow *flows, unsigned n, int family)
{
	for (unsigned i = 0; i < n; i++)
		if (flows[i].family == family)
			return true;
	return false;
}

static void put_family(struct program *p, const struct flow *flows, unsigned n,
		       int family)
{
	if (any_of(flows, n, family)) {
		if (family == AF_INET)
			load_four(p);
		else
			load_six(p);
		sort_out(p, flows, n, family);
	}
	for (unsigned i = 0; i < n; i++) {
		if (flows[i].family != family)
			continue;
		bpf_exclude_drop(p, &flows[i], true);
		bpf_exclude_drop(p, &flows[i], false);
	}
	bpf_exclude_pass(p);
}

/* How much of a packet the filter takes. 0: there is not one answer. */
static uint32_t own_snaplen(const struct bpf_insn *own, unsigned n)
{
	uint32_t taken = n ? 0 : UINT32_MAX;

	for (unsigned i = 0; i < n; i++) {
		if (BPF_CLASS(own[i].code) != BPF_RET)
			continue;
		if (BPF_RVAL(own[i].code) != BPF_K ||
		    (own[i].k && taken && own[i].k != taken))
			return 0;
		taken = own[i].k ? own[i].k : taken;
	}
	return taken;
}

/* What it takes goes on behind it. */
static void put_own(struct program *p, const struct bpf_insn *own, unsigned n,
		    bool goes_on)
{
	for (unsigned i = 0; i < n; i++) {
		bool takes = BPF_CLASS(own[i].code) == BPF_RET && own[i].k != 0;

		if (takes && goes_on)
			bpf_exclude_put(p, BPF_JMP | BPF_JA, n - i - 1);
		else
			put_jump(p, own[i].code, own[i].k, own[i].jt,
				 own[i].jf);
	}
}

unsigned bpf_exclude_build(const struct flow *flows, unsigned n,
			   enum layout layout, const struct bpf_insn *own,
			   unsigned n_own,
			   struct bpf_insn out[BPF_FILTER_INSNS_MAX])
{
	struct program p = {.to = out};
	uint32_t snaplen = own_snaplen(own, n_own);
	bool some = n > 0 && layout != LAYOUT_OTHER;

	if (some && snaplen == 0)
		return 0;
	put_own(&p, own, n_own, some);
	if (some) {
		p.drop = snaplen >= EXCLUDED_SNAPLEN ? EXCLUDED_SNAPLEN : 0;
		bpf_exclude_find_ip(&p, layout);
		put_jump(&p, BPF_JMP | BPF_JEQ, TYPE_IPV4, 2, 0);
		put_jump(&p, BPF_JMP | BPF_JEQ, TYPE_IPV6, 2, 0);
		bpf_exclude_pass(&p);
		bpf_exclude_put(&p, BPF_JMP | BPF_JA, 1);
		unsigned six = p.n;
		bpf_exclude_put(&p, BPF_JMP | BPF_JA, 0);
		put_family(&p, flows, n, AF_INET);
		bpf_exclude_land(&p, six);
		put_family(&p, flows, n, AF_INET6);
		for (unsigned i = 0; i < p.n_jumps; i++)
			bpf_exclude_land(&p, p.jumps[i]);
	}
	if (some || n_own == 0)
		bpf_exclude_put(&p, BPF_RET | BPF_K, snaplen);
	return p.full ? 0 : p.n;
}

int bpf_exclude_read(int fd, struct bpf_insn out[BPF_FILTER_INSNS_MAX])
{
	_Static_assert(sizeof(struct sock_filter) == sizeof(struct bpf_insn),
		       "libpcap's instructions are the kernel's");
	/* Counted in instructions. */
	socklen_t n = BPF_FILTER_INSNS_MAX;

	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, out, &n) != 0)
		return -1;
	return (int)n;
}

bool bpf_exclude_attach(int fd, const struct bpf_insn *program, unsigned n)
{
	struct sock_fprog p = {
		.len = (unsigned short)n,
		.filter = (struct sock_filter *)program,
	};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof(p)) == 0;
}
