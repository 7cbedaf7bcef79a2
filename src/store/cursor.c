/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way out: a capture's blocks in order, from the catalog, then from the
 * tail. Guarantees that every packet that was published before cursor_open is
 * returned once, whatever is committed, rotated or released meanwhile; what
 * cannot be read is counted; while the catalog cannot be read, what is in
 * memory is returned, and it is said that the rest is not. Leaves out exact
 * filters and times: a block is returned whole when it may have packets that
 * are wanted (packet_select.h decides).
 *
 * Who works on one block after the other gets the next ones of the segment
 * read and decoded on other threads meanwhile (prefetch.h). Only that is done
 * there; what is wanted, and what is said of damage, is decided here and in
 * order. The memory of it is an arena a load, and a frame and a decoder's a
 * thread, until the cursor is closed or goes on in memory.
 */
#include "store/prefetch.h"
#include "store/segment_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cursor {
	struct capture_tail *tail;
	bool ahead;
	uint64_t end_seq; /* without live: stop at byte end_at of this block */
	uint32_t end_at;

	uint64_t seq;	     /* the next block to look at */
	struct block *block; /* in memory and being read */
	uint32_t at;	     /* how far */

	struct segment_rows disk;
	struct block_pool *pool;
	struct decoder *decoder;
	struct prefetch prefetch;
	/* Rows below it have been asked about, before their turn too; of those
	 * whose turn is to come the wanted ones are being loaded. */
	size_t asked;

	uint64_t in_memory, done; /* blocks */
	bool unreadable;	  /* the catalog, when it was asked last */
};

struct cursor *cursor_open(struct store *s, struct capture_tail *f,
			   const struct cursor_range *r, struct err *e)
{
	if (!verify_wait(s->verify, capture_tail_capture(f), VERIFY_BLOCKS, e))
		return NULL;
	struct cursor *c = calloc(1, sizeof(*c));
	struct err ignored;

	if (!c) {
		err_no_memory(e, "cursor");
		return NULL;
	}
	c->tail = capture_tail_ref(f);
	c->ahead = r->reader == CURSOR_WORKS || r->filter;
	capture_tail_position(f, &c->end_seq, &c->end_at);
	c->seq = r->first_seq;
	if (r->end_seq && r->end_seq <= c->end_seq) {
		c->end_seq = r->end_seq;
		c->end_at = 0;
	}
	c->decoder = decoder_new();
	c->pool = block_pool_new(12);
	c->in_memory = capture_tail_depth(f);
	segment_rows_init(&c->disk, s, capture_tail_capture(f), r);
	c->disk.reader.position = c->seq;
	c->disk.reader.end_seq = r->live ? UINT64_MAX : c->end_seq;
	readers_add(s->readers, &c->disk.reader);
	if (!c->decoder || !c->pool || (r->filter && !c->disk.skip)) {
		err_no_memory(e, "cursor");
		cursor_close(c);
		return NULL;
	}
	/* Where it cannot, it is tried again when its rows are needed. */
	segment_rows_connect(&c->disk, &ignored);
	return c;
}

/* Nobody uses the segment's file any more. */
static void drop_rows(struct cursor *c)
{
	prefetch_drop(&c->prefetch);
	segment_rows_drop(&c->disk);
	c->asked = 0;
}

/* Also when blocks come from memory from now on, which may be for long. */
static void stop_loading(struct cursor *c)
{
	drop_rows(c);
	prefetch_stop(&c->prefetch);
}

void cursor_close(struct cursor *c)
{
	if (!c)
		return;
	readers_remove(c->disk.store->readers, &c->disk.reader);
	stop_loading(c);
	segment_rows_done(&c->disk);
	block_unref(c->block);
	decoder_free(c->decoder);
	block_pool_unref(c->pool);
	capture_tail_unref(c->tail);
	free(c);
}

/* --- a block on disk --- */

static struct block_reader new_load(const struct cursor *c,
				    const struct block_info *info)
{
	return (struct block_reader){.fd = c->disk.fd,
				     .info = *info,
				     .link_type = c->disk.segment.link_type,
				     .snaplen = c->disk.segment.snaplen,
				     .pool = c->pool};
}

/* Its block; NULL: it is lost, and counted. */
static struct block *cursor_loaded(struct cursor *c,
				   const struct block_reader *l)
{
	if (!l->block)
		segment_rows_lose(&c->disk, &l->info, l->damaged,
				  l->why ? l->why : strerror(l->error));
	return l->block;
}

