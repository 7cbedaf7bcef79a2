/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reflection: the method of grpc.reflection. As method.h says.
 */
#ifndef PCAPD_SERVER_REFLECTION_H
#define PCAPD_SERVER_REFLECTION_H

#include <protobuf-c/protobuf-c.h>

struct call;

void reflection_start(struct call *c);
void reflection_more(struct call *c, ProtobufCMessage *m);
void reflection_idle(struct call *c);
void reflection_stop(struct call *c);

#endif
