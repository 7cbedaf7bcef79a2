/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replay: a thread that walks a cursor and fills its call's outbox. Guarantees
 * the order Header, Packets with Lost where packets are missing, End, and that
 * End says whether everything that was asked for was read. It waits for slow
 * clients and so never drops. Leaves out how blocks are found: see store.h.
 */
#include "server/replay.h"

#include "packet/packet_select.h"
#include "server/call.h"
#include "server/methods_captures.h"
#include "server/server_internal.h"
#include "server/text.h"
#include "server/wire.h"
#include "store/imports.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define PROGRESS_NS (NS_PER_S / 4)
#define END_ROWS_MAX 100

struct replay {
	struct call *call;
	const Pcap__V1__ReplayRequest *request;
	struct capture_view view;
	struct capture_tail *tail;
	struct capture_tail_watch watch;
	struct bpf_filter *filter;
	struct cursor *cursor;
	struct cursor_range range; /* of the cursor */
	/* Of imported files that are not stored in the order of their times:
	 * one cursor after the other. */
	struct import_run *runs;
	size_t n_runs, run;
	uint64_t blocks_before; /* of the cursors before */
	uint64_t expired;	/* before their cursor could know */
	struct peer *data;	/* its data connection, or NULL */
	struct packet_select select;
	uint32_t link_type;
	int64_t sent_ns; /* when something was sent last */
	Pcap__V1__End end;
	char lost_why[160]; /* the last reason; "": nothing was lost */
	/* Under the call's lock. */
	bool published, feed_closed;
	int64_t passing_ns; /* since when a frame goes beside; 0: none does */
};

/* --- what happens to the capture tail; under the capture tail's lock --- */

static void server_replay_on_published(void *ctx, const struct slice *s)
{
	struct replay *r = ctx;

	(void)s;
	pthread_mutex_lock(&r->call->lock);
	r->published = true;
	pthread_cond_broadcast(&r->call->news);
	pthread_mutex_unlock(&r->call->lock);
}

static void server_replay_on_closed(void *ctx)
{
	struct replay *r = ctx;

	pthread_mutex_lock(&r->call->lock);
	r->feed_closed = true;
	pthread_cond_broadcast(&r->call->news);
	pthread_mutex_unlock(&r->call->lock);
}

/* False: no more packets will come. */
static bool wait_for_packets(struct replay *r)
{
	struct call *c = r->call;

	pthread_mutex_lock(&c->lock);
	while (!r->published && !r->feed_closed && !call_has_ended(c) &&
	       !call_is_stopping(c))
		pthread_cond_wait(&c->news, &c->lock);
	bool more = r->published;
	r->published = false;
	pthread_mutex_unlock(&c->lock);
	return more;
}

/* --- the beginning --- */

static bool server_replay_check_request(struct call *c,
					const Pcap__V1__ReplayRequest *q,
					struct err *e)
{
	if (!check_capture(c, q->name, e) || !check_snaplen(q->snaplen, e))
		return false;
	if (!check_range(q->since_ns, q->until_ns, e))
		return false;
	if (q->until_ns && q->live)
		return err_set(e, ERR_USAGE,
			       "expected an end or a live replay, got both");
	return true;
}

static bool server_replay_go_on(void *ctx);

/* --- files in the order of their times --- */

static bool replay_runs(struct replay *r, struct err *e)
{
	const Pcap__V1__ReplayRequest *q = r->request;

	if (!r->view.row.savefile || q->live)
		return true;
	if (!imports_runs(control_store(r->call->server->control),
			  r->view.row.id, q->since_ns, q->until_ns, &r->runs,
			  &r->n_runs, e))
		return false;
	if (r->n_runs) {
		r->range.first_seq = r->runs[0].first_seq;
		r->range.end_seq = r->runs[0].end_seq;
	}
	return true;
}

