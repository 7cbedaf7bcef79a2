/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One call: its references, its outbox, its end. Guarantees that gRPC sees
 * one batch of sends at a time, that messages leave in the order in which
 * they were given, that the status comes last and once, and that nothing is
 * freed while gRPC or a thread knows it. Leaves out what calls are about.
 */
#include "server/call.h"

#include "base/log.h"
#include "server/audit.h"
#include "server/server_internal.h"
#include "server/status_details.h"
#include "server/text.h"
#include "server/wire.h"

#include <assert.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>

/* Of a replay, what waits to be sent: messages, and bytes that are there when
 * no more are added. They should be in the processor's cache still. */
#define OUTBOX_MAX 8
#define OUTBOX_BYTES (2u << 20)

static void message_free(struct message *m)
{
	grpc_byte_buffer_destroy(m->bytes);
	free(m);
}

static void messages_free(struct messages *all)
{
	struct message *m;

	while ((m = STAILQ_FIRST(all))) {
		STAILQ_REMOVE_HEAD(all, entry);
		message_free(m);
	}
}

struct call *call_ref(struct call *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

bool call_ref_living(struct call *c)
{
	unsigned n = atomic_load(&c->refs);

	while (n && !atomic_compare_exchange_weak(&c->refs, &n, n + 1))
		;
	return n != 0;
}

void call_unref(struct call *c)
{
	struct server *s = c->server;
	struct peer *who = c->peer;

	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	control_include(s->control, c->excluded);
	if (c->state && c->method->free)
		c->method->free(c->state);
	messages_free(&c->outbox);
	if (c->request)
		protobuf_c_message_free_unpacked(c->request, NULL);
	if (c->grpc)
		grpc_call_unref(c->grpc);
	grpc_byte_buffer_destroy(c->received);
	grpc_call_details_destroy(&c->details);
	grpc_metadata_array_destroy(&c->metadata);
	grpc_slice_unref(c->status_text);
	for (size_t i = 0; i < c->n_trailing; i++)
		grpc_slice_unref(c->trailing[i].value);
	pthread_cond_destroy(&c->news);
	pthread_mutex_destroy(&c->lock);
	/* The last steps: server_stop waits for them. */
	server_dismiss(s, c);
	peer_unref(who);
}

static void start_batch(struct call *c, const grpc_op *ops, size_t n,
			struct op *op)
{
	call_ref(c);
	grpc_call_error error =
		grpc_call_start_batch(c->grpc, ops, n, op, NULL);
	/* Also true of a call that was cancelled. */
	assert(error == GRPC_CALL_OK);
	(void)error;
}

/* With the call's lock. Nothing waits for who is gone. */
static void end_call(struct call *c)
{
	if (c->phase != CALL_FINISHED)
		c->phase = CALL_LOST;
	if (c->state && c->method->over)
		c->method->over(c->state);
}

void call_attach(struct call *c, void *state)
{
	pthread_mutex_lock(&c->lock);
	c->state = state;
	if (state && c->phase >= CALL_FINISHED)
		end_call(c);
	pthread_mutex_unlock(&c->lock);
}

/* --- out --- */

static void call_push(struct call *c, struct message *m)
{
	STAILQ_INSERT_TAIL(&c->outbox, m, entry);
	c->outbox_count++;
	c->outbox_bytes += grpc_byte_buffer_length(m->bytes);
}

static struct message *call_pop(struct call *c)
{
	struct message *m = STAILQ_FIRST(&c->outbox);

	if (!m)
		return NULL;
	STAILQ_REMOVE_HEAD(&c->outbox, entry);
	c->outbox_count--;
	c->outbox_bytes -= grpc_byte_buffer_length(m->bytes);
	return m;
}

/* The right to start batches of sends; send_next gives it back. */
static bool take_turn(struct call *c)
{
	bool mine = !c->sending;

	c->sending = true;
	return mine;
}

static size_t add_message(struct call *c, grpc_op *ops, struct message *m)
{
	c->sending_bytes = m->bytes;
	if (!c->method || !c->method->more)
		c->audit.bytes += grpc_byte_buffer_length(m->bytes);
	ops->op = GRPC_OP_SEND_MESSAGE;
	ops->data.send_message.send_message = m->bytes;
	return 1;
}

static size_t add_status(struct call *c, grpc_op *ops)
{
	c->phase = CALL_FINISHED;
	ops->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
	ops->data.send_status_from_server.status = c->status;
	ops->data.send_status_from_server.status_details = &c->status_text;
	ops->data.send_status_from_server.trailing_metadata = c->trailing;
	ops->data.send_status_from_server.trailing_metadata_count =
		c->n_trailing;
	return 1;
}

/* Whoever has the turn: sends what comes next, or gives the turn back and
 * says false. */
static bool send_next(struct call *c)
{
	struct messages dropped = STAILQ_HEAD_INITIALIZER(dropped);
	struct message *m = NULL;
	grpc_op ops[3];
	size_t n = 0;

	memset(ops, 0, sizeof(ops));
	pthread_mutex_lock(&c->lock);
	if (c->phase == CALL_LOST) {
		STAILQ_CONCAT(&dropped, &c->outbox);
		c->outbox_count = 0;
		c->outbox_bytes = 0;
	} else {
		m = call_pop(c);
		bool last =
			c->phase == CALL_FINISHING && STAILQ_EMPTY(&c->outbox);
		if ((m || last) && !c->greeted) {
			c->greeted = true;
			ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
		}
		if (m)
			n += add_message(c, &ops[n], m);
		if (last)
			n += add_status(c, &ops[n]);
	}
	c->sending = n > 0;
	c->sending_ns = n ? monotonic_ns() : 0;
	pthread_cond_broadcast(&c->news);
	pthread_mutex_unlock(&c->lock);
	free(m);
	messages_free(&dropped);
	if (n)
		start_batch(c, ops, n, &c->op_send);
	return n > 0;
}

static void call_sent(void *ctx, bool ok)
{
	struct call *c = ctx;

	pthread_mutex_lock(&c->lock);
	grpc_byte_buffer *bytes = c->sending_bytes;
	c->sending_bytes = NULL;
	if (!ok)
		end_call(c);
	pthread_mutex_unlock(&c->lock);
	grpc_byte_buffer_destroy(bytes);
	if (!send_next(c) && c->method && c->method->idle) {
		pthread_mutex_lock(&c->lock);
		bool idle = !call_has_ended(c) && !c->sending;
		pthread_mutex_unlock(&c->lock);
		if (idle)
			c->method->idle(c);
	}
	call_unref(c);
}

/* Takes bytes over in any case. NULL: the call ends with that error. */
static struct message *message_new(struct call *c, grpc_byte_buffer *bytes)
{
	struct message *m = calloc(1, sizeof(*m));

	if (m) {
		m->bytes = bytes;
		return m;
	}
	grpc_byte_buffer_destroy(bytes);
	call_finish(c, GRPC_STATUS_RESOURCE_EXHAUSTED, "pcapd is out of memory",
		    NULL);
	return NULL;
}

void call_send(struct call *c, grpc_byte_buffer *bytes)
{
	struct message *m = message_new(c, bytes);

	if (!m)
		return;
	pthread_mutex_lock(&c->lock);
	bool refused = call_has_ended(c);
	if (!refused)
		call_push(c, m);
	bool mine = !refused && take_turn(c);
	pthread_mutex_unlock(&c->lock);
	if (refused)
		message_free(m);
	if (mine)
		send_next(c);
}

bool call_hold(struct call *c)
{
	pthread_mutex_lock(&c->lock);
	bool ends = call_has_ended(c);
	bool mine = !ends && take_turn(c);
	pthread_mutex_unlock(&c->lock);
	assert(mine || ends);
	return mine;
}

void call_release(struct call *c)
{
	send_next(c);
}

static bool call_has_room(const struct call *c)
{
	return c->outbox_count < OUTBOX_MAX && c->outbox_bytes < OUTBOX_BYTES;
}

bool call_send_wait(struct call *c, grpc_byte_buffer *bytes)
{
	pthread_mutex_lock(&c->lock);
	while (!call_has_room(c) && !call_has_ended(c) &&
	       !atomic_load(&c->server->stopping))
		pthread_cond_wait(&c->news, &c->lock);
	bool room = call_has_room(c) && !call_has_ended(c);
	pthread_mutex_unlock(&c->lock);
	/* One thread a call waits here, so the room is still there. */
	if (room)
		call_send(c, bytes);
	else
		grpc_byte_buffer_destroy(bytes);
	return room;
}

static void call_trail(struct call *c, const char *key, grpc_slice value)
{
	grpc_metadata *m = &c->trailing[c->n_trailing++];

	m->key = grpc_slice_from_static_string(key);
	m->value = value;
}

static void set_status(struct call *c, grpc_status_code status,
		       const struct err *why)
{
	char encoded[3 * sizeof(why->hint) + 1];
	struct err e = *why;

	if (call_has_ended(c))
		return;
	c->phase = CALL_FINISHING;
	c->status = status;
	text_clean(e.what);
	c->status_text = grpc_slice_from_copied_string(e.what);
	if (status != GRPC_STATUS_OK)
		call_trail(c, STATUS_DETAILS_KEY, status_details(status, &e));
	if (*e.hint) {
		text_percent(encoded, sizeof(encoded), e.hint);
		call_trail(c, "pcap-hint",
			   grpc_slice_from_copied_string(encoded));
	}
	pthread_cond_broadcast(&c->news);
}

static void call_end_with(struct call *c, grpc_status_code status,
			  const struct err *e)
{
	pthread_mutex_lock(&c->lock);
	set_status(c, status, e);
	bool mine = take_turn(c);
	pthread_mutex_unlock(&c->lock);
	if (mine)
		send_next(c);
}

void call_finish(struct call *c, grpc_status_code status, const char *what,
		 const char *hint)
{
	struct err e = ERR_INIT;

	err_set(&e, err_from_grpc_status(status), "%s", what);
	if (hint)
		err_hint(&e, "%s", hint);
	call_end_with(c, status, &e);
}

void call_fail(struct call *c, const struct err *e)
{
	call_end_with(c, (grpc_status_code)err_grpc_status(e->kind), e);
}

void call_answer(struct call *c, const ProtobufCMessage *answer)
{
	static const struct err fine = ERR_INIT;
	struct message *m = message_new(c, wire_pack(answer));

	if (!m)
		return;
	pthread_mutex_lock(&c->lock);
	bool refused = call_has_ended(c);
	if (!refused)
		call_push(c, m);
	set_status(c, GRPC_STATUS_OK, &fine);
	bool mine = take_turn(c);
	pthread_mutex_unlock(&c->lock);
	if (refused)
		message_free(m);
	if (mine)
		send_next(c);
}

/* --- in --- */

void call_receive(struct call *c)
{
	grpc_op op;

	memset(&op, 0, sizeof(op));
	op.op = GRPC_OP_RECV_MESSAGE;
	op.data.recv_message.recv_message = &c->received;
	pthread_mutex_lock(&c->lock);
	assert(!c->receiving_ns);
	c->receiving_ns = monotonic_ns();
	pthread_mutex_unlock(&c->lock);
	start_batch(c, &op, 1, &c->op_receive);
}

static void take_first(struct call *c, ProtobufCMessage *m)
{
	c->request = m;
	pthread_mutex_lock(&c->lock);
	/* A server that stops may have answered meanwhile. */
	bool start = !call_has_ended(c);
	if (start)
		c->phase = CALL_STARTED;
	pthread_mutex_unlock(&c->lock);
	if (start)
		c->method->start(c);
}

static bool message_fits(struct call *c, grpc_byte_buffer *bytes, struct err *e)
{
	unsigned max = atomic_load(&c->server->max_message);
	size_t n = grpc_byte_buffer_length(bytes);

	if (n > max)
		return err_set(e, ERR_LIMIT,
			       "max-message is %u bytes, this one has %zu", max,
			       n);
	return n <= REQUEST_MAX || c->method->bound == BOUND_IMPORTS ||
	       err_set(e, ERR_LIMIT,
		       "a request has at most %u bytes, this one has %zu",
		       REQUEST_MAX, n);
}

static void take_message(struct call *c, grpc_byte_buffer *bytes, bool first)
{
	struct err e = ERR_INIT;
	ProtobufCMessage *m = NULL;

	if (bytes) {
		if (message_fits(c, bytes, &e))
			m = wire_unpack(c->method->request, bytes, &e);
		if (!m) {
			call_fail(c, &e);
			return;
		}
	}
	if (first && m)
		take_first(c, m);
	else if (first)
		call_finish(c, GRPC_STATUS_INVALID_ARGUMENT,
			    "the call has no request", NULL);
	else
		c->method->more(c, m);
}

static void call_received(void *ctx, bool ok)
{
	struct call *c = ctx;

	/* The end of what a peer sends is not the same as a lost peer. */
	bool lost = !ok || grpc_call_failed_before_recv_message(c->grpc);
	pthread_mutex_lock(&c->lock);
	grpc_byte_buffer *bytes = c->received;
	c->received = NULL;
	c->receiving_ns = 0;
	if (!bytes && lost)
		end_call(c);
	if (bytes && c->method->more)
		c->audit.bytes += grpc_byte_buffer_length(bytes);
	bool first = c->phase == CALL_ARRIVED;
	bool wanted = !call_has_ended(c);
	pthread_cond_broadcast(&c->news);
	pthread_mutex_unlock(&c->lock);
	if (wanted)
		take_message(c, bytes, first);
	grpc_byte_buffer_destroy(bytes);
	call_unref(c);
}

/* --- the beginning and the end --- */

static void call_closed(void *ctx, bool ok)
{
	struct call *c = ctx;

	(void)ok;
	pthread_mutex_lock(&c->lock);
	end_call(c);
	pthread_cond_broadcast(&c->news);
	pthread_mutex_unlock(&c->lock);
	if (c->method && c->method->closed)
		c->method->closed(c);
	audit_end(c);
	call_unref(c);
}

static bool one_of_few(struct call *c, struct err *e)
{
	unsigned limit = atomic_load(&c->server->max_streams);

	if (atomic_load(&c->peer->n_calls) <= limit)
		return true;
	err_set(e, ERR_LIMIT,
		"max-streams: %u calls of this connection are under way "
		"already",
		limit);
	return err_hint(e, "Try again when one of them has ended.");
}

static void call_dispatch(struct call *c)
{
	grpc_slice path = c->details.method;
	struct err e = ERR_INIT;

	const struct method *m =
		method_find((const char *)GRPC_SLICE_START_PTR(path),
			    GRPC_SLICE_LENGTH(path));
	if (!m) {
		call_finish(c, GRPC_STATUS_UNIMPLEMENTED,
			    "this pcapd has no such method", NULL);
		return;
	}
	pthread_mutex_lock(&c->lock);
	c->method = m;
	pthread_mutex_unlock(&c->lock);
	if (c->peer->refusal.kind)
		call_fail(c, &c->peer->refusal);
	else if (peer_may(c->peer, m, &e) && one_of_few(c, &e) &&
		 server_admit(c->server, c, &e))
		call_receive(c);
	else
		call_fail(c, &e);
}

static void call_arrived(void *ctx, bool ok)
{
	struct call *c = ctx;
	grpc_op op;

	pthread_mutex_lock(&c->lock);
	c->arrived_ns = monotonic_ns();
	if (ok)
		c->phase = CALL_ARRIVED;
	pthread_mutex_unlock(&c->lock);
	if (!ok) {
		call_unref(c);
		return;
	}
	call_request(c->peer);
	atomic_fetch_add(&c->peer->n_calls, 1);
	server_enlist(c->server, c);
	memset(&op, 0, sizeof(op));
	op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
	op.data.recv_close_on_server.cancelled = &c->close_cancelled;
	start_batch(c, &op, 1, &c->op_close);
	call_dispatch(c);
	call_unref(c);
}

void call_request(struct peer *who)
{
	struct call *c = calloc(1, sizeof(*c));

	/* Its next call waits until there is memory: calls_review. */
	if (!c) {
		atomic_store(&who->starved, true);
		return;
	}
	c->server = who->server;
	c->peer = who;
	atomic_fetch_add(&who->refs, 1);
	atomic_init(&c->refs, 1);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->news, NULL);
	STAILQ_INIT(&c->outbox);
	c->status_text = grpc_empty_slice();
	grpc_call_details_init(&c->details);
	grpc_metadata_array_init(&c->metadata);
	op_init(&c->op_new, call_arrived, c);
	op_init(&c->op_close, call_closed, c);
	op_init(&c->op_receive, call_received, c);
	op_init(&c->op_send, call_sent, c);
	grpc_completion_queue *cq = c->server->cq;
	if (grpc_server_request_call(who->grpc, &c->grpc, &c->details,
				     &c->metadata, cq, cq,
				     &c->op_new) != GRPC_CALL_OK)
		call_unref(c);
}

