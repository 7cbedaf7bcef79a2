/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UTF-8 as RFC 3629 has it. Guarantees that what utf8_clean writes is valid,
 * on one line, and changes nothing about a terminal. Leaves out the width of
 * characters, and which of them look alike.
 */
#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool utf8_steers(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c ||
	       c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

size_t utf8_decode(const char *s, size_t n, uint32_t *c)
{
	const unsigned char *b = (const unsigned char *)s;
	size_t length = b[0] < 0x80	    ? 1
			: b[0] >> 5 == 0x06 ? 2
			: b[0] >> 4 == 0x0e ? 3
			: b[0] >> 3 == 0x1e ? 4
					    : 0;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

	if (!length || length > n)
		return 0;
	*c = length == 1 ? b[0] : b[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if (b[i] >> 6 != 2)
			return 0;
		*c = *c << 6 | (b[i] & 0x3f);
	}
	bool ok = *c >= least[length] && *c <= 0x10ffff &&
		  (*c < 0xd800 || *c >= 0xe000);
	return ok ? length : 0;
}

size_t utf8_plain(const char *s, size_t n)
{
	uint32_t c;
	size_t length = utf8_decode(s, n, &c);

	return length && !utf8_steers(c) ? length : 0;
}

size_t utf8_clean(char *out, size_t room, const char *text, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	size_t at = 0;

	while (n > 0) {
		unsigned char b = (unsigned char)*text;
		const char shown[4] = {'\\', 'x', digits[b >> 4],
				       digits[b & 15]};
		size_t plain = utf8_plain(text, n), took = plain ? plain : 1;
		size_t bytes = plain ? plain : sizeof(shown);

		if (at + bytes >= room)
			break;
		memcpy(out + at, plain ? text : shown, bytes);
		at += bytes;
		text += took;
		n -= took;
	}
	out[at] = 0;
	return at;
}
