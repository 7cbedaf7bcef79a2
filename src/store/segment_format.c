/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes behind a segment's blocks. Guarantees that what is decoded is what
 * was encoded or nothing, whatever the bytes are, but for a footer's strings,
 * which its checksum guards. Leaves out where the bytes are.
 */
#include "store/segment_format.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define SEEK_TABLE_FOOTER 0x8F92EAB1u
#define FOOTER_UUID "uuid "
#define FOOTER_PEOPLE "people "

/* What is encoded; there is room. */
struct format_bytes {
	uint8_t *at;
	size_t n;
};

static void format_put(struct format_bytes *b, const void *from, size_t n)
{
	if (n)
		memcpy(b->at + b->n, from, n);
	b->n += n;
}

static void format_put32(struct format_bytes *b, uint32_t v)
{
	format_put(b, &v, sizeof(v));
}

static void format_put_text(struct format_bytes *b, const char *word,
			    const char *text)
{
	format_put(b, word, strlen(word));
	format_put(b, text, strlen(text) + 1);
}

/* body in a zstd frame with a checksum, behind what is in b; false: memory is
 * out. */
static bool format_put_packed(struct format_bytes *b, int level,
			      const struct format_bytes *body)
{
	ZSTD_CCtx *z = ZSTD_createCCtx();

	if (!z)
		return false;
	ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
	ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, level);
	size_t n = ZSTD_compress2(z, b->at + b->n, ZSTD_compressBound(body->n),
				  body->at, body->n);
	ZSTD_freeCCtx(z);
	if (ZSTD_isError(n))
		return false;
	b->n += n;
	return true;
}

/* At the beginning, once it is known how much is behind it. */
static void format_put_head(struct format_bytes *b, uint32_t magic)
{
	uint32_t head[2] = {magic, (uint32_t)b->n - SKIPPABLE_HEAD_BYTES};

	memcpy(b->at, head, sizeof(head));
}

/* --- the footer --- */

static size_t footer_strings_bytes(const struct capture_row *row)
{
	size_t n = strlen(row->interface) + strlen(row->filter) + 2;

	for (size_t i = 0; i < row->n_aliases; i++)
		n += strlen(row->aliases[i]) + 1;
	return n + 1 + strlen(FOOTER_UUID) + strlen(row->uuid) + 1 +
	       strlen(FOOTER_PEOPLE) + strlen(row->people) + 1;
}

/* What is inside our skippable frame, before it is compressed. */
static bool footer_body(const struct segment_footer *head,
			const struct block_info *blocks,
			const struct capture_row *row, struct format_bytes *b)
{
	size_t table = head->blocks * sizeof(*blocks);

	b->n = 0;
	b->at = malloc(sizeof(*head) + table + footer_strings_bytes(row));
	if (!b->at)
		return false;
	format_put(b, head, sizeof(*head));
	format_put(b, blocks, table);
	format_put_text(b, "", row->interface);
	format_put_text(b, "", row->filter);
	for (size_t i = 0; i < row->n_aliases; i++)
		format_put_text(b, "", row->aliases[i]);
	format_put_text(b, "", "");
	format_put_text(b, FOOTER_UUID, row->uuid);
	format_put_text(b, FOOTER_PEOPLE, row->people);
	return true;
}

uint8_t *segment_footer_encode(struct segment_footer head,
			       const struct block_info *blocks,
			       const struct capture_row *row, size_t *n)
{
	struct format_bytes body = {NULL, 0},
			    out = {NULL, SKIPPABLE_HEAD_BYTES};

	head.version = 1;
	head.savefile = row->savefile;
	head.promiscuous = row->promiscuous;
	head.buffer_bytes = row->buffer_bytes;
	if (footer_body(&head, blocks, row, &body))
		out.at = malloc(out.n + ZSTD_compressBound(body.n));
	if (out.at && !format_put_packed(&out, ZSTD_CLEVEL_DEFAULT, &body)) {
		free(out.at);
		out.at = NULL;
	}
	if (out.at)
		format_put_head(&out, SEGMENT_FOOTER_MAGIC);
	free(body.at);
	*n = out.n;
	return out.at;
}

/* Behind the empty string; words of newer versions are passed over. */
static void footer_word(const char *text, struct capture_row *row)
{
	if (strncmp(text, FOOTER_UUID, strlen(FOOTER_UUID)) == 0)
		snprintf(row->uuid, sizeof(row->uuid), "%s",
			 text + strlen(FOOTER_UUID));
	if (strncmp(text, FOOTER_PEOPLE, strlen(FOOTER_PEOPLE)) == 0)
		snprintf(row->people, sizeof(row->people), "%s",
			 text + strlen(FOOTER_PEOPLE));
}

