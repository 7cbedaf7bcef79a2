/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of methods, and the unary ones of pcap.v1.Pcap. Guarantees that a
 * request which is out of bounds changes nothing. Leaves out what captures.h
 * does: this only translates.
 */
#include "server/methods_captures.h"

#include "packet/bpf_compiler.h"
#include "server/audit.h"
#include "server/call.h"
#include "server/count.h"
#include "server/health.h"
#include "server/import.h"
#include "server/listen.h"
#include "server/methods_status.h"
#include "server/reflection.h"
#include "server/replay.h"
#include "server/server_internal.h"
#include "server/status_details.h"
#include "server/text.h"
#include "server/wire.h"

#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"

#include <errno.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCAP "/pcap.v1.Pcap/"
#define UNARY_ON(where, needs, name, type, body)                               \
	{                                                                      \
		.path = PCAP name, .request = &pcap__v1__##type##__descriptor, \
		.bound = BOUND_CALLS, .role = ROLE_##needs,                    \
		.audited = ROLE_##needs == ROLE_OPERATOR,                      \
		.start = start_on_##where, .run = body                         \
	}
#define UNARY(needs, name, type, body) UNARY_ON(worker, needs, name, type, body)
/* Those that compile a filter. */
#define UNARY_FILTER(needs, name, type, body)                                  \
	UNARY_ON(thread, needs, name, type, body)

#define REFLECTION(version)                                                           \
	{                                                                             \
		.path = "/grpc.reflection." version ".ServerReflection/"              \
			"ServerReflectionInfo",                                       \
		.request =                                                            \
			&grpc__reflection__v1__server_reflection_request__descriptor, \
		.bound = BOUND_CALLS, .role = ROLE_VIEWER,                            \
		.start = reflection_start, .more = reflection_more,                   \
		.idle = reflection_idle, .stop = reflection_stop,                     \
	}

const struct method methods[] = {
	UNARY(VIEWER, "Version", version_request, run_version),
	UNARY(VIEWER, "Interfaces", interfaces_request, run_interfaces),
	UNARY_FILTER(OPERATOR, "Init", init_request, run_init),
	UNARY(OPERATOR, "Start", start_request, run_start),
	UNARY(OPERATOR, "Stop", stop_request, run_stop),
	UNARY(VIEWER, "List", list_request, run_list),
	UNARY(OPERATOR, "Delete", delete_request, run_delete),
	UNARY(OPERATOR, "AddAlias", add_alias_request, run_add_alias),
	UNARY(OPERATOR, "RemoveAlias", remove_alias_request, run_remove_alias),
	UNARY(VIEWER, "Status", status_request, run_status),
	UNARY(VIEWER, "Gaps", gaps_request, run_gaps),
	UNARY(OPERATOR, "Set", set_request, run_set),
	UNARY(OPERATOR, "Hold", hold_request, run_hold),
	UNARY(OPERATOR, "Release", release_request, run_release),
	UNARY(OPERATOR, "Mark", mark_request, run_mark),
	UNARY(OPERATOR, "Audit", audit_request, run_audit),
	UNARY_FILTER(VIEWER, "Explain", explain_request, run_explain),
	{
		.path = PCAP "WouldRemove",
		.request = &pcap__v1__would_remove_request__descriptor,
		.bound = BOUND_CALLS,
		.role = ROLE_OPERATOR,
		.start = start_on_worker,
		.run = run_would_remove,
	},
	{
		.path = PCAP "Count",
		.request = &pcap__v1__count_request__descriptor,
		.bound = BOUND_REPLAYS,
		.audited = true,
		.role = ROLE_VIEWER,
		.start = start_on_thread,
		.run = run_count,
	},
	{
		.path = PCAP "Replay",
		.request = &pcap__v1__replay_request__descriptor,
		.bound = BOUND_REPLAYS,
		.role = ROLE_VIEWER,
		.audited = true,
		.start = start_on_thread,
		.run = run_replay,
		.over = replay_over,
		.beside_ns = replay_beside_ns,
	},
	{
		.path = PCAP "Listen",
		.request = &pcap__v1__listen_request__descriptor,
		.bound = BOUND_LISTENERS,
		.role = ROLE_VIEWER,
		.audited = true,
		.start = start_on_thread,
		.run = run_listen,
		.idle = listen_idle,
		.closed = listen_closed,
		.stop = listen_stop,
		.free = listener_free,
	},
	{
		.path = PCAP "Import",
		.request = &pcap__v1__import_request__descriptor,
		.bound = BOUND_IMPORTS,
		.role = ROLE_OPERATOR,
		.audited = true,
		.start = start_on_thread,
		.run = run_import,
		.more = import_more,
	},
	{
		.path = "/grpc.health.v1.Health/Check",
		.request = &grpc__health__v1__health_check_request__descriptor,
		.bound = BOUND_CALLS,
		.role = ROLE_VIEWER,
		.start = health_check,
	},
	{
		.path = "/grpc.health.v1.Health/Watch",
		.request = &grpc__health__v1__health_check_request__descriptor,
		.bound = BOUND_CALLS,
		.role = ROLE_VIEWER,
		.start = health_watch,
	},
	REFLECTION("v1"),
	REFLECTION("v1alpha"),
};
const size_t n_methods = sizeof(methods) / sizeof(methods[0]);

