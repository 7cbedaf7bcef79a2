/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Contexts, handshakes and what their failures mean in words. Guarantees that
 * nothing below TLS 1.3 is spoken, that a key which others can read is not
 * used, and that a certificate is judged at every connection. Leaves out
 * making certificates (ca.c) and who may do what (allow.h).
 */
#include "tls/tls.h"

#include "base/clock.h"

#define ERR_STATE openssl_err_state /* the name is taken */
#include <openssl/err.h>
#include <openssl/pem.h>
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* AES-128-GCM first: the fastest of the three where AES is in hardware. */
#define SUITES                                                                 \
	"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"                       \
	"TLS_CHACHA20_POLY1305_SHA256"
#define READ_AHEAD_BYTES (128 << 10)
#define PUMP_BYTES (128u << 10)
#define PAIR_BYTES (1 << 20)
/* Records of 16 KiB leave so many together: a system call each, and on the way
 * a packet each, cost as much as their encryption. */
#define WRITE_BYTES (128 << 10)
/* How long a slow machine may take what was written before the end. */
#define LINGER_MS 5000

struct tls_link {
	SSL *ssl; /* NULL: the socket as it is */
	int fd;
	bool server;
	tls_admit admit;
	void *admit_ctx;
	char host[256];
	char refused[512]; /* what admit or the checks said */
};

void tls_load(void)
{
	OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG, NULL);
}

/* --- words --- */

/* The first cause in OpenSSL's queue, which is emptied. */
static const char *tls_cause(void)
{
	unsigned long code = ERR_get_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return text ? text : "unknown error";
}

const char *tls_time_text(int64_t s, char out[TLS_TIME_TEXT])
{
	time_t t = (time_t)s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) ||
	    !strftime(out, TLS_TIME_TEXT, "%Y-%m-%d %H:%M:%S UTC", &tm))
		snprintf(out, TLS_TIME_TEXT, "@%lld", (long long)s);
	return out;
}

/* Names in certificates are the other side's: they go to logs and
 * terminals. */
static void tls_clean(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || (unsigned char)*s > '~')
			*s = '?';
}

static int64_t tls_seconds(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

void tls_cert_read(struct tls_cert *to, X509 *cert)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	memset(to, 0, sizeof(*to));
	if (X509_digest(cert, EVP_sha256(), digest, &n) == 1)
		for (unsigned i = 0; i < n && 2 * i + 2 < FINGERPRINT_TEXT; i++)
			snprintf(to->fingerprint + 2 * i, 3, "%02x", digest[i]);
	if (X509_NAME_get_text_by_NID(X509_get_subject_name(cert),
				      NID_commonName, to->name,
				      sizeof(to->name)) < 0)
		strcpy(to->name, "somebody without a name");
	tls_clean(to->name);
	to->from_s = tls_seconds(X509_get0_notBefore(cert));
	to->until_s = tls_seconds(X509_get0_notAfter(cert));
}

bool tls_cert_file(struct tls_cert *to, const char *path, struct err *e)
{
	FILE *f = fopen(path, "re");

	if (!f)
		return err_errno(e, "open %s", path);
	X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	if (!cert)
		return err_set(e, ERR_FAILED, "%s has no certificate: %s", path,
			       tls_cause());
	tls_cert_read(to, cert);
	X509_free(cert);
	return true;
}

bool tls_key_is_private(const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_errno(e, "open %s", path);
	if (!(st.st_mode & 077))
		return true;
	err_set(e, ERR_PERMISSION,
		"%s has a private key that others may read (mode %03o)", path,
		st.st_mode & 0777);
	return err_hint(e, "chmod 600 %.300s", path);
}

/* --- contexts --- */

static int choose_h2(SSL *ssl, const unsigned char **out, unsigned char *n,
		     const unsigned char *in, unsigned n_in, void *arg)
{
	static const unsigned char h2[] = "\x02h2";
	unsigned char *found;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&found, n, h2, 3, in, n_in) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = found;
	return SSL_TLSEXT_ERR_OK;
}

static bool load_files(SSL_CTX *ctx, const struct tls_files *f, struct err *e)
{
	if (!tls_key_is_private(f->key, e))
		return false;
	if (SSL_CTX_use_certificate_chain_file(ctx, f->cert) != 1)
		return err_set(e, ERR_FAILED, "load the certificate %s: %s",
			       f->cert, tls_cause());
	if (SSL_CTX_use_PrivateKey_file(ctx, f->key, SSL_FILETYPE_PEM) != 1)
		return err_set(e, ERR_FAILED, "load the key %s: %s", f->key,
			       tls_cause());
	if (SSL_CTX_check_private_key(ctx) != 1)
		return err_set(e, ERR_FAILED,
			       "the key %s does not belong to the certificate "
			       "%s",
			       f->key, f->cert);
	if (SSL_CTX_load_verify_file(ctx, f->ca) != 1)
		return err_set(e, ERR_FAILED, "load the CA %s: %s", f->ca,
			       tls_cause());
	return true;
}

