/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * [remote:]name. Guarantees that a name behind a ':' is never searched here
 * when another machine was meant: the calls of a command go where its target
 * said.
 */
#include "cli/cli.h"
#include "cli/remotes.h"

#include <string.h>

/* A command has one target. */
static struct address target;
static bool elsewhere, carried;

void target_tells_carrier(void)
{
	carried = true;
}

const struct address *target_address(void)
{
	if (!elsewhere) {
		memset(&target, 0, sizeof(target));
		target.carried = carried;
		strncpy(target.path, cli_socket(), sizeof(target.path) - 1);
	}
	return &target;
}

bool target_remote(const char *name, struct err *e)
{
	struct remote r;

	if (!remote_find(name, &r, e) || !remote_address(&r, &target, e))
		return false;
	elsewhere = true;
	return true;
}

bool target_parse(const char *word, const char **name, struct err *e)
{
	char remote[REMOTE_NAME_MAX + 2];

	word = word ? word : "";
	elsewhere = false;
	size_t n = strspn(word, REMOTE_LETTERS);
	if (word[n] != ':') {
		*name = word;
		return true;
	}
	if (n == 0 || (n == 5 && memcmp(word, "local", n) == 0)) {
		*name = word + n + 1;
		return true;
	}
	if (n > REMOTE_NAME_MAX)
		n = REMOTE_NAME_MAX + 1;
	memcpy(remote, word, n);
	remote[n] = '\0';
	if (target_remote(remote, e)) {
		*name = word + n + 1;
		return true;
	}
	if (e->kind != ERR_NOT_FOUND)
		return false;
	return err_hint(e,
			"'pcap remote list' has those that are known. Without "
			"'NAME:' it is this machine; a name that has a ':' is "
			"written ':%.80s'.",
			word);
}

bool target_or_all(const char *word, protobuf_c_boolean *all, const char **name,
		   struct err *e)
{
	if (!target_parse(word, name, e))
		return false;
	if (strcmp(*name, "--all") == 0) {
		*all = true;
		*name = "";
	}
	return !**name || !*all ||
	       err_set(e, ERR_USAGE,
		       "either a capture or --all, not '%s' and --all", *name);
}
