/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ledger_writer: the thread that brings rows to the ledger.
 *
 * What: asks for what happened, every second and at once when the clock is
 * set, and writes it. Rows that the disk does not take are kept and tried
 * again, joined where they touch.
 * Threads: all of it from any thread; look is called on the ledger writer's.
 * Ownership: rows are copied. The store outlives the ledger writer.
 * Limits: LEDGER_WRITER_ROWS wait; then the oldest go, and that is logged.
 */
#ifndef PCAPD_STORE_LEDGER_WRITER_H
#define PCAPD_STORE_LEDGER_WRITER_H

#include "store/loss_accounting.h"

#define LEDGER_WRITER_ROWS 4096

struct ledger_writer;

/* look: calls ledger_writer_add with what is new, and says whether all is well.
 */
struct ledger_writer *
ledger_writer_start(struct store *s, bool (*look)(void *ctx, struct clocks now),
		    void *ctx, struct err *e);
/* Writes what waits. Writers have ended by then. NULL is fine. */
void ledger_writer_stop(struct ledger_writer *k);

/* Never waits for the disk. */
void ledger_writer_add(struct ledger_writer *k, const struct ledger_row *rows,
		       size_t n);
/* Everything up to now is in the ledger when it returns; a disk that does not
 * answer is waited for two seconds. */
void ledger_writer_catch_up(struct ledger_writer *k);
/* Copies of the rows of a capture that wait, up to max; how many. */
size_t ledger_writer_rows(struct store *s, uint64_t capture,
			  struct ledger_row *rows, size_t max);
/* The disk takes none. */
bool ledger_writer_fails(struct store *s);
/* When (CLOCK_MONOTONIC) everything was well last. */
int64_t ledger_writer_well_ns(struct ledger_writer *k);

#endif
