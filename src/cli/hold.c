/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap hold and pcap release: a range that retention may not take. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>

/* --- hold --- */

struct hold_line {
	const char *name, *reason;
	struct time_range range;
};

static error_t hold_parse(int key, char *arg, struct argp_state *state)
{
	struct hold_line *line = state->input;

	if (time_range_option(&line->range, key, arg))
		return 0;
	switch (key) {
	case 'r':
		line->reason = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (line->name)
			argp_error(state, "one capture at a time");
		line->name = arg;
		return 0;
	case ARGP_KEY_END:
		if (!line->name)
			argp_error(state, "say which capture, by id or alias");
		if (!line->range.since && !line->range.last)
			argp_error(state, "say --since or --last");
		if (!line->reason)
			argp_error(state, "say why, with --reason");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"since", KEY_SINCE, "TIME", 0, "Packets at or after, a time or a mark",
	 0},
	{"until", KEY_UNTIL, "TIME", 0, "Packets before; now", 0},
	{"last", KEY_LAST, "LENGTH", 0, "The last 90s, 10m, 2h, 3d, 1w", 0},
	{"reason", 'r', "TEXT", 0, "Why, for those who come later", 0},
	{0}};

static const struct argp argp = {
	options,
	hold_parse,
	"[REMOTE:]ID|ALIAS",
	"Keeps a range of a capture from retention, until 'pcap release'. "
	"'pcap status' lists what is held.",
	cli_common,
	NULL,
	NULL};

static int hold_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct hold_line line = {0};
	Pcap__V1__HoldRequest ask = PCAP__V1__HOLD_REQUEST__INIT;
	char room[2][MARKED_TEXT], a[TIME_TEXT], b[TIME_TEXT];
	char text[CAPTURE_TEXT];
	int64_t now = realtime_ns();
	const char *name;

	cli_parse(&argp, argc, argv, &line);
	if (!target_parse(line.name, &name, &e) ||
	    !range_marks(&line.range, room, name, now, &e) ||
	    !time_range_parse(&line.range, now, &ask.since_ns, &ask.until_ns,
			      &e))
		return cli_fail(&e);
	ask.name = (char *)name;
	ask.reason = (char *)line.reason;
	if (!ask.until_ns && ask.since_ns >= now) {
		err_set(&e, ERR_USAGE,
			"a hold that begins in the future needs --until");
		return cli_fail(&e);
	}
	if (!ask.until_ns)
		ask.until_ns = now;
	Pcap__V1__HoldResponse *m =
		(Pcap__V1__HoldResponse *)cli_call("Hold", &ask.base, &e);
	if (!m)
		return cli_fail(&e);
	cli_say("hold %" PRIu64 " on %s: %s to %s", m->hold->id,
		capture_text(m->capture, text), time_text(m->hold->since_ns, a),
		time_text(m->hold->until_ns, b));
	pcap__v1__hold_response__free_unpacked(m, NULL);
	return 0;
}

const struct command command_hold = {"hold", "keep a range from retention",
				     &argp, hold_run};

/* --- release --- */

struct release_line {
	struct words words;
	bool yes;
};

static error_t release_parse(int key, char *arg, struct argp_state *state)
{
	struct release_line *line = state->input;

	(void)arg;
	switch (key) {
	case 'y':
		line->yes = true;
		return 0;
	case ARGP_KEY_ARGS:
		words_take(&line->words, state);
		return 0;
	case ARGP_KEY_END:
		if (line->words.n != 2)
			argp_error(state, "say a capture and a hold's number");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option release_options[] = {
	{"yes", 'y', NULL, 0, "Do not ask", 0}, {0}};

static const struct argp release_argp = {
	release_options,
	release_parse,
	"[REMOTE:]ID|ALIAS HOLD",
	"Gives what is held back to retention. HOLD is the number that 'pcap "
	"hold' told; 'pcap status' lists them. Before that removes anything, "
	"release says how much, and asks.",
	cli_common,
	NULL,
	NULL};

static int release_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct release_line line = {.yes = false};
	Pcap__V1__ReleaseRequest ask = PCAP__V1__RELEASE_REQUEST__INIT;
	Pcap__V1__WouldRemoveRequest would =
		PCAP__V1__WOULD_REMOVE_REQUEST__INIT;
	const char *name;

	cli_parse(&release_argp, argc, argv, &line);
	if (!target_parse(line.words.v[0], &name, &e) ||
	    !number_parse("the hold", line.words.v[1], 1, INT64_MAX, &ask.hold,
			  &e))
		return cli_fail(&e);
	ask.name = would.name = (char *)name;
	would.without_hold = ask.hold;
	if (!line.yes && removal_agreed(&would, false, &e) < 0)
		return cli_fail(&e);
	return cli_change("Release", &ask.base, "released a hold of");
}

const struct command command_release = {"release",
					"give a held range back to retention",
					&release_argp, release_run};