static SSL_CTX *context_new(const SSL_METHOD *method, const struct tls_files *f,
			    struct err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx) {
		err_set(e, ERR_FAILED, "make a TLS context: %s", tls_cause());
		return NULL;
	}
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_ciphersuites(ctx, SUITES);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, READ_AHEAD_BYTES);
	if (load_files(ctx, f, e))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

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

SSL_CTX *tls_server_new(const struct tls_files *f, struct err *e)
{
	SSL_CTX *ctx = context_new(TLS_server_method(), f, e);

	if (!ctx)
		return NULL;
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_verify(ctx,
			   SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			   tls_judge);
	SSL_CTX_set_alpn_select_cb(ctx, choose_h2, NULL);
	STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(f->ca);
	if (names)
		SSL_CTX_set_client_CA_list(ctx, names);
	ERR_clear_error();
	return ctx;
}

SSL_CTX *tls_client_new(const struct tls_files *f, struct tls_cert *own,
			struct err *e)
{
	static const unsigned char h2[] = "\x02h2";
	SSL_CTX *ctx = context_new(TLS_client_method(), f, e);

	if (!ctx)
		return NULL;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, tls_judge);
	SSL_CTX_set_alpn_protos(ctx, h2, 3);
	if (own)
		tls_cert_read(own, SSL_CTX_get0_certificate(ctx));
	return ctx;
}

