/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ledger: what a capture has and what it has not, as intervals.
 *
 * What: a row says that from from_ns to to_ns something was so: packets were
 * received, or were lost, by one cause. Rows of a capture are in the order in
 * which things happened; times are those of CLOCK_REALTIME and so may step.
 * Rows that touch are joined, up to an hour a row; so are rows of one cause
 * that come often, and the oldest where there are very many: the table stays
 * small over months, and no loss falls out of it.
 * Who adds what: control adds received, the drops of kernel, interface and
 * memory, disk (what writer_take_lost gives), stopped, restart, down and clock
 * steps. The store adds damage, expired and import, itself, with rows_ledger,
 * in the transaction that makes it so.
 * Threads: as store.h. Rows are written by the catalog's thread.
 * Ownership: stated at each function.
 */
#ifndef PCAPD_STORE_LEDGER_H
#define PCAPD_STORE_LEDGER_H

#include "base/err.h"

#include <stdint.h>

struct store;

/* The numbers are in catalogs: append only. message Gap has the same. */
enum ledger_cause {
	LEDGER_RECEIVED = 1, /* no gap: what was captured */
	LEDGER_KERNEL,	     /* the ring was full */
	LEDGER_INTERFACE,    /* dropped by the interface or its driver */
	LEDGER_MEMORY,	     /* no block was free */
	LEDGER_DISK,	     /* could not be written */
	LEDGER_STOPPED,	     /* nobody wanted packets */
	LEDGER_RESTART,	     /* pcapd was not there */
	LEDGER_DOWN,	     /* the interface was not there, or down */
	LEDGER_DAMAGE,	     /* stored once, and no longer readable */
	LEDGER_CLOCK,	 /* no gap: the clock stepped from from_ns to to_ns */
	LEDGER_EXPIRED,	 /* removed by retention */
	LEDGER_EXCLUDED, /* no gap: a connection of pcapd's own */
	LEDGER_IMPORT,	 /* of an imported file, and not to be had */
	LEDGER_CAUSES
};

#define LEDGER_OPEN INT64_MAX /* to_ns of what still goes on */
#define LEDGER_ANY INT64_MIN  /* from_ns: whatever is open, it ends at to_ns */
#define LEDGER_DETAIL_MAX 120

struct ledger_row {
	uint64_t capture;
	enum ledger_cause cause;
	int64_t from_ns, to_ns;
	uint64_t packets; /* 0: not known, or none */
	char detail[LEDGER_DETAIL_MAX];
	int64_t id; /* the order; 0: it is not in the table */
};

/* "kernel", as people and JSON read it. */
const char *ledger_cause_name(enum ledger_cause cause);

/* r would only make *before longer: same cause and detail, and they touch. */
bool ledger_joins(const struct ledger_row *before, const struct ledger_row *r);

/* r may make *before longer where there are many like them. */
bool ledger_is_like(const struct ledger_row *before,
		    const struct ledger_row *r);

/* All of them or none; waits for the commit. While a row of the same capture
 * and cause is open, the new one gives it its end; from LEDGER_ANY on it does
 * nothing else. Damage that is there already is not added again. */
bool ledger_add(struct store *s, const struct ledger_row *rows, size_t n,
		struct err *e);

/* What there is of a range, and what is missing in it. */
struct coverage {
	int64_t since_ns, until_ns; /* the range */
	int64_t from_ns, to_ns;	    /* first and last instant that were watched,
				     * 0: none was */
	uint64_t gaps;		    /* rows that are gaps */
	uint64_t missing;	    /* packets in them */
	struct ledger_row *rows;    /* gaps and clock steps, to free() */
	size_t n;
};

/* What is not in the ledger but needed to read it. */
struct coverage_of {
	uint64_t capture;
	bool savefile; /* nobody watched it: what is stored covers it */
	int64_t created_ns;
	int64_t min_ns, max_ns; /* of the packets that are there, or 0 */
	int64_t memory_ns; /* of the oldest that is in memory; 0: none is */
	int64_t now_ns;
	bool runs;
};
/* since_ns, until_ns: 0 is the first and the last of what is there. While the
 * catalog cannot be read, the rows that wait to be written, and a gap over all
 * that is older than what is in memory. */
bool ledger_coverage(struct store *s, const struct coverage_of *of,
		     int64_t since_ns, int64_t until_ns, struct coverage *c,
		     struct err *e);

/* How many of its rows before until_ns, 0: all, are of what was stored once and
 * cannot be read; *packets: how many they tell of. */
size_t coverage_damage(const struct coverage *c, int64_t until_ns,
		       uint64_t *packets);

/* What overlaps [since_ns, until_ns), 0: no bound, in the order of the
 * ledger: an array to free(). A clock step is in it when either of its ends
 * is. */
bool ledger_list(struct store *s, uint64_t capture, int64_t since_ns,
		 int64_t until_ns, struct ledger_row **rows, size_t *n,
		 struct err *e);

/* Packets that were dropped (kernel, interface, memory, disk), by rows that end
 * after since_ns, and the end of the last; 0: none were. */
bool ledger_dropped(struct store *s, uint64_t capture, int64_t since_ns,
		    uint64_t *packets, int64_t *last_ns, struct err *e);

/* Until when the capture is known to have been watched: the end of its newest
 * row of received that ends by then; 0: there is none. */
bool ledger_known_until(struct store *s, uint64_t capture, int64_t by_ns,
			int64_t *ns, struct err *e);
/* The end of the newest row of packets that a running capture lost; 0: it lost
 * none. */
bool ledger_lost_until(struct store *s, uint64_t capture, int64_t *ns,
		       struct err *e);

#endif
