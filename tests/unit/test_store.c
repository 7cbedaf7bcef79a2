/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The store as a whole: random packets through block, frame, segment, catalog
 * and cursor come back identical, whatever is rotated, open, cut or lost.
 */
#include "catch.h"
#include "packet/packet_select.h"
#include "store/ledger.h"
#include "store/store.h"
#include "store/store_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Everything that was put into the capture tail, as one run of records. */
struct log {
	uint8_t *bytes;
	size_t n, room;
	uint64_t packets;
};

struct world {
	char spool[64];
	struct store_options options;
	struct store *store;
	struct capture_row row;
	struct capture_tail *tail;
	struct writer *writer;
	struct block *open;
	struct log log;
	uint64_t clock_ns;
	uint64_t rng;
};

static uint64_t roll(struct world *w, uint64_t below)
{
	w->rng = w->rng * 6364136223846793005ull + 1442695040888963407ull;
	return (w->rng >> 33) % below;
}

static void log_put(struct log *l, const void *from, size_t n)
{
	if (l->n + n > l->room) {
		l->room = 2 * (l->n + n);
		l->bytes = realloc(l->bytes, l->room);
		assert_non_null(l->bytes);
	}
	memcpy(l->bytes + l->n, from, n);
	l->n += n;
}

static void open_world(struct world *w)
{
	struct err e = ERR_INIT;
	struct store_totals t;

	w->options.spool = w->spool;
	w->store = store_open(&w->options, &e);
	if (!w->store)
		fail_msg("%s", e.what);
	if (w->row.id == 0) {
		w->row.interface = "lo";
		w->row.filter = "";
		w->row.link_type = 1;
		w->row.snaplen = 262144;
		assert_true(store_add(w->store, &w->row, &e));
	}
	assert_true(store_totals(w->store, w->row.id, &t, &e));
	w->tail = capture_tail_new_waiting(w->row.id, t.next_seq, 32);
	assert_non_null(w->tail);
	w->writer = writer_start(w->store, w->tail, &e);
	assert_non_null(w->writer);
}

static void seal(struct world *w)
{
	if (w->open)
		capture_tail_seal(w->tail, w->open);
	w->open = NULL;
}

static void close_world(struct world *w)
{
	struct writer_status st;

	seal(w);
	writer_stop(w->writer, &st);
	assert_int_equal(st.dropped_disk, 0);
	capture_tail_unref(w->tail);
	store_close(w->store);
}

static int set_up_with(void **state, unsigned compressors, unsigned decoders)
{
	struct world *w = calloc(1, sizeof(*w));

	w->options.compressors = compressors;
	w->options.decoders = decoders;
	strcpy(w->spool, "/tmp/pcapd-test-XXXXXX");
	assert_non_null(mkdtemp(w->spool));
	w->options.segment_bytes = 1 << 20;
	w->options.segment_age_ns = 3600 * NS_PER_S;
	w->options.compression_level = -1;
	w->options.sync_interval_ns = NS_PER_S / 20;
	w->clock_ns = 1700000000ull * NS_PER_S;
	w->rng = 42;
	open_world(w);
	*state = w;
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(state, 0, 0);
}

static int set_up_pressed(void **state)
{
	return set_up_with(state, 2, 0);
}

static int set_up_ahead(void **state)
{
	return set_up_with(state, 2, 2);
}

