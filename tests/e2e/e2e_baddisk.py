#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""A disk that refuses, for longer than a moment, or does not answer at all: a
library before libc's answers for it, as a file says. Capturing goes on, what
is stored is served, what is lost is in the ledger to a packet, and the
watchdog hears of a disk that hangs and not of one that says no."""

import errno
import json
import os
import socket
import struct
import subprocess
import time
import unittest

from link import Link, in_file, sent
from harness import (INCOMPLETE, NS, OK, PCAPD, Daemon, before_libc, end,
                     main, packets_of, savefile, udp_packet, until)
from numbered import Numbers, account, number_of

T0 = 1767225600 * NS
FINE, HANG_SEGMENTS, HANG_ALL = 0, -1, -2
READS = 1000  # and an errno: reading and opening fail as well

LIBRARY = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int32_t *answer;

__attribute__((constructor)) static void begin(void)
{
	int fd = open(getenv("ANSWER"), O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		answer = mmap(NULL, 4, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
}

/* true: errno. A disk that hangs answers when it is fine again. */
static int refuses(const char *path)
{
	struct timespec moment = {0, 10000000};
	int no;

	if (!answer || strncmp(path, getenv("SPOOL"), strlen(getenv("SPOOL"))))
		return 0;
	while ((no = *answer) < 0) {
		if (no == -1 && !strstr(path, ".pcap.zst"))
			return 0;
		nanosleep(&moment, NULL);
	}
	errno = no % 1000;
	return no != 0;
}

static int fd_refuses(int fd)
{
	char link[64], path[4096];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return 0;
	path[n] = '\0';
	return refuses(path);
}

static int reads_fail(void)
{
	return answer && *answer >= 1000;
}

ssize_t pread(int fd, void *to, size_t n, off_t at)
{
	return reads_fail() && fd_refuses(fd)
		       ? -1
		       : syscall(SYS_pread64, fd, to, n, at);
}

ssize_t pread64(int fd, void *to, size_t n, off_t at)
{
	return pread(fd, to, n, at);
}

ssize_t read(int fd, void *to, size_t n)
{
	return reads_fail() && fd_refuses(fd) ? -1
					      : syscall(SYS_read, fd, to, n);
}

ssize_t pwrite(int fd, const void *from, size_t n, off_t at)
{
	return fd_refuses(fd) ? -1 : syscall(SYS_pwrite64, fd, from, n, at);
}

ssize_t pwrite64(int fd, const void *from, size_t n, off_t at)
{
	return pwrite(fd, from, n, at);
}

ssize_t write(int fd, const void *from, size_t n)
{
	return fd_refuses(fd) ? -1 : syscall(SYS_write, fd, from, n);
}

int fsync(int fd)
{
	return fd_refuses(fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	return fd_refuses(fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int ftruncate(int fd, off_t n)
{
	return fd_refuses(fd) ? -1 : (int)syscall(SYS_ftruncate, fd, n);
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	int mode = flags & O_CREAT ? va_arg(ap, int) : 0;
	va_end(ap);
	if ((flags & O_CREAT || reads_fail()) &&
	    (*path == '/' ? reads_fail() && refuses(path) : fd_refuses(dir)))
		return -1;
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	int mode = flags & O_CREAT ? va_arg(ap, int) : 0;
	va_end(ap);
	return openat(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
	__attribute__((alias("open")));
int openat64(int dir, const char *path, int flags, ...)
	__attribute__((alias("openat")));

int unlinkat(int dir, const char *path, int flags)
{
	return fd_refuses(dir) ? -1
			       : (int)syscall(SYS_unlinkat, dir, path, flags);
}

int renameat(int a, const char *from, int b, const char *to)
{
	return fd_refuses(b) ? -1 : (int)syscall(SYS_renameat, a, from, b, to);
}
"""


def number(packet):
    return int.from_bytes(packet.body[42:46], "big")


