/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading pcapng. Guarantees that memory is bounded whatever lengths a file
 * claims, and that each packet has the link type and the time of its own
 * interface. Leaves out every block that is no packet, and names, comments
 * and statistics.
 */
#include "capture/pcapng.h"

#include "base/vec.h"

#include <byteswap.h>
#include <stdlib.h>

#define ORDER_MAGIC 0x1a2b3c4du
#define OPTION_TSRESOL 9
#define OPTION_FCSLEN 13
#define OPTION_TSOFFSET 14
/* Of the link type in a savefile's header: an FCS length is given, and that
 * length in units of 16 bits. */
#define FCS_GIVEN 0x04000000u
#define FCS_SHIFT 28

enum pcapng_block {
	PCAPNG_INTERFACE = 1,
	PCAPNG_PACKET = 2, /* obsolete */
	PCAPNG_SIMPLE = 3,
	PCAPNG_ENHANCED = 6,
};

struct pcapng_interface {
	uint32_t link_type, snaplen;
	uint64_t units; /* in a second; at most 2^63 */
	int64_t offset_s;
};

struct pcapng {
	FILE *file;
	bool swapped;
	uint32_t type, left; /* of the block, without its last length */
	uint32_t length;
	struct pcapng_interface first;
	struct pcapng_interface *interfaces;
	size_t n;
	uint8_t body[BLOCK_PACKET_MAX];
};

static const char cut[] = "the file ends in the middle of a block";
static const char too_short[] = "a block is too short for what is in it";

static uint32_t pcapng_u32(const struct pcapng *p, const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return p->swapped ? bswap_32(v) : v;
}

static uint16_t pcapng_u16(const struct pcapng *p, const uint8_t *at)
{
	uint16_t v;

	memcpy(&v, at, sizeof(v));
	return p->swapped ? bswap_16(v) : v;
}

/* --- the bytes of a block --- */

static bool pcapng_read(struct pcapng *p, void *to, uint32_t n,
			const char **why)
{
	if (n > p->left) {
		*why = too_short;
		return false;
	}
	p->left -= n;
	if (fread(to, 1, n, p->file) == n)
		return true;
	*why = cut;
	return false;
}

static bool pcapng_skip(struct pcapng *p, uint32_t n, const char **why)
{
	uint8_t some[4096];
	bool ok = true;

	while (ok && n) {
		uint32_t m = n < sizeof(some) ? n : sizeof(some);
		ok = pcapng_read(p, some, m, why);
		n -= m;
	}
	return ok;
}

/* What is left of it, and the length that ends it. */
static bool pcapng_end(struct pcapng *p, const char **why)
{
	uint8_t again[4];

	if (!pcapng_skip(p, p->left, why))
		return false;
	p->left = sizeof(again);
	if (!pcapng_read(p, again, sizeof(again), why))
		return false;
	/* libpcap reads sections whatever their last length is. */
	if (pcapng_u32(p, again) == p->length || p->type == PCAPNG_MAGIC)
		return true;
	*why = "a block's length at its end is not that at its beginning";
	return false;
}

/* --- sections and interfaces --- */

/* The byte order is behind the length that is written in it. */
static bool pcapng_section(struct pcapng *p, uint8_t length[4],
			   const char **why)
{
	uint8_t order[4];

	p->n = 0;
	p->left = sizeof(order);
	if (!pcapng_read(p, order, sizeof(order), why))
		return false;
	p->swapped = false;
	if (pcapng_u32(p, order) != ORDER_MAGIC)
		p->swapped = true;
	if (pcapng_u32(p, order) != ORDER_MAGIC) {
		*why = "a section has no byte order";
		return false;
	}
	p->length = pcapng_u32(p, length);
	if (p->length < 28 || p->length % 4) {
		*why = too_short;
		return false;
	}
	p->left = p->length - 16;
	uint8_t version[2];
	if (!pcapng_read(p, version, sizeof(version), why))
		return false;
	if (pcapng_u16(p, version) == 1)
		return true;
	*why = "a section is not of version 1 of pcapng";
	return false;
}

