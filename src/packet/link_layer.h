/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link_layer: what a packet begins with.
 *
 * What: where the link layers that we know have what says which protocol
 * follows, and where that begins; and numbers out of a packet's bytes, which
 * lie anywhere. The caller has looked that they are there.
 */
#ifndef PCAPD_PACKET_LINK_LAYER_H
#define PCAPD_PACKET_LINK_LAYER_H

#include "packet/block.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
	LINKTYPE_NULL = 0,
	LINKTYPE_ETHERNET = 1,
	LINKTYPE_RAW = 101,
	LINKTYPE_LOOP = 108,
	LINKTYPE_LINUX_SLL = 113,
	LINKTYPE_IPV4 = 228,
	LINKTYPE_IPV6 = 229,
	LINKTYPE_LINUX_SLL2 = 276
};
enum {
	TYPE_IP4 = 0x0800,
	TYPE_ARP = 0x0806,
	TYPE_RARP = 0x8035,
	TYPE_TAG = 0x8100,
	TYPE_IP6 = 0x86dd,
	TYPE_TAG_8021AD = 0x88a8,
	TYPE_TAG_OLD = 0x9100
};

/* What says which protocol follows the link layer's header. */
enum type_word {
	NO_TYPE,
	ETHERTYPE,
	FAMILY,
	VERSION_NIBBLE,
	ONLY_IP4,
	ONLY_IP6
};

struct link_layer {
	enum type_word type;
	uint32_t type_at, header; /* where the next header begins */
	bool tags;
};

static inline struct link_layer link_layer_of(uint32_t link_type)
{
	switch (LINK_TYPE_OF(link_type)) {
	case LINKTYPE_ETHERNET:
		return (struct link_layer){ETHERTYPE, 12, 14, true};
	case LINKTYPE_LINUX_SLL:
		return (struct link_layer){ETHERTYPE, 14, 16, false};
	case LINKTYPE_LINUX_SLL2:
		return (struct link_layer){ETHERTYPE, 0, 20, false};
	case LINKTYPE_NULL:
	case LINKTYPE_LOOP:
		return (struct link_layer){FAMILY, 0, 4, false};
	case LINKTYPE_RAW:
		return (struct link_layer){VERSION_NIBBLE, 0, 0, false};
	case LINKTYPE_IPV4:
		return (struct link_layer){ONLY_IP4, 0, 0, false};
	case LINKTYPE_IPV6:
		return (struct link_layer){ONLY_IP6, 0, 0, false};
	default:
		return (struct link_layer){NO_TYPE, 0, 0, false};
	}
}

static inline bool link_layer_is_tag(uint32_t ethertype)
{
	return ethertype == TYPE_TAG || ethertype == TYPE_TAG_8021AD ||
	       ethertype == TYPE_TAG_OLD;
}

static inline uint32_t be16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t be32(const uint8_t *p)
{
	return be16(p) << 16 | be16(p + 2);
}

/* As memory is loaded. */
static inline uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

#endif
