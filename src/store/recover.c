/*
 * Segments that a daemon left open. Guarantees that every packet that lies
 * whole in the file is kept: whole frames get their rows, of a torn frame the
 * whole packets are written again as a frame. What cannot be ours is renamed,
 * never removed. Leaves out closed segments: their rows are trusted.
 */
#include "spool.h"

#include "../log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

struct recovery {
	struct store *store;
	struct segment *segment;
	uint64_t seq;	/* of the next block to find */
	uint8_t *frame; /* FRAME_MAX */
	uint8_t *raw;	/* BLOCK_MAX */
	struct block_info *found;
	unsigned n_found;
	struct segment_end end;
	bool done; /* nothing more behind segment->end */
};

static bool no_memory(struct err *e)
{
	return err_set(e, ERR_FAILED, "recovery: out of memory");
}

static bool remember(struct recovery *r, struct block_info *info, struct err *e)
{
	void *more = realloc(r->found, (r->n_found + 1) * sizeof(*r->found));

	if (!more)
		return no_memory(e);
	r->found = more;
	info->capture = r->segment->capture;
	info->seq = r->seq++;
	if (!segment_add(r->segment, info, e))
		return false;
	r->found[r->n_found++] = *info;
	return true;
}

/* --- the walk --- */

/* Decodes what a torn frame still has: bytes of whole packets in r->raw. */
static uint32_t salvage(struct recovery *r, size_t have)
{
	ZSTD_DCtx *z = ZSTD_createDCtx();
	ZSTD_inBuffer in = {r->frame, have, 0};
	ZSTD_outBuffer out = {r->raw, BLOCK_MAX, 0};
	struct block_info info;
	size_t rc = 1, before;

	do {
		before = out.pos;
		rc = z ? ZSTD_decompressStream(z, &out, &in) : 0;
	} while (!ZSTD_isError(rc) && rc > 0 &&
		 (in.pos < in.size || out.pos > before) && out.pos < out.size);
	ZSTD_freeDCtx(z);
	return packets_measure(r->raw, (uint32_t)out.pos, &info);
}

static bool rewrite_tail(struct recovery *r, uint32_t whole, struct err *e)
{
	struct block_info info = {0};
	ZSTD_CCtx *z = ZSTD_createCCtx();

	if (!z)
		return no_memory(e);
	ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
	size_t n = ZSTD_compress2(z, r->frame, FRAME_MAX, r->raw, whole);
	ZSTD_freeCCtx(z);
	if (ZSTD_isError(n))
		return err_set(e, ERR_FAILED, "compress: %s",
			       ZSTD_getErrorName(n));
	packets_measure(r->raw, whole, &info);
	info.stored_bytes = n;
	return segment_write(r->segment, r->segment->end, r->frame, n, e) &&
	       remember(r, &info, e);
}

static bool whole_frame(struct recovery *r, size_t n, struct block_info *info)
{
	size_t raw = ZSTD_decompress(r->raw, BLOCK_MAX, r->frame, n);

	if (ZSTD_isError(raw) || raw == 0)
		return false;
	memset(info, 0, sizeof(*info));
	info->stored_bytes = n;
	return packets_measure(r->raw, (uint32_t)raw, info) == raw;
}

/* Looks at what lies at segment->end. */
static bool walk_step(struct recovery *r, struct err *e)
{
	struct segment *g = r->segment;
	ssize_t got = pread(g->fd, r->frame, FRAME_MAX, (off_t)g->end);
	struct block_info info;
	uint32_t magic = 0;

	if (got < 0)
		return err_errno(e, "read segment %" PRIu64, g->first_seq);
	if (got >= 4)
		memcpy(&magic, r->frame, 4);
	if (got == 0 || magic == SEGMENT_FOOTER_MAGIC) {
		r->done = true;
		return true;
	}
	size_t n = ZSTD_findFrameCompressedSize(r->frame, (size_t)got);
	if (!ZSTD_isError(n) && whole_frame(r, n, &info))
		return remember(r, &info, e);
	uint32_t whole = salvage(r, (size_t)got);
	r->done = true;
	log_warn("capture %" PRIu64 ": segment %" PRIu64 " ends in a torn "
		 "frame; %" PRIu32 " bytes of whole packets are kept",
		 g->capture, g->first_seq, whole);
	return whole == 0 || rewrite_tail(r, whole, e);
}

/* --- rows --- */

