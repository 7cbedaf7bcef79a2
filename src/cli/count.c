/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap count: how many packets, in all or by interval. */
#include "cli/cli.h"
#include "cli/filter_words.h"
#include "cli/json.h"
#include "cli/pages.h"
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
	int64_t now = realtime_ns();
	const char *name;

	if (!target_parse(words->v[0], &name, e) ||
	    !time_range_parse(&range, name, now, &ask.since_ns, &ask.until_ns,
			      e))
		return false;
	ask.name = (char *)name;
	ask.filter = filter_words(&filter, words, 1, e);
	ask.page_size = PAGE_INTERVALS;
	return ask.filter;
}

/* The first answer, with the intervals of all pages. */
static bool count_read(struct pages *p, Pcap__V1__CountResponse *all,
		       struct err *e)
{
	Pcap__V1__CountResponse *m;

	while ((m = (Pcap__V1__CountResponse *)pages_next(p, e))) {
		if (!pages_rows(p, m->n_intervals, m->intervals, e))
			return false;
		if (p->n == 1)
			*all = *m;
		else if (m->lost > all->lost)
			all->lost = m->lost;
		if (*m->lost_reason)
			all->lost_reason = m->lost_reason;
	}
	all->intervals = (Pcap__V1__CountResponse__Interval **)p->rows;
	all->n_intervals = p->n_rows;
	return !e->kind;
}

static void count_lost_say(const Pcap__V1__CountResponse *m, struct err *e)
{
	/* 1 may stand for any number. */
	if (m->lost <= 1 && *m->lost_reason)
		err_set(e, ERR_INCOMPLETE, "not all could be looked at: %s",
			m->lost_reason);
	else if (m->lost)
		err_set(e, ERR_INCOMPLETE,
			"%" PRIu64 " packets could not be looked at", m->lost);
	err_hint(e, "'pcap gaps' says what is missing.");
}

static int count_run(const struct words *words)
{
	struct err e = ERR_INIT;
	Pcap__V1__CountResponse all = PCAP__V1__COUNT_RESPONSE__INIT;
	struct pages pages = {
		.method = "Count", .ask = &ask.base, .token = &ask.page_token};

	if (!count_fill(words, &e))
		return cli_fail(&e);
	bool ok = count_read(&pages, &all, &e);
	if (ok && !json_message(&all.base, "capture next_page_token", false))
		count_print_table(&all);
	if (ok)
		count_lost_say(&all, &e);
	free(ask.filter);
	pages_done(&pages);
	int code = ok ? cli_done() : 0;
	return code || !e.kind ? code : cli_fail(&e);
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
