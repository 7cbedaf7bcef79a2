/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Synopses of packets. Guarantees the promise of synopsis.h for any bytes
 * whatever, and work bounded by the packets: no allocation, a few steps a word.
 *
 * A maker has a list of (set, value), and what tells that one is in it: of
 * words of up to 2 bytes a bit each, of the others a hash table.
 */
#include "index/synopsis_build.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

/* A key is an epoch, which a reset ends, a set and a value: a slot that has
 * less than the epoch is free. */
#define EPOCH (1ull << 42)
#define KEY(m, set, value) ((m)->epoch | (uint64_t)(set) << 32 | (value))
#define KEY_SET(key) ((uint32_t)((key) >> 32) & (EPOCH - 1) >> 32)
_Static_assert(SYNOPSIS_SETS <= EPOCH >> 32, "a set fits into a key");

#define SMALL_BITS 16u
#define SMALL_WORDS ((1u << SMALL_BITS) / 64)

/* Of a packet; all words are in these, when its IPv4 header has 20. */
#define HEAD_BYTES 64u
#define HEAD_PARTS (HEAD_BYTES / 8)
#define IP4_HEADER 20u

/* Of a class: what is in the packet and not fixed. */
struct stored_word {
	uint8_t offset, bytes;
	bool after_header;
	uint8_t load;  /* a load of 4 bytes from here has it */
	uint8_t drop;  /* low bits of these, big-endian, that it has not */
	uint32_t mask; /* what it has of these, as memory is loaded */
	uint16_t set;
};

struct maker_class {
	uint32_t header, n;
	uint32_t end;		   /* of the last word */
	uint64_t mask[HEAD_PARTS]; /* the bytes that words have */
	uint32_t hashed;	   /* the first part that recent_of looks at */
	struct stored_word words[SYNOPSIS_WORDS];
};

/* What was added not long ago: most packets have the words of one of these, and
 * many that have not differ from one in few. */
#define RECENT_BITS 7
#define HASHED_PARTS 3u /* the last that have words: addresses and ports */
struct recent {
	uint64_t stamp; /* epoch and class */
	uint8_t head[HEAD_BYTES];
};

struct synopsis_maker {
	uint32_t link_type;
	struct link_layer link;
	uint32_t present;
	uint32_t max_keys, n_keys;
	unsigned slot_bits;
	uint64_t epoch;
	uint64_t multiplier; /* random: nobody can make packets that collide */
	uint64_t *slots;
	uint64_t *small; /* SMALL_WORDS a set; NULL: the table fits a cache */
	uint64_t *keys;	 /* those in slots and small, room for one more */
	uint32_t *spare; /* max_keys */
	bool is_small[SYNOPSIS_SETS];
	uint32_t count[SYNOPSIS_SETS];
	uint8_t base[SYNOPSIS_SETS];
	uint8_t level[SYNOPSIS_SETS];
	uint8_t shift[SYNOPSIS_SETS];	    /* 32: any */
	uint64_t lengths[SYNOPSIS_CLASSES]; /* bit l: l << LENGTH_BASE was added
					     */
	struct maker_class classes[SYNOPSIS_CLASSES];
	uint8_t last[SYNOPSIS_CLASSES]; /* the newest of a class in recent */
	struct recent recent[1u << RECENT_BITS];
};

static inline uint64_t *slot_of(const struct synopsis_maker *m, uint64_t key)
{
	return &m->slots[key * m->multiplier >> (64 - m->slot_bits)];
}

/* The key's slot, or the free one where it belongs. Nothing foretells which, so
 * neither this nor put_key has a branch on it. */
static inline uint64_t *slot_find(const struct synopsis_maker *m, uint64_t key)
{
	const uint64_t *end = m->slots + ((size_t)1 << m->slot_bits);
	uint64_t *slot = slot_of(m, key);

	while ((*slot != key) & (*slot >= m->epoch))
		if (++slot == end)
			slot = m->slots;
	return slot;
}

static inline uint64_t *small_word(const struct synopsis_maker *m, uint32_t set,
				   uint32_t value)
{
	return &m->small[(size_t)set * SMALL_WORDS + value / 64];
}

static inline bool has_small(const struct synopsis_maker *m, uint32_t set,
			     uint32_t value)
{
	return *small_word(m, set, value) >> value % 64 & 1;
}

