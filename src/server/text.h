/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * text: what may leave the process.
 *
 * Threads: any. Ownership: the caller's.
 */
#ifndef PCAPD_SERVER_TEXT_H
#define PCAPD_SERVER_TEXT_H

#include <stdbool.h>
#include <stddef.h>

bool text_is_utf8(const char *s);
/* Replaces what is not UTF-8 by '?'. */
void text_clean(char *s);
/* Printable ASCII stays, everything else and '%' becomes %XX. */
void text_percent(char *out, size_t n, const char *s);

#endif
