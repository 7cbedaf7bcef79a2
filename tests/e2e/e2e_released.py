#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""The last release's spool and its clients: both are served."""

import json
import os
import subprocess
import sys
import time
import unittest

from harness import OK, PATIENCE, PCAPD, SOURCE, Daemon, main, need

try:
    from released import (FOLDER, NS, SAID, T0, Client, answers, api, packets,
                          plain, send, untar)
except ImportError as missing:
    print("SKIPPED: %s; scripts/packages installs it" % missing)
    sys.exit(77)


class Released(unittest.TestCase):
    def setUp(self):
        need("protoc")
        self.daemon = Daemon()
        self.addCleanup(self.daemon.kill)
        untar(self.daemon)
        self.daemon.start()
        self.old = Client(self.daemon.socket, api(FOLDER))
        self.new = Client(self.daemon.socket, api(SOURCE + "/proto"))

    def assert_in(self, got, want, where):
        """What may have more than before has what it had."""
        self.assertEqual(type(got), type(want), where)
        if isinstance(want, dict):
            self.assertLessEqual(set(want), set(got), where)
            for key in want:
                self.assert_in(got[key], want[key], where + "." + key)
        elif isinstance(want, list):
            self.assertEqual(len(got), len(want), where)
            for i, (g, w) in enumerate(zip(got, want)):
                self.assert_in(g, w, "%s[%d]" % (where, i))
        else:
            self.assertEqual(got, want, where)

    def test_its_spool_is_served(self):
        """It was killed, with a capture and an import under way."""
        with open(SAID) as file:
            want = json.load(file)
        got = answers(self.old, want["made_ns"])
        if time.time_ns() < want["made_ns"]:  # gaps end now at the latest
            del got["3"]["gaps"], want["said"]["3"]["gaps"]
        self.assert_in(got, want["said"], "said")

        data = packets(9000, 100)
        before, _ = self.old.replay(name="whole")
        self.old.load([{"alias": "whole", "data": data}]).result()
        after, end = self.old.replay(name="whole")
        self.assertTrue(after == before + data[24:])
        self.assertTrue(end.complete)
        self.daemon.stop()
        done = subprocess.run([PCAPD, "--config", self.daemon.config, "--spool",
                               self.daemon.spool, "check"], timeout=PATIENCE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, OK, done.stdout)

    @unittest.skipIf(os.geteuid() != 0, "only root can capture")
    def test_its_clients_are_served(self):
        """Every method, as that API has it; and what comes is the same to who
        reads it as this one has it."""
        def both(name, data):
            old = self.old.read(name, data)
            self.assert_in(plain(self.new.read(name, data)), plain(old), name)
            return old

        def ask(name, /, **fields):
            method, kind = self.old.method(name)
            return both(name, method(kind(**fields), timeout=PATIENCE))

        self.assertEqual(ask("Version").role, "operator")
        self.assertIn("lo", [i.name for i in ask("Interfaces").interfaces])
        made = ask("Init", interface="lo", filter="udp port 7", alias="new",
                   snaplen=100, keep_bytes=1 << 30)
        self.assertTrue(made.created and made.alias_added)
        self.assertEqual(made.capture.keep_bytes, 1 << 30)
        self.assertEqual(len(ask("Start", name="new").captures), 1)
        listen = self.old.follow("Listen", name="new")
        self.assertTrue(both("Listen", next(listen)).header.savefile_header)
        send(1, 7)
        self.assertEqual(both("Listen", next(listen)).packets.count, 1)
        listen.cancel()
        self.assertEqual([c.state for c in ask("Stop", all=True).captures],
                         [1, 1])
        ask("AddAlias", name="new", alias="newer")
        ask("RemoveAlias", alias="new")
        self.assertEqual(ask("Delete", name="newer").capture.filter,
                         "udp port 7")

        load = self.old.load([{"alias": "more", "data": packets(0, 50)}])
        self.assertEqual(both("Import", load.result()).packets, 50)
        self.assertEqual(ask("List", name="more").captures[0].packets, 50)
        ask("Set", name="more", people="root", keep_age_ns=0)
        self.assertEqual(ask("WouldRemove", name="more", keep_bytes=1).segments,
                         1)
        hold = ask("Hold", name="more", since_ns=T0, until_ns=T0 + NS,
                   reason="why").hold.id
        ask("Mark", name="more", mark="here", at_ns=T0)
        status, = ask("Status", name="more").captures
        self.assertEqual((status.holds[0].reason, status.marks[0].name),
                         ("why", "here"))
        ask("Release", name="more", hold=hold)
        self.assertFalse(ask("Gaps", name="more").next_page_token)
        count = ask("Count", name="whole", filter="udp", by_ns=NS)
        self.assertEqual((count.packets, len(count.intervals)), (4000, 4000))
        self.assertEqual(ask("Explain", name="more", filter="tcp"
                             ).to_read.packets, 0)
        self.assertEqual(len(ask("Audit", max=3).rows), 3)
        replay = [both("Replay", m) for m in self.old.follow(
            "Replay", name="more", max_packets=9, accept_zstd=True)]
        self.assertEqual(replay[-1].end.packets, 9)
        self.assertEqual(self.old.asked, set(self.old.methods))
        self.daemon.stop()


if __name__ == "__main__":
    main()
