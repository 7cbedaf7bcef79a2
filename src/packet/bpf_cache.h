/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bpf_cache: compiled filters that are kept, and those being compiled.
 *
 * What: a filter of 400 hosts takes libpcap 7 s (1 s without its optimizer, and
 * then five times the instructions). Its program is kept, and who asks for one
 * that is being compiled waits for that. A key is all that decides a program
 * besides the bounds on its size.
 * Threads: any; nothing here waits.
 * Ownership: the texts of a key are the caller's; bpf_cache_find gives a
 * copy, bpf_filter_free takes.
 * Limits: BPF_CACHE_MAX results and BPF_CACHE_BYTES, those that were not
 * asked for the longest go; besides these one for each call that compiles just
 * now. Programs with names of hosts, ports or protocols stay for
 * BPF_CACHE_NAMES_NS: files and name servers change; errors for
 * BPF_CACHE_ERROR_NS: enough for those who waited.
 */
#ifndef PCAPD_PACKET_BPF_CACHE_H
#define PCAPD_PACKET_BPF_CACHE_H

#include "packet/bpf_filter.h"

#define BPF_CACHE_MAX 64
#define BPF_CACHE_BYTES (1u << 20) /* 32 programs of the kernel's bound */
#define BPF_CACHE_NAMES_NS (10 * NS_PER_S)
#define BPF_CACHE_ERROR_NS NS_PER_S

struct filter_key {
	const char *text;
	uint32_t link_type, snaplen;
	bool operator; /* names of hosts are looked up */
};

enum filter_found {
	FILTER_FOUND,	    /* *f */
	FILTER_FOUND_ERROR, /* e: the filter is wrong */
	FILTER_COMPILING,   /* ask again later */
	FILTER_MISSING,	    /* the caller compiles, and calls bpf_cache_put */
};

/* Never FILTER_MISSING twice before bpf_cache_put. now_ns is monotonic. */
enum filter_found bpf_cache_find(const struct filter_key *k, int64_t now_ns,
				 struct bpf_filter **f, struct err *e);
/* What came of it. f: NULL with why in e. Only what is the filter's own fault
 * (ERR_USAGE) is an answer to others, too: they compile it themselves. */
void bpf_cache_put(const struct filter_key *k, int64_t now_ns,
		   const struct bpf_filter *f, const struct err *e);

/* False: every word of it is libpcap's own, a number or an address. */
bool filter_has_names(const char *text);

#endif
