/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap count: how many packets, in all or by interval. */
#include "cli/cli.h"
#include "cli/filter_words.h"
#include "cli/json.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdlib.h>

static struct time_range range;
static struct filter_words filter;
static Pcap__V1__CountRequest ask = PCAP__V1__COUNT_REQUEST__INIT;

static const struct cli_option options[] = {
	OPTION_FILTER_FILE(&filter),
	OPTION_FLOW(&filter),
	OPTION_RANGE(&range, "Packets at or after, a time or a mark",
		     "Packets before"),
	OPTION_LENGTH("by", &ask.by_ns,
		      "A line for every 1s, 1m, 1h that has packets"),
	{0}};

static void count_print_table(const Pcap__V1__CountResponse *m)
{
	char from[TIME_TEXT];
	struct table t;

	if (!ask.by_ns) {
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

static bool count_fill(const struct words *words, struct err *e)
{
	char room[2][MARKED_TEXT];
	int64_t now = realtime_ns();
	const char *name;

	if (!target_parse(words->v[0], &name, e) ||
	    !range_marks(&range, room, name, now, e) ||
	    !time_range_parse(&range, now, &ask.since_ns, &ask.until_ns, e))
		return false;
	ask.name = (char *)name;
	ask.filter = filter_words(&filter, words, 1, e);
	return ask.filter;
}

static int count_run(const struct words *words)
{
	struct err e = ERR_INIT;

	if (!count_fill(words, &e))
		return cli_fail(&e);
	Pcap__V1__CountResponse *m =
		(Pcap__V1__CountResponse *)cli_call("Count", &ask.base, &e);
	free(ask.filter);
	if (!m)
		return cli_fail(&e);
	if (!json_message(&m->base, "capture", false))
		count_print_table(m);
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

const struct command command_count = {
	.name = "count",
	.summary = "say how many packets there are",
	.args = "[REMOTE:]ID|ALIAS [FILTER...]",
	.help = "Counts the packets of a capture. Without a filter the catalog "
		"knows, and hardly a packet is read; with one "
		"(pcap-filter(7)), the blocks that may match are.\vIntervals "
		"begin at multiples of their length since 1970 UTC.\n\npcap "
		"count web --last 2h --by 1m port 53",
	.options = options,
	.tables = true,
	.min = 1,
	.max = WORDS_ANY,
	.too_few = "say which capture, by id or alias",
	.run = count_run,
};
