/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The writer of one capture: blocks from the capture tail, frames to the
 * segment, rows to the catalog. Guarantees that what was published a second ago
 * is in the file (the open frame is flushed), that a block leaves the capture
 * tail only after its row is committed or its packets are counted as lost, and
 * that a failing disk costs memory, then packets, and never the daemon: a write
 * that failed is tried again where it stopped, and nothing that is in the file
 * is taken out of it. On a disk that is full no block is accepted for which
 * there is no room: the open segment has it reserved, for the blocks in the
 * capture tail, one more, and its own end. Leaves out fsync (housekeeper.c).
 */
#include "store/compress_pool.h"
#include "store/open_frame.h"
#include "store/store_internal.h"

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* What is older than a second is on disk: the flush begins a little before. */
#define FLUSH_NS (900 * NS_PER_S / 1000)
/* How often a failed write is tried again, and how long on the same file when
 * the disk is not just full. A savefile's reader is told after that time. */
#define RETRY_NS (NS_PER_S / 50)
#define PATIENCE_NS (5 * NS_PER_S)
#define STOP_PATIENCE_NS NS_PER_S
/* Losses that go on are brought to the ledger so often, less than known_until
 * (captures.c) allows for. */
#define TELL_NS (NS_PER_S / 10)
/* What is behind the last block of a segment: so much, and so much a block.
 * Where that is too little there is no index. */
#define FOOT_BYTES (64u << 10)
#define FOOT_BLOCK_BYTES (16u << 10)
/* Who found no room begins again when there is some more. */
#define AGAIN_BLOCKS 3
/* One write is in flight, so a disk that others use too is as slow as it takes
 * long: 30 ms beside a dd, 33 MB/s. A write around the page cache that took so
 * long while so many blocks waited was too slow; what comes next goes through
 * it, which costs a copy and more, for so long at least and at most until the
 * other way is tried again. */
#define SLOW_NS (NS_PER_S / 200)
#define CACHED_MIN_NS NS_PER_S
#define CACHED_PART 4 /* of the blocks that may wait */
#define CACHED_MAX_NS (64 * NS_PER_S)
/* Room for so many times what a capture may have in memory is plenty. */
#define PLENTY 16

struct writer {
	struct store *store;
	struct capture_tail *tail;
	pthread_t thread;
	atomic_bool stopping;

	/* The thread's own. */
	struct open_frame frame; /* of block seq */
	struct housekeeper_writer *housekeeper;
	struct segment *segment;
	struct segment *next; /* prepared; NULL while there is a segment */
	bool full; /* the disk: the capture tail refuses what has no room */
	uint64_t bound; /* the capture tail's */
	struct segment_index_maker *maker;
	struct segment_index *index; /* the segment's; NULL: memory was out */
	uint64_t segment_bytes;	     /* on disk, at most */
	uint64_t seq;		     /* the block to write next */
	struct compress_pool_job
		ahead[COMPRESS_POOL_AHEAD]; /* of block seq at seq % n */
	uint64_t ahead_seq; /* blocks before it are posted, or were */
	int64_t flushed_ns;
	uint64_t losses; /* of the capture tail's, those in the ledger */
	int64_t told_ns; /* when they were brought there */
	int open_error;	 /* errno of the last segment that was not made */
	int64_t cached_until_ns; /* writes go through the page cache */
	int64_t cached_ns;	 /* how long they did when last looked */
	int64_t stuck_ns;  /* since when the disk says no; 0: it does not */
	bool savefile;	   /* somebody waits for the result */
	atomic_bool hurry; /* rows are not tried again any more */
	atomic_bool rows_stuck;
	atomic_llong refused_ns;
	atomic_int level; /* of the newest frame */

	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t stop;
	struct writer_status status;
	unsigned rows; /* posted and not done */
};

static int64_t writer_later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t writer_clamp(int64_t ns)
{
	ns = writer_later(ns, CACHED_MIN_NS);
	return ns < CACHED_MAX_NS ? ns : CACHED_MAX_NS;
}

/* --- how it goes --- */

static void writer_report(struct writer *w, const struct err *e)
{
	pthread_mutex_lock(&w->lock);
	bool news = strncmp(w->status.error, e->what,
			    sizeof(w->status.error) - 1) != 0;
	snprintf(w->status.error, sizeof(w->status.error), "%.250s", e->what);
	pthread_mutex_unlock(&w->lock);
	if (news)
		log_error("capture %" PRIu64 ": %s",
			  capture_tail_capture(w->tail), e->what);
}

