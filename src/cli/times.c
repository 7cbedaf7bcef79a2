/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Points in time as people write them. Guarantees that the same text at the
 * same `now` and TZ gives the same time, and that a local time that the clock
 * skips or repeats still means one point. Leaves out words such as "yesterday".
 */
#include "cli/cli.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* The end of 2261: whole years that fit into 64 bits of nanoseconds. */
#define SECONDS_MAX 9214646399ll

/* --- pieces of text: each moves *p behind what it took --- */

static bool times_take(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

/* Exactly `digits` of them, the value in [min, max]. */
static bool times_digits(const char **p, int n, int min, int max, int *value)
{
	*value = 0;
	for (int i = 0; i < n; i++, (*p)++) {
		if (!isdigit((unsigned char)**p))
			return false;
		*value = *value * 10 + (**p - '0');
	}
	return *value >= min && *value <= max;
}

/* ".5" and the like: at most nine digits; nothing is fine. */
static bool times_fraction(const char **p, int64_t *ns)
{
	int64_t scale = NS_PER_S;

	*ns = 0;
	if (!times_take(p, '.'))
		return true;
	if (!isdigit((unsigned char)**p))
		return false;
	for (; isdigit((unsigned char)**p); (*p)++) {
		scale /= 10;
		if (scale == 0)
			return false;
		*ns += scale * (**p - '0');
	}
	return true;
}

static bool times_date(const char **p, struct tm *tm)
{
	static const int days[] = {31, 29, 31, 30, 31, 30,
				   31, 31, 30, 31, 30, 31};
	int y, m, d;

	if (!times_digits(p, 4, 1970, 2261, &y) || !times_take(p, '-') ||
	    !times_digits(p, 2, 1, 12, &m) || !times_take(p, '-') ||
	    !times_digits(p, 2, 1, days[m - 1], &d))
		return false;
	if (m == 2 && d == 29 && (y % 4 || (y % 100 == 0 && y % 400)))
		return false;
	tm->tm_year = y - 1900;
	tm->tm_mon = m - 1;
	tm->tm_mday = d;
	return true;
}

/* HH:MM[:SS[.fraction]]; 60 is a leap second. */
static bool clock_time(const char **p, struct tm *tm, int64_t *ns)
{
	*ns = 0;
	if (!times_digits(p, 2, 0, 23, &tm->tm_hour) || !times_take(p, ':') ||
	    !times_digits(p, 2, 0, 59, &tm->tm_min))
		return false;
	if (!times_take(p, ':'))
		return true;
	return times_digits(p, 2, 0, 60, &tm->tm_sec) && times_fraction(p, ns);
}

/* Z or +hh:mm; true and *given false when there is none. */
static bool times_offset(const char **p, bool *given, int64_t *seconds)
{
	int h, m;

	*seconds = 0;
	*given = **p != '\0';
	if (!*given || times_take(p, 'Z') || times_take(p, 'z'))
		return true;
	bool west = **p == '-';
	if ((!times_take(p, '-') && !times_take(p, '+')) ||
	    !times_digits(p, 2, 0, 23, &h) || !times_take(p, ':') ||
	    !times_digits(p, 2, 0, 59, &m))
		return false;
	*seconds = (west ? -1 : 1) * (h * 3600 + m * 60);
	return true;
}

/* --- local time --- */

/* Where the clock is set back a local time is two points: the first for a
 * beginning, the second for an end. Where it is set forward it is none: then
 * what it would have been had the clock stayed. */
static int64_t local_seconds(const struct tm *wanted, enum time_edge edge)
{
	static const int guesses[] = {-1, 0, 1};
	bool found = false;
	int64_t best = 0;

	for (size_t i = 0; i < sizeof(guesses) / sizeof(guesses[0]); i++) {
		struct tm tm = *wanted;
		tm.tm_sec = 0; /* so that a leap second moves no minute */
		tm.tm_isdst = guesses[i];
		int64_t t = mktime(&tm);
		if (tm.tm_hour != wanted->tm_hour ||
		    tm.tm_min != wanted->tm_min)
			continue;
		if (!found || (edge == TIME_SINCE ? t < best : t > best))
			best = t;
		found = true;
	}
	if (!found) {
		struct tm tm = *wanted;
		tm.tm_sec = tm.tm_isdst = 0;
		best = mktime(&tm);
	}
	return best + wanted->tm_sec;
}

static bool calendar_parse(const char *p, int64_t now_ns, enum time_edge edge,
			   int64_t *ns)
{
	time_t now = now_ns / NS_PER_S;
	struct tm tm;
	int64_t part = 0, east;
	bool zoned = false;
	const char *start = p;

	localtime_r(&now, &tm);
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	if (times_date(&p, &tm)) {
		bool timed = times_take(&p, 'T') || times_take(&p, 't') ||
			     times_take(&p, ' ');
		if (timed && (!clock_time(&p, &tm, &part) ||
			      !times_offset(&p, &zoned, &east)))
			return false;
	} else {
		p = start;
		if (!clock_time(&p, &tm, &part))
			return false;
	}
	if (*p)
		return false;
	int64_t s = zoned ? timegm(&tm) - east : local_seconds(&tm, edge);
	*ns = s * NS_PER_S + part;
	return true;
}

/* --- the other ways --- */

static bool epoch_parse(const char *p, int64_t *ns)
{
	int64_t s = 0, part;

	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++) {
		s = s * 10 + (*p - '0');
		if (s > SECONDS_MAX)
			return false;
	}
	if (!times_fraction(&p, &part) || *p)
		return false;
	*ns = s * NS_PER_S + part;
	return true;
}

