/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Savefiles that go into a capture of their own. Guarantees that nothing is
 * left of a file that gave no packets and was not whole, that one file at a
 * time goes into a capture, and that the ledger tells what did not come in.
 */
#include "base/log.h"
#include "base/sha256.h"
#include "control/capture_entry.h"
#include "store/imports.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct control_import_import {
	struct control *ctl;
	struct capture_entry *t;
	struct import_row row;
	struct savefile_result result;
	/* Where files of its name broke off, and whether it is one of these. */
	struct import_break breaks[IMPORT_BREAKS];
	struct savefile_mark marks[IMPORT_BREAKS];
	size_t n_breaks;
	uint64_t dropped; /* that could not be written */
	char disk_error[80];
	/* The file as it comes. */
	savefile_read read;
	void *ctx;
	struct sha256 *hash;
};

/* "1 (EN10MB)" */
static void import_link_text(uint32_t link_type, char out[64])
{
	uint32_t number = LINK_TYPE_OF(link_type);
	const char *name = pcap_datalink_val_to_name(dlt_of_link_type(number));

	snprintf(out, 64, "%" PRIu32 " (%.20s%s)", number,
		 name ? name : "unknown",
		 number != link_type ? ", with frame check sequences" : "");
}

/* May this file go into this capture? */
static bool import_fits(const struct capture_entry *t, const char *name,
			uint32_t type, struct err *e)
{
	char room[24], its[64], ours[64];

	if (!t->row.savefile) {
		err_set(e, ERR_STATE,
			"'%s' captures on %s; savefiles do not "
			"go into it",
			capture_entry_label(t, room), t->row.interface);
		return err_hint(e, "Import into an alias of its own.");
	}
	if (t->importing)
		return err_set(e, ERR_STATE,
			       "'%s' is being imported into already",
			       capture_entry_label(t, room));
	if (t->row.link_type == type)
		return true;
	import_link_text(type, its);
	import_link_text(t->row.link_type, ours);
	err_set(e, ERR_STATE, "%s has link type %s, '%s' has %s", name, its,
		capture_entry_label(t, room), ours);
	return err_hint(e, "Import it into an alias of its own.");
}

static struct capture_entry *create_import(struct control *ctl,
					   const char *alias,
					   const struct savefile *file,
					   struct err *e)
{
	char *aliases[] = {(char *)alias};
	struct capture_row row = {
		.savefile = true,
		.interface = "",
		.filter = "",
		.program = "",
		.link_type = savefile_link_type(file),
		.snaplen = savefile_snaplen(file),
		.aliases = aliases,
		.n_aliases = 1,
	};

	return alias_check(alias, e) ? capture_entry_create(ctl, &row, e)
				     : NULL;
}

/* The row, in the catalog before its first packet. */
static bool import_enter(struct control_import_import *im, const char *name,
			 struct err *e)
{
	const char *base = strrchr(name, '/');
	uint32_t at;

	im->row.capture = im->t->row.id;
	im->row.at_ns = realtime_ns();
	capture_tail_position(im->t->tail, &im->row.first_seq, &at);
	snprintf(im->row.file, sizeof(im->row.file), "%s",
		 base && base[1] ? base + 1 : name);
	return imports_breaks(im->ctl->store, &im->row, im->breaks,
			      &im->n_breaks, e) &&
	       imports_begin(im->ctl->store, &im->row, e);
}

/* im->t: where to; NULL when it may not. */
static void import_begin(struct control_import_import *im, const char *alias,
			 const char *name, const struct savefile *file,
			 bool *created, struct err *e)
{
	struct control *ctl = im->ctl;
	struct err ignored;
	struct capture_entry *t = NULL;

	pthread_mutex_lock(&ctl->change);
	if (!control_is_stopping(ctl, e)) {
		t = capture_entry_find(ctl, alias, &ignored);
		*created = !t;
		if (!t)
			t = create_import(ctl, alias, file, e);
		else if (!import_fits(t, name, savefile_link_type(file), e))
			t = NULL;
	}
	if (t) {
		pthread_mutex_lock(&ctl->lock);
		t->importing = true;
		pthread_mutex_unlock(&ctl->lock);
	}
	pthread_mutex_unlock(&ctl->change);
	im->t = t;
}