static void report_good(struct writer *w)
{
	bool was_stuck = w->stuck_ns != 0;

	if (w->full)
		return;
	w->stuck_ns = 0;
	pthread_mutex_lock(&w->lock);
	w->status.error[0] = '\0';
	w->status.stuck = false;
	pthread_mutex_unlock(&w->lock);
	if (was_stuck)
		log_info("capture %" PRIu64 ": the disk takes blocks again",
			 capture_tail_capture(w->tail));
}

/* --- rows --- */

/* A block's row, or only a block to release. */
struct row_job {
	struct catalog_job job;
	struct writer *writer;
	struct block_info info;
	uint32_t link_type, snaplen;
	int64_t age_ns;
	bool stored;
};

static bool row_run(sqlite3 *db, struct catalog_job *job, struct err *e)
{
	struct row_job *r = (struct row_job *)job;

	return !r->stored || rows_add_block(db, &r->info, r->link_type,
					    r->snaplen, r->age_ns, e);
}

/* A block without a row is in its segment, whose end the next start walks. */
static void row_done(struct catalog_job *job, const struct err *e)
{
	struct row_job *r = (struct row_job *)job;

	if (e)
		writer_report(r->writer, e);
	atomic_store(&r->writer->rows_stuck, false);
	pthread_mutex_lock(&r->writer->lock);
	if (!e && r->stored)
		store_totals_add(&r->writer->status.stored, &r->info,
				 r->info.stored_bytes);
	pthread_mutex_unlock(&r->writer->lock);
	capture_tail_release(r->writer->tail, r->info.seq);
	pthread_mutex_lock(&r->writer->lock);
	r->writer->rows--;
	pthread_cond_signal(&r->writer->stop);
	pthread_mutex_unlock(&r->writer->lock);
	free(r);
}

static bool row_patient(const struct catalog_job *job)
{
	struct writer *w = ((const struct row_job *)job)->writer;

	atomic_store(&w->rows_stuck, true);
	atomic_store(&w->refused_ns, monotonic_ns());
	return !atomic_load(&w->hurry);
}

/* Rows go through the catalog's queue even when there is nothing to commit,
 * so that blocks leave the capture tail in order. */
static void post_row(struct writer *w, bool stored,
		     const struct block_info *info)
{
	struct row_job *r;
	int64_t ignored;

	/* A row is less than a kilobyte; without it the capture tail would lose
	 * its order, so wait for memory as a failing malloc does everywhere. */
	while (!(r = calloc(1, sizeof(*r))))
		sched_yield();
	r->job.run = row_run;
	r->job.done = row_done;
	r->job.patient = row_patient;
	r->writer = w;
	r->stored = stored;
	r->info = *info;
	r->age_ns = store_age_ns(w->store, &ignored);
	if (w->segment) {
		r->link_type = w->segment->link_type;
		r->snaplen = w->segment->snaplen;
	}
	pthread_mutex_lock(&w->lock);
	w->rows++;
	pthread_mutex_unlock(&w->lock);
	/* A block keeps its place in the capture tail until then. */
	if (stored &&
	    capture_tail_room(w->tail) > capture_tail_max(w->tail) / 2)
		catalog_post_lingering(w->store->catalog, &r->job);
	else
		catalog_post(w->store->catalog, &r->job);
}

/* --- segments --- */

static bool writer_no_room(int error)
{
	return error == ENOSPC || error == EDQUOT;
}

static bool disk_is_full(int error)
{
	return writer_no_room(error) || error == EROFS;
}

static void drop_segment(struct writer *w)
{
	if (w->index)
		segment_indexes_remove(w->store->indexes, w->index);
	segment_index_unref(w->index);
	w->index = NULL;
	housekeeper_open(w->housekeeper, 0, -1);
	segment_free(w->segment);
	w->segment = NULL;
}

static bool close_segment(struct writer *w, struct err *e)
{
	struct segment *g = w->segment;
	struct capture_row row;
	struct segment_end end;
	size_t n = 0;

	if (!store_capture(w->store, g->capture, &row, e))
		return false;
	uint8_t *index =
		w->index ? segment_index_frame(w->index, w->maker, &n) : NULL;
	bool ok = segment_finish(g, &row, index, index ? n : 0, &end, e) ||
		  (index && writer_no_room(g->error) &&
		   segment_finish(g, &row, NULL, 0, &end, e));
	ok = ok && housekeeper_close(w->housekeeper, w->store, g->fd, &end, e);
	free(index);
	capture_row_done(&row);
	if (ok)
		drop_segment(w);
	return ok;
}