static struct block *load_block(struct cursor *c, const struct block_info *info)
{
	struct block_reader now = new_load(c, info);

	if (prefetch_has(&c->prefetch, info->seq))
		return cursor_loaded(c,
				     prefetch_take(&c->prefetch, c->decoder));
	block_reader_run(&now, c->decoder);
	return cursor_loaded(c, &now);
}

/* --- the walk --- */

/* Where to stop in block seq. */
static uint32_t cursor_limit(const struct cursor *c, uint64_t seq,
			     uint32_t filled)
{
	if (c->disk.range.live || seq < c->end_seq)
		return filled;
	return seq > c->end_seq || filled < c->end_at ? 0 : c->end_at;
}

/* A slice of the block in memory: 1, 0 nothing (now), -1 done with it. */
static int from_memory(struct cursor *c, struct cursor_item *out)
{
	struct block *b = c->block;
	bool sealed = block_sealed(b); /* before filled: then it is the end */
	uint32_t to = cursor_limit(c, b->info.seq, block_filled(b));

	if (sealed && c->at == 0 && !segment_rows_cover(&c->disk, &b->info))
		to = 0;
	if (c->at < to) {
		*out = (struct cursor_item){
			.link_type = b->link_type,
			.slice = {block_ref(b), c->at, to, 0},
		};
		c->at = to;
		return 1;
	}
	if (!sealed)
		return 0;
	c->block = NULL;
	c->at = 0;
	c->seq = b->info.seq + 1;
	c->done++;
	readers_pass(c->disk.store->readers, &c->disk.reader, c->seq);
	block_unref(b);
	return -1;
}

/* Asked about each row once, in order. */
static bool cursor_is_wanted(struct cursor *c, const struct block_info *info)
{
	const struct cursor_range *r = &c->disk.range;
	uint32_t raw = (uint32_t)info->raw_bytes;
	uint32_t to = cursor_limit(c, info->seq, raw);

	if (!to || (c->disk.skip && !block_skip_block(c->disk.skip, info->seq)))
		return false;
	return to < raw || !r->enough || !r->enough(r->ctx, info);
}

/* Begins to load wanted blocks whose turn comes later. What may yet be found
 * in memory, and so is not to be asked about, ends it. */
static void look_ahead(struct cursor *c)
{
	const struct segment_rows *d = &c->disk;
	struct block *b = capture_tail_find(c->tail, c->seq);
	uint64_t in_memory = b ? b->info.seq : UINT64_MAX;
	struct store_options o;

	block_unref(b);
	store_options_now(d->store, &o);
	prefetch_grow(&c->prefetch, o.decoders);
	if (c->asked < d->row)
		c->asked = d->row;
	while (prefetch_has_room(&c->prefetch) && c->asked < d->n &&
	       d->all[c->asked].seq < in_memory) {
		struct block_reader l = new_load(c, &d->all[c->asked++]);

		if (cursor_is_wanted(c, &l.info))
			prefetch_post(&c->prefetch, &l);
	}
}

/* It can be given as it lies on disk. */
static bool is_frame(const struct cursor *c, const struct block_info *i)
{
	const struct cursor_range *r = &c->disk.range;

	return r->reader == CURSOR_TAKES_FRAMES && i->min_ns >= r->since_ns &&
	       i->max_ns < r->until_ns && i->stored_bytes <= BLOCK_MAX &&
	       i->raw_bytes <= BLOCK_MAX;
}

static bool give_frame(struct cursor *c, struct cursor_item *out)
{
	struct block_reader l = new_load(c, &out->info);

	out->kind = ITEM_FRAME;
	out->fd = c->disk.fd;
	return block_reader_reaches(&l) || cursor_loaded(c, &l);
}

/* The row before the next one: its turn has come. */
static bool from_disk(struct cursor *c, const struct block_info *info,
		      struct cursor_item *out)
{
	uint32_t raw = (uint32_t)info->raw_bytes;
	uint32_t to = cursor_limit(c, info->seq, raw);
	bool asked = c->disk.row <= c->asked;

