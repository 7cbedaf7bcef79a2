/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * store_internal: what the parts of the store share. Private to this folder and
 * to fsck/.
 */
#ifndef PCAPD_STORE_STORE_INTERNAL_H
#define PCAPD_STORE_STORE_INTERNAL_H

#include "store/age.h"
#include "store/catalog.h"
#include "store/problem.h"
#include "store/readers.h"
#include "store/segment_file.h"
#include "store/segment_index.h"
#include "store/store.h"
#include "store/verify.h"

#include <pthread.h>

/* Of a capture's definition: captures.changes, which is never 0. */
struct identity_version {
	uint64_t id, changes;
};

struct store {
	struct catalog *catalog;
	struct housekeeper *housekeeper;
	struct retention *retention;
	struct job_pool *compressors; /* writers', compress_pool.h */
	struct readers *readers;
	struct verify *verify;
	struct problems *problems;
	struct segment_indexes
		*indexes; /* of segments that are being written */
	int spool_fd;
	int lock_fd;
	atomic_bool identity_old;
	/* The housekeeper thread's: what the files have, by id. */
	struct identity_version *written;
	size_t n_written;
	atomic_bool pressed;	   /* files go before their rows do */
	atomic_uint writing;	   /* threads of writers */
	atomic_uint audit_waiting; /* its rows that are not written */
	atomic_bool stopping;	   /* nobody waits for long */
	atomic_bool recovered;	   /* what is in the files has its rows */
	atomic_bool malformed;	   /* the catalog; it was said */
	/* The housekeeper thread's, too: a capture's file lacks rows; it was
	 * said.*/
	bool ledger_file_old, ledger_file_failed;
	bool salvaged; /* the catalog was made again by this start */
	/* Guards the folders of captures that are deleted, or written into by
	 * the housekeeper's thread; so it is held across I/O, by nobody else.
	 */
	pthread_mutex_t folders;
	pthread_mutex_t lock; /* guards everything below */
	struct store_options options;
	uint64_t audit_id;	   /* the newest; 0: not known */
	struct reserved *reserved; /* a list */
	struct age_clock age;
	struct ledger_writer *ledger_writer;
};
/* The clock that says how old what is stored is; *doubt_ns as in age.h. */
int64_t store_age_ns(struct store *s, int64_t *doubt_ns);
/* Blocks that are written to a capture from now on have at least that number,
 * until the store is closed: lower ones may lie in files that could not be
 * read. */
void store_reserve(struct store *s, uint64_t capture, uint64_t seq);
/* A connection that only reads, for the caller to close, NULL: error. Its
 * queries end with an error when the store is to stop, however many rows they
 * visit. */
sqlite3 *store_reader(struct store *s, struct err *e);
/* A page of the catalog is: the next start makes it again, and of blocks their
 * footers have the same until then. It is said once, and status has it. */
void store_malformed(struct store *s);
/* What is known to be missing is in the ledger when it returns. */
void store_tell(struct store *s);
/* A copy, since they change while the daemon runs. */
void store_options_now(struct store *s, struct store_options *o);

/* The columns of blocks, in the order of struct block_info. */
#define BLOCK_COLUMNS                                                          \
	"b.capture, b.seq, b.segment, b.offset, b.stored_bytes, b.raw_bytes, " \
	"b.packets, b.first_ns, b.last_ns, b.min_ns, b.max_ns"
void block_from_row(sqlite3_stmt *q, struct block_info *info);

/* Inserts a block's row and adds it to its segment's, which is made with the
 * first. stored_ns: by the clock of age.h. On the catalog's thread. */
bool rows_add_block(sqlite3 *db, const struct block_info *info,
		    uint32_t link_type, uint32_t snaplen, int64_t stored_ns,
		    struct err *e);
/* A segment of which rows are missing stays open, so that the next start
 * finds them. */
bool rows_close_segment(sqlite3 *db, const struct segment_end *end,
			struct err *e);

/* Adds a row to the ledger, or joins it to the newest of its cause. On the
 * catalog's thread. */
struct ledger_row;
bool rows_ledger(sqlite3 *db, const struct ledger_row *row, struct err *e);
/* What captures resume by: of each capture and cause the id of the newest row,
 * or NULL. */
