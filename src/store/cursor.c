/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way out: a capture's blocks in order, from the catalog, then from the
 * feed. Guarantees that every packet that was published before cursor_open is
 * returned once, whatever is committed, rotated or released meanwhile; what
 * cannot be read is counted; while the catalog cannot be read, what is in
 * memory is returned, and it is said that the rest is not. Leaves out exact
 * filters and times: a block is returned whole when it may have packets that
 * are wanted (packet_select.h decides).
 *
 * Who works on one block after the other gets the next ones of the segment
 * read and decoded on other threads meanwhile: none behind the first, one more
 * behind each, up to one more than there are threads. Only loads are done
 * there; what is wanted, and what is said of damage, is decided here and in
 * order. The memory of it is an arena a load, and a frame and a decoder's a
 * thread, until the cursor is closed or goes on in memory.
 */
#include "store/block_reader.h"
#include "store/block_skip.h"
#include "store/ledger.h"
#include "store/segment_scan.h"
#include "store/store_internal.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Damaged blocks with nothing between them: one row of the ledger. */
struct cursor_damage {
	struct ledger_row row;
	uint64_t segment, first_seq, last_seq; /* last_seq 0: none */
	char why[48];
};

struct cursor {
	struct store *store;
	struct capture_tail *feed;
	sqlite3 *db;
	int64_t since_ns, until_ns;
	bool live, frames, ahead;
	bool (*enough)(void *ctx, const struct block_info *info);
	bool (*go_on)(void *ctx);
	void *ctx;
	uint64_t end_seq; /* without live: stop at byte end_at of this block */
	uint32_t end_at;

	uint64_t seq;	     /* the next block to look at */
	struct block *block; /* in memory and being read */
	uint32_t at;	     /* how far */

	/* The blocks of one segment that are in the range. With its file open
	 * it can be read to the end, whatever retention does. */
	struct block_info *rows;
	unsigned row, n_rows, cap_rows;
	uint32_t link_type, snaplen; /* of its packets */
	int fd;
	uint64_t fd_segment;
	struct block_skip *sieve; /* NULL: everything is wanted */
	/* Prepared: there may be thousands of segments to pass. */
	sqlite3_stmt *next_segment, *its_blocks;
	struct reader reader;
	struct block_pool *pool;
	struct decoder *decoder;

	/* Rows below `asked` have been asked about, before their turn too; of
	 * those whose turn is to come the wanted ones are being loaded. */
	unsigned asked;
	struct block_reader loads[CURSOR_LOADS]; /* a ring, in order */
	unsigned load, n_loads, most_loads;
	bool goes_ahead;	  /* this is not the first that is wanted */
	struct job_pool *loaders; /* NULL: not yet, or not at all */

	uint64_t blocks, done;
	uint64_t lost;
	bool unreadable; /* the catalog, when it was asked last */
	bool no_memory;	 /* for its rows */
	bool untold;	 /* there is something in reason */
	char reason[160];
	struct cursor_damage damage; /* that the ledger was not told of */
};

/* --- what there is to read --- */

static bool count_blocks(struct cursor *c, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		c->db, e,
		"SELECT coalesce(sum(last_seq - first_seq + 1), 0) "
		"FROM segments WHERE capture = ?1 AND max_ns >= ?2 "
		"AND min_ns < ?3 AND NOT expired",
		"iii", capture_tail_capture(c->feed), c->since_ns, c->until_ns);
	bool ok = q && sql_step(q, e) == 1;

	if (ok)
		c->blocks = (uint64_t)sqlite3_column_int64(q, 0) +
			    capture_tail_depth(c->feed);
	sqlite3_finalize(q);
	return ok;
}

static bool cursor_prepare(struct cursor *c, struct err *e)
{
	c->next_segment = sql_query(
		c->db, e,
		"SELECT first_seq, last_seq, link_type, snaplen, packets, "
		"min_ns, max_ns "
		"FROM segments WHERE capture = ?1 AND first_seq >= "
		"coalesce((SELECT max(first_seq) FROM segments "
		"WHERE capture = ?1 AND first_seq <= ?2), 0) "
		"AND last_seq >= ?2 AND max_ns >= ?3 AND +min_ns < ?4 "
		"AND NOT expired ORDER BY first_seq LIMIT 1",
		"");
	c->its_blocks =
		sql_query(c->db, e,
			  "SELECT " BLOCK_COLUMNS " FROM blocks b "
			  "WHERE capture = ?1 AND seq BETWEEN ?2 AND ?3 "
			  "AND max_ns >= ?4 AND min_ns < ?5 ORDER BY seq",
			  "");
	return c->next_segment && c->its_blocks;
}

