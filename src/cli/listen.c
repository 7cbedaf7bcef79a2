/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap listen: what is captured from now on, as a savefile. */
#include "cli/cli.h"

#include <stdlib.h>

#define SNAPLEN_MAX 262144

struct listen_line {
	const char *count, *snaplen, *length, *file;
	bool force;
	struct words words;
};

static error_t listen_parse(int key, char *arg, struct argp_state *state)
{
	struct listen_line *line = state->input;

	switch (key) {
	case 'c':
		line->count = arg;
		return 0;
	case 's':
		line->snaplen = arg;
		return 0;
	case 1:
		line->length = arg;
		return 0;
	case 'w':
		line->file = arg;
		return 0;
	case 'f':
		line->force = true;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "say which capture, by id or alias");
		return 0;
	case ARGP_KEY_ARGS:
		words_take(&line->words, state);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"for", 1, "LENGTH", 0, "End after 90s, 10m, 2h", 0},
	{"count", 'c', "N", 0, "End after so many packets", 0},
	{"snaplen", 's', "BYTES", 0, "At most so many bytes of a packet", 0},
	{"write", 'w', "FILE", 0,
	 "Write to FILE, compressed if it ends in .zst; '-' is the standard "
	 "output",
	 0},
	{"force", 'f', NULL, 0, "Overwrite FILE", 0},
	{0}};

static const struct argp argp = {
	options,
	listen_parse,
	"[REMOTE:]ID|ALIAS [FILTER...]",
	"Writes what is captured from now on as a savefile. The filter is a "
	"pcap-filter(7) expression. Captures never wait for a listener: one "
	"that is too slow loses packets and is told how many.\vpcap listen web "
	"tcp port 80 | tcpdump -nr -",
	cli_common,
	NULL,
	NULL};

static bool listen_fill(Pcap__V1__ListenRequest *ask, struct stream *s,
			const struct listen_line *line, struct err *e)
{
	uint64_t snaplen = 0;
	const char *name;

	if (!target_parse(line->words.v[0], &name, e))
		return false;
	if (line->count && !number_parse("--count", line->count, 1, UINT64_MAX,
					 &ask->max_packets, e))
		return false;
	if (line->snaplen && !number_parse("--snaplen", line->snaplen, 1,
					   SNAPLEN_MAX, &snaplen, e))
		return false;
	if (line->length &&
	    !duration_parse("--for", line->length, &s->for_ns, e))
		return false;
	ask->name = (char *)name;
	ask->snaplen = (uint32_t)snaplen;
	return true;
}

static int listen_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct listen_line line = {0};
	Pcap__V1__ListenRequest ask = PCAP__V1__LISTEN_REQUEST__INIT;
	struct stream s = {
		.method = "Listen", .request = &ask.base, .listen = true};

	cli_parse(&argp, argc, argv, &line);
	if (!listen_fill(&ask, &s, &line, &e))
		return cli_fail(&e);
	ask.filter = words_join(&line.words, 1);
	s.name = ask.name;
	s.file = line.file;
	s.force = line.force;
	int code = stream_run(&s);
	free(ask.filter);
	return code;
}

const struct command command_listen = {
	"listen", "write what is captured from now on", &argp, listen_run};
