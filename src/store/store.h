/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * store: blocks on disk and the catalog that finds them. The contract of this
 * folder.
 *
 * What: a spool folder is
 *	catalog.db			SQLite, schema/
 *	lock				flock: one daemon a spool
 *	<id>/<first seq>.pcap.zst	segments of capture <id>
 *	<id>/capture, <id>/ledger	its definition, and what is missing, as
 *					in the catalog
 * A segment is a zstd stream: frame 0 the savefile header, a frame a block, and
 * when closed two skippable frames: ours, and the standard seek table
 * (segment_file.h). `zstd -dc` of it is a savefile at any time. Order on the
 * way in: frame written, row committed, block released from the capture tail;
 * so a reader that looks into the capture tail first and into the catalog
 * second misses nothing.
 * Threads: one catalog thread writes; a writer is a thread of its own; a cursor
 * belongs to one thread, has its own connection, and while it decodes one block
 * after the other has threads that do so ahead of it. Functions here are safe
 * from any thread and wait for the commit, so they may not be called from a
 * capture thread.
 * Ownership: stated at each function.
 */
#ifndef PCAPD_STORE_STORE_H
#define PCAPD_STORE_STORE_H

#include "base/err.h"
#include "packet/bpf_filter.h"
#include "packet/capture_tail.h"
#include "store/capture_row.h"

struct store;

struct store_options {
	const char *spool;
	uint64_t segment_bytes; /* of packets */
	int64_t segment_age_ns;
	int compression_level;
	bool zstd_only; /* whole blocks, too, are compressed by libzstd */
	/* Threads that compress beside the writers, from store_open on. */
	unsigned compressors;
	/* Threads of each cursor that decode the blocks which come next; 0:
	 * none. */
	unsigned decoders;
	/* What was written so long ago survives a power loss. 0: 1 s. */
	int64_t sync_interval_ns;
	/* Retention over all captures, 0: no bound. */
	uint64_t spool_bytes;	   /* the segments together are kept below */
	bool spare_imports;	   /* not counted to that, nor removed for it */
	uint64_t free_floor_bytes; /* so much stays free on the file system */
	/* What others take of the disk is not made up for below that. */
	uint64_t keep_at_least_bytes;
};

/* Makes the folder and the catalog if they are not there, brings the schema
 * up to date, and puts segments in order that were open when a daemon died.
 * ERR_STATE: another daemon has this spool. */
struct store *store_open(const struct store_options *o, struct err *e);
void store_close(struct store *s); /* writers and cursors are gone */
/* The store closes soon: nobody waits any more for rows to be verified, which
 * is an error then, or for the disk to sync, which is none. */
void store_end_waits(struct store *s);
/* New numbers for everything but the spool, from the next segment, sync and
 * retention on. */
void store_configure(struct store *s, const struct store_options *o);

/* --- captures: the rows that survive a restart --- */

/* All of them, by id: an array whose rows are done by the caller, then freed.*/
bool store_captures(struct store *s, struct capture_row **rows, size_t *n,
		    struct err *e);
/* Fills row->id. Aliases of the row are added with it. */
bool store_add(struct store *s, struct capture_row *row, struct err *e);
bool store_set_wanted(struct store *s, uint64_t id, bool wanted, struct err *e);
bool store_set_link_type(struct store *s, uint64_t id, uint32_t link_type,
			 struct err *e);
/* The compiled filter, of row->program_link_type. */
bool store_set_program(struct store *s, const struct capture_row *row,
		       struct err *e);
/* ERR_EXISTS / ERR_NOT_FOUND */
bool store_alias_add(struct store *s, uint64_t id, const char *alias,
		     struct err *e);
bool store_alias_remove(struct store *s, const char *alias, struct err *e);
/* Rows and files. Cursors that are open go on. In two parts: when it has begun
 * it is no capture any more, whatever happens; what has to be removed then may
 * be much, goes in steps, and is left to the next start when the store is to
 * stop. */