static void cursor_disconnect(struct cursor *c)
{
	sqlite3_finalize(c->next_segment);
	sqlite3_finalize(c->its_blocks);
	sqlite3_close(c->db);
	c->next_segment = c->its_blocks = NULL;
	c->db = NULL;
}

static bool cursor_connect(struct cursor *c, struct err *e)
{
	if (c->db)
		return true;
	c->db = catalog_reader(c->store->catalog, e);
	if (c->db && count_blocks(c, e) && cursor_prepare(c, e))
		return true;
	cursor_disconnect(c);
	return false;
}

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
	c->fd = -1;
	c->store = s;
	c->feed = capture_tail_ref(f);
	c->since_ns = r->since_ns ? r->since_ns : INT64_MIN;
	c->until_ns = r->until_ns ? r->until_ns : INT64_MAX;
	c->live = r->live;
	c->frames = r->reader == CURSOR_TAKES_FRAMES;
	c->ahead = r->reader == CURSOR_WORKS || r->filter;
	c->enough = r->enough;
	c->go_on = r->go_on;
	c->ctx = r->ctx;
	capture_tail_position(f, &c->end_seq, &c->end_at);
	c->seq = r->first_seq;
	if (r->end_seq && r->end_seq <= c->end_seq) {
		c->end_seq = r->end_seq;
		c->end_at = 0;
	}
	c->decoder = decoder_new();
	c->pool = block_pool_new(12);
	c->reader =
		(struct reader){.capture = capture_tail_capture(f),
				.since_ns = c->since_ns,
				.until_ns = c->until_ns,
				.position = c->seq,
				.end_seq = r->live ? UINT64_MAX : c->end_seq};
	readers_add(s->readers, &c->reader);
	if (r->filter)
		c->sieve = block_skip_new(s->indexes, &r->filter->program,
					  r->link_type);
	if (!c->decoder || !c->pool || (r->filter && !c->sieve)) {
		err_no_memory(e, "cursor");
		cursor_close(c);
		return NULL;
	}
	/* Where it cannot, it is tried again when its rows are needed. */
	if (!cursor_connect(c, &ignored))
		c->blocks = capture_tail_depth(f);
	return c;
}

/* Nobody uses the segment's file any more. */
static void drop_rows(struct cursor *c)
{
	for (; c->n_loads; c->n_loads--) {
		struct block_reader *l = &c->loads[c->load];

		if (job_pool_drop(c->loaders, &l->job))
			block_unref(l->block);
		c->load = (c->load + 1) % CURSOR_LOADS;
	}
	c->row = c->n_rows = c->asked = 0;
}

/* Also when blocks come from memory from now on, which may be for long. */
static void stop_loading(struct cursor *c)
{
	drop_rows(c);
	job_pool_free(c->loaders);
	c->loaders = NULL;
	c->most_loads = 0;
	c->goes_ahead = false;
}

void cursor_close(struct cursor *c)
{
	if (!c)
		return;
	readers_remove(c->store->readers, &c->reader);
	stop_loading(c);
	if (c->fd >= 0)
		close(c->fd);
	free(c->rows);
	block_skip_free(c->sieve);
	block_unref(c->block);
	cursor_disconnect(c);
	decoder_free(c->decoder);
	block_pool_unref(c->pool);
	capture_tail_unref(c->feed);
	free(c);
}

/* --- segments --- */

static void cursor_lose(struct cursor *c, const struct block_info *info,
			const char *why)
{
	c->lost += info->packets;
	c->untold = true;
	snprintf(c->reason, sizeof(c->reason),
		 "block %" PRIu64 " of segment %" PRIu64 ": %.80s", info->seq,
		 info->segment, why);
}

static bool in_range(const struct cursor *c, const struct block_info *i)
{
	return i->max_ns >= c->since_ns && i->min_ns < c->until_ns;
}

