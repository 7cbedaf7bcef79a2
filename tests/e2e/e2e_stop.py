#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""A SIGTERM is heard whatever goes on. The disk does not sync until pcapd has
ended, so a stop that waits for it fails, however fast the machine is."""

import os
import subprocess
import unittest

import harness
from harness import OK, until
from link import Link
from numbered import Numbers, account

# Threads that sync wait as long as there is the file.
STUCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int stuck(const char *name, int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);

	while (access(getenv("STUCK"), F_OK) == 0)
		usleep(10000);
	return real(fd);
}

int fsync(int fd)
{
	return stuck("fsync", fd);
}

int fdatasync(int fd)
{
	return stuck("fdatasync", fd);
}
"""


class Stop(unittest.TestCase):
    def test_no_stop_waits_for_a_disk_that_does_not_sync(self):
        link = Link()
        self.addCleanup(link.remove)
        daemon = harness.Daemon(prefix=link.receiver)
        stuck = os.path.join(daemon.folder, "stuck")
        daemon.prefix += harness.before_libc(daemon.folder, STUCK,
                                             STUCK=stuck)
        daemon.start()
        daemon.run("init", link.far, "--alias", "live", "--start")
        numbers = Numbers(link)
        numbers.start(rate=1000, seconds=1).wait()
        until(lambda: daemon.capture("live")["packets"] >= 1000, "packets")
        # What does not read, what waits for more, and what goes in.
        listener = daemon.popen("listen", "live",
                                stdout=subprocess.PIPE)
        viewer = daemon.popen("replay", "live", "--live",
                              stdout=subprocess.PIPE)
        source = daemon.popen("import", "file", "-",
                              stdin=subprocess.PIPE)
        source.stdin.write(harness.savefile([harness.udp_packet(1, 1)]))
        source.stdin.flush()
        until(lambda: daemon.capture("file"), "the import")
        open(stuck, "w").close()
        numbers.start(rate=1000, seconds=1).wait()
        daemon.process.terminate()
        self.assertEqual(daemon.wait(), OK, daemon.said())
        self.assertTrue(os.path.exists(stuck))
        for process in (listener, viewer, source):
            harness.end(process)
        os.unlink(stuck)
        daemon.start()
        account(self, daemon, "live", numbers)
        daemon.stop()


if __name__ == "__main__":
    harness.main()
