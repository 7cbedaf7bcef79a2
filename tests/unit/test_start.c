/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starts and stops over very many rows, by what is done and not by how long it
 * takes: steps of SQLite's machine are counted, since this program's functions
 * come before the library's, and the thread that verifies waits at its first
 * question until it is let go.
 */
#include "many.h"
#include "store/ledger.h"
#include "store/store_internal.h"

#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SEGMENTS 5000
#define BLOCKS 40
#define LEDGER 9000 /* each of a cause and a time of its own */
/* Comparing the schema takes most of them, however much is stored; a visit of
 * every segment takes ten each. */
#define FEW_STEPS (2 * SEGMENTS)
#define FEW_FILES 50

static atomic_llong steps, steps_verify, looks;
static atomic_bool let_go;
/* What the catalog's thread does from one commit to the next, at most; and the
 * commit at which the store is to stop. */
static atomic_llong steps_commit, steps_commit_most;
static atomic_int stop_at;
static struct store *_Atomic to_stop;

static bool is_thread(const char *called)
{
	char name[16];

	return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 &&
	       strcmp(name, called) == 0;
}

static bool is_verify(void)
{
	return is_thread("pcapd-verify");
}

static void count_commit(bool commit, int n)
{
	long long sum = atomic_fetch_add(&steps_commit, n) + n;

	if (!commit)
		return;
	if (sum > atomic_load(&steps_commit_most))
		atomic_store(&steps_commit_most, sum);
	atomic_store(&steps_commit, 0);
	if (atomic_load(&to_stop) && atomic_fetch_sub(&stop_at, 1) == 1)
		store_end_waits(atomic_load(&to_stop));
}

int sqlite3_step(sqlite3_stmt *q)
{
	static int (*real)(sqlite3_stmt *);
	bool verify = is_verify();

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "sqlite3_step");
	while (verify && !atomic_load(&let_go))
		usleep(1000);
	int got = real(q);
	/* Of schemas that are made in memory there is one, however large. */
	if (!*sqlite3_db_filename(sqlite3_db_handle(q), "main"))
		return got;
	int n = sqlite3_stmt_status(q, SQLITE_STMTSTATUS_VM_STEP, 1);
	atomic_fetch_add(verify ? &steps_verify : &steps, n);
	if (is_thread("pcapd-catalog"))
		count_commit(strcmp(sqlite3_sql(q), "COMMIT") == 0, n);
	return got;
}

int fstatat(int fd, const char *name, struct stat *st, int flags)
{
	int (*real)(int, const char *, struct stat *, int);

	*(void **)&real = dlsym(RTLD_NEXT, "fstatat");
	atomic_fetch_add(&looks, !is_verify());
	return real(fd, name, st, flags);
}

static char spool[64];
static struct store_options options = {
	.spool = spool,
	.segment_bytes = 1 << 20,
	.segment_age_ns = 3600 * 1000000000ll,
};

static struct store *open_store(bool verify)
{
	struct err e = ERR_INIT;

	atomic_store(&let_go, verify);
	struct store *s = store_open(&options, &e);
	if (!s)
		fail_msg("%s", e.what);
	return s;
}

static int set_up(void **state)
{
	struct capture_row row = {.interface = (char[]){"lo"},
				  .filter = (char[]){""},
				  .link_type = 1,
				  .snaplen = 65535};
	const struct many many = {SEGMENTS, BLOCKS, LEDGER, 100};
	char folder[96];
	struct err e;

	(void)state;
	strcpy(spool, "/tmp/pcapd-test-XXXXXX");
	assert_non_null(mkdtemp(spool));
	struct store *s = open_store(true);
	assert_true(store_add(s, &row, &e));
	store_close(s);
	snprintf(folder, sizeof(folder), "%s/1", spool);
	mkdir(folder, 0750);
	many_make(spool, &many);
	return 0;
}

static int tear_down(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", spool);
	return system(command);
}

static void damaged(struct store *s, uint64_t *packets)
{
	struct ledger_row *rows;
	struct err e;
	size_t n;

	*packets = 0;
	assert_true(ledger_list(s, 1, 0, 0, &rows, &n, &e));
	for (size_t i = 0; i < n; i++)
		if (rows[i].cause == LEDGER_DAMAGE)
			*packets += rows[i].packets;
	free(rows);
}

