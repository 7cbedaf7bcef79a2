/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The catalog's thread when the disk says no: whose jobs are tried again; and
 * catalogs of each version of the schema.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/catalog.h"
#include "store/schema_state.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One transaction: what is posted while `wait` runs is in the next. */
struct test_job {
	struct catalog_job job;
	int codes[2]; /* what SQLite says the first time, and then */
	int runs;
	bool failed;
	sem_t begun, go_on, done;
};

static void say_code(sqlite3_context *c, int n, sqlite3_value **values)
{
	(void)n;
	if (sqlite3_value_int(values[0]) != SQLITE_OK)
		sqlite3_result_error_code(c, sqlite3_value_int(values[0]));
}

static bool job_run(sqlite3 *db, struct catalog_job *job, struct err *e)
{
	struct test_job *t = (struct test_job *)job;
	int64_t code = t->codes[t->runs > 0];

	t->runs++;
	sem_post(&t->begun);
	sem_wait(&t->go_on);
	sem_post(&t->go_on);
	return sqlite3_create_function(db, "say_code", 1, SQLITE_UTF8, NULL,
				       say_code, NULL, NULL) == SQLITE_OK &&
	       sql_exec(db, e,
			"REPLACE INTO kept SELECT 1, 0, 0, 0, 0 WHERE "
			"say_code(?1) IS NULL",
			"i", code);
}

static void job_done(struct catalog_job *job, const struct err *e)
{
	struct test_job *t = (struct test_job *)job;

	t->failed = e;
	sem_post(&t->done);
}

static bool is_patient(const struct catalog_job *job)
{
	(void)job;
	return true;
}

static void job_init(struct test_job *t, int first, bool patient)
{
	*t = (struct test_job){.job = {.run = job_run, .done = job_done},
			       .codes = {first, SQLITE_OK}};
	if (patient)
		t->job.patient = is_patient;
	sem_init(&t->begun, 0, 0);
	sem_init(&t->go_on, 0, 0);
	sem_init(&t->done, 0, 0);
}

/* Two jobs in one transaction, of which the second is patient. */
static void run_two(struct catalog *c, int first, int second,
		    struct test_job *two)
{
	struct test_job wait;

	job_init(&wait, SQLITE_OK, false);
	job_init(&two[0], first, false);
	job_init(&two[1], second, true);
	sem_post(&two[0].go_on);
	sem_post(&two[1].go_on);
	catalog_post(c, &wait.job);
	sem_wait(&wait.begun);
	catalog_post(c, &two[0].job);
	catalog_post(c, &two[1].job);
	sem_post(&wait.go_on);
	sem_wait(&wait.done);
	sem_wait(&two[0].done);
	sem_wait(&two[1].done);
}

static void who_comes_behind_a_disk_error_is_tried_again(void **state)
{
	char folder[] = "/tmp/pcapd-catalog-XXXXXX", path[64], command[64];
	struct err e = ERR_INIT;
	struct test_job two[2];

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/catalog.db", folder);
	struct catalog *c = catalog_open(path, &e);
	if (!c)
		fail_msg("%s", e.what);
	run_two(c, SQLITE_IOERR, SQLITE_CORRUPT, two);
	assert_true(two[0].failed);
	assert_false(two[1].failed);
	assert_int_equal(two[1].runs, 2);
	/* What is malformed by itself stays so. */
	run_two(c, SQLITE_OK, SQLITE_CORRUPT, two);
	assert_true(two[1].failed);
	catalog_close(c);
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	assert_int_equal(system(command), 0);
}

/* --- older versions --- */

/* In the order in which each needs the one before. */
static const char *const tables[] = {"captures", "aliases", "segments",
				     "blocks"};
#define TABLES (sizeof(tables) / sizeof(tables[0]))

/* What sql gives, to free(). */
static char *say(sqlite3 *db, const char *sql, const char *table)
{
	sqlite3_stmt *q = NULL;
	char *all = NULL;
	size_t n;
	FILE *out = open_memstream(&all, &n);

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_bind_text(q, 1, table, -1, NULL), SQLITE_OK);
	while (sqlite3_step(q) == SQLITE_ROW)
		fputs((const char *)sqlite3_column_text(q, 0), out);
	assert_int_equal(sqlite3_finalize(q), SQLITE_OK);
	fclose(out);
	return all;
}

static char *say_row(sqlite3 *db, const char *columns, const char *table)
{
	char sql[4096];

	snprintf(sql, sizeof(sql), "SELECT %s FROM %s WHERE ?1 IS NOT NULL",
		 columns, table);
	return say(db, sql, table);
}

/* A row of each table, with values that differ. */
static void version_fill(sqlite3 *db, char *columns[TABLES], char *rows[TABLES])
{
	char sql[4096];

	for (size_t i = 0; i < TABLES; i++) {
		char *values = say(
			db,
			"SELECT group_concat(CASE WHEN name IN ('id', "
			"'capture', 'segment', 'first_seq', 'seq') THEN '1' "
			"WHEN type = 'TEXT' THEN quote('t' || cid) WHEN type = "
			"'BLOB' THEN 'x' || quote(printf('%02d', cid)) ELSE "
			"10 + cid END) FROM pragma_table_info(?1)",
			tables[i]);

		columns[i] = say(db,
				 "SELECT group_concat('quote(' || name || ')', "
				 "' || ') FROM pragma_table_info(?1)",
				 tables[i]);
		snprintf(sql, sizeof(sql), "INSERT INTO %s VALUES (%s)",
			 tables[i], values);
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
			fail_msg("%s: %s", sql, sqlite3_errmsg(db));
		rows[i] = say_row(db, columns[i], tables[i]);
		assert_true(strlen(rows[i]) > 3);
		free(values);
	}
}

static sqlite3 *version_connect(const char *path)
{
	struct err e = ERR_INIT;
	sqlite3 *db = catalog_connect(
		path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &e);

	assert_non_null(db);
	return db;
}

static void version_opens(const char *path, unsigned version)
{
	char *columns[TABLES], *rows[TABLES];
	struct err e = ERR_INIT;
	sqlite3 *db = version_connect(path);

	assert_true(schema_fill(db, version, &e));
	version_fill(db, columns, rows);
	sqlite3_close(db);
	struct catalog *c = catalog_open(path, &e);
	if (!c)
		fail_msg("version %u: %s", version, e.what);
	catalog_close(c);
	db = version_connect(path);
	char *now = say(db,
			"SELECT user_version FROM pragma_user_version WHERE "
			"?1 IS NOT NULL",
			"");
	assert_int_equal(strtoul(now, NULL, 10), catalog_version());
	free(now);
	for (size_t i = 0; i < TABLES; i++) {
		char *is = say_row(db, columns[i], tables[i]);

		assert_string_equal(is, rows[i]);
		free(is);
		free(rows[i]);
		free(columns[i]);
	}
	sqlite3_close(db);
}

static void catalogs_of_every_version_are_opened(void **state)
{
	char folder[] = "/tmp/pcapd-test-XXXXXX", path[64], more[72];
	static const char *const ends[] = {"", "-wal", "-shm"};

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/catalog.db", folder);
	for (unsigned v = 1; v <= catalog_version(); v++) {
		version_opens(path, v);
		for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
			snprintf(more, sizeof(more), "%s%s", path, ends[i]);
			unlink(more);
		}
	}
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_comes_behind_a_disk_error_is_tried_again),
		cmocka_unit_test(catalogs_of_every_version_are_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
