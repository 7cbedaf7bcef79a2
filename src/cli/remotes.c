/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * remotes.conf. Guarantees that a file with a wrong line is not used and that
 * the error names the line, that comments survive, and that a change is there
 * as a whole or not at all. Leaves out connecting.
 */
#include "cli/remotes.h"

#include "base/file.h"
#include "base/vec.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES (ADDRESS_TEXT_MAX + 64)

/* --- names and URLs --- */

bool remote_name_check(const char *name, struct err *e)
{
	size_t n = strlen(name);

	if (strcmp(name, "local") == 0)
		return err_set(e, ERR_USAGE, "'local' is this machine");
	if (n > 0 && n <= REMOTE_NAME_MAX && strspn(name, REMOTE_LETTERS) == n)
		return true;
	return err_set(e, ERR_USAGE,
		       "the remote '%.80s': expected 1 to %d of A-Z a-z 0-9 . "
		       "_ -",
		       name, REMOTE_NAME_MAX);
}

/* Copies [from, from + n), of those letters and not empty; a '-' in front would
 * be an option of ssh. */
static bool remotes_part(char *to, size_t room, const char *from, size_t n,
			 const char *more)
{
	if (n == 0 || n >= room || *from == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!strchr(REMOTE_LETTERS, from[i]) && !strchr(more, from[i]))
			return false;
	memcpy(to, from, n);
	to[n] = '\0';
	return true;
}

/* "", ":22" */
static bool port_parse(const char *text, size_t n, char out[8])
{
	unsigned long port = 0;

	if (n == 0)
		return true;
	if (*text != ':' || n < 2 || n > 6)
		return false;
	for (size_t i = 1; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (unsigned long)(text[i] - '0');
	}
	snprintf(out, 8, "%lu", port);
	return port > 0 && port < 65536;
}

/* RFC 6874 writes the '%' before a zone as "%25". */
static void zone_decode(char *host)
{
	char *zone = strchr(host, '%');

	if (zone && strncmp(zone, "%25", 3) == 0 && zone[3]) {
		size_t n = strlen(zone + 3);

		memmove(zone + 1, zone + 3, n);
		memset(zone + 1 + n, 0, 2);
	}
}

/* [user@]host[:port], with an address of IPv6 in [ ] */
static bool place_parse(const char *text, bool with_user, struct address *to)
{
	size_t n = strcspn(text, "/");
	const char *at = memchr(text, '@', n), *end;

	if (text[n] && text[n + 1])
		return false; /* something behind the '/' */
	if (at && (!with_user || !remotes_part(to->user, sizeof(to->user), text,
					       (size_t)(at - text), "")))
		return false;
	if (at) {
		n -= (size_t)(at + 1 - text);
		text = at + 1;
	}
	if (n && *text == '[') {
		end = memchr(text, ']', n);
		if (!end || !remotes_part(to->host, sizeof(to->host), text + 1,
					  (size_t)(end - text - 1), ":%"))
			return false;
		zone_decode(to->host);
		end++;
	} else {
		end = memchr(text, ':', n);
		if (!end)
			end = text + n;
		if (!remotes_part(to->host, sizeof(to->host), text,
				  (size_t)(end - text), ""))
			return false;
	}
	return port_parse(end, n - (size_t)(end - text), to->port);
}

bool url_parse(const char *url, struct address *to, struct err *e)
{
	bool ok = false;

	if (strncmp(url, "tls://", 6) == 0) {
		to->kind = ADDRESS_TLS;
		strcpy(to->port, "2020");
		ok = place_parse(url + 6, false, to);
	} else if (strncmp(url, "ssh://", 6) == 0) {
		to->kind = ADDRESS_SSH;
		to->port[0] = '\0';
		ok = place_parse(url + 6, true, to);
	} else if (strncmp(url, "unix://", 7) == 0) {
		size_t n = strlen(url + 7);

		to->kind = ADDRESS_UNIX;
		ok = url[7] == '/' && n < sizeof(to->path);
		if (ok)
			memcpy(to->path, url + 7, n + 1);
	}
	return ok || err_set(e, ERR_USAGE,
			     "expected tls://HOST[:PORT], "
			     "ssh://[USER@]HOST[:PORT] or unix:///PATH, not "
			     "'%.200s'",
			     url);
}

