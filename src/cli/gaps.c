/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap gaps: what is missing in a range, by the daemon's ledger. */
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/pages.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>

static struct time_range range;
static bool all;

static const struct cli_option options[] = {
	OPTION_RANGE(&range, "Gaps that end after, a time or a mark",
		     "Gaps that begin before"),
	OPTION_FLAG("all", 'a', &all,
		    "Also what was left out on purpose: pcapd's own "
		    "connections"),
	{0}};

static bool is_excluded(const Pcap__V1__Gap *g)
{
	return g->cause == PCAP__V1__GAP__CAUSE__EXCLUDED;
}

/* Takes what was left out from the rows. How many packets it was. */
static uint64_t leave_excluded(Pcap__V1__Coverage *c)
{
	uint64_t packets = 0;
	size_t kept = 0;

	for (size_t i = 0; i < c->n_rows; i++) {
		if (is_excluded(c->rows[i]))
			packets += c->rows[i]->packets;
		else
			c->rows[kept++] = c->rows[i];
	}
	c->n_rows = kept;
	return packets;
}

static void gaps_print_json(const Pcap__V1__Coverage *c)
{
	struct json j;

	json_begin(&j, stdout, cli_json() == JSON_STRINGS, false);
	json_fields(&j, &c->base, "gaps rows");
	json_messages(&j, "gaps", c->n_rows, c->rows);
	json_end(&j);
}

static void gaps_print_table(const Pcap__V1__Coverage *c, int64_t now_ns)
{
	char from[TIME_TEXT], to[TIME_TEXT], span[SPAN_TEXT];
	struct table t;

	table_init(&t);
	table_column(&t, "CAUSE", 0);
	table_column(&t, "FROM", 0);
	table_column(&t, "TO", 0);
	table_column(&t, "LASTS", TABLE_RIGHT);
	table_column(&t, "PACKETS", TABLE_RIGHT);
	table_column(&t, "DETAIL", TABLE_CUT);
	for (size_t i = 0; i < c->n_rows; i++) {
		const Pcap__V1__Gap *g = c->rows[i];
		int64_t end = g->to_ns ? g->to_ns : now_ns;
		bool clock = g->cause == PCAP__V1__GAP__CAUSE__CLOCK;
		/* Nobody knows when the rest of a file would have ended. */
		bool cut = g->cause == PCAP__V1__GAP__CAUSE__IMPORT &&
			   g->to_ns == 0;

		table_cell(&t, "%s", cause_text(g->cause));
		table_cell(&t, "%s", time_short(g->from_ns, from));
		table_cell(&t, "%s", g->to_ns ? time_short(g->to_ns, to) : "");
		table_cell(&t, "%s",
			   clock || cut || end < g->from_ns
				   ? ""
				   : span_text(end - g->from_ns, span));
		if (g->packets)
			table_cell(&t, "%" PRIu64, g->packets);
		else
			table_cell(&t, "%s", "");
		table_cell(&t, "%s", g->detail);
	}
	table_done(&t);
	fflush(stdout);
	coverage_say(c);
}

/* The first answer's coverage, with the rows of all pages. */
static bool gaps_read(struct pages *p, Pcap__V1__GapsRequest *ask,
		      Pcap__V1__Coverage *found, struct err *e)
{
	Pcap__V1__GapsResponse *m;

	while ((m = (Pcap__V1__GapsResponse *)pages_next(p, e))) {
		if (!m->coverage)
			return err_set(e, ERR_FAILED,
				       "expected a coverage, got none");
		if (!pages_rows(p, m->coverage->n_rows, m->coverage->rows, e))
			return false;
		if (p->n == 1)
			*found = *m->coverage;
		ask->since_ns = found->since_ns;
		ask->until_ns = found->until_ns;
	}
	found->rows = (Pcap__V1__Gap **)p->rows;
	found->n_rows = p->n_rows;
	return !e->kind;
}

static int gaps_run(const struct words *words)
{
	struct err e = ERR_INIT;
	Pcap__V1__GapsRequest ask = PCAP__V1__GAPS_REQUEST__INIT;
	struct pages pages = {
		.method = "Gaps", .ask = &ask.base, .token = &ask.page_token};
	Pcap__V1__Coverage found = PCAP__V1__COVERAGE__INIT;
	int64_t now = realtime_ns();
	const char *name;

	if (!target_parse(words->v[0], &name, &e) ||
	    !time_range_parse(&range, name, now, &ask.since_ns, &ask.until_ns,
			      &e))
		return cli_fail(&e);
	ask.name = (char *)name;
	bool ok = gaps_read(&pages, &ask, &found, &e);
	uint64_t excluded = all ? 0 : leave_excluded(&found);
	if (ok && cli_json())
		gaps_print_json(&found);
	else if (ok)
		gaps_print_table(&found, now);
	if (ok && excluded && !cli_json())
		cli_say("%" PRIu64 " packets of pcapd's own connections were "
			"left out; --all lists them",
			excluded);
	pages_done(&pages);
	return ok ? cli_done() : cli_fail(&e);
}

const struct command command_gaps = {
	.name = "gaps",
	.summary = "list what is missing, and why",
	.args = "[REMOTE:]ID|ALIAS",
	.help = "Lists the intervals in which packets of a capture are "
		"missing, with their cause, and steps of the clock. PACKETS is "
		"what is known to be missing; nothing there means that nobody "
		"could count.",
	.options = options,
	.tables = true,
	.min = 1,
	.max = 1,
	.too_few = "say which capture, by id or alias",
	.too_many = "one capture at a time",
	.run = gaps_run,
};
