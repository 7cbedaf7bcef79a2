/*
 * plain: text that was somebody else's, as a terminal may have it.
 *
 * What: UTF-8 is kept. Control characters (C0, C1, DEL), what turns the
 * direction of writing around, line separators and bytes that are no UTF-8 are
 * written as escapes: \n, \x1b, \u202e, \xff. So no text moves the cursor,
 * begins a line, sets a title or makes what is behind it look like another.
 * Threads: any. Ownership: stated at each function.
 */
#ifndef PCAPD_CLI_PLAIN_H
#define PCAPD_CLI_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Takes a character of *s, which is not at its end. *code is -1 for a byte that
 * is no UTF-8. true: it is to be escaped. */
bool plain_take(const char **s, int32_t *code);

#define PLAIN_BYTES 12
/* The same, as it may be printed: out, ended by a zero, and the columns that it
 * takes on a terminal. */
void plain_next(const char **s, char out[PLAIN_BYTES], unsigned *columns);
/* All of it. */
void plain_put(FILE *f, const char *s);
/* To free(); never NULL. */
char *plain_copy(const char *s);
/* The columns of what is plain already. */
size_t plain_columns(const char *s);

#endif
