/*
 * [remote:]name. Guarantees that a name behind a ':' is never searched here
 * when another machine was meant. Leaves out remotes other than this machine.
 */
#include "cli.h"

#include <string.h>

#define REMOTE_LETTERS                                                         \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

bool target_parse(const char *word, const char **name, struct err *e)
{
	size_t n = strspn(word, REMOTE_LETTERS);

	if (word[n] != ':') {
		*name = word;
		return true;
	}
	if (n == 0 || (n == 5 && memcmp(word, "local", n) == 0)) {
		*name = word + n + 1;
		return true;
	}
	err_set(e, ERR_NOT_FOUND, "unknown remote '%.*s'", (int)n, word);
	return err_hint(e,
			"Without 'NAME:' it is this machine; a name that has "
			"a ':' is written ':%s'.",
			word);
}
