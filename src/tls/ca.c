/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making certificates. Guarantees that no file is written over, that a key is
 * never in a file that others may read, and that a client's certificate is
 * none for servers and the other way round. Leaves out requests, chains of
 * more than one CA, and revocation lists: the allow-list revokes.
 */
#include "tls/ca.h"

#define ERR_STATE openssl_err_state /* the name is taken */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DAY_S 86400
#define CA_DAYS 3650
/* Clocks of other machines may be behind. */
#define EARLIER_S 300

static bool ca_fail(struct err *e, const char *doing)
{
	unsigned long code = ERR_get_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return err_set(e, ERR_FAILED, "%s: %s", doing, text ? text : "failed");
}

/* --- files --- */

static FILE *make_file(const char *path, mode_t mode, struct err *e)
{
	int fd =
		open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		     mode);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	if (f)
		return f;
	if (errno == EEXIST) {
		err_set(e, ERR_EXISTS, "%s is there already", path);
		err_hint(e, "Remove it first if it is not needed any more.");
	} else {
		err_errno(e, "write %s", path);
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

static bool ca_close_file(FILE *f, const char *path, bool written,
			  struct err *e)
{
	bool ok = written && fflush(f) == 0 && fsync(fileno(f)) == 0;

	ok = fclose(f) == 0 && ok;
	if (ok)
		return true;
	err_errno(e, "write %s", path);
	unlink(path);
	return false;
}

static bool write_key(const char *path, EVP_PKEY *key, struct err *e)
{
	FILE *f = make_file(path, 0600, e);

	return f && ca_close_file(f, path,
				  PEM_write_PrivateKey(f, key, NULL, NULL, 0,
						       NULL, NULL) == 1,
				  e);
}

static bool write_cert(const char *path, X509 *cert, struct err *e)
{
	FILE *f = make_file(path, 0644, e);

	return f && ca_close_file(f, path, PEM_write_X509(f, cert) == 1, e);
}

static bool write_bundle(const char *path, EVP_PKEY *key, X509 *cert, X509 *ca,
			 struct err *e)
{
	FILE *f = make_file(path, 0600, e);

	return f &&
	       ca_close_file(f, path,
			     PEM_write_X509(f, cert) == 1 &&
				     PEM_write_PrivateKey(f, key, NULL, NULL, 0,
							  NULL, NULL) == 1 &&
				     PEM_write_X509(f, ca) == 1,
			     e);
}

/* --- certificates --- */

static bool ca_extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = x && X509_add_ext(cert, x, -1) == 1;
	X509_EXTENSION_free(x);
	return ok;
}

static bool ca_number(X509 *cert)
{
	unsigned char bytes[16];
	BIGNUM *n = NULL;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] &= 0x7f; /* a serial number is not negative */
	bytes[0] |= 0x40;
	n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
	BN_free(n);
	return ok;
}

/* Without extensions and signature. */
static X509 *ca_blank(EVP_PKEY *key, const char *name, int64_t from_s,
		      int64_t until_s)
{
	X509 *cert = X509_new();
	X509_NAME *subject = cert ? X509_get_subject_name(cert) : NULL;

	if (cert && X509_set_version(cert, 2) == 1 && ca_number(cert) &&
	    X509_time_adj_ex(X509_getm_notBefore(cert), 0, 0,
			     &(time_t){from_s}) &&
	    X509_time_adj_ex(X509_getm_notAfter(cert), 0, 0,
			     &(time_t){until_s}) &&
	    X509_set_pubkey(cert, key) == 1 &&
	    X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
				       (const unsigned char *)name, -1, -1,
				       0) == 1)
		return cert;
	X509_free(cert);
	return NULL;
}

