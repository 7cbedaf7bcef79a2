/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options: the line of a command, as rows.
 *
 * What: a row is an option: its names, what stands for its value in the help,
 * what reads that, and where it goes. The same rows make argp(3)'s usage and
 * help, and the words of `pcap complete`. A long name is written out: `--al` is
 * no `--all`, as the next option may begin like that, too.
 * Threads: one. Ownership: texts are argv's.
 */
#ifndef PCAPD_CLI_OPTIONS_H
#define PCAPD_CLI_OPTIONS_H

#include "base/err.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

#define SNAPLEN_MAX 262144 /* of pcap(3) */

struct cli_option {
	const char *name;
	char key;	   /* -k; or 0 */
	const char *value; /* in the help; NULL: it takes none */
	const char *help;
	/* Reads the value, NULL if there is none, to where it goes. */
	bool (*take)(const struct cli_option *o, const char *text,
		     struct err *e);
	void *to;
	uint64_t min, max; /* of a number */
	bool optional;	   /* the value, which is then behind a '=' */
};

bool option_flag(const struct cli_option *o, const char *text, struct err *e);
bool option_boolean(const struct cli_option *o, const char *text,
		    struct err *e);
bool option_text(const struct cli_option *o, const char *text, struct err *e);
/* Whole numbers. */
bool option_u32(const struct cli_option *o, const char *text, struct err *e);
bool option_u64(const struct cli_option *o, const char *text, struct err *e);
/* 90s, 10m, 2h */
bool option_length(const struct cli_option *o, const char *text, struct err *e);

/* clang-format off */
#define OPTION(n, letter, v, type, f, t, h)                                    \
	{.name = (n), .key = (letter), .value = (v), .help = h, .take = (f),   \
	 .to = _Generic((t), type * : (t))}
#define OPTION_FLAG(n, k, t, h)                                                \
	{.name = (n), .key = (k), .help = h, .to = (t),                        \
	 .take = _Generic((t), bool * : option_flag,                           \
			  protobuf_c_boolean * : option_boolean)}
#define OPTION_TEXT(n, k, v, t, h)                                             \
	{.name = (n), .key = (k), .value = (v), .help = h,                     \
	 .take = option_text,                                                  \
	 .to = _Generic((t), const char ** : (t), char ** : (t))}
#define OPTION_LENGTH(n, t, h)                                                 \
	OPTION(n, 0, "LENGTH", int64_t, option_length, t, h)
#define OPTION_NUMBER(n, k, v, t, least, most, h)                              \
	{.name = (n), .key = (k), .value = (v), .help = h,                     \
	 .take = _Generic((t), uint32_t * : option_u32,                        \
			  uint64_t * : option_u64),                            \
	 .to = (t), .min = (least), .max = (most)}
/* Of a struct time_range. */
#define OPTION_RANGE(range, since_help, until_help)                            \
	OPTION_TEXT("since", 0, "TIME", &(range)->since, since_help),          \
	OPTION_TEXT("until", 0, "TIME", &(range)->until, until_help),          \
	OPTION_TEXT("last", 0, "LENGTH", &(range)->last,                       \
		    "The last 90s, 10m, 2h, 3d, 1w")
/* Of a request with max_packets and snaplen, and of its struct stream. */
#define OPTION_STREAM(ask, s)                                                  \
	OPTION_NUMBER("count", 'c', "N", &(ask)->max_packets, 1, UINT64_MAX,   \
		      "End after so many packets"),                            \
	OPTION_NUMBER("snaplen", 's', "BYTES", &(ask)->snaplen, 1,             \
		      SNAPLEN_MAX, "At most so many bytes of a packet"),       \
	OPTION_TEXT("write", 'w', "FILE", &(s)->file,                          \
		    "Write to FILE, compressed if it ends in .zst; '-' is the "\
		    "standard output"),                                        \
	OPTION_FLAG("force", 'f', &(s)->force, "Overwrite FILE")
/* Of a struct keep. */
#define OPTION_KEEP(k, or_none)                                                \
	OPTION("keep-bytes", 0, "BYTES", struct keep, option_keep_bytes, k,    \
	       "Remove the oldest when more is stored: 500M, 200G" or_none),   \
	OPTION("keep-age", 0, "LENGTH", struct keep, option_keep_age, k,       \
	       "Remove what is older than that: 12h, 30d" or_none)
/* clang-format on */

/* The words of a line that are no options; v ends with NULL. */
struct words {
	char **v;
	int n;
};

#define WORDS_ANY (-1)

struct command {
	const char *name, *summary; /* for the list of commands */
	const char *args;	    /* the words, a line for each form */
	const char *help;
	const struct cli_option *options; /* end with a row of 0; or NULL */
	bool tables;			  /* takes --wide and --json, too */
	bool leads;   /* the first word begins a line of its own */
	int min, max; /* words; and what is said if there are others */
	const char *too_few, *too_many;
	/* What is wrong with the line as a whole; NULL: nothing can be. */
	bool (*check)(const struct words *words, struct err *e);
	int (*run)(const struct words *words); /* gives the exit code */
};

/* Options of every command that takes them, behind its own; rows of 0 end
 * them. */
extern const struct cli_option options_of_tables[], options_of_all[];

/* Does not come back when the line is wrong or asks for help. */
struct words options_parse(const struct command *c, int argc, char **argv);

#endif
