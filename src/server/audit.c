/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of a call goes into the audit. Guarantees a row for every replay,
 * listen, import and change, from its beginning on, and for every call that was
 * not permitted, within a bound of those. Leaves out calls that only look.
 */
#include "server/audit.h"

#include "server/call.h"
#include "server/methods_captures.h"
#include "server/server_internal.h"
#include "server/text.h"
#include "store/audit.h"

#include "pcap/v1/pcap.pb-c.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Refusals that leave a row, in so long: anybody who may connect can have them
 * by the million. */
#define REFUSALS_MAX 100
#define REFUSALS_NS (60 * NS_PER_S)
#define LIST_MAX 20000

/* --- what was asked for --- */

typedef ProtobufCFieldDescriptor Field;

static const void *server_audit_member(const ProtobufCMessage *m,
				       const Field *f)
{
	return (const char *)m + f->offset;
}

static bool is_set(const ProtobufCMessage *m, const Field *f)
{
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return false;
	if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
		return true;
	return *(const uint32_t *)((const char *)m + f->quantifier_offset) ==
	       f->id;
}

static const char *string_of(const ProtobufCMessage *m, const char *name)
{
	const Field *f = protobuf_c_message_descriptor_get_field_by_name(
		m->descriptor, name);

	if (!f || f->type != PROTOBUF_C_TYPE_STRING || !is_set(m, f))
		return "";
	const char *text = *(char *const *)server_audit_member(m, f);
	return text ? text : "";
}

static int64_t server_audit_time_of(const ProtobufCMessage *m, const char *name)
{
	const Field *f = protobuf_c_message_descriptor_get_field_by_name(
		m->descriptor, name);

	return f && f->type == PROTOBUF_C_TYPE_INT64 && is_set(m, f)
		       ? *(const int64_t *)server_audit_member(m, f)
		       : 0;
}

static bool has_column(const char *name)
{
	/* And what only clients that are programs ask for. */
	static const char *const columns[] = {"name",	  "filter",
					      "since_ns", "until_ns",
					      "data",	  "accept_zstd"};

	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		if (strcmp(columns[i], name) == 0)
			return true;
	return false;
}

/* "1h30m", as people type it. */
static void length_text(char *out, size_t room, int64_t ns)
{
	static const struct {
		int64_t seconds;
		char unit;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	int64_t s = ns / NS_PER_S;
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		int64_t n = s / units[i].seconds;

		s %= units[i].seconds;
		if (n && at < room)
			at += (size_t)snprintf(out + at, room - at,
					       "%" PRId64 "%c", n,
					       units[i].unit);
	}
	if (at == 0)
		snprintf(out, room, "%" PRId64 "ms", ns / 1000000);
}

/* "200G", where it is as many. */
static void bytes_text(char *out, size_t room, uint64_t n)
{
	static const char units[] = " KMGT";
	int u = 0;

	while (n && n % 1024 == 0 && units[u + 1]) {
		n /= 1024;
		u++;
	}
	snprintf(out, room, "%" PRIu64 "%.*s", n, u > 0, units + u);
}

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

/* A number in words, by what its field is called. */
static void number_text(char *out, size_t room, const char *name, int64_t n)
{
	time_t s = n / NS_PER_S;
	struct tm tm;

	if (strcmp(name, "at_ns") == 0 && gmtime_r(&s, &tm))
		strftime(out, room, "%Y-%m-%dT%H:%M:%SZ", &tm);
	else if (!n && (ends_in(name, "_ns") || ends_in(name, "_bytes")))
		snprintf(out, room, "none");
	else if (ends_in(name, "_ns"))
		length_text(out, room, n);
	else if (ends_in(name, "_bytes"))
		bytes_text(out, room, (uint64_t)n);
	else
		snprintf(out, room, "%" PRId64, n);
}

/* "mark start", "keep-age 30d", or nothing for what is as if it was not given:
 * the words of the command. */