static void shell(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

static int tear_down(void **state)
{
	struct world *w = *state;

	shell("rm -rf %s", w->spool);
	free(w->log.bytes);
	free(w);
	return 0;
}

/* One packet of random length and half random bytes, a little later than the
 * last, sometimes long before it. */
static void packet(struct world *w)
{
	static uint8_t body[9000];
	uint32_t n = (uint32_t)roll(w, roll(w, 8) ? 200 : sizeof(body));
	struct packet_head h = {.caplen = n, .len = n + (uint32_t)roll(w, 9)};

	for (uint32_t i = 0; i < n; i++)
		body[i] = i % 3 ? (uint8_t)roll(w, 256) : 'x';
	w->clock_ns += roll(w, 3000000);
	if (roll(w, 400) == 0)
		w->clock_ns -= 2000000000;
	h.sec = (uint32_t)(w->clock_ns / NS_PER_S);
	h.nsec = (uint32_t)(w->clock_ns % NS_PER_S);
	if (w->open && !block_fits(w->open, n)) {
		capture_tail_seal(w->tail, w->open);
		w->open = NULL;
	}
	if (!w->open)
		w->open = capture_tail_open(w->tail, 1, 262144);
	assert_non_null(w->open);
	block_append(w->open, &h, body);
	capture_tail_publish(w->tail, w->open, 1);
	log_put(&w->log, &h, sizeof(h));
	log_put(&w->log, body, n);
	w->log.packets++;
}

static void packets(struct world *w, unsigned n)
{
	while (n-- > 0) {
		packet(w);
		if (roll(w, 300) == 0)
			seal(w);
	}
}

static void read_all(struct world *w, const struct cursor_range *r,
		     struct packet_select *pick, struct log *got)
{
	struct err e = ERR_INIT;
	struct cursor_item item;
	struct slice out;
	const char *why;
	struct cursor *c = cursor_open(w->store, w->tail, r, &e);
	int more = 1, n;

	assert_non_null(c);
	while (more && (n = cursor_next(c, &item, &e)) == 1) {
		more = packet_select_slice(pick, item.slice, &out, &e);
		assert_int_not_equal(more, -1);
		if (!out.block)
			continue;
		log_put(got, out.block->arena + out.from, out.to - out.from);
		got->packets += out.packets;
		block_unref(out.block);
	}
	assert_int_not_equal(n, -1);
	if (cursor_lost(c, &why))
		fail_msg("lost: %s", why);
	cursor_close(c);
}

static void assert_same(const struct log *a, const struct log *b)
{
	assert_int_equal(a->n, b->n);
	assert_int_equal(a->packets, b->packets);
	if (a->n)
		assert_memory_equal(a->bytes, b->bytes, a->n);
}

static void assert_everything(struct world *w)
{
	struct cursor_range r = {.reader = CURSOR_WORKS};
	struct packet_select pick = {.pool = block_pool_new(4)};
	struct log got = {0};

	read_all(w, &r, &pick, &got);
	assert_same(&got, &w->log);
	block_pool_unref(pick.pool);
	free(got.bytes);
}

/* What a range, a count and a snaplen should leave of the log. */
static void expect(const struct world *w, const struct packet_select *p,
		   struct log *want)
{
	struct packet_head h;
	const uint8_t *body = NULL;
	uint32_t at = 0;

	while (packet_next(w->log.bytes, (uint32_t)w->log.n, &at, &h, &body)) {
		int64_t t = packet_time_ns(&h);

		if ((p->since_ns && t < p->since_ns) ||
		    (p->until_ns && t >= p->until_ns) ||
		    (p->max_packets && want->packets == p->max_packets))
			continue;
		if (p->snaplen && h.caplen > p->snaplen)
			h.caplen = p->snaplen;
		log_put(want, &h, sizeof(h));
		log_put(want, body, h.caplen);
		want->packets++;
	}
}

static void assert_random_ranges(struct world *w, unsigned rounds)
{
	struct block_pool *pool = block_pool_new(4);
	int64_t start = 1700000000ll * NS_PER_S;
	int64_t span = (int64_t)w->clock_ns - start;

	while (rounds-- > 0) {
		struct packet_select p = {.pool = pool};
		struct log want = {0}, got = {0};

		if (roll(w, 4))
			p.since_ns = start + (int64_t)roll(w, (uint64_t)span);
		if (roll(w, 4))
			p.until_ns = start + (int64_t)roll(w, (uint64_t)span);
		if (roll(w, 3) == 0)
			p.max_packets = 1 + roll(w, 500);
		if (roll(w, 3) == 0)
			p.snaplen = 1 + (uint32_t)roll(w, 300);
		expect(w, &p, &want);
		read_all(w,
			 &(struct cursor_range){.since_ns = p.since_ns,
						.until_ns = p.until_ns,
						.reader = CURSOR_WORKS},
			 &p, &got);
		assert_same(&got, &want);
		free(want.bytes);
		free(got.bytes);
	}
	block_pool_unref(pool);
}

/* --- what comes back --- */

static void packets_come_back_from_memory_disk_and_after_a_restart(void **state)
{
	struct world *w = *state;

	assert_everything(w);
	for (int round = 0; round < 4; round++) {
		packets(w, 3000);
		assert_everything(w);
		assert_random_ranges(w, 20);
		close_world(w);
		open_world(w);
		assert_everything(w);
		assert_random_ranges(w, 20);
	}
	close_world(w);
}

static void totals_are_those_of_the_packets(void **state)
{
	struct world *w = *state;
	struct store_totals t;
	struct err e;

	packets(w, 5000);
	close_world(w);
	open_world(w);
	assert_true(store_totals(w->store, w->row.id, &t, &e));
	assert_int_equal(t.packets, 5000);
	assert_int_equal(t.raw_bytes, w->log.n);
	assert_in_range(t.segments, 2, 1000);
	close_world(w);
}

struct tail {
	struct world *w;
	struct capture_tail *tail;
	uint64_t want;
	struct log got;
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t cond;
	bool news, closed;
};

static void reader_news(void *ctx, const struct slice *s)
{
	struct tail *r = ctx;

	(void)s;
	pthread_mutex_lock(&r->lock);
	r->news = true;
	pthread_cond_signal(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

static void *reader_main(void *arg)
{
	struct tail *r = arg;
	struct capture_tail_watch watch = {.published = reader_news, .ctx = r};
	struct cursor_range range = {.live = true, .reader = CURSOR_WORKS};
	struct packet_select pick = {.pool = block_pool_new(4),
				     .max_packets = r->want};
	struct cursor_item item;
	struct slice out;
	struct err e;
	int more = 1;

	capture_tail_watch(r->tail, &watch);
	struct cursor *c = cursor_open(r->w->store, r->tail, &range, &e);
	while (more) {
		int n = cursor_next(c, &item, &e);

		if (n == 0) {
			pthread_mutex_lock(&r->lock);
			while (!r->news)
				pthread_cond_wait(&r->cond, &r->lock);
			r->news = false;
			pthread_mutex_unlock(&r->lock);
			continue;
		}
		more = packet_select_slice(&pick, item.slice, &out, &e);
		log_put(&r->got, out.block->arena + out.from,
			out.to - out.from);
		r->got.packets += out.packets;
		block_unref(out.block);
	}
	cursor_close(c);
	capture_tail_unwatch(r->tail, &watch);
	block_pool_unref(pick.pool);
	return NULL;
}

static void live_readers_get_every_packet_once_across_rotation(void **state)
{
	struct world *w = *state;
	struct tail readers[4];
	pthread_t threads[4];

	packets(w, 2000);
	for (int i = 0; i < 4; i++) {
		readers[i] =
			(struct tail){.w = w, .tail = w->tail, .want = 10000};
		pthread_mutex_init(&readers[i].lock, NULL);
		pthread_cond_init(&readers[i].cond, NULL);
		packets(w, 500);
		pthread_create(&threads[i], NULL, reader_main, &readers[i]);
	}
	packets(w, 6000);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_same(&readers[i].got, &w->log);
		free(readers[i].got.bytes);
		pthread_cond_destroy(&readers[i].cond);
		pthread_mutex_destroy(&readers[i].lock);
	}
	close_world(w);
}

/* --- the file, for other programs --- */

/* The segments' names in order, below the spool. */
static unsigned segment_names(const struct world *w, char out[][64],
			      unsigned max)
{
	struct dirent **found;
	char dir[128];
	unsigned count = 0;

	snprintf(dir, sizeof(dir), "%s/%d", w->spool, (int)w->row.id);
	int n = scandir(dir, &found, NULL, alphasort);
	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		const char *name = found[i]->d_name;

		if (name[0] != '.' && strncmp(name, "capture", 7) != 0 &&
		    strncmp(name, "ledger", 6) != 0) {
			assert_in_range(count, 0, max - 1);
			snprintf(out[count++], 64, "%d/%.50s", (int)w->row.id,
				 name);
		}
		free(found[i]);
	}
	free(found);
	return count;
}

static size_t zstd_cat(const struct world *w, const char *name, uint8_t *to,
		       size_t room)
{
	char command[256];

	snprintf(command, sizeof(command), "zstd -dqc %s/%s 2>/dev/null",
		 w->spool, name);
	FILE *p = popen(command, "r");
	assert_non_null(p);
	size_t n = fread(to, 1, room, p);
	pclose(p);
	return n;
}

static void zstd_decodes_segments_to_savefiles(void **state)
{
	struct world *w = *state;
	static uint8_t bytes[8 << 20];
	static char names[100][64];
	uint8_t head[SAVEFILE_HEAD_BYTES];
	struct log got = {0};

	packets(w, 6000);
	close_world(w);
	savefile_head(head, 1, 262144);
	unsigned n = segment_names(w, names, 100);
	assert_in_range(n, 2, 100);
	for (unsigned i = 0; i < n; i++) {
		size_t len = zstd_cat(w, names[i], bytes, sizeof(bytes));

		assert_in_range(len, SAVEFILE_HEAD_BYTES, sizeof(bytes));
		assert_memory_equal(bytes, head, sizeof(head));
		log_put(&got, bytes + sizeof(head), len - sizeof(head));
		shell("zstd -tq %s/%s", w->spool, names[i]);
	}
	got.packets = w->log.packets;
	assert_same(&got, &w->log);
	free(got.bytes);
}

/* The open segment has everything that is over a second old; the writer's own
 * clock is waited for, not slept on. */
static void open_segment_holds_what_is_a_second_old(void **state)
{
	struct world *w = *state;
	static uint8_t bytes[1 << 20];
	static char names[4][64];
	int64_t deadline = monotonic_ns() + 20 * NS_PER_S;
	size_t len = 0;

	for (int i = 0; i < 50; i++)
		packet(w);
	while (len < SAVEFILE_HEAD_BYTES + w->log.n) {
		assert_true(monotonic_ns() < deadline);
		char dir[128];
		snprintf(dir, sizeof(dir), "%s/%d", w->spool, (int)w->row.id);
		if (access(dir, F_OK) == 0 && segment_names(w, names, 4) == 1)
			len = zstd_cat(w, names[0], bytes, sizeof(bytes));
	}
	assert_memory_equal(bytes + SAVEFILE_HEAD_BYTES, w->log.bytes,
			    w->log.n);
	assert_false(block_sealed(w->open));
	close_world(w);
	open_world(w);
	assert_everything(w);
	close_world(w);
}

/* Slices that a cursor gives for the filter, whose packets are those of the
 * log that match. */
static unsigned assert_filtered(struct world *w, const char *text)
{
	struct err e;
	struct bpf_filter *f = bpf_filter_compile(text, 1, 262144, &e);
	struct cursor_range r = {.filter = f, .link_type = 1};
	struct packet_select pick = {.filter = f, .pool = block_pool_new(4)};
	struct log got = {0}, want = {0};
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = 0;
	unsigned slices = 0;
	struct cursor_item item;

	assert_non_null(f);
	while (packet_next(w->log.bytes, (uint32_t)w->log.n, &at, &h, &body) ==
	       1)
		if (bpf_filter_matches(f, &h, body)) {
			log_put(&want, &h, sizeof(h));
			log_put(&want, body, h.caplen);
			want.packets++;
		}
	read_all(w, &r, &pick, &got);
	assert_same(&got, &want);
	struct cursor *c = cursor_open(w->store, w->tail, &r, &e);
	assert_non_null(c);
	while (cursor_next(c, &item, &e) == 1) {
		block_unref(item.slice.block);
		slices++;
	}
	cursor_close(c);
	block_pool_unref(pick.pool);
	bpf_filter_free(f);
	free(got.bytes);
	free(want.bytes);
	return slices;
}

/* Of the source addresses of packets from everywhere in the log. */
static void assert_some_filters(struct world *w, unsigned skip)
{
	struct packet_head h;
	const uint8_t *b;
	uint32_t at = 0;
	unsigned i = 0;
	char text[64];

	while (packet_next(w->log.bytes, (uint32_t)w->log.n, &at, &h, &b) ==
	       1) {
		if (h.caplen < 14 || i++ % skip)
			continue;
		snprintf(text, sizeof(text),
			 "ether src %02x:%02x:%02x:%02x:%02x:%02x", b[6], b[7],
			 b[8], b[9], b[10], b[11]);
		assert_filtered(w, text);
	}
}

static void a_filter_reads_only_blocks_that_may_match(void **state)
{
	struct world *w = *state;
	int64_t deadline = monotonic_ns() + 20 * NS_PER_S;

	packets(w, 5000);
	seal(w);
	/* All of it is on disk, the last segment open. */
	while (capture_tail_depth(w->tail))
		assert_true(monotonic_ns() < deadline);
	assert_some_filters(w, 500);
	assert_int_equal(assert_filtered(w, "greater 9500"), 0);
	close_world(w);
	open_world(w);
	assert_some_filters(w, 500);
	assert_int_equal(assert_filtered(w, "greater 9500"), 0);
	close_world(w);
}

static bool feed_is_empty(const struct world *w)
{
	return capture_tail_depth(w->tail) == 0;
}

static bool ends_with_a_seek_table(const struct world *w, const char *name)
{
	const uint8_t magic[4] = {0xb1, 0xea, 0x92, 0x8f};
	uint8_t last[4] = {0};
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", w->spool, name);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	bool read = fseek(f, -4, SEEK_END) == 0 && fread(last, 4, 1, f) == 1;
	fclose(f);
	return read && memcmp(last, magic, 4) == 0;
}

/* By the clock: no packet has to come for it. */
static void
an_old_segment_is_closed_and_the_next_packet_opens_another(void **state)
{
	struct world *w = *state;
	static char names[4][64];
	int64_t deadline = monotonic_ns() + 20 * NS_PER_S;

	close_world(w);
	w->options.segment_age_ns = NS_PER_S / 10;
	open_world(w);
	packet(w);
	seal(w);
	while (!feed_is_empty(w))
		assert_true(monotonic_ns() < deadline);
	assert_int_equal(segment_names(w, names, 4), 1);
	while (!ends_with_a_seek_table(w, names[0]))
		assert_true(monotonic_ns() < deadline);
	packet(w);
	close_world(w);
	assert_int_equal(segment_names(w, names, 4), 2);
	open_world(w);
	assert_everything(w);
	close_world(w);
}

/* --- a daemon that died --- */

static off_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

/* A copy of the spool as it lies there, as if the machine had stopped. */
static void snapshot(const struct world *w, struct world *copy)
{
	*copy = (struct world){.options = w->options, .row = w->row};
	strcpy(copy->spool, "/tmp/pcapd-test-XXXXXX");
	assert_non_null(mkdtemp(copy->spool));
	/* A file that is replaced meanwhile is copied in the next round. */
	shell("until cp -r %s/. %s/ 2>/dev/null; do :; done", w->spool,
	      copy->spool);
}

/* Opens the copy; what it has must be a prefix of the log. */
static uint64_t recovered(const struct world *w, struct world *copy)
{
	struct cursor_range r = {.reader = CURSOR_WORKS};
	struct packet_select pick = {.pool = block_pool_new(4)};
	struct log got = {0};

	open_world(copy);
	read_all(copy, &r, &pick, &got);
	assert_true(got.n <= w->log.n);
	if (got.n)
		assert_memory_equal(got.bytes, w->log.bytes, got.n);
	close_world(copy);
	block_pool_unref(pick.pool);
	free(got.bytes);
	return got.packets;
}

static void a_torn_tail_is_cut_at_the_last_whole_packet(void **state)
{
	struct world *w = *state;
	static char names[100][64];
	int64_t deadline = monotonic_ns() + 60 * NS_PER_S;
	uint64_t before = 0;
	struct world full;

	packets(w, 2500);
	/* Wait for a flush of everything, then cut the file at many places. */
	for (uint64_t n = 0; n < w->log.packets;) {
		assert_true(monotonic_ns() < deadline);
		snapshot(w, &full);
		n = recovered(w, &full);
		shell("rm -rf %s", full.spool);
	}
	for (int cut = 0; cut < 60; cut++) {
		char path[256];

		snapshot(w, &full);
		unsigned n = segment_names(&full, names, 100);
		unsigned long long last = strtoull(names[n - 1] + 2, NULL, 10);
		snprintf(path, sizeof(path), "%s/%s", full.spool, names[n - 1]);
		off_t size = size_of(path) * cut / 60;
		/* What no row was committed of is found in the file. */
		shell("sqlite3 %s/catalog.db 'DELETE FROM blocks WHERE segment "
		      "= %llu; DELETE FROM segments WHERE first_seq = %llu'",
		      full.spool, last, last);
		assert_int_equal(truncate(path, size), 0);
		uint64_t now = recovered(w, &full);
		assert_true(now >= before);
		before = now;
		shell("rm -rf %s", full.spool);
	}
	assert_true(before > w->log.packets / 2);
	close_world(w);
}

/* A cursor that was sent back to memory asks twice for the same blocks. */
static void a_segment_may_be_read_again_by_who_holds_it(void **state)
{
	struct world *w = *state;
	struct readers *all = w->store->readers;
	struct reader r = {.capture = 1, .end_seq = 100};

	readers_add(all, &r);
	assert_true(readers_hold(all, &r, 1, 7));
	assert_true(readers_hold(all, &r, 1, 7));
	assert_true(readers_hold(all, &r, 8, 9));
	assert_false(readers_hold(all, &r, 1, 7));
	readers_remove(all, &r);
	close_world(w);
}

static void a_second_daemon_is_refused(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;

	assert_null(store_open(&w->options, &e));
	assert_int_equal(e.kind, ERR_STATE);
	assert_non_null(strstr(e.what, "belongs to another pcapd"));
	close_world(w);
}

static void
a_deleted_capture_leaves_nothing_and_foreign_files_alone(void **state)
{
	struct world *w = *state;
	struct capture_row *rows;
	struct store_totals t;
	struct err e;
	size_t n;
	char path[128];

	packets(w, 1000);
	close_world(w);
	shell("touch %s/%d/notes.txt", w->spool, (int)w->row.id);
	open_world(w);
	assert_true(store_delete(w->store, w->row.id, &e));
	assert_true(store_captures(w->store, &rows, &n, &e));
	assert_int_equal(n, 0);
	assert_true(store_totals(w->store, w->row.id, &t, &e));
	assert_int_equal(t.packets, 0);
	static char names[10][64];
	assert_int_equal(segment_names(w, names, 10), 1);
	snprintf(path, sizeof(path), "%d/notes.txt", (int)w->row.id);
	assert_string_equal(names[0], path);
	close_world(w);
}

/* Numbers and texts that no two fields share. */
static void fill_row(struct capture_row *row)
{
	uint64_t n = 1000;
	char text[32];

	for (const struct capture_field *f = capture_fields; f->name; f++) {
		if (f->owner == OWNER_STORE)
			continue;
		snprintf(text, sizeof(text), "%s\\a\nb", f->name);
		if (f->kind == FIELD_NUMBER)
			capture_field_set_number(row, f, ++n);
		else if (f->kind == FIELD_PROGRAM)
			assert_true(capture_row_set_program(row, "\0\1z", 3));
		else
			assert_true(capture_field_set_text(row, f, text));
	}
	assert_true(capture_row_add_alias(row, "web\\1"));
}

static void assert_same_row(const struct capture_row *a,
			    const struct capture_row *b, bool from_file)
{
	for (const struct capture_field *f = capture_fields; f->name; f++) {
		if (f->owner == OWNER_STORE)
			continue;
		if (f->kind == FIELD_PROGRAM)
			assert_memory_equal(a->program, b->program, 3);
		else if (f->kind != FIELD_NUMBER)
			assert_string_equal(capture_field_text(a, f),
					    capture_field_text(b, f));
		else if (f->owner == OWNER_CATALOG && from_file)
			assert_true(capture_field_number(b, f) == (uint64_t)-1);
		else
			assert_true(capture_field_number(a, f) ==
				    capture_field_number(b, f));
	}
	assert_int_equal(b->program_bytes, 3);
	assert_int_equal(b->n_aliases, 1);
	assert_string_equal(a->aliases[0], b->aliases[0]);
}

static void every_field_comes_back_from_the_catalog_and_the_file(void **state)
{
	struct world *w = *state;
	struct capture_row row = {0}, *rows;
	struct err e;
	size_t n;

	fill_row(&row);
	assert_true(store_add(w->store, &row, &e));
	assert_int_equal(strlen(row.uuid), UUID_MAX);
	for (int file = 0; file < 2; file++) {
		close_world(w);
		/* As if another catalog had been put there. */
		if (file)
			shell("sqlite3 %s/catalog.db 'DELETE FROM aliases; "
			      "DELETE FROM captures WHERE id = %d'",
			      w->spool, (int)row.id);
		open_world(w);
		assert_true(store_captures(w->store, &rows, &n, &e));
		assert_int_equal(n, 2);
		assert_same_row(&row, &rows[1], file);
		for (size_t i = 0; i < n; i++)
			capture_row_done(&rows[i]);
		free(rows);
	}
	capture_row_done(&row);
	close_world(w);
}

static void an_alias_names_one_capture(void **state)
{
	struct world *w = *state;
	struct capture_row other = w->row, *rows;
	struct err e;
	size_t n;

	assert_true(store_add(w->store, &other, &e));
	assert_true(store_alias_add(w->store, w->row.id, "web", &e));
	assert_false(store_alias_add(w->store, other.id, "web", &e));
	assert_int_equal(e.kind, ERR_EXISTS);
	assert_false(store_alias_remove(w->store, "nope", &e));
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_true(store_set_wanted(w->store, other.id, true, &e));
	close_world(w);
	open_world(w);
	assert_true(store_captures(w->store, &rows, &n, &e));
	assert_int_equal(n, 2);
	assert_int_equal(rows[0].n_aliases, 1);
	assert_string_equal(rows[0].aliases[0], "web");
	assert_true(rows[1].wanted);
	for (size_t i = 0; i < n; i++)
		capture_row_done(&rows[i]);
	free(rows);
	close_world(w);
}

static void damaged_blocks_are_counted_and_the_rest_is_served(void **state)
{
	struct world *w = *state;
	static char names[100][64];
	struct cursor_range r = {.reader = CURSOR_WORKS};
	struct cursor_item item;
	struct err e;
	const char *why;
	char path[256];
	uint64_t got = 0;

	packets(w, 6000);
	close_world(w);
	unsigned n = segment_names(w, names, 100);
	assert_in_range(n, 2, 100);
	snprintf(path, sizeof(path), "%s/%s", w->spool, names[0]);
	int fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "XXXXXXXX", 8, size_of(path) / 2), 8);
	close(fd);
	open_world(w);
	struct cursor *c = cursor_open(w->store, w->tail, &r, &e);
	while (cursor_next(c, &item, &e) == 1) {
		got += item.slice.block->info.packets;
		block_unref(item.slice.block);
	}
	uint64_t lost = cursor_lost(c, &why);
	assert_in_range(lost, 1, 4000);
	assert_int_equal(got + lost, 6000);
	assert_non_null(strstr(why, "of segment 1"));
	cursor_close(c);
	close_world(w);
}

