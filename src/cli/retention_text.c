/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is kept and what is missing, in words: retention, forecasts, marks,
 * coverage. Guarantees that a text that is a time is never taken for a mark.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MARK_LETTERS                                                           \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

/* --- retention --- */

bool option_keep_bytes(const struct cli_option *o, const char *text,
		       struct err *e)
{
	struct keep *k = o->to;

	k->bytes_given = true;
	return size_parse("--keep-bytes", text, &k->bytes, e);
}

bool option_keep_age(const struct cli_option *o, const char *text,
		     struct err *e)
{
	struct keep *k = o->to;

	k->age_given = true;
	k->age_ns = 0;
	return strcmp(text, "none") == 0 ||
	       duration_parse("--keep-age", text, &k->age_ns, e);
}

/* 200 GiB */
static const char *binary_text(double bytes, char out[SIZE_TEXT])
{
	static const char units[] = "KMGTPE";
	int u = -1;

	while (bytes >= 1023.5 && u < 5) {
		bytes /= 1024;
		u++;
	}
	if (u < 0)
		snprintf(out, SIZE_TEXT, "%.0f B", bytes);
	else
		snprintf(out, SIZE_TEXT,
			 bytes < 100 ? "%.3g %ciB" : "%.0f %ciB", bytes,
			 units[u]);
	return out;
}

void forecast_say(FILE *f, const Pcap__V1__CaptureStatus *s, const char *prefix)
{
	const Pcap__V1__Capture *c = s->capture;
	char size[SIZE_TEXT], span[SPAN_TEXT], over[SPAN_TEXT];
	double day = (double)s->rate_bytes_per_day;

	if (!c->keep_bytes && !c->keep_age_ns)
		return;
	if (!s->rate_over_ns || !s->rate_bytes_per_day) {
		cli_line(f,
			 "%snothing was stored in the last 24 h to forecast "
			 "from",
			 prefix);
		return;
	}
	if (s->rate_over_ns > 23 * 3600 * NS_PER_S)
		strcpy(over, "24 h");
	else
		span_text(s->rate_over_ns, over);
	if (c->keep_bytes)
		cli_line(f, "%s%s is about %s at the rate of the last %s",
			 prefix, binary_text((double)c->keep_bytes, size),
			 span_text(s->forecast_ns, span), over);
	if (c->keep_age_ns)
		cli_line(f, "%s%s is about %s at the rate of the last %s",
			 prefix, span_text(c->keep_age_ns, span),
			 binary_text(day * (double)c->keep_age_ns / 86400e9,
				     size),
			 over);
}

int removal_agreed(const Pcap__V1__WouldRemoveRequest *ask, const char *command,
		   bool dry_run, struct err *e)
{
	char text[CAPTURE_TEXT], what[160], size[SIZE_TEXT];
	int yes = 1;

	Pcap__V1__WouldRemoveResponse *m =
		(Pcap__V1__WouldRemoveResponse *)cli_call("WouldRemove",
							  &ask->base, e);
	if (!m) {
		err_wrap(e, "%s %s", command, ask->name);
		if (!e->hint[0])
			err_hint(e, "--yes does it without asking how much "
				    "that would remove.");
		return -1;
	}
	snprintf(what, sizeof(what), "%" PRIu64 " packets, %s on disk, of %s",
		 m->packets, size_text(m->stored_bytes, size),
		 m->capture ? capture_text(m->capture, text) : "it");
	if (dry_run) {
		cli_print("would remove %s", m->segments ? what : "nothing");
		yes = 0;
	} else if (m->segments && !isatty(STDIN_FILENO)) {
		err_set(e, ERR_USAGE, "that would remove %s at once", what);
		err_hint(e, "Say --yes if it is meant.");
		yes = -1;
	} else if (m->segments && !cli_agreed("Remove %s, at once?", what)) {
		err_set(e, ERR_FAILED, "nothing was changed");
		yes = -1;
	}
	pcap__v1__would_remove_response__free_unpacked(m, NULL);
	return yes;
}

