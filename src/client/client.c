/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connection to pcapd and the calls over it. Guarantees that every call is
 * ended and drained before the next one, that a cancel is never lost, and that
 * packets are not copied between the socket and the caller, whether they come
 * by gRPC or beside it. Leaves out reconnecting: a command is over when its
 * connection is.
 */
#include "client/client.h"

#include "client/link.h"
#include "client/side_channel.h"
#include "client/wire.h"

#include <assert.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* pcapd sends a quarter of this; the bound is for what is not pcapd. */
#define MESSAGE_MAX (16 << 20)
/* How far the daemon may send ahead. With the default of 64 KiB the rate
 * depends on gRPC's guess of the connection; larger frames gain nothing. */
#define LOOKAHEAD_BYTES (4 << 20)

/* What completes. START, SEND and RECV are batches of one call's message flow,
 * STATUS is pending from its start to its end. */
enum tag { TAG_START, TAG_SEND, TAG_RECV, TAG_STATUS, TAGS };

struct client {
	grpc_channel *channel;
	grpc_completion_queue *cq;
	struct client_link *link;
	char label[sizeof(((struct address *)0)->label)];
	char path[ADDRESS_TEXT_MAX]; /* of the socket, or "" */
	const ProtobufCMethodDescriptor *method;
	bool pending[TAGS], ok[TAGS];
	int patience_ms; /* 0: no end to it */
	grpc_byte_buffer *received;
	grpc_metadata_array initial, trailing;
	grpc_status_code status;
	grpc_slice details;
	pthread_mutex_t lock; /* guards everything below */
	grpc_call *call;
	int data; /* the data connection of the call, or -1 */
	bool cancelled;
};

/* --- opening --- */

static grpc_channel *channel_over(int fd)
{
	grpc_arg args[] = {
		{.type = GRPC_ARG_INTEGER,
		 .key = GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
		 .value.integer = MESSAGE_MAX},
		{.type = GRPC_ARG_INTEGER,
		 .key = GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES,
		 .value.integer = LOOKAHEAD_BYTES},
	};
	grpc_channel_args all = {sizeof(args) / sizeof(args[0]), args};
	grpc_channel_credentials *creds = grpc_insecure_credentials_create();
	grpc_channel *channel =
		grpc_channel_create_from_fd("localhost", fd, creds, &all);

	grpc_channel_credentials_release(creds);
	return channel;
}

static bool client_labelled(const char *label, struct err *e)
{
	return *label ? err_wrap(e, "%s", label) : false;
}

struct client *client_open(const struct address *to, struct err *e)
{
	struct client *c = calloc(1, sizeof(*c));
	int fd = -1;

	if (!c) {
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	c->link = client_link_open(to, &fd, e);
	if (!c->link) {
		client_labelled(to->label, e);
		free(c);
		return NULL;
	}
	c->data = -1;
	memcpy(c->label, to->label, sizeof(c->label));
	if (to->kind == ADDRESS_UNIX)
		memcpy(c->path, to->path, sizeof(c->path));
	grpc_init();
	pthread_mutex_init(&c->lock, NULL);
	c->channel = channel_over(fd); /* the fd is the channel's now */
	c->cq = grpc_completion_queue_create_for_next(NULL);
	return c;
}

/* --- a call's life --- */

static void tag_begin(struct client *c, enum tag t)
{
	assert(!c->pending[t]);
	c->pending[t] = true;
}

static bool client_batch(struct client *c, enum tag t, const grpc_op *ops,
			 size_t n)
{
	tag_begin(c, t);
	grpc_call_error r =
		grpc_call_start_batch(c->call, ops, n, (void *)t, NULL);
	if (r != GRPC_CALL_OK)
		c->pending[t] = c->ok[t] = false;
	return r == GRPC_CALL_OK;
}

static void client_take(struct client *c, const grpc_event *ev)
{
	enum tag t = (enum tag)(uintptr_t)ev->tag;

	assert(ev->type == GRPC_OP_COMPLETE && c->pending[t]);
	c->pending[t] = false;
	c->ok[t] = ev->success;
}

static bool client_wait_for(struct client *c, enum tag t)
{
	gpr_timespec never = gpr_inf_future(GPR_CLOCK_REALTIME);

	while (c->pending[t]) {
		grpc_event ev = grpc_completion_queue_next(c->cq, never, NULL);
		client_take(c, &ev);
	}
	return c->ok[t];
}

void client_tend(struct client *c)
{
	gpr_timespec now = gpr_time_0(GPR_CLOCK_REALTIME);
	grpc_event ev = grpc_completion_queue_next(c->cq, now, NULL);

	if (ev.type == GRPC_OP_COMPLETE)
		client_take(c, &ev);
}

static grpc_byte_buffer *client_pack(const ProtobufCMessage *m)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	grpc_slice bytes = grpc_slice_malloc(n);

