/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pruning. Guarantees that a program which accepts some packet of a synopsis
 * reaches an accepting return here: each class of packets is run by itself,
 * every step keeps at least what the packets of the class can do, and paths
 * that meet are united. Leaves out which values occur together in one packet.
 */
#include "index/bpf_prune.h"

#include <stdio.h>
#include <stdlib.h>

#define INSNS_MAX 4096u
#define EFFORT_MAX (1u << 21)

/* What A, X or a cell of M is known to hold. */
enum value_is { UNKNOWN, CONSTANT, WORD, HEADER_LENGTH };

struct value {
	uint8_t is;
	uint8_t word; /* WORD: (word >> shift) & k */
	uint8_t shift;
	uint32_t k; /* the constant, or the mask */
};

/* Bits beside it say which elements of the words' sets are still possible. */
struct state {
	struct value a, x, m[BPF_MEMWORDS];
	uint64_t possible[];
};

/* A word's set: values and which of their low bits stand for either. */
struct set {
	const uint32_t *values; /* as in the synopsis */
	uint32_t n;
	unsigned shift;
	uint32_t mask; /* as wide as the word */
	uint32_t either;
	uint32_t first; /* in possible, in uint64_t */
	/* NULL: all values are there. */
	struct synopsis_pages *pages;
	const struct synopsis_page *page; /* its own */
	uint32_t number;		  /* of the set, for them */
};

struct bpf_prune_run {
	const struct bpf_insn *insns;
	uint32_t n_insns;
	const struct header_layout *layout;
	struct set sets[SYNOPSIS_WORDS];
	uint32_t possible_n; /* uint64_t in a state */
	uint32_t *effort;    /* steps left, shared by a synopsis's classes */
	struct state **at;   /* what may arrive at each instruction, or NULL */
};

static const uint32_t zero;

static uint32_t blocks_of(uint32_t bits)
{
	return (bits + 63) / 64;
}

#define PAGE_BLOCKS (SYNOPSIS_PAGE / 64)

static uint32_t mask_of(unsigned bytes)
{
	return UINT32_MAX >> (32 - 8 * bytes);
}

static bool bpf_prune_spend(struct bpf_prune_run *r, uint32_t steps)
{
	if (*r->effort < steps) {
		*r->effort = 0;
		return false;
	}
	*r->effort -= steps;
	return true;
}

/* --- values --- */

static struct value bpf_prune_unknown(void)
{
	return (struct value){.is = UNKNOWN};
}

static struct value bpf_prune_constant(uint32_t k)
{
	return (struct value){.is = CONSTANT, .k = k};
}

static bool bpf_prune_same(struct value a, struct value b)
{
	return a.is == b.is && a.word == b.word && a.shift == b.shift &&
	       a.k == b.k;
}

/* The word that holds bytes [offset, offset + bytes), as a value. */
static struct value bpf_prune_load(const struct bpf_prune_run *r,
				   enum word_place place, uint64_t offset,
				   unsigned bytes)
{
	for (uint32_t i = 0; i < r->layout->n; i++) {
		const struct word *w = &r->layout->words[i];

		if (w->place != place || offset < w->offset ||
		    offset + bytes > (uint64_t)w->offset + w->bytes)
			continue;
		return (struct value){
			.is = WORD,
			.word = (uint8_t)i,
			.shift = (uint8_t)(8 * (w->offset + w->bytes - offset -
						bytes)),
			.k = mask_of(bytes)};
	}
	return bpf_prune_unknown();
}

static struct value load_indexed(const struct bpf_prune_run *r, struct value x,
				 uint32_t k, unsigned bytes)
{
	if (x.is == CONSTANT)
		return bpf_prune_load(r, WORD_AT, (uint64_t)x.k + k, bytes);
	if (x.is == HEADER_LENGTH)
		return bpf_prune_load(r, WORD_AFTER_HEADER, k, bytes);
	return bpf_prune_unknown();
}

