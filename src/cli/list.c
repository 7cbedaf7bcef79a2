/*
 * pcap list. Guarantees that the JSON has every field of the API's Capture,
 * with its names and raw numbers; the table has what fits.
 */
#include "cli.h"
#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

static const struct argp argp = {options,
				 parse,
				 "[REMOTE:][ID|ALIAS]",
				 "Lists the captures. SIZE is that of the "
				 "packets as a savefile, DROPPED "
				 "counts packets since pcapd was started.",
				 cli_common,
				 NULL,
				 NULL};

static const char *state_text(Pcap__V1__Capture__State s)
{
	switch (s) {
	case PCAP__V1__CAPTURE__STATE__STOPPED:
		return "stopped";
	case PCAP__V1__CAPTURE__STATE__RUNNING:
		return "running";
	case PCAP__V1__CAPTURE__STATE__WAITING:
		return "waiting";
	case PCAP__V1__CAPTURE__STATE__IMPORTING:
		return "importing";
	default:
		return "unknown";
	}
}

/* On 80 columns a time less is better than all of them cut. */
static bool narrow(void)
{
	struct winsize w = {0};

	return isatty(STDOUT_FILENO) &&
	       (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col < 110);
}

static void columns(struct table *t)
{
	table_column(t, "ID", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER);
	table_column(t, "ALIASES", SCOLS_FL_TRUNC, SCOLS_JSON_STRING);
	table_column(t, "INTERFACE", 0, SCOLS_JSON_STRING);
	table_column(t, "STATE", 0, SCOLS_JSON_STRING);
	table_column(t, "PACKETS", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER);
	table_column(t, "SIZE", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER);
	table_column(t, "DROPPED", SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER);
	table_column(t, "OLDEST", narrow() ? SCOLS_FL_HIDDEN : 0,
		     SCOLS_JSON_STRING);
	table_column(t, "NEWEST", 0, SCOLS_JSON_STRING);
	table_column(t, "FILTER", SCOLS_FL_TRUNC, SCOLS_JSON_STRING);
}

static void row(struct table *t, const Pcap__V1__Capture *c)
{
	char size[SIZE_TEXT], oldest[TIME_TEXT], newest[TIME_TEXT];

	table_row(t);
	table_cell(t, "%" PRIu64, c->id);
	table_list(t, c->aliases, c->n_aliases);
	table_cell(t, "%s", c->savefile ? "(imported)" : c->interface);
	table_cell(t, "%s", state_text(c->state));
	table_cell(t, "%" PRIu64, c->packets);
	table_cell(t, "%s", size_text(c->raw_bytes, size));
	table_cell(t, "%" PRIu64,
		   c->dropped_kernel + c->dropped_interface +
			   c->dropped_memory + c->dropped_disk);
	table_cell(t, "%s", time_short(c->min_ns, oldest));
	table_cell(t, "%s", time_short(c->max_ns, newest));
	table_cell(t, "%s", c->filter);
}

static void columns_json(struct table *t)
{
	static const struct {
		const char *name;
		int type;
	} all[] = {
		{"id", SCOLS_JSON_NUMBER},
		{"aliases", TABLE_LIST},
		{"interface", SCOLS_JSON_STRING},
		{"filter", SCOLS_JSON_STRING},
		{"savefile", SCOLS_JSON_BOOLEAN},
		{"state", SCOLS_JSON_STRING},
		{"waiting_for", SCOLS_JSON_STRING},
		{"link_type", SCOLS_JSON_NUMBER},
		{"snaplen", SCOLS_JSON_NUMBER},
		{"promiscuous", SCOLS_JSON_BOOLEAN},
		{"buffer_bytes", SCOLS_JSON_NUMBER},
		{"packets", SCOLS_JSON_NUMBER},
		{"raw_bytes", SCOLS_JSON_NUMBER},
		{"stored_bytes", SCOLS_JSON_NUMBER},
		{"min_ns", SCOLS_JSON_NUMBER},
		{"max_ns", SCOLS_JSON_NUMBER},
		{"received", SCOLS_JSON_NUMBER},
		{"dropped_kernel", SCOLS_JSON_NUMBER},
		{"dropped_interface", SCOLS_JSON_NUMBER},
		{"dropped_memory", SCOLS_JSON_NUMBER},
		{"dropped_disk", SCOLS_JSON_NUMBER},
		{"keep_bytes", SCOLS_JSON_NUMBER},
		{"keep_age_ns", SCOLS_JSON_NUMBER},
		{"rings", SCOLS_JSON_NUMBER},
		{"people", SCOLS_JSON_STRING},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		table_column(t, all[i].name, 0, all[i].type);
}

static void row_json(struct table *t, const Pcap__V1__Capture *c)
{
	table_row(t);
	table_cell(t, "%" PRIu64, c->id);
	table_list(t, c->aliases, c->n_aliases);
	table_cell(t, "%s", c->interface);
	table_cell(t, "%s", c->filter);
	table_cell(t, "%d", c->savefile);
	table_cell(t, "%s", state_text(c->state));
	table_cell(t, "%s", c->waiting_for);
	table_cell(t, "%" PRIu32, c->link_type);
	table_cell(t, "%" PRIu32, c->snaplen);
	table_cell(t, "%d", c->promiscuous);
	table_cell(t, "%" PRIu64, c->buffer_bytes);
	table_cell(t, "%" PRIu64, c->packets);
	table_cell(t, "%" PRIu64, c->raw_bytes);
	table_cell(t, "%" PRIu64, c->stored_bytes);
	table_cell(t, "%" PRId64, c->min_ns);
	table_cell(t, "%" PRId64, c->max_ns);
	table_cell(t, "%" PRIu64, c->received);
	table_cell(t, "%" PRIu64, c->dropped_kernel);
	table_cell(t, "%" PRIu64, c->dropped_interface);
	table_cell(t, "%" PRIu64, c->dropped_memory);
	table_cell(t, "%" PRIu64, c->dropped_disk);
	table_cell(t, "%" PRIu64, c->keep_bytes);
	table_cell(t, "%" PRId64, c->keep_age_ns);
	table_cell(t, "%" PRIu32, c->rings);
	table_cell(t, "%s", c->people);
}

static void print(const Pcap__V1__ListResponse *m, bool json)
{
	char name[CAPTURE_TEXT];
	struct table t;

	table_init(&t, "captures", json);
	(json ? columns_json : columns)(&t);
	for (size_t i = 0; i < m->n_captures; i++)
		(json ? row_json : row)(&t, m->captures[i]);
	table_done(&t);
	if (json)
		return;
	fflush(stdout);
	if (m->n_captures == 0)
		cli_say("no captures yet; 'pcap init' makes one");
	for (size_t i = 0; i < m->n_captures; i++)
		if (m->captures[i]->waiting_for[0])
			cli_say("%s waits: %s",
				capture_text(m->captures[i], name),
				m->captures[i]->waiting_for);
}

static int run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct line line = {0};
	const char *name = "";
	Pcap__V1__ListRequest ask = PCAP__V1__LIST_REQUEST__INIT;

	cli_parse(&argp, argc, argv, &line);
	if (line.target && !target_parse(line.target, &name, &e))
		return cli_fail(&e);
	ask.name = (char *)name;
	Pcap__V1__ListResponse *m =
		(Pcap__V1__ListResponse *)cli_call("List", &ask.base, &e);
	if (!m)
		return cli_fail(&e);
	print(m, line.json);
	pcap__v1__list_response__free_unpacked(m, NULL);
	return cli_done();
}

const struct command command_list = {"list", "list the captures", &argp, run};