bool store_delete(struct store *s, uint64_t id, struct err *e);
bool store_delete_begin(struct store *s, uint64_t id, struct err *e);
bool store_delete_finish(struct store *s, uint64_t id, struct err *e);

/*
 * --- retention ---
 *
 * Closed segments of a capture go, in the order in which they were stored,
 * while they are over keep_bytes or were stored over keep_age_ns ago (age.h);
 * then the oldest of all captures while the spool is over its bounds or the
 * disk has no room. A segment that overlaps a hold stays, and one that cannot
 * be removed, for a while. Each that goes gets a row of the ledger.
 */
/* free_floor_bytes as far as the file system is large enough for it. */
uint64_t store_free_floor(struct store *s);
/* Files of a capture that cannot be removed, read or taken in, or that were put
 * aside, and why: a line each, to free(). capture 0: those of no capture. */
#define STORE_PROBLEMS 16
size_t store_problems(struct store *s, uint64_t capture,
		      char *lines[STORE_PROBLEMS]);
bool store_set_keep(struct store *s, uint64_t id, uint64_t keep_bytes,
		    int64_t keep_age_ns, struct err *e);

bool store_set_people(struct store *s, uint64_t id, const char *people,
		      struct err *e);

struct store_hold {
	uint64_t id;
	int64_t since_ns, until_ns; /* [since, until) is kept */
	int64_t created_ns;
	char reason[256];
};
/* Fills h->id; h->created_ns is set here. */
bool store_hold_add(struct store *s, uint64_t capture, struct store_hold *h,
		    struct err *e);
/* ERR_NOT_FOUND */
bool store_hold_remove(struct store *s, uint64_t capture, uint64_t hold,
		       struct err *e);
/* By id: an array to free(). */
bool store_holds(struct store *s, uint64_t capture, struct store_hold **h,
		 size_t *n, struct err *e);

struct store_mark {
	char name[ALIAS_MAX + 1];
	int64_t at_ns;
};
/* ERR_EXISTS: a mark does not move; remove it first. */
bool store_mark_add(struct store *s, uint64_t capture,
		    const struct store_mark *m, struct err *e);
bool store_mark_remove(struct store *s, uint64_t capture, const char *name,
		       struct err *e); /* ERR_NOT_FOUND */
bool store_mark_find(struct store *s, uint64_t capture, const char *name,
		     int64_t *at_ns, struct err *e); /* ERR_NOT_FOUND */
/* By time: an array to free(). */
bool store_marks(struct store *s, uint64_t capture, struct store_mark **m,
		 size_t *n, struct err *e);

/* What the last 24 hours brought. */
struct store_rate {
	uint64_t bytes;	 /* on disk */
	int64_t over_ns; /* in so long; 0: nothing to tell from */
	uint64_t bytes_per_day;
};
bool store_rate(struct store *s, uint64_t id, struct store_rate *r,
		struct err *e);

/* What retention would remove at once. */
struct store_removal {
	uint64_t segments, packets, bytes; /* on disk */
};
/* Of a capture, if these were its bounds. 0: no bound. without_hold: as if that
 * hold were released; 0: none. */
bool store_would_remove(struct store *s, uint64_t id, uint64_t keep_bytes,
			int64_t keep_age_ns, uint64_t without_hold,
			struct store_removal *sum, struct err *e);
/* Of all captures, if these were the bounds over all. */
bool store_would_remove_all(struct store *s, const struct store_options *o,
			    struct store_removal *sum, struct err *e);

struct store_totals {
	uint64_t next_seq; /* of the first block that is not in the catalog */
	uint64_t packets, raw_bytes, stored_bytes, segments;
	int64_t min_ns, max_ns; /* 0 without packets */
	uint32_t snaplen;	/* the largest of a segment; 0 without any */
	uint32_t link_type;	/* of the newest segment; 0 without any */
};
/* When a large spool was opened just now it waits until the segments' rows are
 * held against their files. */
