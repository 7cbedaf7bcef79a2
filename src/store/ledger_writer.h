/*
 * keeper: the thread that brings rows to the ledger.
 *
 * What: asks for what happened, every second and at once when the clock is
 * set, and writes it. Rows that the disk does not take are kept and tried
 * again, joined where they touch.
 * Threads: all of it from any thread; look is called on the keeper's.
 * Ownership: rows are copied. The store outlives the keeper.
 * Limits: KEEPER_ROWS wait; then the oldest go, and that is logged.
 */
#ifndef PCAPD_STORE_KEEPER_H
#define PCAPD_STORE_KEEPER_H

#include "store/loss_accounting.h"

#define KEEPER_ROWS 4096

struct keeper;

/* look: calls keeper_add with what is new, and says whether all is well. */
struct keeper *keeper_start(struct store *s,
			    bool (*look)(void *ctx, struct clocks now),
			    void *ctx, struct err *e);
/* Writes what waits. Writers have ended by then. NULL is fine. */
void keeper_stop(struct keeper *k);

/* Never waits for the disk. */
void keeper_add(struct keeper *k, const struct ledger_row *rows, size_t n);
/* Everything up to now is in the ledger when it returns; a disk that does not
 * answer is waited for two seconds. */
void keeper_catch_up(struct keeper *k);
/* Copies of the rows of a capture that wait, up to max; how many. */
size_t keeper_rows(struct store *s, uint64_t capture, struct ledger_row *rows,
		   size_t max);
/* When (CLOCK_MONOTONIC) everything was well last. */
int64_t keeper_well_ns(struct keeper *k);

#endif
