/*
 * Copies of what there is to say about captures. Guarantees that a packet is
 * counted once, whether it is in memory, on disk or on the way.
 */
#include "../edit_distance.h"
#include "../store/keeper.h"
#include "entry.h"

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

static enum capture_state state_of(const struct entry *t,
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

/* With lock held: everything but the totals. */
static bool view_entry(const struct entry *t, struct capture_view *v,
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
	if (v->live.link_type)
		v->row.link_type = v->live.link_type;
	return true;
}

static void add_block(struct store_totals *t, const struct block_info *b)
{
	bool first = t->packets == 0;

	if (b->seq < t->next_seq || b->packets == 0)
		return;
	t->packets += b->packets;
	t->raw_bytes += b->raw_bytes;
	if (first || b->min_ns < t->min_ns)
		t->min_ns = b->min_ns;
	if (first || b->max_ns > t->max_ns)
		t->max_ns = b->max_ns;
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
 * is then in both and counted once, by its number. */
static bool view_totals(struct control *ctl, struct feed *f,
			struct capture_view *v, struct err *e)
{
	struct block_info *in_memory = calloc(feed_max(f), sizeof(*in_memory));

	if (!in_memory)
		return err_set(e, ERR_FAILED, "out of memory");
	unsigned n = feed_blocks(f, in_memory);
	bool ok = store_totals(ctl->store, v->row.id, &v->totals, e);
	for (unsigned i = 0; ok && i < n; i++)
		add_block(&v->totals, &in_memory[i]);
	free(in_memory);
	if (ok)
		view_snaplen(v);
	return ok;
}

/* With change held, so that the entry stays. */
bool entry_view(struct control *ctl, const struct entry *t,
		struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->lock);
	bool ok = view_entry(t, v, e);
	pthread_mutex_unlock(&ctl->lock);
	if (!ok)
		return false;
	if (view_totals(ctl, t->feed, v, e))
		return true;
	capture_view_done(v);
	return false;
}

void control_catch_up(struct control *ctl, const char *name)
{
	struct capture *source = NULL;
	struct err ignored;

	pthread_mutex_lock(&ctl->lock);
	struct entry *t = entry_find(ctl, name, &ignored);
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
		  struct feed **f, struct err *e)
{
	struct capture_view view;
	struct feed *feed = NULL;

	pthread_mutex_lock(&ctl->lock);
	struct entry *t = entry_find(ctl, name, e);
	if (t && view_entry(t, &view, e))
		feed = feed_ref(t->feed);
	pthread_mutex_unlock(&ctl->lock);
	if (!feed)
		return false;
	if (!view_totals(ctl, feed, &view, e)) {
		capture_view_done(&view);
		feed_unref(feed);
		return false;
	}
	*v = view;
	*f = feed;
	return true;
}

bool control_list(struct control *ctl, const char *name,
		  struct capture_view **v, size_t *n, struct err *e)
{
	struct entry *one = NULL;
	bool ok = true;

	*n = 0;
	pthread_mutex_lock(&ctl->lock);
	size_t max = ctl->n;
	struct feed **feeds = calloc(max + 1, sizeof(struct feed *));
	*v = calloc(max + 1, sizeof(**v));
	if (!feeds || !*v)
		ok = err_set(e, ERR_FAILED, "out of memory");
	else if (name && *name)
		ok = (one = entry_find(ctl, name, e));
	for (size_t i = 0; ok && i < max; i++) {
		if (one && ctl->entries[i] != one)
			continue;
		ok = view_entry(ctl->entries[i], &(*v)[*n], e);
		if (ok)
			feeds[(*n)++] = feed_ref(ctl->entries[i]->feed);
	}
	pthread_mutex_unlock(&ctl->lock);
	for (size_t i = 0; ok && i < *n; i++)
		ok = view_totals(ctl, feeds[i], &(*v)[i], e);
	for (size_t i = 0; i < *n; i++)
		feed_unref(feeds[i]);
	free(feeds);
	while (!ok && *n > 0)
		capture_view_done(&(*v)[--*n]);
	if (!ok)
		free(*v);
	return ok;
}

bool control_would_remove(struct control *ctl, const char *name,
			  const uint64_t *keep_bytes,
			  const int64_t *keep_age_ns, struct capture_view *v,
			  struct store_removal *r, struct err *e)
{
	struct feed *f;

	if (!control_find(ctl, name, v, &f, e))
		return false;
	feed_unref(f);
	if (store_would_remove(ctl->store, v->row.id,
			       keep_bytes ? *keep_bytes : v->row.keep_bytes,
			       keep_age_ns ? *keep_age_ns : v->row.keep_age_ns,
			       r, e))
		return true;
	capture_view_done(v);
	return false;
}

bool control_coverage(struct control *ctl, const char *name, int64_t since_ns,
		      int64_t until_ns, struct coverage *c,
		      struct capture_view *v, struct err *e)
{
	struct feed *f;

	keeper_catch_up(ctl->keeper);
	if (!control_find(ctl, name, v, &f, e))
		return false;
	feed_unref(f);
	struct coverage_of of = {
		.capture = v->row.id,
		.savefile = v->row.savefile,
		.created_ns = v->row.created_ns,
		.min_ns = v->totals.min_ns,
		.max_ns = v->totals.max_ns,
		.now_ns = clocks_now().real_ns,
		.runs = v->state == CAPTURE_RUNNING ||
			v->state == CAPTURE_WAITING,
	};
	if (ledger_coverage(ctl->store, &of, since_ns, until_ns, c, e))
		return true;
	capture_view_done(v);
	return false;
}