static bool footer_strings(const uint8_t *at, const uint8_t *end,
			   struct capture_row *row)
{
	bool words = false;

	while (at < end) {
		const char *text = (const char *)at;
		char *copy = strndup(text, (size_t)(end - at));

		at += copy ? strlen(copy) + 1 : 0;
		if (!copy || at > end) {
			free(copy);
			return false;
		}
		if (words || (row->filter && !*copy)) {
			footer_word(copy, row);
			free(copy);
			words = true;
		} else if (!row->interface) {
			row->interface = copy;
		} else if (!row->filter) {
			row->filter = copy;
		} else {
			bool ok = capture_row_add_alias(row, copy);

			free(copy);
			if (!ok)
				return false;
		}
	}
	return row->filter;
}

static struct block_info *footer_parse(const uint8_t *body, size_t n,
				       struct segment_footer *head,
				       struct capture_row *row)
{
	memcpy(head, body, sizeof(*head));
	size_t table = (size_t)head->blocks * sizeof(struct block_info);
	if (head->version != 1 || sizeof(*head) + table > n)
		return NULL;
	struct block_info *blocks = malloc(table + 1);
	if (!blocks)
		return NULL;
	memcpy(blocks, body + sizeof(*head), table);
	if (!row)
		return blocks;
	memset(row, 0, sizeof(*row));
	row->id = head->capture;
	row->savefile = head->savefile;
	row->promiscuous = head->promiscuous;
	row->link_type = head->link_type;
	row->snaplen = head->snaplen;
	row->buffer_bytes = head->buffer_bytes;
	if (footer_strings(body + sizeof(*head) + table, body + n, row))
		return blocks;
	capture_row_done(row);
	free(blocks);
	return NULL;
}

/* The zstd frame, decoded; NULL: not whole, or ENOMEM. */
static uint8_t *footer_unpack(const uint8_t *packed, size_t packed_bytes,
			      size_t *n)
{
	unsigned long long size =
		ZSTD_getFrameContentSize(packed, packed_bytes);

	if (size < sizeof(struct segment_footer) ||
	    size > 4ull * SEGMENT_FOOTER_MAX)
		return NULL;
	uint8_t *body = malloc(size + 1);
	*n = body ? ZSTD_decompress(body, size, packed, packed_bytes) : 0;
	if (!body || *n == size)
		return body;
	int error = ZSTD_getErrorCode(*n) == ZSTD_error_memory_allocation
			    ? ENOMEM
			    : 0;
	free(body);
	errno = error;
	return NULL;
}

struct block_info *segment_footer_decode(const uint8_t *frame, size_t n,
					 struct segment_footer *head,
					 struct capture_row *row)
{
	uint32_t start[2];
	size_t bytes;

	errno = 0;
	if (n < sizeof(start))
		return NULL;
	memcpy(start, frame, sizeof(start));
	if (start[0] != SEGMENT_FOOTER_MAGIC || start[1] != n - sizeof(start))
		return NULL;
	uint8_t *body = footer_unpack(frame + sizeof(start), start[1], &bytes);
	struct block_info *blocks =
		body ? footer_parse(body, bytes, head, row) : NULL;
	free(body);
	return blocks;
}

/* --- the seek table --- */

/* An entry is at most 4 GiB; damage may be longer. */
static uint32_t put_gap(struct format_bytes *b, uint64_t n)
{
	uint32_t entries = 0;

	for (; n > 0; entries++) {
		uint32_t part = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;

		format_put32(b, part);
		format_put32(b, 0);
		n -= part;
	}
	return entries;
}

uint8_t *seek_table_encode(const struct block_info *blocks, size_t n_blocks,
			   uint64_t head_bytes, uint64_t frames_end,
			   uint64_t index_bytes, uint32_t footer_bytes,
			   size_t *n)
{
	size_t gaps = n_blocks + 3 + frames_end / UINT32_MAX;
	struct format_bytes b = {malloc(8 + (n_blocks + gaps + 2) * 8 + 9),
				 SKIPPABLE_HEAD_BYTES};
	uint32_t entries = (uint32_t)n_blocks + 2;
	uint64_t at = head_bytes;

	if (!b.at)
		return NULL;
	format_put32(&b, (uint32_t)head_bytes);
	format_put32(&b, SAVEFILE_HEAD_BYTES);
	for (size_t i = 0; i < n_blocks; i++) {
		entries += put_gap(&b, blocks[i].offset - at);
		format_put32(&b, (uint32_t)blocks[i].stored_bytes);
		format_put32(&b, (uint32_t)blocks[i].raw_bytes);
		at = blocks[i].offset + blocks[i].stored_bytes;
	}
	entries += put_gap(&b, frames_end - at);
	/* An entry of its own, by which it is found. */
	entries += put_gap(&b, index_bytes);
	format_put32(&b, footer_bytes);
	format_put32(&b, 0); /* a skippable frame decodes to nothing */
	format_put32(&b, entries);
	format_put(&b, "", 1); /* descriptor: no checksums */
	format_put32(&b, SEEK_TABLE_FOOTER);
	format_put_head(&b, SEEK_TABLE_MAGIC);
	*n = b.n;
	return b.at;
}