class Refusing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.link = Link()

    def setUp(self):
        small = "longer" in self.id() or "watchdog" in self.id()
        self.daemon = Daemon("segment-bytes = 1M\nmemory-blocks = %d\n" %
                             (4 if small else 16))
        self.path = os.path.join(self.daemon.folder, "answer")
        self.answer(FINE)
        self.daemon.prefix = self.link.receiver + before_libc(
            self.daemon.folder, LIBRARY, ANSWER=self.path,
            SPOOL=self.daemon.spool)
        self.addCleanup(self.daemon.kill)

    def answer(self, number_):
        """In place: the daemon has it mapped."""
        with open(self.path, "r+b" if os.path.exists(self.path) else
                  "wb") as file:
            file.write(struct.pack("<i", number_))

    def capture(self):
        self.daemon.run("init", self.link.far, "--alias", "live", "--start",
                        "--buffer", "4")
        until(lambda: self.daemon.capture("live")["state"] == "running",
              "running")

    def load(self, first, n):
        path = os.path.join(self.daemon.folder, "load-%d.pcap" % first)
        packets = [udp_packet(T0, first + i, 1400) for i in range(n)]
        for p in packets:
            p.body = p.body[:46] + os.urandom(1354)
        with open(path, "wb") as file:
            file.write(savefile(packets))
        return path

    def status(self):
        return json.loads(self.daemon.run("status", "live", "--json")[0])[
            "captures"][0]

    def replayed(self):
        return [number(p) for p in packets_of(
            self.daemon.run("replay", "live", status=None)[0])[1]]

    def end(self, n):
        """What was sent is stored or missing, by the ledger's count."""
        until(lambda: not self.status()["disk_error"], "a good disk")
        self.daemon.run("stop", "live")
        got = self.replayed()
        self.assertEqual(got, sorted(set(got)))
        answer = json.loads(self.daemon.run("gaps", "live", "--json")[0])
        self.assertEqual(len(got) + answer["missing"], n, answer)
        self.daemon.stop()
        # What could not be synced is looked at by the next start.
        self.daemon.start()
        self.assertEqual(self.replayed(), got)
        self.daemon.stop()
        done = subprocess.run([PCAPD, "check", "--spool", self.daemon.spool],
                              stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, OK, done.stdout.decode())
        return got, answer

    def test_read_only_for_a_while_costs_nothing_that_memory_can_hold(self):
        self.daemon.start()
        self.capture()
        self.link.send_all(self.load(0, 3000), 3000)
        until(lambda: len(self.replayed()) == 3000, "packets")
        traffic = self.link.send(self.load(3000, 9000), 3000)
        until(lambda: len(self.replayed()) > 5000, "more")
        self.answer(errno.EROFS)
        until(lambda: "Read-only" in str(self.status()["disk_error"]),
              "a read-only file system")
        # What is there is served, and what is in memory, too.
        before = len(self.replayed())
        until(lambda: len(self.replayed()) > before + 500, "packets")
        self.answer(FINE)
        sent(traffic)
        until(lambda: self.replayed()[-1] == 11999, "the end")
        got, answer = self.end(12000)
        self.assertEqual(len(got), 12000, answer)

    def test_errors_for_longer_than_a_file_is_tried(self):
        """Five seconds; then another is begun, and nothing of the first is
        lost."""
        self.daemon.start()
        self.capture()
        self.link.send_all(self.load(0, 3000), 3000)
        until(lambda: len(self.replayed()) == 3000, "packets")
        traffic = self.link.send(self.load(3000, 24000), 2000)
        until(lambda: len(self.replayed()) > 4000, "more")
        self.answer(errno.EIO)
        until(lambda: "Input/output error" in str(self.status()["disk_error"]),
              "errors")
        failed = time.monotonic()
        # Memory is full by then, too.
        until(lambda: time.monotonic() > failed + 7.5, "patience to end")
        stored = self.replayed()
        # Nobody waits for the disk to hear what is missing.
        told = json.loads(self.daemon.run("gaps", "live", "--json")[0])
        self.assertIn("disk", [g["cause"] for g in told["gaps"]], told)
        self.answer(FINE)
        sent(traffic)
        until(lambda: self.replayed()[-1] == 26999, "the end")
        got, answer = self.end(27000)
        self.assertEqual(got[:len(stored)], stored)
        causes = {g["cause"] for g in answer["gaps"]}
        self.assertLessEqual({"disk"}, causes, answer)
        self.assertLessEqual(causes, {"disk", "kernel"}, answer)

    def test_what_is_in_memory_is_read_while_nothing_on_disk_is(self):
        self.daemon.start()
        self.capture()
        numbers = Numbers(self.link)
        numbers.send(2000, 1, 1400)
        until(lambda: len(self.replayed()) == 2000, "packets")
        self.daemon.run("import", "file", self.load(0, 50))
        listed = self.daemon.capture("live")
        path = os.path.join(self.daemon.folder, "followed.pcap")
        with open(path, "wb") as out:
            follower = self.daemon.popen("replay", "live", "--live",
                                         stdout=out, stderr=subprocess.PIPE)
        self.addCleanup(end, follower)
        until(lambda: len(in_file(path)) == 2000, "a follower")
        self.bad_disk(numbers, listed)
        until(lambda: len(in_file(path)) == 11000, "all that was followed")
        follower.terminate()
        # It was never behind what is in memory.
        self.assertNotIn(b"missing", follower.communicate()[1])
        self.daemon.run("stop", "live")
        # Memory held all of it.
        self.assertEqual(account(self, self.daemon, "live", numbers).missing,
                         [])
        self.assertEqual(self.daemon.capture("live")["packets"], 11000)
        self.daemon.stop()
        done = subprocess.run([PCAPD, "check", "--spool", self.daemon.spool],
                              stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, OK, done.stdout.decode())

    def bad_disk(self, numbers, listed):
        traffic = numbers.start(1000, 9, 1400)
        until(lambda: len(self.replayed()) > 3000, "more")
        said = len(self.daemon.said().splitlines())
        self.answer(READS + errno.EIO)
        until(lambda: self.status()["disk_error"], "a bad disk")
        # What comes from now on is in memory.
        for _ in range(2):
            self.reads_from_memory(listed)
        out, _ = self.daemon.run("listen", "live", "-c", "100")
        self.assertEqual(len(packets_of(out)[1]), 100)
        # Another has nothing in memory.
        _, err = self.daemon.run("count", "file", status=INCOMPLETE)
        self.assertIn("cannot be read", err)
        self.assertEqual(self.daemon.capture("file")["packets"], 50)
        self.daemon.run("mark", "live", status=None)
        lines = self.daemon.said().splitlines()[said:]
        # Of each place in the code as many as log.h allows, and of few.
        self.assertLessEqual(len(lines), 40, lines)
        self.answer(FINE)
        self.assertEqual(traffic.wait(60), 0)
        until(lambda: not self.status()["disk_error"], "a good disk")
        until(lambda: len(self.replayed()) == 11000, "the end")
        # Each call of the time is in the audit, and the disk is what failed.
        rows = json.loads(self.daemon.run("audit", "--json")[0])
        heard = [r for r in rows["audit"] if r["method"] == "Listen"]
        self.assertEqual(len(heard), 1, rows)
        self.assertNotIn("the audit lacks", self.daemon.said())
        self.assertNotIn("some of it is malformed", self.daemon.said())

    def reads_from_memory(self, listed):
        """Each answer is newer than what is asked before."""
        newest = self.status()["newest_ns"]
        until(lambda: self.status()["newest_ns"] > newest, "packets")
        self.assertGreater(self.daemon.capture("live")["packets"],
                           listed["packets"])
        out, err = self.daemon.run("replay", "live", status=INCOMPLETE)
        got = [number_of(p) for p in packets_of(out)[1]]
        self.assertEqual(got, list(range(got[0], got[0] + len(got))))
        self.assertGreater(len(got), 0)
        self.assertIn("cannot be read", err)
        out, err = self.daemon.run("count", "live", "--json",
                                   status=INCOMPLETE)
        self.assertGreaterEqual(json.loads(out)["packets"], len(got))
        self.assertIn("cannot be read", err)
        answer = json.loads(self.daemon.run("gaps", "live", "--json")[0])
        self.assertEqual(
            [(g["cause"], int(g["from_ns"]) <= int(listed["min_ns"]))
             for g in answer["gaps"] if "catalog" in g["detail"]],
            [("damage", True)], answer)

    def watched(self):
        ear = self.daemon.ear()
        ear.settimeout(0.1)
        self.addCleanup(ear.close)
        self.daemon.spawn(WATCHDOG_USEC="1000000")
        self.hear(ear, b"READY=1")
        return ear

    def heard(self, ear, what):
        """Whether it is said within half a second or is waiting there."""
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            try:
                if what in ear.recv(4096):
                    return True
            except socket.timeout:
                pass
        return False

    def hear(self, ear, what):
        until(lambda: self.heard(ear, what), what.decode())

    def silence(self, ear):
        """Three times what the watchdog waits for."""
        since = [time.monotonic()]

        def silent():
            if self.heard(ear, b"WATCHDOG=1"):
                since[0] = time.monotonic()
            return time.monotonic() > since[0] + 3

        until(silent, "silence")

    def test_the_watchdog_hears_of_a_disk_that_hangs(self):
        ear = self.watched()
        self.capture()
        self.hear(ear, b"WATCHDOG=1")
        # Memory is full soon, and for as long as it takes.
        traffic = self.link.send(self.load(0, 5000), 2000, "--loop=0")
        # One that says no is no reason to be killed.
        self.answer(errno.EIO)
        until(lambda: "Input/output error" in str(self.status()["disk_error"]),
              "errors")
        for _ in range(3):
            self.hear(ear, b"WATCHDOG=1")
        self.answer(FINE)
        for how in (HANG_SEGMENTS, HANG_ALL):
            self.answer(how)
            self.silence(ear)
            self.assertIn("makes no progress", self.daemon.said())
            self.answer(FINE)
            self.hear(ear, b"WATCHDOG=1")
        traffic.kill()
        self.daemon.stop()


if __name__ == "__main__":
    main()