static void captures_resume_before_most_is_looked_at(void **state)
{
	struct store_newest newest;
	struct store_totals totals;
	struct err e;

	(void)state;
	atomic_store(&steps, 0);
	atomic_store(&looks, 0);
	struct store *s = open_store(false);
	assert_true(store_newest(s, 1, &newest, &e));
	print_message("start: %lld steps, looks at %lld files\n",
		      (long long)steps, (long long)looks);
	assert_true(steps < FEW_STEPS);
	assert_in_range(atomic_load(&looks), 1, FEW_FILES);
	assert_true(newest.any);
	assert_int_equal(newest.next_seq, SEGMENTS * BLOCKS + 1);
	atomic_store(&let_go, true);
	assert_true(store_totals(s, 1, &totals, &e));
	assert_int_equal(totals.segments, SEGMENTS);
	store_close(s);
}

static void change(uint64_t segment, off_t bytes)
{
	char file[SEGMENT_NAME_BYTES], path[128];

	segment_name(file, 1, BLOCKS * segment + 1);
	snprintf(path, sizeof(path), "%s/%s", spool, file);
	assert_int_equal(bytes < 0 ? unlink(path) : truncate(path, bytes), 0);
}

static void run(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sqlite3_errmsg(db), sql);
}

static sqlite3 *open_catalog(void)
{
	char path[96];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/catalog.db", spool);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	return db;
}

static void alter(const char *sql)
{
	sqlite3 *db = open_catalog();

	run(db, sql);
	sqlite3_close(db);
}

/* Nobody hears of less for that; and nothing goes before. */
static void the_rest_is_looked_at_before_anybody_asks(void **state)
{
	char file[SEGMENT_NAME_BYTES];
	uint64_t packets;
	struct err e;

	(void)state;
	change(10, -1);
	change(20, 1000);
	change(SEGMENTS - 1, -1); /* the newest, which is not left for later */
	alter("UPDATE segments SET packets = 7 WHERE first_seq = 1201");
	struct store *s = open_store(false);
	assert_true(store_set_keep(s, 1, 1, 0, &e));
	housekeeper_now(s->housekeeper, true);
	housekeeper_now(s->housekeeper, true);
	segment_name(file, 1, 1);
	assert_int_equal(faccessat(s->spool_fd, file, F_OK, 0), 0);
	assert_true(store_set_keep(s, 1, 0, 0, &e));
	atomic_store(&let_go, true);
	damaged(s, &packets);
	/* Of the altered one the file is no segment's, either. */
	assert_in_range(packets, 3 * 10 * BLOCKS + 1, 4 * 10 * BLOCKS);
	store_close(s);
}

/* Rows with these ids are in the table and not in its index. */
static void hide_from_index(const char *ids)
{
	static const char *const steps_of_it[] = {
		"CREATE TEMP TABLE kept_rows AS SELECT * FROM ledger WHERE id "
		"IN (%s)",
		"DELETE FROM ledger WHERE id IN (%s)",
		"CREATE TEMP TABLE kept_index AS SELECT * FROM sqlite_master "
		"WHERE name = 'ledger_of'",
		"PRAGMA writable_schema = ON",
		"DELETE FROM sqlite_master WHERE name = 'ledger_of'",
		"PRAGMA writable_schema = RESET",
		"INSERT INTO ledger SELECT * FROM kept_rows",
		"PRAGMA writable_schema = ON",
		"INSERT INTO sqlite_master SELECT * FROM kept_index",
	};
	sqlite3 *db = open_catalog();
	char sql[256];

	for (size_t i = 0; i < sizeof(steps_of_it) / sizeof(*steps_of_it);
	     i++) {
		snprintf(sql, sizeof(sql), steps_of_it[i], ids);
		run(db, sql);
	}
	sqlite3_close(db);
}

/* What they ask for is looked at before the thread that verifies runs. */
static void captures_resume_by_the_newest_of_the_ledger(void **state)
{
	int64_t ns, known;
	struct err e;

	(void)state;
	struct store *s = open_store(true);
	assert_true(ledger_known_until(s, 1, INT64_MAX, &known, &e));
	store_close(s);
	hide_from_index("(SELECT max(id) FROM ledger WHERE cause = 1)");
	s = open_store(false);
	assert_true(ledger_known_until(s, 1, INT64_MAX, &ns, &e));
	assert_int_equal(ns, known);
	atomic_store(&let_go, true);
	store_close(s);
}

