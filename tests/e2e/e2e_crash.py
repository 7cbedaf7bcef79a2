#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""kill -9 in a loop while packets come: a hundred rounds (PCAPD_ROUNDS for
another number) against one spool, most of them short, some long enough to
tell that a crash costs no more than the last second. tcpdump says what came
and when."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import unittest

import send_random
from link import Link, in_file
from harness import NS, OK, PCAPD, SANITIZE, Daemon, main, packets_of, until

ROUNDS = int(os.environ.get("PCAPD_ROUNDS", 20 if SANITIZE else 100))
LONG = max(2, ROUNDS // 50)  # of them
RATE = 2000 if SANITIZE else 5000
SECOND = 1.2 * NS  # and what the clock of two programs may differ


def number(packet):
    return int.from_bytes(packet.body[42:46], "big")


class Crash(unittest.TestCase):
    def test_kills_under_load_cost_what_the_ledger_says(self):
        link = Link()
        daemon = Daemon(config="segment-bytes = 3M\n", prefix=link.receiver)
        seen = os.path.join(daemon.folder, "seen.pcap")
        dice = random.Random(1)
        tcpdump = subprocess.Popen(
            link.receiver + ["tcpdump", "-i", link.far, "-w", seen, "-U",
                             "-B", "65536", "--time-stamp-precision=nano"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        until(lambda: os.path.exists(seen) and os.path.getsize(seen) >= 24,
              "tcpdump")
        daemon.start()
        daemon.run("init", link.far, "--alias", "live")
        daemon.run("start", "live")
        sender = subprocess.Popen(
            link.sender + [sys.executable, "-B", send_random.__file__,
                           link.near, str(RATE), str(60 + 3 * ROUNDS)],
            stdout=subprocess.DEVNULL)
        kills = []
        for n in range(ROUNDS):
            # The time of a crash is what is being chosen here.
            time.sleep(2.5 if n % (ROUNDS // LONG) == 0 else
                       dice.uniform(0.0, 0.06))
            killed = time.time_ns()
            # The prefix `ip netns exec` became pcapd itself.
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait()
            daemon.start()
            kills.append((killed, time.time_ns()))
        time.sleep(0.2)
        sender.terminate()
        sender.wait()
        until(lambda: self.settled(seen), "tcpdump to write")
        tcpdump.send_signal(signal.SIGINT)
        tcpdump.wait()
        out, _ = daemon.run("replay", "live", status=None)
        gaps, _ = daemon.run("gaps", "live", "--json")
        daemon.stop()
        if os.environ.get("PCAPD_LOUD"):
            print(gaps, kills)
        self.compare(packets_of(out)[1], in_file(seen),
                     json.loads(gaps)["gaps"], kills)
        done = subprocess.run([PCAPD, "check", "--spool", daemon.spool],
                              stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, OK, done.stdout.decode())

    def settled(self, path):
        size = os.path.getsize(path)
        time.sleep(0.1)
        return size == os.path.getsize(path)

    def compare(self, got, sent, gaps, kills):
        self.assertLess(ROUNDS, len(sent))
        gaps = sorted((g["from_ns"], g["to_ns"] or 1 << 62) for g in gaps
                      if g["cause"] != "clock")
        stored, last = {}, -1
        for p in got:
            self.assertLess(last, number(p), "out of order, or twice")
            last = number(p)
            stored[last] = p
        missing = owed = 0
        for p in sent:
            owed += not any(a - SECOND <= p.ns <= b for a, b in kills)
            mine = stored.pop(number(p), None)
            if mine:
                self.assertEqual(mine.body, p.body)
                self.assertLess(abs(mine.ns - p.ns), NS)
                continue
            missing += 1
            if not any(a - SECOND <= p.ns <= b for a, b in kills):
                self.fail("lost %r, with no crash near it" % p)
            if not any(a - NS // 50 <= p.ns <= b + NS // 50
                       for a, b in gaps):
                self.fail("lost %r, and the ledger is silent: %s" % (p, [
                    (a - p.ns, b - p.ns) for a, b in gaps]))
        # tcpdump may have dropped some itself, but it did not invent any.
        self.assertLess(len(stored), len(sent) // 50)
        print("%d kills: %d of %d packets stored" % (
            len(kills), len(got), len(sent)))
        self.assertLess(0, missing)
        # Of the long rounds all but the last second, whatever a start takes:
        # 1.3 s each, and fewer packets if the sender was held up.
        self.assertLess(LONG * RATE // 10, owed)
        self.assertLessEqual(owed, len(got))


if __name__ == "__main__":
    main()
