/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap replay --explain: what a filter reads, as a table. */
#include "cli/cli.h"
#include "cli/table.h"

#include <inttypes.h>

static void explain_row(struct table *t, const char *step,
			const Pcap__V1__ExplainResponse__Step *s)
{
	char stored[SIZE_TEXT], raw[SIZE_TEXT];

	table_cell(t, "%s", step);
	table_cell(t, "%" PRIu64, s->segments);
	table_cell(t, "%" PRIu64, s->blocks);
	table_cell(t, "%" PRIu64, s->packets);
	table_cell(t, "%s", size_text(s->stored_bytes, stored));
	table_cell(t, "%s", size_text(s->raw_bytes, raw));
}

int explain_run(const Pcap__V1__ExplainRequest *ask)
{
	struct err e = ERR_INIT;
	struct table t;
	Pcap__V1__ExplainResponse *m = (Pcap__V1__ExplainResponse *)cli_call(
		"Explain", &ask->base, &e);

	if (!m)
		return cli_fail(&e);
	table_init(&t);
	table_column(&t, "LEFT", 0);
	table_column(&t, "SEGMENTS", TABLE_RIGHT);
	table_column(&t, "BLOCKS", TABLE_RIGHT);
	table_column(&t, "PACKETS", TABLE_RIGHT);
	table_column(&t, "ON-DISK", TABLE_RIGHT);
	table_column(&t, "DECOMPRESSED", TABLE_RIGHT);
	explain_row(&t, "in range", m->in_range);
	explain_row(&t, "by segment", m->after_unions);
	explain_row(&t, "to read", m->to_read);
	table_done(&t);
	if (m->in_memory)
		cli_print("%" PRIu64 " blocks in memory are read, too",
			  m->in_memory);
	if (m->without_index)
		cli_print("%" PRIu64 " segments have no index, 'pcapd reindex' "
			  "makes it",
			  m->without_index);
	for (size_t i = 0; i < m->n_doubts; i++)
		cli_print("%s", m->doubts[i]);
	for (size_t i = 0; i < m->n_words; i++)
		cli_print("%s: too many values to rule out anything in %" PRIu64
			  " segments and %" PRIu64 " blocks of these",
			  m->words[i]->name, m->words[i]->segments,
			  m->words[i]->blocks);
	pcap__v1__explain_response__free_unpacked(m, NULL);
	return cli_done();
}
