/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filters. Guarantees that libpcap decides what an expression means, that an
 * error names the word it is about, and that neither a text nor a program
 * goes over its bound. Leaves out any parsing of our own: which word a syntax
 * error is about is found by asking libpcap about parts of the text.
 */
#include "packet/bpf_filter.h"

#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* libpcap's word for it, in all of its messages about grammar. */
#define SYNTAX_ERROR "syntax error"
#define WORD_SHOWN 64
#define SEARCH_NS NS_PER_S
/* libpcap's optimizer takes minutes for what 8 KiB of text can say (700 ports:
 * 36 s); below these bounds it is a second. */
#define SHORT_TEXT 1024
#define UNOPTIMIZED_TIMES 3

static atomic_uint text_max = BPF_FILTER_TEXT_MAX;
static atomic_uint program_max = BPF_FILTER_INSNS_MAX;

/*
 * Something that can follow whatever an expression may be cut after: a value
 * for each kind of qualifier, an operand, the rest of a comparison.
 */
static const char *const completions[] = {
	"",
	" tcp",
	" 80",
	" 1.2.3.4",
	" > 0",
	" 80 > 0",
	"] > 0",
	" 0] > 0",
	" 1-2",
	" 00:00:5e:00:53:01",
	" 255.255.255.0",
	" host 1.2.3.4",
	" mgt",
	" mgt subtype beacon",
	" beacon",
	" in",
	" pass",
	" match",
};

static bool bpf_filter_grammatical(pcap_t *p, const char *text)
{
	struct bpf_program program;

	if (pcap_compile(p, &program, text, 0, 0) == 0) {
		pcap_freecode(&program);
		return true;
	}
	/* Any other complaint comes after the grammar was satisfied. */
	return !strstr(pcap_geterr(p), SYNTAX_ERROR);
}

/* Parentheses that text [0, n) leaves open; at most max. */
static size_t open_parentheses(const char *text, size_t n, size_t max)
{
	size_t depth = 0;

	for (size_t i = 0; i < n; i++) {
		if (text[i] == '(')
			depth++;
		else if (text[i] == ')' && depth)
			depth--;
	}
	return depth < max ? depth : max;
}

/* Can text [0, n) begin an expression? A parenthesis may belong to arithmetic
 * or to a condition, so each way of closing the innermost ones is tried. */
static bool bpf_filter_viable(pcap_t *p, const char *text, size_t n,
			      int64_t deadline_ns)
{
	static const char closing[] = "))))))))))))))))))))))))))))))))";
	char tried[BPF_FILTER_TEXT_MAX + 128];
	int depth = (int)open_parentheses(text, n, sizeof(closing) - 1);

	for (size_t i = 0; i < sizeof(completions) / sizeof(*completions); i++)
		for (int k = 0; k <= depth && k <= 2; k++) {
			if (monotonic_ns() > deadline_ns)
				return false;
			snprintf(tried, sizeof(tried), "%.*s%s%.*s%s%.*s",
				 (int)n, text, completions[i], k, closing,
				 k ? " > 0" : "", depth - k, closing);
			if (bpf_filter_grammatical(p, tried))
				return true;
		}
	return false;
}

/* Where the count-th word of text ends, or all of it. */
static size_t end_of_word(const char *text, size_t count)
{
	static const char space[] = " \t\r\n";
	size_t at = 0;

	while (count--) {
		at += strspn(text + at, space);
		at += strcspn(text + at, space);
	}
	return at;
}

/*
 * The first word after which nothing can make the text an expression, found by
 * bisection: if some words can begin an expression, fewer of them can, too.
 * Names are looked up again at each trial, so there is an end to the patience:
 * then the word is not named.
 */
static void name_the_word(pcap_t *p, const char *text, struct err *e)
{
	int64_t deadline_ns = monotonic_ns() + SEARCH_NS;
	size_t words = 0, good = 0, bad;

	while (end_of_word(text, words) < end_of_word(text, words + 1))
		words++;
	bad = words + 1;
	while (bad - good > 1) {
		size_t middle = good + (bad - good) / 2;

		if (bpf_filter_viable(p, text, end_of_word(text, middle),
				      deadline_ns))
			good = middle;
		else
			bad = middle;
	}
	if (monotonic_ns() > deadline_ns)
		return;
	size_t n = strlen(e->what);
	e->filter_at = 1 + (int)strlen(text);
	if (bad > words) {
		snprintf(e->what + n, sizeof(e->what) - n,
			 " at the end of the expression");
		return;
	}
	const char *word = text + end_of_word(text, bad - 1);
	word += strspn(word, " \t\r\n");
	e->filter_at = 1 + (int)(word - text);
	int length = (int)strcspn(word, " \t\r\n");
	bool cut = length > WORD_SHOWN;
	snprintf(e->what + n, sizeof(e->what) - n, " at \"%.*s%s\"",
		 cut ? WORD_SHOWN : length, word, cut ? "..." : "");
}

