/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap set: how much of a capture is kept, from now on. */
#include "cli/cli.h"

#include <stdio.h>

static Pcap__V1__SetRequest ask = PCAP__V1__SET_REQUEST__INIT;
static const char *people;
static struct keep keep;
static bool yes, dry_run;

static const struct cli_option options[] = {
	OPTION_KEEP(&keep, ", none"),
	OPTION_TEXT("people", 0, "NAME,...", &people,
		    "Only these people, and root, see the capture; '' is "
		    "everybody"),
	OPTION_FLAG("yes", 'y', &yes, "Do not ask"),
	OPTION_FLAG("dry-run", 0, &dry_run,
		    "Say what would be removed, and no more"),
	{0}};

static bool set_keeps(void)
{
	return keep.bytes_given || keep.age_given;
}

static bool set_check(const struct words *words, struct err *e)
{
	(void)words;
	if (!set_keeps() && !people)
		return err_set(e, ERR_USAGE,
			       "say --keep-bytes, --keep-age or --people");
	return set_keeps() || !dry_run ||
	       err_set(e, ERR_USAGE,
		       "--dry-run goes with --keep-bytes or --keep-age");
}

static void set_fill(const char *name)
{
	ask.name = (char *)name;
	if (keep.bytes_given) {
		ask.bytes_case = PCAP__V1__SET_REQUEST__BYTES_KEEP_BYTES;
		ask.keep_bytes = keep.bytes;
	}
	if (keep.age_given) {
		ask.age_case = PCAP__V1__SET_REQUEST__AGE_KEEP_AGE_NS;
		ask.keep_age_ns = keep.age_ns;
	}
	if (people) {
		ask.who_case = PCAP__V1__SET_REQUEST__WHO_PEOPLE;
		ask.people = (char *)people;
	}
}

static int set_removes(const char *name, struct err *e)
{
	Pcap__V1__WouldRemoveRequest would =
		PCAP__V1__WOULD_REMOVE_REQUEST__INIT;

	would.name = (char *)name;
	if (keep.bytes_given) {
		would.bytes_case =
			PCAP__V1__WOULD_REMOVE_REQUEST__BYTES_KEEP_BYTES;
		would.keep_bytes = keep.bytes;
	}
	if (keep.age_given) {
		would.age_case =
			PCAP__V1__WOULD_REMOVE_REQUEST__AGE_KEEP_AGE_NS;
		would.keep_age_ns = keep.age_ns;
	}
	return removal_agreed(&would, "set", dry_run, e);
}

static int set_run(const struct words *words)
{
	struct err e = ERR_INIT;
	const char *name;

	if (!target_parse(words->v[0], &name, &e))
		return cli_fail(&e);
	set_fill(name);
	if (set_keeps() && (dry_run || !yes)) {
		int go = set_removes(name, &e);

		if (go <= 0)
			return go < 0 ? cli_fail(&e) : cli_done();
	}
	int code = cli_change("Set", &ask.base, "changed");
	if (code != 0 || !set_keeps())
		return code;
	Pcap__V1__StatusResponse *m = status_ask(name, &e);
	if (!m)
		return cli_fail(&e);
	for (size_t i = 0; i < m->n_captures; i++)
		forecast_say(stderr, m->captures[i], "");
	pcap__v1__status_response__free_unpacked(m, NULL);
	return cli_done();
}

const struct command command_set = {
	.name = "set",
	.summary = "change how much is kept",
	.args = "[REMOTE:]ID|ALIAS",
	.help = "Changes how much of a capture is kept, also while it runs. "
		"What is over the bound goes at once, but for what 'pcap hold' "
		"keeps; before it removes anything, set says how much, and "
		"asks.",
	.options = options,
	.min = 1,
	.max = 1,
	.too_few = "say which capture, by id or alias",
	.too_many = "one capture at a time",
	.check = set_check,
	.run = set_run,
};
