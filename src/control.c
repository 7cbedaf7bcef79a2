/*
 * The captures of this daemon. Guarantees that what the catalog says and what
 * runs change together: a request that fails has changed nothing, one that
 * succeeds survives a crash. Leaves out the wire (rpc/) and the packets
 * (capture/, store/).
 */
#include "control.h"

#include "log.h"
#include "store/keeper.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct entry {
	struct capture_row row;
	struct feed *feed;
	struct capture *source;
	struct writer *writer;
	bool importing;
	struct capture_status past; /* of sources that were stopped */
	uint64_t past_disk;
	/* The ledger's, while it runs. */
	struct account account;
	uint64_t disk_told; /* of dropped_disk, all in all */
	/* For a watchdog: the oldest block in memory, since when. */
	uint64_t front_seq;
	int64_t front_ns;
	char resume_error[256]; /* wanted, but could not be started */
};

struct control {
	struct store *store;
	struct keeper *keeper;
	/* Held across a whole change, its I/O included, so that changes come
	 * one after the other; entries are freed under it only. Nobody who
	 * has packets in hand takes it. Taken before lock. */
	pthread_mutex_t change;
	pthread_mutex_t lock; /* guards everything below */
	struct config config;
	struct entry **entries; /* by id */
	size_t n;
	bool stopped;
};

/* --- names --- */

/* what: "alias", "mark" */
static bool name_check(const char *what, const char *alias, struct err *e)
{
	size_t n = strlen(alias);
	size_t good = strspn(alias, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz"
				    "0123456789._-");

	if (n > 0 && n <= ALIAS_MAX && good == n &&
	    strspn(alias, "0123456789") != n)
		return true;
	return err_set(e, ERR_USAGE,
		       "%s '%.80s': expected 1 to %d of A-Z a-z 0-9 . _ -, "
		       "not only digits",
		       what, alias, ALIAS_MAX);
}

static bool alias_check(const char *alias, struct err *e)
{
	return name_check("alias", alias, e);
}

static bool has_alias(const struct capture_row *r, const char *alias)
{
	for (size_t i = 0; i < r->n_aliases; i++)
		if (strcmp(r->aliases[i], alias) == 0)
			return true;
	return false;
}

static struct entry *by_alias(struct control *ctl, const char *alias)
{
	for (size_t i = 0; i < ctl->n; i++)
		if (has_alias(&ctl->entries[i]->row, alias))
			return ctl->entries[i];
	return NULL;
}

/* With lock or change held. */
static struct entry *lookup(struct control *ctl, const char *name,
			    struct err *e)
{
	struct entry *found = NULL;

	if (!*name) {
		err_set(e, ERR_USAGE,
			"expected a capture's id or alias, got "
			"nothing");
	} else if (strspn(name, "0123456789") == strlen(name)) {
		uint64_t id = strtoull(name, NULL, 10);

		for (size_t i = 0; i < ctl->n && !found; i++)
			if (ctl->entries[i]->row.id == id)
				found = ctl->entries[i];
	} else {
		found = by_alias(ctl, name);
	}
	if (!found && *name) {
		err_set(e, ERR_NOT_FOUND, "no capture '%.80s'", name);
		err_hint(e, "List captures with 'pcap list'.");
	}
	return found;
}

static const char *label(const struct entry *t, char room[24])
{
	if (t->row.n_aliases)
		return t->row.aliases[0];
	snprintf(room, 24, "%" PRIu64, t->row.id);
	return room;
}

/* --- views --- */

void capture_view_done(struct capture_view *v)
{
	capture_row_done(&v->row);
}

static bool row_copy(struct capture_row *to, const struct capture_row *from)
{
	*to = *from;
	to->interface = strdup(from->interface);
	to->filter = strdup(from->filter);
	to->program = malloc(from->program_bytes + 1);
	to->aliases = calloc(from->n_aliases + 1, sizeof(*to->aliases));
	to->n_aliases = 0;
	bool ok = to->interface && to->filter && to->program && to->aliases;
	if (ok)
		memcpy(to->program, from->program, from->program_bytes);
	for (size_t i = 0; ok && i < from->n_aliases; i++) {
		to->aliases[i] = strdup(from->aliases[i]);
		ok = to->aliases[i];
		to->n_aliases += ok;
	}
	if (!ok)
		capture_row_done(to);
	return ok;
}

static void add_past(struct capture_status *s, const struct capture_status *p)
{
	s->received += p->received;
	s->dropped_kernel += p->dropped_kernel;
	s->dropped_interface += p->dropped_interface;
	s->dropped_memory += p->dropped_memory;
	if (s->newest_ns == 0)
		s->newest_ns = p->newest_ns;
}

static enum capture_state state_of(const struct entry *t,
				   struct capture_status *s)
{
	if (t->importing)
		return CAPTURE_IMPORTING;
	if (t->source)
		return s->waiting ? CAPTURE_WAITING : CAPTURE_RUNNING;
	if (!t->resume_error[0])
		return CAPTURE_STOPPED;
	s->waiting = true;
	snprintf(s->reason, sizeof(s->reason), "%s", t->resume_error);
	return CAPTURE_WAITING;
}

/* With lock held: everything but the totals. */
static bool view_entry(const struct entry *t, struct capture_view *v,
		       struct err *e)
{
	memset(v, 0, sizeof(*v));
	if (!row_copy(&v->row, &t->row))
		return err_set(e, ERR_FAILED, "out of memory");
	if (t->source)
		capture_status(t->source, &v->live);
	if (t->writer)
		writer_status(t->writer, &v->writer);
	v->state = state_of(t, &v->live);
	add_past(&v->live, &t->past);
	v->writer.dropped_disk += t->past_disk;
	if (v->live.link_type)
		v->row.link_type = v->live.link_type;
	return true;
}

