/*
 * What the ledger hears of a capture that runs. Guarantees that each counter's
 * growth is told once. Never waits: rows go to the keeper's thread.
 */
#include "../store/keeper.h"
#include "entry.h"

#include <stdio.h>

/* A thread that has not gone round for so long, a writer that has written
 * nothing for so long with a full feed: they hang. */
#define HANGS_NS (5 * NS_PER_S)
#define WRITER_HANGS_NS (15 * NS_PER_S)

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
	keeper_add(ctl->keeper, &row, 1);
}

static void tell_outages(struct control *ctl, const struct entry *t,
			 struct capture *c)
{
	struct capture_outage out[CAPTURE_OUTAGES];
	unsigned n = capture_take_outages(c, out);

	for (unsigned i = 0; i < n; i++)
		tell_row(ctl, t->row.id, LEDGER_DOWN, out[i].from_ns,
			 out[i].to_ns == INT64_MAX ? LEDGER_OPEN : out[i].to_ns,
			 0, out[i].reason);
}

static struct account_look look_at(const struct capture_status *sums,
				   struct clocks now)
{
	return (struct account_look){
		.now = now,
		.received = sums->received,
		.kernel = sums->dropped_kernel,
		.interface = sums->dropped_interface,
		.memory = sums->dropped_memory,
	};
}

static void tell_counts(struct control *ctl, struct entry *t,
			const struct account_look *look, bool last)
{
	struct ledger_row rows[ACCOUNT_ROWS];

	keeper_add(ctl->keeper, rows,
		   account_take(&t->account, look, last, rows));
}

/* With lock held, of one that runs. */
static void tell_news(struct control *ctl, struct entry *t, struct clocks now)
{
	struct capture_status sums;
	struct writer_status disk;
	int64_t from, to;
	uint64_t packets;

	capture_status(t->source, &sums);
	status_add(&sums, &t->past);
	writer_status(t->writer, &disk);
	struct account_look look = look_at(&sums, now);
	look.stored_ns = disk.synced_ns;
	look.disk = disk.stuck;
	tell_counts(ctl, t, &look, false);
	tell_outages(ctl, t, t->source);
	if (writer_take_lost(t->writer, &packets, &from, &to)) {
		t->disk_told += packets;
		tell_row(ctl, t->row.id, LEDGER_DISK, from, to, packets,
			 disk.error);
	}
}

/* With lock held, of one that runs. */
static bool is_well(struct entry *t)
{
	struct capture_status live;
	struct writer_status disk;
	int64_t now = monotonic_ns();
	struct block *front = feed_find(t->feed, 0);
	uint64_t seq = front ? front->info.seq : 0;

	block_unref(front);
	capture_status(t->source, &live);
	writer_status(t->writer, &disk);
	/* A disk that says no is well enough; one that says nothing is not. */
	if (seq != t->front_seq || now - disk.refused_ns < HANGS_NS ||
	    disk.depth < feed_max(t->feed)) {
		t->front_seq = seq;
		t->front_ns = now;
	}
	return now - live.looped_ns < HANGS_NS &&
	       now - t->front_ns < WRITER_HANGS_NS;
}

/* On the keeper's thread. */
bool tell_look(void *ctx, struct clocks now)
{
	struct control *ctl = ctx;
	bool well = true;

	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < ctl->n; i++) {
		struct entry *t = ctl->entries[i];

		if (!t->source)
			continue;
		tell_news(ctl, t, now);
		well = is_well(t) && well;
	}
	leave_out_look(ctl);
	pthread_mutex_unlock(&ctl->lock);
	return well;
}

/* Both clocks at a time that is not long over. */
static struct clocks clocks_at(int64_t real_ns)
{
	struct clocks c = clocks_now();
	int64_t ago = c.real_ns - real_ns;

	if (real_ns && ago > 0 && ago < HANGS_NS) {
		c.real_ns -= ago;
		c.boot_ns -= ago;
	}
	return c;
}

/* With lock held: it runs since opened_ns; 0: from now on. */
void tell_begin(struct control *ctl, struct entry *t, int64_t opened_ns)
{
	struct clocks now = clocks_at(opened_ns);
	struct account_look look = look_at(&t->past, now);

	tell_row(ctl, t->row.id, LEDGER_STOPPED, LEDGER_ANY, now.real_ns, 0,
		 "");
	tell_row(ctl, t->row.id, LEDGER_DOWN, LEDGER_ANY, now.real_ns, 0, "");
	t->began_ns = now.real_ns;
	account_begin(&t->account, t->row.id, &look);
	/* A kill may come before the first row of what is received. */
	tell_row(ctl, t->row.id, LEDGER_RECEIVED, now.real_ns, now.real_ns, 0,
		 "");
	t->front_ns = monotonic_ns();
	tell_outages(ctl, t, t->source);
}

/* With lock held: it ran until now, past and past_disk are final. */
void tell_end(struct control *ctl, struct entry *t, struct capture *c)
{
	struct clocks now = clocks_now();
	int64_t since = t->account.last.now.real_ns;
	struct account_look look = look_at(&t->past, now);

	if (t->past_disk > t->disk_told)
		tell_row(ctl, t->row.id, LEDGER_DISK, since, now.real_ns,
			 t->past_disk - t->disk_told, "");
	t->disk_told = t->past_disk;
	tell_outages(ctl, t, c);
	leave_out_end(ctl, t);
	tell_row(ctl, t->row.id, LEDGER_DOWN, LEDGER_ANY, now.real_ns, 0, "");
	tell_counts(ctl, t, &look, true);
}

void tell_stopped(struct control *ctl, const struct entry *t, const char *why)
{
	tell_row(ctl, t->row.id, LEDGER_STOPPED, clocks_now().real_ns,
		 LEDGER_OPEN, 0, why);
}
