#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A spool that was damaged: check says what, repair saves the rest, and no
packet ever comes back altered."""

import json
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import tempfile
import unittest

from harness import (INCOMPLETE, NS, OK, PCAPD, SANITIZE, Daemon, before_libc,
                     first_difference, main, output, packets_of,
                     savefile, udp_packet, until)

T0 = 1767225600 * NS


def made(n):
    dice = random.Random(4)
    packets = []
    for i in range(n):
        p = udp_packet(T0 + i * 1000003, i, 1400)
        p.body = p.body[:46] + dice.randbytes(1354)
        packets.append(p)
    return packets


def frames(path):
    """(offset, bytes) of each frame, by its magic and zstd's own word."""
    with open(path, "rb") as file:
        data = file.read()
    at, out = 0, []
    while at < len(data):
        magic, size = struct.unpack_from("<II", data, at)
        if magic & 0xfffffff0 == 0x184d2a50:
            n = size + 8
        else:
            n = data.find(b"\x28\xb5\x2f\xfd", at + 4)
            index = data.find(b"\x5d\x2a\x4d\x18", at + 4)
            foot = data.find(b"\x5c\x2a\x4d\x18", at + 4)
            ends = [x for x in (n, index, foot) if x > 0]
            n = (min(ends) if ends else len(data)) - at
        out.append((at, n))
        at += n
    return out


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """One whole spool of some segments, which tests copy."""
        cls.packets = made(10000)
        daemon = Daemon(config="segment-bytes = 3M\n").start()
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile(cls.packets))
        daemon.run("import", "traffic", path)
        daemon.run("alias", "add", "traffic", "other-name")
        daemon.stop()
        cls.whole = daemon
        cls.id = 1

    def setUp(self):
        self.daemon = Daemon()
        shutil.copytree(self.whole.spool, self.daemon.spool)
        self.segments = self.daemon.segments(self.id)
        self.assertLess(3, len(self.segments))

    def tool(self, verb, status):
        done = subprocess.run(
            [PCAPD, verb, "--spool", self.daemon.spool],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        said = done.stdout.decode() + done.stderr.decode()
        self.assertEqual(done.returncode, status, said)
        self.assertNotIn("Sanitizer", said)
        return said

    def replay(self, status=OK):
        """What is served, which must be packets that were sent, in order."""
        self.daemon.start()
        out, said = self.daemon.run("replay", "traffic", status=None)
        names = self.daemon.capture("traffic")["aliases"]
        self.daemon.stop()
        self.assertIn("other-name", names)
        got, at = packets_of(out)[1], 0
        for p in got:
            while at < len(self.packets) and self.packets[at] != p:
                at += 1
            self.assertLess(at, len(self.packets), "an altered packet")
            at += 1
        return got, said

    def flip(self, path, at, n=1):
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(n)
            file.seek(at)
            file.write(bytes(b ^ 0x41 for b in byte))

    def listing(self):
        out = {}
        for folder, _, names in os.walk(self.daemon.spool):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    out[os.path.relpath(path, self.daemon.spool)] = file.read()
        return out


class Catalog(Case):
    def rows(self, sql):
        db = sqlite3.connect(self.daemon.spool + "/catalog.db")
        rows = db.execute(sql).fetchall()
        db.commit()
        db.close()
        return rows

    def test_rows_of_an_older_version_get_sums_when_their_files_agree(self):
        """And those of which the files know better get these, and a sum."""
        self.daemon.start()
        self.daemon.run("import", "cut-off", "-", status=None,
                        stdin=savefile(made(3))[:-5])
        self.daemon.stop()
        none = ("SELECT count(*), sum(sum IS NULL), %s FROM %s")
        segments = none % ("sum(blocks_sum IS NULL)", "segments")
        ledger = none % ("0", "ledger")
        for sql in ("UPDATE segments SET sum = NULL, blocks_sum = NULL",
                    "UPDATE ledger SET sum = NULL",
                    "UPDATE blocks SET max_ns = max_ns + 1 WHERE seq = 3"):
            self.rows(sql)
        n = self.rows(segments)[0][0]
        self.assertEqual(self.rows(segments), [(n, n, n)])
        self.tool("repair", OK)
        self.assertEqual(self.rows(segments), [(n, 0, 0)])
        losses = self.rows(ledger)[0][0]
        self.assertGreater(losses, 0)
        self.assertEqual(self.rows(ledger), [(losses, 0, 0)])
        self.tool("check", OK)
        # From now on a bit that was altered is found by itself.
        self.rows("UPDATE blocks SET max_ns = max_ns - 64 WHERE seq = 3")
        got, _ = self.replay()
        first_difference(self, got, self.packets)
        self.assertIn("were altered", self.daemon.said())

    def whole_again(self):
        self.tool("repair", OK)
        self.tool("check", OK)
        got, _ = self.replay()
        first_difference(self, got, self.packets)

    def test_check_of_a_good_spool_is_quiet_and_writes_nothing(self):
        before = self.listing()
        said = self.tool("check", OK)
        self.assertRegex(said, r"^\d+ segments, \d+ whole blocks, 0 damaged")
        self.assertEqual(before, self.listing())

    def test_a_missing_catalog_is_made_again(self):
        for name in os.listdir(self.daemon.spool):
            if name.startswith("catalog.db"):
                os.unlink(os.path.join(self.daemon.spool, name))
        self.assertIn("No such file", self.tool("check", INCOMPLETE))
        self.whole_again()

    def test_a_missing_catalog_is_made_again_from_footers_alone(self):
        for name in os.listdir(self.daemon.spool):
            if name.startswith("catalog.db"):
                os.unlink(os.path.join(self.daemon.spool, name))
        os.unlink(os.path.join(self.daemon.spool, "1", "capture"))
        # The newest footer was written before the second alias.
        self.tool("repair", OK)
        self.daemon.start()
        out, _ = self.daemon.run("replay", "traffic")
        self.daemon.stop()
        first_difference(self, packets_of(out)[1], self.packets)

    def test_a_catalog_of_noise_is_kept_aside(self):
        path = os.path.join(self.daemon.spool, "catalog.db")
        noise = os.urandom(os.path.getsize(path))
        with open(path, "wb") as file:
            file.write(noise)
        self.tool("check", INCOMPLETE)
        self.whole_again()
        with open(path + ".damaged.1", "rb") as file:
            self.assertEqual(file.read(), noise)

    def test_any_damaged_page_of_the_catalog_is_repaired(self):
        path = os.path.join(self.daemon.spool, "catalog.db")
        pages = os.path.getsize(path) // 4096
        dice = random.Random(9)
        for page in dice.sample(range(pages), 3 if SANITIZE else 6):
            with self.subTest(page=page):
                shutil.rmtree(self.daemon.spool)
                shutil.copytree(self.whole.spool, self.daemon.spool)
                self.flip(path, page * 4096, 64)
                self.tool("repair", OK)
                got, _ = self.replay()
                first_difference(self, got, self.packets)

    def test_a_catalog_that_is_made_again_has_the_ledger(self):
        """What expired, what is damaged and when nobody was there."""
        offset, n = frames(self.segments[-1])[1]
        self.flip(self.segments[-1], offset + n // 2, 3)
        self.daemon.configure("free-floor = 0\n")
        self.daemon.start()
        kept = sum(os.path.getsize(s) for s in self.segments[2:])
        self.daemon.run("set", "traffic", "--keep-bytes", str(kept), "--yes")
        until(lambda: len(self.daemon.segments(self.id)) <
              len(self.segments) - 1, "expiry")
        self.daemon.run("replay", "traffic", "udp", status=INCOMPLETE)
        ask = ("gaps", "traffic", "--json", "--since", "@%d" % (T0 // NS))
        before = json.loads(self.daemon.run(*ask)[0])
        self.assertLessEqual({"expired", "damage"},
                             {g["cause"] for g in before["gaps"]})
        self.daemon.stop()
        for name in os.listdir(self.daemon.spool):
            if name.startswith("catalog.db"):
                os.unlink(os.path.join(self.daemon.spool, name))
        # However long the file is, and what else is in it.
        with open("%s/%d/ledger" % (self.daemon.spool, self.id), "r+b") as file:
            rows = file.read()
            file.seek(0)
            file.write((b"x" * 1023 + b"\n") * (65 << 10) + rows)
        self.tool("repair", INCOMPLETE)
        self.daemon.start()
        self.assertEqual(json.loads(self.daemon.run(*ask)[0]), before)
        self.daemon.stop()

    def test_missing_rows_come_back(self):
        db = sqlite3.connect(os.path.join(self.daemon.spool, "catalog.db"))
        seq = db.execute("SELECT first_seq FROM segments ORDER BY first_seq "
                         "LIMIT 1 OFFSET 1").fetchone()[0]
        db.execute("DELETE FROM blocks WHERE segment = ?", (seq,))
        db.execute("DELETE FROM segments WHERE first_seq = ?", (seq,))
        db.execute("DELETE FROM blocks WHERE seq = (SELECT max(seq) FROM "
                   "blocks)")
        db.commit()
        db.close()
        said = self.tool("check", INCOMPLETE)
        self.assertIn("the catalog does not have it", said)
        self.whole_again()

    def test_a_deletion_that_broke_off_is_one_thing(self):
        """After any number of files and of rows; the next start ends it."""
        for calls in 1, 3, 99:
            shutil.rmtree(self.daemon.spool)
            shutil.copytree(self.whole.spool, self.daemon.spool)
            self.daemon.prefix = before_libc(self.daemon.folder, """
#define _GNU_SOURCE
#include <string.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
int unlinkat(int at, const char *name, int flags)
{
	static int n;
	if (flags || (strstr(name, ".pcap.zst") && ++n > %d))
		raise(SIGKILL);
	return (int)syscall(SYS_unlinkat, at, name, flags);
}
""" % calls)
            self.daemon.start()
            self.daemon.popen("delete", "traffic", "--yes",
                              stderr=subprocess.DEVNULL).wait()
            self.daemon.process.wait()
            self.daemon.prefix = []
            left = len(self.daemon.segments(self.id))
            self.assertEqual(left, max(len(self.segments) - calls, 0))
            for table in "", "segments", "blocks":
                if table:
                    self.rows("DELETE FROM " + table)
                said = self.tool("check", INCOMPLETE)
                self.assertRegex(said, r"^1: it is being deleted.*\n"
                                 "0 segments.* 1 problems\n")
            self.daemon.start()
            self.assertIsNone(self.daemon.capture("traffic"))
            until(lambda: not self.rows("SELECT 1 FROM captures"), "its end")
            self.daemon.stop()
            self.tool("check", OK)

    def test_rows_without_a_file_are_a_gap(self):
        os.unlink(self.segments[1])
        self.assertIn("No such file", self.tool("check", INCOMPLETE))
        self.tool("repair", OK)
        got, _ = self.replay()
        self.assertLess(len(got), len(self.packets))
        db = sqlite3.connect(os.path.join(self.daemon.spool, "catalog.db"))
        rows = db.execute("SELECT sum(packets) FROM ledger WHERE "
                          "detail = 'the file is missing'").fetchone()
        self.assertEqual(rows[0], len(self.packets) - len(got))

    def test_a_running_daemon_keeps_both_away(self):
        self.daemon.start()
        for verb in ("check", "repair"):
            done = subprocess.run(
                [PCAPD, verb, "--spool", self.daemon.spool],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(b"belongs to a pcapd that runs", done.stderr)
        self.daemon.stop()


class Segments(Case):
    def test_a_flip_anywhere_in_a_segment_costs_at_most_its_frame(self):
        """Frame by frame: the middle, the header and the checksum of each."""
        path = self.segments[1]
        parts = frames(path)
        self.assertEqual(sum(n for _, n in parts), os.path.getsize(path))
        blocks = len(parts) - 4
        self.assertLess(2, blocks)
        for i, (offset, n) in enumerate(parts):
            for at in (offset, offset + n // 2, offset + n - 1):
                with self.subTest(frame=i, at=at - offset, of=n):
                    shutil.rmtree(self.daemon.spool)
                    shutil.copytree(self.whole.spool, self.daemon.spool)
                    self.flip(path, at)
                    self.check_flip(i, blocks)

    def check_flip(self, frame, blocks):
        said = self.tool("check", INCOMPLETE)
        if 0 < frame <= blocks:
            self.assertRegex(said, r"damaged frame: block \d+, \d+ packets "
                             r"from 2026-01-01T00:00:\d\d\.\d{9}Z to ")
            self.tool("repair", INCOMPLETE)
            self.assertIn(" 1 damaged frames", self.tool("check", INCOMPLETE))
        else:
            self.tool("repair", OK)
            self.tool("check", OK)

    def test_damaged_frames_are_skipped_and_counted(self):
        path = self.segments[1]
        offset, n = frames(path)[1]
        self.flip(path, offset + n // 2, 3)
        self.tool("repair", INCOMPLETE)
        got, said = self.replay()
        self.assertLess(len(got), len(self.packets))
        self.assertLess(len(self.packets) // 2, len(got))
        self.assertIn(str(len(self.packets) - len(got)), said)

    def test_damage_without_a_catalog_is_found_by_the_footer(self):
        path = self.segments[1]
        offset, n = frames(path)[1]
        self.flip(path, offset + n // 2, 3)
        for name in os.listdir(self.daemon.spool):
            if name.startswith("catalog.db"):
                os.unlink(os.path.join(self.daemon.spool, name))
        said = self.tool("repair", INCOMPLETE)
        self.assertRegex(said, r"damaged frame: block \d+, \d+ packets")
        got, _ = self.replay()
        self.assertLess(len(self.packets) // 2, len(got))

    def test_damage_without_catalog_and_footer_is_gone_round(self):
        path = self.segments[1]
        parts = frames(path)
        self.flip(path, parts[1][0] + parts[1][1] // 2, 3)
        self.flip(path, parts[-2][0] + 12, 3)
        self.flip(path, parts[-1][0] + 12, 3)
        for name in os.listdir(self.daemon.spool):
            if name.startswith("catalog.db"):
                os.unlink(os.path.join(self.daemon.spool, name))
        self.tool("repair", INCOMPLETE)
        got, _ = self.replay()
        self.assertLess(len(self.packets) // 2, len(got))

    def test_files_that_are_not_ours_stay(self):
        names = {"1/notes.txt": b"mine", "1/x.pcap.zst": b"mine too",
                 "readme": b"also", "1/00000000000000000009.pcap": b"x"}
        for name, data in names.items():
            with open(os.path.join(self.daemon.spool, name), "wb") as file:
                file.write(data)
        self.flip(self.segments[0], os.path.getsize(self.segments[0]) // 2)
        self.tool("repair", INCOMPLETE)
        after = self.listing()
        for name, data in names.items():
            self.assertEqual(after[name], data)

    def test_a_repaired_segment_is_one_for_zstd_again(self):
        path = self.segments[1]
        offset, n = frames(path)[-1]
        self.flip(path, offset + n - 3)
        self.tool("repair", OK)
        output("zstd", "-tq", path)


if __name__ == "__main__":
    main()
