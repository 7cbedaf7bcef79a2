/*
 * Indexes of segments. Guarantees that what it says of a block or of a segment
 * was made of all of its packets, with a checksum over what comes from a file:
 * whatever is missing or damaged is "may match". Leaves out which segments are
 * asked, and why (sieve.c).
 */
#include "index.h"
#include "segment.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define VERSION 1
/* A summary has at most so much of its block, or so many bytes; and the union
 * of its segment. */
#define SUMMARY_PART 128
#define SUMMARY_LEAST 1024u
#define UNION_PART 256
#define UNION_LEAST (16u << 10)

struct entry {
	uint32_t seq; /* from the segment's first */
	uint32_t bytes;
};

struct index {
	atomic_uint refs;
	uint64_t capture, first_seq;
	uint32_t link_type;
	struct index *next; /* of indexes */
	/* Of who adds. */
	bool unknown;	    /* the union would lack a block */
	uint64_t raw_bytes; /* of the blocks */

	pthread_mutex_t lock; /* guards everything below */
	struct entry *entries;
	size_t *at; /* of each one's summary in bytes */
	size_t n_entries, cap_entries;
	uint8_t *bytes;
	size_t n, room;
};

struct index_maker {
	struct summary_maker *block, *segment;
};

struct index_maker *index_maker_new(void)
{
	struct index_maker *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->block = summary_maker_new(0, SUMMARY_KEYS_BLOCK);
	m->segment = summary_maker_new(0, SUMMARY_KEYS_SEGMENT);
	if (m->block && m->segment)
		return m;
	index_maker_free(m);
	return NULL;
}

void index_maker_free(struct index_maker *m)
{
	if (!m)
		return;
	summary_maker_free(m->block);
	summary_maker_free(m->segment);
	free(m);
}

static struct index *new_index(uint64_t capture, uint64_t first_seq,
			       uint32_t link_type)
{
	struct index *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	atomic_init(&x->refs, 1);
	pthread_mutex_init(&x->lock, NULL);
	x->capture = capture;
	x->first_seq = first_seq;
	x->link_type = link_type;
	return x;
}

struct index *index_new(struct index_maker *m, uint64_t capture,
			uint64_t first_seq, uint32_t link_type)
{
	summary_maker_reset(m->segment, link_type);
	return new_index(capture, first_seq, link_type);
}

struct index *index_ref(struct index *x)
{
	atomic_fetch_add(&x->refs, 1);
	return x;
}

