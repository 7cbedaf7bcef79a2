/*
 * The writer of one capture: blocks from the feed, frames to the segment, rows
 * to the catalog. Guarantees that what was published a second ago is in the
 * file (the open frame is flushed), that a block leaves the feed only after
 * its row is committed or its packets are counted as lost, and that a failing
 * disk costs packets and never the daemon. Leaves out fsync.
 */
#include "frame.h"
#include "spool.h"

#include "../log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* What is older than a second is on disk: the flush begins a little before. */
#define FLUSH_NS (900 * NS_PER_S / 1000)
#define OUT_BYTES (2u << 20) /* a huge page */
_Static_assert(OUT_BYTES >= FRAME_MAX + SEGMENT_ALIGN, "a frame anywhere");

struct writer {
	struct store *store;
	struct feed *feed;
	pthread_t thread;
	atomic_bool stopping;

	/* The thread's own. */
	struct frame *frame;
	uint8_t *out; /* OUT_BYTES */
	struct segment *segment;
	uint64_t seq;	  /* the block to write next */
	uint32_t taken;	  /* bytes of it in the frame so far */
	uint32_t flushed; /* bytes of the frame behind segment->end */
	int64_t flushed_ns;
	bool lost; /* this block could not be written */

	pthread_mutex_t lock; /* guards everything below */
	struct writer_status status;
};

/* --- rows --- */

/* A block's row, the end of a segment, or only a block to release. */
struct row_job {
	struct catalog_job job;
	struct writer *writer;
	struct block_info info;
	uint32_t link_type, snaplen;
	enum { ROW_BLOCK, ROW_CLOSE, ROW_RELEASE } what;
};

static void report(struct writer *w, uint64_t lost, const struct err *e)
{
	pthread_mutex_lock(&w->lock);
	bool news = strncmp(w->status.error, e->what,
			    sizeof(w->status.error) - 1) != 0;
	w->status.dropped_disk += lost;
	snprintf(w->status.error, sizeof(w->status.error), "%.250s", e->what);
	pthread_mutex_unlock(&w->lock);
	if (news)
		log_error("capture %" PRIu64 ": %s; its packets are counted as "
			  "lost",
			  feed_capture(w->feed), e->what);
}

static void report_good(struct writer *w)
{
	pthread_mutex_lock(&w->lock);
	w->status.error[0] = '\0';
	pthread_mutex_unlock(&w->lock);
}

static bool row_run(sqlite3 *db, struct catalog_job *job, struct err *e)
{
	struct row_job *r = (struct row_job *)job;

	switch (r->what) {
	case ROW_BLOCK:
		return rows_add_block(db, &r->info, r->link_type, r->snaplen,
				      e);
	case ROW_CLOSE:
		return rows_close_segment(db, r->info.capture, r->info.segment,
					  e);
	default:
		return true;
	}
}

static void row_done(struct catalog_job *job, const struct err *e)
{
	struct row_job *r = (struct row_job *)job;

	if (e)
		report(r->writer, r->what == ROW_BLOCK ? r->info.packets : 0,
		       e);
	if (r->what != ROW_CLOSE)
		feed_release(r->writer->feed, r->info.seq);
	free(r);
}

/* Rows go through the catalog's queue even when there is nothing to commit,
 * so that blocks leave the feed in order. */
static void post_row(struct writer *w, int what, const struct block_info *info)
{
	struct row_job *r;

	/* A row is less than a kilobyte; without it the feed would lose its
	 * order, so wait for memory as a failing malloc does everywhere. */
	while (!(r = calloc(1, sizeof(*r))))
		sched_yield();
	r->job.run = row_run;
	r->job.done = row_done;
	r->writer = w;
	r->what = what;
	r->info = *info;
	if (w->segment) {
		r->link_type = w->segment->link_type;
		r->snaplen = w->segment->snaplen;
	}
	/* A block keeps its place in the feed until then. */
	if (what == ROW_BLOCK && feed_room(w->feed) > feed_max(w->feed) / 2)
		catalog_post_lingering(w->store->catalog, &r->job);
	else
		catalog_post(w->store->catalog, &r->job);
}

/* --- segments --- */

static void close_segment(struct writer *w)
{
	struct segment *g = w->segment;
	struct block_info which = {.capture = g->capture,
				   .segment = g->first_seq};
	struct capture_row row;
	struct err e;

	if (!store_capture(w->store, g->capture, &row, &e)) {
		report(w, 0, &e);
	} else {
		if (segment_finish(g, &row, &e))
			post_row(w, ROW_CLOSE, &which);
		else
			report(w, 0, &e);
		capture_row_done(&row);
	}
	segment_free(g);
	w->segment = NULL;
}

static bool segment_is_old(const struct writer *w)
{
	const struct segment *g = w->segment;

	return g && g->n_blocks > 0 &&
	       monotonic_ns() - g->opened_ns >=
		       w->store->options.segment_age_ns;
}

/* The segment that block b belongs into. */
static bool right_segment(struct writer *w, const struct block *b,
			  struct err *e)
{
	struct segment *g = w->segment;

	if (g && (g->raw_bytes >= w->store->options.segment_bytes ||
		  g->link_type != b->link_type || g->snaplen != b->snaplen ||
		  segment_is_old(w)))
		close_segment(w);
	if (!w->segment)
		w->segment = segment_create(w->store->spool_fd,
					    feed_capture(w->feed), w->seq,
					    b->link_type, b->snaplen, e);
	return w->segment;
}

/* --- frames --- */

static bool begin_frame(struct writer *w, const struct block *b, bool whole,
			struct err *e)
{
	int level = frame_level(w->store->options.compression_level,
				feed_backlog(w->feed, w->seq + 1),
				feed_max(w->feed));