static int field_text(char *out, size_t room, const ProtobufCMessage *m,
		      const Field *f)
{
	const void *at = server_audit_member(m, f);
	bool one_of = f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
	char value[256] = "", word[64];
	int64_t n = 0;

	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		if (*(char *const *)at)
			snprintf(value, sizeof(value), "%s",
				 *(char *const *)at);
		if (!*value && !one_of)
			return 0;
		break;
	case PROTOBUF_C_TYPE_BOOL:
		if (!*(const protobuf_c_boolean *)at)
			return 0;
		break;
	case PROTOBUF_C_TYPE_UINT32:
		n = *(const uint32_t *)at;
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_INT64:
		n = *(const int64_t *)at;
		break;
	default:
		return 0;
	}
	if (f->type != PROTOBUF_C_TYPE_STRING &&
	    f->type != PROTOBUF_C_TYPE_BOOL) {
		if (!n && !one_of)
			return 0;
		number_text(value, sizeof(value), f->name, n);
	}
	snprintf(word, sizeof(word), "%s", f->name);
	if (ends_in(word, "_ns"))
		word[strlen(word) - 3] = '\0';
	for (char *p = word; (p = strchr(p, '_'));)
		*p = '-';
	return snprintf(out, room, "%s%s%s", word, *value ? " " : "", value);
}

static void server_audit_detail(char *out, size_t room,
				const ProtobufCMessage *m)
{
	size_t at = 0;

	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const Field *f = &m->descriptor->fields[i];
		char one[256];

		if (has_column(f->name) || !is_set(m, f))
			continue;
		int n = field_text(one, sizeof(one), m, f);
		if (n <= 0)
			continue;
		n = snprintf(out + at, room - at, "%s%s", at ? ", " : "", one);
		at += (size_t)n;
		if (at >= room)
			break;
	}
	text_clean(out);
}

/* --- rows --- */

static const char *target_of(const ProtobufCMessage *m)
{
	const char *name = string_of(m, "name");

	return *name ? name : string_of(m, "alias");
}

/* Which capture it is about, so that who may not see that does not read of
 * it. One that the call makes is there when it ends, one that it deletes when
 * it begins. */
static void fill_capture(struct audit_row *r, struct call *c)
{
	struct control *ctl = c->server->control;
	char people[PEOPLE_MAX + 1], id_text[24];
	struct err ignored;

	pthread_mutex_lock(&c->lock);
	uint64_t id = c->capture;
	pthread_mutex_unlock(&c->lock);
	snprintf(id_text, sizeof(id_text), "%" PRIu64, id);
	bool there = control_people(ctl, id ? id_text : r->capture, &id, people,
				    &ignored);
	pthread_mutex_lock(&c->lock);
	if (there) {
		c->capture = id;
		memcpy(c->audit.people, people, sizeof(people));
	} else if (!c->capture) {
		/* One that could not be made was for these. */
		snprintf(c->audit.people, sizeof(c->audit.people), "%s",
			 string_of(c->request, "people"));
		for (char *p = c->audit.people; (p = strchr(p, ',')); p++)
			*p = ' ';
	}
	r->capture_id = c->capture;
	memcpy(r->people, c->audit.people, sizeof(r->people));
	pthread_mutex_unlock(&c->lock);
}

static void server_audit_fill(struct audit_row *r, struct call *c,
			      const char *who)
{
	const ProtobufCMessage *m = c->request;

	memset(r, 0, sizeof(*r));
	snprintf(r->who, sizeof(r->who), "%s", who);
	snprintf(r->role, sizeof(r->role), "%s", role_text(peer_role(c->peer)));
	snprintf(r->origin, sizeof(r->origin), "%s", c->peer->from);
	snprintf(r->method, sizeof(r->method), "%s",
		 strrchr(c->method->path, '/') + 1);
	if (!m)
		return;
	snprintf(r->capture, sizeof(r->capture), "%s", target_of(m));
	snprintf(r->filter, sizeof(r->filter), "%s", string_of(m, "filter"));
	r->since_ns = server_audit_time_of(m, "since_ns");
	r->until_ns = server_audit_time_of(m, "until_ns");
	server_audit_detail(r->detail, sizeof(r->detail), m);
	/* What was cut may end within a character. */
	text_clean(r->capture);
	text_clean(r->filter);
	fill_capture(r, c);
}

