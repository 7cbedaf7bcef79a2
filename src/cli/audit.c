/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap audit: who did what. Leaves out what the daemon no longer has. */
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>

static struct time_range range;
static Pcap__V1__AuditRequest ask = PCAP__V1__AUDIT_REQUEST__INIT;

static const struct cli_option options[] = {
	OPTION_RANGE(&range, "What began at or after", "What began before"),
	OPTION_NUMBER("count", 'n', "N", &ask.max, 1, 20000,
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

static void audit_print_json(const Pcap__V1__AuditResponse *m)
{
	struct json j;

	json_begin(&j, stdout, cli_json() == JSON_STRINGS, false);
	json_open(&j, "audit", '[');
	for (size_t i = 0; i < m->n_rows; i++) {
		json_open(&j, NULL, '{');
		json_fields(&j, &m->rows[i]->base, "status");
		json_text(&j, "status", status_text(m->rows[i]));
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

static void audit_print_table(const Pcap__V1__AuditResponse *m)
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
	for (size_t i = 0; i < m->n_rows; i++) {
		const Pcap__V1__AuditRow *r = m->rows[i];

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

static int audit_run(const struct words *words)
{
	struct err e = ERR_INIT;
	const char *name;

	ask.max = ask.max ? ask.max : 1000;
	if (!target_parse(words->v[0], &name, &e) ||
	    !time_range_parse(&range, realtime_ns(), &ask.since_ns,
			      &ask.until_ns, &e))
		return cli_fail(&e);
	if (*name) {
		err_set(&e, ERR_USAGE,
			"expected 'REMOTE:' or nothing, not '%s'", words->v[0]);
		return cli_fail(&e);
	}
	Pcap__V1__AuditResponse *m =
		(Pcap__V1__AuditResponse *)cli_call("Audit", &ask.base, &e);
	if (!m)
		return cli_fail(&e);
	if (cli_json())
		audit_print_json(m);
	else
		audit_print_table(m);
	pcap__v1__audit_response__free_unpacked(m, NULL);
	return cli_done();
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