struct cursor_segment {
	uint64_t first_seq, last_seq, packets;
	int64_t min_ns, max_ns;
};

/* The first segment that may have blocks in the range from c->seq on: 1, 0
 * none, -1 error. */
static int find_segment(struct cursor *c, struct cursor_segment *g,
			struct err *e)
{
	sqlite3_stmt *q = c->next_segment;
	int got = sql_bind(q, e, "iiii", capture_tail_capture(c->feed), c->seq,
			   c->since_ns, c->until_ns)
			  ? sql_step(q, e)
			  : -1;

	if (got == 1) {
		g->first_seq = (uint64_t)sqlite3_column_int64(q, 0);
		g->last_seq = (uint64_t)sqlite3_column_int64(q, 1);
		c->link_type = (uint32_t)sqlite3_column_int64(q, 2);
		c->snaplen = (uint32_t)sqlite3_column_int64(q, 3);
		g->packets = (uint64_t)sqlite3_column_int64(q, 4);
		g->min_ns = sqlite3_column_int64(q, 5);
		g->max_ns = sqlite3_column_int64(q, 6);
	}
	sqlite3_reset(q);
	return got;
}

static bool add_row(struct cursor *c, const struct block_info *info,
		    struct err *e)
{
	if (c->n_rows == c->cap_rows) {
		unsigned cap = c->cap_rows ? 2 * c->cap_rows : 64;
		void *more = realloc(c->rows, cap * sizeof(*c->rows));

		c->no_memory = !more;
		if (!more)
			return err_no_memory(e, "cursor");
		c->rows = more;
		c->cap_rows = cap;
	}
	c->rows[c->n_rows++] = *info;
	return true;
}

static void lose_damaged(struct cursor *c, const struct block_info *info,
			 const char *why);

/* The catalog's page with these rows is malformed. The footer has the same;
 * without one nobody knows how much of the segment is before c->seq. */
static bool footer_blocks(struct cursor *c, const struct cursor_segment *g,
			  uint64_t from, struct err *e)
{
	uint64_t id = capture_tail_capture(c->feed);
	struct block_info rest = {.capture = id,
				  .seq = from,
				  .segment = g->first_seq,
				  .packets = g->packets,
				  .min_ns = g->min_ns,
				  .max_ns = g->max_ns};
	struct segment_footer head;
	bool ok = true;

	store_malformed(c->store, id);
	c->n_rows = 0;
	struct block_info *blocks =
		c->fd >= 0 ? footer_read(c->fd, &head, NULL) : NULL;
	if (!blocks || head.capture != id || head.first_seq != g->first_seq)
		lose_damaged(c, &rest, "its rows and its footer are damaged");
	else
		for (size_t i = 0; ok && i < head.blocks; i++)
			if (blocks[i].seq >= from &&
			    blocks[i].seq <= g->last_seq &&
			    in_range(c, &blocks[i]))
				ok = add_row(c, &blocks[i], e);
	free(blocks);
	return ok;
}

static bool find_blocks(struct cursor *c, const struct cursor_segment *g,
			struct err *e)
{
	uint64_t from = c->seq > g->first_seq ? c->seq : g->first_seq;
	sqlite3_stmt *q = c->its_blocks;
	struct block_info info;
	int got = -1;

	if (sql_bind(q, e, "iiiii", capture_tail_capture(c->feed), from,
		     g->last_seq, c->since_ns, c->until_ns))
		while ((got = sql_step(q, e)) == 1) {
			block_from_row(q, &info);
			if (!add_row(c, &info, e)) {
				got = -1;
				break;
			}
		}
	bool malformed = got < 0 && sql_is_malformed(c->db);
	sqlite3_reset(q);
	return got == 0 || (malformed && footer_blocks(c, g, from, e));
}

/* A file that is not there was removed with its row, or without. */
static const char *why_gone(struct cursor *c, const struct cursor_segment *g)
{
	struct err ignored;
	sqlite3_stmt *q = sql_query(
		c->db, &ignored,
		"SELECT 1 FROM segments WHERE capture = ?1 AND first_seq = ?2 "
		"AND NOT expired",
		"ii", capture_tail_capture(c->feed), g->first_seq);
	bool there = q && sql_step(q, &ignored) == 1;

	sqlite3_finalize(q);
	return there ? "its file is missing" : "expired";
}

