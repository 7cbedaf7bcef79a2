#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""What is missing is told: by gaps, by the end of a replay, by --strict. Over
kills, restarts, stops, a ring that overflows, retention and clocks that were
set. Whatever was sent and is not replayed lies in a gap."""

import ctypes
import json
import os
import re
import signal
import socket
import struct
import time
import unittest

from link import Link, sent
from harness import (FAILED, INCOMPLETE, NOT_FOUND, NS, OK, PATIENCE, SANITIZE,
                     USAGE, Daemon, before_libc, end, first_difference, main,
                     output, packets_of, savefile, udp_packet, until)

T0 = 1767225600 * NS  # 2026-01-01T00:00:00Z
HOUR = 3600 * NS
LOSSES = ("kernel", "interface", "memory", "disk")


def number(packet):
    """That udp_packet was given."""
    return int.from_bytes(packet.body[42:46], "big")


class Case(unittest.TestCase):
    def daemon(self, config="", prefix=()):
        daemon = Daemon(config, prefix=prefix).start()
        self.addCleanup(daemon.kill)
        return daemon

    def gaps(self, daemon, *more, name="live"):
        out, _ = daemon.run("gaps", name, "--json", *more)
        return json.loads(out)

    def causes(self, daemon, *more):
        return [g["cause"] for g in self.gaps(daemon, *more)["gaps"]]

    def status(self, daemon, name="live"):
        out, _ = daemon.run("status", name, "--json")
        return json.loads(out)["captures"][0]

    def replayed(self, daemon, *more, name="live", status=OK):
        out, said = daemon.run("replay", name, *more, status=status)
        return packets_of(out)[1], said


class Live(Case):
    @classmethod
    def setUpClass(cls):
        cls.link = Link()

    def running(self, config="", *more):
        daemon = self.daemon(config, self.link.receiver)
        daemon.run("init", self.link.far, "--alias", "live", "--start", *more)
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        return daemon

    def file(self, daemon, first, n, size=300):
        path = os.path.join(daemon.folder, "sent-%d.pcap" % first)
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(T0, first + i, size)
                                 for i in range(n)]))
        return path

    def send(self, daemon, first, n):
        self.link.send_all(self.file(daemon, first, n))

    def has(self, daemon, n):
        until(lambda: int(daemon.capture("live")["packets"]) >= n,
              "%d packets" % n)

    def test_after_a_kill_the_hole_is_in_the_ledger(self):
        daemon = self.running()
        self.send(daemon, 0, 500)
        self.has(daemon, 500)
        before = self.replayed(daemon)[0]
        until(lambda: self.status(daemon)["synced_ns"] > before[-1].ns,
              "what was sent is synced")
        # 3 s of packets; the kill comes while they flow.
        traffic = self.link.send(self.file(daemon, 1000, 6000), 2000)
        self.has(daemon, 4500)
        daemon.kill()
        killed = time.time_ns()
        sent(traffic)
        daemon.start()
        ready = time.time_ns()
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        self.send(daemon, 9000, 500)
        until(lambda: number(self.replayed(daemon)[0][-1]) == 9499, "the end")
        got = self.replayed(daemon)[0]
        answer = self.gaps(daemon)
        restarts = [g for g in answer["gaps"] if g["cause"] == "restart"]
        self.assertEqual(len(restarts), 1, answer)
        hole = restarts[0]
        numbers = [number(p) for p in got]
        self.assertEqual(numbers[:500], list(range(500)))
        self.assertEqual(numbers[-500:], list(range(9000, 9500)))
        # Without a hole but that one: what is stored ends where it begins.
        last = numbers.index(9000) - 1
        self.assertEqual(numbers[500:last + 1],
                         list(range(1000, 1000 + last - 499)))
        self.assertLessEqual(got[last].ns, hole["from_ns"])
        self.assertGreater(hole["from_ns"], killed - 12 * NS)
        self.assertLessEqual(hole["from_ns"], killed)
        self.assertGreaterEqual(hole["to_ns"], killed)
        self.assertLessEqual(hole["to_ns"], ready)
        self.assertGreaterEqual(got[last + 1].ns, hole["to_ns"])
        # At most the last second was lost, not the 12 before.
        self.assertLess(killed - got[last].ns, (6 if SANITIZE else 2) * NS)
        daemon.stop()

    def test_what_came_while_it_was_started_is_covered(self):
        """Packets flow when captures begin: none came before its capture."""
        daemon = self.running()
        traffic = self.link.send(self.file(daemon, 0, 200000), 1000)
        self.has(daemon, 1)
        for i in range(8):
            more = [["--rings", "2"], []][i % 2]
            daemon.run("init", self.link.far, "udp or tcp port %d" % (i + 1),
                       "--alias", "at%d" % i, "--start", *more)
        until(lambda: all(int(c["packets"]) for c in daemon.list().values()),
              "packets")
        end(traffic)
        for i in range(8):
            answer = self.gaps(daemon, name="at%d" % i)
            self.assertEqual(answer["gaps"], [])
            first = packets_of(daemon.run("replay", "at%d" % i, "-c",
                                          "1")[0])[1][0]
            self.assertGreaterEqual(first.ns, answer["from_ns"])
        daemon.stop()

    def test_a_replay_ends_with_its_range_and_strict_judges_it(self):
        daemon = self.running()
        self.send(daemon, 0, 100)
        self.has(daemon, 100)
        _, said = self.replayed(daemon, "--strict")
        self.assertRegex(said, r"100 packets replayed, 100 examined\n"
                         r"range: \S+ to \S+; no gaps\n")
        # What was before it was made is no gap; what it has never had is.
        _, said = self.replayed(daemon, "--strict", "--last", "1h")
        self.assertIn("no gaps", said)
        _, said = self.replayed(daemon, "--strict", "--since", "@4102444800",
                                status=INCOMPLETE)
        self.assertIn("the range begins in the future", said)
        self.assertIn("nothing of the range was captured", said)
        daemon.run("init", self.link.far, "tcp port 7", "--alias",
                   "never")
        (row,) = json.loads(daemon.run("gaps", "never", "--json")[0])["gaps"]
        self.assertEqual(row["cause"], "stopped")
        self.assertLess(time.time_ns() - row["from_ns"], HOUR)
        self.replayed(daemon, "--strict", name="never", status=INCOMPLETE)
        daemon.run("delete", "never", "--yes")
        daemon.run("stop", "live")
        stopped = time.time_ns()
        daemon.run("start", "live")
        started = time.time_ns()
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        self.send(daemon, 100, 100)
        self.has(daemon, 200)
        got, said = self.replayed(daemon, "--strict", status=INCOMPLETE)
        self.assertEqual(len(got), 200)
        self.assertIn("gaps: 1 (stopped)", said)
        self.assertIn("not complete: 1 gaps in the range", said)
        (gap,) = self.gaps(daemon)["gaps"]
        self.assertLessEqual(gap["from_ns"], stopped)
        self.assertLessEqual(gap["to_ns"], started)
        self.assertGreater(gap["to_ns"], gap["from_ns"])
        # Nothing matched is not incomplete, and the other way round.
        since = "@%d.%09d" % divmod(gap["to_ns"], NS)
        got, said = self.replayed(daemon, "tcp", "--since", since, "--strict")
        self.assertEqual(got, [])
        self.assertIn("no gaps", said)
        self.assertEqual(self.causes(daemon, "--since", since), [])
        _, said = self.replayed(daemon, "tcp", "--last", "1h", "--strict",
                                status=INCOMPLETE)
        self.assertEqual(self.causes(daemon, "--last", "1h"),
                         ["stopped"])
        daemon.run("replay", "live", "--live", "--strict", status=USAGE)
        daemon.stop()
        daemon.start()
        self.assertEqual(self.causes(daemon), ["stopped", "restart"])
        daemon.stop()

    def test_what_the_kernel_dropped_is_counted_where_it_was(self):
        daemon = self.running("", "-B", "1")
        self.send(daemon, 0, 100)
        self.has(daemon, 100)
        before = time.time_ns()
        daemon.process.send_signal(signal.SIGSTOP)
        # 8 times what the ring holds.
        self.link.send_all(self.file(daemon, 1000, 8000, 1000), 100000)
        daemon.process.send_signal(signal.SIGCONT)
        self.send(daemon, 20000, 100)
        until(lambda: number(self.replayed(daemon)[0][-1]) == 20099,
              "the last packet")
        got = self.replayed(daemon)[0]
        answer = self.gaps(daemon)
        lost = [g for g in answer["gaps"] if g["cause"] in LOSSES]
        self.assertTrue(lost, answer)
        self.assertEqual(len(got) + sum(g["packets"] for g in lost), 8200)
        self.assertEqual(answer["missing"],
                         sum(g["packets"] for g in lost))
        self.assertEqual({g["cause"] for g in lost}, {"kernel"})
        for gap in lost:
            self.assertGreater(gap["to_ns"], before)
            self.assertLess(gap["from_ns"], time.time_ns())
        seen = self.status(daemon)
        self.assertEqual(seen["dropped_kernel"], 8200 - len(got))
        self.assertEqual(seen["dropped_lately"], 8200 - len(got))
        out, _ = daemon.run("status", status=INCOMPLETE)
        self.assertIn("dropped %d packets in the last hour" %
                      (8200 - len(got)), out.decode())
        # A stop changes no sum.
        daemon.run("stop", "live")
        self.assertEqual(self.gaps(daemon)["missing"], 8200 - len(got))
        # What status says to look at has it, also when all around it is gone.
        daemon.run("set", "live", "--keep-bytes", "1", "--yes")
        until(lambda: int(daemon.capture("live")["packets"]) == 0, "expiry")
        daemon.run("start", "live")
        self.send(daemon, 30000, 100)
        self.has(daemon, 100)
        self.assertNotIn("kernel", self.causes(daemon))
        out, _ = daemon.run("status", ":live", status=INCOMPLETE)
        words = re.search("'pcap (gaps .*)' lists where", out.decode())
        out, _ = daemon.run(*words.group(1).split(), "--json")
        self.assertEqual(sum(g["packets"] for g in json.loads(out)["gaps"]
                             if g["cause"] == "kernel"), 8200 - len(got))
        daemon.stop()

    def test_status_tells_that_a_capture_is_well(self):
        daemon = self.running()
        self.send(daemon, 0, 100)
        self.has(daemon, 100)
        newest = self.replayed(daemon)[0][-1].ns
        until(lambda: self.status(daemon)["synced_ns"] > newest, "a sync")
        seen = self.status(daemon)
        self.assertEqual(seen["newest_ns"], newest)
        self.assertEqual(seen["queue_max"], 32)
        self.assertLessEqual(seen["queue_blocks"], 1)
        self.assertEqual(seen["compression_level"], -1)
        self.assertEqual(seen["received"], 100)
        self.assertIsNone(seen["disk_error"])
        # A quiet link is synced, too: it moves on without packets.
        until(lambda: self.status(daemon)["synced_ns"] > seen["synced_ns"],
              "another sync")
        out, _ = daemon.run("status")
        self.assertIn(b"NEWEST", out)
        self.assertIn(b"running", out)
        self.assertIn(b"0/32" if not seen["queue_blocks"] else b"1/32", out)
        daemon.stop()


class Kept(Case):
    """On savefiles, which need no privilege."""

    def imported(self, daemon, name, packets):
        path = os.path.join(daemon.folder, name + ".pcap")
        with open(path, "wb") as file:
            file.write(savefile(packets))
        daemon.run("import", name, path)

    def test_what_expired_is_a_gap_and_what_is_held_stays(self):
        daemon = self.daemon("segment-bytes = 64K\n")
        n = 12000  # a block has some 1000 of them
        packets = [udp_packet(T0 + i * NS, i, 1000) for i in range(n)]
        for p in packets:  # that does not compress
            p.body = p.body[:46] + os.urandom(954)
        self.imported(daemon, "old", packets)
        start = T0 // NS

        def around(a, b):
            return ["--since", "@%d" % (start + a), "--until",
                    "@%d" % (start + b)]

        _, said = daemon.run("hold", "old", *around(-90, -80), "--reason",
                             "nothing", status=NOT_FOUND)
        self.assertIn("'old' has no packets in that range", said)
        daemon.run("hold", "old", *around(4500, 4600), "--reason", "a case")
        # Before anything goes it is said how much, and asked for.
        before = daemon.capture("old")
        out, _ = daemon.run("set", "old", "--keep-bytes", "3M", "--dry-run")
        told = re.search(rb"would remove (\d+) packets, (\S+) on disk", out)
        _, said = daemon.run("set", "old", "--keep-bytes", "3M", status=USAGE)
        self.assertIn("that would remove %s packets, " %
                      told.group(1).decode(), said)
        self.assertIn("--yes", said)
        until(lambda: b"packets" in daemon.run(
            "set", "old", "--keep-age", "1s", "--dry-run")[0],
            "something that is a second old")
        self.assertEqual(daemon.capture("old"), before)
        _, said = daemon.run("set", "old", "--keep-bytes", "3M", "--yes")
        self.assertIn("changed 1 (old)", said)
        until(lambda: int(daemon.capture("old")["stored_bytes"]) <= 3 << 20,
              "expiry")
        self.assertEqual(daemon.capture("old")["keep_bytes"], 3 << 20)
        whole = ["--since", "@%d" % start]
        got, said = self.replayed(daemon, *whole, "--strict", name="old",
                                  status=INCOMPLETE)
        self.assertIn("expired", said)
        numbers = [number(p) for p in got]
        self.assertTrue(set(range(4500, 4600)) <= set(numbers), numbers)
        self.assertEqual(numbers[-1], n - 1)
        first_difference(self, got, [packets[i] for i in numbers])
        self.assertEqual(n - len(got), int(told.group(1)))
        expired = [g for g in self.gaps(daemon, *whole, name="old")["gaps"]
                   if g["cause"] == "expired"]
        self.assertEqual(sum(g["packets"] for g in expired) + len(got), n)
        # Packets that are missing lie in a gap, those that are there do not.
        there = set(numbers)
        for i in range(n):
            inside = any(g["from_ns"] <= T0 + i * NS <= g["to_ns"]
                         for g in expired)
            self.assertEqual(inside, i not in there, (i, expired))
        _, said = self.replayed(daemon, *around(4500, 4600), "--strict",
                                name="old")
        self.assertIn("no gaps", said)
        # What is held goes by nobody's yes; released, it is asked for.
        self.assertEqual([h["reason"] for h in
                          self.status(daemon, "old")["holds"]], ["a case"])
        daemon.run("set", "old", "--keep-bytes", "1", "--yes")
        # A replay may be overtaken by it, and says so.
        until(lambda: number(self.replayed(
            daemon, name="old", status=None)[0][-1]) < 6000,
            "all but what is held to go")
        left = daemon.capture("old")["packets"]
        _, said = daemon.run("delete", "old", "--yes", status=FAILED)
        self.assertIn("'old' is held: hold 1, a case\n", said)
        self.assertIn("'pcap release old 1'", said)
        _, said = daemon.run("release", "old", "1", status=USAGE)
        self.assertIn("that would remove %d packets, " % left, said)
        self.assertEqual(daemon.capture("old")["packets"], left)
        daemon.run("release", "old", "1", "--yes")
        daemon.run("release", "old", "1", status=NOT_FOUND)
        until(lambda: daemon.capture("old")["packets"] == 0,
              "the released part to go")
        self.assertEqual(self.status(daemon, "old")["holds"], [])
        daemon.stop()

    def to_hurt(self, daemon, n):
        """So many packets that do not shrink, one a second, in one segment."""
        packets = [udp_packet(T0 + i * NS, i, 1000) for i in range(n)]
        for p in packets:
            p.body = p.body[:46] + os.urandom(954)
        self.imported(daemon, "hurt", packets)
        (path,) = daemon.segments(1)
        return packets, path

    def test_damage_that_a_replay_meets_is_a_gap_from_then_on(self):
        daemon = self.daemon()
        packets, path = self.to_hurt(daemon, 5000)
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            file.write(bytes(100))
        for _ in range(2):
            got, _ = self.replayed(daemon, "udp", name="hurt",
                                   status=INCOMPLETE)
        answer = self.gaps(daemon, name="hurt")
        self.assertEqual([g["cause"] for g in answer["gaps"]], ["damage"])
        self.assertEqual(answer["missing"], len(packets) - len(got))
        missing = set(range(5000)) - {number(p) for p in got}
        (gap,) = answer["gaps"]
        self.assertEqual(gap["from_ns"], T0 + min(missing) * NS)
        self.assertEqual(gap["to_ns"], T0 + max(missing) * NS + 1)
        daemon.stop()

    def test_a_file_that_was_cut_is_told_once(self):
        daemon = self.daemon()
        packets, path = self.to_hurt(daemon, 12000)
        os.truncate(path, os.path.getsize(path) // 4)

        def damage():
            """Packets of each gap, which none is of twice."""
            gaps = self.gaps(daemon, name="hurt")["gaps"]
            self.assertEqual({g["cause"] for g in gaps}, {"damage"})
            gaps.sort(key=lambda g: g["from_ns"])
            for one, other in zip(gaps, gaps[1:]):
                self.assertLessEqual(one["to_ns"], other["from_ns"])
            return [g["packets"] for g in gaps]

        late = ["--since", "@%d" % (T0 // NS + 9000)]
        self.assertEqual(
            self.replayed(daemon, *late, name="hurt", status=INCOMPLETE)[0],
            [])
        part, = damage()
        self.assertLess(2000, part)
        for _ in range(3):
            got, _ = self.replayed(daemon, "udp", name="hurt",
                                   status=INCOMPLETE)
            daemon.run("count", "hurt", "udp", status=INCOMPLETE)
            daemon.run("count", "hurt", "udp", *late, status=INCOMPLETE)
            first, last = damage()
            self.assertEqual(last, part)
            self.assertEqual(first + last, len(packets) - len(got))
        daemon.stop()

    def test_marks_are_times(self):
        daemon = self.daemon()
        self.imported(daemon, "old", [udp_packet(T0 + i * NS, i)
                                      for i in range(1000)])
        daemon.run("mark", "old", "boom", "--at", "@%d" % (T0 // NS + 100))
        daemon.run("mark", "old", "later", "--at", "@%d" % (T0 // NS + 200))

        def numbers(*more):
            return [number(p) for p in self.replayed(
                daemon, *more, name="old")[0]]

        self.assertEqual(numbers("--since", "boom", "--until", "later"),
                         list(range(100, 200)))
        self.assertEqual(numbers("--around", "boom", "--window", "3s"),
                         list(range(97, 103)))
        self.assertEqual(numbers("--around", "later"), list(range(170, 230)))
        self.assertEqual(numbers("--since", "later", "-c", "2"), [200, 201])
        _, said = daemon.run("replay", "old", "--since", "never",
                             status=USAGE)
        self.assertIn("no mark 'never'", said)
        for wrong in (["--around", "boom", "--since", "boom"],
                      ["--window", "3s"], ["--around", "boom", "--live"]):
            daemon.run("replay", "old", *wrong, status=USAGE)
        daemon.run("mark", "old", "boom", status=FAILED)
        daemon.run("mark", "old", "10m", status=USAGE)
        daemon.run("mark", "old", "a b", status=USAGE)
        daemon.run("mark", "old", "boom", "--remove")
        daemon.run("replay", "old", "--since", "boom", status=USAGE)
        # They survive a restart.
        daemon.stop()
        daemon.start()
        self.assertEqual(self.status(daemon, "old")["marks"],
                         [{"name": "later", "at_ns": T0 + 200 * NS}])
        daemon.stop()

    def test_wrong_limits_are_refused(self):
        daemon = self.daemon()
        self.imported(daemon, "old", [udp_packet(T0, 1)])
        for wrong in (["--keep-bytes", "many"], ["--keep-bytes", "-1"],
                      ["--keep-bytes", "99999999P"], ["--keep-age", "soon"],
                      []):
            daemon.run("set", "old", *wrong, status=USAGE)
        daemon.run("set", "nobody", "--keep-age", "1d", status=NOT_FOUND)
        daemon.run("hold", "old", "--since", "10m", status=USAGE)
        _, said = daemon.run("hold", "old", "--since", "2100-01-01",
                             "--reason", "x", status=USAGE)
        self.assertIn("in the future needs --until", said)
        daemon.run("hold", "old", "--since", "10m", "--until", "1h",
                   "--reason", "x", status=USAGE)
        daemon.run("set", "old", "--keep-age", "30000d", "--keep-bytes", "1T")
        daemon.run("set", "old", "--keep-bytes", "none")
        seen = daemon.capture("old")
        self.assertEqual((seen["keep_bytes"], seen["keep_age_ns"]),
                         (0, 30000 * 24 * HOUR))
        self.assertEqual(seen["packets"], 1)
        daemon.stop()

    def test_bounds_of_the_spool_change_with_the_configuration(self):
        base = "segment-bytes = 64K\nspool-imports = on\n"
        daemon = self.daemon(base)
        packets = [udp_packet(T0 + i * NS, i, 1000) for i in range(6000)]
        for p in packets:
            p.body = p.body[:46] + os.urandom(954)
        self.imported(daemon, "old", packets)
        before = daemon.capture("old")["stored_bytes"]
        self.assertGreater(int(before), 4 << 20)

        def configure(text):
            said = len(daemon.said())
            daemon.configure(base + text)
            daemon.process.send_signal(signal.SIGHUP)
            until(lambda: "settings" in daemon.said()[said:], "SIGHUP")
            return daemon.said()[said:]

        self.assertIn("the old settings stay", configure("spool-bytes = x\n"))
        configure("spool-bytes = 1T\n")
        self.assertEqual(daemon.capture("old")["stored_bytes"], before)
        # What would remove something at once waits for a start.
        self.assertRegex(
            configure("spool-bytes = 3M\n"),
            r"spool-bytes = 3145728 would remove \d{4} packets, [34]\.\d MB, "
            r"at once: it is not taken before pcapd is started again")
        self.assertEqual(daemon.capture("old")["stored_bytes"], before)
        # What is imported is not the spool's, unless that is asked for.
        daemon.stop()
        daemon.configure(base.replace("on", "off") + "spool-bytes = 3M\n")
        daemon.start()
        self.imported(daemon, "new", packets[:2000])
        until(lambda: self.status(daemon, "new")["newest_ns"], "the import")
        self.assertEqual(daemon.capture("old")["stored_bytes"], before)
        daemon.run("delete", "new", "--yes")
        daemon.stop()
        daemon.configure(base + "spool-bytes = 3M\n")
        daemon.start()
        until(lambda: int(daemon.capture("old")["stored_bytes"]) <= 3 << 20,
              "expiry")
        got, _ = self.replayed(daemon, name="old", status=None)
        first_difference(self, got, packets[-len(got):])
        self.assertGreater(len(got), 1000)
        daemon.stop()

    def test_a_forecast_is_rate_times_limit(self):
        daemon = self.daemon()
        self.imported(daemon, "old", [udp_packet(T0 + i, i)
                                      for i in range(5000)])
        _, said = daemon.run("set", "old", "--keep-bytes", "200G")
        seen = self.status(daemon, "old")
        self.assertGreater(seen["rate_bytes"], 0)
        self.assertGreater(seen["rate_over_ns"], 0)
        days = (200 << 30) / seen["rate_bytes_per_day"]
        self.assertAlmostEqual(seen["forecast_ns"] / (24 * HOUR) / days, 1, 3)
        self.assertRegex(said,
                         r"200 GiB is about [\d.]+ \w+ at the rate of the last")
        self.assertRegex(daemon.run("status")[0].decode(),
                         r"200 GiB is about [\d.]+ \w+ at the rate of the last")
        daemon.stop()


class Clocks(Case):
    def test_every_packet_of_a_range_is_found_where_the_clock_stepped(self):
        """Forwards and back by hours, within blocks and between them; the
        order is that of capture."""
        daemon = self.daemon("segment-bytes = 64K\n")
        packets, at = [], T0 + 24 * HOUR
        steps = {700: 3 * HOUR, 1500: -7 * HOUR, 1510: 2 * HOUR, 2400: -HOUR}
        for i in range(3000):
            at += steps.get(i, 0) + NS // 10
            packets.append(udp_packet(at, i, 2000))
        path = os.path.join(daemon.folder, "stepped.pcap")
        with open(path, "wb") as file:
            file.write(savefile(packets))
        daemon.run("import", "live", path)
        self.assertGreater(len(daemon.segments(1)), 4)
        first_difference(self, self.replayed(daemon)[0], packets)
        times = sorted(p.ns for p in packets)
        for since, until_ in ((0, 3000), (10, 20), (700, 1500), (1400, 1600),
                              (2000, 2001), (2300, 2999)):
            a, b = times[since], times[until_ - 1] + 1
            got, _ = self.replayed(
                daemon, "--since", "@%d.%09d" % divmod(a, NS),
                "--until", "@%d.%09d" % divmod(b, NS))
            first_difference(self, got,
                             [p for p in packets if a <= p.ns < b])
        daemon.stop()

    def clocked(self):
        """A daemon whose clock is set by a library before libc's, and what
        sets it to so many seconds beside the right one."""
        if os.geteuid() != 0:
            self.skipTest("capturing needs root")
        daemon = Daemon()
        path = os.path.join(daemon.folder, "offset")

        def set_to(seconds):
            with open(path + ".new", "wb") as file:
                file.write(struct.pack("<q", seconds))
            os.rename(path + ".new", path)

        set_to(0)
        daemon.prefix = before_libc(daemon.folder, CLOCK, OFFSET=path)
        self.addCleanup(daemon.kill)
        daemon.start()
        daemon.run("init", "lo", "udp", "port", "9", "--alias", "live",
                   "--start")
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        return daemon, set_to

    def away(self, daemon, set_to, offset, kill=True):
        """It is not there while the clock is set."""
        if kill:
            daemon.kill()
        else:
            daemon.run("stop", "live")
        set_to(offset)
        if kill:
            daemon.start()
        else:
            daemon.run("start", "live")
        cause = "restart" if kill else "stopped"
        now = time.time_ns() + offset * NS
        rows = [g for g in self.gaps(daemon)["gaps"] if g["cause"] == cause]
        self.assertTrue(rows, self.gaps(daemon))
        row = rows[-1]
        self.assertLessEqual(row["from_ns"], row["to_ns"], rows)
        self.assertLessEqual(row["to_ns"], now, rows)
        middle = "@%d.%09d" % divmod((row["from_ns"] + row["to_ns"]) // 2, NS)
        self.replayed(daemon, "--since", middle, "--strict",
                      status=INCOMPLETE)
        return row

    def test_an_absence_over_which_the_clock_is_set_is_told(self):
        """From what came last by the clock that there is then, or with no
        length where there is nothing; after a kill as after a stop."""
        for step in (7200, -7200):
            for kill in (True, False):
                with self.subTest(step=step, kill=kill):
                    daemon, set_to = self.clocked()
                    # The right one, ahead or behind, and right again.
                    began = time.time_ns()
                    set_to(step)
                    until(lambda: "clock" in self.causes(daemon), "a step")
                    before = time.time_ns()
                    row = self.away(daemon, set_to, 0, kill)
                    self.assertGreaterEqual(row["to_ns"], before)
                    self.assertLess(row["from_ns"], before)
                    if step > 0:
                        self.assertGreaterEqual(row["from_ns"], began - NS)
                    # Nothing is known of an hour that is over again.
                    self.away(daemon, set_to, -3 * 3600, kill)
                    daemon.stop()

    def test_a_clock_that_is_set_is_in_the_ledger_at_once(self):
        """The daemon's clock, by a library before libc's."""
        daemon, set_to = self.clocked()

        def steps():
            return [g for g in self.gaps(daemon)["gaps"]
                    if g["cause"] == "clock"]

        offset = 0
        for n, step in enumerate((7200, -5 * 3600), 1):
            offset += step
            set_to(offset)
            until(lambda: len(steps()) >= n, "a step")
            rows = steps()
            self.assertAlmostEqual(
                (rows[-1]["to_ns"] - rows[-1]["from_ns"]) / NS, step, 0)
            self.assertIn("%+d." % step, rows[-1]["detail"])
            self.assertLess(abs(rows[-1]["to_ns"] - time.time_ns() -
                                offset * NS), 5 * NS)
        self.assertEqual(len(rows), 2)
        answer = self.gaps(daemon)
        # By the clock it was not started yet in between.
        self.assertEqual([g["cause"] for g in answer["gaps"]
                          if g["detail"] != "not started yet"],
                         ["clock", "clock"])
        self.assertLessEqual(answer["from_ns"], rows[1]["to_ns"])
        self.assertGreaterEqual(answer["to_ns"], rows[1]["from_ns"])
        daemon.stop()


CLOCK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *t)
{
	int result = (int)syscall(SYS_clock_gettime, id, t);
	int64_t offset = 0;

	if (id == CLOCK_REALTIME) {
		int fd = open(getenv("OFFSET"), O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, &offset, 8) != 8)
			offset = 0;
		if (fd >= 0)
			close(fd);
	}
	t->tv_sec += offset;
	return result;
}
"""

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


