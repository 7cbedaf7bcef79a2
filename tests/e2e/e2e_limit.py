#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""At the limit: what a writer that is too slow for its packets does, on a
link made for it. The catalog is asked through sqlite3, the frames through
zstd."""

import os
import random
import tempfile
import unittest

from link import Link, content, in_file
from harness import (Daemon, before_libc, first_difference, main, output,
                     packets_of, savefile, udp_packet, until)

COUNT = 10000  # of 800 bytes: eight blocks
SLOW = "compression-level = 9\nmemory-blocks = 10\n"
# Large writes wait for as long as there is a gate.
GATE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
	ssize_t (*real)(int, const void *, size_t, off_t) =
		(ssize_t (*)(int, const void *, size_t, off_t))
		dlsym(RTLD_NEXT, "pwrite");
	while (n > 65536 && access(getenv("GATE"), F_OK) == 0)
		usleep(10000);
	return real(fd, bytes, n, at);
}
"""

# Each write around the page cache takes that long, as on a disk that another
# program keeps busy, and is counted.
BUSY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
	ssize_t (*real)(int, const void *, size_t, off_t) =
		(ssize_t (*)(int, const void *, size_t, off_t))
		dlsym(RTLD_NEXT, "pwrite");
	if (fcntl(fd, F_GETFL) & O_DIRECT) {
		int log = open(getenv("COUNT"), O_WRONLY | O_CREAT | O_APPEND,
			       0600);
		if (write(log, "x", 1) != 1)
			abort();
		close(log);
		usleep(300000);
	}
	return real(fd, bytes, n, at);
}
"""


class Limit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.link = Link()
        cls.folder = tempfile.TemporaryDirectory(prefix="pcapd-limit-")
        # Half of each packet shrinks.
        noise = random.Random(1)
        packets = [udp_packet(10 ** 18 + i, i, 800) for i in range(COUNT)]
        for p in packets:
            p.body = p.body[:400] + noise.randbytes(400)
        cls.flood = cls.write("flood.pcap", packets)
        cls.gate = os.path.join(cls.folder.name, "gate")

    @classmethod
    def tearDownClass(cls):
        cls.link.remove()
        cls.folder.cleanup()

    @classmethod
    def write(cls, name, packets):
        path = os.path.join(cls.folder.name, name)
        with open(path, "wb") as file:
            file.write(savefile(packets))
        return path

    def ratios(self, daemon):
        """Of each block in the catalog, from the first: stored / raw."""
        said = output("sqlite3", daemon.spool + "/catalog.db",
                      "SELECT 1.0 * stored_bytes / raw_bytes FROM blocks "
                      "ORDER BY seq").decode()
        return [float(line) for line in said.split()]

    def has(self, daemon, n):
        until(lambda: int(daemon.capture("live")["packets"]) >= n,
              "%d packets" % n)

    def test_packets_are_stored_when_there_is_no_time_to_compress_them(self):
        daemon = Daemon(SLOW, prefix=self.link.receiver + before_libc(
            self.folder.name, GATE, GATE=self.gate)).start()
        self.addCleanup(daemon.kill)
        daemon.run("init", self.link.far, "--alias", "live", "--start")
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        with open(self.gate, "w"):
            pass
        self.link.send_all(self.flood, 10000)
        self.has(daemon, COUNT)
        os.unlink(self.gate)
        # It comes back as soon as the backlog is gone.
        until(lambda: len(self.ratios(daemon)) >= COUNT * 816 >> 20, "rows")
        self.link.send_all(self.flood, 10000)
        self.has(daemon, 2 * COUNT)
        daemon.run("stop", "live")
        seen = daemon.capture("live")
        for kind in ("kernel", "interface", "memory", "disk"):
            self.assertEqual(int(seen["dropped_" + kind]), 0, kind)
        ratios = self.ratios(daemon)
        self.assertLess(ratios[0], 0.7)
        self.assertGreater(ratios[1], 1)
        self.assertLess(ratios[-1], 0.7)
        out, _ = daemon.run("replay", "live")
        first_difference(self, content(packets_of(out)[1]),
                         content(2 * in_file(self.flood)))
        for path in daemon.segments(1):
            output("zstd", "-t", "-q", path)
        daemon.stop()

    def test_a_disk_that_is_slow_a_write_loses_nothing(self):
        spool = os.path.join(self.folder.name, "spool")
        # It may write there and nowhere else.
        count = os.path.join(spool, "count")
        daemon = Daemon("memory-blocks = 4\n", spool=spool,
                        prefix=self.link.receiver + before_libc(
                            self.folder.name, BUSY, COUNT=count)).start()
        self.addCleanup(daemon.kill)
        daemon.run("init", self.link.far, "--alias", "live", "--start",
                   "-B", "4")
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        # Four blocks and a ring of 4 MiB, and 3.5 MB/s: of 32 MB that come at
        # 8 MB/s most would be lost.
        for _ in range(4):
            self.link.send_all(self.flood, 10000)
        self.has(daemon, 4 * COUNT)
        daemon.run("stop", "live")
        seen = daemon.capture("live")
        for kind in ("kernel", "interface", "memory", "disk"):
            self.assertEqual(int(seen["dropped_" + kind]), 0, kind)
        blocks = len(self.ratios(daemon))
        self.assertIn(os.path.getsize(count), range(1, blocks // 2))
        out, _ = daemon.run("replay", "live")
        first_difference(self, content(packets_of(out)[1]),
                         content(4 * in_file(self.flood)))
        daemon.stop()

    def test_an_import_waits_for_the_compressor(self):
        daemon = Daemon(SLOW).start()
        self.addCleanup(daemon.kill)
        daemon.run("import", "file", self.flood)
        self.assertLess(max(self.ratios(daemon)), 0.7)
        daemon.stop()


if __name__ == "__main__":
    main()
