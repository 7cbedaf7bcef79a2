/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * problem: files of the spool that somebody has to look at. Private to this
 * folder, but for store_problems (store.h).
 *
 * Threads: any; the lock is held for a few stats by store_problems alone.
 * Ownership: texts are copied.
 * Limits: 256 files of all captures.
 */
#ifndef PCAPD_STORE_PROBLEM_H
#define PCAPD_STORE_PROBLEM_H

#include <stdint.h>

/* Known until it is gone, or until_ns (CLOCK_MONOTONIC). */
#define PROBLEM_STAYS INT64_MAX

struct problems;
struct problems *problems_new(void);
void problems_free(struct problems *l); /* NULL is fine */
/* file: as it is called in the spool. capture 0: of none. */
void problem_put(struct problems *l, uint64_t capture, const char *file,
		 int64_t until_ns, const char *what);

#endif
