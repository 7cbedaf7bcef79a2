/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A synopsis as bytes: version, link type, classes, then each class's sets:
 * level and count, the first value, and how much more each of the others is.
 * Guarantees that what is read is as synopsis_write makes it, whoever wrote it.
 */
#include "index/synopsis_codec.h"

#include <stdlib.h>

#define VERSION 1

static uint8_t *synopsis_put_number(uint8_t *to, uint32_t v)
{
	for (; v >= 0x80; v >>= 7)
		*to++ = (uint8_t)(v | 0x80);
	*to++ = (uint8_t)v;
	return to;
}

static size_t number_bytes(uint32_t v)
{
	unsigned bits = 32 - (unsigned)__builtin_clz(v | 1);

	return (9 * bits + 64) / 64; /* by 7, rounded up, for so few */
}

static bool get_number(const uint8_t **from, const uint8_t *end, uint32_t *v)
{
	uint64_t got = 0;

	for (unsigned shift = 0; shift < 35 && *from < end; shift += 7) {
		uint8_t b = *(*from)++;

		got |= (uint64_t)(b & 0x7f) << shift;
		if (b & 0x80)
			continue;
		*v = (uint32_t)got;
		/* One way to write a number. */
		return got <= UINT32_MAX && (b || shift == 0);
	}
	return false;
}

static size_t set_bytes(const struct synopsis *s, uint32_t set)
{
	const uint32_t *v = s->values + s->first[set];
	uint32_t count = s->count[set];
	size_t n = number_bytes(count << 2 | s->level[set]);

	if (count)
		n += number_bytes(v[0]);
	for (uint32_t i = 1; i < count; i++)
		n += number_bytes(v[i] - v[i - 1] - 1);
	return n;
}

/* The sets that are written, in order: set from *at on; false at the end. */
static bool next_set(const struct synopsis *s, struct header_layout *l,
		     uint32_t *at)
{
	for (; *at < SYNOPSIS_SETS; ++*at) {
		uint32_t class = *at / SYNOPSIS_WORDS, i = *at % SYNOPSIS_WORDS;

		if (!(s->present >> class & 1)) {
			*at += SYNOPSIS_WORDS - 1;
			continue;
		}
		if (i == 0)
			header_layout(s->link_type, class, l);
		if (i < l->n && !l->words[i].fixed)
			return true;
	}
	return false;
}

size_t synopsis_bytes(const struct synopsis *s)
{
	struct header_layout l;
	size_t n = 1 + number_bytes(s->link_type) + number_bytes(s->present);

	for (uint32_t set = 0; next_set(s, &l, &set); set++)
		n += set_bytes(s, set);
	return n;
}

static void synopsis_coarsen(struct synopsis *s, uint32_t set)
{
	uint32_t *v = s->values + s->first[set], n = 0;

	if (++s->level[set] != SYNOPSIS_ANY)
		for (uint32_t i = 0; i < s->count[set]; i++)
			if (n == 0 || v[n - 1] != v[i] >> 4)
				v[n++] = v[i] >> 4;
	s->count[set] = n;
}

/* How much sooner a lesser set pays than another of its size. */
#define LESSER 16

bool synopsis_fit(struct synopsis *s, size_t max_bytes)
{
	uint32_t cost[SYNOPSIS_SETS] = {0}, weight[SYNOPSIS_SETS];
	struct header_layout l;
	size_t total = synopsis_bytes(s);

	if (total <= max_bytes)
		return true;
	for (uint32_t set = 0; next_set(s, &l, &set); set++) {
		weight[set] = l.words[set % SYNOPSIS_WORDS].lesser ? LESSER : 1;
		cost[set] = (uint32_t)set_bytes(s, set) * weight[set];
	}
	while (total > max_bytes) {
		uint32_t most = synopsis_largest(cost, s->level);

		if (!cost[most] || s->level[most] == SYNOPSIS_ANY)
			return false;
		total -= cost[most] / weight[most];
		synopsis_coarsen(s, most);
		total += set_bytes(s, most);
		cost[most] = (uint32_t)set_bytes(s, most) * weight[most];
	}
	return true;
}

