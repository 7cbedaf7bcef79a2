/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From counters to intervals. Guarantees that every packet that a counter
 * counts is in exactly one row, that rows of received follow each other
 * without a hole, and that none of those crosses a step of the clock. Leaves
 * out who reads the counters.
 */
#include "store/loss_accounting.h"

#include "base/clock.h"

#include <stdio.h>

struct clocks clocks_now(void)
{
	struct clocks c = {0};

	/* A thread that is put aside between the two would see a step. */
	for (int i = 0; i < 4; i++) {
		int64_t before = boottime_ns();
		c.real_ns = realtime_ns();
		c.boot_ns = boottime_ns();
		if (c.boot_ns - before < CLOCK_STEP_NS / 10)
			break;
	}
	return c;
}

void loss_accounting_begin(struct loss_accounting *a, uint64_t capture,
			   const struct loss_accounting_look *look)
{
	*a = (struct loss_accounting){
		.capture = capture,
		.last = *look,
		.covered_ns = look->now.real_ns,
		.written_ns = look->now.boot_ns,
		.received = look->received,
	};
}

struct rows {
	struct ledger_row *at;
	size_t n;
};

static struct ledger_row *loss_accounting_add(struct rows *r,
					      const struct loss_accounting *a,
					      enum ledger_cause cause,
					      int64_t from_ns, int64_t to_ns,
					      uint64_t packets)
{
	r->at[r->n] = (struct ledger_row){.capture = a->capture,
					  .cause = cause,
					  .from_ns = from_ns,
					  .to_ns = to_ns,
					  .packets = packets};
	return &r->at[r->n++];
}

static void add_loss(struct loss_accounting *a, enum ledger_cause cause,
		     const struct loss *l, struct rows *r)
{
	if (l->packets)
		loss_accounting_add(r, a, cause, l->from_ns, l->to_ns,
				    l->packets);
}

static void add_received(struct loss_accounting *a,
			 const struct loss_accounting_look *look,
			 int64_t end_ns, struct rows *r)
{
	if (end_ns < a->covered_ns)
		end_ns = a->covered_ns;
	loss_accounting_add(r, a, LEDGER_RECEIVED, a->covered_ns, end_ns,
			    look->received - a->received);
	a->covered_ns = end_ns;
	a->received = look->received;
	a->written_ns = look->now.boot_ns;
}

static void add_step(struct loss_accounting *a, int64_t before_ns,
		     int64_t after_ns, struct rows *r)
{
	struct ledger_row *row =
		loss_accounting_add(r, a, LEDGER_CLOCK, before_ns, after_ns, 0);

	snprintf(row->detail, sizeof(row->detail), "%+.3f s",
		 (double)(after_ns - before_ns) / (double)NS_PER_S);
}

size_t loss_accounting_take(struct loss_accounting *a,
			    const struct loss_accounting_look *look, bool last,
			    struct ledger_row out[LOSS_ACCOUNTING_ROWS])
{
	struct rows r = {out, 0};
	/* What it would be now if nobody had set it. */
	int64_t expected =
		a->last.now.real_ns + (look->now.boot_ns - a->last.now.boot_ns);
	int64_t step = look->now.real_ns - expected;
	bool stepped = step >= CLOCK_STEP_NS || step <= -CLOCK_STEP_NS;
	int64_t end = stepped ? expected : look->now.real_ns;

	add_loss(a, look->disk ? LEDGER_DISK : LEDGER_KERNEL, &look->kernel,
		 &r);
	add_loss(a, LEDGER_INTERFACE, &look->interface, &r);
	add_loss(a, look->disk ? LEDGER_DISK : LEDGER_MEMORY, &look->memory,
		 &r);
	if (stepped) {
		add_received(a, look, end, &r);
		add_step(a, end, look->now.real_ns, &r);
		/* The row that goes on from here. */
		a->covered_ns = look->now.real_ns;
		add_received(a, look, a->covered_ns, &r);
	} else if (last ||
		   look->now.boot_ns - a->written_ns >= LOSS_ACCOUNTING_NS) {
		add_received(a, look,
			     last || look->stored_ns > end ? end
							   : look->stored_ns,
			     &r);
	}
	a->last = *look;
	return r.n;
}
