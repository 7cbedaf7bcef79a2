/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each person may have at once. Guarantees that nobody takes all places of
 * a bound: root's are beside those of others, one person has half of them at
 * most, and viewers leave a quarter to operators. Leaves out who is let in.
 */
#include "server/admission.h"

#include "server/server_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So long after somebody was refused, a place is held no longer than
 * PLACE_HELD_NS by who does nothing with it. */
#define WANTED_NS (30 * NS_PER_S)

static const struct {
	const char *name, *many;
} bounds[BOUNDS] = {
	[BOUND_CALLS] = {"max-calls", "requests"},
	[BOUND_REPLAYS] = {"max-replays", "replays"},
	[BOUND_LISTENERS] = {"max-listeners", "listeners"},
	[BOUND_IMPORTS] = {"max-imports", "imports"},
	[BOUND_CONNECTIONS] = {"max-connections", "connections"},
};

/* --- persons, under the server's lock --- */

static bool person_is(const struct person *p, const struct peer *c)
{
	if (p->remote != (c->origin == FROM_TLS))
		return false;
	return p->remote ? strcmp(p->name, c->remote.allowed.name) == 0
			 : p->uid == c->local.uid;
}

/* One that has nothing and whose budgets are full is as good as a new one. */
static bool person_is_gone(struct person *p, int64_t now)
{
	for (int k = 0; k < FRAME_KINDS; k++)
		if (atomic_load(&p->frames.full_ns[k]) > now)
			return false;
	return p->n_peers == 0;
}

void persons_forget(struct server *s, bool all)
{
	int64_t now = monotonic_ns();
	struct person *next;

	for (struct person *p = LIST_FIRST(&s->persons); p; p = next) {
		next = LIST_NEXT(p, entry);
		if (!all && !person_is_gone(p, now))
			continue;
		LIST_REMOVE(p, entry);
		free(p);
	}
}

bool person_join(struct peer *c)
{
	struct server *s = c->server;
	struct person *p;

	persons_forget(s, false);
	LIST_FOREACH(p, &s->persons, entry) {
		if (person_is(p, c))
			break;
	}
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return false;
		p->remote = c->origin == FROM_TLS;
		p->uid = c->local.uid;
		snprintf(p->name, sizeof(p->name), "%s",
			 c->remote.allowed.name);
		LIST_INSERT_HEAD(&s->persons, p, entry);
	}
	p->n_peers++;
	c->person = p;
	return true;
}

void person_leave(struct peer *c)
{
	if (c->person)
		c->person->n_peers--;
	c->person = NULL;
}

/* --- places, under the server's lock --- */

static unsigned place_share(struct server *s, enum bound b, unsigned limit)
{
	return b == BOUND_CONNECTIONS ? atomic_load(&s->max_peer_connections)
				      : limit - limit / 2;
}

static bool place_over_share(const struct peer *c, enum bound b, unsigned share,
			     unsigned limit, struct err *e)
{
	unsigned n = c->person->used[b];

	if (b == BOUND_CONNECTIONS)
		return err_set(e, ERR_LIMIT,
			       "max-peer-connections is %u, and %s has %u",
			       share, peer_name(c), n);
	return err_set(e, ERR_LIMIT,
		       "%s: %s has %u %s under way already, and one person has "
		       "at most half of %u",
		       bounds[b].name, peer_name(c), n, bounds[b].many, limit);
}

static bool place_over_viewers(enum bound b, unsigned n, unsigned limit,
			       struct err *e)
{
	return err_set(e, ERR_LIMIT,
		       "%s: viewers have %u %s already, and a quarter of %u is "
		       "kept for operators",
		       bounds[b].name, n, bounds[b].many, limit);
}

static bool place_over_all(enum bound b, unsigned n, unsigned limit,
			   struct err *e)
{
	if (b == BOUND_CONNECTIONS)
		return err_set(e, ERR_LIMIT,
			       "max-connections is %u, and there are %u", limit,
			       n);
	return err_set(e, ERR_LIMIT, "%s: %u %s are under way already",
		       bounds[b].name, n, bounds[b].many);
}

/* Root is bounded as all others together are, beside them; connections of root
 * are by max-peer-connections only. */
static bool place_is_free(const struct peer *c, enum bound b, struct err *e)
{
	struct server *s = c->server;
	struct places *all = &s->places[b];
	unsigned limit = atomic_load(&s->limits[b]);
	unsigned share = place_share(s, b, limit);
	unsigned viewers = all->used[RANK_VIEWER];
	unsigned others = viewers + all->used[RANK_OPERATOR];
	bool is_root = c->rank == RANK_ROOT;
	unsigned n = is_root ? all->used[RANK_ROOT] : others;
	int64_t now = monotonic_ns();

	if ((!is_root || b == BOUND_CONNECTIONS) &&
	    c->person->used[b] >= share) {
		atomic_store(&c->person->wanted_ns[b], now);
		return place_over_share(c, b, share, limit, e);
	}
	if (n >= limit && (!is_root || b != BOUND_CONNECTIONS)) {
		atomic_store(&all->wanted_ns[c->rank], now);
		return place_over_all(b, n, limit, e);
	}
	if (c->rank == RANK_VIEWER && viewers >= limit - limit / 4) {
		atomic_store(&all->wanted_ns[RANK_VIEWER], now);
		return place_over_viewers(b, viewers, limit, e);
	}
	return true;
}

bool place_take(struct peer *c, enum bound b, struct err *e)
{
	if (!place_is_free(c, b, e))
		return false;
	c->server->places[b].used[c->rank]++;
	c->person->used[b]++;
	return true;
}

void place_give(struct peer *c, enum bound b)
{
	c->server->places[b].used[c->rank]--;
	c->person->used[b]--;
}

/* --- without the lock --- */

static bool place_recently(_Atomic int64_t *ns, int64_t now)
{
	int64_t at = atomic_load(ns);

	return at && now - at < WANTED_NS;
}

bool place_is_wanted(struct peer *c, enum bound b, int64_t now)
{
	struct places *all = &c->server->places[b];

	return place_recently(&c->person->wanted_ns[b], now) ||
	       place_recently(&all->wanted_ns[c->rank], now) ||
	       (c->rank == RANK_VIEWER &&
		place_recently(&all->wanted_ns[RANK_OPERATOR], now));
}