/* Its row stays open, so that the next start looks at it. */
static void abandon_segment(struct writer *w)
{
	char name[SEGMENT_NAME_BYTES];

	if (w->segment->n_blocks == 0 && w->frame.in_file == 0) {
		/* Its name will be needed. */
		segment_name(name, w->segment->capture, w->segment->first_seq);
		unlinkat(w->store->spool_fd, name, 0);
	}
	segment_unreserve(w->segment);
	drop_segment(w);
	open_frame_reset(&w->frame);
}

/* Or it is to be closed so that it can go. */
static bool segment_is_old(const struct writer *w,
			   const struct store_options *o)
{
	const struct segment *g = w->segment;

	return g && g->n_blocks > 0 &&
	       (monotonic_ns() - g->opened_ns >= o->segment_age_ns ||
		housekeeper_is_to_close(w->housekeeper));
}

/* --- room for what comes --- */

static uint64_t room_of_foot(const struct segment *g, uint64_t blocks)
{
	return FOOT_BYTES + (g->n_blocks + blocks) * FOOT_BLOCK_BYTES;
}

/* For so many blocks behind those that are written, and for the end. */
static bool room_reserve(struct writer *w, uint64_t blocks, struct err *e)
{
	if (!w->segment && !w->next)
		w->next = segment_prepare(w->store->spool_fd,
					  capture_tail_capture(w->tail), e);
	struct segment *g = w->segment ? w->segment : w->next;
	if (!g) {
		w->open_error = errno;
		return false;
	}
	if (segment_reserve(
		    g, g->end + blocks * FRAME_MAX + room_of_foot(g, blocks),
		    e))
		return true;
	w->open_error = g->error;
	return false;
}

/* Of so many blocks it is sure that they can be stored. */
static uint64_t room_blocks(const struct writer *w)
{
	const struct segment *g = w->segment ? w->segment : w->next;
	uint64_t n = 0;

	while (g && n < capture_tail_max(w->tail) &&
	       g->end + (n + 1) * FRAME_MAX + room_of_foot(g, n + 1) <=
		       g->reserved)
		n++;
	return n;
}

/* Blocks that the capture tail gave and that are not written. */
static uint64_t room_taken(const struct writer *w)
{
	uint64_t next = capture_tail_next(w->tail);

	return next > w->seq ? next - w->seq : 0;
}

static void room_bound(struct writer *w, uint64_t seq)
{
	w->bound = seq;
	capture_tail_bound(w->tail, seq, w->full);
}

/* The end of the open one is to wait until there is room for another. */
static bool room_is_short(struct writer *w, struct err *e)
{
	struct segment *g = w->segment;

	w->segment = NULL;
	uint64_t blocks = room_taken(w);
	/* Or may still give before the next look. */
	if (w->bound != UINT64_MAX && w->bound > w->seq + blocks)
		blocks = w->bound - w->seq;
	bool ok = room_reserve(w, blocks, e);
	w->segment = g;
	if (ok || !writer_no_room(w->open_error))
		return false;
	segment_free(w->next);
	w->next = NULL;
	segment_forget_next(w->store->spool_fd, capture_tail_capture(w->tail));
	return room_blocks(w) > 0;
}

static bool writer_open_segment(struct writer *w, const struct block *b,
				struct err *e)
{
	struct capture_row row;
	uint64_t id = capture_tail_capture(w->tail);

	if (!store_capture(w->store, id, &row, e))
		return false;
	w->segment_bytes = retain_segment_bytes(w->store, &row);
	capture_row_done(&row);
	if (!room_reserve(w, 1, e))
		return false;
	struct segment *g = w->next;
	w->next = NULL;
	if (!segment_begin(g, w->store->spool_fd, w->seq, b->link_type,
			   b->snaplen, e)) {
		w->open_error = g->error;
		segment_free(g);
		return false;
	}
	w->segment = g;
	housekeeper_open(w->housekeeper, w->seq, w->segment->fd);
	w->index = segment_index_new(w->maker, id, w->seq, b->link_type);
	if (w->index)
		segment_indexes_add(w->store->indexes, w->index);
	return true;
}

