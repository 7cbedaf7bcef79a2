/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log of the catalog while somebody reads it: how long it becomes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/catalog.h"
#include "store/wal_index.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMIT (1 << 20) /* bytes of one, and a little */
/* As in catalog.c: 4096 pages. */
#define USUAL (16ll << 20)

static char folder[] = "/tmp/pcapd-wal-XXXXXX", path[64];

static long long log_bytes(void)
{
	char name[80];
	struct stat st;

	snprintf(name, sizeof(name), "%s-wal", path);
	assert_int_equal(stat(name, &st), 0);
	return st.st_size;
}

static bool make_table(sqlite3 *db, void *arg, struct err *e)
{
	(void)arg;
	return sql_exec(db, e, "CREATE TABLE filler (b BLOB)", "") &&
	       sql_exec(db, e, "INSERT INTO filler VALUES (NULL)", "");
}

static bool write_row(sqlite3 *db, void *arg, struct err *e)
{
	return sql_exec(db, e, "UPDATE filler SET b = randomblob(?1)", "i",
			*(int64_t *)arg);
}

/* Commits as much, with a sync after each. The longest that the log was. */
static long long write_all(struct catalog *c, int commits)
{
	int64_t bytes = COMMIT;
	struct err e = ERR_INIT;
	long long longest = 0;

	for (int i = 0; i < commits; i++) {
		if (!catalog_run(c, write_row, &bytes, &e) ||
		    !catalog_sync(c, &e))
			fail_msg("%s", e.what);
		if (log_bytes() > longest)
			longest = log_bytes();
	}
	return longest;
}

/* sqlite3(1) would do the same: it has the catalog open and looks. */
static pid_t read_outside(void)
{
	/* Its own output waits for more. */
	static const char look[] = "BEGIN; SELECT length(b) FROM filler; "
				   "SELECT writefile('/dev/stdout', 'x');\n";
	int pipes[2];
	char byte;

	assert_int_equal(pipe(pipes), 0);
	pid_t pid = fork();
	if (pid == 0) {
		char *command[] = {"sqlite3", path, NULL};
		int in[2];

		if (pipe(in) == 0 && dup2(in[0], 0) == 0 &&
		    dup2(pipes[1], 1) == 1 &&
		    write(in[1], look, strlen(look)) > 0)
			execvp(command[0], command);
		_exit(1);
	}
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	close(pipes[0]);
	return pid;
}

static void a_reader_in_another_process_holds_the_log_for_64_MiB(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/catalog.db", folder);
	struct catalog *c = catalog_open(path, &e);
	if (!c || !catalog_run(c, make_table, NULL, &e))
		fail_msg("%s", e.what);
	assert_in_range(write_all(c, 40), 1, USUAL + 4 * COMMIT);
	pid_t pid = read_outside();
	/* It is waited for, and then not any more. */
	assert_in_range(write_all(c, 100), WAL_INDEX_LOG_MAX,
			WAL_INDEX_LOG_MAX + 4 * COMMIT);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	catalog_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_reader_in_another_process_holds_the_log_for_64_MiB),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	char command[64];

	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command) != 0 || failed;
}
