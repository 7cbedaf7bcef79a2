/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Retention over very many segments, by what it does and not by how long it
 * takes: steps of SQLite's machine and connections are counted, since this
 * program's functions come before the library's.
 */
#include "store/store_internal.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SEGMENTS 50000
#define BYTES 1000 /* of each, as the catalog has it */
/* A visit of every row takes ten steps each. */
#define FEW_STEPS (4ll * SEGMENTS)

static atomic_llong steps_here, steps_there, connections;
static pthread_t tester;

int sqlite3_step(sqlite3_stmt *q)
{
	static int (*real)(sqlite3_stmt *);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "sqlite3_step");
	int got = real(q);
	/* Of schemas that are made in memory there is one, however large. */
	if (!*sqlite3_db_filename(sqlite3_db_handle(q), "main"))
		return got;
	atomic_fetch_add(pthread_equal(pthread_self(), tester) ? &steps_here
							       : &steps_there,
			 sqlite3_stmt_status(q, SQLITE_STMTSTATUS_VM_STEP, 1));
	return got;
}

int sqlite3_open_v2(const char *path, sqlite3 **db, int flags, const char *vfs)
{
	int (*real)(const char *, sqlite3 **, int, const char *);

	*(void **)&real = dlsym(RTLD_NEXT, "sqlite3_open_v2");
	atomic_fetch_add(&connections, 1);
	return real(path, db, flags, vfs);
}

static char spool[64];
static struct store_options options = {
	.spool = spool,
	.segment_bytes = 1 << 20,
	.segment_age_ns = 3600 * 1000000000ll,
	.sync_interval_ns = 20 * 1000000,
};

static void run_sql(const char *sql)
{
	char path[96], *why = NULL;
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/catalog.db", spool);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s", why);
	sqlite3_close(db);
}

/* As if each had two blocks; nobody reads them. */
static void make_segments(void)
{
	char name[128], file[SEGMENT_NAME_BYTES];

	run_sql("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM "
		"n WHERE i < 49999) INSERT INTO segments (capture, first_seq, "
		"last_seq, link_type, snaplen, closed, stored_bytes, "
		"raw_bytes, packets, min_ns, max_ns, made_ns, stored_ns) "
		"SELECT 1, 2 * i + 1, 2 * i + 2, 1, 65535, 1, 1000, 2000, 10, "
		"i, i, 1 + i, 1 + i FROM n; "
		"INSERT INTO blocks SELECT 1, first_seq + k, first_seq, "
		"24 + 500 * k, 500, 1000, 5, min_ns, max_ns, min_ns, max_ns "
		"FROM segments, (SELECT 0 AS k UNION SELECT 1)");
	for (uint64_t i = 0; i < SEGMENTS; i++) {
		segment_name(file, 1, 2 * i + 1);
		snprintf(name, sizeof(name), "%s/%s", spool, file);
		int fd = open(name, O_CREAT | O_WRONLY, 0640);
		assert_true(fd >= 0);
		close(fd);
	}
}

static struct store *open_store(void)
{
	struct err e = ERR_INIT;
	struct store *s = store_open(&options, &e);

	if (!s)
		fail_msg("%s", e.what);
	/* What begins with the start is over. */
	assert_true(verify_wait(s->verify, 1, VERIFY_BLOCKS, &e));
	return s;
}

static uint64_t kept_segments(struct store *s)
{
	struct store_totals t;
	struct err e;

	assert_true(store_totals(s, 1, &t, &e));
	return t.segments;
}

static void wait_for(struct store *s, uint64_t segments)
{
	int64_t deadline = monotonic_ns() + 120 * NS_PER_S;

	while (kept_segments(s) > segments)
		assert_true(monotonic_ns() < deadline);
	assert_int_equal(kept_segments(s), segments);
}

static int set_up(void **state)
{
	struct capture_row row = {.interface = (char[]){"lo"},
				  .filter = (char[]){""},
				  .link_type = 1,
				  .snaplen = 65535};
	char folder[96];
	struct err e;

	(void)state;
	tester = pthread_self();
	strcpy(spool, "/tmp/pcapd-test-XXXXXX");
	assert_non_null(mkdtemp(spool));
	struct store *s = open_store();
	assert_true(store_add(s, &row, &e));
	store_close(s);
	snprintf(folder, sizeof(folder), "%s/1", spool);
	mkdir(folder, 0750);
	make_segments();
	return 0;
}

static int tear_down(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", spool);
	return system(command);
}

static void a_start_does_not_ask_for_each_row(void **state)
{
	(void)state;
	atomic_store(&steps_here, 0);
	atomic_store(&connections, 0);
	struct store *s = open_store();
	print_message("start: %lld steps, %lld connections\n",
		      (long long)steps_here, (long long)connections);
	/* Some thousand go to the newest rows of each cause, however many
	 * segments there are. */
	assert_in_range(atomic_load(&steps_here), 1, SEGMENTS / 5);
	assert_in_range(atomic_load(&connections), 1, 30);
	assert_int_equal(kept_segments(s), SEGMENTS);
	store_close(s);
}

static void a_look_does_not_visit_what_stays(void **state)
{
	struct store *s = open_store();
	uint64_t all = (uint64_t)SEGMENTS * BYTES;
	struct err e;

	(void)state;
	atomic_store(&steps_there, 0);
	for (int i = 0; i < 20; i++) {
		assert_true(store_set_keep(s, 1, all + (uint64_t)i,
					   36500ll * 86400 * NS_PER_S, &e));
		housekeeper_now(s->housekeeper, true);
	}
	print_message("looks: %lld steps\n", (long long)steps_there);
	assert_in_range(atomic_load(&steps_there), 1, FEW_STEPS);
	assert_int_equal(kept_segments(s), SEGMENTS);
	store_close(s);
}

static void what_goes_costs_what_goes(void **state)
{
	struct store *s = open_store();
	struct err e;

	(void)state;
	atomic_store(&steps_there, 0);
	assert_true(store_set_keep(s, 1, (SEGMENTS - 100ull) * BYTES, 0, &e));
	wait_for(s, SEGMENTS - 100);
	print_message("100 go: %lld steps\n", (long long)steps_there);
	assert_in_range(atomic_load(&steps_there), 100, FEW_STEPS);
	store_close(s);
}

/* The first of a spool that is all over its bound. */
static void a_stop_does_not_wait_for_all(void **state)
{
	struct store *s = open_store();
	uint64_t before = kept_segments(s);
	struct err e;

	(void)state;
	assert_true(store_set_keep(s, 1, 1, 0, &e));
	while (kept_segments(s) == before)
		usleep(1000);
	store_close(s);
	s = open_store();
	assert_in_range(kept_segments(s), 1000, before - 1);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_start_does_not_ask_for_each_row),
		cmocka_unit_test(a_look_does_not_visit_what_stays),
		cmocka_unit_test(what_goes_costs_what_goes),
		cmocka_unit_test(a_stop_does_not_wait_for_all),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