/* The segment that block b belongs into. */
static bool right_segment(struct writer *w, const struct block *b,
			  struct err *e)
{
	struct segment *g = w->segment;
	struct store_options o;
	bool failed = false;

	store_options_now(w->store, &o);
	housekeeper_state(w->housekeeper, &failed);
	bool other = g && (g->link_type != b->link_type ||
			   g->snaplen != b->snaplen || failed);
	bool large = g && (g->raw_bytes >= o.segment_bytes ||
			   g->end >= w->segment_bytes || segment_is_old(w, &o));
	if ((other || (large && !room_is_short(w, e))) && !close_segment(w, e))
		return false;
	/* In trouble of another kind it is the write that fails. */
	return w->segment ? room_reserve(w, 1, e)
			  : writer_open_segment(w, b, e);
}

/* --- frames --- */

/* What the next frame is to be compressed at. */
static int level_now(struct writer *w)
{
	struct store_options o;

	store_options_now(w->store, &o);
	int level = block_compressor_level(
		o.compression_level, capture_tail_backlog(w->tail, w->seq + 1),
		capture_tail_max(w->tail));
	atomic_store(&w->level, level);
	return level;
}

/* Blocks that are sealed behind the one to write now go to the compressors. */
static void post_ahead(struct writer *w)
{
	struct job_pool *p = w->store->compressors;
	unsigned n = compress_pool_ahead(p);

	if (w->ahead_seq <= w->seq)
		w->ahead_seq = w->seq + 1;
	while (w->ahead_seq <= w->seq + n) {
		struct compress_pool_job *j = &w->ahead[w->ahead_seq % (n + 1)];
		struct block *b = capture_tail_find(w->tail, w->ahead_seq);

		/* What is left there is of a block that was lost. */
		compress_pool_take(p, j, w->frame.compressor);
		if (!b || !block_sealed(b) ||
		    !compress_pool_post(p, j, b, level_now(w))) {
			block_unref(b);
			return;
		}
		w->ahead_seq++;
	}
}

/* The whole block's frame, if they made it. */
static bool take_ahead(struct writer *w, const struct block *b)
{
	struct job_pool *p = w->store->compressors;
	struct compress_pool_job *j =
		&w->ahead[w->seq % (compress_pool_ahead(p) + 1)];
	bool mine = j->block == b;

	compress_pool_take(p, j, w->frame.compressor);
	if (mine && j->n)
		open_frame_given(&w->frame, w->segment, j->out, j->n, b->used);
	return mine && j->n;
}

static bool begin_frame(struct writer *w, const struct block *b, bool whole,
			struct err *e)
{
	if (!right_segment(w, b, e))
		return false;
	if (!whole) {
		open_frame_begin(&w->frame, level_now(w));
		return true;
	}
	post_ahead(w);
	return take_ahead(w, b) ||
	       open_frame_whole(&w->frame, w->segment, level_now(w), b, e);
}

/* What is missing before packets that are about to be written. */
static void writer_tell_losses(struct writer *w)
{
	uint64_t losses = capture_tail_losses(w->tail);
	int64_t now = monotonic_ns();

	if (losses == w->losses || now - w->told_ns < TELL_NS)
		return;
	store_tell(w->store);
	w->losses = losses;
	w->told_ns = now;
}

/* Whether the next frame goes through the page cache. */
static void writer_choose_way(struct writer *w)
{
	struct segment *g = w->segment;
	unsigned waiting = capture_tail_backlog(w->tail, w->seq + 1);
	int64_t now = monotonic_ns();

	if (g->direct_ns >= SLOW_NS &&
	    waiting >= capture_tail_max(w->tail) / CACHED_PART) {
		/* The longer it was so, the later it is tried again. */
		w->cached_ns = writer_clamp(2 * w->cached_ns);
		w->cached_until_ns = now + w->cached_ns;
	} else if (g->direct_ns) {
		w->cached_ns = 0;
	}
	g->direct_ns = 0;
	if (g->cached && waiting > 1)
		w->cached_until_ns =
			writer_later(w->cached_until_ns, now + CACHED_MIN_NS);
	g->cached = now < w->cached_until_ns;
}

/* Brings the frame up to byte `to` of b; `end` also ends it. After an error it
 * goes on where it was. */
