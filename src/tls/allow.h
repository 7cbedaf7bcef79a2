/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * allow: who may come in over TLS, by certificate, and as what.
 *
 * What: a file with a line a certificate, "FINGERPRINT ROLE NAME [UNTIL]",
 * which is read again whenever it has changed. Removing a line revokes. A file
 * that is missing lets nobody in, a line that is wrong lets in nobody either.
 * Threads: any.
 * Ownership: names are copied out.
 */
#ifndef PCAPD_TLS_ALLOW_H
#define PCAPD_TLS_ALLOW_H

#include "base/err.h"
#include "tls/context.h"

/* What somebody may do; more includes less. */
enum role { ROLE_NONE, ROLE_VIEWER, ROLE_OPERATOR };
const char *role_text(enum role r); /* "viewer" */
bool role_parse(const char *text, enum role *r);

#define PERSON_MAX 64
/* A person's name: 1 to PERSON_MAX of A-Z a-z 0-9 . _ @ - */
bool person_check(const char *name, struct err *e);

struct allowed {
	char fingerprint[FINGERPRINT_TEXT];
	enum role role;
	char name[PERSON_MAX + 1];
	int64_t until_s; /* for people: the certificate itself decides; 0: the
			    line does not say */
};

struct allow;

struct allow *allow_open(const char *path, struct err *e);
void allow_close(struct allow *a); /* NULL is fine */
/* Reads the file again if it has changed; true: it had. */
bool allow_refresh(struct allow *a);
bool allow_find(struct allow *a, const char *fingerprint,
		struct allowed *found);

/* Whether a line has that name. */
bool allow_names(struct allow *a, const char *name);

/* --- for who changes the file --- */

/* An array to free(). A file that is missing has no lines; one that has a wrong
 * line is an error that names it. */
bool allow_read(const char *path, struct allowed **all, size_t *n,
		struct err *e);
/* Adds a line; one of the same fingerprint is replaced. */
bool allow_add(const char *path, const struct allowed *one, struct err *e);
/* Removes every line of that name, or of that fingerprint. ERR_NOT_FOUND. */
bool allow_remove(const char *path, const char *name, size_t *removed,
		  struct err *e);

#endif