#define LEDGER_NEWEST                                                          \
	"WITH RECURSIVE causes (cause) AS (SELECT 1 UNION ALL SELECT cause + " \
	"1 FROM causes WHERE cause < 13) SELECT c.id AS capture, cause, "      \
	"(SELECT max(id) FROM ledger AS l INDEXED BY ledger_of WHERE "         \
	"l.capture = c.id AND l.cause = causes.cause) AS id "                  \
	"FROM captures AS c, causes"
/* A row says so of all of r's time: 1, 0, -1 error. */
int rows_known_damage(sqlite3 *db, const struct ledger_row *r, struct err *e);

/* One capture's row, from a connection of the caller's. */
bool rows_capture(sqlite3 *db, uint64_t id, struct capture_row *row,
		  struct err *e);
/* All that are deleted, or are not, by id. */
bool rows_captures(sqlite3 *db, bool deleted, struct capture_row **rows,
		   size_t *n, struct err *e);
/* The row: a new one of any id, or the one of row->id as row says it is. */
bool rows_put_capture(sqlite3 *db, const struct capture_row *row, bool is_new,
		      struct err *e);
/* The same, when there is no connection at hand. */
bool store_capture(struct store *s, uint64_t id, struct capture_row *row,
		   struct err *e);
/* A statement that changes what a capture's file says, committed: how many rows
 * it changed, -1 error. types as in sql.h. */
int store_change(struct store *s, struct err *e, const char *sql,
		 const char *types, ...);

/* Puts the segments of one capture in order that no writer closed, or all of
 * them. Before any writer or cursor of the capture. What cannot be read now is
 * said and left; false: the folder or its rows could not be read at all. */
enum recover_which {
	RECOVER_NEW, /* the newest, and what no writer closed */
	RECOVER_ODD, /* of which the row and the file are not the same */
	RECOVER_ALL,
};
bool recover_capture(struct store *s, const struct capture_row *row,
		     enum recover_which which, struct err *e);
/* RECOVER_ODD while the store is in use: of segments before that one. */
bool recover_rest(struct store *s, const struct capture_row *row,
		  uint64_t before, struct err *e);
/* The file of a segment is not there, though nobody marked it: its packets
 * become a gap, and its rows go. false: it could not be said. */
bool store_segment_gone(struct store *s, uint64_t capture, uint64_t first_seq,
			struct err *e);
/* Finds all of them of a capture. */
void store_find_gone(struct store *s, uint64_t capture);
/* For repair, before recovery: files that were put aside get the names again
 * that they belong under, where these are free. */
void recover_aside(struct store *s, uint64_t id);
/* A capture that cannot be recovered is said, and keeps no other from it. */
bool recover_all(struct store *s, enum recover_which which, struct err *e);
/* Captures whose deletion was interrupted: their files, which are room; and
 * then all of them, when nobody waits. */
bool store_resume_deletes(struct store *s, struct err *e);
bool store_end_deletes(struct store *s, struct err *e);
/* One closed segment whose rows are wrong, also while the store is in use. */
void recover_again(struct store *s, const struct capture_row *row,
		   uint64_t first_seq);
/* Rows of segments whose sum is wrong, and what expired without a word of it
 * in the ledger, are open again: their files know better. */
bool recover_altered(struct store *s, struct err *e);
/* store_open that leaves recovery to the caller. */
struct store *store_open_for_repair(const struct store_options *o,
				    struct err *e);
/* Calls each for every folder that has a capture's name, in any order. */
bool spool_each_capture(int spool_fd,
			bool (*each)(void *arg, uint64_t id, struct err *e),
			void *arg, struct err *e);
/* The catalog has the capture: 1, 0, -1 error. */
int rows_has_capture(sqlite3 *db, uint64_t id, struct err *e);
/* Makes the captures of folders that the catalog does not know. */
bool spool_adopt(struct store *s, store_say say, void *ctx, struct err *e);
/* The files of a capture that have names of segments, in order: how many, -1
 * errno. Each is to free(), then the array. */
struct dirent;
int segment_list(int spool_fd, uint64_t id, struct dirent ***files);

/* --- housekeeper.c: what is written becomes durable --- */

struct housekeeper *housekeeper_start(struct store *s, struct err *e);
void housekeeper_stop(struct housekeeper *y); /* one pass more; NULL is fine */
/* A pass soon; wait: until one that began after the call is over, or the store
 * is about to stop. */
