/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log: one line an event on stderr, for people and for the journal.
 *
 * What: lines carry sd-daemon(3) priority prefixes when stderr is the
 * journal (JOURNAL_STREAM is set), else "pcapd: ". What a line is made of may
 * be anybody's: it is cleaned (utf8.h), so that one event stays one line.
 * Threads: any. Ownership: nothing is kept.
 * Limits: each place in the code that logs may write LOG_BURST lines at once
 * and then one every LOG_INTERVAL_NS. What is over that is counted, and told
 * as "N more like this: " with the last of them, before the next line of that
 * place or by log_held.
 */
#ifndef PCAPD_BASE_LOG_H
#define PCAPD_BASE_LOG_H

#include "base/err.h"

#include <stdint.h>
#include <sys/queue.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6 };

#define LOG_BURST 20
#define LOG_INTERVAL_NS (INT64_C(10) * 1000 * 1000 * 1000)
#define LOG_LIKE_BYTES 160 /* of the last line that was held back */

/* A place that logs; all of it is log.c's. */
struct log_site {
	LIST_ENTRY(log_site) link; /* of those that hold lines back */
	enum log_level level;	   /* of the last one */
	int64_t paid_ns;	   /* the lines it wrote are paid for by then */
	uint64_t held;		   /* lines that were not written */
	char last[LOG_LIKE_BYTES];
};

#define log_line(level, ...)                                                   \
	do {                                                                   \
		static struct log_site log_site_here_;                         \
		log_site_line(&log_site_here_, level, __VA_ARGS__);            \
	} while (0)

/* The error's text and, if there is one, its hint. */
#define log_err(level, e)                                                      \
	do {                                                                   \
		static struct log_site log_site_here_;                         \
		log_site_err(&log_site_here_, level, e);                       \
	} while (0)

#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)

void log_site_line(struct log_site *s, enum log_level level, const char *fmt,
		   ...) __attribute__((format(printf, 3, 4)));
void log_site_err(struct log_site *s, enum log_level level,
		  const struct err *e);

/* Tells how many lines were held back, of each place that may write again at
 * now_ns of monotonic_ns(). INT64_MAX: of all. Called now and then. */
void log_held(int64_t now_ns);

#endif
