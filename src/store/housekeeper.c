/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread that brings to stable storage what the others have written, and
 * wakes retention then. Guarantees that no writer ever waits for
 * fdatasync, and the order data, then catalog: a segment's row says `closed`
 * only after its file was synced. What was lost before a packet is durable
 * before the packet is, so that no power loss leaves a hole without its row.
 * Leaves out what a crash leaves behind: rows of open segments are checked
 * against their files on start (recover.c).
 */
#include "store/store_internal.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

/* A segment that got its footer; its row is closed when it is durable. */
struct closing {
	struct catalog_job job;
	struct store *store;
	int fd;
	struct segment_end end;
	bool made;
	STAILQ_ENTRY(closing) link;
};

struct housekeeper_writer {
	struct housekeeper *housekeeper;
	uint64_t capture;
	/* Guarded by the housekeeper's lock. */
	int fd; /* -1: no segment is open */
	bool made, dirty, failed;
	uint64_t first_seq; /* of the segment */
	bool to_close;
	int64_t written_ns, synced_ns;
	LIST_ENTRY(housekeeper_writer) link;
};

struct housekeeper {
	struct store *store;
	pthread_t thread;
	bool failing;	      /* the thread's: the catalog's was logged */
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t wake, passed;
	LIST_HEAD(, housekeeper_writer) writers;
	STAILQ_HEAD(closings, closing) closing;
	uint64_t asked, done; /* passes */
	bool stopping;
};

/* --- one pass --- */

bool housekeeper_capture_folder(struct store *s, uint64_t capture,
				struct err *e)
{
	char name[24];

	snprintf(name, sizeof(name), "%" PRIu64, capture);
	return file_sync_folder(s->spool_fd, name, e) &&
	       file_sync_folder(s->spool_fd, ".", e);
}

/* made: the file's name is not durable either. */
static bool housekeeper_file(struct store *s, int fd, uint64_t capture,
			     bool made, struct err *e)
{
	if (fdatasync(fd) < 0)
		return err_errno(e, "sync a segment of capture %" PRIu64,
				 capture);
	return !made || housekeeper_capture_folder(s, capture, e);
}

static bool closed_run(sqlite3 *db, struct catalog_job *job, struct err *e)
{
	struct closing *c = (struct closing *)job;

	return rows_close_segment(db, &c->end, e);
}

static void closed_done(struct catalog_job *job, const struct err *e)
{
	if (e)
		log_err(LOG_LEVEL_WARN, e);
	free(job);
}

static bool closed_patient(const struct catalog_job *job)
{
	(void)job;
	return true;
}

/* A file that cannot be synced stays open in the catalog, so that the next
 * start looks at it. */
static void finish_closing(struct closing *c)
{
	struct err e;
	bool ok =
		housekeeper_file(c->store, c->fd, c->end.capture, c->made, &e);

	close(c->fd);
	if (!ok) {
		log_err(LOG_LEVEL_ERROR, &e);
		free(c);
		return;
	}
	c->job.run = closed_run;
	c->job.done = closed_done;
	c->job.patient = closed_patient;
	catalog_post(c->store->catalog, &c->job);
}

/* One writer's file; the lock is not held while the disk works, and the
 * writer may close its own descriptor or go meanwhile. */
struct snapshot {
	struct housekeeper_writer *writer;
	uint64_t capture;
	int fd; /* a duplicate; -1: nothing to sync */
	bool made;
	int64_t written_ns;
};

static size_t take_writers(struct housekeeper *y, struct snapshot **out)
{
	struct housekeeper_writer *w;
	size_t n = 0;

	LIST_FOREACH(w, &y->writers, link)
		n++;
	struct snapshot *all = calloc(n + 1, sizeof(*all));
	*out = all;
	if (!all)
		return 0;
	n = 0;
	LIST_FOREACH(w, &y->writers, link) {
		struct snapshot *t = &all[n++];

		*t = (struct snapshot){w, w->capture, -1, w->made,
				       w->written_ns};
		if (w->fd < 0 || !w->dirty)
			continue;
		t->fd = fcntl(w->fd, F_DUPFD_CLOEXEC, 0);
		if (t->fd < 0)
			n--; /* no descriptors: later */
		else
			w->dirty = w->made = false;
	}
	return n;
}