void housekeeper_now(struct housekeeper *y, bool wait);
/* Whoever waits looks whether that is so; NULL is fine. */
void housekeeper_stop_waiting(struct housekeeper *y);
bool housekeeper_capture_folder(struct store *s, uint64_t capture,
				struct err *e);

/* A writer's part of it. None of these waits for the disk. */
struct housekeeper_writer;
struct housekeeper_writer *housekeeper_add(struct store *s, uint64_t capture);
void housekeeper_remove(struct housekeeper_writer *w); /* NULL is fine */
/* A new segment, which stays the writer's; fd -1: it has none now. */
void housekeeper_open(struct housekeeper_writer *w, uint64_t first_seq, int fd);
/* A writer has that segment open. */
bool housekeeper_has_open(struct housekeeper *y, uint64_t capture,
			  uint64_t first_seq);
/* Asks all writers to close what they have open, so that it may go. */
void housekeeper_close_open(struct housekeeper *y);
/* It was asked since the segment was opened. */
bool housekeeper_is_to_close(struct housekeeper_writer *w);
/* Everything published before ns (CLOCK_REALTIME) is written. dirty: some of
 * it since the last call. */
void housekeeper_written(struct housekeeper_writer *w, bool dirty, int64_t ns);
/* The footer is written: its row is closed after the next sync. */
bool housekeeper_close(struct housekeeper_writer *w, struct store *s, int fd,
		       const struct segment_end *end, struct err *e);
/* What survives a power loss; *failed: the segment could not be synced. */
int64_t housekeeper_state(struct housekeeper_writer *w, bool *failed);

/* --- manifest.c: what the spool says of a capture, besides packets --- */

#define IDENTITY_FILE "capture"
#define FOLDER_FILE_MAX (64 << 20)
/* A small file of a capture's folder, with a 0 at its end, to free(); NULL:
 * there is none that can be read. */
char *folder_read(struct store *s, uint64_t id, const char *file, size_t *n);
/* It is the old one or the new one, whatever happens. */
bool folder_replace(struct store *s, uint64_t id, const char *file,
		    const char *text, size_t n, struct err *e);
/* Brings the file of each capture up to date. On the housekeeper's thread. */
void manifest_write_changed(struct store *s);
/* What was changed in the catalog goes to the file soon. */
void manifest_changed(struct store *s);
/* Captures whose file is newer than their rows, or whose rows were altered,
 * become what the file says: an older catalog was put back. At start. */
bool manifest_follow(struct store *s, struct err *e);
/* The catalog's rows of a capture are not what its file says: a line of *say,
 * or "" when they are. */
bool manifest_compare(struct store *s, sqlite3 *db, uint64_t id, char say[128],
		      struct err *e);

/* --- ledger_file.c: the ledger beside the segments --- */

#define LEDGER_FILE "ledger"
/* Brings to the files what was committed since. On the housekeeper's thread. */
void ledger_file_follow(struct store *s);
/* Rows that the catalog never had, as it is older, or has altered, are what
 * the files say. At start; of what was altered, as far as captures resume by
 * it. */
bool ledger_file_merge(struct store *s, struct err *e);
/* Altered ones of all, while the store is in use; db reads. */
bool ledger_file_verify(struct store *s, sqlite3 *db, struct err *e);
/* Makes the rows of a capture that has none again. In a transaction. */
bool ledger_file_restore(sqlite3 *db, struct store *s, uint64_t id,
			 struct err *e);

/* --- retention.c: what has to go --- */

/* Retention has a thread of its own, which sync wakes after each pass. */
struct retention;
struct retention *retention_new(struct store *s, struct err *e);
/* On start, before anything needs room: what the disk lacks is made free as far
 * as that can be; what cannot is in the log. */
void retention_make_room(struct retention *r);
/* There would be something to make free. */
bool retention_lacks_room(struct retention *r);
/* On start: ends what a crash interrupted, as far as it can be removed. */
void retention_resume(struct retention *r);
bool retention_start(struct retention *r, struct err *e);
/* A pass soon. no_room: a write found none, whatever the disk says. */
void retention_wake(struct retention *r, bool no_room);
/* Waits for what goes just now; NULL is fine. */
void retention_stop(struct retention *r);
void retention_free(struct retention *r); /* stopped; NULL is fine */
/* A segment of that capture is closed at so many bytes on disk, so that its
 * bounds can be kept; UINT64_MAX: no matter. */
uint64_t retain_segment_bytes(struct store *s, const struct capture_row *row);

#endif
