/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What people write as text: URLs and targets, remotes.conf, the allow-list.
 * What is taken has only what it may have, and comes out as it went in. As a
 * program of its own it replays the files that it is given, and fails without
 * any.
 */
#include "cli/cli.h"
#include "cli/remotes.h"
#include "tls/allow.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char folder[64];

static void remove_folder(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	if (system(command) != 0)
		_exit(1);
}

/* A file with the bytes, and where it is. */
static const char *file_of(const char *name, const uint8_t *data, size_t n)
{
	static char path[128];

	if (!*folder) {
		strcpy(folder, "/tmp/pcapd-fuzz-XXXXXX");
		assert(mkdtemp(folder));
		atexit(remove_folder);
		setenv("XDG_CONFIG_HOME", folder, 1);
	}
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "w");
	assert(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
	return path;
}

/* --- URLs --- */

static void assert_letters(const char *text, const char *more)
{
	assert(*text != '-');
	for (; *text; text++)
		assert(strchr(REMOTE_LETTERS, *text) || strchr(more, *text));
}

/* What was understood, written again, is understood the same way. */
static void assert_same_again(const struct address *a)
{
	static const char *const schemes[] = {"unix", "tls", "ssh"};
	bool six = strpbrk(a->host, ":%");
	const char *zone = strchr(a->host, '%');
	bool coded = zone && zone[1]; /* RFC 6874 */
	char url[2 * TEXT_MAX], host[TEXT_MAX + 3];
	struct address again;
	struct err e;

	snprintf(host, sizeof(host), "%.*s%s%s",
		 (int)(coded ? zone - a->host : TEXT_MAX), a->host,
		 coded ? "%25" : "", coded ? zone + 1 : "");
	snprintf(url, sizeof(url), "%s://%s%s%s%s%s%s%s%s", schemes[a->kind],
		 a->path, a->user, *a->user ? "@" : "", six ? "[" : "", host,
		 six ? "]" : "", *a->port ? ":" : "", a->port);
	memset(&again, 0, sizeof(again));
	assert(url_parse(url, &again, &e));
	assert(memcmp(&again, a, sizeof(again)) == 0);
}

static void fuzz_url(const char *text)
{
	struct address a;
	struct err e = ERR_INIT;
	const char *name = NULL;

	memset(&a, 0, sizeof(a));
	if (url_parse(text, &a, &e)) {
		assert_letters(a.host, ":%");
		assert_letters(a.user, "");
		assert(a.kind == ADDRESS_UNIX ? *a.path == '/' : *a.host);
		assert(!*a.port || (atoi(a.port) > 0 && atoi(a.port) < 65536));
		assert_same_again(&a);
	} else {
		assert(e.kind == ERR_USAGE && *e.what);
	}
	/* Nothing is known, so that nobody else is meant. */
	if (target_parse(text, &name, &e))
		assert(target_address()->kind == ADDRESS_UNIX && name >= text &&
		       name <= text + strlen(text));
}

/* --- files --- */

static void fuzz_remotes(const uint8_t *data, size_t n)
{
	const char *path = file_of("remotes", data, n);
	struct remote *before, *after,
		one = {.name = "added-by-the-test", .url = "ssh://host"};
	size_t n_before, n_after;
	struct err e = ERR_INIT;

	if (!remotes_read(path, &before, &n_before, &e)) {
		assert(e.kind != ERR_NONE && *e.what);
		return;
	}
	for (size_t i = 0; i < n_before; i++) {
		struct address a;

		assert(remote_name_check(before[i].name, &e));
		memset(&a, 0, sizeof(a));
		assert(url_parse(before[i].url, &a, &e));
	}
	if (remotes_add(path, &one, &e)) {
		assert(remotes_remove(path, one.name, &e));
		assert(remotes_read(path, &after, &n_after, &e));
		assert(n_after == n_before);
		assert(!n_after ||
		       !memcmp(after, before, n_after * sizeof(*after)));
		free(after);
	}
	free(before);
}

static void fuzz_allow(const uint8_t *data, size_t n)
{
	const char *path = file_of("allow", data, n);
	struct allowed *all, found,
		one = {.role = ROLE_VIEWER, .name = "added-by-the-test"};
	struct err e = ERR_INIT;
	size_t n_all, removed;

	memset(one.fingerprint, 'a', FINGERPRINT_TEXT - 1);
	if (!allow_read(path, &all, &n_all, &e))
		return;
	struct allow *a = allow_open(path, &e);
	assert(a);
	for (size_t i = 0; i < n_all; i++) {
		assert(allow_find(a, all[i].fingerprint, &found));
		assert(found.role != ROLE_NONE && person_check(found.name, &e));
	}
	assert(allow_add(path, &one, &e));
	allow_refresh(a);
	assert(allow_find(a, one.fingerprint, &found));
	assert(strcmp(found.name, one.name) == 0);
	assert(allow_remove(path, one.name, &removed, &e) && removed);
	allow_refresh(a);
	assert(!allow_find(a, one.fingerprint, &found));
	allow_close(a);
	free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char text[TEXT_MAX + 1];

	if (n > TEXT_MAX)
		return 0;
	memcpy(text, data, n);
	text[n] = '\0';
	file_of("nothing", data, 0);
	fuzz_url(text);
	fuzz_remotes(data, n);
	fuzz_allow(data, n);
	return 0;
}