/* 1: there was another run, and r->cursor is of it; 0; -1 see e. */
static int replay_next_run(struct replay *r, struct err *e)
{
	struct store *store = control_store(r->call->server->control);
	uint64_t left = 0;

	if (r->run + 1 >= r->n_runs)
		return 0;
	const struct import_run *run = &r->runs[++r->run];
	r->blocks_before += cursor_blocks_done(r->cursor);
	cursor_close(r->cursor);
	r->range.first_seq = run->first_seq;
	r->range.end_seq = run->end_seq;
	r->cursor = cursor_open(store, r->tail, &r->range, e);
	if (!r->cursor ||
	    !imports_left(store, r->view.row.id, r->request->since_ns,
			  r->request->until_ns, run, &left, e))
		return -1;
	if (left < run->packets)
		r->expired += run->packets - left;
	return 1;
}

static uint64_t replay_blocks_done(const struct replay *r)
{
	uint64_t done = r->blocks_before + cursor_blocks_done(r->cursor);
	uint64_t all = cursor_blocks(r->cursor);

	return done < all ? done : all;
}

static bool replay_open(struct replay *r, struct err *e)
{
	const Pcap__V1__ReplayRequest *q = r->request;
	struct control *ctl = r->call->server->control;

	r->range = (struct cursor_range){
		.since_ns = q->since_ns,
		.until_ns = q->until_ns,
		.live = q->live,
		.reader = q->snaplen ? CURSOR_WORKS
			  : q->accept_zstd && !*q->filter && !q->max_packets
				  ? CURSOR_TAKES_FRAMES
				  : CURSOR_PASSES_ON,
		.go_on = server_replay_go_on,
		.ctx = r,
	};

	if (!server_replay_check_request(r->call, q, e))
		return false;
	if (!q->until_ns || q->until_ns > realtime_ns())
		control_catch_up(ctl, q->name);
	if (!find_seen(r->call, q->name, &r->view, &r->tail, e))
		return false;
	const struct capture_row *row = &r->view.row;
	r->link_type = link_known(row) ? row->link_type : LINK_UNKNOWN;
	if (*q->filter) {
		r->filter = call_filter(r->call, q->filter, r->link_type,
					row->snaplen, e);
		if (!r->filter)
			return false;
	}
	/* Before the cursor looks: what comes after that is news. */
	if (q->live)
		capture_tail_watch(r->tail, &r->watch);
	r->range.filter = r->filter;
	r->range.link_type = r->link_type;
	if (!replay_runs(r, e))
		return false;
	if (r->range.reader == CURSOR_TAKES_FRAMES)
		r->data = side_channel_take(r->call->peer, &q->data_ticket);
	if (r->data)
		call_attach(r->call, r);
	r->cursor = cursor_open(control_store(ctl), r->tail, &r->range, e);
	return r->cursor != NULL;
}

static void replay_close(struct replay *r)
{
	cursor_close(r->cursor);
	if (r->data) {
		call_attach(r->call, NULL);
		side_channel_end(r->data);
	}
	if (r->tail) {
		capture_tail_unwatch(r->tail, &r->watch);
		capture_tail_unref(r->tail);
		capture_view_done(&r->view);
	}
	bpf_filter_free(r->filter);
	free(r->runs);
}

static bool server_replay_send_header(struct replay *r)
{
	uint32_t snaplen =
		wire_snaplen(&r->view, r->request->snaplen, r->request->live);

	r->sent_ns = monotonic_ns();
	return call_send_wait(r->call,
			      wire_header(&r->view, r->link_type, snaplen,
					  cursor_blocks(r->cursor)));
}

/* --- the middle --- */

/* All of these say false when the client is gone or the server stops. */

static bool server_replay_send_lost(struct replay *r, uint64_t packets,
				    const char *reason)
{
	r->end.lost += packets;
	snprintf(r->lost_why, sizeof(r->lost_why), "%s", reason);
	return call_send_wait(r->call, wire_lost(packets, reason));
}

static bool replay_send(struct replay *r, grpc_byte_buffer *message)
{
	r->sent_ns = monotonic_ns();
	return call_send_wait(r->call, message);
}

static bool server_replay_send_packets(struct replay *r, struct slice s)
{
	if (!replay_send(r, wire_packets(&s, replay_blocks_done(r))))
		return false;
	r->end.packets += s.packets;
	return true;
}

static bool send_progress(struct replay *r)
{
	struct slice none = {0};

	return monotonic_ns() - r->sent_ns < PROGRESS_NS ||
	       server_replay_send_packets(r, none);
}

