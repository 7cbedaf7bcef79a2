/* SPDX-License-Identifier: BSD-3-Clause */
#include "traffic.h"

#include <stdarg.h>
#include <stdio.h>

const uint32_t traffic_link_types[] = {1, 113, 276, 101, 228, 229, 0, 108, 9};
const size_t traffic_link_types_n =
	sizeof(traffic_link_types) / sizeof(*traffic_link_types);

#define PICK(d, a) ((a)[roll(d, sizeof(a) / sizeof(*(a)))])

static const char *const ip4_text[] = {
	"10.0.0.1",    "10.0.0.2",  "10.1.2.3", "192.168.1.1",
	"203.0.113.9", "224.0.0.5", "0.0.0.0",	"255.255.255.255"};
static const uint32_t ip4[] = {0x0a000001, 0x0a000002, 0x0a010203, 0xc0a80101,
			       0xcb007109, 0xe0000005, 0,	   UINT32_MAX};
static const char *const ip6_text[] = {"2001:db8::1", "2001:db8:1::2",
				       "fe80::1:2", "ff02::1", "::"};
static const uint32_t ip6[][4] = {{0x20010db8, 0, 0, 1},
				  {0x20010db8, 0x10000, 0, 2},
				  {0xfe800000, 0, 0, 0x10002},
				  {0xff020000, 0, 0, 1},
				  {0, 0, 0, 0}};
static const char *const mac_text[] = {"00:00:5e:00:53:01", "00:00:5e:00:53:02",
				       "01:00:5e:00:00:05", "ff:ff:ff:ff:ff:ff",
				       "02:42:5e:00:53:01"};
static const uint8_t mac[][6] = {{0, 0, 0x5e, 0, 0x53, 1},
				 {0, 0, 0x5e, 0, 0x53, 2},
				 {1, 0, 0x5e, 0, 0, 5},
				 {255, 255, 255, 255, 255, 255},
				 {2, 0x42, 0x5e, 0, 0x53, 1}};
static const uint32_t ports[] = {22,  53,   80,	  443,	 445,
				 546, 6081, 5353, 40000, 65535};
static const uint32_t tags[] = {0x8100, 0x88a8, 0x9100};
static const uint32_t vlans[] = {1, 5, 7, 4095};
static const uint32_t protocols[] = {6,	 6,  6,	 17, 17, 17, 132, 1,   58, 2,
				     47, 50, 51, 44, 0,	 60, 43,  103, 59, 112};
static const uint32_t types[] = {
	0x800,	0x800,	0x800,	0x800,	0x86dd, 0x86dd, 0x86dd, 0x806,	0x806,
	0x8035, 0x8847, 0x8848, 0x8863, 0x8864, 0x8100, 0x88a8, 0x9100, 0x80f3,
	0x809b, 0x8137, 0x26,	0x40,	0x5dc,	0x5dd,	0x6003, 0x88cc, 0x1234};

uint32_t roll(struct dice *d, uint32_t n)
{
	uint64_t z = d->state += 0x9e3779b97f4a7c15; /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (uint32_t)((z ^ z >> 31) % n);
}

static bool once_in(struct dice *d, uint32_t n)
{
	return roll(d, n) == 0;
}

/* --- packets --- */

struct bytes {
	uint8_t *to;
	uint32_t n;
};

/* The low `count` bytes of v; none behind the end. */
static void put(struct bytes *b, uint32_t v, unsigned count)
{
	while (count-- && b->n < TRAFFIC_PACKET_MAX)
		b->to[b->n++] = (uint8_t)(v >> 8 * count);
}

static void put_random(struct dice *d, struct bytes *b, unsigned count)
{
	while (count--)
		put(b, roll(d, 256), 1);
}

static void put_transport(struct dice *d, struct bytes *b)
{
	if (once_in(d, 6)) { /* ICMP, or a protocol and its options */
		put(b, PICK(d, protocols), 1);
		put(b, roll(d, 3), 1);
	} else {
		put(b, PICK(d, ports), 2);
		put(b, PICK(d, ports), 2);
	}
	put_random(d, b, 4 + roll(d, 24));
}

static void put_ip4(struct dice *d, struct bytes *b)
{
	static const uint32_t fragment[] = {0,	    0,	    0x4000, 0x4000,
					    0x2000, 0x2001, 0x00b9, 0x1fff};
	uint32_t words = once_in(d, 4) ? roll(d, 16) : 5;

	put(b, (once_in(d, 20) ? roll(d, 16) : 4) << 4 | words, 1);
	put(b, roll(d, 2) * 0xb8, 1);
	put(b, roll(d, 1500), 2);
	put_random(d, b, 2);
	put(b, PICK(d, fragment), 2);
	put(b, 64, 1);
	put(b, PICK(d, protocols), 1);
	put_random(d, b, 2);
	put(b, PICK(d, ip4), 4);
	put(b, PICK(d, ip4), 4);
	for (; words > 5; words--)
		put_random(d, b, 4);
	put_transport(d, b);
}