bool remote_address(const struct remote *r, struct address *to, struct err *e)
{
	const char *cert = *r->bundle ? r->bundle : r->cert;
	const char *key = *r->bundle ? r->bundle : r->key;
	const char *ca = *r->ca ? r->ca : r->bundle;

	memset(to, 0, sizeof(*to));
	memcpy(to->label, r->name, sizeof(r->name));
	if (!url_parse(r->url, to, e))
		return err_wrap(e, "%s", r->name);
	if (to->kind != ADDRESS_TLS)
		return true;
	if (!*cert || !*key || !*ca) {
		err_set(e, ERR_USAGE,
			"%s: tls:// needs --bundle, or --cert, --key and --ca",
			r->name);
		return err_hint(e, "'pcapd tls issue' on the server makes a "
				   "bundle.");
	}
	strcpy(to->cert, cert);
	strcpy(to->key, key);
	strcpy(to->ca, ca);
	return true;
}

/* --- reading --- */

bool remotes_path(char out[ADDRESS_TEXT_MAX], struct err *e)
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int n = 0;

	if (base && *base == '/')
		n = snprintf(out, ADDRESS_TEXT_MAX, "%s/pcap/remotes.conf",
			     base);
	else if (home && *home)
		n = snprintf(out, ADDRESS_TEXT_MAX,
			     "%s/.config/pcap/remotes.conf", home);
	return (n > 0 && n < ADDRESS_TEXT_MAX) ||
	       err_set(e, ERR_USAGE,
		       "expected $XDG_CONFIG_HOME or $HOME to keep remotes in");
}

struct remotes_reading {
	FILE *file;
	unsigned line;
	bool too_long;
	struct remote *all;
	size_t n;
	struct err err;
};

static char *remotes_read_line(char *to, int n, void *ctx)
{
	struct remotes_reading *r = ctx;

	if (r->too_long || r->err.kind || !fgets(to, n, r->file))
		return NULL;
	r->line++;
	size_t got = strlen(to);
	r->too_long =
		got + 1 == (size_t)n && to[got - 1] != '\n' && !feof(r->file);
	return r->too_long ? NULL : to;
}

static struct remote *section_of(struct remotes_reading *r, const char *name)
{
	if (r->n && strcmp(r->all[r->n - 1].name, name) == 0)
		return &r->all[r->n - 1];
	if (!remote_name_check(name, &r->err))
		return NULL;
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->all[i].name, name) == 0) {
			err_set(&r->err, ERR_USAGE, "'%s' is there twice",
				name);
			return NULL;
		}
	struct remote *one = vec_push(&r->all, &r->n);
	if (one)
		strcpy(one->name, name);
	else
		err_set(&r->err, ERR_FAILED, "out of memory");
	return one;
}

static char *remotes_field(struct remote *one, const char *key)
{
	if (strcmp(key, "url") == 0)
		return one->url;
	if (strcmp(key, "bundle") == 0)
		return one->bundle;
	if (strcmp(key, "cert") == 0)
		return one->cert;
	if (strcmp(key, "key") == 0)
		return one->key;
	return strcmp(key, "ca") == 0 ? one->ca : NULL;
}

static int remotes_read_key(void *ctx, const char *section, const char *key,
			    const char *value)
{
	struct remotes_reading *r = ctx;

	if (r->err.kind)
		return 1;
	struct remote *one = section_of(r, section);
	char *to = one ? remotes_field(one, key) : NULL;
	if (one && !to)
		err_set(&r->err, ERR_USAGE,
			"expected url, bundle, cert, key or ca, not '%.40s'",
			key);
	else if (to && strlen(value) >= ADDRESS_TEXT_MAX)
		err_set(&r->err, ERR_USAGE, "%s is too long", key);
	else if (to)
		strcpy(to, value);
	return r->err.kind == ERR_NONE;
}

/* inih ends with the first line that is none of ours. */
static bool remotes_parse(struct remotes_reading *r, const char *path,
			  struct err *e)
{
	/* As for pcapd.conf: inih's variables are the program's. */
	ini_allow_multiline = false;
	ini_stop_on_first_error = true;
	ini_use_stack = false;
	ini_initial_alloc = ini_max_line = LINE_MAX_BYTES;
	int bad = ini_parse_stream(remotes_read_line, r, remotes_read_key, r);

	if (r->err.kind) {
		*e = r->err;
		return err_wrap(e, "%s:%u", path, r->line);
	}
	if (r->too_long)
		return err_set(e, ERR_USAGE, "%s:%u: the line is too long",
			       path, r->line);
	if (bad > 0)
		return err_set(e, ERR_USAGE,
			       "%s:%d: expected '[name]' or 'key = value'",
			       path, bad);
	if (bad < 0)
		return err_set(e, ERR_FAILED, "read %s: out of memory", path);
	struct address ignored = {0};
	for (size_t i = 0; i < r->n; i++)
		if (!url_parse(r->all[i].url, &ignored, e))
			return err_wrap(e, "%s: %s", path, r->all[i].name);
	return true;
}

