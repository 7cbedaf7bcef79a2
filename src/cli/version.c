/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap version. Guarantees exit code 0, also without a daemon. */
#include "cli/cli.h"

#include <stdio.h>

static int version_run(const struct words *words)
{
	struct err e = ERR_INIT;
	Pcap__V1__VersionRequest ask = PCAP__V1__VERSION_REQUEST__INIT;
	const char *name;

	if (!target_parse(words->v[0], &name, &e))
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
	.name = "version",
	.summary = "print the versions of pcap and pcapd",
	.args = "[REMOTE:]",
	.help = "Prints the versions of pcap and of the daemon.",
	.max = 1,
	.too_many = "one machine at a time",
	.run = version_run,
};
