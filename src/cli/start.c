/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap start. Without a name it starts the only capture there is. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

struct start_line {
	const char *name;
	bool all;
};

static error_t start_parse(int key, char *arg, struct argp_state *state)
{
	struct start_line *line = state->input;

	switch (key) {
	case 'a':
		line->all = true;
		return 0;
	case ARGP_KEY_ARG:
		if (line->name)
			argp_error(state, "one capture at a time, or --all");
		line->name = arg;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"all", 'a', NULL, 0, "Start every capture that is stopped", 0}, {0}};

static const struct argp argp = {
	options,
	start_parse,
	"[REMOTE:][ID|ALIAS]",
	"Starts a capture; it goes on until it is stopped, also when pcapd or "
	"the machine is started again. Without a name the only capture there "
	"is.",
	cli_common,
	NULL,
	NULL};

/* The one capture of an interface, as text; else an error that names them. */
static bool only_one(char id[24], struct err *e)
{
	Pcap__V1__ListRequest ask = PCAP__V1__LIST_REQUEST__INIT;
	char name[CAPTURE_TEXT];
	unsigned found = 0;

	Pcap__V1__ListResponse *m =
		(Pcap__V1__ListResponse *)cli_call("List", &ask.base, e);
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

static int start_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct start_line line = {0};
	Pcap__V1__StartRequest ask = PCAP__V1__START_REQUEST__INIT;
	const char *name = "";
	char id[24];

	cli_parse(&argp, argc, argv, &line);
	if (line.name && !target_parse(line.name, &name, &e))
		return cli_fail(&e);
	if (strcmp(name, "--all") == 0) { /* remote:--all */
		line.all = true;
		name = "";
	}
	if (*name && line.all) {
		err_set(&e, ERR_USAGE,
			"either a capture or --all, not '%s' and --all", name);
		return cli_fail(&e);
	}
	if (!*name && !line.all) {
		if (!only_one(id, &e))
			return cli_fail(&e);
		name = id;
	}
	ask.name = (char *)name;
	ask.all = line.all;
	return cli_change("Start", &ask.base, "started");
}

const struct command command_start = {"start", "start a capture", &argp,
				      start_run};