/* --- calls that hang --- */

static bool is_late(int64_t since_ns, int64_t now, unsigned seconds)
{
	return since_ns && now - since_ns > seconds * NS_PER_S;
}

/* Others wait for what it has. */
static bool call_is_wanted(struct call *c, int64_t now)
{
	pthread_mutex_lock(&c->lock);
	const struct method *m = c->method;
	pthread_mutex_unlock(&c->lock);
	return m && place_is_wanted(c->peer, m->bound, now);
}

/* How long a message may wait to be taken. */
static unsigned patience_s(struct call *c, bool wanted)
{
	unsigned taking = atomic_load(&c->server->send_timeout_s);
	unsigned held = (unsigned)(PLACE_HELD_NS / NS_PER_S);

	return wanted && taking > held ? held : taking;
}

/* Since when the next message is waited for, where the client could ask again
 * instead; 0: it is not. An import is idle for as long as its client likes. */
static int64_t call_idle_ns(const struct call *c)
{
	return c->phase == CALL_STARTED && c->method->bound == BOUND_CALLS
		       ? c->receiving_ns
		       : 0;
}

/* Since when what goes beside the outbox is not taken; 0: it is. */
static int64_t call_beside_ns(const struct call *c)
{
	return c->state && c->method->beside_ns ? c->method->beside_ns(c->state)
						: 0;
}

