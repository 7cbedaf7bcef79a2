/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is kept of a capture and what is missing: Status, Gaps, Set, Hold,
 * Release, Mark. Guarantees that a request which is out of bounds changes
 * nothing. Leaves out what captures.h does: this only translates.
 */
#include "server/methods_status.h"

#include "server/call.h"
#include "server/methods_captures.h"
#include "server/server_internal.h"
#include "server/text.h"
#include "server/wire.h"
#include "store/interface_names.h"
#include "store/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GAPS_MAX 20000

/* --- Status --- */

#define EXCLUDED_MAX 64 /* connections in an answer */
#define LATELY_NS (3600 * NS_PER_S)
#define ANSWER_NAMES_MAX 1000

/* A capture's part of the answer, and what it points at. */
struct kept {
	Pcap__V1__CaptureStatus status;
	Pcap__V1__Capture capture;
	struct store_hold *holds;
	struct store_mark *marks;
	Pcap__V1__Hold *hold_messages, **hold_list;
	Pcap__V1__Mark *mark_messages, **mark_list;
	char **excluded;
	char *problems[STORE_PROBLEMS];
	struct store_name *names;
	Pcap__V1__InterfaceName *name_messages, **name_list;
	struct err why; /* the catalog could not be read */
};

static void kept_done(struct kept *k)
{
	free(k->holds);
	free(k->marks);
	free(k->hold_messages);
	free(k->hold_list);
	free(k->mark_messages);
	free(k->mark_list);
	for (size_t i = 0; i < k->status.n_excluded; i++)
		free(k->excluded[i]);
	free(k->excluded);
	for (size_t i = 0; i < k->status.n_problems; i++)
		free(k->problems[i]);
	free(k->names);
	free(k->name_messages);
	free(k->name_list);
}

static void wire_hold(Pcap__V1__Hold *m, const struct store_hold *h)
{
	pcap__v1__hold__init(m);
	m->id = h->id;
	m->since_ns = h->since_ns;
	m->until_ns = h->until_ns;
	m->created_ns = h->created_ns;
	m->reason = (char *)h->reason;
}

static bool kept_notes(struct kept *k, struct store *s, uint64_t id,
		       struct err *e)
{
	size_t n_holds = 0, n_marks = 0;

	if (!store_holds(s, id, &k->holds, &n_holds, e) ||
	    !store_marks(s, id, &k->marks, &n_marks, e))
		return false;
	k->hold_messages = calloc(n_holds + 1, sizeof(*k->hold_messages));
	k->hold_list = calloc(n_holds + 1, sizeof(void *));
	k->mark_messages = calloc(n_marks + 1, sizeof(*k->mark_messages));
	k->mark_list = calloc(n_marks + 1, sizeof(void *));
	if (!k->hold_messages || !k->hold_list || !k->mark_messages ||
	    !k->mark_list)
		return err_set(e, ERR_FAILED, "out of memory");
	for (size_t i = 0; i < n_holds; i++) {
		wire_hold(&k->hold_messages[i], &k->holds[i]);
		k->hold_list[i] = &k->hold_messages[i];
	}
	for (size_t i = 0; i < n_marks; i++) {
		pcap__v1__mark__init(&k->mark_messages[i]);
		k->mark_messages[i].name = k->marks[i].name;
		k->mark_messages[i].at_ns = k->marks[i].at_ns;
		k->mark_list[i] = &k->mark_messages[i];
	}
	k->status.n_holds = n_holds;
	k->status.holds = k->hold_list;
	k->status.n_marks = n_marks;
	k->status.marks = k->mark_list;
	return true;
}

/* What its filter leaves out, as far as there is room in a message. */
static bool kept_excluded(struct kept *k, struct control *ctl,
			  const struct capture_view *v, struct err *e)
{
	struct flow *flows = calloc(OWN_CONNECTIONS_MAX, sizeof(*flows));
	char text[FLOW_TEXT];
	bool ok = flows;

	unsigned n = ok && v->live.excluded
			     ? control_excluded(ctl, v->row.id, flows)
			     : 0;
	if (n > EXCLUDED_MAX)
		n = EXCLUDED_MAX;
	k->excluded = calloc(n + 1, sizeof(*k->excluded));
	k->status.excluded = k->excluded;
	ok = ok && k->excluded;
	for (unsigned i = 0; ok && i < n; i++) {
		k->excluded[i] = strdup(flow_text(&flows[i], text));
		ok = k->excluded[i];
		k->status.n_excluded += ok;
	}
	free(flows);
	return ok || err_set(e, ERR_FAILED, "out of memory");
}

