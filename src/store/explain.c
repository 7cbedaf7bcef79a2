/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a filter would read, without reading it. Guarantees the numbers of a
 * cursor with the same range, at the time of asking. Leaves out blocks in
 * memory but for their count: those are looked at whatever the filter is.
 */
#include "store/block_skip.h"
#include "store/segment_scan.h"
#include "store/store_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct walk {
	struct store *store;
	sqlite3_stmt *blocks;
	struct block_skip *skip; /* NULL: no filter */
	uint64_t capture;
	int64_t since_ns, until_ns;
	const struct cursor_range *range;
	struct explain *to;
};

static bool store_explain_goes_on(const struct walk *w)
{
	return !w->range->go_on || w->range->go_on(w->range->ctx);
}

static void store_explain_add(struct explain_step *s,
			      const struct block_info *b)
{
	s->blocks++;
	s->packets += b->packets;
	s->stored_bytes += b->stored_bytes;
	s->raw_bytes += b->raw_bytes;
}

static struct explain_word *word_named(struct explain *x, const char *name)
{
	for (size_t i = 0; i < x->n_words; i++)
		if (strcmp(x->words[i].name, name) == 0)
			return &x->words[i];
	if (x->n_words == EXPLAIN_WORDS)
		return NULL;
	x->words[x->n_words] = (struct explain_word){.name = name};
	return &x->words[x->n_words++];
}

/* What the synopsis asked last could not say: a word counts once, whatever
 * classes have it. */
static void count_any(struct walk *w, bool block)
{
	const uint32_t *any = block_skip_any(w->skip);
	uint32_t counted = 0;

	for (uint32_t class = 0; class < SYNOPSIS_CLASSES; class ++) {
		struct header_layout l;

		if (any[class])
			header_layout(w->range->link_type, class, &l);
		for (uint32_t left = any[class]; left; left &= left - 1) {
			uint32_t i = (uint32_t)__builtin_ctz(left);
			struct explain_word *word =
				i < l.n ? word_named(w->to, l.words[i].name)
					: NULL;
			uint32_t bit = word ? 1u << (word - w->to->words) : 0;

			if (!word || l.words[i].fixed || counted & bit)
				continue;
			counted |= bit;
			word->blocks += block;
			word->segments += !block;
		}
	}
}

static void walk_block(struct walk *w, const struct block_info *info,
		       bool maybe)
{
	struct explain *x = w->to;

	store_explain_add(&x->in_range, info);
	if (!maybe)
		return;
	store_explain_add(&x->after_unions, info);
	if (w->skip && !block_skip_block(w->skip, info->seq))
		return;
	store_explain_add(&x->to_read, info);
	if (w->skip)
		count_any(w, true);
}

/* The catalog's page with the rows is malformed: what the footer says, behind
 * the blocks that were walked. A footer that cannot be read has none. */
static void walk_footer(struct walk *w, uint64_t first, uint64_t behind,
			bool maybe)
{
	struct segment_footer head;
	char name[SEGMENT_NAME_BYTES];

	store_malformed(w->store);
	segment_name(name, w->capture, first);
	int fd = openat(w->store->spool_fd, name,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct block_info *b = fd >= 0 ? footer_read(fd, &head, NULL) : NULL;
	for (size_t i = 0; b && i < head.blocks && store_explain_goes_on(w);
	     i++)
		if (b[i].seq > behind && b[i].max_ns >= w->since_ns &&
		    b[i].min_ns < w->until_ns)
			walk_block(w, &b[i], maybe);
	free(b);
	if (fd >= 0)
		close(fd);
}

static bool walk_blocks(struct walk *w, uint64_t first, uint64_t last,
			bool maybe, struct err *e)
{
	struct explain *x = w->to;
	struct explain_step was = x->to_read;
	struct block_info info = {0};
	int got = -1;

	if (sql_bind(w->blocks, e, "iiiii", w->capture, first, last,
		     w->since_ns, w->until_ns))
		while (store_explain_goes_on(w) &&
		       (got = sql_step(w->blocks, e)) == 1) {
			block_from_row(w->blocks, &info);
			walk_block(w, &info, maybe);
		}
	if (got < 0 && sql_is_malformed(sqlite3_db_handle(w->blocks))) {
		walk_footer(w, first, info.seq, maybe);
		got = 0;
	}
	sqlite3_reset(w->blocks);
	x->in_range.segments++;
	x->after_unions.segments += maybe;
	x->to_read.segments += x->to_read.blocks > was.blocks;
	if (maybe && w->skip && !block_skip_has_index(w->skip))
		x->without_index++;
	return got == 0;
}

static bool walk_segment(struct walk *w, sqlite3_stmt *q, struct err *e)
{
	uint64_t first = (uint64_t)sqlite3_column_int64(q, 0);
	char name[SEGMENT_NAME_BYTES];

	segment_name(name, w->capture, first);
	int fd = w->skip ? openat(w->store->spool_fd, name,
				  O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
			 : -1;
	bool maybe = !w->skip ||
		     block_skip_segment(w->skip, fd, w->capture, first,
					(uint32_t)sqlite3_column_int64(q, 2));
	if (w->skip && maybe)
		count_any(w, false);
	bool ok = walk_blocks(w, first, (uint64_t)sqlite3_column_int64(q, 1),
			      maybe, e);
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool store_explain_walk(struct walk *w, sqlite3 *db, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e,
		"SELECT first_seq, last_seq, link_type FROM segments "
		"WHERE capture = ?1 AND max_ns >= ?2 AND +min_ns < ?3 AND NOT "
		"expired ORDER BY first_seq",
		"iii", w->capture, w->since_ns, w->until_ns);
	int got = -1;

	w->blocks = sql_query(db, e,
			      "SELECT " BLOCK_COLUMNS " FROM blocks b WHERE "
			      "capture = ?1 AND seq BETWEEN ?2 AND ?3 "
			      "AND max_ns >= ?4 AND min_ns < ?5",
			      "");
	while (q && w->blocks && (got = sql_step(q, e)) == 1)
		if (!walk_segment(w, q, e)) {
			got = -1;
			break;
		}
	sqlite3_finalize(q);
	sqlite3_finalize(w->blocks);
	return got == 0;
}

bool store_explain(struct store *s, struct capture_tail *f,
		   const struct cursor_range *r, struct explain *x,
		   struct err *e)
{
	struct walk w = {
		.store = s,
		.capture = capture_tail_capture(f),
		.since_ns = r->since_ns ? r->since_ns : INT64_MIN,
		.until_ns = r->until_ns ? r->until_ns : INT64_MAX,
		.range = r,
		.to = x,
	};

	memset(x, 0, sizeof(*x));
	x->in_memory = capture_tail_depth(f);
	if (r->filter) {
		w.skip = block_skip_new(s->indexes, &r->filter->program,
					r->link_type);
		if (!w.skip)
			return err_no_memory(e, "explain");
		x->n_doubts =
			bpf_prune_doubts(&r->filter->program, r->link_type,
					 x->doubts, EXPLAIN_DOUBTS);
	}
	sqlite3 *db = catalog_reader(s->catalog, e);
	bool ok = db && store_explain_walk(&w, db, e);
	sqlite3_close(db);
	block_skip_free(w.skip);
	return ok;
}