/* The next block's head. 1, 0 at the end of the file, -1. */
static int pcapng_begin(struct pcapng *p, const char **why)
{
	uint8_t head[8];
	size_t n = fread(head, 1, sizeof(head), p->file);

	if (n == 0)
		return 0;
	if (n < sizeof(head)) {
		*why = cut;
		return -1;
	}
	p->type = pcapng_u32(p, head);
	if (p->type == PCAPNG_MAGIC)
		return pcapng_section(p, head + 4, why) ? 1 : -1;
	p->length = pcapng_u32(p, head + 4);
	if (p->length < 12 || p->length % 4) {
		*why = too_short;
		return -1;
	}
	p->left = p->length - 12;
	return 1;
}

/* 10^v, or 2^v with the highest bit. 0: that is no unit we can count in. */
static uint64_t pcapng_units(uint8_t v)
{
	uint64_t units = 1;

	if (v & 0x80)
		return (v & 0x7f) < 64 ? 1ull << (v & 0x7f) : 0;
	if (v > 19)
		return 0;
	while (v--)
		units *= 10;
	return units;
}

static void pcapng_fcs(struct pcapng_interface *i, uint8_t length)
{
	/* Writers disagree: the bytes of it, or, as the draft has it, bits. */
	uint32_t words = length >= 16 ? length / 16 : length / 2;

	if (words && words < 16)
		i->link_type |= FCS_GIVEN | words << FCS_SHIFT;
}

static bool pcapng_option(struct pcapng *p, struct pcapng_interface *i,
			  uint16_t code, const uint8_t value[8],
			  const char **why)
{
	if (code == OPTION_FCSLEN)
		pcapng_fcs(i, value[0]);
	if (code == OPTION_TSOFFSET) {
		uint64_t low = pcapng_u32(p, value + (p->swapped ? 4 : 0));
		uint64_t high = pcapng_u32(p, value + (p->swapped ? 0 : 4));

		i->offset_s = (int64_t)(high << 32 | low);
	}
	if (code == OPTION_TSRESOL) {
		i->units = pcapng_units(value[0]);
		if (!i->units) {
			*why = "an interface counts time in units that are "
			       "too small";
			return false;
		}
	}
	return true;
}

static bool pcapng_options(struct pcapng *p, struct pcapng_interface *i,
			   const char **why)
{
	uint8_t head[4], value[8];

	while (p->left >= sizeof(head)) {
		if (!pcapng_read(p, head, sizeof(head), why))
			return false;
		uint16_t code = pcapng_u16(p, head);
		uint32_t n = pcapng_u16(p, head + 2);
		uint32_t padded = (n + 3) & ~3u;
		uint32_t kept = padded < sizeof(value) ? padded : sizeof(value);

		if (code == 0)
			break;
		memset(value, 0, sizeof(value));
		if (!pcapng_read(p, value, kept, why) ||
		    !pcapng_skip(p, padded - kept, why))
			return false;
		bool whole = code == OPTION_TSOFFSET ? n == 8 : n == 1;
		if (whole && !pcapng_option(p, i, code, value, why))
			return false;
	}
	return true;
}

static bool pcapng_interface(struct pcapng *p, const char **why)
{
	struct pcapng_interface i = {.units = 1000000};
	uint8_t fixed[8];

	if (!pcapng_read(p, fixed, sizeof(fixed), why))
		return false;
	i.link_type = pcapng_u16(p, fixed);
	i.snaplen = pcapng_u32(p, fixed + 4);
	if (!pcapng_options(p, &i, why))
		return false;
	if (p->n == PCAPNG_INTERFACES_MAX) {
		*why = "a section has over 4096 interfaces";
		return false;
	}
	struct pcapng_interface *to = vec_push(&p->interfaces, &p->n);
	if (to)
		*to = i;
	else
		*why = "out of memory";
	return to;
}

/* --- packets --- */

static const struct pcapng_interface *
pcapng_of(const struct pcapng *p, uint32_t number, const char **why)
{
	if (number < p->n)
		return &p->interfaces[number];
	*why = "a packet is of an interface that is not there";
	return NULL;
}

static void pcapng_time(const struct pcapng_interface *i, uint64_t t,
			struct record *r)
{
	/* What is later than our clocks can say is as late as they can. */
	uint64_t sec = t / i->units;
	int64_t far = INT64_MAX / NS_PER_S;

