/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap mark: names for instants. */
#include "cli/cli.h"

#include <stdio.h>

static Pcap__V1__MarkRequest ask = PCAP__V1__MARK_REQUEST__INIT;
static const char *at;

static const struct cli_option options[] = {
	OPTION_TEXT("at", 0, "TIME", &at, "The instant; now"),
	OPTION_FLAG("remove", 0, &ask.remove, "Forget the mark"),
	{0}};

static bool mark_check(const struct words *words, struct err *e)
{
	(void)words;
	return !at || !ask.remove ||
	       err_set(e, ERR_USAGE, "either --at or --remove");
}

static int mark_run(const struct words *words)
{
	struct err e = ERR_INIT, no_time = ERR_INIT;
	int64_t now = realtime_ns(), ignored;
	const char *name;

	if (!target_parse(words->v[0], &name, &e) ||
	    (at && !time_parse("--at", at, now, TIME_SINCE, &ask.at_ns, &e)))
		return cli_fail(&e);
	ask.name = (char *)name;
	ask.mark = words->v[1];
	if (!ask.remove &&
	    time_parse("", ask.mark, now, TIME_SINCE, &ignored, &no_time)) {
		err_set(&e, ERR_USAGE,
			"mark '%s': expected a name that is no time", ask.mark);
		return cli_fail(&e);
	}
	return cli_change("Mark", &ask.base,
			  ask.remove ? "forgot a mark of" : "marked");
}

const struct command command_mark = {
	.name = "mark",
	.summary = "give an instant a name",
	.args = "[REMOTE:]ID|ALIAS NAME",
	.help = "Gives an instant of a capture a name, which '--since', "
		"'--until' and '--around' understand. A name is written as an "
		"alias is.",
	.options = options,
	.min = 2,
	.max = 2,
	.too_few = "say a capture and the mark's name",
	.too_many = "say a capture and the mark's name",
	.check = mark_check,
	.run = mark_run,
};