Pcap__V1__StatusResponse *status_ask(const char *name, struct err *e)
{
	Pcap__V1__StatusRequest ask = PCAP__V1__STATUS_REQUEST__INIT;

	ask.name = (char *)name;
	return (Pcap__V1__StatusResponse *)cli_call("Status", &ask.base, e);
}

/* --- marks --- */

static bool mark_find(const char *capture, const char *mark, int64_t *ns,
		      struct err *e)
{
	Pcap__V1__StatusResponse *m = status_ask(capture, e);
	bool found = false;

	if (!m)
		return false;
	for (size_t i = 0;
	     m->n_captures == 1 && !found && i < m->captures[0]->n_marks; i++) {
		const Pcap__V1__Mark *k = m->captures[0]->marks[i];
		found = strcmp(k->name, mark) == 0;
		if (found)
			*ns = k->at_ns;
	}
	pcap__v1__status_response__free_unpacked(m, NULL);
	return found ||
	       err_set(e, ERR_NOT_FOUND, "%s has no mark '%s'", capture, mark);
}

bool time_or_mark(const char *what, const char *text, const char *capture,
		  int64_t now_ns, enum time_edge edge, int64_t *ns,
		  struct err *e)
{
	struct err no_mark = ERR_INIT;

	if (time_parse(what, text, now_ns, edge, ns, e))
		return true;
	if (!capture || !*text || text[strspn(text, MARK_LETTERS)])
		return false;
	if (mark_find(capture, text, ns, &no_mark))
		return true;
	if (no_mark.kind != ERR_NOT_FOUND)
		*e = no_mark;
	else
		err_hint(e, "%.300s.", no_mark.what);
	return false;
}

/* --- coverage --- */

const char *cause_text(Pcap__V1__Gap__Cause cause)
{
	static const char *const names[] = {
		"unknown", "received", "kernel",   "interface", "memory",
		"disk",	   "stopped",  "restart",  "down",	"damage",
		"clock",   "expired",  "excluded", "import"};
	unsigned i = (unsigned)cause;

	return names[i < sizeof(names) / sizeof(names[0]) ? i : 0];
}

/* "stopped, kernel": the causes of the gaps, each once. */
static void retention_text_causes(const Pcap__V1__Coverage *c, char *out,
				  size_t room)
{
	/* These are no gaps. */
	unsigned seen = 1u << PCAP__V1__GAP__CAUSE__CLOCK |
			1u << PCAP__V1__GAP__CAUSE__EXCLUDED;
	size_t n = 0;

	*out = '\0';
	for (size_t i = 0; i < c->n_rows && n < room; i++) {
		unsigned bit = 1u << ((unsigned)c->rows[i]->cause & 31);
		if (seen & bit)
			continue;
		seen |= bit;
		n += (size_t)snprintf(out + n, room - n, "%s%s", n ? ", " : "",
				      cause_text(c->rows[i]->cause));
	}
}

void coverage_say(const Pcap__V1__Coverage *c)
{
	char a[TIME_TEXT], b[TIME_TEXT], d[TIME_TEXT], f[TIME_TEXT];
	char why[160], range[2 * TIME_TEXT + 16],
		covered[sizeof(range)] = "nothing";
	const char *but = "; covered: ";

	if (!c->since_ns && !c->until_ns) {
		cli_say("range: nothing was captured yet");
		return;
	}
	snprintf(range, sizeof(range), "%s to %s", time_moment(c->since_ns, a),
		 time_moment(c->until_ns, b));
	if (c->to_ns)
		snprintf(covered, sizeof(covered), "%s to %s",
			 time_moment(c->from_ns, d), time_moment(c->to_ns, f));
	/* One range is said once. */
	if (strcmp(covered, range) == 0)
		but = strcpy(covered, "");
	retention_text_causes(c, why, sizeof(why));
	if (c->gaps == 0)
		cli_say("range: %s%s%s%s", range, but, covered,
			c->to_ns ? "; no gaps" : "");
	else if (c->missing == 0)
		cli_say("range: %s%s%s; gaps: %" PRIu64 " (%s)", range, but,
			covered, c->gaps, why);
	else
		cli_say("range: %s%s%s; gaps: %" PRIu64 " (%s), %" PRIu64
			" packets counted in them",
			range, but, covered, c->gaps, why, c->missing);
}
