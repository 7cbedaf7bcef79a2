/* SPDX-License-Identifier: BSD-3-Clause */
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

void own_traffic_renew(struct own_traffic *v)
{
	v->fresh = true;
}

/* What is asked first is what the set is then known to contain. */
static void own_traffic_look(struct own_traffic *v, struct own_connections *x,
			     struct source *s)
{
	int64_t now = realtime_ns();

	if (source_is_filling(s))
		v->sure_ns = INT64_MAX;
	else if (own_connections_settled(x))
		v->sure_ns = now - OWN_TRAFFIC_WAIT_NS;
	else
		v->sure_ns = now - OWN_TRAFFIC_WAIT_MAX_NS;
}

static bool own_traffic_make_room(struct own_traffic *v)
{
	if (!v->flows)
		v->flows = calloc(2 * OWN_CONNECTIONS_MAX, sizeof(*v->flows));
	if (!v->places)
		v->places = calloc(2 * OWN_CONNECTIONS_MAX, sizeof(*v->places));
	return v->flows && v->places;
}

static bool own_traffic_renew_set(struct own_traffic *v,
				  struct own_connections *x, struct source *s)
{
	bool was_whole = v->whole || v->version == 0;

	if (!own_traffic_make_room(v))
		return false;
	memcpy(v->flows, v->flows + OWN_CONNECTIONS_MAX,
	       v->n * sizeof(*v->flows));
	memcpy(v->places, v->places + OWN_CONNECTIONS_MAX,
	       v->n * sizeof(*v->places));
	v->n_old = v->n;
	unsigned n = own_connections_list(x, v->flows + OWN_CONNECTIONS_MAX,
					  v->places + OWN_CONNECTIONS_MAX,
					  &v->version);
	v->n_listeners = own_connections_listeners(x, v->listeners);
	v->layout = layout_of_link_type(source_link_type(s));
	v->fresh = false;
	v->n = source_exclude(s, v->flows + OWN_CONNECTIONS_MAX, n);
	v->whole = v->n == n;
	if (!v->whole && was_whole)
		log_warn("%u of %u connections of pcapd's own are captured: "
			 "the filter has no room for them, or the link type no "
			 "place",
			 n - v->n, n);
	/* The kernel's clock and ours are one. Packets of several CPUs are not
	 * quite in order. */
	v->until_ns = v->n + v->n_old ? realtime_ns() + OWN_TRAFFIC_WAIT_NS : 0;
	return true;
}

bool own_traffic_follow(struct own_traffic *v, struct own_connections *x,
			struct source *s)
{
	if (!x)
		return false;
	if (v->n_listeners)
		own_traffic_look(v, x, s);
	return (own_connections_version(x) != v->version || v->fresh) &&
	       own_traffic_renew_set(v, x, s);
}

static bool is_of(struct own_traffic *v, const struct ends *e, unsigned first,
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

bool own_traffic_matches(struct own_traffic *v, const struct packet_head *h,
			 const uint8_t *body)
{
	struct ends e;

	if (!ends_of_packet(&e, v->layout, body, h->caplen))
		return false;
	if (is_of(v, &e, OWN_CONNECTIONS_MAX, v->n))
		return true;
	/* The filter of before has cut it. */
	return v->n_old && h->caplen < h->len &&
	       h->caplen <= OWN_TRAFFIC_CUT_MAX && is_of(v, &e, 0, v->n_old);
}

bool own_traffic_is_early(const struct own_traffic *v,
			  const struct packet_head *h, const uint8_t *body)
{
	struct ends e;

	if (!ends_of_packet(&e, v->layout, body, h->caplen))
		return false;
	for (unsigned i = 0; i < v->n_listeners; i++)
		if (flow_begins_at(&v->listeners[i], &e))
			return packet_time_ns(h) <= realtime_ns();
	return false;
}

bool own_traffic_defer(struct own_traffic *v, const struct packet_head *h,
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
	v->deferred = true;
	return true;
}

void own_traffic_done(struct own_traffic *v)
{
	free(v->flows);
	free(v->places);
	free(v->body);
}
