/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Indexes of segments. Guarantees that what it says of a block or of a segment
 * was made of all of its packets, with a checksum over what comes from a file:
 * whatever is missing or damaged is "may match". Leaves out which segments are
 * asked, and why (block_skip.c).
 */
#include "store/segment_index.h"
#include "index/synopsis_build.h"
#include "index/synopsis_codec.h"
#include "store/segment_file.h"

#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A synopsis has at most so much of its block, or so many bytes; and the union
 * of its segment. */
#define SUMMARY_PART 128
#define SUMMARY_LEAST 1024u
#define UNION_PART 256
#define UNION_LEAST (16u << 10)

struct segment_index {
	atomic_uint refs;
	uint64_t capture, first_seq;
	uint32_t link_type;
	struct segment_index *next; /* of indexes */
	/* Of who adds. */
	bool unknown;	    /* the union would lack a block */
	uint64_t raw_bytes; /* of the blocks */

	pthread_mutex_t lock; /* guards everything below */
	struct segment_index_entry *entries;
	size_t *at; /* of each one's synopsis in bytes */
	size_t n_entries, cap_entries;
	uint8_t *bytes;
	size_t n, room;
};

struct segment_index_maker {
	struct synopsis_maker *block, *segment;
	const struct segment_index *of; /* the segment that is made */
};

struct segment_index_maker *segment_index_maker_new(void)
{
	struct segment_index_maker *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->block = synopsis_maker_new(0, SYNOPSIS_KEYS_BLOCK);
	m->segment = synopsis_maker_new(0, SYNOPSIS_KEYS_SEGMENT);
	if (m->block && m->segment)
		return m;
	segment_index_maker_free(m);
	return NULL;
}

void segment_index_maker_free(struct segment_index_maker *m)
{
	if (!m)
		return;
	synopsis_maker_free(m->block);
	synopsis_maker_free(m->segment);
	free(m);
}

static struct segment_index *new_index(uint64_t capture, uint64_t first_seq,
				       uint32_t link_type)
{
	struct segment_index *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	atomic_init(&x->refs, 1);
	pthread_mutex_init(&x->lock, NULL);
	x->capture = capture;
	x->first_seq = first_seq;
	x->link_type = link_type;
	return x;
}

struct segment_index *segment_index_new(struct segment_index_maker *m,
					uint64_t capture, uint64_t first_seq,
					uint32_t link_type)
{
	struct segment_index *x = new_index(capture, first_seq, link_type);

	synopsis_maker_reset(m->segment, link_type);
	m->of = x;
	return x;
}

static struct segment_index *segment_index_ref(struct segment_index *x)
{
	atomic_fetch_add(&x->refs, 1);
	return x;
}

