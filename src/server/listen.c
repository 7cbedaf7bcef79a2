/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listen: from a broadcast's queues to listeners, and the pump that serves
 * those which filter. Guarantees that one who is too slow is told how many
 * packets it lost, and in their place. Leaves out anything that was captured
 * before.
 *
 * A listener has work when its queue has slices. Then it is either idle, in
 * the pump's line, or busy: its messages are being made or sent. A push to a
 * busy one only marks it; whoever ends being busy looks at the mark.
 */
#include "server/listen.h"

#include "packet/packet_select.h"
#include "server/call.h"
#include "server/methods_captures.h"
#include "server/server_internal.h"
#include "server/wire.h"

#include <stdlib.h>

#define LOST_BROADCAST "pcapd could not hand packets out in time"

struct listener {
	struct call *call;
	struct capture_view view; /* until the header is sent */
	struct capture_tail *tail;
	struct subscriber subscriber;
	struct bpf_filter *filter;
	struct packet_select select;
	uint32_t link_type;
	bool link_known; /* else the first slice tells */
	bool header_sent;
	/* Of a filter that is compiled when the first slice has come: that,
	 * what was lost before it, and what became of the filter. */
	struct slice first;
	uint64_t first_lost;
	struct err failure;
	uint64_t sent, lost;

	/* Under the pump's lock. */
	STAILQ_ENTRY(listener) ready;
	bool busy, pushed;
};

static const Pcap__V1__ListenRequest *
server_listen_request(const struct listener *l)
{
	return (const void *)l->call->request;
}

/* --- the line --- */

/* With the pump's lock. The line holds a reference to the call. */
static void join_line(struct listen_pump *p, struct listener *l)
{
	call_ref(l->call);
	l->busy = true;
	bool first = STAILQ_EMPTY(&p->ready);
	STAILQ_INSERT_TAIL(&p->ready, l, ready);
	if (first)
		pthread_cond_signal(&p->work);
}

/* There is something in the queue; often on the thread that hands out. */
static void server_listen_on_wake(void *ctx)
{
	struct listener *l = ctx;
	struct listen_pump *p = &l->call->server->pump;

	pthread_mutex_lock(&p->lock);
	l->pushed = true;
	if (!l->busy)
		join_line(p, l);
	pthread_mutex_unlock(&p->lock);
}

/* A busy listener that has more to do. */
static void line_up(struct listener *l)
{
	struct listen_pump *p = &l->call->server->pump;

	pthread_mutex_lock(&p->lock);
	join_line(p, l);
	pthread_mutex_unlock(&p->lock);
}

/* A busy listener found its queue empty. False: not any more. */
static bool server_listen_rest(struct listener *l)
{
	struct listen_pump *p = &l->call->server->pump;

	pthread_mutex_lock(&p->lock);
	bool empty = !l->pushed;
	if (empty)
		l->busy = false;
	l->pushed = false;
	pthread_mutex_unlock(&p->lock);
	return empty;
}

/* Nothing more comes. The broadcast's reference to the call goes with it. */
static void server_listen_detach(struct listener *l)
{
	if (!broadcast_leave(&l->call->server->broadcasts, &l->subscriber))
		return;
	slice_queue_close(&l->subscriber.queue);
	call_unref(l->call);
}

void listener_free(void *state)
{
	struct listener *l = state;

	slice_queue_done(&l->subscriber.queue);
	if (l->first.block)
		block_unref(l->first.block);
	capture_tail_unref(l->tail);
	bpf_filter_free(l->filter);
	capture_view_done(&l->view);
	free(l);
}

/* --- messages --- */

static bool server_listen_compile(struct listener *l, struct err *e)
{
	const char *text = server_listen_request(l)->filter;

	if (!*text)
		return true;
	l->filter = call_filter(l->call, text, l->link_type,
				l->view.row.snaplen, e);
	l->select.filter = l->filter;
	return l->filter != NULL;
}

static void server_listen_send_header(struct listener *l)
{
	uint32_t snaplen =
		wire_snaplen(&l->view, server_listen_request(l)->snaplen, true);

	l->header_sent = true;
	call_send(l->call, wire_header(&l->view, l->link_type, snaplen, 0));
}

static void server_listen_send_lost(struct listener *l, uint64_t packets,
				    const char *reason)
{
	l->lost += packets;
	call_send(l->call, wire_lost(packets, reason));
}