static void add_block(struct store_totals *t, const struct block_info *b)
{
	bool first = t->packets == 0;

	if (b->seq < t->next_seq || b->packets == 0)
		return;
	t->packets += b->packets;
	t->raw_bytes += b->raw_bytes;
	if (first || b->min_ns < t->min_ns)
		t->min_ns = b->min_ns;
	if (first || b->max_ns > t->max_ns)
		t->max_ns = b->max_ns;
}

/* What is in memory is looked at first: a block that is committed in between
 * is then in both and counted once, by its number. */
static bool view_totals(struct control *ctl, struct feed *f,
			struct capture_view *v, struct err *e)
{
	struct block_info *in_memory = calloc(feed_max(f), sizeof(*in_memory));

	if (!in_memory)
		return err_set(e, ERR_FAILED, "out of memory");
	unsigned n = feed_blocks(f, in_memory);
	bool ok = store_totals(ctl->store, v->row.id, &v->totals, e);
	for (unsigned i = 0; ok && i < n; i++)
		add_block(&v->totals, &in_memory[i]);
	free(in_memory);
	return ok;
}

/* With change held, so that the entry stays. */
static bool view(struct control *ctl, const struct entry *t,
		 struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->lock);
	bool ok = view_entry(t, v, e);
	pthread_mutex_unlock(&ctl->lock);
	if (!ok)
		return false;
	if (view_totals(ctl, t->feed, v, e))
		return true;
	capture_view_done(v);
	return false;
}

void control_catch_up(struct control *ctl, const char *name)
{
	struct capture *source = NULL;
	struct err ignored;

	pthread_mutex_lock(&ctl->lock);
	struct entry *t = lookup(ctl, name, &ignored);
	if (t && t->source)
		source = capture_ref(t->source);
	pthread_mutex_unlock(&ctl->lock);
	if (source)
		capture_catch_up(source);
	capture_unref(source);
}

bool control_find(struct control *ctl, const char *name, struct capture_view *v,
		  struct feed **f, struct err *e)
{
	pthread_mutex_lock(&ctl->lock);
	struct entry *t = lookup(ctl, name, e);
	bool ok = t && view_entry(t, v, e);
	if (ok)
		*f = feed_ref(t->feed);
	pthread_mutex_unlock(&ctl->lock);
	if (!ok)
		return false;
	if (view_totals(ctl, *f, v, e))
		return true;
	capture_view_done(v);
	feed_unref(*f);
	return false;
}

bool control_list(struct control *ctl, const char *name,
		  struct capture_view **v, size_t *n, struct err *e)
{
	struct entry *one = NULL;
	bool ok = true;

	*n = 0;
	pthread_mutex_lock(&ctl->lock);
	size_t max = ctl->n;
	struct feed **feeds = calloc(max + 1, sizeof(struct feed *));
	*v = calloc(max + 1, sizeof(**v));
	if (!feeds || !*v)
		ok = err_set(e, ERR_FAILED, "out of memory");
	else if (name && *name)
		ok = (one = lookup(ctl, name, e));
	for (size_t i = 0; ok && i < max; i++) {
		if (one && ctl->entries[i] != one)
			continue;
		ok = view_entry(ctl->entries[i], &(*v)[*n], e);
		if (ok)
			feeds[(*n)++] = feed_ref(ctl->entries[i]->feed);
	}
	pthread_mutex_unlock(&ctl->lock);
	for (size_t i = 0; ok && i < *n; i++)
		ok = view_totals(ctl, feeds[i], &(*v)[i], e);
	for (size_t i = 0; i < *n; i++)
		feed_unref(feeds[i]);
	free(feeds);
	while (!ok && *n > 0)
		capture_view_done(&(*v)[--*n]);
	if (!ok)
		free(*v);
	return ok;
}

struct store *control_store(struct control *ctl)
{
	return ctl->store;
}

/* --- entries --- */

static void entry_free(struct entry *t)
{
	if (!t)
		return;
	assert(!t->source && !t->writer);
	capture_row_done(&t->row);
	feed_unref(t->feed);
	free(t);
}

/* Takes over the row. NULL when memory is out; the row is done then. */
static struct entry *entry_add(struct control *ctl, struct capture_row *row,
			       struct err *e)
{
	struct entry *t = calloc(1, sizeof(*t));
	struct store_totals totals;

