/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of all captures: what was wanted resumes, and how long pcapd was not
 * there is told. Leaves out the wire (server/) and the packets (capture/,
 * store/).
 */
#include "base/log.h"
#include "control/capture_entry.h"
#include "store/audit.h"
#include "store/imports.h"
#include "store/ledger_writer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* The writer tells losses that go on every 100 ms, if the disk does not take
 * longer. */
#define LOSS_GOES_ON_NS (2 * NS_PER_S)
/* Captures that are resumed, or halted, at once: each waits for the kernel and
 * for the disk, and not for the CPU. */
#define ENTRY_THREADS 16

struct store *control_store(struct control *ctl)
{
	return ctl->store;
}

bool control_is_well(struct control *ctl, int64_t within_ns)
{
	return monotonic_ns() - ledger_writer_well_ns(ctl->ledger_writer) <
	       within_ns;
}

struct config control_config(struct control *ctl)
{
	pthread_mutex_lock(&ctl->lock);
	struct config c = ctl->config;
	pthread_mutex_unlock(&ctl->lock);
	return c;
}

/*
 * The last that is known of a capture before pcapd was not there: what was
 * accounted for, or a packet that is stored and newer. Packets that were being
 * lost just before that one may have gone on being lost. Where the clock was
 * set back meanwhile it is the last of these by the clock that there is now, if
 * there is any; *set_back: that of the other one, else 0. 0: it never ran.
 */
static int64_t known_until(struct control *ctl, const struct capture_entry *t,
			   int64_t now, int64_t *set_back)
{
	struct store_newest newest;
	int64_t known, before, lost;
	uint64_t id = t->row.id;
	struct err e;

	*set_back = 0;
	if (!ledger_known_until(ctl->store, id, INT64_MAX, &known, &e) ||
	    !ledger_known_until(ctl->store, id, now, &before, &e) ||
	    !ledger_lost_until(ctl->store, id, &lost, &e) ||
	    !store_newest(ctl->store, id, &newest, &e)) {
		log_err(LOG_LEVEL_WARN, &e);
		return 0;
	}
	/* It was killed before the ledger heard that it began. */
	if (!known && t->row.wanted)
		known = before = t->row.created_ns;
	if (known > now) {
		*set_back = known;
		known = before && before <= now ? before : newest.max_ns;
		if (!known || known > now)
			return *set_back;
	}
	if (!known || newest.max_ns <= known || newest.max_ns > now)
		return known;
	if (lost < newest.max_ns && newest.max_ns - lost < LOSS_GOES_ON_NS)
		return lost > known ? lost : known;
	return newest.max_ns;
}

/* Before a packet can be stored behind it: a daemon that is killed again before
 * the ledger writer wrote the row finds this one, which is still open. */
static void tell_absence(struct control *ctl, const struct capture_entry *t,
			 int64_t known)
{
	struct ledger_row row = {.capture = t->row.id,
				 .cause = LEDGER_RESTART,
				 .from_ns = known,
				 .to_ns = LEDGER_OPEN};
	struct err e;

	if (!ledger_add(ctl->store, &row, 1, &e))
		log_err(LOG_LEVEL_WARN, &e);
}

static void entry_resume(struct control *ctl, struct capture_entry *t)
{
	struct err e;

	if (t->row.savefile)
		return;
	int64_t now = clocks_now().real_ns, set_back;
	int64_t known = known_until(ctl, t, now, &set_back);
	/* Whether it came back meanwhile is not known. */
	tell_row(ctl, t->row.id, LEDGER_DOWN, LEDGER_ANY, known ? known : now,
		 0, "");
	if (!t->row.wanted)
		return;
	if (set_back)
		tell_row(ctl, t->row.id, LEDGER_CLOCK, set_back, now, 0,
			 "while pcapd was not there");
	if (known)
		tell_absence(ctl, t, known);
	bool runs = capture_entry_run(ctl, t, &e);
	if (known)
		tell_row(ctl, t->row.id, LEDGER_RESTART, known,
			 runs ? t->began_ns : clocks_now().real_ns, 0, "");
	if (runs)
		return;
	log_err(LOG_LEVEL_ERROR, &e);
	snprintf(t->resume_error, sizeof(t->resume_error), "%.250s", e.what);
	tell_row(ctl, t->row.id, LEDGER_DOWN, clocks_now().real_ns, LEDGER_OPEN,
		 0, t->resume_error);
}