static bool kept_names(struct kept *k, struct store *s,
		       const struct capture_row *row, struct err *e)
{
	size_t n = 0;

	if (strcmp(row->interface, "any") != 0)
		return true;
	if (!store_interface_names_list(s, row->id, ANSWER_NAMES_MAX, &k->names,
					&n, e))
		return false;
	k->name_messages = calloc(n + 1, sizeof(*k->name_messages));
	k->name_list = calloc(n + 1, sizeof(void *));
	if (!k->name_messages || !k->name_list)
		return err_set(e, ERR_FAILED, "out of memory");
	for (size_t i = 0; i < n; i++) {
		Pcap__V1__InterfaceName *m = &k->name_messages[i];

		pcap__v1__interface_name__init(m);
		text_clean(k->names[i].name);
		m->index = k->names[i].index;
		m->name = k->names[i].name;
		m->since_ns = k->names[i].since_ns;
		k->name_list[i] = m;
	}
	k->status.n_interface_names = n;
	k->status.interface_names = k->name_list;
	return true;
}

static bool kept_rate(struct kept *k, struct store *s, uint64_t id,
		      uint64_t keep_bytes, struct err *e)
{
	Pcap__V1__CaptureStatus *m = &k->status;
	struct store_rate rate = {0};

	if (!store_rate(s, id, &rate, e))
		return false;
	m->rate_bytes = rate.bytes;
	m->rate_over_ns = rate.over_ns;
	m->rate_bytes_per_day = rate.bytes_per_day;
	if (keep_bytes && rate.bytes_per_day) {
		double days = (double)keep_bytes / (double)rate.bytes_per_day;
		/* 290 years of nanoseconds fit. */
		m->forecast_ns = days < 100000 ? (int64_t)(days * 86400e9)
					       : 100000ll * 86400 * NS_PER_S;
	}
	return true;
}

static bool kept_from_catalog(struct kept *k, struct store *s,
			      const struct capture_row *row, struct err *e)
{
	return ledger_dropped(s, row->id, realtime_ns() - LATELY_NS,
			      &k->status.dropped_lately,
			      &k->status.dropped_last_ns, e) &&
	       kept_rate(k, s, row->id, row->keep_bytes, e) &&
	       kept_notes(k, s, row->id, e) && kept_names(k, s, row, e);
}

/* Errors have words of the kernel's and names of files. */
static size_t kept_problems(struct store *s, uint64_t id,
			    char *lines[STORE_PROBLEMS])
{
	size_t n = store_problems(s, id, lines);

	for (size_t i = 0; i < n; i++)
		text_clean(lines[i]);
	return n;
}

static bool kept_fill(struct kept *k, struct control *ctl,
		      struct capture_view *v, uint64_t queue_max, struct err *e)
{
	struct store *s = control_store(ctl);
	Pcap__V1__CaptureStatus *m = &k->status;

	pcap__v1__capture_status__init(m);
	wire_capture(&k->capture, v);
	text_clean(v->writer.error);
	m->capture = &k->capture;
	m->newest_ns = v->live.newest_ns ? v->live.newest_ns : v->totals.max_ns;
	m->synced_ns = v->writer.synced_ns;
	m->queue_blocks = v->writer.depth;
	m->queue_max = queue_max;
	m->compression_level = v->writer.level;
	m->excluded_packets = v->live.left_out;
	m->disk_error = v->writer.error;
	m->n_problems = kept_problems(s, v->row.id, k->problems);
	m->problems = k->problems;
	/* Where the catalog cannot be read, what memory knows is the answer. */
	if (!kept_from_catalog(k, s, &v->row, &k->why) && !*m->disk_error) {
		text_clean(k->why.what);
		m->disk_error = k->why.what;
	}
	return kept_excluded(k, ctl, v, e);
}

static void answer_status(struct call *c, struct capture_view *v, size_t n)
{
	Pcap__V1__StatusResponse answer = PCAP__V1__STATUS_RESPONSE__INIT;
	struct config config = control_config(c->server->control);
	struct kept *all = calloc(n + 1, sizeof(*all));
	Pcap__V1__CaptureStatus **list = calloc(n + 1, sizeof(*list));
	char *problems[STORE_PROBLEMS];
	struct err e = ERR_INIT;
	bool ok = all && list;

	if (!ok)
		err_set(&e, ERR_FAILED, "out of memory");
	for (size_t i = 0; ok && i < n; i++) {
		ok = kept_fill(&all[i], c->server->control, &v[i],
			       config.memory_blocks, &e);
		list[i] = &all[i].status;
	}
	answer.n_captures = n;
	answer.captures = list;
	answer.now_ns = realtime_ns();
	answer.spool_bytes = config.spool_bytes;
	answer.free_floor_bytes =
		store_free_floor(control_store(c->server->control));
	answer.n_problems =
		kept_problems(control_store(c->server->control), 0, problems);
	answer.problems = problems;
	if (ok)
		call_answer(c, &answer.base);
	else
		call_fail(c, &e);
	for (size_t i = 0; all && i < n; i++)
		kept_done(&all[i]);
	for (size_t i = 0; i < answer.n_problems; i++)
		free(problems[i]);
	free(all);
	free(list);
}