	if (!t) {
		capture_row_done(row);
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	t->row = *row;
	if (!store_totals(ctl->store, row->id, &totals, e))
		goto fail;
	t->feed = feed_new(row->id, totals.next_seq,
			   (unsigned)ctl->config.memory_blocks);
	pthread_mutex_lock(&ctl->lock);
	void *more = t->feed ? realloc(ctl->entries, (ctl->n + 1) * sizeof(t))
			     : NULL;
	if (more) {
		ctl->entries = more;
		ctl->entries[ctl->n++] = t;
	}
	pthread_mutex_unlock(&ctl->lock);
	if (more)
		return t;
	err_set(e, ERR_FAILED, "out of memory");
fail:
	entry_free(t);
	return NULL;
}

static void entry_options(struct control *ctl, const struct entry *t,
			  struct capture_options *o)
{
	memset(o, 0, sizeof(*o));
	snprintf(o->interface, sizeof(o->interface), "%s", t->row.interface);
	snprintf(o->filter, sizeof(o->filter), "%s", t->row.filter);
	o->snaplen = t->row.snaplen;
	o->promiscuous = t->row.promiscuous;
	o->buffer_bytes = t->row.buffer_bytes;
	o->block_age_ns = (int64_t)ctl->config.block_age_s * NS_PER_S;
}

/* --- what the ledger hears --- */

/* A thread that has not gone round for so long, a writer that has written
 * nothing for so long with a full feed: they hang. */
#define HANGS_NS (5 * NS_PER_S)
#define WRITER_HANGS_NS (30 * NS_PER_S)

static void tell(struct control *ctl, uint64_t capture, enum ledger_cause cause,
		 int64_t from_ns, int64_t to_ns, uint64_t packets,
		 const char *detail)
{
	struct ledger_row row = {.capture = capture,
				 .cause = cause,
				 .from_ns = from_ns,
				 .to_ns = to_ns,
				 .packets = packets};

	snprintf(row.detail, sizeof(row.detail), "%.110s", detail);
	keeper_add(ctl->keeper, &row, 1);
}

static void tell_outages(struct control *ctl, const struct entry *t,
			 struct capture *c)
{
	struct capture_outage out[CAPTURE_OUTAGES];
	unsigned n = capture_take_outages(c, out);

	for (unsigned i = 0; i < n; i++)
		tell(ctl, t->row.id, LEDGER_DOWN, out[i].from_ns,
		     out[i].to_ns == INT64_MAX ? LEDGER_OPEN : out[i].to_ns, 0,
		     out[i].reason);
}

static struct account_look look_at(const struct capture_status *sums,
				   struct clocks now)
{
	return (struct account_look){
		.now = now,
		.received = sums->received,
		.kernel = sums->dropped_kernel,
		.interface = sums->dropped_interface,
		.memory = sums->dropped_memory,
	};
}

static void tell_counts(struct control *ctl, struct entry *t,
			const struct account_look *look, bool last)
{
	struct ledger_row rows[ACCOUNT_ROWS];

	keeper_add(ctl->keeper, rows,
		   account_take(&t->account, look, last, rows));
}

/* With lock held, of one that runs. */
static void tell_news(struct control *ctl, struct entry *t, struct clocks now)
{
	struct capture_status sums;
	struct writer_status disk;
	int64_t from, to;
	uint64_t packets;

	capture_status(t->source, &sums);
	add_past(&sums, &t->past);
	writer_status(t->writer, &disk);
	struct account_look look = look_at(&sums, now);
	look.stored_ns = disk.synced_ns;
	look.disk = disk.stuck;
	tell_counts(ctl, t, &look, false);
	tell_outages(ctl, t, t->source);
	if (writer_take_lost(t->writer, &packets, &from, &to)) {
		t->disk_told += packets;
		tell(ctl, t->row.id, LEDGER_DISK, from, to, packets,
		     disk.error);
	}
}

/* With lock held, of one that runs. */
static bool is_well(struct entry *t)
{
	struct capture_status live;
	struct writer_status disk;
	int64_t now = monotonic_ns();
	struct block *front = feed_find(t->feed, 0);
	uint64_t seq = front ? front->info.seq : 0;

	block_unref(front);
	capture_status(t->source, &live);
	writer_status(t->writer, &disk);
	if (seq != t->front_seq || disk.stuck ||
	    disk.depth < feed_max(t->feed)) {
		t->front_seq = seq;
		t->front_ns = now;
	}
	return now - live.looped_ns < HANGS_NS &&
	       now - t->front_ns < WRITER_HANGS_NS;
}

/* On the keeper's thread. */
static bool look(void *ctx, struct clocks now)
{
	struct control *ctl = ctx;
	bool well = true;

	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < ctl->n; i++) {
		struct entry *t = ctl->entries[i];

		if (!t->source)
			continue;
		tell_news(ctl, t, now);
		well = is_well(t) && well;
	}
	pthread_mutex_unlock(&ctl->lock);
	return well;
}

/* With lock held: it runs from now on. */
static void tell_begin(struct control *ctl, struct entry *t)
{
	struct clocks now = clocks_now();
	struct account_look look = look_at(&t->past, now);

	tell(ctl, t->row.id, LEDGER_STOPPED, LEDGER_ANY, now.real_ns, 0, "");
	tell(ctl, t->row.id, LEDGER_DOWN, LEDGER_ANY, now.real_ns, 0, "");
	account_begin(&t->account, t->row.id, &look);
	/* A kill may come before the first row of what is received. */
	tell(ctl, t->row.id, LEDGER_RECEIVED, now.real_ns, now.real_ns, 0, "");
	t->front_ns = monotonic_ns();
	tell_outages(ctl, t, t->source);
}

/* With lock held: it ran until now, past and past_disk are final. */
static void tell_end(struct control *ctl, struct entry *t, struct capture *c)
{
	struct clocks now = clocks_now();
	int64_t since = t->account.last.now.real_ns;
	struct account_look look = look_at(&t->past, now);

	if (t->past_disk > t->disk_told)
		tell(ctl, t->row.id, LEDGER_DISK, since, now.real_ns,
		     t->past_disk - t->disk_told, "");
	t->disk_told = t->past_disk;
	tell_outages(ctl, t, c);
	tell(ctl, t->row.id, LEDGER_DOWN, LEDGER_ANY, now.real_ns, 0, "");
	tell_counts(ctl, t, &look, true);
}

