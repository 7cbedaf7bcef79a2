/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap replay: what was captured, as a savefile. */
#include "cli/cli.h"
#include "cli/filter_words.h"

#include <stdio.h>
#include <stdlib.h>

static Pcap__V1__ReplayRequest ask = PCAP__V1__REPLAY_REQUEST__INIT;
static struct stream stream = {.method = "Replay", .request = &ask.base};
static struct time_range range;
static struct filter_words filter;
static const char *around;
static int64_t window_ns;
static bool explain;

static const struct cli_option options[] = {
	OPTION_FILTER_FILE(&filter),
	OPTION_FLOW(&filter),
	OPTION_RANGE(&range, "Packets at or after, a time or a mark",
		     "Packets before"),
	OPTION_TEXT("around", 0, "TIME", &around,
		    "Packets around a time or a mark"),
	OPTION_LENGTH("window", &window_ns,
		      "With --around: so long before and after it (30s)"),
	OPTION_FLAG("strict", 0, &stream.strict,
		    "Exit code 3 if there is a gap in the range"),
	OPTION_FLAG("explain", 0, &explain,
		    "Say what would be read, by the catalog and the index, and "
		    "no more"),
	OPTION_FLAG("live", 'l', &stream.live,
		    "Go on with what is captured from now on"),
	OPTION_STREAM(&ask, &stream),
	{0}};

/* Where a replay that has no end begins. */
static void say_live(void)
{
	char text[TIME_TEXT];

	if (stream.live && (range.since || range.last))
		cli_say("range: %s to now and on",
			time_moment(ask.since_ns, text));
}

static bool replay_around(const char *name, int64_t now_ns, struct err *e)
{
	int64_t at, window = window_ns ? window_ns : 30 * NS_PER_S;

	if (range.since || range.until || range.last)
		return err_set(e, ERR_USAGE,
			       "--around is a range: give it, or --since, "
			       "--until and --last");
	if (!time_or_mark("--around", around, name, now_ns, TIME_SINCE, &at, e))
		return false;
	ask.since_ns = at > window ? at - window : 0;
	ask.until_ns = at < INT64_MAX - window ? at + window : INT64_MAX;
	time_range_say(now_ns, ask.since_ns);
	return true;
}

static bool replay_fits(struct err *e)
{
	if (stream.live && stream.strict)
		return err_set(e, ERR_USAGE,
			       "--strict judges a range, and --live has no "
			       "end");
	if (stream.live && (range.until || around))
		return err_set(e, ERR_USAGE,
			       "--live goes on without an end: give it or "
			       "--until");
	return around || !window_ns ||
	       err_set(e, ERR_USAGE, "--window goes with --around");
}

static bool replay_fill(const struct words *words, struct err *e)
{
	int64_t now = realtime_ns();
	const char *name;

	if (!target_parse(words->v[0], &name, e) || !replay_fits(e) ||
	    !(around ? replay_around(name, now, e)
		     : time_range_parse(&range, name, now, &ask.since_ns,
					&ask.until_ns, e)))
		return false;
	ask.name = (char *)name;
	ask.filter = filter_words(&filter, words, 1, e);
	ask.live = stream.live;
	ask.accept_zstd = true;
	return ask.filter;
}

static int replay_explain(void)
{
	Pcap__V1__ExplainRequest would = PCAP__V1__EXPLAIN_REQUEST__INIT;

	would.name = ask.name;
	would.filter = ask.filter;
	would.since_ns = ask.since_ns;
	would.until_ns = ask.until_ns;
	return explain_run(&would);
}

static int replay_stream(void)
{
	/* Packets are picked from what is stored. */
	bool picked = *ask.filter || ask.max_packets || ask.snaplen;

	say_live();
	stream.frames = picked ? NULL : &ask;
	stream.name = ask.name;
	return stream_run(&stream);
}

static int replay_run(const struct words *words)
{
	struct err e = ERR_INIT;

	if (!replay_fill(words, &e))
		return cli_fail(&e);
	int code = explain ? replay_explain() : replay_stream();
	free(ask.filter);
	return code;
}

const struct command command_replay = {
	.name = "replay",
	.summary = "write what was captured as a savefile",
	.args = "[REMOTE:]ID|ALIAS [FILTER...]",
	.help = "Writes what a capture has stored, oldest first, as a "
		"savefile. The filter is a pcap-filter(7) expression.\vA TIME "
		"is 2026-11-23T10:00:00Z (or +01:00), '2026-11-23 "
		"10:00[:00[.5]]' or 10:00 in local time, @1795424400 seconds "
		"since 1970, or 10m, 2h, 3d ago.\n\npcap replay web --last "
		"10m tcp port 80 | tcpdump -nr -",
	.options = options,
	.min = 1,
	.max = WORDS_ANY,
	.too_few = "say which capture, by id or alias",
	.run = replay_run,
};