void segment_index_unref(struct segment_index *x)
{
	if (!x || atomic_fetch_sub(&x->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&x->lock);
	free(x->entries);
	free(x->at);
	free(x->bytes);
	free(x);
}

uint32_t segment_index_link_type(const struct segment_index *x)
{
	return x->link_type;
}

/* --- made --- */

/* Room for one entry more, and n bytes. */
static bool segment_index_make_room(struct segment_index *x, size_t n)
{
	if (x->n_entries == x->cap_entries) {
		size_t cap = x->cap_entries ? 2 * x->cap_entries : 64;
		void *entries = realloc(x->entries, cap * sizeof(*x->entries));

		if (entries)
			x->entries = entries;
		void *at = realloc(x->at, cap * sizeof(*x->at));
		if (at)
			x->at = at;
		if (!entries || !at)
			return false;
		x->cap_entries = cap;
	}
	if (x->room - x->n < n) {
		size_t room = 2 * (x->n + n);
		void *more = realloc(x->bytes, room);

		if (!more)
			return false;
		x->bytes = more;
		x->room = room;
	}
	return true;
}

static bool add_summary(struct segment_index *x, uint64_t seq,
			const struct synopsis *s)
{
	size_t n = synopsis_bytes(s);

	pthread_mutex_lock(&x->lock);
	bool ok = segment_index_make_room(x, n);
	if (ok) {
		synopsis_write(s, x->bytes + x->n);
		x->entries[x->n_entries] = (struct segment_index_entry){
			(uint32_t)(seq - x->first_seq), (uint32_t)n};
		x->at[x->n_entries++] = x->n;
		x->n += n;
	}
	pthread_mutex_unlock(&x->lock);
	return ok;
}

void segment_index_add_unknown(struct segment_index *x)
{
	x->unknown = true;
}

void segment_index_add(struct segment_index *x, struct segment_index_maker *m,
		       uint64_t seq, const uint8_t *records, uint32_t n)
{
	uint32_t most = n / SUMMARY_PART;

	assert(m->of == x);
	synopsis_maker_reset(m->block, x->link_type);
	synopsis_maker_packets(m->block, records, n);
	struct synopsis *s = synopsis_make(m->block);
	if (!s || seq - x->first_seq > UINT32_MAX) {
		segment_index_add_unknown(x);
	} else {
		synopsis_maker_union(m->segment, s);
		x->raw_bytes += n;
		/* What is not in the index may still not be needed there. */
		if (synopsis_fit(s,
				 most > SUMMARY_LEAST ? most : SUMMARY_LEAST))
			add_summary(x, seq, s);
	}
	synopsis_free(s);
}

/* --- as a frame --- */

/* The union; NULL: there is none, which is no error. */
static struct synopsis *make_union(const struct segment_index *x,
				   struct segment_index_maker *m)
{
	struct synopsis *s = x->unknown ? NULL : synopsis_make(m->segment);
	size_t most = x->raw_bytes / UNION_PART;

	if (s && synopsis_fit(s, most > UNION_LEAST ? most : UNION_LEAST))
		return s;
	synopsis_free(s);
	return NULL;
}

uint8_t *segment_index_frame(struct segment_index *x,
			     struct segment_index_maker *m, size_t *n)
{
	assert(m->of == x);
	struct synopsis *all = make_union(x, m);
	struct segment_index_head head = {.link_type = x->link_type,
					  .capture = x->capture,
					  .first_seq = x->first_seq};
	uint8_t *frame = segment_index_encode(head, all, x->entries,
					      x->n_entries, x->bytes, x->n, n);

	synopsis_free(all);
	return frame;
}

/* --- asked --- */

static struct synopsis *summary_of(struct segment_index *x, uint32_t seq,
				   const uint32_t *need)
{
	struct synopsis *s = NULL;
	struct err ignored;
	size_t from = 0;

	pthread_mutex_lock(&x->lock);
	size_t to = x->n_entries;
	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (x->entries[middle].seq < seq)
			from = middle + 1;
		else
			to = middle;
	}
	if (from < x->n_entries && x->entries[from].seq == seq)
		s = synopsis_read_some(x->bytes + x->at[from],
				       x->entries[from].bytes, need, &ignored);
	pthread_mutex_unlock(&x->lock);
	return s;
}

void question_any(const struct question *q, const struct synopsis *s,
		  uint32_t any[SYNOPSIS_CLASSES])
{
	memset(any, 0, SYNOPSIS_CLASSES * sizeof(*any));
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
		uint32_t class = set / SYNOPSIS_WORDS,
			 word = 1u << set % SYNOPSIS_WORDS;

		if (s->present >> class & 1 && q->need[class] & word &&
		    s->level[set] == SYNOPSIS_ANY)
			any[class] |= word;
	}
}

bool segment_index_may_match(struct segment_index *x, uint64_t seq,
			     const struct question *q,
			     uint32_t any[SYNOPSIS_CLASSES])
{
	if (seq < x->first_seq || seq - x->first_seq > UINT32_MAX)
		return true;
	struct synopsis *s =
		summary_of(x, (uint32_t)(seq - x->first_seq), q->need);
	bool may = !s || s->link_type != x->link_type ||
		   bpf_prune_may_match(q->program, s);
	if (s && any)
		question_any(q, s, any);
	synopsis_free(s);
	return may;
}

