/*
 * pcap status. Guarantees that the JSON has every field of the API's
 * CaptureStatus, with its names and raw numbers; the table has what tells at a
 * glance whether a capture is well.
 */
#include "cli.h"
#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
	const char *target;
	bool json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct line *line = state->input;

	switch (key) {
	case 'J':
		line->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (line->target)
			argp_error(state, "one capture at most");
		line->target = arg;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"json", 'J', NULL, 0, "Write JSON, with everything there is to tell",
	 0},
	{0}};

static const struct argp argp = {
	options,
	parse,
	"[REMOTE:][ID|ALIAS]",
	"Tells whether captures are well. NEWEST and SYNCED are the ages of "
	"the newest packet and of the last instant before which everything "
	"would survive a power loss; QUEUE counts blocks that wait for the "
	"disk, of those that may; LEVEL is the compression's; DROPPED counts "
	"packets since pcapd was started.",
	cli_common,
	NULL,
	NULL};

static const char *state_text(const Pcap__V1__Capture *c)
{
	static const char *const names[] = {"unknown", "stopped", "running",
					    "waiting", "importing"};
	unsigned i = (unsigned)c->state;

	return names[i < sizeof(names) / sizeof(names[0]) ? i : 0];
}

/* --- for people --- */

static const char *age_text(int64_t ns, int64_t now_ns, char out[SPAN_TEXT])
{
	out[0] = '\0';
	/* A clock that was set back may make it negative. */
	return ns ? span_text(ns < now_ns ? now_ns - ns : 0, out) : out;
}

static void keep_cell(struct table *t, const Pcap__V1__Capture *c)
{
	char size[SIZE_TEXT], span[SPAN_TEXT];

	size_text(c->keep_bytes, size);
	span_text(c->keep_age_ns, span);
	if (c->keep_bytes && c->keep_age_ns)
		table_cell(t, "%s, %s", size, span);
	else if (c->keep_bytes || c->keep_age_ns)
		table_cell(t, "%s", c->keep_bytes ? size : span);
	else
		table_cell(t, "%s", "everything");
}

static void columns(struct table *t)
{
	table_column(t, "ID", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER);
	table_column(t, "ALIASES", SCOLS_FL_TRUNC, SCOLS_JSON_STRING);
	table_column(t, "STATE", 0, SCOLS_JSON_STRING);
	table_column(t, "NEWEST", SCOLS_FL_RIGHT, SCOLS_JSON_STRING);
	table_column(t, "SYNCED", SCOLS_FL_RIGHT, SCOLS_JSON_STRING);
	table_column(t, "QUEUE", SCOLS_FL_RIGHT, SCOLS_JSON_STRING);
	table_column(t, "LEVEL", SCOLS_FL_RIGHT, SCOLS_JSON_STRING);
	table_column(t, "DROPPED", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER);
	table_column(t, "STORED", SCOLS_FL_RIGHT, SCOLS_JSON_STRING);
	table_column(t, "KEEP", 0, SCOLS_JSON_STRING);
}

static void row(struct table *t, const Pcap__V1__CaptureStatus *s,
		int64_t now_ns)
{
	const Pcap__V1__Capture *c = s->capture;
	bool runs = s->synced_ns || s->queue_blocks;
	char text[SPAN_TEXT], size[SIZE_TEXT];

	table_row(t);
	table_cell(t, "%" PRIu64, c->id);
	table_list(t, c->aliases, c->n_aliases);
	table_cell(t, "%s", state_text(c));
	table_cell(t, "%s", age_text(s->newest_ns, now_ns, text));
	table_cell(t, "%s", age_text(s->synced_ns, now_ns, text));
	if (runs) {
		table_cell(t, "%" PRIu64 "/%" PRIu64, s->queue_blocks,
			   s->queue_max);
		table_cell(t, "%" PRId64, s->compression_level);
	} else {
		table_cell(t, "%s", "");
		table_cell(t, "%s", "");
	}
	table_cell(t, "%" PRIu64,
		   c->dropped_kernel + c->dropped_interface +
			   c->dropped_memory + c->dropped_disk);
	table_cell(t, "%s", size_text(c->stored_bytes, size));
	keep_cell(t, c);
}