/* why_not: it is not complete; or NULL. */
static void server_listen_end(struct listener *l, const char *why_not)
{
	Pcap__V1__End server_listen_end = PCAP__V1__END__INIT;
	bool stopping = why_not && call_is_stopping(l->call);

	if (!l->header_sent) {
		if (!l->link_known)
			l->link_type = LINK_UNKNOWN;
		server_listen_send_header(l);
	}
	server_listen_end.packets = l->sent;
	server_listen_end.examined = l->select.examined;
	server_listen_end.min_ns = l->select.packets ? l->select.min_ns : 0;
	server_listen_end.max_ns = l->select.packets ? l->select.max_ns : 0;
	server_listen_end.lost = l->lost;
	server_listen_end.complete = !why_not;
	server_listen_end.note = (char *)(why_not ? why_not : "");
	call_send(l->call, wire_end(&server_listen_end));
	call_finish(l->call,
		    stopping ? GRPC_STATUS_UNAVAILABLE : GRPC_STATUS_OK,
		    stopping ? why_not : "", NULL);
	server_listen_detach(l);
}

static void server_listen_fail(struct listener *l, const struct err *e)
{
	call_fail(l->call, e);
	server_listen_detach(l);
}

/* True: there was something to send. */
static bool server_listen_send_packets(struct listener *l, struct slice s)
{
	struct slice front;
	bool any = s.block != NULL;

	while (any && slice_cut(&s, SLICE_MAX, &front)) {
		l->sent += front.packets;
		call_send(l->call, wire_packets(&front, 0));
	}
	block_unref(s.block);
	return any;
}

/* True: something was sent, or the call has ended; the call's next event goes
 * on. */
static bool send_slice(struct listener *l, struct slice s, uint64_t lost)
{
	struct slice out = {0};
	struct err e = ERR_INIT;

	if (lost)
		server_listen_send_lost(
			l, lost,
			"listener-queue is full: the client was too slow");
	if (!s.block) {
		server_listen_send_lost(l, s.packets, LOST_BROADCAST);
		return true;
	}
	if (!l->header_sent) {
		l->link_known = true;
		l->link_type = s.block->link_type;
		if (l->failure.kind) {
			block_unref(s.block);
			server_listen_fail(l, &l->failure);
			return true;
		}
		server_listen_send_header(l);
	}
	if (s.block->link_type != l->link_type) {
		server_listen_send_lost(l, s.packets, LOST_LINK_TYPE);
		block_unref(s.block);
		return true;
	}
	int more = packet_select_slice(&l->select, s, &out, &e);
	bool sent = more >= 0 && server_listen_send_packets(l, out);
	if (more < 0)
		server_listen_fail(l, &e);
	else if (more == 0)
		server_listen_end(l, NULL);
	return sent || more <= 0 || lost;
}

/* --- a filter whose link type the first slice tells --- */

static bool must_learn(const struct listener *l, const struct slice *s)
{
	return s->block && *server_listen_request(l)->filter && !l->filter &&
	       !l->failure.kind;
}

static void *learn_main(void *arg)
{
	struct listener *l = arg;
	struct call *c = l->call;

	server_listen_compile(l, &l->failure);
	line_up(l);
	call_unref(c);
	return NULL;
}

/* On a thread of its own; the listener stays busy meanwhile. */
static void server_listen_learn(struct listener *l, struct slice s,
				uint64_t lost)
{
	struct call *c = call_ref(l->call);

	l->first = s;
	l->first_lost = lost;
	l->link_type = s.block->link_type;
	if (server_thread(learn_main, l, 0))
		return;
	err_set(&l->failure, ERR_LIMIT, "pcapd cannot make another thread");
	line_up(l);
	call_unref(c);
}

/* As slice_queue_pop; what waited for its filter comes first. */
static int next_slice(struct listener *l, struct slice *s, uint64_t *lost)
{
	if (!l->first.block)
		return slice_queue_pop(&l->subscriber.queue, s, lost);
	*s = l->first;
	*lost = l->first_lost;
	l->first = (struct slice){0};
	return 1;
}

/* A busy listener's next messages; it stays busy until they are sent. They
 * leave together: if the first were sent alone, its completion would go on
 * with the queue while the second is made. */