	r->nsec = (uint32_t)((unsigned __int128)(t % i->units) * NS_PER_S /
			     i->units);
	r->sec = sec > (uint64_t)far ? far : (int64_t)sec;
	if (__builtin_add_overflow(r->sec, i->offset_s, &r->sec))
		r->sec = i->offset_s < 0 ? -1 : far;
	if (r->sec > far)
		r->sec = far;
}

/* r->caplen is known. */
static bool pcapng_body(struct pcapng *p, struct record *r, const char **why)
{
	r->body = r->caplen <= BLOCK_PACKET_MAX ? p->body : NULL;
	return r->body ? pcapng_read(p, p->body, r->caplen, why)
		       : pcapng_skip(p, r->caplen, why);
}

static bool pcapng_take(struct pcapng *p, const struct pcapng_interface *i,
			struct record *r, const char **why)
{
	if (!i)
		return false;
	r->link_type = i->link_type;
	r->snaplen = i->snaplen;
	return pcapng_body(p, r, why);
}

static bool pcapng_simple(struct pcapng *p, struct record *r, const char **why)
{
	const struct pcapng_interface *i = pcapng_of(p, 0, why);
	uint8_t len[4];

	if (!i || !pcapng_read(p, len, sizeof(len), why))
		return false;
	r->sec = 0;
	r->nsec = 0;
	r->untimed = true;
	r->len = r->caplen = pcapng_u32(p, len);
	if (i->snaplen && r->caplen > i->snaplen)
		r->caplen = i->snaplen;
	if (r->caplen > p->left)
		r->caplen = p->left;
	return pcapng_take(p, i, r, why);
}

static bool pcapng_packet(struct pcapng *p, struct record *r, const char **why)
{
	uint8_t fixed[20];

	if (!pcapng_read(p, fixed, sizeof(fixed), why))
		return false;
	uint32_t number = p->type == PCAPNG_PACKET ? pcapng_u16(p, fixed)
						   : pcapng_u32(p, fixed);
	const struct pcapng_interface *i = pcapng_of(p, number, why);
	if (!i)
		return false;
	uint64_t high = pcapng_u32(p, fixed + 4);
	pcapng_time(i, high << 32 | pcapng_u32(p, fixed + 8), r);
	r->caplen = pcapng_u32(p, fixed + 12);
	r->len = pcapng_u32(p, fixed + 16);
	return pcapng_take(p, i, r, why);
}

int pcapng_next(struct pcapng *p, struct record *r, const char **why)
{
	int got;

	while ((got = pcapng_begin(p, why)) == 1) {
		bool ok = true, packet = true;

		r->untimed = false;
		switch (p->type) {
		case PCAPNG_INTERFACE:
			ok = pcapng_interface(p, why);
			packet = false;
			break;
		case PCAPNG_SIMPLE:
			ok = pcapng_simple(p, r, why);
			break;
		case PCAPNG_PACKET:
		case PCAPNG_ENHANCED:
			ok = pcapng_packet(p, r, why);
			break;
		default:
			packet = false;
		}
		if (!ok || !pcapng_end(p, why))
			return -1;
		if (packet)
			return 1;
	}
	return got;
}

/* --- the beginning and the end --- */

struct pcapng *pcapng_open(FILE *file, const char **why)
{
	struct pcapng *p = calloc(1, sizeof(*p));
	bool ok = true;
	int got = 1;

	*why = "out of memory";
	if (!p)
		return NULL;
	p->file = file;
	while (ok && p->n == 0 && (got = pcapng_begin(p, why)) == 1) {
		if (p->type == PCAPNG_INTERFACE) {
			ok = pcapng_interface(p, why);
		} else if (p->type == PCAPNG_SIMPLE ||
			   p->type == PCAPNG_PACKET ||
			   p->type == PCAPNG_ENHANCED) {
			*why = "a packet comes before any interface";
			ok = false;
		}
		ok = ok && pcapng_end(p, why);
	}
	if (ok && got == 1) {
		p->first = p->interfaces[0];
		return p;
	}
	if (got == 0)
		*why = "the file has no interface";
	pcapng_close(p);
	return NULL;
}

uint32_t pcapng_link_type(const struct pcapng *p)
{
	return p->first.link_type;
}

uint32_t pcapng_snaplen(const struct pcapng *p)
{
	return p->first.snaplen;
}

void pcapng_close(struct pcapng *p)
{
	if (!p)
		return;
	free(p->interfaces);
	free(p);
}
