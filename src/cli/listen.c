/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap listen: what is captured from now on, as a savefile. */
#include "cli/cli.h"
#include "cli/filter_words.h"

#include <stdlib.h>

static Pcap__V1__ListenRequest ask = PCAP__V1__LISTEN_REQUEST__INIT;
static struct stream s = {
	.method = "Listen", .request = &ask.base, .listen = true};

static struct filter_words filter;

static const struct cli_option options[] = {
	OPTION_FILTER_FILE(&filter),
	OPTION_FLOW(&filter),
	OPTION_LENGTH("for", &s.for_ns, "End after 90s, 10m, 2h"),
	OPTION_STREAM(&ask, &s),
	{0}};

static int listen_run(const struct words *words)
{
	struct err e = ERR_INIT;

	if (!target_parse(words->v[0], &s.name, &e))
		return cli_fail(&e);
	ask.name = (char *)s.name;
	ask.filter = filter_words(&filter, words, 1, &e);
	if (!ask.filter)
		return cli_fail(&e);
	int code = stream_run(&s);
	free(ask.filter);
	return code;
}

const struct command command_listen = {
	.name = "listen",
	.summary = "write what is captured from now on",
	.args = "[REMOTE:]ID|ALIAS [FILTER...]",
	.help = "Writes what is captured from now on as a savefile. The filter "
		"is a pcap-filter(7) expression. Captures never wait for a "
		"listener: one that is too slow loses packets and is told how "
		"many.\vpcap listen web tcp port 80 | tcpdump -nr -",
	.options = options,
	.min = 1,
	.max = WORDS_ANY,
	.too_few = "say which capture, by id or alias",
	.run = listen_run,
};