/* Seconds that are over; 0: c does not hang. */
static unsigned call_hangs(struct call *c, int64_t now, const char **what)
{
	unsigned request = atomic_load(&c->server->request_timeout_s);
	bool wanted = call_is_wanted(c, now);
	unsigned taking = patience_s(c, wanted);
	unsigned over = 0;

	pthread_mutex_lock(&c->lock);
	if (c->phase == CALL_LOST) {
		over = 0;
	} else if (is_late(c->sending_ns, now, taking) ||
		   is_late(call_beside_ns(c), now, taking)) {
		over = taking;
		*what = "send-timeout: nothing was taken";
	} else if ((c->phase == CALL_ARRIVED &&
		    is_late(c->arrived_ns, now, request)) ||
		   (wanted && is_late(call_idle_ns(c), now, request))) {
		over = request;
		*what = "request-timeout: no request came";
	}
	pthread_mutex_unlock(&c->lock);
	return over;
}

/* One that has to ask again, with a reference; NULL: there is none. */
static struct peer *next_starved(struct server *s)
{
	struct peer *c;

	pthread_mutex_lock(&s->lock);
	LIST_FOREACH(c, &s->peers, entry)
		if (atomic_load(&c->starved) && peer_ref_living(c))
			break;
	pthread_mutex_unlock(&s->lock);
	return c;
}

