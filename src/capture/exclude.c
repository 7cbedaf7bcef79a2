/*
 * The set of connections to leave out. Guarantees that a connection is in it
 * from exclude_begin until EXCLUDE_LINGER_NS after exclude_end, unless the
 * room is needed for one that is open. Leaves out filters: prefix.c, and
 * packets: flow.c.
 */
#include "exclude.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct member {
	uint64_t number;
	struct flow flow;
	int64_t from_ns;
	int64_t ended_ns; /* CLOCK_MONOTONIC; 0: it is open */
};

struct exclude {
	atomic_ullong version;
	pthread_mutex_t lock; /* guards everything below */
	uint64_t last;
	struct member members[EXCLUDE_MAX];
	unsigned n;
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

static void take_out(struct exclude *x, unsigned i)
{
	x->members[i] = x->members[--x->n];
	atomic_fetch_add(&x->version, 1);
}

/* Of those that have ended the one that did so first; n: none has. */
static unsigned longest_ended(const struct exclude *x)
{
	unsigned found = x->n;

	for (unsigned i = 0; i < x->n; i++)
		if (x->members[i].ended_ns &&
		    (found == x->n ||
		     x->members[i].ended_ns < x->members[found].ended_ns))
			found = i;
	return found;
}

/* With lock held. */
static uint64_t begin(struct exclude *x, const struct flow *f)
{
	if (x->n == EXCLUDE_MAX) {
		unsigned i = longest_ended(x);
		if (i == x->n)
			return 0;
		take_out(x, i);
	}
	x->members[x->n++] = (struct member){
		.number = ++x->last, .flow = *f, .from_ns = realtime_ns()};
	atomic_fetch_add(&x->version, 1);
	return x->last;
}

uint64_t exclude_begin(struct exclude *x, const struct flow *f)
{
	pthread_mutex_lock(&x->lock);
	uint64_t number = begin(x, f);
	pthread_mutex_unlock(&x->lock);
	return number;
}

void exclude_end(struct exclude *x, uint64_t number)
{
	pthread_mutex_lock(&x->lock);
	for (unsigned i = 0; i < x->n; i++)
		if (x->members[i].number == number)
			x->members[i].ended_ns = monotonic_ns();
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
		*number = begin(x, &f);
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

unsigned exclude_list(struct exclude *x, struct flow out[EXCLUDE_MAX],
		      uint64_t *version)
{
	pthread_mutex_lock(&x->lock);
	unsigned n = x->n;
	for (unsigned i = 0; i < n; i++)
		out[i] = x->members[i].flow;
	*version = atomic_load(&x->version);
	pthread_mutex_unlock(&x->lock);
	return n;
}

unsigned exclude_expire(struct exclude *x, struct exclude_past *past,
			unsigned max)
{
	int64_t now = monotonic_ns(), real = realtime_ns();
	unsigned n = 0;

	pthread_mutex_lock(&x->lock);
	for (unsigned i = 0; i < x->n && n < max;) {
		const struct member *m = &x->members[i];

		if (!m->ended_ns || now - m->ended_ns < EXCLUDE_LINGER_NS) {
			i++;
			continue;
		}
		past[n++] = (struct exclude_past){m->flow, m->from_ns, real};
		take_out(x, i);
	}
	pthread_mutex_unlock(&x->lock);
	return n;
}

unsigned exclude_so_far(struct exclude *x,
			struct exclude_past past[EXCLUDE_MAX])
{
	int64_t now = realtime_ns();

	pthread_mutex_lock(&x->lock);
	unsigned n = x->n;
	for (unsigned i = 0; i < n; i++)
		past[i] = (struct exclude_past){x->members[i].flow,
						x->members[i].from_ns, now};
	pthread_mutex_unlock(&x->lock);
	return n;
}
