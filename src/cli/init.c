/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcap init. The first word is the interface, the rest is the filter; what
 * they mean is for the daemon to say.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_MIB_MAX 2047
#define RINGS_MAX 16
#define SNAPLEN_MAX 262144

struct init_line {
	const char *alias, *snaplen, *ring, *rings, *people;
	bool no_promiscuous, start;
	struct keep keep;
	struct words words;
};

static error_t init_parse(int key, char *arg, struct argp_state *state)
{
	struct init_line *line = state->input;

	switch (key) {
	case 'a':
		line->alias = arg;
		return 0;
	case 's':
		line->snaplen = arg;
		return 0;
	case 'B':
		line->ring = arg;
		return 0;
	case 'p':
		line->no_promiscuous = true;
		return 0;
	case 4:
		line->people = arg;
		return 0;
	case 't':
		line->start = true;
		return 0;
	case 3:
		line->rings = arg;
		return 0;
	case 1:
		line->keep.bytes = arg;
		return 0;
	case 2:
		line->keep.age = arg;
		return 0;
	case ARGP_KEY_ARGS:
		words_take(&line->words, state);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"alias", 'a', "NAME", 0, "A name for the capture", 0},
	{"start", 't', NULL, 0, "Start it as well", 0},
	{"snaplen", 's', "BYTES", 0,
	 "Keep at most so many bytes of a packet (262144)", 0},
	{"no-promiscuous-mode", 'p', NULL, 0,
	 "Leave the interface out of promiscuous mode", 0},
	{"buffer", 'B', "MIB", 0, "The kernel's ring for packets (32)", 0},
	{"people", 4, "NAME,...", 0,
	 "Only these people, you and root see the capture", 0},
	{"rings", 3, "N", 0,
	 "So many rings, each filled from CPUs of its own (1)", 0},
	{"keep-bytes", 1, "BYTES", 0,
	 "Remove the oldest when more is stored: 500M, 200G", 0},
	{"keep-age", 2, "LENGTH", 0, "Remove what is older than that: 12h, 30d",
	 0},
	{0}};

static const struct argp argp = {
	options,
	init_parse,
	"[REMOTE:][INTERFACE] [FILTER...]",
	"Defines a capture. The filter is a pcap-filter(7) expression. Without "
	"an interface, and with 'any', it is every interface. An interface and "
	"a filter that are in use already give that capture, with the alias "
	"added.",
	cli_common,
	NULL,
	NULL};

static void init_say(const Pcap__V1__InitResponse *m,
		     const struct init_line *line)
{
	const Pcap__V1__Capture *c = m->capture;
	char name[CAPTURE_TEXT];

	capture_text(c, name);
	if (m->created)
		cli_say("created %s", name);
	else if (m->alias_added)
		cli_say("added the alias to %s, which has that interface and "
			"filter",
			name);
	else
		cli_say("%s has that interface and filter already", name);
	bool waits = c->state == PCAP__V1__CAPTURE__STATE__WAITING;

	if (m->note[0] && (line->start || !waits))
		cli_say("%s", m->note);
	else if (waits)
		cli_say("%s waits: %s", name, c->waiting_for);
	else if (line->start)
		cli_say("started %s", name);
}

/* Limits are set with a capture that is made; of one that was there already
 * they are not changed unasked. */
static void say_keep(const Pcap__V1__InitResponse *m,
		     const struct init_line *line)
{
	struct err ignored = ERR_INIT;
	char id[24];

	if ((line->keep.bytes || line->keep.age) && !m->created)
		cli_say("its limits stay as they are; 'pcap set' changes "
			"them");
	if (!m->capture->keep_bytes && !m->capture->keep_age_ns)
		return;
	snprintf(id, sizeof(id), "%llu", (unsigned long long)m->capture->id);
	Pcap__V1__StatusResponse *s = status_ask(id, &ignored);
	if (!s)
		return;
	for (size_t i = 0; i < s->n_captures; i++)
		forecast_say(stderr, s->captures[i], "");
	pcap__v1__status_response__free_unpacked(s, NULL);
}

static bool init_fill(Pcap__V1__InitRequest *ask, struct init_line *line,
		      struct err *e)
{
	uint64_t snaplen = 0, mib = 0, rings = 0;
	const char *name = "";

	if (line->snaplen && !number_parse("--snaplen", line->snaplen, 1,
					   SNAPLEN_MAX, &snaplen, e))
		return false;
	if (line->ring &&
	    !number_parse("--buffer", line->ring, 1, RING_MIB_MAX, &mib, e))
		return false;
	if (line->rings &&
	    !number_parse("--rings", line->rings, 1, RINGS_MAX, &rings, e))
		return false;
	if (!keep_parse(&line->keep, e))
		return false;
	if (line->words.n && !target_parse(line->words.v[0], &name, e))
		return false;
	ask->interface = (char *)name;
	ask->alias = (char *)(line->alias ? line->alias : "");
	ask->snaplen = (uint32_t)snaplen;
	ask->buffer_bytes = mib << 20;
	ask->rings = (uint32_t)rings;
	if (line->people)
		ask->people = (char *)line->people;
	ask->no_promiscuous = line->no_promiscuous;
	ask->start = line->start;
	ask->keep_bytes = line->keep.keep_bytes;
	ask->keep_age_ns = line->keep.keep_age_ns;
	return true;
}

static int init_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct init_line line = {0};
	Pcap__V1__InitRequest ask = PCAP__V1__INIT_REQUEST__INIT;

	cli_parse(&argp, argc, argv, &line);
	if (!init_fill(&ask, &line, &e))
		return cli_fail(&e);
	ask.filter = words_join(&line.words, 1);
	Pcap__V1__InitResponse *m =
		(Pcap__V1__InitResponse *)cli_call("Init", &ask.base, &e);
	free(ask.filter);
	if (!m)
		return cli_fail(&e);
	init_say(m, &line);
	say_keep(m, &line);
	pcap__v1__init_response__free_unpacked(m, NULL);
	return 0;
}

const struct command command_init = {"init", "define a capture", &argp,
				     init_run};
