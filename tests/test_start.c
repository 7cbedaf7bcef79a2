/*
 * Starts and stops over very many rows, by what is done and not by how long it
 * takes: steps of SQLite's machine are counted, since this program's functions
 * come before the library's, and the thread that verifies waits at its first
 * question until it is let go.
 */
#include "many.h"
#include "store/spool.h"

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
/* A look at every row of a segment takes ten. */
#define FEW_STEPS SEGMENTS

static atomic_llong steps, steps_verify;
static atomic_bool let_go;

static bool is_verify(void)
{
	char name[16];

	return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 &&
	       strcmp(name, "pcapd-verify") == 0;
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
	atomic_fetch_add(verify ? &steps_verify : &steps,
			 sqlite3_stmt_status(q, SQLITE_STMTSTATUS_VM_STEP, 1));
	return got;
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
	const struct many many = {SEGMENTS, BLOCKS, 1000, 1000};
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

static void *wait_main(void *arg)
{
	struct store *s = arg;
	static struct err e = ERR_INIT;

	return verify_wait(s->verify, 1, &e) ? NULL : &e;
}

static void a_stop_does_not_wait_for_what_is_verified(void **state)
{
	struct store *s = open_store(false);
	pthread_t waits;
	void *said;

	(void)state;
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
	assert_true(verify_wait(s->verify, 1, &e));
	store_close(s);
	print_message("verify: %lld steps\n", (long long)steps_verify);
	assert_true(steps_verify > SEGMENTS * BLOCKS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stop_does_not_wait_for_what_is_verified),
		cmocka_unit_test(
			what_was_given_up_is_verified_at_the_next_start),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
