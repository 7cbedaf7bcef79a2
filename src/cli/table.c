/* Tables. Leaves out everything that libsmartcols does. */
#include "table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *need(void *p)
{
	if (!p)
		abort(); /* memory is out */
	return p;
}

void table_init(struct table *t, const char *name, bool json)
{
	*t = (struct table){.json = json};
	t->cols = need(scols_new_table());
	scols_table_enable_json(t->cols, json);
	scols_table_set_name(t->cols, name);
}

void table_column(struct table *t, const char *title, int flags, int json_type)
{
	struct libscols_column *c =
		need(scols_table_new_column(t->cols, title, 0, flags));

	scols_column_set_json_type(c, json_type);
	if (json_type == TABLE_LIST && t->json) {
		/* A cell of several lines is an array. Of numbers, because
		 * those are left as they are: an array of strings is never
		 * empty in libsmartcols 2.38. */
		scols_column_set_json_type(c, SCOLS_JSON_ARRAY_NUMBER);
		scols_column_set_flags(c, flags | SCOLS_FL_WRAP);
		scols_column_set_wrapfunc(c, scols_wrapnl_chunksize,
					  scols_wrapnl_nextchunk, NULL);
		scols_column_set_safechars(c, "\n");
	}
}

void table_row(struct table *t)
{
	t->line = need(scols_table_new_line(t->cols, NULL));
	t->at = 0;
}

static void put(struct table *t, char *text)
{
	scols_line_refer_data(t->line, t->at++, text);
}

void table_cell(struct table *t, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	put(t, need(n < 0 ? NULL : text));
}

/* A JSON string. What the daemon names needs no escapes but these. */
void json_quote(FILE *f, const char *text)
{
	fputc('"', f);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < ' ')
			fprintf(f, "\\u%04x", c);
		else
			fputc(c, f);
	}
	fputc('"', f);
}

void table_list(struct table *t, char **values, size_t n)
{
	char *text;
	size_t bytes;
	FILE *f = need(open_memstream(&text, &bytes));

	if (n == 0 && t->json)
		fputc(' ', f); /* [ ], where no text would be [ null ] */
	for (size_t i = 0; i < n; i++) {
		if (i)
			fputs(t->json ? "\n" : ", ", f);
		if (t->json)
			json_quote(f, values[i]);
		else
			fputs(values[i], f);
	}
	fclose(f);
	put(t, text);
}

void table_json(struct table *t, char *text)
{
	put(t, text);
}

void table_done(struct table *t)
{
	scols_print_table(t->cols);
	scols_unref_table(t->cols);
}
