/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * own_connections: the connections that carry what pcapd sends to other
 * machines, so that captures leave them out: who listens to an interface
 * through that very interface would otherwise capture what was captured, for
 * ever.
 *
 * What: a set of TCP connections. Each capture that runs puts exactly these
 * into its kernel's filter (bpf_exclude.h) when the set has changed. And the
 * sockets that they come from, so that a capture can wait until it is known
 * what becomes of a packet's connection (own_traffic.h).
 * Threads: any.
 * Ownership: own_connections_new gives, own_connections_free takes, after the
 * last capture.
 * Limits: OWN_CONNECTIONS_MAX connections. One that has ended stays in for
 * OWN_CONNECTIONS_LINGER_NS, since the kernel still says goodbye for it.
 * OWN_CONNECTIONS_LISTENERS_MAX sockets.
 */
#ifndef PCAPD_CAPTURE_OWN_CONNECTIONS_H
#define PCAPD_CAPTURE_OWN_CONNECTIONS_H

#include "packet/capture_tail.h"
#include "packet/flow.h"

#include <stddef.h>

#define OWN_CONNECTIONS_MAX 1024
#define OWN_CONNECTIONS_LINGER_NS (2 * NS_PER_S)
#define OWN_CONNECTIONS_LISTENERS_MAX 8

struct own_connections;

struct own_connections *own_connections_new(void); /* NULL: out of memory */
void own_connections_free(struct own_connections *x);

/* From now on, of somebody who is known; a number for own_connections_end. 0:
 * there is no room. */
uint64_t own_connections_begin(struct own_connections *x, const struct flow *f);
/* Of one from own_connections_accept: who it is is known now. */
void own_connections_known(struct own_connections *x, uint64_t number);
void own_connections_end(struct own_connections *x, uint64_t number);

/* A socket that listens for TCP. Before it is closed: own_connections_unlisten.
 * false: it is none, or there are too many. */
bool own_connections_listen(struct own_connections *x, int fd);
void own_connections_unlisten(struct own_connections *x); /* to any of them */
/*
 * accept4 of one of them and own_connections_begin, with nothing between that
 * own_connections_settled could see; it is not known who it is. It does not
 * wait. -1: as accept4, with errno.
 */
int own_connections_accept(struct own_connections *x, int fd,
			   struct sockaddr_storage *from, uint64_t *number);
/* Every connection to them that the kernel had made at the call is in the set,
 * or there was no room for it. */
bool own_connections_settled(struct own_connections *x);
/* Where they listen: near ends, a near address of zeros is any. How many. */
unsigned
own_connections_listeners(struct own_connections *x,
			  struct flow out[OWN_CONNECTIONS_LISTENERS_MAX]);

/* Goes up with each change of the set and of who listens. */
uint64_t own_connections_version(const struct own_connections *x);
/* Those that are in the set, the most important ones first: open before ended,
 * known before not. Each keeps its place, a number below OWN_CONNECTIONS_MAX,
 * while it is in. How many; *version is theirs. */
unsigned own_connections_list(struct own_connections *x,
			      struct flow out[OWN_CONNECTIONS_MAX],
			      uint16_t places[OWN_CONNECTIONS_MAX],
			      uint64_t *version);

struct own_connections_past {
	struct flow flow;
	uint16_t place;
	int64_t from_ns, to_ns; /* CLOCK_REALTIME */
};
/* Takes out what has ended long enough ago, at most max. How many. */
unsigned own_connections_expire(struct own_connections *x,
				struct own_connections_past *past,
				unsigned max);
/* All that are in, up to now. How many. */
unsigned
own_connections_so_far(struct own_connections *x,
		       struct own_connections_past past[OWN_CONNECTIONS_MAX]);

#endif
