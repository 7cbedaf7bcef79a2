/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starting and stopping a source with its writer. Leaves out whether it is
 * wanted (operations.c) and what is done about it at start (captures.c).
 */
#include "base/log.h"
#include "control/capture_entry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void entry_options(struct control *ctl, const struct capture_entry *t,
			  struct capture_options *o)
{
	memset(o, 0, sizeof(*o));
	snprintf(o->interface, sizeof(o->interface), "%s", t->row.interface);
	snprintf(o->filter, sizeof(o->filter), "%s", t->row.filter);
	o->snaplen = t->row.snaplen;
	o->promiscuous = t->row.promiscuous;
	o->buffer_bytes = t->row.buffer_bytes;
	o->rings = t->row.rings;
	o->exclude = ctl->exclude;
	o->program = t->row.program;
	o->program_bytes = t->row.program_bytes;
	o->program_link_type = t->row.program_link_type;
	o->block_age_ns = (int64_t)ctl->config.block_age_s * NS_PER_S;
}

/* Writer first: a source has somebody to write for it from its first block. */
bool capture_entry_run(struct control *ctl, struct capture_entry *t,
		       struct err *e)
{
	struct capture_options o;
	struct capture_status now;

	entry_options(ctl, t, &o);
	struct writer *w = writer_start(ctl->store, t->tail, e);
	if (!w)
		return false;
	struct capture *c = capture_start(&o, t->tail, e);
	if (!c) {
		struct writer_status ignored;

		writer_stop(w, &ignored);
		return false;
	}
	capture_status(c, &now);
	pthread_mutex_lock(&ctl->lock);
	t->source = c;
	t->writer = w;
	t->resume_error[0] = '\0';
	t->names_told = false;
	tell_begin(ctl, t, now.opened_ns);
	pthread_mutex_unlock(&ctl->lock);
	if (now.link_type && now.link_type != t->row.link_type) {
		struct err ignored;

		if (!store_set_link_type(ctl->store, t->row.id, now.link_type,
					 &ignored))
			log_err(LOG_LEVEL_WARN, &ignored);
		pthread_mutex_lock(&ctl->lock);
		t->row.link_type = now.link_type;
		pthread_mutex_unlock(&ctl->lock);
	}
	return true;
}

/* It was compiled again, as the interface is of another kind now, or it came
 * from a catalog that does not know what it was compiled for. */
static void keep_program(struct control *ctl, struct capture_entry *t,
			 const struct capture *c)
{
	struct capture_row row = {.id = t->row.id};
	const struct bpf_filter *f = capture_filter(c, &row.program_link_type);
	struct err e;

	if (!f || row.program_link_type == t->row.program_link_type)
		return;
	const void *bytes = bpf_filter_bytes(f, &row.program_bytes);
	row.program = malloc(row.program_bytes);
	if (!row.program)
		return;
	memcpy(row.program, bytes, row.program_bytes);
	if (!store_set_program(ctl->store, &row, &e)) {
		log_err(LOG_LEVEL_WARN, &e);
		free(row.program);
		return;
	}
	pthread_mutex_lock(&ctl->lock);
	free(t->row.program);
	t->row.program = row.program;
	t->row.program_bytes = row.program_bytes;
	t->row.program_link_type = row.program_link_type;
	pthread_mutex_unlock(&ctl->lock);
}

/* Everything that the source had is stored when this returns. */
void capture_entry_halt(struct control *ctl, struct capture_entry *t)
{
	struct capture_status last = {0};
	struct writer_status disk;

	pthread_mutex_lock(&ctl->lock);
	struct capture *c = t->source;
	struct writer *w = t->writer;
	t->source = NULL;
	t->writer = NULL;
	t->resume_error[0] = '\0';
	pthread_mutex_unlock(&ctl->lock);
	if (!c)
		return;
	capture_ref(c);
	capture_stop(c, &last);
	writer_stop(w, &disk);
	pthread_mutex_lock(&ctl->lock);
	if (last.link_type)
		t->row.link_type = last.link_type;
	struct capture_status sums = last;
	status_add(&sums, &t->past);
	t->past = sums;
	t->past_disk += disk.dropped_disk;
	totals_join(&t->past_stored, &disk.stored);
	tell_end(ctl, t, c, &last, &disk.lost);
	pthread_mutex_unlock(&ctl->lock);
	keep_program(ctl, t, c);
	capture_unref(c);
}

bool capture_entry_set_wanted(struct control *ctl, struct capture_entry *t,
			      bool wanted, struct err *e)
{
	if (!store_set_wanted(ctl->store, t->row.id, wanted, e))
		return false;
	pthread_mutex_lock(&ctl->lock);
	t->row.wanted = wanted;
	pthread_mutex_unlock(&ctl->lock);
	return true;
}