const struct method *method_find(const char *path, size_t n)
{
	for (size_t i = 0; i < n_methods; i++)
		if (strlen(methods[i].path) == n &&
		    !memcmp(methods[i].path, path, n))
			return &methods[i];
	return NULL;
}

/* --- checks --- */

static bool check_name(const char *name, struct err *e)
{
	size_t n = strlen(name);

	if (n == 0)
		return err_set(e, ERR_USAGE,
			       "expected the id or an alias of a capture, got "
			       "nothing");
	if (n > ALIAS_MAX)
		return err_set(e, ERR_USAGE,
			       "expected the id or an alias of a capture, at "
			       "most %d characters, got %zu",
			       ALIAS_MAX, n);
	return true;
}

static bool methods_captures_sees(void *ctx, const char *people)
{
	return peer_sees(ctx, people);
}

/* Whoever stops or removes something is not led to it by a guess. */
static bool no_capture(struct call *c, const char *name, struct err *e)
{
	bool takes_away =
		c->method->run == run_stop || c->method->run == run_delete;
	char nearest[ALIAS_MAX + 1] = "";

	err_set_reason(e, REASON_CAPTURE_NOT_FOUND, "no capture '%.80s'", name);
	if (!takes_away)
		control_nearest(c->server->control, name, methods_captures_sees,
				c->peer, nearest);
	if (*nearest)
		return err_hint(e, "Perhaps '%s'; 'pcap list' shows all.",
				nearest);
	return err_hint(e, "List captures with 'pcap list'.");
}

bool check_capture(struct call *c, const char *name, struct err *e)
{
	char people[PEOPLE_MAX + 1];
	uint64_t id;

	if (!check_name(name, e))
		return false;
	if (control_people(c->server->control, name, &id, people, e))
		return peer_sees(c->peer, people) || no_capture(c, name, e);
	return e->kind == ERR_NOT_FOUND ? no_capture(c, name, e) : false;
}

/* Once calls_restrict can find the call, it is looked again who may see the
 * capture: whatever is set between is seen by one of the two. */
bool find_seen(struct call *c, const char *name, struct capture_view *v,
	       struct capture_tail **f, struct err *e)
{
	struct control *ctl = c->server->control;
	char people[PEOPLE_MAX + 1], id_text[24];
	struct capture_view view;
	struct capture_tail *tail;
	uint64_t id;

	if (!check_capture(c, name, e) ||
	    !control_find(ctl, name, &view, &tail, e))
		return false;
	pthread_mutex_lock(&c->lock);
	c->capture = view.row.id;
	pthread_mutex_unlock(&c->lock);
	snprintf(id_text, sizeof(id_text), "%" PRIu64, view.row.id);
	bool ok = control_people(ctl, id_text, &id, people, e) &&
		  (peer_sees(c->peer, people) || no_capture(c, name, e));
	if (ok) {
		*v = view;
		*f = tail;
		return true;
	}
	capture_view_done(&view);
	capture_tail_unref(tail);
	return false;
}

bool check_people(const char *given, char people[PEOPLE_MAX + 1], struct err *e)
{
	char one[PERSON_MAX + 2];
	size_t at = 0;

	people[0] = '\0';
	for (const char *p = given; *(p += strspn(p, " ,"));) {
		size_t n = strcspn(p, " ,");

		snprintf(one, sizeof(one), "%.*s", (int)n, p);
		if (!person_check(one, e))
			return false;
		if (at + n + 2 > PEOPLE_MAX)
			return err_set(e, ERR_USAGE,
				       "expected names of at most %d bytes in "
				       "all",
				       PEOPLE_MAX);
		at += (size_t)sprintf(people + at, "%s%s", at ? " " : "", one);
		p += n;
	}
	return true;
}

