/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap start. Without a name it starts the only capture there is. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static Pcap__V1__StartRequest ask = PCAP__V1__START_REQUEST__INIT;

static const struct cli_option options[] = {
	OPTION_FLAG("all", 'a', &ask.all,
		    "Start every capture that is stopped"),
	{0}};

/* The one capture of an interface, as text; else an error that names them. */
static bool only_one(char id[24], struct err *e)
{
	Pcap__V1__ListRequest all = PCAP__V1__LIST_REQUEST__INIT;
	char name[CAPTURE_TEXT];
	unsigned found = 0;

	Pcap__V1__ListResponse *m =
		(Pcap__V1__ListResponse *)cli_call("List", &all.base, e);
	if (!m)
		return false;
	for (size_t i = 0; i < m->n_captures; i++) {
		if (m->captures[i]->savefile)
			continue;
		snprintf(id, 24, "%llu",
			 (unsigned long long)m->captures[i]->id);
		if (found++ == 0)
			err_set(e, ERR_USAGE,
				"say which capture to start, or --all: %s",
				capture_text(m->captures[i], name));
		else if (strlen(e->what) < 512)
			snprintf(e->what + strlen(e->what), 160, ", %s",
				 capture_text(m->captures[i], name));
	}
	pcap__v1__list_response__free_unpacked(m, NULL);
	if (found == 0) {
		err_set(e, ERR_USAGE, "there is no capture to start");
		err_hint(e, "Make one with 'pcap init'.");
	}
	return found == 1;
}

static int start_run(const struct words *words)
{
	struct err e = ERR_INIT;
	const char *name;
	char id[24];

	if (!target_or_all(words->v[0], &ask.all, &name, &e))
		return cli_fail(&e);
	if (!*name && !ask.all) {
		if (!only_one(id, &e))
			return cli_fail(&e);
		name = id;
	}
	ask.name = (char *)name;
	return cli_change("Start", &ask.base, "started");
}

const struct command command_start = {
	.name = "start",
	.summary = "start a capture",
	.args = "[REMOTE:][ID|ALIAS]",
	.help = "Starts a capture; it goes on until it is stopped, also when "
		"pcapd or the machine is started again. Without a name the "
		"only capture there is.",
	.options = options,
	.max = 1,
	.too_many = "one capture at a time, or --all",
	.run = start_run,
};