/* What does not fit into the table. */
static void say_more(const Pcap__V1__CaptureStatus *s)
{
	char name[CAPTURE_TEXT], prefix[CAPTURE_TEXT + 4];
	char a[TIME_TEXT], b[TIME_TEXT];

	capture_text(s->capture, name);
	snprintf(prefix, sizeof(prefix), "%s: ", name);
	if (s->capture->waiting_for[0])
		printf("%swaits: %s\n", prefix, s->capture->waiting_for);
	if (s->disk_error[0])
		printf("%s%s\n", prefix, s->disk_error);
	forecast_say(stdout, s, prefix);
	for (size_t i = 0; i < s->n_holds; i++)
		printf("%shold %" PRIu64 " on %s to %s: %s\n", prefix,
		       s->holds[i]->id, time_text(s->holds[i]->since_ns, a),
		       time_text(s->holds[i]->until_ns, b),
		       s->holds[i]->reason);
	for (size_t i = 0; i < s->n_marks; i++)
		printf("%smark %s at %s\n", prefix, s->marks[i]->name,
		       time_text(s->marks[i]->at_ns, a));
	for (size_t i = 0; i < s->n_excluded; i++)
		printf("%sleaves out pcapd's own connection %s\n", prefix,
		       s->excluded[i]);
}

static void print(const Pcap__V1__StatusResponse *m)
{
	char size[SIZE_TEXT];
	struct table t;

	table_init(&t, "captures", false);
	columns(&t);
	for (size_t i = 0; i < m->n_captures; i++)
		row(&t, m->captures[i], m->now_ns);
	table_done(&t);
	for (size_t i = 0; i < m->n_captures; i++)
		say_more(m->captures[i]);
	if (m->spool_bytes)
		printf("all captures together keep at most %s\n",
		       size_text(m->spool_bytes, size));
	if (m->free_floor_bytes)
		printf("%s of the disk stay free\n",
		       size_text(m->free_floor_bytes, size));
}

/* --- JSON --- */