static void tell_stopped(struct control *ctl, const struct entry *t,
			 const char *why)
{
	tell(ctl, t->row.id, LEDGER_STOPPED, clocks_now().real_ns, LEDGER_OPEN,
	     0, why);
}

/* --- running --- */

/* Writer first: a source has somebody to write for it from its first block. */
static bool run(struct control *ctl, struct entry *t, struct err *e)
{
	struct capture_options o;
	struct capture_status now;

	entry_options(ctl, t, &o);
	struct writer *w = writer_start(ctl->store, t->feed, e);
	if (!w)
		return false;
	struct capture *c = capture_start(&o, t->feed, e);
	if (!c) {
		struct writer_status ignored;

		writer_stop(w, &ignored);
		return false;
	}
	capture_status(c, &now);
	pthread_mutex_lock(&ctl->lock);
	t->source = c;
	t->writer = w;
	t->resume_error[0] = '\0';
	tell_begin(ctl, t);
	pthread_mutex_unlock(&ctl->lock);
	if (now.link_type && now.link_type != t->row.link_type) {
		struct err ignored;

		if (!store_set_link_type(ctl->store, t->row.id, now.link_type,
					 &ignored))
			log_err(LOG_LEVEL_WARN, &ignored);
		pthread_mutex_lock(&ctl->lock);
		t->row.link_type = now.link_type;
		pthread_mutex_unlock(&ctl->lock);
	}
	return true;
}

/* Everything that the source had is stored when this returns. */
static void halt(struct control *ctl, struct entry *t)
{
	struct capture_status last = {0};
	struct writer_status disk;

	pthread_mutex_lock(&ctl->lock);
	struct capture *c = t->source;
	struct writer *w = t->writer;
	t->source = NULL;
	t->writer = NULL;
	t->resume_error[0] = '\0';
	pthread_mutex_unlock(&ctl->lock);
	if (!c)
		return;
	capture_ref(c);
	capture_stop(c, &last);
	writer_stop(w, &disk);
	pthread_mutex_lock(&ctl->lock);
	if (last.link_type)
		t->row.link_type = last.link_type;
	add_past(&last, &t->past);
	t->past = last;
	t->past_disk += disk.dropped_disk;
	tell_end(ctl, t, c);
	pthread_mutex_unlock(&ctl->lock);
	capture_unref(c);
}

static bool set_wanted(struct control *ctl, struct entry *t, bool wanted,
		       struct err *e)
{
	if (!store_set_wanted(ctl->store, t->row.id, wanted, e))
		return false;
	pthread_mutex_lock(&ctl->lock);
	t->row.wanted = wanted;
	pthread_mutex_unlock(&ctl->lock);
	return true;
}

/* --- init --- */

static bool options_check(struct capture_options *o, struct err *e)
{
	if (!o->interface[0])
		strcpy(o->interface, "any");
	if (o->snaplen == 0)
		o->snaplen = CAPTURE_SNAPLEN_MAX;
	if (o->buffer_bytes == 0)
		o->buffer_bytes = CAPTURE_BUFFER_DEFAULT;
	if (o->snaplen > CAPTURE_SNAPLEN_MAX)
		return err_set(e, ERR_USAGE,
			       "snaplen %" PRIu32 ": expected 1 to %d bytes",
			       o->snaplen, CAPTURE_SNAPLEN_MAX);
	if (o->buffer_bytes < CAPTURE_BUFFER_MIN ||
	    o->buffer_bytes > CAPTURE_BUFFER_MAX)
		return err_set(e, ERR_USAGE,
			       "buffer of %" PRIu64 " bytes: expected %u to "
			       "%llu MiB",
			       o->buffer_bytes, CAPTURE_BUFFER_MIN >> 20,
			       CAPTURE_BUFFER_MAX >> 20);
	return true;
}

static struct entry *same_capture(struct control *ctl,
				  const struct capture_options *o,
				  const struct filter *filter)
{
	size_t n;
	const void *program = filter_bytes(filter, &n);

	for (size_t i = 0; i < ctl->n; i++) {
		const struct capture_row *r = &ctl->entries[i]->row;

		if (!r->savefile && strcmp(r->interface, o->interface) == 0 &&
		    r->program_bytes == n &&
		    memcmp(r->program, program, n) == 0)
			return ctl->entries[i];
	}
	return NULL;
}

static bool room_for_one(struct control *ctl, struct err *e)
{
	if (ctl->n < ctl->config.max_captures)
		return true;
	return err_set(e, ERR_LIMIT,
		       "there are %zu captures, and max-captures "
		       "is %" PRIu64,
		       ctl->n, ctl->config.max_captures);
}

