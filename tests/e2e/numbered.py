# SPDX-License-Identifier: BSD-3-Clause
"""Packets with numbers, and an account of every one of them: it was replayed
once, whole and in order, or it lies in a gap that is told. For a link of
link.py:

    numbers = Numbers(link)
    traffic = numbers.start(rate=5000, seconds=2)
    ...
    traffic.wait()
    account(self, daemon, "live", numbers)

A packet was sent between two readings of the clock; it is explained by a gap
that touches that interval. What came before `since` or after `until` (time.
time_ns) is not looked at. A Witness sees what a plain packet socket sees, for
interfaces that go away: then its numbers are what has to be there.
"""

import atexit
import json
import os
import struct
import subprocess
import tempfile

from harness import NS, PATIENCE, end, need, output, packets_of

# Causes that explain nothing.
NO_GAP = ("clock", "excluded", "received")
RECORD = struct.Struct("<Qqq")

PROGRAM = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARK 0x4e554d4245524544ull
#define AT 42 /* behind Ethernet, IPv4 and UDP */

struct record { uint64_t number; int64_t from, to; };

static int64_t now(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int open_socket(const char *interface, int protocol)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(protocol),
				 .sll_ifindex = (int)if_nametoindex(interface)};
	int room = 256 << 20, fd = socket(AF_PACKET, SOCK_RAW, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		perror(interface);
		exit(1);
	}
	return fd;
}

static uint64_t sum_of(const uint8_t *p, size_t n)
{
	uint64_t h = 0xcbf29ce484222325;
	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3;
	return h;
}

static void make(uint8_t *p, uint64_t number, size_t n)
{
	static const uint8_t head[AT] = {
		2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0, 0, 0,
		0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 4, 0, 0x27, 0x0f};
	uint64_t x = number * 0x9e3779b97f4a7c15ull + 1, mark = MARK, sum;

	memcpy(p, head, AT);
	p[16] = (uint8_t)((n - 14) >> 8), p[17] = (uint8_t)(n - 14);
	p[38] = (uint8_t)((n - 34) >> 8), p[39] = (uint8_t)(n - 34);
	memcpy(p + AT, &mark, 8);
	memcpy(p + AT + 8, &number, 8);
	for (size_t i = AT + 16; i + 8 < n; i++)
		p[i] = (uint8_t)(x = x * 6364136223846793005ull + 1, x >> 56);
	sum = sum_of(p + AT, n - 8 - AT);
	memcpy(p + n - 8, &sum, 8);
}

/* INTERFACE RATE COUNT FIRST SIZE LOG */
static int run_send(char **v)
{
	double rate = atof(v[1]);
	uint64_t n = strtoull(v[2], NULL, 10), first = strtoull(v[3], NULL, 10);
	size_t size = (size_t)atoi(v[4]);
	int log = open(v[5], O_WRONLY | O_APPEND);
	int fd = open_socket(v[0], 0);
	int64_t begin = now(CLOCK_MONOTONIC);
	uint8_t p[65536];

	for (uint64_t i = 0; i < n; i++) {
		int64_t due = rate > 0 ? begin + (int64_t)(i * 1e9 / rate) : 0;
		struct timespec at = {due / 1000000000, due % 1000000000};
		struct record r = {first + i, 0, 0};

		make(p, r.number, size);
		if (due > now(CLOCK_MONOTONIC))
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at,
					NULL);
		r.from = now(CLOCK_REALTIME);
		ssize_t sent = send(fd, p, size, 0);
		r.to = now(CLOCK_REALTIME);
		/* Full queues and links that are down take none. At once: it
		 * may be killed. */
		if (sent == (ssize_t)size &&
		    write(log, &r, sizeof(r)) != sizeof(r))
			return 1;
	}
	return 0;
}

static volatile sig_atomic_t over;
static void stop(int signal) { (void)signal; over = 1; }

/* INTERFACE LOG: until it is told to end. */
static int run_watch(char **v)
{
	FILE *log = fopen(v[1], "wb");
	int on = 1, fd = open_socket(v[0], ETH_P_ALL);
	uint8_t p[65536];

	struct sigaction a = {.sa_handler = stop};
	sigaction(SIGTERM, &a, NULL);
	setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
	puts("watching");
	fflush(stdout);
	for (;;) {
		union { struct cmsghdr h; char room[256]; } c;
		struct iovec to = {p, sizeof(p)};
		struct msghdr m = {.msg_iov = &to, .msg_iovlen = 1,
				   .msg_control = &c, .msg_controllen = 256};
		struct pollfd wait = {fd, POLLIN, 0};
		ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
		uint64_t mark;

		if (n < 0 && errno == EAGAIN) {
			if (over)
				break;
			poll(&wait, 1, 20);
			continue;
		}
		if (n < AT + 24 || (memcpy(&mark, p + AT, 8), mark != MARK))
			continue;
		struct timespec t = {0, 0};
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		if (h && h->cmsg_type == SO_TIMESTAMPNS)
			memcpy(&t, CMSG_DATA(h), sizeof(t));
		struct record r = {0, t.tv_sec * 1000000000ll + t.tv_nsec, 0};
		r.to = r.from;
		memcpy(&r.number, p + AT + 8, 8);
		fwrite(&r, sizeof(r), 1, log);
	}
	return fclose(log);
}