/* A name that is nobody's hides a capture from everybody but root. */
static bool is_somebody(struct call *c, const char *name)
{
	struct allow *allow = c->server->tls_listener.allow;
	struct passwd entry, *found = NULL;
	char room[1024];
	int no = getpwnam_r(name, &entry, room, sizeof(room), &found);

	/* Where users cannot be looked up anybody may be one. */
	if (found || (no != 0 && no != ENOENT))
		return true;
	return allow && (allow_refresh(allow), allow_names(allow, name));
}

bool check_known(struct call *c, const char *people, struct err *e)
{
	char one[PERSON_MAX + 1];

	for (const char *p = people; *(p += strspn(p, " "));) {
		size_t n = strcspn(p, " ");

		snprintf(one, sizeof(one), "%.*s", (int)n, p);
		p += n;
		if (is_somebody(c, one))
			continue;
		err_set(e, ERR_NOT_FOUND,
			"people: '%s' is no user here and has no certificate",
			one);
		return err_hint(e, "Make the user, or the certificate with "
				   "'pcapd tls issue', before.");
	}
	return true;
}

bool check_snaplen(uint32_t snaplen, struct err *e)
{
	return snaplen <= CAPTURE_SNAPLEN_MAX ||
	       err_set(e, ERR_USAGE, "expected a snaplen of at most %d, got %u",
		       CAPTURE_SNAPLEN_MAX, snaplen);
}

bool check_keep(uint64_t bytes, int64_t age_ns, struct err *e)
{
	if (bytes <= INT64_MAX && age_ns >= 0)
		return true;
	return err_set(e, ERR_USAGE,
		       "expected keep_bytes of at most 2^63 - 1 and a "
		       "keep_age_ns that is not negative");
}

bool check_range(int64_t since_ns, int64_t until_ns, struct err *e)
{
	if (since_ns < 0 || until_ns < 0)
		return err_set(e, ERR_USAGE,
			       "expected times since 1970, got one before");
	if (!until_ns || since_ns < until_ns)
		return true;
	err_set(e, ERR_USAGE,
		"expected a time range, got one that ends before it starts");
	return err_hint(e, "Swap the two times.");
}

/* As an answer had it: neither blanks nor what does not fit. */
bool page_token_parse(const char *token, int64_t *number, struct err *e)
{
	char again[24];

	*number = strtoll(token, NULL, 10);
	snprintf(again, sizeof(again), "%" PRId64, *number);
	return !*token || (*number >= 0 && strcmp(again, token) == 0) ||
	       err_set(e, ERR_USAGE,
		       "expected a page_token of an answer, got '%.30s'",
		       token);
}

static bool call_waits(void *ctx)
{
	struct call *c = ctx;

	return !call_is_over(c) && !call_is_stopping(c);
}

struct bpf_filter *call_filter(struct call *c, const char *text,
			       uint32_t link_type, uint32_t snaplen,
			       struct err *e)
{
	struct filter_request q = {
		.text = text,
		.link_type = link_type,
		.snaplen = snaplen,
		.operator= peer_role(c->peer) == ROLE_OPERATOR,
		.person = c->peer->person,
		.go_on = call_waits,
		.ctx = c,
	};
	uint32_t ignored;
	struct bpf_filter *f = bpf_compiler_run(&q, &ignored, e);

	if (!f && e->kind == ERR_CANCELLED)
		err_set(e, ERR_UNREACHABLE, "pcapd is stopping");
	return f;
}

static bool copy_text(char *to, size_t room, const char *from, const char *what,
		      struct err *e)
{
	size_t n = strlen(from);

	if (n >= room)
		return err_set(e, ERR_USAGE,
			       "expected %s of at most %zu bytes, got %zu",
			       what, room - 1, n);
	memcpy(to, from, n + 1);
	return true;
}

/* --- answers --- */

void answer_change(struct call *c, struct capture_view *v)
{
	Pcap__V1__SetResponse answer = PCAP__V1__SET_RESPONSE__INIT;
	Pcap__V1__Capture capture;

	wire_capture(&capture, v);
	answer.capture = &capture;
	call_answer(c, &answer.base);
	capture_view_done(v);
}

typedef bool change_one(struct control *ctl, const char *name,
			struct capture_view *v, struct err *e);

