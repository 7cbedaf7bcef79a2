/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap audit: who did what. Leaves out what the daemon no longer has. */
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/pages.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>

static struct time_range range;
static Pcap__V1__AuditRequest ask = PCAP__V1__AUDIT_REQUEST__INIT;
static uint64_t want;

static const struct cli_option options[] = {
	OPTION_RANGE(&range, "What began at or after", "What began before"),
	OPTION_NUMBER("count", 'n', "N", &want, 1, PAGES_MAX *PAGE_ROWS,
		      "The newest N (1000)"),
	{0}};

static const char *const status_names[] = {"ok",
					   "cancelled",
					   "unknown",
					   "invalid",
					   "deadline",
					   "not found",
					   "exists",
					   "denied",
					   "limit",
					   "precondition",
					   "aborted",
					   "out of range",
					   "unimplemented",
					   "failed",
					   "unavailable",
					   "incomplete",
					   "denied"};

static const char *status_text(const Pcap__V1__AuditRow *r)
{
	size_t n = sizeof(status_names) / sizeof(status_names[0]);

	if (r->under_way)
		return "under way";
	return r->status < n ? status_names[r->status] : "?";
}

static void audit_print_json(const struct pages *p)
{
	struct json j;

	json_begin(&j, stdout, cli_json() == JSON_STRINGS, false);
	json_open(&j, "audit", '[');
	for (size_t i = p->n_rows; i-- > 0;) {
		const Pcap__V1__AuditRow *r = p->rows[i];

		json_open(&j, NULL, '{');
		json_fields(&j, &r->base, "status");
		json_text(&j, "status", status_text(r));
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_end(&j);
}

/* "udp port 53, 2026-11-23 10:00:00 to ..., mark=start" */
static void audit_what(struct table *t, const Pcap__V1__AuditRow *r)
{
	char a[TIME_TEXT], b[TIME_TEXT], when[2 * TIME_TEXT + 8] = "";

	if (r->since_ns || r->until_ns)
		snprintf(when, sizeof(when), "%s to %s",
			 r->since_ns ? time_short(r->since_ns, a) : "beginning",
			 r->until_ns ? time_short(r->until_ns, b) : "now");
	table_cell(t, "%s%s%s%s%s", r->filter, *r->filter && *when ? ", " : "",
		   when, (*r->filter || *when) && *r->detail ? ", " : "",
		   r->detail);
}

static void audit_print_table(const struct pages *p)
{
	char at[TIME_TEXT], size[SIZE_TEXT];
	struct table t;

	table_init(&t);
	table_column(&t, "AT", 0);
	table_column(&t, "WHO", 0);
	table_column(&t, "FROM", 0);
	table_column(&t, "DID", 0);
	table_column(&t, "CAPTURE", 0);
	table_column(&t, "BYTES", TABLE_RIGHT);
	table_column(&t, "RESULT", 0);
	table_column(&t, "WHAT", TABLE_CUT);
	for (size_t i = p->n_rows; i-- > 0;) {
		const Pcap__V1__AuditRow *r = p->rows[i];

		table_cell(&t, "%s", time_short(r->at_ns, at));
		table_cell(&t, "%s", r->who);
		table_cell(&t, "%s", r->origin);
		table_cell(&t, "%s", r->method);
		table_cell(&t, "%s", r->hidden ? "(others')" : r->capture);
		table_cell(&t, "%s", r->bytes ? size_text(r->bytes, size) : "");
		table_cell(&t, "%s", status_text(r));
		audit_what(&t, r);
	}
	table_done(&t);
}

/* The rows, newest first, which is how the pages come. */
static bool audit_read(struct pages *p, struct err *e)
{
	Pcap__V1__AuditResponse *m;

	do {
		uint64_t left = want - p->n_rows;

		ask.page_size = left < PAGE_ROWS ? (uint32_t)left : PAGE_ROWS;
		ask.max = ask.page_size;
		m = (Pcap__V1__AuditResponse *)pages_next(p, e);
		for (size_t i = 0; m && i < m->n_rows / 2; i++) {
			size_t other = m->n_rows - 1 - i;
			Pcap__V1__AuditRow *r = m->rows[i];

			m->rows[i] = m->rows[other];
			m->rows[other] = r;
		}
	} while (m && pages_rows(p, m->n_rows, m->rows, e) && p->n_rows < want);
	return !e->kind;
}

static int audit_run(const struct words *words)
{
	struct err e = ERR_INIT;
	struct pages pages = {
		.method = "Audit", .ask = &ask.base, .token = &ask.page_token};
	const char *name;

	want = want ? want : 1000;
	if (!target_parse(words->v[0], &name, &e) ||
	    !time_range_parse(&range, NULL, realtime_ns(), &ask.since_ns,
			      &ask.until_ns, &e))
		return cli_fail(&e);
	if (*name) {
		err_set(&e, ERR_USAGE,
			"expected 'REMOTE:' or nothing, not '%s'", words->v[0]);
		return cli_fail(&e);
	}
	bool ok = audit_read(&pages, &e);
	if (ok)
		(cli_json() ? audit_print_json : audit_print_table)(&pages);
	if (ok && *pages_left(&pages))
		cli_say("older rows were left out; -n lists more than %" PRIu64,
			want);
	pages_done(&pages);
	return ok ? cli_done() : cli_fail(&e);
}

const struct command command_audit = {
	.name = "audit",
	.summary = "list who did what",
	.args = "[REMOTE:]",
	.help = "Lists who replayed, listened, imported and changed what, from "
		"where, and what was refused. For operators.",
	.options = options,
	.tables = true,
	.max = 1,
	.too_many = "one machine at a time",
	.run = audit_run,
};
