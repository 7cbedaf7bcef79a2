/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * unix_listener: the UNIX socket, and the thread that accepts.
 *
 * Threads: unix_listener_run is the accepting thread. What is called on others
 * says so; what is not is called before it runs or after it has returned.
 * Ownership: embedded in the server. Its connections hold a reference to their
 * peers.
 */
#ifndef PCAPD_SERVER_UNIX_LISTENER_H
#define PCAPD_SERVER_UNIX_LISTENER_H

#include "control/config.h"

#include <sys/queue.h>
#include <sys/types.h>

struct server;
struct connection;

struct unix_listener {
	char path[CONFIG_PATH_MAX];
	int lock_fd, listen_fd, epoll_fd, stop_fd;
	bool has_viewers;
	gid_t operators, viewers;	     /* with has_viewers */
	LIST_HEAD(, connection) connections; /* the accepting thread's */
	unsigned n_silent;		     /* of them that gRPC never had */
	unsigned most_peers;		     /* since memory was given back */
	int64_t given_back_ns;
	int64_t patience_ns;
	int64_t waited_ns; /* when it was said that connections wait */
};

bool unix_listener_open(struct unix_listener *g, const struct config *c,
			struct err *e);
bool unix_listener_watch(struct unix_listener *g, int *fd, struct err *e);
/* Its own, one to see its end, and the pair of one that is guarded. */
#define CONNECTION_FDS 4
/* As many as a connection takes, so that it waits where it could only be
 * refused; false: errno says why. */
bool unix_listener_has_descriptors(const struct unix_listener *g);
/* After an accept that failed: a pause when there are no descriptors. */
void unix_listener_back_off(struct unix_listener *g);
/* Accepts until unix_listener_stop, on a thread of the server. */
void unix_listener_run(struct unix_listener *g, struct server *s);
void unix_listener_stop(struct unix_listener *g);
/* unix_listener_run has returned: nobody can connect any more. */
void unix_listener_shut(struct unix_listener *g);
/* Cuts every connection of the socket off. */
void unix_listener_cut(struct unix_listener *g);
void unix_listener_close(struct unix_listener *g);

#endif
