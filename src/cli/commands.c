/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of commands and what their command lines have in common.
 * Guarantees that --socket, --help and --version work before and behind every
 * command, and that a wrong line ends with exit code 2.
 */
#include "cli/cli.h"

#include "base/edit_distance.h"

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

/* --- what every command takes --- */

static const char *socket_given;

static error_t common_parse(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'S':
		socket_given = arg;
		return 0;
	case 'h':
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option common_options[] = {
	{"socket", 'S', "PATH", 0,
	 "The daemon's socket; otherwise $PCAP_SOCKET, otherwise " //
	 CLIENT_SOCKET_DEFAULT,
	 100},
	{NULL, 'h', NULL, OPTION_HIDDEN, NULL, 100},
	{0}};

static const struct argp common_argp = {
	common_options, common_parse, NULL, NULL, NULL, NULL, NULL};

const struct argp_child cli_common[] = {{&common_argp, 0, NULL, 100}, {0}};

/* --- what those take that print a table --- */

static bool wide;
static enum json_form json_form;

static error_t table_parse(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'W':
		wide = true;
		return 0;
	case 'J':
		if (arg && strcmp(arg, "strings") != 0)
			argp_error(state,
				   "--json: expected 'strings' or nothing, not "
				   "'%s'",
				   arg);
		json_form = arg ? JSON_STRINGS : JSON_NUMBERS;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option table_options[] = {
	{"json", 'J', "strings", OPTION_ARG_OPTIONAL,
	 "Write JSON, with everything there is to tell; numbers over 2^53 as "
	 "strings, if asked",
	 90},
	{"wide", 'W', NULL, 0, "Cut nothing, however narrow the terminal", 90},
	{0}};

static const struct argp table_argp = {table_options, table_parse, NULL, NULL,
				       NULL,	      NULL,	   NULL};

const struct argp_child cli_tables[] = {
	{&table_argp, 0, NULL, 90}, {&common_argp, 0, NULL, 100}, {0}};

bool cli_wide(void)
{
	return wide;
}

enum json_form cli_json(void)
{
	return json_form;
}

const char *cli_socket(void)
{
	const char *env = getenv("PCAP_SOCKET");

	if (socket_given)
		return socket_given;
	return env && *env ? env : CLIENT_SOCKET_DEFAULT;
}

void cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
	argp_parse(argp, argc, argv, 0, NULL, input);
}

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

struct main_line {
	const struct command *command;
	int at; /* the command's place in argv */
};

static error_t main_parse(int key, char *arg, struct argp_state *state)
{
	struct main_line *line = state->input;
	const char *nearest;

	switch (key) {
	case ARGP_KEY_ARG:
		line->command = command_find(arg, &nearest);
		if (!line->command && nearest)
			argp_error(state, "unknown command '%s', perhaps '%s'",
				   arg, nearest);
		if (!line->command)
			argp_error(state,
				   "unknown command '%s'; 'pcap help' lists "
				   "them",
				   arg);
		line->at = state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_state_help(state, stderr,
				ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK);
		exit(2);
	}
	return ARGP_ERR_UNKNOWN;
}

/* Puts the table of commands into the help. */
static char *main_help(int key, const char *text, void *input)
{
	char *out = NULL;
	size_t n;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	FILE *f = open_memstream(&out, &n);
	if (!f)
		return (char *)text;
	fputs("Commands:\n", f);
	for (size_t i = 0; commands[i]; i++)
		fprintf(f, "  %-12s %s\n", commands[i]->name,
			commands[i]->summary);
	fprintf(f, "\n%s", text);
	fclose(f);
	return out;
}

static const struct argp main_argp = {
	NULL,
	main_parse,
	"COMMAND [ARGUMENT...]",
	"Packets that pcapd captures and keeps: choose, replay, listen."
	"\v'pcap help COMMAND' tells more. Exit codes: 0 done, 1 failed, 2 "
	"wrong use, 3 done in part, 4 not found, 5 no permission, 6 no daemon.",
	cli_common,
	main_help,
	NULL};

const struct argp *cli_argp(void)
{
	return &main_argp;
}

int cli_main(int argc, char **argv)
{
	struct main_line line = {0};
	static char full[32];
	static char self[] = "pcap";

	/* Whatever the terminal's is: text is UTF-8 wherever it comes from. */
	setlocale(LC_CTYPE, "C.UTF-8");
	signal(SIGPIPE, SIG_IGN);
	setenv("ARGP_HELP_FMT", "no-dup-args-note", 0);
	argp_err_exit_status = 2;
	argp_program_version = "pcap " PCAPD_VERSION;
	if (argc > 0)
		argv[0] = self;
	argp_parse(&main_argp, argc, argv, ARGP_IN_ORDER, NULL, &line);
	if (!line.command)
		return 2;
	snprintf(full, sizeof(full), "pcap %s", line.command->name);
	argv[line.at] = full; /* for argp's messages */
	return line.command->run(argc - line.at, argv + line.at);
}
