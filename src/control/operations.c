/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What people change. Guarantees that what the catalog says and what runs
 * change together: a request that fails has changed nothing, one that succeeds
 * survives a crash.
 */
#include "control/capture_entry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool operations_options_check(struct capture_options *o, struct err *e)
{
	if (!o->interface[0])
		strcpy(o->interface, "any");
	if (o->snaplen == 0)
		o->snaplen = CAPTURE_SNAPLEN_MAX;
	if (o->buffer_bytes == 0)
		o->buffer_bytes = CAPTURE_BUFFER_DEFAULT;
	if (o->snaplen > CAPTURE_SNAPLEN_MAX)
		return err_set(e, ERR_USAGE,
			       "snaplen %" PRIu32 ": expected 1 to %d bytes",
			       o->snaplen, CAPTURE_SNAPLEN_MAX);
	if (o->rings > CAPTURE_RINGS_MAX)
		return err_set(e, ERR_USAGE,
			       "%" PRIu32 " rings: expected 1 to %d", o->rings,
			       CAPTURE_RINGS_MAX);
	if (o->buffer_bytes < CAPTURE_BUFFER_MIN ||
	    o->buffer_bytes > CAPTURE_BUFFER_MAX)
		return err_set(e, ERR_USAGE,
			       "buffer of %" PRIu64 " bytes: expected %u to "
			       "%llu MiB",
			       o->buffer_bytes, CAPTURE_BUFFER_MIN >> 20,
			       CAPTURE_BUFFER_MAX >> 20);
	return true;
}

/* Programs are compared; of an interface that is not there, or was not when
 * the capture was made, there is none yet: then the text is. */
static bool same_filter(const struct capture_row *r, const char *text,
			int64_t link_type, const void *program, size_t n)
{
	if ((link_type < 0 || r->program_link_type < 0) &&
	    strcmp(r->filter, text) == 0)
		return true;
	return r->program_bytes == n && memcmp(r->program, program, n) == 0;
}

/* A capture that the caller may not see is not found: the caller gets one of
 * their own. */
static struct capture_entry *same_capture(struct control *ctl,
					  const struct init_options *init,
					  int64_t link_type,
					  const struct bpf_filter *filter)
{
	const struct capture_options *o = &init->capture;
	size_t n;
	const void *program = bpf_filter_bytes(filter, &n);

	for (size_t i = 0; i < ctl->n; i++) {
		const struct capture_row *r = &ctl->entries[i]->row;

		if (!r->savefile && strcmp(r->interface, o->interface) == 0 &&
		    same_filter(r, o->filter, link_type, program, n) &&
		    (!init->sees || init->sees(init->ctx, r->people)))
			return ctl->entries[i];
	}
	return NULL;
}

static struct capture_entry *create_live(struct control *ctl,
					 const struct init_options *init,
					 const char *alias, int64_t link_type,
					 const struct bpf_filter *filter,
					 struct err *e)
{
	const struct capture_options *o = &init->capture;
	char *aliases[] = {(char *)alias};
	size_t n;
	struct capture_row row = {
		.promiscuous = o->promiscuous,
		.interface = (char *)o->interface,
		.filter = (char *)o->filter,
		.program = (void *)bpf_filter_bytes(filter, &n),
		.link_type = link_type < 0 ? 0 : (uint32_t)link_type,
		.program_link_type = link_type,
		.snaplen = o->snaplen,
		.buffer_bytes = o->buffer_bytes,
		.rings = o->rings,
		.keep_bytes = init->keep_bytes,
		.keep_age_ns = init->keep_age_ns,
		.aliases = aliases,
		.n_aliases = alias ? 1 : 0,
	};

	if (init->people)
		snprintf(row.people, sizeof(row.people), "%s", init->people);
	row.program_bytes = n;
	return capture_entry_create(ctl, &row, e);
}

