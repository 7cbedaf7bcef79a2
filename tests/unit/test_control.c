/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be done to captures, on loopback (a network namespace of its own)
 * and on savefiles made here. Every refusal must leave everything as it was.
 */
#include "control/captures.h"

#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
	struct config config;
	struct control *ctl;
	struct err e;
};

static bool can_capture;

static void reopen(struct world *w)
{
	if (w->ctl) {
		control_stop(w->ctl);
		control_close(w->ctl);
	}
	w->ctl = control_open(&w->config, &w->e);
	if (!w->ctl)
		fail_msg("%s", w->e.what);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	config_defaults(&w->config);
	strcpy(w->config.spool, "/tmp/pcapd-test-XXXXXX");
	assert_non_null(mkdtemp(w->config.spool));
	w->config.max_captures = 4;
	reopen(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[600];

	control_stop(w->ctl);
	control_close(w->ctl);
	snprintf(command, sizeof(command), "rm -rf %s", w->config.spool);
	assert_int_equal(system(command), 0);
	free(w);
	return 0;
}

/* --- savefiles in memory --- */

struct memory {
	uint8_t bytes[4096];
	size_t n, at;
};

static int64_t memory_read(void *ctx, void *to, size_t n, struct err *e)
{
	struct memory *m = ctx;
	size_t left = m->n - m->at;

	(void)e;
	if (n > left)
		n = left;
	memcpy(to, m->bytes + m->at, n);
	m->at += n;
	return (int64_t)n;
}

static void make_file(struct memory *m, uint32_t link_type, unsigned packets)
{
	memset(m, 0, sizeof(*m));
	savefile_head(m->bytes, link_type, 65535);
	m->n = SAVEFILE_HEAD_BYTES;
	for (unsigned i = 0; i < packets; i++) {
		struct packet_head h = {1000 + i, 7, 20, 60};

		memcpy(m->bytes + m->n, &h, sizeof(h));
		memset(m->bytes + m->n + sizeof(h), (int)i, 20);
		m->n += sizeof(h) + 20;
	}
}

static bool import(struct world *w, const char *alias, struct memory *m,
		   struct capture_view *v, uint64_t *packets)
{
	struct import_done d;
	bool ok = control_import(w->ctl, alias, "test.pcap", memory_read, m, &d,
				 &w->e);

	*v = d.view;
	*packets = d.packets;
	return ok;
}

static size_t count(struct world *w)
{
	struct capture_view *v;
	size_t n;

	assert_true(control_list(w->ctl, NULL, &v, &n, &w->e));
	for (size_t i = 0; i < n; i++)
		capture_view_done(&v[i]);
	free(v);
	return n;
}

static void files_of_one_link_type_add_up_under_their_alias(void **state)
{
	struct world *w = *state;
	struct capture_view v;
	struct memory m;
	uint64_t packets;

	for (unsigned round = 1; round <= 2; round++) {
		make_file(&m, 1, 30);
		assert_true(import(w, "trace", &m, &v, &packets));
		assert_int_equal(packets, 30);
		assert_int_equal(v.totals.packets, 30 * round);
		assert_int_equal(v.state, CAPTURE_STOPPED);
		assert_int_equal(v.totals.min_ns, 1000 * NS_PER_S + 7);
		capture_view_done(&v);
	}
	make_file(&m, 101, 3);
	assert_false(import(w, "trace", &m, &v, &packets));
	assert_int_equal(w->e.kind, ERR_STATE);
	assert_string_equal(w->e.what, "test.pcap has link type 101 (RAW), "
				       "'trace' has 1 (EN10MB)");
	assert_int_equal(packets, 0);
	assert_int_equal(count(w), 1);
	assert_false(control_start(w->ctl, "trace", &v, &w->e));
	assert_int_equal(w->e.kind, ERR_STATE);
	reopen(w);
	assert_int_equal(count(w), 1);
}

struct deleting {
	struct world *w;
	struct memory file;
	unsigned tries;
};

/* Somebody deletes it while the rest of the file is still to come. */
static int64_t read_and_delete(void *ctx, void *to, size_t n, struct err *e)
{
	struct deleting *d = ctx;
	struct capture_view v;
	struct err refused = ERR_INIT;

	if (count(d->w) > 0) {
		d->tries++;
		assert_false(control_delete(d->w->ctl, "busy", &v, &refused));
		assert_int_equal(refused.kind, ERR_STATE);
		assert_string_equal(refused.what,
				    "capture 'busy' is being imported into");
	}
	return memory_read(&d->file, to, n, e);
}

static void what_is_imported_into_is_not_deleted(void **state)
{
	struct deleting d = {.w = *state};
	struct import_done done;
	struct capture_view v;

	make_file(&d.file, 1, 30);
	assert_true(control_import(d.w->ctl, "busy", "f", read_and_delete, &d,
				   &done, &d.w->e));
	capture_view_done(&done.view);
	assert_true(d.tries > 0);
	assert_int_equal(done.packets, 30);
	assert_int_equal(count(d.w), 1);
	assert_true(control_delete(d.w->ctl, "busy", &v, &d.w->e));
	capture_view_done(&v);
	assert_int_equal(count(d.w), 0);
}

static void a_cut_file_brings_its_whole_packets_and_says_so(void **state)
{
	struct world *w = *state;
	struct capture_view v;
	struct memory m;
	uint64_t packets;

	make_file(&m, 1, 10);
	m.n -= 5;
	assert_false(import(w, "cut", &m, &v, &packets));
	assert_int_equal(w->e.kind, ERR_INCOMPLETE);
	assert_int_equal(packets, 9);
	assert_int_equal(v.totals.packets, 9);
	capture_view_done(&v);
}

static void what_is_no_savefile_makes_no_capture(void **state)
{
	struct world *w = *state;
	struct capture_view v;
	struct memory m = {.bytes = "GIF89a and so on, not packets", .n = 30};
	uint64_t packets;

	assert_false(import(w, "gif", &m, &v, &packets));
	assert_int_equal(w->e.kind, ERR_USAGE);
	assert_non_null(strstr(w->e.what, "test.pcap"));
	m.n = m.at = 0;
	assert_false(import(w, "gif", &m, &v, &packets));
	assert_int_equal(w->e.kind, ERR_USAGE);
	assert_int_equal(count(w), 0);
}

static void an_alias_has_a_form(void **state)
{
	struct world *w = *state;
	static const char *const bad[] = {"",	  "123",   "a b",      "a/b",
					  "..\n", "web:1", "\xc3\xa4", "..",
					  ".x",	  "-x",	   "--"};
	struct capture_view v;
	struct memory m;
	uint64_t packets;
	char name[ALIAS_MAX + 2];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		make_file(&m, 1, 1);
		assert_false(import(w, bad[i], &m, &v, &packets));
		assert_int_equal(w->e.kind, ERR_USAGE);
	}
	memset(name, 'a', sizeof(name));
	name[ALIAS_MAX + 1] = '\0';
	assert_false(import(w, name, &m, &v, &packets));
	assert_int_equal(w->e.kind, ERR_USAGE);
	assert_int_equal(count(w), 0);
	name[ALIAS_MAX] = '\0';
	make_file(&m, 1, 1);
	assert_true(import(w, name, &m, &v, &packets));
	capture_view_done(&v);
}