/* Commits a capture as the model row says, and makes its entry. */
static struct entry *create(struct control *ctl,
			    const struct capture_row *model, struct err *e)
{
	struct capture_row row;

	if (!room_for_one(ctl, e))
		return NULL;
	if (!row_copy(&row, model)) {
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	row.created_ns = realtime_ns();
	if (!store_add(ctl->store, &row, e)) {
		capture_row_done(&row);
		return NULL;
	}
	return entry_add(ctl, &row, e);
}

static struct entry *create_live(struct control *ctl,
				 const struct init_options *init,
				 const char *alias, uint32_t link_type,
				 const struct filter *filter, struct err *e)
{
	const struct capture_options *o = &init->capture;
	char *aliases[] = {(char *)alias};
	size_t n;
	struct capture_row row = {
		.promiscuous = o->promiscuous,
		.interface = (char *)o->interface,
		.filter = (char *)o->filter,
		.program = (void *)filter_bytes(filter, &n),
		.link_type = link_type,
		.snaplen = o->snaplen,
		.buffer_bytes = o->buffer_bytes,
		.keep_bytes = init->keep_bytes,
		.keep_age_ns = init->keep_age_ns,
		.aliases = aliases,
		.n_aliases = alias ? 1 : 0,
	};

	row.program_bytes = n;
	return create(ctl, &row, e);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool alias_is_free(struct control *ctl, const char *alias, struct err *e)
{
	const struct entry *t = by_alias(ctl, alias);

	if (!t)
		return true;
	err_set(e, ERR_EXISTS, "alias '%s' is taken by capture %" PRIu64, alias,
		t->row.id);
	return err_hint(e,
			"Choose another, or free it with 'pcap alias "
			"remove %s'.",
			alias);
}

static bool add_alias(struct control *ctl, struct entry *t, const char *alias,
		      struct err *e)
{
	if (!alias_is_free(ctl, alias, e))
		return false;
	if (t->row.n_aliases >= ALIASES_MAX)
		return err_set(e, ERR_LIMIT,
			       "capture %" PRIu64 " has %d aliases, and more "
			       "are not allowed",
			       t->row.id, ALIASES_MAX);
	char *copy = strdup(alias);
	char **more = calloc(t->row.n_aliases + 1, sizeof(*more));
	if (!copy || !more) {
		free(copy);
		free(more);
		return err_set(e, ERR_FAILED, "out of memory");
	}
	if (!store_alias_add(ctl->store, t->row.id, alias, e)) {
		free(copy);
		free(more);
		return false;
	}
	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < t->row.n_aliases; i++)
		more[i] = t->row.aliases[i];
	more[t->row.n_aliases++] = copy;
	free(t->row.aliases);
	t->row.aliases = more;
	qsort(more, t->row.n_aliases, sizeof(*more), by_name);
	pthread_mutex_unlock(&ctl->lock);
	return true;
}

static bool is_stopping(struct control *ctl, struct err *e)
{
	if (!ctl->stopped)
		return false;
	err_set(e, ERR_UNREACHABLE, "pcapd is stopping");
	return true;
}

/* With change held. */
static struct entry *init_entry(struct control *ctl,
				const struct init_options *init,
				const char *alias, uint32_t link_type,
				const struct filter *filter, bool *created,
				bool *alias_added, struct err *e)
{
	struct entry *t = same_capture(ctl, &init->capture, filter);

	*created = !t;
	*alias_added = false;
	if (t) {
		if (!alias || has_alias(&t->row, alias))
			return t;
		*alias_added = add_alias(ctl, t, alias, e);
		return *alias_added ? t : NULL;
	}
	if (alias && !alias_is_free(ctl, alias, e))
		return NULL;
	t = create_live(ctl, init, alias, link_type, filter, e);
	*alias_added = t && alias;
	if (t)
		tell_stopped(ctl, t, "not started yet");
	return t;
}

bool control_init(struct control *ctl, const struct init_options *o,
		  struct capture_view *v, bool *created, bool *alias_added,
		  struct err *e)
{
	const char *alias = o->alias && *o->alias ? o->alias : NULL;
	struct init_options init = *o;
	struct filter *filter;
	uint32_t link_type;

	if (!options_check(&init.capture, e) ||
	    (alias && !alias_check(alias, e)) ||
	    !capture_probe(&init.capture, &link_type, &filter, e))
		return false;
	pthread_mutex_lock(&ctl->change);
	bool ok = false;
	struct entry *t = is_stopping(ctl, e)
				  ? NULL
				  : init_entry(ctl, &init, alias, link_type,
					       filter, created, alias_added, e);
	if (t && o->start && !t->source)
		ok = run(ctl, t, e) && set_wanted(ctl, t, true, e);
	else
		ok = t;
	ok = ok && view(ctl, t, v, e);
	pthread_mutex_unlock(&ctl->change);
	filter_free(filter);
	return ok;
}

/* --- start, stop, delete, aliases --- */

static bool start_entry(struct control *ctl, struct entry *t, struct err *e)
{
	char room[24];

	if (t->row.savefile) {
		err_set(e, ERR_STATE,
			"capture '%s' holds savefiles; there is "
			"nothing to start",
			label(t, room));
		return err_hint(e, "Add to it with 'pcap import'.");
	}
	if (t->source)
		return err_set(e, ERR_STATE, "capture '%s' runs already",
			       label(t, room));
	if (!run(ctl, t, e))
		return false;
	if (set_wanted(ctl, t, true, e))
		return true;
	halt(ctl, t);
	tell_stopped(ctl, t, "");
	return false;
}

bool control_start(struct control *ctl, const char *name,
		   struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->change);
	struct entry *t = is_stopping(ctl, e) ? NULL : lookup(ctl, name, e);
	bool ok = t && start_entry(ctl, t, e) && view(ctl, t, v, e);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

static bool stop_entry(struct control *ctl, struct entry *t, struct err *e)
{
	char room[24];

	if (!t->source && !t->row.wanted)
		return err_set(e, ERR_STATE, "capture '%s' does not run",
			       label(t, room));
	if (!set_wanted(ctl, t, false, e))
		return false;
	halt(ctl, t);
	tell_stopped(ctl, t, "");
	return true;
}

bool control_stop_one(struct control *ctl, const char *name,
		      struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->change);
	struct entry *t = is_stopping(ctl, e) ? NULL : lookup(ctl, name, e);
	bool ok = t && stop_entry(ctl, t, e) && view(ctl, t, v, e);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

static void entry_remove(struct control *ctl, struct entry *t)
{
	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < ctl->n; i++) {
		if (ctl->entries[i] != t)
			continue;
		memmove(&ctl->entries[i], &ctl->entries[i + 1],
			(ctl->n - i - 1) * sizeof(t));
		ctl->n--;
		break;
	}
	pthread_mutex_unlock(&ctl->lock);
	feed_close(t->feed);
	entry_free(t);
}