/* --- in a file --- */

static bool read_all(int fd, uint64_t at, void *to, size_t n)
{
	return segment_read(fd, at, to, n) == n;
}

struct segment_index_place segment_index_locate(int fd)
{
	struct segment_tail tail = segment_read_tail(fd);

	return (struct segment_index_place){tail.index, tail.index_bytes};
}

/* It is there, and fits into its place. */
static bool read_start(int fd, const struct segment_index_place *at,
		       uint64_t capture, uint64_t first_seq,
		       struct segment_index_start *s)
{
	size_t n = at->bytes < sizeof(*s) ? (size_t)at->bytes : sizeof(*s);

	return n && read_all(fd, at->offset, s, n) &&
	       segment_index_begins(s, n, at->bytes, capture, first_seq);
}

bool segment_index_is_older(int fd, const struct segment_index_place *at)
{
	struct segment_index_start s;

	return at->bytes >= SEGMENT_INDEX_LEAST &&
	       read_all(fd, at->offset, &s, SEGMENT_INDEX_LEAST) &&
	       segment_index_outdated(&s, at->bytes);
}

/* --- a union in a file --- */

struct union_reader {
	struct synopsis_pages pages;
	int fd;
	uint64_t at; /* of the values in the file */
	struct segment_index_start start;
	struct synopsis *s;
	size_t room; /* in it, for values */
	uint64_t there[SEGMENT_INDEX_FRONT_MAX / 8 / 64 + 1]; /* a bit a page */
};

static bool segment_index_load_page(struct synopsis_pages *pages, uint32_t set,
				    uint32_t page)
{
	struct union_reader *u =
		(struct union_reader *)((char *)pages -
					offsetof(struct union_reader, pages));
	uint32_t number = pages->first[set] + page;
	uint32_t n = segment_index_page_values(u->s->count[set], page);
	uint32_t *to = u->s->values + u->s->first[set] + page * SYNOPSIS_PAGE;
	uint64_t at = u->at + 4ull * (u->s->first[set] + page * SYNOPSIS_PAGE);

	if (u->there[number / 64] >> number % 64 & 1)
		return true;
	if (!read_all(u->fd, at, to, 4ul * n) ||
	    segment_index_page_sum(set, page, to, n) != pages->page[number].sum)
		return false;
	u->there[number / 64] |= 1ull << number % 64;
	return true;
}

struct union_reader *union_reader_new(void)
{
	struct union_reader *u = calloc(1, sizeof(*u));

	if (u)
		u->pages.load = segment_index_load_page;
	return u;
}

void union_reader_free(struct union_reader *u)
{
	if (!u)
		return;
	free(u->s);
	free(u);
}

/* What is in s does not matter. */
static bool segment_index_reserve(struct union_reader *u, size_t values)
{
	if (u->s && values <= u->room)
		return true;
	free(u->s);
	u->room = 2 * values;
	u->s = malloc(sizeof(*u->s) + 4 * u->room);
	return u->s;
}

struct synopsis *union_open(struct union_reader *u, int fd,
			    const struct segment_index_place *at,
			    uint64_t capture, uint64_t first_seq,
			    const uint32_t *need)
{
	const struct segment_index_head *h = &u->start.head;

	u->fd = fd;
	if (!at->bytes || !read_start(fd, at, capture, first_seq, &u->start) ||
	    h->union_bytes == 0)
		return NULL;
	u->at = at->offset + SEGMENT_INDEX_LEAST + h->front_bytes;
	/* One wait for the disk, not one a page. */
	posix_fadvise(fd, (off_t)at->offset,
		      (off_t)(sizeof(u->start) + h->union_bytes),
		      POSIX_FADV_WILLNEED);
	memset(u->there, 0, sizeof(u->there));
	if (segment_index_front_whole(&u->start) &&
	    segment_index_reserve(u, (h->union_bytes - h->front_bytes) / 4) &&
	    segment_index_sets(&u->start, need, u->s, &u->pages))
		return u->s;
	return NULL;
}

