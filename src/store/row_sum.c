/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checksums of rows. Guarantees that any one bit of a value changes the sum,
 * and that a sum is never so small that one bit of its place in the page makes
 * it NULL. Leaves out what to do about a wrong one: recover.c, ledger_file.c.
 */
#include "store/row_sum.h"

#include <stdint.h>
#include <stdio.h>

#define BASIS 0xcbf29ce484222325u
#define PRIME 0x100000001b3u

static uint64_t add_bytes(uint64_t h, const void *bytes, size_t n)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < n; i++)
		h = (h ^ at[i]) * PRIME;
	return h;
}

/* 8 bytes of a page, whose type is more than a bit from NULL's. */
#define LARGE (1ll << 61)

static int64_t row_sum_sum_of(int n, sqlite3_value **values)
{
	uint64_t h = BASIS;

	for (int i = 0; i < n; i++) {
		int type = sqlite3_value_type(values[i]);
		int64_t number = sqlite3_value_int64(values[i]);

		h = add_bytes(h, &type, sizeof(type));
		if (type == SQLITE_INTEGER)
			h = add_bytes(h, &number, sizeof(number));
		else
			h = add_bytes(h, sqlite3_value_blob(values[i]),
				      (size_t)sqlite3_value_bytes(values[i]));
	}
	return (int64_t)(h >> 1) | LARGE;
}

static void row_sum(sqlite3_context *c, int n, sqlite3_value **values)
{
	sqlite3_result_int64(c, row_sum_sum_of(n, values));
}

static void total_step(sqlite3_context *c, int n, sqlite3_value **values)
{
	int64_t *total = sqlite3_aggregate_context(c, sizeof(*total));

	if (total)
		*total = (*total ^ row_sum_sum_of(n, values)) | LARGE;
}

/* NULL is no sum that any row has. */
static void total_final(sqlite3_context *c)
{
	const int64_t *total = sqlite3_aggregate_context(c, 0);

	if (total)
		sqlite3_result_int64(c, *total);
}

/* A total and the sum of one more; NULL: it is not known. */
static void row_sum_add(sqlite3_context *c, int n, sqlite3_value **values)
{
	(void)n;
	if (sqlite3_value_type(values[0]) != SQLITE_NULL)
		sqlite3_result_int64(c, (sqlite3_value_int64(values[0]) ^
					 sqlite3_value_int64(values[1])) |
						LARGE);
}

static const char triggers[] =
	"CREATE TEMP TRIGGER segment_insert_sum AFTER INSERT ON main.segments "
	"BEGIN UPDATE segments SET blocks_sum = 0, sum = " SEGMENT_SUM
	" WHERE capture = new.capture AND first_seq = new.first_seq; END;"
	"CREATE TEMP TRIGGER block_insert_sum AFTER INSERT ON main.blocks "
	"BEGIN UPDATE segments SET blocks_sum = row_sum_add(blocks_sum, "
	"row_sum(new.capture, new.seq, new.segment, new.offset, "
	"new.stored_bytes, new.raw_bytes, new.packets, new.first_ns, "
	"new.last_ns, new.min_ns, new.max_ns)) "
	"WHERE capture = new.capture AND first_seq = new.segment; END;"
	"CREATE TEMP TRIGGER segment_update_sum AFTER UPDATE ON main.segments "
	"BEGIN UPDATE segments SET sum = " SEGMENT_SUM
	" WHERE capture = new.capture AND first_seq = new.first_seq; END;"
	"CREATE TEMP TRIGGER ledger_insert_sum AFTER INSERT ON main.ledger "
	"BEGIN UPDATE ledger SET sum = " LEDGER_SUM " WHERE id = new.id; END;"
	"CREATE TEMP TRIGGER ledger_update_sum AFTER UPDATE ON main.ledger "
	"BEGIN UPDATE ledger SET sum = " LEDGER_SUM " WHERE id = new.id; END;"
	"CREATE TEMP TRIGGER capture_change AFTER UPDATE ON main.captures "
	"WHEN new.changes = old.changes BEGIN UPDATE captures SET changes = "
	"changes + 1 WHERE id = new.id; END;";

/* What else is a capture's. */
static const char more_triggers[] =
	"CREATE TEMP TRIGGER %1$s_insert AFTER INSERT ON main.%1$s "
	"BEGIN UPDATE captures SET changes = changes + 1 WHERE id = "
	"new.capture; END;"
	"CREATE TEMP TRIGGER %1$s_delete AFTER DELETE ON main.%1$s "
	"BEGIN UPDATE captures SET changes = changes + 1 WHERE id = "
	"old.capture; END;";

static bool row_sum_failed(sqlite3 *db, struct err *e)
{
	return err_set(e, ERR_FAILED, "catalog: sums: %s", sqlite3_errmsg(db));
}

bool row_sum_define(sqlite3 *db, struct err *e)
{
	const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;

	return (sqlite3_create_function(db, "row_sum", -1, flags, NULL, row_sum,
					NULL, NULL) == SQLITE_OK &&
		sqlite3_create_function(db, "row_sum_add", 2, flags, NULL,
					row_sum_add, NULL, NULL) == SQLITE_OK &&
		sqlite3_create_function(db, "row_sum_total", -1, flags, NULL,
					NULL, total_step,
					total_final) == SQLITE_OK) ||
	       row_sum_failed(db, e);
}

bool row_sum_keep(sqlite3 *db, struct err *e)
{
	static const char *const tables[] = {"aliases", "holds", "marks"};
	char sql[1024];

	if (sqlite3_exec(db, triggers, NULL, NULL, NULL) != SQLITE_OK)
		return row_sum_failed(db, e);
	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		snprintf(sql, sizeof(sql), more_triggers, tables[i]);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
			return row_sum_failed(db, e);
	}
	return true;
}