static int64_t unit_seconds(char c)
{
	switch (c) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 86400;
	case 'w':
		return 604800;
	}
	return 0;
}

static bool duration_read(const char *p, int64_t *ns)
{
	int64_t total = 0;

	do {
		int64_t n = 0;
		if (!isdigit((unsigned char)*p))
			return false;
		for (; isdigit((unsigned char)*p); p++) {
			n = n * 10 + (*p - '0');
			if (n > SECONDS_MAX)
				return false;
		}
		int64_t unit = unit_seconds(*p++);
		if (unit == 0 || n > (SECONDS_MAX - total) / unit)
			return false;
		total += n * unit;
	} while (*p);
	*ns = total * NS_PER_S;
	return total > 0;
}

bool duration_parse(const char *what, const char *text, int64_t *ns,
		    struct err *e)
{
	if (duration_read(text, ns))
		return true;
	return err_set(e, ERR_USAGE,
		       "%s: expected a length of time such as 90s, 10m, 2h, "
		       "3d or 1w, not '%s'",
		       what, text);
}

bool time_parse(const char *what, const char *text, int64_t now_ns,
		enum time_edge edge, int64_t *ns, struct err *e)
{
	int64_t ago, t = 0;

	if (strcmp(text, "now") == 0)
		t = now_ns;
	else if (duration_read(text + (*text == '-'), &ago))
		t = now_ns - ago;
	else if (!(*text == '@' ? epoch_parse(text + 1, &t)
				: calendar_parse(text, now_ns, edge, &t)))
		return err_set(e, ERR_USAGE,
			       "%s: expected a time such as "
			       "2026-11-23T10:00:00Z, '2026-11-23 10:00:00', "
			       "10:00, @1795424400 or 10m (ago), not '%s'",
			       what, text);
	if (t < 0)
		return err_set(e, ERR_USAGE, "%s: '%s' is before 1970", what,
			       text);
	*ns = t;
	return true;
}

/* Nobody is left to guess why nothing comes. */
void time_range_say(int64_t now_ns, int64_t since_ns)
{
	char text[TIME_TEXT], span[SPAN_TEXT];

	if (since_ns > now_ns)
		cli_say("pcap: the range begins in the future: %s is %s from "
			"now",
			time_text(since_ns, text),
			span_text(since_ns - now_ns, span));
}

bool time_range_parse(const struct time_range *r, const char *capture,
		      int64_t now_ns, int64_t *since_ns, int64_t *until_ns,
		      struct err *e)
{
	char a[TIME_TEXT], b[TIME_TEXT];

	*since_ns = *until_ns = 0;
	if (r->last && r->since)
		return err_set(e, ERR_USAGE,
			       "--last and --since both say where to begin: "
			       "give one of them");
	if (r->last) {
		if (!duration_parse("--last", r->last, since_ns, e))
			return false;
		*since_ns = *since_ns < now_ns ? now_ns - *since_ns : 0;
	}
	if (r->since && !time_or_mark("--since", r->since, capture, now_ns,
				      TIME_SINCE, since_ns, e))
		return false;
	time_range_say(now_ns, *since_ns);
	if (!r->until)
		return true;
	if (!time_or_mark("--until", r->until, capture, now_ns, TIME_UNTIL,
			  until_ns, e))
		return false;
	if (*until_ns > *since_ns)
		return true;
	return err_set(e, ERR_USAGE,
		       "--until has to be after %s: %s is not after %s",
		       r->last ? "--last" : "--since", time_text(*until_ns, b),
		       time_text(*since_ns, a));
}

/* --- and back --- */

const char *time_text(int64_t ns, char out[TIME_TEXT])
{
	time_t s = ns / NS_PER_S;
	struct tm tm;
	char part[16] = "";

	localtime_r(&s, &tm);
	size_t n = strftime(out, TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
	if (ns % NS_PER_S) {
		int m = snprintf(part, sizeof(part), ".%09" PRId64,
				 (int64_t)(ns % NS_PER_S));
		while (part[m - 1] == '0')
			part[--m] = '\0';
	}
	long east = tm.tm_gmtoff / 60;
	long minutes = east < 0 ? -east : east;
	snprintf(out + n, TIME_TEXT - n, "%s%c%02ld:%02ld", part,
		 east < 0 ? '-' : '+', minutes / 60 % 100, minutes % 60);
	return out;
}

const char *time_moment(int64_t ns, char out[TIME_TEXT])
{
	return time_text(ns - ns % (NS_PER_S / 1000), out);
}

const char *time_short(int64_t ns, char out[TIME_TEXT])
{
	time_t s = ns / NS_PER_S;
	struct tm tm;

	out[0] = '\0';
	if (ns == 0)
		return out;
	localtime_r(&s, &tm);
	strftime(out, TIME_TEXT, "%Y-%m-%d %H:%M:%S", &tm);
	return out;
}