/* --- a search that nobody waits for --- */

struct patience {
	unsigned asked, last; /* it says no at the last */
};

static bool go_on(void *ctx)
{
	struct patience *p = ctx;

	return ++p->asked != p->last;
}

static int search(struct world *w, struct patience *p, const char *text)
{
	struct err e = ERR_INIT;
	struct bpf_filter *f = bpf_filter_compile(text, 1, 262144, &e);
	struct cursor_range r = {
		.filter = f, .link_type = 1, .go_on = go_on, .ctx = p};
	struct cursor *c = cursor_open(w->store, w->tail, &r, &e);
	struct cursor_item item;
	int got;

	assert_non_null(c);
	while ((got = cursor_next(c, &item, &e)) == 1)
		block_unref(item.slice.block);
	assert_int_equal(e.kind, 0);
	cursor_close(c);
	bpf_filter_free(f);
	return got;
}

static void a_search_that_finds_nothing_can_be_stopped(void **state)
{
	struct world *w = *state;
	struct patience p = {0};

	packets(w, 12000);
	close_world(w);
	open_world(w);
	/* Some by the segment's union, some by the block's. */
	assert_int_equal(search(w, &p, "ether src 02:ff:ff:ff:ff:ff"), 0);
	assert_in_range(p.asked, 5, 1000);
	for (unsigned i = 1; i <= p.asked; i++) {
		struct patience less = {.last = i};

		assert_int_equal(
			search(w, &less, "ether src 02:ff:ff:ff:ff:ff"), -1);
		assert_int_equal(less.asked, i);
	}
	close_world(w);
}

