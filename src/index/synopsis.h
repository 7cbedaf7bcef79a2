/*
 * summary: which values the headers of a block's packets have, so that a
 * filter can rule the block out unread (bpf_prune.h). Private to this folder.
 *
 * What: each packet belongs to one class, by its tag (a VLAN tag or none) and
 * its kind (unfragmented TCP over IPv4, ARP, ...). A class has a layout: the
 * words of its headers, as a BPF program loads them. A summary is a set of
 * values for each word of each class. The one promise, on which prune rests:
 *	for every packet, every word of its class, if the packet has at least
 *	one of the word's bytes, then the value of the whole word is in the
 *	word's set; or, where the packet has not all of them, the set is "any".
 * How a packet gets its class is free, it only makes sets sharper.
 * A set that is too large becomes coarser: its values lose their low 4 bits,
 * then 8, then it is "any value". So one flooded word costs only itself.
 * Threads: one at a time for a maker, and for a summary that has pages; else
 * a struct summary does not change but in summary_fit.
 * Ownership: summary_make and summary_read give, summary_free takes.
 * Limits: a maker keeps max_keys values in all, and allocates nothing after
 * summary_maker_new but in summary_make. summary_read takes at most
 * SUMMARY_BYTES_MAX bytes from anyone and makes 4 bytes of each at most.
 */
#ifndef PCAPD_STORE_SUMMARY_H
#define PCAPD_STORE_SUMMARY_H

#include "base/err.h"
#include "packet/block.h"

#include <stddef.h>

/* max_keys for a block, and for the union of a segment's. */
#define SUMMARY_KEYS_BLOCK 4096u
#define SUMMARY_KEYS_SEGMENT 98304u
#define SUMMARY_BYTES_MAX (1u << 20)

/* What has the ports that most packets have is apart, so that such a port and
 * an address rule a block out where others use the one and the other. */
enum summary_kind {
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
	SUMMARY_KINDS
};
#define SUMMARY_CLASSES (2u * SUMMARY_KINDS) /* the second half is tagged */
#define SUMMARY_WORDS 19u		     /* of a class, at most */
#define SUMMARY_SETS (SUMMARY_CLASSES * SUMMARY_WORDS)
#define SUMMARY_ANY 3u /* the coarsest level */

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

struct layout {
	/* Of the byte whose low 4 bits count the IPv4 header's words, which is
	 * what WORD_AFTER_HEADER adds; or NO_HEADER. */
	uint32_t header;
	uint32_t n;
	struct word words[SUMMARY_WORDS];
};
#define NO_HEADER UINT32_MAX

/* Empty for link types whose headers are not known here. */
void summary_layout(uint32_t link_type, unsigned class, struct layout *l);

/* Values that are there once they are asked for: page p of a set has its
 * values from p * SUMMARY_PAGE on. */
#define SUMMARY_PAGE 256u
static inline uint32_t summary_pages_of(uint32_t values)
{
	return (values + SUMMARY_PAGE - 1) / SUMMARY_PAGE;
}
struct summary_page {
	uint32_t least; /* its first value */
	uint32_t sum;	/* of who loads it */
};
struct summary_pages {
	const struct summary_page *page; /* of all sets, in order */
	uint32_t first[SUMMARY_SETS];	 /* each one's first in page */
	/* false: the page is damaged and may have anything. */
	bool (*load)(struct summary_pages *p, uint32_t set, uint32_t page);
};

struct summary {
	uint32_t link_type;
	uint32_t present;	     /* bit c: there are packets of class c */
	struct summary_pages *pages; /* NULL: all values are there */
	uint8_t level[SUMMARY_SETS];
	uint32_t first[SUMMARY_SETS]; /* index in values */
	uint32_t count[SUMMARY_SETS];
	/* Ascending in each set, without the low bits that summary_shift says.
	 * None where the level is SUMMARY_ANY. */
	uint32_t values[];
};

static inline unsigned summary_shift(const struct word *w, unsigned level)
{
	return level == SUMMARY_ANY ? 32 : w->base + 4 * level;
}

struct summary_maker;

/* NULL when memory is out. */
struct summary_maker *summary_maker_new(uint32_t link_type, uint32_t max_keys);
void summary_maker_free(struct summary_maker *m);
/* As new, for the next block. */
void summary_maker_reset(struct summary_maker *m, uint32_t link_type);
/* The packets in records [0, n), laid out as in a block. */
void summary_maker_packets(struct summary_maker *m, const uint8_t *records,
			   uint32_t n);
/* What is in s, which is of the same link type: unions are made of this. */
void summary_maker_union(struct summary_maker *m, const struct summary *s);
/* What was added since the last reset. NULL when memory is out. */
struct summary *summary_make(struct summary_maker *m);

/* Makes sets coarser, the largest and the lesser first, until summary_write
 * needs at most max_bytes. false: not even then. */
bool summary_fit(struct summary *s, size_t max_bytes);
size_t summary_bytes(const struct summary *s);
/* to has room for summary_bytes(s). */
void summary_write(const struct summary *s, uint8_t *to);
/* NULL: version or content are not as summary_write makes them. */
struct summary *summary_read(const uint8_t *from, size_t n, struct err *e);
/* As summary_read, for who asks only about the words i of classes c that have
 * bit i in need[c]: the others are "any", and what they are is not looked at.
 */
struct summary *summary_read_some(const uint8_t *from, size_t n,
				  const uint32_t need[SUMMARY_CLASSES],
				  struct err *e);
void summary_free(struct summary *s); /* NULL is fine */

#endif
