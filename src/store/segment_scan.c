/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The walk over a segment's frames. Guarantees that what it calls a block has
 * a good checksum and is whole packets, and that a frame inside a damaged
 * one's packets is not taken for one of the segment's. Leaves out what to do
 * about it: recover.c, check.c.
 */
#include "store/segment_scan.h"
#include "store/store.h"

#include "base/vec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#define FIRST_READ (64u << 10)
#define PAGE 4096u

static const uint8_t frame_magic[4] = {0x28, 0xb5, 0x2f, 0xfd};

static bool segment_scan_no_memory(struct err *e)
{
	return err_no_memory(e, "scan");
}

/* As segment_read; what could not be read is noted, as it may well be there. */
static size_t segment_scan_read(struct segment_scan *v, uint64_t at, void *to,
				size_t n)
{
	size_t have = segment_read(v->fd, at, to, n);

	if (have < n && errno)
		v->error = errno;
	return have;
}

/* --- frames --- */

/* Bytes of the whole frame at `at`, decoded into raw; 0: there is none. */
static size_t whole_frame(struct segment_scan *v, uint64_t at,
			  struct block_info *info)
{
	size_t have = segment_scan_read(v, at, v->frame, FIRST_READ);
	size_t n;

	if (have < 4 || memcmp(v->frame, frame_magic, 4) != 0)
		return 0;
	n = ZSTD_findFrameCompressedSize(v->frame, have);
	if (ZSTD_isError(n) && have == FIRST_READ) {
		have += segment_scan_read(v, at + have, v->frame + have,
					  FRAME_MAX - have);
		n = ZSTD_findFrameCompressedSize(v->frame, have);
	}
	if (ZSTD_isError(n))
		return 0;
	size_t raw = ZSTD_decompress(v->raw, BLOCK_MAX, v->frame, n);
	if (ZSTD_getErrorCode(raw) == ZSTD_error_memory_allocation)
		v->error = ENOMEM;
	if (ZSTD_isError(raw) || raw == 0)
		return 0;
	memset(info, 0, sizeof(*info));
	if (packets_measure(v->raw, (uint32_t)raw, info) != raw)
		return 0;
	info->offset = at;
	info->stored_bytes = n;
	return n;
}

/* A power loss leaves pages of zeros where writes did not arrive; frames have
 * none. Returns the bytes in front of the first. */
static size_t before_zeros(const uint8_t *bytes, size_t n, uint64_t at)
{
	static const uint8_t zeros[PAGE];
	size_t i = (PAGE - at % PAGE) % PAGE;

	for (; i + PAGE <= n; i += PAGE)
		if (memcmp(bytes + i, zeros, PAGE) == 0)
			return i;
	return n;
}

/* What a frame that was not ended still has: whole packets in raw. *altered:
 * it was not cut, or not only. */
static uint32_t segment_scan_salvage(struct segment_scan *v, uint64_t at,
				     bool *altered)
{
	size_t have = before_zeros(
		v->frame, segment_scan_read(v, at, v->frame, FRAME_MAX), at);
	ZSTD_inBuffer in = {v->frame, have, 0};
	ZSTD_outBuffer out = {v->raw, BLOCK_MAX, 0};
	struct block_info info = {0};
	size_t rc = 1, before;

	size_t first = have < 4 ? have : 4;
	*altered = memcmp(v->frame, frame_magic, first) != 0 &&
		   memcmp(v->frame, "\0\0\0", first) != 0;
	if (have < 4 || memcmp(v->frame, frame_magic, 4) != 0)
		return 0;
	ZSTD_DCtx *z = ZSTD_createDCtx();
	if (!z)
		v->error = ENOMEM;
	do {
		before = out.pos;
		rc = z ? ZSTD_decompressStream(z, &out, &in) : 0;
	} while (!ZSTD_isError(rc) && rc > 0 &&
		 (in.pos < in.size || out.pos > before) && out.pos < out.size);
	ZSTD_freeDCtx(z);
	*altered = ZSTD_isError(rc);
	if (*altered)
		return 0; /* none of it can be trusted */
	return packets_measure(v->raw, (uint32_t)out.pos, &info);
}

/* With one of these begins what is behind the blocks. */
static bool is_tail(uint32_t magic)
{
	return magic == SEGMENT_FOOTER_MAGIC || magic == SEGMENT_INDEX_MAGIC;
}