static void an_explanation_can_be_stopped(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct bpf_filter *f =
		bpf_filter_compile("ether[0] & 1 = 0", 1, 65535, &e);
	struct patience p = {0};
	struct cursor_range r = {
		.filter = f, .link_type = 1, .go_on = go_on, .ctx = &p};
	struct explain x;

	packets(w, 12000);
	close_world(w);
	open_world(w);
	assert_true(store_explain(w->store, w->tail, &r, &x, &e));
	unsigned all = p.asked;
	assert_in_range(all, 5, 1000);
	for (p.last = 1; p.last <= all; p.last++) {
		p.asked = 0;
		assert_false(store_explain(w->store, w->tail, &r, &x, &e));
		assert_int_equal(p.asked, p.last);
		assert_int_equal(e.kind, 0);
	}
	bpf_filter_free(f);
	close_world(w);
}

/* --- blocks that are loaded before their turn --- */

static void set_decoders(struct world *w, unsigned n)
{
	w->options.decoders = n;
	store_configure(w->store, &w->options);
}

/* Until so many lines of what the command prints of /proc/<this program> have
 * the word: threads come and go by themselves, and others open files. */
static void wait_for_lines(unsigned n, const char *command, const char *word)
{
	int64_t deadline = monotonic_ns() + 20 * NS_PER_S;
	unsigned found;

	do {
		struct bytes out = output_of("cd /proc/%d && %s 2>/dev/null | "
					     "grep -c '%s' || true",
					     (int)getpid(), command, word);

		found = (unsigned)atoi((char *)out.at);
		bytes_free(&out);
		assert_true(monotonic_ns() < deadline);
	} while (found != n);
}