bool store_totals(struct store *s, uint64_t id, struct store_totals *t,
		  struct err *e);
/* A block that is behind what is in *t, on disk with stored_bytes or not. */
void store_totals_add(struct store_totals *t, const struct block_info *b,
		      uint64_t stored_bytes);
struct store_newest {
	uint64_t next_seq; /* as above */
	bool any;	   /* there are segments, and the newest has: */
	uint32_t link_type;
	int64_t max_ns;
};
/* Waits for nothing, however much there is. */
bool store_newest(struct store *s, uint64_t id, struct store_newest *t,
		  struct err *e);

/* --- the way in --- */

struct writer;
struct writer_status {
	uint64_t dropped_disk; /* packets that could not be written */
	char error[256];       /* the last one; "" when it went well since */
	/* The disk says no: blocks are kept and tried again. What the capture
	 * drops meanwhile, because the capture tail is full, is the disk's
	 * doing. */
	bool stuck;
	int64_t refused_ns; /* CLOCK_MONOTONIC: when it said so last */
	/* CLOCK_REALTIME: what was published before it survives a power loss;
	 * 0: nothing does yet. A quiet capture's moves on too. */
	int64_t synced_ns;
	unsigned depth;	  /* blocks that wait, the open one included */
	int level;	  /* of compression, now */
	struct loss lost; /* of dropped_disk: writer_take_lost gives it */
	/* What was committed since it was started; next_seq: what comes. */
	struct store_totals stored;
};
/* Writes what the capture tail has from its first block on. Holds a reference
 * to it. */
struct writer *writer_start(struct store *s, struct capture_tail *f,
			    struct err *e);
/* The producer has sealed its last block. Everything is written and in the
 * catalog and the segment is closed when it returns; *st is the last status. */
void writer_stop(struct writer *w, struct writer_status *st);
/* What the writers had is in files: none is left, or they wait for no more than
 * rows and syncs, which the next start can do without. */
bool store_is_written(struct store *s);
void writer_status(struct writer *w, struct writer_status *st);
/* What dropped_disk counted since the last call, for the ledger. */
struct loss writer_take_lost(struct writer *w);

/* --- the way out --- */

struct cursor_range {
	int64_t since_ns, until_ns; /* as in packet_select.h; 0: no bound */
	bool live; /* no end; otherwise what is published at cursor_open */
	/* Only blocks [first_seq, end_seq); 0: no bound. */
	uint64_t first_seq, end_seq;
	/* Only packets that match are wanted: blocks that cannot have any are
	 * left out, as far as their link type is the filter's. NULL: all. The
	 * caller's until cursor_close. */
	const struct bpf_filter *filter;
	uint32_t link_type;
	/* What it does with a block before it takes the next: passes it on,
	 * and then has it in its own CPU's cache; works on it, as with a filter
	 * in any case, so that the next ones had best be decoded meanwhile; or
	 * passes it on as it lies on disk, if all of it is in the range. */
	enum {
		CURSOR_PASSES_ON,
		CURSOR_WORKS,
		CURSOR_TAKES_FRAMES /* without a filter */
	} reader;
	/* Asked about each block on disk before it is read, some blocks ahead
	 * of the one that is returned; true: it is not wanted after all, its
	 * row was enough. May be NULL. */
	bool (*enough)(void *ctx, const struct block_info *info);
	/* Asked at every segment and block that is passed over; false: nobody
	 * waits any more, and cursor_next and store_explain fail without a
	 * kind of error. May be NULL. */
	bool (*go_on)(void *ctx);
	void *ctx;
};
struct cursor;

struct cursor_item {
	enum { ITEM_SLICE, ITEM_FRAME } kind;
	uint32_t link_type;
	struct slice slice; /* and a reference */
	/* A block's zstd frame: stored_bytes at offset of a file that is open
	 * until the next call. It may be damaged. */
	struct block_info info;
	int fd;
};

