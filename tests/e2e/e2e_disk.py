#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""A disk that is full: pcapd goes on, makes room where it may, keeps in memory
what it can, says what it drops, and stores again as soon as there is room."""

import atexit
import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import send_random
from link import Link
from harness import (NS, OK, PCAPD, SANITIZE, Daemon, end, first_difference,
                     main, output, packets_of, savefile, udp_packet, until)

T0 = 1767225600 * NS


def made(n, first=0):
    dice = random.Random(3)
    packets = []
    for i in range(first, first + n):
        p = udp_packet(T0 + i * 1000003, i, 1400)
        p.body = p.body[:46] + dice.randbytes(1354)
        packets.append(p)
    return packets


def number(packet):
    return int.from_bytes(packet.body[42:46], "big")


class Full(unittest.TestCase):
    links = []

    def link(self):
        """The one of this process."""
        if not self.links:
            self.links.append(Link())
        return self.links[0]

    def setUp(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest("a file system of its own needs root")
        self.mount = tempfile.mkdtemp(prefix="pcapd-disk-")
        try:
            output("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs",
                   self.mount)
        except AssertionError as error:
            os.rmdir(self.mount)
            raise unittest.SkipTest("cannot mount: %s" % error)
        atexit.register(self.unmount)

    def unmount(self):
        output("umount", "-l", self.mount, status=None)
        if os.path.isdir(self.mount):
            os.rmdir(self.mount)

    def tearDown(self):
        atexit.unregister(self.unmount)
        self.unmount()

    def daemon(self, config, **more):
        return Daemon(config=config, spool=os.path.join(self.mount, "spool"),
                      **more)

    def check(self, daemon):
        done = subprocess.run([PCAPD, "check", "--spool", daemon.spool],
                              stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, OK, done.stdout.decode())

    def stored(self, daemon):
        """Bytes of segments, which come and go."""
        total = 0
        for path in daemon.segments(1):
            try:
                total += os.path.getsize(path)
            except FileNotFoundError:
                pass
        return total

    def fill(self, leave, name="filler"):
        path = os.path.join(self.mount, name)
        space = os.statvfs(self.mount)
        try:
            with open(path, "wb", buffering=0) as file:
                for _ in range(max(0, space.f_bavail * space.f_frsize - leave)
                               // 4096):
                    file.write(bytes(4096))
        except OSError as error:
            self.assertEqual(error.errno, errno.ENOSPC)
        return path

    def test_the_oldest_makes_room(self):
        self.makes_room("segment-bytes = 1M\nfree-floor = 8M\n")

    def test_an_open_segment_that_fills_the_disk_makes_room(self):
        """It would be 256 MB long. A floor that leaves nothing is half."""
        said = self.makes_room("free-floor = 1G\n")
        self.assertIn("12.0M of the disk stay free", said)

    def makes_room(self, config):
        """Three times as much as there is room for, as fast as it goes."""
        daemon = self.daemon(config).start()
        packets = made(50000 // (4 if SANITIZE else 1))
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile(packets))
        daemon.run("import", "much", path)
        got = packets_of(daemon.run("replay", "much", status=None)[0])[1]
        first_difference(self, got, packets[-len(got):])
        self.assertLess(3000, len(got))
        gaps = json.loads(daemon.run("gaps", "much", "--json")[0])["gaps"]
        status = daemon.run("status")[0].decode()
        daemon.stop()
        self.check(daemon)
        self.assertEqual({g["cause"] for g in gaps} or {"expired"},
                         {"expired"})
        return status

    def test_a_bound_that_would_remove_at_once_waits_for_a_start(self):
        """Whichever of them: it is said how much, and nothing goes."""
        base = "segment-bytes = 1M\nspool-bytes = 2M\n"
        daemon = self.daemon(base + "free-floor = 1M\n").start()
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile(made(4000)))
        daemon.run("import", "some", path)
        before = daemon.capture("some")["stored_bytes"]

        def reload(text):
            said = len(daemon.said())
            daemon.configure(base + text)
            daemon.process.send_signal(signal.SIGHUP)
            until(lambda: "settings" in daemon.said()[said:], "SIGHUP")
            self.assertEqual(daemon.capture("some")["stored_bytes"], before)
            return daemon.said()[said:]

        def refused(text, name, value):
            said = reload(text)
            self.assertRegex(
                said, r"%s = %d would remove \d{4} packets, \d\.\d MB, at "
                "once: it is not taken before pcapd is started again"
                % (name, value))
            until(lambda: "%s: changed, and waits for a restart" % name
                  in daemon.said(), "what waits")

        refused("free-floor = 1M\nspool-imports = on\n", "spool-imports", 1)
        self.fill(8 << 20)
        refused("free-floor = 10M\n", "free-floor", 10 << 20)
        daemon.stop()
        daemon.configure(base + "free-floor = 10M\nkeep-at-least = 1G\n")
        daemon.start()
        refused("free-floor = 10M\n", "keep-at-least", 0)
        # Together these two remove nothing.
        self.assertNotIn("would remove", reload("free-floor = 1M\n"))
        daemon.stop()
        daemon.configure(base + "free-floor = 10M\n")
        daemon.start()
        until(lambda: int(daemon.capture("some")["stored_bytes"]) <
              int(before), "room")
        daemon.stop()

    def test_a_held_range_stays(self):
        daemon = self.daemon("segment-bytes = 1M\nspool-bytes = 6M\n"
                             "spool-imports = on\n"
                             "free-floor = 0\n").start()
        packets = made(12000)
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile(packets[:2000]))
        daemon.run("import", "some", path)
        daemon.run("hold", "some", "--since", "@%d" % (T0 // NS), "--until",
                   "@%d" % (T0 // NS + 1), "--reason", "evidence")
        with open(path, "wb") as file:
            file.write(savefile(packets[2000:]))
        daemon.run("import", "some", path)

        until(lambda: self.stored(daemon) < 9 << 20, "retention")
        got = packets_of(daemon.run("replay", "some", status=None)[0])[1]
        held = [p for p in packets if p.ns < T0 + NS]
        first_difference(self, got[:len(held)], held)
        self.assertLess(len(got), len(packets))
        first_difference(self, got[-500:], packets[-500:])
        daemon.stop()
        self.check(daemon)

    def test_a_full_disk_costs_packets_and_never_the_daemon(self):
        link = self.link()
        daemon = self.daemon("segment-bytes = 1M\nfree-floor = 0\n"
                             "memory-blocks = 4\n", prefix=link.receiver)
        daemon.start()
        daemon.run("init", link.far, "--alias", "live")
        daemon.run("start", "live")
        filler = self.fill(4 << 20)
        load = os.path.join(daemon.folder, "load.pcap")
        with open(load, "wb") as file:
            file.write(savefile(made(8000)))
        link.send_all(load, 2000)
        until(lambda: "No space left" in daemon.said(), "a full disk")
        self.assertIsNone(daemon.process.poll())
        # What is stored is served meanwhile.
        before = packets_of(daemon.run("replay", "live", status=None)[0])[1]
        self.assertLess(1000, len(before))
        os.unlink(filler)
        until(lambda: "the disk takes blocks again" in daemon.said(),
              "the writer")
        with open(load, "wb") as file:
            file.write(savefile(made(1000, first=8000)))
        link.send_all(load, 2000)
        got = packets_of(daemon.run("replay", "live", status=None)[0])[1]
        numbers = [number(p) for p in got]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(numbers[-1000:], list(range(8000, 9000)))
        self.assertEqual(numbers[:len(before)],
                         [number(p) for p in before])
        out = json.loads(daemon.run("gaps", "live", "--json")[0])
        missing = 9000 - len(got)
        if missing:
            causes = {g["cause"] for g in out["gaps"]}
            # What memory had no room for waited in the ring, or not.
            self.assertIn("disk", causes, out["gaps"])
            self.assertLessEqual(causes, {"disk", "kernel"}, out["gaps"])
            self.assertEqual(out["missing"], missing, out)
        daemon.stop()
        self.check(daemon)

    def test_what_makes_room_can_be_said_on_a_full_disk(self):
        """Not a byte is free, and no floor asks for any: bounds are set all
        the same, and kept."""
        daemon = self.daemon("segment-bytes = 1M\nfree-floor = 0\n").start()
        packets = made(5000)
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile(packets))
        daemon.run("import", "kept", path)
        daemon.stop()
        daemon.start()  # SQLite's log is short again
        self.fill(0)
        for i in range(50):
            daemon.run("mark", "kept", "full-%d" % i)
        daemon.run("set", "kept", "--keep-bytes", "3M", "--yes")
        until(lambda: int(daemon.capture("kept")["stored_bytes"]) <= 3 << 20,
              "expiry")
        got = packets_of(daemon.run("replay", "kept", status=None)[0])[1]
        first_difference(self, got, packets[-len(got):])
        daemon.stop()
        self.check(daemon)

    def test_a_disk_filled_by_others_is_given_room_again_and_again(self):
        """Under load, each time to the last byte: what was just written goes
        then, and capturing goes on."""
        link = self.link()
        daemon = self.daemon("segment-bytes = 1M\nfree-floor = 3M\n"
                             "memory-blocks = 4\n", prefix=link.receiver)
        daemon.start()
        daemon.run("init", link.far, "--alias", "live", "--start")
        traffic = subprocess.Popen(
            link.sender + [sys.executable, "-B", send_random.__file__,
                           link.near, "6000", "300"],
            stdout=subprocess.DEVNULL)
        self.addCleanup(end, traffic)

        def newest():
            data, said = daemon.run("replay", "live", "--last", "10s",
                                    status=None)
            self.assertTrue(data, said)
            out = packets_of(data)[1]
            return number(out[-1]) if out else -1

        for i in range(4):
            # With what the floor wants back gone, there is room to go on.
            until(lambda: self.stored(daemon) > 8 << 20, "segments")
            filler = self.fill(0, "filler-%d" % i)
            full = newest()
            until(lambda: newest() > full + 3000, "packets of later")
            self.assertIsNone(traffic.poll())
            os.unlink(filler)
        end(traffic)
        daemon.stop()
        self.check(daemon)

    def test_a_restart_on_a_full_disk_serves_what_is_there(self):
        daemon = self.daemon("segment-bytes = 1M\nfree-floor = 0\n").start()
        packets = made(3000)
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile(packets))
        daemon.run("import", "kept", path)
        self.fill(0)
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        got = packets_of(daemon.run("replay", "kept")[0])[1]
        first_difference(self, got, packets)
        daemon.stop()


if __name__ == "__main__":
    main()
