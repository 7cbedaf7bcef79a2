/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls: TLS 1.3 with a certificate at both ends, on sockets of our own.
 *
 * What: gRPC core takes a plain descriptor only. So whoever has a TCP
 * connection makes a link of it here, which shakes hands, and then a pump
 * carries bytes between it and one end of a socketpair; gRPC has the other.
 * Threads: a context may be used by any number at once. A link belongs to one
 * thread, but for tls_cut, which any thread may call while the link lives.
 * Ownership: a link closes its socket. Contexts are counted: a link keeps its.
 * Limits: no TLS below 1.3, no session that is resumed: every connection
 * shows its certificate and every handshake looks at it.
 */
#ifndef PCAPD_TLS_TLS_H
#define PCAPD_TLS_TLS_H

#include "base/err.h"

#include <stdint.h>
#include <sys/types.h>

/* OpenSSL's X509 and SSL_CTX; its headers have an ERR_STATE of their own. */
struct x509_st;
struct ssl_ctx_st;

#define TLS_PORT "2020"
#define FINGERPRINT_TEXT 65 /* SHA-256 in lower case hexadecimal */

/* What OpenSSL would load from its folders later, when that may be too late:
 * modules that its settings name. */
void tls_load(void);

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

/* --- links --- */

struct tls_link;

/* A server's last word on a certificate that the CA signed: false refuses it
 * as revoked, with `why` for the log. */
typedef bool (*tls_admit)(void *ctx, const struct tls_cert *cert, char *why,
			  size_t room);

/* Take the socket over, also when they fail. host: the name or the address
 * that the server's certificate must have. */
struct tls_link *tls_link_server(struct ssl_ctx_st *ctx, int fd,
				 tls_admit admit, void *admit_ctx,
				 struct err *e);
struct tls_link *tls_link_client(struct ssl_ctx_st *ctx, int fd,
				 const char *host, struct err *e);
/* A socket without TLS, for tls_pump alone. */
struct tls_link *tls_link_plain(int fd, struct err *e);
void tls_link_free(struct tls_link *l); /* NULL is fine */

/*
 * Shakes hands within so many milliseconds. A client's has ended well only
 * when the server has sent something: in TLS 1.3 it looks at the client's
 * certificate after the client is done. ERR_PERMISSION: a certificate was not
 * taken, and what says whose and why; ERR_UNREACHABLE: anything else.
 */
bool tls_shake_hands(struct tls_link *l, int patience_ms, struct err *e);
/* The other side's. */
void tls_link_cert(const struct tls_link *l, struct tls_cert *cert);

/* A socketpair for a pump: [0] for gRPC, [1] is tls_pump's plain. The caller
 * closes both. */
bool tls_pair(int fds[2], struct err *e);
/* Sees what a pump carries, on its thread. */
struct tls_watch {
	/* What came over the link, before it goes on; no bytes: none came for
	 * wait_ms (-1: for ever). false ends the pump at once. */
	bool (*came)(struct tls_watch *w, const uint8_t *bytes, size_t n);
	/* So many bytes leave over the link. */
	void (*left)(struct tls_watch *w, size_t n);
	int wait_ms; /* came may change it */
};
/* Carries bytes both ways until one side has ended. plain does not block.
 * What was written to it before its end has left. w: NULL is fine. */
void tls_pump(struct tls_link *l, int plain, struct tls_watch *w);
/* Ends a handshake or a pump that is under way. */
void tls_cut(struct tls_link *l);

#endif
