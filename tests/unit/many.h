/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * many: grows the spool of a store that is not open, for its newest capture.
 * Rows are as pcapd makes them, with their sums. A failure ends the program.
 */
#ifndef PCAPD_TESTS_MANY_H
#define PCAPD_TESTS_MANY_H

#include <stdint.h>

struct many {
	uint64_t segments, blocks; /* closed ones, and of each */
	uint64_t ledger, imports;  /* rows */
};
void many_make(const char *spool, const struct many *m);

#endif