static void request_again(struct server *s)
{
	struct peer *c;
	bool fed = true;

	while (fed && (c = next_starved(s))) {
		atomic_store(&c->starved, false);
		call_request(c);
		fed = !atomic_load(&c->starved);
		peer_unref(c);
	}
}

void calls_review(struct server *s)
{
	int64_t now = monotonic_ns();
	struct call *c = NULL;

	request_again(s);
	while ((c = server_next_call(s, NULL, c))) {
		const char *what = NULL;
		char why[96];
		unsigned over = call_hangs(c, now, &what);

		if (!over)
			continue;
		snprintf(why, sizeof(why), "%s for %u s", what, over);
		log_info("%s: a call is ended: %s", peer_known(c->peer), why);
		grpc_call_cancel_with_status(
			c->grpc, GRPC_STATUS_DEADLINE_EXCEEDED, why, NULL);
	}
}

void call_forbid(struct call *c, const char *why)
{
	call_finish(c, GRPC_STATUS_PERMISSION_DENIED, why, NULL);
	call_wake(c);
}

void calls_restrict(struct server *s, uint64_t capture, const char *people)
{
	struct call *c = NULL;

	while ((c = server_next_call(s, NULL, c))) {
		pthread_mutex_lock(&c->lock);
		bool about = c->capture == capture;
		pthread_mutex_unlock(&c->lock);
		if (about && !peer_sees(c->peer, people))
			call_forbid(c, "the capture was limited to others");
	}
}

/* --- what threads ask --- */

bool call_is_over(struct call *c)
{
	pthread_mutex_lock(&c->lock);
	bool over = call_has_ended(c);
	pthread_mutex_unlock(&c->lock);
	return over;
}

bool call_is_stopping(struct call *c)
{
	return atomic_load(&c->server->stopping);
}

void call_wake(struct call *c)
{
	pthread_mutex_lock(&c->lock);
	pthread_cond_broadcast(&c->news);
	pthread_mutex_unlock(&c->lock);
}