/* How it ended. */
static void fill_end(struct audit_row *r, const struct call *c)
{
	int n = (int)GRPC_SLICE_LENGTH(c->status_text);

	r->bytes = c->audit.bytes;
	r->lasted_ns = realtime_ns() - r->at_ns;
	if (r->lasted_ns < 0)
		r->lasted_ns = 0;
	bool finished = c->phase == CALL_FINISHED;
	r->status = finished ? (int)c->status : GRPC_STATUS_CANCELLED;
	if (finished && c->audit.outcome) {
		r->status = err_grpc_status(c->audit.outcome);
		snprintf(r->result, sizeof(r->result), "%s",
			 c->audit.outcome_text);
	} else if (finished)
		snprintf(r->result, sizeof(r->result), "%.*s", n,
			 (const char *)GRPC_SLICE_START_PTR(c->status_text));
	else
		strcpy(r->result, "the client went away");
	text_clean(r->result);
}

static bool refusal_counts(struct server *s)
{
	int64_t now = monotonic_ns();

	pthread_mutex_lock(&s->lock);
	if (now - s->refusals.since_ns > REFUSALS_NS)
		s->refusals = (struct audit_refusals){now, 0};
	bool counts = s->refusals.n++ < REFUSALS_MAX;
	pthread_mutex_unlock(&s->lock);
	return counts;
}

/* The call may be over already, when its client did not wait: what it asked for
 * is done all the same. */
void audit_begin(struct call *c)
{
	struct store *store = control_store(c->server->control);
	struct audit_row row;

	if (!c->method->audited)
		return;
	server_audit_fill(&row, c, peer_person(c->peer));
	row.id = audit_next(store);
	row.at_ns = realtime_ns();
	row.lasted_ns = -1;
	pthread_mutex_lock(&c->lock);
	c->audit.id = row.id;
	c->audit.began_ns = row.at_ns;
	if (c->audit.closed)
		fill_end(&row, c);
	pthread_mutex_unlock(&c->lock);
	audit_put(store, &row);
}

void audit_outcome(struct call *c, const struct err *e)
{
	pthread_mutex_lock(&c->lock);
	c->audit.outcome = e->kind;
	snprintf(c->audit.outcome_text, sizeof(c->audit.outcome_text), "%.191s",
		 e->what);
	pthread_mutex_unlock(&c->lock);
}

void audit_end(struct call *c)
{
	struct store *store = control_store(c->server->control);
	struct audit_row row;

	pthread_mutex_lock(&c->lock);
	c->audit.closed = true;
	uint64_t id = c->audit.id;
	bool refused = c->phase == CALL_FINISHED && c->method &&
		       (!c->method->audited || !c->request) &&
		       c->status == GRPC_STATUS_PERMISSION_DENIED;
	pthread_mutex_unlock(&c->lock);
	if (!id && (!refused || !refusal_counts(c->server)))
		return;
	server_audit_fill(&row, c, peer_known(c->peer));
	row.id = id ? id : audit_next(store);
	pthread_mutex_lock(&c->lock);
	row.at_ns = id ? c->audit.began_ns : realtime_ns();
	fill_end(&row, c);
	pthread_mutex_unlock(&c->lock);
	audit_put(store, &row);
}

void audit_refused(struct peer *who)
{
	struct audit_row row = {.at_ns = realtime_ns()};

	if (!refusal_counts(who->server))
		return;
	snprintf(row.who, sizeof(row.who), "%s", peer_known(who));
	snprintf(row.role, sizeof(row.role), "%s", role_text(who->local.role));
	snprintf(row.origin, sizeof(row.origin), "%s", who->from);
	strcpy(row.method, "connect");
	row.status = err_grpc_status(who->refusal.kind);
	snprintf(row.result, sizeof(row.result), "%.*s",
		 (int)sizeof(row.result) - 1, who->refusal.what);
	row.id = audit_next(control_store(who->server->control));
	audit_put(control_store(who->server->control), &row);
}

