/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every call that changes a file fails once, is done in half, or is the last
 * before a crash or a power loss, over a whole life of a spool: capture,
 * rotate, expire, reopen. What is there afterwards is what was sent, without
 * what expired and, after a crash, without the end; what writer_stop said was
 * stored is there in any case; and check finds nothing wrong.
 */
#include "fault.h"
#include "store/ledger.h"
#include "store/store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Lives wait most of the time, so some are lived side by side: with
 * PCAPD_FAULTS_ALL every n has one, as in .ci/run, else one in a few has, other
 * ones each time. */
#define WORKERS 8
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ONE_IN 41
#else
#define ONE_IN 11
#endif

#define PACKET 1000u
#define PER_BLOCK 20u
#define BLOCKS 4u /* a run of the writer */
#define START (1700000000ll * NS_PER_S)

/* What the child tells, also when it dies. */
struct progress {
	uint64_t sent;	 /* packets */
	uint64_t stored; /* so says writer_stop */
	uint64_t dropped;
	char error[256];
};

static char spool[64], mirror[80];
static struct progress *progress;
static const struct store_options options = {
	.spool = spool,
	.segment_bytes = 2 * PER_BLOCK * (PACKET + 16),
	.segment_age_ns = 3600 * NS_PER_S,
	.compression_level = -1,
	.sync_interval_ns = 3600 * NS_PER_S,
};

/* Packet i: everything in it follows from i. */
static void make(uint64_t i, struct packet_head *h, uint8_t body[PACKET])
{
	uint64_t x = i * 0x9e3779b97f4a7c15ull + 1;

	h->sec = (uint32_t)(START / NS_PER_S + (int64_t)(i / 1000));
	h->nsec = (uint32_t)(i % 1000) * 1000000;
	h->caplen = h->len = PACKET;
	memcpy(body, &i, sizeof(i));
	for (size_t at = 8; at < PACKET; at++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		body[at] = (uint8_t)(x >> 56);
	}
}

/* --- the life, in a process of its own --- */

static void give_up(const struct err *e)
{
	snprintf(progress->error, sizeof(progress->error), "%.250s", e->what);
	_exit(1);
}

/* An error of the disk when opening is the operator's to try again. */
static struct store *open_store(void)
{
	struct err e;
	struct store *s;

	for (int tries = 0; !(s = store_open(&options, &e)); tries++)
		if (tries == 3)
			give_up(&e);
	return s;
}

static void capture_some(struct store *s, uint64_t id)
{
	struct writer_status st;
	struct store_totals t;
	struct packet_head h;
	uint8_t body[PACKET];
	struct err e;

	if (!store_totals(s, id, &t, &e))
		give_up(&e);
	struct capture_tail *f = capture_tail_new_waiting(id, t.next_seq, 8);
	struct writer *w = writer_start(s, f, &e);
	if (!w)
		give_up(&e);
	for (unsigned block = 0; block < BLOCKS; block++) {
		struct block *b = capture_tail_open(f, 1, 65535);

		for (unsigned n = 0; n < PER_BLOCK; n++) {
			make(progress->sent, &h, body);
			block_append(b, &h, body);
			capture_tail_publish(f, b, 1);
			progress->sent++;
		}
		capture_tail_seal(f, b);
	}
	writer_stop(w, &st);
	progress->dropped += st.dropped_disk;
	memcpy(progress->error, st.error, sizeof(progress->error));
	if (!st.error[0])
		progress->stored = progress->sent;
	capture_tail_unref(f);
}

static uint64_t add_capture(struct store *s)
{
	struct capture_row row = {.interface = (char[]){"lo"},
				  .filter = (char[]){""},
				  .link_type = 1,
				  .snaplen = 65535};
	struct err e;

	for (int tries = 0; !store_add(s, &row, &e); tries++)
		if (tries == 3)
			give_up(&e);
	return row.id;
}

