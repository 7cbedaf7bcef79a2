/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Explain and Count: what a reader would read, and how much there is of it.
 * Guarantees that a count is that of a replay with the same filter and range:
 * a block is counted by its row only when all of it falls into one interval.
 * Leaves out how blocks are found: see store.h.
 */
#include "server/count.h"

#include "server/call.h"
#include "server/methods_captures.h"
#include "server/server_internal.h"
#include "server/text.h"
#include "server/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTERVALS_MAX 65536u
#define BY_MIN_NS (NS_PER_S / 1000)

/* What both begin with. */
struct server_count_reading {
	struct call *call;
	struct capture_view view;
	struct capture_tail *tail;
	struct bpf_filter *filter;
	struct cursor_range range;
};

static bool server_count_go_on(void *ctx)
{
	struct server_count_reading *r = ctx;

	return !call_is_over(r->call) && !call_is_stopping(r->call);
}

/* What to answer when it failed: whoever waits at a pcapd that stops is told.*/
static void reading_fail(struct server_count_reading *r, struct err *e)
{
	if (!e->kind && call_is_stopping(r->call))
		err_set(e, ERR_UNREACHABLE, "pcapd is stopping");
	call_fail(r->call, e);
}

static bool reading_open(struct call *c, struct server_count_reading *r,
			 const char *name, const char *filter, int64_t since_ns,
			 int64_t until_ns, struct err *e)
{
	struct control *ctl = c->server->control;

	if (!check_capture(c, name, e) || !check_range(since_ns, until_ns, e))
		return false;
	if (!until_ns || until_ns > realtime_ns())
		control_catch_up(ctl, name);
	if (!find_seen(c, name, &r->view, &r->tail, e))
		return false;
	const struct capture_row *row = &r->view.row;
	uint32_t link_type = link_known(row) ? row->link_type : LINK_UNKNOWN;
	r->range.go_on = server_count_go_on;
	r->range.ctx = r;
	r->range.since_ns = since_ns;
	r->range.until_ns = until_ns;
	r->range.link_type = link_type;
	if (!*filter)
		return true;
	r->filter = call_filter(c, filter, link_type, row->snaplen, e);
	r->range.filter = r->filter;
	return r->filter;
}

static void reading_close(struct server_count_reading *r)
{
	bpf_filter_free(r->filter);
	if (!r->tail)
		return;
	capture_tail_unref(r->tail);
	capture_view_done(&r->view);
}

/* --- Explain --- */

static void wire_step(Pcap__V1__ExplainResponse__Step *m,
		      const struct explain_step *s)
{
	pcap__v1__explain_response__step__init(m);
	m->segments = s->segments;
	m->blocks = s->blocks;
	m->packets = s->packets;
	m->stored_bytes = s->stored_bytes;
	m->raw_bytes = s->raw_bytes;
}

static void answer_explain(struct call *c, const struct server_count_reading *r,
			   struct explain *x)
{
	Pcap__V1__ExplainResponse answer = PCAP__V1__EXPLAIN_RESPONSE__INIT;
	Pcap__V1__ExplainResponse__Step in_range, unions, to_read;
	Pcap__V1__Capture capture;
	char *doubts[EXPLAIN_DOUBTS];
	Pcap__V1__ExplainResponse__Word words[EXPLAIN_WORDS];
	Pcap__V1__ExplainResponse__Word *list[EXPLAIN_WORDS];

	wire_capture(&capture, &r->view);
	wire_step(&in_range, &x->in_range);
	wire_step(&unions, &x->after_unions);
	wire_step(&to_read, &x->to_read);
	for (size_t i = 0; i < x->n_doubts; i++)
		doubts[i] = x->doubts[i];
	answer.capture = &capture;
	answer.in_range = &in_range;
	answer.after_unions = &unions;
	answer.to_read = &to_read;
	answer.without_index = x->without_index;
	answer.in_memory = x->in_memory;
	answer.n_doubts = x->n_doubts;
	answer.doubts = doubts;
	for (size_t i = 0; i < x->n_words; i++) {
		list[i] = &words[i];
		pcap__v1__explain_response__word__init(list[i]);
		words[i].name = (char *)x->words[i].name;
		words[i].segments = x->words[i].segments;
		words[i].blocks = x->words[i].blocks;
	}
	answer.n_words = x->n_words;
	answer.words = list;
	call_answer(c, &answer.base);
}

