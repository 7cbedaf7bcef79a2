/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * utf8: text that was somebody else's, made fit to be shown.
 *
 * What: a copy of it without what steers a terminal or forges a line: each
 * byte of a control character (C0, DEL, C1, line and paragraph separators,
 * what turns the direction of writing) and each byte that is no UTF-8 becomes
 * \xNN; all other UTF-8 stays.
 * Threads: any. Ownership: nothing is kept.
 */
#ifndef PCAPD_BASE_UTF8_H
#define PCAPD_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_MAX 4 /* bytes of a character */

/* How many bytes the character at s has, and which it is; 0: it is no UTF-8.
 * n > 0 bytes are there. */
size_t utf8_decode(const char *s, size_t n, uint32_t *c);

/* How many bytes the character at s has, which can be shown as it is; 0: it
 * cannot. n > 0 bytes are there. */
size_t utf8_plain(const char *s, size_t n);

/*
 * Writes the n bytes of text into out, with a 0 behind them, and returns how
 * many bytes out has. What does not fit is left out, whole characters only.
 * room > 0; 4 * n + 1 holds everything.
 */
size_t utf8_clean(char *out, size_t room, const char *text, size_t n);

#endif
