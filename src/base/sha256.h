/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sha256: the SHA-256 of bytes that come one after the other.
 *
 * Threads: one at a time.
 * Ownership: sha256_new gives, sha256_free takes.
 */
#ifndef PCAPD_BASE_SHA256_H
#define PCAPD_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

struct sha256;

struct sha256 *sha256_new(void); /* NULL: out of memory */
void sha256_add(struct sha256 *h, const void *bytes, size_t n);
/* Once. */
void sha256_end(struct sha256 *h, uint8_t out[SHA256_BYTES]);
void sha256_free(struct sha256 *h); /* NULL is fine */

#endif