static void put_ip6(struct dice *d, struct bytes *b)
{
	const uint32_t *from = PICK(d, ip6), *to = PICK(d, ip6);

	put(b, (once_in(d, 20) ? roll(d, 16) : 6) << 4 | roll(d, 16), 1);
	put_random(d, b, 3);
	put(b, roll(d, 1500), 2);
	put(b, PICK(d, protocols), 1);
	put(b, 64, 1);
	for (int i = 0; i < 4; i++)
		put(b, from[i], 4);
	for (int i = 0; i < 4; i++)
		put(b, to[i], 4);
	put_transport(d, b);
}

static void put_arp(struct dice *d, struct bytes *b)
{
	put(b, 0x00010800, 4);
	put(b, 0x0604, 2);
	put(b, 1 + roll(d, 2), 2);
	put_random(d, b, 6);
	put(b, PICK(d, ip4), 4);
	put_random(d, b, 6);
	put(b, PICK(d, ip4), 4);
}

static void put_payload(struct dice *d, struct bytes *b, uint32_t type)
{
	static const uint32_t llc[] = {0xaaaa0300, 0x42420300, 0xfefe0300,
				       0xf0f00300, 0xe0e00300, 0xffff0000};

	if (type == 0x800 || type == 0x21) {
		put_ip4(d, b);
	} else if (type == 0x86dd || type == 0x57) {
		put_ip6(d, b);
	} else if (type == 0x806 || type == 0x8035) {
		put_arp(d, b);
	} else if (type == 0x8847 || type == 0x8848) {
		put(b, PICK(d, vlans) << 12 | roll(d, 2) << 8 | 64, 4);
		put_ip4(d, b);
	} else if (type == 0x8864) {
		put(b, 0x1100, 2);
		put(b, PICK(d, vlans), 2);
		put(b, roll(d, 100), 2);
		put(b, once_in(d, 2) ? 0x21 : 0x57, 2);
		put_payload(d, b, once_in(d, 2) ? 0x21 : 0x57);
	} else if (type <= 1500) {
		put(b, PICK(d, llc), 4);
		put_random(d, b, 10);
	} else {
		put_random(d, b, roll(d, 40));
	}
}

static void put_ethernet(struct dice *d, struct bytes *b)
{
	for (int side = 0; side < 2; side++) {
		const uint8_t *m = PICK(d, mac);

		for (int i = 0; i < 6; i++)
			put(b, m[i], 1);
	}
	while (once_in(d, 4)) {
		put(b, PICK(d, tags), 2);
		put(b, roll(d, 8) << 13 | PICK(d, vlans), 2);
	}
}

/* Everything up to the network layer; returns what that has to be. */
static uint32_t put_link(struct dice *d, struct bytes *b, uint32_t link_type)
{
	static const uint32_t families[] = {2,	10, 24,		28,
					    30, 7,  0x02000000, 0x0a000000};
	uint32_t type = once_in(d, 12) ? roll(d, 65536) : PICK(d, types);

	switch (link_type) {
	case 1:
		put_ethernet(d, b);
		put(b, type, 2);
		return type;
	case 113:
		put(b, roll(d, 5), 2);
		put_random(d, b, 12);
		put(b, type, 2);
		return type;
	case 276:
		put(b, type, 2);
		put(b, 0, 2);
		put(b, roll(d, 4), 4);
		put_random(d, b, 2);
		put(b, roll(d, 5), 1);
		put_random(d, b, 9);
		return type;
	case 0:
	case 108:
		type = PICK(d, families);
		put(b, type, 4);
		return type == 2 || type == 0x02000000 ? 0x800 : 0x86dd;
	case 228:
		return once_in(d, 9) ? 0x86dd : 0x800;
	case 229:
		return once_in(d, 9) ? 0x800 : 0x86dd;
	default:
		return once_in(d, 3) ? 0x86dd : 0x800;
	}
}

uint32_t traffic_packet(struct dice *d, uint32_t link_type,
			uint8_t to[TRAFFIC_PACKET_MAX], uint32_t *wire_bytes)
{
	struct bytes b = {to, 0};

	if (once_in(d, 20))
		put_random(d, &b, roll(d, 80));
	else
		put_payload(d, &b, put_link(d, &b, link_type));
	*wire_bytes = b.n + (once_in(d, 8) ? roll(d, 1500) : 0);
	return once_in(d, 5) ? roll(d, b.n + 1) : b.n;
}