class Watchdog(Case):
    """The end of systemd that is told, and a thread that stands still."""

    def threads(self, daemon, name):
        tasks, found = "/proc/%d/task/" % daemon.process.pid, []
        for task in os.listdir(tasks):
            try:
                with open(tasks + task + "/comm", "rb") as file:
                    if file.read() == name:
                        found.append(int(task))
            except FileNotFoundError:
                pass  # some come and go
        return found

    def hear(self, ear, what, seconds):
        """Whether it was said within so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ear.settimeout(max(0.01, end - time.monotonic()))
            try:
                if what in ear.recv(4096):
                    return True
            except socket.timeout:
                pass
        return False

    def test_it_is_fed_only_while_captures_make_progress(self):
        if os.geteuid() != 0:
            self.skipTest("stopping a thread needs root")
        daemon = Daemon()
        self.addCleanup(daemon.kill)
        ear = daemon.ear()
        self.addCleanup(ear.close)
        daemon.spawn(WATCHDOG_USEC="1500000")
        self.assertTrue(self.hear(ear, b"READY=1", PATIENCE))
        self.assertTrue(self.hear(ear, b"WATCHDOG=1", PATIENCE))
        daemon.run("init", "lo", "--alias", "live", "--start")
        (thread,) = self.threads(daemon, b"pcapd-capture\n")
        libc = ctypes.CDLL(None, use_errno=True)
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                                ctypes.c_void_p]
        if libc.ptrace(PTRACE_SEIZE, thread, None, None) != 0:
            self.skipTest("no ptrace: " + os.strerror(ctypes.get_errno()))
        libc.ptrace(PTRACE_INTERRUPT, thread, None, None)
        os.waitpid(thread, 0x40000000)  # __WALL
        # What was on its way may still come; then nothing does.
        until(lambda: not self.hear(ear, b"WATCHDOG=1", 3), "silence")
        self.assertIn("makes no progress", daemon.said())
        libc.ptrace(PTRACE_DETACH, thread, None, None)
        self.assertTrue(self.hear(ear, b"WATCHDOG=1", PATIENCE))
        daemon.stop()


if __name__ == "__main__":
    main()