	protobuf_c_message_pack(m, GRPC_SLICE_START_PTR(bytes));
	grpc_byte_buffer *b = grpc_raw_byte_buffer_create(&bytes, 1);
	grpc_slice_unref(bytes);
	return b;
}

static ProtobufCMessage *client_unpack(const ProtobufCMessageDescriptor *d,
				       grpc_byte_buffer *b)
{
	grpc_byte_buffer_reader reader;

	if (!grpc_byte_buffer_reader_init(&reader, b))
		return NULL;
	grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
	ProtobufCMessage *m = protobuf_c_message_unpack(
		d, NULL, GRPC_SLICE_LENGTH(all), GRPC_SLICE_START_PTR(all));
	grpc_slice_unref(all);
	grpc_byte_buffer_reader_destroy(&reader);
	return m;
}

static gpr_timespec client_deadline(const struct client *c)
{
	gpr_timespec span = gpr_time_from_millis(c->patience_ms, GPR_TIMESPAN);

	if (c->patience_ms == 0)
		return gpr_inf_future(GPR_CLOCK_MONOTONIC);
	return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), span);
}

/* request NULL: more than one message follows, by client_send. */
static void call_begin(struct client *c, const char *method,
		       const ProtobufCMessage *request)
{
	const ProtobufCServiceDescriptor *service = &pcap__v1__pcap__descriptor;
	char path[128];

	c->method = protobuf_c_service_descriptor_get_method_by_name(service,
								     method);
	assert(c->method);
	snprintf(path, sizeof(path), "/%s/%s", service->name, method);
	grpc_slice path_slice = grpc_slice_from_copied_string(path);
	grpc_call *call = grpc_channel_create_call(
		c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, c->cq, path_slice,
		NULL, client_deadline(c), NULL);
	grpc_slice_unref(path_slice);
	pthread_mutex_lock(&c->lock);
	c->call = call;
	if (c->cancelled)
		grpc_call_cancel(call, NULL);
	pthread_mutex_unlock(&c->lock);

	c->ok[TAG_SEND] = true;
	grpc_metadata_array_init(&c->initial);
	grpc_metadata_array_init(&c->trailing);
	c->details = grpc_empty_slice();
	grpc_op end = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
		       .data.recv_status_on_client = {
			       .trailing_metadata = &c->trailing,
			       .status = &c->status,
			       .status_details = &c->details}};
	client_batch(c, TAG_STATUS, &end, 1);

	grpc_byte_buffer *sent = request ? client_pack(request) : NULL;
	grpc_op start[] = {
		{.op = GRPC_OP_SEND_INITIAL_METADATA},
		{.op = GRPC_OP_RECV_INITIAL_METADATA,
		 .data.recv_initial_metadata = {&c->initial}},
		{.op = GRPC_OP_SEND_MESSAGE, .data.send_message = {sent}},
		{.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
	};
	client_batch(c, TAG_START, start, request ? 4 : 2);
	grpc_byte_buffer_destroy(sent);
}

static void client_receive(struct client *c)
{
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE,
		      .data.recv_message = {&c->received}};

	client_batch(c, TAG_RECV, &op, 1);
}

static void hint_from_trailers(struct client *c, struct err *e)
{
	for (size_t i = 0; i < c->trailing.count; i++) {
		grpc_metadata *m = &c->trailing.metadata[i];
		if (grpc_slice_str_cmp(m->key, "pcap-hint") == 0)
			percent_read(e->hint, sizeof(e->hint),
				     (char *)GRPC_SLICE_START_PTR(m->value),
				     GRPC_SLICE_LENGTH(m->value));
	}
}