static bool delete_entry(struct control *ctl, struct entry *t, struct err *e)
{
	char room[24];

	if (t->source || t->importing) {
		err_set(e, ERR_STATE, "capture '%s' %s", label(t, room),
			t->importing ? "is being imported into" : "runs");
		return t->importing || err_hint(e,
						"Stop it first: 'pcap stop "
						"%s'.",
						label(t, room));
	}
	if (!store_delete(ctl->store, t->row.id, e))
		return false;
	entry_remove(ctl, t);
	return true;
}

bool control_delete(struct control *ctl, const char *name,
		    struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->change);
	struct entry *t = is_stopping(ctl, e) ? NULL : lookup(ctl, name, e);
	bool ok = t && view(ctl, t, v, e);
	if (ok && !delete_entry(ctl, t, e)) {
		capture_view_done(v);
		ok = false;
	}
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

bool control_alias_add(struct control *ctl, const char *name, const char *alias,
		       struct capture_view *v, struct err *e)
{
	if (!alias_check(alias, e))
		return false;
	pthread_mutex_lock(&ctl->change);
	struct entry *t = is_stopping(ctl, e) ? NULL : lookup(ctl, name, e);
	bool ok = t && add_alias(ctl, t, alias, e) && view(ctl, t, v, e);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

static bool remove_alias(struct control *ctl, struct entry *t,
			 const char *alias, struct err *e)
{
	struct capture_row *r = &t->row;

	if (!store_alias_remove(ctl->store, alias, e))
		return false;
	pthread_mutex_lock(&ctl->lock);
	for (size_t i = 0; i < r->n_aliases; i++) {
		if (strcmp(r->aliases[i], alias) != 0)
			continue;
		free(r->aliases[i]);
		memmove(&r->aliases[i], &r->aliases[i + 1],
			(r->n_aliases - i - 1) * sizeof(*r->aliases));
		r->n_aliases--;
		break;
	}
	pthread_mutex_unlock(&ctl->lock);
	return true;
}

bool control_alias_remove(struct control *ctl, const char *alias,
			  struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->change);
	struct entry *t = is_stopping(ctl, e) ? NULL : by_alias(ctl, alias);
	bool ok = t && remove_alias(ctl, t, alias, e) && view(ctl, t, v, e);
	if (!t && !ctl->stopped)
		err_set(e, ERR_NOT_FOUND, "no alias '%.80s'", alias);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

/* --- what is kept, and what is missing --- */

bool control_coverage(struct control *ctl, const char *name, int64_t since_ns,
		      int64_t until_ns, struct coverage *c,
		      struct capture_view *v, struct err *e)
{
	struct feed *f;

	keeper_catch_up(ctl->keeper);
	if (!control_find(ctl, name, v, &f, e))
		return false;
	feed_unref(f);
	struct coverage_of of = {
		.capture = v->row.id,
		.savefile = v->row.savefile,
		.created_ns = v->row.created_ns,
		.min_ns = v->totals.min_ns,
		.max_ns = v->totals.max_ns,
		.now_ns = clocks_now().real_ns,
		.runs = v->state == CAPTURE_RUNNING ||
			v->state == CAPTURE_WAITING,
	};
	if (ledger_coverage(ctl->store, &of, since_ns, until_ns, c, e))
		return true;
	capture_view_done(v);
	return false;
}

struct change {
	const uint64_t *keep_bytes;
	const int64_t *keep_age_ns;
	struct store_hold *hold;
	uint64_t release;
	const struct store_mark *mark;
	bool remove;
};

typedef bool change_entry(struct control *ctl, struct entry *t,
			  const struct change *how, struct err *e);

static bool change_named(struct control *ctl, const char *name,
			 change_entry *change, const struct change *how,
			 struct capture_view *v, struct err *e)
{
	pthread_mutex_lock(&ctl->change);
	struct entry *t = is_stopping(ctl, e) ? NULL : lookup(ctl, name, e);
	bool ok = t && change(ctl, t, how, e) && view(ctl, t, v, e);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

static bool set_keep(struct control *ctl, struct entry *t,
		     const struct change *how, struct err *e)
{
	uint64_t bytes = how->keep_bytes ? *how->keep_bytes : t->row.keep_bytes;
	int64_t age = how->keep_age_ns ? *how->keep_age_ns : t->row.keep_age_ns;

	if (!store_set_keep(ctl->store, t->row.id, bytes, age, e))
		return false;
	pthread_mutex_lock(&ctl->lock);
	t->row.keep_bytes = bytes;
	t->row.keep_age_ns = age;
	pthread_mutex_unlock(&ctl->lock);
	return true;
}

bool control_set_keep(struct control *ctl, const char *name,
		      const uint64_t *keep_bytes, const int64_t *keep_age_ns,
		      struct capture_view *v, struct err *e)
{
	struct change how = {.keep_bytes = keep_bytes,
			     .keep_age_ns = keep_age_ns};