int main(int argc, char **argv)
{
	if (argc == 8 && strcmp(argv[1], "send") == 0)
		return run_send(argv + 2);
	return argc == 4 ? run_watch(argv + 2) : 2;
}
"""

_program = []


def program():
    """The path of PROGRAM, compiled once a test file."""
    if not _program:
        need("cc")
        folder = tempfile.TemporaryDirectory(prefix="pcapd-numbered-")
        path = os.path.join(folder.name, "numbered")
        output("cc", "-O2", "-x", "c", "-o", path, "-",
               stdin=PROGRAM.encode())
        _program.extend((path, folder))
    return _program[0]


def records(path):
    """(number, from_ns, to_ns) of each whole record."""
    with open(path, "rb") as file:
        data = file.read()
    return list(RECORD.iter_unpack(data[:len(data) // 24 * 24]))


class Numbers:
    """What was sent over a link: numbers from 0 on, in order."""

    def __init__(self, link):
        self.link, self.next = link, 0
        self.program = program()
        file, self.log = tempfile.mkstemp(prefix="pcapd-sent-")
        os.close(file)
        atexit.register(os.unlink, self.log)

    def start(self, rate, seconds, size=300):
        """Under way: rate packets a second (0: as fast as it goes, then so
        many `seconds` of 100,000). One at a time; wait() or kill it."""
        n = int((rate or 100000) * seconds)
        process = subprocess.Popen(
            self.link.sender + [self.program, "send", self.link.near,
                                str(rate), str(n), str(self.next), str(size),
                                self.log])
        atexit.register(end, process)
        self.next += n
        return process

    def send(self, rate, seconds, size=300):
        process = self.start(rate, seconds, size)
        assert process.wait(seconds + PATIENCE) == 0, "the sender failed"

    def records(self):
        return records(self.log)


class Witness:
    """What a plain packet socket on an interface sees."""

    def __init__(self, prefix, interface):
        file, self.log = tempfile.mkstemp(prefix="pcapd-seen-")
        os.close(file)
        atexit.register(os.unlink, self.log)
        self.process = subprocess.Popen(
            list(prefix) + [program(), "watch", interface, self.log],
            stdout=subprocess.PIPE)
        atexit.register(end, self.process)
        assert self.process.stdout.readline() == b"watching\n"

    def records(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self.process.stdout.close()
        return records(self.log)


def number_of(packet):
    """None: it is not one of ours."""
    if len(packet.body) < 66 or packet.body[42:50] != b"DEREBMUN":
        return None
    return int.from_bytes(packet.body[50:58], "little")


def is_whole(packet):
    h = 0xcbf29ce484222325
    for byte in packet.body[42:-8]:
        h = (h ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return (packet.length == len(packet.body) and
            packet.body[-8:] == h.to_bytes(8, "little"))


class Account:
    """Of every packet that was sent: there, missing, in no gap."""

    def __init__(self, sent, packets, gaps, since=None, until=None,
                 tolerance_ns=0):
        self.gaps = sorted(
            (int(g["from_ns"]), int(g["to_ns"]) or 1 << 63, g["cause"],
             int(g["packets"] or 0))
            for g in gaps if g["cause"] not in NO_GAP)
        numbers = [n for n in map(number_of, packets) if n is not None]
        self.got, self.there = len(numbers), set(numbers)
        self.twice = len(numbers) - len(self.there)
        self.disordered = sum(a > b for a, b in zip(numbers, numbers[1:]))
        # Summing in Python is slow; damage to one hits its neighbours.
        self.altered = sum(not is_whole(p) for p in packets[::101]
                           if number_of(p) is not None)
        self.sent = [r for r in sent if (since is None or r[1] >= since) and
                     (until is None or r[2] < until)]
        self.missing = [r for r in self.sent if r[0] not in self.there]
        self.unexplained = [r for r in self.missing
                            if not self.explained(r, tolerance_ns)]
        self.told = sum(g[3] for g in self.gaps)

    def explained(self, record, tolerance_ns):
        _, sent_from, sent_to = record
        return any(a <= sent_to + tolerance_ns and
                   sent_from - tolerance_ns <= b for a, b, _, _ in self.gaps)

    def __str__(self):
        text = "%d sent, %d there, %d missing, %d in no gap; gaps: %s" % (
            len(self.sent), self.got, len(self.missing),
            len(self.unexplained),
            ["%s %.6f to %.6f %d" % (c, a / NS, b / NS, n)
             for a, b, c, n in self.gaps[:20]])
        if self.unexplained:
            text += "; in none: %.6f to %.6f" % (
                self.unexplained[0][1] / NS, self.unexplained[-1][2] / NS)
        return text


def account(test, daemon, name, numbers, since=None, until=None,
            tolerance_ns=0):
    """Fails unless every number of a Numbers or a Witness is accounted for;
    returns the Account."""
    out, _ = daemon.run("replay", name, status=None)
    told, _ = daemon.run("gaps", name, "--since", "@1", "--json")
    answer = json.loads(told)
    # Before that nobody wanted packets.
    since = max(since or 0, int(answer["since_ns"]))
    a = Account(numbers.records(), packets_of(out)[1], answer["gaps"], since,
                until, tolerance_ns)
    test.assertEqual((a.twice, a.disordered, a.altered), (0, 0, 0), str(a))
    test.assertEqual(len(a.unexplained), 0, str(a))
    return a