/* What would be refused anyway is refused before the file is read. */
static bool import_precheck(struct control *ctl, const char *alias,
			    struct err *e)
{
	struct err ignored;

	pthread_mutex_lock(&ctl->change);
	struct capture_entry *t = capture_entry_find(ctl, alias, &ignored);
	bool ok = t ? import_fits(t, "", t->row.link_type, e)
		    : alias_check(alias, e);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

/* --- the file --- */

static int64_t import_read(void *ctx, void *to, size_t n, struct err *e)
{
	struct control_import_import *im = ctx;
	int64_t got = im->read(im->ctx, to, n, e);

	if (got > 0)
		sha256_add(im->hash, to, (size_t)got);
	return got;
}

static bool import_copy(struct control_import_import *im, struct savefile *file,
			struct err *e)
{
	struct control *ctl = im->ctl;
	int64_t age_ns = (int64_t)control_config(ctl).block_age_s * NS_PER_S;
	struct writer_status disk;
	struct writer *w = writer_start(ctl->store, im->t->tail, e);

	if (!w)
		return false;
	for (size_t i = 0; i < im->n_breaks; i++)
		im->marks[i] =
			(struct savefile_mark){.packets = im->breaks[i].packets,
					       .ns = im->breaks[i].last_ns};
	savefile_look_for(file, im->marks, im->n_breaks);
	bool ok = savefile_copy(file, im->t->tail, age_ns, &im->result, e);
	writer_stop(w, &disk);
	im->dropped = disk.dropped_disk;
	snprintf(im->disk_error, sizeof(im->disk_error), "%.79s", disk.error);
	if (disk.dropped_disk)
		ok = err_set(e, ERR_INCOMPLETE,
			     "%" PRIu64 " packets could not be written: %s",
			     disk.dropped_disk, disk.error);
	return ok;
}

/* --- the end --- */

__attribute__((format(printf, 2, 3))) static void
import_note(struct import_done *d, const char *fmt, ...)
{
	va_list args;

	if (d->n_notes == IMPORT_NOTES)
		return;
	va_start(args, fmt);
	vsnprintf(d->notes[d->n_notes], sizeof(d->notes[0]), fmt, args);
	va_end(args);
	d->n_notes++;
}

static void import_say(const struct control_import_import *im,
		       const struct import_row *before, struct import_done *d)
{
	const struct savefile_result *r = &im->result;
	time_t at = (time_t)(before->at_ns / NS_PER_S);
	char room[24], day[32] = "";
	struct tm tm;

	if (before->id && gmtime_r(&at, &tm)) {
		strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%SZ", &tm);
		import_note(d,
			    "the same file, by its SHA-256, went into '%s' at "
			    "%s already, as %s: its packets are in there twice",
			    capture_entry_label(im->t, room), day,
			    before->file);
	}
	if (r->untimed)
		import_note(d,
			    "%" PRIu64 " packets have no time in the file: "
			    "they are at the beginning of 1970",
			    r->untimed);
	if (r->over_limit)
		import_note(d,
			    "%" PRIu64 " packets have over %" PRIu32
			    " bytes, more than libpcap reads in a savefile of "
			    "this link type: 'pcap replay -s %" PRIu32
			    "' cuts them",
			    r->over_limit, r->limit, r->limit);
}

/* What did not come in, as rows: how many. */
static size_t import_losses(const struct control_import_import *im,
			    struct ledger_row rows[SAVEFILE_LOSSES + 1])
{
	const struct savefile_result *r = &im->result;
	size_t n = 0;

	for (int k = 0; k < SAVEFILE_LOSSES; k++) {
		const struct savefile_loss *l = &r->losses[k];

		if (!*l->why)
			continue;
		rows[n] = (struct ledger_row){.capture = im->t->row.id,
					      .cause = LEDGER_IMPORT,
					      .from_ns = l->from_ns,
					      .to_ns = l->to_ns,
					      .packets = l->packets};
		snprintf(rows[n].detail, sizeof(rows[n].detail),
			 IMPORT_DETAIL "%.75s", im->row.file, l->why);
		n++;
	}
	if (im->dropped) {
		/* Which of them they are nobody knows. */
		rows[n] = (struct ledger_row){.capture = im->t->row.id,
					      .cause = LEDGER_DISK,
					      .from_ns = r->min_ns,
					      .to_ns = r->max_ns + 1,
					      .packets = im->dropped};
		snprintf(rows[n].detail, sizeof(rows[n].detail),
			 IMPORT_DETAIL "%.75s", im->row.file, im->disk_error);
		n++;
	}
	return n;
}

/* What is missing behind a place where it broke off before is there, or told
 * anew. */
static bool import_made_good(struct control_import_import *im,
			     struct import_done *d, struct err *e)
{
	char room[24];

