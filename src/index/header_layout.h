/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * header_layout: where the words of a packet's headers lie.
 *
 * What: each packet belongs to one class, by its tag (a VLAN tag or none) and
 * its kind (unfragmented TCP over IPv4, ARP, ...). A class has a layout: the
 * words of its headers, as a BPF program loads them.
 * Threads: any.
 */
#ifndef PCAPD_INDEX_HEADER_LAYOUT_H
#define PCAPD_INDEX_HEADER_LAYOUT_H

#include "packet/link_layer.h"

#include <stdbool.h>
#include <stdint.h>

/* What has the ports that most packets have is apart, so that such a port and
 * an address rule a block out where others use the one and the other. */
enum synopsis_kind {
	KIND_IP4_TCP, /* TCP and UDP: not a fragment, or the first one */
	KIND_IP4_TCP_80,
	KIND_IP4_TCP_443,
	KIND_IP4_UDP,
	KIND_IP4_UDP_53,
	KIND_IP4_UDP_443,
	KIND_IP4_OTHER,
	KIND_IP4_FRAGMENT, /* without ports */
	KIND_IP6_TCP,	   /* TCP and UDP: right behind the fixed header */
	KIND_IP6_TCP_443,
	KIND_IP6_UDP,
	KIND_IP6_UDP_53,
	KIND_IP6_OTHER,
	KIND_ARP, /* RARP too */
	KIND_OTHER,
	SYNOPSIS_KINDS
};
#define SYNOPSIS_CLASSES (2u * SYNOPSIS_KINDS) /* the second half is tagged */
#define SYNOPSIS_WORDS 19u		       /* of a class, at most */
#define LENGTH_BASE 6 /* bits of a packet's length that are not kept */

enum word_place {
	WORD_AT,	   /* offset from the packet's first byte */
	WORD_AFTER_HEADER, /* offset + the IPv4 header's length */
	WORD_WIRE_LENGTH,  /* not in the packet: its length on the wire */
};

struct word {
	uint16_t offset;
	uint8_t bytes; /* 1, 2, 4; big-endian */
	uint8_t place; /* enum word_place */
	uint8_t base;  /* low bits that are not kept from the start */
	bool fixed;    /* the class implies the value; nothing is stored */
	bool lesser;   /* goes first where bytes are short */
	uint32_t value;
	const char *name; /* for people */
};

struct header_layout {
	/* Of the byte whose low 4 bits count the IPv4 header's words, which is
	 * what WORD_AFTER_HEADER adds; or NO_HEADER. */
	uint32_t header;
	uint32_t n;
	struct word words[SYNOPSIS_WORDS];
};
#define NO_HEADER UINT32_MAX

/* Empty for link types whose headers are not known here. */
void header_layout(uint32_t link_type, unsigned class, struct header_layout *l);

/* The class of a packet of a link type that has such a link layer. */
unsigned header_class(const struct link_layer *k, const uint8_t *p, uint32_t n);

#endif
