/*
 * Who calls. Guarantees that a call is judged by who made its connection, by
 * what that one may do now, and that a caller is gone only after its last call
 * and its gRPC server. Leaves out how connections are made: accept.c and
 * remote.c.
 */
#include "rpc.h"

#include "../log.h"

#include <assert.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* With the server's lock. */
static void take_place(struct caller *c, enum place to)
{
	struct server *s = c->server;
	bool other = !c->is_root;

	s->n_others -= other && c->place == PLACE_TAKEN;
	s->n_others += other && to == PLACE_TAKEN;
	s->n_places[c->place]--;
	s->n_places[to]++;
	c->place = to;
}

struct caller *caller_new(struct server *s, enum origin origin, struct err *e)
{
	unsigned most = 2 * (unsigned)s->remote.config.max_handshakes;
	struct caller *c = calloc(1, sizeof(*c));

	if (!c) {
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	c->server = s;
	c->origin = origin;
	c->data_fd = -1;
	atomic_init(&c->refs, 1);
	c->link = &s->callers;
	pthread_mutex_lock(&s->lock);
	bool room = !atomic_load(&s->stopping) &&
		    (origin != FROM_TLS || s->n_places[PLACE_ARRIVING] < most);
	if (room) {
		s->n_callers++;
		take_place(c, PLACE_ARRIVING);
		c->next = s->callers;
		if (c->next)
			c->next->link = &c->next;
		s->callers = c;
	}
	pthread_mutex_unlock(&s->lock);
	if (room)
		return c;
	free(c);
	err_set(e, ERR_LIMIT, "twice max-handshakes is %u", most);
	return NULL;
}

static bool same_peer(const struct caller *a, const struct caller *b)
{
	if (a->origin == FROM_TLS || b->origin == FROM_TLS)
		return a->origin == b->origin &&
		       strcmp(a->allowed.name, b->allowed.name) == 0;
	return a->uid == b->uid;
}

/* With the server's lock. Others than root cannot keep root out, nor one of
 * them the rest. */
static bool has_room(const struct caller *c, struct err *e)
{
	struct server *s = c->server;
	unsigned of_peer = atomic_load(&s->max_peer_connections), n = 0;
	unsigned of_all = atomic_load(&s->max_connections);

	for (const struct caller *o = s->callers; o; o = o->next)
		n += o->place == PLACE_TAKEN && same_peer(o, c);
	if (n >= of_peer)
		return err_set(e, ERR_LIMIT,
			       "max-peer-connections is %u, and %s has %u",
			       of_peer, caller_name(c), n);
	return c->is_root || s->n_others < of_all ||
	       err_set(e, ERR_LIMIT, "max-connections is %u, and there are %u",
		       of_all, s->n_others);
}

bool caller_count(struct caller *c, struct err *e)
{
	struct server *s = c->server;

	pthread_mutex_lock(&s->lock);
	bool room = has_room(c, e);
	if (room)
		take_place(c, PLACE_TAKEN);
	else if (s->n_places[PLACE_REFUSED] < REFUSED_MAX)
		take_place(c, PLACE_REFUSED);
	pthread_mutex_unlock(&s->lock);
	if (room)
		return true;
	err_hint(e, "Try again when a connection has ended.");
	c->refusal = *e;
	return false;
}

bool caller_ref_living(struct caller *c)
{
	unsigned refs = atomic_load(&c->refs);

	while (refs && !atomic_compare_exchange_weak(&c->refs, &refs, refs + 1))
		;
	return refs != 0;
}

void caller_unref(struct caller *c)
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
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	s->n_callers--;
	take_place(c, PLACE_NONE);
	free(c);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void stopped(void *ctx, bool ok)
{
	(void)ok;
	caller_unref(ctx);
}

/* The reference that the caller was made with is gRPC's from here on. */
void caller_serve(struct caller *c, int fd)
{
	grpc_server_credentials *plain =
		grpc_insecure_server_credentials_create();

	op_init(&c->op_stopped, stopped, c);
	c->grpc = server_make_grpc(c->server);
	grpc_server_register_completion_queue(c->grpc, c->server->cq, NULL);
	grpc_server_start(c->grpc);
	call_request(c);
	grpc_server_add_channel_from_fd(c->grpc, fd, plain);
	grpc_server_credentials_release(plain);
	pthread_mutex_lock(&c->server->lock);
	c->served = true;
	pthread_mutex_unlock(&c->server->lock);
}

void caller_end(struct caller *c)
{
	if (atomic_exchange(&c->ended, true))
		return;
	/* It may tell that it has stopped before it returns, and looks at its
	 * server after that. */
	atomic_fetch_add(&c->refs, 1);
	grpc_server_shutdown_and_notify(c->grpc, c->server->cq, &c->op_stopped);
	caller_unref(c);
}

/* --- rights --- */

const char *caller_name(const struct caller *c)
{
	return c->origin == FROM_TLS ? c->allowed.name : c->local;
}

const char *caller_person(struct caller *c)
{
	struct passwd entry, *found = NULL;
	char room[1024];

	if (c->origin == FROM_TLS)
		return c->allowed.name;
	if (atomic_load(&c->user_known))
		return c->user;
	if (getpwuid_r(c->uid, &entry, room, sizeof(room), &found) != 0)
		found = NULL;
	pthread_mutex_lock(&c->server->lock);
	if (!atomic_load(&c->user_known))
		snprintf(c->user, sizeof(c->user), "%s",
			 found ? found->pw_name : c->local);
	atomic_store(&c->user_known, true);
	pthread_mutex_unlock(&c->server->lock);
	return c->user;
}

const char *caller_known(const struct caller *c)
{
	if (c->origin != FROM_TLS && atomic_load(&c->user_known))
		return c->user;
	return caller_name(c);
}

bool caller_sees(struct caller *c, const char *people)
{
	if (!*people || (c->origin != FROM_TLS && c->is_root))
		return true;
	const char *name = caller_person(c);
	size_t n = strlen(name);
	for (const char *p = people; *p; p += strcspn(p, " ")) {
		p += strspn(p, " ");
		if (strncmp(p, name, n) == 0 && (!p[n] || p[n] == ' '))
			return true;
	}
	return false;
}

enum role caller_role(struct caller *c)
{
	struct allowed now;

