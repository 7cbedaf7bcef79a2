/* pcap version. Guarantees exit code 0, also without a daemon. */
#include "cli.h"

#include <stdio.h>

static const struct argp argp = {
	NULL,	    NULL, "",  "Prints the versions of pcap and of the daemon.",
	cli_common, NULL, NULL};

static int run(int argc, char **argv)
{
	struct err e = ERR_INIT;
	Pcap__V1__VersionRequest ask = PCAP__V1__VERSION_REQUEST__INIT;

	cli_parse(&argp, argc, argv, NULL);
	printf("pcap %s\n", PCAPD_VERSION);
	Pcap__V1__VersionResponse *m =
		(Pcap__V1__VersionResponse *)cli_call("Version", &ask.base, &e);
	if (!m) {
		printf("pcapd: %s\n", e.what);
		return cli_done();
	}
	printf("pcapd %s (%s)\n", m->version, m->libpcap);
	pcap__v1__version_response__free_unpacked(m, NULL);
	return cli_done();
}

const struct command command_version = {
	"version", "print the versions of pcap and pcapd", &argp, run};
