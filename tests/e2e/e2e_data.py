#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Stored frames beside gRPC: the same packets as without, whoever stops,
crowds, dies or damages. What is expected comes from Python's gRPC, which knows
nothing of it, from `zstd`, and from a client of bare sockets."""

import array
import contextlib
import fcntl
import json
import os
import platform
import random
import resource
import secrets
import signal
import socket
import subprocess
import sys
import termios
import threading
import unittest

try:
    import grpc
except ImportError:
    grpc = None

from harness import (INCOMPLETE, NS, PATIENCE, PCAP, SANITIZE,
                     Daemon, before_libc, end, first_difference, main, need,
                     output, packets_of, savefile, udp_packet, until)

T0 = 1767225600 * NS
REPLAY = "/pcap.v1.Pcap/Replay"
HEADER, LOST, END, PACKETS = 1, 2, 3, 4  # of ReplayResponse
SENDFILE = {"x86_64": 40, "aarch64": 71}.get(platform.machine())
GAMES, NEWS, NOBODY = 60, 9, 65534  # gids, uid of base-files
# Nobody is closed for being late.
PATIENT = "handshake-timeout = 300s\n"


def made(n, size=1000):
    """Packets whose frames are about as large as they are."""
    dice = random.Random(n)
    packets = []
    for i in range(n):
        p = udp_packet(T0 + i * NS // 1000, i, size)
        p.body = p.body[:46] + dice.randbytes(size - 46)
        packets.append(p)
    return packets


# --- messages, as protobuf's encoding says ---


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def request(name, ticket=b"", zstd=True, **numbers):
    """A ReplayRequest."""
    out = b"\x0a" + varint(len(name)) + name.encode()
    for field, key in (("since_ns", 3), ("until_ns", 4), ("max_packets", 5),
                       ("snaplen", 6)):
        if numbers.get(field):
            out += varint(key << 3) + varint(numbers[field])
    if zstd:
        out += b"\x40\x01"
    return out + (b"\x4a" + varint(len(ticket)) + ticket if ticket else b"")


def fields(message):
    """{field: its last value}"""
    out, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            out[key >> 3] = number()
        else:
            assert key & 7 == 2, "wire type %d" % (key & 7)
            n = number()
            out[key >> 3] = message[at:at + n]
            at += n
    return out


def unpacked(frame):
    return output("zstd", "-dc", stdin=frame)


# --- clients ---


def line(ticket):
    return b"PCAPD-DATA " + ticket.hex().encode() + b"\n"


def connected(daemon):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(PATIENCE)
    s.connect(daemon.socket)
    return s


def heard(s):
    """A byte, or b"" of one that was hung up."""
    try:
        return s.recv(1)
    except ConnectionError:
        return b""


def queued(s, which=termios.FIONREAD):
    n = array.array("i", [0])
    fcntl.ioctl(s, which, n)
    return n[0]


class Raw:
    """A client that takes frames beside gRPC, or with ticket b"" not."""

    def __init__(self, test, daemon, ticket=None, **asked):
        self.data = None
        self.ticket = secrets.token_bytes(16) if ticket is None else ticket
        if ticket is None:
            self.data = connected(daemon)
            test.addCleanup(self.data.close)
            self.data.sendall(line(self.ticket))
            test.assertEqual(heard(self.data), b"+")
        self.channel = grpc.insecure_channel(
            "unix:" + daemon.socket,
            options=[("grpc.use_local_subchannel_pool", 1),
                     ("grpc.max_receive_message_length", 1 << 24)])
        test.addCleanup(self.channel.close)
        self.call = self.channel.unary_stream(REPLAY, None, None)(
            request("much", self.ticket, **asked))
        self.out, self.lost, self.end = [], 0, None
        self.beside = self.inline = self.damaged = 0

    def read(self, n):
        data = bytearray()
        while len(data) < n:
            got = self.data.recv(n - len(data))
            assert got, "%d of %d bytes" % (len(data), n)
            data += got
        return bytes(data)

    def take(self, event):
        """A message, with its frame."""
        (kind, inner), = fields(event).items()
        m = fields(inner)
        if kind == HEADER:
            self.out.append(m[1])
        elif kind == LOST:
            self.lost += m.get(1, 0)
        elif kind == END:
            self.end = m
        elif m.get(5):
            assert m.get(3) and not m.get(15), m
            frame = self.read(m[5])
            whole = self.read(1)
            assert whole in (b"+", b"-"), whole
            self.beside += 1
            self.damaged += whole == b"-"
            if whole == b"+":
                self.out.append(self.records(frame, m))
        elif m.get(15):
            self.inline += 1
            self.out.append(self.records(m[15], m) if m.get(3) else m[15])

    @staticmethod
    def records(frame, m):
        plain = unpacked(frame)
        assert len(plain) == m[4], "%d, not %d" % (len(plain), m[4])
        return plain

    def all(self):
        """To the end, which the data connection has, too. What is damaged
        makes the status DATA_LOSS, behind it."""
        try:
            for event in self.call:
                self.take(event)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DATA_LOSS, error
            assert self.end is not None, error
        if self.data and self.beside:
            assert self.data.recv(1) == b"", "more than was announced"
        return self

    def packets(self):
        return packets_of(b"".join(self.out))[1]


class Relay:
    """A socket in front of pcapd's, which counts, or answers as one that
    knows nothing of it."""

    def __init__(self, test, daemon, answer=None, most=None):
        self.path = os.path.join(daemon.folder, "relay")
        self.most = most  # bytes of data that go through
        self.stuck = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.daemon, self.answer = daemon, answer
        self.lines = self.bytes = 0
        self.open = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        test.addCleanup(self.close)
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        for s in [self.listener] + self.open:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=[near],
                                 daemon=True).start()

    def serve(self, near):
        self.open.append(near)
        with contextlib.suppress(OSError):
            first = near.recv(4096)
            data = first.startswith(b"PCAPD-DATA ")
            self.lines += data
            if data and self.answer is not None:
                near.sendall(self.answer)
                if self.answer:
                    near.recv(1)  # it hangs up
                near.close()
                return
            far = connected(self.daemon)
            far.settimeout(None)
            self.open.append(far)
            far.sendall(first)
            threading.Thread(target=self.carry, args=[near, far, False],
                             daemon=True).start()
            self.carry(far, near, data)

    def carry(self, a, b, data):
        with contextlib.suppress(OSError):
            while True:
                some = a.recv(1 << 20)
                if not some:
                    break
                self.bytes += len(some) if data else 0
                if data and self.most and self.bytes > self.most:
                    b.sendall(some[:self.most - self.bytes])
                    self.stuck = b
                    return
                b.sendall(some)
        for s in a, b:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)


@unittest.skipUnless(grpc, "no grpc for Python")
class Case(unittest.TestCase):
    N = 12000

    def daemon(self, config="", prefix=(), n=None, segment="3M", more=()):
        daemon = Daemon(config + "segment-bytes = %s\n" % segment,
                        prefix=prefix)
        os.chmod(daemon.folder, 0o755)
        daemon.start(*more)
        self.addCleanup(daemon.kill)
        self.sent = made(n or self.N)
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile(self.sent))
        daemon.run("import", "much", path)
        os.unlink(path)
        return daemon

    def plain(self, daemon, **asked):
        """What a client gets that knows nothing of frames."""
        return Raw(self, daemon, b"", zstd=False, **asked).all()

    def connected(self, daemon):
        s = connected(daemon)
        self.addCleanup(s.close)
        return s

    def connections(self, daemon):
        folder = "/proc/%d/fd" % daemon.process.pid
        n = 0
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                n += os.readlink(os.path.join(folder, fd)).startswith("socket")
        return n


class Same(Case):
    def test_a_replay_gives_what_one_without_gives(self):
        daemon = self.daemon()
        self.assertGreater(len(daemon.segments(1)), 2)
        whole, cut = {}, {"since_ns": T0 + 1234567890,
                          "until_ns": T0 + 9876543211}
        for asked in whole, cut, {"since_ns": T0 + 5 * NS}:
            raw = Raw(self, daemon, **asked).all()
            want = self.plain(daemon, **asked)
            self.assertEqual(b"".join(raw.out), b"".join(want.out))
            self.assertGreater(raw.beside, 4)
            # Only what is cut comes by gRPC.
            self.assertLessEqual(raw.inline, 10 if asked else 0)
            self.assertEqual((raw.lost, raw.damaged), (0, 0))
            for name in 1, 3, 4, 5, 6:  # packets, times, lost, complete
                self.assertEqual(raw.end.get(name), want.end.get(name))
        first_difference(self, Raw(self, daemon).all().packets(), self.sent)
        daemon.stop()

    def test_the_command_takes_it(self):
        daemon = self.daemon()
        relay = Relay(self, daemon)
        stored = sum(map(os.path.getsize, daemon.segments(1)))
        for cut in [], ["--since", "@%d.25" % (T0 // NS + 2), "--until",
                        "@%d.125" % (T0 // NS + 9)]:
            relay.bytes = 0
            got, said = daemon.run("--socket", relay.path, "replay", "much",
                                   *cut)
            self.assertGreater(relay.bytes, stored // 3 if cut else
                               stored * 99 // 100)
            want = self.plain(daemon, **({} if not cut else {
                "since_ns": T0 + 9 * NS // 4, "until_ns": T0 + 73 * NS // 8}))
            self.assertEqual(got, b"".join(want.out))
            self.assertIn("%d packets replayed" % want.end[1], said)
            path = os.path.join(daemon.folder, "out.pcap.zst")
            daemon.run("--socket", relay.path, "replay", "much", "-f", "-w",
                       path, *cut)
            self.assertEqual(output("zstd", "-dc", path), got)
        lines = relay.lines
        self.assertEqual(lines, 4)
        # Where packets are picked, no frame is sent.
        for more in ["-c", "5"], ["-s", "60"], ["udp"]:
            daemon.run("--socket", relay.path, "replay", "much", *more)
        self.assertEqual(relay.lines, lines)
        daemon.stop()

    def test_who_knows_nothing_of_it_is_served_as_ever(self):
        daemon = self.daemon(n=3000)
        want, _ = daemon.run("replay", "much")
        # Hangs up; gRPC's settings; something long.
        for answer in b"", bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), b"-" * 999:
            relay = Relay(self, daemon, answer)
            got, _ = daemon.run("--socket", relay.path, "replay", "much")
            self.assertEqual(relay.lines, 1)
            self.assertEqual(got, want)
            relay.close()
        raw = Raw(self, daemon, b"").all()
        self.assertEqual((raw.beside, b"".join(raw.out)), (0, want))
        daemon.stop()

    def test_blocks_in_memory_come_by_grpc(self):
        daemon = self.daemon(n=10)
        # Loopback is shared with tests beside this one: a port of its own.
        daemon.run("init", "lo", "udp port 19", "--alias", "live", "--start")
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        dice = random.Random(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            # No more at once than a small ring holds, however slow it is read.
            for sent in range(500, 4001, 500):
                for i in range(500):
                    s.sendto(dice.randbytes(1400), ("127.0.0.1", 19))
                until(lambda: int(daemon.capture("live")["packets"]) == sent,
                      "all packets")
        until(lambda: daemon.segments(2), "a segment")
        relay = Relay(self, daemon)
        # Some blocks are stored when it is asked, and one is open.
        until(lambda: b"\x28\xb5\x2f\xfd" in self.stored_behind_header(daemon),
              "a frame")
        got, _ = daemon.run("--socket", relay.path, "replay", "live")
        want, _ = daemon.run("replay", "live", "-s", "262144")
        self.assertEqual(len(packets_of(got)[1]), 4000)
        self.assertEqual(got, want)
        live = daemon.popen("--socket", relay.path, "replay", "live", "--live",
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.assertEqual(live.stdout.read(len(want)), want)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"behind it", ("127.0.0.1", 19))
        more = live.stdout.read(16 + 14 + 28 + 9)
        self.assertTrue(more.endswith(b"behind it"))
        live.terminate()
        self.assertEqual(live.wait(PATIENCE), 0)
        self.assertGreater(relay.bytes, 1 << 20)
        daemon.stop()

    def stored_behind_header(self, daemon):
        with open(daemon.segments(2)[0], "rb") as file:
            return file.read()[100:]

    def test_the_audit_has_its_bytes(self):
        daemon = self.daemon()
        stored = sum(map(os.path.getsize, daemon.segments(1)))
        Raw(self, daemon).all()
        Raw(self, daemon, b"").all()
        daemon.run("replay", "much")

        def bytes_of():
            out, _ = daemon.run("audit", "--json")
            rows = [int(row["bytes"]) for row in json.loads(out)["audit"]
                    if row["method"] == "Replay" and not row["under_way"]]
            return rows if len(rows) == 3 else None

        for n in until(bytes_of, "three rows"):
            self.assertAlmostEqual(n, stored, delta=stored // 50)
        daemon.stop()


class Tickets(Case):
    N = 3000

    def beside(self, daemon, ticket, **asked):
        """How many frames of a replay with that ticket, which has no
        connection to read them from, do not come by gRPC."""
        raw = Raw(self, daemon, ticket, **asked).all()
        first_difference(self, raw.packets(), self.sent)
        return raw.beside

    def test_a_ticket_that_is_unknown_changes_nothing(self):
        daemon = self.daemon()
        for n in 1, 15, 16, 17, 1000:
            self.assertEqual(self.beside(daemon, secrets.token_bytes(n)), 0)
        self.assertEqual(self.beside(daemon, bytes(16)), 0)
        daemon.stop()

    def test_a_ticket_is_good_for_one_connection_and_one_replay(self):
        daemon = self.daemon(PATIENT, n=6000)
        raw = Raw(self, daemon)
        next(raw.call)
        next(raw.call)
        self.assertEqual(self.beside(daemon, raw.ticket), 0)
        twin = self.connected(daemon)
        twin.sendall(line(raw.ticket))
        self.assertEqual(heard(twin), b"")
        raw.call.cancel()
        # The connection goes with its replay.
        while raw.data.recv(1 << 20):
            pass
        self.assertEqual(self.beside(daemon, raw.ticket), 0)
        daemon.stop()

    def test_a_ticket_without_use_waits_for_one(self):
        daemon = self.daemon(PATIENT)
        data, ticket = self.connected(daemon), secrets.token_bytes(16)
        data.sendall(line(ticket))
        self.assertEqual(heard(data), b"+")
        # Records are asked for, not frames.
        self.assertEqual(self.beside(daemon, ticket, zstd=False), 0)
        raw = Raw(self, daemon, ticket)
        raw.data = data
        first_difference(self, raw.all().packets(), self.sent)
        self.assertGreater(raw.beside, 0)
        daemon.stop()

    def test_lines_that_are_none_are_hung_up(self):
        daemon = self.daemon(PATIENT)
        good = line(bytes(16))
        for bad in (good.replace(b"0", b"g"), good.replace(b"0", b"F"),
                    good[:-1] + b"0", good[:-2] + b"\r\n", good[:-1] + b"\0",
                    good[:11] + b"\n" * 33, good[:20] + b"\xff" * 24):
            self.assertEqual(len(bad), len(good))
            s = self.connected(daemon)
            s.sendall(bad)
            self.assertEqual(heard(s), b"", bad)
        # In pieces it is one.
        s = self.connected(daemon)
        for byte in good:
            s.sendall(bytes([byte]))
        self.assertEqual(heard(s), b"+")
        daemon.run("list")
        daemon.stop()

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_a_ticket_is_of_who_made_it(self):
        need("setpriv")
        daemon = self.daemon(PATIENT + "viewer-group = news\n",
                             more=["--socket-group", "games"])
        tickets = [secrets.token_bytes(16) for _ in range(3)]

        def stranger(ticket, groups):
            process = subprocess.Popen(
                ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY]
                + groups + [sys.executable, "-c", "import socket, sys\n"
                 "s = socket.socket(socket.AF_UNIX)\n"
                 "s.connect(sys.argv[1])\n"
                 "s.sendall(bytes.fromhex(sys.argv[2]))\n"
                 "print(s.recv(1), flush=True)\n"
                 "print(s.recv(1 << 20), flush=True)\n",
                 daemon.socket, line(ticket).hex()],
                stdout=subprocess.PIPE)
            self.addCleanup(process.stdout.close)
            self.addCleanup(end, process)
            return process

        # Who may do as much as we, and who may look.
        others = [stranger(ticket, ["--groups=%d" % group])
                  for ticket, group in zip(tickets, (GAMES, NEWS))]
        for other, ticket in zip(others, tickets):
            self.assertEqual(other.stdout.readline(), b"b'+'\n")
            self.assertEqual(self.beside(daemon, ticket), 0)
            # His does not keep us from ours, of the same number.
            data = self.connected(daemon)
            data.sendall(line(ticket))
            self.assertEqual(heard(data), b"+")
            raw = Raw(self, daemon, ticket)
            raw.data = data
            first_difference(self, raw.all().packets(), self.sent)
            self.assertGreater(raw.beside, 0)
        # Who may not has none.
        nobody = stranger(tickets[2], ["--clear-groups"])
        self.assertEqual(nobody.stdout.readline(), b"b''\n")
        daemon.stop()
        for other in others:
            self.assertEqual(other.stdout.readline(), b"b''\n")


class Hostile(Case):
    N = 12000

    def test_connections_without_a_replay_are_bounded_and_go(self):
        count, most = 500 if SANITIZE else 3000, 40
        daemon = self.daemon("handshake-timeout = 2s\nmax-peer-connections = "
                             "%d\n" % most, n=3000)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE,
                           (min(hard, count + 1000), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE,
                        (soft, hard))
        crowd, taken = [], 0
        for i in range(count):
            s = self.connected(daemon)
            crowd.append(s)
            with contextlib.suppress(ConnectionError):
                # Some never end their line.
                s.sendall(line(secrets.token_bytes(16))[:None if i % 3 else 30])
        for s in crowd:
            if heard(s) == b"+":
                taken += 1
                self.assertEqual(heard(s), b"")  # in the end
        self.assertGreater(taken, 0)
        until(lambda: "limit" not in daemon.run("list", status=None)[1] and
              self.connections(daemon) < 10, "room")
        raw = Raw(self, daemon).all()
        first_difference(self, raw.packets(), self.sent)
        self.assertGreater(raw.beside, 0)
        daemon.stop()

    def test_over_the_bound_a_replay_goes_without(self):
        daemon = self.daemon("max-peer-connections = 1\n", n=3000)
        relay = Relay(self, daemon)

        def replayed():
            # What was there before may not have gone yet.
            relay.bytes = 0  # an answer of one byte a try
            out, _ = daemon.run("--socket", relay.path, "replay", "much",
                                status=None)
            return out
        got = until(replayed, "a place")
        first_difference(self, packets_of(got)[1], self.sent)
        self.assertLessEqual(relay.bytes, 1)
        daemon.stop()

    def test_a_client_that_is_killed_leaves_nothing_behind(self):
        daemon = self.daemon("max-replays = 1\n")
        before = self.connections(daemon)
        for i in range(8):
            process = daemon.popen("replay", "much", stdout=subprocess.PIPE)
            process.stdout.read(1 + i * 100000)
            process.kill()
            process.wait()
            process.stdout.close()
            until(lambda: self.connections(daemon) <= before, "its end")
        got, _ = daemon.run("replay", "much")
        first_difference(self, packets_of(got)[1], self.sent)
        daemon.stop()

    def test_a_data_connection_that_goes_ends_its_replay(self):
        daemon = self.daemon("max-replays = 1\n")
        raw = Raw(self, daemon)
        next(raw.call)
        raw.data.close()
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in raw.call:
                pass
        self.assertIn("the data connection has ended",
                      caught.exception.details())
        daemon.run("replay", "much", "-c", "1")
        daemon.stop()

    def stuck(self, daemon, **asked):
        """A client that takes nothing, when pcapd waits for it."""
        raw = Raw(self, daemon, **asked)
        raw.take(next(raw.call))
        self.until_waits(daemon, raw)
        return raw

    def until_waits(self, daemon, raw):
        if not SENDFILE:
            self.skipTest("no number of sendfile for this machine")
        folder = "/proc/%d/task" % daemon.process.pid

        def waits():
            if queued(raw.data) < 100000:
                return False
            for id in os.listdir(folder):
                with contextlib.suppress(OSError):
                    with open("%s/%s/syscall" % (folder, id)) as file:
                        if file.read().startswith("%d " % SENDFILE):
                            return True
            return False

        until(waits, "a wait in sendfile")

    def test_a_client_that_stops_reading_does_not_keep_pcapd(self):
        daemon = self.daemon()
        stuck = self.stuck(daemon)
        stopped = daemon.popen("replay", "much", stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        stopped.send_signal(signal.SIGSTOP)
        daemon.run("list")
        daemon.stop()
        self.assertIn("they are cut off", daemon.said())
        stopped.kill()
        self.assertIsNone(stuck.end)

    def test_a_call_that_is_cancelled_does_not_wait_for_its_data(self):
        daemon = self.daemon("max-replays = 1\n")
        raw = self.stuck(daemon)
        raw.call.cancel()
        until(lambda: "max-replays" not in daemon.run(
            "replay", "much", "-c", "1", status=None)[1], "room")
        # What had been sent is there, and then an end.
        while raw.data.recv(1 << 20):
            pass
        daemon.stop()

    def test_who_takes_nothing_is_dropped(self):
        daemon = self.daemon("send-timeout = 1s\nmax-replays = 1\n")
        raw = self.stuck(daemon)
        until(lambda: "send-timeout: nothing was taken for 1 s"
              in daemon.said(), "the end of the stuck one")
        until(lambda: "max-replays" not in daemon.run(
            "replay", "much", "-c", "1", status=None)[1], "room")
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in raw.call:
                pass
        self.assertEqual(caught.exception.code(),
                         grpc.StatusCode.DEADLINE_EXCEEDED)
        daemon.stop()

    def test_a_reader_hears_that_pcapd_stops(self):
        daemon = self.daemon()
        raw = self.stuck(daemon)
        daemon.process.terminate()
        events = iter(raw.call)
        with contextlib.suppress(grpc.RpcError):
            for event in events:
                raw.take(event)
        self.assertIsNotNone(raw.end)
        self.assertNotIn(6, raw.end)
        self.assertEqual(raw.end[7], b"pcapd is stopping")
        got = raw.packets()
        self.assertEqual(len(got), raw.end[1])
        first_difference(self, got, self.sent[:len(got)])
        self.assertEqual(daemon.wait(), 0)

    def test_the_command_can_be_stopped_within_a_frame(self):
        daemon = self.daemon()
        relay = Relay(self, daemon, most=1500000)
        process = daemon.popen("--socket", relay.path, "replay", "much", "-w",
                               "/dev/null", stderr=subprocess.DEVNULL)
        until(lambda: relay.stuck and
              queued(relay.stuck, termios.TIOCOUTQ) == 0, "it to read all")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE), 0)
        relay.close()
        daemon.stop()


class Damage(Case):
    N = 24000

    def both(self, daemon, *more):
        """The command with and without, which say and give the same."""
        answers = []
        for answer in None, b"":
            relay = Relay(self, daemon, answer)
            done = subprocess.run(
                [PCAP, "--socket", relay.path, "replay", "much"] + list(more),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, timeout=4 * PATIENCE)
            answers.append((done.returncode, done.stdout,
                            done.stderr.decode()))
            self.assertEqual(relay.bytes > 1, answer is None)
            relay.close()
        self.assertEqual(answers[0][0], answers[1][0])
        self.assertEqual(answers[0][2], answers[1][2])
        self.assertTrue(answers[0][1] == answers[1][1], "other packets")
        return answers[0]

    def is_part(self, got, missing):
        """All but so many of what was sent, in order."""
        at = iter(self.sent)
        for p in got:
            self.assertTrue(any(q == p for q in at), "an altered packet")
        self.assertEqual(len(got) + missing, len(self.sent))

    def test_frames_that_are_damaged_cost_their_packets(self):
        daemon = self.daemon(segment="8M")
        for path in daemon.segments(1)[:2]:
            with open(path, "r+b") as file:
                file.seek(os.path.getsize(path) // 2)
                file.write(bytes(3000))
        code, out, said = self.both(daemon)
        self.assertEqual(code, INCOMPLETE)
        got = packets_of(out)[1]
        self.is_part(got, len(self.sent) - len(got))
        self.assertIn("%d packets are in damaged frames" %
                      (len(self.sent) - len(got)), said)
        daemon.stop()

    def test_segments_that_are_gone_are_told_once_and_stay_a_gap(self):
        daemon = self.daemon(segment="4M")
        paths = daemon.segments(1)
        left = len(self.sent)
        for path, ticket in (paths[2], None), (paths[4], b""):
            os.unlink(path)
            raw = Raw(self, daemon, ticket).all()
            self.assertEqual(raw.beside > 0, ticket is None)
            self.is_part(raw.packets(), len(self.sent) - left + raw.lost)
            self.assertGreater(raw.lost, 0)
            self.assertEqual(raw.end[5], raw.lost)
            left -= raw.lost
        # From here on the ledger says it, to whoever asks for that range, and
        # nothing is whole that was not.
        code, out, said = self.both(daemon)
        self.assertEqual(code, INCOMPLETE)
        self.assertIn("%d packets that were stored are damaged or gone" %
                      (len(self.sent) - left), said)
        for line in (), ("udp",):
            self.assertIn("%d packets could not be looked at" %
                          (len(self.sent) - left),
                          daemon.run("count", "much", *line,
                                     status=INCOMPLETE)[1])
        # Outside of it all is there, also where a replay has enough.
        daemon.run("replay", "much", "-c", "100")
        daemon.run("count", "much", "--until", "@%.9f" %
                   (self.sent[100].ns / NS))
        self.is_part(packets_of(out)[1], len(self.sent) - left)
        self.assertIn("gaps: 2 (damage), %d packets counted in them" %
                      (len(self.sent) - left), said)
        code, _, _ = self.both(daemon, "--strict")
        self.assertEqual(code, INCOMPLETE)
        daemon.stop()

    def test_segments_that_are_cut_off_cost_their_packets(self):
        daemon = self.daemon(segment="4M")
        paths = daemon.segments(1)
        os.truncate(paths[0], os.path.getsize(paths[0]) * 2 // 3)
        os.truncate(paths[2], 0)
        self.both(daemon)  # the ledger is told
        code, out, said = self.both(daemon)
        self.assertEqual(code, INCOMPLETE)
        got = packets_of(out)[1]
        self.is_part(got, len(self.sent) - len(got))
        raw = Raw(self, daemon).all()
        self.assertEqual(raw.end[1], len(got))
        self.assertEqual(raw.end[5], len(self.sent) - len(got))
        self.assertEqual(raw.lost, raw.end[5])
        self.assertEqual(raw.damaged, 0)
        daemon.stop()

    def test_a_segment_that_is_cut_off_meanwhile(self):
        daemon = self.daemon(segment="8M")
        raw = Hostile.stuck(self, daemon)
        os.truncate(daemon.segments(1)[0], 0)
        raw.all()
        self.assertEqual(raw.damaged, 1)
        self.is_part(raw.packets(), raw.lost)
        self.assertEqual(raw.end[1], len(raw.packets()))
        self.assertEqual(raw.end[5], raw.lost)
        self.assertNotIn(6, raw.end)  # complete
        out, _ = daemon.run("gaps", "much", "--json", status=None)
        gaps = json.loads(out)["gaps"]
        self.assertEqual({g["cause"] for g in gaps}, {"damage"})
        self.assertEqual(sum(int(g["packets"]) for g in gaps), raw.lost)
        daemon.stop()

    until_waits = Hostile.until_waits

    # Every other call of sendfile passes a half on and the next one fails;
    # with BROKEN the read after that does, too, of the first ones.
    LIBRARY = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static __thread int calls, broken;

ssize_t sendfile(int to, int from, off_t *at, size_t n)
{
	if (calls++ % 2) {
		broken++;
		errno = getenv("BROKEN") ? EIO : EINVAL;
		return -1;
	}
	return syscall(SYS_sendfile, to, from, at, n - n / 2);
}

ssize_t sendfile64(int to, int from, off_t *at, size_t n)
{
	return sendfile(to, from, at, n);
}

ssize_t pread(int fd, void *to, size_t n, off_t at)
{
	const char *most = getenv("BROKEN");

	if (most && broken && broken <= atoi(most)) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, to, n, at);
}

ssize_t pread64(int fd, void *to, size_t n, off_t at)
{
	return pread(fd, to, n, at);
}
"""

    def refusing(self, n, **environment):
        folder = Daemon().folder
        return self.daemon(segment="4M", n=n, prefix=before_libc(
            folder, self.LIBRARY, **environment))

    def test_a_file_system_without_sendfile_is_read(self):
        daemon = self.refusing(6000)
        raw = Raw(self, daemon).all()
        first_difference(self, raw.packets(), self.sent)
        self.assertGreater(raw.beside, 4)
        self.assertEqual((raw.damaged, raw.lost), (0, 0))
        daemon.stop()

    def test_frames_that_cannot_be_read_are_lost_once(self):
        daemon = self.refusing(8000, BROKEN="3")
        path = os.path.join(daemon.folder, "out.pcap.zst")
        raw = Raw(self, daemon).all()
        self.assertEqual(raw.damaged, 3)
        self.is_part(raw.packets(), raw.lost)
        self.assertEqual((raw.end[1], raw.end[5]),
                         (len(raw.packets()), raw.lost))
        self.assertEqual(raw.end[2], raw.end[1])  # examined
        for more in [], ["-f", "-w", path]:
            out, said = daemon.run("replay", "much", *more, status=INCOMPLETE)
            if more:
                out = output("zstd", "-dc", path)
            self.assertEqual(packets_of(out)[1], raw.packets())
            self.assertIn("replay much is not complete: %d packets are "
                          "missing" % raw.lost, said)
            self.assertIn("%d packets replayed, %d examined" % (
                raw.end[1], raw.end[1]), said)
        daemon.stop()


if __name__ == "__main__":
    main()
