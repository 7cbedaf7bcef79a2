/* SPDX-License-Identifier: BSD-3-Clause */
/* pcap: the command. Everything is in commands.c and the files it names. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv);
}
