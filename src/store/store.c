/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The store's life, and what its rows add up to. Guarantees one daemon a spool.
 * Leaves out packets: writer.c brings them in, cursor.c out; and captures.c.
 */
#include "store/block_compressor.h"
#include "store/compress_pool.h"
#include "store/row_sum.h"
#include "store/salvage.h"
#include "store/store_internal.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A start looks at so many before captures resume: 10 ms. */
#define SEGMENTS_FIRST 1000

/* Between two looks at whether the store is to stop. */
#define STEPS_MORE 10000

static int store_is_stopping(void *arg)
{
	const struct store *s = arg;

	return atomic_load(&s->stopping);
}

sqlite3 *store_reader(struct store *s, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);

	if (db)
		sqlite3_progress_handler(db, STEPS_MORE, store_is_stopping, s);
	return db;
}

void store_malformed(struct store *s)
{
	static const char why[] = "some of it is malformed; what the segments "
				  "say themselves is taken, and the next start "
				  "makes it again";

	/* What is malformed is met again when the disk is well. */
	if ((s->catalog && catalog_disk_fails(s->catalog)) ||
	    atomic_exchange(&s->malformed, true))
		return;
	salvage_mark(s->spool_fd);
	log_error("catalog.db: %s", why);
	problem_put(s->problems, 0, "catalog.db", PROBLEM_STAYS, why);
}

/* --- rows --- */

void block_from_row(sqlite3_stmt *q, struct block_info *i)
{
	i->capture = (uint64_t)sqlite3_column_int64(q, 0);
	i->seq = (uint64_t)sqlite3_column_int64(q, 1);
	i->segment = (uint64_t)sqlite3_column_int64(q, 2);
	i->offset = (uint64_t)sqlite3_column_int64(q, 3);
	i->stored_bytes = (uint64_t)sqlite3_column_int64(q, 4);
	i->raw_bytes = (uint64_t)sqlite3_column_int64(q, 5);
	i->packets = (uint64_t)sqlite3_column_int64(q, 6);
	i->first_ns = sqlite3_column_int64(q, 7);
	i->last_ns = sqlite3_column_int64(q, 8);
	i->min_ns = sqlite3_column_int64(q, 9);
	i->max_ns = sqlite3_column_int64(q, 10);
}

bool rows_add_block(sqlite3 *db, const struct block_info *i, uint32_t link_type,
		    uint32_t snaplen, int64_t stored_ns, struct err *e)
{
	return sql_run(db, e, SQL_ADD_TO_SEGMENT, "iiiiiiiiiiii", i->capture,
		       i->segment, i->seq, (int64_t)link_type, (int64_t)snaplen,
		       i->stored_bytes, i->raw_bytes, i->packets, i->min_ns,
		       i->max_ns, realtime_ns(), stored_ns) &&
	       sql_run(db, e, SQL_ADD_BLOCK, "iiiiiiiiiii", i->capture, i->seq,
		       i->segment, i->offset, i->stored_bytes, i->raw_bytes,
		       i->packets, i->first_ns, i->last_ns, i->min_ns,
		       i->max_ns);
}

/* A segment that lacks rows stays open, so that the next start finds them. */
bool rows_close_segment(sqlite3 *db, const struct segment_end *end,
			struct err *e)
{
	return sql_run(db, e, SQL_CLOSE_SEGMENT, "iiii", end->capture,
		       end->first_seq, end->other_bytes, end->blocks);
}

/* --- numbers that are not given out --- */

struct reserved {
	struct reserved *next;
	uint64_t capture, seq;
};

void store_reserve(struct store *s, uint64_t capture, uint64_t seq)
{
	struct reserved *r;

	/* A few bytes, and no way on without them: wait for memory. */
	while (!(r = malloc(sizeof(*r))))
		sched_yield();
	pthread_mutex_lock(&s->lock);
	*r = (struct reserved){s->reserved, capture, seq};
	s->reserved = r;
	pthread_mutex_unlock(&s->lock);
}