static void listen_next(struct listener *l)
{
	struct call *c = l->call;
	struct slice s;
	uint64_t lost = 0;
	int got;

	do {
		got = next_slice(l, &s, &lost);
	} while (got == 0 && !server_listen_rest(l));
	if (got == 0)
		return;
	if (got == 1 && must_learn(l, &s)) {
		server_listen_learn(l, s, lost);
		return;
	}
	/* Whoever ended it meanwhile, listen_closed is next. */
	if (!call_hold(c)) {
		if (got == 1 && s.block)
			block_unref(s.block);
		return;
	}
	bool sent = true;
	if (got == 1)
		sent = send_slice(l, s, lost);
	else
		server_listen_end(l, call_is_stopping(c)
					     ? "pcapd is stopping"
					     : "the capture was deleted");
	call_release(c);
	/* One slice at a turn: a filter that nothing passes must not keep the
	 * others waiting. */
	if (!sent)
		line_up(l);
}

/* --- who goes on --- */

static struct listener *server_listen_get(struct call *c)
{
	pthread_mutex_lock(&c->lock);
	struct listener *l = c->state;
	pthread_mutex_unlock(&c->lock);
	return l;
}

void listen_idle(struct call *c)
{
	struct listener *l = server_listen_get(c);

	if (packet_select_all(&l->select))
		listen_next(l);
	else
		line_up(l);
}

void listen_closed(struct call *c)
{
	struct listener *l = server_listen_get(c);

	if (l)
		server_listen_detach(l);
}

void listen_stop(struct call *c)
{
	struct listener *l = server_listen_get(c);

	if (l)
		broadcast_close(&c->server->broadcasts, &l->subscriber);
}

static struct listener *next_ready(struct listen_pump *p)
{
	pthread_mutex_lock(&p->lock);
	while (STAILQ_EMPTY(&p->ready) && !p->stop)
		pthread_cond_wait(&p->work, &p->lock);
	struct listener *l = STAILQ_FIRST(&p->ready);
	if (l) {
		STAILQ_REMOVE_HEAD(&p->ready, ready);
		l->pushed = false;
	}
	pthread_mutex_unlock(&p->lock);
	return l;
}

void pump_run(struct server *s)
{
	struct listener *l;

	while ((l = next_ready(&s->pump))) {
		struct call *c = l->call;

		/* When nobody reads any more, what is queued is just freed. */
		if (!call_is_over(c))
			listen_next(l);
		call_unref(c);
	}
}

void pump_stop(struct server *s)
{
	pthread_mutex_lock(&s->pump.lock);
	s->pump.stop = true;
	pthread_cond_signal(&s->pump.work);
	pthread_mutex_unlock(&s->pump.lock);
}

/* --- the beginning --- */

static bool listen_open(struct listener *l, struct err *e)
{
	const Pcap__V1__ListenRequest *q = server_listen_request(l);
	struct server *s = l->call->server;

	if (!check_snaplen(q->snaplen, e) ||
	    !find_seen(l->call, q->name, &l->view, &l->tail, e))
		return false;
	l->link_known = link_known(&l->view.row);
	l->link_type = l->view.row.link_type;
	l->select = (struct packet_select){
		.max_packets = q->max_packets,
		.snaplen = q->snaplen,
		.pool = s->pool,
	};
	return !l->link_known || server_listen_compile(l, e);
}

static bool server_listen_join(struct listener *l, struct err *e)
{
	call_ref(l->call);
	if (broadcast_join(&l->call->server->broadcasts, l->tail,
			   &l->subscriber))
		return true;
	call_unref(l->call);
	return err_set(e, ERR_FAILED, "out of memory");
}

/* On a thread of its own: a filter may take long to be compiled. */
void run_listen(struct call *c)
{
	struct listener *l = calloc(1, sizeof(*l));
	struct err e = ERR_INIT;

	if (!l) {
		err_set(&e, ERR_FAILED, "out of memory");
		call_fail(c, &e);
		return;
	}
	l->call = c;
	if (!slice_queue_init(&l->subscriber.queue,
			      atomic_load(&c->server->queue_blocks),
			      server_listen_on_wake, l))
		err_set(&e, ERR_FAILED, "out of memory");
	bool opened = !e.kind && listen_open(l, &e);
	bool known = l->link_known; /* the pump may learn it meanwhile */
	l->busy = known;	    /* with its header */
	if (!opened || !server_listen_join(l, &e)) {
		listener_free(l);
		call_fail(c, &e);
		return;
	}
	call_attach(c, l);
	/* After it joined: who has the header has what is captured from then
	 * on. */
	if (known)
		server_listen_send_header(l);
	if (call_is_over(c))
		server_listen_detach(l);
	else if (call_is_stopping(c))
		slice_queue_close(&l->subscriber.queue);
}