static inline bool has_key(const struct synopsis_maker *m, uint64_t key)
{
	uint32_t set = KEY_SET(key);

	return m->is_small[set] ? has_small(m, set, (uint32_t)key)
				: *slot_find(m, key) == key;
}

static inline void put_key(struct synopsis_maker *m, uint64_t key)
{
	uint32_t set = KEY_SET(key), value = (uint32_t)key;
	bool is_new;

	if (m->is_small[set]) {
		is_new = !has_small(m, set, value);
		*small_word(m, set, value) |= 1ull << value % 64;
	} else {
		uint64_t *slot = slot_find(m, key);

		is_new = *slot != key;
		*slot = key;
	}
	m->keys[m->n_keys] = key;
	m->n_keys += is_new;
	m->count[set] += is_new;
}

static void empty_small(struct synopsis_maker *m)
{
	if (!m->small)
		return;
	for (uint32_t i = 0; i < m->n_keys; i++) {
		uint32_t set = KEY_SET(m->keys[i]);

		if (m->is_small[set])
			*small_word(m, set, (uint32_t)m->keys[i]) = 0;
	}
}

/* Brings the table to these levels, none of them finer than before. */
static void synopsis_rebuild(struct synopsis_maker *m, const uint8_t *level)
{
	uint32_t n = m->n_keys;
	uint8_t more[SYNOPSIS_SETS];

	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
		uint8_t shift = level[set] == SYNOPSIS_ANY
					? 32
					: m->base[set] + 4 * level[set];

		more[set] = shift - m->shift[set];
		m->shift[set] = shift;
		m->level[set] = level[set];
	}
	memset(m->slots, 0, sizeof(*m->slots) << m->slot_bits);
	memset(m->count, 0, sizeof(m->count));
	empty_small(m);
	m->n_keys = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t set = KEY_SET(m->keys[i]);

		if (level[set] == SYNOPSIS_ANY)
			continue;
		put_key(m, KEY(m, set, (uint32_t)m->keys[i] >> more[set]));
	}
}

/* Keys of such a set stay in the table until it is built again: packets that
 * are cut must not cost more than whole ones. */
static void set_any(struct synopsis_maker *m, uint32_t set)
{
	m->level[set] = SYNOPSIS_ANY;
	m->shift[set] = 32;
}

uint32_t synopsis_largest(const uint32_t *size, const uint8_t *level)
{
	uint32_t most = 0;

	for (uint32_t i = 1; i < SYNOPSIS_SETS; i++)
		if (level[i] != SYNOPSIS_ANY &&
		    (size[i] > size[most] || level[most] == SYNOPSIS_ANY))
			most = i;
	return most;
}

/*
 * The largest sets, which have half of the table together, pay for it: they
 * become coarser until a quarter of it is free. Much at a time, so that what
 * floods every word costs a few steps a value, too.
 */
static void synopsis_make_room(struct synopsis_maker *m)
{
	uint8_t level[SYNOPSIS_SETS], left[SYNOPSIS_SETS];
	uint32_t sum = 0;

	memcpy(left, m->level, sizeof(left));
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		if (left[set] == SYNOPSIS_ANY)
			sum += m->count[set];
	while (sum < (m->max_keys + 1) / 2) {
		uint32_t most = synopsis_largest(m->count, left);

		sum += m->count[most];
		left[most] = SYNOPSIS_ANY;
	}
	do {
		for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
			level[set] =
				m->level[set] + (left[set] != m->level[set]);
		synopsis_rebuild(m, level);
	} while (m->n_keys > m->max_keys - (m->max_keys + 3) / 4);
}

/* Apart from add_value, which has little to do where this is not called. */
static __attribute__((noinline)) void add_new(struct synopsis_maker *m,
					      uint32_t set, uint32_t value)
{
	while (m->shift[set] != 32) {
		uint64_t key = KEY(m, set, value >> m->shift[set]);

		if (m->n_keys < m->max_keys) {
			put_key(m, key);
			return;
		}
		if (has_key(m, key))
			return;
		synopsis_make_room(m);
	}
}

/* Looks into the table only: small sets are a union's, which is not made of
 * packets. */
static inline void add_value(struct synopsis_maker *m, uint32_t set,
			     uint32_t value)
{
	uint64_t key = KEY(m, set, (uint64_t)value >> m->shift[set]);

	if (*slot_of(m, key) != key)
		add_new(m, set, value);
}