static bool status_read(struct client *c, bool cancelled, struct err *e)
{
	int length = (int)GRPC_SLICE_LENGTH(c->details);
	const char *text = (char *)GRPC_SLICE_START_PTR(c->details);

	if (c->status == GRPC_STATUS_OK)
		return true;
	if (cancelled)
		return err_set(e, ERR_CANCELLED, "stopped");
	/* pcapd never says UNKNOWN: gRPC does, of a connection that broke. */
	if (c->status == GRPC_STATUS_UNAVAILABLE ||
	    c->status == GRPC_STATUS_UNKNOWN)
		err_set(e, ERR_UNREACHABLE,
			"the connection to pcapd ended: %.*s", length, text);
	else
		err_set(e, err_from_grpc_status((int)c->status), "%.*s", length,
			text);
	hint_from_trailers(c, e);
	/* Who cuts a connection off sends no trailers with the reason. */
	if (e->kind == ERR_UNREACHABLE && c->trailing.count == 0)
		err_hint(e, "If pcapd ended it, as of a peer that is over a "
			    "bound, its log says why: 'journalctl -u pcapd'.");
	return client_labelled(c->label, e);
}

static void close_data(struct client *c)
{
	pthread_mutex_lock(&c->lock);
	if (c->data >= 0)
		close(c->data);
	c->data = -1;
	pthread_mutex_unlock(&c->lock);
}

/* Drains the call. true: the daemon said OK. */
static bool call_end(struct client *c, struct err *e)
{
	for (enum tag t = TAG_START; t < TAGS; t++)
		client_wait_for(c, t);
	close_data(c);
	pthread_mutex_lock(&c->lock);
	grpc_call *call = c->call;
	bool cancelled = c->cancelled;
	c->call = NULL;
	pthread_mutex_unlock(&c->lock);

	bool ok = status_read(c, cancelled, e);
	grpc_slice_unref(c->details);
	grpc_metadata_array_destroy(&c->initial);
	grpc_metadata_array_destroy(&c->trailing);
	grpc_byte_buffer_destroy(c->received);
	c->received = NULL;
	grpc_call_unref(call); /* the metadata's bytes were the call's */
	return ok;
}

void client_cancel(struct client *c)
{
	pthread_mutex_lock(&c->lock);
	c->cancelled = true;
	if (c->call)
		grpc_call_cancel(c->call, NULL);
	if (c->data >= 0)
		shutdown(c->data, SHUT_RDWR);
	pthread_mutex_unlock(&c->lock);
}

void client_resume(struct client *c, int patience_ms)
{
	c->patience_ms = patience_ms;
	pthread_mutex_lock(&c->lock);
	c->cancelled = false;
	pthread_mutex_unlock(&c->lock);
}

void client_close(struct client *c)
{
	if (!c)
		return;
	if (c->call) {
		struct err ignored;
		client_cancel(c);
		call_end(c, &ignored);
	}
	close_data(c);
	grpc_channel_destroy(c->channel);
	grpc_completion_queue_shutdown(c->cq);
	while (grpc_completion_queue_next(
		       c->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL)
		       .type != GRPC_QUEUE_SHUTDOWN)
		;
	grpc_completion_queue_destroy(c->cq);
	client_link_close(c->link);
	pthread_mutex_destroy(&c->lock);
	free(c);
	grpc_shutdown();
}

/* --- calls --- */

static ProtobufCMessage *answer_or_error(struct client *c, struct err *e)
{
	ProtobufCMessage *m = NULL;
	bool got = false;

	client_wait_for(c, TAG_RECV);
	if (c->received) {
		got = true;
		m = client_unpack(c->method->output, c->received);
	}
	if (!call_end(c, e)) {
		if (m)
			protobuf_c_message_free_unpacked(m, NULL);
		return NULL;
	}
	if (!m)
		err_set(e, ERR_FAILED, "%s: pcapd's answer %s", c->method->name,
			got ? "is not understood" : "is missing");
	return m;
}

ProtobufCMessage *client_call(struct client *c, const char *method,
			      const ProtobufCMessage *request, struct err *e)
{
	call_begin(c, method, request);
	client_receive(c);
	return answer_or_error(c, e);
}