static void tell_damage(struct cursor *c)
{
	struct cursor_damage *d = &c->damage;
	struct err ignored;
	char more[32] = "";

	if (!d->last_seq)
		return;
	if (d->last_seq > d->first_seq)
		snprintf(more, sizeof(more), " to %" PRIu64, d->last_seq);
	snprintf(d->row.detail, sizeof(d->row.detail),
		 "block%s %" PRIu64 "%s of segment %" PRIu64 ": %s",
		 *more ? "s" : "", d->first_seq, more, d->segment, d->why);
	ledger_add(c->store, &d->row, 1, &ignored);
	d->last_seq = 0;
}

/* What was stored and cannot be read; whoever asks for gaps is told, too. */
static void lose_damaged(struct cursor *c, const struct block_info *info,
			 const char *why)
{
	struct ledger_row row = {.capture = info->capture,
				 .cause = LEDGER_DAMAGE,
				 .from_ns = info->min_ns,
				 .to_ns = info->max_ns + 1,
				 .packets = info->packets};
	struct cursor_damage *d = &c->damage;
	struct err ignored;

	cursor_lose(c, info, why);
	if (rows_known_damage(c->db, &row, &ignored) == 1)
		return;
	if (d->segment != info->segment || d->last_seq + 1 != info->seq)
		tell_damage(c);
	if (!d->last_seq) {
		*d = (struct cursor_damage){row, info->segment, info->seq, 0,
					    ""};
		snprintf(d->why, sizeof(d->why), "%s", why);
	} else {
		d->row.packets += row.packets;
		if (row.from_ns < d->row.from_ns)
			d->row.from_ns = row.from_ns;
		if (row.to_ns > d->row.to_ns)
			d->row.to_ns = row.to_ns;
	}
	d->last_seq = info->seq;
}

