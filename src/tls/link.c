/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection, its handshake, and what the failures of one mean in words.
 * Guarantees that a certificate is judged at every connection.
 */
#include "tls/link.h"

#include "base/clock.h"

#define ERR_STATE openssl_err_state /* the name is taken */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Records of 16 KiB leave so many together: a system call each, and on the way
 * a packet each, cost as much as their encryption. */
#define WRITE_BYTES (128 << 10)

struct tls_link {
	SSL *ssl; /* NULL: the socket as it is */
	int fd;
	bool server;
	tls_admit admit;
	void *admit_ctx;
	char host[256];
	char refused[512]; /* what admit or the checks said */
};

/* --- certificates --- */

/* With the library's own verdict as preverified; the last step is ours. */
static int tls_judge(int preverified, X509_STORE_CTX *store)
{
	int index = SSL_get_ex_data_X509_STORE_CTX_idx();
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, index);
	struct tls_link *l = SSL_get_app_data(ssl);
	int error = X509_STORE_CTX_get_error(store);
	X509 *at = X509_STORE_CTX_get_current_cert(store);
	char time[TLS_TIME_TEXT];
	struct tls_cert cert = {.name = "?"};

	if (at)
		tls_cert_read(&cert, at);
	if (preverified) {
		if (X509_STORE_CTX_get_error_depth(store) > 0 || !l->admit ||
		    l->admit(l->admit_ctx, &cert, l->refused,
			     sizeof(l->refused)))
			return 1;
		X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REVOKED);
		return 0;
	}
	if (error == X509_V_ERR_CERT_HAS_EXPIRED)
		snprintf(l->refused, sizeof(l->refused),
			 "the certificate of %s expired on %s", cert.name,
			 tls_time_text(cert.until_s, time));
	else if (error == X509_V_ERR_CERT_NOT_YET_VALID)
		snprintf(l->refused, sizeof(l->refused),
			 "the certificate of %s is not valid before %s",
			 cert.name, tls_time_text(cert.from_s, time));
	else if (error == X509_V_ERR_HOSTNAME_MISMATCH ||
		 error == X509_V_ERR_IP_ADDRESS_MISMATCH)
		snprintf(l->refused, sizeof(l->refused),
			 "the certificate of %s is not for %s", cert.name,
			 l->host);
	else
		snprintf(l->refused, sizeof(l->refused),
			 "the certificate of %s was not signed by the CA that "
			 "is trusted here: %s",
			 cert.name, X509_verify_cert_error_string(error));
	return 0;
}

/* --- links --- */

/* Takes its own from the socket; what it writes waits for a flush. */
static bool set_socket(SSL *ssl, int fd)
{
	BIO *socket = BIO_new_socket(fd, BIO_NOCLOSE);
	BIO *buffer = BIO_new(BIO_f_buffer());

	if (!socket || !buffer ||
	    BIO_set_write_buffer_size(buffer, WRITE_BYTES) != 1) {
		BIO_free(socket);
		BIO_free(buffer);
		return false;
	}
	BIO_up_ref(socket);
	SSL_set0_rbio(ssl, socket);
	SSL_set0_wbio(ssl, BIO_push(buffer, socket));
	return true;
}

static struct tls_link *link_new(SSL_CTX *ctx, int fd, struct err *e)
{
	struct tls_link *l = calloc(1, sizeof(*l));

	if (l)
		l->ssl = SSL_new(ctx);
	if (!l || !l->ssl || !set_socket(l->ssl, fd)) {
		err_set(e, ERR_FAILED, "out of memory");
		if (l)
			SSL_free(l->ssl);
		free(l);
		close(fd);
		return NULL;
	}
	l->fd = fd;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	SSL_set_app_data(l->ssl, l);
	return l;
}

struct tls_link *tls_link_server(SSL_CTX *ctx, int fd, tls_admit admit,
				 void *admit_ctx, struct err *e)
{
	struct tls_link *l = link_new(ctx, fd, e);

	if (!l)
		return NULL;
	l->server = true;
	l->admit = admit;
	l->admit_ctx = admit_ctx;
	SSL_set_verify(l->ssl,
		       SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
		       tls_judge);
	SSL_set_accept_state(l->ssl);
	return l;
}

struct tls_link *tls_link_client(SSL_CTX *ctx, int fd, const char *host,
				 struct err *e)
{
	struct tls_link *l = link_new(ctx, fd, e);
	unsigned char address[16];

	if (!l)
		return NULL;
	snprintf(l->host, sizeof(l->host), "%s", host);
	/* The zone of fe80::1%eth0 is ours, no part of a certificate. */
	l->host[strcspn(l->host, "%")] = '\0';
	X509_VERIFY_PARAM *p = SSL_get0_param(l->ssl);
	ASN1_OCTET_STRING *ip = a2i_IPADDRESS(l->host);
	if (ip) {
		size_t n = (size_t)ASN1_STRING_length(ip);
		memcpy(address, ASN1_STRING_get0_data(ip), n);
		X509_VERIFY_PARAM_set1_ip(p, address, n);
		ASN1_OCTET_STRING_free(ip);
	} else {
		X509_VERIFY_PARAM_set1_host(p, host, 0);
		SSL_set_tlsext_host_name(l->ssl, host);
	}
	ERR_clear_error();
	SSL_set_verify(l->ssl, SSL_VERIFY_PEER, tls_judge);
	SSL_set_connect_state(l->ssl);
	return l;
}

