/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap count: how many packets, in all or by interval. */
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdlib.h>

struct count_line {
	struct time_range range;
	const char *by;
	struct words words;
};

static error_t count_parse(int key, char *arg, struct argp_state *state)
{
	struct count_line *line = state->input;

	if (time_range_option(&line->range, key, arg))
		return 0;
	switch (key) {
	case 4:
		line->by = arg;
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
	{"by", 4, "LENGTH", 0, "A line for every 1s, 1m, 1h that has packets",
	 0},
	{0}};

static const struct argp argp = {
	options,
	count_parse,
	"[REMOTE:]ID|ALIAS [FILTER...]",
	"Counts the packets of a capture. Without a filter the catalog knows, "
	"and hardly a packet is read; with one (pcap-filter(7)), the blocks "
	"that may match are.\vIntervals begin at multiples of their length "
	"since 1970 UTC.\n\npcap count web --last 2h --by 1m port 53",
	cli_tables,
	NULL,
	NULL};

static void count_print_json(const Pcap__V1__CountResponse *m)
{
	struct json j;

	json_begin(&j, stdout, cli_json() == JSON_STRINGS, false);
	json_fields(&j, &m->base, "capture");
	json_end(&j);
}

static void count_print_table(const Pcap__V1__CountResponse *m, bool by)
{
	char from[TIME_TEXT];
	struct table t;

	if (!by) {
		cli_print("%" PRIu64, m->packets);
		return;
	}
	table_init(&t);
	table_column(&t, "FROM", 0);
	table_column(&t, "PACKETS", TABLE_RIGHT);
	for (size_t i = 0; i < m->n_intervals; i++) {
		table_cell(&t, "%s", time_text(m->intervals[i]->from_ns, from));
		table_cell(&t, "%" PRIu64, m->intervals[i]->packets);
	}
	table_done(&t);
}

static bool count_fill(Pcap__V1__CountRequest *ask, struct count_line *line,
		       struct err *e)
{
	char room[2][MARKED_TEXT];
	int64_t now = realtime_ns();
	const char *name;

	if (!target_parse(line->words.v[0], &name, e) ||
	    (line->by && !duration_parse("--by", line->by, &ask->by_ns, e)))
		return false;
	ask->name = (char *)name;
	if (!range_marks(&line->range, room, name, now, e) ||
	    !time_range_parse(&line->range, now, &ask->since_ns, &ask->until_ns,
			      e))
		return false;
	time_range_say(now, ask->since_ns);
	return true;
}

static int count_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct count_line line = {0};
	Pcap__V1__CountRequest ask = PCAP__V1__COUNT_REQUEST__INIT;

	cli_parse(&argp, argc, argv, &line);
	if (!count_fill(&ask, &line, &e))
		return cli_fail(&e);
	ask.filter = words_join(&line.words, 1);
	Pcap__V1__CountResponse *m =
		(Pcap__V1__CountResponse *)cli_call("Count", &ask.base, &e);
	free(ask.filter);
	if (!m)
		return cli_fail(&e);
	if (cli_json())
		count_print_json(m);
	else
		count_print_table(m, line.by);
	/* 1 may stand for any number. */
	if (m->lost <= 1 && *m->lost_reason)
		err_set(&e, ERR_INCOMPLETE, "not all could be looked at: %s",
			m->lost_reason);
	else if (m->lost)
		err_set(&e, ERR_INCOMPLETE,
			"%" PRIu64 " packets could not be looked at", m->lost);
	pcap__v1__count_response__free_unpacked(m, NULL);
	int code = cli_done();
	if (code || !e.kind)
		return code;
	err_hint(&e, "'pcap gaps' says what is missing.");
	return cli_fail(&e);
}

const struct command command_count = {"count", "say how many packets there are",
				      &argp, count_run};