/* Of the index and the footer, then how many there are and a magic. */
struct segment_tail segment_tail_decode(const uint8_t end[SEGMENT_TAIL_BYTES],
					uint64_t file_bytes)
{
	struct segment_tail t = {0};
	uint32_t index_bytes, decoded, footer_bytes, entries, magic;

	memcpy(&index_bytes, end, 4);
	memcpy(&decoded, end + 4, 4);
	memcpy(&footer_bytes, end + 8, 4);
	memcpy(&entries, end + 16, 4);
	memcpy(&magic, end + 21, 4);
	uint64_t behind = entries * 8ull + 17 + footer_bytes;
	if (magic != SEEK_TABLE_FOOTER || behind > file_bytes)
		return t;
	t.footer = file_bytes - behind;
	if (decoded || index_bytes < SKIPPABLE_HEAD_BYTES ||
	    index_bytes > t.footer)
		return t;
	t.index = t.footer - index_bytes;
	t.index_bytes = index_bytes;
	return t;
}

/* --- the index --- */

/* Any bit that is not as it was changes it: each step can be undone. */
static uint64_t format_sum(uint64_t start, const void *from, size_t n)
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
			     const uint8_t *front)
{
	uint64_t sum =
		format_sum(0, head, offsetof(struct segment_index_head, sum));

	return format_sum(sum, front, head->front_bytes);
}

uint32_t segment_index_page_sum(uint32_t set, uint32_t page, const uint32_t *v,
				uint32_t n)
{
	uint64_t sum = format_sum((uint64_t)set << 32 | page, v, 4 * (size_t)n);

	return (uint32_t)(sum ^ sum >> 32);
}

uint32_t segment_index_page_values(uint32_t count, uint32_t page)
{
	uint32_t left = count - page * SYNOPSIS_PAGE;

	return left < SYNOPSIS_PAGE ? left : SYNOPSIS_PAGE;
}

