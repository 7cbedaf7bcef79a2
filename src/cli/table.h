/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * table: rows for people, as wide as the terminal.
 *
 * What: a column is as wide as its widest cell. On a terminal that is too
 * narrow for that the TABLE_CUT columns give way, the widest first, and what is
 * cut of a cell ends in an ellipsis; in a pipe, in a file and with --wide
 * nothing is cut. Cells are cleaned (utf8.h), so any text may be put into
 * one.
 * Threads: one. Ownership: cells are copied.
 */
#ifndef PCAPD_CLI_TABLE_H
#define PCAPD_CLI_TABLE_H

#include <stddef.h>

#define TABLE_COLUMNS_MAX 16

enum table_flag {
	TABLE_RIGHT = 1,   /* numbers */
	TABLE_CUT = 2,	   /* may be cut */
	TABLE_DROPPED = 4, /* left out where it does not fit */
};

struct table {
	const char *titles[TABLE_COLUMNS_MAX];
	int flags[TABLE_COLUMNS_MAX];
	size_t columns;
	char **cells; /* row by row */
	size_t n;
};

void table_init(struct table *t);
/* Before the first row. title outlives the table. */
void table_column(struct table *t, const char *title, int flags);
/* The next cell; a row is full when every column has one. Ends the program when
 * memory is out. */
void table_cell(struct table *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A cell of many values: ", " between them. */
void table_list(struct table *t, char **values, size_t n);
/* Writes it to stdout. Nothing for a table without a row. */
void table_done(struct table *t);

#endif
