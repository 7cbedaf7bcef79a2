/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Indexes of segments. Guarantees that what it says of a block or of a segment
 * was made of all of its packets, with a checksum over what comes from a file:
 * whatever is missing or damaged is "may match". Leaves out which segments are
 * asked, and why (sieve.c).
 */
#include "store/segment_index.h"
#include "index/synopsis_build.h"
#include "index/synopsis_codec.h"
#include "store/segment_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

/* A synopsis has at most so much of its block, or so many bytes; and the union
 * of its segment. */
#define SUMMARY_PART 128
#define SUMMARY_LEAST 1024u
#define UNION_PART 256
#define UNION_LEAST (16u << 10)

struct segment_index_entry {
	uint32_t seq; /* from the segment's first */
	uint32_t bytes;
};

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
	synopsis_maker_reset(m->segment, link_type);
	return new_index(capture, first_seq, link_type);
}

struct segment_index *segment_index_ref(struct segment_index *x)
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

/* --- the union, as it is searched --- */

/* Any bit that is not as it was changes it: each step can be undone. */
static uint64_t segment_index_sum_of(uint64_t start, const void *from, size_t n)
{
	uint64_t lanes[4] = {start, 1, 2, 3}, sum = 0, last = n;
	const uint8_t *bytes = from;
	size_t i = 0;

	for (; i + 32 <= n; i += 32)
		for (unsigned k = 0; k < 4; k++) {
			uint64_t v;

			memcpy(&v, bytes + i + 8 * k, 8);
			lanes[k] = (lanes[k] ^ v) * 0x9fb21c651e98df25ull;
			lanes[k] ^= lanes[k] >> 29;
		}
	for (; i < n; i++) {
		last = (last ^ bytes[i]) * 0x9fb21c651e98df25ull;
		last ^= last >> 29;
	}
	for (unsigned k = 0; k < 4; k++)
		sum = (sum ^ lanes[k]) * 0xd6e8feb86659fd93ull;
	return sum ^ last;
}

/* Of the head, and of the union's front behind it. */
static uint64_t sum_of_front(const struct segment_index_head *head,
			     const uint8_t *front, size_t n)
{
	uint64_t sum = segment_index_sum_of(
		0, head, offsetof(struct segment_index_head, sum));

	return segment_index_sum_of(sum, front, n);
}

static uint32_t sum_of_page(uint32_t set, uint32_t page, const uint32_t *v,
			    uint32_t n)
{
	uint64_t sum = segment_index_sum_of((uint64_t)set << 32 | page, v,
					    4 * (size_t)n);

	return (uint32_t)(sum ^ sum >> 32);
}

static uint32_t values_in(uint32_t count, uint32_t page)
{
	uint32_t left = count - page * SYNOPSIS_PAGE;

	return left < SYNOPSIS_PAGE ? left : SYNOPSIS_PAGE;
}

static bool is_present(uint32_t present, uint32_t set)
{
	return present >> set / SYNOPSIS_WORDS & 1;
}

static bool segment_index_needs(const uint32_t *need, uint32_t set)
{
	return !need || need[set / SYNOPSIS_WORDS] >> set % SYNOPSIS_WORDS & 1;
}

static void union_sizes(const struct synopsis *s,
			struct segment_index_head *head)
{
	uint32_t values = 0, pages = 0,
		 sets = SYNOPSIS_WORDS *
			(uint32_t)__builtin_popcount(s->present);

	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
		values += s->count[set];
		pages += synopsis_pages_of(s->count[set]);
	}
	head->front_bytes = 4 + 4 * sets + 8 * pages;
	head->union_bytes = head->front_bytes + 4 * values;
}

static uint8_t *segment_index_put(uint8_t *to, const void *from, size_t n)
{
	memcpy(to, from, n);
	return to + n;
}

