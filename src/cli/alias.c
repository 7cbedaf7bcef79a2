/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap alias add|remove. Leaves the rules for aliases to the daemon. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static error_t alias_parse(int key, char *arg, struct argp_state *state)
{
	struct words *words = state->input;

	(void)arg;
	switch (key) {
	case ARGP_KEY_ARGS:
		words_take(words, state);
		return 0;
	case ARGP_KEY_END: {
		bool add = words->n && strcmp(words->v[0], "add") == 0;
		bool remove = words->n && strcmp(words->v[0], "remove") == 0;
		if (!add && !remove)
			argp_error(state,
				   "expected 'add' or 'remove', not '%s'",
				   words->n ? words->v[0] : "");
		if (add && words->n != 3)
			argp_error(state, "add takes a capture and an alias");
		if (remove && words->n != 2)
			argp_error(state, "remove takes an alias");
		return 0;
	}
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	NULL,
	alias_parse,
	"add [REMOTE:]ID|ALIAS ALIAS\nremove [REMOTE:]ALIAS",
	"Gives a capture another name, or takes one away. An alias has "
	"letters, "
	"digits, '.', '_' and '-', 64 at most, and is no number.",
	cli_common,
	NULL,
	NULL};

static int alias_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct words words = {0};
	Pcap__V1__AddAliasRequest add = PCAP__V1__ADD_ALIAS_REQUEST__INIT;
	Pcap__V1__RemoveAliasRequest gone =
		PCAP__V1__REMOVE_ALIAS_REQUEST__INIT;
	const char *name;

	cli_parse(&argp, argc, argv, &words);
	if (!target_parse(words.v[1], &name, &e))
		return cli_fail(&e);
	if (words.n == 3) {
		add.name = (char *)name;
		add.alias = words.v[2];
		return cli_change("AddAlias", &add.base, "now");
	}
	gone.alias = (char *)name;
	return cli_change("RemoveAlias", &gone.base, "now");
}

const struct command command_alias = {
	"alias", "give a capture another name, or take one away", &argp,
	alias_run};
