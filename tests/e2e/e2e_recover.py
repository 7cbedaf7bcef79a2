#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Files that are not what the catalog says, or not where they belong, and
reads that fail: nothing of them keeps pcapd from starting, every packet is
served once and unaltered or lies in a gap that is told at once, and no file
is lost for an error that passes."""

import errno
import json
import os
import random
import shutil
import sqlite3
import subprocess
import unittest

from harness import (FAILED, INCOMPLETE, NS, OK, PCAPD, SANITIZE, Daemon,
                     Packet, before_libc, first_difference, main, packets_of,
                     savefile, udp_packet, until)

T0 = 1767225600 * NS
COUNT = 9000

# Reads of a folder's segments: from the one numbered FROM on, TIMES of them
# fail with ERROR. How many there were is written to the file COUNTER.
LIBRARY = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long calls;

static int fails(const char *path)
{
	if (!strstr(path, getenv("MATCH")))
		return 0;
	long n = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
	long from = atol(getenv("FROM"));
	if (n < from || n >= from + atol(getenv("TIMES")))
		return 0;
	errno = atoi(getenv("ERROR"));
	return 1;
}

static int fd_fails(int fd)
{
	char link[64], path[4096];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = 0;
	return fails(path);
}

__attribute__((destructor)) static void tell(void)
{
	FILE *to = fopen(getenv("COUNTER"), "w");
	if (to) {
		fprintf(to, "%ld", calls);
		fclose(to);
	}
}

ssize_t pread(int fd, void *to, size_t n, off_t at)
{
	return fd_fails(fd) ? -1 : syscall(SYS_pread64, fd, to, n, at);
}

ssize_t pread64(int fd, void *to, size_t n, off_t at)
{
	return pread(fd, to, n, at);
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	int mode = flags & O_CREAT ? va_arg(ap, int) : 0;
	va_end(ap);
	return fails(path) ? -1 : (int)syscall(SYS_openat, dir, path, flags,
					       mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
	va_list ap;
	va_start(ap, flags);
	int mode = flags & O_CREAT ? va_arg(ap, int) : 0;
	va_end(ap);
	return openat(dir, path, flags, mode);
}
"""