static int operations_by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool alias_is_free(struct control *ctl, const char *alias, struct err *e)
{
	if (!capture_entry_by_alias(ctl, alias))
		return true;
	/* Not by which: it may be one that who asks does not see. */
	err_set_reason(e, REASON_ALIAS_TAKEN, "alias '%s' is taken", alias);
	return err_hint(e,
			"Choose another, or free it with 'pcap alias "
			"remove %s'.",
			alias);
}

static bool operations_add_alias(struct control *ctl, struct capture_entry *t,
				 const char *alias, struct err *e)
{
	if (!alias_is_free(ctl, alias, e))
		return false;
	if (t->row.n_aliases >= ALIASES_MAX)
		return err_set(e, ERR_LIMIT,
			       "capture %" PRIu64 " has %d aliases, and more "
			       "are not allowed",
			       t->row.id, ALIASES_MAX);
	char *copy = strdup(alias);
	char **more = calloc(t->row.n_aliases + 1, sizeof(*more));
	if (!copy || !more) {
		free(copy);
		free(more);
		return err_set(e, ERR_FAILED, "out of memory");
	}
	if (!store_alias_add(ctl->store, t->row.id, alias, e)) {
		free(copy);
		free(more);
		return false;
	}
	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < t->row.n_aliases; i++)
		more[i] = t->row.aliases[i];
	more[t->row.n_aliases++] = copy;
	free(t->row.aliases);
	t->row.aliases = more;
	qsort(more, t->row.n_aliases, sizeof(*more), operations_by_name);
	pthread_mutex_unlock(&ctl->lock);
	return true;
}

static bool remove_alias(struct control *ctl, struct capture_entry *t,
			 const char *alias, struct err *e)
{
	struct capture_row *r = &t->row;

	if (!store_alias_remove(ctl->store, alias, e))
		return false;
	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < r->n_aliases; i++) {
		if (strcmp(r->aliases[i], alias) != 0)
			continue;
		free(r->aliases[i]);
		memmove(&r->aliases[i], &r->aliases[i + 1],
			(r->n_aliases - i - 1) * sizeof(*r->aliases));
		r->n_aliases--;
		break;
	}
	pthread_mutex_unlock(&ctl->lock);
	return true;
}

/* With change held. */
static struct capture_entry *init_entry(struct control *ctl,
					const struct init_options *init,
					const char *alias, int64_t link_type,
					const struct bpf_filter *filter,
					bool *created, bool *alias_added,
					struct err *e)
{
	struct capture_entry *t = same_capture(ctl, init, link_type, filter);

	*created = !t;
	*alias_added = false;
	if (t) {
		if (!alias || row_has_alias(&t->row, alias))
			return t;
		*alias_added = operations_add_alias(ctl, t, alias, e);
		return *alias_added ? t : NULL;
	}
	if (alias && !alias_is_free(ctl, alias, e))
		return NULL;
	t = create_live(ctl, init, alias, link_type, filter, e);
	*alias_added = t && alias;
	if (t)
		t->ended_ns = t->row.created_ns;
	return t;
}

/* It runs, and goes on after a restart; or neither. */
static bool run_wanted(struct control *ctl, struct capture_entry *t,
		       struct err *e)
{
	if (!capture_entry_run(ctl, t, e))
		return false;
	ledger_writer_catch_up(ctl->ledger_writer);
	if (capture_entry_set_wanted(ctl, t, true, e))
		return true;
	capture_entry_halt(ctl, t);
	tell_stopped(ctl, t, "");
	return false;
}

/* What could not be started was not made either. */
static void init_undo(struct control *ctl, struct capture_entry *t,
		      const char *alias, bool created, bool alias_added)
{
	struct err ignored;

	if (created)
		capture_entry_undo(ctl, t);
	else if (alias_added)
		remove_alias(ctl, t, alias, &ignored);
}

/* Why it could not be opened is in *e, which changes where that is an error. */
static bool init_absent(const struct init_options *o,
			const struct capture_options *c,
			struct bpf_filter **filter, char note[INIT_NOTE_MAX],
			struct err *e)
{
	bool down = e->kind == ERR_STATE;

