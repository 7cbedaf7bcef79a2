/*
 * Connections of pcapd's own that captures leave out. Guarantees that every
 * capture which runs hears of each at once, and that the ledger of each says
 * afterwards which it was and from when until when. Leaves out how: prefix.c.
 */
#include "../log.h"
#include "entry.h"

#include <stdio.h>
#include <stdlib.h>

/* Rows of the ledger a look; who connects more often shares one. */
#define ROWS_MAX 32

/* With lock held. */
static void tell_captures(struct control *ctl)
{
	for (size_t i = 0; i < ctl->n; i++)
		if (ctl->entries[i]->source)
			capture_exclude(ctl->entries[i]->source);
}

static void tell(struct control *ctl, uint64_t number)
{
	static atomic_flag told = ATOMIC_FLAG_INIT;

	if (!number && !atomic_flag_test_and_set(&told))
		log_warn("%d connections are left out of captures; more are "
			 "captured",
			 EXCLUDE_MAX);
	pthread_mutex_lock(&ctl->lock);
	tell_captures(ctl);
	pthread_mutex_unlock(&ctl->lock);
}

uint64_t control_exclude(struct control *ctl, const struct flow *f)
{
	uint64_t number = exclude_begin(ctl->exclude, f);

	tell(ctl, number);
	return number;
}

bool control_listen(struct control *ctl, int fd, struct err *e)
{
	return exclude_listen(ctl->exclude, fd) ||
	       err_set(e, ERR_LIMIT, "captures know of at most %d sockets",
		       EXCLUDE_LISTENERS_MAX);
}

void control_unlisten(struct control *ctl)
{
	exclude_unlisten(ctl->exclude);
}

int control_accept(struct control *ctl, int fd, struct sockaddr_storage *from,
		   uint64_t *number)
{
	int made = exclude_accept(ctl->exclude, fd, from, number);

	if (made >= 0)
		tell(ctl, *number);
	return made;
}

void control_include(struct control *ctl, uint64_t number)
{
	if (number)
		exclude_end(ctl->exclude, number);
}

unsigned control_excluded(struct control *ctl, struct flow out[EXCLUDE_MAX])
{
	uint64_t ignored;

	return exclude_list(ctl->exclude, out, &ignored);
}

/* As long as it ran. */
static int64_t since(const struct entry *t, const struct exclude_past *p)
{
	return p->from_ns > t->began_ns ? p->from_ns : t->began_ns;
}

static void tell_many(struct control *ctl, const struct entry *t,
		      const struct exclude_past *past, unsigned n)
{
	int64_t from = INT64_MAX, to = 0;
	char text[64];

	for (unsigned i = 0; i < n; i++) {
		from = since(t, &past[i]) < from ? since(t, &past[i]) : from;
		to = past[i].to_ns > to ? past[i].to_ns : to;
	}
	snprintf(text, sizeof(text), "%u connections to pcapd", n);
	tell_row(ctl, t->row.id, LEDGER_EXCLUDED, from, to, 0, text);
}

static void tell_past(struct control *ctl, const struct entry *t,
		      const struct exclude_past *past, unsigned n)
{
	char text[FLOW_TEXT];

	if (n > ROWS_MAX) {
		tell_many(ctl, t, past, n);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		tell_row(ctl, t->row.id, LEDGER_EXCLUDED, since(t, &past[i]),
			 past[i].to_ns, 0, flow_text(&past[i].flow, text));
}

void leave_out_look(struct control *ctl)
{
	struct exclude_past *past = calloc(EXCLUDE_MAX, sizeof(*past));
	unsigned n = past ? exclude_expire(ctl->exclude, past, EXCLUDE_MAX) : 0;

	for (size_t i = 0; n > 0 && i < ctl->n; i++)
		if (ctl->entries[i]->source)
			tell_past(ctl, ctl->entries[i], past, n);
	if (n > 0)
		tell_captures(ctl);
	free(past);
}

void leave_out_end(struct control *ctl, const struct entry *t)
{
	struct exclude_past *past = calloc(EXCLUDE_MAX, sizeof(*past));

	if (past)
		tell_past(ctl, t, past, exclude_so_far(ctl->exclude, past));
	free(past);
}