static void live(void)
{
	struct err e;
	struct store *s = open_store();
	uint64_t id = add_capture(s);

	capture_some(s, id);
	capture_some(s, id);
	store_close(s);
	s = open_store();
	capture_some(s, id);
	/* Two of six segments stay. */
	for (int tries = 0; !store_set_keep(s, id, 100000, 0, &e); tries++)
		if (tries == 3)
			give_up(&e);
	store_close(s);
	s = open_store();
	capture_some(s, id);
	store_close(s);
}

/* --- what is there afterwards --- */

struct seen {
	uint64_t first, packets;
	uint64_t lost;
};

static void see(const struct slice *s, struct seen *seen, const char *what,
		long n)
{
	struct packet_head h, want;
	const uint8_t *body = NULL;
	uint8_t made[PACKET];
	uint32_t at = s->from;
	uint64_t i;

	while (packet_next(s->block->arena, s->to, &at, &h, &body) == 1) {
		assert_int_equal(h.caplen, PACKET);
		memcpy(&i, body, sizeof(i));
		make(i, &want, made);
		assert_memory_equal(&h, &want, sizeof(h));
		assert_memory_equal(body, made, PACKET);
		if (!seen->packets)
			seen->first = i;
		if (i != seen->first + seen->packets + seen->lost)
			fail_msg("%s %ld: packet %d after %d of %d", what, n,
				 (int)i, (int)seen->packets, (int)seen->first);
		seen->packets++;
	}
}

static uint64_t ledger_packets(struct store *s, uint64_t id,
			       enum ledger_cause cause)
{
	struct ledger_row *rows;
	struct err e;
	size_t n;
	uint64_t sum = 0;

	assert_true(ledger_list(s, id, 0, 0, &rows, &n, &e));
	for (size_t i = 0; i < n; i++)
		if (rows[i].cause == cause)
			sum += rows[i].packets;
	free(rows);
	return sum;
}

static void fail_line(void *ctx, const char *line)
{
	(void)ctx;
	print_error("check: %s\n", line);
}

static void assert_whole(const char *what, long n)
{
	struct capture_row *rows;
	struct store_totals t;
	struct store_findings found;
	struct seen seen = {0};
	struct cursor_range range = {0};
	struct cursor_item item;
	struct err e = ERR_INIT;
	const char *why;
	size_t count;
	struct store *store = store_open(&options, &e);

	if (!store)
		fail_msg("%s %ld: %s", what, n, e.what);
	assert_true(store_captures(store, &rows, &count, &e));
	if (count == 1) {
		assert_true(store_totals(store, rows[0].id, &t, &e));
		struct capture_tail *f =
			capture_tail_new(rows[0].id, t.next_seq, 8);
		struct cursor *c = cursor_open(store, f, &range, &e);
		while (cursor_next(c, &item, &e) == 1) {
			see(&item.slice, &seen, what, n);
			block_unref(item.slice.block);
		}
		if (cursor_lost(c, &why))
			fail_msg("%s %ld: lost %s", what, n, why);
		cursor_close(c);
		capture_tail_unref(f);
		if (seen.packets &&
		    seen.first !=
			    ledger_packets(store, rows[0].id, LEDGER_EXPIRED))
			fail_msg("%s %ld: begins with %d, expired are %d", what,
				 n, (int)seen.first,
				 (int)ledger_packets(store, rows[0].id,
						     LEDGER_EXPIRED));
		capture_row_done(&rows[0]);
	}
	if (seen.first + seen.packets < progress->stored)
		fail_msg("%s %ld: %d of %d stored packets", what, n,
			 (int)(seen.first + seen.packets),
			 (int)progress->stored);
	free(rows);
	store_close(store);
	if (!store_check(spool, fail_line, NULL, &found, &e))
		fail_msg("%s %ld: check: %s", what, n, e.what);
	if (found.problems)
		fail_msg("%s %ld: %d problems", what, n, (int)found.problems);
}