/* The cursor passes over what does not match. */
static bool server_replay_go_on(void *ctx)
{
	struct replay *r = ctx;

	return !call_is_over(r->call) && !call_is_stopping(r->call) &&
	       send_progress(r);
}

static bool send_cut(struct replay *r, struct slice s)
{
	struct slice front;
	bool ok = true;

	while (ok && slice_cut(&s, SLICE_MAX, &front))
		ok = server_replay_send_packets(r, front);
	block_unref(s.block);
	return ok;
}

static bool replay_skip(struct replay *r, const struct cursor_item *item)
{
	struct block_info info = item->info;
	const struct slice *s = &item->slice;

	/* A cursor's slices are not counted. */
	if (item->kind == ITEM_SLICE)
		packets_measure(s->block->arena + s->from, s->to - s->from,
				&info);
	block_unref(s->block);
	return server_replay_send_lost(r, info.packets, LOST_LINK_TYPE);
}

/* A frame goes beside gRPC, or has gone. */
static void replay_passes(struct replay *r, int64_t since_ns, uint64_t bytes)
{
	pthread_mutex_lock(&r->call->lock);
	r->passing_ns = since_ns;
	r->call->audit.bytes += bytes;
	pthread_mutex_unlock(&r->call->lock);
}

int64_t replay_beside_ns(const void *state)
{
	const struct replay *r = state;

	return r->passing_ns;
}

/* Nobody waits in sendfile for who is gone. */
void replay_over(void *state)
{
	const struct replay *r = state;

	shutdown(r->data->data_fd, SHUT_RDWR);
}

static bool send_beside(struct replay *r, const struct cursor_item *frame,
			bool *whole, struct err *e)
{
	const struct block_info *i = &frame->info;

	if (!replay_send(r, wire_frame(i, NULL, replay_blocks_done(r))))
		return false;
	replay_passes(r, monotonic_ns(), 0);
	bool sent = side_channel_send(r->data, r->cursor, frame, whole);
	replay_passes(r, 0, sent ? i->stored_bytes : 0);
	return sent || err_set(e, ERR_FAILED, "the data connection has ended");
}

static bool send_inside(struct replay *r, const struct block_info *i,
			bool *whole)
{
	struct block *b = cursor_read(r->cursor, i);

	*whole = b;
	if (!b)
		return true;
	/* A reference of its own, as slices that are cut have: gRPC gives it
	 * back on a thread that has seen nothing of this one. */
	bool ok = replay_send(
		r, wire_frame(i, block_ref(b), replay_blocks_done(r)));
	block_unref(b);
	return ok;
}

/* A block as it lies on disk. What is not whole is told as the cursor's loss.
 */
static bool send_frame(struct replay *r, const struct cursor_item *frame,
		       struct err *e)
{
	const struct block_info *i = &frame->info;
	bool whole;

	if (!(r->data ? send_beside(r, frame, &whole, e)
		      : send_inside(r, i, &whole)))
		return false;
	if (whole) {
		packet_select_whole(&r->select, i);
		r->end.packets += i->packets;
	}
	return true;
}

/* 1: go on; 0: done; -1: see e, or without a kind the call has ended. */
static int replay_item(struct replay *r, const struct cursor_item *item,
		       struct err *e)
{
	struct slice out = {0};

	if (item->link_type != r->link_type)
		return replay_skip(r, item) ? 1 : -1;
	if (item->kind == ITEM_FRAME)
		return send_frame(r, item, e) ? 1 : -1;
	int more = packet_select_slice(&r->select, item->slice, &out, e);
	if (more < 0)
		return -1;
	bool ok = out.block ? send_cut(r, out) : send_progress(r);
	return ok ? more : -1;
}

static int replay_step(struct replay *r, struct err *e)
{
	const char *reason = NULL;
	struct cursor_item item = {0};
	int got = cursor_next(r->cursor, &item, e);
	uint64_t lost = cursor_lost(r->cursor, &reason);

	if (r->expired && server_replay_send_lost(r, r->expired, "expired"))
		r->expired = 0;
	if (reason && !server_replay_send_lost(r, lost, reason)) {
		block_unref(item.slice.block);
		return -1;
	}
	if (got == 1)
		return replay_item(r, &item, e);
	if (got == 0 && r->request->live)
		return wait_for_packets(r) ? 1 : 0;
	return got ? got : replay_next_run(r, e);
}