bool ca_ca(const char *cert_path, const char *key_path, struct err *e)
{
	int64_t now = time(NULL);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	char name[64];
	unsigned char tag[4];

	/* Two CAs of one name would be confused by who trusts both. */
	RAND_bytes(tag, sizeof(tag));
	snprintf(name, sizeof(name), "pcapd CA %02x%02x%02x%02x", tag[0],
		 tag[1], tag[2], tag[3]);
	X509 *cert = key ? ca_blank(key, name, now - EARLIER_S,
				    now + (int64_t)CA_DAYS * DAY_S)
			 : NULL;
	bool ok =
		cert &&
		X509_set_issuer_name(cert, X509_get_subject_name(cert)) == 1 &&
		ca_extend(cert, cert, NID_basic_constraints,
			  "critical,CA:TRUE,pathlen:0") &&
		ca_extend(cert, cert, NID_key_usage,
			  "critical,keyCertSign,cRLSign") &&
		ca_extend(cert, cert, NID_subject_key_identifier, "hash") &&
		X509_sign(cert, key, EVP_sha256()) > 0;
	if (!ok)
		ca_fail(e, "make a CA");
	ok = ok && write_key(key_path, key, e);
	if (ok && !write_cert(cert_path, cert, e)) {
		unlink(key_path);
		ok = false;
	}
	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}

/* "DNS:a,IP:192.0.2.1"; names were checked: no commas. */
static bool ca_alternatives(X509 *cert, X509 *ca, const struct tls_wanted *w)
{
	char text[4096];
	size_t at = 0;

	if (!w->n_names)
		return true;
	for (size_t i = 0; i < w->n_names && at < sizeof(text); i++) {
		ASN1_OCTET_STRING *ip = a2i_IPADDRESS(w->names[i]);

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s:%s",
				       i ? "," : "", ip ? "IP" : "DNS",
				       w->names[i]);
		ASN1_OCTET_STRING_free(ip);
	}
	ERR_clear_error();
	return at < sizeof(text) &&
	       ca_extend(cert, ca, NID_subject_alt_name, text);
}

static X509 *ca_sign(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key,
		     const struct tls_wanted *w)
{
	X509 *cert = ca_blank(key, w->name, w->from_s, w->until_s);

	if (cert &&
	    X509_set_issuer_name(cert, X509_get_subject_name(ca)) == 1 &&
	    ca_extend(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
	    ca_extend(cert, ca, NID_key_usage, "critical,digitalSignature") &&
	    ca_extend(cert, ca, NID_ext_key_usage,
		      w->n_names ? "serverAuth" : "clientAuth") &&
	    ca_extend(cert, ca, NID_subject_key_identifier, "hash") &&
	    ca_extend(cert, ca, NID_authority_key_identifier, "keyid:always") &&
	    ca_alternatives(cert, ca, w) &&
	    X509_sign(cert, ca_key, EVP_sha256()) > 0)
		return cert;
	X509_free(cert);
	return NULL;
}

static bool ca_read(const char *cert_path, const char *key_path, X509 **cert,
		    EVP_PKEY **key, struct err *e)
{
	FILE *f = fopen(cert_path, "re");

	if (!f) {
		err_errno(e, "open %s", cert_path);
		return err_hint(e, "'pcapd tls init' makes a CA.");
	}
	*cert = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	if (!tls_key_is_private(key_path, e))
		return false;
	f = fopen(key_path, "re");
	if (!f)
		return err_errno(e, "open %s", key_path);
	*key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	return (*cert && *key && X509_check_private_key(*cert, *key) == 1) ||
	       ca_fail(e, "read the CA");
}

bool ca_cert(const char *ca_cert, const char *ca_key,
	     const struct tls_wanted *w, const char *cert_path,
	     const char *key_path, struct tls_cert *made, struct err *e)
{
	X509 *ca = NULL, *cert = NULL;
	EVP_PKEY *signer = NULL, *key = NULL;
	bool ok = ca_read(ca_cert, ca_key, &ca, &signer, e);

	if (ok) {
		key = EVP_EC_gen("P-256");
		cert = key ? ca_sign(ca, signer, key, w) : NULL;
		ok = cert || ca_fail(e, "make a certificate");
	}
	if (ok && !key_path) {
		ok = write_bundle(cert_path, key, cert, ca, e);
	} else if (ok) {
		ok = write_key(key_path, key, e);
		if (ok && !write_cert(cert_path, cert, e)) {
			unlink(key_path);
			ok = false;
		}
	}
	if (ok)
		tls_cert_read(made, cert);
	X509_free(cert);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(signer);
	return ok;
}
