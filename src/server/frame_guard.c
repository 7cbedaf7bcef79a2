/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bounds on frames. Guarantees that a verdict comes before the byte that it is
 * about has been passed on, that the work a byte costs is bounded, and that no
 * bound is met by what gRPC's own clients send. Leaves out what fields mean.
 */
#include "server/frame_guard.h"

#include "base/clock.h"

#include <string.h>

enum {
	TYPE_DATA,
	TYPE_HEADERS,
	TYPE_PRIORITY,
	TYPE_RST_STREAM,
	TYPE_SETTINGS,
	TYPE_PUSH_PROMISE,
	TYPE_PING,
	TYPE_GOAWAY,
	TYPE_WINDOW_UPDATE,
	TYPE_CONTINUATION
};

#define FLAG_ACK 0x1
#define FLAG_END_STREAM 0x1
#define FLAG_END_HEADERS 0x4
#define FLAG_PADDED 0x8
#define FLAG_PRIORITY 0x20

#define ENTRY_OVERHEAD 32 /* RFC 7541, 4.1 */
/* The longest name of the static table has 27 bytes. */
#define STATIC_MOST 32
#define STATIC_ENTRIES 61
/* Huffman's codes have 5 to 30 bits. */
#define HUFFMAN_MOST(n) ((n)*8 / 5)
#define HUFFMAN_LEAST(n) ((n)*8 / 30)
/* Of a number: so many bits are more than any bound. */
#define NUMBER_SHIFT_MAX 21

/* --- budgets --- */

/* gRPC's clients open a stream a call, reset those that are cancelled, and send
 * a PING for each new estimate of the bandwidth. A client that waits for each
 * answer before it asks again stays below all of these. What every connection
 * begins with is not counted: some people make one for each question. */
static const struct {
	const char *many;
	unsigned burst, per_s;
} kinds[FRAME_KINDS] = {
	[FRAME_STREAM] = {"streams", 2000, 500},
	[FRAME_RESET] = {"resets of streams", 1000, 100},
	[FRAME_SETTINGS] = {"SETTINGS", 1000, 20},
	[FRAME_PING] = {"PINGs", 1000, 50},
	[FRAME_WINDOW] = {"WINDOW_UPDATEs", 10000, 1000},
	[FRAME_USELESS] = {"frames that say nothing", 200, 10},
};

/* One WINDOW_UPDATE for so many bytes that we send is a peer that reads. */
#define BYTES_A_WINDOW 512

static int64_t budget_interval(enum frame_kind k)
{
	return NS_PER_S / kinds[k].per_s;
}

static bool budget_take(struct frame_budgets *b, enum frame_kind k, int64_t now,
			struct err *e)
{
	int64_t interval = budget_interval(k);
	int64_t was = atomic_load(&b->full_ns[k]), full;

	do {
		full = (was > now ? was : now) + interval;
		if (full - now > kinds[k].burst * interval)
			return err_set(e, ERR_LIMIT, "over %u %s a second",
				       kinds[k].per_s, kinds[k].many);
	} while (!atomic_compare_exchange_weak(&b->full_ns[k], &was, full));
	return true;
}

void frame_budgets_sent(struct frame_budgets *b, uint64_t bytes, int64_t now_ns)
{
	int64_t back = (int64_t)(bytes / BYTES_A_WINDOW + 1) *
		       budget_interval(FRAME_WINDOW);
	int64_t was = atomic_load(&b->full_ns[FRAME_WINDOW]);

	while (was > now_ns &&
	       !atomic_compare_exchange_weak(&b->full_ns[FRAME_WINDOW], &was,
					     was - back))
		;
}

/* --- HPACK: how much the fields of a block are --- */

static void hpack_forget(struct hpack *h, uint32_t room)
{
	while (h->n_entries && h->table_least > room) {
		unsigned oldest =
			(h->newest + FRAME_TABLE_ENTRIES - h->n_entries + 1) %
			FRAME_TABLE_ENTRIES;
		h->table_least -= h->table[oldest].least;
		h->n_entries--;
	}
}

