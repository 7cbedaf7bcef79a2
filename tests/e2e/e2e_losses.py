#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Whatever is not in a replay lies in a gap that is told: every packet is
numbered and accounted for. Over rings that overflow, kills, frozen daemons,
stops on slow and on full disks, and interfaces that go away."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
import unittest

from link import Link
from harness import (NS, OK, PCAPD, SANITIZE, Daemon, before_libc, main,
                     need, output, packets_of, until)
from numbered import Numbers, Witness, account

RATE = 1000 if SANITIZE else 4000

# Writes to segments take 300 ms while the file SLOW is there, and those of a
# disk that hangs do not end.
SLOW_DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static void delay(int fd)
{
	char link[64], path[512];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	if (n < 10)
		return;
	path[n] = 0;
	if (!strstr(path, ".pcap.zst"))
		return;
	if (access(getenv("SLOW"), F_OK) == 0)
		usleep(300000);
	while (getenv("HANGS") && access(getenv("HANGS"), F_OK) == 0)
		usleep(1000);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	static ssize_t (*next)(int, const void *, size_t, off_t);
	if (!next)
		next = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(
			RTLD_NEXT, "pwrite");
	delay(fd);
	return next(fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t at)
{
	return pwrite(fd, p, n, at);
}

ssize_t write(int fd, const void *p, size_t n)
{
	static ssize_t (*next)(int, const void *, size_t);
	if (!next)
		next = (ssize_t (*)(int, const void *, size_t))dlsym(
			RTLD_NEXT, "write");
	delay(fd);
	return next(fd, p, n);
}
"""


# What is synced, a letter a call: l the catalog's log, s a segment, o others.
SYNC_ORDER = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int order;

/* Later the sandbox would not let it. */
__attribute__((constructor)) static void begin(void)
{
	order = open(getenv("ORDER"), O_WRONLY | O_CREAT | O_APPEND, 0666);
}

int fdatasync(int fd)
{
	char link[64], path[512];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = 0;
	const char *what = strstr(path, ".pcap.zst")      ? "s"
			   : strstr(path, "catalog.db-wal") ? "l"
							    : "o";
	if (write(order, what, 1) != 1)
		abort();
	return (int)syscall(SYS_fdatasync, fd);
}
"""


class Losses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.link = Link()

    def setUp(self):
        self.numbers = Numbers(self.link)

    def running(self, config="", *more, prefix=(), spool=None):
        daemon = Daemon("free-floor = 0\n" + config, spool=spool,
                        prefix=self.link.receiver + list(prefix)).start()
        self.addCleanup(daemon.kill)
        daemon.run("init", self.link.far, "--alias", "live", "--start", *more)
        self.until_state(daemon, "running")
        return daemon

    def until_state(self, daemon, state):
        until(lambda: daemon.capture("live")["state"] == state, state)

    def packets(self, daemon):
        return int(daemon.capture("live")["packets"])

    def settled(self, daemon):
        """No packet is on its way any more: one more has come."""
        before = self.packets(daemon)
        self.numbers.send(100, 0.1)
        until(lambda: self.packets(daemon) >= before + 10, "the last packets")

    def gaps(self, daemon):
        out, _ = daemon.run("gaps", "live", "--since", "@1", "--json")
        return [(g["cause"], int(g["from_ns"]), int(g["to_ns"]),
                 int(g["packets"])) for g in json.loads(out)["gaps"]]

    def losses(self, daemon, cause):
        return [g for g in self.gaps(daemon) if g[0] == cause]

    def overflow(self, daemon):
        """A frozen daemon, and more than its ring of 1 MiB holds; returns
        when it began and ended."""
        daemon.process.send_signal(signal.SIGSTOP)
        begin = time.time_ns()
        self.numbers.send(0, 0.06, 1000)
        end = time.time_ns()
        daemon.process.send_signal(signal.SIGCONT)
        return begin, end

    def test_a_loss_is_durable_before_the_packets_behind_it(self):
        """What a power loss leaves is a part of what was synced, in order."""
        folder = Daemon().folder
        path = os.path.join(folder, "order")
        daemon = self.running(prefix=before_libc(folder, SYNC_ORDER,
                                                 ORDER=path))

        def order():
            with open(path) as file:
                return file.read()

        self.numbers.send(RATE, 0.5)
        self.settled(daemon)
        until(lambda: "s" in order(), "a segment that is synced")
        daemon.stop()
        # l: the log of the catalog; s: segments, one after the other.
        self.assertNotRegex(order(), "^s|[^ls]s")

        daemon = self.running("", "-B", "1")
        for n in range(1, 3):
            self.numbers.send(RATE, 0.7 + n / 10)
            _, end = self.overflow(daemon)
            self.settled(daemon)
            until(lambda: len(self.losses(daemon, "kernel")) >= n, "a gap")
            a = account(self, daemon, "live", self.numbers)
            out, _ = daemon.run("replay", "live")
            there = {p.ns for p in packets_of(out)[1]}
            for _, since, _, _ in self.losses(daemon, "kernel"):
                # It begins with a packet, not with a look of anybody.
                self.assertIn(since, there, str(a))
            self.assertLess(since, end, str(a))
        self.assertEqual(a.told, len(a.missing), str(a))
        self.assertEqual(
            len(re.findall("loses packets, .*kernel's ring was full",
                           daemon.said())), 1)
        # The sum comes when there were none for a while; a stop ends it.
        daemon.run("stop", "live")
        self.assertRegex(daemon.said(), r"lost %d packets \(kernel\) in "
                         r"[\d.]+ s, until it was stopped" % a.told)
        daemon.stop()

    def test_a_kill_hides_no_drop(self):
        daemon = self.running("", "-B", "1")
        for wait in (0.4, 0.95):
            self.numbers.send(RATE, 0.3)
            self.overflow(daemon)
            # Some of these are stored, and are newer than what was lost.
            self.numbers.send(RATE, wait)
            daemon.kill()
            self.numbers.send(RATE, 0.2)
            daemon.start()
            self.until_state(daemon, "running")
            self.settled(daemon)
            a = account(self, daemon, "live", self.numbers)
        self.assertGreater(len(a.missing), 2000, str(a))
        daemon.stop()

    def test_a_kill_within_the_first_second_is_told(self):
        daemon = Daemon("", prefix=self.link.receiver).start()
        self.addCleanup(daemon.kill)
        traffic = self.numbers.start(RATE, 4)
        begin = time.time_ns()
        for alias, more in (("live", ()), ("other", ("udp",))):
            daemon.run("init", self.link.far, *more, "--alias", alias,
                       "--start")
            daemon.kill()
            until(lambda: time.time_ns() > begin + NS, "some packets")
            daemon.start()
        traffic.wait()
        self.until_state(daemon, "running")
        self.settled(daemon)
        for name in ("live", "other"):
            account(self, daemon, name, self.numbers)
            out, _ = daemon.run("gaps", name, "--json")
            self.assertIn("restart", out.decode())
        daemon.stop()

    def test_a_frozen_daemon_is_a_gap_from_where_its_ring_was_full(self):
        daemon = self.running("", "-B", "1")
        self.numbers.send(RATE, 0.5)
        daemon.process.send_signal(signal.SIGSTOP)
        begin = time.time_ns()
        self.numbers.send(RATE, 3)
        end = time.time_ns()
        daemon.process.send_signal(signal.SIGCONT)
        self.settled(daemon)
        a = account(self, daemon, "live", self.numbers)
        _, since, to, _ = self.losses(daemon, "kernel")[-1]
        self.assertTrue(since < end <= to and begin < to, str(a))
        self.assertEqual(a.told, len(a.missing))
        daemon.stop()

    def stop_test(self, daemon, slow=None):
        """Packets flow while it is stopped, both ways."""
        traffic = self.numbers.start(RATE, 14)
        for stop, start, cause in (
                (lambda: daemon.run("stop", "live"),
                 lambda: daemon.run("start", "live"), "stopped"),
                (daemon.stop, daemon.start, "restart")):
            before = self.packets(daemon)
            until(lambda: self.packets(daemon) > before + RATE // 2,
                  "packets")
            if slow:
                open(slow, "w").close()
            asked = time.time_ns()
            stop()
            if slow:
                os.unlink(slow)
            start()
            self.until_state(daemon, "running")
            _, since, to, _ = self.losses(daemon, cause)[-1]
            self.assertTrue(asked <= since < to, (asked, since, to))
        traffic.kill()
        traffic.wait()
        self.settled(daemon)
        a = account(self, daemon, "live", self.numbers)
        self.assertEqual({g[2] for g in a.gaps}, {"stopped", "restart"})
        # What is called a stop has no packet in it.
        out, _ = daemon.run("replay", "live")
        there = [p.ns for p in packets_of(out)[1]]
        for cause in ("stopped", "restart"):
            _, since, to, _ = self.losses(daemon, cause)[-1]
            self.assertFalse([ns for ns in there
                              if since < ns < (since + to) // 2])
        daemon.stop()

    def test_a_stop_is_an_instant(self):
        self.stop_test(self.running())

    def test_a_stop_is_an_instant_on_a_slow_disk(self):
        daemon = Daemon()
        slow = os.path.join(daemon.folder, "slow")
        daemon = self.running(prefix=before_libc(daemon.folder, SLOW_DISK,
                                                 SLOW=slow))
        self.stop_test(daemon, slow)

    def full_disk(self, kind, hangs=False):
        """A daemon whose disk others have filled, with no floor; who sends;
        and what they filled it with. hangs: it hung when they did."""
        folder = Daemon().folder
        disk = os.path.join(folder, "disk")
        os.mkdir(disk)
        if kind == "tmpfs":
            output("mount", "-t", "tmpfs", "-o", "size=24M", "tmpfs", disk)
        else:
            image = os.path.join(folder, "image")
            need("mkfs." + kind)
            size, *more = {"ext4": ("40M", "-F", "-m", "0"),
                           "btrfs": ("120M",)}[kind]
            output("truncate", "-s", size, image)
            output("mkfs." + kind, "-q", *more, image)
            output("mount", "-o", "loop", image, disk)
        self.addCleanup(output, "umount", "-l", disk)
        hung = os.path.join(folder, "hung")
        prefix = before_libc(folder, SLOW_DISK, SLOW="/none",
                             HANGS=hung) if hangs else ()
        daemon = self.running("segment-bytes = 2M\nmemory-blocks = 4\n",
                              "-B", "4", prefix=prefix,
                              spool=os.path.join(disk, "spool"))
        traffic = self.numbers.start(RATE, 60, 1400)
        until(lambda: self.packets(daemon) > RATE, "packets")
        if hangs:
            open(hung, "w").close()
            self.until_still(daemon)
        path = os.path.join(disk, "filler")
        with open(path, "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(os.urandom(65536))
            except OSError:
                pass
        if hangs:
            os.unlink(hung)
        until(lambda: "No space" in daemon.said(), "the disk to be full")
        return daemon, traffic, path

    def until_still(self, daemon):
        """All memory is used, and the kernel's is."""
        last = [-1, 0]

        def same():
            now = self.packets(daemon)
            last[:] = now, last[1] + 1 if now == last[0] else 0
            return last[1] == 10

        until(same, "memory to be used")

    def takes_nothing_back(self, kind, end, hangs=False):
        daemon, traffic, _ = self.full_disk(kind, hangs)
        until(lambda: self.losses(daemon, "disk"), "losses")
        traffic.kill()
        traffic.wait()
        first = account(self, daemon, "live", self.numbers)
        self.assertGreater(len(first.missing), 0, str(first))
        # All that there is, is in the file, though the disk is full.
        sent_ns = self.numbers.records()[-1][2]
        until(lambda: int(json.loads(daemon.run("status", "--json")[0])[
            "captures"][0]["synced_ns"]) > sent_ns,
              "the last packets on disk")
        end(daemon)
        if end is not Daemon.kill:
            done = subprocess.run([PCAPD, "check", "--spool", daemon.spool],
                                  stdout=subprocess.PIPE)
            self.assertEqual(done.returncode, OK, done.stdout.decode())
        daemon.start()  # on the disk that is full
        self.until_state(daemon, "running")
        again = account(self, daemon, "live", self.numbers)
        self.assertEqual(again.there, first.there)
        daemon.stop()

    def test_a_full_disk_takes_nothing_back_at_a_stop(self):
        self.takes_nothing_back("tmpfs", Daemon.stop)

    def test_a_disk_that_hung_and_is_full_takes_nothing_back(self):
        self.takes_nothing_back("tmpfs", Daemon.stop, hangs=True)

    def test_a_full_disk_takes_nothing_back_at_a_kill(self):
        self.takes_nothing_back("ext4", Daemon.kill)

    def test_a_full_disk_that_copies_on_write_takes_nothing_back(self):
        self.takes_nothing_back("btrfs", Daemon.stop)

    def test_a_stop_on_a_full_disk_tells_what_is_lost(self):
        daemon, traffic, filler = self.full_disk("tmpfs")
        daemon.stop()
        os.unlink(filler)
        daemon.start()
        self.until_state(daemon, "running")
        traffic.kill()
        traffic.wait()
        self.settled(daemon)
        a = account(self, daemon, "live", self.numbers)
        self.assertGreater(len(a.missing), 0, str(a))
        daemon.stop()

    def gone_test(self, away, back):
        """Nothing that a plain packet socket saw is lost; rounds, as it
        depends on where the kernel's block is."""
        daemon = self.running()
        for _ in range(2):
            witness = Witness(self.link.receiver, self.link.far)
            traffic = self.numbers.start(RATE, 1)
            begin = self.packets(daemon)
            until(lambda: self.packets(daemon) > begin + RATE // 4,
                  "packets")
            before = time.time_ns()
            away()
            self.until_state(daemon, "waiting")
            traffic.wait()
            seen = witness.records()
            back()
            self.until_state(daemon, "running")
            self.settled(daemon)
            witness.records = lambda: seen
            a = account(self, daemon, "live", witness)
            account(self, daemon, "live", self.numbers)
            self.assertGreater(len(a.sent), RATE // 4, str(a))
            _, since, to, _ = self.losses(daemon, "down")[-1]
            self.assertLess(before - 2 * NS, since)
        daemon.stop()

    def test_what_an_interface_had_when_it_was_removed_is_there(self):
        self.gone_test(self.link.unplug, self.link.plug)

    def test_what_an_interface_had_when_it_was_renamed_is_there(self):
        def rename(old, new):
            return lambda: output("ip", "-n", self.link.names[1], "link",
                                  "set", old, "name", new)

        self.gone_test(rename(self.link.far, "other0"),
                       rename("other0", self.link.far))

    def test_what_an_interface_had_when_it_was_moved_is_there(self):
        third = self.link.names[1] + "3"
        output("ip", "netns", "add", third)
        self.addCleanup(output, "ip", "netns", "del", third, status=None)

        def back():
            output("ip", "-n", third, "link", "set", self.link.far, "netns",
                   self.link.names[1])
            output("ip", "-n", self.link.names[1], "link", "set",
                   self.link.far, "arp", "off", "multicast", "off", "up")

        self.gone_test(lambda: output(
            "ip", "-n", self.link.names[1], "link", "set", self.link.far,
            "netns", third), back)

    def test_what_came_before_an_interface_was_down_is_there(self):
        def turn(how):
            return lambda: output("ip", "-n", self.link.names[1], "link",
                                  "set", self.link.far, how)

        self.gone_test(turn("down"), turn("up"))

    def test_moments_of_being_down_are_told(self):
        """Also those that are over before anybody looks."""
        daemon = self.running()
        witness = Witness(self.link.receiver, self.link.far)
        traffic = self.numbers.start(RATE, 2)
        flap = "link set %s down\nlink set %s up\n" % (
            self.link.far, self.link.far)
        for _ in range(10):
            subprocess.run(["ip", "-n", self.link.names[1], "-batch", "-"],
                           input=flap.encode(), check=True)
        traffic.wait()
        self.until_state(daemon, "running")
        self.settled(daemon)
        account(self, daemon, "live", witness)
        # What waited in the kernel on its way there when it went down came
        # to no socket, and may have been sent a moment before.
        account(self, daemon, "live", self.numbers, tolerance_ns=NS // 50)
        self.assertTrue(self.losses(daemon, "down"))
        daemon.stop()


class Pages(unittest.TestCase):
    def test_gaps_gives_every_row_there_is(self):
        daemon = Daemon().start()
        self.addCleanup(daemon.kill)
        daemon.run("init", "lo", "udp", "port", "9", "--alias", "live",
                   "--start")
        daemon.stop()
        now, n = time.time_ns(), 45000
        catalog = sqlite3.connect(os.path.join(daemon.spool, "catalog.db"))
        catalog.executemany(
            "INSERT INTO ledger (capture, cause, from_ns, to_ns, packets, "
            "detail) VALUES (1, 8, ?, ?, 1, '')",
            [(now - (n - i) * 2 * NS, now - (n - i) * 2 * NS + NS)
             for i in range(n)])
        catalog.commit()
        catalog.close()
        daemon.start()
        out, _ = daemon.run("gaps", "live", "--since", "@1", "--json")
        answer = json.loads(out)
        rows = [g for g in answer["gaps"] if g["cause"] == "down"]
        self.assertEqual(len(rows), n)
        self.assertEqual(int(answer["missing"]), n)
        times = [int(g["from_ns"]) for g in rows]
        self.assertEqual(times, sorted(set(times)))
        out, _ = daemon.run("gaps", "live", "--since", "@1")
        self.assertGreaterEqual(out.count(b"\n"), n)
        daemon.stop()


if __name__ == "__main__":
    main()