void tls_context_free(SSL_CTX *ctx)
{
	SSL_CTX_free(ctx);
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

void tls_cut(struct tls_link *l)
{
	shutdown(l->fd, SHUT_RDWR);
}

void tls_link_cert(const struct tls_link *l, struct tls_cert *cert)
{
	X509 *x = SSL_get0_peer_certificate(l->ssl);

	assert(x);
	tls_cert_read(cert, x);
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

/* --- the pump --- */

/* Bytes on their way from one side to the other. */
struct tls_lane {
	uint8_t *bytes;
	size_t from, to;
	bool ended; /* no more will come */
};

struct tls_pump {
	struct tls_link *link;
	struct tls_watch *watch;
	int plain;
	struct tls_lane in, out; /* from and to the other side of the link */
	short link_wants;	 /* by poll, before anything more can be done */
	bool unflushed;
	bool broken;
};

static bool lane_empty(const struct tls_lane *l)
{
	return l->from == l->to;
}

/* Both directions may wait for the same thing. */
static bool ssl_waits(struct tls_pump *p, int done)
{
	switch (SSL_get_error(p->link->ssl, done)) {
	case SSL_ERROR_WANT_READ:
		p->link_wants |= POLLIN;
		return true;
	case SSL_ERROR_WANT_WRITE:
		p->link_wants |= POLLOUT;
		return true;
	}
	return false;
}

/* These say whether anything moved. */

static bool socket_to_lane(struct tls_pump *p)
{
	struct tls_lane *l = &p->in;
	ssize_t n = recv(p->link->fd, l->bytes, PUMP_BYTES, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		p->link_wants |= POLLIN;
		return false;
	}
	l->to = n > 0 ? (size_t)n : 0;
	l->ended = n <= 0;
	return true;
}

static bool tls_to_lane(struct tls_pump *p)
{
	struct tls_lane *l = &p->in;
	bool moved = false;
	size_t n;

	while (l->to < PUMP_BYTES) {
		ERR_clear_error();
		int done = SSL_read_ex(p->link->ssl, l->bytes + l->to,
				       PUMP_BYTES - l->to, &n);
		if (done != 1) {
			l->ended = !ssl_waits(p, done);
			return moved || l->ended;
		}
		l->to += n;
		moved = true;
	}
	return moved;
}

static bool link_to_lane(struct tls_pump *p)
{
	struct tls_lane *l = &p->in;

	if (l->ended || !lane_empty(l))
		return false;
	l->from = l->to = 0;
	bool moved = p->link->ssl ? tls_to_lane(p) : socket_to_lane(p);
	if (!lane_empty(l) && p->watch &&
	    !p->watch->came(p->watch, l->bytes, l->to))
		p->broken = true;
	return moved;
}

static bool lane_to_plain(struct tls_pump *p)
{
	struct tls_lane *l = &p->in;

	if (lane_empty(l) || p->broken)
		return false;
	ssize_t n = send(p->plain, l->bytes + l->from, l->to - l->from,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		l->from += (size_t)n;
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		p->broken = true;
	return n > 0;
}

static bool plain_to_lane(struct tls_pump *p)
{
	struct tls_lane *l = &p->out;

	if (l->ended || !lane_empty(l))
		return false;
	ssize_t n = recv(p->plain, l->bytes, PUMP_BYTES, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	l->from = 0;
	l->to = n > 0 ? (size_t)n : 0;
	l->ended = n <= 0;
	if (n > 0 && p->watch)
		p->watch->left(p->watch, (size_t)n);
	return true;
}

static bool tls_flush(struct tls_pump *p)
{
	BIO *out = SSL_get_wbio(p->link->ssl);

	if (BIO_flush(out) == 1)
		p->unflushed = false;
	else if (BIO_should_retry(out))
		p->link_wants |= POLLOUT;
	else
		p->broken = true;
	return !p->unflushed;
}

static bool lane_to_socket(struct tls_pump *p)
{
	struct tls_lane *l = &p->out;

	if (lane_empty(l))
		return false;
	ssize_t n = send(p->link->fd, l->bytes + l->from, l->to - l->from,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		l->from += (size_t)n;
	else if (n < 0 && errno == EAGAIN)
		p->link_wants |= POLLOUT;
	else if (n < 0 && errno != EINTR)
		p->broken = true;
	return n > 0;
}

static bool lane_to_tls(struct tls_pump *p)
{
	struct tls_lane *l = &p->out;
	bool moved = false;
	size_t n;

	while (!lane_empty(l)) {
		ERR_clear_error();
		int done = SSL_write_ex(p->link->ssl, l->bytes + l->from,
					l->to - l->from, &n);
		if (done != 1) {
			p->broken = p->broken || !ssl_waits(p, done);
			return moved;
		}
		l->from += n;
		p->unflushed = true;
		moved = true;
	}
	return (p->unflushed && tls_flush(p)) || moved;
}

/* Nothing moves: until something can. A side of which nothing is wanted is
 * not looked at, as one that hung up would never let poll wait. */
static void pump_wait(struct tls_pump *p)
{
	struct pollfd fds[] = {{.fd = p->link->fd, .events = p->link_wants},
			       {.fd = p->plain}};

	if (!lane_empty(&p->in))
		fds[1].events |= POLLOUT;
	if (lane_empty(&p->out) && !p->out.ended)
		fds[1].events |= POLLIN;
	for (int i = 0; i < 2; i++)
		if (!fds[i].events)
			fds[i].fd = -1;
	int wait_ms = p->watch ? p->watch->wait_ms : -1;
	int n = poll(fds, 2, p->out.ended ? LINGER_MS : wait_ms);
	if (n == 0 && !p->out.ended)
		p->broken = !p->watch->came(p->watch, NULL, 0);
	else if (n == 0 || (n < 0 && errno != EINTR))
		p->broken = true;
}

static bool pump_goes_on(const struct tls_pump *p)
{
	if (p->broken)
		return false;
	if (p->out.ended && lane_empty(&p->out) && !p->unflushed)
		return false;
	return !p->in.ended || !lane_empty(&p->in);
}

bool tls_pair(int fds[2], struct err *e)
{
	int bytes = PAIR_BYTES;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       fds) < 0)
		return err_errno(e, "make a pair of sockets");
	for (int i = 0; i < 2; i++)
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &bytes,
			   sizeof(bytes));
	return true;
}

static void end_link(struct tls_link *l, bool broken)
{
	if (!l->ssl)
		shutdown(l->fd, SHUT_RDWR);
	else if (!broken && SSL_shutdown(l->ssl) >= 0)
		BIO_flush(SSL_get_wbio(l->ssl));
	ERR_clear_error();
}

void tls_pump(struct tls_link *l, int plain, struct tls_watch *w)
{
	struct tls_pump p = {.link = l, .plain = plain, .watch = w};

	p.in.bytes = malloc(PUMP_BYTES);
	p.out.bytes = malloc(PUMP_BYTES);
	while (p.in.bytes && p.out.bytes && pump_goes_on(&p)) {
		p.link_wants = 0;
		bool moved = link_to_lane(&p);
		moved |= lane_to_plain(&p);
		moved |= plain_to_lane(&p);
		moved |= l->ssl ? lane_to_tls(&p) : lane_to_socket(&p);
		if (!moved && !p.broken)
			pump_wait(&p);
	}
	end_link(l, p.broken);
	free(p.in.bytes);
	free(p.out.bytes);
}