static void hpack_keep(struct hpack *h)
{
	const struct hpack_entry *entry = &h->entry;

	/* One that is too large leaves the table empty. */
	hpack_forget(h, entry->least > h->table_max
				? 0
				: h->table_max - entry->least);
	/* An entry takes ENTRY_OVERHEAD at least, so there is room in the
	 * ring when there is room in the table. */
	if (entry->least > h->table_max)
		return;
	h->newest = (h->newest + 1) % FRAME_TABLE_ENTRIES;
	h->table[h->newest] = *entry;
	h->n_entries++;
	h->table_least += entry->least;
}

/* What is not there is for gRPC to refuse. */
static struct hpack_entry hpack_at(const struct hpack *h, uint32_t index)
{
	struct hpack_entry fixed = {STATIC_MOST, 0,
				    2 * STATIC_MOST + ENTRY_OVERHEAD,
				    ENTRY_OVERHEAD};

	if (index <= STATIC_ENTRIES || index - STATIC_ENTRIES > h->n_entries)
		return fixed;
	return h->table[(h->newest + FRAME_TABLE_ENTRIES -
			 (index - STATIC_ENTRIES - 1)) %
			FRAME_TABLE_ENTRIES];
}

static bool hpack_add(struct hpack *h, uint32_t bytes, struct err *e)
{
	h->fields += bytes;
	return h->fields <= FRAME_FIELDS_MAX ||
	       err_set(e, ERR_LIMIT,
		       "the fields of a header block have over "
		       "%u bytes",
		       FRAME_FIELDS_MAX);
}

/* The string of the field is there. */
static bool hpack_string_end(struct hpack *h, struct err *e)
{
	if (!h->is_value) {
		h->is_value = true;
		h->state = HPACK_LENGTH;
		return true;
	}
	h->state = HPACK_FIELD;
	if (h->first & 0x40)
		hpack_keep(h);
	return hpack_add(h, h->entry.most, e);
}

static bool hpack_string_begin(struct hpack *h, struct err *e)
{
	uint32_t n = h->number, most = h->huffman ? HUFFMAN_MOST(n) : n;
	uint32_t least = h->huffman ? HUFFMAN_LEAST(n) : n;

	if (n > FRAME_HEADERS_MAX)
		return err_set(e, ERR_LIMIT,
			       "a string of a header block has over %u bytes",
			       FRAME_HEADERS_MAX);
	if (!h->is_value) {
		h->entry.name_most = (uint16_t)most;
		h->entry.name_least = (uint16_t)least;
	}
	h->entry.most = (uint16_t)(h->entry.most + most);
	h->entry.least = (uint16_t)(h->entry.least + least);
	h->left = n;
	h->state = HPACK_STRING;
	return n || hpack_string_end(h, e);
}

/* The number after a field's first bits is there. */
static bool hpack_field(struct hpack *h, struct err *e)
{
	uint32_t n = h->number;

	if (h->first & 0x80) { /* an indexed field */
		h->state = HPACK_FIELD;
		return hpack_add(h, hpack_at(h, n).most, e);
	}
	if ((h->first & 0xe0) == 0x20) { /* the table's size */
		h->state = HPACK_FIELD;
		if (n > FRAME_TABLE_BYTES)
			return err_set(e, ERR_LIMIT,
				       "HPACK's table of %u bytes was made %u",
				       FRAME_TABLE_BYTES, n);
		h->table_max = n;
		hpack_forget(h, n);
		/* Nothing is a field of no bytes. */
		return hpack_add(h, ENTRY_OVERHEAD, e);
	}
	struct hpack_entry name = n ? hpack_at(h, n) : (struct hpack_entry){0};
	h->entry = (struct hpack_entry){
		name.name_most, name.name_least,
		(uint16_t)(name.name_most + ENTRY_OVERHEAD),
		(uint16_t)(name.name_least + ENTRY_OVERHEAD)};
	h->is_value = n != 0;
	h->state = HPACK_LENGTH;
	return true;
}

static bool hpack_number_end(struct hpack *h, struct err *e)
{
	return h->in_string ? hpack_string_begin(h, e) : hpack_field(h, e);
}

static bool hpack_number_begin(struct hpack *h, uint8_t byte, uint8_t mask,
			       bool in_string, struct err *e)
{
	h->in_string = in_string;
	h->number = byte & mask;
	h->shift = 0;
	h->state = HPACK_NUMBER;
	return h->number == mask || hpack_number_end(h, e);
}