static void write_union(const struct synopsis *s, uint8_t *to)
{
	to = segment_index_put(to, &s->present, 4);
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
		uint32_t head = s->count[set] << 2 | s->level[set];

		if (is_present(s->present, set))
			to = segment_index_put(to, &head, 4);
	}
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		for (uint32_t p = 0; p < synopsis_pages_of(s->count[set]);
		     p++) {
			const uint32_t *v =
				s->values + s->first[set] + p * SYNOPSIS_PAGE;
			struct synopsis_page page = {
				v[0], sum_of_page(set, p, v,
						  values_in(s->count[set], p))};

			to = segment_index_put(to, &page, sizeof(page));
		}
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		to = segment_index_put(to, s->values + s->first[set],
				       4 * (size_t)s->count[set]);
}

/* --- as a frame --- */

static uint8_t *make_body(const struct segment_index *x, size_t *n)
{
	size_t table = x->n_entries * sizeof(*x->entries);
	uint8_t *body = malloc(table + x->n + 1);

	if (!body)
		return NULL;
	if (table)
		memcpy(body, x->entries, table);
	if (x->n)
		memcpy(body + table, x->bytes, x->n);
	*n = table + x->n;
	return body;
}

static size_t segment_index_pack(void *to, size_t room, const void *from,
				 size_t n)
{
	ZSTD_CCtx *z = ZSTD_createCCtx();

	if (!z)
		return 0;
	ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
	ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, 1);
	size_t done = ZSTD_compress2(z, to, room, from, n);
	ZSTD_freeCCtx(z);
	return ZSTD_isError(done) ? 0 : done;
}

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

static uint8_t *make_frame(struct segment_index_head *head,
			   const struct synopsis *all, const uint8_t *body,
			   size_t *n)
{
	size_t room = ZSTD_compressBound(head->body_bytes);
	size_t front = 8 + sizeof(*head) + head->union_bytes;
	uint8_t *frame = malloc(front + room);
	uint32_t magic = SEGMENT_INDEX_MAGIC;

	if (!frame)
		return NULL;
	size_t packed =
		segment_index_pack(frame + front, room, body, head->body_bytes);
	if (!packed) {
		free(frame);
		return NULL;
	}
	if (all)
		write_union(all, frame + 8 + sizeof(*head));
	head->sum = sum_of_front(head, frame + 8 + sizeof(*head),
				 head->front_bytes);
	*n = front + packed;
	uint32_t bytes = (uint32_t)*n - 8;
	memcpy(frame, &magic, 4);
	memcpy(frame + 4, &bytes, 4);
	memcpy(frame + 8, head, sizeof(*head));
	return frame;
}

uint8_t *segment_index_frame(struct segment_index *x,
			     struct segment_index_maker *m, size_t *n)
{
	struct synopsis *all = make_union(x, m);
	size_t body_bytes = 0;
	uint8_t *body = make_body(x, &body_bytes), *frame = NULL;
	struct segment_index_head head = {
		.version = SEGMENT_INDEX_VERSION,
		.link_type = x->link_type,
		.capture = x->capture,
		.first_seq = x->first_seq,
		.blocks = (uint32_t)x->n_entries,
		.body_bytes = (uint32_t)body_bytes,
	};

	if (all)
		union_sizes(all, &head);
	if (body && body_bytes <= SEGMENT_INDEX_BYTES_MAX)
		frame = make_frame(&head, all, body, n);
	synopsis_free(all);
	free(body);
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
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		if (is_present(s->present, set) &&
		    segment_index_needs(q->need, set) &&
		    s->level[set] == SYNOPSIS_ANY)
			any[set / SYNOPSIS_WORDS] |= 1u << set % SYNOPSIS_WORDS;
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
	const struct segment_index_place none = {0};
	struct stat st;
	/* Of the index and the footer, then how many there are and a magic. */
	uint8_t end[2 * 8 + 9];
	uint32_t index_bytes, decoded, footer_bytes, entries, magic;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(end) ||
	    !read_all(fd, (uint64_t)st.st_size - sizeof(end), end, sizeof(end)))
		return none;
	memcpy(&index_bytes, end, 4);
	memcpy(&decoded, end + 4, 4);
	memcpy(&footer_bytes, end + 8, 4);
	memcpy(&entries, end + 16, 4);
	memcpy(&magic, end + 21, 4);
	uint64_t behind = entries * 8ull + 17 + footer_bytes;
	if (magic != SEEK_TABLE_FOOTER || decoded || index_bytes < 8 ||
	    behind + index_bytes > (uint64_t)st.st_size)
		return none;
	return (struct segment_index_place){(uint64_t)st.st_size - behind -
						    index_bytes,
					    index_bytes, (uint64_t)st.st_size};
}

