/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link: a TCP connection, with TLS or without.
 *
 * What: gRPC core takes a plain descriptor only. So whoever has a TCP
 * connection makes a link of it here, which shakes hands, and then a pump
 * (pump.h) carries bytes between it and one end of a socketpair; gRPC has the
 * other.
 * Threads: a link belongs to one thread, but for tls_cut, which any thread may
 * call while the link lives.
 * Ownership: a link closes its socket.
 */
#ifndef PCAPD_TLS_LINK_H
#define PCAPD_TLS_LINK_H

#include "tls/context.h"

struct ssl_st; /* OpenSSL's SSL */

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
/* A socket without TLS, for a pump alone. */
struct tls_link *tls_link_plain(int fd, struct err *e);
void tls_link_free(struct tls_link *l); /* NULL is fine */

/*
 * Shakes hands within so many milliseconds. A client's has ended well only
 * when the server has sent something: in TLS 1.3 it looks at the client's
 * certificate after the client is done. ERR_PERMISSION: a certificate was not
 * taken, and what says whose and why; ERR_UNREACHABLE: anything else.
 */
bool tls_shake_hands(struct tls_link *l, int patience_ms, struct err *e);
/* Ends a handshake or a pump that is under way. */
void tls_cut(struct tls_link *l);

/* For the pump: what it carries; NULL: the socket as it is. */
struct ssl_st *tls_link_ssl(const struct tls_link *l);
int tls_link_fd(const struct tls_link *l);

#endif