static bool format_present(uint32_t present, uint32_t set)
{
	return present >> set / SYNOPSIS_WORDS & 1;
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

static void put_union(const struct synopsis *s, struct format_bytes *b)
{
	format_put32(b, s->present);
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		if (format_present(s->present, set))
			format_put32(b, s->count[set] << 2 | s->level[set]);
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		for (uint32_t p = 0; p < synopsis_pages_of(s->count[set]);
		     p++) {
			const uint32_t *v =
				s->values + s->first[set] + p * SYNOPSIS_PAGE;

			format_put32(b, v[0]);
			format_put32(b, segment_index_page_sum(
						set, p, v,
						segment_index_page_values(
							s->count[set], p)));
		}
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		format_put(b, s->values + s->first[set],
			   4 * (size_t)s->count[set]);
}

uint8_t *segment_index_encode(struct segment_index_head head,
			      const struct synopsis *all,
			      const struct segment_index_entry *entries,
			      size_t n_entries, const uint8_t *bytes,
			      size_t n_bytes, size_t *n)
{
	struct format_bytes body = {NULL, 0},
			    out = {NULL, SKIPPABLE_HEAD_BYTES};
	size_t table = n_entries * sizeof(*entries);
	const size_t front = SEGMENT_INDEX_LEAST;

	if (table + n_bytes > SEGMENT_INDEX_BYTES_MAX)
		return NULL;
	head.version = SEGMENT_INDEX_VERSION;
	head.blocks = (uint32_t)n_entries;
	head.body_bytes = (uint32_t)(table + n_bytes);
	if (all)
		union_sizes(all, &head);
	body.at = malloc(head.body_bytes + 1u);
	out.at = malloc(front + head.union_bytes +
			ZSTD_compressBound(head.body_bytes));
	if (body.at && out.at) {
		format_put(&body, entries, table);
		format_put(&body, bytes, n_bytes);
		out.n = front;
		if (all)
			put_union(all, &out);
		head.sum = sum_of_front(&head, out.at + front);
		memcpy(out.at + SKIPPABLE_HEAD_BYTES, &head, sizeof(head));
	}
	if (!body.at || !out.at || !format_put_packed(&out, 1, &body)) {
		free(out.at);
		out.at = NULL;
	} else {
		format_put_head(&out, SEGMENT_INDEX_MAGIC);
	}
	free(body.at);
	*n = out.n;
	return out.at;
}

/* Of a frame that lies where there are so many bytes. */
static bool index_frame_is(const struct segment_index_start *s,
			   uint64_t frame_bytes)
{
	return s->magic == SEGMENT_INDEX_MAGIC &&
	       s->bytes == frame_bytes - SKIPPABLE_HEAD_BYTES;
}

bool segment_index_begins(const struct segment_index_start *s, size_t n,
			  uint64_t frame_bytes, uint64_t capture,
			  uint64_t first_seq)
{
	const struct segment_index_head *h = &s->head;

	return n >= SEGMENT_INDEX_LEAST &&
	       frame_bytes <= SEGMENT_INDEX_BYTES_MAX &&
	       index_frame_is(s, frame_bytes) &&
	       h->version == SEGMENT_INDEX_VERSION && h->capture == capture &&
	       h->first_seq == first_seq &&
	       h->union_bytes <= frame_bytes - SEGMENT_INDEX_LEAST &&
	       h->front_bytes <= h->union_bytes &&
	       h->front_bytes <= sizeof(s->front) &&
	       h->front_bytes <= n - SEGMENT_INDEX_LEAST &&
	       h->body_bytes <= SEGMENT_INDEX_BYTES_MAX &&
	       h->blocks <= h->body_bytes / sizeof(struct segment_index_entry);
}

bool segment_index_resembles(const struct segment_index_start *s,
			     uint64_t frame_bytes, uint64_t capture,
			     uint64_t first_seq)
{
	return (s->magic == SEGMENT_INDEX_MAGIC) +
		       (s->bytes == frame_bytes - SKIPPABLE_HEAD_BYTES) +
		       (s->head.capture == capture) +
		       (s->head.first_seq == first_seq) >=
	       2;
}

bool segment_index_outdated(const struct segment_index_start *s,
			    uint64_t frame_bytes)
{
	return index_frame_is(s, frame_bytes) && s->head.version != 0 &&
	       s->head.version < SEGMENT_INDEX_VERSION;
}

bool segment_index_front_whole(const struct segment_index_start *s)
{
	return sum_of_front(&s->head, s->front) == s->head.sum;
}

static bool format_needs(const uint32_t *need, uint32_t set)
{
	return !need || need[set / SYNOPSIS_WORDS] >> set % SYNOPSIS_WORDS & 1;
}

bool segment_index_sets(const struct segment_index_start *start,
			const uint32_t *need, struct synopsis *s,
			struct synopsis_pages *to)
{
	const struct segment_index_head *h = &start->head;
	const uint8_t *from = start->front + 4;
	uint32_t values = 0, pages = 0, present, head;

	if (h->front_bytes < 4)
		return false;
	memcpy(&present, start->front, 4);
	uint64_t sets = SYNOPSIS_WORDS * (uint64_t)__builtin_popcount(present);
	if (present >> SYNOPSIS_CLASSES || h->front_bytes < 4 + 4 * sets)
		return false;
	memset(s, 0, sizeof(*s));
	s->link_type = h->link_type;
	s->present = present;
	s->pages = to;
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
		if (!format_present(present, set))
			continue;
		memcpy(&head, from, 4);
		from += 4;
		to->first[set] = pages;
		s->first[set] = values;
		s->level[set] =
			format_needs(need, set) ? head & 3 : SYNOPSIS_ANY;
		s->count[set] = s->level[set] == SYNOPSIS_ANY ? 0 : head >> 2;
		if (head >> 2 > h->union_bytes / 4 - values)
			return false;
		values += head >> 2;
		pages += synopsis_pages_of(head >> 2);
	}
	to->page = (const void *)from;
	return h->union_bytes == h->front_bytes + 4ull * values &&
	       h->front_bytes == 4 + 4 * sets + 8ull * pages;
}

bool segment_index_body_decode(const struct segment_index_head *head,
			       const uint8_t *packed, size_t packed_bytes,
			       uint8_t *bytes,
			       struct segment_index_entry *entries, size_t *at)
{
	size_t n = head->blocks * sizeof(*entries);

	if (ZSTD_decompress(bytes, head->body_bytes, packed, packed_bytes) !=
	    head->body_bytes)
		return false;
	memcpy(entries, bytes, n);
	for (size_t i = 0; i < head->blocks; i++) {
		at[i] = n;
		if (entries[i].bytes > head->body_bytes - n ||
		    (i && entries[i].seq <= entries[i - 1].seq))
			return false;
		n += entries[i].bytes;
	}
	return n == head->body_bytes;
}