/* 0, or errno. */
static int cursor_open_segment(struct cursor *c, const struct cursor_segment *g)
{
	char name[SEGMENT_NAME_BYTES];

	if (c->fd >= 0 && c->fd_segment == g->first_seq)
		return 0;
	if (c->fd >= 0)
		close(c->fd);
	segment_name(name, capture_tail_capture(c->feed), g->first_seq);
	c->fd = openat(c->store->spool_fd, name,
		       O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	c->fd_segment = g->first_seq;
	if (c->fd < 0)
		return errno;
	posix_fadvise(c->fd, 0, 0,
		      c->sieve ? POSIX_FADV_RANDOM : POSIX_FADV_SEQUENTIAL);
	return 0;
}

/* What is left of the segment: its rows in c, or none. *why: errno if its file
 * could not be opened. */
static bool sift_segment(struct cursor *c, const struct cursor_segment *g,
			 int *why, struct err *e)
{
	if (!readers_hold(c->store->readers, &c->reader, g->first_seq,
			  g->last_seq))
		return true;
	*why = cursor_open_segment(c, g);
	if (!*why && c->sieve &&
	    !block_skip_segment(c->sieve, c->fd, capture_tail_capture(c->feed),
				g->first_seq, c->link_type)) {
		c->done += g->last_seq + 1 - g->first_seq;
		return true;
	}
	return find_blocks(c, g, e);
}

/* As one transaction: retention may remove the rows between. */
static int read_segment(struct cursor *c, struct cursor_segment *g, int *why,
			struct err *e)
{
	struct err ignored;

	*why = 0;
	if (!sql_exec(c->db, e, "BEGIN", ""))
		return -1;
	int got = find_segment(c, g, e);
	if (got == 1 && !sift_segment(c, g, why, e))
		got = -1;
	sql_exec(c->db, &ignored, "COMMIT", "");
	return got;
}

static bool cursor_goes_on(const struct cursor *c)
{
	return !c->go_on || c->go_on(c->ctx);
}

/* The next segment that has blocks in the range; none: n_rows is 0. false: the
 * catalog could not be read, or without a kind of error nobody waits. */
static bool read_rows(struct cursor *c, struct err *e)
{
	struct cursor_segment g = {0};
	struct err ignored;
	int got, why;

	drop_rows(c);
	if (!cursor_connect(c, e))
		return false;
	while ((got = read_segment(c, &g, &why, e)) == 1) {
		if (c->n_rows && !why)
			return true;
		const char *text =
			why == ENOENT ? why_gone(c, &g) : strerror(why);
		for (unsigned i = 0; i < c->n_rows; i++)
			cursor_lose(c, &c->rows[i], text);
		/* Whoever asks for gaps is told, too. */
		if (c->n_rows && why == ENOENT &&
		    !atomic_load(&c->store->pressed) &&
		    !store_segment_gone(c->store, capture_tail_capture(c->feed),
					g.first_seq, &ignored))
			log_err(LOG_LEVEL_WARN, &ignored);
		c->n_rows = 0;
		c->seq = g.last_seq + 1;
		if (!cursor_goes_on(c))
			return false;
	}
	return got == 0;
}

/* --- a block on disk --- */

static struct block_reader new_load(const struct cursor *c,
				    const struct block_info *info)
{
	return (struct block_reader){.fd = c->fd,
				     .info = *info,
				     .link_type = c->link_type,
				     .snaplen = c->snaplen,
				     .pool = c->pool};
}

/* Its block; NULL: it is lost, and counted. */
static struct block *cursor_loaded(struct cursor *c,
				   const struct block_reader *l)
{
	const char *why = l->why ? l->why : strerror(l->error);

	if (!l->block && l->damaged)
		lose_damaged(c, &l->info, why);
	else if (!l->block)
		cursor_lose(c, &l->info, why);
	return l->block;
}

/* The one whose turn it is, if that was begun. */
static bool is_loading(const struct cursor *c, uint64_t seq)
{
	return c->n_loads && c->loads[c->load].info.seq == seq;
}

static struct block *load_block(struct cursor *c, const struct block_info *info)
{
	struct block_reader now = new_load(c, info), *l = &now;

	if (is_loading(c, info->seq)) {
		l = &c->loads[c->load];
		c->load = (c->load + 1) % CURSOR_LOADS;
		c->n_loads--;
		job_pool_take(c->loaders, &l->job, c->decoder);
	} else {
		block_reader_run(l, c->decoder);
	}
	return cursor_loaded(c, l);
}

/* --- the walk --- */

/* Where to stop in block seq. */
static uint32_t cursor_limit(const struct cursor *c, uint64_t seq,
			     uint32_t filled)
{
	if (c->live || seq < c->end_seq)
		return filled;
	return seq > c->end_seq || filled < c->end_at ? 0 : c->end_at;
}

/* A slice of the block in memory: 1, 0 nothing (now), -1 done with it. */
static int from_memory(struct cursor *c, struct cursor_item *out)
{
	struct block *b = c->block;
	bool sealed = block_sealed(b); /* before filled: then it is the end */
	uint32_t to = cursor_limit(c, b->info.seq, block_filled(b));

	if (sealed && c->at == 0 && !in_range(c, &b->info))
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
	readers_pass(c->store->readers, &c->reader, c->seq);
	block_unref(b);
	return -1;
}

/* Asked about each row once, in order. */
static bool cursor_is_wanted(struct cursor *c, const struct block_info *info)
{
	uint32_t raw = (uint32_t)info->raw_bytes;
	uint32_t to = cursor_limit(c, info->seq, raw);

	if (!to || (c->sieve && !block_skip_block(c->sieve, info->seq)))
		return false;
	return to < raw || !c->enough || !c->enough(c->ctx, info);
}

/* One more than before, if there are threads for it. */
static void load_more(struct cursor *c)
{
	struct store_options o;
	struct err ignored;

	store_options_now(c->store, &o);
	unsigned threads =
		o.decoders < CURSOR_LOADS ? o.decoders : CURSOR_LOADS - 1;
	if (!c->loaders && threads)
		c->loaders = block_readers_new(threads, &ignored);
	if (c->loaders && c->most_loads <= threads)
		c->most_loads++;
}

/* Begins to load wanted blocks whose turn comes later. What may yet be found
 * in memory, and so is not to be asked about, ends it. */
static void look_ahead(struct cursor *c)
{
	struct block *b = capture_tail_find(c->feed, c->seq);
	uint64_t in_memory = b ? b->info.seq : UINT64_MAX;

	block_unref(b);
	if (c->goes_ahead)
		load_more(c);
	c->goes_ahead = true;
	if (c->asked < c->row)
		c->asked = c->row;
	while (c->n_loads < c->most_loads && c->asked < c->n_rows &&
	       c->rows[c->asked].seq < in_memory) {
		const struct block_info *info = &c->rows[c->asked++];

		if (!cursor_is_wanted(c, info))
			continue;
		struct block_reader *l =
			&c->loads[(c->load + c->n_loads++) % CURSOR_LOADS];
		*l = new_load(c, info);
		block_reader_post(c->loaders, l);
	}
}

/* It can be given as it lies on disk. */
static bool is_frame(const struct cursor *c, const struct block_info *i)
{
	return i->min_ns >= c->since_ns && i->max_ns < c->until_ns &&
	       i->stored_bytes <= BLOCK_MAX && i->raw_bytes <= BLOCK_MAX;
}

static bool give_frame(struct cursor *c, struct cursor_item *out)
{
	struct block_reader l = new_load(c, &out->info);

	out->kind = ITEM_FRAME;
	out->fd = c->fd;
	return block_reader_reaches(&l) || cursor_loaded(c, &l);
}

/* The row before c->row: its turn has come. */
static bool from_disk(struct cursor *c, const struct block_info *info,
		      struct cursor_item *out)
{
	uint32_t raw = (uint32_t)info->raw_bytes;
	uint32_t to = cursor_limit(c, info->seq, raw);
	bool asked = c->row <= c->asked;

	c->seq = info->seq + 1;
	c->done++;
	if (asked ? !is_loading(c, info->seq) : !cursor_is_wanted(c, info))
		return false;
	*out = (struct cursor_item){.link_type = c->link_type, .info = *info};
	if (c->frames && to == raw && is_frame(c, info))
		return give_frame(c, out);
	if (c->ahead)
		look_ahead(c);
	out->slice = (struct slice){load_block(c, info), 0, to,
				    to == raw ? info->packets : 0};
	return out->slice.block;
}

static bool at_end(const struct cursor *c)
{
	return !c->live && (c->seq > c->end_seq ||
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
	capture_tail_position(c->feed, &seq, &at);
	if (b)
		seq = b->info.seq;
	if (seq <= c->seq)
		return;
	if (!c->unreadable)
		snprintf(c->reason, sizeof(c->reason),
			 "what is on the disk cannot be read: %.100s",
			 why->what);
	c->untold |= !c->unreadable;
	c->unreadable = true;
	c->seq = seq;
}

/*
 * What comes at or after c->seq. The capture tail is asked before the catalog:
 * a block that is missing in both was lost by its writer (a hole in the
 * numbers). 1 a row in *row, 2 a block in c->block, 0 nothing, -1 error or
 * nobody waits.
 */
static int cursor_find(struct cursor *c, struct block_info *row, struct err *e)
{
	struct block *b = capture_tail_find(c->feed, c->seq);
	struct err why = ERR_INIT;

	if (!b || b->info.seq != c->seq) {
		if (c->row < c->n_rows || read_rows(c, &why)) {
			c->unreadable = false;
		} else if (why.kind && !c->no_memory) {
			pass_over_disk(c, b, &why);
		} else {
			*e = why;
			block_unref(b);
			return -1;
		}
		if (c->row < c->n_rows &&
		    (!b || c->rows[c->row].seq < b->info.seq)) {
			*row = c->rows[c->row++];
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
		if (got == 1 && !cursor_goes_on(c))
			return -1;
	}
}

int cursor_next(struct cursor *c, struct cursor_item *out, struct err *e)
{
	int got = cursor_next_block(c, out, e);

	tell_damage(c);
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
	uint64_t expired = readers_expired(c->store->readers, &c->reader);
	uint64_t lost = c->lost + expired;

	if (expired && !c->unreadable)
		snprintf(c->reason, sizeof(c->reason), "expired");
	*reason = c->untold || expired ? c->reason : NULL;
	c->lost = 0;
	c->untold = false;
	return lost;
}

uint64_t cursor_blocks(const struct cursor *c)
{
	return c->blocks;
}

uint64_t cursor_blocks_done(const struct cursor *c)
{
	return c->done < c->blocks ? c->done : c->blocks;
}
