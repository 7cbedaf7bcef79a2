/*
 * Following the set of connections to leave out. Guarantees that a packet
 * which the kernel took in before its filter was changed is looked at here,
 * and that one which may be the beginning of such a connection waits for it.
 * It is a matter of the clock that the packets are stamped by: one from the
 * future is from before it was set back, and does not wait.
 */
#include "capture/own_traffic.h"

#include "base/log.h"

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

static bool make_room(struct sieve *v)
{
	if (!v->flows)
		v->flows = calloc(2 * EXCLUDE_MAX, sizeof(*v->flows));
	if (!v->places)
		v->places = calloc(2 * EXCLUDE_MAX, sizeof(*v->places));
	return v->flows && v->places;
}

static bool follow(struct sieve *v, struct exclude *x, struct source *s)
{
	bool was_whole = v->whole || v->version == 0;

	if (!make_room(v))
		return false;
	memcpy(v->flows, v->flows + EXCLUDE_MAX, v->n * sizeof(*v->flows));
	memcpy(v->places, v->places + EXCLUDE_MAX, v->n * sizeof(*v->places));
	v->n_old = v->n;
	unsigned n = exclude_list(x, v->flows + EXCLUDE_MAX,
				  v->places + EXCLUDE_MAX, &v->version);
	v->n_listeners = exclude_listeners(x, v->listeners);
	v->layout = layout_of_link_type(source_link_type(s));
	v->fresh = false;
	v->n = source_exclude(s, v->flows + EXCLUDE_MAX, n);
	v->whole = v->n == n;
	if (!v->whole && was_whole)
		log_warn("%u of %u connections of pcapd's own are captured: "
			 "the filter has no room for them, or the link type no "
			 "place",
			 n - v->n, n);
	/* The kernel's clock and ours are one. Packets of several CPUs are not
	 * quite in order. */
	v->until_ns = v->n + v->n_old ? realtime_ns() + SIEVE_HOLD_NS : 0;
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

static bool is_of(struct sieve *v, const struct ends *e, unsigned first,
		  unsigned n)
{
	for (unsigned i = first; i < first + n; i++) {
		if (!flow_has(&v->flows[i], e))
			continue;
		atomic_fetch_add_explicit(&v->left_out[v->places[i]], 1,
					  memory_order_relaxed);
		v->all_left_out++;
		return true;
	}
	return false;
}

bool sieve_matches(struct sieve *v, const struct packet_head *h,
		   const uint8_t *body)
{
	struct ends e;

	if (!ends_of_packet(&e, v->layout, body, h->caplen))
		return false;
	if (is_of(v, &e, EXCLUDE_MAX, v->n))
		return true;
	/* The filter of before has cut it. */
	return v->n_old && h->caplen < h->len && h->caplen <= SIEVE_CUT_MAX &&
	       is_of(v, &e, 0, v->n_old);
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
	free(v->places);
	free(v->body);
}