/* What an index begins with, and more: one read. */
#define FRONT_MAX                                                              \
	(4 + 4 * SYNOPSIS_SETS +                                               \
	 8 * (SYNOPSIS_SETS + SYNOPSIS_KEYS_SEGMENT / SYNOPSIS_PAGE))
struct beginning {
	uint32_t magic, bytes;
	struct segment_index_head head;
	uint8_t front[FRONT_MAX];
};

/* It is there, and fits into its place. */
static bool read_beginning(int fd, const struct segment_index_place *at,
			   uint64_t capture, uint64_t first_seq,
			   struct beginning *b)
{
	const struct segment_index_head *h = &b->head;
	size_t least = offsetof(struct beginning, front);
	size_t n = at->bytes < sizeof(*b) ? (size_t)at->bytes : sizeof(*b);

	return n >= least && at->bytes <= SEGMENT_INDEX_BYTES_MAX &&
	       read_all(fd, at->offset, b, n) &&
	       b->magic == SEGMENT_INDEX_MAGIC && b->bytes == at->bytes - 8 &&
	       h->version == SEGMENT_INDEX_VERSION && h->capture == capture &&
	       h->first_seq == first_seq &&
	       h->union_bytes <= at->bytes - least &&
	       h->front_bytes <= h->union_bytes &&
	       h->front_bytes <= sizeof(b->front) &&
	       h->body_bytes <= SEGMENT_INDEX_BYTES_MAX &&
	       h->blocks <= h->body_bytes / sizeof(struct segment_index_entry);
}

bool segment_index_is_older(int fd, const struct segment_index_place *at)
{
	uint32_t front[3]; /* magic, bytes, version */

	return at->bytes >= sizeof(front) &&
	       read_all(fd, at->offset, front, sizeof(front)) &&
	       front[0] == SEGMENT_INDEX_MAGIC && front[1] == at->bytes - 8 &&
	       front[2] != 0 && front[2] < SEGMENT_INDEX_VERSION;
}

/* --- a union in a file --- */

struct union_reader {
	struct synopsis_pages pages;
	int fd;
	uint64_t at; /* of the values in the file */
	struct beginning beginning;
	struct synopsis *s;
	size_t room;				/* in it, for values */
	uint64_t there[FRONT_MAX / 8 / 64 + 1]; /* a bit a page */
	uint32_t values, n_pages;		/* of all sets */
};

static bool segment_index_load_page(struct synopsis_pages *pages, uint32_t set,
				    uint32_t page)
{
	struct union_reader *u =
		(struct union_reader *)((char *)pages -
					offsetof(struct union_reader, pages));
	uint32_t number = pages->first[set] + page;
	uint32_t n = values_in(u->s->count[set], page);
	uint32_t *to = u->s->values + u->s->first[set] + page * SYNOPSIS_PAGE;
	uint64_t at = u->at + 4ull * (u->s->first[set] + page * SYNOPSIS_PAGE);

	if (u->there[number / 64] >> number % 64 & 1)
		return true;
	if (!read_all(u->fd, at, to, 4ul * n) ||
	    sum_of_page(set, page, to, n) != pages->page[number].sum)
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

/* The sets' heads are at from; what is not needed is anything. false: it is
 * not what union_sizes says. */
static bool take_sets(struct union_reader *u, uint32_t present,
		      const uint8_t *from, const uint32_t *need)
{
	const struct segment_index_head *h = &u->beginning.head;
	struct synopsis *s = u->s;
	uint32_t values = 0, pages = 0;

	memset(s, 0, sizeof(*s));
	s->link_type = h->link_type;
	s->present = present;
	s->pages = &u->pages;
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
		uint32_t head;

		if (!is_present(present, set))
			continue;
		memcpy(&head, from, 4);
		from += 4;
		u->pages.first[set] = pages;
		s->first[set] = values;
		s->level[set] = segment_index_needs(need, set) ? head & 3
							       : SYNOPSIS_ANY;
		s->count[set] = s->level[set] == SYNOPSIS_ANY ? 0 : head >> 2;
		if (head >> 2 > h->union_bytes / 4 - values)
			return false;
		values += head >> 2;
		pages += synopsis_pages_of(head >> 2);
	}
	u->pages.page = (const void *)from;
	u->values = values;
	u->n_pages = pages;
	return true;
}

