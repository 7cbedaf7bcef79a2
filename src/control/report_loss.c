/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the ledger hears of a capture that runs. Guarantees that each counter's
 * growth is told once. Never waits: rows go to the ledger writer's thread.
 */
#include "base/log.h"
#include "control/capture_entry.h"
#include "store/ledger_writer.h"

#include <inttypes.h>
#include <stdio.h>

/* A thread that has not gone round for so long, a writer that has written
 * nothing for so long with a full tail: they hang. */
#define HANGS_NS (5 * NS_PER_S)
#define WRITER_HANGS_NS (15 * NS_PER_S)
/* Packets that are lost within so long are one line in the log. */
#define DROPS_OVER_NS (10 * NS_PER_S)
/* A stop on a disk that says nothing takes no longer. */
#define RECENT_NS (120 * NS_PER_S)

void tell_row(struct control *ctl, uint64_t capture, enum ledger_cause cause,
	      int64_t from_ns, int64_t to_ns, uint64_t packets,
	      const char *detail)
{
	struct ledger_row row = {.capture = capture,
				 .cause = cause,
				 .from_ns = from_ns,
				 .to_ns = to_ns,
				 .packets = packets};

	snprintf(row.detail, sizeof(row.detail), "%.110s", detail);
	ledger_writer_add(ctl->ledger_writer, &row, 1);
}

static void tell_outages(struct control *ctl, const struct capture_entry *t,
			 struct capture *c)
{
	struct capture_outage out[CAPTURE_OUTAGES];
	unsigned n = capture_take_outages(c, out);

	for (unsigned i = 0; i < n; i++)
		tell_row(ctl, t->row.id, LEDGER_DOWN, out[i].from_ns,
			 out[i].to_ns == INT64_MAX ? LEDGER_OPEN : out[i].to_ns,
			 0, out[i].reason);
}

/* Rows of what was lost, for the log: drops begin, and end. */
static void log_drops(struct capture_entry *t, const struct ledger_row *r)
{
	static const char *const why[] = {
		"the kernel's ring was full",
		"the interface had no room for them",
		"no block was free for them",
		"they could not be written",
	};
	char label[24];

	_Static_assert(sizeof(why) / sizeof(*why) ==
			       sizeof(t->drops) / sizeof(*t->drops),
		       "a cause, a reason");
	if (r->cause < LEDGER_KERNEL || r->cause > LEDGER_DISK || !r->packets)
		return;
	struct drops *d = &t->drops[r->cause - LEDGER_KERNEL];
	if (!d->sum.packets)
		log_warn("capture %s loses packets, %" PRIu64 " so far: %s",
			 capture_entry_label(t, label), r->packets,
			 why[r->cause - LEDGER_KERNEL]);
	loss_add(&d->sum, r->packets, r->from_ns, r->to_ns);
	d->last_ns = monotonic_ns();
}

static void log_drops_end(struct capture_entry *t, bool stopped)
{
	int64_t now = monotonic_ns();
	char label[24];

	for (size_t i = 0; i < sizeof(t->drops) / sizeof(*t->drops); i++) {
		struct drops *d = &t->drops[i];

		if (!d->sum.packets ||
		    (!stopped && now - d->last_ns < DROPS_OVER_NS))
			continue;
		log_warn(
			"capture %s lost %" PRIu64 " packets (%s) in %.3f s%s",
			capture_entry_label(t, label), d->sum.packets,
			ledger_cause_name(LEDGER_KERNEL + (enum ledger_cause)i),
			(double)(d->sum.to_ns - d->sum.from_ns) / NS_PER_S,
			stopped ? ", until it was stopped"
				: "; no more since then");
		*d = (struct drops){0};
	}
}

static void tell_loss(struct control *ctl, struct capture_entry *t,
		      const struct loss *l, const char *detail)
{
	struct ledger_row row = {.cause = LEDGER_DISK, .packets = l->packets};

	if (!l->packets)
		return;
	tell_row(ctl, t->row.id, LEDGER_DISK, l->from_ns, l->to_ns, l->packets,
		 detail);
	row.from_ns = l->from_ns;
	row.to_ns = l->to_ns;
	log_drops(t, &row);
}

static void tell_counts(struct control *ctl, struct capture_entry *t,
			struct capture *c, struct loss_accounting_look *look,
			bool last)
{
	struct ledger_row rows[LOSS_ACCOUNTING_ROWS];
	struct loss lost[CAPTURE_LOSSES];

	capture_take_losses(c, lost);
	look->kernel = lost[CAPTURE_LOST_KERNEL];
	look->interface = lost[CAPTURE_LOST_INTERFACE];
	look->memory = lost[CAPTURE_LOST_MEMORY];
	size_t n = loss_accounting_take(&t->account, look, last, rows);
	ledger_writer_add(ctl->ledger_writer, rows, n);
	for (size_t i = 0; i < n; i++)
		log_drops(t, &rows[i]);
	log_drops_end(t, last);
}