	if (!down &&
	    (e->kind != ERR_NOT_FOUND || !interface_may_come(c->interface, e)))
		return false;
	if (!capture_probe_absent(c, o->go_on, o->ctx, filter, e)) {
		if (e->kind != ERR_USAGE)
			return false;
		return err_hint(e,
				"The first word is the interface, and %s is "
				"%s: without it, filters are those of "
				"Ethernet.",
				c->interface, down ? "down" : "not there");
	}
	snprintf(note, INIT_NOTE_MAX, "%s is %s; %s it %s", c->interface,
		 down ? "down" : "not there",
		 o->start ? "the capture starts when"
			  : "once started, the capture waits until",
		 down ? "comes up" : "appears");
	return true;
}

/* *link_type -1: the interface is not there, or down, and may come. */
static bool init_probe(const struct init_options *o,
		       const struct capture_options *c, int64_t *link_type,
		       struct bpf_filter **filter, char note[INIT_NOTE_MAX],
		       struct err *e)
{
	uint32_t found;

	*note = '\0';
	*link_type = -1;
	if (!capture_probe(c, o->go_on, o->ctx, &found, filter, e))
		return init_absent(o, c, filter, note, e);
	*link_type = found;
	return true;
}

bool control_init(struct control *ctl, const struct init_options *o,
		  struct capture_view *v, bool *created, bool *alias_added,
		  char note[INIT_NOTE_MAX], struct err *e)
{
	const char *alias = o->alias && *o->alias ? o->alias : NULL;
	struct init_options init = *o;
	struct bpf_filter *filter;
	int64_t link_type;

	if (!operations_options_check(&init.capture, e) ||
	    (alias && !alias_check(alias, e)) ||
	    !init_probe(o, &init.capture, &link_type, &filter, note, e))
		return false;
	if (!bpf_filter_fits(init.capture.filter, filter, e)) {
		bpf_filter_free(filter);
		return false;
	}
	pthread_mutex_lock(&ctl->change);
	bool ok = false;
	struct capture_entry *t =
		control_is_stopping(ctl, e)
			? NULL
			: init_entry(ctl, &init, alias, link_type, filter,
				     created, alias_added, e);
	if (t && o->start && !t->source) {
		ok = run_wanted(ctl, t, e);
		if (!ok)
			init_undo(ctl, t, alias, *created, *alias_added);
	} else {
		ok = t;
	}
	if (ok && *created && !o->start)
		tell_stopped(ctl, t, "not started yet");
	ledger_writer_catch_up(ctl->ledger_writer);
	ok = ok && capture_entry_view(ctl, t, v, e);
	pthread_mutex_unlock(&ctl->change);
	bpf_filter_free(filter);
	return ok;
}

static bool start_entry(struct control *ctl, struct capture_entry *t,
			const char *name, struct err *e)
{
	if (t->row.savefile) {
		err_set(e, ERR_STATE,
			"capture '%s' holds savefiles; there is "
			"nothing to start",
			name);
		return err_hint(e, "Add to it with 'pcap import'.");
	}
	if (t->source)
		return err_set_reason(e, REASON_CAPTURE_RUNNING,
				      "capture '%s' runs already", name);
	return run_wanted(ctl, t, e);
}

bool control_start(struct control *ctl, const char *name,
		   struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->change);
	struct capture_entry *t = control_is_stopping(ctl, e)
					  ? NULL
					  : capture_entry_find(ctl, name, e);
	bool ok = t && start_entry(ctl, t, name, e) &&
		  capture_entry_view(ctl, t, v, e);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

static bool stop_entry(struct control *ctl, struct capture_entry *t,
		       const char *name, struct err *e)
{
	if (!t->source && !t->row.wanted)
		return err_set_reason(e, REASON_CAPTURE_NOT_RUNNING,
				      "capture '%s' does not run", name);
	if (!capture_entry_set_wanted(ctl, t, false, e))
		return false;
	capture_entry_halt(ctl, t);
	tell_stopped(ctl, t, "");
	ledger_writer_catch_up(ctl->ledger_writer);
	return true;
}