/* --- all of them --- */

struct every {
	struct control *ctl;
	void (*work)(struct control *ctl, struct capture_entry *t);
	atomic_size_t next;
};

static void *every_main(void *arg)
{
	struct every *v = arg;
	size_t i;

	while ((i = atomic_fetch_add(&v->next, 1)) < v->ctl->n)
		v->work(v->ctl, v->ctl->entries[i]);
	return NULL;
}

/* With change held, or before anybody else can be there. */
static void every_entry(struct control *ctl,
			void (*work)(struct control *ctl,
				     struct capture_entry *t))
{
	struct every v = {.ctl = ctl, .work = work};
	pthread_t threads[ENTRY_THREADS];
	size_t n = 0;

	atomic_init(&v.next, 0);
	while (n + 1 < ctl->n && n < ENTRY_THREADS &&
	       pthread_create(&threads[n], NULL, every_main, &v) == 0)
		n++;
	every_main(&v);
	while (n > 0)
		pthread_join(threads[--n], NULL);
}

static bool captures_load(struct control *ctl, struct err *e)
{
	struct capture_row *rows;
	size_t n;
	bool ok = true;

	/* On a disk that is full they are marked at the next start. */
	if (!imports_recover(ctl->store, e))
		log_err(LOG_LEVEL_WARN, e);
	if (!audit_recover(ctl->store, e))
		log_err(LOG_LEVEL_WARN, e);
	if (!store_captures(ctl->store, &rows, &n, e))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (ok)
			ok = capture_entry_add(ctl, &rows[i], e);
		else
			capture_row_done(&rows[i]);
	}
	free(rows);
	if (!ok)
		return false;
	every_entry(ctl, entry_resume);
	ledger_writer_catch_up(ctl->ledger_writer);
	return true;
}

static struct store_options options_of(const struct config *c)
{
	return (struct store_options){
		.spool = c->spool,
		.segment_bytes = c->segment_bytes,
		.segment_age_ns = (int64_t)c->segment_age_s * NS_PER_S,
		.compression_level = (int)c->compression_level,
		.zstd_only = c->compressor == COMPRESSOR_ZSTD,
		.compressors = (unsigned)c->compressors,
		.decoders = (unsigned)c->decoders,
		.sync_interval_ns = (int64_t)c->sync_interval_s * NS_PER_S,
		.spool_bytes = c->spool_bytes,
		.spare_imports = !c->spool_imports,
		.free_floor_bytes = c->free_floor,
		.keep_at_least_bytes = c->keep_at_least,
	};
}

struct control *control_open(const struct config *c, struct err *e)
{
	struct control *ctl = calloc(1, sizeof(*ctl));
	struct store_options o = options_of(c);

	if (!ctl) {
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&ctl->change, NULL);
	pthread_mutex_init(&ctl->lock, NULL);
	ctl->config = *c;
	ctl->exclude = own_connections_new();
	/* Captures go on without names. */
	struct err ignored;
	interface_names_open(&ctl->names, &ignored);
	if (ctl->exclude)
		ctl->store = store_open(&o, e);
	else
		err_set(e, ERR_FAILED, "out of memory");
	if (ctl->store)
		ctl->ledger_writer =
			ledger_writer_start(ctl->store, tell_look, ctl, e);
	if (ctl->ledger_writer && captures_load(ctl, e))
		return ctl;
	control_stop(ctl);
	control_close(ctl);
	return NULL;
}

/* Of which a typing error could remove packets at once. */
static const struct captures_bound {
	const char *name;
	size_t offset; /* of a uint64_t in struct config */
} bounds[] = {
	{"spool-imports", offsetof(struct config, spool_imports)},
	{"spool-bytes", offsetof(struct config, spool_bytes)},
	{"keep-at-least", offsetof(struct config, keep_at_least)},
	{"free-floor", offsetof(struct config, free_floor)},
};
#define BOUNDS (sizeof(bounds) / sizeof(bounds[0]))

