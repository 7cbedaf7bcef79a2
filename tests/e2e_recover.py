#!/usr/bin/python3 -B
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

from harness import (INCOMPLETE, NS, OK, PCAPD, SANITIZE, Daemon, before_libc,
                     first_difference, main, packets_of, savefile, udp_packet)

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
        self.assertEqual(len(self.aside(".damaged")), 1)

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


if __name__ == "__main__":
    main()
