/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cli: the command `pcap`. Private contract of this folder.
 *
 * What: a table of commands (commands.c), a file each; what they share is
 * below. Packets and lists go to stdout, talk goes to stderr.
 * Threads: one, but for stream.c, which says so.
 * Ownership: stated at each function.
 */
#ifndef PCAPD_CLI_CLI_H
#define PCAPD_CLI_CLI_H

#include "base/clock.h"
#include "base/err.h"
#include "cli/options.h"
#include "client/client.h"

#include <stdint.h>
#include <stdio.h>

extern const struct command command_alias, command_audit, command_complete,
	command_count, command_delete, command_gaps, command_help, command_hold,
	command_import, command_init, command_interfaces, command_list,
	command_listen, command_mark, command_proxy, command_release,
	command_remote, command_replay, command_set, command_start,
	command_status, command_stop, command_version;

/* Ends with NULL. */
extern const struct command *const commands[];

int cli_main(int argc, char **argv);
/* The line before the command. */
extern const struct command command_line;
/* NULL: no such command; then *nearest is what was perhaps meant, or NULL. */
const struct command *command_find(const char *name, const char **nearest);

/* --- what every command takes (options.c) --- */

const char *cli_socket(void);
bool cli_wide(void); /* nothing is cut */
enum json_form { JSON_NONE, JSON_NUMBERS, JSON_STRINGS };
enum json_form cli_json(void);

/* --- words and numbers (text.c) --- */

/*
 * Whatever is printed for people comes through these and through table.h: they
 * clean it (utf8.h), as much of it was somebody else's. A line each.
 */