static void methods_captures_change_named(struct call *c, const char *name,
					  change_one *change)
{
	struct capture_view v;
	struct err e = ERR_INIT;

	if (check_capture(c, name, &e) &&
	    change(c->server->control, name, &v, &e))
		answer_change(c, &v);
	else
		call_fail(c, &e);
}

struct methods_captures_changes {
	Pcap__V1__Capture *captures, **captures_list;
	struct capture_view *views;
	Pcap__V1__Failure **failed;
	char **failures; /* their messages, for clients that know no failed */
	size_t n, n_failed;
};

static bool changes_new(struct methods_captures_changes *all, size_t n)
{
	size_t room = n ? n : 1;

	*all = (struct methods_captures_changes){
		.captures = calloc(room, sizeof(*all->captures)),
		.captures_list = calloc(room, sizeof(*all->captures_list)),
		.views = calloc(room, sizeof(*all->views)),
		.failed = calloc(room, sizeof(void *)),
		.failures = calloc(room, sizeof(*all->failures)),
	};
	return all->captures && all->captures_list && all->views &&
	       all->failed && all->failures;
}

static void methods_captures_changes_done(struct methods_captures_changes *all)
{
	for (size_t i = 0; i < all->n; i++)
		capture_view_done(&all->views[i]);
	for (size_t i = 0; i < all->n_failed; i++)
		pcap__v1__failure__free_unpacked(all->failed[i], NULL);
	free(all->captures);
	free(all->captures_list);
	free(all->views);
	free(all->failed);
	free(all->failures);
}

/* Which was asked for as one of all, and why it is not done. */
static void changes_fail(struct methods_captures_changes *all, uint64_t id,
			 struct err *e)
{
	text_clean(e->what);
	text_clean(e->hint);
	grpc_slice status = status_details(err_grpc_status(e->kind), e);
	Pcap__V1__Failure *m = pcap__v1__failure__unpack(
		NULL, GRPC_SLICE_LENGTH(status), GRPC_SLICE_START_PTR(status));

	grpc_slice_unref(status);
	if (!m)
		return;
	m->capture = id;
	m->hint = strdup(e->hint);
	all->failures[all->n_failed] = m->message;
	all->failed[all->n_failed++] = m;
}

static void change_listed(struct call *c, const struct capture_view *v,
			  change_one *change,
			  struct methods_captures_changes *all)
{
	char name[24];
	struct err e = ERR_INIT;

	snprintf(name, sizeof(name), "%" PRIu64, v->row.id);
	if (change(c->server->control, name, &all->views[all->n], &e)) {
		wire_capture(&all->captures[all->n], &all->views[all->n]);
		all->captures_list[all->n] = &all->captures[all->n];
		all->n++;
		return;
	}
	/* Somebody else changed or deleted it meanwhile: what was asked for
	 * is so. */
	if (e.kind == ERR_STATE || e.kind == ERR_NOT_FOUND)
		return;
	changes_fail(all, v->row.id, &e);
}

/* Captures that are in the state already are left alone and not listed. */
static void change_all(struct call *c, bool running, change_one *change)
{
	/* A StopResponse is the same. */
	Pcap__V1__StartResponse answer = PCAP__V1__START_RESPONSE__INIT;
	struct capture_view *views = NULL;
	struct methods_captures_changes all;
	size_t n = 0;
	struct err e = ERR_INIT;

	if (!control_list(c->server->control, NULL, &views, &n, &e)) {
		call_fail(c, &e);
		return;
	}
	if (changes_new(&all, n)) {
		for (size_t i = 0; i < n; i++)
			if (!views[i].row.savefile &&
			    views[i].row.wanted != running &&
			    peer_sees(c->peer, views[i].row.people))
				change_listed(c, &views[i], change, &all);
		answer.n_captures = all.n;
		answer.captures = all.captures_list;
		answer.n_failures = all.n_failed;
		answer.failures = all.failures;
		answer.n_failed = all.n_failed;
		answer.failed = all.failed;
		call_answer(c, &answer.base);
	} else {
		err_set(&e, ERR_FAILED, "out of memory");
		call_fail(c, &e);
	}
	methods_captures_changes_done(&all);
	for (size_t i = 0; i < n; i++)
		capture_view_done(&views[i]);
	free(views);
}

static void change_some(struct call *c, const char *name, bool all,
			bool running, change_one *change)
{
	struct err e = ERR_INIT;

	if (all && *name) {
		err_set(&e, ERR_USAGE,
			"expected a name or all captures, got both");
		call_fail(c, &e);
	} else if (all) {
		change_all(c, running, change);
	} else {
		methods_captures_change_named(c, name, change);
	}
}