static bool write_frame(struct writer *w, const struct block *b, uint32_t to,
			bool end, struct err *e)
{
	writer_tell_losses(w);
	if (!w->frame.begun && !begin_frame(w, b, end, e))
		return false;
	writer_choose_way(w);
	if (!open_frame_add(&w->frame, w->segment, b->arena, to, end, e))
		return false;
	w->flushed_ns = monotonic_ns();
	return true;
}

static void writer_next_block(struct writer *w)
{
	w->seq++;
	open_frame_reset(&w->frame);
}

/* --- when the disk says no --- */

/* It is tried again, and retention is to make room. */
static void writer_refused(struct writer *w, int error, const struct err *e)
{
	int64_t now = monotonic_ns();

	atomic_store(&w->refused_ns, now);
	writer_report(w, e);
	pthread_mutex_lock(&w->lock);
	w->status.stuck = true;
	pthread_mutex_unlock(&w->lock);
	if (!w->stuck_ns)
		w->stuck_ns = now;
	if (writer_no_room(error))
		retention_wake(w->store->retention, true);
	housekeeper_now(w->store->housekeeper, false);
}

/* The block stays in the capture tail. A file that takes no more for another
 * reason than space is given up after a while; what it has is kept. So is one
 * that is the only one that could make room. */
static void writer_trouble(struct writer *w, const struct err *e)
{
	int64_t stuck_ns = w->stuck_ns;
	int error = w->segment ? w->segment->error : w->open_error;

	writer_refused(w, error, e);
	if (stuck_ns && w->segment &&
	    (disk_is_full(error) ? housekeeper_is_to_close(w->housekeeper)
				 : monotonic_ns() - stuck_ns > PATIENCE_NS))
		abandon_segment(w);
}

/* No more of them can come before the next look than there is room for, though
 * others write, too. */
static bool room_is_plenty(const struct writer *w)
{
	struct statvfs fs;

	return fstatvfs(w->store->spool_fd, &fs) < 0 || !fs.f_blocks ||
	       (uint64_t)fs.f_bavail * fs.f_frsize / PLENTY >
		       (uint64_t)capture_tail_max(w->tail) * FRAME_MAX;
}

/* Before blocks come: where room is short the capture tail gives no more of
 * them than it is reserved for; the producer waits for this, and on a full disk
 * does not. Who makes a savefile is told at its blocks. */
static void room_look(struct writer *w)
{
	uint64_t more = w->full ? AGAIN_BLOCKS : 1;
	struct err e = ERR_INIT;

	if (w->savefile)
		return;
	bool ok = room_reserve(w, room_taken(w) + more, &e);
	if (!ok && writer_no_room(w->open_error)) {
		w->full = true;
		writer_refused(w, w->open_error, &e);
	} else if (w->full) {
		/* What is lost until now was lost for that reason. */
		store_tell(w->store);
		w->full = false;
		report_good(w);
	}
	bool all = !w->full && (!ok || room_is_plenty(w));
	room_bound(w, all ? UINT64_MAX : w->seq + room_blocks(w));
}

/* Somebody removed the file under us: what is in it is lost, and said. The
 * block that is being written is in memory. */
static void lose_file(struct writer *w)
{
	uint64_t id = w->segment->capture, first_seq = w->segment->first_seq;
	struct stat st;
	struct err e;

	if (fstat(w->segment->fd, &st) < 0 || st.st_nlink > 0)
		return;
	log_error("capture %" PRIu64 ": the file of segment %" PRIu64 " was "
		  "removed while it was written; another is begun",
		  id, first_seq);
	abandon_segment(w);
	if (!store_segment_gone(w->store, id, first_seq, &e))
		writer_report(w, &e);
}

/* Nobody can wait any longer for this block. */
static void lose_block(struct writer *w, const struct block *b)
{
	const struct block_info *i = &b->info;
	struct block_info rest = {0};

	packets_measure(b->arena + w->frame.in_file, b->used - w->frame.in_file,
			&rest);
	pthread_mutex_lock(&w->lock);
	w->status.dropped_disk += rest.packets;
	loss_add(&w->status.lost, rest.packets, rest.min_ns, rest.max_ns + 1);
	pthread_mutex_unlock(&w->lock);
	if (w->segment && w->frame.begun)
		abandon_segment(w);
	post_row(w, false, i);
	writer_next_block(w);
}