def made(n, first=0):
    dice = random.Random(4 + first)
    packets = []
    for i in range(first, first + n):
        p = udp_packet(T0 + i * 1000003, i, 1400)
        p.body = p.body[:46] + dice.randbytes(1354)
        packets.append(p)
    return packets


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """Two captures of some segments, which tests copy."""
        cls.sent = {"one": made(COUNT), "two": made(COUNT, 10 ** 6)}
        daemon = Daemon("segment-bytes = 2M\n").start()
        for name, packets in cls.sent.items():
            path = os.path.join(daemon.folder, name)
            with open(path, "wb") as file:
                file.write(savefile(packets))
            daemon.run("import", name, path)
        daemon.stop()
        cls.whole = daemon

    def setUp(self):
        self.daemon = Daemon("segment-bytes = 2M\n")
        self.addCleanup(self.daemon.kill)
        self.fresh()

    def fresh(self):
        shutil.rmtree(self.daemon.spool, ignore_errors=True)
        shutil.copytree(self.whole.spool, self.daemon.spool)
        self.one, self.two = (self.daemon.segments(i) for i in (1, 2))
        self.assertLess(3, len(self.one))

    def sql(self, *statement):
        with sqlite3.connect(os.path.join(self.daemon.spool,
                                          "catalog.db")) as db:
            got = db.execute(*statement).fetchall()
        db.close()
        return got

    def number(self, path):
        return int(os.path.basename(path)[:20])

    def packets_in(self, path):
        return self.sql("SELECT packets FROM segments WHERE capture = ? AND "
                        "first_seq = ?", (int(path.split("/")[-2]),
                                          self.number(path)))[0][0]

    def unclosed(self, path):
        """As its writer left it when it was killed: without an end."""
        end = self.sql("SELECT max(offset + stored_bytes) FROM blocks WHERE "
                       "capture = ? AND segment = ?",
                       (int(path.split("/")[-2]), self.number(path)))[0][0]
        with open(path, "r+b") as file:
            file.truncate(end)

    def tool(self, verb, status, prefix=()):
        done = subprocess.run(
            list(prefix) + [PCAPD, verb, "--spool", self.daemon.spool],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        said = done.stdout.decode()
        self.assertEqual(done.returncode, status, said)
        self.assertNotIn("Sanitizer", said)
        return said

    def account(self, name, missing=0):
        """Replayed once, in order and unaltered, or in a gap; now."""
        out, _ = self.daemon.run("replay", name, status=None)
        got, at, lost = packets_of(out)[1], 0, []
        sent = self.sent[name]
        for p in got:
            while at < len(sent) and sent[at] != p:
                lost.append(sent[at])
                at += 1
            self.assertLess(at, len(sent), "%s: not its packet: %r" % (name, p))
            at += 1
        lost += sent[at:]
        self.assertEqual(len(lost), missing)
        gaps = json.loads(self.daemon.run(
            "gaps", name, "--json", "--since", "@%d" % (T0 // NS),
            "--until", "@%d" % (T0 // NS + 3600))[0])["gaps"]
        for p in lost:
            self.assertTrue(any(int(g["from_ns"]) <= p.ns < int(g["to_ns"])
                                for g in gaps), "%r is in no gap" % p)
        self.assertEqual(sum(int(g["packets"]) for g in gaps), missing)

    def starts(self, one=0, two=0):
        self.daemon.start()
        self.account("one", one)
        self.account("two", two)
        self.daemon.stop()
        self.assertIn("0 damaged", self.tool("check", OK))

    def aside(self, suffix, id=1):
        return [n for n in sorted(os.listdir(os.path.join(
            self.daemon.spool, str(id)))) if suffix in n]


class Vanished(Case):
    """What a power loss makes of files whose rows are there."""

    def test_a_file_of_no_bytes_is_a_gap_at_once(self):
        for closed in (0, 1):
            for at in (-1, 1):
                with self.subTest(closed=closed, at=at):
                    self.fresh()
                    lost = self.packets_in(self.one[at])
                    self.sql("UPDATE segments SET closed = ? WHERE capture = "
                             "1 AND first_seq = ?",
                             (closed, self.number(self.one[at])))
                    os.truncate(self.one[at], 0)
                    self.starts(one=lost)

    def test_a_file_of_zeros_is_a_gap_at_once(self):
        lost = self.packets_in(self.one[1])
        size = os.path.getsize(self.one[1])
        with open(self.one[1], "wb") as file:
            file.write(bytes(size))
        self.sql("UPDATE segments SET closed = 0 WHERE capture = 1")
        self.starts(one=lost)
        names = self.aside(".damaged")
        self.assertEqual(len(names), 1)
        # Said as long as it lies there, also by the next daemon.
        self.daemon.start()
        for more in names, []:
            told = json.loads(self.daemon.run("status", "one", "--json")[0])
            self.assertEqual(told["captures"][0]["problems"],
                             ["1/%s: put aside" % n for n in more])
            for name in more:
                os.unlink(os.path.join(self.daemon.spool, "1", name))
        self.daemon.stop()

    def test_a_closed_file_that_became_short_is_a_gap_at_once(self):
        """Its row says how long it was: it is looked at."""
        lost = self.packets_in(self.one[1])
        blocks = self.sql("SELECT packets, offset FROM blocks WHERE capture = "
                          "1 AND segment = ? ORDER BY seq",
                          (self.number(self.one[1]),))
        os.truncate(self.one[1], blocks[1][1])
        self.starts(one=lost - blocks[0][0])


class Displaced(Case):
    """Files with footers, or without, that were copied over others."""

    def test_a_copy_under_another_name_is_put_aside(self):
        new = "%020d.pcap.zst" % 500
        for verb in (None, "repair"):
            for whole in (True, False):
                with self.subTest(verb=verb, whole=whole):
                    self.fresh()
                    # A number in the middle of others, and one behind them.
                    path = os.path.join(self.daemon.spool, "1",
                                        "%020d.pcap.zst" %
                                        (self.number(self.one[2]) + 1))
                    shutil.copy(self.one[1], path)
                    if not whole:
                        os.truncate(path, os.path.getsize(path) - 40)
                        self.cut_end(path, self.one[1])
                    shutil.copy(self.one[0], os.path.join(
                        self.daemon.spool, "2", new))
                    if verb:
                        self.tool(verb, OK)
                    self.starts()
                    self.assertEqual(len(self.aside(
                        ".foreign" if whole else ".overlap")), 1)
                    self.assertEqual(self.aside(".foreign", 2),
                                     [new + ".foreign"])

    def cut_end(self, path, of):
        end = self.sql("SELECT max(offset + stored_bytes) FROM blocks WHERE "
                       "capture = 1 AND segment = ?", (self.number(of),))[0][0]
        os.truncate(path, end)

    def test_one_copied_over_another_is_no_other_packets(self):
        for verb in (None, "repair"):
            for source in ("one", "two"):
                with self.subTest(verb=verb, source=source):
                    self.fresh()
                    lost = self.packets_in(self.one[2])
                    shutil.copy({"one": self.one[1],
                                 "two": self.two[0]}[source], self.one[2])
                    if verb:
                        self.tool(verb, OK)
                    self.starts(one=lost)
                    self.assertEqual(len(self.aside(".foreign")), 1)

    def test_one_of_the_same_length_is_no_other_packets(self):
        """A start goes by lengths; who reads it does not, nor does the
        thread that looks at the files after a start."""
        # All alike but for times, so that lengths are, too; one block each.
        self.daemon = Daemon("segment-bytes = 64K\n")
        self.addCleanup(self.daemon.kill)
        body = made(1)[0].body
        self.sent = {"one": [Packet(T0 + i * 1000000, body)
                             for i in range(4 * COUNT)]}
        path = os.path.join(self.daemon.folder, "same")
        with open(path, "wb") as file:
            file.write(savefile(self.sent["one"]))
        for read in (True, False):
            with self.subTest(read=read):
                shutil.rmtree(self.daemon.spool, ignore_errors=True)
                self.daemon.start()
                self.daemon.run("import", "one", path)
                self.daemon.stop()
                source, target = self.same_length(self.daemon.segments(1))
                lost = self.packets_in(target)
                shutil.copy(source, target)
                self.daemon.start()
                if not read:
                    until(lambda: self.aside(".foreign"), "a file put aside")
                self.account("one", lost)
                self.assertEqual(self.aside(".foreign"), [
                    os.path.basename(target) + ".foreign"])
                self.daemon.stop()
                self.assertIn("0 damaged", self.tool("check", OK))

    def same_length(self, paths):
        of = {}
        for path in paths:
            size = os.path.getsize(path)
            if size in of:
                return of[size], path
            of[size] = path
        self.fail("no two segments have the same length")

    def test_repair_brings_back_what_was_moved(self):
        lost = self.packets_in(self.one[2])
        os.rename(self.one[2], os.path.join(self.daemon.spool, "2",
                                            "%020d.pcap.zst" % 900))
        self.starts(one=lost)
        self.tool("repair", OK)
        self.assertEqual(self.aside(".foreign", 2), [])
        self.daemon.start()
        out, _ = self.daemon.run("replay", "one")
        first_difference(self, packets_of(out)[1], self.sent["one"])
        self.daemon.stop()

    def test_what_is_no_file_is_passed(self):
        for make in (lambda p: os.mkfifo(p), lambda p: os.mkdir(p),
                     lambda p: os.symlink(self.one[0], p)):
            self.fresh()
            make(os.path.join(self.daemon.spool, "1", "%020d.pcap.zst" % 700))
            self.starts()
            self.assertEqual(len(self.aside(".damaged")), 1)

    def test_nothing_that_was_put_aside_is_overwritten(self):
        name = "%020d.pcap.zst" % 500
        path = os.path.join(self.daemon.spool, "1", name)
        for i in range(3):
            with open(path, "w") as file:
                file.write("note %d" % i)
            self.daemon.start()
            self.daemon.stop()
        self.assertEqual(self.aside(".damaged"), [
            name + ".damaged" + more for more in ("", ".1", ".2")])

    def test_rows_with_numbers_of_another_segment_do_no_harm(self):
        """A block's number was altered: the file knows better."""
        self.sql("UPDATE blocks SET seq = 4000 WHERE capture = 1 AND seq = "
                 "(SELECT min(seq) FROM blocks WHERE capture = 1)")
        self.sql("UPDATE segments SET last_seq = 4000 WHERE capture = 1 AND "
                 "first_seq = ?", (self.number(self.one[0]),))
        self.starts()


class Unreadable(Case):
    def preload(self, first, times, error, match):
        self.counter = os.path.join(self.daemon.folder, "counter")
        return before_libc(self.daemon.folder, LIBRARY, FROM=str(first),
                           TIMES=str(times), ERROR=str(error), MATCH=match,
                           COUNTER=self.counter)

    def left_open(self):
        """A spool whose second segment has no end and half of its rows."""
        self.fresh()
        seq = self.number(self.one[1])
        self.unclosed(self.one[1])
        self.sql("DELETE FROM blocks WHERE capture = 1 AND segment = ? AND "
                 "seq > ?", (seq, seq))
        self.sql("UPDATE segments SET closed = 0, last_seq = first_seq WHERE "
                 "capture = 1 AND first_seq = ?", (seq,))
        return "1/" + os.path.basename(self.one[1])

    def test_a_read_that_fails_once_costs_nothing(self):
        """For every one of them; and for each another error."""
        errors = (errno.EIO, errno.ENOMEM, errno.EACCES, errno.EMFILE)
        n, calls = 1, 1
        while n <= calls:
            match = self.left_open()
            said = self.tool("reindex", OK, self.preload(
                n, 1, errors[n % len(errors)], match))
            with open(self.counter) as file:
                calls = max(calls, int(file.read()))
            self.assertEqual(self.aside(".damaged"), [], said)
            self.assertIn("0 damaged", self.tool("check", OK))
            n += 7 if SANITIZE else 1 if n < 6 else 3
        self.assertLess(10, n)
        self.starts()

    def test_a_file_that_cannot_be_read_is_left_and_the_rest_goes_on(self):
        for error, times in ((errno.EIO, 10 ** 9), (errno.EACCES, 10 ** 9)):
            match = self.left_open()
            self.daemon.prefix = self.preload(1, times, error, match)
            self.daemon.start()
            self.account("two")
            # What is written meanwhile has other numbers than it may have.
            path = os.path.join(self.daemon.folder, "more")
            with open(path, "wb") as file:
                file.write(savefile(made(100, 5 * 10 ** 6)))
            self.daemon.run("import", "one", path)
            self.daemon.stop()
            self.daemon.prefix = []
            self.assertIn("left as it is", self.daemon.said())
            self.assertEqual(self.aside(".damaged"), [])
            self.daemon.start()
            out, _ = self.daemon.run("replay", "one", status=None)
            first_difference(self, packets_of(out)[1], self.sent["one"] +
                             made(100, 5 * 10 ** 6))
            self.daemon.stop()
            self.assertIn("0 damaged", self.tool("check", OK))

    def test_repair_brings_back_what_turns_out_whole(self):
        """An older version put it aside for an error that passed."""
        os.rename(self.one[1], self.one[1] + ".damaged")
        lost = self.packets_in(self.one[1])
        self.starts(one=lost)
        self.tool("repair", OK)
        self.assertEqual(self.aside(".damaged"), [])
        self.daemon.start()
        out, _ = self.daemon.run("replay", "one")
        first_difference(self, packets_of(out)[1], self.sent["one"])
        self.daemon.stop()

    def test_a_folder_that_cannot_be_read_stops_no_other(self):
        # A file in its place: as who is root has every right.
        shutil.rmtree(os.path.join(self.daemon.spool, "1"))
        with open(os.path.join(self.daemon.spool, "1"), "w"):
            pass
        self.daemon.start()
        self.account("two")
        self.daemon.stop()
        self.assertIn("folder 1 of the spool", self.daemon.said())


class Holes(Case):
    def test_damage_before_the_end_of_a_segment_is_put_in_order_once(self):
        """As xfs leaves it: the end is there, and not all before it. Nothing
        else names what was there."""
        path = self.one[1]
        last = self.sql("SELECT offset, stored_bytes, packets FROM blocks "
                        "WHERE capture = 1 AND segment = ? ORDER BY seq DESC",
                        (self.number(path),))[0]
        with open(path, "r+b") as file:
            file.seek(last[0] + last[1] // 2)
            file.write(bytes(1000))
            # Nor does the footer; the index before it does not either.
            file.seek(-60, 2)
            file.write(bytes(60))
        self.sql("DELETE FROM blocks WHERE capture = 1 AND offset = ? AND "
                 "segment = ?", (last[0], self.number(path)))
        self.tool("repair", INCOMPLETE)
        for _ in range(2):
            lines = self.tool("check", INCOMPLETE).splitlines()
            self.assertRegex("\n".join(lines[1:-1]),
                             r"^[^\n]*damage of \d+ bytes[^\n]*$")
            self.daemon.start()
            self.daemon.stop()


class Older(Case):
    """A catalog that knows less than the folders beside it."""

    def names(self):
        return {c["id"]: (c["aliases"], c.get("people"))
                for c in self.daemon.list().values()}

    def test_an_older_catalog_is_completed(self):
        old = os.path.join(self.daemon.folder, "old.db")
        shutil.copy(os.path.join(self.daemon.spool, "catalog.db"), old)
        more = made(3000, 2 * 10 ** 6)
        self.daemon.start()
        for name in ("one", "three"):
            path = os.path.join(self.daemon.folder, name)
            with open(path, "wb") as file:
                file.write(savefile(more))
            self.daemon.run("import", name, path)
        self.daemon.run("alias", "add", "two", "zwei")
        self.daemon.run("set", "two", "--people", "daemon")
        self.daemon.run("hold", "one", "--since", "@%d" % (T0 // NS),
                        "--until", "@%d" % (T0 // NS + 9), "--reason", "x")
        names = self.names()
        self.daemon.stop()
        for name in os.listdir(self.daemon.spool):
            if name.startswith("catalog.db"):
                os.unlink(os.path.join(self.daemon.spool, name))
        shutil.copy(old, os.path.join(self.daemon.spool, "catalog.db"))
        self.assertIn("newer than the catalog", self.tool("check", INCOMPLETE))
        self.daemon.start()
        self.assertEqual(self.names(), names)
        self.sent = dict(self.sent, three=more,
                         one=self.sent["one"] + more)
        for name in self.sent:
            self.account(name)
        self.assertEqual(self.sql("SELECT capture, reason FROM holds"),
                         [(1, "x")])
        # A new one gets a folder of its own.
        path = os.path.join(self.daemon.folder, "one")
        self.daemon.run("import", "four", path)
        self.assertEqual(sorted(self.daemon.list()), [1, 2, 3, 4])
        self.daemon.stop()
        self.assertIn("0 damaged", self.tool("check", OK))

    def test_a_capture_that_a_repair_did_not_come_to_is_taken_in(self):
        self.sql("DELETE FROM aliases WHERE capture = 2")
        for table in ("blocks", "segments", "ledger"):
            self.sql("DELETE FROM %s WHERE capture = 2" % table)
        self.sql("DELETE FROM captures WHERE id = 2")
        self.starts()

    def test_losses_that_the_catalog_never_had_come_from_the_file(self):
        self.starts()
        lost = self.packets_in(self.one[1])
        old = os.path.join(self.daemon.folder, "old.db")
        shutil.copy(os.path.join(self.daemon.spool, "catalog.db"), old)
        os.unlink(self.one[1])
        self.starts(one=lost)
        # Not even its segment's row is there any more to tell of it.
        shutil.copy(old, os.path.join(self.daemon.spool, "catalog.db"))
        self.sql("DELETE FROM blocks WHERE capture = 1 AND segment = ?",
                 (self.number(self.one[1]),))
        self.sql("DELETE FROM segments WHERE capture = 1 AND first_seq = ?",
                 (self.number(self.one[1]),))
        self.starts(one=lost)

    def lose_catalog(self, id):
        for name in os.listdir(self.daemon.spool):
            if name.startswith("catalog.db"):
                os.unlink(os.path.join(self.daemon.spool, name))
        os.unlink(os.path.join(self.daemon.spool, str(id), "capture"))

    def people(self, name):
        self.daemon.start()
        people = self.daemon.capture(name)["people"]
        self.daemon.stop()
        return people

    def test_who_may_see_it_is_not_forgotten(self):
        """The footers know, or nobody but root does."""
        self.daemon.start()
        self.daemon.run("set", "one", "--people", "daemon,bin")
        path = os.path.join(self.daemon.folder, "more")
        with open(path, "wb") as file:
            file.write(savefile(made(10, 9 * 10 ** 6)))
        self.daemon.run("import", "one", path)
        self.daemon.stop()
        self.lose_catalog(1)
        os.unlink(os.path.join(self.daemon.spool, "2", "capture"))
        said = self.tool("repair", OK)
        self.assertIn("2: the capture is in the catalog again; its people are "
                      "not known", said)
        self.assertEqual(self.people("one"), "daemon bin")
        self.assertEqual(self.people("two"), "?")

    def test_one_of_another_spool_is_put_aside(self):
        other = Daemon("segment-bytes = 2M\n").start()
        path = os.path.join(other.folder, "in")
        with open(path, "wb") as file:
            file.write(savefile(self.sent["two"]))
        other.run("import", "one", path)
        other.stop()
        for verb in (None, "repair"):
            self.fresh()
            # The same numbers of capture and blocks.
            lost = self.packets_in(self.one[1])
            shutil.copy(os.path.join(other.spool, "1",
                                     os.path.basename(self.one[1])),
                        self.one[1])
            if verb:
                self.tool(verb, OK)
            else:
                self.sql("UPDATE segments SET closed = 0")
            self.starts(one=lost)
            self.assertEqual(len(self.aside(".foreign")), 1)


class Altered(Case):
    """A catalog that says something else than was written into it."""

    COLUMNS = {"segments": ("last_seq", "link_type", "snaplen", "closed",
                            "stored_bytes", "raw_bytes", "packets", "min_ns",
                            "max_ns", "other_bytes"),
               "blocks": ("seq", "offset", "stored_bytes", "raw_bytes",
                          "packets", "first_ns", "last_ns", "min_ns",
                          "max_ns")}

    def alter(self, table, column):
        key = {"segments": "first_seq", "blocks": "seq"}[table]
        to = "0" if column == "closed" else column + " + 1"
        self.sql("UPDATE %s SET %s = %s WHERE capture = 1 AND %s = (SELECT "
                 "max(%s) FROM %s WHERE capture = 1)" % (
                     table, column, to, key, key, table))

    def test_check_finds_every_column_and_repair_mends_it(self):
        for table, columns in self.COLUMNS.items():
            for column in columns[::4] if SANITIZE else columns:
                with self.subTest(table=table, column=column):
                    self.fresh()
                    self.alter(table, column)
                    self.tool("check", INCOMPLETE)
            for column in reversed(columns):
                self.alter(table, column)
            self.tool("repair", OK)
            self.starts()

    def test_a_start_goes_by_no_altered_row(self):
        """All at once, of different segments and captures."""
        for i, change in enumerate((
                "max_ns = min_ns", "last_seq = first_seq", "expired = 1",
                "min_ns = min_ns + 10000000000")):
            self.sql("UPDATE segments SET %s WHERE capture = 1 AND first_seq "
                     "= ?" % change, (self.number(self.one[i]),))
        self.sql("UPDATE captures SET deleted = 1, filter = 'no' WHERE id = 2")
        self.sql("DELETE FROM aliases WHERE capture = 1")
        self.assertIn("were altered", self.tool("check", INCOMPLETE))
        self.starts()

    def test_rows_of_blocks_that_cannot_be_read_stop_nothing(self):
        """Segments say themselves what is in them, and may go."""
        # A start looks at all of a small one.
        self.sql("CREATE TABLE large (x)")
        self.sql("INSERT INTO large VALUES (zeroblob(2000000))")
        page = self.sql("SELECT rootpage FROM sqlite_master WHERE name = "
                        "'blocks'")[0][0]
        with open(os.path.join(self.daemon.spool, "catalog.db"),
                  "r+b") as file:
            file.seek((page - 1) * 4096)
            file.write(bytes(4096))
        self.tool("check", INCOMPLETE)
        self.daemon.start()
        self.account("one")
        self.account("two")
        self.daemon.run("replay", "one", "--since", "@%d" % (T0 // NS + 4))
        self.assertEqual(self.daemon.said().count("some of it is "
                                                  "malformed"), 1)
        self.daemon.run("set", "one", "--keep-bytes", "3M", "--yes")
        until(lambda: len(self.daemon.segments(1)) < len(self.one) - 1,
              "retention")
        until(lambda: int(self.daemon.capture("one")["packets"]) < COUNT // 2,
              "retention")
        self.account("two")
        self.daemon.stop()
        self.tool("repair", OK)
        self.daemon.start()
        self.account("two")
        self.daemon.stop()

    def bounded(self):
        """Bounds that nothing is over, and a name more."""
        self.daemon.start()
        self.daemon.run("set", "one", "--keep-bytes", "1T")
        self.daemon.run("set", "two", "--keep-age", "30d")
        self.daemon.run("alias", "add", "one", "uno")
        self.daemon.stop()

    def retention_looked(self):
        """At all captures: what was over its bound went."""
        path = os.path.join(self.daemon.folder, "over")
        with open(path, "wb") as file:
            file.write(savefile(made(300, 10 ** 7)))
        self.daemon.run("import", "over", path)
        self.daemon.run("set", "over", "--keep-bytes", "1", "--yes")
        until(lambda: int(self.daemon.capture("over")["packets"]) == 0,
              "retention")

    def test_retention_goes_by_no_altered_row(self):
        """Each would remove packets; check finds it, a start mends it."""
        self.bounded()
        shutil.rmtree(self.whole.spool + "-bounded", ignore_errors=True)
        bounded = shutil.copytree(self.daemon.spool,
                                  self.whole.spool + "-bounded")
        last = "first_seq = (SELECT max(first_seq) FROM segments)"
        for change in (
                "UPDATE kept SET bytes = bytes + (1 << 50)",
                "UPDATE kept SET segments = 0 WHERE capture = 2",
                "UPDATE segments SET stored_ns = 1 WHERE " + last,
                "UPDATE segments SET stored_ns = stored_ns + (1 << 60) "
                "WHERE " + last,
                "UPDATE segments SET stored_bytes = stored_bytes + (1 << 50) "
                "WHERE " + last,
                "UPDATE aliases SET capture = 2 WHERE alias = 'uno'"):
            with self.subTest(change=change):
                shutil.rmtree(self.daemon.spool)
                shutil.copytree(bounded, self.daemon.spool)
                self.sql(change)
                self.assertRegex(self.tool("check", INCOMPLETE),
                                 "altered|does not say")
                self.daemon.start()
                self.retention_looked()
                self.account("one")
                self.account("two")
                self.assertEqual(self.daemon.capture("uno")["id"],
                                 self.daemon.capture("one")["id"])
                self.daemon.stop()
                self.assertIn("0 damaged", self.tool("check", OK))

    def rewritten(self, *changes):
        """The catalog's file with other bytes at these places."""
        path = os.path.join(self.daemon.spool, "catalog.db")
        with open(path, "r+b") as file:
            data = file.read()
            for old, new in changes:
                at = old if isinstance(old, int) else data.rindex(old)
                file.seek(at)
                file.write(new)

    def test_a_name_is_found_whichever_copy_of_it_was_altered(self):
        """It is in a table, and in an index of that."""
        name = b"one-and-only"
        self.daemon.start()
        self.daemon.run("alias", "add", "one", name.decode())
        self.daemon.stop()
        named = shutil.copytree(self.daemon.spool, self.daemon.spool + "-named")
        path = os.path.join(self.daemon.spool, "catalog.db")
        with open(path, "rb") as file:
            whole = file.read()
        at, copies = -1, whole.count(name)
        self.assertLess(1, copies)
        for _ in range(copies):
            at = whole.index(name, at + 1)
            shutil.rmtree(self.daemon.spool)
            shutil.copytree(named, self.daemon.spool)
            with open(path, "r+b") as file:
                file.seek(at)
                file.write(b"n")
            self.daemon.start()
            self.assertEqual(self.daemon.capture(name.decode())["id"],
                             self.daemon.capture("one")["id"])
            self.daemon.run("count", name.decode())
            self.daemon.run("alias", "remove", name.decode())
            self.daemon.stop()
            self.tool("check", OK)

    def test_a_schema_that_was_altered_is_set_right(self):
        """Its text as SQLite can and cannot read it, and its number."""
        for changes in ([(b"old.packets", b"old.packetr")],
                        [(b"made_ns INTEGER", b"made_nr INTEGER")],
                        [(b"segments_expired ON", b"segments_expired OO")],
                        [(60, b"\x40")], [(63, b"\x01")]):
            with self.subTest(changes=changes):
                self.fresh()
                before = self.sql("PRAGMA user_version")
                self.rewritten(*changes)
                self.tool("check", INCOMPLETE)
                self.starts()
                self.assertIn("schema was altered", self.daemon.said())
                self.assertEqual(self.sql("PRAGMA user_version"), before)

    def test_repair_makes_a_catalog_again_that_cannot_be_used(self):
        """Names of tables, and a format that SQLite does not write."""
        for changes in ([(b"tablekeptkept", b"tablekeptkepu")],
                        [(18, b"\x12")]):
            with self.subTest(changes=changes):
                self.fresh()
                self.rewritten(*changes)
                self.tool("check", INCOMPLETE)
                self.tool("repair", OK)
                self.starts()
        # What a newer version wrote stays as it is.
        self.fresh()
        self.sql("CREATE TABLE newer (x INTEGER)")
        self.sql("PRAGMA user_version = 99")
        self.assertIn("a newer one", self.tool("repair", FAILED))
        self.assertFalse([n for n in os.listdir(self.daemon.spool)
                          if "damaged" in n])

    def test_flipped_bits_are_found_or_harmless(self):
        dice = random.Random(14)
        path = os.path.join(self.daemon.spool, "catalog.db")
        with open(path, "rb") as file:
            whole = file.read()
        found = mended = 0
        for _ in range(20 if SANITIZE else 200):
            page = dice.randrange(len(whole) // 4096)
            at = page * 4096 + dice.randrange(4096)
            with self.subTest(at=at):
                data = bytearray(whole)
                data[at] ^= 1 << dice.randrange(8)
                for name in ("-wal", "-shm"):
                    if os.path.exists(path + name):
                        os.unlink(path + name)
                with open(path, "wb") as file:
                    file.write(data)
                done = subprocess.run(
                    [PCAPD, "reindex", "--spool", self.daemon.spool],
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                if done.returncode:
                    self.assertIn(b"catalog", done.stdout)
                    found += 1
                    continue
                done = subprocess.run(
                    [PCAPD, "check", "--spool", self.daemon.spool],
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                if done.returncode == OK:
                    mended += 1
                    continue
                # A page that nobody has come to yet.
                self.assertRegex(done.stdout, rb"(?m)^(On tree |Tree \d+ )?"
                                 rb"[Pp]age \d+|malformed")
                self.tool("repair", OK)
                self.tool("check", OK)
                found += 1
        print("%d found, %d mended or harmless" % (found, mended))


if __name__ == "__main__":
    main()