void run_explain(struct call *c)
{
	const Pcap__V1__ExplainRequest *q = (const void *)c->request;
	struct store *s = control_store(c->server->control);
	struct server_count_reading r = {.call = c};
	struct explain x;
	struct err e = ERR_INIT;

	if (reading_open(c, &r, q->name, q->filter, q->since_ns, q->until_ns,
			 &e) &&
	    store_explain(s, r.tail, &r.range, &x, &e))
		answer_explain(c, &r, &x);
	else
		reading_fail(&r, &e);
	reading_close(&r);
}

/* --- Count --- */

struct interval {
	int64_t from_ns;
	uint64_t packets;
};

struct count {
	struct server_count_reading
		reading; /* first: it is what a cursor calls back with */
	int64_t by_ns;	 /* 0: one */
	uint64_t packets, lost, blocks_read, blocks_known;
	char why[160];		    /* they were lost */
	struct interval *intervals; /* by from_ns; in pages the first `most` */
	size_t n, cap, last;	    /* last: where the one before went */
	size_t most;
	bool paged, later; /* later: not the first page */
	bool more;	   /* there may be some after this page */
	bool failed;	   /* too many, or memory is out */
	struct err *e;
};

static int64_t interval_of(const struct count *k, int64_t ns)
{
	int64_t over = k->by_ns ? ns % k->by_ns : 0;

	return k->by_ns ? ns - over - (over < 0 ? k->by_ns : 0) : 0;
}

/* Of a page only: it is full, and this comes after it. */
static bool is_after_page(const struct count *k, int64_t ns)
{
	return k->paged && k->n == k->most &&
	       interval_of(k, ns) > k->intervals[k->n - 1].from_ns;
}

static bool make_interval(struct count *k, size_t at, int64_t from_ns)
{
	if (k->n == k->most && !k->paged) {
		err_set(k->e, ERR_LIMIT,
			"count: more than %u intervals, the limit on an answer",
			INTERVALS_MAX);
		return err_hint(k->e, "Ask for longer ones, or for pages.");
	}
	if (k->n == k->most) { /* the last one falls out of the page */
		k->n--;
		k->more = true;
	}
	if (k->n == k->cap) {
		size_t cap = k->cap ? 2 * k->cap : 64;
		void *more = realloc(k->intervals, cap * sizeof(*k->intervals));

		if (!more)
			return err_no_memory(k->e, "count");
		k->intervals = more;
		k->cap = cap;
	}
	memmove(&k->intervals[at + 1], &k->intervals[at],
		(k->n - at) * sizeof(*k->intervals));
	k->intervals[at] = (struct interval){from_ns, 0};
	k->n++;
	return true;
}

static void server_count_add(struct count *k, int64_t ns, uint64_t packets)
{
	int64_t from_ns = interval_of(k, ns);
	size_t at = k->last;

	k->packets += packets;
	if (is_after_page(k, ns)) {
		k->more = true;
		return;
	}
	if (at >= k->n || k->intervals[at].from_ns != from_ns) {
		size_t to = k->n;

		at = 0;
		while (at < to) {
			size_t middle = at + (to - at) / 2;

			if (k->intervals[middle].from_ns < from_ns)
				at = middle + 1;
			else
				to = middle;
		}
		if ((at == k->n || k->intervals[at].from_ns != from_ns) &&
		    !make_interval(k, at, from_ns)) {
			k->failed = true;
			return;
		}
		k->last = at;
	}
	k->intervals[at].packets += packets;
}

/* The cursor asks: is the row enough? */
static bool row_is_enough(void *ctx, const struct block_info *i)
{
	struct count *k = ctx; /* of its reading, which is its first */
	const struct cursor_range *r = &k->reading.range;

	bool after = is_after_page(k, i->min_ns);

	if (after && k->later) {
		k->more = true;
		return true;
	}
	if (r->filter || i->min_ns < r->since_ns ||
	    (r->until_ns && i->max_ns >= r->until_ns) ||
	    (!after && interval_of(k, i->min_ns) != interval_of(k, i->max_ns)))
		return false;
	server_count_add(k, i->min_ns, i->packets);
	k->blocks_known++;
	return true;
}

static void count_slice(struct count *k, const struct slice *s)
{
	const struct cursor_range *r = &k->reading.range;
	bool foreign = r->filter && s->block->link_type != r->link_type;
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = s->from;

	k->blocks_read += s->from == 0;
	while (packet_next(s->block->arena, s->to, &at, &h, &body) == 1) {
		int64_t ns = packet_time_ns(&h);

		if (ns < r->since_ns || (r->until_ns && ns >= r->until_ns))
			continue;
		if (foreign)
			k->lost++;
		else if (!r->filter || bpf_filter_matches(r->filter, &h, body))
			server_count_add(k, ns, 1);
	}
}

