/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap help [COMMAND] */
#include "cli/cli.h"

#include <stdio.h>

static error_t help_parse(int key, char *arg, struct argp_state *state)
{
	const char **name = state->input;

	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	if (*name)
		argp_error(state, "one command at most");
	*name = arg;
	return 0;
}

static const struct argp argp = {
	NULL,	     help_parse,
	"[COMMAND]", "Tells what a command does and takes.",
	cli_common,  NULL,
	NULL};

static int help_run(int argc, char **argv)
{
	const char *name = NULL, *nearest;
	char full[64];
	char help[] = "--help", self[] = "pcap";

	cli_parse(&argp, argc, argv, &name);
	if (!name)
		return cli_main(2, (char *[]){self, help, NULL});
	const struct command *c = command_find(name, &nearest);
	if (!c) {
		struct err e = ERR_INIT;
		err_set(&e, ERR_USAGE, "unknown command '%s'", name);
		if (nearest)
			err_hint(&e, "Perhaps '%s'.", nearest);
		else
			err_hint(&e, "'pcap help' lists them.");
		return cli_fail(&e);
	}
	snprintf(full, sizeof(full), "pcap %s", c->name);
	return c->run(2, (char *[]){full, help, NULL});
}

const struct command command_help = {"help", "tell about a command", &argp,
				     help_run};