/* --- methods --- */

void run_version(struct call *c)
{
	Pcap__V1__VersionResponse answer = PCAP__V1__VERSION_RESPONSE__INIT;

	answer.version = PCAPD_VERSION;
	answer.libpcap = (char *)pcap_lib_version();
	answer.caller = (char *)peer_name(c->peer);
	answer.role = (char *)role_text(peer_role(c->peer));
	call_answer(c, &answer.base);
}

/* Points into i. */
static void wire_interface(Pcap__V1__Interface *m, struct interface *i,
			   char **addresses)
{
	pcap__v1__interface__init(m);
	text_clean(i->name);
	text_clean(i->description);
	m->name = i->name;
	m->description = i->description;
	m->n_addresses = i->n_addresses;
	m->addresses = addresses;
	for (unsigned k = 0; k < i->n_addresses; k++)
		addresses[k] = i->addresses[k];
	m->up = i->up;
	m->running = i->running;
	m->loopback = i->loopback;
}

void run_interfaces(struct call *c)
{
	enum { ADDRESSES = sizeof(((struct interface *)0)->addresses) / 64 };
	Pcap__V1__InterfacesResponse answer =
		PCAP__V1__INTERFACES_RESPONSE__INIT;
	struct err e = ERR_INIT;
	size_t n = 0;
	struct interface *found = interfaces_list(&n, &e);
	struct {
		Pcap__V1__Interface message;
		char *addresses[ADDRESSES];
	} *all = calloc(n + 1, sizeof(*all));
	Pcap__V1__Interface **list = calloc(n + 1, sizeof(*list));

	if (found && all && list) {
		for (size_t i = 0; i < n; i++) {
			wire_interface(&all[i].message, &found[i],
				       all[i].addresses);
			list[i] = &all[i].message;
		}
		answer.n_interfaces = n;
		answer.interfaces = list;
		call_answer(c, &answer.base);
	} else {
		if (found)
			err_set(&e, ERR_FAILED, "out of memory");
		call_fail(c, &e);
	}
	free(list);
	free(all);
	free(found);
}

static bool init_options(const Pcap__V1__InitRequest *r, struct init_options *o,
			 struct err *e)
{
	struct capture_options *k = &o->capture;

	*o = (struct init_options){.alias = r->alias,
				   .start = r->start,
				   .keep_bytes = r->keep_bytes,
				   .keep_age_ns = r->keep_age_ns};
	if (!copy_text(k->interface, sizeof(k->interface),
		       *r->interface ? r->interface : "any",
		       "the name of an interface", e) ||
	    !bpf_filter_fits(r->filter, NULL, e) ||
	    !copy_text(k->filter, sizeof(k->filter), r->filter, "a filter",
		       e) ||
	    !check_snaplen(r->snaplen, e) ||
	    !check_keep(r->keep_bytes, r->keep_age_ns, e))
		return false;
	k->snaplen = r->snaplen ? r->snaplen : CAPTURE_SNAPLEN_MAX;
	k->promiscuous = !r->no_promiscuous;
	k->rings = r->rings;
	k->buffer_bytes =
		r->buffer_bytes ? r->buffer_bytes : CAPTURE_BUFFER_DEFAULT;
	if (k->buffer_bytes < CAPTURE_BUFFER_MIN ||
	    k->buffer_bytes > CAPTURE_BUFFER_MAX)
		return err_set(e, ERR_USAGE,
			       "expected a buffer of %u to %llu bytes, got "
			       "%" PRIu64,
			       CAPTURE_BUFFER_MIN, CAPTURE_BUFFER_MAX,
			       k->buffer_bytes);
	return true;
}

static bool call_sees(void *ctx, const char *people)
{
	return peer_sees(((struct call *)ctx)->peer, people);
}

/* Who limits a capture to others would lose it. */
static bool init_people(struct call *c, const char *given,
			char people[PEOPLE_MAX + 1], struct err *e)
{
	char all[PEOPLE_MAX + PERSON_MAX + 8];

	if (!check_people(given, people, e))
		return false;
	if (peer_sees(c->peer, people))
		return true;
	snprintf(all, sizeof(all), "%s %s", people, peer_person(c->peer));
	return check_people(all, people, e);
}

