/*
 * Following the set of connections to leave out. Guarantees that a packet
 * which the kernel took in before its filter was changed is looked at here,
 * and none after. Leaves out what was taken from the ring before the
 * connection was in the set: its SYN and what follows at once, at times.
 */
#include "sieve.h"

#include "../log.h"

#include <stdlib.h>

void sieve_renew(struct sieve *v)
{
	v->fresh = true;
}

static void prepare(struct sieve *v, const struct flow *flows,
		    enum layout stored)
{
	v->until_ns = 0;
	if (!v->program)
		v->program = calloc(FILTER_INSNS_MAX, sizeof(*v->program));
	if (v->program && v->n > 0 &&
	    prefix_build(flows, v->n, stored, NULL, 0, v->program) > 0)
		v->until_ns = realtime_ns();
}

bool sieve_follow(struct sieve *v, struct exclude *x, struct source *s)
{
	bool worked = v->works || v->n == 0;

	if (!x || (exclude_version(x) == v->version && !v->fresh))
		return false;
	struct flow *flows = calloc(EXCLUDE_MAX, sizeof(*flows));
	if (!flows)
		return false;
	v->n = exclude_list(x, flows, &v->version);
	v->fresh = false;
	v->works = source_exclude(s, flows, v->n);
	if (!v->works && v->n > 0 && worked)
		log_warn("connections of pcapd's own are captured: the filter "
			 "has no room for them, or the link type no place");
	/* The kernel's clock and ours are one. */
	if (v->works)
		prepare(v, flows, layout_of_link_type(source_link_type(s)));
	free(flows);
	return true;
}

bool sieve_matches(const struct sieve *v, const struct packet_head *h,
		   const uint8_t *body)
{
	return bpf_filter(v->program, body, h->caplen, h->caplen) == 0;
}

void sieve_done(struct sieve *v)
{
	free(v->program);
}
