/*
 * The set of connections to leave out. Guarantees that a connection is in it
 * from exclude_begin until EXCLUDE_LINGER_NS after exclude_end, unless the
 * room is needed for one that is open. Leaves out filters: prefix.c.
 */
#include "exclude.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
};

static bool take_address(const struct sockaddr_storage *a, int *family,
			 uint8_t address[16], uint16_t *port)
{
	const struct sockaddr_in6 *six = (const void *)a;
	const struct sockaddr_in *four = (const void *)a;

	*family = AF_INET;
	if (a->ss_family == AF_INET) {
		memcpy(address, &four->sin_addr, 4);
		*port = ntohs(four->sin_port);
		return true;
	}
	if (a->ss_family != AF_INET6)
		return false;
	*port = ntohs(six->sin6_port);
	if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
		memcpy(address, &six->sin6_addr.s6_addr[12], 4);
		return true;
	}
	*family = AF_INET6;
	memcpy(address, &six->sin6_addr, 16);
	return true;
}

bool flow_of_socket(struct flow *f, int fd)
{
	struct sockaddr_storage near, far;
	socklen_t n = sizeof(near), m = sizeof(far);
	int family;

	memset(f, 0, sizeof(*f));
	return getsockname(fd, (void *)&near, &n) == 0 &&
	       getpeername(fd, (void *)&far, &m) == 0 &&
	       take_address(&near, &f->family, f->near, &f->near_port) &&
	       take_address(&far, &family, f->far, &f->far_port) &&
	       family == f->family;
}

const char *flow_text(const struct flow *f, char out[FLOW_TEXT])
{
	char near[INET6_ADDRSTRLEN] = "?", far[INET6_ADDRSTRLEN] = "?";
	bool six = f->family == AF_INET6;

	inet_ntop(f->family, f->near, near, sizeof(near));
	inet_ntop(f->family, f->far, far, sizeof(far));
	snprintf(out, FLOW_TEXT, six ? "[%s]:%u [%s]:%u" : "%s:%u %s:%u", near,
		 f->near_port, far, f->far_port);
	return out;
}

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

uint64_t exclude_begin(struct exclude *x, const struct flow *f)
{
	uint64_t number = 0;

	pthread_mutex_lock(&x->lock);
	if (x->n == EXCLUDE_MAX) {
		unsigned i = longest_ended(x);
		if (i < x->n)
			take_out(x, i);
	}
	if (x->n < EXCLUDE_MAX) {
		number = ++x->last;
		x->members[x->n++] = (struct member){
			.number = number, .flow = *f, .from_ns = realtime_ns()};
		atomic_fetch_add(&x->version, 1);
	}
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