/* Reads capture capture_tail_capture(f) from its oldest block on. */
struct cursor *cursor_open(struct store *s, struct capture_tail *f,
			   const struct cursor_range *r, struct err *e);
/*
 * The next slice of a block that may have packets in the range, or its frame:
 * 1 and *out; 0 at the end, or for `live` when there is nothing more now (call
 * again when the capture tail published); -1 cannot go on. What is damaged or
 * gone is skipped and counted in cursor_lost; so is everything on the disk
 * while the catalog cannot be read. It may take long: a filter that matches
 * nothing has the whole range looked through in one call, in which go_on is
 * asked. Callbacks run on the thread that calls. Ahead of it, with
 * store_options.decoders, there are up to CURSOR_LOADS more blocks in memory,
 * from the second on, and what decoding takes, a frame and 0.1 MiB, a thread.
 */
#define CURSOR_LOADS 4
int cursor_next(struct cursor *c, struct cursor_item *out, struct err *e);
/* The frame that cursor_next gave last, in the arena of a block that is nothing
 * else; NULL: it is damaged, skipped and counted as in cursor_next. */
struct block *cursor_read(struct cursor *c, const struct block_info *frame);
/* Packets skipped since the last call, and why (static or the cursor's); NULL:
 * none were. 0 and a reason: nobody knows how many. "expired": retention took
 * segments that were still to come; those count whole, also for a range. */
uint64_t cursor_lost(struct cursor *c, const char **reason);
/* Blocks in the range when it was opened, and how many of them are done. */
uint64_t cursor_blocks(const struct cursor *c);
uint64_t cursor_blocks_done(const struct cursor *c);
void cursor_close(struct cursor *c);

/* What a cursor over the range would do, without reading packets. */
struct explain_step {
	uint64_t segments, blocks, packets, stored_bytes, raw_bytes;
};
#define EXPLAIN_DOUBTS 8
/* A word that the filter looks at, and in how many of the segments that are
 * left, and blocks to read, it has so many values that it may have any. */
struct explain_word {
	const char *name; /* static */
	uint64_t segments, blocks;
};
#define EXPLAIN_WORDS 32
struct explain {
	struct explain_step in_range; /* by their times */
	/* What the filter leaves of them: by the union over each segment, and
	 * by the synopsis of each block. */
	struct explain_step after_unions, to_read;
	uint64_t without_index; /* of the segments that the unions left */
	uint64_t in_memory;	/* blocks, read in any case */
	/* Loads of the filter that no synopsis knows, as sentences. */
	size_t n_doubts;
	char doubts[EXPLAIN_DOUBTS][96];
	size_t n_words;
	struct explain_word words[EXPLAIN_WORDS];
};
bool store_explain(struct store *s, struct capture_tail *f,
		   const struct cursor_range *r, struct explain *x,
		   struct err *e);

/* --- a spool that nobody uses --- */

struct store_findings {
	uint64_t problems; /* lines that were said */
	uint64_t segments, blocks;
	uint64_t damaged_frames, damaged_packets;
};
typedef void (*store_say)(void *ctx, const char *line);

/* Looks at every frame and compares it with the catalog; writes nothing. say:
 * a line for each problem. false: it could not be done. ERR_STATE: a daemon
 * has this spool. */
bool store_check(const char *spool, store_say say, void *ctx,
		 struct store_findings *found, struct err *e);
/* Makes the index of each segment that has none, and takes in captures and
 * segments that were copied into the spool. *made: how many. ERR_STATE: a
 * daemon has this spool. */
bool store_reindex(const struct store_options *o, store_say say, void *ctx,
		   uint64_t *made, struct err *e);
/* Makes catalog and segments agree: a catalog that cannot be read is put
 * aside and made again from the segments. *found: what store_check says
 * after. Nothing that may be a packet is removed. */
bool store_repair(const struct store_options *o, store_say say, void *ctx,
		  struct store_findings *found, struct err *e);

#endif
