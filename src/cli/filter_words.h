/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter_words: the filter that a line asks for, as one pcap-filter(7)
 * expression for pcapd: its words, or a file (-F, as tcpdump(1) has it), and a
 * flow (--flow).
 *
 * Threads: one. Ownership: texts are argv's; what is given is to be freed.
 */
#ifndef PCAPD_CLI_FILTER_WORDS_H
#define PCAPD_CLI_FILTER_WORDS_H

#include "cli/options.h"

struct filter_words {
	const char *file; /* -F, or NULL */
	const char *flow; /* --flow, or NULL */
};

#define OPTION_FILTER_FILE(f)                                                  \
	OPTION_TEXT("filter-file", 'F', "FILE", &(f)->file,                    \
		    "Read the filter from FILE; '#' begins a comment there")
#define OPTION_FLOW(f)                                                         \
	OPTION_TEXT("flow", 0, "PROTO,A:PORT,B:PORT", &(f)->flow,              \
		    "Packets of one flow, both ways: "                         \
		    "tcp,10.0.0.7:443,[::1]:80; icmp,A,B")

/* The words from `from` on, or the file; behind them the flow, so that a
 * `vlan` among the words is before it. NULL: see *e (ERR_USAGE, or the errno
 * of the file). */
char *filter_words(const struct filter_words *f, const struct words *w,
		   int from, struct err *e);

#endif