	for (size_t i = 0; i < im->n_breaks; i++) {
		if (!im->marks[i].met)
			continue;
		if (!imports_made_good(im->ctl->store, &im->breaks[i],
				       im->result.max_ns + 1, e))
			return false;
		import_note(d,
			    "it broke off after %" PRIu64 " packets before: "
			    "what was missing is no gap any more, and these "
			    "packets are in '%s' twice",
			    im->marks[i].packets,
			    capture_entry_label(im->t, room));
	}
	return true;
}

/* Ledger and row. */
static bool import_record(struct control_import_import *im, bool whole,
			  struct import_done *d, struct err *e)
{
	struct ledger_row rows[SAVEFILE_LOSSES + 1];
	struct import_row before;
	uint32_t at;

	im->row.state = whole ? IMPORT_WHOLE : IMPORT_INCOMPLETE;
	im->row.packets = im->result.packets;
	capture_tail_position(im->t->tail, &im->row.end_seq, &at);
	sha256_end(im->hash, im->row.sha256);
	if (!imports_end(im->ctl->store, &im->row, rows,
			 import_losses(im, rows), &before, e))
		return false;
	import_say(im, &before, d);
	return import_made_good(im, d, e);
}

/* Made for nothing: whoever tries again finds what was there before. */
static void import_remove(struct control *ctl, struct capture_entry *t)
{
	struct err e;

	if (store_delete(ctl->store, t->row.id, &e))
		capture_entry_remove(ctl, t);
	else
		log_err(LOG_LEVEL_WARN, &e);
}

static bool import_end(struct control_import_import *im, bool ok,
		       struct import_done *d, struct err *e)
{
	struct control *ctl = im->ctl;
	struct err seen;

	d->packets = im->result.packets;
	d->raw_bytes = im->result.raw_bytes;
	bool empty = d->created && !ok && !d->packets;
	if (!empty && im->row.id && !import_record(im, ok, d, &seen)) {
		*e = seen;
		ok = false;
	}
	pthread_mutex_lock(&ctl->change);
	pthread_mutex_lock(&ctl->lock);
	im->t->importing = false;
	pthread_mutex_unlock(&ctl->lock);
	if (empty) {
		if (e->kind == ERR_INCOMPLETE)
			err_hint(e, "No packet came in, so no capture was "
				    "made.");
		import_remove(ctl, im->t);
	} else if (ok || e->kind == ERR_INCOMPLETE) {
		d->kept = capture_entry_view(ctl, im->t, &d->view, &seen);
		if (!d->kept) {
			*e = seen;
			ok = false;
		}
	}
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

static bool control_import_import_file(struct control_import_import *im,
				       const char *alias, const char *name,
				       struct import_done *d, struct err *e)
{
	struct savefile *file = savefile_open(import_read, im, name, e);
	bool ok = false;

	if (!file)
		return false;
	import_begin(im, alias, name, file, &d->created, e);
	if (im->t) {
		ok = import_enter(im, name, e) && import_copy(im, file, e);
		ok = import_end(im, ok, d, e);
	}
	savefile_close(file);
	return ok;
}

bool control_import(struct control *ctl, const char *alias, const char *name,
		    savefile_read read, void *ctx, struct import_done *d,
		    struct err *e)
{
	struct control_import_import im = {
		.ctl = ctl, .read = read, .ctx = ctx};

	*d = (struct import_done){0};
	if (!import_precheck(ctl, alias, e))
		return false;
	im.hash = sha256_new();
	bool ok = im.hash ? control_import_import_file(&im, alias, name, d, e)
			  : err_set(e, ERR_FAILED, "out of memory");
	sha256_free(im.hash);
	return ok;
}
