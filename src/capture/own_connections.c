/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The set of connections to leave out. Guarantees that a connection is in it
 * from own_connections_begin until OWN_CONNECTIONS_LINGER_NS after
 * own_connections_end, unless the room is needed for one that is open, or for
 * one of somebody who is known. Leaves out filters: bpf_exclude.c, and packets:
 * flow.c.
 */
#include "capture/own_connections.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct own_connection {
	uint64_t number; /* 0: the place is free */
	struct flow flow;
	bool known; /* it is known whose connection it is */
	int64_t from_ns;
	int64_t ended_ns; /* CLOCK_MONOTONIC; 0: it is open */
};

struct own_connections {
	atomic_ullong version;
	pthread_mutex_t lock; /* guards everything below */
	uint64_t last;
	struct own_connection
		members[OWN_CONNECTIONS_MAX]; /* each keeps its place */
	struct pollfd sockets[OWN_CONNECTIONS_LISTENERS_MAX];
	struct flow listeners[OWN_CONNECTIONS_LISTENERS_MAX];
	unsigned n_listeners;
};

struct own_connections *own_connections_new(void)
{
	struct own_connections *x = calloc(1, sizeof(*x));

	if (x)
		pthread_mutex_init(&x->lock, NULL);
	return x;
}

void own_connections_free(struct own_connections *x)
{
	if (!x)
		return;
	pthread_mutex_destroy(&x->lock);
	free(x);
}

/* Who has to make room before another: who has ended, then who is not known;
 * of these the oldest. */
static bool own_connection_yields(const struct own_connection *a,
				  const struct own_connection *b)
{
	if (!a->ended_ns != !b->ended_ns)
		return a->ended_ns;
	if (a->ended_ns && a->ended_ns != b->ended_ns)
		return a->ended_ns < b->ended_ns;
	if (a->known != b->known)
		return b->known;
	return a->number < b->number;
}

/* With lock held: a free place, or that of who has to make room for one that
 * is known or not. NULL: there is none. */
static struct own_connection *own_connection_place(struct own_connections *x,
						   bool known)
{
	struct own_connection *found = NULL;

	for (unsigned i = 0; i < OWN_CONNECTIONS_MAX; i++) {
		struct own_connection *m = &x->members[i];

		if (!m->number)
			return m;
		if (!found || own_connection_yields(m, found))
			found = m;
	}
	return found->ended_ns || (known && !found->known) ? found : NULL;
}

/* With lock held. */
static uint64_t own_connections_insert(struct own_connections *x,
				       const struct flow *f, bool known)
{
	struct own_connection *m = own_connection_place(x, known);

	if (!m)
		return 0;
	*m = (struct own_connection){.number = ++x->last,
				     .flow = *f,
				     .known = known,
				     .from_ns = realtime_ns()};
	atomic_fetch_add(&x->version, 1);
	return x->last;
}

uint64_t own_connections_begin(struct own_connections *x, const struct flow *f)
{
	pthread_mutex_lock(&x->lock);
	uint64_t number = own_connections_insert(x, f, true);
	pthread_mutex_unlock(&x->lock);
	return number;
}

/* With lock held. NULL: it had to make room. */
static struct own_connection *own_connection_find(struct own_connections *x,
						  uint64_t number)
{
	for (unsigned i = 0; i < OWN_CONNECTIONS_MAX; i++)
		if (number && x->members[i].number == number)
			return &x->members[i];
	return NULL;
}

void own_connections_known(struct own_connections *x, uint64_t number)
{
	pthread_mutex_lock(&x->lock);
	struct own_connection *m = own_connection_find(x, number);
	if (m && !m->known) {
		m->known = true;
		atomic_fetch_add(&x->version, 1);
	}
	pthread_mutex_unlock(&x->lock);
}

void own_connections_end(struct own_connections *x, uint64_t number)
{
	pthread_mutex_lock(&x->lock);
	struct own_connection *m = own_connection_find(x, number);
	if (m)
		m->ended_ns = monotonic_ns();
	pthread_mutex_unlock(&x->lock);
}

/* --- where they come from --- */

static bool near_of_socket(struct flow *f, int fd)
{
	struct sockaddr_storage at;
	socklen_t n = sizeof(at);

	*f = (struct flow){0};
	return getsockname(fd, (void *)&at, &n) == 0 &&
	       flow_address(&at, &f->family, f->near, &f->near_port);
}

bool own_connections_listen(struct own_connections *x, int fd)
{
	struct flow f;
	bool ok = near_of_socket(&f, fd);

	pthread_mutex_lock(&x->lock);
	ok = ok && x->n_listeners < OWN_CONNECTIONS_LISTENERS_MAX;
	if (ok) {
		x->sockets[x->n_listeners] = (struct pollfd){fd, POLLIN, 0};
		x->listeners[x->n_listeners++] = f;
		atomic_fetch_add(&x->version, 1);
	}
	pthread_mutex_unlock(&x->lock);
	return ok;
}

