/*
 * Text on its way out. Guarantees that a client which checks its UTF-8 can
 * read every answer, and that trailing metadata is printable ASCII. Leaves
 * out normal forms: bytes are compared as they are.
 */
#include "rpc.h"

#include <string.h>

/* Bytes of the character at s; 0: it is not UTF-8. As in RFC 3629: neither
 * overlong forms nor surrogates nor anything over U+10FFFF. */
static size_t character(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2;
	else if ((s[0] & 0xf0) == 0xe0)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0;
	if (s[0] == 0xed)
		high = 0x9f;
	if (s[0] == 0xf0)
		low = 0x90;
	if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	/* The terminating zero is no continuation: it ends this. */
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

bool text_is_utf8(const char *s)
{
	for (size_t n; *s; s += n) {
		n = character((const unsigned char *)s);
		if (n == 0)
			return false;
	}
	return true;
}

void text_clean(char *s)
{
	for (size_t n; *s; s += n) {
		n = character((const unsigned char *)s);
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