uint32_t traffic_block(struct dice *d, uint32_t link_type, unsigned n,
		       uint8_t *to)
{
	uint32_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		struct packet_head h = {i, 0, 0, 0};

		h.caplen = traffic_packet(d, link_type, to + at + sizeof(h),
					  &h.len);
		memcpy(to + at, &h, sizeof(h));
		at += (uint32_t)sizeof(h) + h.caplen;
	}
	return at;
}

/* --- filters --- */

struct text {
	char *to;
	size_t n;
};

static void say(struct text *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct text *t, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int n = vsnprintf(t->to + t->n, TRAFFIC_FILTER_MAX - t->n, fmt, args);
	va_end(args);
	if (n > 0 && t->n + (size_t)n < TRAFFIC_FILTER_MAX)
		t->n += (size_t)n;
	else
		t->to[t->n] = 0;
}

static const char *direction(struct dice *d)
{
	static const char *const all[] = {"",	  "",	  "",
					  "src ", "dst ", "src and dst "};

	return PICK(d, all);
}

static void say_address(struct dice *d, struct text *t)
{
	static const char *const over4[] = {"", "", "ip ", "arp ", "rarp "};
	static const char *const over6[] = {"", "ip6 "};
	static const unsigned prefix6[] = {0, 16, 32, 33, 48, 64, 127, 128};

	switch (roll(d, 5)) {
	case 0:
		say(t, "%s%shost %s", PICK(d, over4), direction(d),
		    PICK(d, ip4_text));
		break;
	case 1:
		say(t, "%s%snet 10.0.0.0/%u", PICK(d, over4), direction(d),
		    8 + roll(d, 23));
		break;
	case 2:
		say(t, "%snet %s mask 255.255.%u.0", direction(d),
		    once_in(d, 2) ? "192.168.0.0" : "10.0.0.0",
		    roll(d, 2) * 255);
		break;
	case 3:
		say(t, "%s%shost %s", PICK(d, over6), direction(d),
		    PICK(d, ip6_text));
		break;
	default:
		say(t, "%s%snet %s::/%u", PICK(d, over6), direction(d),
		    once_in(d, 2) ? "2001:db8" : "fe80", PICK(d, prefix6));
	}
}

static void say_port(struct dice *d, struct text *t)
{
	static const char *const over[] = {"",	   "",	   "tcp ",
					   "tcp ", "udp ", "sctp "};
	uint32_t a = PICK(d, ports), b = PICK(d, ports);

	if (once_in(d, 3))
		say(t, "%s%sportrange %u-%u", PICK(d, over), direction(d),
		    a < b ? a : b, a < b ? b : a);
	else
		say(t, "%s%sport %u", PICK(d, over), direction(d), a);
}

static void say_ethernet(struct dice *d, struct text *t)
{
	static const char *const plain[] = {
		"ether multicast", "ether broadcast", "ip multicast",
		"ip6 multicast",   "ip broadcast",    "multicast",
		"broadcast"};

	switch (roll(d, 4)) {
	case 0:
		say(t, "%s", PICK(d, plain));
		break;
	case 1:
		say(t, "ether proto 0x%x", PICK(d, types));
		break;
	default:
		say(t, "ether %shost %s", direction(d), PICK(d, mac_text));
	}
}

static void say_protocol(struct dice *d, struct text *t)
{
	static const char *const names[] = {
		"ip",	 "ip6",	    "arp",     "rarp",	   "tcp",    "udp",
		"sctp",	 "icmp",    "icmp6",   "igmp",	   "pim",    "vrrp",
		"ah",	 "esp",	    "igrp",    "carp",	   "iso",    "stp",
		"ipx",	 "netbeui", "atalk",   "aarp",	   "decnet", "lat",
		"moprc", "mopdl",   "llc",     "llc i",	   "llc u",  "llc rr",
		"isis",	 "clnp",    "inbound", "outbound", "pppoed", "esis"};
	static const char *const numbered[] = {
		"ip proto",	 "ip6 proto",	   "proto",
		"ip protochain", "ip6 protochain", "protochain"};

	if (once_in(d, 4))
		say(t, "%s %u", PICK(d, numbered), PICK(d, protocols));
	else
		say(t, "%s", PICK(d, names));
}

static void say_encapsulation(struct dice *d, struct text *t)
{
	static const char *const plain[] = {"vlan",   "mpls",	"pppoed",
					    "pppoes", "geneve", "vlan"};

	if (once_in(d, 2))
		say(t, "%s", PICK(d, plain));
	else if (once_in(d, 3))
		say(t, "%s %u", once_in(d, 2) ? "mpls" : "pppoes",
		    PICK(d, vlans));
	else
		say(t, "vlan %u", PICK(d, vlans));
}

