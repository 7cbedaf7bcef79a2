/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log lines are written with one write(2) each, so that lines of several
 * threads never mix. Guarantees that no place in the code fills a disk,
 * whoever makes it log, and that what was not written is counted and told.
 * Leaves out files and rotation: that is the journal's.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_TEXT_MAX 2048

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
/* The lock guards this and all sites. */
static LIST_HEAD(, log_site) log_holding;

static void log_write(enum log_level level, const char *text)
{
	char line[LOG_TEXT_MAX];
	bool journal = getenv("JOURNAL_STREAM") != NULL;
	size_t n = (size_t)(journal ? snprintf(line, sizeof(line), "<%d>",
					       (int)level)
				    : snprintf(line, sizeof(line), "pcapd: "));

	n += utf8_clean(line + n, sizeof(line) - n - 1, text, strlen(text));
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0) {
		/* Nobody is left to tell. */
	}
}

static void log_write_held(const struct log_site *s)
{
	char text[LOG_LIKE_BYTES + 64];

	if (s->held == 0)
		return;
	snprintf(text, sizeof(text), "%" PRIu64 " more like this: %s", s->held,
		 s->last);
	log_write(s->level, text);
}

static bool log_may(const struct log_site *s, int64_t now_ns)
{
	return s->paid_ns <= now_ns ||
	       s->paid_ns - now_ns <= (LOG_BURST - 1) * LOG_INTERVAL_NS;
}

static void log_pay(struct log_site *s, int64_t now_ns)
{
	s->paid_ns =
		(s->paid_ns > now_ns ? s->paid_ns : now_ns) + LOG_INTERVAL_NS;
}

/* Takes what s holds back out of it. */
static struct log_site log_take_held(struct log_site *s)
{
	struct log_site held = *s;

	if (s->held)
		LIST_REMOVE(s, link);
	s->held = 0;
	return held;
}

static void log_hold(struct log_site *s, enum log_level level, const char *text)
{
	if (s->held++ == 0)
		LIST_INSERT_HEAD(&log_holding, s, link);
	s->level = level;
	size_t n = strnlen(text, sizeof(s->last) - 1);
	memcpy(s->last, text, n);
	s->last[n] = 0;
}

static void log_text(struct log_site *s, enum log_level level, const char *text)
{
	struct log_site held = {0};
	int64_t now_ns = monotonic_ns();

	pthread_mutex_lock(&log_lock);
	bool may = log_may(s, now_ns);
	if (may) {
		log_pay(s, now_ns);
		held = log_take_held(s);
	} else {
		log_hold(s, level, text);
	}
	pthread_mutex_unlock(&log_lock);
	if (!may)
		return;
	log_write_held(&held);
	log_write(level, text);
}

void log_site_line(struct log_site *s, enum log_level level, const char *fmt,
		   ...)
{
	char text[LOG_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_text(s, level, n < 0 ? fmt : text);
}

void log_site_err(struct log_site *s, enum log_level level, const struct err *e)
{
	if (e->hint[0])
		log_site_line(s, level, "%s (%s)", e->what, e->hint);
	else
		log_site_line(s, level, "%s", e->what);
}

/* One that may write again at now_ns; false: there is none. */
static bool log_next_held(int64_t now_ns, struct log_site *held)
{
	pthread_mutex_lock(&log_lock);
	struct log_site *s;
	LIST_FOREACH(s, &log_holding, link)
		if (log_may(s, now_ns))
			break;
	if (s) {
		if (now_ns != INT64_MAX)
			log_pay(s, now_ns);
		*held = log_take_held(s);
	}
	pthread_mutex_unlock(&log_lock);
	return s != NULL;
}

void log_held(int64_t now_ns)
{
	struct log_site held;

	while (log_next_held(now_ns, &held))
		log_write_held(&held);
}
