/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compiled filters that are kept. Guarantees that a filter is compiled once by
 * all who ask for it at a time, and that what is kept stays within its bounds.
 * A word that is not known here counts as a name, so that no program outlives
 * what a name meant. Leaves out who may compile, and how long: see
 * bpf_compiler.c.
 */
#include "packet/bpf_cache.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

struct bpf_cache_entry {
	LIST_ENTRY(bpf_cache_entry) link;
	struct filter_key key; /* its text is text */
	bool compiling;
	struct bpf_filter *filter; /* NULL: error, or it is being compiled */
	struct err *error;
	int64_t end_ns; /* INT64_MAX: as long as there is room */
	size_t bytes;
	char text[];
};

static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;
/* It guards this list: what was asked for last comes first. */
static LIST_HEAD(, bpf_cache_entry) cache;

/* --- names --- */

/* Those of pcap-filter(7) but for gateway, which is about names. Who is missing
 * here is compiled more often, and that is all. */
static const char *const cache_keywords[] = {
	"and",		"or",	     "not",
	"host",		"net",	     "mask",
	"port",		"portrange", "src",
	"dst",		"proto",     "protochain",
	"ether",	"link",	     "ip",
	"ip6",		"arp",	     "rarp",
	"tcp",		"udp",	     "sctp",
	"icmp",		"icmp6",     "igmp",
	"ah",		"esp",	     "pim",
	"vrrp",		"carp",	     "less",
	"greater",	"len",	     "vlan",
	"mpls",		"pppoed",    "pppoes",
	"geneve",	"broadcast", "multicast",
	"inbound",	"outbound",  "tcpflags",
	"tcp-fin",	"tcp-syn",   "tcp-rst",
	"tcp-push",	"tcp-ack",   "tcp-urg",
	"tcp-ece",	"tcp-cwr",   "icmptype",
	"icmpcode",	"icmp-echo", "icmp-echoreply",
	"icmp-unreach", "icmp6type", "icmp6code"};

/* NULL: it is none. */
static const char *bpf_cache_keyword(const char *word, size_t n)
{
	for (size_t i = 0; i < sizeof(cache_keywords) / sizeof(*cache_keywords);
	     i++)
		if (strlen(cache_keywords[i]) == n &&
		    !memcmp(cache_keywords[i], word, n))
			return cache_keywords[i];
	return NULL;
}

/* 80, 10.0.0.0, 0x1f; with a colon 00:00:5e:00:53:01 and ::1; a range: 1-1024.
 * Hosts may be called "cafe.de", "1.2.3.4.5" and "1-2". */
static bool bpf_cache_is_number(const char *word, size_t n, bool range)
{
	bool hex = memchr(word, ':', n);
	unsigned dots = 0;

	if (n > 2 && !memcmp(word, "0x", 2)) {
		hex = true;
		word += 2;
		n -= 2;
	}
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)word[i];

		dots += c == '.';
		if (!isdigit(c) && c != '.' && c != ':' &&
		    !(c == '-' && range) && !(hex && isxdigit(c)))
			return false;
	}
	return dots <= 3;
}

bool filter_has_names(const char *text)
{
	static const char between[] = " \t\r\n()[]!&|=<>+*/%^";
	bool range = false;

	for (;;) {
		text += strspn(text, between);
		size_t n = strcspn(text, between);
		if (n == 0)
			return false;
		/* With a backslash a keyword is a name, and none here. */
		const char *word = bpf_cache_keyword(text, n);
		if (word && strcmp(word, "or") != 0)
			range = !strcmp(word, "portrange");
		if (!word && !bpf_cache_is_number(text, n, range))
			return true;
		text += n;
	}
}

/* --- entries --- */

static bool bpf_cache_is_key(const struct bpf_cache_entry *c,
			     const struct filter_key *k)
{
	return c->key.link_type == k->link_type &&
	       c->key.snaplen == k->snaplen &&
	       c->key.operator== k->operator&& !strcmp(c->text, k->text);
}

/* NULL: there is none. */
static struct bpf_cache_entry *bpf_cache_of(const struct filter_key *k)
{
	struct bpf_cache_entry *c;

	LIST_FOREACH(c, &cache, link)
		if (bpf_cache_is_key(c, k))
			break;
	return c;
}