static bool housekeeper_is_there(const struct housekeeper *y,
				 const struct housekeeper_writer *w)
{
	const struct housekeeper_writer *at;

	LIST_FOREACH(at, &y->writers, link)
		if (at == w)
			return true;
	return false;
}

static void housekeeper_one(struct housekeeper *y, struct snapshot *t)
{
	struct err e;
	bool ok = t->fd < 0 ||
		  housekeeper_file(y->store, t->fd, t->capture, t->made, &e);

	if (t->fd >= 0)
		close(t->fd);
	if (!ok)
		log_err(LOG_LEVEL_ERROR, &e);
	pthread_mutex_lock(&y->lock);
	if (housekeeper_is_there(y, t->writer)) {
		if (ok && t->written_ns > 0)
			t->writer->synced_ns = t->written_ns;
		t->writer->failed |= !ok;
	}
	pthread_mutex_unlock(&y->lock);
}

static void housekeeper_pass(struct housekeeper *y)
{
	struct snapshot *writers;
	struct closings closings = STAILQ_HEAD_INITIALIZER(closings);
	struct closing *c;
	struct err e;

	pthread_mutex_lock(&y->lock);
	size_t n = take_writers(y, &writers);
	STAILQ_CONCAT(&closings, &y->closing);
	pthread_mutex_unlock(&y->lock);
	/* Losses: writers had them committed before what is newer. On a failure
	 * catalog_sync says it. */
	catalog_sync_log(y->store->catalog);
	/* First: a writer's synced_ns covers the segments that it left. */
	while ((c = STAILQ_FIRST(&closings))) {
		STAILQ_REMOVE_HEAD(&closings, link);
		finish_closing(c);
	}
	for (size_t i = 0; i < n; i++)
		housekeeper_one(y, &writers[i]);
	free(writers);
	bool failed = !catalog_sync(y->store->catalog, &e);
	if (failed && !y->failing)
		log_err(LOG_LEVEL_WARN, &e);
	if (!failed && y->failing)
		log_info("the catalog is synced again");
	y->failing = failed;
	if (catalog_is_malformed(y->store->catalog))
		store_malformed(y->store);
	if (atomic_exchange(&y->store->identity_old, false))
		manifest_write_changed(y->store);
	ledger_file_follow(y->store);
	retention_wake(y->store->retention, false);
}

static void *housekeeper_main(void *arg)
{
	struct housekeeper *y = arg;
	bool go_on = true;

	while (go_on) {
		struct store_options o;

		store_options_now(y->store, &o);
		int64_t at = monotonic_ns() + o.sync_interval_ns;
		bool late = false;

		pthread_mutex_lock(&y->lock);
		while (!late && !y->stopping && y->asked == y->done)
			late = !cond_wait_until(&y->wake, &y->lock, at);
		uint64_t asked = y->asked;
		go_on = !y->stopping || y->asked != y->done;
		pthread_mutex_unlock(&y->lock);
		housekeeper_pass(y);
		pthread_mutex_lock(&y->lock);
		y->done = asked;
		pthread_cond_broadcast(&y->passed);
		pthread_mutex_unlock(&y->lock);
	}
	return NULL;
}

/* --- for the others --- */

struct housekeeper_writer *housekeeper_add(struct store *s, uint64_t capture)
{
	struct housekeeper_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->housekeeper = s->housekeeper;
	w->capture = capture;
	w->fd = -1;
	pthread_mutex_lock(&w->housekeeper->lock);
	LIST_INSERT_HEAD(&w->housekeeper->writers, w, link);
	pthread_mutex_unlock(&w->housekeeper->lock);
	return w;
}

void housekeeper_remove(struct housekeeper_writer *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->housekeeper->lock);
	LIST_REMOVE(w, link);
	pthread_mutex_unlock(&w->housekeeper->lock);
	free(w);
}

void housekeeper_open(struct housekeeper_writer *w, uint64_t first_seq, int fd)
{
	pthread_mutex_lock(&w->housekeeper->lock);
	w->fd = fd;
	w->first_seq = first_seq;
	w->made = w->dirty = fd >= 0;
	w->failed = w->to_close = false;
	pthread_mutex_unlock(&w->housekeeper->lock);
}

