/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * traffic: random packets and random filters that have a chance to meet: both
 * draw addresses, ports and tags from the same few. For any link type; the
 * same dice give the same.
 */
#ifndef PCAPD_TESTS_TRAFFIC_H
#define PCAPD_TESTS_TRAFFIC_H

#include "packet/block.h"

#include <stddef.h>

#define TRAFFIC_PACKET_MAX 256u
#define TRAFFIC_FILTER_MAX 1024u

struct dice {
	uint64_t state;
};

/* 0 to n - 1. */
uint32_t roll(struct dice *d, uint32_t n);

/* The link types that have a layout, and one that has none. */
extern const uint32_t traffic_link_types[];
extern const size_t traffic_link_types_n;

/* Valid, cut, fragmented, tagged, tunnelled or garbage. Returns the bytes that
 * are there; *wire_bytes is that or more. */
uint32_t traffic_packet(struct dice *d, uint32_t link_type,
			uint8_t to[TRAFFIC_PACKET_MAX], uint32_t *wire_bytes);
/* Records of a block; to has room for n * (16 + TRAFFIC_PACKET_MAX). Returns
 * the bytes. */
uint32_t traffic_block(struct dice *d, uint32_t link_type, unsigned n,
		       uint8_t *to);
/* A savefile of Ethernet frames of so many bytes, at least 60: UDP from port
 * 1000 + its number modulo 2 to 53, at 1000 s and its number both in seconds
 * and in nanoseconds. */
#define TRAFFIC_SAVEFILE_BYTES(n, frame_bytes) (24 + (n) * (16 + (frame_bytes)))
void traffic_savefile(uint8_t *to, uint32_t n, uint32_t frame_bytes);
/* An expression out of the whole language; not all compile for all link
 * types. */
void traffic_filter(struct dice *d, char to[TRAFFIC_FILTER_MAX]);

#endif
