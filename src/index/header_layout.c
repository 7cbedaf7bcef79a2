/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Layouts and classes of headers. Guarantees that where a word of a class lies
 * is one table for those who fill sets and those who ask. Leaves out headers
 * behind a second tag, a tunnel or an IPv6 extension: packets with these are in
 * a class with fewer words.
 */
#include "index/header_layout.h"

#include <assert.h>

enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };

static void add_word(struct header_layout *l, uint32_t offset, unsigned bytes,
		     enum word_place place, const char *name)
{
	assert(l->n < SYNOPSIS_WORDS);
	l->words[l->n++] = (struct word){.offset = (uint16_t)offset,
					 .bytes = (uint8_t)bytes,
					 .place = (uint8_t)place,
					 .name = name};
}

static void add_fixed(struct header_layout *l, uint32_t offset, unsigned bytes,
		      uint32_t value)
{
	add_word(l, offset, bytes, WORD_AT, "");
	l->words[l->n - 1].fixed = true;
	l->words[l->n - 1].value = value;
}

static void add_link_words(struct header_layout *l, uint32_t link_type,
			   bool tagged)
{
	if (link_type == LINKTYPE_ETHERNET) {
		/* A filter loads an address as its last 4 bytes, then the
		 * first 2. */
		add_word(l, 2, 4, WORD_AT, "MAC destination");
		add_word(l, 0, 2, WORD_AT, "MAC destination");
		add_word(l, 8, 4, WORD_AT, "MAC source");
		add_word(l, 6, 2, WORD_AT, "MAC source");
		for (uint32_t i = l->n - 4; i < l->n; i++)
			l->words[i].lesser = true;
		if (tagged) {
			add_word(l, 12, 2, WORD_AT, "tag type");
			add_word(l, 14, 2, WORD_AT, "VLAN tag");
		}
	} else if (link_type == LINKTYPE_LINUX_SLL) {
		add_word(l, 0, 2, WORD_AT, "direction");
	} else if (link_type == LINKTYPE_LINUX_SLL2) {
		add_word(l, 4, 4, WORD_AT, "interface");
		add_word(l, 10, 1, WORD_AT, "direction");
	}
}

static void add_type(struct header_layout *l, const struct link_layer *k,
		     uint32_t type_at, enum synopsis_kind kind)
{
	if (k->type == ETHERTYPE && kind <= KIND_IP4_FRAGMENT)
		add_fixed(l, type_at, 2, TYPE_IP4);
	else if (k->type == ETHERTYPE && kind <= KIND_IP6_OTHER)
		add_fixed(l, type_at, 2, TYPE_IP6);
	else if (k->type == ETHERTYPE)
		add_word(l, type_at, 2, WORD_AT, "EtherType");
	else if (k->type == FAMILY)
		add_word(l, 0, 4, WORD_AT, "address family");
	else
		add_word(l, 0, 1, WORD_AT, "IP version");
}

static unsigned protocol_of(enum synopsis_kind kind)
{
	switch (kind) {
	case KIND_IP4_TCP:
	case KIND_IP4_TCP_80:
	case KIND_IP4_TCP_443:
	case KIND_IP6_TCP:
	case KIND_IP6_TCP_443:
		return PROTOCOL_TCP;
	case KIND_IP4_UDP:
	case KIND_IP4_UDP_53:
	case KIND_IP4_UDP_443:
	case KIND_IP6_UDP:
	case KIND_IP6_UDP_53:
		return PROTOCOL_UDP;
	default:
		return 0;
	}
}

/* at: of the byte that names the protocol. */
static void add_protocol(struct header_layout *l, uint32_t at,
			 enum synopsis_kind kind)
{
	if (protocol_of(kind))
		add_fixed(l, at, 1, protocol_of(kind));
	else
		add_word(l, at, 1, WORD_AT, "protocol");
}

static void add_ip4(struct header_layout *l, uint32_t at,
		    enum synopsis_kind kind)
{
	add_protocol(l, at + 9, kind);
	add_word(l, at + 6, 2, WORD_AT, "IPv4 fragment");
	add_word(l, at + 12, 4, WORD_AT, "IPv4 source");
	add_word(l, at + 16, 4, WORD_AT, "IPv4 destination");
	if (kind == KIND_IP4_FRAGMENT)
		return;
	l->header = at;
	/* Or ICMP's type and code. */
	add_word(l, at, 2, WORD_AFTER_HEADER, "source port");
	add_word(l, at + 2, 2, WORD_AFTER_HEADER, "destination port");
}

static void add_ip6(struct header_layout *l, uint32_t at,
		    enum synopsis_kind kind)
{
	add_protocol(l, at + 6, kind);
	for (uint32_t i = 8; i < 40; i += 4)
		add_word(l, at + i, 4, WORD_AT,
			 i < 24 ? "IPv6 source" : "IPv6 destination");
	/* Port, ICMP's type and code, or a fragment's next header. */
	add_word(l, at + 40, 2, WORD_AT, "source port");
	add_word(l, at + 42, 2, WORD_AT, "destination port");
}

