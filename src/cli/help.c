/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap help [COMMAND] */
#include "cli/cli.h"

#include <stdio.h>

static int help_run(const struct words *words)
{
	char *command = words->v[0];
	const char *nearest;
	char help[] = "--help", self[] = "pcap";

	if (!command)
		return cli_main(2, (char *[]){self, help, NULL});
	if (command_find(command, &nearest))
		return cli_main(3, (char *[]){self, command, help, NULL});
	struct err e = ERR_INIT;
	err_set(&e, ERR_USAGE, "unknown command '%s'", command);
	if (nearest)
		err_hint(&e, "Perhaps '%s'.", nearest);
	else
		err_hint(&e, "'pcap help' lists them.");
	return cli_fail(&e);
}

const struct command command_help = {
	.name = "help",
	.summary = "tell about a command",
	.args = "[COMMAND]",
	.help = "Tells what a command does and takes.",
	.max = 1,
	.too_many = "one command at most",
	.run = help_run,
};