/* The few operations that filters need; the rest is not known. */
static struct value bpf_prune_calculate(unsigned op, struct value a,
					struct value b)
{
	if (b.is != CONSTANT)
		return bpf_prune_unknown();
	uint32_t k = b.k;
	switch (op) {
	case BPF_AND:
		if (a.is != CONSTANT && a.is != WORD)
			return bpf_prune_unknown();
		a.k &= k;
		return a;
	case BPF_RSH:
		if (k > 31)
			return bpf_prune_constant(0);
		if (a.is == CONSTANT)
			return bpf_prune_constant(a.k >> k);
		if (a.is != WORD || a.shift + k > 31)
			return k ? bpf_prune_unknown() : a;
		a.shift = (uint8_t)(a.shift + k);
		a.k >>= k;
		return a;
	case BPF_LSH:
		if (k > 31)
			return bpf_prune_constant(0);
		return a.is == CONSTANT ? bpf_prune_constant(a.k << k)
		       : k		? bpf_prune_unknown()
					: a;
	case BPF_ADD:
		return a.is == CONSTANT ? bpf_prune_constant(a.k + k)
		       : k		? bpf_prune_unknown()
					: a;
	case BPF_SUB:
		return a.is == CONSTANT ? bpf_prune_constant(a.k - k)
		       : k		? bpf_prune_unknown()
					: a;
	case BPF_OR:
		return a.is == CONSTANT ? bpf_prune_constant(a.k | k)
		       : k		? bpf_prune_unknown()
					: a;
	case BPF_MUL:
		return a.is == CONSTANT ? bpf_prune_constant(a.k * k)
		       : k != 1		? bpf_prune_unknown()
					: a;
	default:
		return bpf_prune_unknown();
	}
}

/* Can `value op k` be true (bit 0), can it be false (bit 1), when the bits in
 * `either`, which are 0 in value, may be anything? */
static unsigned bpf_prune_outcomes(unsigned op, uint32_t value, uint32_t either,
				   uint32_t k)
{
	switch (op) {
	case BPF_JEQ:
		return (((value ^ k) & ~either) == 0) | (either || value != k)
								<< 1;
	case BPF_JGT:
		return ((value | either) > k) | (value <= k) << 1;
	case BPF_JGE:
		return ((value | either) >= k) | (value < k) << 1;
	case BPF_JSET:
		return (((value | either) & k) != 0) | ((value & k) == 0) << 1;
	default:
		return 3;
	}
}

/* --- states --- */

static size_t state_bytes(const struct bpf_prune_run *r)
{
	return sizeof(struct state) + r->possible_n * sizeof(uint64_t);
}

static struct state *state_copy(struct bpf_prune_run *r,
				const struct state *from)
{
	struct state *s;

	if (!bpf_prune_spend(r, (uint32_t)(state_bytes(r) / 8)))
		return NULL;
	s = malloc(state_bytes(r));
	if (s)
		memcpy(s, from, state_bytes(r));
	return s;
}

static void bpf_prune_unite(struct value *a, struct value b)
{
	if (!bpf_prune_same(*a, b))
		*a = bpf_prune_unknown();
}

/* Takes s over. false: out of effort, or out of the program, which a code that
 * bpf_validate does not know by all of its bits can be. */
static bool bpf_prune_arrive(struct bpf_prune_run *r, uint32_t pc,
			     struct state *s)
{
	struct state *there;

	if (pc >= r->n_insns) {
		free(s);
		return false;
	}
	there = r->at[pc];
	if (!there) {
		r->at[pc] = s;
		return true;
	}
	bpf_prune_unite(&there->a, s->a);
	bpf_prune_unite(&there->x, s->x);
	for (unsigned i = 0; i < BPF_MEMWORDS; i++)
		bpf_prune_unite(&there->m[i], s->m[i]);
	for (uint32_t i = 0; i < r->possible_n; i++)
		there->possible[i] |= s->possible[i];
	free(s);
	return bpf_prune_spend(r, r->possible_n + BPF_MEMWORDS);
}

