/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault: a disk that fails. Stands in front of the calls that change files
 * below one folder, also those of SQLite, since a program's own functions come
 * before a library's.
 *
 * Every such call is counted; the n-th one fails, is done in part, or is the
 * last thing that the process does. With a mirror, what was synced is kept
 * there as a disk would keep it: contents by fsync of the file, names by
 * fsync of the folder.
 */
#ifndef PCAPD_TESTS_FAULT_H
#define PCAPD_TESTS_FAULT_H

enum fault_kind {
	FAULT_NONE,  /* only count */
	FAULT_FAIL,  /* fault_error as errno, fault_times times */
	FAULT_SHORT, /* a write does half of its work and says so */
	FAULT_DIE,   /* a write does half of its work, then _exit */
	FAULT_KINDS
};

#define FAULT_STATUS 99 /* the exit code of FAULT_DIE */

/* folder: absolute. mirror: NULL, or an empty folder beside it. */
void fault_arm(const char *folder, const char *mirror, enum fault_kind kind,
	       long n, int error, long times);
void fault_disarm(void);
/* Calls since fault_arm. */
long fault_count(void);

#endif
