/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * health: the methods of grpc.health.v1. As method.h says.
 */
#ifndef PCAPD_SERVER_HEALTH_H
#define PCAPD_SERVER_HEALTH_H

struct call;

void health_check(struct call *c);
void health_watch(struct call *c);

#endif
