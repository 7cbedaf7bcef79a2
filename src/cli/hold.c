/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap hold and pcap release: a range that retention may not take. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>

/* --- hold --- */

static struct time_range range;
static Pcap__V1__HoldRequest ask = PCAP__V1__HOLD_REQUEST__INIT;
static const char *reason;

static const struct cli_option options[] = {
	OPTION_RANGE(&range, "Packets at or after, a time or a mark",
		     "Packets before; now"),
	OPTION_TEXT("reason", 'r', "TEXT", &reason,
		    "Why, for those who come later"),
	{0}};

static bool hold_check(const struct words *words, struct err *e)
{
	(void)words;
	if (!range.since && !range.last)
		return err_set(e, ERR_USAGE, "say --since or --last");
	return reason || err_set(e, ERR_USAGE, "say why, with --reason");
}

static int hold_run(const struct words *words)
{
	struct err e = ERR_INIT;
	char a[TIME_TEXT], b[TIME_TEXT];
	char text[CAPTURE_TEXT];
	int64_t now = realtime_ns();
	const char *name;

	if (!target_parse(words->v[0], &name, &e) ||
	    !time_range_parse(&range, name, now, &ask.since_ns, &ask.until_ns,
			      &e))
		return cli_fail(&e);
	ask.name = (char *)name;
	ask.reason = (char *)reason;
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

const struct command command_hold = {
	.name = "hold",
	.summary = "keep a range from retention",
	.args = "[REMOTE:]ID|ALIAS",
	.help = "Keeps a range of a capture from retention, until 'pcap "
		"release'. 'pcap status' lists what is held.",
	.options = options,
	.min = 1,
	.max = 1,
	.too_few = "say which capture, by id or alias",
	.too_many = "one capture at a time",
	.check = hold_check,
	.run = hold_run,
};

/* --- release --- */

static bool yes;

static const struct cli_option release_options[] = {
	OPTION_FLAG("yes", 'y', &yes, "Do not ask"), {0}};

static int release_run(const struct words *words)
{
	struct err e = ERR_INIT;
	Pcap__V1__ReleaseRequest release = PCAP__V1__RELEASE_REQUEST__INIT;
	Pcap__V1__WouldRemoveRequest would =
		PCAP__V1__WOULD_REMOVE_REQUEST__INIT;
	const char *name;

	if (!target_parse(words->v[0], &name, &e) ||
	    !number_parse("the hold", words->v[1], 1, INT64_MAX, &release.hold,
			  &e))
		return cli_fail(&e);
	release.name = would.name = (char *)name;
	would.without_hold = release.hold;
	if (!yes && removal_agreed(&would, "release", false, &e) < 0)
		return cli_fail(&e);
	return cli_change("Release", &release.base, "released a hold of");
}

const struct command command_release = {
	.name = "release",
	.summary = "give a held range back to retention",
	.args = "[REMOTE:]ID|ALIAS HOLD",
	.help = "Gives what is held back to retention. HOLD is the number that "
		"'pcap hold' told; 'pcap status' lists them. Before that "
		"removes anything, release says how much, and asks.",
	.options = release_options,
	.min = 2,
	.max = 2,
	.too_few = "say a capture and a hold's number",
	.too_many = "say a capture and a hold's number",
	.run = release_run,
};