bool control_stop_one(struct control *ctl, const char *name,
		      struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->change);
	struct capture_entry *t = control_is_stopping(ctl, e)
					  ? NULL
					  : capture_entry_find(ctl, name, e);
	bool ok = t && stop_entry(ctl, t, name, e) &&
		  capture_entry_view(ctl, t, v, e);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

/* What somebody keeps for a reason is not gone by a slip of somebody else. */
static bool delete_check_holds(struct control *ctl,
			       const struct capture_entry *t, const char *name,
			       struct err *e)
{
	struct store_hold *holds;
	size_t n;

	if (!store_holds(ctl->store, t->row.id, &holds, &n, e))
		return false;
	if (n) {
		err_set(e, ERR_STATE,
			"capture '%s' is held: hold %" PRIu64 "%s%.200s", name,
			holds[0].id, holds[0].reason[0] ? ", " : "",
			holds[0].reason);
		err_hint(e,
			 "Give up what is held first: 'pcap release %s "
			 "%" PRIu64 "'.",
			 name, holds[0].id);
	}
	free(holds);
	return !n;
}

static bool delete_entry(struct control *ctl, struct capture_entry *t,
			 const char *name, struct err *e)
{
	if (t->source || t->importing) {
		err_set(e, ERR_STATE, "capture '%s' %s", name,
			t->importing ? "is being imported into" : "runs");
		return t->importing
			       ? err_hint(e, "Try again when that has ended.")
			       : err_hint(e, "Stop it first: 'pcap stop %s'.",
					  name);
	}
	if (!delete_check_holds(ctl, t, name, e) ||
	    !store_delete_begin(ctl->store, t->row.id, e))
		return false;
	capture_entry_remove(ctl, t);
	return true;
}

bool control_delete(struct control *ctl, const char *name,
		    struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->change);
	struct capture_entry *t = control_is_stopping(ctl, e)
					  ? NULL
					  : capture_entry_find(ctl, name, e);
	uint64_t id = t ? t->row.id : 0;
	bool viewed = t && capture_entry_view(ctl, t, v, e);
	bool ok = viewed && delete_entry(ctl, t, name, e);
	pthread_mutex_unlock(&ctl->change);
	/* It may be much, and nobody else's commands wait for it. */
	ok = ok && store_delete_finish(ctl->store, id, e);
	if (viewed && !ok)
		capture_view_done(v);
	return ok;
}