static uint8_t hpack_mask(uint8_t first)
{
	return first & 0x80   ? 0x7f
	       : first & 0x40 ? 0x3f
	       : first & 0x20 ? 0x1f
			      : 0x0f;
}

static bool hpack_byte(struct hpack *h, uint8_t byte, struct err *e)
{
	switch (h->state) {
	case HPACK_FIELD:
		h->first = byte;
		return hpack_number_begin(h, byte, hpack_mask(byte), false, e);
	case HPACK_LENGTH:
		h->huffman = byte & 0x80;
		return hpack_number_begin(h, byte, 0x7f, true, e);
	default:
		if (h->shift > NUMBER_SHIFT_MAX)
			return err_set(e, ERR_LIMIT,
				       "a number of a header block has over "
				       "%u bits",
				       NUMBER_SHIFT_MAX + 7);
		h->number += (uint32_t)(byte & 0x7f) << h->shift;
		h->shift += 7;
		return byte & 0x80 || hpack_number_end(h, e);
	}
}

static bool hpack_take(struct hpack *h, const uint8_t *bytes, size_t n,
		       struct err *e)
{
	size_t at = 0;

	while (at < n) {
		if (h->state != HPACK_STRING) {
			if (!hpack_byte(h, bytes[at++], e))
				return false;
			continue;
		}
		size_t some = h->left < n - at ? h->left : n - at;
		at += some;
		h->left -= (uint32_t)some;
		if (!h->left && !hpack_string_end(h, e))
			return false;
	}
	return true;
}

/* --- frames --- */

void frame_guard_init(struct frame_guard *g, struct frame_budgets *b,
		      int64_t acknowledge_by_ns)
{
	*g = (struct frame_guard){.budgets = b,
				  .acknowledge_by_ns = acknowledge_by_ns};
	g->hpack.table_max = FRAME_TABLE_BYTES;
}

bool frame_guard_in_time(const struct frame_guard *g, int64_t now_ns,
			 struct err *e)
{
	return g->acknowledged || now_ns <= g->acknowledge_by_ns ||
	       err_set(e, ERR_LIMIT, "SETTINGS were not acknowledged");
}

/* A header block begins or goes on. */
static bool guard_headers(struct frame_guard *g, int64_t now, struct err *e)
{
	if (g->type == TYPE_HEADERS) {
		g->block_bytes = g->n_continuations = 0;
		g->block_stream = g->stream;
		g->hpack.fields = 0;
		if (!budget_take(g->budgets, FRAME_STREAM, now, e))
			return false;
		if (!g->acknowledged && ++g->n_early > FRAME_EARLY_STREAMS)
			return err_set(e, ERR_LIMIT,
				       "over %u streams before SETTINGS were "
				       "acknowledged",
				       FRAME_EARLY_STREAMS);
		g->front = g->flags & FLAG_PRIORITY ? 5 : 0;
		g->front += g->flags & FLAG_PADDED ? 1 : 0;
	} else if (++g->n_continuations > FRAME_CONTINUATIONS_MAX) {
		return err_set(e, ERR_LIMIT,
			       "over %u CONTINUATION frames in a header block",
			       FRAME_CONTINUATIONS_MAX);
	}
	g->block_bytes += g->left;
	return g->block_bytes <= FRAME_HEADERS_MAX ||
	       err_set(e, ERR_LIMIT, "a header block of over %u bytes",
		       FRAME_HEADERS_MAX);
}

/* SETTINGS and PING: each connection begins with some. */
static bool guard_greeting(struct frame_guard *g, enum frame_kind k,
			   int64_t now, struct err *e)
{
	uint8_t *n = k == FRAME_PING ? &g->n_pings : &g->n_settings;

	if (*n < FRAME_GREETINGS) {
		++*n;
		return true;
	}
	return budget_take(g->budgets, k, now, e);
}

