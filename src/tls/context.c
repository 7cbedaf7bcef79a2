/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Certificates, keys and the contexts made of them. Guarantees that nothing
 * below TLS 1.3 is spoken and that a key which others can read is not used.
 * Leaves out making certificates (ca.c), judging them (link.c) and who may do
 * what (allow.h).
 */
#include "tls/context.h"

#define ERR_STATE openssl_err_state /* the name is taken */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#undef ERR_STATE

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* AES-128-GCM first: the fastest of the three where AES is in hardware. */
#define SUITES                                                                 \
	"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"                       \
	"TLS_CHACHA20_POLY1305_SHA256"
#define READ_AHEAD_BYTES (128 << 10)

void tls_load(void)
{
	OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG, NULL);
}

/* --- words --- */

const char *tls_cause(void)
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

SSL_CTX *tls_server_new(const struct tls_files *f, struct err *e)
{
	SSL_CTX *ctx = context_new(TLS_server_method(), f, e);

	if (!ctx)
		return NULL;
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
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
	SSL_CTX_set_alpn_protos(ctx, h2, 3);
	if (own)
		tls_cert_read(own, SSL_CTX_get0_certificate(ctx));
	return ctx;
}

void tls_context_free(SSL_CTX *ctx)
{
	SSL_CTX_free(ctx);
}
