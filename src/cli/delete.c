/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcap delete. Guarantees that nothing is deleted without a yes: on the
 * terminal or as --yes.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static bool yes;

static const struct cli_option options[] = {
	OPTION_FLAG("yes", 'y', &yes, "Do not ask"), {0}};

/* false: no, or an error in *e. */
static bool delete_agreed(const char *name, struct err *e)
{
	Pcap__V1__ListRequest ask = PCAP__V1__LIST_REQUEST__INIT;
	char text[CAPTURE_TEXT], size[SIZE_TEXT];
	bool agreed = false;

	ask.name = (char *)name;
	Pcap__V1__ListResponse *m =
		(Pcap__V1__ListResponse *)cli_call("List", &ask.base, e);
	if (!m)
		return false;
	if (m->n_captures == 1)
		agreed = cli_agreed("Delete %s with %" PRIu64 " packets, %s?",
				    capture_text(m->captures[0], text),
				    m->captures[0]->packets,
				    size_text(m->captures[0]->raw_bytes, size));
	pcap__v1__list_response__free_unpacked(m, NULL);
	return agreed || err_set(e, ERR_FAILED, "nothing was deleted");
}

static int delete_run(const struct words *words)
{
	struct err e = ERR_INIT;
	Pcap__V1__DeleteRequest ask = PCAP__V1__DELETE_REQUEST__INIT;
	const char *name;

	if (!target_parse(words->v[0], &name, &e))
		return cli_fail(&e);
	if (!yes && !isatty(STDIN_FILENO)) {
		err_set(&e, ERR_USAGE,
			"delete asks on a terminal, and there is none");
		err_hint(&e, "Say --yes to delete without being asked.");
		return cli_fail(&e);
	}
	if (!yes && !delete_agreed(name, &e))
		return cli_fail(&e);
	ask.name = (char *)name;
	return cli_change("Delete", &ask.base, "deleted");
}

const struct command command_delete = {
	.name = "delete",
	.summary = "delete a capture and its packets",
	.args = "[REMOTE:]ID|ALIAS",
	.help = "Deletes a stopped capture with its packets and aliases.",
	.options = options,
	.min = 1,
	.max = 1,
	.too_few = "say which capture, by id or alias",
	.too_many = "one capture at a time",
	.run = delete_run,
};
