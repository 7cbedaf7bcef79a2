/* pcap audit: who did what. Leaves out what the daemon no longer has. */
#include "cli.h"
#include "table.h"

#include <inttypes.h>
#include <stdio.h>

struct line {
	struct time_range range;
	const char *target, *count;
	bool json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct line *line = state->input;

	if (time_range_option(&line->range, key, arg))
		return 0;
	switch (key) {
	case 'n':
		line->count = arg;
		return 0;
	case 'J':
		line->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (line->target)
			argp_error(state, "one machine at a time");
		line->target = arg;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"since", KEY_SINCE, "TIME", 0, "What began at or after", 0},
	{"until", KEY_UNTIL, "TIME", 0, "What began before", 0},
	{"last", KEY_LAST, "LENGTH", 0, "The last 90s, 10m, 2h, 3d, 1w", 0},
	{"count", 'n', "N", 0, "The newest N (1000)", 0},
	{"json", 'J', NULL, 0, "Write JSON, in raw numbers", 0},
	{0}};

static const struct argp argp = {
	options,
	parse,
	"[REMOTE:]",
	"Lists who replayed, listened, imported and changed what, from where, "
	"and what was refused. For operators.",
	cli_common,
	NULL,
	NULL};

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

static void print_json(const Pcap__V1__AuditResponse *m)
{
	printf("{\n   \"audit\": [");
	for (size_t i = 0; i < m->n_rows; i++) {
		const Pcap__V1__AuditRow *r = m->rows[i];
		const char *const texts[][2] = {
			{"who", r->who},	   {"role", r->role},
			{"origin", r->origin},	   {"method", r->method},
			{"capture", r->capture},   {"filter", r->filter},
			{"detail", r->detail},	   {"result", r->result},
			{"status", status_text(r)}};

		printf("%s\n      {\"id\": %" PRIu64 ", \"at_ns\": %" PRId64
		       ", \"since_ns\": %" PRId64 ", \"until_ns\": %" PRId64
		       ", \"bytes\": %" PRIu64 ", \"lasted_ns\": %" PRId64
		       ", \"under_way\": %s",
		       i ? "," : "", r->id, r->at_ns, r->since_ns, r->until_ns,
		       r->bytes, r->lasted_ns, r->under_way ? "true" : "false");
		for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++) {
			printf(", \"%s\": ", texts[k][0]);
			json_quote(stdout, texts[k][1]);
		}
		putchar('}');
	}
	printf("\n   ]\n}\n");
}

/* "udp port 53, 2026-11-23 10:00:00 to ..., mark=start" */
static void what(struct table *t, const Pcap__V1__AuditRow *r)
{
	char a[TIME_TEXT], b[TIME_TEXT], range[2 * TIME_TEXT + 8] = "";

	if (r->since_ns || r->until_ns)
		snprintf(range, sizeof(range), "%s to %s",
			 r->since_ns ? time_short(r->since_ns, a) : "beginning",
			 r->until_ns ? time_short(r->until_ns, b) : "now");
	table_cell(t, "%s%s%s%s%s", r->filter, *r->filter && *range ? ", " : "",
		   range, (*r->filter || *range) && *r->detail ? ", " : "",
		   r->detail);
}

static void print_table(const Pcap__V1__AuditResponse *m)
{
	char at[TIME_TEXT], size[SIZE_TEXT];
	struct table t;

	table_init(&t, "audit", false);
	table_column(&t, "AT", 0, SCOLS_JSON_STRING);
	table_column(&t, "WHO", 0, SCOLS_JSON_STRING);
	table_column(&t, "FROM", 0, SCOLS_JSON_STRING);
	table_column(&t, "DID", 0, SCOLS_JSON_STRING);
	table_column(&t, "CAPTURE", 0, SCOLS_JSON_STRING);
	table_column(&t, "BYTES", SCOLS_FL_RIGHT, SCOLS_JSON_STRING);
	table_column(&t, "RESULT", 0, SCOLS_JSON_STRING);
	table_column(&t, "WHAT", SCOLS_FL_TRUNC, SCOLS_JSON_STRING);
	for (size_t i = 0; i < m->n_rows; i++) {
		const Pcap__V1__AuditRow *r = m->rows[i];

		table_row(&t);
		table_cell(&t, "%s", time_short(r->at_ns, at));
		table_cell(&t, "%s", r->who);
		table_cell(&t, "%s", r->origin);
		table_cell(&t, "%s", r->method);
		table_cell(&t, "%s", r->capture);
		table_cell(&t, "%s", r->bytes ? size_text(r->bytes, size) : "");
		table_cell(&t, "%s", status_text(r));
		what(&t, r);
	}
	table_done(&t);
}

static int run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct line line = {0};
	Pcap__V1__AuditRequest ask = PCAP__V1__AUDIT_REQUEST__INIT;
	const char *name = "";

	cli_parse(&argp, argc, argv, &line);
	ask.max = 1000;
	if ((line.target && !target_parse(line.target, &name, &e)) ||
	    (line.count &&
	     !number_parse("--count", line.count, 1, 20000, &ask.max, &e)) ||
	    !time_range_parse(&line.range, clock_ns(), &ask.since_ns,
			      &ask.until_ns, &e))
		return cli_fail(&e);
	if (*name) {
		err_set(&e, ERR_USAGE,
			"expected 'REMOTE:' or nothing, not '%s'", line.target);
		return cli_fail(&e);
	}
	Pcap__V1__AuditResponse *m =
		(Pcap__V1__AuditResponse *)cli_call("Audit", &ask.base, &e);
	if (!m)
		return cli_fail(&e);
	if (line.json)
		print_json(m);
	else
		print_table(m);
	pcap__v1__audit_response__free_unpacked(m, NULL);
	return cli_done();
}

const struct command command_audit = {"audit", "list who did what", &argp, run};