void run_status(struct call *c)
{
	const Pcap__V1__StatusRequest *r = (const void *)c->request;
	struct capture_view *v = NULL;
	size_t n = 0;
	struct err e = ERR_INIT;

	if ((*r->name && !check_capture(c, r->name, &e)) ||
	    !list_seen(c, r->name, &v, &n, &e)) {
		call_fail(c, &e);
		return;
	}
	answer_status(c, v, n);
	for (size_t i = 0; i < n; i++)
		capture_view_done(&v[i]);
	free(v);
}

/* --- Gaps --- */

/* What comes after the token. next: "" or where the page after it begins. */
static bool gaps_page(const Pcap__V1__GapsRequest *r, struct coverage *page,
		      char next[24], struct err *e)
{
	size_t most = r->page_size && r->page_size < GAPS_MAX ? r->page_size
							      : GAPS_MAX;
	int64_t after;

	if (!page_token_parse(r->page_token, &after, e))
		return false;
	while (*r->page_token && page->n && page->rows->id <= after) {
		page->rows++;
		page->n--;
	}
	next[0] = '\0';
	if (page->n > most) {
		page->n = most;
		snprintf(next, 24, "%" PRId64, page->rows[most - 1].id);
	}
	return true;
}

void run_gaps(struct call *c)
{
	const Pcap__V1__GapsRequest *r = (const void *)c->request;
	Pcap__V1__GapsResponse answer = PCAP__V1__GAPS_RESPONSE__INIT;
	Pcap__V1__Capture capture;
	struct coverage coverage, page;
	struct capture_view v;
	struct err e = ERR_INIT;
	char next[24];
	bool ok = check_capture(c, r->name, &e) &&
		  check_range(r->since_ns, r->until_ns, &e);

	if (ok && (!r->until_ns || r->until_ns > realtime_ns()))
		control_catch_up(c->server->control, r->name);
	if (!ok || !control_coverage(c->server->control, r->name, r->since_ns,
				     r->until_ns, &coverage, &v, &e)) {
		call_fail(c, &e);
		return;
	}
	page = coverage;
	if (gaps_page(r, &page, next, &e))
		answer.coverage = wire_coverage(&page, GAPS_MAX, &e);
	if (answer.coverage) {
		wire_capture(&capture, &v);
		answer.capture = &capture;
		answer.next_page_token = next;
		call_answer(c, &answer.base);
	} else {
		call_fail(c, &e);
	}
	free(answer.coverage);
	free(coverage.rows);
	capture_view_done(&v);
}

/* --- changes --- */

/* Who may see it, and how much is kept; true: *v is done by the caller. */
static bool set_all(struct call *c, struct capture_view *v, struct err *e)
{
	const Pcap__V1__SetRequest *r = (const void *)c->request;
	struct control *ctl = c->server->control;
	bool bytes = r->bytes_case == PCAP__V1__SET_REQUEST__BYTES_KEEP_BYTES;
	bool age = r->age_case == PCAP__V1__SET_REQUEST__AGE_KEEP_AGE_NS;
	bool who = r->who_case == PCAP__V1__SET_REQUEST__WHO_PEOPLE;
	char people[PEOPLE_MAX + 1];

	if (!bytes && !age && !who)
		return err_set(
			e, ERR_USAGE,
			"expected keep_bytes, keep_age_ns or people, got "
			"none of them");
	if (!check_capture(c, r->name, e) ||
	    !check_keep(bytes ? r->keep_bytes : 0, age ? r->keep_age_ns : 0,
			e) ||
	    (who && (!check_people(r->people, people, e) ||
		     !check_known(c, people, e))))
		return false;
	if ((bytes || age) &&
	    !control_set_keep(ctl, r->name, bytes ? &r->keep_bytes : NULL,
			      age ? &r->keep_age_ns : NULL, v, e))
		return false;
	if (!who)
		return true;
	if (bytes || age)
		capture_view_done(v);
	if (!control_set_people(ctl, r->name, people, v, e))
		return false;
	calls_restrict(c->server, v->row.id, v->row.people);
	return true;
}

void run_set(struct call *c)
{
	struct capture_view v;
	struct err e = ERR_INIT;

	if (set_all(c, &v, &e))
		answer_change(c, &v);
	else
		call_fail(c, &e);
}