static bool load_all(struct union_reader *u)
{
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		for (uint32_t p = 0; p < synopsis_pages_of(u->s->count[set]);
		     p++)
			if (!segment_index_load_page(&u->pages, set, p))
				return false;
	return true;
}

struct synopsis *segment_index_read_union(int fd,
					  const struct segment_index_place *at,
					  uint64_t capture, uint64_t first_seq,
					  bool *none)
{
	struct union_reader *u = union_reader_new();
	struct synopsis *s =
		u ? union_open(u, fd, at, capture, first_seq, NULL) : NULL;
	bool whole = s && load_all(u);
	struct segment_index_start start;

	*none = !at->bytes || (read_start(fd, at, capture, first_seq, &start) &&
			       start.head.union_bytes == 0 &&
			       segment_index_front_whole(&start));
	if (whole) {
		s->pages = NULL;
		u->s = NULL;
	}
	union_reader_free(u);
	return whole ? s : NULL;
}

static bool take_body(struct segment_index *x,
		      const struct segment_index_head *head,
		      const uint8_t *packed, size_t n)
{
	x->n = head->body_bytes;
	x->n_entries = x->cap_entries = head->blocks;
	x->bytes = malloc(x->n + 1);
	x->entries = malloc(x->n_entries * sizeof(*x->entries) + 1);
	x->at = malloc(x->n_entries * sizeof(*x->at) + 1);
	return x->bytes && x->entries && x->at &&
	       segment_index_body_decode(head, packed, n, x->bytes, x->entries,
					 x->at);
}

struct segment_index *segment_index_read(int fd,
					 const struct segment_index_place *at,
					 uint64_t capture, uint64_t first_seq)
{
	struct segment_index_start start;
	const struct segment_index_head *head = &start.head;
	struct segment_index *x = NULL;

	if (!at->bytes || !read_start(fd, at, capture, first_seq, &start))
		return NULL;
	size_t front = SEGMENT_INDEX_LEAST + head->union_bytes;
	size_t n = (size_t)at->bytes - front;
	uint8_t *packed = malloc(n + 1);
	bool ok = packed && read_all(fd, at->offset + front, packed, n) &&
		  (x = new_index(capture, first_seq, head->link_type)) &&
		  take_body(x, head, packed, n);
	free(packed);
	if (ok)
		return x;
	segment_index_unref(x);
	return NULL;
}

/* --- of the segments that are being written --- */

struct segment_indexes {
	pthread_mutex_t lock; /* guards everything below */
	struct segment_index *first;
};

struct segment_indexes *segment_indexes_new(void)
{
	struct segment_indexes *l = calloc(1, sizeof(*l));

	if (l)
		pthread_mutex_init(&l->lock, NULL);
	return l;
}

void segment_indexes_free(struct segment_indexes *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void segment_indexes_add(struct segment_indexes *l, struct segment_index *x)
{
	pthread_mutex_lock(&l->lock);
	x->next = l->first;
	l->first = segment_index_ref(x);
	pthread_mutex_unlock(&l->lock);
}

void segment_indexes_remove(struct segment_indexes *l, struct segment_index *x)
{
	pthread_mutex_lock(&l->lock);
	struct segment_index **at = &l->first;
	while (*at && *at != x)
		at = &(*at)->next;
	bool there = *at;
	if (there)
		*at = x->next;
	pthread_mutex_unlock(&l->lock);
	if (there)
		segment_index_unref(x);
}

struct segment_index *segment_indexes_find(struct segment_indexes *l,
					   uint64_t capture, uint64_t first_seq)
{
	pthread_mutex_lock(&l->lock);
	struct segment_index *x = l->first;
	while (x && (x->capture != capture || x->first_seq != first_seq))
		x = x->next;
	if (x)
		segment_index_ref(x);
	pthread_mutex_unlock(&l->lock);
	return x;
}
