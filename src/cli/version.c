/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap version. Guarantees exit code 0, also without a daemon. */
#include "cli/cli.h"

#include <stdio.h>

static error_t version_parse(int key, char *arg, struct argp_state *state)
{
	const char **target = state->input;

	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	if (**target)
		argp_error(state, "one machine at a time");
	*target = arg;
	return 0;
}

static const struct argp argp = {
	NULL,	     version_parse,
	"[REMOTE:]", "Prints the versions of pcap and of the daemon.",
	cli_common,  NULL,
	NULL};

static int version_run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	Pcap__V1__VersionRequest ask = PCAP__V1__VERSION_REQUEST__INIT;

	const char *target = "", *name;

	cli_parse(&argp, argc, argv, &target);
	if (!target_parse(target, &name, &e))
		return cli_fail(&e);
	cli_print("pcap %s", PCAPD_VERSION);
	Pcap__V1__VersionResponse *m =
		(Pcap__V1__VersionResponse *)cli_call("Version", &ask.base, &e);
	if (!m) {
		cli_print("pcapd: %s", e.what);
		return cli_done();
	}
	cli_print("pcapd %s (%s)", m->version, m->libpcap);
	pcap__v1__version_response__free_unpacked(m, NULL);
	return cli_done();
}

const struct command command_version = {
	"version", "print the versions of pcap and pcapd", &argp, version_run};
