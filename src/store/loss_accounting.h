/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loss_accounting: counters that are looked at now and then, as rows of the
 * ledger.
 *
 * What: what a running capture received since the last look, and lost, with
 * the interval in which it was, and steps of the clock. What is received is
 * written every LOSS_ACCOUNTING_NS, what is lost at once.
 * Threads: one at a time.
 * Ownership: plain memory. Time comes from the caller.
 */
#ifndef PCAPD_STORE_LOSS_ACCOUNTING_H
#define PCAPD_STORE_LOSS_ACCOUNTING_H

#include "packet/capture_tail.h"
#include "store/ledger.h"

#define LOSS_ACCOUNTING_NS (10 * NS_PER_S)
/* Less is a clock that is being adjusted, or a thread that was not run. */
#define CLOCK_STEP_NS 250000000ll

/* Read together; boot goes on when the machine sleeps. */
struct clocks {
	int64_t real_ns, boot_ns;
};
struct clocks clocks_now(void);

struct loss_accounting_look {
	struct clocks now;
	uint64_t received; /* a sum that only grows */
	/* Since the last look. */
	struct loss kernel, interface, memory;
	/* What came before it is stored. */
	int64_t stored_ns;
	/* The disk does not take blocks: that is why there is no room. */
	bool disk;
};

struct loss_accounting {
	uint64_t capture;
	struct loss_accounting_look last;
	int64_t covered_ns; /* where the next row of received begins */
	int64_t written_ns; /* boot: when it was written last */
	uint64_t received;  /* as written */
};

void loss_accounting_begin(struct loss_accounting *a, uint64_t capture,
			   const struct loss_accounting_look *look);

#define LOSS_ACCOUNTING_ROWS 6
/* Rows since the last look. last: there will be no other, and everything is
 * stored. */
size_t loss_accounting_take(struct loss_accounting *a,
			    const struct loss_accounting_look *look, bool last,
			    struct ledger_row rows[LOSS_ACCOUNTING_ROWS]);

#endif