static uint64_t not_reserved(struct store *s, uint64_t capture, uint64_t seq)
{
	pthread_mutex_lock(&s->lock);
	for (const struct reserved *r = s->reserved; r; r = r->next)
		if (r->capture == capture && r->seq > seq)
			seq = r->seq;
	pthread_mutex_unlock(&s->lock);
	return seq;
}

bool store_newest(struct store *s, uint64_t id, struct store_newest *t,
		  struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT max(coalesce(s.last_seq, 0), "
			       "c.expired_seq), s.expired IS 0, s.link_type, "
			       "s.max_ns FROM captures c LEFT JOIN segments s "
			       "ON s.capture = c.id AND s.first_seq = (SELECT "
			       "max(first_seq) FROM segments WHERE capture = "
			       "?1) WHERE c.id = ?1",
			       "i", id)
		   : NULL;
	int got = q ? sql_step(q, e) : -1;

	*t = (struct store_newest){.next_seq = not_reserved(s, id, 1)};
	if (got == 1) {
		t->next_seq = not_reserved(
			s, id, (uint64_t)sqlite3_column_int64(q, 0) + 1);
		t->any = sqlite3_column_int(q, 1);
	}
	if (t->any) {
		t->link_type = (uint32_t)sqlite3_column_int64(q, 2);
		t->max_ns = sqlite3_column_int64(q, 3);
	}
	sqlite3_finalize(q);
	sqlite3_close(db);
	return got >= 0;
}

bool store_totals(struct store *s, uint64_t id, struct store_totals *t,
		  struct err *e)
{
	if (!verify_wait(s->verify, id, VERIFY_SEGMENTS, e))
		return false;
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT count(*) FILTER (WHERE NOT expired), "
			       "coalesce(sum(packets) FILTER (WHERE NOT "
			       "expired), 0), "
			       "coalesce(sum(raw_bytes) FILTER (WHERE NOT "
			       "expired), "
			       "0), coalesce(sum(stored_bytes + other_bytes) "
			       "FILTER (WHERE NOT expired), 0), "
			       "min(min_ns) FILTER (WHERE NOT expired), "
			       "max(max_ns) FILTER (WHERE NOT expired), "
			       "max(coalesce(max(last_seq), 0), (SELECT "
			       "expired_seq FROM captures WHERE id = ?1)), "
			       "max(snaplen) FILTER (WHERE NOT expired), "
			       "(SELECT link_type FROM segments WHERE capture "
			       "= ?1 AND NOT expired ORDER BY first_seq DESC "
			       "LIMIT 1) "
			       "FROM segments WHERE capture = ?1",
			       "i", id)
		   : NULL;
	bool ok = q && sql_step(q, e) == 1;

	if (ok) {
		t->segments = (uint64_t)sqlite3_column_int64(q, 0);
		t->packets = (uint64_t)sqlite3_column_int64(q, 1);
		t->snaplen = (uint32_t)sqlite3_column_int64(q, 7);
		t->link_type = (uint32_t)sqlite3_column_int64(q, 8);
		t->raw_bytes = (uint64_t)sqlite3_column_int64(q, 2);
		t->stored_bytes = (uint64_t)sqlite3_column_int64(q, 3);
		t->min_ns = sqlite3_column_int64(q, 4);
		t->max_ns = sqlite3_column_int64(q, 5);
		t->next_seq = not_reserved(
			s, id, (uint64_t)sqlite3_column_int64(q, 6) + 1);
	}
	sqlite3_finalize(q);
	sqlite3_close(db);
	return ok;
}

void store_totals_add(struct store_totals *t, const struct block_info *b,
		      uint64_t stored_bytes)
{
	bool first = t->packets == 0;

	if (b->seq < t->next_seq || b->packets == 0)
		return;
	t->next_seq = b->seq + 1;
	t->packets += b->packets;
	t->raw_bytes += b->raw_bytes;
	t->stored_bytes += stored_bytes;
	if (first || b->min_ns < t->min_ns)
		t->min_ns = b->min_ns;
	if (first || b->max_ns > t->max_ns)
		t->max_ns = b->max_ns;
}

/* --- open and close --- */

