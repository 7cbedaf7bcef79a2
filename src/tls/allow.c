/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The allow-list. Guarantees that a line which is gone or cannot be read lets
 * nobody in, that comments and the lines of others survive a change, and that
 * a change is there as a whole or not at all. Leaves out certificates: what is
 * listed here was checked by its CA before anybody looks.
 */
#include "tls/allow.h"

#include "base/file.h"
#include "base/log.h"
#include "base/vec.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 512
#define HEX "0123456789abcdef"
#define NAME_LETTERS                                                           \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-"

struct allow {
	char *path;
	pthread_mutex_t lock; /* guards everything below */
	struct allowed *all;
	size_t n;
	struct stat seen; /* of the file that was read; st_ino 0: none */
};

/* --- words --- */

static const char *const roles[] = {
	[ROLE_NONE] = "none",
	[ROLE_VIEWER] = "viewer",
	[ROLE_OPERATOR] = "operator",
};

const char *role_text(enum role r)
{
	return roles[r];
}

bool role_parse(const char *text, enum role *r)
{
	for (int i = ROLE_VIEWER; i <= ROLE_OPERATOR; i++)
		if (strcmp(roles[i], text) == 0) {
			*r = (enum role)i;
			return true;
		}
	return false;
}

bool person_check(const char *name, struct err *e)
{
	size_t n = strlen(name);

	if (n > 0 && n <= PERSON_MAX && strspn(name, NAME_LETTERS) == n)
		return true;
	return err_set(e, ERR_USAGE,
		       "the name '%.80s': expected 1 to %d of A-Z a-z 0-9 . _ "
		       "@ -",
		       name, PERSON_MAX);
}

/* --- lines --- */

#define UNTIL_FORMAT "%Y-%m-%dT%H:%M:%SZ"
#define UNTIL_TEXT 32

static bool until_parse(const char *text, int64_t *until_s)
{
	struct tm tm = {0};
	const char *end = strptime(text, UNTIL_FORMAT, &tm);

	*until_s = end && !*end ? (int64_t)timegm(&tm) : 0;
	return end && !*end;
}

/* 1 a line, 0 nothing on it, -1 it is wrong. */
static int line_parse(const char *line, struct allowed *to)
{
	char print[80], role[16], name[PERSON_MAX + 2];
	char until[UNTIL_TEXT], rest[2];
	struct err ignored;

	line += strspn(line, " \t\r\n");
	if (!*line || *line == '#')
		return 0;
	int got = sscanf(line, "%79s %15s %65s %31s %1s", print, role, name,
			 until, rest);
	to->until_s = 0;
	if (got < 3 || got > 4 ||
	    (got == 4 && !until_parse(until, &to->until_s)) ||
	    strlen(print) != FINGERPRINT_TEXT - 1 ||
	    strspn(print, HEX) != FINGERPRINT_TEXT - 1 ||
	    !role_parse(role, &to->role) || !person_check(name, &ignored))
		return -1;
	memcpy(to->fingerprint, print, FINGERPRINT_TEXT);
	memcpy(to->name, name, strlen(name) + 1);
	return 1;
}

static bool allow_append(struct allowed **all, size_t *n,
			 const struct allowed *one)
{
	struct allowed *to = vec_push(all, n);

	if (to)
		*to = *one;
	return to;
}

/* wrong: what to do with a line that is; false ends the reading. */
static bool lines_read(FILE *f, const char *path, bool strict,
		       struct allowed **all, size_t *n, struct err *e)
{
	char line[LINE_MAX_BYTES];
	struct allowed one;

	*all = NULL;
	*n = 0;
	for (unsigned at = 1; fgets(line, sizeof(line), f); at++) {
		int got = line_parse(line, &one);

		if (got == 1 && !allow_append(all, n, &one))
			return err_set(e, ERR_FAILED, "out of memory");
		if (got >= 0)
			continue;
		err_set(e, ERR_FAILED,
			"%s:%u: expected a fingerprint, a role, a name and "
			"perhaps until when",
			path, at);
		if (strict)
			return false;
		log_warn("%s; nobody comes in by that line", e->what);
	}
	return !ferror(f) || err_errno(e, "read %s", path);
}

bool allow_read(const char *path, struct allowed **all, size_t *n,
		struct err *e)
{
	FILE *f = fopen(path, "re");

	*all = NULL;
	*n = 0;
	if (!f)
		return errno == ENOENT || err_errno(e, "open %s", path);
	bool ok = lines_read(f, path, true, all, n, e);
	fclose(f);
	if (!ok)
		free(*all);
	return ok;
}

/* --- for who asks --- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev &&
	       a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* With lock held. A list that cannot be read is empty, and read again at the
 * next look: what was short then, as descriptors are, may be there. */
