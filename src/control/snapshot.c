/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies of what there is to say about captures. Guarantees that a packet is
 * counted once, whether it is in memory, on disk or on the way.
 */
#include "base/edit_distance.h"
#include "control/capture_entry.h"
#include "store/ledger_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void capture_view_done(struct capture_view *v)
{
	capture_row_done(&v->row);
}

void status_add(struct capture_status *s, const struct capture_status *p)
{
	s->received += p->received;
	s->dropped_kernel += p->dropped_kernel;
	s->dropped_interface += p->dropped_interface;
	s->dropped_memory += p->dropped_memory;
	s->left_out += p->left_out;
	if (s->newest_ns == 0)
		s->newest_ns = p->newest_ns;
}

static enum capture_state state_of(const struct capture_entry *t,
				   struct capture_status *s)
{
	if (t->importing)
		return CAPTURE_IMPORTING;
	if (t->source)
		return s->waiting ? CAPTURE_WAITING : CAPTURE_RUNNING;
	if (!t->resume_error[0])
		return CAPTURE_STOPPED;
	s->waiting = true;
	snprintf(s->reason, sizeof(s->reason), "%s", t->resume_error);
	return CAPTURE_WAITING;
}

void totals_join(struct store_totals *t, const struct store_totals *more)
{
	if (more->packets && (!t->packets || more->min_ns < t->min_ns))
		t->min_ns = more->min_ns;
	if (more->packets && (!t->packets || more->max_ns > t->max_ns))
		t->max_ns = more->max_ns;
	t->packets += more->packets;
	t->raw_bytes += more->raw_bytes;
	t->stored_bytes += more->stored_bytes;
	if (more->next_seq > t->next_seq)
		t->next_seq = more->next_seq;
}

/* What the catalog would say. */
static struct store_totals view_known(const struct capture_entry *t,
				      const struct store_totals *stored)
{
	struct store_totals known = t->known, since = *stored;

	since.packets -= t->known_at.packets;
	since.raw_bytes -= t->known_at.raw_bytes;
	since.stored_bytes -= t->known_at.stored_bytes;
	totals_join(&known, &since);
	return known;
}

/* With lock held: everything but the totals, which are as far as memory knows
 * them. */
static bool view_entry(const struct capture_entry *t, struct capture_view *v,
		       struct err *e)
{
	memset(v, 0, sizeof(*v));
	if (!row_copy(&v->row, &t->row))
		return err_set(e, ERR_FAILED, "out of memory");
	if (t->source)
		capture_status(t->source, &v->live);
	if (t->writer)
		writer_status(t->writer, &v->writer);
	v->state = state_of(t, &v->live);
	status_add(&v->live, &t->past);
	v->writer.dropped_disk += t->past_disk;
	totals_join(&v->writer.stored, &t->past_stored);
	v->totals = view_known(t, &v->writer.stored);
	if (v->live.link_type)
		v->row.link_type = v->live.link_type;
	return true;
}

/* What was committed between the look at the writer and that at the catalog is
 * in one of them only: then another time. */
static void view_remember(struct control *ctl, const struct capture_view *v,
			  const struct store_totals *read)
{
	const struct store_totals *stored = &v->writer.stored;
	struct err ignored;
	char id[24];

	if (stored->next_seq && stored->next_seq != read->next_seq)
		return;
	snprintf(id, sizeof(id), "%llu", (unsigned long long)v->row.id);
	pthread_mutex_lock(&ctl->lock);
	struct capture_entry *t = capture_entry_find(ctl, id, &ignored);
	if (t) {
		t->known = *read;
		t->known_at = *stored;
	}
	pthread_mutex_unlock(&ctl->lock);
}

/* Imported files have snaplens of their own. While one goes in, a packet may
 * come that is larger than what its header says. */
static void view_snaplen(struct capture_view *v)
{
	if (!v->row.savefile)
		return;
	if (v->state == CAPTURE_IMPORTING)
		v->row.snaplen = BLOCK_PACKET_MAX;
	else if (v->totals.snaplen)
		v->row.snaplen = v->totals.snaplen;
}

/* What is in memory is looked at first: a block that is committed in between
 * is then in both and counted once, by its number. Where the catalog cannot be
 * read the totals are what memory knows. */
static bool view_totals(struct control *ctl, struct capture_tail *f,
			struct capture_view *v, struct err *e)
{
	struct block_info *in_memory =
		calloc(capture_tail_max(f), sizeof(*in_memory));
	struct store_totals read;
	struct err ignored;

	if (!in_memory)
		return err_set(e, ERR_FAILED, "out of memory");
	unsigned n = capture_tail_blocks(f, in_memory);
	if (store_totals(ctl->store, v->row.id, &read, &ignored)) {
		view_remember(ctl, v, &read);
		v->totals = read;
	}
	for (unsigned i = 0; i < n; i++)
		store_totals_add(&v->totals, &in_memory[i], 0);
	free(in_memory);
	view_snaplen(v);
	return true;
}

/* With change held, so that the entry stays. */
bool capture_entry_view(struct control *ctl, const struct capture_entry *t,
			struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->lock);
	bool ok = view_entry(t, v, e);
	pthread_mutex_unlock(&ctl->lock);
	if (!ok)
		return false;
	if (view_totals(ctl, t->tail, v, e))
		return true;
	capture_view_done(v);
	return false;
}

