#!/usr/bin/python3 -B
"""At the limit: what a writer that is too slow for its packets does, on a
link made for it. The catalog is asked through sqlite3, the frames through
zstd."""

import os
import tempfile
import unittest

from e2e_live import Link, content, in_file
from harness import (SANITIZE, Daemon, first_difference, main, output,
                     packets_of, savefile, udp_packet, until)

COUNT = 30000 if SANITIZE else 90000
RATE = 20000 if SANITIZE else 60000  # packets a second of 800 bytes
# Far more work than one core can do for them.
SLOW = "compression-level = 19\nmemory-blocks = 12\n"


class Limit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.link = Link()
        cls.folder = tempfile.TemporaryDirectory(prefix="pcapd-limit-")
        cls.flood = cls.write("flood.pcap", [
            udp_packet(10 ** 18 + i, i * 2654435761 % 2 ** 32, 800)
            for i in range(COUNT)])

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

    def running(self, config):
        daemon = Daemon(config, prefix=self.link.receiver).start()
        self.addCleanup(daemon.kill)
        daemon.run("init", self.link.far, "--alias", "live", "--start",
                   "-B", "8")
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        return daemon

    def ratios(self, daemon):
        """Of each block in the catalog, from the first: stored / raw."""
        said = output("sqlite3", daemon.spool + "/catalog.db",
                      "SELECT 1.0 * stored_bytes / raw_bytes FROM blocks "
                      "ORDER BY seq").decode()
        return [float(line) for line in said.split()]

    def test_packets_are_stored_when_there_is_no_time_to_compress_them(self):
        daemon = self.running(SLOW)
        self.link.send_all(self.flood, RATE)
        until(lambda: int(daemon.capture("live")["packets"]) >= COUNT,
              "all packets")
        daemon.run("stop", "live")
        seen = daemon.capture("live")
        for kind in ("kernel", "interface", "memory", "disk"):
            self.assertEqual(int(seen["dropped_" + kind]), 0, kind)
        ratios = self.ratios(daemon)
        self.assertLess(ratios[0], 0.5)
        self.assertGreater(max(ratios), 1)
        # It comes back as soon as the backlog is gone.
        daemon.run("start", "live")
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        few = self.write("few.pcap", in_file(self.flood)[:2000])
        self.link.send_all(few, 2000)
        until(lambda: int(daemon.capture("live")["packets"]) >= COUNT + 2000,
              "all packets")
        daemon.run("stop", "live")
        self.assertLess(self.ratios(daemon)[-1], 0.5)
        out, _ = daemon.run("replay", "live")
        first_difference(self, content(packets_of(out)[1]),
                         content(in_file(self.flood) + in_file(few)))
        for path in daemon.segments(1):
            output("zstd", "-t", "-q", path)
        daemon.stop()

    def test_an_import_waits_for_the_compressor(self):
        daemon = Daemon(SLOW.replace("19", "9")).start()
        self.addCleanup(daemon.kill)
        daemon.run("import", "file", self.flood)
        self.assertLess(max(self.ratios(daemon)), 0.5)
        daemon.stop()


if __name__ == "__main__":
    main()