static void aliases_are_added_moved_and_refused(void **state)
{
	struct world *w = *state;
	struct capture_view v;
	struct memory m;
	uint64_t packets;

	make_file(&m, 1, 1);
	assert_true(import(w, "one", &m, &v, &packets));
	capture_view_done(&v);
	make_file(&m, 1, 1);
	assert_true(import(w, "two", &m, &v, &packets));
	capture_view_done(&v);
	assert_false(control_alias_add(w->ctl, "one", "two", &v, &w->e));
	assert_int_equal(w->e.kind, ERR_EXISTS);
	assert_string_equal(w->e.what, "alias 'two' is taken");
	assert_true(control_alias_add(w->ctl, "1", "uno", &v, &w->e));
	assert_int_equal(v.row.n_aliases, 2);
	capture_view_done(&v);
	assert_true(control_alias_remove(w->ctl, "two", &v, &w->e));
	assert_int_equal(v.row.id, 2);
	assert_int_equal(v.row.n_aliases, 0);
	capture_view_done(&v);
	assert_false(control_alias_remove(w->ctl, "two", &v, &w->e));
	assert_int_equal(w->e.kind, ERR_NOT_FOUND);
	assert_true(control_alias_add(w->ctl, "uno", "two", &v, &w->e));
	capture_view_done(&v);
	reopen(w);
	assert_true(control_delete(w->ctl, "two", &v, &w->e));
	assert_int_equal(v.row.id, 1);
	capture_view_done(&v);
	assert_false(control_delete(w->ctl, "one", &v, &w->e));
	assert_int_equal(w->e.kind, ERR_NOT_FOUND);
	assert_string_equal(w->e.what, "no capture 'one'");
	assert_int_equal(count(w), 1);
}