struct tls_link *tls_link_plain(int fd, struct err *e)
{
	struct tls_link *l = calloc(1, sizeof(*l));

	if (!l) {
		err_set(e, ERR_FAILED, "out of memory");
		close(fd);
		return NULL;
	}
	l->fd = fd;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return l;
}

void tls_link_free(struct tls_link *l)
{
	if (!l)
		return;
	SSL_free(l->ssl);
	close(l->fd);
	free(l);
}

SSL *tls_link_ssl(const struct tls_link *l)
{
	return l->ssl;
}

int tls_link_fd(const struct tls_link *l)
{
	return l->fd;
}

void tls_cut(struct tls_link *l)
{
	shutdown(l->fd, SHUT_RDWR);
}

/* --- handshakes --- */

/* What an alert of the server means for who shows a certificate. */
static bool alert_text(int reason, struct err *e)
{
	static const struct {
		int reason;
		const char *what, *hint;
	} all[] = {
		{SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
		 "the server wants a certificate, and none was shown",
		 "Add the remote again with --bundle, or with --cert and "
		 "--key."},
		{SSL_R_TLSV1_ALERT_UNKNOWN_CA,
		 "the server does not know the CA that signed your certificate",
		 "'pcapd tls issue' on the server makes one that it knows."},
		{SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
		 "the server says that your certificate has expired",
		 "'pcapd tls issue' on the server makes a new one."},
		{SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED,
		 "the server does not let your certificate in: it was revoked, "
		 "or never allowed",
		 "An operator of the server uses 'pcapd tls issue' or 'pcapd "
		 "tls allow'."},
		{SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,
		 "the server does not take your certificate; its log says why",
		 "Is it valid already, by the server's clock?"},
		{SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE,
		 "the server does not take your certificate: it is not one for "
		 "clients",
		 "'pcapd tls issue' on the server makes one."},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i].reason == reason) {
			err_set(e, ERR_PERMISSION, "%s", all[i].what);
			return err_hint(e, "%s", all[i].hint);
		}
	return true;
}

static bool tls_explain(struct tls_link *l, int error, int no, struct err *e)
{
	unsigned long code = ERR_peek_error();
	int reason = ERR_GET_REASON(code);

	if (l->refused[0]) {
		ERR_clear_error();
		err_set(e, ERR_PERMISSION, "%s", l->refused);
		if (!l->server)
			err_hint(e, "Is it the right server? Its CA, name and "
				    "dates are checked.");
		return false;
	}
	if (!l->server && !alert_text(reason, e)) {
		ERR_clear_error();
		return false;
	}
	if (code && ERR_GET_LIB(code) == ERR_LIB_SSL)
		err_set(e, ERR_UNREACHABLE, "TLS: %s", tls_cause());
	else if (error == SSL_ERROR_SYSCALL && no)
		err_set(e, ERR_UNREACHABLE, "TLS: %s", strerror(no));
	else
		err_set(e, ERR_UNREACHABLE,
			"TLS: the other side closed the connection");
	ERR_clear_error();
	if (!l->server)
		err_hint(e, "Does pcapd listen for TLS there?");
	return false;
}

/* Waits for what SSL wants. 0: in vain. */
static int tls_wait_for(struct tls_link *l, int error, int64_t until_ns)
{
	struct pollfd p = {.fd = l->fd};
	int64_t left = until_ns - monotonic_ns();

	p.events = error == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN;
	if (left <= 0)
		return 0;
	int n = poll(&p, 1, (int)(left / NS_PER_MS) + 1);
	return n < 0 && errno == EINTR ? 1 : n;
}

/* One step at a time, until it is done or time is up. */
static bool step_until(struct tls_link *l, int (*step)(SSL *ssl),
		       int64_t until_ns, struct err *e)
{
	for (;;) {
		ERR_clear_error();
		errno = 0;
		int done = step(l->ssl);
		int no = errno;
		int error = SSL_get_error(l->ssl, done);
		if (done == 1)
			return true;
		if (error != SSL_ERROR_WANT_READ &&
		    error != SSL_ERROR_WANT_WRITE)
			return tls_explain(l, error, no, e);
		if (tls_wait_for(l, error, until_ns) == 0)
			return err_set(e, ERR_UNREACHABLE,
				       "TLS: the handshake took too long");
	}
}

static int tls_peek(SSL *ssl)
{
	char first;

	return SSL_peek(ssl, &first, 1);
}

bool tls_shake_hands(struct tls_link *l, int patience_ms, struct err *e)
{
	int64_t until_ns = monotonic_ns() + patience_ms * NS_PER_MS;

	return step_until(l, SSL_do_handshake, until_ns, e) &&
	       (l->server || step_until(l, tls_peek, until_ns, e));
}