/* false: try again. */
static bool end_block(struct writer *w, struct block *b)
{
	struct block_info info = b->info;
	struct err e;

	if (!write_frame(w, b, b->used, true, &e)) {
		writer_trouble(w, &e);
		return false;
	}
	info.stored_bytes = w->frame.flushed;
	if (!segment_add(w->segment, &info, &e)) {
		writer_trouble(w, &e);
		return false;
	}
	/* Before the row: who finds that asks the index. */
	if (w->index)
		segment_index_add(w->index, w->maker, info.seq, b->arena,
				  b->used);
	report_good(w);
	housekeeper_written(w->housekeeper, true,
			    w->savefile ? 0 : info.last_ns);
	post_row(w, true, &info);
	writer_next_block(w);
	return true;
}

static void flush_block(struct writer *w, struct block *b)
{
	int64_t now = realtime_ns();
	uint32_t filled = block_filled(b);
	bool dirty = filled != w->frame.in_file;
	struct err e;

	if (dirty && !write_frame(w, b, filled, false, &e)) {
		writer_trouble(w, &e);
		return;
	}
	if (dirty)
		report_good(w);
	w->flushed_ns = monotonic_ns();
	housekeeper_written(w->housekeeper, dirty, now);
}

/* --- the thread --- */

static int64_t writer_idle(struct writer *w, int64_t now, int64_t real_ns)
{
	struct store_options o;
	struct err e;

	store_options_now(w->store, &o);
	bool old = segment_is_old(w, &o);
	/* What it has reserved goes, too. */
	if (old && !w->savefile)
		room_bound(w, w->seq);
	if (old && room_taken(w) == 0) {
		if (!close_segment(w, &e)) {
			writer_trouble(w, &e);
			return now;
		}
		report_good(w);
	}
	housekeeper_written(w->housekeeper, false, real_ns);
	return old ? now : now + NS_PER_S;
}

static bool give_up(const struct writer *w, bool stopping)
{
	int64_t stuck = w->stuck_ns ? monotonic_ns() - w->stuck_ns : 0;

	return (stopping && stuck > STOP_PATIENCE_NS) ||
	       (w->savefile && stuck > PATIENCE_NS);
}

/* Works on block b; returns when to look again if nothing happens. real_ns:
 * when there was no newer block. */
static int64_t writer_step(struct writer *w, struct block *b, bool stopping,
			   int64_t real_ns)
{
	int64_t now = monotonic_ns();

	if (w->segment)
		lose_file(w);
	if (!stopping)
		room_look(w);
	if (!b)
		return writer_idle(w, now, real_ns);
	if (block_sealed(b)) {
		/* A capture that is quiet needs no memory. */
		if (b->used > BLOCK_MAX / 2) {
			capture_tail_warm(w->tail);
			open_frame_warm(&w->frame);
		}
		if (!end_block(w, b) && give_up(w, stopping))
			lose_block(w, b);
		return now;
	}
	int64_t due = writer_later(b->opened_ns, w->flushed_ns) + FLUSH_NS;
	if (due > now)
		return due;
	flush_block(w, b);
	return now + FLUSH_NS;
}

/* Until the next try; capture_tail_wait would not wait for a sealed block. */
static void wait_for_retry(struct writer *w, bool stopping)
{
	int64_t at = monotonic_ns() + RETRY_NS;
	bool late = false;

	pthread_mutex_lock(&w->lock);
	while (!late && atomic_load(&w->stopping) == stopping)
		late = !cond_wait_until(&w->stop, &w->lock, at);
	pthread_mutex_unlock(&w->lock);
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	int64_t deadline = 0;
	struct err e;

	pthread_setname_np(pthread_self(), "pcapd-writer");
	for (;;) {
		bool stopping = atomic_load(&w->stopping);

		if (w->stuck_ns)
			wait_for_retry(w, stopping);
		else if (!stopping)
			capture_tail_wait(w->tail, w->seq, deadline);
		int64_t real_ns = realtime_ns();
		struct block *b = capture_tail_find(w->tail, w->seq);
		if (!b && stopping)
			break;
		deadline = writer_step(w, b, stopping, real_ns);
		block_unref(b);
	}
	while (w->segment && !close_segment(w, &e)) {
		writer_trouble(w, &e);
		if (give_up(w, true))
			abandon_segment(w);
		else
			wait_for_retry(w, true);
	}
	if (w->next)
		segment_forget_next(w->store->spool_fd,
				    capture_tail_capture(w->tail));
	capture_tail_bound(w->tail, UINT64_MAX, false);
	for (unsigned i = 0; i < COMPRESS_POOL_AHEAD; i++)
		compress_pool_take(w->store->compressors, &w->ahead[i],
				   w->frame.compressor);
	return NULL;
}