static bool spool_err(const char *doing, const char *path, struct err *e)
{
	bool sealed = errno == EROFS;
	bool hidden = errno == EACCES && getenv("INVOCATION_ID") &&
		      (strncmp(path, "/home/", 6) == 0 ||
		       strncmp(path, "/root/", 6) == 0 ||
		       strncmp(path, "/run/user/", 10) == 0);

	err_errno(e, "%s %s", doing, path);
	if (sealed)
		return err_hint(
			e,
			"Under systemd pcapd writes where its unit lets "
			"it: make the folder, and ReadWritePaths=%s in "
			"'systemctl edit pcapd'; see pcapd.conf(5).",
			path);
	if (hidden)
		return err_hint(
			e, "Under systemd pcapd sees no home folders "
			   "(ProtectHome=): choose another, as /srv/pcapd; see "
			   "pcapd.conf(5).");
	return err_hint(
		e,
		"pcapd needs a folder of its own: 'install -d -o pcapd "
		"-g pcapd %s' makes one, 'chown -R pcapd:' gives it one "
		"that is there.",
		path);
}

/* An older pcapd let everybody read it who gets into the folder. */
static void close_to_others(int spool_fd)
{
	static const char *const names[] = {"catalog.db", "catalog.db-wal",
					    "catalog.db-shm"};
	struct stat st;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (fstatat(spool_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) ==
			    0 &&
		    S_ISREG(st.st_mode) && (st.st_mode & S_IRWXO) &&
		    fchmodat(spool_fd, names[i], st.st_mode & 0770, 0) < 0)
			log_warn("%s can be read by everybody: %s", names[i],
				 strerror(errno));
}

static bool is_in_place(int fd)
{
	int flags = 0;

	return ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_NOCOW_FL);
}

static bool set_in_place(int fd)
{
	int flags = 0;

	if (!is_in_place(fd) && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags |= FS_NOCOW_FL;
		ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	return is_in_place(fd);
}

static bool set_folder_in_place(void *arg, uint64_t id, struct err *e)
{
	struct store *s = arg;
	char name[24];

	(void)e;
	snprintf(name, sizeof(name), "%" PRIu64, id);
	int fd = openat(s->spool_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		set_in_place(fd);
		close(fd);
	}
	return true;
}

/* What is made in it is overwritten in place: elsewhere (btrfs) room that is
 * reserved is no room for what is written a second time. File
 * systems without the attribute do not need it. What was there before stays as
 * it is: segments go in time. */
static void spool_in_place(struct store *s)
{
	struct err ignored;

	if (!set_in_place(s->spool_fd))
		return;
	spool_each_capture(s->spool_fd, set_folder_in_place, s, &ignored);
	int fd = openat(s->spool_fd, "catalog.db", O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !is_in_place(fd))
		log_info("catalog.db is copied on write, as it was made before "
			 "its folder was not: on a full disk it may take no "
			 "rows; pcapd(8), FILES, says how to change that");
	if (fd >= 0)
		close(fd);
}

static bool open_spool(struct store *s, const char *path, struct err *e)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return spool_err("make the spool", path, e);
	s->spool_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->spool_fd < 0)
		return spool_err("open the spool", path, e);
	s->lock_fd =
		openat(s->spool_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return spool_err("write to the spool", path, e);
	close_to_others(s->spool_fd);
	spool_in_place(s);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return true;
	if (errno != EWOULDBLOCK)
		return err_errno(e, "lock spool %s", path);
	err_set(e, ERR_STATE, "spool %s belongs to another pcapd that runs",
		path);
	return err_hint(e, "Stop that one, or choose another --spool.");
}

bool recover_all(struct store *s, enum recover_which which, struct err *e)
{
	struct capture_row *rows;
	size_t n;

	if (!store_captures(s, &rows, &n, e))
		return false;
	for (size_t i = 0; which == RECOVER_ALL && i < n; i++)
		recover_aside(s, rows[i].id);
	for (size_t i = 0; i < n; i++) {
		if (!recover_capture(s, &rows[i], which, e)) {
			char folder[24];

			log_err(LOG_LEVEL_ERROR, e);
			snprintf(folder, sizeof(folder), "%" PRIu64,
				 rows[i].id);
			problem_put(s->problems, rows[i].id, folder,
				    PROBLEM_STAYS, e->what);
		}
		capture_row_done(&rows[i]);
	}
	free(rows);
	return true;
}

