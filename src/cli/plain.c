/*
 * Plain text. Guarantees that every byte of a text is seen, as itself or as an
 * escape. Leaves out shaping: a character has the columns that the C library
 * says it has in UTF-8.
 */
#include "plain.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* As in RFC 3629: neither overlong forms nor surrogates nor anything over
 * U+10FFFF. The bytes of the character at s, or 0. */
static size_t plain_decode(const unsigned char *s, int32_t *code)
{
	static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80		   ? 1
		   : (s[0] & 0xe0) == 0xc0 ? 2
		   : (s[0] & 0xf0) == 0xe0 ? 3
		   : (s[0] & 0xf8) == 0xf0 ? 4
					   : 0;

	if (n == 0)
		return 0;
	*code = n == 1 ? s[0] : s[0] & (0xff >> (n + 1));
	/* The zero at the end is no continuation: it ends this. */
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (s[i] & 0x3f);
	}
	if (n > 1 && (*code < least[n] || *code > 0x10ffff ||
		      (*code >= 0xd800 && *code <= 0xdfff)))
		return 0;
	return n;
}

/* What a terminal obeys, or what is not seen although it changes what is. */
static bool plain_is_unsafe(int32_t code)
{
	static const struct {
		int32_t first, last;
	} unsafe[] = {
		{0, 0x1f},	    {0x7f, 0x9f},     {0x61c, 0x61c},
		{0x200b, 0x200b},   {0x200e, 0x200f}, {0x2028, 0x202e},
		{0x2060, 0x206f},   {0xfeff, 0xfeff}, {0xfff9, 0xfffb},
		{0xe0000, 0xe007f},
	};

	for (size_t i = 0; i < sizeof(unsafe) / sizeof(unsafe[0]); i++)
		if (code >= unsafe[i].first && code <= unsafe[i].last)
			return true;
	return false;
}

bool plain_take(const char **s, int32_t *code)
{
	size_t n = plain_decode((const unsigned char *)*s, code);

	if (n == 0)
		*code = -1;
	*s += n ? n : 1;
	return n == 0 || plain_is_unsafe(*code);
}

void plain_next(const char **s, char out[PLAIN_BYTES], unsigned *columns)
{
	const char *from = *s;
	int32_t code;
	int n;

	if (!plain_take(s, &code)) {
		int width = wcwidth((wchar_t)code);

		*columns = width < 0 ? 1 : (unsigned)width;
		memcpy(out, from, (size_t)(*s - from));
		out[*s - from] = '\0';
		return;
	}
	if (code == '\n' || code == '\t' || code == '\r')
		n = sprintf(out, "\\%c",
			    code == '\n'   ? 'n'
			    : code == '\t' ? 't'
					   : 'r');
	else if (code < 0x80)
		n = sprintf(out, "\\x%02x", (unsigned char)*from);
	else
		n = sprintf(out, "\\u%04x", (unsigned)code);
	*columns = (unsigned)n;
}

void plain_put(FILE *f, const char *s)
{
	char one[PLAIN_BYTES];
	unsigned ignored;

	while (*s) {
		plain_next(&s, one, &ignored);
		fputs(one, f);
	}
}

char *plain_copy(const char *s)
{
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		abort(); /* memory is out */
	plain_put(f, s);
	if (fclose(f) != 0)
		abort();
	return text;
}

size_t plain_columns(const char *s)
{
	char one[PLAIN_BYTES];
	size_t sum = 0;
	unsigned n;

	for (; *s; sum += n)
		plain_next(&s, one, &n);
	return sum;
}