void bpf_filter_configure(unsigned text_bytes, unsigned instructions)
{
	atomic_store(&text_max, text_bytes);
	atomic_store(&program_max, instructions);
}

void bpf_filter_bounds(unsigned *text_bytes, unsigned *instructions)
{
	*text_bytes = atomic_load(&text_max);
	*instructions = atomic_load(&program_max);
}

static bool text_fits(const char *text, unsigned max, struct err *e)
{
	size_t n = strlen(text);

	return n <= max ||
	       err_set(e, ERR_LIMIT,
		       "max-filter is %u bytes, the filter has %zu", max, n);
}

static bool program_fits(unsigned n, unsigned max, struct err *e)
{
	return n <= max || err_set(e, ERR_LIMIT,
				   "max-filter-program is %u instructions, the "
				   "filter needs %u",
				   max, n);
}

bool bpf_filter_fits(const char *text, const struct bpf_filter *f,
		     struct err *e)
{
	return text_fits(text, atomic_load(&text_max), e) &&
	       (!f ||
		program_fits(f->program.bf_len, atomic_load(&program_max), e));
}

/* Before the optimizer gets it. Errors of other kinds are left to come up
 * again. */
static bool bpf_filter_optimizable(pcap_t *p, const char *text,
				   uint32_t netmask, unsigned max,
				   struct err *e)
{
	struct bpf_program program;

	if (strlen(text) <= SHORT_TEXT ||
	    pcap_compile(p, &program, text, 0, netmask) != 0)
		return true;
	bool ok = program.bf_len <= UNOPTIMIZED_TIMES * max ||
		  err_set(e, ERR_LIMIT,
			  "max-filter-program is %u instructions, the filter "
			  "has %u before optimization, over %d times as many",
			  max, program.bf_len, UNOPTIMIZED_TIMES);
	pcap_freecode(&program);
	return ok;
}

static struct bpf_filter *bpf_filter_make(pcap_t *p, const char *text,
					  uint32_t netmask, unsigned max_text,
					  unsigned max_program, struct err *e)
{
	struct bpf_filter *f;

	if (!text_fits(text, max_text, e) ||
	    !bpf_filter_optimizable(p, text, netmask, max_program, e))
		return NULL;
	f = calloc(1, sizeof(*f));
	if (!f) {
		err_errno(e, "filter");
		return NULL;
	}
	if (pcap_compile(p, &f->program, text, 1, netmask) != 0) {
		err_set_reason(e, REASON_FILTER_INVALID, "filter: %s",
			       pcap_geterr(p));
		if (strstr(e->what, SYNTAX_ERROR))
			name_the_word(p, text, e);
		err_hint(e, "pcap-filter(7) describes filters.");
		free(f);
		return NULL;
	}
	if (!program_fits(f->program.bf_len, max_program, e)) {
		bpf_filter_free(f);
		return NULL;
	}
	return f;
}

/* libpcap compiles for a savefile where it compiles for packets in memory: some
 * expressions depend on where the file was written, by its number of IPv6's
 * address family for one. */
static pcap_t *open_empty_savefile(uint32_t link_type, uint32_t snaplen,
				   struct err *e)
{
	uint8_t head[SAVEFILE_HEAD_BYTES];
	char why[PCAP_ERRBUF_SIZE];

	savefile_head(head, link_type, snaplen);
	FILE *memory = fmemopen(head, sizeof(head), "r");
	if (!memory) {
		err_errno(e, "filter");
		return NULL;
	}
	pcap_t *p = pcap_fopen_offline(memory, why);
	if (!p) {
		fclose(memory);
		err_set(e, ERR_FAILED, "filter: %s", why);
	}
	return p;
}