	return change_named(ctl, name, set_keep, &how, v, e);
}

static bool hold(struct control *ctl, struct entry *t, const struct change *how,
		 struct err *e)
{
	return store_hold_add(ctl->store, t->row.id, how->hold, e);
}

bool control_hold(struct control *ctl, const char *name, struct store_hold *h,
		  struct capture_view *v, struct err *e)
{
	struct change how = {.hold = h};

	return change_named(ctl, name, hold, &how, v, e);
}

static bool release(struct control *ctl, struct entry *t,
		    const struct change *how, struct err *e)
{
	return store_hold_remove(ctl->store, t->row.id, how->release, e);
}

bool control_release(struct control *ctl, const char *name, uint64_t hold_id,
		     struct capture_view *v, struct err *e)
{
	struct change how = {.release = hold_id};

	return change_named(ctl, name, release, &how, v, e);
}

static bool mark(struct control *ctl, struct entry *t, const struct change *how,
		 struct err *e)
{
	return how->remove
		       ? store_mark_remove(ctl->store, t->row.id,
					   how->mark->name, e)
		       : store_mark_add(ctl->store, t->row.id, how->mark, e);
}

bool control_mark(struct control *ctl, const char *name,
		  const struct store_mark *m, bool remove,
		  struct capture_view *v, struct err *e)
{
	struct change how = {.mark = m, .remove = remove};

	return name_check("mark", m->name, e) &&
	       change_named(ctl, name, mark, &how, v, e);
}

bool control_is_well(struct control *ctl, int64_t within_ns)
{
	return monotonic_ns() - keeper_well_ns(ctl->keeper) < within_ns;
}

struct config control_config(struct control *ctl)
{
	pthread_mutex_lock(&ctl->lock);
	struct config c = ctl->config;
	pthread_mutex_unlock(&ctl->lock);
	return c;
}

/* --- import --- */

static const char *link_name(uint32_t link_type)
{
	const char *name =
		pcap_datalink_val_to_name(dlt_of_link_type(link_type));

	return name ? name : "unknown";
}

/* May this file go into this capture? */
static bool import_fits(const struct entry *t, const char *name, uint32_t type,
			struct err *e)
{
	char room[24];

	if (!t->row.savefile) {
		err_set(e, ERR_STATE,
			"'%s' captures on %s; savefiles do not "
			"go into it",
			label(t, room), t->row.interface);
		return err_hint(e, "Import into an alias of its own.");
	}
	if (t->importing)
		return err_set(e, ERR_STATE,
			       "'%s' is being imported into already",
			       label(t, room));
	if (t->row.link_type == type)
		return true;
	err_set(e, ERR_STATE,
		"%s has link type %" PRIu32 " (%s), '%s' has %" PRIu32 " (%s)",
		name, type, link_name(type), label(t, room), t->row.link_type,
		link_name(t->row.link_type));
	return err_hint(e, "Import it into an alias of its own.");
}

static struct entry *create_import(struct control *ctl, const char *alias,
				   uint32_t link_type, struct err *e)
{
	char *aliases[] = {(char *)alias};
	struct capture_row row = {
		.savefile = true,
		.interface = "",
		.filter = "",
		.program = "",
		.link_type = link_type,
		.snaplen = CAPTURE_SNAPLEN_MAX,
		.aliases = aliases,
		.n_aliases = 1,
	};

	return alias_check(alias, e) ? create(ctl, &row, e) : NULL;
}

static struct entry *import_begin(struct control *ctl, const char *alias,
				  const char *name, uint32_t link_type,
				  bool *created, struct err *e)
{
	struct err ignored;
	struct entry *t = NULL;

	pthread_mutex_lock(&ctl->change);
	if (!is_stopping(ctl, e)) {
		t = lookup(ctl, alias, &ignored);
		*created = !t;
		if (!t)
			t = create_import(ctl, alias, link_type, e);
		else if (!import_fits(t, name, link_type, e))
			t = NULL;
	}
	if (t) {
		pthread_mutex_lock(&ctl->lock);
		t->importing = true;
		pthread_mutex_unlock(&ctl->lock);
	}
	pthread_mutex_unlock(&ctl->change);
	return t;
}

/* What would be refused anyway is refused before the file is read. */
static bool import_precheck(struct control *ctl, const char *alias,
			    struct err *e)
{
	struct err ignored;

	pthread_mutex_lock(&ctl->change);
	struct entry *t = lookup(ctl, alias, &ignored);
	bool ok = t ? import_fits(t, "", t->row.link_type, e)
		    : alias_check(alias, e);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

static bool import_copy(struct control *ctl, struct entry *t,
			struct savefile *file, uint64_t *packets,
			uint64_t *raw_bytes, struct err *e)
{
	struct writer_status disk;
	struct writer *w = writer_start(ctl->store, t->feed, e);

	if (!w)
		return false;
	bool ok = savefile_copy(file, t->feed, packets, raw_bytes, e);
	writer_stop(w, &disk);
	if (disk.dropped_disk)
		ok = err_set(e, ERR_INCOMPLETE,
			     "%" PRIu64 " packets could not be written: %s",
			     disk.dropped_disk, disk.error);
	return ok;
}

bool control_import(struct control *ctl, const char *alias, const char *name,
		    savefile_read read, void *ctx, struct capture_view *v,
		    bool *created, uint64_t *packets, uint64_t *raw_bytes,
		    struct err *e)
{
	struct err seen;

