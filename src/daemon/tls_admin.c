/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcapd tls ... Guarantees that nothing that is there is written over, and
 * that a certificate which was made is on the allow-list or was removed again.
 * Leaves out the daemon: it looks at the files.
 */
#include "daemon/tls_admin.h"

#include "tls/allow.h"
#include "tls/ca.h"

#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DAY_S INT64_C(86400)
#define DAYS_DEFAULT 365
#define DAYS_MAX 3650
#define STORE_INTERFACE_NAMES_MAX 32
#define PATH_ROOM (CONFIG_PATH_MAX + 16)

struct tls_admin_line {
	const char *role, *days, *out, *cert;
	const char *verb;
	char **words;
	int n;
};

static error_t tls_admin_parse(int key, char *arg, struct argp_state *state)
{
	struct tls_admin_line *line = state->input;

	switch (key) {
	case 'r':
		line->role = arg;
		return 0;
	case 'd':
		line->days = arg;
		return 0;
	case 'o':
		line->out = arg;
		return 0;
	case 'c':
		line->cert = arg;
		return 0;
	case ARGP_KEY_ARGS:
		line->verb = state->argv[state->next];
		line->words = state->argv + state->next + 1;
		line->n = state->argc - state->next - 1;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "say what to do: init, issue, allow, list or "
				  "revoke");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"role", 'r', "ROLE", 0,
	 "What the person may do: viewer (list, status, replay, listen) or "
	 "operator (everything)",
	 0},
	{"days", 'd', "N", 0, "How long the certificate lasts; 365", 0},
	{"out", 'o', "FILE", 0, "Where the bundle goes; NAME.pem", 0},
	{"cert", 'c', "FILE", 0, "The certificate to allow", 0},
	{0}};

static const struct argp argp = {
	options,
	tls_admin_parse,
	"init [NAME|ADDRESS...]\n"
	"issue NAME --role ROLE\n"
	"allow NAME --role ROLE --cert FILE\n"
	"list\n"
	"revoke NAME|FINGERPRINT",
	"Certificates for pcapd's TLS port, and who may come in."
	"\vinit makes a CA and the server's certificate for the names and "
	"addresses by which clients reach it (this machine's name is always "
	"one). issue makes a bundle for a person: key, certificate and CA in "
	"one file. allow lets in a certificate that another CA signed. A "
	"running pcapd needs no signal for any of it.",
	NULL,
	NULL,
	NULL};

struct paths {
	char of[TLS_FILES][PATH_ROOM];
};

/* --- init --- */

static bool tls_admin_name_check(const char *name, struct err *e)
{
	struct in6_addr any;
	size_t n = strlen(name);
	size_t good = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "abcdefghijklmnopqrstuvwxyz"
				   "0123456789.-_*");

	if (inet_pton(AF_INET6, name, &any) == 1 || (n && n < 254 && good == n))
		return true;
	return err_set(e, ERR_USAGE,
		       "expected the name or the address of a machine, not "
		       "'%.80s'",
		       name);
}

static size_t names_collect(const struct tls_admin_line *line, char host[256],
			    const char *names[STORE_INTERFACE_NAMES_MAX])
{
	size_t n = 0;

	if (gethostname(host, 255) == 0 && *host)
		names[n++] = host;
	names[n++] = "localhost";
	names[n++] = "127.0.0.1";
	names[n++] = "::1";
	for (int i = 0; i < line->n && n < STORE_INTERFACE_NAMES_MAX; i++)
		names[n++] = line->words[i];
	return n;
}

/* pcapd reads its key also when it has become another user: the folder's. */
static void give_away(const char *path, const char *folder)
{
	struct stat st;

	if (stat(folder, &st) == 0 && st.st_uid != geteuid() &&
	    chown(path, st.st_uid, st.st_gid) < 0)
		fprintf(stderr, "pcapd: %s stays with this user: %s\n", path,
			strerror(errno));
}