static void add_length(struct synopsis_maker *m, unsigned class,
		       uint32_t length)
{
	uint32_t kept = length >> LENGTH_BASE;

	if (kept < 64) {
		if (m->lengths[class] >> kept & 1)
			return;
		m->lengths[class] |= 1ull << kept;
	}
	add_value(m, class * SYNOPSIS_WORDS, length);
}

/* Some of the packet's words are behind its end, or may be. */
static void add_short_packet(struct synopsis_maker *m,
			     const struct maker_class *c, const uint8_t *p,
			     uint32_t n, uint32_t header)
{
	for (uint32_t i = 0; i < c->n; i++) {
		const struct stored_word *w = &c->words[i];
		uint32_t at = w->offset;

		if (w->after_header)
			at = at - IP4_HEADER + header;
		if (at + w->bytes <= n)
			add_value(m, w->set,
				  w->bytes == 4	  ? be32(p + at)
				  : w->bytes == 2 ? be16(p + at)
						  : p[at]);
		else if (at < n && m->level[w->set] != SYNOPSIS_ANY)
			set_any(m, w->set);
	}
}

/* Where a packet like this one would be. */
static unsigned recent_of(const struct maker_class *c, const uint8_t *head)
{
	const uint8_t *p = head + 8 * c->hashed;
	const uint64_t *mask = c->mask + c->hashed;
	uint64_t mix = (load64(p) & mask[0]) * 0x9fb21c651e98df25ull +
		       (load64(p + 8) & mask[1]) * 0xd6e8feb86659fd93ull +
		       (load64(p + 16) & mask[2]) * 0xa0761d6478bd642full;

	return (unsigned)(mix >> (64 - RECENT_BITS));
}

static bool is_like(const struct maker_class *c, const uint8_t *head,
		    const uint8_t *other)
{
	uint64_t differ = 0;

	for (uint32_t i = 0; i < HEAD_PARTS; i++)
		differ |= (load64(head + 8 * i) ^ load64(other + 8 * i)) &
			  c->mask[i];
	return differ == 0;
}

/* Only the words that are not as in a recent packet of the class: those were
 * added with that. */
static void add_head(struct synopsis_maker *m, unsigned class,
		     const uint8_t *head)
{
	const struct maker_class *c = &m->classes[class];
	uint64_t stamp = m->epoch | class;
	unsigned here = recent_of(c, head);
	struct recent *r = &m->recent[here];
	const struct recent *like =
		&m->recent[r->stamp == stamp ? here : m->last[class]];
	uint32_t all = like->stamp == stamp ? 0 : UINT32_MAX;

	if (!all && is_like(c, head, like->head))
		return;
	for (uint32_t i = 0; i < c->n; i++) {
		const struct stored_word *w = &c->words[i];
		uint32_t word = load32(head + w->load);

		if (((word ^ load32(like->head + w->load)) | all) & w->mask)
			add_value(m, w->set,
				  __builtin_bswap32(word & w->mask) >> w->drop);
	}
	r->stamp = stamp;
	memcpy(r->head, head, HEAD_BYTES);
	m->last[class] = (uint8_t)here;
}

/* left: what can be read at p, h->caplen or more. */
static void add_packet(struct synopsis_maker *m, const struct packet_head *h,
		       const uint8_t *p, uint32_t left)
{
	uint32_t n = h->caplen, class = header_class(&m->link, p, n);
	const struct maker_class *c = &m->classes[class];
	uint32_t header =
		n > c->header ? 4u * (p[c->header] & 0xf) : IP4_HEADER;
	uint8_t head[HEAD_BYTES];

	m->present |= 1u << class;
	if (c->n == 0)
		return;
	add_length(m, class, h->len);
	if (header < IP4_HEADER || n < c->end + header - IP4_HEADER) {
		add_short_packet(m, c, p, n, header);
		return;
	}
	if (header > IP4_HEADER || left < HEAD_BYTES) {
		memset(head, 0, sizeof(head));
		memcpy(head, p, n < HEAD_BYTES ? n : HEAD_BYTES);
		if (header > IP4_HEADER) /* without its options */
			memcpy(head + c->header + IP4_HEADER,
			       p + c->header + header, 4);
		p = head;
	}
	add_head(m, class, p);
}

