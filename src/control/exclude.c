/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections of pcapd's own that captures leave out. Guarantees that every
 * capture which runs hears of each at once, and that the ledger of each whose
 * packets were left out says afterwards how many, of which, and from when until
 * when. Leaves out how: bpf_exclude.c.
 */
#include "base/log.h"
#include "control/capture_entry.h"

#include <stdio.h>
#include <stdlib.h>

/* With lock held. */
static void tell_captures(struct control *ctl)
{
	for (size_t i = 0; i < ctl->n; i++)
		if (ctl->entries[i]->source)
			capture_exclude(ctl->entries[i]->source);
}

static void exclude_tell(struct control *ctl, uint64_t number)
{
	static atomic_flag told = ATOMIC_FLAG_INIT;

	if (!number && !atomic_flag_test_and_set(&told))
		log_warn("%d connections are left out of captures; more are "
			 "captured",
			 OWN_CONNECTIONS_MAX);
	pthread_mutex_lock(&ctl->lock);
	tell_captures(ctl);
	pthread_mutex_unlock(&ctl->lock);
}

uint64_t control_exclude(struct control *ctl, const struct flow *f)
{
	uint64_t number = own_connections_begin(ctl->exclude, f);

	exclude_tell(ctl, number);
	return number;
}

bool control_listen(struct control *ctl, int fd, struct err *e)
{
	return own_connections_listen(ctl->exclude, fd) ||
	       err_set(e, ERR_LIMIT, "captures know of at most %d sockets",
		       OWN_CONNECTIONS_LISTENERS_MAX);
}

void control_unlisten(struct control *ctl)
{
	own_connections_unlisten(ctl->exclude);
}

int control_accept(struct control *ctl, int fd, struct sockaddr_storage *from,
		   uint64_t *number)
{
	int made = own_connections_accept(ctl->exclude, fd, from, number);

	if (made >= 0)
		exclude_tell(ctl, *number);
	return made;
}

void control_known(struct control *ctl, uint64_t number)
{
	if (!number)
		return;
	own_connections_known(ctl->exclude, number);
	exclude_tell(ctl, number);
}

void control_include(struct control *ctl, uint64_t number)
{
	if (number)
		own_connections_end(ctl->exclude, number);
}

unsigned control_excluded(struct control *ctl, uint64_t id,
			  struct flow out[OWN_CONNECTIONS_MAX])
{
	uint16_t *places = calloc(OWN_CONNECTIONS_MAX, sizeof(*places));
	struct capture *c = NULL;
	uint64_t ignored;
	unsigned n = 0;

	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < ctl->n; i++)
		if (ctl->entries[i]->row.id == id)
			c = ctl->entries[i]->source;
	if (c)
		capture_ref(c);
	pthread_mutex_unlock(&ctl->lock);
	unsigned all = places && c ? own_connections_list(ctl->exclude, out,
							  places, &ignored)
				   : 0;
	for (unsigned i = 0; i < all; i++)
		if (capture_left_out(c, places[i], false))
			out[n++] = out[i];
	capture_unref(c);
	free(places);
	return n;
}

/* As long as it ran. */
static int64_t exclude_since(const struct capture_entry *t,
			     const struct own_connections_past *p)
{
	return p->from_ns > t->began_ns ? p->from_ns : t->began_ns;
}

/* One row for those of which packets were left out of this capture. */
static void tell_past(struct control *ctl, const struct capture_entry *t,
		      struct capture *c,
		      const struct own_connections_past *past, unsigned n)
{
	int64_t from = INT64_MAX, to = 0;
	uint64_t packets = 0;
	unsigned flows = 0;
	char text[FLOW_TEXT];

	for (unsigned i = 0; i < n; i++) {
		uint64_t of_it = capture_left_out(c, past[i].place, true);

		if (!of_it)
			continue;
		packets += of_it;
		from = exclude_since(t, &past[i]) < from
			       ? exclude_since(t, &past[i])
			       : from;
		to = past[i].to_ns > to ? past[i].to_ns : to;
		if (flows++ == 0)
			flow_text(&past[i].flow, text);
	}
	if (flows > 1)
		snprintf(text, sizeof(text), "%u connections to pcapd", flows);
	if (flows)
		tell_row(ctl, t->row.id, LEDGER_EXCLUDED, from, to, packets,
			 text);
}

void leave_out_look(struct control *ctl)
{
	struct own_connections_past *past =
		calloc(OWN_CONNECTIONS_MAX, sizeof(*past));
	unsigned n = past ? own_connections_expire(ctl->exclude, past,
						   OWN_CONNECTIONS_MAX)
			  : 0;

	for (size_t i = 0; n > 0 && i < ctl->n; i++)
		if (ctl->entries[i]->source)
			tell_past(ctl, ctl->entries[i], ctl->entries[i]->source,
				  past, n);
	if (n > 0)
		tell_captures(ctl);
	free(past);
}

void leave_out_end(struct control *ctl, const struct capture_entry *t,
		   struct capture *c)
{
	struct own_connections_past *past =
		calloc(OWN_CONNECTIONS_MAX, sizeof(*past));

	if (past)
		tell_past(ctl, t, c, past,
			  own_connections_so_far(ctl->exclude, past));
	free(past);
}
