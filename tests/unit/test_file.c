/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that are replaced, on a disk that loses what was not synced. */
#include "base/file.h"
#include "cli/remotes.h"
#include "fault.h"
#include "tls/allow.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 50

struct disk {
	char folder[64], mirror[80], path[80], kept[96];
};

static int set_up(void **state)
{
	struct disk *d = calloc(1, sizeof(*d));
	char folder[] = "/tmp/pcapd-test-XXXXXX";

	assert_non_null(mkdtemp(folder));
	strcpy(d->folder, folder);
	snprintf(d->mirror, sizeof(d->mirror), "%s.disk", folder);
	snprintf(d->path, sizeof(d->path), "%s/file", folder);
	snprintf(d->kept, sizeof(d->kept), "%s/file", d->mirror);
	*state = d;
	return 0;
}

static int tear_down(void **state)
{
	struct disk *d = *state;
	char command[256];

	snprintf(command, sizeof(command), "rm -rf %s %s", d->folder,
		 d->mirror);
	assert_int_equal(system(command), 0);
	free(d);
	return 0;
}

/* What is in a file; "" if there is none. */
static const char *text_of(const char *path)
{
	static char text[4096];
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	if (f)
		fclose(f);
	text[n] = '\0';
	return text;
}

static struct allowed allowed_one(char letter, const char *name)
{
	struct allowed one = {.role = ROLE_OPERATOR};

	memset(one.fingerprint, letter, FINGERPRINT_TEXT - 1);
	strcpy(one.name, name);
	return one;
}

/* --- who changes such a file --- */

static void allow_before(const char *path)
{
	struct allowed bob = allowed_one('b', "bob"),
		       eve = allowed_one('e', "eve");
	struct err e = ERR_INIT;

	assert_true(allow_add(path, &bob, &e));
	assert_true(allow_add(path, &eve, &e));
}

static bool allow_revoke(const char *path)
{
	struct err e = ERR_INIT;
	size_t n;

	return allow_remove(path, "bob", &n, &e);
}

static void remotes_before(const char *path)
{
	struct remote bob = {.name = "bob", .url = "ssh://bob"},
		      eve = {.name = "eve", .url = "ssh://eve"};
	struct err e = ERR_INIT;

	assert_true(remotes_add(path, &bob, &e));
	assert_true(remotes_add(path, &eve, &e));
}

static bool remotes_forget(const char *path)
{
	struct err e = ERR_INIT;

	return remotes_remove(path, "bob", &e);
}

static const struct {
	void (*before)(const char *path);
	bool (*change)(const char *path); /* removes bob, and eve stays */
} users[] = {
	{allow_before, allow_revoke},
	{remotes_before, remotes_forget},
};

/* --- tests --- */

/* 0 it said so, 1 it failed, 2 and there was no n-th call, or FAULT_STATUS. */
static int change_in_child(const struct disk *d, size_t user,
			   enum fault_kind kind, long n)
{
	char command[256];
	int status;

	snprintf(command, sizeof(command), "rm -rf %s; mkdir %s", d->mirror,
		 d->mirror);
	assert_int_equal(system(command), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		fault_arm(d->folder, d->mirror, kind, n, ENOSPC, 1);
		bool ok = users[user].change(d->path);
		_exit(fault_count() < n ? ok ? 2 : 3 : !ok);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Whichever call fails or is the last: before and after the power fails the
 * file is the old one or the new one, and the new one if it was said so. */
static void what_was_removed_stays_so_after_a_power_loss(void **state)
{
	static const enum fault_kind kinds[] = {FAULT_FAIL, FAULT_SHORT,
						FAULT_DIE};
	struct disk *d = *state;
	long calls = 0;

	for (size_t i = 0; i < 6; i++) {
		char old[4096];
		int code = 0;

		for (long n = 1; code != 2 && n < MANY; n++, calls++) {
			unlink(d->path);
			users[i / 3].before(d->path);
			strcpy(old, text_of(d->path));
			code = change_in_child(d, i / 3, kinds[i % 3], n);
			assert_int_not_equal(code, 3);
			const char *here = text_of(d->path);
			assert_non_null(strstr(here, "eve"));
			bool is_old = strcmp(here, old) == 0;
			assert_true(is_old || !strstr(here, "bob"));
			const char *kept = text_of(d->kept);
			assert_non_null(strstr(kept, "eve"));
			is_old = strcmp(kept, old) == 0;
			assert_true(is_old || !strstr(kept, "bob"));
			if (code == 0 || code == 2)
				assert_false(is_old);
		}
		assert_int_equal(code, 2);
	}
	assert_in_range(calls, 20, 100);
}

static void mode_and_owner_stay(void **state)
{
	struct disk *d = *state;
	struct err e = ERR_INIT;
	struct stat st;

	umask(077);
	assert_true(file_replace(AT_FDCWD, d->path, "1", 1, 0644, &e));
	assert_int_equal(stat(d->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(chmod(d->path, 0640), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(d->path, 1, 2), 0);
	assert_true(file_replace(AT_FDCWD, d->path, "2", 1, 0644, &e));
	assert_string_equal(text_of(d->path), "2");
	assert_int_equal(stat(d->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	if (geteuid() == 0) {
		assert_int_equal(st.st_uid, 1);
		assert_int_equal(st.st_gid, 2);
	}
}

/* A list that cannot be read is not an empty one. */
static void what_cannot_be_read_is_not_written_over(void **state)
{
	struct disk *d = *state;
	struct allowed one = allowed_one('a', "alice");
	struct err e = ERR_INIT;

	assert_int_equal(symlink("file", d->path), 0);
	assert_false(allow_add(d->path, &one, &e));
	assert_non_null(strstr(e.what, "/file: Too many levels of symbolic"));
	assert_false(file_replace(AT_FDCWD, "/nowhere/file", "1", 1, 0644, &e));
	assert_string_equal(e.what,
			    "write /nowhere/file: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_was_removed_stays_so_after_a_power_loss, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(mode_and_owner_stay, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			what_cannot_be_read_is_not_written_over, set_up,
			tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