static bool is_magic(struct segment_scan *v, uint64_t at)
{
	uint8_t bytes[4];
	uint32_t magic;

	if (at == v->file_bytes)
		return true;
	if (segment_scan_read(v, at, bytes, 4) != 4)
		return false;
	memcpy(&magic, bytes, 4);
	return memcmp(bytes, frame_magic, 4) == 0 || is_tail(magic) ||
	       magic == SEEK_TABLE_MAGIC;
}

/* --- where to go on after damage --- */

static const struct block_info *known_from(const struct segment_scan *v,
					   uint64_t offset)
{
	size_t from = 0, to = v->n_known;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (v->known[middle].offset < offset)
			from = middle + 1;
		else
			to = middle;
	}
	return from < v->n_known ? &v->known[from] : NULL;
}

static bool segment_scan_tail_at(struct segment_scan *v, uint64_t at)
{
	uint32_t head[2];

	return segment_scan_read(v, at, head, sizeof(head)) == sizeof(head) &&
	       is_tail(head[0]) && at + 8 + head[1] <= v->file_bytes &&
	       is_magic(v, at + 8 + head[1]);
}

/* Bytes of the index at `at`, which the seek table knows; 0: there is none. */
static uint64_t index_at(struct segment_scan *v, const struct segment *g,
			 uint64_t at)
{
	struct segment_index_place place = segment_index_locate(v->fd);
	struct segment_index_start start;
	const size_t n = SEGMENT_INDEX_LEAST;

	return place.offset == at && place.bytes >= n &&
			       segment_scan_read(v, at, &start, n) == n &&
			       segment_index_resembles(&start, place.bytes,
						       g->capture, g->first_seq)
		       ? place.bytes
		       : 0;
}

/* A frame, or the footer, after `at`, that is followed by another or the end:
 * packets may hold frames of their own, but not at such a place. */
static uint64_t segment_scan_search(struct segment_scan *v, uint64_t at)
{
	struct block_info info;
	size_t room = 1u << 20;
	uint8_t *window = malloc(room);
	uint64_t found = v->file_bytes;

	if (!window)
		v->error = ENOMEM;
	while (window && at < v->file_bytes && found == v->file_bytes) {
		size_t have = segment_scan_read(v, at, window, room);

		for (size_t i = 0; i + 4 <= have; i++) {
			uint32_t magic;
			size_t n;

			memcpy(&magic, window + i, 4);
			if (is_tail(magic)
				    ? segment_scan_tail_at(v, at + i)
				    : memcmp(window + i, frame_magic, 4) == 0 &&
					      (n = whole_frame(v, at + i,
							       &info)) > 0 &&
					      is_magic(v, at + i + n)) {
				found = at + i;
				break;
			}
		}
		if (have < room)
			break;
		at += have - 3;
	}
	free(window);
	return found;
}

/* The next place that can be gone on from; the file's end: none. */
static uint64_t segment_scan_resync(struct segment_scan *v, uint64_t at)
{
	struct block_info info;
	const struct block_info *k = known_from(v, at);
	uint64_t behind = at;

	for (; k && k < v->known + v->n_known; k++) {
		if (k->offset > at && whole_frame(v, k->offset, &info) > 0)
			return k->offset;
		if (k->offset + k->stored_bytes <= v->file_bytes)
			behind = k->offset + k->stored_bytes;
		if (segment_scan_tail_at(v, behind))
			return behind;
	}
	uint64_t found = segment_scan_search(v, behind > at ? behind : at + 1);
	/* Known frames lie side by side; what is behind them is no frame. */
	return found == v->file_bytes && behind > at ? behind : found;
}

/* --- the walk --- */

static bool add_block(struct segment_scan *v, const struct block_info *info,
		      struct err *e)
{
	struct block_info *more = vec_push(&v->blocks, &v->n_blocks);

	if (!more)
		return segment_scan_no_memory(e);
	*more = *info;
	v->next_seq = info->seq + 1;
	return true;
}

static bool add_damage(struct segment_scan *v, const struct block_info *info,
		       bool known, struct err *e)
{
	struct damage *more = vec_push(&v->damages, &v->n_damages);

	if (!more)
		return segment_scan_no_memory(e);
	*more = (struct damage){*info, known};
	return true;
}

/* The known blocks between are damaged; a stretch without any is one that
 * nobody can name. */
static bool add_gap(struct segment_scan *v, uint64_t from, uint64_t to,
		    struct err *e)
{
	const struct block_info *k = known_from(v, from);
	bool any = false;

	for (; k && k < v->known + v->n_known && k->offset < to; k++) {
		if (k->offset + k->stored_bytes > to || k->seq < v->next_seq)
			continue; /* it was not known well */
		any = true;
		if (!add_damage(v, k, true, e) || !add_block(v, k, e))
			return false;
	}
	if (any)
		return true;
	struct block_info gap = {.offset = from, .stored_bytes = to - from};
	v->next_seq++;
	return add_damage(v, &gap, false, e);
}

