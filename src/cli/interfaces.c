/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap interfaces: what can be captured on, as the daemon sees it. */
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/table.h"

#include <string.h>

static void interfaces_row(struct table *t, const Pcap__V1__Interface *i)
{
	table_cell(t, "%s", i->name);
	table_cell(t, "%s%s%s", i->up ? "up" : "down",
		   i->running ? ",running" : "",
		   i->loopback ? ",loopback" : "");
	table_list(t, i->addresses, i->n_addresses);
	table_cell(t, "%s", i->description);
}

static void interfaces_columns(struct table *t)
{
	table_column(t, "INTERFACE", 0);
	table_column(t, "STATE", 0);
	table_column(t, "ADDRESSES", TABLE_CUT);
	table_column(t, "DESCRIPTION", TABLE_CUT);
}

static void interfaces_print(const Pcap__V1__InterfacesResponse *m)
{
	struct table t;

	table_init(&t);
	interfaces_columns(&t);
	for (size_t i = 0; i < m->n_interfaces; i++)
		interfaces_row(&t, m->interfaces[i]);
	table_done(&t);
}

/* Leaves the one of that name, first. */
static bool interfaces_only(Pcap__V1__InterfacesResponse *m, const char *name,
			    struct err *e)
{
	for (size_t i = 0; i < m->n_interfaces; i++) {
		Pcap__V1__Interface *found = m->interfaces[i];

		if (strcmp(name, found->name) != 0)
			continue;
		m->interfaces[i] = m->interfaces[0];
		m->interfaces[0] = found;
		return true;
	}
	return err_set(e, ERR_NOT_FOUND, "no such interface '%s'", name);
}

static int interfaces_run(const struct words *words)
{
	struct err e = ERR_INIT;
	const char *name;
	Pcap__V1__InterfacesRequest ask = PCAP__V1__INTERFACES_REQUEST__INIT;

	if (!target_parse(words->v[0], &name, &e))
		return cli_fail(&e);
	Pcap__V1__InterfacesResponse *m =
		(Pcap__V1__InterfacesResponse *)cli_call("Interfaces",
							 &ask.base, &e);
	if (!m)
		return cli_fail(&e);
	size_t all = m->n_interfaces;
	bool ok = !*name || interfaces_only(m, name, &e);
	if (ok && *name)
		m->n_interfaces = 1;
	if (ok && !json_message(&m->base, "", true))
		interfaces_print(m);
	m->n_interfaces = all;
	pcap__v1__interfaces_response__free_unpacked(m, NULL);
	return ok ? cli_done() : cli_fail(&e);
}

const struct command command_interfaces = {
	.name = "interfaces",
	.summary = "list what can be captured on",
	.args = "[REMOTE:][INTERFACE]",
	.help = "Lists what can be captured on.",
	.tables = true,
	.max = 1,
	.too_many = "one interface at most",
	.run = interfaces_run,
};
