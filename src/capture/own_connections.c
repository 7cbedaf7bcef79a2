/*
 * The set of connections to leave out. Guarantees that a connection is in it
 * from exclude_begin until EXCLUDE_LINGER_NS after exclude_end, unless the
 * room is needed for one that is open, or for one of somebody who is known.
 * Leaves out filters: bpf_exclude.c, and packets: flow.c.
 */
#include "capture/own_connections.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct member {
	uint64_t number; /* 0: the place is free */
	struct flow flow;
	bool known; /* it is known whose connection it is */
	int64_t from_ns;
	int64_t ended_ns; /* CLOCK_MONOTONIC; 0: it is open */
};

struct exclude {
	atomic_ullong version;
	pthread_mutex_t lock; /* guards everything below */
	uint64_t last;
	struct member members[EXCLUDE_MAX]; /* each keeps its place */
	struct pollfd sockets[EXCLUDE_LISTENERS_MAX];
	struct flow listeners[EXCLUDE_LISTENERS_MAX];
	unsigned n_listeners;
};

struct exclude *exclude_new(void)
{
	struct exclude *x = calloc(1, sizeof(*x));

	if (x)
		pthread_mutex_init(&x->lock, NULL);
	return x;
}

void exclude_free(struct exclude *x)
{
	if (!x)
		return;
	pthread_mutex_destroy(&x->lock);
	free(x);
}

/* Who has to make room before another: who has ended, then who is not known;
 * of these the oldest. */
static bool member_yields(const struct member *a, const struct member *b)
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
static struct member *member_place(struct exclude *x, bool known)
{
	struct member *found = NULL;

	for (unsigned i = 0; i < EXCLUDE_MAX; i++) {
		struct member *m = &x->members[i];

		if (!m->number)
			return m;
		if (!found || member_yields(m, found))
			found = m;
	}
	return found->ended_ns || (known && !found->known) ? found : NULL;
}

/* With lock held. */
static uint64_t begin(struct exclude *x, const struct flow *f, bool known)
{
	struct member *m = member_place(x, known);

	if (!m)
		return 0;
	*m = (struct member){.number = ++x->last,
			     .flow = *f,
			     .known = known,
			     .from_ns = realtime_ns()};
	atomic_fetch_add(&x->version, 1);
	return x->last;
}

uint64_t exclude_begin(struct exclude *x, const struct flow *f)
{
	pthread_mutex_lock(&x->lock);
	uint64_t number = begin(x, f, true);
	pthread_mutex_unlock(&x->lock);
	return number;
}

/* With lock held. NULL: it had to make room. */
static struct member *member_find(struct exclude *x, uint64_t number)
{
	for (unsigned i = 0; i < EXCLUDE_MAX; i++)
		if (number && x->members[i].number == number)
			return &x->members[i];
	return NULL;
}

void exclude_known(struct exclude *x, uint64_t number)
{
	pthread_mutex_lock(&x->lock);
	struct member *m = member_find(x, number);
	if (m && !m->known) {
		m->known = true;
		atomic_fetch_add(&x->version, 1);
	}
	pthread_mutex_unlock(&x->lock);
}

void exclude_end(struct exclude *x, uint64_t number)
{
	pthread_mutex_lock(&x->lock);
	struct member *m = member_find(x, number);
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

bool exclude_listen(struct exclude *x, int fd)
{
	struct flow f;
	bool ok = near_of_socket(&f, fd);

	pthread_mutex_lock(&x->lock);
	ok = ok && x->n_listeners < EXCLUDE_LISTENERS_MAX;
	if (ok) {
		x->sockets[x->n_listeners] = (struct pollfd){fd, POLLIN, 0};
		x->listeners[x->n_listeners++] = f;
		atomic_fetch_add(&x->version, 1);
	}
	pthread_mutex_unlock(&x->lock);
	return ok;
}

void exclude_unlisten(struct exclude *x)
{
	pthread_mutex_lock(&x->lock);
	x->n_listeners = 0;
	atomic_fetch_add(&x->version, 1);
	pthread_mutex_unlock(&x->lock);
}

int exclude_accept(struct exclude *x, int fd, struct sockaddr_storage *from,
		   uint64_t *number)
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
		*number = begin(x, &f, false);
	pthread_mutex_unlock(&x->lock);
	return made;
}

bool exclude_settled(struct exclude *x)
{
	pthread_mutex_lock(&x->lock);
	/* It does not wait, and they are not closed in the middle. */
	bool none = poll(x->sockets, x->n_listeners, 0) == 0;
	pthread_mutex_unlock(&x->lock);
	return none;
}

unsigned exclude_listeners(struct exclude *x,
			   struct flow out[EXCLUDE_LISTENERS_MAX])
{
	pthread_mutex_lock(&x->lock);
	unsigned n = x->n_listeners;
	for (unsigned i = 0; i < n; i++)
		out[i] = x->listeners[i];
	pthread_mutex_unlock(&x->lock);
	return n;
}

/* --- the set --- */

uint64_t exclude_version(const struct exclude *x)
{
	return atomic_load(&x->version);
}

static int member_order(const void *a, const void *b)
{
	const struct member *const *x = a, *const *y = b;

	/* Who would make room first comes last. */
	return member_yields(*x, *y) ? 1 : -1;
}

/* With lock held. How many. */
static unsigned members_sort(struct exclude *x,
			     struct member *sorted[EXCLUDE_MAX])
{
	unsigned n = 0;

	for (unsigned i = 0; i < EXCLUDE_MAX; i++)
		if (x->members[i].number)
			sorted[n++] = &x->members[i];
	qsort(sorted, n, sizeof(*sorted), member_order);
	return n;
}

unsigned exclude_list(struct exclude *x, struct flow out[EXCLUDE_MAX],
		      uint16_t places[EXCLUDE_MAX], uint64_t *version)
{
	struct member *sorted[EXCLUDE_MAX];

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

static struct exclude_past past_of(const struct exclude *x,
				   const struct member *m, int64_t to_ns)
{
	return (struct exclude_past){.flow = m->flow,
				     .place = (uint16_t)(m - x->members),
				     .from_ns = m->from_ns,
				     .to_ns = to_ns};
}

unsigned exclude_expire(struct exclude *x, struct exclude_past *past,
			unsigned max)
{
	int64_t now = monotonic_ns(), real = realtime_ns();
	unsigned n = 0;

	pthread_mutex_lock(&x->lock);
	for (unsigned i = 0; i < EXCLUDE_MAX && n < max; i++) {
		struct member *m = &x->members[i];

		if (!m->number || !m->ended_ns ||
		    now - m->ended_ns < EXCLUDE_LINGER_NS)
			continue;
		past[n++] = past_of(x, m, real);
		m->number = 0;
		atomic_fetch_add(&x->version, 1);
	}
	pthread_mutex_unlock(&x->lock);
	return n;
}

unsigned exclude_so_far(struct exclude *x,
			struct exclude_past past[EXCLUDE_MAX])
{
	int64_t now = realtime_ns();
	unsigned n = 0;

	pthread_mutex_lock(&x->lock);
	for (unsigned i = 0; i < EXCLUDE_MAX; i++)
		if (x->members[i].number)
			past[n++] = past_of(x, &x->members[i], now);
	pthread_mutex_unlock(&x->lock);
	return n;
}
