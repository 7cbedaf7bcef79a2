/*
 * exclude: the connections that carry what pcapd sends to other machines, so
 * that captures leave them out: who listens to an interface through that very
 * interface would otherwise capture what was captured, for ever.
 *
 * What: a set of TCP connections. Each capture that runs puts exactly these
 * into its kernel's filter (bpf_exclude.h) when the set has changed. And the
 * sockets that they come from, so that a capture can wait until it is known
 * what becomes of a packet's connection (sieve.h). Threads: any. Ownership:
 * exclude_new gives, exclude_free takes, after the last capture. Limits:
 * EXCLUDE_MAX connections. One that has ended stays in for EXCLUDE_LINGER_NS,
 * since the kernel still says goodbye for it. EXCLUDE_LISTENERS_MAX sockets.
 */
#ifndef PCAPD_CAPTURE_EXCLUDE_H
#define PCAPD_CAPTURE_EXCLUDE_H

#include "packet/capture_tail.h"
#include "packet/flow.h"

#include <stddef.h>

#define EXCLUDE_MAX 1024
#define EXCLUDE_LINGER_NS (2 * NS_PER_S)
#define EXCLUDE_LISTENERS_MAX 8

struct exclude;

struct exclude *exclude_new(void); /* NULL: out of memory */
void exclude_free(struct exclude *x);

/* From now on, of somebody who is known; a number for exclude_end. 0: there is
 * no room. */
uint64_t exclude_begin(struct exclude *x, const struct flow *f);
/* Of one from exclude_accept: who it is is known now. */
void exclude_known(struct exclude *x, uint64_t number);
void exclude_end(struct exclude *x, uint64_t number);

/* A socket that listens for TCP. Before it is closed: exclude_unlisten. false:
 * it is none, or there are too many. */
bool exclude_listen(struct exclude *x, int fd);
void exclude_unlisten(struct exclude *x); /* to any of them */
/*
 * accept4 of one of them and exclude_begin, with nothing between that
 * exclude_settled could see; it is not known who it is. It does not wait. -1:
 * as accept4, with errno.
 */
int exclude_accept(struct exclude *x, int fd, struct sockaddr_storage *from,
		   uint64_t *number);
/* Every connection to them that the kernel had made at the call is in the set,
 * or there was no room for it. */
bool exclude_settled(struct exclude *x);
/* Where they listen: near ends, a near address of zeros is any. How many. */
unsigned exclude_listeners(struct exclude *x,
			   struct flow out[EXCLUDE_LISTENERS_MAX]);

/* Goes up with each change of the set and of who listens. */
uint64_t exclude_version(const struct exclude *x);
/* Those that are in the set, the most important ones first: open before ended,
 * known before not. Each keeps its place, a number below EXCLUDE_MAX, while it
 * is in. How many; *version is theirs. */
unsigned exclude_list(struct exclude *x, struct flow out[EXCLUDE_MAX],
		      uint16_t places[EXCLUDE_MAX], uint64_t *version);

struct exclude_past {
	struct flow flow;
	uint16_t place;
	int64_t from_ns, to_ns; /* CLOCK_REALTIME */
};
/* Takes out what has ended long enough ago, at most max. How many. */
unsigned exclude_expire(struct exclude *x, struct exclude_past *past,
			unsigned max);
/* All that are in, up to now. How many. */
unsigned exclude_so_far(struct exclude *x,
			struct exclude_past past[EXCLUDE_MAX]);

#endif
