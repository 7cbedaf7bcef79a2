/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap replay: what was captured, as a savefile. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

#define SNAPLEN_MAX 262144

struct replay_line {
	struct time_range range;
	const char *count, *snaplen, *file, *around, *window;
	bool live, force, strict, explain;
	char marked[2][MARKED_TEXT]; /* what range may point at */
	struct words words;
};

static error_t replay_parse(int key, char *arg, struct argp_state *state)
{
	struct replay_line *line = state->input;

	if (time_range_option(&line->range, key, arg))
		return 0;
	switch (key) {
	case 4:
		line->around = arg;
		return 0;
	case 5:
		line->window = arg;
		return 0;
	case 6:
		line->strict = true;
		return 0;
	case 7:
		line->explain = true;
		return 0;
	case 'c':
		line->count = arg;
		return 0;
	case 's':
		line->snaplen = arg;
		return 0;
	case 'w':
		line->file = arg;
		return 0;
	case 'l':
		line->live = true;
		return 0;
	case 'f':
		line->force = true;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "say which capture, by id or alias");
		return 0;
	case ARGP_KEY_ARGS:
		words_take(&line->words, state);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"since", KEY_SINCE, "TIME", 0, "Packets at or after, a time or a mark",
	 0},
	{"until", KEY_UNTIL, "TIME", 0, "Packets before", 0},
	{"last", KEY_LAST, "LENGTH", 0, "The last 90s, 10m, 2h, 3d, 1w", 0},
	{"around", 4, "TIME", 0, "Packets around a time or a mark", 0},
	{"window", 5, "LENGTH", 0,
	 "With --around: so long before and after it (30s)", 0},
	{"strict", 6, NULL, 0, "Exit code 3 if there is a gap in the range", 0},
	{"explain", 7, NULL, 0,
	 "Say what would be read, by the catalog and the index, and no more",
	 0},
	{"live", 'l', NULL, 0, "Go on with what is captured from now on", 0},
	{"count", 'c', "N", 0, "End after so many packets", 0},
	{"snaplen", 's', "BYTES", 0, "At most so many bytes of a packet", 0},
	{"write", 'w', "FILE", 0,
	 "Write to FILE, compressed if it ends in .zst; '-' is the standard "
	 "output",
	 0},
	{"force", 'f', NULL, 0, "Overwrite FILE", 0},
	{0}};

static const struct argp argp = {
	options,
	replay_parse,
	"[REMOTE:]ID|ALIAS [FILTER...]",
	"Writes what a capture has stored, oldest first, as a savefile. The "
	"filter is a pcap-filter(7) expression.\vA TIME is "
	"2026-11-23T10:00:00Z (or +01:00), '2026-11-23 10:00[:00[.5]]' or "
	"10:00 in local time, @1795424400 seconds since 1970, or 10m, 2h, 3d "
	"ago.\n\npcap replay web --last 10m tcp port 80 | tcpdump -nr -",
	cli_common,
	NULL,
	NULL};

/* What a replay that ends says at its end. */
static void say_live(const struct replay_line *line,
		     const Pcap__V1__ReplayRequest *ask)
{
	char text[TIME_TEXT];

	if (line->live && (line->range.since || line->range.last))
		cli_say("range: %s to now and on",
			time_moment(ask->since_ns, text));
}

/* Makes --since and --until of it. */
static bool replay_around(struct replay_line *line, const char *name,
			  int64_t now_ns, struct err *e)
{
	int64_t at, window = 30 * NS_PER_S;

	if (!line->around)
		return !line->window ||
		       err_set(e, ERR_USAGE, "--window goes with --around");
	if (line->range.since || line->range.until || line->range.last)
		return err_set(e, ERR_USAGE,
			       "--around is a range: give it, or --since, "
			       "--until and --last");
	if (!time_or_mark("--around", line->around, name, now_ns, TIME_SINCE,
			  &at, e) ||
	    (line->window &&
	     !duration_parse("--window", line->window, &window, e)))
		return false;
	int64_t ends[] = {at > window ? at - window : 0, at + window};
	for (int i = 0; i < 2; i++)
		snprintf(line->marked[i], MARKED_TEXT, "@%lld.%09lld",
			 (long long)ends[i] / 1000000000,
			 (long long)ends[i] % 1000000000);
	line->range.since = line->marked[0];
	line->range.until = line->marked[1];
	return true;
}

static bool replay_fill(Pcap__V1__ReplayRequest *ask, struct replay_line *line,
			struct err *e)
{
	uint64_t snaplen = 0;
	int64_t now = realtime_ns();
	const char *name;

	if (!target_parse(line->words.v[0], &name, e))
		return false;
	if (line->live && line->strict)
		return err_set(e, ERR_USAGE,
			       "--strict judges a range, and --live has no "
			       "end");
	if (line->live && (line->range.until || line->around))
		return err_set(e, ERR_USAGE,
			       "--live goes on without an end: give it or "
			       "--until");
	if (line->count && !number_parse("--count", line->count, 1, UINT64_MAX,
					 &ask->max_packets, e))
		return false;
	if (line->snaplen && !number_parse("--snaplen", line->snaplen, 1,
					   SNAPLEN_MAX, &snaplen, e))
		return false;
	ask->name = (char *)name;
	ask->snaplen = (uint32_t)snaplen;
	ask->live = line->live;
	ask->accept_zstd = true;
	if (!replay_around(line, name, now, e) ||
	    (!line->around &&
	     !range_marks(&line->range, line->marked, name, now, e)) ||
	    !time_range_parse(&line->range, now, &ask->since_ns, &ask->until_ns,
			      e))
		return false;
	time_range_say(now, ask->since_ns);
	return true;
}

static int replay_explain(const Pcap__V1__ReplayRequest *replay)
{
	Pcap__V1__ExplainRequest ask = PCAP__V1__EXPLAIN_REQUEST__INIT;

	ask.name = replay->name;
	ask.filter = replay->filter;
	ask.since_ns = replay->since_ns;
	ask.until_ns = replay->until_ns;
	return explain_run(&ask);
}

/* Packets are, from what is stored. */
static bool is_picked(const Pcap__V1__ReplayRequest *ask)
{
	return *ask->filter || ask->max_packets || ask->snaplen;
}

static int replay_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct replay_line line = {0};
	Pcap__V1__ReplayRequest ask = PCAP__V1__REPLAY_REQUEST__INIT;

	cli_parse(&argp, argc, argv, &line);
	if (!replay_fill(&ask, &line, &e))
		return cli_fail(&e);
	ask.filter = words_join(&line.words, 1);
	if (line.explain) {
		int told = replay_explain(&ask);

		free(ask.filter);
		return told;
	}
	say_live(&line, &ask);
	struct stream s = {.method = "Replay",
			   .request = &ask.base,
			   .frames = is_picked(&ask) ? NULL : &ask,
			   .name = ask.name,
			   .file = line.file,
			   .force = line.force,
			   .strict = line.strict,
			   .live = line.live};
	int code = stream_run(&s);
	free(ask.filter);
	return code;
}

const struct command command_replay = {
	"replay", "write what was captured as a savefile", &argp, replay_run};