static uint64_t *bound_of(struct config *c, const struct captures_bound *b)
{
	return (uint64_t *)((char *)c + b->offset);
}

/* What the bounds of c would remove. */
static bool bounds_remove(struct control *ctl, const struct config *c,
			  struct store_removal *r)
{
	struct store_options o = options_of(c);
	struct err e = ERR_INIT;

	if (store_would_remove_all(ctl->store, &o, r, &e))
		return true;
	err_wrap(&e, "the old bounds stay");
	log_err(LOG_LEVEL_WARN, &e);
	return false;
}

/*
 * Those bounds of *next that would remove what the ones now do not are put
 * back: they are taken when pcapd is started, so that nobody loses packets to
 * a typing error before he saw what it does.
 */
static void bounds_take(struct control *ctl, struct config *next)
{
	struct config wanted = *next;
	struct store_removal was, r;
	size_t changed = 0;

	for (size_t i = 0; i < BOUNDS; i++) {
		uint64_t *to = bound_of(next, &bounds[i]);
		uint64_t now = *bound_of(&ctl->config, &bounds[i]);

		changed += *to != now;
		*to = now;
	}
	if (!changed || !bounds_remove(ctl, next, &was) ||
	    !bounds_remove(ctl, &wanted, &r))
		return;
	if (r.bytes <= was.bytes) {
		*next = wanted;
		return;
	}
	for (size_t i = 0; i < BOUNDS; i++) {
		struct config one = *next;
		uint64_t to = *bound_of(&wanted, &bounds[i]);

		*bound_of(&one, &bounds[i]) = to;
		if (to == *bound_of(next, &bounds[i]) ||
		    !bounds_remove(ctl, &one, &r))
			continue;
		if (r.bytes <= was.bytes)
			*next = one;
		else
			log_warn("%s = %" PRIu64 " would remove %" PRIu64
				 " packets, %.1f MB, at once: it is not taken "
				 "before pcapd is started again",
				 bounds[i].name, to, r.packets,
				 (double)r.bytes / 1e6);
	}
}

void control_configure(struct control *ctl, const struct config *c)
{
	struct config next = *c;

	pthread_mutex_lock(&ctl->change);
	bounds_take(ctl, &next);
	pthread_mutex_lock(&ctl->lock);
	ctl->config.max_captures = c->max_captures;
	ctl->config.block_age_s = c->block_age_s;
	for (size_t i = 0; i < BOUNDS; i++)
		*bound_of(&ctl->config, &bounds[i]) =
			*bound_of(&next, &bounds[i]);
	pthread_mutex_unlock(&ctl->lock);
	struct store_options o = options_of(&next);
	store_configure(ctl->store, &o);
	pthread_mutex_unlock(&ctl->change);
}

void control_end_waits(struct control *ctl)
{
	store_end_waits(ctl->store);
}

bool control_is_written(struct control *ctl)
{
	return atomic_load(&ctl->halting) && store_is_written(ctl->store);
}

void control_stop(struct control *ctl)
{
	atomic_store(&ctl->halting, true);
	pthread_mutex_lock(&ctl->change);
	ctl->stopped = true;
	every_entry(ctl, capture_entry_halt);
	for (size_t i = 0; i < ctl->n; i++)
		capture_tail_close(ctl->entries[i]->tail);
	pthread_mutex_unlock(&ctl->change);
	ledger_writer_stop(ctl->ledger_writer);
	ctl->ledger_writer = NULL;
}

void control_close(struct control *ctl)
{
	if (!ctl)
		return;
	for (size_t i = 0; i < ctl->n; i++) {
		assert(!ctl->entries[i]->importing);
		capture_entry_free(ctl->entries[i]);
	}
	free(ctl->entries);
	own_connections_free(ctl->exclude);
	interface_names_close(&ctl->names);
	store_close(ctl->store);
	pthread_mutex_destroy(&ctl->lock);
	pthread_mutex_destroy(&ctl->change);
	free(ctl);
}
