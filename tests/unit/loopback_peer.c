/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client of peer.h. One completion queue a call, plucked: simple, and slow
 * enough to do without in a program.
 */
#include "loopback_peer.h"

#include <assert.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_S 30

enum { TAG_STATUS = 1, TAG_OTHER };

void test_peer_open(struct test_peer *p, const char *socket_path)
{
	grpc_channel_credentials *plain = grpc_insecure_credentials_create();
	grpc_arg args[] = {
		/* A connection of its own, also if another test has one. */
		{.type = GRPC_ARG_INTEGER,
		 .key = GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
		 .value.integer = 1},
		{.type = GRPC_ARG_INTEGER,
		 .key = GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
		 .value.integer = -1},
	};
	grpc_channel_args all = {sizeof(args) / sizeof(args[0]), args};
	char target[256];

	snprintf(target, sizeof(target), "unix:%s", socket_path);
	p->channel = grpc_channel_create(target, plain, &all);
	grpc_channel_credentials_release(plain);
}

void test_peer_close(struct test_peer *p)
{
	grpc_channel_destroy(p->channel);
}

static bool pluck(struct exchange *x, intptr_t tag)
{
	grpc_event ev = grpc_completion_queue_pluck(
		x->cq, (void *)tag, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

	assert(ev.type == GRPC_OP_COMPLETE);
	return ev.success;
}

static void start(struct exchange *x, const grpc_op *ops, size_t n,
		  intptr_t tag)
{
	grpc_call_error error =
		grpc_call_start_batch(x->call, ops, n, (void *)tag, NULL);

	assert(error == GRPC_CALL_OK);
	(void)error;
}

static bool run(struct exchange *x, const grpc_op *ops, size_t n)
{
	start(x, ops, n, TAG_OTHER);
	return pluck(x, TAG_OTHER);
}

void exchange_open(struct exchange *x, struct test_peer *p, const char *path)
{
	grpc_slice method = grpc_slice_from_copied_string(path);

	memset(x, 0, sizeof(*x));
	x->cq = grpc_completion_queue_create_for_pluck(NULL);
	x->call = grpc_channel_create_call(
		p->channel, NULL, GRPC_PROPAGATE_DEFAULTS, x->cq, method, NULL,
		gpr_time_add(gpr_now(GPR_CLOCK_REALTIME),
			     gpr_time_from_seconds(DEADLINE_S, GPR_TIMESPAN)),
		NULL);
	grpc_slice_unref(method);
	grpc_metadata_array_init(&x->initial);
	grpc_metadata_array_init(&x->trailing);
	grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
	status.data.recv_status_on_client.trailing_metadata = &x->trailing;
	status.data.recv_status_on_client.status = &x->status;
	status.data.recv_status_on_client.status_details = &x->details;
	start(x, &status, 1, TAG_STATUS);
	grpc_op head[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
			   {.op = GRPC_OP_RECV_INITIAL_METADATA}};
	head[1].data.recv_initial_metadata.recv_initial_metadata = &x->initial;
	start(x, &head[1], 1, TAG_OTHER + 1);
	run(x, head, 1);
}

bool exchange_send(struct exchange *x, const void *bytes, size_t n)
{
	grpc_slice slice = grpc_slice_from_copied_buffer(bytes, n);
	grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};

	grpc_slice_unref(slice);
	op.data.send_message.send_message = buffer;
	bool ok = run(x, &op, 1);
	grpc_byte_buffer_destroy(buffer);
	return ok;
}

bool exchange_send_message(struct exchange *x, const ProtobufCMessage *m)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t *bytes = malloc(n + 1);

	assert(bytes);
	protobuf_c_message_pack(m, bytes);
	bool ok = exchange_send(x, bytes, n);
	free(bytes);
	return ok;
}

void exchange_half_close(struct exchange *x)
{
	grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};

	run(x, &op, 1);
}

ProtobufCMessage *exchange_receive(struct exchange *x,
				   const ProtobufCMessageDescriptor *d)
{
	grpc_byte_buffer *buffer = NULL;
	grpc_byte_buffer_reader reader;
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

	op.data.recv_message.recv_message = &buffer;
	run(x, &op, 1);
	if (!buffer || !grpc_byte_buffer_reader_init(&reader, buffer))
		return NULL;
	grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
	ProtobufCMessage *m = protobuf_c_message_unpack(
		d, NULL, GRPC_SLICE_LENGTH(all), GRPC_SLICE_START_PTR(all));
	assert(m);
	grpc_slice_unref(all);
	grpc_byte_buffer_reader_destroy(&reader);
	grpc_byte_buffer_destroy(buffer);
	return m;
}

void exchange_cancel(struct exchange *x)
{
	grpc_call_cancel(x->call, NULL);
}

static void keep_text(char to[1024], grpc_slice s)
{
	snprintf(to, 1024, "%.*s", (int)GRPC_SLICE_LENGTH(s),
		 (const char *)GRPC_SLICE_START_PTR(s));
}

grpc_status_code exchange_finish(struct exchange *x)
{
	pluck(x, TAG_STATUS);
	pluck(x, TAG_OTHER + 1);
	keep_text(x->text, x->details);
	for (size_t i = 0; i < x->trailing.count; i++)
		if (!grpc_slice_str_cmp(x->trailing.metadata[i].key,
					"pcap-hint"))
			keep_text(x->hint, x->trailing.metadata[i].value);
	grpc_slice_unref(x->details);
	grpc_metadata_array_destroy(&x->initial);
	grpc_metadata_array_destroy(&x->trailing);
	grpc_call_unref(x->call);
	grpc_completion_queue_shutdown(x->cq);
	while (grpc_completion_queue_pluck(
		       x->cq, NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL)
		       .type != GRPC_QUEUE_SHUTDOWN)
		;
	grpc_completion_queue_destroy(x->cq);
	return x->status;
}

ProtobufCMessage *exchange_once(struct exchange *x, struct test_peer *p,
				const char *path, const ProtobufCMessage *m,
				const ProtobufCMessageDescriptor *d)
{
	exchange_open(x, p, path);
	exchange_send_message(x, m);
	exchange_half_close(x);
	ProtobufCMessage *answer = exchange_receive(x, d);
	exchange_finish(x);
	return answer;
}
