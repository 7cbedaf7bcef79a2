/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base64: bytes as text, as metadata of HTTP/2 has them (RFC 4648, section 4,
 * without the padding, which gRPC neither needs nor sends).
 */
#ifndef PCAPD_BASE_BASE64_H
#define PCAPD_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

/* Room for n bytes as text, and OpenSSL's padding and end of string. */
#define BASE64_ROOM(n) (4 * (((n) + 2) / 3) + 1)

/* text has BASE64_ROOM(n), which is below INT_MAX; it ends with a zero. */
void base64(char *text, const uint8_t *bytes, size_t n);

#endif