static uint64_t first_seq(struct capture_tail *f)
{
	uint64_t seq;
	uint32_t at;
	struct block *b = capture_tail_find(f, 0);

	capture_tail_position(f, &seq, &at);
	if (b)
		seq = b->info.seq;
	block_unref(b);
	return seq;
}

static void writer_free(struct writer *w)
{
	for (unsigned i = 0; i < COMPRESS_POOL_AHEAD; i++)
		compress_pool_job_done(&w->ahead[i]);
	housekeeper_remove(w->housekeeper);
	segment_free(w->next);
	pthread_cond_destroy(&w->stop);
	pthread_mutex_destroy(&w->lock);
	segment_index_maker_free(w->maker);
	open_frame_done(&w->frame);
	capture_tail_unref(w->tail);
	free(w);
}

static void init_locks(struct writer *w)
{

	pthread_mutex_init(&w->lock, NULL);
	cond_init(&w->stop);
}

struct writer *writer_start(struct store *s, struct capture_tail *f,
			    struct err *e)
{
	struct writer *w = calloc(1, sizeof(*w));
	struct store_options o;
	struct capture_row row;

	if (!w) {
		err_no_memory(e, "writer");
		return NULL;
	}
	init_locks(w);
	store_options_now(s, &o);
	atomic_init(&w->level, o.compression_level);
	w->store = s;
	w->tail = capture_tail_ref(f);
	w->seq = first_seq(f);
	w->bound = UINT64_MAX;
	w->status.stored.next_seq = w->seq;
	w->maker = segment_index_maker_new();
	w->housekeeper = housekeeper_add(s, capture_tail_capture(f));
	if (!open_frame_init(&w->frame) || !w->maker || !w->housekeeper) {
		err_no_memory(e, "writer");
	} else if (store_capture(s, capture_tail_capture(f), &row, e)) {
		w->savefile = row.savefile;
		capture_row_done(&row);
		room_look(w);
		atomic_fetch_add(&s->writing, 1);
		if (pthread_create(&w->thread, NULL, writer_main, w) == 0)
			return w;
		atomic_fetch_sub(&s->writing, 1);
		err_set(e, ERR_FAILED, "writer: cannot make a thread");
	}
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

static void wait_for_rows(struct writer *w)
{
	int64_t at = monotonic_ns() + STOP_PATIENCE_NS;
	bool late = false;

	pthread_mutex_lock(&w->lock);
	while (!late && w->rows)
		late = !cond_wait_until(&w->stop, &w->lock, at);
	pthread_mutex_unlock(&w->lock);
}

bool store_is_written(struct store *s)
{
	return atomic_load(&s->writing) == 0;
}

void writer_stop(struct writer *w, struct writer_status *st)
{
	struct err ignored;

	pthread_mutex_lock(&w->lock);
	atomic_store(&w->stopping, true);
	pthread_cond_signal(&w->stop);
	pthread_mutex_unlock(&w->lock);
	capture_tail_nudge(w->tail);
	pthread_join(w->thread, NULL);
	atomic_fetch_sub(&w->store->writing, 1);
	wait_for_rows(w);
	/* Rows that the disk refuses now are found in the segment at the next
	 * start. */
	atomic_store(&w->hurry, true);
	housekeeper_now(w->store->housekeeper, true);
	/* Jobs run in order: behind this one none of ours is left. */
	catalog_run(w->store->catalog, run_nothing, NULL, &ignored);
	writer_status(w, st);
	writer_free(w);
}

void writer_status(struct writer *w, struct writer_status *st)
{
	bool failed;
	int64_t synced_ns = housekeeper_state(w->housekeeper, &failed);

	pthread_mutex_lock(&w->lock);
	*st = w->status;
	pthread_mutex_unlock(&w->lock);
	st->stuck |= atomic_load(&w->rows_stuck);
	st->refused_ns = atomic_load(&w->refused_ns);
	st->synced_ns = synced_ns;
	st->depth = capture_tail_depth(w->tail);
	st->level = atomic_load(&w->level);
}

struct loss writer_take_lost(struct writer *w)
{
	pthread_mutex_lock(&w->lock);
	struct loss lost = w->status.lost;
	w->status.lost = (struct loss){0};
	pthread_mutex_unlock(&w->lock);
	return lost;
}