void run_init(struct call *c)
{
	const Pcap__V1__InitRequest *r = (const void *)c->request;
	char people[PEOPLE_MAX + 1];
	Pcap__V1__InitResponse answer = PCAP__V1__INIT_RESPONSE__INIT;
	Pcap__V1__Capture capture;
	struct init_options o;
	struct capture_view v;
	bool created = false, alias_added = false;
	char note[INIT_NOTE_MAX];
	struct err e = ERR_INIT;

	if (!init_options(r, &o, &e) ||
	    !init_people(c, r->people, people, &e) ||
	    !check_known(c, people, &e)) {
		call_fail(c, &e);
		return;
	}
	o.people = people;
	o.sees = call_sees;
	o.go_on = call_waits;
	o.ctx = c;
	if (!control_init(c->server->control, &o, &v, &created, &alias_added,
			  note, &e)) {
		if (e.kind == ERR_CANCELLED)
			err_set(&e, ERR_UNREACHABLE, "pcapd is stopping");
		call_fail(c, &e);
		return;
	}
	pthread_mutex_lock(&c->lock);
	c->capture = v.row.id;
	pthread_mutex_unlock(&c->lock);
	wire_capture(&capture, &v);
	answer.capture = &capture;
	answer.created = created;
	answer.alias_added = alias_added;
	answer.note = note;
	call_answer(c, &answer.base);
	capture_view_done(&v);
}

void run_start(struct call *c)
{
	const Pcap__V1__StartRequest *r = (const void *)c->request;

	change_some(c, r->name, r->all, true, control_start);
}

void run_stop(struct call *c)
{
	const Pcap__V1__StopRequest *r = (const void *)c->request;

	change_some(c, r->name, r->all, false, control_stop_one);
}

bool list_seen(struct call *c, const char *name, struct capture_view **v,
	       size_t *n, struct err *e)
{
	size_t seen = 0;

	if (!control_list(c->server->control, name, v, n, e))
		return false;
	for (size_t i = 0; i < *n; i++) {
		if (peer_sees(c->peer, (*v)[i].row.people))
			(*v)[seen++] = (*v)[i];
		else
			capture_view_done(&(*v)[i]);
	}
	*n = seen;
	return true;
}

void run_list(struct call *c)
{
	const Pcap__V1__ListRequest *r = (const void *)c->request;
	Pcap__V1__ListResponse answer = PCAP__V1__LIST_RESPONSE__INIT;
	struct capture_view *v = NULL;
	size_t n = 0;
	struct err e = ERR_INIT;

	if ((*r->name && !check_capture(c, r->name, &e)) ||
	    !list_seen(c, r->name, &v, &n, &e)) {
		call_fail(c, &e);
		return;
	}
	Pcap__V1__Capture *all = calloc(n + 1, sizeof(*all));
	Pcap__V1__Capture **list = calloc(n + 1, sizeof(*list));
	if (all && list) {
		for (size_t i = 0; i < n; i++) {
			wire_capture(&all[i], &v[i]);
			list[i] = &all[i];
		}
		answer.n_captures = n;
		answer.captures = list;
		call_answer(c, &answer.base);
	} else {
		err_set(&e, ERR_FAILED, "out of memory");
		call_fail(c, &e);
	}
	free(list);
	free(all);
	for (size_t i = 0; i < n; i++)
		capture_view_done(&v[i]);
	free(v);
}

void run_delete(struct call *c)
{
	const Pcap__V1__DeleteRequest *r = (const void *)c->request;

	methods_captures_change_named(c, r->name, control_delete);
}

void run_add_alias(struct call *c)
{
	const Pcap__V1__AddAliasRequest *r = (const void *)c->request;
	struct capture_view v;
	struct err e = ERR_INIT;

	if (check_capture(c, r->name, &e) &&
	    control_alias_add(c->server->control, r->name, r->alias, &v, &e))
		answer_change(c, &v);
	else
		call_fail(c, &e);
}

void run_remove_alias(struct call *c)
{
	const Pcap__V1__RemoveAliasRequest *r = (const void *)c->request;
	struct control *ctl = c->server->control;
	char people[PEOPLE_MAX + 1];
	struct capture_view v;
	struct err e = ERR_INIT;
	uint64_t id;

	if (control_people(ctl, r->alias, &id, people, &e) &&
	    !peer_sees(c->peer, people))
		err_set(&e, ERR_NOT_FOUND, "no alias '%.80s'", r->alias);
	else if (check_name(r->alias, &e) &&
		 control_alias_remove(ctl, r->alias, &v, &e)) {
		answer_change(c, &v);
		return;
	}
	call_fail(c, &e);
}