/* Is v the whole word, and all of its values exact? */
static bool is_whole(const struct set *set, struct value v)
{
	return v.shift == 0 && v.k == set->mask && set->either == 0;
}

static bool bpf_prune_load_page(const struct set *set, uint32_t page)
{
	return !set->pages || set->pages->load(set->pages, set->number, page);
}

/* Where k is, if it is there. false: nobody knows. */
static bool find_value(const struct set *set, uint32_t k, uint32_t *at,
		       bool *there)
{
	uint32_t low = 0, high = set->n;

	if (set->pages) {
		uint32_t pages = synopsis_pages_of(set->n);

		while (low < pages) {
			uint32_t middle = low + (pages - low) / 2;

			if (set->page[middle].least <= k)
				low = middle + 1;
			else
				pages = middle;
		}
		*there = false;
		if (low == 0)
			return true;
		if (!bpf_prune_load_page(set, --low))
			return false;
		low *= SYNOPSIS_PAGE;
		if (high - low > SYNOPSIS_PAGE)
			high = low + SYNOPSIS_PAGE;
	}
	uint32_t end = high;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (set->values[middle] < k)
			low = middle + 1;
		else
			high = middle;
	}
	*there = low < end && set->values[low] == k;
	*at = low;
	return true;
}

/* As narrow, for a whole word that is compared with k: what most branches
 * are, and sets can be large. */
static bool narrow_equal(const struct set *set, uint64_t *possible, uint32_t k,
			 unsigned outcome)
{
	uint64_t any = 0, bit = 0;
	uint32_t at = 0;
	bool there;

	if (!find_value(set, k, &at, &there))
		return true;
	if (there)
		bit = possible[at / 64] & 1ull << at % 64;
	if (outcome == 1) {
		memset(possible, 0, blocks_of(set->n) * sizeof(*possible));
		if (bit)
			possible[at / 64] = bit;
		return bit != 0;
	}
	if (bit)
		possible[at / 64] &= ~bit;
	for (uint32_t b = 0; b < blocks_of(set->n); b++)
		any |= possible[b];
	return any != 0;
}

struct comparison {
	struct value v;
	unsigned op, outcome;
	uint32_t k, either;
};

/* What a page's values can do to it, without them: they have the bits in
 * common that its first and the next one's first have, or its last can have.
 * As `outcomes`. */
static unsigned page_outcomes(const struct set *set, uint32_t page,
			      const struct comparison *c)
{
	bool last = page + 1 == synopsis_pages_of(set->n);
	uint32_t least = set->page[page].least;
	uint32_t most =
		last ? set->mask >> set->shift : set->page[page + 1].least - 1;
	uint32_t differ = least ^ most;
	uint32_t low = differ ? UINT32_MAX >> __builtin_clz(differ) : 0;
	uint32_t value = ((least & ~low) << set->shift >> c->v.shift) & c->v.k;
	uint32_t either = (low << set->shift >> c->v.shift) & c->v.k;

	return bpf_prune_outcomes(c->op, value, either | c->either, c->k);
}

static uint64_t narrow_64(const struct set *set, uint32_t b, uint64_t possible,
			  const struct comparison *c)
{
	uint64_t kept = 0;

	for (uint64_t left = possible; left; left &= left - 1) {
		unsigned bit = (unsigned)__builtin_ctzll(left);
		uint32_t value = set->values[b * 64 + bit];

		/* A shift by 32 is for sets of anything: {0}. */
		value = set->shift < 32 ? value << set->shift : 0;
		value = (value >> c->v.shift) & c->v.k;
		if (bpf_prune_outcomes(c->op, value, c->either, c->k) &
		    c->outcome)
			kept |= 1ull << bit;
	}
	return kept;
}

