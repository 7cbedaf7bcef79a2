/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer: a gRPC client that is not ours: raw bytes over the C core, so that a
 * test can also send what no client of ours would. Every call has a deadline.
 */
#ifndef PCAPD_TESTS_PEER_H
#define PCAPD_TESTS_PEER_H

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

/* A connection. grpc_init was called. */
struct test_peer {
	grpc_channel *channel;
};
void test_peer_open(struct test_peer *p, const char *socket_path);
void test_peer_close(struct test_peer *p);

/* A call of any kind: open, send, half-close, receive until NULL, finish. */
struct exchange {
	grpc_completion_queue *cq;
	grpc_call *call;
	grpc_metadata_array initial, trailing;
	grpc_status_code status;
	grpc_slice details;
	char text[1024]; /* the status's */
	char hint[1024]; /* as sent */
};
void exchange_open(struct exchange *x, struct test_peer *p, const char *path);
bool exchange_send(struct exchange *x, const void *bytes, size_t n);
bool exchange_send_message(struct exchange *x, const ProtobufCMessage *m);
void exchange_half_close(struct exchange *x);
ProtobufCMessage *exchange_receive(struct exchange *x,
				   const ProtobufCMessageDescriptor *d);
void exchange_cancel(struct exchange *x);
grpc_status_code exchange_finish(struct exchange *x);

/* One request, one answer: NULL without one; x is finished. */
ProtobufCMessage *exchange_once(struct exchange *x, struct test_peer *p,
				const char *path, const ProtobufCMessage *m,
				const ProtobufCMessageDescriptor *d);

#endif
