/*
 * exclude: the connections that carry what pcapd sends to other machines, so
 * that captures leave them out: who listens to an interface through that very
 * interface would otherwise capture what was captured, for ever.
 *
 * What: a set of TCP connections. Each capture that runs puts exactly these
 * into its kernel's filter (prefix.h) when the set has changed.
 * Threads: any.
 * Ownership: exclude_new gives, exclude_free takes, after the last capture.
 * Limits: EXCLUDE_MAX connections. One that has ended stays in for
 * EXCLUDE_LINGER_NS, since the kernel still says goodbye for it.
 */
#ifndef PCAPD_CAPTURE_EXCLUDE_H
#define PCAPD_CAPTURE_EXCLUDE_H

#include "../feed.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define EXCLUDE_MAX 1024
#define EXCLUDE_LINGER_NS (2 * NS_PER_S)

/* Addresses as on the wire, ports as numbers; an IPv4 one has 4 bytes. */
struct flow {
	int family; /* AF_INET, AF_INET6 */
	uint8_t near[16], far[16];
	uint16_t near_port, far_port;
};

/* Of a connected TCP socket; false: it is none. IPv4 in IPv6 is IPv4. */
bool flow_of_socket(struct flow *f, int fd);
/* "[::1]:2020 [::1]:40000": near, far. */
#define FLOW_TEXT 110
const char *flow_text(const struct flow *f, char out[FLOW_TEXT]);

struct exclude;

struct exclude *exclude_new(void); /* NULL: out of memory */
void exclude_free(struct exclude *x);

/* From now on; a number for exclude_end. 0: there is no room. */
uint64_t exclude_begin(struct exclude *x, const struct flow *f);
void exclude_end(struct exclude *x, uint64_t number);

/* Goes up with each change of the set. */
uint64_t exclude_version(const struct exclude *x);
/* Those that are in the set. How many; *version is theirs. */
unsigned exclude_list(struct exclude *x, struct flow out[EXCLUDE_MAX],
		      uint64_t *version);

struct exclude_past {
	struct flow flow;
	int64_t from_ns, to_ns; /* CLOCK_REALTIME */
};
/* Takes out what has ended long enough ago, at most max. How many. */
unsigned exclude_expire(struct exclude *x, struct exclude_past *past,
			unsigned max);
/* All that are in, up to now. How many. */
unsigned exclude_so_far(struct exclude *x,
			struct exclude_past past[EXCLUDE_MAX]);

#endif