static void allow_load(struct allow *a, const struct stat *st)
{
	struct allowed *all = NULL;
	struct err e = ERR_INIT;
	size_t n = 0;
	FILE *f = st->st_ino ? fopen(a->path, "re") : NULL;
	bool ok = f && lines_read(f, a->path, false, &all, &n, &e);

	if (f)
		fclose(f);
	else if (st->st_ino)
		err_errno(&e, "open %s", a->path);
	if (!ok && st->st_ino) {
		log_warn("nobody may come in over TLS: %s", e.what);
		n = 0;
	}
	free(a->all);
	a->all = all;
	a->n = n;
	a->seen = ok ? *st : (struct stat){0};
}

bool allow_refresh(struct allow *a)
{
	struct stat st;

	if (stat(a->path, &st) < 0)
		memset(&st, 0, sizeof(st));
	pthread_mutex_lock(&a->lock);
	bool changed = !same_file(&st, &a->seen);
	if (changed)
		allow_load(a, &st);
	pthread_mutex_unlock(&a->lock);
	return changed;
}

struct allow *allow_open(const char *path, struct err *e)
{
	struct allow *a = calloc(1, sizeof(*a));

	if (a)
		a->path = strdup(path);
	if (!a || !a->path) {
		free(a);
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&a->lock, NULL);
	allow_refresh(a);
	return a;
}

void allow_close(struct allow *a)
{
	if (!a)
		return;
	pthread_mutex_destroy(&a->lock);
	free(a->all);
	free(a->path);
	free(a);
}

bool allow_find(struct allow *a, const char *fingerprint, struct allowed *found)
{
	bool there = false;

	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < a->n && !there; i++) {
		there = strcmp(a->all[i].fingerprint, fingerprint) == 0;
		if (there)
			*found = a->all[i];
	}
	pthread_mutex_unlock(&a->lock);
	return there;
}

bool allow_names(struct allow *a, const char *name)
{
	bool there = false;

	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < a->n && !there; i++)
		there = strcmp(a->all[i].name, name) == 0;
	pthread_mutex_unlock(&a->lock);
	return there;
}

/* --- changes --- */

/* Two who change the file at once come one after the other. */
static int lock_file(const char *path, struct err *e)
{
	char name[1024];

	snprintf(name, sizeof(name), "%s.lock", path);
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		err_errno(e, "open %s", name);
	else if (flock(fd, LOCK_EX) < 0) {
		err_errno(e, "lock %s", name);
		close(fd);
		fd = -1;
	}
	return fd;
}

struct allow_change {
	const char *path;
	const char *name;	   /* lines of that name or fingerprint go */
	const struct allowed *one; /* comes, and replaces its fingerprint */
	size_t removed;
};

static void copy_lines(FILE *from, FILE *to, struct allow_change *c)
{
	char line[LINE_MAX_BYTES];
	struct allowed old;

	while (fgets(line, sizeof(line), from)) {
		bool is_line = line_parse(line, &old) == 1;

		if (is_line &&
		    ((c->name && (!strcmp(old.name, c->name) ||
				  !strcmp(old.fingerprint, c->name))) ||
		     (c->one &&
		      !strcmp(old.fingerprint, c->one->fingerprint)))) {
			c->removed++;
			continue;
		}
		fputs(line, to);
		if (!strchr(line, '\n'))
			fputc('\n', to);
	}
}

static void line_write(FILE *to, const struct allowed *one)
{
	char until[UNTIL_TEXT];
	time_t t = (time_t)one->until_s;
	struct tm tm;

	fprintf(to, "%s %s %s", one->fingerprint, role_text(one->role),
		one->name);
	if (t && gmtime_r(&t, &tm) &&
	    strftime(until, sizeof(until), UNTIL_FORMAT, &tm))
		fprintf(to, " %s", until);
	fputc('\n', to);
}

static bool change_edit(void *ctx, FILE *from, FILE *to)
{
	struct allow_change *c = ctx;

	if (from)
		copy_lines(from, to, c);
	else
		fputs("# Who may come in: the SHA-256 of a certificate, a "
		      "role (viewer or operator), a\n# name, and until when "
		      "it lasts. Removing a line revokes at once.\n",
		      to);
	if (c->one)
		line_write(to, c->one);
	return c->one || c->removed;
}

/* What pcapd reads must stay readable for it. */
static bool change_run(struct allow_change *c, struct err *e)
{
	int lock = lock_file(c->path, e);

	if (lock < 0)
		return false;
	bool ok = file_edit(c->path, 0644, change_edit, c, e);
	close(lock);
	return ok;
}

bool allow_add(const char *path, const struct allowed *one, struct err *e)
{
	struct allow_change c = {.path = path, .one = one};

	return change_run(&c, e);
}

bool allow_remove(const char *path, const char *name, size_t *removed,
		  struct err *e)
{
	struct allow_change c = {.path = path, .name = name};

	if (!change_run(&c, e))
		return false;
	*removed = c.removed;
	return c.removed ||
	       err_set(e, ERR_NOT_FOUND, "nobody is called '%.80s' in %s", name,
		       path);
}