/*
 * Leaves in s the elements of v's word for which v op k can have the outcome;
 * false if there are none. `outcome` is a bit as `outcomes` gives it.
 */
static bool bpf_prune_narrow(const struct bpf_prune_run *r, struct state *s,
			     struct value v, unsigned op, uint32_t k,
			     unsigned outcome)
{
	const struct set *set = &r->sets[v.word];
	uint64_t *possible = s->possible + set->first, any = 0;
	struct comparison c = {v, op, outcome, k,
			       (set->either >> v.shift) & v.k};
	uint32_t n = blocks_of(set->n);

	if (op == BPF_JEQ && is_whole(set, v))
		return narrow_equal(set, possible, k, outcome);
	for (uint32_t from = 0, to; from < n; from = to) {
		unsigned can = 3;
		uint32_t page = from / PAGE_BLOCKS;

		to = set->pages && n - from > PAGE_BLOCKS ? from + PAGE_BLOCKS
							  : n;
		if (set->pages)
			can = page_outcomes(set, page, &c);
		/* All of it stays, or goes. */
		bool look = can == 3 && bpf_prune_load_page(set, page);
		for (uint32_t b = from; b < to; b++) {
			if (look)
				possible[b] =
					narrow_64(set, b, possible[b], &c);
			else if (!(can & outcome))
				possible[b] = 0;
			any |= possible[b];
		}
	}
	return any != 0;
}

/* Which outcomes a branch can have at all, without looking into sets. */
static unsigned branch_outcomes(const struct state *s, const struct bpf_insn *i,
				struct value *k)
{
	*k = BPF_SRC(i->code) == BPF_X ? s->x : bpf_prune_constant(i->k);
	if (s->a.is == CONSTANT && k->is == CONSTANT)
		return bpf_prune_outcomes(BPF_OP(i->code), s->a.k, 0, k->k);
	return 3;
}

/* Sends s on along the branches that are possible. */
static bool bpf_prune_branch(struct bpf_prune_run *r, uint32_t pc,
			     struct state *s)
{
	const struct bpf_insn *i = &r->insns[pc];
	unsigned op = BPF_OP(i->code);
	struct value k;
	unsigned can = branch_outcomes(s, i, &k);
	bool look = s->a.is == WORD && k.is == CONSTANT && i->jt != i->jf;
	struct state *no = NULL;

	if (can & 2) {
		no = can & 1 ? state_copy(r, s) : s;
		if (!no) {
			free(s);
			return false;
		}
	}
	if (look && !bpf_prune_spend(r, 2 * r->sets[s->a.word].n)) {
		free(no);
		free(s);
		return false;
	}
	if (no && look && !bpf_prune_narrow(r, no, s->a, op, k.k, 2)) {
		free(no);
		no = NULL;
	}
	if ((can & 1) && look && !bpf_prune_narrow(r, s, s->a, op, k.k, 1)) {
		free(s);
		can &= 2;
	}
	bool ok = !(can & 1) || bpf_prune_arrive(r, pc + 1 + i->jt, s);
	if (no && ok)
		return bpf_prune_arrive(r, pc + 1 + i->jf, no);
	free(no);
	return ok;
}

static bool bpf_prune_accepts(const struct bpf_prune_run *r, struct state *s,
			      uint32_t code, uint32_t k)
{
	if (BPF_RVAL(code) == BPF_K)
		return k != 0;
	if (s->a.is == CONSTANT)
		return s->a.k != 0;
	return s->a.is != WORD || bpf_prune_narrow(r, s, s->a, BPF_JEQ, 0, 2);
}

/* --- instructions --- */

enum step { GO_ON, REJECT, CANNOT_TELL };

/* A load of a word that no packet of the class has in full rejects. */
static enum step bpf_prune_loaded(const struct bpf_prune_run *r, struct value v,
				  struct value *to)
{
	*to = v;
	return v.is == WORD && r->sets[v.word].n == 0 ? REJECT : GO_ON;
}