static void say_number(struct dice *d, struct text *t, unsigned depth)
{
	static const char *const of[] = {"ether", "ip",	  "ip",	  "ip6",
					 "tcp",	  "udp",  "icmp", "icmp6",
					 "arp",	  "sctp", "link", "rarp"};
	static const char *const op[] = {"+", "-",  "*",  "/", "&",
					 "|", "<<", ">>", "%", "^"};
	uint32_t bytes = 1u << roll(d, 3);

	switch (depth ? roll(d, 5) : 1 + roll(d, 4)) {
	case 0:
		say(t, "(");
		say_number(d, t, depth - 1);
		say(t, "%s", PICK(d, op));
		if (once_in(d, 2))
			say_number(d, t, depth - 1);
		else
			say(t, "%u", roll(d, 40));
		say(t, ")");
		break;
	case 1:
		say(t, "len");
		break;
	case 2:
		say(t, "0x%x", once_in(d, 2) ? PICK(d, ports) : roll(d, 256));
		break;
	default:
		say(t, "%s[%u:%u]", PICK(d, of), roll(d, 24), bytes);
	}
}

static void say_comparison(struct dice *d, struct text *t)
{
	static const char *const relation[] = {"=", "!=", ">", "<", ">=", "<="};
	static const char *const known[] = {"tcp[tcpflags] & tcp-syn != 0",
					    "icmp[icmptype] = icmp-echo",
					    "icmp[icmpcode] = 1",
					    "ip[6:2] & 0x1fff != 0",
					    "ip[16] >= 224",
					    "ether[0] & 1 = 0",
					    "ip[0] & 0xf != 5",
					    "ip6[6] = 44",
					    "ip[12:2] = 0x0a00",
					    "icmp6[0] = 6",
					    "ether[12:2] = 0x800",
					    "tcp[0:2] > 1024",
					    "udp[2:2] & 0xfff0 = 0x50",
					    "ip[12:4] & 0xff = 9",
					    "greater 300",
					    "less 60",
					    "ifindex 2"};

	if (once_in(d, 2)) {
		say(t, "%s", PICK(d, known));
		return;
	}
	say_number(d, t, 2);
	say(t, " %s ", PICK(d, relation));
	say_number(d, t, 1);
}

static void say_expression(struct dice *d, struct text *t, unsigned depth)
{
	if (depth && !once_in(d, 3)) {
		if (once_in(d, 5))
			say(t, "not ");
		say(t, "(");
		say_expression(d, t, depth - 1);
		say(t, once_in(d, 3) ? " or " : " and ");
		say_expression(d, t, depth - 1);
		say(t, ")");
		return;
	}
	if (once_in(d, 5))
		say(t, "not ");
	switch (roll(d, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		say_address(d, t);
		break;
	case 4:
	case 5:
	case 6:
		say_port(d, t);
		break;
	case 7:
		say_ethernet(d, t);
		break;
	case 8:
		say_encapsulation(d, t);
		break;
	case 9:
		say_comparison(d, t);
		break;
	default:
		say_protocol(d, t);
	}
}

void traffic_filter(struct dice *d, char to[TRAFFIC_FILTER_MAX])
{
	struct text t = {to, 0};

	to[0] = 0;
	say_expression(d, &t, roll(d, 3));
}

void traffic_savefile(uint8_t *to, uint32_t n, uint32_t frame_bytes)
{
	uint32_t ip_bytes = frame_bytes - 14;
	const uint8_t ip[] = {0x45,
			      0,
			      (uint8_t)(ip_bytes >> 8),
			      (uint8_t)ip_bytes,
			      0,
			      0,
			      0,
			      0,
			      64,
			      17,
			      0,
			      0,
			      10,
			      0,
			      0,
			      1,
			      10,
			      0,
			      0,
			      2};

	savefile_head(to, 1, 65535);
	to += 24;
	for (uint32_t i = 0; i < n; i++, to += frame_bytes) {
		struct packet_head h = {1000 + i, i, frame_bytes, frame_bytes};

		memcpy(to, &h, sizeof(h));
		to += sizeof(h);
		memset(to, 0, 42);
		to[12] = 0x08; /* IPv4 */
		memcpy(to + 14, ip, sizeof(ip));
		to[34] = 1000 >> 8;
		to[35] = (uint8_t)(1000 + i % 2);
		to[37] = 53;
		/* Nothing that compresses well. */
		for (uint32_t k = 42; k < frame_bytes; k++)
			to[k] = (uint8_t)(i * 2654435761u >> (k % 24));
	}
}