/* The blocks of this segment that the catalog has. */
static bool known_blocks(struct recovery *r, struct err *e)
{
	struct segment *g = r->segment;
	struct block_info info;
	sqlite3 *db = catalog_reader(r->store->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT " BLOCK_COLUMNS " FROM blocks b "
			       "WHERE capture = ?1 AND segment = ?2 "
			       "ORDER BY seq",
			       "ii", g->capture, g->first_seq)
		   : NULL;
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		block_from_row(q, &info);
		if (info.offset != g->end) {
			err_set(e, ERR_FAILED,
				"block %" PRIu64 " is not where the catalog "
				"says",
				info.seq);
			got = -1;
			break;
		}
		r->seq = info.seq + 1;
		if (!segment_add(g, &info, e)) {
			got = -1;
			break;
		}
	}
	sqlite3_finalize(q);
	sqlite3_close(db);
	return got == 0;
}

static bool run_rows(sqlite3 *db, void *arg, struct err *e)
{
	struct recovery *r = arg;
	struct segment *g = r->segment;

	for (unsigned i = 0; i < r->n_found; i++)
		if (!rows_add_block(db, &r->found[i], g->link_type, g->snaplen,
				    e))
			return false;
	return rows_close_segment(db, &r->end, e);
}

/* --- one segment, one capture --- */

static bool recover(struct recovery *r, const struct capture_row *row,
		    struct err *e)
{
	struct segment *g = r->segment;

	if (!known_blocks(r, e))
		return false;
	while (!r->done)
		if (!walk_step(r, e))
			return false;
	if (g->n_blocks == 0) {
		char name[SEGMENT_NAME_BYTES];

		/* Not a packet in it, and its name will be used again. */
		segment_name(name, g->capture, g->first_seq);
		return unlinkat(r->store->spool_fd, name, 0) == 0 ||
		       err_errno(e, "remove empty segment %s", name);
	}
	return segment_finish(g, row, &r->end, e) &&
	       catalog_run(r->store->catalog, run_rows, r, e);
}

/* Puts a file out of the way of the names that will be written. */
static void set_aside(struct store *s, uint64_t capture, uint64_t first_seq,
		      const struct err *why)
{
	char name[SEGMENT_NAME_BYTES], aside[SEGMENT_NAME_BYTES + 16];

	segment_name(name, capture, first_seq);
	snprintf(aside, sizeof(aside), "%s.damaged", name);
	log_warn("%s: %s; it is kept as %s", name, why->what, aside);
	if (renameat(s->spool_fd, name, s->spool_fd, aside) < 0)
		log_warn("rename %s: %s", name, strerror(errno));
}

static bool recover_segment(struct store *s, const struct capture_row *row,
			    uint64_t first_seq, struct err *e)
{
	struct recovery r = {.store = s, .seq = first_seq};
	bool ok;

	r.frame = malloc(FRAME_MAX);
	r.raw = malloc(BLOCK_MAX);
	if (!r.frame || !r.raw) {
		ok = no_memory(e);
	} else if (!(r.segment = segment_resume(s->spool_fd, row->id, first_seq,
						e))) {
		set_aside(s, row->id, first_seq, e);
		ok = true;
	} else {
		ok = recover(&r, row, e);
	}
	if (ok && r.n_found)
		log_info("capture %" PRIu64 ": segment %" PRIu64 ": %u blocks "
			 "were not in the catalog and are now",
			 row->id, first_seq, r.n_found);
	segment_free(r.segment);
	free(r.found);
	free(r.frame);
	free(r.raw);
	return ok || err_wrap(e, "recover capture %" PRIu64, row->id);
}

/* 1 closed, 0 open or unknown, -1 error */
static int is_closed(sqlite3 *db, uint64_t id, uint64_t first_seq,
		     struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT closed FROM segments WHERE "
				    "capture = ?1 AND first_seq = ?2",
				    "ii", id, first_seq);
	int got = q ? sql_step(q, e) : -1;

	if (got == 1)
		got = sqlite3_column_int(q, 0) != 0;
	sqlite3_finalize(q);
	return got;
}

static bool recover_folder(struct store *s, const struct capture_row *row,
			   DIR *dir, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	bool ok = db;
	uint64_t seq;

	for (struct dirent *d; ok && (d = readdir(dir));) {
		if (!segment_parse_name(d->d_name, &seq))
			continue;
		int closed = is_closed(db, row->id, seq, e);
		ok = closed == 1 ||
		     (closed == 0 && recover_segment(s, row, seq, e));
	}
	sqlite3_close(db);
	return ok;
}

bool recover_capture(struct store *s, const struct capture_row *row,
		     struct err *e)
{
	char name[24];

	snprintf(name, sizeof(name), "%" PRIu64, row->id);
	int fd = openat(s->spool_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ||
		       err_errno(e, "open folder %s of the spool", name);
	DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return err_errno(e, "read folder %s of the spool", name);
	}
	bool ok = recover_folder(s, row, dir, e);
	closedir(dir);
	return ok;
}