bool control_alias_add(struct control *ctl, const char *name, const char *alias,
		       struct capture_view *v, struct err *e)
{
	if (!alias_check(alias, e))
		return false;
	pthread_mutex_lock(&ctl->change);
	struct capture_entry *t = control_is_stopping(ctl, e)
					  ? NULL
					  : capture_entry_find(ctl, name, e);
	bool ok = t && operations_add_alias(ctl, t, alias, e) &&
		  capture_entry_view(ctl, t, v, e);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

bool control_alias_remove(struct control *ctl, const char *alias,
			  struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->change);
	struct capture_entry *t = control_is_stopping(ctl, e)
					  ? NULL
					  : capture_entry_by_alias(ctl, alias);
	bool ok = t && remove_alias(ctl, t, alias, e) &&
		  capture_entry_view(ctl, t, v, e);
	if (!t && !ctl->stopped)
		err_set(e, ERR_NOT_FOUND, "no alias '%.80s'", alias);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

struct operations_change {
	const uint64_t *keep_bytes;
	const int64_t *keep_age_ns;
	struct store_hold *hold;
	uint64_t release;
	const struct store_mark *mark;
	const char *people;
	bool remove;
};

typedef bool change_entry(struct control *ctl, struct capture_entry *t,
			  const struct operations_change *how, struct err *e);

static bool operations_change_named(struct control *ctl, const char *name,
				    change_entry *change,
				    const struct operations_change *how,
				    struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->change);
	struct capture_entry *t = control_is_stopping(ctl, e)
					  ? NULL
					  : capture_entry_find(ctl, name, e);
	bool ok =
		t && change(ctl, t, how, e) && capture_entry_view(ctl, t, v, e);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

static bool set_keep(struct control *ctl, struct capture_entry *t,
		     const struct operations_change *how, struct err *e)
{
	uint64_t bytes = how->keep_bytes ? *how->keep_bytes : t->row.keep_bytes;
	int64_t age = how->keep_age_ns ? *how->keep_age_ns : t->row.keep_age_ns;

	if (!store_set_keep(ctl->store, t->row.id, bytes, age, e))
		return false;
	pthread_mutex_lock(&ctl->lock);
	t->row.keep_bytes = bytes;
	t->row.keep_age_ns = age;
	pthread_mutex_unlock(&ctl->lock);
	return true;
}

static bool set_people(struct control *ctl, struct capture_entry *t,
		       const struct operations_change *how, struct err *e)
{
	if (!store_set_people(ctl->store, t->row.id, how->people, e))
		return false;
	pthread_mutex_lock(&ctl->lock);
	snprintf(t->row.people, sizeof(t->row.people), "%s", how->people);
	pthread_mutex_unlock(&ctl->lock);
	return true;
}

bool control_set_people(struct control *ctl, const char *name,
			const char *people, struct capture_view *v,
			struct err *e)
{
	struct operations_change how = {.people = people};

	return operations_change_named(ctl, name, set_people, &how, v, e);
}

bool control_people(struct control *ctl, const char *name, uint64_t *id,
		    char people[PEOPLE_MAX + 1], struct err *e)
{
	pthread_mutex_lock(&ctl->lock);
	const struct capture_entry *t = capture_entry_find(ctl, name, e);
	if (t) {
		*id = t->row.id;
		memcpy(people, t->row.people, PEOPLE_MAX + 1);
	}
	pthread_mutex_unlock(&ctl->lock);
	return t != NULL;
}

bool control_set_keep(struct control *ctl, const char *name,
		      const uint64_t *keep_bytes, const int64_t *keep_age_ns,
		      struct capture_view *v, struct err *e)
{
	struct operations_change how = {.keep_bytes = keep_bytes,
					.keep_age_ns = keep_age_ns};

	return operations_change_named(ctl, name, set_keep, &how, v, e);
}

static bool operations_hold(struct control *ctl, struct capture_entry *t,
			    const struct operations_change *how, struct err *e)
{
	return store_hold_add(ctl->store, t->row.id, how->hold, e);
}

bool control_hold(struct control *ctl, const char *name, struct store_hold *h,
		  struct capture_view *v, struct err *e)
{
	struct operations_change how = {.hold = h};

	return operations_change_named(ctl, name, operations_hold, &how, v, e);
}

static bool operations_release(struct control *ctl, struct capture_entry *t,
			       const struct operations_change *how,
			       struct err *e)
{
	return store_hold_remove(ctl->store, t->row.id, how->release, e);
}

bool control_release(struct control *ctl, const char *name, uint64_t hold_id,
		     struct capture_view *v, struct err *e)
{
	struct operations_change how = {.release = hold_id};

	return operations_change_named(ctl, name, operations_release, &how, v,
				       e);
}

static bool operations_mark(struct control *ctl, struct capture_entry *t,
			    const struct operations_change *how, struct err *e)
{
	return how->remove
		       ? store_mark_remove(ctl->store, t->row.id,
					   how->mark->name, e)
		       : store_mark_add(ctl->store, t->row.id, how->mark, e);
}

bool control_mark(struct control *ctl, const char *name,
		  const struct store_mark *m, bool remove,
		  struct capture_view *v, struct err *e)
{
	struct operations_change how = {.mark = m, .remove = remove};

	return name_check("mark", m->name, e) &&
	       operations_change_named(ctl, name, operations_mark, &how, v, e);
}