static bool segment_scan_same(const struct block_info *a,
			      const struct block_info *b)
{
	return a->offset == b->offset && a->stored_bytes == b->stored_bytes &&
	       a->raw_bytes == b->raw_bytes && a->packets == b->packets &&
	       a->first_ns == b->first_ns && a->last_ns == b->last_ns &&
	       a->min_ns == b->min_ns && a->max_ns == b->max_ns;
}

static bool known_at(const struct segment_scan *v, uint64_t at)
{
	const struct block_info *k = known_from(v, at);

	return k && k->offset + k->stored_bytes <= v->file_bytes;
}

/* Cut off at the end, by a crash, and not altered, which nobody cuts. A footer
 * is no loss. */
static bool is_torn(struct segment_scan *v, uint64_t at)
{
	bool altered;
	uint32_t magic = 0;

	v->salvaged = segment_scan_salvage(v, at, &altered);
	segment_scan_read(v, at, &magic, 4);
	return !altered || is_tail(magic);
}

/* The index or the footer, also when its first bytes are damaged. */
static bool is_footer(struct segment_scan *v, const struct segment *g,
		      uint64_t at)
{
	return segment_scan_tail_at(v, at) ||
	       segment_read_tail(v->fd).footer == at || index_at(v, g, at) > 0;
}

/* What is behind the last known block of a closed segment is the rest of a
 * footer, if it is nothing else. */
static bool was_footer(const struct segment_scan *v, uint64_t at)
{
	return v->closed && v->n_known && !known_from(v, at);
}

static bool segment_scan_walk(struct segment_scan *v, const struct segment *g,
			      struct err *e)
{
	uint64_t at = g->head_bytes;

	while (at < v->file_bytes && !v->error) {
		struct block_info info;
		size_t n = whole_frame(v, at, &info);

		if (!n && is_footer(v, g, at))
			break;
		uint64_t next = n ? at + n : segment_scan_resync(v, at);
		if (n) {
			const struct block_info *k = known_from(v, at);

			info.capture = g->capture;
			info.segment = g->first_seq;
			info.seq = k && k->offset == at && k->seq > v->next_seq
					   ? k->seq
					   : v->next_seq;
			if (!add_block(v, &info, e))
				return false;
			if (v->index)
				segment_index_add(v->index, v->maker, info.seq,
						  v->raw,
						  (uint32_t)info.raw_bytes);
		} else if (next == v->file_bytes &&
			   (was_footer(v, at) ||
			    (!known_at(v, at) && is_torn(v, at)))) {
			break;
		} else if (!add_gap(v, at, next, e)) {
			return false;
		} else if (v->index) {
			segment_index_add_unknown(v->index);
		}
		at = next;
	}
	v->frames_end = at;
	for (const struct block_info *k = known_from(v, at);
	     k && k < v->known + v->n_known; k++)
		v->lost++;
	return true;
}

/* --- the footer --- */

/* The footer at `at`, of *n bytes; as footer_read. */
static struct block_info *footer_read_at(int fd, uint64_t at, size_t *n,
					 struct segment_footer *head,
					 struct capture_row *row)
{
	struct block_info *blocks = NULL;
	uint32_t start[2];

	if (segment_read(fd, at, start, sizeof(start)) != sizeof(start) ||
	    start[0] != SEGMENT_FOOTER_MAGIC || start[1] > SEGMENT_FOOTER_MAX)
		return NULL;
	*n = SKIPPABLE_HEAD_BYTES + start[1];
	uint8_t *frame = malloc(*n);
	if (frame && segment_read(fd, at, frame, *n) == *n)
		blocks = segment_footer_decode(frame, *n, head, row);
	free(frame);
	return blocks;
}

struct block_info *footer_read(int fd, struct segment_footer *head,
			       struct capture_row *row)
{
	size_t n;

	errno = 0;
	struct segment_tail tail = segment_read_tail(fd);
	return tail.footer ? footer_read_at(fd, tail.footer, &n, head, row)
			   : NULL;
}

bool footer_is_foreign(const struct segment_footer *head,
		       const struct capture_row *says, const char *uuid,
		       uint64_t capture, uint64_t first_seq)
{
	return head->capture != capture || head->first_seq != first_seq ||
	       (*says->uuid && *uuid && strcmp(says->uuid, uuid) != 0);
}