bool remotes_read(const char *path, struct remote **all, size_t *n,
		  struct err *e)
{
	struct remotes_reading r = {.err = ERR_INIT};

	*all = NULL;
	*n = 0;
	r.file = fopen(path, "re");
	if (!r.file)
		return errno == ENOENT || err_errno(e, "read %s", path);
	bool ok = remotes_parse(&r, path, e);
	fclose(r.file);
	if (!ok) {
		free(r.all);
		return false;
	}
	*all = r.all;
	*n = r.n;
	return true;
}

bool remote_find(const char *name, struct remote *r, struct err *e)
{
	char path[ADDRESS_TEXT_MAX];
	struct remote *all;
	bool found = false;
	size_t n;

	if (!remotes_path(path, e) || !remotes_read(path, &all, &n, e))
		return false;
	for (size_t i = 0; i < n && !found; i++) {
		found = strcmp(all[i].name, name) == 0;
		if (found)
			*r = all[i];
	}
	free(all);
	return found || err_set(e, ERR_NOT_FOUND, "unknown remote '%s'", name);
}

/* --- changing --- */

/* The folders above the file. */
static bool make_folders(const char *path, struct err *e)
{
	char folder[ADDRESS_TEXT_MAX];

	snprintf(folder, sizeof(folder), "%s", path);
	for (char *p = strchr(folder + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(folder, 0700) < 0 && errno != EEXIST)
			return err_errno(e, "make %s", folder);
		*p = '/';
	}
	return true;
}

static bool is_section(const char *line, const char *name)
{
	size_t n = strlen(name);

	line += strspn(line, " \t");
	return *line == '[' && strncmp(line + 1, name, n) == 0 &&
	       line[1 + n] == ']';
}

/* Everything but the section of that name, if there is one. */
static void remotes_copy(FILE *from, FILE *to, const char *without)
{
	char line[LINE_MAX_BYTES];
	bool skip = false;

	while (fgets(line, sizeof(line), from)) {
		if (line[strspn(line, " \t")] == '[')
			skip = without && is_section(line, without);
		if (skip)
			continue;
		fputs(line, to);
		if (!strchr(line, '\n'))
			fputc('\n', to);
	}
}

static void write_section(FILE *f, const struct remote *r)
{
	fprintf(f, "[%s]\nurl = %s\n", r->name, r->url);
	if (*r->bundle)
		fprintf(f, "bundle = %s\n", r->bundle);
	if (*r->cert)
		fprintf(f, "cert = %s\n", r->cert);
	if (*r->key)
		fprintf(f, "key = %s\n", r->key);
	if (*r->ca)
		fprintf(f, "ca = %s\n", r->ca);
}

struct remotes_change {
	const char *without; /* a section that goes, NULL: none */
	const struct remote *with;
};

static bool remotes_edit(void *ctx, FILE *from, FILE *to)
{
	const struct remotes_change *c = ctx;

	if (from)
		remotes_copy(from, to, c->without);
	if (c->with)
		write_section(to, c->with);
	return true;
}

static bool remotes_rewrite(const char *path, const char *without,
			    const struct remote *with, struct err *e)
{
	struct remotes_change c = {without, with};

	return make_folders(path, e) &&
	       file_edit(path, 0644, remotes_edit, &c, e);
}

static bool remotes_is_there(const char *path, const char *name, bool *there,
			     struct err *e)
{
	struct remote *all;
	size_t n;

	if (!remotes_read(path, &all, &n, e))
		return false;
	*there = false;
	for (size_t i = 0; i < n; i++)
		*there |= strcmp(all[i].name, name) == 0;
	free(all);
	return true;
}

bool remotes_add(const char *path, const struct remote *r, struct err *e)
{
	bool there;

	if (!remotes_is_there(path, r->name, &there, e))
		return false;
	if (!there)
		return remotes_rewrite(path, NULL, r, e);
	err_set(e, ERR_EXISTS, "the remote '%s' is there already", r->name);
	return err_hint(e, "'pcap remote remove %s' first.", r->name);
}

bool remotes_remove(const char *path, const char *name, struct err *e)
{
	bool there;

	if (!remotes_is_there(path, name, &there, e))
		return false;
	if (there)
		return remotes_rewrite(path, name, NULL, e);
	return err_set(e, ERR_NOT_FOUND, "unknown remote '%s'", name);
}