void header_layout(uint32_t link_type, unsigned class, struct header_layout *l)
{
	struct link_layer k = link_layer_of(link_type);
	bool tagged = class >= SYNOPSIS_KINDS;
	enum synopsis_kind kind = class % SYNOPSIS_KINDS;
	uint32_t tag = tagged ? 4 : 0, at = k.header + tag;

	*l = (struct header_layout){.header = NO_HEADER};
	if (k.type == NO_TYPE || (tagged && !k.tags))
		return;
	add_word(l, 0, 4, WORD_WIRE_LENGTH, "length");
	l->words[0].base = LENGTH_BASE;
	add_link_words(l, LINK_TYPE_OF(link_type), tagged);
	add_type(l, &k, k.type_at + tag, kind);
	if (kind <= KIND_IP4_FRAGMENT) {
		add_ip4(l, at, kind);
	} else if (kind <= KIND_IP6_OTHER) {
		add_ip6(l, at, kind);
	} else if (kind == KIND_ARP) {
		add_word(l, at + 6, 2, WORD_AT, "ARP operation");
		add_word(l, at + 14, 4, WORD_AT, "ARP sender");
		add_word(l, at + 24, 4, WORD_AT, "ARP target");
	} else {
		/* LLC, MPLS, a second tag */
		add_word(l, at, 2, WORD_AT, "next header");
	}
}
/* --- a packet's class --- */

static bool has_port(const uint8_t *ports, uint32_t port)
{
	return be16(ports) == port || be16(ports + 2) == port;
}

static enum synopsis_kind kind_of_ip4(const uint8_t *ip, uint32_t n)
{
	if (n >= 8 && be16(ip + 6) & 0x1fff)
		return KIND_IP4_FRAGMENT;
	if (n < 10 || (ip[9] != PROTOCOL_TCP && ip[9] != PROTOCOL_UDP))
		return KIND_IP4_OTHER;
	bool tcp = ip[9] == PROTOCOL_TCP;
	uint32_t header = 4u * (ip[0] & 0xf);

	if (n >= header + 4) {
		if (has_port(ip + header, 443))
			return tcp ? KIND_IP4_TCP_443 : KIND_IP4_UDP_443;
		if (has_port(ip + header, tcp ? 80 : 53))
			return tcp ? KIND_IP4_TCP_80 : KIND_IP4_UDP_53;
	}
	return tcp ? KIND_IP4_TCP : KIND_IP4_UDP;
}

static enum synopsis_kind kind_of_ip6(const uint8_t *ip, uint32_t n)
{
	if (n < 7 || (ip[6] != PROTOCOL_TCP && ip[6] != PROTOCOL_UDP))
		return KIND_IP6_OTHER;
	bool tcp = ip[6] == PROTOCOL_TCP;

	if (n >= 44 && has_port(ip + 40, tcp ? 443 : 53))
		return tcp ? KIND_IP6_TCP_443 : KIND_IP6_UDP_53;
	return tcp ? KIND_IP6_TCP : KIND_IP6_UDP;
}

/* An EtherType that tells the kind, from whatever the link type has. The
 * family is AF_INET or some system's AF_INET6 in either byte order. */
static uint32_t type_of(const struct link_layer *k, const uint8_t *p,
			uint32_t n)
{
	uint32_t family;

	switch (k->type) {
	case ETHERTYPE:
		return n >= k->header ? be16(p + k->type_at) : 0;
	case FAMILY:
		if (n < 4)
			return 0;
		family =
			be32(p) > 0xffff ? __builtin_bswap32(be32(p)) : be32(p);
		if (family == 2)
			return TYPE_IP4;
		return family == 10 || family == 24 || family == 28 ||
				       family == 30
			       ? TYPE_IP6
			       : 0;
	case VERSION_NIBBLE:
		if (n == 0)
			return 0;
		return p[0] >> 4 == 4	? TYPE_IP4
		       : p[0] >> 4 == 6 ? TYPE_IP6
					: 0;
	case ONLY_IP4:
		return TYPE_IP4;
	case ONLY_IP6:
		return TYPE_IP6;
	default:
		return 0;
	}
}

unsigned header_class(const struct link_layer *k, const uint8_t *p, uint32_t n)
{
	uint32_t type = type_of(k, p, n), at = k->header;
	unsigned tagged = 0;

	if (k->tags && link_layer_is_tag(type)) {
		tagged = SYNOPSIS_KINDS;
		at += 4;
		type = n >= at ? be16(p + at - 2) : 0;
	}
	switch (type) {
	case TYPE_IP4:
		return tagged + kind_of_ip4(p + at, n - at);
	case TYPE_IP6:
		return tagged + kind_of_ip6(p + at, n - at);
	case TYPE_ARP:
	case TYPE_RARP:
		return tagged + KIND_ARP;
	default:
		return tagged + KIND_OTHER;
	}
}