static void bpf_cache_remove(struct bpf_cache_entry *c)
{
	LIST_REMOVE(c, link);
	bpf_filter_free(c->filter);
	free(c->error);
	free(c);
}

/* To the front, when it is there and not over. */
static struct bpf_cache_entry *bpf_cache_touch(const struct filter_key *k,
					       int64_t now_ns)
{
	struct bpf_cache_entry *c = bpf_cache_of(k);

	if (!c)
		return NULL;
	if (!c->compiling && now_ns >= c->end_ns) {
		bpf_cache_remove(c);
		return NULL;
	}
	LIST_REMOVE(c, link);
	LIST_INSERT_HEAD(&cache, c, link);
	return c;
}

/* From the first one on that is over a bound, all go that are older. */
static void bpf_cache_bound(int64_t now_ns)
{
	struct bpf_cache_entry *c, *next;
	size_t n = 0, bytes = 0;

	for (c = LIST_FIRST(&cache); c; c = next) {
		next = LIST_NEXT(c, link);
		bool over = !c->compiling && now_ns >= c->end_ns;

		/* What is being compiled is waited for. */
		if (!c->compiling && !over) {
			n++;
			bytes += c->bytes;
			over = n > BPF_CACHE_MAX || bytes > BPF_CACHE_BYTES;
		}
		if (over)
			bpf_cache_remove(c);
	}
}

/* Without memory there is no entry, and each compiles for himself. */
static void bpf_cache_begin(const struct filter_key *k)
{
	size_t n = strlen(k->text) + 1;
	struct bpf_cache_entry *c = calloc(1, sizeof(*c) + n);

	if (!c)
		return;
	memcpy(c->text, k->text, n);
	c->key = *k;
	c->key.text = c->text;
	c->compiling = true;
	c->bytes = sizeof(*c) + n;
	LIST_INSERT_HEAD(&cache, c, link);
}

static struct bpf_filter *bpf_cache_copy(const struct bpf_filter *f,
					 struct err *e)
{
	size_t n;
	const void *program = bpf_filter_bytes(f, &n);

	return bpf_filter_from_program(program, n, e);
}

enum filter_found bpf_cache_find(const struct filter_key *k, int64_t now_ns,
				 struct bpf_filter **f, struct err *e)
{
	enum filter_found found = FILTER_COMPILING;

	pthread_mutex_lock(&cache_lock);
	struct bpf_cache_entry *c = bpf_cache_touch(k, now_ns);
	if (!c) {
		bpf_cache_begin(k);
		found = FILTER_MISSING;
	} else if (c->error) {
		*e = *c->error;
		found = FILTER_FOUND_ERROR;
	} else if (c->filter) {
		*f = bpf_cache_copy(c->filter, e);
		found = *f ? FILTER_FOUND : FILTER_FOUND_ERROR;
	}
	pthread_mutex_unlock(&cache_lock);
	return found;
}

/* False: nothing of it can be kept. */
static bool bpf_cache_fill(struct bpf_cache_entry *c, int64_t now_ns,
			   const struct bpf_filter *f, const struct err *e)
{
	struct err ignored = ERR_INIT;

	c->compiling = false;
	if (!f && e->kind == ERR_USAGE) {
		c->error = malloc(sizeof(*c->error));
		c->end_ns = now_ns + BPF_CACHE_ERROR_NS;
		c->bytes += sizeof(*c->error);
		if (c->error)
			*c->error = *e;
		return c->error;
	}
	c->filter = f ? bpf_cache_copy(f, &ignored) : NULL;
	if (!c->filter)
		return false;
	c->end_ns = filter_has_names(c->text) ? now_ns + BPF_CACHE_NAMES_NS
					      : INT64_MAX;
	c->bytes += f->program.bf_len * sizeof(*f->program.bf_insns);
	return true;
}

void bpf_cache_put(const struct filter_key *k, int64_t now_ns,
		   const struct bpf_filter *f, const struct err *e)
{
	pthread_mutex_lock(&cache_lock);
	struct bpf_cache_entry *c = bpf_cache_of(k);
	if (c && c->compiling && !bpf_cache_fill(c, now_ns, f, e))
		bpf_cache_remove(c);
	bpf_cache_bound(now_ns);
	pthread_mutex_unlock(&cache_lock);
}
