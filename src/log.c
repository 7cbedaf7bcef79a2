/*
 * Log lines are written with one write(2) each, so that lines of several
 * threads never mix. Leaves out files and rotation: that is the journal's.
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[2048];
	bool journal = getenv("JOURNAL_STREAM") != NULL;
	int n = journal ? snprintf(line, sizeof(line), "<%d>", (int)level)
			: snprintf(line, sizeof(line), "pcapd: ");
	va_list ap;

	va_start(ap, fmt);
	int m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	size_t len = (size_t)n + (m < 0 ? 0 : (size_t)m);
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0) {
		/* Nobody is left to tell. */
	}
}

void log_err(enum log_level level, const struct err *e)
{
	if (e->hint[0])
		log_line(level, "%s (%s)", e->what, e->hint);
	else
		log_line(level, "%s", e->what);
}
