/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcap delete. Guarantees that nothing is deleted without a yes: on the
 * terminal or as --yes.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

struct delete_line {
	const char *name;
	bool yes;
};

static error_t delete_parse(int key, char *arg, struct argp_state *state)
{
	struct delete_line *line = state->input;

	switch (key) {
	case 'y':
		line->yes = true;
		return 0;
	case ARGP_KEY_ARG:
		if (line->name)
			argp_error(state, "one capture at a time");
		line->name = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "say which capture, by id or alias");
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"yes", 'y', NULL, 0, "Do not ask", 0}, {0}};

static const struct argp argp = {
	options,
	delete_parse,
	"[REMOTE:]ID|ALIAS",
	"Deletes a stopped capture with its packets and aliases.",
	cli_common,
	NULL,
	NULL};

/* false: no, or an error in *e. */
static bool delete_agreed(const char *name, struct err *e)
{
	Pcap__V1__ListRequest ask = PCAP__V1__LIST_REQUEST__INIT;
	char text[CAPTURE_TEXT], size[SIZE_TEXT];
	bool yes = false;

	ask.name = (char *)name;
	Pcap__V1__ListResponse *m =
		(Pcap__V1__ListResponse *)cli_call("List", &ask.base, e);
	if (!m)
		return false;
	if (m->n_captures == 1)
		yes = cli_agreed("Delete %s with %" PRIu64 " packets, %s?",
				 capture_text(m->captures[0], text),
				 m->captures[0]->packets,
				 size_text(m->captures[0]->raw_bytes, size));
	pcap__v1__list_response__free_unpacked(m, NULL);
	return yes || err_set(e, ERR_FAILED, "nothing was deleted");
}

static int delete_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct delete_line line = {0};
	Pcap__V1__DeleteRequest ask = PCAP__V1__DELETE_REQUEST__INIT;
	const char *name;

	cli_parse(&argp, argc, argv, &line);
	if (!target_parse(line.name, &name, &e))
		return cli_fail(&e);
	if (!line.yes && !isatty(STDIN_FILENO)) {
		err_set(&e, ERR_USAGE,
			"delete asks on a terminal, and there is none");
		err_hint(&e, "Say --yes to delete without being asked.");
		return cli_fail(&e);
	}
	if (!line.yes && !delete_agreed(name, &e))
		return cli_fail(&e);
	ask.name = (char *)name;
	return cli_change("Delete", &ask.base, "deleted");
}

const struct command command_delete = {
	"delete", "delete a capture and its packets", &argp, delete_run};