static void columns_json(struct table *t)
{
	static const struct {
		const char *name;
		int type;
	} all[] = {
		{"id", SCOLS_JSON_NUMBER},
		{"aliases", TABLE_LIST},
		{"state", SCOLS_JSON_STRING},
		{"waiting_for", SCOLS_JSON_STRING},
		{"newest_ns", SCOLS_JSON_NUMBER},
		{"synced_ns", SCOLS_JSON_NUMBER},
		{"queue_blocks", SCOLS_JSON_NUMBER},
		{"queue_max", SCOLS_JSON_NUMBER},
		{"compression_level", SCOLS_JSON_NUMBER},
		{"disk_error", SCOLS_JSON_STRING},
		{"received", SCOLS_JSON_NUMBER},
		{"dropped_kernel", SCOLS_JSON_NUMBER},
		{"dropped_interface", SCOLS_JSON_NUMBER},
		{"dropped_memory", SCOLS_JSON_NUMBER},
		{"dropped_disk", SCOLS_JSON_NUMBER},
		{"stored_bytes", SCOLS_JSON_NUMBER},
		{"keep_bytes", SCOLS_JSON_NUMBER},
		{"keep_age_ns", SCOLS_JSON_NUMBER},
		{"rate_bytes", SCOLS_JSON_NUMBER},
		{"rate_over_ns", SCOLS_JSON_NUMBER},
		{"rate_bytes_per_day", SCOLS_JSON_NUMBER},
		{"forecast_ns", SCOLS_JSON_NUMBER},
		{"holds", TABLE_LIST},
		{"marks", TABLE_LIST},
		{"excluded", TABLE_LIST},
		{"now_ns", SCOLS_JSON_NUMBER},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		table_column(t, all[i].name, 0, all[i].type);
}

/* An object a line, for table_json. */
static char *holds_json(const Pcap__V1__CaptureStatus *s)
{
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		abort(); /* memory is out */
	if (s->n_holds == 0)
		fputc(' ', f);
	for (size_t i = 0; i < s->n_holds; i++) {
		const Pcap__V1__Hold *h = s->holds[i];
		fprintf(f,
			"%s{\"id\": %" PRIu64 ", \"since_ns\": %" PRId64
			", \"until_ns\": %" PRId64 ", \"created_ns\": %" PRId64
			", \"reason\": ",
			i ? "\n" : "", h->id, h->since_ns, h->until_ns,
			h->created_ns);
		json_quote(f, h->reason);
		fputc('}', f);
	}
	fclose(f);
	return text;
}

static char *marks_json(const Pcap__V1__CaptureStatus *s)
{
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		abort(); /* memory is out */
	if (s->n_marks == 0)
		fputc(' ', f);
	for (size_t i = 0; i < s->n_marks; i++)
		fprintf(f, "%s{\"name\": \"%s\", \"at_ns\": %" PRId64 "}",
			i ? "\n" : "", s->marks[i]->name, s->marks[i]->at_ns);
	fclose(f);
	return text;
}

static void row_json(struct table *t, const Pcap__V1__CaptureStatus *s,
		     int64_t now_ns)
{
	const Pcap__V1__Capture *c = s->capture;

	table_row(t);
	table_cell(t, "%" PRIu64, c->id);
	table_list(t, c->aliases, c->n_aliases);
	table_cell(t, "%s", state_text(c));
	table_cell(t, "%s", c->waiting_for);
	table_cell(t, "%" PRId64, s->newest_ns);
	table_cell(t, "%" PRId64, s->synced_ns);
	table_cell(t, "%" PRIu64, s->queue_blocks);
	table_cell(t, "%" PRIu64, s->queue_max);
	table_cell(t, "%" PRId64, s->compression_level);
	table_cell(t, "%s", s->disk_error);
	table_cell(t, "%" PRIu64, c->received);
	table_cell(t, "%" PRIu64, c->dropped_kernel);
	table_cell(t, "%" PRIu64, c->dropped_interface);
	table_cell(t, "%" PRIu64, c->dropped_memory);
	table_cell(t, "%" PRIu64, c->dropped_disk);
	table_cell(t, "%" PRIu64, c->stored_bytes);
	table_cell(t, "%" PRIu64, c->keep_bytes);
	table_cell(t, "%" PRId64, c->keep_age_ns);
	table_cell(t, "%" PRIu64, s->rate_bytes);
	table_cell(t, "%" PRId64, s->rate_over_ns);
	table_cell(t, "%" PRIu64, s->rate_bytes_per_day);
	table_cell(t, "%" PRId64, s->forecast_ns);
	table_json(t, holds_json(s));
	table_json(t, marks_json(s));
	table_list(t, s->excluded, s->n_excluded);
	table_cell(t, "%" PRId64, now_ns);
}

static void print_json(const Pcap__V1__StatusResponse *m)
{
	struct table t;

	table_init(&t, "captures", true);
	columns_json(&t);
	for (size_t i = 0; i < m->n_captures; i++)
		row_json(&t, m->captures[i], m->now_ns);
	table_done(&t);
}

static int run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct line line = {0};
	const char *name = "";

	cli_parse(&argp, argc, argv, &line);
	if (line.target && !target_parse(line.target, &name, &e))
		return cli_fail(&e);
	Pcap__V1__StatusResponse *m = status_ask(name, &e);
	if (!m)
		return cli_fail(&e);
	(line.json ? print_json : print)(m);
	pcap__v1__status_response__free_unpacked(m, NULL);
	return cli_done();
}

const struct command command_status = {
	"status", "tell whether captures are well", &argp, run};