void synopsis_maker_packets(struct synopsis_maker *m, const uint8_t *records,
			    uint32_t n)
{
	struct packet_head h;
	const uint8_t *body;
	uint32_t at = 0, was = 0;

	while (packet_next(records, n, &at, &h, &body) > 0) {
		/* Records of one length come in runs: then the 8th from here
		 * is asked for, else all of what follows. It need not be
		 * there. */
		if (h.caplen == was)
			block_ask(records + at + 7 * (sizeof(h) + h.caplen),
				  sizeof(h) + HEAD_BYTES, false);
		else
			block_ask(records + at, 1024, false);
		was = h.caplen;
		add_packet(m, &h, body, n - (uint32_t)(body - records));
	}
}

/* So many values ahead their slots are asked for. */
#define UNION_AHEAD 16

static void add_values(struct synopsis_maker *m, uint32_t set,
		       const uint32_t *v, uint32_t n, unsigned shift)
{
	for (uint32_t i = 0; i < n && m->shift[set] != 32; i++) {
		uint32_t ahead = i + UNION_AHEAD < n ? i + UNION_AHEAD : i;

		if (!m->is_small[set])
			__builtin_prefetch(slot_of(
				m, KEY(m, set,
				       v[ahead] << shift >> m->shift[set])));
		if (m->n_keys < m->max_keys)
			put_key(m, KEY(m, set, v[i] << shift >> m->shift[set]));
		else
			add_new(m, set, v[i] << shift);
	}
}

void synopsis_maker_union(struct synopsis_maker *m, const struct synopsis *s)
{
	uint8_t level[SYNOPSIS_SETS];
	bool coarser = false;

	assert(s->link_type == m->link_type);
	m->present |= s->present;
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
		coarser |= s->level[set] > m->level[set];
		level[set] = s->level[set] > m->level[set] ? s->level[set]
							   : m->level[set];
	}
	if (coarser)
		synopsis_rebuild(m, level);
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		if (s->count[set])
			add_values(m, set, s->values + s->first[set],
				   s->count[set],
				   m->base[set] + 4u * s->level[set]);
}

static void learn_word(struct maker_class *c, const struct word *w,
		       uint32_t set)
{
	bool after_header = w->place == WORD_AFTER_HEADER;
	uint32_t at = w->offset + (after_header ? IP4_HEADER : 0);
	uint32_t load = at < HEAD_BYTES - 4 ? at : HEAD_BYTES - 4;
	uint32_t before = 8 * (at - load), bits = 8u * w->bytes;

	assert(at + w->bytes <= HEAD_BYTES);
	c->words[c->n++] = (struct stored_word){
		.offset = (uint8_t)at,
		.bytes = w->bytes,
		.after_header = after_header,
		.load = (uint8_t)load,
		.drop = (uint8_t)(32 - before - bits),
		.mask = UINT32_MAX >> (32 - bits) << before,
		.set = (uint16_t)set};
	memset((uint8_t *)c->mask + at, 0xff, w->bytes);
	if (at + w->bytes > c->end)
		c->end = at + w->bytes;
}

static void learn_layouts(struct synopsis_maker *m)
{
	struct header_layout l;

	memset(m->base, 0, sizeof(m->base));
	memset(m->is_small, 0, sizeof(m->is_small));
	for (uint32_t class = 0; class < SYNOPSIS_CLASSES; class ++) {
		struct maker_class *c = &m->classes[class];

		header_layout(m->link_type, class, &l);
		*c = (struct maker_class){.header = l.header};
		for (uint32_t i = 0; i < l.n; i++) {
			const struct word *w = &l.words[i];
			uint32_t set = class * SYNOPSIS_WORDS + i;

			m->base[set] = w->base;
			m->is_small[set] =
				m->small && 8u * w->bytes <= SMALL_BITS;
			if (!w->fixed && w->place != WORD_WIRE_LENGTH)
				learn_word(c, w, set);
		}
		uint32_t parts = (c->end + 7) / 8;
		c->hashed = parts > HASHED_PARTS ? parts - HASHED_PARTS : 0;
	}
}

/* Empties slots and recent. */
static void new_epoch(struct synopsis_maker *m)
{
	m->epoch += EPOCH;
	if (m->epoch)
		return;
	/* They begin again, and what the first ones left would be found. */
	m->epoch = EPOCH;
	memset(m->slots, 0, sizeof(*m->slots) << m->slot_bits);
	memset(m->recent, 0, sizeof(m->recent));
}