static void store_set_options(struct store *s, const struct store_options *o)
{
	block_compressor_use_ours(!o->zstd_only);
	pthread_mutex_lock(&s->lock);
	s->options = *o;
	s->options.spool = NULL; /* the caller's; spool_fd is ours */
	if (!s->options.sync_interval_ns)
		s->options.sync_interval_ns = NS_PER_S;
	pthread_mutex_unlock(&s->lock);
}

void store_options_now(struct store *s, struct store_options *o)
{
	pthread_mutex_lock(&s->lock);
	*o = s->options;
	pthread_mutex_unlock(&s->lock);
}

int64_t store_age_ns(struct store *s, int64_t *doubt_ns)
{
	struct clocks now = clocks_now();

	pthread_mutex_lock(&s->lock);
	int64_t ns = age_now(&s->age, now, doubt_ns);
	pthread_mutex_unlock(&s->lock);
	return ns;
}

/* From the newest that is stored on. */
static bool begin_age(struct store *s, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT coalesce(max((SELECT stored_ns "
			       "FROM segments WHERE capture = c.id AND NOT "
			       "(" SEGMENT_ALTERED
			       ") ORDER BY first_seq DESC LIMIT 1)), 0) "
			       "FROM captures c",
			       "")
		   : NULL;
	bool ok = q && sql_step(q, e) == 1;

	if (ok)
		age_begin(&s->age, clocks_now(), sqlite3_column_int64(q, 0));
	sqlite3_finalize(q);
	sqlite3_close(db);
	return ok;
}

void store_configure(struct store *s, const struct store_options *o)
{
	store_set_options(s, o);
	housekeeper_now(s->housekeeper, false);
}

/* Without a catalog new captures would be given the numbers, and so the
 * folders, of those that are there. SQLite takes an empty file for a new one.
 */
static bool spool_has_captures(const struct store *s)
{
	bool found = false;
	int fd = openat(s->spool_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	for (struct dirent *d; !found && (d = readdir(dir));)
		found = strspn(d->d_name, "0123456789") == strlen(d->d_name);
	closedir(dir);
	return found;
}

static bool sound_catalog(struct store *s, const char *path, struct err *e)
{
	char line[SALVAGE_LINE_MAX];

	if (!salvage_catalog(s->spool_fd, path, spool_has_captures(s), line, e))
		return false;
	s->salvaged = line[0];
	if (s->salvaged)
		log_error("%s", line);
	return true;
}

static void say_adopted(void *ctx, const char *line)
{
	(void)ctx;
	log_warn("%s", line);
}

/* What the catalog says is held against the files that say the same, before
 * anything is removed because of it. */
static bool believe_catalog(struct store *s, bool repair, struct err *e)
{
	/* On a full disk what is only in the file stays there. */
	if (!ledger_file_merge(s, e))
		log_err(LOG_LEVEL_WARN, e);
	return manifest_follow(s, e) &&
	       (repair || spool_adopt(s, say_adopted, NULL, e));
}

/* Whether a start looks at all segments before captures resume: there are few,
 * or the disk lacks room, or a row is wrong from which new blocks would take
 * their numbers. */
static bool is_put_in_order_first(struct store *s, bool *first, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT coalesce(sum(segments), 0) <= ?1 OR "
			       "EXISTS (SELECT 1 FROM segments WHERE (capture, "
			       "first_seq) IN (SELECT id, (SELECT "
			       "max(first_seq) FROM segments WHERE capture = "
			       "id) FROM captures) AND " SEGMENT_ALTERED
			       ") FROM kept",
			       "i", (int64_t)SEGMENTS_FIRST)
		   : NULL;
	bool ok = q && sql_step(q, e) == 1;

	*first = ok && (sqlite3_column_int(q, 0) ||
			retention_lacks_room(s->retention));
	sqlite3_finalize(q);
	sqlite3_close(db);
	return ok;
}

static bool put_in_order(struct store *s, bool repair, struct err *e)
{
	if (!recover_altered(s, e))
		return false;
	/* Recovery may need room. */
	retention_resume(s->retention);
	if (!repair)
		retention_make_room(s->retention);
	return repair ? store_end_deletes(s, e)
		      : store_resume_deletes(s, e) &&
				recover_all(s, RECOVER_ODD, e);
}

/* A transaction that writes, and changes nothing: SQLite only reads files of a
 * format that it does not know. */
static bool run_writable(sqlite3 *db, void *arg, struct err *e)
{
	(void)arg;
	return sql_exec(db, e, "UPDATE captures SET id = id WHERE 0", "");
}

/* What is not done here the thread does that verifies. */
static bool open_rows(struct store *s, bool repair, struct err *e)
{
	bool first = true;

	if (!catalog_run(s->catalog, run_writable, NULL, e))
		return false;
	if (!repair && !is_put_in_order_first(s, &first, e))
		return false;
	if (!first)
		return recover_all(s, RECOVER_NEW, e);
	if (!put_in_order(s, repair, e))
		return false;
	atomic_store(&s->recovered, true);
	return true;
}

static struct store *open_store(const struct store_options *o, bool repair,
				struct err *e)
{
	struct store *s = calloc(1, sizeof(*s));
	char path[4096];

	if (!s) {
		err_no_memory(e, "open store");
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->folders, NULL);
	store_set_options(s, o);
	s->spool_fd = s->lock_fd = -1;
	s->readers = readers_new();
	s->indexes = segment_indexes_new();
	s->problems = problems_new();
	if (!s->readers || !s->indexes || !s->problems) {
		err_no_memory(e, "open store");
		goto fail;
	}
	if (snprintf(path, sizeof(path), "%s/catalog.db", o->spool) >=
	    (int)sizeof(path)) {
		err_set(e, ERR_USAGE, "spool: the path is too long");
		goto fail;
	}
	if (!open_spool(s, o->spool, e))
		goto fail;
	if (!sound_catalog(s, path, e))
		goto fail;
	s->catalog = catalog_open(path, e);
	if (s->catalog && !believe_catalog(s, repair, e))
		goto fail;
	if (s->catalog && repair)
		verify_ledger(s);
	s->retention = s->catalog ? retention_new(s, e) : NULL;
	if (!s->retention || !begin_age(s, e))
		goto fail;
	if (!open_rows(s, repair, e))
		goto fail;
	atomic_store(&s->identity_old, true);
	s->ledger_file_old = true;
	s->compressors = compress_pool_new(o->compressors, e);
	/* Nothing expires while a spool is repaired. */
	if (s->compressors && housekeeper_start(s, e) &&
	    (repair || (retention_start(s->retention, e) &&
			(s->verify = verify_start(s, e)))))
		return s;
fail:
	store_close(s);
	return NULL;
}

/* What is found to be malformed by then is made again at once. */
static struct store *open_twice(const struct store_options *o, bool repair,
				struct err *e)
{
	struct store *s = open_store(o, repair, e);

	if (s && catalog_is_malformed(s->catalog))
		store_malformed(s);
	if (s && !s->salvaged && salvage_is_marked(s->spool_fd)) {
		store_close(s);
		s = open_store(o, repair, e);
	}
	return s;
}

struct store *store_open(const struct store_options *o, struct err *e)
{
	return open_twice(o, false, e);
}

struct store *store_open_for_repair(const struct store_options *o,
				    struct err *e)
{
	return open_twice(o, true, e);
}

void store_close(struct store *s)
{
	if (!s)
		return;
	verify_stop(s->verify);
	retention_stop(s->retention);
	housekeeper_stop(s->housekeeper);
	retention_free(s->retention);
	job_pool_free(s->compressors);
	catalog_close(s->catalog);
	readers_free(s->readers);
	segment_indexes_free(s->indexes);
	free(s->written);
	problems_free(s->problems);
	for (struct reserved *r = s->reserved, *next; r; r = next) {
		next = r->next;
		free(r);
	}
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->spool_fd >= 0)
		close(s->spool_fd);
	pthread_mutex_destroy(&s->folders);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