void client_upload(struct client *c, const char *method)
{
	call_begin(c, method, NULL);
	client_receive(c);
}

bool client_may_send(struct client *c, int wait_ms)
{
	gpr_timespec until =
		gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
			     gpr_time_from_millis(wait_ms, GPR_TIMESPAN));

	while (c->pending[TAG_SEND] && c->pending[TAG_STATUS]) {
		grpc_event ev = grpc_completion_queue_next(c->cq, until, NULL);
		if (ev.type != GRPC_OP_COMPLETE)
			break;
		client_take(c, &ev);
	}
	return !c->pending[TAG_SEND];
}

bool client_has_ended(const struct client *c)
{
	return !c->pending[TAG_STATUS];
}

/* Waits for the message before, so that the caller makes the next one while
 * this one travels. */
bool client_send(struct client *c, const ProtobufCMessage *m)
{
	if (!client_wait_for(c, TAG_SEND) || !c->pending[TAG_STATUS])
		return false;
	grpc_byte_buffer *b = client_pack(m);
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message = {b}};
	bool ok = client_batch(c, TAG_SEND, &op, 1);
	grpc_byte_buffer_destroy(b);
	return ok;
}

ProtobufCMessage *client_finish(struct client *c, struct err *e)
{
	grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};

	client_wait_for(c, TAG_SEND);
	client_batch(c, TAG_SEND, &op, 1);
	return answer_or_error(c, e);
}

void client_stream(struct client *c, const char *method,
		   const ProtobufCMessage *request)
{
	call_begin(c, method, request);
}

bool client_beside(struct client *c, uint8_t ticket[CLIENT_TICKET_BYTES])
{
	int fd = *c->path ? client_data_open(c->path, ticket) : -1;

	if (fd < 0)
		return false;
	pthread_mutex_lock(&c->lock);
	c->data = fd;
	if (c->cancelled)
		shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&c->lock);
	return true;
}

/* --- events --- */

/* The pieces are part of the same allocation. */
struct event {
	struct client_event public;
	uint64_t beside_bytes; /* that come beside gRPC */
	uint8_t *beside;
	grpc_byte_buffer *buffer;
	Pcap__V1__ReplayResponse *unpacked;
	struct iovec pieces[];
};

void client_event_free(struct client_event *ev)
{
	struct event *whole = (struct event *)ev;

	if (!ev)
		return;
	if (whole->unpacked)
		pcap__v1__replay_response__free_unpacked(whole->unpacked, NULL);
	grpc_byte_buffer_destroy(whole->buffer);
	free(whole->beside);
	free(whole);
}

static size_t slices_of(grpc_byte_buffer *b)
{
	return b->data.raw.slice_buffer.count;
}

static size_t front_copy(const grpc_slice_buffer *s, uint8_t *front)
{
	size_t n = 0;

	for (size_t i = 0; i < s->count && n < PACKETS_FRONT_MAX; i++) {
		size_t m = GRPC_SLICE_LENGTH(s->slices[i]);
		if (m > PACKETS_FRONT_MAX - n)
			m = PACKETS_FRONT_MAX - n;
		memcpy(front + n, GRPC_SLICE_START_PTR(s->slices[i]), m);
		n += m;
	}
	return n;
}

/* Points the event at the buffer's bytes behind the first `skip`. */
static void client_point(struct client_event *ev, const grpc_slice_buffer *s,
			 size_t skip)
{
	for (size_t i = 0; i < s->count; i++) {
		uint8_t *p = GRPC_SLICE_START_PTR(s->slices[i]);
		size_t n = GRPC_SLICE_LENGTH(s->slices[i]);
		if (skip >= n) {
			skip -= n;
			continue;
		}
		ev->pieces[ev->n_pieces++] = (struct iovec){p + skip, n - skip};
		ev->bytes += n - skip;
		skip = 0;
	}
}

/* What packets_front_read did not take: other events, and packets that are
 * laid out in an unusual way. */