static void wait_for_decoders(unsigned n)
{
	wait_for_lines(n, "cat task/*/comm", "^pcapd-decode");
}

/* Everything that who reads is told, in order. */
struct trace {
	struct log log;
	uint64_t enough_below; /* whole blocks with such a number */
	unsigned asked;
	pthread_t thread;
};

static void note(struct trace *t, uint64_t a, uint64_t b)
{
	uint64_t both[2] = {a, b};

	log_put(&t->log, both, sizeof(both));
}

static bool trace_go_on(void *ctx)
{
	struct trace *t = ctx;

	assert_true(pthread_equal(t->thread, pthread_self()));
	t->asked++;
	return true;
}

/* Each block once, in order, and from this thread; when is not said. */
static bool trace_enough(void *ctx, const struct block_info *i)
{
	struct trace *t = ctx;

	assert_true(pthread_equal(t->thread, pthread_self()));
	assert_true(i->seq > t->log.packets);
	t->log.packets = i->seq;
	return i->seq % 3 == 0 || i->seq < t->enough_below;
}

static void trace(struct world *w, struct cursor_range r, uint64_t enough_below,
		  struct trace *t)
{
	struct err e = ERR_INIT;
	struct cursor_item item;
	const char *why;
	int got;

	*t = (struct trace){.enough_below = enough_below,
			    .thread = pthread_self()};
	r.go_on = trace_go_on;
	if (enough_below)
		r.enough = trace_enough;
	r.ctx = t;
	struct cursor *c = cursor_open(w->store, w->tail, &r, &e);
	assert_non_null(c);
	do {
		got = cursor_next(c, &item, &e);
		uint64_t lost = cursor_lost(c, &why);

		note(t, t->asked, cursor_blocks_done(c));
		note(t, lost, (uint64_t)got);
		if (lost)
			log_put(&t->log, why, strlen(why));
		if (got != 1)
			continue;
		note(t, item.slice.block->info.seq, item.slice.packets);
		log_put(&t->log, item.slice.block->arena + item.slice.from,
			item.slice.to - item.slice.from);
		block_unref(item.slice.block);
	} while (got == 1);
	assert_int_equal(got, 0);
	cursor_close(c);
}

static void assert_same_trace(struct world *w, const struct cursor_range *r,
			      uint64_t enough_below)
{
	struct trace alone, ahead;

	set_decoders(w, 0);
	trace(w, *r, enough_below, &alone);
	for (unsigned n = 1; n <= 4; n += n) {
		set_decoders(w, n);
		trace(w, *r, enough_below, &ahead);
		assert_int_equal(ahead.log.n, alone.log.n);
		assert_memory_equal(ahead.log.bytes, alone.log.bytes,
				    alone.log.n);
		wait_for_decoders(0);
		free(ahead.log.bytes);
	}
	free(alone.log.bytes);
}

