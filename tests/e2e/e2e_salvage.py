#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""A catalog of which some page, or everything, is not what was written: pcapd
starts, makes it again from what can be read of it and from the spool, says so
in a line, and goes on."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import unittest

from harness import (NS, OK, PCAPD, SANITIZE, Daemon, first_difference, main,
                     packets_of, savefile, udp_packet, until)

T0 = 1767225600 * NS
PAGE = 4096
ASK = ("--json", "--since", "@%d" % (T0 // NS))
MADE = "it is made again"


def made(first, n):
    return [udp_packet(T0 + (first + i) * 1000003, first + i, 1400)
            for i in range(n)]


class Salvage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """Two captures, names, a hold, marks, a loss that is told, and an
        audit of some pages."""
        cls.packets = made(0, 6000)
        daemon = Daemon("segment-bytes = 1M\n").start()
        daemon.run("import", "one", "-", stdin=savefile(cls.packets))
        daemon.run("import", "two", "-", status=None,
                   stdin=savefile(made(0, 50))[:-5])
        daemon.run("alias", "add", "one", "other-name")
        daemon.run("hold", "one", "--since", "@%d" % (T0 // NS + 1),
                   "--until", "@%d" % (T0 // NS + 2), "--reason", "x")
        for i in range(5):
            daemon.run("mark", "one", "moment-%d" % i)
        cls.said = cls.told(daemon)
        cls.kept = cls.sums(daemon)
        daemon.stop()
        cls.whole = daemon.spool
        assert len(daemon.segments(1)) > 3

    @staticmethod
    def told(daemon):
        """What no catalog may be needed for."""
        return [sorted(c["aliases"] for c in daemon.list().values()),
                json.loads(daemon.run("gaps", "two", *ASK)[0]),
                json.loads(daemon.run("gaps", "one", *ASK)[0]),
                daemon.run("status", "one", "--json", status=None)[0]
                .count(b'"since_ns"')]

    def fresh(self):
        self.daemon = Daemon("segment-bytes = 1M\n")
        self.addCleanup(self.daemon.kill)
        self.path = os.path.join(self.daemon.spool, "catalog.db")
        shutil.copytree(self.whole, self.daemon.spool)

    def sql(self, text):
        db = sqlite3.connect(self.path)
        rows = db.execute(text).fetchall()
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        return rows

    def leaves(self, name):
        """The pages of a table or an index that have its rows, in order."""
        with open(self.path, "rb") as file:
            data = file.read()

        def below(number):
            at = (number - 1) * PAGE
            kind = data[at]
            if kind in (10, 13):
                return [number]
            n = int.from_bytes(data[at + 3:at + 5], "big")
            children = [int.from_bytes(data[at + 8:at + 12], "big")]
            for i in range(n):
                cell = int.from_bytes(
                    data[at + 12 + 2 * i:at + 14 + 2 * i], "big")
                children.insert(i, int.from_bytes(
                    data[at + cell:at + cell + 4], "big"))
            return [x for child in children for x in below(child)]

        return below(self.sql("SELECT rootpage FROM sqlite_master WHERE name "
                              "= '%s'" % name)[0][0])

    def spoil(self, page, data=b"\xff" * PAGE, at=0):
        with open(self.path, "r+b") as file:
            file.seek((page - 1) * PAGE + at)
            file.write(data)

    def goes_on(self):
        """Everything is there, and more comes in."""
        out, _ = self.daemon.run("replay", "one")
        first_difference(self, packets_of(out)[1], self.packets)
        self.assertEqual(self.told(self.daemon), self.said)
        self.daemon.run("import", "three", "-", stdin=savefile(made(0, 10)))
        self.assertEqual(
            len(packets_of(self.daemon.run("replay", "three")[0])[1]), 10)

    def check(self):
        done = subprocess.run([PCAPD, "check", "--spool", self.daemon.spool],
                              stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, OK, done.stdout.decode())

    def mended(self, *words):
        self.daemon.start()
        said = self.daemon.said()
        self.assertEqual(said.count("catalog.db"), 1 + said.count(
            "catalog.db.damaged"), said)
        for word in (MADE,) + words:
            self.assertIn(word, said)
        self.goes_on()
        self.daemon.stop()
        self.check()
        # And nothing is left to be mended.
        self.daemon.start()
        self.assertEqual(self.daemon.said().count(MADE), 1)
        self.daemon.stop()

    def test_a_malformed_page_of_a_table_or_an_index(self):
        for names in (("segments",), ("captures", "aliases"),
                      ("holds", "marks", "ledger"), ("imports",),
                      ("aliases_of", "ledger_of", "segments_time")):
            with self.subTest(names=names):
                self.fresh()
                for name in names:
                    self.spoil(self.leaves(name)[0])
                self.mended("kept as catalog.db.damaged.1")
                self.assertEqual("imported" in self.daemon.said(),
                                 "imports" in names)

    def cells(self, page):
        """Where on a leaf its rows are, and how long they are."""
        with open(self.path, "rb") as file:
            data = file.read()[(page - 1) * PAGE:page * PAGE]
        n = int.from_bytes(data[3:5], "big")
        at = [int.from_bytes(data[8 + 2 * i:10 + 2 * i], "big")
              for i in range(n)]
        ends = dict(zip(sorted(at), sorted(at)[1:] + [PAGE]))
        return [(a, ends[a] - a) for a in at]

    def test_a_bit_of_a_row_or_of_what_an_index_says_of_it(self):
        """What reads and sums go by: nothing is missing, and the next start
        has nothing to do."""
        dice = random.Random(12)
        for name, n, large in (("segments_time", 4, False),
                               ("segments_time", 1, True),
                               ("segments", 5, False),
                               ("imports_of", 1, False),
                               ("audit_of", 1, False)):
            for _ in range(1 if SANITIZE else n):
                self.fresh()
                if large:
                    self.sql("CREATE TABLE large (x)")
                    self.sql("INSERT INTO large VALUES (zeroblob(2000000))")
                page = self.leaves(name)[0]
                at, length = dice.choice(self.cells(page))
                # Of a column: before them it says which there are.
                at += dice.randrange(length // 2, length)
                with self.subTest(name=name, page=page, at=at):
                    self.flip(page, at, 1 << dice.randrange(8))
                    self.daemon.start()
                    self.goes_on()
                    self.assertEqual(self.sums(self.daemon), self.kept)
                    self.daemon.run("count", "two")  # all is verified
                    self.daemon.stop()
                    self.check()
                    before = len(self.daemon.said())
                    self.daemon.start()
                    self.assertEqual(self.sums(self.daemon), self.kept)
                    self.daemon.stop()
                    self.assertNotRegex(self.daemon.said()[before:],
                                        "altered|malformed|catalog")

    def flip(self, page, at, bit):
        with open(self.path, "r+b") as file:
            file.seek((page - 1) * PAGE + at)
            byte = file.read(1)[0]
            file.seek((page - 1) * PAGE + at)
            file.write(bytes([byte ^ bit]))

    @staticmethod
    def sums(daemon):
        one = daemon.capture("one")
        return [one[what] for what in ("packets", "raw_bytes", "stored_bytes")]

    def test_of_the_audit_what_is_before_and_behind_the_page_is_kept(self):
        self.fresh()
        self.sql("INSERT INTO audit SELECT 1000 + value, at_ns, who, role, "
                 "origin, method, capture, filter, since_ns, until_ns, detail, "
                 "bytes, lasted_ns, status, result, capture_id, people FROM "
                 "audit, json_each('[%s]') WHERE audit.id = (SELECT min(id) "
                 "FROM audit)" % ",".join(map(str, range(200))))
        rows = [r[0] for r in self.sql("SELECT id FROM audit ORDER BY id")]
        pages = self.leaves("audit")
        self.assertGreater(len(pages), 2)
        self.spoil(pages[1])
        self.mended("but for: the audit; the old one")
        kept = [r[0] for r in self.sql("SELECT id FROM audit ORDER BY id")]
        for end in (rows[0], rows[-1]):
            self.assertIn(end, kept)
        self.assertGreater(len([r for r in kept if r <= rows[-1]]),
                           len(rows) // 3)

    def test_a_malformed_schema(self):
        for at, data in ((0, bytes(100)), (100, b"\xff" * (PAGE - 100))):
            with self.subTest(at=at, n=len(data)):
                self.fresh()
                self.spoil(1, data, at)
                self.mended("but for: the audit, which files were imported")

    def test_a_file_that_is_none(self):
        def gone():
            os.unlink(self.path)

        def folder():
            os.unlink(self.path)
            os.mkdir(self.path)

        def cut(n):
            os.truncate(self.path, n)

        size = os.path.getsize(os.path.join(self.whole, "catalog.db"))
        for what in (gone, folder, lambda: cut(0), lambda: cut(size // 2)):
            with self.subTest(what=what):
                self.fresh()
                for more in ("-wal", "-shm"):
                    if os.path.exists(self.path + more):
                        os.unlink(self.path + more)
                what()
                self.mended()

    def test_a_log_that_is_lost_or_another_s(self):
        """After a kill: the catalog is older than the spool then."""
        for what in ("lost", "noise", "shm"):
            with self.subTest(what=what):
                self.fresh()
                self.daemon.start()
                self.daemon.run("import", "late", "-",
                                stdin=savefile(made(0, 100)))
                self.daemon.kill()
                if what == "lost":
                    os.unlink(self.path + "-wal")
                elif what == "noise":
                    with open(self.path + "-wal", "r+b") as file:
                        file.write(os.urandom(2048))
                else:
                    with open(self.path + "-shm", "wb") as file:
                        file.write(os.urandom(32768))
                self.daemon.start()
                late = [c for c in self.daemon.list().values()
                        if c["packets"] == "100" or c["packets"] == 100]
                self.assertEqual(len(late), 1)
                out, _ = self.daemon.run("replay", "one")
                first_difference(self, packets_of(out)[1], self.packets)
                self.daemon.stop()
                self.check()

    def test_what_is_met_while_it_runs_is_mended_by_the_next_start(self):
        """Of a catalog that is too large for a start to look at all of it:
        rows of blocks and the audit; and pages that nobody uses."""
        for what in ("blocks", "audit", "freelist"):
            with self.subTest(what=what):
                self.fresh()
                if what != "freelist":
                    self.sql("CREATE TABLE large (x)")
                    self.sql("INSERT INTO large VALUES (zeroblob(2000000))")
                    self.spoil(self.leaves(what)[-1])
                else:
                    self.sql("CREATE TABLE unused (x)")
                    self.sql("INSERT INTO unused VALUES (zeroblob(99999))")
                    self.sql("DROP TABLE unused")
                    with open(self.path, "rb") as file:
                        trunk = file.read(36)[32:]
                    self.spoil(int.from_bytes(trunk, "big"))
                self.daemon.start()
                out, _ = self.daemon.run("replay", "one")
                first_difference(self, packets_of(out)[1], self.packets)
                self.daemon.run("replay", "one", "udp", "--explain")
                # It may not come in, which is said.
                self.daemon.run("import", "more", "-", status=None,
                                stdin=savefile(self.packets[:2000]))
                for i in range(30):
                    self.daemon.run("mark", "one", "%060d" % i, status=None)
                self.daemon.run("delete", "two", "--yes", status=None)
                until(lambda: "is malformed; what" in self.daemon.said(),
                      "a word of it")
                self.daemon.kill()
                self.daemon.start()
                said = self.daemon.said()
                self.assertEqual(said.count(MADE), 1, said)
                self.assertEqual(said.count("is malformed; what"), 1, said)
                out, _ = self.daemon.run("replay", "one")
                first_difference(self, packets_of(out)[1], self.packets)
                self.daemon.run("import", "three", "-",
                                stdin=savefile(made(0, 10)))
                self.daemon.stop()
                self.check()


if __name__ == "__main__":
    main()
