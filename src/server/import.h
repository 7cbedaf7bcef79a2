/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * import: the method Import. As method.h says.
 */
#ifndef PCAPD_SERVER_IMPORT_H
#define PCAPD_SERVER_IMPORT_H

#include <protobuf-c/protobuf-c.h>

struct call;

void run_import(struct call *c);
void import_more(struct call *c, ProtobufCMessage *m);

#endif
