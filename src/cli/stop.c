/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap stop. Never guesses which capture is meant. */
#include "cli/cli.h"

#include <string.h>

struct stop_line {
	const char *name;
	bool all;
};

static error_t stop_parse(int key, char *arg, struct argp_state *state)
{
	struct stop_line *line = state->input;

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
	{"all", 'a', NULL, 0, "Stop every capture that runs", 0}, {0}};

static const struct argp argp = {options,
				 stop_parse,
				 "[REMOTE:]ID|ALIAS\n[REMOTE:]--all",
				 "Stops a capture. What it captured stays.",
				 cli_common,
				 NULL,
				 NULL};

static int stop_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct stop_line line = {0};
	Pcap__V1__StopRequest ask = PCAP__V1__STOP_REQUEST__INIT;
	const char *name = "";

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
		err_set(&e, ERR_USAGE,
			"say which capture to stop, by id or alias, or --all");
		err_hint(&e, "'pcap list' shows them.");
		return cli_fail(&e);
	}
	ask.name = (char *)name;
	ask.all = line.all;
	return cli_change("Stop", &ask.base, "stopped");
}

const struct command command_stop = {"stop", "stop a capture", &argp, stop_run};