static void shell(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

/* 1: the life went past the fault; 0: it did not come that far. */
static bool live_with(enum fault_kind kind, long n, int error, long times,
		      bool power, const char *what)
{
	int status;

	shell("rm -rf %s %s; mkdir %s", spool, mirror, mirror);
	memset(progress, 0, sizeof(*progress));
	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (!getenv("PCAPD_LOUD"))
			stderr = freopen("/dev/null", "w", stderr);
		fault_arm(spool, power ? mirror : NULL, kind, n, error, times);
		live();
		long count = fault_count();
		fault_disarm();
		_exit(count < n ? 2 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status))
		fail_msg("%s %ld: signal %d", what, n, WTERMSIG(status));
	int code = WEXITSTATUS(status);
	if (code == 1)
		fail_msg("%s %ld: %s", what, n, progress->error);
	assert_true(code == 0 || code == 2 || code == FAULT_STATUS);
	if (power)
		shell("rm -rf %s %s/.inode; mv %s %s", spool, mirror, mirror,
		      spool);
	if (kind != FAULT_DIE) {
		if (progress->dropped)
			fail_msg("%s %ld: %d dropped: %s", what, n,
				 (int)progress->dropped, progress->error);
		assert_int_equal(progress->sent, 4 * BLOCKS * PER_BLOCK);
	}
	assert_whole(what, n);
	return code != 2;
}

static long one_in(void)
{
	return getenv("PCAPD_FAULTS_ALL") ? 1 : ONE_IN;
}

static void lives(long first, enum fault_kind kind, int error, long times,
		  bool power, const char *what)
{
	long n = first;

	while (live_with(kind, n, error, times, power, what))
		n += WORKERS * one_in();
	print_message("%s: %ld calls\n", what, n);
	assert_in_range(n, 50, 100000);
}

/* This program again, for one test and one worker's part of it. */
static pid_t start_worker(const char *test, long part)
{
	char number[16];

	fflush(NULL);
	pid_t worker = fork();
	assert_true(worker >= 0);
	if (worker > 0)
		return worker;
	snprintf(number, sizeof(number), "%ld", part);
	setenv("PCAPD_FAULTS_TEST", test, 1);
	setenv("PCAPD_FAULTS_PART", number, 1);
	execl("/proc/self/exe", "test_store_faults", (char *)NULL);
	_exit(127);
}

static void every(const char *test, enum fault_kind kind, int error, long times,
		  bool power, const char *what)
{
	const char *part = getenv("PCAPD_FAULTS_PART");
	const char *one = getenv("PCAPD_FAULTS_ONE");
	long offset = (long)time(NULL) % one_in();
	pid_t workers[WORKERS];
	int status, failed = 0;

	if (one)
		live_with(kind, atol(one), error, times, power, what);
	else if (part)
		lives(atol(part), kind, error, times, power, what);
	if (one || part)
		return;
	for (long i = 0; i < WORKERS; i++)
		workers[i] = start_worker(test, 1 + offset + i * one_in());
	for (long i = 0; i < WORKERS; i++) {
		assert_int_equal(waitpid(workers[i], &status, 0), workers[i]);
		failed += status != 0;
	}
	if (failed)
		fail_msg("%s: see above", what);
}

static void a_full_disk_for_one_call_loses_nothing(void **state)
{
	(void)state;
	every(__func__, FAULT_FAIL, ENOSPC, 1, false, "ENOSPC");
}

static void an_io_error_loses_nothing(void **state)
{
	(void)state;
	every(__func__, FAULT_FAIL, EIO, 2, false, "EIO");
}

static void a_short_write_is_gone_on_with(void **state)
{
	(void)state;
	every(__func__, FAULT_SHORT, 0, 1, false, "short write");
}

static void a_crash_loses_only_the_end(void **state)
{
	(void)state;
	every(__func__, FAULT_DIE, 0, 1, false, "crash");
}

static void a_power_loss_keeps_what_was_synced(void **state)
{
	(void)state;
	every(__func__, FAULT_DIE, 0, 1, true, "power loss");
}

/* --- a crash while the last one is put in order --- */

