#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Power loss: what a disk had at an instant, of a spool that is written, on
ext4 and xfs. Each packet that was sent is there, once and whole, or lies in a
gap; at the first start after it, and check finds nothing after that.

The disk is a file on a file system that shares extents, where a copy of it is
made at an instant: what the kernel had not written yet is lost, as are writes
that a disk may still have in another order than a journal asks for.

PCAPD_POWER_LOSSES: how many, of both together.
"""

import atexit
import os
import random
import shutil
import subprocess
import tempfile
import time
import unittest

from link import Link
from harness import (INCOMPLETE, OK, PCAPD, SANITIZE, Daemon, main, need,
                     output, until)
from numbered import Numbers, account

ROUNDS = int(os.environ.get("PCAPD_POWER_LOSSES") or (4 if SANITIZE else 30))
RATE = 2000


class Disks:
    """Disks as files, and copies of them; all of it is gone at the end."""

    def __init__(self):
        need("losetup", "mkfs.xfs", "mkfs.ext4", "mount")
        if os.geteuid() != 0:
            raise unittest.SkipTest("loop devices need root")
        self.folder = tempfile.mkdtemp(prefix="pcapd-disks-")
        self.mounted = []
        atexit.register(self.remove)
        ground = os.path.join(self.folder, "ground.img")
        with open(ground, "wb") as file:
            file.truncate(16 << 30)
        self.ground = self.mount(ground, "xfs", "-m", "reflink=1")

    def mount(self, image, kind, *how, make=True):
        if make:
            quiet = {"xfs": "-f", "ext4": "-F"}[kind]
            output("mkfs." + kind, "-q", quiet, *how, image)
        place = image + ".d"
        os.makedirs(place, exist_ok=True)
        # A copy has the uuid of the other.
        options = "loop" + (",nouuid" if kind == "xfs" else "")
        try:
            output("mount", "-t", kind, "-o", options, image, place)
        except AssertionError as error:
            raise unittest.SkipTest("no loop devices: %s" % error)
        self.mounted.append(place)
        return place

    def disk(self, kind):
        image = os.path.join(self.ground, kind + ".img")
        with open(image, "wb") as file:
            file.truncate(400 << 20)
        return image, self.mount(image, kind)

    def unmount(self, place):
        output("umount", place)
        self.mounted.remove(place)

    def remove(self):
        for place in reversed(self.mounted):
            subprocess.run(["umount", "-l", place], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)


class PowerLoss(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.link = Link()
        cls.disks = Disks()

    def snapshots(self, image, n):
        """Copies, each of an instant, at times that nothing is tied to."""
        dice = random.Random()
        for i in range(n):
            time.sleep(dice.uniform(0.05, 0.7))
            copy = "%s.%d" % (image, i)
            output("cp", "--reflink=always", image, copy)
            yield copy

    def look(self, copy, kind, numbers):
        place = self.disks.mount(copy, kind, make=False)
        daemon = Daemon("free-floor = 0\n", spool=os.path.join(place, "spool"))
        self.addCleanup(daemon.kill)
        try:
            if not os.path.exists(os.path.join(daemon.spool, "1")):
                return 0  # not even the capture was there
            daemon.start()
            found = account(self, daemon, "live", numbers)
            daemon.stop()
            said = subprocess.run([PCAPD, "check", "--spool", daemon.spool],
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            # What arrived in part is told, and nothing else is wrong.
            lines = said.stdout.decode().splitlines()
            self.assertIn(said.returncode, (OK, INCOMPLETE), lines)
            for line in lines[1 if said.returncode else 0:-1]:
                self.assertRegex(line, "damaged frame|damage of")
            return found.got
        finally:
            daemon.kill()
            self.disks.unmount(place)
            os.unlink(copy)

    def lose(self, kind):
        image, place = self.disks.disk(kind)
        daemon = Daemon("segment-bytes = 1M\nfree-floor = 0\n",
                        spool=os.path.join(place, "spool"),
                        prefix=self.link.receiver)
        self.addCleanup(daemon.kill)
        daemon.start()
        daemon.run("init", self.link.far, "--alias", "live", "--start")
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        numbers, there = Numbers(self.link), 0
        # As long as it takes, and then it is told to end.
        sender = numbers.start(RATE, 600)
        until(lambda: int(daemon.capture("live")["packets"]) > RATE, "packets")
        copies = list(self.snapshots(image, (ROUNDS + 1) // 2))
        sender.terminate()
        sender.wait()
        daemon.kill()
        for copy in copies:
            with self.subTest(copy=copy):
                there += self.look(copy, kind, numbers)
        print("%s: %d of %d packets there, of %d copies" % (
            kind, there, len(numbers.records()) * len(copies), len(copies)))
        # Of few copies of a slow daemon all may be from before its first sync;
        # then each packet was in a gap, which is looked at above.
        if not SANITIZE:
            self.assertLess(RATE, there)
        self.disks.unmount(place)

    def test_ext4(self):
        self.lose("ext4")

    def test_xfs(self):
        self.lose("xfs")


if __name__ == "__main__":
    main()
