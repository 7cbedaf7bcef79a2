/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lines of commands, by their rows, with argp(3): it is in the C library,
 * and makes usage and help of them. Guarantees that --socket, --help and
 * --version work with every command, and that a wrong line ends with exit code
 * 2.
 */
#include "cli/options.h"

#include "cli/cli.h"

#include <argp.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 24
/* argp's keys of options that have no letter. */
#define KEY_FIRST 256
enum { GROUP_OWN = 0, GROUP_TABLES = 90, GROUP_ALL = 100 };

/* --- what every command takes, and those that print a table --- */

static const char *socket_given;
static bool wide;
static enum json_form json_form;

static bool option_json(const struct cli_option *o, const char *text,
			struct err *e)
{
	(void)o;
	if (text && strcmp(text, "strings") != 0)
		return err_set(e, ERR_USAGE,
			       "--json: expected 'strings' or nothing, not "
			       "'%s'",
			       text);
	json_form = text ? JSON_STRINGS : JSON_NUMBERS;
	return true;
}

const struct cli_option options_of_all[] = {
	OPTION_TEXT("socket", 'S', "PATH", &socket_given,
		    "The daemon's socket; otherwise $PCAP_SOCKET, "
		    "otherwise " CLIENT_SOCKET_DEFAULT),
	{0}};

const struct cli_option options_of_tables[] = {
	{.name = "json",
	 .key = 'J',
	 .value = "strings",
	 .help = "Write JSON, with everything there is to tell; numbers over "
		 "2^53 as strings, if asked",
	 .take = option_json,
	 .optional = true},
	OPTION_FLAG("wide", 'W', &wide,
		    "Cut nothing, however narrow the terminal"),
	{0}};

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

/* --- values --- */

bool option_flag(const struct cli_option *o, const char *text, struct err *e)
{
	(void)text;
	(void)e;
	*(bool *)o->to = true;
	return true;
}

bool option_boolean(const struct cli_option *o, const char *text, struct err *e)
{
	(void)text;
	(void)e;
	*(protobuf_c_boolean *)o->to = true;
	return true;
}

bool option_text(const struct cli_option *o, const char *text, struct err *e)
{
	(void)e;
	*(const char **)o->to = text;
	return true;
}

/* "--count" */
static const char *option_what(const struct cli_option *o, char out[32])
{
	snprintf(out, 32, "--%s", o->name);
	return out;
}

bool option_u64(const struct cli_option *o, const char *text, struct err *e)
{
	char what[32];

	return number_parse(option_what(o, what), text, o->min, o->max, o->to,
			    e);
}

bool option_u32(const struct cli_option *o, const char *text, struct err *e)
{
	char what[32];
	uint64_t value;

	if (!number_parse(option_what(o, what), text, o->min, o->max, &value,
			  e))
		return false;
	*(uint32_t *)o->to = (uint32_t)value;
	return true;
}

bool option_length(const struct cli_option *o, const char *text, struct err *e)
{
	char what[32];

	return duration_parse(option_what(o, what), text, o->to, e);
}

/* --- with argp --- */

struct option_line {
	const struct command *command;
	const struct cli_option *rows[OPTIONS_MAX];
	struct argp_option argp[OPTIONS_MAX + 2]; /* -h and an end */
	int n;
	struct words words;
};

static void option_line_add(struct option_line *l,
			    const struct cli_option *rows, int group)
{
	for (const struct cli_option *o = rows; o && o->name; o++) {
		assert(l->n < OPTIONS_MAX);
		l->argp[l->n] = (struct argp_option){
			o->name,  o->key ? o->key : KEY_FIRST + l->n,
			o->value, o->optional ? OPTION_ARG_OPTIONAL : 0,
			o->help,  group};
		l->rows[l->n++] = o;
	}
}

/* The word that gave the option whose value is arg. */
static const char *option_line_word(const struct argp_state *state,
				    const char *arg)
{
	const char *last = state->argv[state->next - 1];

	return arg && arg == last ? state->argv[state->next - 2] : last;
}

static bool option_line_take(const struct option_line *l, int key,
			     const char *arg, struct argp_state *state)
{
	struct err e = ERR_INIT;
	int i = 0;

	while (i < l->n && l->argp[i].key != key)
		i++;
	if (i == l->n)
		return false;
	const char *name = l->rows[i]->name,
		   *word = option_line_word(state, arg);
	if (strncmp(word, "--", 2) == 0 &&
	    strcspn(word + 2, "=") != strlen(name))
		argp_error(state, "unrecognized option '%s', perhaps '--%s'",
			   word, name);
	if (!l->rows[i]->take(l->rows[i], arg, &e))
		exit(cli_fail(&e));
	return true;
}

static void option_line_check(const struct option_line *l,
			      struct argp_state *state)
{
	const struct command *c = l->command;
	struct err e = ERR_INIT;

	if (l->words.n < c->min && c->too_few)
		argp_error(state, "%s", c->too_few);
	if (c->max >= 0 && l->words.n > c->max)
		argp_error(state, "%s", c->too_many);
	if (c->check && !c->check(&l->words, &e))
		argp_error(state, "%s", e.what);
}

static error_t option_line_parse(int key, char *arg, struct argp_state *state)
{
	struct option_line *l = state->input;

	switch (key) {
	case 'h':
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		return 0;
	case ARGP_KEY_ARGS:
		if (l->command->max == 0)
			return ARGP_ERR_UNKNOWN;
		l->words.v = state->argv + state->next;
		l->words.n = state->argc - state->next;
		return 0;
	case ARGP_KEY_NO_ARGS:
		if (!l->command->leads)
			return 0;
		argp_state_help(state, stderr,
				ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK);
		exit(2);
	case ARGP_KEY_END:
		option_line_check(l, state);
		return 0;
	}
	return option_line_take(l, key, arg, state) ? 0 : ARGP_ERR_UNKNOWN;
}

/* Puts the table of commands into the help of what comes before one. */
static char *option_line_help(int key, const char *text, void *input)
{
	const struct option_line *l = input;
	char *out = NULL;
	size_t n;

	if (key != ARGP_KEY_HELP_POST_DOC || !l || !l->command->leads)
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

struct words options_parse(const struct command *c, int argc, char **argv)
{
	static char *none[1];
	struct option_line l = {.command = c, .words = {none, 0}};
	struct argp argp = {l.argp, option_line_parse, c->args, c->help,
			    NULL,   option_line_help,  NULL};

	option_line_add(&l, c->options, GROUP_OWN);
	if (c->tables)
		option_line_add(&l, options_of_tables, GROUP_TABLES);
	option_line_add(&l, options_of_all, GROUP_ALL);
	l.argp[l.n] = (struct argp_option){NULL,	  'h',	NULL,
					   OPTION_HIDDEN, NULL, GROUP_ALL};
	argp_parse(&argp, argc, argv, c->leads ? ARGP_IN_ORDER : 0, NULL, &l);
	return l.words;
}