/* Room for what read_beginning found, and the sets. */
static bool take_front(struct union_reader *u, const uint32_t *need)
{
	const struct segment_index_head *h = &u->beginning.head;
	const uint8_t *front = u->beginning.front;
	uint32_t present;

	if (h->front_bytes < 4)
		return false;
	memcpy(&present, front, 4);
	uint64_t sets = SYNOPSIS_WORDS * (uint64_t)__builtin_popcount(present);
	if (present >> SYNOPSIS_CLASSES || h->front_bytes < 4 + 4 * sets)
		return false;
	memset(u->there, 0, sizeof(u->there));
	return segment_index_reserve(u,
				     (h->union_bytes - h->front_bytes) / 4) &&
	       take_sets(u, present, front + 4, need) &&
	       h->union_bytes == h->front_bytes + 4ull * u->values &&
	       h->front_bytes == 4 + 4 * sets + 8ull * u->n_pages;
}

struct synopsis *union_open(struct union_reader *u, int fd,
			    const struct segment_index_place *at,
			    uint64_t capture, uint64_t first_seq,
			    const uint32_t *need)
{
	struct beginning *b = &u->beginning;

	u->fd = fd;
	if (!at->bytes || !read_beginning(fd, at, capture, first_seq, b) ||
	    b->head.union_bytes == 0)
		return NULL;
	u->at = at->offset + offsetof(struct beginning, front) +
		b->head.front_bytes;
	/* One wait for the disk, not one a page. */
	posix_fadvise(fd, (off_t)at->offset,
		      (off_t)(sizeof(*b) + b->head.union_bytes),
		      POSIX_FADV_WILLNEED);
	if (sum_of_front(&b->head, b->front, b->head.front_bytes) ==
		    b->head.sum &&
	    take_front(u, need))
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
	struct beginning b;

	*none = !at->bytes || (read_beginning(fd, at, capture, first_seq, &b) &&
			       b.head.union_bytes == 0 &&
			       sum_of_front(&b.head, b.front, 0) == b.head.sum);
	if (whole) {
		s->pages = NULL;
		u->s = NULL;
	}
	union_reader_free(u);
	return whole ? s : NULL;
}

/* Splits the body, which x->bytes is. */
static bool take_body(struct segment_index *x,
		      const struct segment_index_head *head)
{
	size_t at = head->blocks * sizeof(*x->entries);

	x->n = head->body_bytes;
	x->n_entries = x->cap_entries = head->blocks;
	x->entries = malloc(at + 1);
	x->at = malloc(head->blocks * sizeof(*x->at) + 1);
	if (!x->entries || !x->at)
		return false;
	memcpy(x->entries, x->bytes, at);
	for (size_t i = 0; i < head->blocks; i++) {
		x->at[i] = at;
		if (x->entries[i].bytes > x->n - at ||
		    (i && x->entries[i].seq <= x->entries[i - 1].seq))
			return false;
		at += x->entries[i].bytes;
	}
	return at == x->n;
}

struct segment_index *segment_index_read(int fd,
					 const struct segment_index_place *at,
					 uint64_t capture, uint64_t first_seq)
{
	struct beginning b;
	struct segment_index *x = NULL;

	if (!at->bytes || !read_beginning(fd, at, capture, first_seq, &b))
		return NULL;
	struct segment_index_head head = b.head;
	size_t front = 8 + sizeof(head) + head.union_bytes;
	size_t n = (size_t)at->bytes - front;
	uint8_t *packed = malloc(n + 1);
	bool ok = packed && read_all(fd, at->offset + front, packed, n) &&
		  (x = new_index(capture, first_seq, head.link_type)) &&
		  (x->bytes = malloc(head.body_bytes + 1u)) &&
		  ZSTD_decompress(x->bytes, head.body_bytes, packed, n) ==
			  head.body_bytes &&
		  take_body(x, &head);
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
