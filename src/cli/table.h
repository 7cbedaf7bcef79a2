/*
 * table: rows for people, or the same as JSON, by libsmartcols.
 */
#ifndef PCAPD_CLI_TABLE_H
#define PCAPD_CLI_TABLE_H

#include <libsmartcols.h>
#include <stdbool.h>
#include <stdio.h>

struct table {
	struct libscols_table *cols;
	struct libscols_line *line;
	bool json;
	size_t at;
};

/* name: the JSON array's. Ends the program when memory is out. */
void table_init(struct table *t, const char *name, bool json);
/* A column of table_list cells. */
#define TABLE_LIST SCOLS_JSON_ARRAY_STRING
/* flags: SCOLS_FL_, for people; json_type: SCOLS_JSON_ or TABLE_LIST. */
void table_column(struct table *t, const char *title, int flags, int json_type);
void table_row(struct table *t);
/* The next cell of the row; empty text is null in JSON. */
void table_cell(struct table *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A cell of many values: ", " between them, in JSON an array. */
void table_list(struct table *t, char **values, size_t n);
/* A cell of values that are JSON already, a line each: of a TABLE_LIST. Takes
 * text over. */
void table_json(struct table *t, char *text);
/* A JSON string. */
void json_quote(FILE *f, const char *text);
/* Writes it to stdout. */
void table_done(struct table *t);

#endif