	if (!right_segment(w, b, e))
		return false;
	frame_begin(w->frame, level, whole ? b->arena : NULL, b->used);
	w->flushed = 0;
	return true;
}

/* Brings the frame up to byte `to` of b; `end` also ends it. */
static bool write_frame(struct writer *w, const struct block *b, uint32_t to,
			bool end, struct err *e)
{
	bool more;

	if (w->taken == 0 && !begin_frame(w, b, end, e))
		return false;
	do {
		uint64_t at = w->segment->end + w->flushed;
		/* In memory as in the file, which direct writes ask for. */
		uint8_t *out = w->out + at % SEGMENT_ALIGN;
		size_t n;

		if (!frame_add(w->frame, b->arena, &w->taken, to, end, out,
			       FRAME_MAX, &n, &more, e) ||
		    !segment_write(w->segment, at, out, n, e))
			return false;
		w->flushed += (uint32_t)n;
	} while (more);
	w->flushed_ns = monotonic_ns();
	return true;
}

/* The disk said no: what is in the file stays, this block is given up, and
 * the next one tries a new segment. */
static void give_up(struct writer *w, const struct err *e)
{
	struct err trim;

	w->lost = true;
	report(w, 0, e);
	if (!w->segment)
		return;
	if (segment_trim(w->segment, &trim)) {
		close_segment(w);
	} else {
		segment_free(w->segment);
		w->segment = NULL;
	}
}

static void end_block(struct writer *w, struct block *b)
{
	struct block_info info = b->info;
	struct err e;

	if (!w->lost && !write_frame(w, b, b->used, true, &e))
		give_up(w, &e);
	if (!w->lost) {
		info.stored_bytes = w->flushed;
		if (!segment_add(w->segment, &info, &e))
			give_up(w, &e);
	}
	if (w->lost) {
		pthread_mutex_lock(&w->lock);
		w->status.dropped_disk += info.packets;
		pthread_mutex_unlock(&w->lock);
		post_row(w, ROW_RELEASE, &info);
	} else {
		report_good(w);
		post_row(w, ROW_BLOCK, &info);
	}
	w->seq = info.seq + 1;
	w->taken = w->flushed = 0;
	w->lost = false;
}

static void flush_block(struct writer *w, struct block *b)
{
	uint32_t filled = block_filled(b);
	struct err e;

	if (w->lost || filled == w->taken)
		return;
	if (!write_frame(w, b, filled, false, &e))
		give_up(w, &e);
}

/* --- the thread --- */

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Works on block b; returns when to look again if nothing happens. */
static int64_t step(struct writer *w, struct block *b)
{
	int64_t now = monotonic_ns();

	if (!b) {
		if (segment_is_old(w))
			close_segment(w);
		return now + NS_PER_S;
	}
	if (block_sealed(b)) {
		end_block(w, b);
		return now;
	}
	int64_t due = later(b->opened_ns, w->flushed_ns) + FLUSH_NS;
	if (due > now)
		return due;
	flush_block(w, b);
	return now + FLUSH_NS;
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	int64_t deadline = 0;

	pthread_setname_np(pthread_self(), "pcapd-writer");
	for (;;) {
		bool stopping = atomic_load(&w->stopping);

		if (!stopping)
			feed_wait(w->feed, w->seq, deadline);
		struct block *b = feed_find(w->feed, w->seq);
		if (!b && stopping)
			break;
		deadline = step(w, b);
		block_unref(b);
	}
	if (w->segment)
		close_segment(w);
	return NULL;
}

static uint64_t first_seq(struct feed *f)
{
	uint64_t seq;
	uint32_t at;
	struct block *b = feed_find(f, 0);

	feed_position(f, &seq, &at);
	if (b)
		seq = b->info.seq;
	block_unref(b);
	return seq;
}

static void writer_free(struct writer *w)
{
	pthread_mutex_destroy(&w->lock);
	frame_free(w->frame);
	free(w->out);
	feed_unref(w->feed);
	free(w);
}

struct writer *writer_start(struct store *s, struct feed *f, struct err *e)
{
	struct writer *w = calloc(1, sizeof(*w));

	if (!w) {
		err_set(e, ERR_FAILED, "writer: out of memory");
		return NULL;
	}
	pthread_mutex_init(&w->lock, NULL);
	w->store = s;
	w->feed = feed_ref(f);
	w->seq = first_seq(f);
	w->frame = frame_new();
	w->out = aligned_alloc(OUT_BYTES, OUT_BYTES);
	/* Direct writes look up every page. */
	if (w->out)
		madvise(w->out, OUT_BYTES, MADV_HUGEPAGE);
	if (!w->frame || !w->out)
		err_set(e, ERR_FAILED, "writer: out of memory");
	else if (pthread_create(&w->thread, NULL, writer_main, w) != 0)
		err_set(e, ERR_FAILED, "writer: cannot make a thread");
	else
		return w;
	writer_free(w);
	return NULL;
}

static bool run_nothing(sqlite3 *db, void *arg, struct err *e)
{
	(void)db;
	(void)arg;
	(void)e;
	return true;
}

void writer_stop(struct writer *w, struct writer_status *st)
{
	struct err ignored;

	atomic_store(&w->stopping, true);
	feed_nudge(w->feed);
	pthread_join(w->thread, NULL);
	/* Jobs run in order: behind this one none of ours is left. */
	catalog_run(w->store->catalog, run_nothing, NULL, &ignored);
	*st = w->status;
	writer_free(w);
}

void writer_status(struct writer *w, struct writer_status *st)
{
	pthread_mutex_lock(&w->lock);
	*st = w->status;
	pthread_mutex_unlock(&w->lock);
}
