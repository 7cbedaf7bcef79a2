/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who calls. Guarantees that a call is judged by who made its connection, by
 * what that one may do now, and that a peer is gone only after its last call
 * and its gRPC server. Leaves out how connections are made: unix_listener.c and
 * tls_listener.c.
 */
#include "server/peer.h"

#include "base/log.h"
#include "server/call.h"
#include "server/server_internal.h"
#include "tls/pump.h"

#include <assert.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* With the server's lock. */
static void take_place(struct peer *c, enum place to)
{
	struct server *s = c->server;

	if (c->place == PLACE_TAKEN)
		place_give(c, BOUND_CONNECTIONS);
	s->n_places[c->place]--;
	s->n_places[to]++;
	c->place = to;
}

struct peer *peer_new(struct server *s, enum origin origin, struct err *e)
{
	unsigned most = 2 * (unsigned)s->tls_listener.config.max_handshakes;
	struct peer *c = calloc(1, sizeof(*c));

	if (!c) {
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	c->server = s;
	c->origin = origin;
	c->data_fd = -1;
	atomic_init(&c->refs, 1);
	pthread_mutex_lock(&s->lock);
	bool room = !atomic_load(&s->stopping) &&
		    (origin != FROM_TLS || s->n_places[PLACE_ARRIVING] < most);
	if (room) {
		s->n_peers++;
		take_place(c, PLACE_ARRIVING);
		LIST_INSERT_HEAD(&s->peers, c, entry);
	}
	pthread_mutex_unlock(&s->lock);
	if (room)
		return c;
	free(c);
	err_set(e, ERR_LIMIT, "twice max-handshakes is %u", most);
	return NULL;
}

static enum rank rank_of(const struct peer *c)
{
	if (c->origin != FROM_TLS && c->local.is_root)
		return RANK_ROOT;
	enum role role =
		c->origin == FROM_TLS ? c->remote.allowed.role : c->local.role;
	return role == ROLE_OPERATOR ? RANK_OPERATOR : RANK_VIEWER;
}

static bool no_role(const struct peer *c, struct err *e)
{
	err_set(e, ERR_PERMISSION, "%s may not use pcapd", c->local.name);
	return err_hint(e, "Members of the groups socket-group and "
			   "viewer-group of pcapd.conf(5) may.");
}

/* With the server's lock. */
static bool peer_has_room(struct peer *c, struct err *e)
{
	if (c->origin != FROM_TLS && c->local.role == ROLE_NONE)
		return no_role(c, e);
	c->rank = rank_of(c);
	if (!person_join(c))
		return err_set(e, ERR_FAILED, "out of memory");
	return place_take(c, BOUND_CONNECTIONS, e) ||
	       err_hint(e, "Try again when a connection has ended.");
}

bool peer_count(struct peer *c, struct err *e)
{
	struct server *s = c->server;

	pthread_mutex_lock(&s->lock);
	bool room = peer_has_room(c, e);
	if (room)
		take_place(c, PLACE_TAKEN);
	else if (s->n_places[PLACE_REFUSED] < REFUSED_MAX)
		take_place(c, PLACE_REFUSED);
	pthread_mutex_unlock(&s->lock);
	if (!room)
		c->refusal = *e;
	return room;
}

bool peer_ref_living(struct peer *c)
{
	unsigned refs = atomic_load(&c->refs);

	while (refs && !atomic_compare_exchange_weak(&c->refs, &refs, refs + 1))
		;
	return refs != 0;
}

void peer_unref(struct peer *c)
{
	struct server *s = c->server;

	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	if (c->grpc)
		grpc_server_destroy(c->grpc);
	if (c->data_fd >= 0)
		close(c->data_fd);
	control_include(s->control, c->excluded);
	pthread_mutex_lock(&s->lock);
	LIST_REMOVE(c, entry);
	s->n_peers--;
	take_place(c, PLACE_NONE);
	person_leave(c);
	free(c);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void peer_stopped(void *ctx, bool ok)
{
	(void)ok;
	peer_unref(ctx);
}

/* false: it is there, or further, already. */
static bool peer_goes_on(struct peer *c, enum peer_phase to)
{
	pthread_mutex_lock(&c->server->lock);
	bool on = c->phase < to;
	if (on)
		c->phase = to;
	pthread_mutex_unlock(&c->server->lock);
	return on;
}

/* The reference that the peer was made with is gRPC's from here on. */
void peer_serve(struct peer *c, int fd)
{
	grpc_server_credentials *plain =
		grpc_insecure_server_credentials_create();

	op_init(&c->op_stopped, peer_stopped, c);
	atomic_store(&c->idle_ns, monotonic_ns());
	c->grpc = server_make_grpc(c->server, c->rank != RANK_VIEWER);
	grpc_server_register_completion_queue(c->grpc, c->server->cq, NULL);
	grpc_server_start(c->grpc);
	call_request(c);
	grpc_server_add_channel_from_fd(c->grpc, fd, plain);
	grpc_server_credentials_release(plain);
	peer_goes_on(c, PEER_SERVED);
}

void peer_end(struct peer *c)
{
	if (!peer_goes_on(c, PEER_ENDED))
		return;
	/* It may tell that it has stopped before it returns, and looks at its
	 * server after that. */
	atomic_fetch_add(&c->refs, 1);
	grpc_server_shutdown_and_notify(c->grpc, c->server->cq, &c->op_stopped);
	peer_unref(c);
}

/* --- the guard --- */

struct carrying {
	struct tls_watch watch; /* the first member */
	struct frame_guard guard;
	struct peer *peer;
};

/* How often it is looked whether SETTINGS are late. */
#define LOOK_MS 1000

static bool carry_came(struct tls_watch *w, const uint8_t *bytes, size_t n)
{
	struct carrying *c = (void *)w;
	struct err e = ERR_INIT;

	if (!frame_guard_take(&c->guard, bytes, n, monotonic_ns(), &e)) {
		log_warn("%s at %s was cut off: %s", peer_name(c->peer),
			 c->peer->from, e.what);
		return false;
	}
	if (c->guard.acknowledged)
		w->wait_ms = -1;
	return true;
}

static void carry_left(struct tls_watch *w, size_t n)
{
	struct carrying *c = (void *)w;

	frame_budgets_sent(&c->peer->person->frames, n, monotonic_ns());
}

void peer_carry(struct peer *c, struct tls_link *l, int plain)
{
	struct carrying carrying = {.watch = {carry_came, carry_left, LOOK_MS},
				    .peer = c};

	frame_guard_init(&carrying.guard, &c->person->frames,
			 monotonic_ns() + c->server->unix_listener.patience_ns);
	tls_pump(l, plain, &carrying.watch);
}

/* --- rights --- */

const char *peer_name(const struct peer *c)
{
	return c->origin == FROM_TLS ? c->remote.allowed.name : c->local.name;
}

const char *peer_person(struct peer *c)
{
	struct passwd entry, *found = NULL;
	char room[1024];

	if (c->origin == FROM_TLS)
		return c->remote.allowed.name;
	if (atomic_load(&c->local.user_known))
		return c->local.user;
	if (getpwuid_r(c->local.uid, &entry, room, sizeof(room), &found) != 0)
		found = NULL;
	pthread_mutex_lock(&c->server->lock);
	if (!atomic_load(&c->local.user_known))
		snprintf(c->local.user, sizeof(c->local.user), "%s",
			 found ? found->pw_name : c->local.name);
	atomic_store(&c->local.user_known, true);
	pthread_mutex_unlock(&c->server->lock);
	return c->local.user;
}

const char *peer_known(const struct peer *c)
{
	if (c->origin != FROM_TLS && atomic_load(&c->local.user_known))
		return c->local.user;
	return peer_name(c);
}

bool peer_sees(struct peer *c, const char *people)
{
	if (!*people || (c->origin != FROM_TLS && c->local.is_root))
		return true;
	const char *name = peer_person(c);
	size_t n = strlen(name);
	for (const char *p = people; *p; p += strcspn(p, " ")) {
		p += strspn(p, " ");
		if (strncmp(p, name, n) == 0 && (!p[n] || p[n] == ' '))
			return true;
	}
	return false;
}

enum role peer_role(struct peer *c)
{
	struct allowed now;

	if (c->origin != FROM_TLS)
		return c->local.role;
	if (realtime_ns() / NS_PER_S > c->remote.until_s ||
	    !allow_find(c->server->tls_listener.allow,
			c->remote.allowed.fingerprint, &now))
		return ROLE_NONE;
	return now.role;
}

bool peer_may(struct peer *c, const struct method *m, struct err *e)
{
	enum role role = peer_role(c);
	const char *name = strrchr(m->path, '/') + 1;

	if (role >= m->role)
		return true;
	if (role == ROLE_NONE)
		return err_set(e, ERR_PERMISSION,
			       "the certificate of %s was revoked, or has "
			       "expired",
			       c->remote.allowed.name);
	err_set(e, ERR_PERMISSION, "%s is a viewer: %s is for operators",
		peer_name(c), name);
	return err_hint(e, "A viewer may list, look at the status, replay and "
			   "listen.");
}

/* --- all of them --- */

/* The next one, with a reference; c: NULL, or the one before, whose reference
 * is given back. */
static struct peer *next_peer(struct server *s, struct peer *c)
{
	struct peer *behind = c;

	pthread_mutex_lock(&s->lock);
	c = c ? LIST_NEXT(c, entry) : LIST_FIRST(&s->peers);
	/* One that is being freed has none to add to. */
	while (c && !peer_ref_living(c))
		c = LIST_NEXT(c, entry);
	pthread_mutex_unlock(&s->lock);
	if (behind)
		peer_unref(behind);
	return c;
}

static bool peer_is_served(struct peer *c)
{
	pthread_mutex_lock(&c->server->lock);
	bool served = c->phase >= PEER_SERVED;
	pthread_mutex_unlock(&c->server->lock);
	return served;
}

/* Those that were never served end with their handshake. */
void peers_end(struct server *s)
{
	struct peer *c = NULL;

	while ((c = next_peer(s, c)))
		if (peer_is_served(c))
			peer_end(c);
}

static void peer_cut(struct peer *c, bool only_shaking)
{
	struct server *s = c->server;

	pthread_mutex_lock(&s->lock);
	bool served = c->phase >= PEER_SERVED;
	if (c->tls && (!served || !only_shaking))
		tls_cut(c->tls);
	pthread_mutex_unlock(&s->lock);
	if (served && !only_shaking)
		grpc_server_cancel_all_calls(c->grpc);
}

void peers_cut(struct server *s, bool only_shaking)
{
	struct peer *c = NULL;

	while ((c = next_peer(s, c)))
		peer_cut(c, only_shaking);
}

/* First told, then cut off: a client that reads hears why. */
static void peer_dismiss(struct peer *c)
{
	struct server *s = c->server;
	struct call *call = NULL;
	char why[160];

	if (!peer_goes_on(c, PEER_LEAVING)) {
		peer_cut(c, false);
		return;
	}
	snprintf(why, sizeof(why),
		 "the certificate of %s was revoked, or has expired",
		 c->remote.allowed.name);
	log_info("%s at %s has to go: %s", c->remote.allowed.name, c->from,
		 why);
	while ((call = server_next_call(s, c, call)))
		call_forbid(call, why);
}

void peers_review(struct server *s)
{
	struct peer *c = NULL;

	while ((c = next_peer(s, c)))
		if (peer_is_served(c) && c->origin == FROM_TLS &&
		    peer_role(c) == ROLE_NONE)
			peer_dismiss(c);
}

bool peer_is_idle(struct peer *c, int64_t now)
{
	return peer_is_served(c) && !atomic_load(&c->n_calls) &&
	       now - atomic_load(&c->idle_ns) > PLACE_HELD_NS &&
	       place_is_wanted(c, BOUND_CONNECTIONS, now);
}

void peers_idle(struct server *s)
{
	int64_t now = monotonic_ns();
	struct peer *c = NULL;

	while ((c = next_peer(s, c)))
		if (c->origin == FROM_TLS && peer_is_idle(c, now))
			peer_cut(c, false);
}

void peers_refused(struct server *s)
{
	int64_t since_ns = monotonic_ns() - s->unix_listener.patience_ns;
	struct peer *c = NULL;

	while ((c = next_peer(s, c))) {
		pthread_mutex_lock(&s->lock);
		bool over = c->place == PLACE_REFUSED && c->since_ns < since_ns;
		pthread_mutex_unlock(&s->lock);
		if (over)
			peer_cut(c, false);
	}
}
