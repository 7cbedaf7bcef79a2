#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Peers that mean harm, beside a capture whose every packet bears a number:
none is lost, root is served throughout, and what was taken comes back. One
process attacks as a user without a role, one as a viewer, one over TLS."""

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import unittest

import http2
from link import Link
from far import Far, fill
from harness import (FAILED, OK, PATIENCE, PCAP, PERMISSION, SANITIZE, end,
                     main, need, until)
from http2 import (CANCEL, CONTINUATION, DATA, END_HEADERS, HEADERS,
                   INITIAL_WINDOW_SIZE, PING, PRIORITY, RST_STREAM, SETTINGS,
                   WINDOW_UPDATE, Connection, call, field, frame, number,
                   request, settings, string)
from numbered import Numbers, account

try:
    import grpc
except ImportError:
    grpc = None

# Without an entry in passwd; of no group, of "news".
STRANGER, OTHER, VIEWER, SECOND, CROWD, HOLDER = range(64001, 64007)
NEWS, GAMES = 9, 60
RATE = 500 if SANITIZE else 3000
# What one may send before it is cut, where a megabyte takes all memory.
FLOOD_MAX = 8 << 20
LIST_S = 60 if SANITIZE else 5  # far more than it takes
DESCRIPTORS = 40  # connections to the catalog are kept
GROWTH_MAX = 160 << 20  # of memory, while it goes on


# --- attacks: each is cut before it has sent FLOOD_MAX ---

def endless_continuation(c):
    c.send(frame(HEADERS, 0, 1, request("List")))
    c.flood(frame(CONTINUATION, 0, 1, field(b"x", b"z" * 16000)), FLOOD_MAX)


def empty_continuation(c):
    c.send(frame(HEADERS, 0, 1, request("List")))
    c.flood(frame(CONTINUATION, 0, 1) * 1000, FLOOD_MAX)


def giant_string(c):
    c.send(frame(HEADERS, 0, 1, request("List") + b"\x00" + string(b"x") +
                 number(0xfffffff0)))
    c.flood(frame(CONTINUATION, 0, 1, b"a" * 16384), FLOOD_MAX)


def endless_number(c):
    c.send(frame(HEADERS, 0, 1, b"\x00\x7f" + b"\x80" * 1000))
    c.flood(frame(CONTINUATION, 0, 1, b"\x80" * 16384), FLOOD_MAX)


def swelling_table(c):
    block = field(b"x", b"q" * 4000, kept=True) + b"\xbe" * 12000
    for i in range(1, 1000, 2):
        if not c.send(frame(HEADERS, END_HEADERS, i, request("List") + block)):
            break


def streams(c, one, most=100000):
    for i in range(most // 100):
        if not c.send(b"".join(one(1 + 2 * (100 * i + k))
                               for k in range(100))):
            break


def rapid_reset(c):
    streams(c, lambda i: frame(HEADERS, END_HEADERS, i, request("List")) +
            frame(RST_STREAM, 0, i, CANCEL))


def rapid_reset_of_calls(c):
    streams(c, lambda i: call(i, "List") + frame(RST_STREAM, 0, i, CANCEL))


def streams_that_say_nothing(c):
    streams(c, lambda i: frame(HEADERS, END_HEADERS, i, request("List")))


def settings_flood(c):
    c.flood(frame(SETTINGS) * 1000, FLOOD_MAX)


def settings_that_swing(c):
    c.flood((settings((1, 0)) + settings((1, 0xffffffff))) * 100, FLOOD_MAX)


def ping_flood(c):
    c.flood(frame(PING, 0, 0, b"12345678") * 1000, FLOOD_MAX)


def priority_flood(c):
    c.flood(frame(PRIORITY, 0, 1, bytes(4) + b"\1") * 1000, FLOOD_MAX)


def window_flood(c):
    c.flood(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 1000, FLOOD_MAX)


def empty_data(c):
    c.send(frame(HEADERS, END_HEADERS, 1, request("Import")))
    c.flood(frame(DATA, 0, 1) * 1000, FLOOD_MAX)


def no_http2(c):
    c.flood(random.Random(1).randbytes(1000), FLOOD_MAX)


ATTACKS = [endless_continuation, empty_continuation, giant_string,
           endless_number, swelling_table, rapid_reset, rapid_reset_of_calls,
           streams_that_say_nothing, settings_flood, settings_that_swing,
           ping_flood, priority_flood, window_flood, empty_data, no_http2]


def attack(to, bundle=None):
    """All of them, with SETTINGS acknowledged and not; says how it went."""
    for name in ATTACKS:
        for acknowledge in True, False:
            deaf = name in (settings_flood, ping_flood)
            try:
                c = Connection(to, bundle, deaf, acknowledge)
                name(c)
            except OSError:  # there is no place, as the last one's is kept
                c.is_cut = True
            print(json.dumps([name.__name__, acknowledge, c.is_cut, c.sent]),
                  flush=True)
            c.close()


def hold(what, to, count):
    """As many connections, or streams that nobody reads, until its stdin
    ends."""
    kept = []
    if what == "connections":
        for _ in range(int(count)):
            with contextlib.suppress(OSError):
                kept.append(Connection(to))
    else:
        kept.append(Connection(to, deaf=True, more=[(INITIAL_WINDOW_SIZE, 0)]))
        for i in range(int(count)):
            kept[0].send(call(1 + 2 * i, what, b"\x0a\x04some"))
        kept[0].await_headers(int(count))
    print("held", flush=True)
    sys.stdin.read()


def listen_with(to, kind, count):
    """Listens whose requests are large, until its stdin ends: of fields that
    nobody knows, of one such field, or of as much as a request may have."""
    body = {"fields": b"\x78\x00" * 30000,
            "giant": b"\x7a\xf0\xff\xff\x01" + bytes(0x3ffff0),
            "full": b"\x7a\xe0\xff\x03" + bytes(0xffe0)}[kind]
    kept, told = [], []
    for i in range(int(count)):
        if i % 50 == 0:
            channel = grpc.insecure_channel("unix:" + to, options=[
                ("grpc.use_local_subchannel_pool", 1)])
        stream = channel.unary_stream("/pcap.v1.Pcap/Listen", None, None)(
            b"\x0a\x04live" + body)
        try:
            next(stream)
            kept.append((channel, stream))
        except grpc.RpcError as e:
            told.append(e.details())
    print(json.dumps([len(kept), told]), flush=True)
    sys.stdin.read()
    os._exit(0)


class Traffic(threading.Thread):
    """Numbered packets, second after second, until it is ended."""

    def __init__(self, numbers):
        super().__init__(daemon=True)
        self.numbers, self.over = numbers, threading.Event()
        self.start()

    def run(self):
        while not self.over.is_set():
            self.numbers.send(RATE, 1)

    def end(self):
        self.over.set()
        self.join()


@unittest.skipUnless(os.getuid() == 0, "needs root")
class Attack(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need("openssl")
        cls.link = Link()
        cls.daemon = Far("viewer-group = news\nhandshake-timeout = 3s\n",
                         prefix=cls.link.receiver)
        cls.addClassCleanup(cls.daemon.kill)
        output = cls.link.inside(cls.link.names[1], "ip", "link", "set", "lo",
                                 "up")
        assert output == b""
        os.chmod(cls.daemon.folder, 0o755)
        cls.daemon.admin("init")
        cls.bundle = cls.daemon.issue("vera", "viewer")
        cls.daemon.start("--socket-group", "games")
        fill(cls.daemon)
        cls.daemon.run("init", "far0", "--alias", "live", "--start")
        until(lambda: cls.daemon.capture("live")["state"] == "running",
              "running")
        cls.numbers = Numbers(cls.link)
        # So that memory that is taken once is taken.
        cls.numbers.send(RATE, 3)

    def setUp(self):
        self.traffic = Traffic(self.numbers)
        self.addCleanup(self.traffic.end)
        # What a list, a stranger and a viewer take once.
        for _ in range(3):
            self.list()
        self.idle, self.peak, self.slowest = self.rss(), 0, 0
        self.descriptors = self.n_descriptors()

    def rss(self):
        with open("/proc/%d/statm" % self.daemon.process.pid) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def n_descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.daemon.process.pid))

    def list(self):
        """As root."""
        began = time.monotonic()
        self.daemon.run("list")
        return time.monotonic() - began

    def look(self):
        self.slowest = max(self.slowest, self.list())
        self.peak = max(self.peak, self.rss())

    def spawn(self, *arguments, user=None, groups=(), inside=False, **kwargs):
        """This file, as somebody else."""
        who = {} if user is None else dict(user=user, group=user,
                                           extra_groups=list(groups))
        process = subprocess.Popen(
            (self.link.receiver if inside else []) +
            [sys.executable, "-B", os.path.abspath(__file__)] +
            list(arguments), stdout=subprocess.PIPE, text=True, **who,
            **kwargs)
        self.addCleanup(end, process)
        self.addCleanup(process.stdout.close)
        return process

    def as_user(self, *arguments, user, groups=(), status=OK):
        done = subprocess.run(
            [PCAP] + list(arguments), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE,
            user=user, group=user, extra_groups=list(groups),
            env=dict(os.environ, PCAP_SOCKET=self.daemon.socket))
        text = done.stderr.decode()
        if status is not None:
            self.assertEqual(done.returncode, status, text)
        return done.returncode, text

    def settle(self):
        """Everything comes back, and no packet was lost."""
        until(lambda: self.n_descriptors() <= self.descriptors + DESCRIPTORS,
              "descriptors")
        if not SANITIZE:  # which keep what was freed
            until(lambda: self.rss() < 2 * self.idle, "memory: %d MB of %d" % (
                self.rss() >> 20, self.idle >> 20))
            self.assertLess(self.peak, self.idle + GROWTH_MAX)
        self.assertLess(self.slowest, LIST_S)
        self.traffic.end()
        until(lambda: int(self.daemon.capture("live")["packets"]) >=
              self.numbers.next, "the last packet")
        a = account(self, self.daemon, "live", self.numbers)
        self.assertEqual(len(a.missing), 0, str(a))
        print("%d packets; memory %d MB idle, %d at most, %d after; root "
              "waited %.2f s at most" % (
                  len(a.sent), self.idle >> 20, self.peak >> 20,
                  self.rss() >> 20, self.slowest), flush=True)

    def all_are_cut(self, process):
        def over():
            self.look()
            return process.poll() is not None

        until(over, "the end of the attacks", 4 * PATIENCE)
        told = [json.loads(line) for line in process.stdout]
        self.assertEqual(process.returncode, 0)
        self.assertEqual(len(told), 2 * len(ATTACKS))
        for name, acknowledge, is_cut, sent in told:
            self.assertTrue(is_cut, (name, acknowledge, sent))
            self.assertLess(sent, FLOOD_MAX, (name, acknowledge))
        self.settle()

    # --- frames ---

    def test_who_has_no_role_reaches_nothing(self):
        self.all_are_cut(self.spawn("attack", self.daemon.socket,
                                    user=STRANGER))
        _, text = self.as_user("list", user=STRANGER, status=PERMISSION)
        self.assertIn("user %d may not use pcapd" % STRANGER, text)

    def test_a_viewers_frames_are_bounded(self):
        self.all_are_cut(self.spawn("attack", self.daemon.socket, user=VIEWER,
                                    groups=[NEWS]))
        for what in ("a header block of over 16384 bytes",
                     "over 8 CONTINUATION frames in a header block",
                     "a number of a header block has over 28 bits"):
            self.assertIn("user %d at user %d was cut off: %s" % (
                VIEWER, VIEWER, what), self.daemon.said())
        # Another one is not concerned.
        self.as_user("list", user=SECOND, groups=[NEWS])

    def test_a_viewers_frames_are_bounded_over_tls(self):
        self.all_are_cut(self.spawn("attack", str(self.daemon.port),
                                    self.bundle, inside=True))
        self.assertIn("was cut off: a header block of over 16384 bytes",
                      self.daemon.said())

    def test_a_peer_that_acknowledges_no_settings_is_cut_off(self):
        """The first by its name: of what is cut off the log tells twenty at
        once, and the others make more than that."""
        silent = self.spawn("silent", self.daemon.socket, user=VIEWER,
                            groups=[NEWS])
        self.assertEqual(silent.stdout.readline(), "cut\n")
        self.look()
        self.assertIn("SETTINGS were not acknowledged", self.daemon.said())
        self.settle()

    @unittest.skipUnless(grpc, "needs python3-grpcio")
    def test_requests_are_small(self):
        """They are kept as long as their calls go on."""
        def told(kind, count):
            process = self.spawn("listen", self.daemon.socket, kind,
                                 str(count), user=VIEWER, groups=[NEWS],
                                 stdin=subprocess.PIPE)
            self.addCleanup(process.stdin.close)
            kept, texts = json.loads(process.stdout.readline())
            self.look()
            end(process)
            return kept, set(texts)

        self.assertEqual(told("full", 100), (100, set()))
        self.assertEqual(told("fields", 10), (0, {
            "the fields of pcap.v1.ListenRequest take over 136396 bytes of "
            "memory"}))
        kept, texts = told("giant", 10)
        self.assertEqual(kept, 0)
        self.assertRegex(str(texts), "larger than max .* vs. 131072")
        self.settle()
        if not SANITIZE:  # which keep what was freed
            self.assertLess(self.peak, self.idle + (64 << 20))

    # --- places ---

    def hold(self, *arguments, **who):
        process = self.spawn("hold", *arguments, stdin=subprocess.PIPE, **who)
        self.addCleanup(process.stdin.close)
        self.assertEqual(process.stdout.readline(), "held\n")
        return process

    def test_two_without_a_role_keep_nobody_out(self):
        crowds = [self.hold("connections", self.daemon.socket, "300",
                            user=user) for user in (STRANGER, OTHER)]
        self.look()
        self.as_user("list", user=VIEWER, groups=[NEWS])
        self.as_user("list", user=VIEWER, groups=[GAMES])
        # Who is refused still hears why.
        _, text = self.as_user("list", user=STRANGER, status=PERMISSION)
        self.assertIn("may not use pcapd", text)
        for crowd in crowds:
            end(crowd)
        self.settle()

    def replay(self, user, *groups, status=OK):
        return self.as_user("replay", "some", "-w", "/dev/null", user=user,
                            groups=groups, status=status)

    def test_what_a_viewer_holds_leaves_room(self):
        """Connections without a call, and replays that are not read."""
        # As many as one may have: nobody is refused yet, so none has to go.
        crowd = self.hold("connections", self.daemon.socket, "128",
                          user=CROWD, groups=[NEWS])
        streams = self.hold("Replay", self.daemon.socket, "8", user=HOLDER,
                            groups=[NEWS])
        _, text = self.replay(HOLDER, NEWS, status=FAILED)
        self.assertIn("max-replays: user %d has 8 replays under way" % HOLDER,
                      text)
        _, text = self.as_user("list", user=CROWD, groups=[NEWS],
                               status=FAILED)
        self.assertIn("max-peer-connections is 128, and user %d has 128" %
                      CROWD, text)
        self.look()
        for groups in [NEWS], [GAMES]:
            self.as_user("list", user=SECOND, groups=groups)
            self.replay(SECOND, *groups)
        self.daemon.run("replay", "some", "-w", "/dev/null")
        # It goes when somebody wants it, be it the same one.
        until(lambda: self.replay(HOLDER, NEWS, status=None)[0] == OK,
              "a replay")
        until(lambda: self.as_user("list", user=CROWD, groups=[NEWS],
                                   status=None)[0] == OK, "a connection")
        self.assertIn("send-timeout: nothing was taken for 10 s",
                      self.daemon.said())
        end(crowd)
        end(streams)
        self.settle()


if __name__ == "__main__":
    if sys.argv[1:2] == ["attack"]:
        attack(*sys.argv[2:])
    elif sys.argv[1:2] == ["silent"]:
        Connection(sys.argv[2], deaf=True, acknowledge=False).read()
        print("cut", flush=True)
    elif sys.argv[1:2] == ["listen"]:
        listen_with(*sys.argv[2:])
    elif sys.argv[1:2] == ["hold"]:
        hold(*sys.argv[2:])
    else:
        main()