/* --- the end --- */

/* What the End says of the range. NULL: *e. */
static Pcap__V1__Coverage *replay_coverage(struct replay *r, struct coverage *c,
					   struct err *e)
{
	const Pcap__V1__ReplayRequest *q = r->request;
	struct capture_view view;
	char id[24];

	snprintf(id, sizeof(id), "%llu", (unsigned long long)r->view.row.id);
	if (!control_coverage(r->call->server->control, id, q->since_ns,
			      q->until_ns, c, &view, e))
		return NULL;
	capture_view_done(&view);
	return wire_coverage(c, END_ROWS_MAX, e);
}

/* What somebody else found out is told like what this one came across. */
static bool replay_is_whole(struct replay *r, const struct coverage *c,
			    bool enough, struct err *e)
{
	int64_t until_ns = enough ? r->select.max_ns + 1 : 0;
	uint64_t packets;
	size_t n = coverage_damage(c, until_ns, &packets);

	if (n && packets)
		return err_set(e, ERR_INCOMPLETE,
			       "%" PRIu64 " packets that were stored are "
			       "damaged or gone",
			       packets);
	return n == 0 ||
	       err_set(e, ERR_INCOMPLETE,
		       "packets that were stored are damaged or gone");
}

static void replay_end(struct replay *r, struct err *e)
{
	Pcap__V1__End *end = &r->end;
	struct coverage coverage = {0};
	char note[sizeof(e->what)];

	/* A live one has no range. Where nobody can say what is missing, a
	 * replay is not complete. */
	if (!r->request->live && !e->kind)
		end->coverage = replay_coverage(r, &coverage, e);
	end->examined = r->select.examined;
	end->min_ns = r->select.packets ? r->select.min_ns : 0;
	end->max_ns = r->select.packets ? r->select.max_ns : 0;
	bool enough = r->request->max_packets &&
		      r->select.packets >= r->request->max_packets;
	snprintf(note, sizeof(note), "the capture was deleted");
	if (!e->kind && !enough && call_is_stopping(r->call))
		err_set(e, ERR_UNREACHABLE, "pcapd is stopping");
	else if (!e->kind && (enough || !r->request->live))
		end->complete = replay_is_whole(r, &coverage, enough, e);
	if (e->kind)
		snprintf(note, sizeof(note), "%s", e->what);
	text_clean(note);
	if (!end->complete)
		end->note = note;
	call_send(r->call, wire_end(end));
	free(end->coverage);
	free(coverage.rows);
	if (!e->kind && r->lost_why[0] && end->lost)
		err_set(e, ERR_INCOMPLETE,
			"%" PRIu64 " packets are missing: %s", end->lost,
			r->lost_why);
	else if (!e->kind && r->lost_why[0])
		err_set(e, ERR_INCOMPLETE, "packets are missing: %s",
			r->lost_why);
	if (e->kind)
		call_fail(r->call, e);
	else
		call_finish(r->call, GRPC_STATUS_OK, "", NULL);
}

static void replay_loop(struct replay *r)
{
	struct err e = ERR_INIT;
	int more = server_replay_send_header(r) ? 1 : -1;

	while (more > 0 && !call_is_over(r->call) && !call_is_stopping(r->call))
		more = replay_step(r, &e);
	replay_end(r, &e);
}

void run_replay(struct call *c)
{
	struct replay r = {
		.call = c,
		.request = (const void *)c->request,
		.watch = {.published = server_replay_on_published,
			  .closed = server_replay_on_closed},
		.end = PCAP__V1__END__INIT,
	};
	struct err e = ERR_INIT;

	r.watch.ctx = &r;
	if (!replay_open(&r, &e)) {
		call_fail(c, &e);
	} else {
		r.select = (struct packet_select){
			.filter = r.filter,
			.since_ns = r.request->since_ns,
			.until_ns = r.request->until_ns,
			.max_packets = r.request->max_packets,
			.snaplen = r.request->snaplen,
			.pool = c->server->pool,
		};
		replay_loop(&r);
	}
	replay_close(&r);
}
