/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcap init. The first word is the interface, the rest is the filter; what
 * they mean is for the daemon to say.
 */
#include "cli/cli.h"
#include "cli/filter_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_MIB_MAX 2047
#define RINGS_MAX 16

static Pcap__V1__InitRequest ask = PCAP__V1__INIT_REQUEST__INIT;
static uint64_t ring_mib;
static struct keep keep;
static struct filter_words filter;

static const struct cli_option options[] = {
	OPTION_FILTER_FILE(&filter),
	OPTION_TEXT("alias", 'a', "NAME", &ask.alias, "A name for the capture"),
	OPTION_FLAG("start", 't', &ask.start, "Start it as well"),
	OPTION_NUMBER("snaplen", 's', "BYTES", &ask.snaplen, 1, SNAPLEN_MAX,
		      "Keep at most so many bytes of a packet (262144)"),
	OPTION_FLAG("no-promiscuous-mode", 'p', &ask.no_promiscuous,
		    "Leave the interface out of promiscuous mode"),
	OPTION_NUMBER("buffer", 'B', "MIB", &ring_mib, 1, RING_MIB_MAX,
		      "The kernel's ring for packets (32)"),
	OPTION_TEXT("people", 0, "NAME,...", &ask.people,
		    "Only these people, you and root see the capture"),
	OPTION_NUMBER("rings", 0, "N", &ask.rings, 1, RINGS_MAX,
		      "So many rings, each filled from CPUs of its own (1)"),
	OPTION_KEEP(&keep, ""),
	{0}};

static void init_say(const Pcap__V1__InitResponse *m)
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

	if (m->note[0] && (ask.start || !waits))
		cli_say("%s", m->note);
	else if (waits)
		cli_say("%s waits: %s", name, c->waiting_for);
	else if (ask.start)
		cli_say("started %s", name);
}

/* Limits are set with a capture that is made; of one that was there already
 * they are not changed unasked. */
static void say_keep(const Pcap__V1__InitResponse *m)
{
	struct err ignored = ERR_INIT;
	char id[24];

	if ((keep.bytes_given || keep.age_given) && !m->created)
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

static int init_run(const struct words *words)
{
	struct err e = ERR_INIT;
	const char *name;

	if (!target_parse(words->v[0], &name, &e))
		return cli_fail(&e);
	ask.interface = (char *)name;
	ask.filter = filter_words(&filter, words, 1, &e);
	if (!ask.filter)
		return cli_fail(&e);
	ask.buffer_bytes = ring_mib << 20;
	ask.keep_bytes = keep.bytes;
	ask.keep_age_ns = keep.age_ns;
	Pcap__V1__InitResponse *m =
		(Pcap__V1__InitResponse *)cli_call("Init", &ask.base, &e);
	free(ask.filter);
	if (!m)
		return cli_fail(&e);
	init_say(m);
	say_keep(m);
	pcap__v1__init_response__free_unpacked(m, NULL);
	return 0;
}

const struct command command_init = {
	.name = "init",
	.summary = "define a capture",
	.args = "[REMOTE:][INTERFACE] [FILTER...]",
	.help = "Defines a capture. The filter is a pcap-filter(7) expression. "
		"Without an interface, and with 'any', it is every interface. "
		"An interface and a filter that are in use already give that "
		"capture, with the alias added.",
	.options = options,
	.max = WORDS_ANY,
	.run = init_run,
};
