/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * synopsis: which values the headers of a block's packets have, so that a
 * filter can rule the block out unread (bpf_prune.h).
 *
 * What: each packet belongs to one class, by its tag (a VLAN tag or none) and
 * its kind (unfragmented TCP over IPv4, ARP, ...). A class has a layout: the
 * words of its headers, as a BPF program loads them. A synopsis is a set of
 * values for each word of each class. The one promise, on which prune rests:
 *	for every packet, every word of its class, if the packet has at least
 *	one of the word's bytes, then the value of the whole word is in the
 *	word's set; or, where the packet has not all of them, the set is "any".
 * How a packet gets its class is free, it only makes sets sharper.
 * A set that is too large becomes coarser: its values lose their low 4 bits,
 * then 8, then it is "any value". So one flooded word costs only itself.
 * Threads: one at a time for a maker, and for a synopsis that has pages; else
 * a struct synopsis does not change but in synopsis_fit.
 * Ownership: synopsis_make and synopsis_read give, synopsis_free takes.
 * Limits: a maker keeps max_keys values in all, and allocates nothing after
 * synopsis_maker_new but in synopsis_make. synopsis_read takes at most
 * SYNOPSIS_BYTES_MAX bytes from anyone and makes 4 bytes of each at most.
 */
#ifndef PCAPD_INDEX_SYNOPSIS_H
#define PCAPD_INDEX_SYNOPSIS_H

#include "base/err.h"
#include "packet/block.h"

#include <stddef.h>

/* max_keys for a block, and for the union of a segment's. */
#define SYNOPSIS_KEYS_BLOCK 4096u
#define SYNOPSIS_KEYS_SEGMENT 98304u
#define SYNOPSIS_BYTES_MAX (1u << 20)

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
#define SYNOPSIS_SETS (SYNOPSIS_CLASSES * SYNOPSIS_WORDS)
#define SYNOPSIS_ANY 3u /* the coarsest level */

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

struct synopsis_layout {
	/* Of the byte whose low 4 bits count the IPv4 header's words, which is
	 * what WORD_AFTER_HEADER adds; or NO_HEADER. */
	uint32_t header;
	uint32_t n;
	struct word words[SYNOPSIS_WORDS];
};
#define NO_HEADER UINT32_MAX

/* Empty for link types whose headers are not known here. */
void synopsis_layout(uint32_t link_type, unsigned class,
		     struct synopsis_layout *l);

/* Values that are there once they are asked for: page p of a set has its
 * values from p * SYNOPSIS_PAGE on. */
#define SYNOPSIS_PAGE 256u
static inline uint32_t synopsis_pages_of(uint32_t values)
{
	return (values + SYNOPSIS_PAGE - 1) / SYNOPSIS_PAGE;
}
struct synopsis_page {
	uint32_t least; /* its first value */
	uint32_t sum;	/* of who loads it */
};
struct synopsis_pages {
	const struct synopsis_page *page; /* of all sets, in order */
	uint32_t first[SYNOPSIS_SETS];	  /* each one's first in page */
	/* false: the page is damaged and may have anything. */
	bool (*load)(struct synopsis_pages *p, uint32_t set, uint32_t page);
};

struct synopsis {
	uint32_t link_type;
	uint32_t present;	      /* bit c: there are packets of class c */
	struct synopsis_pages *pages; /* NULL: all values are there */
	uint8_t level[SYNOPSIS_SETS];
	uint32_t first[SYNOPSIS_SETS]; /* index in values */
	uint32_t count[SYNOPSIS_SETS];
	/* Ascending in each set, without the low bits that synopsis_shift says.
	 * None where the level is SYNOPSIS_ANY. */
	uint32_t values[];
};

static inline unsigned synopsis_shift(const struct word *w, unsigned level)
{
	return level == SYNOPSIS_ANY ? 32 : w->base + 4 * level;
}

struct synopsis_maker;

/* NULL when memory is out. */
struct synopsis_maker *synopsis_maker_new(uint32_t link_type,
					  uint32_t max_keys);
void synopsis_maker_free(struct synopsis_maker *m);
/* As new, for the next block. */
void synopsis_maker_reset(struct synopsis_maker *m, uint32_t link_type);
/* The packets in records [0, n), laid out as in a block. */
void synopsis_maker_packets(struct synopsis_maker *m, const uint8_t *records,
			    uint32_t n);
/* What is in s, which is of the same link type: unions are made of this. */
void synopsis_maker_union(struct synopsis_maker *m, const struct synopsis *s);
/* What was added since the last reset. NULL when memory is out. */
struct synopsis *synopsis_make(struct synopsis_maker *m);

/* Makes sets coarser, the largest and the lesser first, until synopsis_write
 * needs at most max_bytes. false: not even then. */
bool synopsis_fit(struct synopsis *s, size_t max_bytes);
size_t synopsis_bytes(const struct synopsis *s);
/* to has room for synopsis_bytes(s). */
void synopsis_write(const struct synopsis *s, uint8_t *to);
/* NULL: version or content are not as synopsis_write makes them. */
struct synopsis *synopsis_read(const uint8_t *from, size_t n, struct err *e);
/* As synopsis_read, for who asks only about the words i of classes c that have
 * bit i in need[c]: the others are "any", and what they are is not looked at.
 */
struct synopsis *synopsis_read_some(const uint8_t *from, size_t n,
				    const uint32_t need[SYNOPSIS_CLASSES],
				    struct err *e);
void synopsis_free(struct synopsis *s); /* NULL is fine */

#endif
