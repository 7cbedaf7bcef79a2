/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tables. Guarantees that a cell which is cut says so, and that a column is
 * never cut below its title. Leaves out lines and wrapping.
 */
#include "cli/table.h"

#include "cli/cli.h"

#include "base/utf8.h"
#include "base/vec.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define ELLIPSIS "\xe2\x80\xa6"
#define GAP 1 /* columns between two cells */

/* The character at *s, which is cleaned text: its bytes, and what of a line it
 * takes. */
static size_t table_character(const char *s, size_t *columns)
{
	uint32_t c = ' ';
	size_t n = utf8_decode(s, strnlen(s, UTF8_MAX), &c);
	int width = wcwidth((wchar_t)c);

	*columns = width < 0 ? 1 : (size_t)width;
	return n ? n : 1;
}

static size_t table_columns(const char *s)
{
	size_t sum = 0, columns;

	for (; *s; sum += columns)
		s += table_character(s, &columns);
	return sum;
}

void table_init(struct table *t)
{
	*t = (struct table){.columns = 0};
}

void table_column(struct table *t, const char *title, int flags)
{
	if (t->columns == TABLE_COLUMNS_MAX)
		abort();
	t->titles[t->columns] = title;
	t->flags[t->columns++] = flags;
}

static void table_put(struct table *t, const char *text)
{
	char **cell = vec_push(&t->cells, &t->n);

	if (!cell)
		abort(); /* memory is out */
	*cell = cli_plain(text);
}

void table_cell(struct table *t, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	table_put(t, text);
	free(text);
}

void table_list(struct table *t, char **values, size_t n)
{
	size_t bytes = 1;

	for (size_t i = 0; i < n; i++)
		bytes += strlen(values[i]) + 2;
	char *text = calloc(1, bytes), *end = text;
	if (!text)
		abort();
	for (size_t i = 0; i < n; i++)
		end += sprintf(end, "%s%s", i ? ", " : "", values[i]);
	table_put(t, text);
	free(text);
}

/* 0: no bound. */
static size_t table_room(void)
{
	struct winsize w = {0};

	if (cli_wide() || !isatty(STDOUT_FILENO))
		return 0;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || !w.ws_col)
		return 80;
	return w.ws_col;
}

static size_t table_sum(const struct table *t, const size_t *width)
{
	size_t sum = 0;

	for (size_t c = 0; c < t->columns; c++)
		sum += width[c] ? width[c] + GAP : 0;
	return sum ? sum - GAP : 0;
}

/* The widest column that can give way, or the number of columns. */
static size_t table_widest(const struct table *t, const size_t *width)
{
	size_t best = t->columns;

	for (size_t c = 0; c < t->columns; c++)
		if ((t->flags[c] & TABLE_CUT) &&
		    width[c] > strlen(t->titles[c]) &&
		    (best == t->columns || width[c] > width[best]))
			best = c;
	return best;
}

static void table_fit(const struct table *t, size_t *width)
{
	size_t room = table_room(), c;

	for (c = 0; c < t->columns; c++)
		width[c] = strlen(t->titles[c]);
	for (size_t i = 0; i < t->n; i++) {
		size_t n = table_columns(t->cells[i]);

		if (n > width[i % t->columns])
			width[i % t->columns] = n;
	}
	if (!room)
		return;
	for (c = 0; c < t->columns; c++)
		if ((t->flags[c] & TABLE_DROPPED) && table_sum(t, width) > room)
			width[c] = 0;
	while (table_sum(t, width) > room &&
	       (c = table_widest(t, width)) < t->columns)
		width[c]--;
}

static void table_pad(size_t n)
{
	printf("%*s", (int)n, "");
}

static void table_print_cell(const char *text, size_t width, int flags,
			     bool last)
{
	size_t n = table_columns(text), used = 0, columns;

	if (n <= width) {
		if (flags & TABLE_RIGHT)
			table_pad(width - n);
		fputs(text, stdout);
		if (!(flags & TABLE_RIGHT) && !last)
			table_pad(width - n);
		return;
	}
	for (size_t bytes; *text; text += bytes, used += columns) {
		bytes = table_character(text, &columns);
		if (used + columns > width - 1)
			break;
		fwrite(text, 1, bytes, stdout);
	}
	fputs(ELLIPSIS, stdout);
	if (!last)
		table_pad(width - 1 - used);
}

static void table_print_row(const struct table *t, const char *const *cells,
			    const size_t *width)
{
	size_t last = t->columns;

	while (last > 0 && !width[last - 1])
		last--;
	for (size_t c = 0; c < last; c++) {
		if (!width[c])
			continue;
		table_print_cell(cells[c], width[c], t->flags[c],
				 c == last - 1);
		if (c < last - 1)
			table_pad(GAP);
	}
	putchar('\n');
}

void table_done(struct table *t)
{
	size_t width[TABLE_COLUMNS_MAX];

	table_fit(t, width);
	if (t->n)
		table_print_row(t, t->titles, width);
	for (size_t i = 0; i < t->n; i += t->columns)
		table_print_row(t, (const char *const *)t->cells + i, width);
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
}