/* --- Audit --- */

/* Who was refused had no time to be looked up: a number. */
static void name_user(struct audit_row *r)
{
	struct passwd entry, *found = NULL;
	char room[1024];
	unsigned uid;

	if (sscanf(r->who, "user %u", &uid) != 1)
		return;
	if (getpwuid_r((uid_t)uid, &entry, room, sizeof(room), &found) == 0 &&
	    found)
		snprintf(r->who, sizeof(r->who), "%s", found->pw_name);
}

/* Who may see the capture now, and might when the row was written; and who the
 * row is of. A row of before there were numbers in it has its name. */
static bool row_seen(struct call *c, const struct audit_row *r)
{
	struct control *ctl = c->server->control;
	char people[PEOPLE_MAX + 1], id_text[24];
	struct err ignored;
	uint64_t id;

	snprintf(id_text, sizeof(id_text), "%" PRIu64, r->capture_id);
	bool there = control_people(ctl, r->capture_id ? id_text : r->capture,
				    &id, people, &ignored);
	return strcmp(r->who, peer_person(c->peer)) == 0 ||
	       (peer_sees(c->peer, r->people) &&
		(!there || peer_sees(c->peer, people)));
}

/* That somebody did something is told, and not what of whose. */
static void row_hide(struct audit_row *r)
{
	r->capture[0] = r->filter[0] = r->detail[0] = r->result[0] = '\0';
	r->since_ns = r->until_ns = 0;
	r->bytes = 0;
}

static void wire_row(Pcap__V1__AuditRow *m, struct audit_row *r, bool hidden)
{
	pcap__v1__audit_row__init(m);
	if (hidden)
		row_hide(r);
	m->hidden = hidden;
	m->id = r->id;
	m->at_ns = r->at_ns;
	m->who = r->who;
	m->role = r->role;
	m->origin = r->origin;
	m->method = r->method;
	m->capture = r->capture;
	m->filter = r->filter;
	m->since_ns = r->since_ns;
	m->until_ns = r->until_ns;
	m->detail = r->detail;
	m->bytes = r->bytes;
	m->under_way = r->lasted_ns < 0;
	m->lasted_ns = r->lasted_ns < 0 ? 0 : r->lasted_ns;
	m->status = (uint32_t)r->status;
	m->result = r->result;
}

void run_audit(struct call *c)
{
	const Pcap__V1__AuditRequest *q = (const void *)c->request;
	Pcap__V1__AuditResponse answer = PCAP__V1__AUDIT_RESPONSE__INIT;
	struct audit_row *found = NULL, *rows;
	struct err e = ERR_INIT;
	int64_t before;
	size_t n = 0;
	uint64_t most = q->page_size ? q->page_size : q->max;
	char next[24] = "";

	most = most && most < LIST_MAX ? most : LIST_MAX;
	if (!check_range(q->since_ns, q->until_ns, &e) ||
	    !page_token_parse(q->page_token, &before, &e) ||
	    !audit_list(control_store(c->server->control), q->since_ns,
			q->until_ns, before, most + 1, &found, &n, &e)) {
		call_fail(c, &e);
		return;
	}
	rows = found;
	if (n > most) { /* the oldest says that there are more */
		rows++;
		n--;
		snprintf(next, sizeof(next), "%" PRIu64, rows->id);
	}
	answer.next_page_token = next;
	Pcap__V1__AuditRow *all = calloc(n + 1, sizeof(*all));
	Pcap__V1__AuditRow **list = calloc(n + 1, sizeof(*list));
	if (all && list) {
		for (size_t i = 0; i < n; i++) {
			name_user(&rows[i]);
			wire_row(&all[i], &rows[i], !row_seen(c, &rows[i]));
			list[i] = &all[i];
		}
		answer.n_rows = n;
		answer.rows = list;
		call_answer(c, &answer.base);
	} else {
		err_set(&e, ERR_FAILED, "out of memory");
		call_fail(c, &e);
	}
	free(list);
	free(all);
	free(found);
}