/* With those above it, as /etc/pcapd. */
static bool folder_make(const char *path, struct err *e)
{
	char part[CONFIG_PATH_MAX];

	snprintf(part, sizeof(part), "%s", path);
	for (char *at = strchr(part + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return err_errno(e, "make %s", part);
		*at = '/';
	}
	return mkdir(part, 0755) == 0 || errno == EEXIST ||
	       err_errno(e, "make %s", part);
}

static bool tls_admin_init(const struct config *c,
			   const struct tls_admin_line *line, struct paths *p,
			   struct err *e)
{
	const char *names[STORE_INTERFACE_NAMES_MAX];
	char host[256] = "";
	struct tls_cert made;
	int64_t now = time(NULL);

	for (int i = 0; i < line->n; i++)
		if (!tls_admin_name_check(line->words[i], e))
			return false;
	struct tls_wanted w = {.names = names, .from_s = now - 300};
	w.n_names = names_collect(line, host, names);
	w.name = line->n ? line->words[0] : names[0];
	w.until_s = now + DAYS_MAX * DAY_S;
	if (!folder_make(c->tls_dir, e))
		return false;
	if (access(p->of[TLS_CA], F_OK) == 0)
		printf("%s is there already and is used\n", p->of[TLS_CA]);
	else if (!ca_ca(p->of[TLS_CA], p->of[TLS_CA_KEY], e))
		return false;
	if (!ca_cert(p->of[TLS_CA], p->of[TLS_CA_KEY], &w, p->of[TLS_CERT],
		     p->of[TLS_KEY], &made, e))
		return false;
	give_away(p->of[TLS_KEY], c->tls_dir);
	printf("made %s for", p->of[TLS_CERT]);
	for (size_t i = 0; i < w.n_names; i++)
		printf(" %s", names[i]);
	printf("\nNext: 'listen = " TLS_PORT "' in pcapd.conf, and 'pcapd tls "
	       "issue NAME --role viewer' for each person.\n");
	return true;
}

/* --- who --- */

static bool tls_admin_person(const struct tls_admin_line *line,
			     struct allowed *one, struct err *e)
{
	if (line->n != 1) {
		err_set(e, ERR_USAGE, "%s takes one name", line->verb);
		return err_hint(e, "'pcapd tls --help' has the forms.");
	}
	if (!person_check(line->words[0], e))
		return false;
	if (!line->role || !role_parse(line->role, &one->role))
		return err_set(e, ERR_USAGE,
			       "expected --role viewer or --role operator, got "
			       "%s%s",
			       line->role ? "--role " : "nothing",
			       line->role ? line->role : "");
	strcpy(one->name, line->words[0]);
	return true;
}

static bool days_parse(const char *text, int64_t *days, struct err *e)
{
	char *end;

	*days = DAYS_DEFAULT;
	if (!text)
		return true;
	errno = 0;
	*days = strtoll(text, &end, 10);
	return (*text && !*end && !errno && *days > 0 && *days <= DAYS_MAX) ||
	       err_set(e, ERR_USAGE, "--days: expected 1 to %d, not '%s'",
		       DAYS_MAX, text);
}

static bool tls_admin_issue(const struct tls_admin_line *line, struct paths *p,
			    struct err *e)
{
	struct allowed one;
	struct tls_cert made;
	char out[PERSON_MAX + 8], time_room[TLS_TIME_TEXT];
	int64_t days, now = time(NULL);

	if (!tls_admin_person(line, &one, e) ||
	    !days_parse(line->days, &days, e))
		return false;
	snprintf(out, sizeof(out), "%s.pem", one.name);
	const char *path = line->out ? line->out : out;
	struct tls_wanted w = {.name = one.name,
			       .from_s = now - 300,
			       .until_s = now + days * DAY_S};
	if (!ca_cert(p->of[TLS_CA], p->of[TLS_CA_KEY], &w, path, NULL, &made,
		     e))
		return false;
	memcpy(one.fingerprint, made.fingerprint, sizeof(one.fingerprint));
	one.until_s = made.until_s;
	if (!allow_add(p->of[TLS_ALLOW], &one, e)) {
		unlink(path);
		return false;
	}
	printf("made %s for %s (%s), until %s\n", path, one.name,
	       role_text(one.role), tls_time_text(made.until_s, time_room));
	printf("It has the key: give it to nobody else. There: 'pcap remote "
	       "add NAME tls://HOST --bundle %s'\n",
	       path);
	return true;
}

static bool tls_admin_allow(const struct tls_admin_line *line, struct paths *p,
			    struct err *e)
{
	struct allowed one;
	struct tls_cert cert;

	if (!tls_admin_person(line, &one, e))
		return false;
	if (!line->cert)
		return err_set(e, ERR_USAGE,
			       "say which certificate, with --cert");
	if (!tls_cert_file(&cert, line->cert, e))
		return false;
	memcpy(one.fingerprint, cert.fingerprint, sizeof(one.fingerprint));
	one.until_s = cert.until_s;
	if (!allow_add(p->of[TLS_ALLOW], &one, e))
		return false;
	printf("%s (%s) may come in with the certificate %s\n", one.name,
	       role_text(one.role), one.fingerprint);
	return true;
}

static bool tls_admin_list(struct paths *p, struct err *e)
{
	struct allowed *all;
	size_t n;

	if (!allow_read(p->of[TLS_ALLOW], &all, &n, e))
		return false;
	printf("%-16s %-8s %-23s %s\n", "NAME", "ROLE", "UNTIL", "CERTIFICATE");
	for (size_t i = 0; i < n; i++) {
		char until[TLS_TIME_TEXT] = "-";
		bool expired = all[i].until_s && all[i].until_s < time(NULL);

		if (all[i].until_s)
			tls_time_text(all[i].until_s, until);
		printf("%-16s %-8s %-23s %s%s\n", all[i].name,
		       role_text(all[i].role), until, all[i].fingerprint,
		       expired ? " expired" : "");
	}
	free(all);
	return true;
}

static bool revoke_one(const struct tls_admin_line *line, struct paths *p,
		       struct err *e)
{
	size_t n = 0;

	if (line->n != 1)
		return err_set(e, ERR_USAGE, "revoke takes one name");
	if (!allow_remove(p->of[TLS_ALLOW], line->words[0], &n, e))
		return err_hint(e, "'pcapd tls list' has who may come in.");
	printf("revoked %zu certificate%s of %s\n", n, n == 1 ? "" : "s",
	       line->words[0]);
	return true;
}

bool tls_admin(const struct config *c, int argc, char **argv, struct err *e)
{
	static char self[] = "pcapd tls";
	struct tls_admin_line line = {0};
	struct paths p;

	argv[0] = self; /* for argp's messages */
	argp_parse(&argp, argc, argv, 0, NULL, &line);
	for (int i = 0; i < TLS_FILES; i++)
		config_tls_path(c, (enum tls_file)i, p.of[i]);
	if (strcmp(line.verb, "init") == 0)
		return tls_admin_init(c, &line, &p, e);
	if (strcmp(line.verb, "issue") == 0)
		return tls_admin_issue(&line, &p, e);
	if (strcmp(line.verb, "allow") == 0)
		return tls_admin_allow(&line, &p, e);
	if (strcmp(line.verb, "list") == 0)
		return tls_admin_list(&p, e);
	if (strcmp(line.verb, "revoke") == 0)
		return revoke_one(&line, &p, e);
	err_set(e, ERR_USAGE, "there is no 'pcapd tls %s'", line.verb);
	return err_hint(e, "'pcapd tls --help' has the forms.");
}
