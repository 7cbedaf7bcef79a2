/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap set: how much of a capture is kept, from now on. */
#include "cli/cli.h"

#include <stdio.h>

struct set_line {
	const char *name, *people;
	struct keep keep;
	bool yes, dry_run;
};

static error_t set_parse(int key, char *arg, struct argp_state *state)
{
	struct set_line *line = state->input;

	switch (key) {
	case 1:
		line->keep.bytes = arg;
		return 0;
	case 2:
		line->keep.age = arg;
		return 0;
	case 3:
		line->people = arg;
		return 0;
	case 4:
		line->dry_run = true;
		return 0;
	case 'y':
		line->yes = true;
		return 0;
	case ARGP_KEY_ARG:
		if (line->name)
			argp_error(state, "one capture at a time");
		line->name = arg;
		return 0;
	case ARGP_KEY_END:
		if (!line->name)
			argp_error(state, "say which capture, by id or alias");
		if (!line->keep.bytes && !line->keep.age && !line->people)
			argp_error(state, "say --keep-bytes, --keep-age or "
					  "--people");
		if (line->dry_run && !line->keep.bytes && !line->keep.age)
			argp_error(state, "--dry-run goes with --keep-bytes "
					  "or --keep-age");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"keep-bytes", 1, "BYTES", 0,
	 "Remove the oldest when more is stored: 500M, 200G, none", 0},
	{"keep-age", 2, "LENGTH", 0,
	 "Remove what is older than that: 12h, 30d, none", 0},
	{"people", 3, "NAME,...", 0,
	 "Only these people, and root, see the capture; '' is everybody", 0},
	{"yes", 'y', NULL, 0, "Do not ask", 0},
	{"dry-run", 4, NULL, 0, "Say what would be removed, and no more", 0},
	{0}};

static const struct argp argp = {
	options,
	set_parse,
	"[REMOTE:]ID|ALIAS",
	"Changes how much of a capture is kept, also while it runs. What is "
	"over the bound goes at once, but for what 'pcap hold' keeps; before "
	"it removes anything, set says how much, and asks.",
	cli_common,
	NULL,
	NULL};

static int set_removes(const char *name, const struct keep *k, bool dry_run,
		       struct err *e)
{
	Pcap__V1__WouldRemoveRequest ask = PCAP__V1__WOULD_REMOVE_REQUEST__INIT;

	ask.name = (char *)name;
	if (k->bytes) {
		ask.bytes_case =
			PCAP__V1__WOULD_REMOVE_REQUEST__BYTES_KEEP_BYTES;
		ask.keep_bytes = k->keep_bytes;
	}
	if (k->age) {
		ask.age_case = PCAP__V1__WOULD_REMOVE_REQUEST__AGE_KEEP_AGE_NS;
		ask.keep_age_ns = k->keep_age_ns;
	}
	return removal_agreed(&ask, dry_run, e);
}

static int set_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct set_line line = {0};
	Pcap__V1__SetRequest ask = PCAP__V1__SET_REQUEST__INIT;
	const char *name;

	cli_parse(&argp, argc, argv, &line);
	if (!target_parse(line.name, &name, &e) || !keep_parse(&line.keep, &e))
		return cli_fail(&e);
	ask.name = (char *)name;
	if (line.keep.bytes) {
		ask.bytes_case = PCAP__V1__SET_REQUEST__BYTES_KEEP_BYTES;
		ask.keep_bytes = line.keep.keep_bytes;
	}
	if (line.keep.age) {
		ask.age_case = PCAP__V1__SET_REQUEST__AGE_KEEP_AGE_NS;
		ask.keep_age_ns = line.keep.keep_age_ns;
	}
	if (line.people) {
		ask.who_case = PCAP__V1__SET_REQUEST__WHO_PEOPLE;
		ask.people = (char *)line.people;
	}
	if ((line.keep.bytes || line.keep.age) && (line.dry_run || !line.yes)) {
		int go = set_removes(name, &line.keep, line.dry_run, &e);

		if (go <= 0)
			return go < 0 ? cli_fail(&e) : cli_done();
	}
	int code = cli_change("Set", &ask.base, "changed");
	if (code != 0 || (!line.keep.bytes && !line.keep.age))
		return code;
	Pcap__V1__StatusResponse *m = status_ask(name, &e);
	if (!m)
		return cli_fail(&e);
	for (size_t i = 0; i < m->n_captures; i++)
		forecast_say(stderr, m->captures[i], "");
	pcap__v1__status_response__free_unpacked(m, NULL);
	return cli_done();
}

const struct command command_set = {"set", "change how much is kept", &argp,
				    set_run};