static void there_are_at_most_max_captures(void **state)
{
	struct world *w = *state;
	struct capture_view v;
	struct memory m;
	uint64_t packets;
	char alias[16];

	for (int i = 0; i < 4; i++) {
		make_file(&m, 1, 1);
		snprintf(alias, sizeof(alias), "f%d", i);
		assert_true(import(w, alias, &m, &v, &packets));
		capture_view_done(&v);
	}
	make_file(&m, 1, 1);
	assert_false(import(w, "f4", &m, &v, &packets));
	assert_int_equal(w->e.kind, ERR_LIMIT);
	assert_non_null(strstr(w->e.what, "max-captures"));
}

/* --- live --- */

static bool init(struct world *w, const char *interface, const char *filter,
		 const char *alias, bool start, struct capture_view *v,
		 bool *created, bool *alias_added)
{
	struct init_options o = {.alias = alias, .start = start};
	char note[INIT_NOTE_MAX];

	snprintf(o.capture.interface, sizeof(o.capture.interface), "%s",
		 interface);
	snprintf(o.capture.filter, sizeof(o.capture.filter), "%s", filter);
	return control_init(w->ctl, &o, v, created, alias_added, note, &w->e);
}

static void need_capture(void)
{
	if (can_capture)
		return;
	print_message("SKIPPED: this needs root and a network namespace\n");
	skip();
}

static void the_same_interface_and_program_is_the_same_capture(void **state)
{
	struct world *w = *state;
	struct capture_view v;
	bool created, added;

	need_capture();
	assert_true(init(w, "lo", "tcp port 80", "web", false, &v, &created,
			 &added));
	assert_true(created);
	capture_view_done(&v);
	assert_true(init(w, "lo", "tcp  port http", "www", false, &v, &created,
			 &added));
	assert_false(created);
	assert_true(added);
	assert_int_equal(v.row.id, 1);
	assert_int_equal(v.row.n_aliases, 2);
	capture_view_done(&v);
	assert_true(init(w, "lo", "port 80", "", false, &v, &created, &added));
	assert_true(created);
	assert_int_equal(v.row.id, 2);
	capture_view_done(&v);
	assert_false(
		init(w, "lo", "port 80", "web", false, &v, &created, &added));
	assert_int_equal(w->e.kind, ERR_EXISTS);
	assert_true(init(w, "", "port 80", "", false, &v, &created, &added));
	assert_string_equal(v.row.interface, "any");
	assert_int_equal(v.row.link_type, 276); /* LINUX_SLL2 */
	capture_view_done(&v);
	assert_int_equal(count(w), 3);
}