/* Everything but jumps and returns. */
static enum step bpf_prune_step(const struct bpf_prune_run *r,
				const struct bpf_insn *i, struct state *s)
{
	switch (i->code) {
	case BPF_LD | BPF_W | BPF_ABS:
		return bpf_prune_loaded(r, bpf_prune_load(r, WORD_AT, i->k, 4),
					&s->a);
	case BPF_LD | BPF_H | BPF_ABS:
		return bpf_prune_loaded(r, bpf_prune_load(r, WORD_AT, i->k, 2),
					&s->a);
	case BPF_LD | BPF_B | BPF_ABS:
		return bpf_prune_loaded(r, bpf_prune_load(r, WORD_AT, i->k, 1),
					&s->a);
	case BPF_LD | BPF_W | BPF_IND:
		return bpf_prune_loaded(r, load_indexed(r, s->x, i->k, 4),
					&s->a);
	case BPF_LD | BPF_H | BPF_IND:
		return bpf_prune_loaded(r, load_indexed(r, s->x, i->k, 2),
					&s->a);
	case BPF_LD | BPF_B | BPF_IND:
		return bpf_prune_loaded(r, load_indexed(r, s->x, i->k, 1),
					&s->a);
	case BPF_LD | BPF_W | BPF_LEN:
		return bpf_prune_loaded(
			r, bpf_prune_load(r, WORD_WIRE_LENGTH, 0, 4), &s->a);
	case BPF_LDX | BPF_W | BPF_LEN:
		return bpf_prune_loaded(
			r, bpf_prune_load(r, WORD_WIRE_LENGTH, 0, 4), &s->x);
	case BPF_LDX | BPF_B | BPF_MSH:
		s->x = bpf_prune_unknown();
		if (i->k == r->layout->header)
			s->x.is = HEADER_LENGTH;
		return GO_ON;
	case BPF_LD | BPF_IMM:
		s->a = bpf_prune_constant(i->k);
		return GO_ON;
	case BPF_LDX | BPF_IMM:
		s->x = bpf_prune_constant(i->k);
		return GO_ON;
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
	case BPF_ST:
	case BPF_STX:
		if (i->k >= BPF_MEMWORDS)
			return CANNOT_TELL;
		if (BPF_CLASS(i->code) == BPF_LD)
			s->a = s->m[i->k];
		else if (BPF_CLASS(i->code) == BPF_LDX)
			s->x = s->m[i->k];
		else
			s->m[i->k] = i->code == BPF_ST ? s->a : s->x;
		return GO_ON;
	case BPF_MISC | BPF_TAX:
		s->x = s->a;
		return GO_ON;
	case BPF_MISC | BPF_TXA:
		s->a = s->x;
		return GO_ON;
	default:
		if (BPF_CLASS(i->code) != BPF_ALU)
			return CANNOT_TELL;
		s->a = bpf_prune_calculate(BPF_OP(i->code), s->a,
					   BPF_SRC(i->code) == BPF_X
						   ? s->x
						   : bpf_prune_constant(i->k));
		return GO_ON;
	}
}

/* Takes over what has arrived at pc. false: stop, it may match. */
static bool bpf_prune_walk(struct bpf_prune_run *r, uint32_t pc)
{
	const struct bpf_insn *i = &r->insns[pc];
	struct state *s = r->at[pc];
	bool yes;

	r->at[pc] = NULL;
	if (!s)
		return true;
	if (BPF_CLASS(i->code) == BPF_RET) {
		yes = bpf_prune_accepts(r, s, i->code, i->k);
		free(s);
		return !yes;
	}
	if (i->code == (BPF_JMP | BPF_JA))
		return bpf_prune_arrive(r, pc + 1 + i->k, s);
	if (BPF_CLASS(i->code) == BPF_JMP)
		return bpf_prune_branch(r, pc, s);
	switch (bpf_prune_step(r, i, s)) {
	case GO_ON:
		return bpf_prune_arrive(r, pc + 1, s);
	case REJECT:
		free(s);
		return true;
	default:
		free(s);
		return false;
	}
}