	*packets = *raw_bytes = 0;
	if (!import_precheck(ctl, alias, e))
		return false;
	struct savefile *file = savefile_open(read, ctx, name, e);
	if (!file)
		return false;
	struct entry *t = import_begin(ctl, alias, name,
				       savefile_link_type(file), created, e);
	if (!t) {
		savefile_close(file);
		return false;
	}
	bool ok = import_copy(ctl, t, file, packets, raw_bytes, e);
	savefile_close(file);
	pthread_mutex_lock(&ctl->change);
	pthread_mutex_lock(&ctl->lock);
	t->importing = false;
	pthread_mutex_unlock(&ctl->lock);
	if ((ok || e->kind == ERR_INCOMPLETE) && !view(ctl, t, v, &seen)) {
		*e = seen;
		ok = false;
	}
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

/* --- open and close --- */

/*
 * The last that is known of a capture before pcapd was not there: what was
 * accounted for, or a packet that is stored and newer. 0: it never ran.
 */
static int64_t known_until(struct control *ctl, const struct entry *t)
{
	struct store_totals totals;
	int64_t known, now = clocks_now().real_ns;
	struct err e;

	if (!ledger_known_until(ctl->store, t->row.id, &known, &e) ||
	    !store_totals(ctl->store, t->row.id, &totals, &e)) {
		log_err(LOG_LEVEL_WARN, &e);
		return 0;
	}
	if (known && totals.max_ns > known && totals.max_ns <= now)
		known = totals.max_ns;
	return known;
}

/* A clock that was set back meanwhile hides how long it was. */
static void tell_restart(struct control *ctl, const struct entry *t,
			 int64_t known, int64_t now)
{
	if (known > now) {
		tell(ctl, t->row.id, LEDGER_CLOCK, known, now, 0,
		     "while pcapd was not there");
		known = now;
	}
	tell(ctl, t->row.id, LEDGER_RESTART, known, now, 0, "");
}

/* Before a packet can be stored behind it: a daemon that is killed again before
 * the keeper wrote the row finds this one, which is still open. */
static void tell_absence(struct control *ctl, const struct entry *t,
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

static void resume(struct control *ctl, struct entry *t)
{
	struct err e;

	if (t->row.savefile)
		return;
	int64_t known = known_until(ctl, t);
	/* Whether it came back meanwhile is not known. */
	tell(ctl, t->row.id, LEDGER_DOWN, LEDGER_ANY, known, 0, "");
	if (!t->row.wanted)
		return;
	if (known)
		tell_absence(ctl, t, known);
	bool runs = run(ctl, t, &e);
	if (known)
		tell_restart(ctl, t, known, clocks_now().real_ns);
	if (runs)
		return;
	log_err(LOG_LEVEL_ERROR, &e);
	snprintf(t->resume_error, sizeof(t->resume_error), "%.250s", e.what);
	tell(ctl, t->row.id, LEDGER_DOWN, clocks_now().real_ns, LEDGER_OPEN, 0,
	     t->resume_error);
}

static bool load(struct control *ctl, struct err *e)
{
	struct capture_row *rows;
	size_t n;
	bool ok = true;

	if (!store_captures(ctl->store, &rows, &n, e))
		return false;
	for (size_t i = 0; i < n; i++) {
		struct entry *t = ok ? entry_add(ctl, &rows[i], e) : NULL;

		if (t)
			resume(ctl, t);
		else if (!ok)
			capture_row_done(&rows[i]);
		else
			ok = false;
	}
	free(rows);
	return ok;
}

static struct store_options options_of(const struct config *c)
{
	return (struct store_options){
		.spool = c->spool,
		.segment_bytes = c->segment_bytes,
		.segment_age_ns = (int64_t)c->segment_age_s * NS_PER_S,
		.compression_level = (int)c->compression_level,
		.sync_interval_ns = (int64_t)c->sync_interval_s * NS_PER_S,
		.spool_bytes = c->spool_bytes,
		.free_floor_bytes = c->free_floor,
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
	ctl->store = store_open(&o, e);
	if (ctl->store)
		ctl->keeper = keeper_start(ctl->store, look, ctl, e);
	if (ctl->keeper && load(ctl, e))
		return ctl;
	control_stop(ctl);
	control_close(ctl);
	return NULL;
}

void control_configure(struct control *ctl, const struct config *c)
{
	pthread_mutex_lock(&ctl->change);
	pthread_mutex_lock(&ctl->lock);
	ctl->config.max_captures = c->max_captures;
	ctl->config.block_age_s = c->block_age_s;
	ctl->config.spool_bytes = c->spool_bytes;
	ctl->config.free_floor = c->free_floor;
	pthread_mutex_unlock(&ctl->lock);
	struct store_options o = options_of(c);
	store_configure(ctl->store, &o);
	pthread_mutex_unlock(&ctl->change);
}

void control_stop(struct control *ctl)
{
	pthread_mutex_lock(&ctl->change);
	ctl->stopped = true;
	for (size_t i = 0; i < ctl->n; i++) {
		halt(ctl, ctl->entries[i]);
		feed_close(ctl->entries[i]->feed);
	}
	pthread_mutex_unlock(&ctl->change);
}

void control_close(struct control *ctl)
{
	if (!ctl)
		return;
	keeper_stop(ctl->keeper);
	for (size_t i = 0; i < ctl->n; i++) {
		assert(!ctl->entries[i]->importing);
		entry_free(ctl->entries[i]);
	}
	free(ctl->entries);
	store_close(ctl->store);
	pthread_mutex_destroy(&ctl->lock);
	pthread_mutex_destroy(&ctl->change);
	free(ctl);
}