static void a_refused_init_changes_nothing(void **state)
{
	struct world *w = *state;
	struct capture_view v;
	bool created, added;

	need_capture();
	assert_false(init(w, "tcp", "", "x", true, &v, &created, &added));
	assert_int_equal(w->e.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(w->e.what, "tcp: no such interface"));
	assert_false(init(w, "eth77", "tcp prt 80", "x", true, &v, &created,
			  &added));
	assert_int_equal(w->e.kind, ERR_USAGE);
	assert_non_null(strstr(w->e.hint, "eth77 is not there"));
	assert_false(
		init(w, "lo", "tcp prt 80", "x", true, &v, &created, &added));
	assert_int_equal(w->e.kind, ERR_USAGE);
	assert_non_null(strstr(w->e.what, "prt"));
	assert_false(init(w, "lo", "", "1", true, &v, &created, &added));
	assert_int_equal(w->e.kind, ERR_USAGE);
	assert_int_equal(count(w), 0);
}

static void running_is_remembered_and_twice_is_refused(void **state)
{
	struct world *w = *state;
	struct capture_view v;
	bool created, added;

	need_capture();
	assert_true(init(w, "lo", "udp", "dns", true, &v, &created, &added));
	assert_int_equal(v.state, CAPTURE_RUNNING);
	capture_view_done(&v);
	assert_false(control_start(w->ctl, "dns", &v, &w->e));
	assert_int_equal(w->e.kind, ERR_STATE);
	assert_string_equal(w->e.what, "capture 'dns' runs already");
	assert_false(control_delete(w->ctl, "dns", &v, &w->e));
	assert_int_equal(w->e.kind, ERR_STATE);
	assert_string_equal(w->e.hint, "Stop it first: 'pcap stop dns'.");
	reopen(w);
	assert_true(control_stop_one(w->ctl, "dns", &v, &w->e));
	assert_int_equal(v.state, CAPTURE_STOPPED);
	capture_view_done(&v);
	assert_false(control_stop_one(w->ctl, "dns", &v, &w->e));
	assert_int_equal(w->e.kind, ERR_STATE);
	reopen(w);
	assert_false(control_stop_one(w->ctl, "dns", &v, &w->e));
	struct memory m;
	uint64_t packets;
	make_file(&m, 1, 1);
	assert_false(import(w, "dns", &m, &v, &packets));
	assert_string_equal(
		w->e.what, "'dns' captures on lo; savefiles do not go into it");
	assert_true(control_delete(w->ctl, "dns", &v, &w->e));
	capture_view_done(&v);
}

/* --- the ledger --- */

static struct coverage coverage(struct world *w, const char *name,
				int64_t since_ns, int64_t until_ns)
{
	struct coverage c;
	struct capture_view v;

	if (!control_coverage(w->ctl, name, since_ns, until_ns, &c, &v, &w->e))
		fail_msg("%s", w->e.what);
	capture_view_done(&v);
	return c;
}

static void starts_stops_and_restarts_are_in_the_ledger(void **state)
{
	static const enum ledger_cause causes[] = {
		LEDGER_STOPPED, LEDGER_STOPPED, LEDGER_RESTART, LEDGER_STOPPED};
	struct world *w = *state;
	struct capture_view v;
	bool created, added;

	need_capture();
	assert_true(init(w, "lo", "udp", "dns", false, &v, &created, &added));
	int64_t made = v.row.created_ns;
	capture_view_done(&v);
	for (int round = 0; round < 2; round++) {
		assert_true(control_start(w->ctl, "dns", &v, &w->e));
		capture_view_done(&v);
		if (round == 1)
			reopen(w);
		assert_true(control_stop_one(w->ctl, "dns", &v, &w->e));
		capture_view_done(&v);
	}
	struct coverage c = coverage(w, "dns", made, INT64_MAX);
	assert_int_equal(c.n, 4);
	assert_int_equal(c.gaps, 4);
	for (size_t i = 0; i < c.n; i++) {
		assert_int_equal(c.rows[i].cause, causes[i]);
		assert_true(c.rows[i].from_ns >= made);
		if (i)
			assert_true(c.rows[i].from_ns >= c.rows[i - 1].to_ns);
	}
	assert_true(c.rows[3].to_ns == LEDGER_OPEN);
	assert_true(c.from_ns >= c.rows[0].to_ns);
	assert_true(c.to_ns <= c.rows[3].from_ns);
	free(c.rows);
	/* What nobody asked for is no gap. */
	c = coverage(w, "dns", 0, 0);
	assert_int_equal(c.gaps, 2);
	free(c.rows);
	/* It goes with its capture. */
	assert_true(control_delete(w->ctl, "dns", &v, &w->e));
	capture_view_done(&v);
	assert_false(control_coverage(w->ctl, "dns", 0, 0, &c, &v, &w->e));
	assert_int_equal(w->e.kind, ERR_NOT_FOUND);
}

