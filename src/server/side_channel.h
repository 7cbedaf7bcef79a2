/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * side_channel: a replay's frames beside gRPC, on a data connection.
 *
 * Threads: the accepting thread opens one, the thread of its replay sends.
 * Ownership: the connection is its peer's; a replay that took it holds a
 * reference.
 */
#ifndef PCAPD_SERVER_SIDE_CHANNEL_H
#define PCAPD_SERVER_SIDE_CHANNEL_H

#include "base/err.h"
#include "packet/block.h"

#include <protobuf-c/protobuf-c.h>

struct cursor;
struct cursor_item;
struct peer;

#define TICKET_BYTES 16

/* Of a peer. Under the server's lock. */
struct side_channel {
	enum {
		SIDE_CHANNEL_NONE,
		SIDE_CHANNEL_OPEN, /* for the replay with its ticket */
		SIDE_CHANNEL_TAKEN,
	} state;
	uint8_t ticket[TICKET_BYTES];
};

#define DATA_LINE_BYTES 44

/* As proxy_protocol_line. */
int side_channel_line(const char *bytes, size_t n);
/* false: it names no ticket. */
bool side_channel_parse(const char line[DATA_LINE_BYTES],
			uint8_t ticket[TICKET_BYTES]);
/* c is a data connection from here on, and fd its own. false: it has to be
 * ended. */
bool side_channel_open(struct peer *c, const char line[DATA_LINE_BYTES],
		       int fd);
/* For one replay of `of`: a reference, for side_channel_end. NULL: there is no
 * such connection, or somebody has it. */
struct peer *side_channel_take(struct peer *of,
			       const ProtobufCBinaryData *ticket);
void side_channel_end(struct peer *c);
/* No replay has come for it, and none will. */
bool side_channel_is_idle(struct peer *c);
/* The frame that the cursor gave last, and a byte that says whether it is
 * whole; if it is not, the cursor has counted it. Waits for the client. false:
 * that is gone, or the replay's call is over. */
bool side_channel_send(struct peer *c, struct cursor *from,
		       const struct cursor_item *frame, bool *whole);

#endif
