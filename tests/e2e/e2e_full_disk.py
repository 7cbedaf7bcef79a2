#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""File systems of several kinds that are full when pcapd starts, and what else
becomes of a spool that others use: files that cannot be removed or vanish,
other readers of the catalog, a disk that others fill, a clock that jumps."""

import atexit
import json
import os
import subprocess
import tempfile
import unittest

from harness import (INCOMPLETE, NS, OK, PCAPD, Daemon, before_libc,
                     first_difference, main, need, output, packets_of,
                     savefile, udp_packet, until)

T0 = 1767225600 * NS
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* The wall clock is ahead while there is such a file. */
int clock_gettime(clockid_t id, struct timespec *t)
{
	static int (*real)(clockid_t, struct timespec *);
	if (!real)
		real = dlsym(RTLD_NEXT, "clock_gettime");
	int got = real(id, t);
	if (id == CLOCK_REALTIME && access(getenv("AHEAD"), F_OK) == 0)
		t->tv_sec += 10 * 365 * 86400;
	return got;
}
"""


def made(n, first=0, start=T0):
    """Some 1.4 KB each, which do not compress."""
    packets = []
    for i in range(first, first + n):
        p = udp_packet(start + i * 1000003, i, 1400)
        p.body = p.body[:46] + os.urandom(1354)
        packets.append(p)
    return packets