/* --- a class of packets --- */

static void find_sets(struct bpf_prune_run *r, const struct synopsis *s,
		      uint32_t class)
{
	for (uint32_t i = 0; i < r->layout->n; i++) {
		const struct word *w = &r->layout->words[i];
		uint32_t n = class * SYNOPSIS_WORDS + i;
		unsigned level = s->level[n];
		struct set *set = &r->sets[i];

		*set = (struct set){.values = s->values + s->first[n],
				    .n = s->count[n],
				    .shift = synopsis_shift(w, level),
				    .first = r->possible_n,
				    .number = n};
		if (s->pages && level != SYNOPSIS_ANY && !w->fixed) {
			set->pages = s->pages;
			set->page = s->pages->page + s->pages->first[n];
		}
		if (w->fixed) {
			set->values = &w->value;
			set->n = 1;
			set->shift = 0;
		} else if (level == SYNOPSIS_ANY) {
			set->values = &zero;
			set->n = 1;
		}
		set->mask = set->either = mask_of(w->bytes);
		if (set->shift < 32)
			set->either &= (1u << set->shift) - 1;
		r->possible_n += blocks_of(set->n);
	}
}

/* A and X are 0 when a program begins, M is not known; every element of every
 * set is possible. */
static struct state *bpf_prune_start(struct bpf_prune_run *r)
{
	struct state *s;

	if (!bpf_prune_spend(r, (uint32_t)(state_bytes(r) / 8)))
		return NULL;
	s = calloc(1, state_bytes(r));
	if (!s)
		return NULL;
	s->a = s->x = bpf_prune_constant(0);
	for (uint32_t i = 0; i < r->layout->n; i++) {
		const struct set *set = &r->sets[i];

		for (uint32_t b = 0; b < blocks_of(set->n); b++)
			s->possible[set->first + b] = UINT64_MAX;
		if (set->n % 64)
			s->possible[set->first + set->n / 64] =
				(1ull << set->n % 64) - 1;
	}
	return s;
}

static bool class_may_match(struct bpf_prune_run *r, const struct synopsis *s,
			    uint32_t class)
{
	struct header_layout l;
	bool no = true;

	header_layout(s->link_type, class, &l);
	r->layout = &l;
	r->possible_n = 0;
	find_sets(r, s, class);
	r->at[0] = bpf_prune_start(r);
	if (!r->at[0])
		return true;
	for (uint32_t pc = 0; pc < r->n_insns; pc++)
		if (no) {
			no = bpf_prune_walk(r, pc);
		} else {
			free(r->at[pc]);
			r->at[pc] = NULL;
		}
	return !no;
}

/* bpf_validate lets a jump go back, by a k that wraps around. */
static bool forward_only(const struct bpf_program *p)
{
	for (uint32_t i = 0; i < p->bf_len; i++)
		if (p->bf_insns[i].code == (BPF_JMP | BPF_JA) &&
		    p->bf_insns[i].k >= p->bf_len - i)
			return false;
	return true;
}

bool bpf_prune_may_match(const struct bpf_program *program,
			 const struct synopsis *s)
{
	uint32_t effort = EFFORT_MAX;
	bool may = false;

	if (program->bf_len > INSNS_MAX ||
	    !bpf_validate(program->bf_insns, (int)program->bf_len) ||
	    !forward_only(program))
		return true;
	struct bpf_prune_run r = {.insns = program->bf_insns,
				  .n_insns = program->bf_len,
				  .effort = &effort};
	r.at = calloc(program->bf_len, sizeof(*r.at));
	if (!r.at)
		return true;
	for (uint32_t class = 0; class < SYNOPSIS_CLASSES && !may; class ++)
		if (s->present >> class & 1)
			may = class_may_match(&r, s, class);
	free(r.at);
	return may;
}