void synopsis_maker_reset(struct synopsis_maker *m, uint32_t link_type)
{
	empty_small(m);
	if (link_type != m->link_type) {
		m->link_type = link_type;
		m->link = link_layer_of(link_type);
		learn_layouts(m);
	}
	new_epoch(m);
	m->present = 0;
	m->n_keys = 0;
	memset(m->count, 0, sizeof(m->count));
	memset(m->level, 0, sizeof(m->level));
	memset(m->lengths, 0, sizeof(m->lengths));
	memcpy(m->shift, m->base, sizeof(m->shift));
}

struct synopsis_maker *synopsis_maker_new(uint32_t link_type, uint32_t max_keys)
{
	struct synopsis_maker *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->max_keys = max_keys ? max_keys : 1;
	/* Half empty at least. */
	for (m->slot_bits = 4; (1ull << m->slot_bits) < 2ull * m->max_keys;)
		m->slot_bits++;
	m->slots = calloc((size_t)1 << m->slot_bits, sizeof(*m->slots));
	bool large = m->slot_bits > SMALL_BITS;
	if (large)
		m->small = calloc((size_t)SYNOPSIS_SETS * SMALL_WORDS,
				  sizeof(*m->small));
	m->keys = calloc(m->max_keys + 1ul, sizeof(*m->keys));
	m->spare = calloc(m->max_keys, sizeof(*m->spare));
	if (!m->slots || (large && !m->small) || !m->keys || !m->spare ||
	    getrandom(&m->multiplier, sizeof(m->multiplier), 0) !=
		    sizeof(m->multiplier)) {
		synopsis_maker_free(m);
		return NULL;
	}
	m->multiplier |= 1;
	m->link_type = ~link_type;
	synopsis_maker_reset(m, link_type);
	return m;
}

void synopsis_maker_free(struct synopsis_maker *m)
{
	if (!m)
		return;
	free(m->slots);
	free(m->small);
	free(m->keys);
	free(m->spare);
	free(m);
}

/* --- out of the table, in order --- */

/* Least byte first; a pass over bytes that are all the same is left out. */
static void sort_values(uint32_t *v, uint32_t n, uint32_t *spare)
{
	uint32_t *from = v, *to = spare, differ = 0;

	if (n < 32) { /* insertion */
		for (uint32_t i = 1; i < n; i++) {
			uint32_t x = v[i], j = i;

			for (; j > 0 && v[j - 1] > x; j--)
				v[j] = v[j - 1];
			v[j] = x;
		}
		return;
	}
	for (uint32_t i = 1; i < n; i++)
		differ |= v[i] ^ v[0];
	for (unsigned shift = 0; shift < 32; shift += 8) {
		uint32_t at[257] = {0};

		if (!(differ >> shift & 0xff))
			continue;
		for (uint32_t i = 0; i < n; i++)
			at[(from[i] >> shift & 0xff) + 1]++;
		for (unsigned i = 1; i < 257; i++)
			at[i] += at[i - 1];
		for (uint32_t i = 0; i < n; i++)
			to[at[from[i] >> shift & 0xff]++] = from[i];
		uint32_t *was = from;
		from = to;
		to = was;
	}
	if (from != v)
		memcpy(v, from, n * sizeof(*v));
}

struct synopsis *synopsis_make(struct synopsis_maker *m)
{
	struct synopsis *s =
		malloc(sizeof(*s) + m->n_keys * sizeof(*s->values));
	uint32_t at[SYNOPSIS_SETS], total = 0;

	if (!s)
		return NULL;
	s->link_type = m->link_type;
	s->present = m->present;
	s->pages = NULL;
	memcpy(s->level, m->level, sizeof(s->level));
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++) {
		s->count[set] =
			s->level[set] == SYNOPSIS_ANY ? 0 : m->count[set];
		s->first[set] = at[set] = total;
		total += s->count[set];
	}
	for (uint32_t i = 0; i < m->n_keys; i++) {
		uint32_t set = KEY_SET(m->keys[i]);

		if (s->level[set] != SYNOPSIS_ANY)
			s->values[at[set]++] = (uint32_t)m->keys[i];
	}
	for (uint32_t set = 0; set < SYNOPSIS_SETS; set++)
		if (s->count[set] > 1)
			sort_values(s->values + s->first[set], s->count[set],
				    m->spare);
	return s;
}

void synopsis_free(struct synopsis *s)
{
	free(s);
}
