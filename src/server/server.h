/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server: the gRPC side of pcapd. Contract of the serving half of this folder;
 * client.h is the other half.
 *
 * What: accepts on a UNIX socket, knows its peers by SO_PEERCRED, answers
 * pcap.v1.Pcap, grpc.health.v1.Health and reflection, v1 and v1alpha.
 * Threads: one completion-queue thread, one that hands out to listeners' queues
 * what captures publish, one pump thread that tails listeners from a ready
 * list, a few workers for unary calls, one thread a replay or an import. All
 * are made by server_start and gone after server_stop.
 * Ownership: the server borrows control and config until server_stop returns.
 * Limits: config's max_* and listener_queue; answers over a bound are
 * RESOURCE_EXHAUSTED and name it.
 */
#ifndef PCAPD_SERVER_SERVER_H
#define PCAPD_SERVER_SERVER_H

#include "control/captures.h"

struct server;

/* grpc_init was called. ERR_STATE: somebody listens on the socket; a stale
 * socket file is replaced, any other file is not touched. */
struct server *server_start(struct control *ctl, const struct config *c,
			    struct err *e);
/* New limits. */
void server_configure(struct server *s, const struct config *c);
/* No new calls: health says NOT_SERVING, streams end with an End that says
 * that pcapd is stopping, unary calls in flight are answered. Then, after
 * grace_ms, whatever is left is cut off. Call it before control_stop. */
void server_stop(struct server *s, int grace_ms);

#endif
