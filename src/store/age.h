/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * age: a clock for how long something is stored. Private to this folder.
 *
 * What: it goes on with the time that passes (CLOCK_BOOTTIME) and never back.
 * A wall clock that is a little ahead is followed. One that is set far ahead,
 * or is so after a start, is believed when it has stood for as long as it is
 * ahead, at most AGE_DOUBT_NS: who sets it back in time loses nothing. One that
 * is set back is not followed.
 * Threads: one at a time. Ownership: plain memory; time comes from the caller.
 */
#ifndef PCAPD_STORE_AGE_H
#define PCAPD_STORE_AGE_H

#include "store/loss_accounting.h"

/* A clock that is being adjusted. */
#define AGE_SLACK_NS (60 * NS_PER_S)
#define AGE_DOUBT_NS (86400 * NS_PER_S)

struct age_clock {
	int64_t age_ns, boot_ns;
	/* The wall clock is ahead by so much, since then; 0: it is not. */
	int64_t ahead_ns, ahead_boot_ns;
};

/* last_ns: what it showed when something was stored last, 0: nothing is. */
void age_begin(struct age_clock *c, struct clocks now, int64_t last_ns);
/* What it shows. *doubt_ns: how far ahead the wall clock is when it is not
 * believed any more from this call on, else 0. */
int64_t age_now(struct age_clock *c, struct clocks now, int64_t *doubt_ns);

#endif