void run_would_remove(struct call *c)
{
	const Pcap__V1__WouldRemoveRequest *r = (const void *)c->request;
	Pcap__V1__WouldRemoveResponse answer =
		PCAP__V1__WOULD_REMOVE_RESPONSE__INIT;
	bool bytes = r->bytes_case ==
		     PCAP__V1__WOULD_REMOVE_REQUEST__BYTES_KEEP_BYTES;
	bool age =
		r->age_case == PCAP__V1__WOULD_REMOVE_REQUEST__AGE_KEEP_AGE_NS;
	Pcap__V1__Capture capture;
	struct store_removal removal;
	struct capture_view v;
	struct err e = ERR_INIT;

	if (!check_capture(c, r->name, &e) ||
	    !check_keep(bytes ? r->keep_bytes : 0, age ? r->keep_age_ns : 0,
			&e) ||
	    !control_would_remove(c->server->control, r->name,
				  bytes ? &r->keep_bytes : NULL,
				  age ? &r->keep_age_ns : NULL, r->without_hold,
				  &v, &removal, &e)) {
		call_fail(c, &e);
		return;
	}
	wire_capture(&capture, &v);
	answer.capture = &capture;
	answer.segments = removal.segments;
	answer.packets = removal.packets;
	answer.stored_bytes = removal.bytes;
	call_answer(c, &answer.base);
	capture_view_done(&v);
}

/* A hold keeps what is there; of a capture that goes on also what comes. */
static bool hold_has_something(struct call *c, const Pcap__V1__HoldRequest *r,
			       struct err *e)
{
	struct capture_view v;
	struct capture_tail *f;

	if (!control_find(c->server->control, r->name, &v, &f, e))
		return false;
	capture_tail_unref(f);
	bool goes_on = v.state != CAPTURE_STOPPED &&
		       r->until_ns > realtime_ns() - NS_PER_S;
	bool has = v.totals.packets && r->since_ns <= v.totals.max_ns &&
		   (goes_on || r->until_ns > v.totals.min_ns);
	if (!has && !goes_on) {
		err_set(e, ERR_NOT_FOUND,
			"hold: '%.80s' has no packets in that range", r->name);
		err_hint(e,
			 "'pcap list %.80s' says from when to when it has "
			 "some.",
			 r->name);
	}
	capture_view_done(&v);
	return has || goes_on;
}

void run_hold(struct call *c)
{
	const Pcap__V1__HoldRequest *r = (const void *)c->request;
	Pcap__V1__HoldResponse answer = PCAP__V1__HOLD_RESPONSE__INIT;
	Pcap__V1__Capture capture;
	Pcap__V1__Hold message;
	struct store_hold h = {.since_ns = r->since_ns,
			       .until_ns = r->until_ns};
	struct capture_view v;
	struct err e = ERR_INIT;
	bool ok = check_capture(c, r->name, &e) &&
		  check_range(r->since_ns, r->until_ns, &e);

	if (ok && !r->until_ns)
		ok = err_set(&e, ERR_USAGE,
			     "expected a range with an end, got none");
	if (ok && strlen(r->reason) >= sizeof(h.reason))
		ok = err_set(&e, ERR_USAGE,
			     "expected a reason of at most %zu bytes, got %zu",
			     sizeof(h.reason) - 1, strlen(r->reason));
	if (ok)
		strcpy(h.reason, r->reason);
	ok = ok && hold_has_something(c, r, &e);
	if (!ok || !control_hold(c->server->control, r->name, &h, &v, &e)) {
		call_fail(c, &e);
		return;
	}
	wire_capture(&capture, &v);
	wire_hold(&message, &h);
	answer.capture = &capture;
	answer.hold = &message;
	call_answer(c, &answer.base);
	capture_view_done(&v);
}

void run_release(struct call *c)
{
	const Pcap__V1__ReleaseRequest *r = (const void *)c->request;
	struct capture_view v;
	struct err e = ERR_INIT;

	if (check_capture(c, r->name, &e) &&
	    control_release(c->server->control, r->name, r->hold, &v, &e))
		answer_change(c, &v);
	else
		call_fail(c, &e);
}

void run_mark(struct call *c)
{
	const Pcap__V1__MarkRequest *r = (const void *)c->request;
	struct store_mark m = {.at_ns = r->at_ns ? r->at_ns : realtime_ns()};
	struct capture_view v;
	struct err e = ERR_INIT;
	size_t n = strlen(r->mark);
	bool ok = check_capture(c, r->name, &e) && check_range(r->at_ns, 0, &e);

	if (ok && n > ALIAS_MAX)
		ok = err_set(&e, ERR_USAGE,
			     "expected a mark of at most %d bytes, got %zu",
			     ALIAS_MAX, n);
	if (ok)
		strcpy(m.name, r->mark);
	if (ok &&
	    control_mark(c->server->control, r->name, &m, r->remove, &v, &e))
		answer_change(c, &v);
	else
		call_fail(c, &e);
}
