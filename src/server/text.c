/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text on its way out. Guarantees that a client which checks its UTF-8 can
 * read every answer, and that trailing metadata is printable ASCII. Leaves
 * out normal forms: bytes are compared as they are.
 */
#include "server/text.h"

#include "base/utf8.h"

#include <string.h>

/* Bytes of the character at s; 0: it is not UTF-8. */
static size_t server_text_character(const char *s)
{
	uint32_t c;

	return utf8_decode(s, strnlen(s, UTF8_MAX), &c);
}

bool text_is_utf8(const char *s)
{
	for (size_t n; *s; s += n) {
		n = server_text_character(s);
		if (n == 0)
			return false;
	}
	return true;
}

void text_clean(char *s)
{
	for (size_t n; *s; s += n) {
		n = server_text_character(s);
		if (n == 0) {
			*s = '?';
			n = 1;
		}
	}
}

void text_percent(char *out, size_t n, const char *s)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t at = 0;

	for (; *s && at + 4 <= n; s++) {
		unsigned char b = (unsigned char)*s;

		if (b >= 0x20 && b < 0x7f && b != '%') {
			out[at++] = *s;
			continue;
		}
		out[at++] = '%';
		out[at++] = hex[b >> 4];
		out[at++] = hex[b & 15];
	}
	out[at] = '\0';
}