/* The text, cleaned; to free(). */
char *cli_plain(const char *text);
/* Prints "pcap: what" and the hint; gives the exit code. */
int cli_fail(const struct err *e);
void cli_line(FILE *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
#define cli_print(...) cli_line(stdout, __VA_ARGS__)
#define cli_say(...) cli_line(stderr, __VA_ARGS__)
/* Flushes stdout; an error there is the command's. */
int cli_done(void);
/* Asks "question [y/N]" on the terminal. */
bool cli_agreed(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Joined by blanks, to free(). Never NULL. */
char *words_join(const struct words *w, int from);
/* A whole number in [min, max]; what: "--count". */
bool number_parse(const char *what, const char *text, uint64_t min,
		  uint64_t max, uint64_t *value, struct err *e);
#define SIZE_TEXT 16
/* 1023, 1.0K, 33.9M, as du -h does. */
const char *size_text(uint64_t bytes, char out[SIZE_TEXT]);
/* 200G, 64K, 1T, 0; none is 0. what: "--keep-bytes". */
bool size_parse(const char *what, const char *text, uint64_t *bytes,
		struct err *e);
#define CAPTURE_TEXT 128
/* "3 (web, www)" */
const char *capture_text(const Pcap__V1__Capture *c, char out[CAPTURE_TEXT]);

/* "running" */
const char *state_text(const Pcap__V1__Capture *c);

/* --- [remote:]name (target.c) --- */

/* *name points into word, behind the remote's name; calls go to that remote
 * from then on. NULL is "". */
bool target_parse(const char *word, const char **name, struct err *e);
/* The same of what takes --all, too, also as remote:--all: then *name is "". */
bool target_or_all(const char *word, protobuf_c_boolean *all, const char **name,
		   struct err *e);
/* The same by the remote's name alone. */
bool target_remote(const char *name, struct err *e);
const struct address *target_address(void);
/* From here on pcapd on this machine hears what carries this session of ssh. */
void target_tells_carrier(void);

/* --- times (times.c) --- */

/* Which one of the two is meant when a local time occurs twice. */
enum time_edge { TIME_SINCE, TIME_UNTIL };

/* Nanoseconds since 1970. what: "--since". */
bool time_parse(const char *what, const char *text, int64_t now_ns,
		enum time_edge edge, int64_t *ns, struct err *e);
/* 90s, 10m, 1h30m, 3d, 1w; more than nothing. */
bool duration_parse(const char *what, const char *text, int64_t *ns,
		    struct err *e);
#define TIME_TEXT 48
/* 2026-11-23T10:00:00+01:00, with a fraction if there is one. */
const char *time_text(int64_t ns, char out[TIME_TEXT]);
/* To the millisecond: nobody reads more. */
const char *time_moment(int64_t ns, char out[TIME_TEXT]);
/* 2026-11-23 10:00:00, "" for 0. */
const char *time_short(int64_t ns, char out[TIME_TEXT]);

struct time_range {
	const char *since, *until, *last; /* as given, or NULL */
};
/* As time_or_mark; 0 where nothing was given. */
bool time_range_parse(const struct time_range *r, const char *capture,
		      int64_t now_ns, int64_t *since_ns, int64_t *until_ns,
		      struct err *e);
/* Says so of a range that begins in the future; time_range_parse does. */
void time_range_say(int64_t now_ns, int64_t since_ns);

#define SPAN_TEXT 24
/* 250 ms, 3.4 s, 12 min, 5.2 h, 3.1 days */
const char *span_text(int64_t ns, char out[SPAN_TEXT]);

/* --- what is kept (retention_text.c) --- */

/* --keep-bytes and --keep-age. */
struct keep {
	bool bytes_given, age_given;
	uint64_t bytes;
	int64_t age_ns;
};
/* For OPTION_KEEP. */
bool option_keep_bytes(const struct cli_option *o, const char *text,
		       struct err *e);
bool option_keep_age(const struct cli_option *o, const char *text,
		     struct err *e);
/* "about 3.1 days at the rate of the last 24 h", if it can be told, a line
 * behind prefix. */
void forecast_say(FILE *f, const Pcap__V1__CaptureStatus *s,
		  const char *prefix);
/* Says what Set or Release would remove at once. 1: go on; 0: that was all, as
 * of a dry run; -1: an error in *e. */
int removal_agreed(const Pcap__V1__WouldRemoveRequest *ask, const char *command,
		   bool dry_run, struct err *e);
/* Status of one capture, or with "" of all. */
Pcap__V1__StatusResponse *status_ask(const char *name, struct err *e);
/* A time or, unless capture is NULL, a mark of that capture. */
bool time_or_mark(const char *what, const char *text, const char *capture,
		  int64_t now_ns, enum time_edge edge, int64_t *ns,
		  struct err *e);
/* "kernel" */
const char *cause_text(Pcap__V1__Gap__Cause cause);
/* A line on stderr: the range, what of it was watched, its gaps. */
void coverage_say(const Pcap__V1__Coverage *c);

/* --- what a filter reads (explain.c) --- */

/* Prints what a replay of that would read; gives the exit code. */
int explain_run(const Pcap__V1__ExplainRequest *ask);

/* --- calls (text.c) --- */

struct client *cli_connect(struct err *e);
/* One unary call on a connection of its own. */
ProtobufCMessage *cli_call(const char *method, const ProtobufCMessage *request,
			   struct err *e);
/* A Start, Stop, Delete or alias call whose captures are printed behind
 * `done` ("started"); gives the exit code. */
int cli_change(const char *method, const ProtobufCMessage *request,
	       const char *done);

/* --- streams of packets (stream.c) --- */

struct stream {
	const char *method;
	const ProtobufCMessage *request;
	/* The request, if stored frames are wanted as they are; or NULL. */
	Pcap__V1__ReplayRequest *frames;
	const char *name; /* of the capture, as given */
	const char *file; /* -w, or NULL: stdout if it is no terminal */
	int64_t for_ns;	  /* 0: no end by time */
	bool force;	  /* overwrite the file */
	bool listen;	  /* lost packets are normal; tcpdump's counts */
	bool live;	  /* goes on after what is stored */
	bool strict;	  /* a gap in the range is a failure */
};
/* Gives the exit code. */
int stream_run(const struct stream *s);

#endif
