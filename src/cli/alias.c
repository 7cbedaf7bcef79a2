/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap alias add|remove. Leaves the rules for aliases to the daemon. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static bool alias_words_check(const struct words *words, struct err *e)
{
	const char *verb = words->n ? words->v[0] : "";
	bool add = strcmp(verb, "add") == 0;

	if (!add && strcmp(verb, "remove") != 0)
		return err_set(e, ERR_USAGE,
			       "expected 'add' or 'remove', not '%s'", verb);
	if (add && words->n != 3)
		return err_set(e, ERR_USAGE,
			       "add takes a capture and an alias");
	return add || words->n == 2 ||
	       err_set(e, ERR_USAGE, "remove takes an alias");
}

static int alias_run(const struct words *words)
{
	struct err e = ERR_INIT;
	Pcap__V1__AddAliasRequest add = PCAP__V1__ADD_ALIAS_REQUEST__INIT;
	Pcap__V1__RemoveAliasRequest gone =
		PCAP__V1__REMOVE_ALIAS_REQUEST__INIT;
	const char *name;

	if (!target_parse(words->v[1], &name, &e))
		return cli_fail(&e);
	if (words->n == 3) {
		add.name = (char *)name;
		add.alias = words->v[2];
		return cli_change("AddAlias", &add.base, "now");
	}
	gone.alias = (char *)name;
	return cli_change("RemoveAlias", &gone.base, "now");
}

const struct command command_alias = {
	.name = "alias",
	.summary = "give a capture another name, or take one away",
	.args = "add [REMOTE:]ID|ALIAS ALIAS\nremove [REMOTE:]ALIAS",
	.help = "Gives a capture another name, or takes one away. An alias has "
		"letters, digits, '.', '_' and '-', 64 at most, and is no "
		"number.",
	.max = WORDS_ANY,
	.check = alias_words_check,
	.run = alias_run,
};