void synopsis_write(const struct synopsis *s, uint8_t *to)
{
	struct header_layout l;

	*to++ = VERSION;
	to = synopsis_put_number(to, s->link_type);
	to = synopsis_put_number(to, s->present);
	for (uint32_t set = 0; next_set(s, &l, &set); set++) {
		const uint32_t *v = s->values + s->first[set];

		to = synopsis_put_number(to,
					 s->count[set] << 2 | s->level[set]);
		for (uint32_t i = 0; i < s->count[set]; i++)
			to = synopsis_put_number(to, i ? v[i] - v[i - 1] - 1
						       : v[0]);
	}
}

/* Values of a set, of `bits` bits each at most. */
static bool get_values(const uint8_t **from, const uint8_t *end, uint32_t *v,
		       uint32_t count, unsigned bits)
{
	uint64_t value = 0;
	uint32_t delta;

	for (uint32_t i = 0; i < count; i++) {
		if (!get_number(from, end, &delta))
			return false;
		value += delta + (i ? 1ull : 0);
		if (value >> bits)
			return false;
		v[i] = (uint32_t)value;
	}
	return true;
}

/* Passes numbers, whatever they are. */
static bool skip_values(const uint8_t **from, const uint8_t *end,
			uint32_t count)
{
	uint64_t eight;

	/* A byte without its high bit ends a number. */
	for (; count >= 8 && end - *from >= 8; *from += 8) {
		memcpy(&eight, *from, 8);
		count -= (uint32_t)__builtin_popcountll(~eight &
							0x8080808080808080);
	}
	while (count > 0 && *from < end)
		count -= !(*(*from)++ & 0x80);
	return count == 0;
}

/* need: as in synopsis_read_some, or NULL. */
static bool get_sets(struct synopsis *s, const uint8_t **from,
		     const uint8_t *end, const uint32_t *need)
{
	struct header_layout l;
	uint32_t total = 0;

	for (uint32_t set = 0; next_set(s, &l, &set); set++) {
		const struct word *w = &l.words[set % SYNOPSIS_WORDS];
		uint32_t head;

		if (!get_number(from, end, &head))
			return false;
		unsigned level = head & 3, count = head >> 2;
		unsigned shift = synopsis_shift(w, level);
		/* A byte a value at least, so values[] has the room. */
		if (count > (size_t)(end - *from) ||
		    (count && shift > 8u * w->bytes))
			return false;
		s->first[set] = total;
		if (need &&
		    !(need[set / SYNOPSIS_WORDS] >> set % SYNOPSIS_WORDS & 1)) {
			s->level[set] = SYNOPSIS_ANY;
			if (!skip_values(from, end, count))
				return false;
			continue;
		}
		s->level[set] = (uint8_t)level;
		s->count[set] = count;
		if (!get_values(from, end, s->values + total, count,
				8u * w->bytes - shift))
			return false;
		total += count;
	}
	return *from == end;
}

struct synopsis *synopsis_read(const uint8_t *from, size_t n, struct err *e)
{
	return synopsis_read_some(from, n, NULL, e);
}

struct synopsis *synopsis_read_some(const uint8_t *from, size_t n,
				    const uint32_t need[SYNOPSIS_CLASSES],
				    struct err *e)
{
	const uint8_t *end = from + n;
	struct synopsis *s;

	if (n == 0 || n > SYNOPSIS_BYTES_MAX || *from++ != VERSION) {
		err_set(e, ERR_FAILED,
			"summary: expected version %d and at most %u bytes, "
			"got version %d and %zu bytes",
			VERSION, SYNOPSIS_BYTES_MAX, n ? from[-1] : 0, n);
		return NULL;
	}
	s = malloc(sizeof(*s) + n * sizeof(*s->values));
	if (s)
		memset(s, 0, sizeof(*s));
	if (!s) {
		err_errno(e, "summary");
		return NULL;
	}
	if (get_number(&from, end, &s->link_type) &&
	    get_number(&from, end, &s->present) &&
	    s->present >> SYNOPSIS_CLASSES == 0 &&
	    get_sets(s, &from, end, need))
		return s;
	err_set(e, ERR_FAILED, "summary: damaged after %zu of %zu bytes",
		n - (size_t)(end - from), n);
	synopsis_free(s);
	return NULL;
}