/* --- what rules nothing out --- */

static unsigned bytes_of(uint16_t code)
{
	return BPF_SIZE(code) == BPF_W ? 4 : BPF_SIZE(code) == BPF_H ? 2 : 1;
}

static uint32_t words_at(const struct header_layout *l, enum word_place place,
			 const struct bpf_insn *i)
{
	struct bpf_prune_run r = {.layout = l};
	struct value v = bpf_prune_load(&r, place, i->k, bytes_of(i->code));

	return v.is == WORD ? 1u << v.word : 0;
}

void bpf_prune_needs(const struct bpf_program *program, uint32_t link_type,
		     uint32_t need[SYNOPSIS_CLASSES])
{
	bool constant_x = false;

	/* X is a constant other than the 0 that it begins with only where a
	 * filter does arithmetic of its own. */
	for (uint32_t pc = 0; pc < program->bf_len; pc++) {
		uint16_t code = program->bf_insns[pc].code;

		constant_x |= code == (BPF_LDX | BPF_IMM) ||
			      code == (BPF_LDX | BPF_MEM) ||
			      code == (BPF_MISC | BPF_TAX);
	}
	for (uint32_t class = 0; class < SYNOPSIS_CLASSES; class ++) {
		struct header_layout l;

		header_layout(link_type, class, &l);
		need[class] = constant_x ? UINT32_MAX : 0;
		for (uint32_t pc = 0; pc < program->bf_len; pc++) {
			const struct bpf_insn *i = &program->bf_insns[pc];
			unsigned mode = BPF_MODE(i->code);

			if (mode == BPF_LEN)
				need[class] |= 1u; /* the first word */
			if (BPF_CLASS(i->code) != BPF_LD)
				continue;
			if (mode == BPF_ABS || mode == BPF_IND)
				need[class] |= words_at(&l, WORD_AT, i);
			if (mode == BPF_IND)
				need[class] |=
					words_at(&l, WORD_AFTER_HEADER, i);
		}
	}
}

static bool is_known(uint32_t link_type, enum word_place place, uint32_t offset,
		     unsigned bytes)
{
	for (uint32_t class = 0; class < SYNOPSIS_CLASSES; class ++) {
		struct header_layout l;
		struct bpf_prune_run r = {.layout = &l};

		header_layout(link_type, class, &l);
		if (bpf_prune_load(&r, place, offset, bytes).is == WORD)
			return true;
	}
	return false;
}

size_t bpf_prune_doubts(const struct bpf_program *program, uint32_t link_type,
			char (*doubts)[BPF_PRUNE_DOUBT], size_t max)
{
	size_t n = 0;

	for (uint32_t pc = 0; pc < program->bf_len && n < max; pc++) {
		const struct bpf_insn *i = &program->bf_insns[pc];
		unsigned bytes = bytes_of(i->code);
		bool indexed = BPF_MODE(i->code) == BPF_IND;

		if (BPF_CLASS(i->code) != BPF_LD ||
		    (!indexed && BPF_MODE(i->code) != BPF_ABS) ||
		    is_known(link_type, indexed ? WORD_AFTER_HEADER : WORD_AT,
			     i->k, bytes))
			continue;
		snprintf(doubts[n], BPF_PRUNE_DOUBT,
			 "no summary has the %u byte%s at %u%s, which the "
			 "filter looks at",
			 bytes, bytes == 1 ? "" : "s", i->k,
			 indexed ? " and more" : "");
		size_t bpf_prune_same = 0;
		while (strcmp(doubts[bpf_prune_same], doubts[n]) != 0)
			bpf_prune_same++;
		n += bpf_prune_same == n;
	}
	return n;
}