bool housekeeper_has_open(struct housekeeper *y, uint64_t capture,
			  uint64_t first_seq)
{
	const struct housekeeper_writer *w;
	bool found = false;

	pthread_mutex_lock(&y->lock);
	LIST_FOREACH(w, &y->writers, link)
		found |= w->capture == capture && w->fd >= 0 &&
			 w->first_seq == first_seq;
	pthread_mutex_unlock(&y->lock);
	return found;
}

void housekeeper_close_open(struct housekeeper *y)
{
	struct housekeeper_writer *w;

	pthread_mutex_lock(&y->lock);
	LIST_FOREACH(w, &y->writers, link)
		w->to_close = w->fd >= 0;
	pthread_mutex_unlock(&y->lock);
}

bool housekeeper_is_to_close(struct housekeeper_writer *w)
{
	pthread_mutex_lock(&w->housekeeper->lock);
	bool yes = w->to_close;
	pthread_mutex_unlock(&w->housekeeper->lock);
	return yes;
}

void housekeeper_written(struct housekeeper_writer *w, bool dirty, int64_t ns)
{
	pthread_mutex_lock(&w->housekeeper->lock);
	w->dirty |= dirty;
	if (ns > w->written_ns)
		w->written_ns = ns;
	pthread_mutex_unlock(&w->housekeeper->lock);
}

bool housekeeper_close(struct housekeeper_writer *w, struct store *s, int fd,
		       const struct segment_end *end, struct err *e)
{
	struct closing *c = calloc(1, sizeof(*c));

	if (!c)
		return err_no_memory(e, "segment");
	c->store = s;
	c->end = *end;
	c->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (c->fd < 0) {
		free(c);
		return err_errno(e, "close segment %" PRIu64, end->first_seq);
	}
	pthread_mutex_lock(&s->housekeeper->lock);
	c->made = w->made;
	w->fd = -1;
	w->made = w->dirty = false;
	STAILQ_INSERT_TAIL(&s->housekeeper->closing, c, link);
	pthread_mutex_unlock(&s->housekeeper->lock);
	return true;
}

int64_t housekeeper_state(struct housekeeper_writer *w, bool *failed)
{
	pthread_mutex_lock(&w->housekeeper->lock);
	int64_t ns = w->synced_ns;
	*failed = w->failed;
	pthread_mutex_unlock(&w->housekeeper->lock);
	return ns;
}

void housekeeper_now(struct housekeeper *y, bool wait)
{
	if (!y)
		return; /* a start that does not have it yet */
	pthread_mutex_lock(&y->lock);
	uint64_t mine = ++y->asked;
	pthread_cond_signal(&y->wake);
	while (wait && y->done < mine && !atomic_load(&y->store->stopping))
		pthread_cond_wait(&y->passed, &y->lock);
	pthread_mutex_unlock(&y->lock);
}

void housekeeper_stop_waiting(struct housekeeper *y)
{
	if (!y)
		return;
	pthread_mutex_lock(&y->lock);
	pthread_cond_broadcast(&y->passed);
	pthread_mutex_unlock(&y->lock);
}

struct housekeeper *housekeeper_start(struct store *s, struct err *e)
{
	struct housekeeper *y = calloc(1, sizeof(*y));

	if (!y) {
		err_no_memory(e, "sync");
		return NULL;
	}
	y->store = s;
	STAILQ_INIT(&y->closing);
	pthread_mutex_init(&y->lock, NULL);
	cond_init(&y->wake);
	cond_init(&y->passed);
	s->housekeeper =
		y; /* its thread, and who it wakes, ask the store for it */
	if (pthread_create(&y->thread, NULL, housekeeper_main, y) == 0)
		return y;
	err_set(e, ERR_FAILED, "sync: cannot make a thread");
	s->housekeeper = NULL;
	free(y);
	return NULL;
}

void housekeeper_stop(struct housekeeper *y)
{
	if (!y)
		return;
	pthread_mutex_lock(&y->lock);
	y->stopping = true;
	pthread_cond_signal(&y->wake);
	pthread_mutex_unlock(&y->lock);
	pthread_join(y->thread, NULL);
	pthread_cond_destroy(&y->passed);
	pthread_cond_destroy(&y->wake);
	pthread_mutex_destroy(&y->lock);
	free(y);
}
