/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * admission: what each person may have at once.
 *
 * Threads: what takes and gives is called with the server's lock.
 * Ownership: a person is the server's list's; peers point at it while they are
 * counted. One is forgotten when it has nothing and its budgets are full again.
 * Limits: pcapd.conf's max-*, half of each for one person, a quarter kept for
 * operators.
 */
#ifndef PCAPD_SERVER_ADMISSION_H
#define PCAPD_SERVER_ADMISSION_H

#include "base/clock.h"
#include "base/err.h"
#include "server/frame_guard.h"
#include "tls/allow.h"

#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/types.h>

struct peer;
struct server;

enum bound {
	BOUND_CALLS,
	BOUND_REPLAYS,
	BOUND_LISTENERS,
	BOUND_IMPORTS,
	BOUND_CONNECTIONS,
	BOUNDS
};

/* Who comes first when places are short. */
enum rank { RANK_VIEWER, RANK_OPERATOR, RANK_ROOT, RANKS };

/* A place that somebody was refused is held so long by who takes nothing of
 * what is sent, or has a connection and no call. */
#define PLACE_HELD_NS (10 * NS_PER_S)

/* A user of this machine or a name of TLS, over all connections of it. */
struct person {
	/* Under the server's lock. */
	LIST_ENTRY(person) entry;
	unsigned n_peers;
	unsigned used[BOUNDS];
	/* Without it. */
	bool remote;
	uid_t uid;			   /* of this machine */
	char name[PERSON_MAX + 1];	   /* of TLS */
	_Atomic int64_t wanted_ns[BOUNDS]; /* when one was refused for it */
	struct frame_budgets frames;
};

/* Of one bound. */
struct places {
	unsigned used[RANKS]; /* under the server's lock */
	_Atomic int64_t wanted_ns[RANKS];
};

/* These four with the server's lock. It is known who c is; false: out of
 * memory. */
bool person_join(struct peer *c);
void person_leave(struct peer *c);
/* ERR_LIMIT: there is none for c. */
bool place_take(struct peer *c, enum bound b, struct err *e);
void place_give(struct peer *c, enum bound b);
/* Those that are gone, or all. */
void persons_forget(struct server *s, bool all);
/* Somebody was refused lately for what c has of it. */
bool place_is_wanted(struct peer *c, enum bound b, int64_t now);

#endif
