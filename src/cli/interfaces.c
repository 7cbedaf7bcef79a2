/* pcap interfaces: what can be captured on, as the daemon sees it. */
#include "cli.h"
#include "table.h"

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
			argp_error(state, "one interface at most");
		line->target = arg;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"json", 'J', NULL, 0, "Write JSON", 0}, {0}};

static const struct argp argp = {options,
				 parse,
				 "[REMOTE:][INTERFACE]",
				 "Lists what can be captured on.",
				 cli_common,
				 NULL,
				 NULL};

static void row_json(struct table *t, const Pcap__V1__Interface *i)
{
	table_cell(t, "%s", i->name);
	table_cell(t, "%s", i->description);
	table_list(t, i->addresses, i->n_addresses);
	table_cell(t, "%d", i->up);
	table_cell(t, "%d", i->running);
	table_cell(t, "%d", i->loopback);
}

static void row(struct table *t, const Pcap__V1__Interface *i)
{
	table_cell(t, "%s", i->name);
	table_cell(t, "%s%s%s", i->up ? "up" : "down",
		   i->running ? ",running" : "",
		   i->loopback ? ",loopback" : "");
	table_list(t, i->addresses, i->n_addresses);
	table_cell(t, "%s", i->description);
}

static void columns(struct table *t)
{
	if (t->json) {
		table_column(t, "name", 0, SCOLS_JSON_STRING);
		table_column(t, "description", 0, SCOLS_JSON_STRING);
		table_column(t, "addresses", 0, TABLE_LIST);
		table_column(t, "up", 0, SCOLS_JSON_BOOLEAN);
		table_column(t, "running", 0, SCOLS_JSON_BOOLEAN);
		table_column(t, "loopback", 0, SCOLS_JSON_BOOLEAN);
		return;
	}
	table_column(t, "INTERFACE", 0, SCOLS_JSON_STRING);
	table_column(t, "STATE", 0, SCOLS_JSON_STRING);
	table_column(t, "ADDRESSES", SCOLS_FL_TRUNC, SCOLS_JSON_STRING);
	table_column(t, "DESCRIPTION", SCOLS_FL_TRUNC, SCOLS_JSON_STRING);
}

static bool print(const Pcap__V1__InterfacesResponse *m, const char *name,
		  bool json, struct err *e)
{
	struct table t;
	bool found = *name == '\0';

	table_init(&t, "interfaces", json);
	columns(&t);
	for (size_t i = 0; i < m->n_interfaces; i++) {
		if (*name && strcmp(name, m->interfaces[i]->name) != 0)
			continue;
		found = true;
		table_row(&t);
		(json ? row_json : row)(&t, m->interfaces[i]);
	}
	if (!found) {
		scols_unref_table(t.cols);
		return err_set(e, ERR_NOT_FOUND, "no such interface '%s'",
			       name);
	}
	table_done(&t);
	return true;
}

static int run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct line line = {0};
	const char *name = "";
	Pcap__V1__InterfacesRequest ask = PCAP__V1__INTERFACES_REQUEST__INIT;

	cli_parse(&argp, argc, argv, &line);
	if (line.target && !target_parse(line.target, &name, &e))
		return cli_fail(&e);
	Pcap__V1__InterfacesResponse *m =
		(Pcap__V1__InterfacesResponse *)cli_call("Interfaces",
							 &ask.base, &e);
	if (!m)
		return cli_fail(&e);
	bool ok = print(m, name, line.json, &e);
	pcap__v1__interfaces_response__free_unpacked(m, NULL);
	return ok ? cli_done() : cli_fail(&e);
}

const struct command command_interfaces = {
	"interfaces", "list what can be captured on", &argp, run};