static void assert_same_traces(struct world *w)
{
	const char *filters[] = {"", "ether[0] & 1 = 0", "greater 1000",
				 "ether src 02:ff:ff:ff:ff:ff"};
	int64_t start = 1700000000ll * NS_PER_S;
	int64_t span = (int64_t)w->clock_ns - start;
	struct err e;

	for (unsigned i = 0; i < 4; i++) {
		struct bpf_filter *f =
			bpf_filter_compile(filters[i], 1, 262144, &e);
		struct cursor_range r = {.filter = *filters[i] ? f : NULL,
					 .link_type = 1,
					 .reader = CURSOR_WORKS};

		assert_non_null(f);
		assert_same_trace(w, &r, 0);
		assert_same_trace(w, &r, 1 + i * 20);
		r.since_ns = start + span / 3;
		r.until_ns = start + span / 2;
		assert_same_trace(w, &r, 0);
		assert_same_trace(w, &r, 1);
		bpf_filter_free(f);
	}
}

static void what_is_loaded_ahead_is_told_as_if_it_were_not(void **state)
{
	struct world *w = *state;

	int64_t deadline = monotonic_ns() + 20 * NS_PER_S;

	packets(w, 9000);
	seal(w);
	/* All of it is on disk, the last segment open. */
	while (capture_tail_depth(w->tail))
		assert_true(monotonic_ns() < deadline);
	assert_same_traces(w);
	close_world(w);
	open_world(w);
	assert_same_traces(w);
	close_world(w);
}

/* The rows of all blocks, in order. */
static unsigned all_rows(struct world *w, struct block_info *out, unsigned max)
{
	struct cursor_range r = {.reader = CURSOR_WORKS};
	struct cursor_item item;
	struct err e;
	unsigned n = 0;
	struct cursor *c = cursor_open(w->store, w->tail, &r, &e);

	assert_non_null(c);
	while (cursor_next(c, &item, &e) == 1) {
		assert_in_range(n, 0, max - 1);
		out[n++] = item.slice.block->info;
		block_unref(item.slice.block);
	}
	cursor_close(c);
	return n;
}

static void damage(const struct world *w, const struct block_info *i)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%d/%020d.pcap.zst", w->spool,
		 (int)w->row.id, (int)i->segment);
	int fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "XXXXXXXX", 8,
				(off_t)(i->offset + i->stored_bytes / 2)),
			 8);
	close(fd);
}

#define ROWS_MAX 400

/* Reads all: what is lost is what is bad, and is said when its turn comes. */
static void assert_damage(struct world *w, const struct block_info *rows,
			  const bool *bad)
{
	struct cursor_range r = {.reader = CURSOR_WORKS};
	struct cursor_item item;
	struct err e;
	const char *why;
	uint64_t lost;
	unsigned at = 0;
	int got;
	struct cursor *c = cursor_open(w->store, w->tail, &r, &e);

	do {
		got = cursor_next(c, &item, &e);
		lost = cursor_lost(c, &why);
		while (bad[at])
			lost -= rows[at++].packets;
		assert_int_equal(lost, 0);
		if (got != 1)
			continue;
		assert_int_equal(item.slice.block->info.seq, rows[at++].seq);
		block_unref(item.slice.block);
	} while (got == 1);
	assert_int_equal(got, 0);
	assert_int_equal(rows[at].seq, 0);
	cursor_close(c);
}

/* What the ledger says of it, to free(). */
static size_t told_of_damage(struct world *w, struct ledger_row **rows)
{
	struct err e;
	size_t all, n = 0;

	assert_true(ledger_list(w->store, w->row.id, 0, 0, rows, &all, &e));
	for (size_t i = 0; i < all; i++)
		if ((*rows)[i].cause == LEDGER_DAMAGE)
			(*rows)[n++] = (*rows)[i];
	return n;
}

static void assert_same_ledger(struct world *a, struct world *b)
{
	struct ledger_row *of_a, *of_b;
	size_t n = told_of_damage(a, &of_a);

	assert_in_range(n, 5, ROWS_MAX);
	assert_int_equal(told_of_damage(b, &of_b), n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(of_a[i].from_ns, of_b[i].from_ns);
		assert_int_equal(of_a[i].to_ns, of_b[i].to_ns);
		assert_int_equal(of_a[i].packets, of_b[i].packets);
		assert_string_equal(of_a[i].detail, of_b[i].detail);
	}
	free(of_a);
	free(of_b);
}

static void runs_of_damage_are_told_once_and_in_order(void **state)
{
	struct world *w = *state, alone;
	static struct block_info rows[ROWS_MAX];
	static bool bad[ROWS_MAX];

	packets(w, 12000);
	close_world(w);
	open_world(w);
	unsigned n = all_rows(w, rows, ROWS_MAX - 1);
	/* In the middle, and on both sides of where segments meet. */
	for (unsigned i = 2; i < n; i++) {
		bad[i] = i == 2 || i == 4 || i == 5 || i == 6 ||
			 rows[i].segment != rows[i - 1].segment ||
			 rows[i].segment != rows[i + 1].segment;
		if (bad[i])
			damage(w, &rows[i]);
	}
	snapshot(w, &alone);
	open_world(&alone);
	assert_damage(&alone, rows, bad);
	set_decoders(w, 2);
	assert_damage(w, rows, bad);
	assert_same_ledger(w, &alone);
	/* What the ledger has is not told again. */
	set_decoders(w, 3);
	assert_damage(w, rows, bad);
	assert_same_ledger(w, &alone);
	assert_same_traces(w);
	close_world(&alone);
	shell("rm -rf %s", alone.spool);
	close_world(w);
}

/* What is in memory is not asked about, though it has a row already: a capture
 * tail that has not let go of what its writer committed. */
static void what_comes_from_memory_is_asked_of_no_row(void **state)
{
	struct world *w = *state;
	static struct block_info rows[ROWS_MAX];
	struct cursor_range range = {.enough = trace_enough,
				     .reader = CURSOR_WORKS};
	struct packet_head h = {.sec = 1700000000};
	struct trace t = {.enough_below = 1, .thread = pthread_self()};
	struct cursor_item item;
	struct err e;
	uint64_t seq = 1;

	packets(w, 6000);
	close_world(w);
	open_world(w);
	assert_in_range(all_rows(w, rows, ROWS_MAX), 10, ROWS_MAX);
	struct capture_tail *held = capture_tail_new(w->row.id, 8, 32);
	for (unsigned i = 0; i < 5; i++) {
		struct block *b = capture_tail_open(held, 1, 262144);

		block_append(b, &h, "");
		capture_tail_publish(held, b, 1);
		capture_tail_seal(held, b);
	}
	range.ctx = &t;
	struct cursor *c = cursor_open(w->store, held, &range, &e);
	while (cursor_next(c, &item, &e) == 1) {
		seq += seq < 8 && seq % 3 == 0; /* its row was enough */
		assert_int_equal(item.slice.block->info.seq, seq);
		assert_int_equal(item.slice.packets == 0, seq >= 8);
		seq++;
		block_unref(item.slice.block);
	}
	assert_int_equal(seq, 13);
	assert_int_equal(t.log.packets, 7);
	cursor_close(c);
	capture_tail_unref(held);
	close_world(w);
}

