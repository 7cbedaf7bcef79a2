/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap mark: names for instants. */
#include "cli/cli.h"

#include <stdio.h>

struct mark_line {
	struct words words;
	const char *at;
	bool remove;
};

static error_t mark_parse(int key, char *arg, struct argp_state *state)
{
	struct mark_line *line = state->input;

	switch (key) {
	case 1:
		line->at = arg;
		return 0;
	case 2:
		line->remove = true;
		return 0;
	case ARGP_KEY_ARGS:
		words_take(&line->words, state);
		return 0;
	case ARGP_KEY_END:
		if (line->words.n != 2)
			argp_error(state, "say a capture and the mark's name");
		if (line->at && line->remove)
			argp_error(state, "either --at or --remove");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"at", 1, "TIME", 0, "The instant; now", 0},
	{"remove", 2, NULL, 0, "Forget the mark", 0},
	{0}};

static const struct argp argp = {
	options,
	mark_parse,
	"[REMOTE:]ID|ALIAS NAME",
	"Gives an instant of a capture a name, which '--since', '--until' and "
	"'--around' understand. A name is written as an alias is.",
	cli_common,
	NULL,
	NULL};

static int mark_run(int argc, char **argv)
{
	struct err e = ERR_INIT, no_time = ERR_INIT;
	struct mark_line line = {0};
	Pcap__V1__MarkRequest ask = PCAP__V1__MARK_REQUEST__INIT;
	int64_t now = realtime_ns(), ignored;
	const char *name;

	cli_parse(&argp, argc, argv, &line);
	if (!target_parse(line.words.v[0], &name, &e) ||
	    (line.at &&
	     !time_parse("--at", line.at, now, TIME_SINCE, &ask.at_ns, &e)))
		return cli_fail(&e);
	ask.name = (char *)name;
	ask.mark = line.words.v[1];
	ask.remove = line.remove;
	if (!line.remove &&
	    time_parse("", ask.mark, now, TIME_SINCE, &ignored, &no_time)) {
		err_set(&e, ERR_USAGE,
			"mark '%s': expected a name that is no time", ask.mark);
		return cli_fail(&e);
	}
	return cli_change("Mark", &ask.base,
			  line.remove ? "forgot a mark of" : "marked");
}

const struct command command_mark = {"mark", "give an instant a name", &argp,
				     mark_run};
