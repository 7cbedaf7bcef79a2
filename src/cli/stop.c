/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap stop. Never guesses which capture is meant. */
#include "cli/cli.h"

static Pcap__V1__StopRequest ask = PCAP__V1__STOP_REQUEST__INIT;

static const struct cli_option options[] = {
	OPTION_FLAG("all", 'a', &ask.all, "Stop every capture that runs"), {0}};

static int stop_run(const struct words *words)
{
	struct err e = ERR_INIT;
	const char *name;

	if (!target_or_all(words->v[0], &ask.all, &name, &e))
		return cli_fail(&e);
	if (!*name && !ask.all) {
		err_set(&e, ERR_USAGE,
			"say which capture to stop, by id or alias, or --all");
		err_hint(&e, "'pcap list' shows them.");
		return cli_fail(&e);
	}
	ask.name = (char *)name;
	return cli_change("Stop", &ask.base, "stopped");
}

const struct command command_stop = {
	.name = "stop",
	.summary = "stop a capture",
	.args = "[REMOTE:]ID|ALIAS\n[REMOTE:]--all",
	.help = "Stops a capture. What it captured stays.",
	.options = options,
	.max = 1,
	.too_many = "one capture at a time, or --all",
	.run = stop_run,
};
