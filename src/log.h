/*
 * log: one line an event on stderr, for people and for the journal.
 *
 * What: lines carry sd-daemon(3) priority prefixes when stderr is the
 * journal (JOURNAL_STREAM is set), else "pcapd: ".
 * Threads: any. Ownership: nothing is kept.
 */
#ifndef PCAPD_LOG_H
#define PCAPD_LOG_H

#include "err.h"

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6 };

void log_line(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The error's text and, if there is one, its hint. */
void log_err(enum log_level level, const struct err *e);

#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