static bool event_unpack(struct event *ev)
{
	struct client_event *out = &ev->public;
	/* A ListenResponse has the same fields. */
	Pcap__V1__ReplayResponse *m = (Pcap__V1__ReplayResponse *)client_unpack(
		&pcap__v1__replay_response__descriptor, ev->buffer);

	ev->unpacked = m;
	if (!m || m->event_case == PCAP__V1__REPLAY_RESPONSE__EVENT__NOT_SET)
		return false;
	if (m->event_case != PCAP__V1__REPLAY_RESPONSE__EVENT_PACKETS) {
		out->message = m;
		return true;
	}
	out->count = m->packets->count;
	out->blocks_done = m->packets->blocks_done;
	out->bytes = m->packets->data.len;
	out->pieces[out->n_pieces++] =
		(struct iovec){m->packets->data.data, out->bytes};
	out->zstd_raw_bytes = m->packets->zstd ? m->packets->raw_bytes : 0;
	ev->beside_bytes = m->packets->beside_bytes;
	return true;
}

/* Takes over b. NULL: it is not a ReplayResponse, or memory is out. */
static struct client_event *event_new(grpc_byte_buffer *b)
{
	uint8_t bytes[PACKETS_FRONT_MAX];
	struct packets_front front;
	const grpc_slice_buffer *s = &b->data.raw.slice_buffer;
	struct event *ev = calloc(
		1, sizeof(*ev) + (slices_of(b) + 1) * sizeof(struct iovec));

	if (!ev) {
		grpc_byte_buffer_destroy(b);
		return NULL;
	}
	ev->buffer = b;
	ev->public.pieces = ev->pieces;
	size_t n = front_copy(s, bytes);
	if (packets_front_read(bytes, n, s->length, &front)) {
		ev->public.count = front.count;
		ev->public.blocks_done = front.blocks_done;
		ev->public.zstd_raw_bytes = front.zstd ? front.raw_bytes : 0;
		ev->beside_bytes = front.beside_bytes;
		client_point(&ev->public, s, front.data);
	} else if (!event_unpack(ev)) {
		client_event_free(&ev->public);
		return NULL;
	}
	return &ev->public;
}

/* What is not a frame beside gRPC, or too large for one. */
static bool client_is_odd(const struct client *c, const struct event *ev)
{
	return c->data < 0 || ev->public.bytes || !ev->public.zstd_raw_bytes ||
	       ev->beside_bytes > MESSAGE_MAX;
}

/* 1; 0 the data connection has ended; -1 it is not understood. */
static int take_beside(struct client *c, struct event *ev)
{
	struct client_event *out = &ev->public;
	size_t n = ev->beside_bytes;

	if (!n)
		return 1;
	if (client_is_odd(c, ev) || !(ev->beside = malloc(n + 1)))
		return -1;
	if (!client_data_read(c->data, ev->beside, n + 1))
		return 0;
	out->n_pieces = 0;
	if (ev->beside[n] == '+') {
		out->pieces[out->n_pieces++] = (struct iovec){ev->beside, n};
		out->bytes = n;
	} else {
		/* A Lost with its packets follows. */
		out->count = out->zstd_raw_bytes = 0;
	}
	return 1;
}

static grpc_byte_buffer *client_next_message(struct client *c)
{
	client_receive(c);
	client_wait_for(c, TAG_RECV);
	grpc_byte_buffer *b = c->received;
	c->received = NULL;
	return b;
}

/* pcapd ends the call with the connection, and says why. */
static int end_without_data(struct client *c, struct err *e)
{
	grpc_byte_buffer *b;

	while ((b = client_next_message(c)))
		grpc_byte_buffer_destroy(b);
	if (!call_end(c, e))
		return -1;
	err_set(e, ERR_UNREACHABLE,
		"the connection to pcapd ended: that of the data");
	client_labelled(c->label, e);
	return -1;
}

int client_next(struct client *c, struct client_event **ev, struct err *e)
{
	grpc_byte_buffer *b = client_next_message(c);

	if (!b)
		return call_end(c, e) ? 0 : -1;
	*ev = event_new(b);
	int got = *ev ? take_beside(c, (struct event *)*ev) : -1;
	if (got == 1)
		return 1;
	client_event_free(*ev);
	*ev = NULL;
	if (got == 0)
		return end_without_data(c, e);
	client_cancel(c);
	call_end(c, e);
	err_set(e, ERR_FAILED, "%s: pcapd's answer is not understood",
		c->method->name);
	return -1;
}
