/*
 * sieve: what a capture does about connections that it is to leave out.
 *
 * What: follows the set of them, tells the source's kernel filter, and until
 * the kernel has heard of it looks itself: what lies in the ring was taken in
 * by the filter of before.
 * Threads: the capture's.
 */
#ifndef PCAPD_CAPTURE_SIEVE_H
#define PCAPD_CAPTURE_SIEVE_H

#include "prefix.h"
#include "source.h"

struct sieve {
	uint64_t version; /* of the set that was seen last */
	bool fresh;	  /* the source does not know it yet */
	bool works;	  /* the kernel has it */
	unsigned n;	  /* of connections in it */
	/* Over packets as they are stored, up to until_ns. */
	struct bpf_insn *program;
	int64_t until_ns; /* 0: nothing is to be looked at */
};

/* Another source. */
void sieve_renew(struct sieve *v);
/* true: there was something to do. */
bool sieve_follow(struct sieve *v, struct exclude *x, struct source *s);
void sieve_done(struct sieve *v);

bool sieve_matches(const struct sieve *v, const struct packet_head *h,
		   const uint8_t *body);

/* For every packet: mostly there is nothing to look at. */
static inline bool sieve_drops(struct sieve *v, const struct packet_head *h,
			       const uint8_t *body)
{
	if (__builtin_expect(!v->until_ns, 1))
		return false;
	if (packet_time_ns(h) > v->until_ns) {
		v->until_ns = 0;
		return false;
	}
	return sieve_matches(v, h, body);
}

#endif
