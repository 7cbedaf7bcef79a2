/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of commands, and the line that begins with one: options.c has what
 * is the same in all lines.
 */
#include "cli/cli.h"

#include "base/edit_distance.h"

#include <argp.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct command *const commands[] = {
	&command_interfaces, &command_init,    &command_start, &command_stop,
	&command_list,	     &command_status,  &command_gaps,  &command_set,
	&command_hold,	     &command_release, &command_mark,  &command_alias,
	&command_delete,     &command_replay,  &command_count, &command_listen,
	&command_import,     &command_remote,  &command_audit, &command_proxy,
	&command_complete,   &command_version, &command_help,  NULL};

/* --- finding a command --- */

/* Nobody is led by a guess to what stops or removes something. */
static bool takes_away(const struct command *c)
{
	return c == &command_stop || c == &command_delete ||
	       c == &command_release || c == &command_set;
}

const struct command *command_find(const char *name, const char **nearest)
{
	unsigned best = EDIT_FAR;

	*nearest = NULL;
	for (size_t i = 0; commands[i]; i++) {
		const struct command *known = commands[i];
		if (strcmp(name, known->name) == 0)
			return known;
		if (!takes_away(known) &&
		    edit_is_nearer(name, known->name, &best))
			*nearest = known->name;
	}
	return NULL;
}

/* --- pcap [--socket PATH] COMMAND ... --- */

static bool command_check(const struct words *words, struct err *e)
{
	const char *nearest, *name = words->v[0];

	if (command_find(name, &nearest))
		return true;
	if (nearest)
		return err_set(e, ERR_USAGE,
			       "unknown command '%s', perhaps '%s'", name,
			       nearest);
	return err_set(e, ERR_USAGE,
		       "unknown command '%s'; 'pcap help' lists them", name);
}

static int command_run(const struct words *words)
{
	const char *nearest;
	const struct command *c = command_find(words->v[0], &nearest);
	char full[32];

	snprintf(full, sizeof(full), "pcap %s", c->name);
	words->v[0] = full; /* for argp's messages */
	struct words own = options_parse(c, words->n, words->v);
	return c->run(&own);
}

const struct command command_line = {
	.name = "pcap",
	.args = "COMMAND [ARGUMENT...]",
	.help = "Packets that pcapd captures and keeps: choose, replay, listen."
		"\v'pcap help COMMAND' tells more. Exit codes: 0 done, 1 "
		"failed, 2 wrong use, 3 done in part, 4 not found, 5 no "
		"permission, 6 no daemon.",
	.leads = true,
	.max = WORDS_ANY,
	.check = command_check,
	.run = command_run,
};

int cli_main(int argc, char **argv)
{
	static char self[] = "pcap";

	/* Whatever the terminal's is: text is UTF-8 wherever it comes from. */
	setlocale(LC_CTYPE, "C.UTF-8");
	signal(SIGPIPE, SIG_IGN);
	setenv("ARGP_HELP_FMT", "no-dup-args-note", 0);
	argp_err_exit_status = 2;
	argp_program_version = "pcap " PCAPD_VERSION;
	if (argc > 0)
		argv[0] = self;
	struct words words = options_parse(&command_line, argc, argv);
	return command_run(&words);
}
