/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ca: a CA of one's own, and what it signs.
 *
 * What: P-256 keys and certificates as PEM files, by OpenSSL. What has a key is
 * made with mode 0600, and nothing that is there is written over.
 * Threads: any. Ownership: files only.
 */
#ifndef PCAPD_TLS_CA_H
#define PCAPD_TLS_CA_H

#include "tls/context.h"

/* A CA that lasts ten years. */
bool ca_ca(const char *cert, const char *key, struct err *e);

struct tls_wanted {
	const char *name;	  /* the subject's common name */
	const char *const *names; /* of a server: names and addresses */
	size_t n_names;		  /* 0: it is a client's */
	int64_t from_s, until_s;
};
/* Signed by the CA, into cert and key; NULL for key: all into cert, with the
 * CA's certificate behind, a bundle. *made is what was made. */
bool ca_cert(const char *ca_cert, const char *ca_key,
	     const struct tls_wanted *w, const char *cert, const char *key,
	     struct tls_cert *made, struct err *e);

#endif
