/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SHA-256 by OpenSSL, whose headers have names of ours and so stay in here.
 */
#include "base/sha256.h"

#include <openssl/evp.h>
#include <string.h>

/* struct sha256 is an EVP_MD_CTX. */
static EVP_MD_CTX *sha256_context(struct sha256 *h)
{
	return (EVP_MD_CTX *)h;
}

struct sha256 *sha256_new(void)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();

	if (c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1)
		return (struct sha256 *)c;
	EVP_MD_CTX_free(c);
	return NULL;
}

void sha256_add(struct sha256 *h, const void *bytes, size_t n)
{
	EVP_DigestUpdate(sha256_context(h), bytes, n);
}

void sha256_end(struct sha256 *h, uint8_t out[SHA256_BYTES])
{
	memset(out, 0, SHA256_BYTES);
	EVP_DigestFinal_ex(sha256_context(h), out, NULL);
}

void sha256_free(struct sha256 *h)
{
	EVP_MD_CTX_free(sha256_context(h));
}
