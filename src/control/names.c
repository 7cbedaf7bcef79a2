/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures on every interface keep numbers; this keeps what they were called.
 * Guarantees that each name which an interface had while such a capture ran is
 * in the catalog a second or two later, however short it was there. On the
 * ledger writer's thread; never waits for the disk.
 */
#include "control/capture_entry.h"
#include "store/interface_names.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_NEWS 64

_Static_assert(NAME_BYTES == IF_NAMESIZE, "names fit");

static bool names_wanted(const struct capture_entry *t)
{
	return t->source && strcmp(t->row.interface, "any") == 0;
}

/* To all that run, or only to those that were told nothing yet. */
static void names_give(struct control *ctl, const struct interface_name *v,
		       size_t n, bool only_fresh)
{
	struct store_name *made = calloc(n + 1, sizeof(*made));

	for (size_t i = 0; made && i < n; i++) {
		made[i].index = v[i].index;
		memcpy(made[i].name, v[i].name, sizeof(made[i].name));
		made[i].since_ns = v[i].since_ns;
	}
	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; made && i < ctl->n; i++) {
		struct capture_entry *t = ctl->entries[i];

		if (!names_wanted(t) || (only_fresh && t->names_told))
			continue;
		store_interface_names_add(ctl->store, t->row.id, made, n);
		t->names_told = t->names_told || only_fresh;
	}
	pthread_mutex_unlock(&ctl->lock);
	free(made);
}

static bool names_any_fresh(struct control *ctl)
{
	bool any = false;

	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < ctl->n; i++)
		any = any || (names_wanted(ctl->entries[i]) &&
			      !ctl->entries[i]->names_told);
	pthread_mutex_unlock(&ctl->lock);
	return any;
}

void names_look(struct control *ctl)
{
	struct interface_name news[NAMES_NEWS];
	bool missed = false, some;
	size_t n;

	do {
		n = interface_names_news(&ctl->names, news, NAMES_NEWS, &some);
		missed = missed || some;
		if (n)
			names_give(ctl, news, n, false);
	} while (n == NAMES_NEWS);
	if (!missed && !names_any_fresh(ctl))
		return;
	struct interface_name *all = interface_names_all(&n);
	if (all)
		names_give(ctl, all, n, !missed);
	if (all && missed)
		names_give(ctl, all, n, true);
	free(all);
}