static void limits_holds_and_marks_are_kept(void **state)
{
	struct world *w = *state;
	struct capture_view v;
	struct memory m;
	uint64_t packets, bytes = 5 << 20;
	int64_t age = 1000000 * 86400ll * 1000000, at = 0;
	struct store_hold hold = {.since_ns = 1, .until_ns = 2, .reason = "x"};
	struct store_mark mark = {.name = "boom", .at_ns = 77};
	struct store_mark bad = {.name = "a b", .at_ns = 77};

	make_file(&m, 1, 3);
	assert_true(import(w, "trace", &m, &v, &packets));
	uint64_t id = v.row.id;
	capture_view_done(&v);
	assert_true(control_set_keep(w->ctl, "trace", &bytes, NULL, &v, &w->e));
	capture_view_done(&v);
	assert_true(control_set_keep(w->ctl, "trace", NULL, &age, &v, &w->e));
	assert_int_equal(v.row.keep_bytes, bytes);
	assert_int_equal(v.row.keep_age_ns, age);
	capture_view_done(&v);
	assert_true(control_hold(w->ctl, "trace", &hold, &v, &w->e));
	capture_view_done(&v);
	assert_true(control_mark(w->ctl, "trace", &mark, false, &v, &w->e));
	capture_view_done(&v);
	assert_false(control_mark(w->ctl, "trace", &bad, false, &v, &w->e));
	assert_string_equal(w->e.what,
			    "mark 'a b': expected 1 to 64 of A-Z a-z 0-9 . _ "
			    "-, not only digits, and no . or - in front");
	reopen(w);
	assert_true(
		store_mark_find(control_store(w->ctl), id, "boom", &at, &w->e));
	assert_int_equal(at, 77);
	assert_false(control_release(w->ctl, "trace", hold.id + 1, &v, &w->e));
	assert_int_equal(w->e.kind, ERR_NOT_FOUND);
	assert_true(control_release(w->ctl, "trace", hold.id, &v, &w->e));
	assert_int_equal(v.row.keep_bytes, bytes);
	assert_int_equal(v.row.keep_age_ns, age);
	capture_view_done(&v);
	assert_true(control_mark(w->ctl, "trace", &mark, true, &v, &w->e));
	capture_view_done(&v);
	assert_false(control_mark(w->ctl, "trace", &mark, true, &v, &w->e));
	assert_int_equal(w->e.kind, ERR_NOT_FOUND);
}

/* Loopback of a namespace of our own, so that nobody else's packets are
 * there. */
static bool private_loopback(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &r) == 0;
	if (fd >= 0)
		close(fd);
	return up;
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(files_of_one_link_type_add_up_under_their_alias),
		WORLD(what_is_imported_into_is_not_deleted),
		WORLD(a_cut_file_brings_its_whole_packets_and_says_so),
		WORLD(what_is_no_savefile_makes_no_capture),
		WORLD(an_alias_has_a_form),
		WORLD(aliases_are_added_moved_and_refused),
		WORLD(there_are_at_most_max_captures),
		WORLD(the_same_interface_and_program_is_the_same_capture),
		WORLD(a_refused_init_changes_nothing),
		WORLD(running_is_remembered_and_twice_is_refused),
		WORLD(starts_stops_and_restarts_are_in_the_ledger),
		WORLD(limits_holds_and_marks_are_kept),
	};

	can_capture = private_loopback();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