bool segment_is_foreign(int fd, const char *uuid, uint64_t capture,
			uint64_t first_seq)
{
	struct segment_footer head;
	struct capture_row says = {0};
	struct block_info *blocks = footer_read(fd, &head, &says);
	bool foreign = blocks && footer_is_foreign(&head, &says, uuid, capture,
						   first_seq);

	capture_row_done(&says);
	free(blocks);
	return foreign;
}

static bool table_matches(const struct segment_scan *v, const struct segment *g,
			  uint64_t at, uint32_t footer_bytes)
{
	size_t n;
	uint8_t *want = seek_table_encode(v->blocks, v->n_blocks, g->head_bytes,
					  v->frames_end, v->index_bytes,
					  footer_bytes, &n);
	uint8_t *is = malloc(n + 1);
	bool ok = is && want && v->file_bytes == at + n &&
		  segment_read(v->fd, at, is, n) == n &&
		  memcmp(is, want, n) == 0;

	free(is);
	free(want);
	return ok;
}

static bool index_is_whole(const struct segment_scan *v,
			   const struct segment *g)
{
	struct segment_index_place place = {v->frames_end, v->index_bytes};
	bool none = false;
	struct segment_index *x =
		segment_index_read(v->fd, &place, g->capture, g->first_seq);
	struct synopsis *all = segment_index_read_union(
		v->fd, &place, g->capture, g->first_seq, &none);
	bool ok = x && (all || none);

	segment_index_unref(x);
	synopsis_free(all);
	return ok;
}

static bool is_older(const struct segment_scan *v)
{
	struct segment_index_place place = {v->frames_end, v->index_bytes};

	return segment_index_is_older(v->fd, &place);
}

static void look_at_footer(struct segment_scan *v, const struct segment *g)
{
	struct segment_footer head;
	size_t n;
	uint64_t at = v->frames_end + v->index_bytes;
	struct block_info *blocks = footer_read_at(v->fd, at, &n, &head, NULL);

	if (!blocks)
		return;
	v->footer = head.blocks == v->n_blocks && head.capture == g->capture &&
		    head.first_seq == g->first_seq;
	for (size_t i = 0; v->footer && i < v->n_blocks; i++)
		v->footer = segment_scan_same(&blocks[i], &v->blocks[i]);
	v->table = table_matches(v, g, at + n, (uint32_t)n);
	free(blocks);
}

/* A table with a good checksum may still be nonsense, and so may rows. */
static bool known_fits(const struct segment_scan *v, const struct segment *g)
{
	uint64_t at = g->head_bytes, seq = g->first_seq;

	for (size_t i = 0; i < v->n_known; i++) {
		const struct block_info *k = &v->known[i];

		if (k->offset < at || k->offset > INT64_MAX / 2 ||
		    k->stored_bytes == 0 || k->stored_bytes > FRAME_MAX ||
		    k->raw_bytes > BLOCK_MAX || k->seq < seq ||
		    k->seq >= INT64_MAX || k->capture != g->capture ||
		    k->segment != g->first_seq)
			return false;
		at = k->offset + k->stored_bytes;
		seq = k->seq + 1;
	}
	return true;
}

bool segment_scan_file(struct segment_scan *v, const struct segment *g,
		       struct err *e)
{
	struct stat st;

	if (!known_fits(v, g))
		v->n_known = 0;

	v->fd = g->fd;
	v->error = 0;
	v->next_seq = g->first_seq;
	v->frame = malloc(FRAME_MAX);
	v->raw = malloc(BLOCK_MAX);
	if (!v->frame || !v->raw)
		return segment_scan_no_memory(e);
	if (fstat(g->fd, &st) < 0)
		return err_errno(e, "look at segment %" PRIu64, g->first_seq);
	v->file_bytes = (uint64_t)st.st_size;
	if (!segment_scan_walk(v, g, e))
		return false;
	if (v->error) {
		errno = v->error;
		return err_errno(e, "read segment %" PRIu64, g->first_seq);
	}
	v->index_bytes = index_at(v, g, v->frames_end);
	v->index_whole = v->index_bytes && index_is_whole(v, g);
	v->index_older = v->index_bytes && is_older(v);
	look_at_footer(v, g);
	if (!v->footer && !v->table && !is_footer(v, g, v->frames_end) &&
	    !was_footer(v, v->frames_end))
		v->tail_bytes = (uint32_t)(v->file_bytes - v->frames_end);
	return true;
}

void segment_scan_done(struct segment_scan *v)
{
	free(v->blocks);
	free(v->damages);
	free(v->frame);
	free(v->raw);
}