static void count_lost(struct count *k, struct cursor *c)
{
	const char *reason;

	k->lost += cursor_lost(c, &reason);
	if (reason)
		snprintf(k->why, sizeof(k->why), "%s", reason);
}

static bool count_all(struct count *k, struct cursor *c)
{
	struct cursor_item item;
	int got;

	while ((got = cursor_next(c, &item, k->e)) == 1) {
		count_slice(k, &item.slice);
		block_unref(item.slice.block);
		count_lost(k, c);
		if (k->failed || !server_count_go_on(&k->reading))
			return false;
	}
	count_lost(k, c);
	return got == 0 && !k->failed;
}

/* What somebody else found out cannot be looked at either. */
static bool count_damage(struct count *k)
{
	const struct cursor_range *r = &k->reading.range;
	struct capture_view view;
	struct coverage c;
	uint64_t packets;
	char id[24];

	snprintf(id, sizeof(id), "%" PRIu64, k->reading.view.row.id);
	if (!control_coverage(k->reading.call->server->control, id, r->since_ns,
			      r->until_ns, &c, &view, k->e))
		return false;
	capture_view_done(&view);
	if (coverage_damage(&c, 0, &packets) && !packets)
		packets = 1; /* nobody knows how many */
	if (packets > k->lost)
		k->lost = packets;
	free(c.rows);
	return true;
}

static void answer_count(struct count *k)
{
	Pcap__V1__CountResponse answer = PCAP__V1__COUNT_RESPONSE__INIT;
	Pcap__V1__Capture capture;
	size_t n = k->by_ns ? k->n : 0;
	char next[24] = "";
	Pcap__V1__CountResponse__Interval *all = calloc(n + 1, sizeof(*all));
	Pcap__V1__CountResponse__Interval **list = calloc(n + 1, sizeof(*list));

	for (size_t i = 0; all && list && i < n; i++) {
		pcap__v1__count_response__interval__init(&all[i]);
		all[i].from_ns = k->intervals[i].from_ns;
		all[i].packets = k->intervals[i].packets;
		list[i] = &all[i];
	}
	if (all && list) {
		wire_capture(&capture, &k->reading.view);
		answer.capture = &capture;
		answer.packets = k->later ? 0 : k->packets;
		answer.n_intervals = n;
		answer.intervals = list;
		answer.lost = k->lost;
		text_clean(k->why);
		answer.lost_reason = k->why;
		answer.blocks_read = k->blocks_read;
		answer.blocks_known = k->blocks_known;
		if (k->more)
			snprintf(next, sizeof(next), "%" PRId64,
				 k->intervals[n - 1].from_ns + k->by_ns);
		answer.next_page_token = next;
		call_answer(k->reading.call, &answer.base);
	} else {
		err_no_memory(k->e, "count");
		call_fail(k->reading.call, k->e);
	}
	free(list);
	free(all);
}

void run_count(struct call *c)
{
	const Pcap__V1__CountRequest *q = (const void *)c->request;
	struct store *s = control_store(c->server->control);
	struct err e = ERR_INIT;
	struct count k = {.reading.call = c,
			  .by_ns = q->by_ns,
			  .most = INTERVALS_MAX,
			  .paged = q->page_size,
			  .later = *q->page_token,
			  .e = &e};
	struct server_count_reading *r = &k.reading;
	struct cursor *cursor = NULL;
	int64_t from_ns;
	bool ok = page_token_parse(q->page_token, &from_ns, &e);

	if (q->page_size && q->page_size < k.most)
		k.most = q->page_size;
	if (ok && (q->by_ns < 0 || (q->by_ns && q->by_ns < BY_MIN_NS)))
		ok = err_set(&e, ERR_USAGE,
			     "expected intervals of a millisecond or more, got "
			     "%" PRId64 " ns",
			     q->by_ns);
	if (ok && *q->page_token && (!q->by_ns || from_ns % q->by_ns))
		ok = err_set(&e, ERR_USAGE,
			     "expected a page_token of an answer with these "
			     "intervals, got '%.30s'",
			     q->page_token);
	ok = ok && reading_open(c, r, q->name, q->filter,
				q->since_ns > from_ns ? q->since_ns : from_ns,
				q->until_ns, &e);
	if (ok) {
		r->range.enough = row_is_enough;
		cursor = cursor_open(s, r->tail, &r->range, &e);
	}
	if (cursor && count_all(&k, cursor) && count_damage(&k))
		answer_count(&k);
	else
		reading_fail(r, &e);
	cursor_close(cursor);
	reading_close(r);
	free(k.intervals);
}
