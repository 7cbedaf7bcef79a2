#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Real packets on a link made for it: two network namespaces, a veth pair,
tcpreplay at one end; pcapd and tcpdump at the other see the same. Then what
must not be lost is not: by live replays, beside a stuck listener, over
restarts and kills."""

import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

from harness import (OK, PATIENCE, SANITIZE, USAGE, Daemon, Packet, decoded, end,
                     first_difference, main, output, packets_of, savefile,
                     shared, udp_packet, until)
from link import RATE, Link, content, in_file, sent, whole

COUNT = 20000 if SANITIZE else 102031
LISTENERS = 30 if SANITIZE else 100
SMALL = "segment-bytes = 2M\n"


def size(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.link = Link()
        cls.folder = tempfile.TemporaryDirectory(prefix="pcapd-live-")
        cls.some = cls.write("some.pcap", [
            udp_packet(10 ** 18 + i, i, 300) for i in range(3000)])
        cls.mark = cls.write("mark.pcap", [udp_packet(10 ** 18, 999999)])
        # What a packet socket can send: frames with a whole header, as long
        # as what was kept of them.
        try:
            packed = shared("mixed.pcap.zst")
        except unittest.SkipTest:
            cls.much = [udp_packet(10 ** 18 + i, i, 400)
                        for i in range(COUNT)]
        else:
            packets = packets_of(output("zstd", "-dc", packed))[1][:COUNT]
            cls.much = [Packet(p.ns, p.body) for p in packets
                        if len(p.body) >= 14]
        cls.lots = cls.write("lots.pcap", cls.much)

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

    def setUp(self):
        self.processes = []

    def tearDown(self):
        for process in self.processes:
            end(process)

    def running(self, config=SMALL, *more):
        """A daemon at the far end that captures as "live"."""
        daemon = Daemon(config, prefix=self.link.receiver).start()
        self.addCleanup(daemon.kill)
        daemon.run("init", self.link.far, "--alias", "live", "--start", *more)
        self.until_state(daemon, "running")
        return daemon

    def until_state(self, daemon, state):
        until(lambda: daemon.capture("live")["state"] == state, state)

    def has(self, daemon, n):
        until(lambda: int(daemon.capture("live")["packets"]) >= n,
              "%d packets" % n)

    def everything(self, daemon):
        out, _ = daemon.run("replay", "live")
        return packets_of(out)[1]

    def streaming(self, daemon, *arguments):
        """A pcap that writes to a file, once its stream has begun."""
        path = os.path.join(self.folder.name,
                            "stream-%d" % time.monotonic_ns())
        with open(path, "wb") as out, open(path + ".err", "wb") as err:
            process = daemon.popen(*arguments, stdout=out, stderr=err)
        self.processes.append(process)
        until(lambda: size(path) >= 24 or process.poll() is not None,
              "the stream's header")
        if process.poll() is not None:
            with open(path + ".err") as file:
                self.fail(file.read())
        return process, path

    def interrupt(self, process, path):
        """Ctrl-C; returns what was said."""
        process.send_signal(signal.SIGINT)
        status = process.wait(PATIENCE)
        with open(path + ".err") as file:
            said = file.read()
        self.assertEqual(status, OK, said)
        return said

    def test_the_same_packets_as_tcpdump(self):
        daemon = self.running()
        path = os.path.join(self.folder.name, "tcpdump.pcap")
        with subprocess.Popen(
                self.link.receiver + [
                    "tcpdump", "-i", self.link.far, "-Z", "root", "-B",
                    "262144", "--time-stamp-precision=nano", "-w", path,
                    "-c", str(len(self.much))],
                stderr=subprocess.PIPE) as tcpdump:
            self.processes.append(tcpdump)
            while b"listening on" not in tcpdump.stderr.readline():
                self.assertIsNone(tcpdump.poll())
            self.link.send_all(self.lots)
            tcpdump.communicate(timeout=PATIENCE)
        self.has(daemon, len(self.much))
        ours = self.everything(daemon)
        with open(path, "rb") as file:
            theirs = packets_of(file.read())[1]
        first_difference(self, content(ours), content(theirs))
        first_difference(self, content(ours), content(self.much))
        for a, b in zip(ours, theirs):
            self.assertLess(abs(a.ns - b.ns), 10 ** 9)
        seen = daemon.capture("live")
        self.assertEqual(int(seen["received"]), len(self.much))
        for kind in ("kernel", "interface", "memory", "disk"):
            self.assertEqual(int(seen["dropped_" + kind]), 0, kind)
        # Stopped: the same again, and no more when more is sent.
        daemon.run("stop", "live")
        first_difference(self, self.everything(daemon), ours)
        self.link.send_all(self.mark)
        self.assertEqual(len(self.everything(daemon)), len(ours))
        daemon.stop()

    def test_live_replays_give_every_packet_once(self):
        """Begun before, in the middle of, and after the traffic, over
        rotations and a stop and a start."""
        daemon = self.running()
        n = len(self.much)
        streams = [self.streaming(daemon, "replay", "live", "--live")]
        traffic = self.link.send(self.lots)
        for part in (5, 2):
            self.has(daemon, n // part)
            streams.append(
                self.streaming(daemon, "replay", "live", "--live"))
        sent(traffic)
        self.has(daemon, n)
        daemon.run("stop", "live")
        daemon.run("start", "live")
        self.until_state(daemon, "running")
        streams.append(self.streaming(daemon, "replay", "live", "--live"))
        self.link.send_all(self.some)
        self.has(daemon, n + 3000)
        want, _ = daemon.run("replay", "live")
        first_difference(self, content(packets_of(want)[1][n:]),
                         content(in_file(self.some)))
        self.assertGreater(
            len(daemon.segments(daemon.capture("live")["id"])), 2)
        for process, path in streams:
            until(lambda: size(path) >= len(want), "all packets")
            self.interrupt(process, path)
            with open(path, "rb") as file:
                first_difference(self, packets_of(file.read())[1],
                                 packets_of(want)[1])
        daemon.stop()

    def test_several_rings_are_one_capture(self):
        daemon = self.running(SMALL, "--rings", "2", "-B", "256")
        self.assertEqual(daemon.capture("live")["rings"], 2)
        some = self.much[:5000]
        file = self.write("some.pcap", some)
        senders = [self.link.send(file, RATE // 10) for _ in range(2)]
        for number, sender in enumerate(senders):
            os.sched_setaffinity(sender.pid, {number % os.cpu_count()})
        tail, path = self.streaming(daemon, "replay", "live", "--live")
        for sender in senders:
            sent(sender)
        self.has(daemon, 2 * len(some))
        got = self.everything(daemon)
        self.assertEqual(sorted(p.body for p in got),
                         sorted(2 * [p.body for p in some]))
        times = [p.ns for p in got]
        self.assertEqual(times, sorted(times))
        until(lambda: size(path) >= 24 + sum(16 + len(p.body) for p in got),
              "the tail")
        self.interrupt(tail, path)
        with open(path, "rb") as file:
            first_difference(self, packets_of(file.read())[1], got)
        # What it is made of survives a restart, too.
        daemon.stop()
        daemon.start()
        self.until_state(daemon, "running")
        self.assertEqual(daemon.capture("live")["rings"], 2)
        daemon.run("init", self.link.far, "udp", "--rings", "17",
                   status=USAGE)

    def test_live_ends_after_c_packets(self):
        daemon = self.running()
        self.link.send_all(self.some)
        self.has(daemon, 3000)
        process, path = self.streaming(daemon, "replay", "live", "--live",
                                       "-c", "3001")
        self.assertIsNone(process.poll())
        self.link.send_all(self.mark)
        self.assertEqual(process.wait(PATIENCE), OK)
        self.assertEqual(len(in_file(path)), 3001)
        daemon.stop()

    def test_a_stuck_listener_harms_nobody_and_is_told(self):
        daemon = self.running()
        good, good_path = self.streaming(daemon, "listen", "live")
        stuck, stuck_path = self.streaming(daemon, "listen", "live")
        self.link.send_all(self.mark)
        until(lambda: len(in_file(stuck_path)) == 1, "the first packet")
        stuck.send_signal(signal.SIGSTOP)
        # Twice and more what queue and socket hold.
        rounds = max(1, (40 << 20) // size(self.lots))
        for _ in range(rounds):
            self.link.send_all(self.lots)
        total = 1 + rounds * len(self.much)
        self.has(daemon, total)
        until(lambda: size(good_path) >= 24 + sum(
            16 + len(p.body) for p in self.much) * rounds, "the good one")
        stuck.send_signal(signal.SIGCONT)
        self.link.send_all(self.mark)
        mark = in_file(self.mark)[0].body
        until(lambda: in_file(stuck_path)[-1].body == mark and
              len(in_file(stuck_path)) > 1, "the mark")
        said = self.interrupt(stuck, stuck_path)
        self.interrupt(good, good_path)
        all_of_it = self.everything(daemon)
        self.assertEqual(len(all_of_it), total + 1)
        first_difference(self, in_file(good_path), all_of_it)
        got = in_file(stuck_path)
        self.assertLess(len(got), len(all_of_it))
        lost = [int(n.replace(",", ""))
                for n in re.findall(r"([\d,]+) packets? (?:were |was )?lost",
                                    said)]
        self.assertTrue(lost, said)
        self.assertIn("listener-queue is full: the client was too slow", said)
        self.assertIn(len(all_of_it) - len(got), (max(lost), sum(lost)), said)
        rest = iter((p.ns, p.body) for p in all_of_it)
        self.assertTrue(all((p.ns, p.body) in rest for p in got),
                        "in order, and each once")
        daemon.stop()

    def test_a_crowd_of_listeners_gets_every_packet(self):
        daemon = self.running()
        listeners = [self.streaming(daemon, "listen", "live")
                     for _ in range(LISTENERS)]
        self.link.send_all(self.some, RATE // 20)
        self.has(daemon, 3000)
        want, _ = daemon.run("replay", "live", "--strict")
        first_difference(self, content(packets_of(want)[1]),
                         content(in_file(self.some)))
        for process, path in listeners:
            until(lambda: size(path) >= len(want), "all packets")
            said = self.interrupt(process, path)
            self.assertIn("3000 packets captured", said)
            with open(path, "rb") as file:
                self.assertEqual(file.read(), want)
        daemon.stop()

    def test_listen_filters_and_counts(self):
        daemon = self.running()
        process, path = self.streaming(daemon, "listen", "live", "udp",
                                       "src", "port", "1030", "-c", "2")
        self.link.send_all(self.some)
        self.assertEqual(process.wait(PATIENCE), OK)
        want = [p for p in in_file(self.some) if p.body[34:36] ==
                (1030).to_bytes(2, "big")][:2]
        first_difference(self, content(in_file(path)), content(want))
        daemon.stop()

    def test_an_open_segment_is_readable_and_at_most_seconds_behind(self):
        daemon = self.running("")
        id = daemon.capture("live")["id"]
        traffic = self.link.send(self.lots)
        self.has(daemon, 1)
        looks = 0
        while traffic.poll() is None:
            for path in daemon.segments(id):
                got = output("zstd", "-dc", path, status=None)
                if len(got) < 24:
                    continue
                looks += 1
                packets = packets_of(whole(got))[1]
                first_difference(self, content(packets),
                                 content(self.much[:len(packets)]))
                if looks % 8 == 1:
                    output("tcpdump", "-r", "-", "-w", "/dev/null",
                           stdin=whole(got))
        sent(traffic)
        self.assertGreater(looks, 1)
        self.has(daemon, len(self.much))
        seen = time.monotonic()
        until(lambda: len(self.on_disk(daemon, id)) == len(self.much),
              "all packets in the open segment", 20 if SANITIZE else 10)
        self.assertLess(time.monotonic() - seen, 10 if SANITIZE else 3)
        daemon.stop()

    def on_disk(self, daemon, id):
        packets = []
        for path in daemon.segments(id):
            got = decoded(path)
            packets += packets_of(whole(got))[1] if len(got) >= 24 else []
        return packets

    def test_a_restart_resumes_and_keeps_everything(self):
        daemon = self.running()
        self.link.send_all(self.some)
        self.has(daemon, 3000)
        daemon.stop()
        for path in daemon.segments(1):
            output("zstd", "-t", "-q", path)
        daemon.start()
        self.until_state(daemon, "running")
        self.link.send_all(self.some)
        self.has(daemon, 6000)
        first_difference(self, content(self.everything(daemon)),
                         content(in_file(self.some) * 2))
        daemon.run("stop", "live")
        daemon.stop()
        daemon.start()
        self.assertEqual(daemon.capture("live")["state"], "stopped")
        daemon.stop()

    def test_a_killed_daemon_keeps_what_was_flushed(self):
        daemon = self.running()
        for again in range(3):
            before = self.everything(daemon)
            traffic = self.link.send(self.lots)
            self.has(daemon, len(before) + len(self.much) // 3)
            daemon.kill()
            traffic.kill()
            traffic.communicate()
            id = 1
            flushed = self.on_disk(daemon, id)
            self.assertGreater(len(flushed), len(before))
            first_difference(self, flushed[:len(before)], before)
            daemon.start()
            served = self.everything(daemon)
            self.assertGreaterEqual(len(served), len(flushed))
            first_difference(self, served[:len(flushed)], flushed)
            self.until_state(daemon, "running")
            # What was torn does not hurt what comes after.
            self.link.send_all(self.some)
            self.has(daemon, len(served) + 3000)
            first_difference(
                self, content(self.everything(daemon)[-3000:]),
                content(in_file(self.some)))
        daemon.stop()
        for path in daemon.segments(1):
            output("zstd", "-t", "-q", path)

    def test_an_interface_that_goes_is_waited_for(self):
        daemon = self.running()
        self.link.send_all(self.some)
        self.has(daemon, 3000)
        self.link.unplug()
        self.until_state(daemon, "waiting")
        self.link.plug()
        self.until_state(daemon, "running")
        self.link.send_all(self.some)
        self.has(daemon, 6000)
        first_difference(self, content(self.everything(daemon)),
                         content(in_file(self.some) * 2))
        daemon.stop()

    def test_every_interface_as_cooked_packets(self):
        daemon = Daemon(SMALL, prefix=self.link.receiver).start()
        self.addCleanup(daemon.kill)
        daemon.run("init", "--alias", "live", "--start")
        self.until_state(daemon, "running")
        self.link.send_all(self.some)
        self.has(daemon, 3000)
        out, _ = daemon.run("replay", "live")
        link_type, packets = packets_of(out)
        self.assertEqual(link_type, 276)
        first_difference(self, [Packet(0, p.body[20:]) for p in packets],
                         [Packet(0, p.body[14:])
                          for p in in_file(self.some)])
        daemon.stop()


if __name__ == "__main__":
    main()