/* After so many blocks, of which it keeps the last. */
static void stop_after(struct world *w, unsigned blocks)
{
	struct cursor_range range = {.reader = CURSOR_WORKS};
	struct cursor_item item = {0};
	struct packet_head h;
	const uint8_t *body;
	struct err e;
	uint32_t at = 0;
	int got = 1;
	struct cursor *c = cursor_open(w->store, w->tail, &range, &e);

	for (unsigned i = 0; got == 1 && i < blocks; i++) {
		block_unref(item.slice.block);
		item.slice.block = NULL;
		got = cursor_next(c, &item, &e);
		wait_for_decoders(i < 1 ? 0 : 2);
	}
	cursor_close(c);
	wait_for_lines(0, "ls -l fd", "pcap.zst");
	wait_for_decoders(0);
	while (item.slice.block &&
	       packet_next(item.slice.block->arena, item.slice.to, &at, &h,
			   &body) == 1)
		;
	assert_int_equal(at, item.slice.to);
	block_unref(item.slice.block);
}

static void a_reader_may_stop_anywhere(void **state)
{
	struct world *w = *state;

	packets(w, 4000);
	close_world(w);
	open_world(w);
	set_decoders(w, 2);
	for (unsigned i = 0; i < 12; i++)
		stop_after(w, i);
	close_world(w);
}

/* --- retention --- */

static struct store_totals totals(const struct world *w)
{
	struct store_totals t;
	struct err e;

	assert_true(store_totals(w->store, w->row.id, &t, &e));
	return t;
}

static void wait_for_fewer(const struct world *w, uint64_t segments)
{
	int64_t deadline = monotonic_ns() + 60 * NS_PER_S;

	while (totals(w).segments > segments)
		assert_true(monotonic_ns() < deadline);
}

/* Everything is closed and a new writer runs. */
static void many_segments(struct world *w)
{
	packets(w, 12000);
	close_world(w);
	open_world(w);
	assert_in_range(totals(w).segments, 5, 100);
}

static void the_oldest_go_until_the_bound_is_kept(void **state)
{
	struct world *w = *state;
	struct store_totals before;
	struct err e;

	many_segments(w);
	before = totals(w);
	assert_true(store_set_keep(w->store, w->row.id, before.stored_bytes / 2,
				   0, &e));
	wait_for_fewer(w, before.segments - 1);
	close_world(w); /* with a last pass */
	open_world(w);
	struct store_totals t = totals(w);
	assert_in_range(t.stored_bytes, before.stored_bytes / 4,
			before.stored_bytes / 2);
	assert_int_equal(t.next_seq, before.next_seq);
	struct cursor_range r = {.reader = CURSOR_WORKS};
	struct packet_select pick = {.pool = block_pool_new(4)};
	struct log got = {0};
	read_all(w, &r, &pick, &got);
	assert_int_equal(got.packets, t.packets);
	assert_memory_equal(got.bytes, w->log.bytes + w->log.n - got.n, got.n);
	block_pool_unref(pick.pool);
	free(got.bytes);
	close_world(w);
}

/* Each is read and compared where it is not known what its file has. */
static void only_the_definition_that_changed_is_written_again(void **state)
{
	struct world *w = *state;
	struct capture_row other = w->row;
	struct store_mark mark = {.name = "here", .at_ns = 1};
	char mine[96], others[96];
	struct err e;

	other.aliases = NULL;
	other.n_aliases = 0;
	assert_true(store_add(w->store, &other, &e));
	snprintf(mine, sizeof(mine), "%s/%" PRIu64 "/capture", w->spool,
		 w->row.id);
	snprintf(others, sizeof(others), "%s/%" PRIu64 "/capture", w->spool,
		 other.id);
	shell("until grep -qs end %s && grep -qs end %s; do :; done", mine,
	      others);
	shell("echo altered > %s", others);
	assert_true(store_set_keep(w->store, w->row.id, 1ull << 40, 0, &e));
	shell("until grep -qx 'keep_bytes %llu' %s; do :; done", 1ull << 40,
	      mine);
	shell("grep -qx altered %s", others);
	assert_true(store_mark_add(w->store, other.id, &mark, &e));
	shell("until grep -qx 'mark 1 here' %s; do :; done", others);
	close_world(w);
}

static void what_is_older_than_its_bound_goes(void **state)
{
	struct world *w = *state;
	struct capture_row other = w->row, another = w->row;
	struct err e;
	uint64_t next;

	many_segments(w);
	next = totals(w).next_seq;
	/* The packets are of 2023, but they were stored now. */
	assert_true(
		store_set_keep(w->store, w->row.id, 0, 3600 * NS_PER_S, &e));
	assert_true(store_add(w->store, &other, &e)); /* syncs */
	assert_true(store_add(w->store, &another, &e));
	assert_int_equal(totals(w).next_seq, next);
	assert_in_range(totals(w).segments, 5, 100);
	assert_true(store_set_keep(w->store, w->row.id, 0, NS_PER_S, &e));
	wait_for_fewer(w, 0);
	assert_int_equal(totals(w).packets, 0);
	/* Numbers of blocks go on. */
	assert_int_equal(totals(w).next_seq, next);
	close_world(w);
}

static void a_hold_keeps_its_range_until_it_is_released(void **state)
{
	struct world *w = *state;
	struct store_hold hold = {.reason = "why"}, *holds;
	struct store_totals before;
	struct err e;
	size_t n;

	many_segments(w);
	before = totals(w);
	hold.since_ns = before.min_ns;
	hold.until_ns = before.min_ns + 1;
	assert_true(store_hold_add(w->store, w->row.id, &hold, &e));
	assert_true(store_set_keep(w->store, w->row.id, 0, NS_PER_S, &e));
	wait_for_fewer(w, 1);
	close_world(w);
	open_world(w);
	assert_int_equal(totals(w).segments, 1);
	assert_int_equal(totals(w).min_ns, before.min_ns);
	assert_true(store_holds(w->store, w->row.id, &holds, &n, &e));
	assert_int_equal(n, 1);
	assert_string_equal(holds[0].reason, "why");
	assert_true(store_hold_remove(w->store, w->row.id, holds[0].id, &e));
	assert_false(store_hold_remove(w->store, w->row.id, holds[0].id, &e));
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	free(holds);
	wait_for_fewer(w, 0);
	close_world(w);
}