void own_connections_unlisten(struct own_connections *x)
{
	pthread_mutex_lock(&x->lock);
	x->n_listeners = 0;
	atomic_fetch_add(&x->version, 1);
	pthread_mutex_unlock(&x->lock);
}

int own_connections_accept(struct own_connections *x, int fd,
			   struct sockaddr_storage *from, uint64_t *number)
{
	socklen_t n = sizeof(*from);
	struct flow f;
	int family;

	*number = 0;
	pthread_mutex_lock(&x->lock);
	/* Not getpeername: it may have been reset already. */
	int made = accept4(fd, (void *)from, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (made >= 0 && near_of_socket(&f, made) &&
	    flow_address(from, &family, f.far, &f.far_port))
		*number = own_connections_insert(x, &f, false);
	pthread_mutex_unlock(&x->lock);
	return made;
}

bool own_connections_settled(struct own_connections *x)
{
	pthread_mutex_lock(&x->lock);
	/* It does not wait, and they are not closed in the middle. */
	bool none = poll(x->sockets, x->n_listeners, 0) == 0;
	pthread_mutex_unlock(&x->lock);
	return none;
}

unsigned
own_connections_listeners(struct own_connections *x,
			  struct flow out[OWN_CONNECTIONS_LISTENERS_MAX])
{
	pthread_mutex_lock(&x->lock);
	unsigned n = x->n_listeners;
	for (unsigned i = 0; i < n; i++)
		out[i] = x->listeners[i];
	pthread_mutex_unlock(&x->lock);
	return n;
}

/* --- the set --- */

uint64_t own_connections_version(const struct own_connections *x)
{
	return atomic_load(&x->version);
}

static int own_connection_order(const void *a, const void *b)
{
	const struct own_connection *const *x = a, *const *y = b;

	/* Who would make room first comes last. */
	return own_connection_yields(*x, *y) ? 1 : -1;
}

/* With lock held. How many. */
static unsigned members_sort(struct own_connections *x,
			     struct own_connection *sorted[OWN_CONNECTIONS_MAX])
{
	unsigned n = 0;

	for (unsigned i = 0; i < OWN_CONNECTIONS_MAX; i++)
		if (x->members[i].number)
			sorted[n++] = &x->members[i];
	qsort(sorted, n, sizeof(*sorted), own_connection_order);
	return n;
}

unsigned own_connections_list(struct own_connections *x,
			      struct flow out[OWN_CONNECTIONS_MAX],
			      uint16_t places[OWN_CONNECTIONS_MAX],
			      uint64_t *version)
{
	struct own_connection *sorted[OWN_CONNECTIONS_MAX];

	pthread_mutex_lock(&x->lock);
	unsigned n = members_sort(x, sorted);
	for (unsigned i = 0; i < n; i++) {
		out[i] = sorted[i]->flow;
		places[i] = (uint16_t)(sorted[i] - x->members);
	}
	*version = atomic_load(&x->version);
	pthread_mutex_unlock(&x->lock);
	return n;
}

static struct own_connections_past past_of(const struct own_connections *x,
					   const struct own_connection *m,
					   int64_t to_ns)
{
	return (struct own_connections_past){.flow = m->flow,
					     .place =
						     (uint16_t)(m - x->members),
					     .from_ns = m->from_ns,
					     .to_ns = to_ns};
}

unsigned own_connections_expire(struct own_connections *x,
				struct own_connections_past *past, unsigned max)
{
	int64_t now = monotonic_ns(), real = realtime_ns();
	unsigned n = 0;

	pthread_mutex_lock(&x->lock);
	for (unsigned i = 0; i < OWN_CONNECTIONS_MAX && n < max; i++) {
		struct own_connection *m = &x->members[i];

		if (!m->number || !m->ended_ns ||
		    now - m->ended_ns < OWN_CONNECTIONS_LINGER_NS)
			continue;
		past[n++] = past_of(x, m, real);
		m->number = 0;
		atomic_fetch_add(&x->version, 1);
	}
	pthread_mutex_unlock(&x->lock);
	return n;
}

unsigned
own_connections_so_far(struct own_connections *x,
		       struct own_connections_past past[OWN_CONNECTIONS_MAX])
{
	int64_t now = realtime_ns();
	unsigned n = 0;

	pthread_mutex_lock(&x->lock);
	for (unsigned i = 0; i < OWN_CONNECTIONS_MAX; i++)
		if (x->members[i].number)
			past[n++] = past_of(x, &x->members[i], now);
	pthread_mutex_unlock(&x->lock);
	return n;
}
