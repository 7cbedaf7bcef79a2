/*
 * Following the set of connections to leave out. Guarantees that a packet
 * which the kernel took in before its filter was changed is looked at here,
 * and that one which may be the beginning of such a connection waits for it.
 * It is a matter of the clock that the packets are stamped by: one from the
 * future is from before it was set back, and does not wait.
 */
#include "sieve.h"

#include "../log.h"

#include <stdlib.h>
#include <string.h>

void sieve_renew(struct sieve *v)
{
	v->fresh = true;
}

/* What is asked first is what the set is then known to contain. */
static void look(struct sieve *v, struct exclude *x, struct source *s)
{
	int64_t now = realtime_ns();

	if (source_is_filling(s))
		v->sure_ns = INT64_MAX;
	else if (exclude_settled(x))
		v->sure_ns = now - SIEVE_HOLD_NS;
	else
		v->sure_ns = now - SIEVE_HOLD_MAX_NS;
}

static bool follow(struct sieve *v, struct exclude *x, struct source *s)
{
	bool worked = v->works || v->n == 0;

	if (!v->flows)
		v->flows = calloc(EXCLUDE_MAX, sizeof(*v->flows));
	if (!v->flows)
		return false;
	v->n = exclude_list(x, v->flows, &v->version);
	v->n_listeners = exclude_listeners(x, v->listeners);
	v->layout = layout_of_link_type(source_link_type(s));
	v->fresh = false;
	v->works = source_exclude(s, v->flows, v->n);
	if (!v->works && v->n > 0 && worked)
		log_warn("connections of pcapd's own are captured: the filter "
			 "has no room for them, or the link type no place");
	/* The kernel's clock and ours are one. Packets of several CPUs are not
	 * quite in order. */
	v->until_ns = v->works && v->n > 0 ? realtime_ns() + SIEVE_HOLD_NS : 0;
	return true;
}

bool sieve_follow(struct sieve *v, struct exclude *x, struct source *s)
{
	if (!x)
		return false;
	if (v->n_listeners)
		look(v, x, s);
	return (exclude_version(x) != v->version || v->fresh) &&
	       follow(v, x, s);
}

bool sieve_matches(const struct sieve *v, const struct packet_head *h,
		   const uint8_t *body)
{
	struct ends e;

	if (!ends_of_packet(&e, v->layout, body, h->caplen))
		return false;
	for (unsigned i = 0; i < v->n; i++)
		if (flow_has(&v->flows[i], &e))
			return true;
	return false;
}

bool sieve_is_early(const struct sieve *v, const struct packet_head *h,
		    const uint8_t *body)
{
	struct ends e;

	if (!ends_of_packet(&e, v->layout, body, h->caplen))
		return false;
	for (unsigned i = 0; i < v->n_listeners; i++)
		if (flow_begins_at(&v->listeners[i], &e))
			return packet_time_ns(h) <= realtime_ns();
	return false;
}

bool sieve_hold(struct sieve *v, const struct packet_head *h,
		const uint8_t *body)
{
	if (v->room < h->caplen) {
		free(v->body);
		v->body = malloc(h->caplen);
		v->room = v->body ? h->caplen : 0;
	}
	if (!v->body)
		return false;
	v->head = *h;
	memcpy(v->body, body, h->caplen);
	v->holds = true;
	return true;
}

void sieve_done(struct sieve *v)
{
	free(v->flows);
	free(v->body);
}
