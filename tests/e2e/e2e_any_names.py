#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""A capture on every interface has numbers in its packets; status has what they
were called, also when the interfaces are gone."""

import atexit
import json
import os
import struct
import subprocess
import unittest

from harness import SANITIZE, Daemon, main, need, output, packets_of, until

NETNS = "pcapd-names-%d" % os.getpid()
SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
s.send(b"\\xff" * 6 + bytes([2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 29]) +
       bytes([0, 0, 0, 0, 64, 17, 0, 0, 10, 6, 0, 2, 10, 6, 0, 255]) +
       bytes([0x1e, 0x61, 0, 9, 0, 9, 0, 0]) + b"x")
"""


def ip(*arguments, status=0):
    output("ip", "-n", NETNS, *arguments, status=status)


class AnyNames(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need("ip", "sqlite3")
        if os.geteuid() != 0:
            raise unittest.SkipTest("makes a network namespace: needs root")
        output("ip", "netns", "add", NETNS)
        atexit.register(subprocess.run, ["ip", "netns", "del", NETNS])
        ip("link", "set", "lo", "up")
        cls.daemon = Daemon(prefix=["ip", "netns", "exec", NETNS]).start()
        cls.daemon.run("init", "any", "udp port 7777", "--alias", "all",
                       "--start")

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def names(self):
        out, _ = self.daemon.run("status", "all", "--json")
        rows = json.loads(out)["captures"][0]["interface_names"]
        return {(int(r["index"]), r["name"]) for r in rows}

    def link(self, name):
        ip("link", "add", name, "type", "veth", "peer", "name", "p-" + name)
        ip("link", "set", name, "up")
        ip("link", "set", "p-" + name, "up")

    def send(self, name, packets):
        """And the index that it has in the packets: sent is the newest."""
        output("ip", "netns", "exec", NETNS, "python3", "-c", SEND, name)

        def there():
            out, _ = self.daemon.run("replay", "all")
            return len(packets_of(out)[1]) >= packets and packets_of(out)[1]

        return {struct.unpack_from(">I", p.body, 4)[0]
                for p in until(there, "the packets")[packets - 2:]}

    def test_names_of_what_is_gone(self):
        self.link("veth-web")
        indexes = self.send("p-veth-web", 2)
        self.assertEqual(len(indexes), 2)
        ip("link", "del", "veth-web")
        until(lambda: {"veth-web", "p-veth-web", "lo"} <=
              {name for _, name in self.names()}, "the names")
        self.assertEqual(indexes, {i for i, name in self.names()
                                   if name.endswith("veth-web")})
        # One that was there for a moment, and one with two names.
        for i in range(3 if SANITIZE else 20):
            ip("link", "add", "short%d" % i, "type", "veth")
            ip("link", "del", "short%d" % i)
        ip("link", "add", "before", "type", "veth")
        ip("link", "set", "before", "name", "after")
        until(lambda: "after" in {name for _, name in self.names()},
              "the second name")
        for i in range(3 if SANITIZE else 20):
            self.assertIn("short%d" % i, {name for _, name in self.names()})
        of = {name: i for i, name in self.names()}
        self.assertEqual(of["before"], of["after"])
        said, _ = self.daemon.run("status", "all")
        self.assertRegex(said.decode(), r"interface %d was veth-web, seen "
                         r"first at 20" % of["veth-web"])
        before = self.names()
        self.daemon.stop()
        self.daemon.start()
        self.assertLessEqual(before, self.names())
        # A capture that is made later knows what is there by then.
        self.daemon.run("init", "any", "udp port 7778", "--alias", "late",
                        "--start")

        def late():
            out, _ = self.daemon.run("status", "late", "--json")
            rows = json.loads(out)["captures"][0]["interface_names"]
            return {r["name"] for r in rows}

        until(lambda: "after" in late(), "the names of a later capture")
        self.assertNotIn("veth-web", late())
        self.assertEqual(output("sqlite3", "-readonly",
                                self.daemon.spool + "/catalog.db",
                                "SELECT count(*) - count(DISTINCT ifindex || "
                                "name) FROM interface_names WHERE capture = 1"),
                         b"0\n")


if __name__ == "__main__":
    main()