struct bpf_filter *bpf_filter_compile(const char *text, uint32_t link_type,
				      uint32_t snaplen, struct err *e)
{
	pcap_t *p = open_empty_savefile(link_type, snaplen, e);

	if (!p)
		return NULL;
	/* No netmask, as in tcpdump -r: no interface, none to be known. */
	struct bpf_filter *f =
		bpf_filter_make(p, text, 0, atomic_load(&text_max),
				atomic_load(&program_max), e);
	pcap_close(p);
	return f;
}

struct bpf_filter *bpf_filter_compile_live(pcap_t *p, const char *text,
					   uint32_t netmask, struct err *e)
{
	return bpf_filter_make(p, text, netmask, BPF_FILTER_TEXT_MAX,
			       BPF_FILTER_INSNS_MAX, e);
}

struct bpf_filter *bpf_filter_compile_absent(const char *text, uint32_t snaplen,
					     struct err *e)
{
	pcap_t *p = pcap_open_dead(DLT_EN10MB, (int)snaplen);
	struct bpf_filter *f = NULL;

	if (!p)
		err_no_memory(e, "filter");
	else
		f = bpf_filter_compile_live(p, text, 0, e);
	if (p)
		pcap_close(p);
	return f;
}

/* "ifname" takes a name, of any kind of interface. */
bool bpf_filter_is_name(const char *word)
{
	char text[WORD_SHOWN + 16];
	pcap_t *p = pcap_open_dead(DLT_EN10MB, 65535);
	int n = snprintf(text, sizeof(text), "ifname %s", word);
	bool is = p && n < (int)sizeof(text) && bpf_filter_grammatical(p, text);

	if (p)
		pcap_close(p);
	return is;
}

struct bpf_filter *bpf_filter_from_program(const void *bytes, size_t n,
					   struct err *e)
{
	struct bpf_filter *f = calloc(1, sizeof(*f));
	size_t count = n / sizeof(*f->program.bf_insns);
	struct bpf_insn *insns = malloc(n ? n : 1);

	if (!f || !insns) {
		err_no_memory(e, "filter");
		goto fail;
	}
	memcpy(insns, bytes, n);
	if (count == 0 || count > BPF_FILTER_INSNS_MAX ||
	    n % sizeof(*insns) != 0 || !bpf_validate(insns, (int)count)) {
		err_set(e, ERR_FAILED, "filter: %zu bytes are no program", n);
		goto fail;
	}
	f->program.bf_insns = insns;
	f->program.bf_len = (unsigned)count;
	return f;
fail:
	free(insns);
	free(f);
	return NULL;
}

void bpf_filter_free(struct bpf_filter *f)
{
	if (!f)
		return;
	pcap_freecode(&f->program);
	free(f);
}

const void *bpf_filter_bytes(const struct bpf_filter *f, size_t *n)
{
	*n = f->program.bf_len * sizeof(*f->program.bf_insns);
	return f->program.bf_insns;
}

uint32_t link_type_of_dlt(int dlt)
{
	uint32_t link_type = (uint32_t)dlt;
	char *bytes = NULL;
	size_t n = 0;
	pcap_t *p = pcap_open_dead(dlt, 65535);
	FILE *memory = open_memstream(&bytes, &n);

	if (p && memory) {
		pcap_dumper_t *d = pcap_dump_fopen(p, memory);

		if (d) {
			pcap_dump_close(d);
			memory = NULL;
		}
		if (n >= SAVEFILE_HEAD_BYTES)
			memcpy(&link_type, bytes + SAVEFILE_HEAD_BYTES - 4, 4);
	}
	if (memory)
		fclose(memory);
	if (p)
		pcap_close(p);
	free(bytes);
	return link_type;
}

int dlt_of_link_type(uint32_t link_type)
{
	uint8_t head[SAVEFILE_HEAD_BYTES];
	char why[PCAP_ERRBUF_SIZE];
	int dlt = (int)link_type;

	savefile_head(head, link_type, BLOCK_PACKET_MAX);
	FILE *memory = fmemopen(head, sizeof(head), "r");
	if (!memory)
		return dlt;
	pcap_t *p = pcap_fopen_offline(memory, why);
	if (!p) {
		fclose(memory);
		return dlt;
	}
	dlt = pcap_datalink(p);
	pcap_close(p);
	return dlt;
}
