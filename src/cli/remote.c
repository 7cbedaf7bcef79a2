/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcap remote add|list|remove|test. Guarantees that what is added can be used:
 * its URL is understood, its files are there and its key is private. Leaves out
 * whether somebody answers, which test says.
 */
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/remotes.h"
#include "cli/table.h"

#include "tls/context.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *bundle, *cert, *key, *ca;

static const struct cli_option options[] = {
	OPTION_TEXT("bundle", 'b', "FILE", &bundle,
		    "Key, certificate and CA in one file, as 'pcapd tls issue' "
		    "makes it"),
	OPTION_TEXT("cert", 0, "FILE", &cert, "Your certificate, PEM"),
	OPTION_TEXT("key", 0, "FILE", &key, "Its key"),
	OPTION_TEXT("ca", 0, "FILE", &ca,
		    "The CA that signed the server's certificate"),
	{0}};

/* --- add --- */

/* The file as an absolute path: commands run in other folders. */
static bool file_take(char to[ADDRESS_TEXT_MAX], const char *file,
		      struct err *e)
{
	if (!file)
		return true;
	char *path = realpath(file, NULL);
	if (!path)
		return err_errno(e, "open %s", file);
	size_t n = strlen(path);
	bool ok = n < ADDRESS_TEXT_MAX && !strstr(path, " ;") &&
		  !strpbrk(path, "\r\n");
	if (ok)
		memcpy(to, path, n + 1);
	else
		err_set(e, ERR_USAGE,
			"expected a path of at most %d bytes that an ini file "
			"can hold, got %.200s",
			ADDRESS_TEXT_MAX - 1, path);
	free(path);
	return ok;
}

static bool remote_add(const struct words *words, const char *path,
		       struct err *e)
{
	struct remote r = {.name = ""};
	struct address to;

	if (words->n != 3)
		return err_set(e, ERR_USAGE, "add takes a name and a URL");
	if (!remote_name_check(words->v[1], e))
		return false;
	strcpy(r.name, words->v[1]);
	if (strlen(words->v[2]) >= sizeof(r.url))
		return err_set(e, ERR_USAGE, "the URL is too long");
	strcpy(r.url, words->v[2]);
	if (!file_take(r.bundle, bundle, e) || !file_take(r.cert, cert, e) ||
	    !file_take(r.key, key, e) || !file_take(r.ca, ca, e) ||
	    !remote_address(&r, &to, e))
		return false;
	if (to.kind == ADDRESS_TLS && !tls_key_is_private(to.key, e))
		return false;
	return remotes_add(path, &r, e);
}

/* --- list, remove, test --- */

/* A certificate is named by the file that it is in. */
static const char *cert_of(const struct remote *r)
{
	return *r->bundle ? r->bundle : r->cert;
}

static void list_json(const struct remote *all, size_t n)
{
	struct json j;

	json_begin(&j, stdout, cli_json() == JSON_STRINGS, true);
	json_open(&j, "remotes", '[');
	for (size_t i = 0; i < n; i++) {
		json_open(&j, NULL, '{');
		json_text(&j, "name", all[i].name);
		json_text(&j, "url", all[i].url);
		json_text(&j, "cert", cert_of(&all[i]));
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_end(&j);
}

static void list_table(const struct remote *all, size_t n)
{
	struct table t;

	table_init(&t);
	table_column(&t, "NAME", 0);
	table_column(&t, "URL", TABLE_CUT);
	table_column(&t, "CERTIFICATE", TABLE_CUT);
	for (size_t i = 0; i < n; i++) {
		table_cell(&t, "%s", all[i].name);
		table_cell(&t, "%s", all[i].url);
		table_cell(&t, "%s", cert_of(&all[i]));
	}
	table_done(&t);
}

static bool remote_list(const char *path, struct err *e)
{
	struct remote *all;
	size_t n;

	if (!remotes_read(path, &all, &n, e))
		return false;
	(cli_json() ? list_json : list_table)(all, n);
	free(all);
	return true;
}

static bool remote_test(const char *name, struct err *e)
{
	Pcap__V1__VersionRequest ask = PCAP__V1__VERSION_REQUEST__INIT;
	int64_t began = realtime_ns();
	char span[SPAN_TEXT];

	if (!target_remote(name, e))
		return false;
	Pcap__V1__VersionResponse *m =
		(Pcap__V1__VersionResponse *)cli_call("Version", &ask.base, e);
	if (!m)
		return false;
	cli_print("%s: pcapd %s, you are %s (%s), answered in %s", name,
		  m->version, *m->caller ? m->caller : "unknown",
		  *m->role ? m->role : "unknown",
		  span_text(realtime_ns() - began, span));
	pcap__v1__version_response__free_unpacked(m, NULL);
	return true;
}

static bool remote_dispatch(const struct words *words, struct err *e)
{
	const char *verb = words->n ? words->v[0] : "";
	char path[ADDRESS_TEXT_MAX];

	if (!remotes_path(path, e))
		return false;
	if (strcmp(verb, "add") == 0)
		return remote_add(words, path, e);
	if (strcmp(verb, "list") == 0 && words->n == 1)
		return remote_list(path, e);
	if (strcmp(verb, "remove") == 0 && words->n == 2)
		return remotes_remove(path, words->v[1], e);
	if (strcmp(verb, "test") == 0 && words->n == 2)
		return remote_test(words->v[1], e);
	err_set(e, ERR_USAGE,
		"expected 'add NAME URL', 'list', 'remove REMOTE' or 'test "
		"REMOTE'%s%s",
		*verb ? ", got " : "", verb);
	return err_hint(e, "'pcap help remote' tells more.");
}

static int remote_run(const struct words *words)
{
	struct err e = ERR_INIT;

	return remote_dispatch(words, &e) ? cli_done() : cli_fail(&e);
}

const struct command command_remote = {
	.name = "remote",
	.summary = "name other machines with a pcapd",
	.args = "add NAME URL\nlist\nremove REMOTE\ntest REMOTE",
	.help = "Names other machines with a pcapd; 'NAME:' before a capture "
		"means that machine. URLs are tls://HOST[:PORT] (port 2020, "
		"needs a certificate), ssh://[USER@]HOST[:PORT] (runs 'pcap "
		"proxy' there by your ssh) and unix:///PATH.\vThey are kept in "
		"$XDG_CONFIG_HOME/pcap/remotes.conf.",
	.options = options,
	.tables = true,
	.max = WORDS_ANY,
	.run = remote_run,
};
