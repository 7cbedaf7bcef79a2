/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcapng: the packets of a pcapng file (draft-ietf-opsawg-pcapng).
 *
 * What: sections and interfaces of any number, each with its own link type,
 * snaplen and unit of time, where libpcap wants all of them to be the same.
 * Options that say nothing about what a packet is are passed over.
 * Threads: one at a time.
 * Ownership: the FILE stays the caller's.
 * Limits: PCAPNG_INTERFACES_MAX interfaces a section; bodies of packets over
 * BLOCK_PACKET_MAX are not kept.
 */
#ifndef PCAPD_CAPTURE_PCAPNG_H
#define PCAPD_CAPTURE_PCAPNG_H

#include "packet/block.h"

#include <stdio.h>

#define PCAPNG_MAGIC 0x0a0d0d0au /* in either byte order */
#define PCAPNG_INTERFACES_MAX 4096

/* A packet of a file, before it is known whether a block takes it. */
struct record {
	uint32_t link_type; /* with the FCS bits of a savefile's header */
	uint32_t snaplen;   /* of its interface; 0: none was given */
	int64_t sec;	    /* since 1970; what a file can say, not we */
	uint32_t nsec;
	bool untimed; /* the file does not say when */
	uint32_t caplen, len;
	const uint8_t *body; /* until the next call; NULL: over the limit */
};

struct pcapng;

/* Reads up to the first interface. NULL: *why (static) says why not. */
struct pcapng *pcapng_open(FILE *file, const char **why);
uint32_t pcapng_link_type(const struct pcapng *p); /* of that one */
uint32_t pcapng_snaplen(const struct pcapng *p);
/* 1 a packet, 0 the file ends between two blocks, -1 it is broken, see *why. */
int pcapng_next(struct pcapng *p, struct record *r, const char **why);
void pcapng_close(struct pcapng *p); /* NULL is fine */

#endif
