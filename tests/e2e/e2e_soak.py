#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Everything at once for a while: packets come, retention takes the oldest
away all the time, replays of random ranges run, listeners come and go.
Memory and descriptors stay as they were, every hole in what a replay gives is
in the ledger, and in the end what was sent is what is stored and what the
ledger says is missing. 15 seconds, or as many as PCAPD_SOAK says."""

import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
import unittest

import send_random
from link import Link
from harness import (NS, OK, PATIENCE, PCAPD, SANITIZE, Daemon,
                     main, packets_of, until)

SECONDS = int(os.environ.get("PCAPD_SOAK", 15))
RATE = 1500 if SANITIZE else 5000
CLIENTS = 4
# What an allocator may keep, beside what was there at half time.
SLACK = 24 * 2 ** 20  # of arenas and blocks; a block leaked a client is more


def number(packet):
    return int.from_bytes(packet.body[42:46], "big")


class Soak(unittest.TestCase):
    def setUp(self):
        self.link = Link()
        self.daemon = Daemon("segment-bytes = 1M\nspool-bytes = 16M\n"
                             "free-floor = 0\n", prefix=self.link.receiver)
        self.daemon.start()
        self.daemon.run("init", self.link.far, "--alias", "live", "--start")
        until(lambda: self.daemon.capture("live")["state"] == "running",
              "running")
        self.proc = "/proc/%d/" % self.daemon.process.pid
        self.errors, self.replays, self.listens = [], 0, 0
        self.over = False

    def descriptors(self):
        """What is open. Segments come and go, and of the catalog SQLite keeps
        as many descriptors for later as there ever were at once."""
        names = []
        for name in os.listdir(self.proc + "fd"):
            try:
                names.append(os.readlink(self.proc + "fd/" + name))
            except FileNotFoundError:
                pass
        self.assertLess(sum(n.endswith("catalog.db") for n in names),
                        16 + 2 * CLIENTS)
        return sorted(n for n in names if ".pcap.zst" not in n and
                      not n.endswith("catalog.db"))

    def resident(self):
        with open(self.proc + "statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def gaps(self, *more):
        return json.loads(self.daemon.run("gaps", "live", "--json", *more)[0])

    def replay(self, dice):
        """Of a range that lies somewhere between the oldest and now."""
        back = dice.uniform(0.2, 20)
        since = time.time_ns() - int(back * NS)
        until_ = since + int(dice.uniform(0.1, back) * NS)
        arguments = ["--since", "@%d.%09d" % divmod(since, NS), "--until",
                     "@%d.%09d" % divmod(until_, NS)]
        out, said = self.daemon.run("replay", "live", *arguments, status=None)
        self.assertTrue(out, said)
        packets = packets_of(out)[1]
        holes = [(a, b) for a, b in zip(packets, packets[1:])
                 if number(b) != number(a) + 1]
        for a, b in holes:
            self.assertLess(number(a), number(b))
            # By now it is written down, if it was not then.
            rows = self.gaps("--since", "@%d.%09d" % divmod(a.ns, NS),
                             "--until", "@%d.%09d" % divmod(b.ns + 1, NS))
            self.assertLessEqual(number(b) - number(a) - 1, rows["missing"],
                                 rows)
        self.replays += 1

    def listen(self, dice):
        command = dice.choice((["listen", "live", "-c", "500"],
                               ["listen", "live", "udp", "-c", "300"],
                               ["replay", "live", "--live", "-c", "20000"],
                               ["replay", "live", "greater", "1200"]))
        client = self.daemon.popen(*command, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            client.wait(dice.uniform(0.05, 1.5))
        except subprocess.TimeoutExpired:
            client.kill()
            client.wait()
        self.listens += 1

    def client(self, seed):
        dice = random.Random(seed)
        try:
            while not self.over:
                dice.choice((self.replay, self.listen))(dice)
        except Exception as error:  # said by the main thread
            self.errors.append(error)

    def watch(self, seconds):
        """Samples of the second quarter, and of the last."""
        early, late, begun = [], [], time.monotonic()
        while time.monotonic() < begun + seconds and not self.errors:
            time.sleep(0.2)
            part = (time.monotonic() - begun) / seconds
            if 0.25 < part < 0.5:
                early.append(self.resident())
            elif part > 0.75:
                late.append(self.resident())
        return early, late

    def test_nothing_grows_and_nothing_is_missing_unsaid(self):
        sender = subprocess.Popen(
            self.link.sender + [sys.executable, "-B", send_random.__file__,
                                self.link.near, str(RATE), str(SECONDS)],
            stdout=subprocess.PIPE, cwd=os.path.dirname(
                os.path.abspath(__file__)))
        until(lambda: self.daemon.segments(1), "packets")
        self.daemon.run("replay", "live")
        quiet = self.descriptors()
        clients = [threading.Thread(target=self.client, args=(i,))
                   for i in range(CLIENTS)]
        for thread in clients:
            thread.start()
        early, late = self.watch(SECONDS)
        sent = int(sender.communicate(timeout=PATIENCE)[0])
        self.over = True
        for thread in clients:
            thread.join()
        if self.errors:
            raise self.errors[0]
        try:
            until(lambda: len(self.descriptors()) <= len(quiet), "closing")
        except AssertionError:
            self.assertEqual(self.descriptors(), quiet)
        print("%d sent, %d replays, %d listeners; %d descriptors; resident "
              "%.1f and %.1f MiB" % (
                  sent, self.replays, self.listens, len(self.descriptors()),
                  statistics.median(early) / 2 ** 20,
                  statistics.median(late) / 2 ** 20))
        if not SANITIZE:  # which keeps what is freed
            self.assertLess(statistics.median(late),
                            statistics.median(early) + SLACK)
        self.daemon.run("stop", "live")
        answer = self.gaps("--since", "@1")
        got = packets_of(self.daemon.run("replay", "live", status=None)[0])[1]
        self.assertEqual(len(got) + answer["missing"], sent, answer)
        if SECONDS >= 15 and not SANITIZE:
            self.assertIn("expired", {g["cause"] for g in answer["gaps"]})
        self.daemon.stop()
        done = subprocess.run([PCAPD, "check", "--spool", self.daemon.spool],
                              stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, OK, done.stdout.decode())


if __name__ == "__main__":
    main()
