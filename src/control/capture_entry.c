/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The list of captures: finding one by its names, adding and removing one.
 * Guarantees that the list changes under both locks, so that either is enough
 * to read it. Leaves out what runs (run.c).
 */
#include "control/capture_entry.h"

#include "base/log.h"
#include "base/vec.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* what: "alias", "mark" */
bool name_check(const char *what, const char *alias, struct err *e)
{
	size_t n = strlen(alias);
	size_t good = strspn(alias, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz"
				    "0123456789._-");

	/* "-x" would be an option to whatever gets it, ".." a folder. */
	if (n > 0 && n <= ALIAS_MAX && good == n && !strchr(".-", alias[0]) &&
	    strspn(alias, "0123456789") != n)
		return true;
	return err_set(e, ERR_USAGE,
		       "%s '%.80s': expected 1 to %d of A-Z a-z 0-9 . _ -, "
		       "not only digits, and no . or - in front",
		       what, alias, ALIAS_MAX);
}

bool alias_check(const char *alias, struct err *e)
{
	return name_check("alias", alias, e);
}

bool row_has_alias(const struct capture_row *r, const char *alias)
{
	for (size_t i = 0; i < r->n_aliases; i++)
		if (strcmp(r->aliases[i], alias) == 0)
			return true;
	return false;
}

struct capture_entry *capture_entry_by_alias(struct control *ctl,
					     const char *alias)
{
	for (size_t i = 0; i < ctl->n; i++)
		if (row_has_alias(&ctl->entries[i]->row, alias))
			return ctl->entries[i];
	return NULL;
}

/* With lock or change held. */
struct capture_entry *capture_entry_find(struct control *ctl, const char *name,
					 struct err *e)
{
	struct capture_entry *found = NULL;

	if (!*name) {
		err_set(e, ERR_USAGE,
			"expected a capture's id or alias, got "
			"nothing");
	} else if (strspn(name, "0123456789") == strlen(name)) {
		uint64_t id = strtoull(name, NULL, 10);

		for (size_t i = 0; i < ctl->n && !found; i++)
			if (ctl->entries[i]->row.id == id)
				found = ctl->entries[i];
	} else {
		found = capture_entry_by_alias(ctl, name);
	}
	if (!found && *name) {
		err_set(e, ERR_NOT_FOUND, "no capture '%.80s'", name);
		err_hint(e, "List captures with 'pcap list'.");
	}
	return found;
}

const char *capture_entry_label(const struct capture_entry *t, char room[24])
{
	if (t->row.n_aliases)
		return t->row.aliases[0];
	snprintf(room, 24, "%" PRIu64, t->row.id);
	return room;
}

bool row_copy(struct capture_row *to, const struct capture_row *from)
{
	*to = *from;
	to->interface = strdup(from->interface);
	to->filter = strdup(from->filter);
	to->program = malloc(from->program_bytes + 1);
	to->aliases = calloc(from->n_aliases + 1, sizeof(*to->aliases));
	to->n_aliases = 0;
	bool ok = to->interface && to->filter && to->program && to->aliases;
	if (ok)
		memcpy(to->program, from->program, from->program_bytes);
	for (size_t i = 0; ok && i < from->n_aliases; i++) {
		to->aliases[i] = strdup(from->aliases[i]);
		ok = to->aliases[i];
		to->n_aliases += ok;
	}
	if (!ok)
		capture_row_done(to);
	return ok;
}

void capture_entry_free(struct capture_entry *t)
{
	if (!t)
		return;
	assert(!t->source && !t->writer);
	capture_row_done(&t->row);
	capture_tail_unref(t->tail);
	free(t);
}

/* Takes over the row. NULL when memory is out; the row is done then. */
struct capture_entry *capture_entry_add(struct control *ctl,
					struct capture_row *row, struct err *e)
{
	struct capture_entry *t = calloc(1, sizeof(*t));
	struct store_newest newest;

	if (!t) {
		capture_row_done(row);
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	t->row = *row;
	if (!store_newest(ctl->store, row->id, &newest, e))
		goto fail;
	/* The rest is known when somebody has asked: it may be much. */
	t->known = (struct store_totals){.next_seq = newest.next_seq};
	/* The row has that of the last start, if the interface was there. */
	if (!t->row.savefile && newest.any)
		t->row.link_type = newest.link_type;
	unsigned blocks = (unsigned)ctl->config.memory_blocks;
	t->tail = t->row.savefile
			  ? capture_tail_new_waiting(row->id, newest.next_seq,
						     blocks)
			  : capture_tail_new(row->id, newest.next_seq, blocks);
	pthread_mutex_lock(&ctl->lock);
	struct capture_entry **more =
		t->tail ? vec_push(&ctl->entries, &ctl->n) : NULL;
	if (more)
		*more = t;
	pthread_mutex_unlock(&ctl->lock);
	if (more)
		return t;
	err_set(e, ERR_FAILED, "out of memory");
fail:
	capture_entry_free(t);
	return NULL;
}

void capture_entry_remove(struct control *ctl, struct capture_entry *t)
{
	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < ctl->n; i++) {
		if (ctl->entries[i] != t)
			continue;
		memmove(&ctl->entries[i], &ctl->entries[i + 1],
			(ctl->n - i - 1) * sizeof(t));
		ctl->n--;
		break;
	}
	pthread_mutex_unlock(&ctl->lock);
	capture_tail_close(t->tail);
	capture_entry_free(t);
}

static bool room_for_one(struct control *ctl, struct err *e)
{
	if (ctl->n < ctl->config.max_captures)
		return true;
	return err_set(e, ERR_LIMIT,
		       "there are %zu captures, and max-captures "
		       "is %" PRIu64,
		       ctl->n, ctl->config.max_captures);
}

/* What was committed and is not wanted after all. */
static void take_back(struct control *ctl, uint64_t id)
{
	struct err e = ERR_INIT;

	if (!store_delete(ctl->store, id, &e))
		log_warn("capture %" PRIu64 " was made for nothing and stays: "
			 "%s",
			 id, e.what);
}

void capture_entry_undo(struct control *ctl, struct capture_entry *t)
{
	uint64_t id = t->row.id;

	capture_entry_remove(ctl, t);
	take_back(ctl, id);
}

/* Commits a capture as the model row says, and makes its entry. */
struct capture_entry *capture_entry_create(struct control *ctl,
					   const struct capture_row *model,
					   struct err *e)
{
	struct capture_row row;

	if (!room_for_one(ctl, e))
		return NULL;
	if (!row_copy(&row, model)) {
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	row.created_ns = realtime_ns();
	if (!store_add(ctl->store, &row, e)) {
		capture_row_done(&row);
		return NULL;
	}
	uint64_t id = row.id;
	struct capture_entry *t = capture_entry_add(ctl, &row, e);
	if (!t)
		take_back(ctl, id);
	return t;
}

bool control_is_stopping(struct control *ctl, struct err *e)
{
	if (!ctl->stopped)
		return false;
	err_set(e, ERR_UNREACHABLE, "pcapd is stopping");
	return true;
}