static void the_rest_of_the_ledger_is_mended_before_anybody_asks(void **state)
{
	struct ledger_row *rows;
	struct err e;
	size_t n, after;

	(void)state;
	struct store *s = open_store(true);
	assert_true(ledger_list(s, 1, 0, 0, &rows, &n, &e));
	free(rows);
	store_close(s);
	assert_true(n >= LEDGER);
	hide_from_index("100, 200, 300");
	alter("UPDATE ledger SET packets = 777 WHERE id = 400");
	s = open_store(false);
	atomic_store(&let_go, true);
	assert_true(ledger_list(s, 1, 0, 0, &rows, &after, &e));
	for (size_t i = 0; i < after; i++)
		assert_int_not_equal(rows[i].packets, 777);
	free(rows);
	assert_int_equal(after, n);
	store_close(s);
}

static void *wait_main(void *arg)
{
	struct store *s = arg;
	static struct err e = ERR_INIT;

	return verify_wait(s->verify, 1, VERIFY_BLOCKS, &e) ? NULL : &e;
}

static void a_stop_does_not_wait_for_what_is_verified(void **state)
{
	struct store *s = open_store(false);
	pthread_t waits;
	void *said;

	(void)state;
	atomic_store(&steps_verify, 0);
	assert_int_equal(pthread_create(&waits, NULL, wait_main, s), 0);
	store_end_waits(s);
	atomic_store(&let_go, true);
	pthread_join(waits, &said);
	assert_non_null(said);
	assert_string_equal(((struct err *)said)->what, "pcapd is stopping");
	store_close(s);
	print_message("verify: %lld steps\n", (long long)steps_verify);
	assert_true(steps_verify < SEGMENTS * BLOCKS);
}

static void what_was_given_up_is_verified_at_the_next_start(void **state)
{
	struct store *s = open_store(true);
	struct err e;

	(void)state;
	assert_true(verify_wait(s->verify, 1, VERIFY_BLOCKS, &e));
	store_close(s);
	print_message("verify: %lld steps\n", (long long)steps_verify);
	assert_true(steps_verify > SEGMENTS * BLOCKS);
}

static int64_t number(const char *sql)
{
	sqlite3 *db = open_catalog();
	sqlite3_stmt *q;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(q), SQLITE_ROW);
	int64_t n = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	sqlite3_close(db);
	return n;
}

#define ROWS_LEFT                                                              \
	"SELECT (SELECT count(*) FROM segments) + (SELECT count(*) FROM "      \
	"blocks) + (SELECT count(*) FROM ledger) + (SELECT count(*) FROM "     \
	"imports) + (SELECT count(*) FROM captures)"

/* Others' rows wait for a step of it, and a stop, too. It is the last test. */
static void a_large_capture_is_deleted_in_steps(void **state)
{
	struct capture_row *rows;
	char file[SEGMENT_NAME_BYTES], path[128];
	struct err e;
	size_t n;

	(void)state;
	int64_t before = number(ROWS_LEFT);
	struct store *s = open_store(true);
	assert_true(verify_wait(s->verify, 1, VERIFY_BLOCKS, &e));
	atomic_store(&steps, 0);
	atomic_store(&steps_commit_most, 0);
	atomic_store(&stop_at, 10);
	atomic_store(&to_stop, s);
	assert_true(store_delete(s, 1, &e));
	store_close(s);
	atomic_store(&to_stop, NULL);
	int64_t left = number(ROWS_LEFT);
	assert_in_range(left, BLOCKS * SEGMENTS / 2, before - SEGMENTS / 2);
	segment_name(file, 1, 1);
	snprintf(path, sizeof(path), "%s/%s", spool, file);
	assert_int_not_equal(access(path, F_OK), 0);

	/* A start resumes nothing of it, and the thread ends it. */
	s = open_store(false);
	assert_true(store_captures(s, &rows, &n, &e));
	assert_int_equal(n, 0);
	free(rows);
	assert_int_equal(number(ROWS_LEFT), left);
	atomic_store(&let_go, true);
	while (number(ROWS_LEFT))
		usleep(10000);
	print_message("%lld steps, a commit has %lld at most\n",
		      (long long)steps, (long long)steps_commit_most);
	assert_true(steps_commit_most < atomic_load(&steps) / 8);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(captures_resume_before_most_is_looked_at),
		cmocka_unit_test(the_rest_is_looked_at_before_anybody_asks),
		cmocka_unit_test(captures_resume_by_the_newest_of_the_ledger),
		cmocka_unit_test(
			the_rest_of_the_ledger_is_mended_before_anybody_asks),
		cmocka_unit_test(a_stop_does_not_wait_for_what_is_verified),
		cmocka_unit_test(
			what_was_given_up_is_verified_at_the_next_start),
		cmocka_unit_test(a_large_capture_is_deleted_in_steps),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