static void a_reader_ends_its_segment_and_is_told_of_the_rest(void **state)
{
	struct world *w = *state;
	struct cursor_range range = {.reader = CURSOR_WORKS};
	struct cursor_item item;
	struct err e;
	const char *why;
	uint64_t got = 0, lost;

	many_segments(w);
	uint64_t all = totals(w).packets;
	struct cursor *c = cursor_open(w->store, w->tail, &range, &e);
	uint64_t first = 0;
	/* The next ones are being loaded by then. */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(cursor_next(c, &item, &e), 1);
		got += item.slice.block->info.packets;
		first = item.slice.block->info.segment;
		block_unref(item.slice.block);
	}
	assert_int_equal(first, 1);
	assert_true(store_set_keep(w->store, w->row.id, 0, NS_PER_S, &e));
	wait_for_fewer(w, 0);
	while (cursor_next(c, &item, &e) == 1) {
		assert_int_equal(item.slice.block->info.segment, first);
		got += item.slice.block->info.packets;
		block_unref(item.slice.block);
	}
	lost = cursor_lost(c, &why);
	assert_string_equal(why, "expired");
	assert_int_equal(got + lost, all);
	cursor_close(c);
	close_world(w);
}

static void a_mark_is_found_by_its_name(void **state)
{
	struct world *w = *state;
	struct store_mark mark = {"outage", 1234}, *marks;
	struct err e;
	int64_t at;
	size_t n;

	assert_true(store_mark_add(w->store, w->row.id, &mark, &e));
	assert_false(store_mark_add(w->store, w->row.id, &mark, &e));
	assert_int_equal(e.kind, ERR_EXISTS);
	assert_true(store_mark_find(w->store, w->row.id, "outage", &at, &e));
	assert_int_equal(at, 1234);
	assert_true(store_marks(w->store, w->row.id, &marks, &n, &e));
	assert_int_equal(n, 1);
	free(marks);
	assert_true(store_mark_remove(w->store, w->row.id, "outage", &e));
	assert_false(store_mark_find(w->store, w->row.id, "outage", &at, &e));
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	close_world(w);
}

static void what_is_published_is_synced_within_seconds(void **state)
{
	struct world *w = *state;
	int64_t deadline = monotonic_ns() + 30 * NS_PER_S;
	struct timespec now;
	struct writer_status st;

	packet(w);
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t ns = now.tv_sec * NS_PER_S + now.tv_nsec;
	do {
		writer_status(w->writer, &st);
		assert_true(monotonic_ns() < deadline);
	} while (st.synced_ns < ns);
	assert_false(block_sealed(w->open));
	assert_int_equal(st.depth, 1);
	close_world(w);
}

/* Segments of that age, as the catalog has it. */
static bool run_set_age(sqlite3 *db, void *made_ns, struct err *e)
{
	return sql_exec(db, e, "UPDATE segments SET made_ns = ?1", "i",
			*(int64_t *)made_ns);
}

static void set_age(struct world *w, int64_t ns)
{
	int64_t made_ns = realtime_ns() - ns;
	struct err e;

	assert_true(catalog_run(w->store->catalog, run_set_age, &made_ns, &e));
}

static void a_rate_is_that_of_the_last_day(void **state)
{
	struct world *w = *state;
	struct store_totals t;
	struct store_rate r;
	struct err e;
	const int64_t hour = 3600 * NS_PER_S;

	assert_true(store_rate(w->store, w->row.id, &r, &e));
	assert_int_equal(r.bytes, 0);
	assert_int_equal(r.bytes_per_day, 0);
	packets(w, 5000);
	close_world(w);
	open_world(w);
	assert_true(store_totals(w->store, w->row.id, &t, &e));
	for (int64_t hours = 1; hours < 24; hours += 11) {
		set_age(w, hours * hour);
		assert_true(store_rate(w->store, w->row.id, &r, &e));
		assert_int_equal(r.bytes, t.stored_bytes);
		assert_in_range(r.over_ns, hours * hour,
				hours * hour + 60 * NS_PER_S);
		assert_in_range(r.bytes_per_day,
				t.stored_bytes * 24 / (uint64_t)hours * 98 /
					100,
				t.stored_bytes * 24 / (uint64_t)hours);
	}
	set_age(w, 25 * hour);
	assert_true(store_rate(w->store, w->row.id, &r, &e));
	assert_int_equal(r.bytes, 0);
	assert_int_equal(r.bytes_per_day, 0);
	close_world(w);
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
/* Blocks are compressed ahead, on threads of the store's. */
#define PRESSED(f)                                                             \
	{                                                                      \
#f " (pressed)", f, set_up_pressed, tear_down, NULL            \
	}

/* Blocks are decoded ahead, too. */
#define AHEAD(f)                                                               \
	{                                                                      \
#f " (ahead)", f, set_up_ahead, tear_down, NULL                \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(packets_come_back_from_memory_disk_and_after_a_restart),
		PRESSED(packets_come_back_from_memory_disk_and_after_a_restart),
		WORLD(totals_are_those_of_the_packets),
		WORLD(a_rate_is_that_of_the_last_day),
		WORLD(live_readers_get_every_packet_once_across_rotation),
		WORLD(zstd_decodes_segments_to_savefiles),
		PRESSED(live_readers_get_every_packet_once_across_rotation),
		PRESSED(zstd_decodes_segments_to_savefiles),
		WORLD(open_segment_holds_what_is_a_second_old),
		WORLD(a_filter_reads_only_blocks_that_may_match),
		WORLD(an_old_segment_is_closed_and_the_next_packet_opens_another),
		WORLD(a_torn_tail_is_cut_at_the_last_whole_packet),
		WORLD(a_segment_may_be_read_again_by_who_holds_it),
		WORLD(a_second_daemon_is_refused),
		WORLD(a_deleted_capture_leaves_nothing_and_foreign_files_alone),
		WORLD(every_field_comes_back_from_the_catalog_and_the_file),
		WORLD(an_alias_names_one_capture),
		WORLD(damaged_blocks_are_counted_and_the_rest_is_served),
		WORLD(a_search_that_finds_nothing_can_be_stopped),
		AHEAD(packets_come_back_from_memory_disk_and_after_a_restart),
		AHEAD(live_readers_get_every_packet_once_across_rotation),
		AHEAD(a_filter_reads_only_blocks_that_may_match),
		AHEAD(damaged_blocks_are_counted_and_the_rest_is_served),
		AHEAD(a_search_that_finds_nothing_can_be_stopped),
		AHEAD(the_oldest_go_until_the_bound_is_kept),
		AHEAD(a_reader_ends_its_segment_and_is_told_of_the_rest),
		WORLD(what_is_loaded_ahead_is_told_as_if_it_were_not),
		WORLD(runs_of_damage_are_told_once_and_in_order),
		AHEAD(what_comes_from_memory_is_asked_of_no_row),
		WORLD(a_reader_may_stop_anywhere),
		WORLD(an_explanation_can_be_stopped),
		WORLD(the_oldest_go_until_the_bound_is_kept),
		WORLD(what_is_older_than_its_bound_goes),
		WORLD(only_the_definition_that_changed_is_written_again),
		WORLD(a_hold_keeps_its_range_until_it_is_released),
		WORLD(a_reader_ends_its_segment_and_is_told_of_the_rest),
		WORLD(a_mark_is_found_by_its_name),
		WORLD(what_is_published_is_synced_within_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