void control_catch_up(struct control *ctl, const char *name)
{
	struct capture *source = NULL;
	struct err ignored;

	pthread_mutex_lock(&ctl->lock);
	struct capture_entry *t = capture_entry_find(ctl, name, &ignored);
	if (t && t->source)
		source = capture_ref(t->source);
	pthread_mutex_unlock(&ctl->lock);
	if (source)
		capture_catch_up(source);
	capture_unref(source);
}

void control_nearest(struct control *ctl, const char *name,
		     bool (*sees)(void *ctx, const char *people), void *ctx,
		     char out[ALIAS_MAX + 1])
{
	unsigned best = EDIT_FAR;

	out[0] = '\0';
	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < ctl->n; i++) {
		const struct capture_row *r = &ctl->entries[i]->row;

		for (size_t k = 0; sees(ctx, r->people) && k < r->n_aliases;
		     k++)
			if (edit_is_nearer(name, r->aliases[k], &best))
				snprintf(out, ALIAS_MAX + 1, "%s",
					 r->aliases[k]);
	}
	pthread_mutex_unlock(&ctl->lock);
}

bool control_find(struct control *ctl, const char *name, struct capture_view *v,
		  struct capture_tail **f, struct err *e)
{
	struct capture_view view;
	struct capture_tail *tail = NULL;

	pthread_mutex_lock(&ctl->lock);
	struct capture_entry *t = capture_entry_find(ctl, name, e);
	if (t && view_entry(t, &view, e))
		tail = capture_tail_ref(t->tail);
	pthread_mutex_unlock(&ctl->lock);
	if (!tail)
		return false;
	if (!view_totals(ctl, tail, &view, e)) {
		capture_view_done(&view);
		capture_tail_unref(tail);
		return false;
	}
	*v = view;
	*f = tail;
	return true;
}

bool control_list(struct control *ctl, const char *name,
		  struct capture_view **v, size_t *n, struct err *e)
{
	struct capture_entry *one = NULL;
	bool ok = true;

	*n = 0;
	pthread_mutex_lock(&ctl->lock);
	size_t max = ctl->n;
	struct capture_tail **tails =
		calloc(max + 1, sizeof(struct capture_tail *));
	*v = calloc(max + 1, sizeof(**v));
	if (!tails || !*v)
		ok = err_set(e, ERR_FAILED, "out of memory");
	else if (name && *name)
		ok = (one = capture_entry_find(ctl, name, e));
	for (size_t i = 0; ok && i < max; i++) {
		if (one && ctl->entries[i] != one)
			continue;
		ok = view_entry(ctl->entries[i], &(*v)[*n], e);
		if (ok)
			tails[(*n)++] = capture_tail_ref(ctl->entries[i]->tail);
	}
	pthread_mutex_unlock(&ctl->lock);
	for (size_t i = 0; ok && i < *n; i++)
		ok = view_totals(ctl, tails[i], &(*v)[i], e);
	for (size_t i = 0; i < *n; i++)
		capture_tail_unref(tails[i]);
	free(tails);
	while (!ok && *n > 0)
		capture_view_done(&(*v)[--*n]);
	if (!ok)
		free(*v);
	return ok;
}

bool control_would_remove(struct control *ctl, const char *name,
			  const uint64_t *keep_bytes,
			  const int64_t *keep_age_ns, uint64_t without_hold,
			  struct capture_view *v, struct store_removal *r,
			  struct err *e)
{
	struct capture_tail *f;

	if (!control_find(ctl, name, v, &f, e))
		return false;
	capture_tail_unref(f);
	if (store_would_remove(ctl->store, v->row.id,
			       keep_bytes ? *keep_bytes : v->row.keep_bytes,
			       keep_age_ns ? *keep_age_ns : v->row.keep_age_ns,
			       without_hold, r, e))
		return true;
	capture_view_done(v);
	return false;
}

static int64_t oldest_in_memory(struct capture_tail *f)
{
	struct block_info *all = calloc(capture_tail_max(f), sizeof(*all));
	unsigned n = all ? capture_tail_blocks(f, all) : 0;
	int64_t ns = n ? all->min_ns : 0;

	free(all);
	return ns;
}

bool control_coverage(struct control *ctl, const char *name, int64_t since_ns,
		      int64_t until_ns, struct coverage *c,
		      struct capture_view *v, struct err *e)
{
	struct capture_tail *f;

	ledger_writer_catch_up(ctl->ledger_writer);
	if (!control_find(ctl, name, v, &f, e))
		return false;
	int64_t memory_ns = oldest_in_memory(f);
	capture_tail_unref(f);
	struct coverage_of of = {
		.capture = v->row.id,
		.savefile = v->row.savefile,
		.created_ns = v->row.created_ns,
		.min_ns = v->totals.min_ns,
		.max_ns = v->totals.max_ns,
		.memory_ns = memory_ns,
		.now_ns = clocks_now().real_ns,
		.runs = v->state == CAPTURE_RUNNING ||
			v->state == CAPTURE_WAITING,
	};
	if (ledger_coverage(ctl->store, &of, since_ns, until_ns, c, e))
		return true;
	capture_view_done(v);
	return false;
}