	c->seq = info->seq + 1;
	c->done++;
	if (asked ? !prefetch_has(&c->prefetch, info->seq)
		  : !cursor_is_wanted(c, info))
		return false;
	*out = (struct cursor_item){.link_type = c->disk.segment.link_type,
				    .info = *info};
	if (to == raw && is_frame(c, info))
		return give_frame(c, out);
	if (c->ahead)
		look_ahead(c);
	out->slice = (struct slice){load_block(c, info), 0, to,
				    to == raw ? info->packets : 0};
	return out->slice.block;
}

static bool at_end(const struct cursor *c)
{
	return !c->disk.range.live &&
	       (c->seq > c->end_seq ||
		(c->seq == c->end_seq && c->at >= c->end_at));
}

/* The catalog cannot be read: on to what is in memory, from block b on, or to
 * where the next one will be. It is said once, if anything may lie between. */
static void pass_over_disk(struct cursor *c, const struct block *b,
			   const struct err *why)
{
	uint64_t seq;
	uint32_t at;

	drop_rows(c);
	capture_tail_position(c->tail, &seq, &at);
	if (b)
		seq = b->info.seq;
	if (seq <= c->seq)
		return;
	if (!c->unreadable)
		snprintf(c->disk.reason, sizeof(c->disk.reason),
			 "what is on the disk cannot be read: %.100s",
			 why->what);
	c->disk.untold |= !c->unreadable;
	c->unreadable = true;
	c->seq = seq;
}

static bool cursor_read_rows(struct cursor *c, struct err *e)
{
	drop_rows(c);
	return segment_rows_next(&c->disk, &c->seq, e);
}

/*
 * What comes at or after c->seq. The capture tail is asked before the catalog:
 * a block that is missing in both was lost by its writer (a hole in the
 * numbers). 1 a row in *row, 2 a block in c->block, 0 nothing, -1 error or
 * nobody waits.
 */
static int cursor_find(struct cursor *c, struct block_info *row, struct err *e)
{
	struct block *b = capture_tail_find(c->tail, c->seq);
	struct segment_rows *d = &c->disk;
	struct err why = ERR_INIT;

	if (!b || b->info.seq != c->seq) {
		if (d->row < d->n || cursor_read_rows(c, &why)) {
			c->unreadable = false;
		} else if (why.kind && !d->no_memory) {
			pass_over_disk(c, b, &why);
		} else {
			*e = why;
			block_unref(b);
			return -1;
		}
		if (d->row < d->n && (!b || d->all[d->row].seq < b->info.seq)) {
			*row = d->all[d->row++];
			block_unref(b);
			return 1;
		}
	}
	if (!b)
		return 0;
	c->block = b;
	c->seq = b->info.seq;
	c->at = 0;
	stop_loading(c);
	return 2;
}

static int cursor_next_block(struct cursor *c, struct cursor_item *out,
			     struct err *e)
{
	struct block_info row;
	int got;

	for (;;) {
		if (at_end(c))
			return 0;
		if (c->block) {
			got = from_memory(c, out);
			if (got >= 0)
				return got;
			continue;
		}
		got = cursor_find(c, &row, e);
		if (got <= 0)
			return got;
		if (got == 1 && from_disk(c, &row, out))
			return 1;
		if (got == 1 && !segment_rows_goes_on(&c->disk))
			return -1;
	}
}

int cursor_next(struct cursor *c, struct cursor_item *out, struct err *e)
{
	int got = cursor_next_block(c, out, e);

	segment_rows_tell(&c->disk);
	return got;
}

struct block *cursor_read(struct cursor *c, const struct block_info *frame)
{
	struct block_reader l = new_load(c, frame);

	block_reader_run(&l, NULL);
	return cursor_loaded(c, &l);
}

uint64_t cursor_lost(struct cursor *c, const char **reason)
{
	struct segment_rows *d = &c->disk;
	uint64_t expired = readers_expired(d->store->readers, &d->reader);
	uint64_t lost = d->lost + expired;

	if (expired && !c->unreadable)
		snprintf(d->reason, sizeof(d->reason), "expired");
	*reason = d->untold || expired ? d->reason : NULL;
	d->lost = 0;
	d->untold = false;
	return lost;
}

uint64_t cursor_blocks(const struct cursor *c)
{
	return c->disk.blocks + c->in_memory;
}

uint64_t cursor_blocks_done(const struct cursor *c)
{
	uint64_t done = c->done + c->disk.skipped;

	return done < cursor_blocks(c) ? done : cursor_blocks(c);
}