#define MANY 900u

static void write_one_block(void)
{
	struct store *s = open_store();
	uint64_t id = add_capture(s);
	struct capture_tail *f = capture_tail_new(id, 1, 8);
	struct writer_status st;
	struct packet_head h;
	uint8_t body[PACKET];
	struct err e;
	struct writer *w = writer_start(s, f, &e);
	struct block *b = capture_tail_open(f, 1, 65535);

	for (uint64_t i = 0; i < MANY; i++) {
		make(i, &h, body);
		block_append(b, &h, body);
	}
	capture_tail_publish(f, b, MANY);
	capture_tail_seal(f, b);
	writer_stop(w, &st);
	capture_tail_unref(f);
	store_close(s);
}

/* In a process of its own: SQLite and threads do not like fork. */
static int in_child(void (*run)(void), long n, const char *mirrored)
{
	int status;

	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		stderr = freopen("/dev/null", "w", stderr);
		fault_arm(spool, mirrored, n ? FAULT_DIE : FAULT_NONE, n, 0, 1);
		run();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void reopen(void)
{
	store_close(open_store());
}

static uint64_t packets_there(const char *what, long n)
{
	struct store_totals t;
	struct err e;

	assert_whole(what, n);
	struct store *s = store_open(&options, &e);
	assert_non_null(s);
	assert_true(store_totals(s, 1, &t, &e));
	store_close(s);
	return t.packets;
}

static void crash_in_recovery(bool power, const char *what)
{
	long n = 0;
	uint64_t whole = 0, now;
	int code;

	do {
		shell("rm -rf %s %s; mkdir %s; cp -r %s.torn %s", spool, mirror,
		      mirror, spool, spool);
		code = in_child(reopen, n, power ? mirror : NULL);
		assert_true(code == 0 || code == FAULT_STATUS);
		if (power && n)
			shell("rm -rf %s %s/.inode; mv %s %s", spool, mirror,
			      mirror, spool);
		now = packets_there(what, n);
		if (n == 0)
			whole = now;
		if (now != whole)
			fail_msg("%s %ld: %d packets of %d", what, n, (int)now,
				 (int)whole);
	} while (n++ == 0 || code == FAULT_STATUS);
	print_message("%s: %ld calls\n", what, n);
	assert_in_range(whole, MANY / 3, MANY - 1);
	assert_in_range(n, 20, 1000);
}

static void a_crash_in_recovery_loses_nothing_that_was_whole(void **state)
{
	(void)state;
	shell("rm -rf %s", spool);
	memset(progress, 0, sizeof(*progress));
	assert_int_equal(in_child(write_one_block, 0, NULL), 0);
	shell("sqlite3 %s/catalog.db 'DELETE FROM blocks; DELETE FROM "
	      "segments'",
	      spool);
	shell("truncate -s 600000 %s/1/00000000000000000001.pcap.zst", spool);
	shell("mv %s %s.torn", spool, spool);
	crash_in_recovery(false, "crash in recovery");
	crash_in_recovery(true, "power loss in recovery");
	shell("rm -rf %s.torn", spool);
}

static int set_up(void **state)
{
	(void)state;
	strcpy(spool, "/tmp/pcapd-test-XXXXXX");
	assert_non_null(mkdtemp(spool));
	snprintf(mirror, sizeof(mirror), "%s.mirror", spool);
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(progress != MAP_FAILED);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	shell("rm -rf %s %s", spool, mirror);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_disk_for_one_call_loses_nothing),
		cmocka_unit_test(an_io_error_loses_nothing),
		cmocka_unit_test(a_short_write_is_gone_on_with),
		cmocka_unit_test(a_crash_loses_only_the_end),
		cmocka_unit_test(a_power_loss_keeps_what_was_synced),
		cmocka_unit_test(
			a_crash_in_recovery_loses_nothing_that_was_whole),
	};

	cmocka_set_test_filter(getenv("PCAPD_FAULTS_TEST"));
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
