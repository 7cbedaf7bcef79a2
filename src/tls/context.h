/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * context: TLS 1.3 with a certificate at both ends.
 *
 * What: certificates and keys in files, and OpenSSL's contexts of them.
 * Threads: a context may be used by any number at once.
 * Ownership: contexts are counted: a link keeps its.
 * Limits: no TLS below 1.3, no session that is resumed: every connection
 * shows its certificate and every handshake looks at it.
 */
#ifndef PCAPD_TLS_CONTEXT_H
#define PCAPD_TLS_CONTEXT_H

#include "base/err.h"

#include <stdint.h>

/* OpenSSL's X509 and SSL_CTX; its headers have an ERR_STATE of their own. */
struct x509_st;
struct ssl_ctx_st;

#define TLS_PORT "2020"
#define FINGERPRINT_TEXT 65 /* SHA-256 in lower case hexadecimal */

/* What OpenSSL would load from its folders later, when that may be too late:
 * modules that its settings name. */
void tls_load(void);

/* The first cause in OpenSSL's queue, which is emptied. For this folder. */
const char *tls_cause(void);

/* --- files --- */

/* PEM; all three may be one file, a bundle. */
struct tls_files {
	const char *cert, *key, *ca;
};

/* What is to be known of a certificate. */
struct tls_cert {
	char fingerprint[FINGERPRINT_TEXT];
	char name[128]; /* its subject's common name */
	int64_t from_s, until_s;
};
void tls_cert_read(struct tls_cert *to, struct x509_st *cert);
/* The first certificate of a file. */
bool tls_cert_file(struct tls_cert *to, const char *path, struct err *e);
#define TLS_TIME_TEXT 40
/* 2026-11-23 10:00:00 UTC */
const char *tls_time_text(int64_t s, char out[TLS_TIME_TEXT]);

/* ERR_PERMISSION: others may read the key; the hint has the chmod. */
bool tls_key_is_private(const char *path, struct err *e);

/* --- contexts --- */

struct ssl_ctx_st *tls_server_new(const struct tls_files *f, struct err *e);
/* own: the certificate that is shown; NULL is fine. */
struct ssl_ctx_st *tls_client_new(const struct tls_files *f,
				  struct tls_cert *own, struct err *e);
void tls_context_free(struct ssl_ctx_st *ctx); /* NULL is fine */

#endif