	if (c->origin != FROM_TLS)
		return c->local_role;
	if (realtime_ns() / NS_PER_S > c->until_s ||
	    !allow_find(c->server->remote.allow, c->allowed.fingerprint, &now))
		return ROLE_NONE;
	return now.role;
}

bool caller_may(struct caller *c, const struct method *m, struct err *e)
{
	enum role role = caller_role(c);
	const char *name = strrchr(m->path, '/') + 1;

	if (role >= m->role)
		return true;
	if (role == ROLE_NONE && c->origin == FROM_TLS)
		return err_set(e, ERR_PERMISSION,
			       "the certificate of %s was revoked, or has "
			       "expired",
			       c->allowed.name);
	if (role == ROLE_NONE) {
		err_set(e, ERR_PERMISSION, "%s may not use pcapd", c->local);
		return err_hint(e, "Members of the groups socket-group and "
				   "viewer-group of pcapd.conf(5) may.");
	}
	err_set(e, ERR_PERMISSION, "%s is a viewer: %s is for operators",
		caller_name(c), name);
	return err_hint(e, "A viewer may list, look at the status, replay and "
			   "listen.");
}

/* --- all of them --- */

/* With references, to give back. */
static struct caller **callers(struct server *s, size_t *n)
{
	*n = 0;
	pthread_mutex_lock(&s->lock);
	struct caller **all = calloc(s->n_callers + 1, sizeof(*all));
	assert(all);
	for (struct caller *c = s->callers; c; c = c->next)
		/* One that is being freed has none to add to. */
		if (caller_ref_living(c))
			all[(*n)++] = c;
	pthread_mutex_unlock(&s->lock);
	return all;
}

static bool is_served(struct caller *c)
{
	pthread_mutex_lock(&c->server->lock);
	bool served = c->served;
	pthread_mutex_unlock(&c->server->lock);
	return served;
}

/* Those that were never served end with their handshake. */
void callers_end(struct server *s)
{
	size_t n;
	struct caller **all = callers(s, &n);

	for (size_t i = 0; i < n; i++) {
		if (is_served(all[i]))
			caller_end(all[i]);
		caller_unref(all[i]);
	}
	free(all);
}

static void cut(struct caller *c, bool only_shaking)
{
	struct server *s = c->server;

	pthread_mutex_lock(&s->lock);
	bool served = c->served;
	if (c->tls && (c->shaking || !only_shaking))
		tls_cut(c->tls);
	pthread_mutex_unlock(&s->lock);
	if (served && !only_shaking)
		grpc_server_cancel_all_calls(c->grpc);
}

void callers_cut(struct server *s, bool only_shaking)
{
	size_t n;
	struct caller **all = callers(s, &n);

	for (size_t i = 0; i < n; i++) {
		cut(all[i], only_shaking);
		caller_unref(all[i]);
	}
	free(all);
}

/* First told, then cut off: a client that reads hears why. */
static void dismiss(struct caller *c)
{
	struct server *s = c->server;
	char why[160];
	size_t n;

	pthread_mutex_lock(&s->lock);
	bool doomed = c->doomed;
	c->doomed = true;
	pthread_mutex_unlock(&s->lock);
	if (doomed) {
		cut(c, false);
		return;
	}
	snprintf(why, sizeof(why),
		 "the certificate of %s was revoked, or has expired",
		 c->allowed.name);
	log_info("%s at %s has to go: %s", c->allowed.name, c->from, why);
	struct call **all = server_calls(s, c, &n);
	for (size_t i = 0; i < n; i++) {
		call_finish(all[i], GRPC_STATUS_PERMISSION_DENIED, why, NULL);
		call_wake(all[i]);
		call_unref(all[i]);
	}
	free(all);
}

void callers_review(struct server *s)
{
	size_t n;
	struct caller **all = callers(s, &n);

	for (size_t i = 0; i < n; i++) {
		if (is_served(all[i]) && all[i]->origin == FROM_TLS &&
		    caller_role(all[i]) == ROLE_NONE)
			dismiss(all[i]);
		caller_unref(all[i]);
	}
	free(all);
}

void callers_refused(struct server *s)
{
	int64_t since_ns = monotonic_ns() - s->gate.patience_ns;
	size_t n;
	struct caller **all = callers(s, &n);

	for (size_t i = 0; i < n; i++) {
		pthread_mutex_lock(&s->lock);
		bool over = all[i]->place == PLACE_REFUSED &&
			    all[i]->since_ns < since_ns;
		pthread_mutex_unlock(&s->lock);
		if (over)
			cut(all[i], false);
		caller_unref(all[i]);
	}
	free(all);
}