static bool guard_count(struct frame_guard *g, int64_t now, struct err *e)
{
	switch (g->type) {
	case TYPE_DATA:
		return g->left || g->flags & FLAG_END_STREAM ||
		       budget_take(g->budgets, FRAME_USELESS, now, e);
	case TYPE_HEADERS:
	case TYPE_CONTINUATION:
		return guard_headers(g, now, e);
	case TYPE_RST_STREAM:
		return budget_take(g->budgets, FRAME_RESET, now, e);
	case TYPE_SETTINGS:
		g->acknowledged |= g->flags & FLAG_ACK;
		return guard_greeting(g, FRAME_SETTINGS, now, e);
	case TYPE_PING:
		return guard_greeting(g, FRAME_PING, now, e);
	case TYPE_WINDOW_UPDATE:
		return budget_take(g->budgets, FRAME_WINDOW, now, e);
	case TYPE_PUSH_PROMISE:
		return err_set(e, ERR_LIMIT, "PUSH_PROMISE of a client");
	default:
		return budget_take(g->budgets, FRAME_USELESS, now, e);
	}
}

/* A frame's head is there. */
static bool guard_frame(struct frame_guard *g, int64_t now, struct err *e)
{
	const uint8_t *h = g->head;
	bool goes_on = g->block_stream != 0;

	g->left = (uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2];
	g->type = h[3];
	g->flags = h[4];
	g->stream = (uint32_t)(h[5] & 0x7f) << 24 | (uint32_t)h[6] << 16 |
		    (uint32_t)h[7] << 8 | h[8];
	g->front = g->back = 0;
	g->pad_known = false;
	if (goes_on != (g->type == TYPE_CONTINUATION) ||
	    (goes_on && g->stream != g->block_stream))
		return err_set(e, ERR_LIMIT, "a header block that is %s",
			       goes_on ? "interrupted"
				       : "continued by nothing "
					 "that began");
	if (g->type == TYPE_HEADERS && !g->stream)
		return err_set(e, ERR_LIMIT, "HEADERS of no stream");
	if (g->type != TYPE_DATA && g->type != TYPE_HEADERS &&
	    g->type != TYPE_CONTINUATION && g->left > FRAME_OTHER_MAX)
		return err_set(e, ERR_LIMIT,
			       "a frame of type %u and over %u bytes", g->type,
			       FRAME_OTHER_MAX);
	return guard_count(g, now, e);
}

static bool guard_frame_end(struct frame_guard *g, struct err *e)
{
	g->n_head = 0;
	if (!g->block_stream || !(g->flags & FLAG_END_HEADERS))
		return true;
	g->block_stream = 0;
	return g->hpack.state == HPACK_FIELD ||
	       err_set(e, ERR_LIMIT, "a header block that ends in a field");
}

/* Some of a header frame's payload: without padding and priority. */
static bool guard_block(struct frame_guard *g, const uint8_t *bytes, size_t n,
			struct err *e)
{
	size_t at = 0;

	while (g->front && at < n) {
		if (g->flags & FLAG_PADDED && g->type == TYPE_HEADERS &&
		    !g->pad_known) {
			g->back = bytes[at];
			g->pad_known = true;
		}
		g->front--;
		at++;
	}
	size_t rest = g->left - at; /* of the frame, from bytes + at on */
	size_t ours = rest > g->back ? rest - g->back : 0;
	if (ours > n - at)
		ours = n - at;
	return hpack_take(&g->hpack, bytes + at, ours, e);
}

static bool guard_preface(struct frame_guard *g, const uint8_t *bytes, size_t n,
			  size_t *at, struct err *e)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

	while (*at < n && g->n_preface < sizeof(preface) - 1)
		if (bytes[(*at)++] != (uint8_t)preface[g->n_preface++])
			return err_set(e, ERR_LIMIT,
				       "it does not speak "
				       "HTTP/2");
	return true;
}

bool frame_guard_take(struct frame_guard *g, const uint8_t *bytes, size_t n,
		      int64_t now_ns, struct err *e)
{
	size_t at = 0;

	if (!frame_guard_in_time(g, now_ns, e) ||
	    !guard_preface(g, bytes, n, &at, e))
		return false;
	while (at < n) {
		if (g->n_head < sizeof(g->head)) {
			g->head[g->n_head++] = bytes[at++];
			if (g->n_head < sizeof(g->head))
				continue;
			if (!guard_frame(g, now_ns, e))
				return false;
		}
		size_t some = g->left < n - at ? g->left : n - at;
		if (g->block_stream && !guard_block(g, bytes + at, some, e))
			return false;
		at += some;
		g->left -= (uint32_t)some;
		if (!g->left && !guard_frame_end(g, e))
			return false;
	}
	return true;
}