static int64_t report_loss_earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* With lock held, of one that runs. */
static void tell_news(struct control *ctl, struct capture_entry *t,
		      struct clocks now)
{
	struct capture_status live;
	struct writer_status disk;

	capture_status(t->source, &live);
	writer_status(t->writer, &disk);
	struct loss_accounting_look look = {
		.now = now,
		.received = live.received + t->past.received,
		.stored_ns =
			report_loss_earlier(disk.synced_ns, live.complete_ns),
		.disk = disk.stuck,
	};
	struct loss lost = writer_take_lost(t->writer);
	tell_loss(ctl, t, &lost, disk.error);
	tell_counts(ctl, t, t->source, &look, false);
	tell_outages(ctl, t, t->source);
}

/* With lock held, of one that runs. */
static bool is_well(struct capture_entry *t)
{
	struct capture_status live;
	struct writer_status disk;
	int64_t now = monotonic_ns();
	struct block *front = capture_tail_find(t->tail, 0);
	uint64_t seq = front ? front->info.seq : 0;

	block_unref(front);
	capture_status(t->source, &live);
	writer_status(t->writer, &disk);
	/* A disk that says no is well enough; one that says nothing is not. */
	if (seq != t->front_seq || now - disk.refused_ns < HANGS_NS ||
	    disk.depth < capture_tail_max(t->tail)) {
		t->front_seq = seq;
		t->front_ns = now;
	}
	return now - live.looped_ns < HANGS_NS &&
	       now - t->front_ns < WRITER_HANGS_NS;
}

/* On the ledger writer's thread. */
bool tell_look(void *ctx, struct clocks now)
{
	struct control *ctl = ctx;
	bool well = true;

	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < ctl->n; i++) {
		struct capture_entry *t = ctl->entries[i];

		if (!t->source)
			continue;
		tell_news(ctl, t, now);
		well = is_well(t) && well;
	}
	leave_out_look(ctl);
	pthread_mutex_unlock(&ctl->lock);
	names_look(ctl);
	return well;
}

/* Both clocks at a time that is not long over. */
static struct clocks clocks_at(int64_t real_ns)
{
	struct clocks c = clocks_now();
	int64_t ago = c.real_ns - real_ns;

	if (real_ns && ago > 0 && ago < RECENT_NS) {
		c.real_ns -= ago;
		c.boot_ns -= ago;
	}
	return c;
}

void tell_begin(struct control *ctl, struct capture_entry *t, int64_t opened_ns)
{
	struct clocks now = clocks_at(opened_ns);
	struct loss_accounting_look look = {.now = now,
					    .received = t->past.received};

	t->began_ns = now.real_ns;
	tell_row(ctl, t->row.id, LEDGER_STOPPED, LEDGER_ANY, t->began_ns, 0,
		 "");
	tell_row(ctl, t->row.id, LEDGER_DOWN, LEDGER_ANY, t->began_ns, 0, "");
	loss_accounting_begin(&t->account, t->row.id, &look);
	/* A kill may come before the first row of what is received. */
	tell_row(ctl, t->row.id, LEDGER_RECEIVED, now.real_ns, now.real_ns, 0,
		 "");
	t->front_ns = monotonic_ns();
	tell_outages(ctl, t, t->source);
}

void tell_end(struct control *ctl, struct capture_entry *t, struct capture *c,
	      const struct capture_status *last, const struct loss *disk)
{
	struct clocks now = clocks_at(last->stopped_ns);
	struct loss_accounting_look look = {.now = now,
					    .received = t->past.received,
					    .disk = disk->packets > 0};

	tell_loss(ctl, t, disk, "");
	tell_outages(ctl, t, c);
	leave_out_end(ctl, t, c);
	tell_row(ctl, t->row.id, LEDGER_DOWN, LEDGER_ANY, now.real_ns, 0, "");
	tell_counts(ctl, t, c, &look, true);
	t->ended_ns = now.real_ns;
}

void tell_stopped(struct control *ctl, const struct capture_entry *t,
		  const char *why)
{
	tell_row(ctl, t->row.id, LEDGER_STOPPED,
		 t->ended_ns ? t->ended_ns : clocks_now().real_ns, LEDGER_OPEN,
		 0, why);
}
