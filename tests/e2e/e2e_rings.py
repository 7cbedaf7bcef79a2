#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Packet rings are small until there is traffic: what many idle captures
cost, that a restart opens all of them, and that numbered packets that make
rings grow are all there, once and in order."""

import os
import re
import unittest

from harness import SANITIZE, Daemon, main, output, packets_of, until
from link import Link
from numbered import Numbers, account

MIB = 1 << 20
CAPTURES = 10 if SANITIZE else 60
# A ring of 2 MiB and what else a capture has; 60 pay for the program, too.
MEMORY = CAPTURES * 3 * MIB


def rings(daemon):
    """Bytes of the packet rings that pcapd has."""
    with open("/proc/%d/maps" % daemon.process.pid) as file:
        ends = re.findall(r"^(\w+)-(\w+) .*socket:", file.read(), re.M)
    return sum(int(to, 16) - int(at, 16) for at, to in ends)


def memory(daemon):
    """With the rings: they are mapped."""
    with open("/proc/%d/status" % daemon.process.pid) as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) << 10


def running(daemon):
    return sum(c["state"] == "running" for c in daemon.list().values())


class Rings(unittest.TestCase):
    def setUp(self):
        self.link = Link()
        self.addCleanup(self.link.remove)
        self.daemon = Daemon(prefix=self.link.receiver)
        self.addCleanup(self.daemon.kill)

    def pairs(self):
        """Interfaces n0 and so on, whose other ends are p0 and so on."""
        lines = []
        for i in range(CAPTURES):
            lines += ["link add n%d type veth peer name p%d" % (i, i),
                      "link set n%d arp off multicast off up" % i,
                      "link set p%d arp off multicast off up" % i]
        output("ip", "-n", self.link.names[1], "-batch", "-",
               stdin="\n".join(lines).encode())

    def count(self, i):
        out, _ = self.daemon.run("replay", "n%d" % i)
        return len(packets_of(out)[1])

    def test_many_idle_captures_need_little_memory(self):
        self.pairs()
        daemon = self.daemon.start()
        for i in range(CAPTURES):
            daemon.run("init", "n%d" % i, "--alias", "n%d" % i, "--start")
        for turn in range(2):
            # A few packets make a block, not another ring.
            self.link.inside(self.link.names[1], "python3", "-c", SENDER,
                             str(CAPTURES))
            for i in range(0, CAPTURES, 7):
                until(lambda: self.count(i) >= 3 * (turn + 1),
                      "packets of n%d" % i)
            self.assertEqual(rings(daemon), CAPTURES * 2 * MIB)
            if not SANITIZE:
                self.assertLess(memory(daemon), MEMORY)
            if turn == 0:
                daemon.stop()
                daemon.start()
                # pcapd is ready when it has resumed them.
                self.assertEqual(running(daemon), CAPTURES)
        for i in range(CAPTURES):
            self.assertEqual(self.count(i), 6, "n%d" % i)
        daemon.stop()

    def grows(self, *options):
        daemon = self.daemon.start()
        daemon.run("init", self.link.far, "--alias", "live", "-B", "64",
                   "--start", *options)
        small = rings(daemon)
        self.assertLess(small, 16 * MIB)
        numbers = Numbers(self.link)
        numbers.send(0, 0.00003)  # three
        self.assertEqual(rings(daemon), small)
        # 10 or 24 MB/s: a ring's block is full within its 20 ms.
        sender = numbers.start(8000 if SANITIZE else 20000, 2, size=1200)
        until(lambda: rings(daemon) == 64 * MIB, "large rings")
        self.assertEqual(sender.wait(60), 0)
        numbers.send(200, 0.2)
        # What waits in the rings is stored then, however slow this is.
        daemon.run("stop", "live")
        a = account(self, daemon, "live", numbers)
        self.assertGreater(a.got, 100, str(a))
        daemon.stop()

    def test_a_ring_grows_under_traffic(self):
        self.grows()

    def test_several_rings_grow_under_traffic(self):
        self.grows("--rings", "2")


SENDER = """
import socket, sys
for i in range(int(sys.argv[1])):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind(("p%d" % i, 0))
    for k in range(3):
        s.send(b"\\2\\0\\0\\0\\0\\1\\2\\0\\0\\0\\0\\2\\x88\\xb5" + bytes([k] * 50))
"""

if __name__ == "__main__":
    main()
