/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcap list. Guarantees that the JSON has every field of the API's Capture,
 * with its names and raw numbers; the table has what fits.
 */
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>

static void list_columns(struct table *t)
{
	table_column(t, "ID", TABLE_RIGHT);
	table_column(t, "ALIASES", TABLE_CUT);
	table_column(t, "INTERFACE", 0);
	table_column(t, "STATE", 0);
	table_column(t, "PACKETS", TABLE_RIGHT);
	table_column(t, "SIZE", TABLE_RIGHT);
	table_column(t, "DROPPED", TABLE_RIGHT);
	table_column(t, "OLDEST", TABLE_DROPPED);
	table_column(t, "NEWEST", 0);
	table_column(t, "FILTER", TABLE_CUT);
}

static void list_row(struct table *t, const Pcap__V1__Capture *c)
{
	char size[SIZE_TEXT], oldest[TIME_TEXT], newest[TIME_TEXT];

	table_cell(t, "%" PRIu64, c->id);
	table_list(t, c->aliases, c->n_aliases);
	table_cell(t, "%s", c->savefile ? "(imported)" : c->interface);
	table_cell(t, "%s", state_text(c));
	table_cell(t, "%" PRIu64, c->packets);
	table_cell(t, "%s", size_text(c->raw_bytes, size));
	table_cell(t, "%" PRIu64,
		   c->dropped_kernel + c->dropped_interface +
			   c->dropped_memory + c->dropped_disk);
	table_cell(t, "%s", time_short(c->min_ns, oldest));
	table_cell(t, "%s", time_short(c->max_ns, newest));
	table_cell(t, "%s", c->filter);
}

static void list_print(const Pcap__V1__ListResponse *m)
{
	char name[CAPTURE_TEXT];
	struct table t;

	table_init(&t);
	list_columns(&t);
	for (size_t i = 0; i < m->n_captures; i++)
		list_row(&t, m->captures[i]);
	table_done(&t);
	fflush(stdout);
	if (m->n_captures == 0)
		cli_say("no captures yet; 'pcap init' makes one");
	for (size_t i = 0; i < m->n_captures; i++)
		if (m->captures[i]->waiting_for[0])
			cli_say("%s waits: %s",
				capture_text(m->captures[i], name),
				m->captures[i]->waiting_for);
}

static int list_run(const struct words *words)
{
	struct err e = ERR_INIT;
	const char *name;
	Pcap__V1__ListRequest ask = PCAP__V1__LIST_REQUEST__INIT;

	if (!target_parse(words->v[0], &name, &e))
		return cli_fail(&e);
	ask.name = (char *)name;
	Pcap__V1__ListResponse *m =
		(Pcap__V1__ListResponse *)cli_call("List", &ask.base, &e);
	if (!m)
		return cli_fail(&e);
	if (!json_message(&m->base, "", true))
		list_print(m);
	pcap__v1__list_response__free_unpacked(m, NULL);
	return cli_done();
}

const struct command command_list = {
	.name = "list",
	.summary = "list the captures",
	.args = "[REMOTE:][ID|ALIAS]",
	.help = "Lists the captures. SIZE is that of the packets as a "
		"savefile, DROPPED counts packets since pcapd was started.",
	.tables = true,
	.max = 1,
	.too_many = "one capture at most",
	.run = list_run,
};
