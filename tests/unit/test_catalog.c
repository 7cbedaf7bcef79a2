/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The catalog's thread when the disk says no: whose jobs are tried again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/catalog.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_comes_behind_a_disk_error_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