void index_unref(struct index *x)
{
	if (!x || atomic_fetch_sub(&x->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&x->lock);
	free(x->entries);
	free(x->at);
	free(x->bytes);
	free(x);
}

uint32_t index_link_type(const struct index *x)
{
	return x->link_type;
}

/* --- made --- */

/* Room for one entry more, and n bytes. */
static bool make_room(struct index *x, size_t n)
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

static bool add_summary(struct index *x, uint64_t seq, const struct summary *s)
{
	size_t n = summary_bytes(s);

	pthread_mutex_lock(&x->lock);
	bool ok = make_room(x, n);
	if (ok) {
		summary_write(s, x->bytes + x->n);
		x->entries[x->n_entries] = (struct entry){
			(uint32_t)(seq - x->first_seq), (uint32_t)n};
		x->at[x->n_entries++] = x->n;
		x->n += n;
	}
	pthread_mutex_unlock(&x->lock);
	return ok;
}

void index_add_unknown(struct index *x)
{
	x->unknown = true;
}

void index_add(struct index *x, struct index_maker *m, uint64_t seq,
	       const uint8_t *records, uint32_t n)
{
	uint32_t most = n / SUMMARY_PART;

	summary_maker_reset(m->block, x->link_type);
	summary_maker_packets(m->block, records, n);
	struct summary *s = summary_make(m->block);
	if (!s || seq - x->first_seq > UINT32_MAX) {
		index_add_unknown(x);
	} else {
		summary_maker_union(m->segment, s);
		x->raw_bytes += n;
		/* What is not in the index may still not be needed there. */
		if (summary_fit(s, most > SUMMARY_LEAST ? most : SUMMARY_LEAST))
			add_summary(x, seq, s);
	}
	summary_free(s);
}

/* --- the union, as it is searched --- */

/* Any bit that is not as it was changes it: each step can be undone. */
static uint64_t sum_of(uint64_t start, const void *from, size_t n)
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

struct set_head {
	uint32_t head; /* count << 2 | level */
	uint32_t sum;  /* of its values */
};

/* Of the head, and of the union's front behind it. */
static uint64_t sum_of_front(const struct index_head *head,
			     const uint8_t *front, size_t n)
{
	uint64_t sum = sum_of(0, head, offsetof(struct index_head, sum));

	return sum_of(sum, front, n);
}

static uint32_t sum_of_values(uint32_t set, const uint32_t *v, uint32_t n)
{
	uint64_t sum = sum_of(set, v, 4 * (size_t)n);

	return (uint32_t)(sum ^ sum >> 32);
}

static size_t front_bytes(uint32_t present)
{
	return 4 + (size_t)__builtin_popcount(present) * SUMMARY_WORDS *
			   sizeof(struct set_head);
}
#define FRONT_MAX (4 + SUMMARY_SETS * sizeof(struct set_head))

static bool is_present(uint32_t present, uint32_t set)
{
	return present >> set / SUMMARY_WORDS & 1;
}

static size_t values_of(const struct summary *s)
{
	size_t n = 0;

	for (uint32_t set = 0; set < SUMMARY_SETS; set++)
		n += s->count[set];
	return n;
}

static void write_union(const struct summary *s, uint8_t *to)
{
	memcpy(to, &s->present, 4);
	to += 4;
	for (uint32_t set = 0; set < SUMMARY_SETS; set++) {
		uint32_t n = s->count[set];
		struct set_head head = {
			n << 2 | s->level[set],
			sum_of_values(set, s->values + s->first[set], n)};

		if (!is_present(s->present, set))
			continue;
		memcpy(to, &head, sizeof(head));
		to += sizeof(head);
	}
	for (uint32_t set = 0; set < SUMMARY_SETS; set++) {
		memcpy(to, s->values + s->first[set],
		       4 * (size_t)s->count[set]);
		to += 4 * (size_t)s->count[set];
	}
}

static bool needs(const uint32_t *need, uint32_t set)
{
	return !need || need[set / SUMMARY_WORDS] >> set % SUMMARY_WORDS & 1;
}

/* Where the values of each set of a union are. */
struct front {
	uint32_t present;
	struct set_head sets[SUMMARY_SETS];
	uint32_t values; /* of them all */
	uint32_t needed;
};

static bool parse_front(struct front *f, const uint8_t *from, size_t n,
			const uint32_t *need)
{
	uint64_t values = 0, needed = 0;

	memset(f, 0, sizeof(*f));
	if (n < 4)
		return false;
	memcpy(&f->present, from, 4);
	if (f->present >> SUMMARY_CLASSES || n < front_bytes(f->present))
		return false;
	from += 4;
	for (uint32_t set = 0; set < SUMMARY_SETS; set++) {
		struct set_head *h = &f->sets[set];

		if (!is_present(f->present, set))
			continue;
		memcpy(h, from, sizeof(*h));
		from += sizeof(*h);
		if (h->head >> 2 && (h->head & 3) == SUMMARY_ANY)
			return false;
		values += h->head >> 2;
		needed += needs(need, set) ? h->head >> 2 : 0;
	}
	if (values > INDEX_BYTES_MAX / 4)
		return false;
	f->values = (uint32_t)values;
	f->needed = (uint32_t)needed;
	return true;
}

/* --- as a frame --- */

static uint8_t *make_body(const struct index *x, size_t *n)
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

static size_t pack(void *to, size_t room, const void *from, size_t n)
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
static struct summary *make_union(const struct index *x, struct index_maker *m)
{
	struct summary *s = x->unknown ? NULL : summary_make(m->segment);
	size_t most = x->raw_bytes / UNION_PART;

	if (s && summary_fit(s, most > UNION_LEAST ? most : UNION_LEAST))
		return s;
	summary_free(s);
	return NULL;
}

static uint8_t *make_frame(struct index_head *head, const struct summary *all,
			   const uint8_t *body, size_t *n)
{
	size_t room = ZSTD_compressBound(head->body_bytes);
	size_t front = 8 + sizeof(*head) + head->union_bytes;
	uint8_t *frame = malloc(front + room);
	uint32_t magic = INDEX_MAGIC;

	if (!frame)
		return NULL;
	size_t packed = pack(frame + front, room, body, head->body_bytes);
	if (!packed) {
		free(frame);
		return NULL;
	}
	if (all)
		write_union(all, frame + 8 + sizeof(*head));
	head->sum = sum_of_front(head, frame + 8 + sizeof(*head),
				 all ? front_bytes(all->present) : 0);
	*n = front + packed;
	uint32_t bytes = (uint32_t)*n - 8;
	memcpy(frame, &magic, 4);
	memcpy(frame + 4, &bytes, 4);
	memcpy(frame + 8, head, sizeof(*head));
	return frame;
}

uint8_t *index_frame(struct index *x, struct index_maker *m, size_t *n)
{
	struct summary *all = make_union(x, m);
	size_t body_bytes = 0;
	uint8_t *body = make_body(x, &body_bytes), *frame = NULL;
	struct index_head head = {
		.version = VERSION,
		.link_type = x->link_type,
		.capture = x->capture,
		.first_seq = x->first_seq,
		.blocks = (uint32_t)x->n_entries,
		.body_bytes = (uint32_t)body_bytes,
	};

	if (all)
		head.union_bytes = (uint32_t)(front_bytes(all->present) +
					      4 * values_of(all));
	if (body && body_bytes <= INDEX_BYTES_MAX)
		frame = make_frame(&head, all, body, n);
	summary_free(all);
	free(body);
	return frame;
}

/* --- asked --- */

static struct summary *summary_of(struct index *x, uint32_t seq,
				  const uint32_t *need)
{
	struct summary *s = NULL;
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
		s = summary_read_some(x->bytes + x->at[from],
				      x->entries[from].bytes, need, &ignored);
	pthread_mutex_unlock(&x->lock);
	return s;
}

bool index_may_match(struct index *x, uint64_t seq, const struct question *q)
{
	if (seq < x->first_seq || seq - x->first_seq > UINT32_MAX)
		return true;
	struct summary *s =
		summary_of(x, (uint32_t)(seq - x->first_seq), q->need);
	bool may = !s || s->link_type != x->link_type ||
		   prune_may_match(q->program, s);
	summary_free(s);
	return may;
}

/* --- in a file --- */

static bool read_all(int fd, uint64_t at, void *to, size_t n)
{
	return segment_read(fd, at, to, n) == n;
}

struct index_place index_locate(int fd)
{
	const struct index_place none = {0};
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
	return (struct index_place){(uint64_t)st.st_size - behind - index_bytes,
				    index_bytes, (uint64_t)st.st_size};
}

/* What an index begins with, up to the union's values. */
struct beginning {
	uint32_t magic, bytes;
	struct index_head head;
	uint8_t front[FRONT_MAX];
};

/* It is there, and fits into its place. */
static bool read_beginning(int fd, const struct index_place *at,
			   uint64_t capture, uint64_t first_seq,
			   struct beginning *b)
{
	const struct index_head *h = &b->head;
	size_t least = offsetof(struct beginning, front);
	size_t n = at->bytes < sizeof(*b) ? (size_t)at->bytes : sizeof(*b);

	if (n < least || at->bytes > INDEX_BYTES_MAX ||
	    !read_all(fd, at->offset, b, n))
		return false;
	memset((char *)b + n, 0, sizeof(*b) - n);
	return b->magic == INDEX_MAGIC && b->bytes == at->bytes - 8 &&
	       h->version == VERSION && h->capture == capture &&
	       h->first_seq == first_seq &&
	       h->union_bytes <= at->bytes - least &&
	       h->body_bytes <= INDEX_BYTES_MAX &&
	       h->blocks <= h->body_bytes / sizeof(struct entry);
}

/* The sets that are needed, in runs that lie together. */
static bool read_sets(int fd, uint64_t at, const struct front *f,
		      const uint32_t *need, struct summary *s)
{
	uint32_t total = 0, run = 0;

	for (uint32_t set = 0; set <= SUMMARY_SETS; set++) {
		uint32_t n = set < SUMMARY_SETS ? f->sets[set].head >> 2 : 0;

		if (set < SUMMARY_SETS && needs(need, set)) {
			s->level[set] = f->sets[set].head & 3;
			s->count[set] = n;
			s->first[set] = total + run;
			run += n;
			continue;
		}
		if (run && !read_all(fd, at, s->values + total, 4ul * run))
			return false;
		at += 4ul * run + 4ul * n;
		total += run;
		run = 0;
		if (set < SUMMARY_SETS)
			s->level[set] = SUMMARY_ANY;
	}
	for (uint32_t set = 0; set < SUMMARY_SETS; set++)
		if (is_present(s->present, set) && needs(need, set) &&
		    sum_of_values(set, s->values + s->first[set],
				  s->count[set]) != f->sets[set].sum)
			return false;
	return true;
}

struct summary *index_read_union(int fd, const struct index_place *at,
				 uint64_t capture, uint64_t first_seq,
				 const uint32_t *need, bool *none)
{
	struct beginning b;
	struct front f;

	*none = at->bytes == 0;
	if (*none || !read_beginning(fd, at, capture, first_seq, &b))
		return NULL;
	size_t n = b.head.union_bytes;
	*none = n == 0 && sum_of_front(&b.head, b.front, 0) == b.head.sum;
	if (n == 0 ||
	    !parse_front(&f, b.front, n < FRONT_MAX ? n : FRONT_MAX, need) ||
	    n != front_bytes(f.present) + 4ul * f.values ||
	    sum_of_front(&b.head, b.front, front_bytes(f.present)) !=
		    b.head.sum)
		return NULL;
	struct summary *s = malloc(sizeof(*s) + 4ul * f.needed);
	if (!s)
		return NULL;
	/* One wait for the disk, not one a run of sets. */
	posix_fadvise(fd, (off_t)at->offset, (off_t)(sizeof(b) + n),
		      POSIX_FADV_WILLNEED);
	memset(s, 0, sizeof(*s));
	s->link_type = b.head.link_type;
	s->present = f.present;
	if (read_sets(fd,
		      at->offset + offsetof(struct beginning, front) +
			      front_bytes(f.present),
		      &f, need, s))
		return s;
	summary_free(s);
	return NULL;
}

/* Splits the body, which x->bytes is. */
static bool take_body(struct index *x, const struct index_head *head)
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

struct index *index_read(int fd, const struct index_place *at, uint64_t capture,
			 uint64_t first_seq)
{
	struct beginning b;
	struct index *x = NULL;

	if (!at->bytes || !read_beginning(fd, at, capture, first_seq, &b))
		return NULL;
	struct index_head head = b.head;
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
	index_unref(x);
	return NULL;
}

/* --- of the segments that are being written --- */

struct indexes {
	pthread_mutex_t lock; /* guards everything below */
	struct index *first;
};

struct indexes *indexes_new(void)
{
	struct indexes *l = calloc(1, sizeof(*l));

	if (l)
		pthread_mutex_init(&l->lock, NULL);
	return l;
}

void indexes_free(struct indexes *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void indexes_add(struct indexes *l, struct index *x)
{
	pthread_mutex_lock(&l->lock);
	x->next = l->first;
	l->first = index_ref(x);
	pthread_mutex_unlock(&l->lock);
}

void indexes_remove(struct indexes *l, struct index *x)
{
	pthread_mutex_lock(&l->lock);
	struct index **at = &l->first;
	while (*at && *at != x)
		at = &(*at)->next;
	bool there = *at;
	if (there)
		*at = x->next;
	pthread_mutex_unlock(&l->lock);
	if (there)
		index_unref(x);
}

struct index *indexes_find(struct indexes *l, uint64_t capture,
			   uint64_t first_seq)
{
	pthread_mutex_lock(&l->lock);
	struct index *x = l->first;
	while (x && (x->capture != capture || x->first_seq != first_seq))
		x = x->next;
	if (x)
		index_ref(x);
	pthread_mutex_unlock(&l->lock);
	return x;
}
