/*
 * client: calls to a pcapd, for the command line.
 *
 * What: one connection, one call at a time; unary calls and the two kinds of
 * streams, on protobuf-c messages of proto/pcap.proto.
 * Threads: all of one client on one thread, but client_cancel, which any
 * thread and a signal's reader may call. A stream must be polled: whoever
 * writes packets to a slow place does it on another thread.
 * Ownership: answers are unpacked messages that the caller frees with
 * protobuf_c_message_free_unpacked.
 */
#ifndef PCAPD_RPC_CLIENT_H
#define PCAPD_RPC_CLIENT_H

#include "../err.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

struct client;

/* The daemon's socket. Nothing is connected before the first call.
 * ERR_UNREACHABLE (nobody listens) and ERR_PERMISSION (may not connect) are
 * told apart by connecting once here. */
struct client *client_open(const char *socket_path, struct err *e);
void client_close(struct client *c);

/* method: "Init". NULL with the daemon's error; its hint is taken over. */
ProtobufCMessage *client_call(struct client *c, const char *method,
			      const ProtobufCMessage *request, struct err *e);

/* A server stream. client_next: 1 a message, 0 the stream ended well, -1 it
 * ended with an error. On a cancel: -1 and ERR_CANCELLED. */
bool client_stream(struct client *c, const char *method,
		   const ProtobufCMessage *request, struct err *e);
int client_next(struct client *c, ProtobufCMessage **answer, struct err *e);

/* A client stream: send until false, then finish in any case. */
bool client_upload(struct client *c, const char *method, struct err *e);
bool client_send(struct client *c, const ProtobufCMessage *m, struct err *e);
ProtobufCMessage *client_finish(struct client *c, struct err *e);

/* Ends the call that is under way, from any thread. */
void client_cancel(struct client *c);

#endif