class Disk(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest("a file system of its own needs root")
        self.folder = tempfile.mkdtemp(prefix="pcapd-disk-")
        self.mounts = []
        atexit.register(self.clean)

    def tearDown(self):
        atexit.unregister(self.clean)
        self.clean()

    def clean(self):
        for path in self.mounts:
            output("umount", "-l", path, status=None)
        self.mounts = []
        output("rm", "-rf", self.folder)

    def disk(self, kind, megabytes):
        """Where it is mounted."""
        image = os.path.join(self.folder, kind)
        path = image + ".mount"
        os.mkdir(path)
        if kind == "tmpfs":
            output("mount", "-t", kind, "-o", "size=%dm" % megabytes, kind,
                   path)
        else:
            need("mkfs." + kind)
            output("truncate", "-s", "%dM" % megabytes, image)
            output("mkfs." + kind, "-F" if kind == "ext4" else "-f", image)
            output("mount", "-o", "loop", image, path)
        self.mounts.append(path)
        return path

    def fill(self, path):
        """To the last byte that somebody gets."""
        for size in 1 << 20, 4096, 512:
            try:
                with open("%s/filler-%d" % (path, size), "wb",
                          buffering=0) as file:
                    while True:
                        file.write(bytes(size))
            except OSError:
                pass

    def importer(self, daemon, name):
        return daemon.popen("import", name, "-", stdin=subprocess.PIPE,
                            stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)

    def load(self, daemon, name, packets):
        daemon.run("import", name, "-", stdin=savefile(packets))

    def keep(self, daemon, name, *bounds):
        """Where removing has to be agreed to, it is."""
        if "--yes" in daemon.run("set", "--help")[0].decode():
            bounds += ("--yes",)
        daemon.run("set", name, *bounds)

    def count(self, daemon, name):
        return int(daemon.run("count", name, status=None)[0] or 0)

    def gaps(self, daemon, name):
        return json.loads(daemon.run("gaps", name, "--json")[0])["gaps"]

    def start_on(self, kind, megabytes, floor):
        path = self.disk(kind, megabytes)
        config = "segment-bytes = 1M\nfree-floor = %s\n" % floor
        daemon = Daemon(config, spool=path + "/spool").start()
        packets = made(6000)
        self.load(daemon, "whole", packets)
        # Killed with an open segment.
        cut = self.importer(daemon, "cut")
        cut.stdin.write(savefile(made(3000)))
        cut.stdin.flush()
        until(lambda: self.count(daemon, "cut") > 1000, "packets")
        daemon.kill()
        cut.kill()
        cut.wait()
        self.fill(path)
        if floor == "0":
            # It needs no room that is not there, but for a segment's end on
            # btrfs, and takes no catalog for damaged.
            output(PCAPD, "repair", "--spool", daemon.spool,
                   status=None if kind == "btrfs" else OK)
            self.assertFalse([name for name in os.listdir(daemon.spool)
                              if "damaged" in name])
        daemon.start()
        kept = packets_of(daemon.run("replay", "whole", status=None)[0])[1]
        first_difference(self, kept, packets[len(packets) - len(kept):])
        if floor == "0":
            self.assertEqual(len(kept), len(packets))
        else:
            until(lambda: "removed" in daemon.said(), "room")
            # What it may take it has again: more comes in.
            self.load(daemon, "more", packets[:500])
            self.assertEqual(self.count(daemon, "more"), 500)
        daemon.stop()
        daemon.start()  # and after a stop
        daemon.stop()

    def test_a_start_on_a_full_tmpfs(self):
        self.start_on("tmpfs", 40, "4M")

    def test_a_start_on_a_full_tmpfs_without_a_floor(self):
        self.start_on("tmpfs", 40, "0")

    def test_a_start_on_a_full_ext4(self):
        self.start_on("ext4", 60, "4M")

    def test_a_start_on_a_full_ext4_without_a_floor(self):
        self.start_on("ext4", 60, "0")

    def test_a_start_on_a_full_xfs(self):
        self.start_on("xfs", 320, "4M")

    def test_a_start_on_a_full_btrfs_without_a_floor(self):
        self.start_on("btrfs", 160, "0")

    def test_a_spool_that_was_copied_on_write(self):
        """One of before pcapd set the attribute C."""
        need("chattr", "lsattr")
        spool = self.disk("btrfs", 120) + "/spool"
        daemon = Daemon("free-floor = 0\n", spool=spool).start()
        self.load(daemon, "files", made(10))
        daemon.stop()
        output("chattr", "-C", spool, spool + "/1")

        def copied():
            output("cp", "-p", "--reflink=never", spool + "/catalog.db",
                   spool + "/new")
            os.rename(spool + "/new", spool + "/catalog.db")

        def has_c(*arguments):
            return "C" in output("lsattr", *arguments).decode().split()[0]

        copied()
        self.assertFalse(has_c(spool + "/catalog.db"))
        daemon.start()
        self.assertIn("catalog.db is copied on write", daemon.said())
        self.assertTrue(has_c("-d", spool) and has_c("-d", spool + "/1"))
        self.load(daemon, "files", made(10, first=10))
        self.assertTrue(has_c(daemon.segments(1)[-1]))
        daemon.stop()
        os.truncate(daemon.log, 0)
        copied()  # as pcapd(8) says
        daemon.start()
        self.assertNotIn("copied on write", daemon.said())
        self.assertEqual(self.count(daemon, "files"), 20)
        daemon.stop()

    def test_a_start_on_a_full_disk_with_nothing_to_remove(self):
        path = self.disk("tmpfs", 20)
        daemon = Daemon("free-floor = 4M\n", spool=path + "/spool").start()
        daemon.stop()
        self.fill(path)
        daemon.start()
        daemon.stop()

    def test_a_quota_is_room_too(self):
        """There are bytes that are free, and they are others'."""
        path = self.disk("btrfs", 240)
        output("btrfs", "quota", "enable", path)
        output("btrfs", "subvolume", "create", path + "/spool")
        output("btrfs", "qgroup", "limit", "40M", path + "/spool")
        daemon = Daemon("segment-bytes = 1M\nfree-floor = 1M\n",
                        spool=path + "/spool").start()
        packets = made(40000)
        self.load(daemon, "much", packets)
        kept = packets_of(daemon.run("replay", "much", status=None)[0])[1]
        self.assertGreater(len(kept), 1000)
        first_difference(self, kept, packets[len(packets) - len(kept):])
        self.assertEqual({g["cause"] for g in self.gaps(daemon, "much")},
                         set())
        daemon.kill()
        daemon.start()
        daemon.stop()

    def test_inodes_are_room_too(self):
        path = self.disk("ext4", 60)
        daemon = Daemon("segment-bytes = 64K\nfree-floor = 1M\n",
                        spool=path + "/spool").start()
        self.load(daemon, "first", made(10000))
        try:
            for i in range(1 << 20):
                os.close(os.open("%s/%d" % (path, i), os.O_CREAT, 0o600))
        except OSError:
            pass
        until(lambda: "no inodes left" in daemon.said(), "retention")
        self.load(daemon, "second", made(300))
        self.assertEqual(self.count(daemon, "second"), 300)
        daemon.stop()

    def test_what_cannot_be_removed_keeps_nothing_else(self):
        path = self.disk("ext4", 60)
        daemon = Daemon("segment-bytes = 1M\nfree-floor = 0\n",
                        spool=path + "/spool").start()
        for name in "fixed", "shut", "free":
            self.load(daemon, name, made(4000))
        fixed = daemon.segments(1)[0]
        output("chattr", "+i", fixed)
        os.chmod(path + "/spool/2", 0o555)
        for name in "fixed", "shut", "free":
            self.keep(daemon, name, "--keep-bytes", "1")
        for id, left in (1, 1), (2, len(daemon.segments(2))), (3, 0):
            until(lambda: len(daemon.segments(id)) == left,
                  "capture %d" % id)
        self.assertIn("Operation not permitted", daemon.said())
        # Named to who asks, and not for longer than it is so.
        line = "1/%s: remove expired segment" % os.path.basename(fixed)
        self.assertIn(line, daemon.run("status")[0].decode())
        told = json.loads(daemon.run("status", "fixed", "--json")[0])
        self.assertEqual([p[:len(line)] for p in
                          told["captures"][0]["problems"]], [line])
        # What stays can be read, and does not stop a start.
        self.assertEqual(self.count(daemon, "shut"), 4000)
        daemon.stop()
        daemon.start()
        self.assertGreater(self.count(daemon, "fixed"), 0)
        daemon.stop()
        output("chattr", "-i", fixed)
        os.chmod(path + "/spool/2", 0o750)
        daemon.start()
        until(lambda: not daemon.segments(1) and not daemon.segments(2),
              "the next try")
        self.assertNotIn(line, daemon.run("status")[0].decode())
        daemon.stop()

    def test_a_file_that_vanishes_is_a_gap_at_once(self):
        daemon = Daemon("segment-bytes = 1M\n").start()
        self.load(daemon, "closed", made(6000))
        os.unlink(daemon.segments(1)[2])
        gaps = self.gaps(daemon, "closed")
        self.assertEqual([g["cause"] for g in gaps], ["damage"])
        lost = int(gaps[0]["packets"])
        self.assertGreater(lost, 0)
        out, _ = daemon.run("count", "closed", status=INCOMPLETE)
        self.assertEqual(int(out), 6000 - lost)
        # The one that is being written.
        open_one = self.importer(daemon, "open")
        data = savefile(made(2500))
        open_one.stdin.write(data[:2 * len(data) // 3])
        open_one.stdin.flush()
        until(lambda: self.count(daemon, "open") > 1000, "packets")
        first = until(lambda: daemon.segments(2), "a segment")[-1]
        os.unlink(first)
        until(lambda: "was removed while it was written" in daemon.said(),
              "the writer")
        open_one.stdin.write(data[2 * len(data) // 3:])
        open_one.stdin.close()
        self.assertEqual(open_one.wait(), OK)
        told = sum(int(g["packets"]) for g in self.gaps(daemon, "open"))
        self.assertEqual(self.count(daemon, "open") + told, 2500)
        daemon.stop()
        done = subprocess.run([PCAPD, "check", "--spool", daemon.spool],
                              stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, OK, done.stdout.decode())

    def sql(self, daemon, text):
        return output("sqlite3", "-readonly",
                      daemon.spool + "/catalog.db", text).decode().strip()

    def test_others_read_the_catalog_meanwhile(self):
        need("sqlite3")
        daemon = Daemon("segment-bytes = 64K\n").start()
        self.load(daemon, "one", made(2000))
        ask = "SELECT sum(packets) FROM blocks;"
        reader = subprocess.Popen(
            ["sqlite3", daemon.spool + "/catalog.db"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        reader.stdin.write(ask + "\n")
        reader.stdin.flush()
        self.assertEqual(reader.stdout.readline().strip(), "2000")
        for i in range(3):
            self.load(daemon, "more-%d" % i, made(1000))
        reader.stdin.write(ask + "PRAGMA integrity_check;\n")
        reader.stdin.close()
        # All of it as it was.
        self.assertEqual(reader.stdout.read().split(), ["2000", "ok"])
        reader.stdout.close()
        reader.wait()
        until(lambda: self.sql(daemon, ask) == "5000", "a new reader")
        daemon.stop()
        self.assertEqual(self.sql(daemon, ask), "5000")

    def test_what_others_take_is_bounded_and_said(self):
        path = self.disk("tmpfs", 60)
        daemon = Daemon("segment-bytes = 1M\nfree-floor = 20M\n"
                        "keep-at-least = 8M\n", spool=path + "/spool").start()
        self.load(daemon, "mine", made(12000))
        self.fill(path)
        until(lambda: "keep-at-least leaves nothing more" in daemon.said(),
              "the bound")
        stored = int(daemon.capture("mine")["stored_bytes"])
        self.assertGreaterEqual(stored, 8 << 20)
        self.assertLess(stored, 10 << 20)
        daemon.stop()
        self.assertIn("less than free-floor free", daemon.said())

    def test_a_clock_that_jumps_makes_nothing_old(self):
        ahead = os.path.join(self.folder, "ahead")
        daemon = Daemon("segment-bytes = 64K\n", prefix=before_libc(
            self.folder, CLOCK, AHEAD=ahead)).start()
        self.load(daemon, "kept", made(2000))
        self.keep(daemon, "kept", "--keep-age", "30d")
        with open(ahead, "w"):
            pass
        until(lambda: "the clock is ahead" in daemon.said(), "the jump")
        self.load(daemon, "meanwhile", made(100))
        self.assertEqual(self.count(daemon, "kept"), 2000)
        daemon.stop()
        daemon.start()  # also one that begins with it
        self.assertEqual(self.count(daemon, "kept"), 2000)
        os.unlink(ahead)
        daemon.stop()

    def test_what_was_stored_first_goes_first(self):
        daemon = Daemon("segment-bytes = 1M\nspool-bytes = 8M\n"
                        "free-floor = 0\nspool-imports = on\n").start()
        self.load(daemon, "late", made(4000, start=T0 + 74 * 365 * 86400 * NS))
        self.load(daemon, "now", made(4000))
        until(lambda: int(daemon.capture("late")["stored_bytes"]) < 4 << 20,
              "retention")
        self.assertEqual(self.count(daemon, "now"), 4000)
        daemon.stop()


if __name__ == "__main__":
    main()
