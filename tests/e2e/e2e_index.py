#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""A filter at replay gives what tcpdump gives of the same packets, byte for
byte, for every link type whose headers are summarised and one whose are not;
and blocks that cannot match are not read: neither on disk, nor in the segment
that is being written."""

import contextlib
import json
import os
import random
import shutil
import struct
import subprocess
import unittest

from harness import (INCOMPLETE, NS, OK, PCAPD, SANITIZE, Daemon, Gates,
                     Packet, first_difference, main, need, output, packets_of,
                     savefile, until)

NANO = "--time-stamp-precision=nano"
T0 = 1767225600 * NS
LINK_TYPES = {"null": 0, "ethernet": 1, "ppp": 9, "raw": 101, "loop": 108,
              "sll": 113, "ipv4": 228, "ipv6": 229, "sll2": 276}
PACKETS = 1500  # of about 4 KiB each: some blocks
PORTS = [22, 53, 80, 443, 445, 8080]


def address(dice, era):
    return bytes([10, era, dice.randrange(3), dice.randrange(1, 6)])


def address6(dice, era):
    return bytes.fromhex("20010db8") + bytes([0, era]) + bytes(9) + bytes(
        [dice.randrange(1, 6)])


def port(dice):
    return dice.choice(PORTS + [dice.randrange(1024, 1100)] * 3)


def transport(dice, data):
    kind = dice.choice([6, 6, 17, 17, 1, 132, 50])
    head = struct.pack(">HH", port(dice), port(dice))
    if kind == 6:
        head += struct.pack(">IIBBHHH", 1, 1, 0x50, dice.randrange(64), 9, 0,
                            0)
    elif kind == 17:
        head += struct.pack(">HH", 8 + len(data), 0)
    elif kind == 1:
        head = bytes([dice.choice([0, 3, 8, 11]), 0, 0, 0])
    return kind, head + data


def ip4(dice, era, data):
    kind, body = transport(dice, data)
    options = bytes(4 * dice.choice([0, 0, 0, 0, 1, 10]))
    fragment = dice.choice([0] * 6 + [0x2000, 0x2007, 0x0007, 0x4000])
    return struct.pack(">BBHHHBBH4s4s", 0x45 + len(options) // 4, 0,
                       20 + len(options) + len(body), 0, fragment, 64, kind,
                       0, address(dice, era),
                       address(dice, era)) + options + body


def ip6(dice, era, data):
    kind, body = transport(dice, data)
    if dice.random() < 0.15:  # an extension, or a fragment
        extension = dice.choice([0, 44, 60])
        body = bytes([kind, 0]) + bytes(6) + body
        kind = extension
    return struct.pack(">IHBB16s16s", 6 << 28, len(body), kind, 64,
                       address6(dice, era), address6(dice, era)) + body


def arp(dice, era):
    return struct.pack(">HHBBH6s4s6s4s", 1, 0x800, 6, 4,
                       dice.choice([1, 2]), b"\2\0\0\0\0\1",
                       address(dice, era), bytes(6), address(dice, era))


def network(dice, era):
    """(EtherType, bytes)"""
    data = bytes(dice.randrange(2, 8000))
    kind = dice.random()
    if kind < 0.6:
        return 0x800, ip4(dice, era, data)
    if kind < 0.85:
        return 0x86dd, ip6(dice, era, data)
    if kind < 0.92:
        return 0x806, arp(dice, era)
    return dice.choice([0x8847, 0x88cc, 0x0042]), data


def mac(dice):
    return b"\2\0\0\0\0" + bytes([dice.randrange(4)])


def frame(dice, era, link_type):
    kind, body = network(dice, era)
    family = {0x800: 2, 0x86dd: dice.choice([10, 24, 28, 30])}.get(kind, 7)
    if link_type == 1:
        tags = b""
        for _ in range(dice.choice([0, 0, 0, 0, 1, 2])):
            tags += struct.pack(">HH", dice.choice([0x8100, 0x88a8]),
                                dice.choice([1, 7, era]))
        return mac(dice) + mac(dice) + tags + struct.pack(">H", kind) + body
    if link_type == 0:
        return struct.pack("<I", family) + body
    if link_type == 108:
        return struct.pack(">I", family) + body
    if link_type == 113:
        return struct.pack(">HHH8sH", dice.choice([0, 1, 4]), 1, 6, mac(dice),
                           kind) + body
    if link_type == 276:
        return struct.pack(">HHIHBB8s", kind, 0, dice.choice([1, 2, era]), 1,
                           dice.choice([0, 1, 4]), 6, mac(dice)) + body
    if link_type == 9:
        return struct.pack(">HH", 0xff03, {0x800: 0x21, 0x86dd: 0x57}.get(
            kind, 0xc021)) + body
    if link_type == 228 and kind != 0x800:
        return ip4(dice, era, body[:100])
    if link_type == 229 and kind != 0x86dd:
        return ip6(dice, era, body[:100])
    return body


def traffic(dice, link_type, n, whole=False):
    """whole: no garbage, and nothing is cut."""
    packets = []
    for i in range(n):
        body = frame(dice, 1 + i * 12 // n, link_type)
        if not whole and dice.random() < 0.03:
            body = dice.randbytes(len(body))
        length = len(body)
        if not whole and dice.random() < 0.1:  # cut by a snaplen
            body = body[:dice.randrange(0, 80)]
        packets.append(Packet(T0 + i * 1000003, body, length))
    return packets


def primitive(dice):
    era = dice.randrange(1, 14)
    host = "10.%d.%d.%d" % (era, dice.randrange(3), dice.randrange(1, 7))
    side = dice.choice(["", "", "src ", "dst "])
    number = dice.choice(PORTS + [1030, 2000])
    return dice.choice([
        side + "host " + host,
        side + "net 10.%d" % era,
        side + "net 10.%d.0.0/15" % (era & ~1),
        side + "host 2001:db8:%x::%d" % (era, dice.randrange(1, 7)),
        side + "net 2001:db8:%x::/48" % era,
        side + "port %d" % number,
        side + "portrange %d-%d" % (number, number + dice.choice([1, 50])),
        "tcp " + side + "port %d" % number,
        "udp " + side + "port %d" % number,
        "sctp port %d" % number,
        "ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6", "sctp", "esp",
        "ip proto 50", "ip6 proto 60", "ip6 protochain 17",
        "arp host " + host, "vlan", "vlan %d" % era, "vlan 7 and vlan 1",
        "ether src 02:00:00:00:00:0%d" % dice.randrange(5),
        "ether host 02:00:00:00:00:01", "ether proto 0x88cc",
        "ether multicast", "ip broadcast", "ip multicast", "mpls",
        "greater %d" % dice.choice([60, 1500, 9000]),
        "less %d" % dice.choice([60, 1500]), "len = %d" % number,
        "ip[8] = 64", "ip[6:2] & 0x1fff != 0", "ip[16:4] = 0x0a%02x0001" % era,
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[13] > 40",
        "icmp[icmptype] = icmp-echo", "udp[4:2] < 500", "ip[0] & 0xf > 5",
        "ether[12:2] = 0x800", "inbound", "outbound",
        "ip[2:2] - 20 > %d" % number, "ip6[6] = 44",
    ])


def expression(dice, depth=0):
    roll = dice.random()
    if depth > 2 or roll < 0.45:
        return primitive(dice)
    if roll < 0.6:
        return "not (%s)" % expression(dice, depth + 1)
    return "(%s) %s (%s)" % (expression(dice, depth + 1),
                             dice.choice(["and", "and", "or"]),
                             expression(dice, depth + 1))


class Filters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need("tcpdump")
        cls.daemon = Daemon("segment-bytes = 2M\n").start()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def check(self, name):
        seed = 20260101 + LINK_TYPES[name]
        dice = random.Random(seed)
        path = os.path.join(self.daemon.folder, name + ".pcap")
        with open(path, "wb") as file:
            file.write(savefile(traffic(dice, LINK_TYPES[name], PACKETS),
                                LINK_TYPES[name]))
        self.daemon.run("import", name, path)
        done = 0
        while done < (3 if SANITIZE else 40):
            text = expression(dice)
            oracle = subprocess.run(
                ["tcpdump", NANO, "-r", path, "-w", "-", text],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            if oracle.returncode:
                continue  # not of this link type
            done += 1
            with self.subTest(seed=seed, filter=text):
                got, _ = self.daemon.run("replay", name, text)
                if got != oracle.stdout:
                    first_difference(self, packets_of(got)[1],
                                     packets_of(oracle.stdout)[1])
                    self.assertEqual(got[20:24], oracle.stdout[20:24])

    def test_null(self):
        self.check("null")

    def test_ethernet(self):
        self.check("ethernet")

    def test_ppp_which_is_not_summarised(self):
        self.check("ppp")

    def test_raw(self):
        self.check("raw")

    def test_loop(self):
        self.check("loop")

    def test_linux_cooked(self):
        self.check("sll")

    def test_ipv4(self):
        self.check("ipv4")

    def test_ipv6(self):
        self.check("ipv6")

    def test_linux_cooked_2(self):
        self.check("sll2")


class Spool(unittest.TestCase):
    """Some segments, each with hosts of its own."""

    @classmethod
    def setUpClass(cls):
        need("tcpdump", "zstd")
        dice = random.Random(7)
        cls.packets = traffic(dice, 1, 3000, whole=True)
        cls.whole = Daemon("segment-bytes = 1M\n").start()
        path = os.path.join(cls.whole.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile(cls.packets))
        cls.path = path
        cls.whole.run("import", "traffic", path)
        cls.whole.stop()

    def setUp(self):
        self.daemon = Daemon("segment-bytes = 1M\n")
        shutil.copytree(self.whole.spool, self.daemon.spool)

    def tearDown(self):
        if self.daemon.process and self.daemon.process.poll() is None:
            self.daemon.stop()

    def explain(self, *arguments):
        """The table as numbers, and what is said below it."""
        out, _ = self.daemon.run("replay", "traffic", "--explain", *arguments)
        lines = out.decode().splitlines()
        steps = [[int(x) for x in line[len("by segment"):].split()[:3]]
                 for line in lines[1:4]]
        return steps, lines[4:]

    def count(self, *arguments, status=OK):
        out, _ = self.daemon.run("count", "traffic", "--json", *arguments,
                                 status=status)
        return json.loads(out)

    def matches(self, *words):
        return packets_of(output("tcpdump", NANO, "-r", self.path, "-w", "-",
                                 *words))[1]

    def strip(self, path):
        """As an older version would have written it: no index."""
        with open(path, "rb") as file:
            data = file.read()
        entries, = struct.unpack_from("<I", data, len(data) - 9)
        table = len(data) - entries * 8 - 17
        index, _, footer, _ = struct.unpack_from("<4I", data, len(data) - 25)
        rows = data[table + 8:-25] + data[-17:-9]
        with open(path, "wb") as file:
            file.write(data[:table - footer - index] +
                       data[table - footer:table] +
                       struct.pack("<II", 0x184d2a5e, len(rows) + 9) + rows +
                       struct.pack("<IBI", entries - 1, 0, 0x8f92eab1))

    def tool(self, verb, status):
        done = subprocess.run(
            [PCAPD, "--config",
             self.daemon.config, "--spool", self.daemon.spool, verb],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def test_explain_says_what_is_left_at_each_step(self):
        self.daemon.start()
        host = "host 10.6.1.3"
        whole, segments, read = self.explain(*host.split())[0]
        self.assertEqual(whole[2], len(self.packets))
        self.assertLess(segments[0], whole[0] // 2)
        self.assertLess(0, read[1])
        self.assertLessEqual(read[1], segments[1])
        self.assertLess(read[2], whole[2] // 4)
        self.assertEqual(self.explain()[0], [whole] * 3)
        _, said = self.explain("tcp[100] = 7")
        self.assertIn("no summary has the 1 byte at 114 and more", said[0])
        got = self.count(*host.split())
        self.assertEqual(got["packets"], len(self.matches(host)))
        self.assertEqual(got["blocks_read"], read[1])

    def test_explain_names_words_that_have_too_many_values(self):
        self.daemon.start()
        self.assertEqual(self.explain("host", "10.6.1.3")[1], [])
        path = os.path.join(self.daemon.folder, "flood.pcap")
        dice = random.Random(8)
        head = bytes(12) + b"\x08\x00\x45" + bytes(8) + b"\x06" + bytes(2)
        with open(path, "wb") as file:  # sources are random, and nothing else
            file.write(savefile([
                Packet(T0 + i, head + dice.randbytes(4) + bytes(
                    [10, 1, 1, 1, 0, 80, 1, i % 50]) + bytes(20))
                for i in range(40000)]))
        self.daemon.run("import", "flood", path)

        def explain(*words):
            out, _ = self.daemon.run("replay", "flood", "--explain", *words)
            lines = out.decode().splitlines()
            return [line.split() for line in lines[1:4]], lines[4:]

        (whole, _, read), said = explain("host", "10.6.1.3")
        self.assertEqual(whole[2:5], read[2:5])
        self.assertEqual(said, [
            "IPv4 source: too many values to rule out anything in %s segments "
            "and %s blocks of these" % (read[2], read[3])])
        # What is not looked at, or is left out anyway, is nobody's doing.
        self.assertEqual(explain("port", "80")[1], [])
        self.assertEqual(explain("dst", "10.6.1.3")[1], [])

    def test_counts_are_those_of_tcpdump(self):
        self.daemon.start()
        for words in ([], ["tcp"], ["net", "10.3"], ["port", "53"]):
            want = {}
            for p in self.matches(*words):
                want[p.ns // NS * NS] = want.get(p.ns // NS * NS, 0) + 1
            got = self.count("--by", "1s", *words)
            self.assertEqual({i["from_ns"]: i["packets"]
                              for i in got["intervals"]}, want)
            self.assertEqual(got["packets"], sum(want.values()))
        out, _ = self.daemon.run("count", "traffic")
        self.assertEqual(out, b"%d\n" % len(self.packets))

    def test_without_a_filter_only_edges_are_read(self):
        self.daemon.start()
        whole = self.count()
        self.assertEqual(whole["packets"], len(self.packets))
        self.assertEqual(whole["blocks_read"], 0)
        first, last = self.packets[100].ns, self.packets[-100].ns
        part = self.count("--since", "@%d.%09d" % (first // NS, first % NS),
                          "--until", "@%d.%09d" % (last // NS, last % NS))
        self.assertEqual(part["packets"], len(self.packets) - 200)
        self.assertLessEqual(part["blocks_read"], 2)
        self.assertGreater(part["blocks_known"], 4)

    def test_segments_without_an_index_are_read_until_reindex(self):
        for path in self.daemon.segments(1):
            self.strip(path)
        # Their rows say how long they were, indexes included.
        said = self.tool("check", INCOMPLETE)
        self.assertEqual(said.count("in the catalog its other_bytes is"),
                         len(self.daemon.segments(1)))
        self.assertIn(" %d problems" % len(self.daemon.segments(1)), said)
        want = self.matches("host", "10.6.1.3")
        self.daemon.start()
        got, _ = self.daemon.run("replay", "traffic", "host", "10.6.1.3")
        first_difference(self, packets_of(got)[1], want)
        (whole, segments, read), said = self.explain("host", "10.6.1.3")
        self.assertEqual(whole, read)
        self.assertIn("%d segments have no index" % whole[0], said[0])
        self.daemon.stop()
        said = self.tool("reindex", OK)
        self.assertIn("%d segments have an index now" % whole[0], said)
        self.assertIn("\n0 segments", "\n" + self.tool("reindex", OK))
        self.tool("check", OK)
        self.daemon.start()
        got, _ = self.daemon.run("replay", "traffic", "host", "10.6.1.3")
        first_difference(self, packets_of(got)[1], want)
        self.assertLess(self.explain("host", "10.6.1.3")[0][2][1],
                        whole[1] // 2)

    def test_a_folder_that_was_copied_in_is_taken_in(self):
        shutil.rmtree(self.daemon.spool)
        os.mkdir(self.daemon.spool)
        os.mkdir(self.daemon.spool + "/1")
        for path in self.whole.segments(1):
            shutil.copy(path, self.daemon.spool + "/1")
        for path in self.daemon.segments(1)[::2]:
            self.strip(path)
        said = self.tool("reindex", OK)
        self.assertIn("the capture is in the catalog again", said)
        self.daemon.start()
        got, _ = self.daemon.run("replay", "traffic")
        first_difference(self, packets_of(got)[1], self.packets)
        self.assertLess(self.explain("host", "10.6.1.3")[0][1][0],
                        len(self.daemon.segments(1)) // 2)

    def test_a_damaged_index_costs_nothing_but_time(self):
        for path in self.daemon.segments(1):
            with open(path, "r+b") as file:
                data = file.read()
                index, _, footer, _, n = struct.unpack_from(
                    "<5I", data, len(data) - 25)
                at = len(data) - n * 8 - 17 - footer - index
                for i in range(at + 60, at + index, 97):
                    file.seek(i)
                    file.write(bytes([data[i] ^ 0x10]))
        self.daemon.start()
        for words in (["host", "10.6.1.3"], ["udp", "port", "53"]):
            got, _ = self.daemon.run("replay", "traffic", *words)
            first_difference(self, packets_of(got)[1], self.matches(*words))
        self.daemon.stop()
        self.assertIn("the index is damaged", self.tool("check", INCOMPLETE))
        self.tool("reindex", OK)
        self.tool("check", OK)

    def test_a_search_ends_when_pcapd_stops(self):
        for command in (["replay", "traffic"], ["count", "traffic"],
                        ["replay", "traffic", "--explain"]):
            self.daemon.start()
            gates = Gates(self.daemon, 1)
            self.addCleanup(self.daemon.kill)
            client = self.daemon.popen(*command, "host", "203.0.113.7",
                                       stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            gates.wait()
            self.daemon.process.terminate()
            client.wait()  # is answered by who stops
            gates.open_until(lambda: self.daemon.process.poll() is not None)
            self.assertEqual(self.daemon.wait(), 0)
            self.setUp()



class Ahead(unittest.TestCase):
    """Blocks that are decoded before their turn."""

    @classmethod
    def setUpClass(cls):
        need("tcpdump")
        cls.packets = traffic(random.Random(11), 1, 5000, whole=True)
        cls.whole = Daemon("segment-bytes = 8M\n").start()
        cls.path = os.path.join(cls.whole.folder, "in.pcap")
        with open(cls.path, "wb") as file:
            file.write(savefile(cls.packets))
        cls.whole.run("import", "traffic", cls.path)
        cls.whole.stop()

    def start(self, decoders):
        self.daemon = Daemon("decoders = %d\n" % decoders)
        shutil.copytree(self.whole.spool, self.daemon.spool)
        self.daemon.start()

    def decoders(self):
        """The nice values of the threads that decode."""
        found, tasks = [], "/proc/%d/task" % self.daemon.process.pid
        for task in os.listdir(tasks):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open("%s/%s/stat" % (tasks, task)) as file:
                    head, _, rest = file.read().rpartition(")")
                if head.endswith("(pcapd-decode"):
                    found.append(int(rest.split()[16]))
        return found

    def test_what_comes_is_what_tcpdump_gives_however_many_decode(self):
        for decoders in (0, 1, 3):
            self.start(decoders)
            for words in (["tcp"], ["port", "53"], ["ip6"], ["len", ">", "9"]):
                want = packets_of(output("tcpdump", NANO, "-r", self.path,
                                         "-w", "-", *words))[1]
                with self.subTest(decoders=decoders, filter=words):
                    got, _ = self.daemon.run("replay", "traffic", *words)
                    first_difference(self, packets_of(got)[1], want)
                    out, _ = self.daemon.run("count", "traffic", *words)
                    self.assertEqual(int(out), len(want))
            self.assertEqual(self.decoders(), [])
            self.daemon.stop()

    def paused(self):
        """A replay that nobody reads, once it is under way."""
        client = self.daemon.popen("replay", "traffic", "len", ">", "9",
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        until(lambda: self.decoders() == [5, 5], "decoders")
        return client

    def test_they_end_with_a_client_that_goes(self):
        self.start(2)
        with self.paused() as client:
            client.kill()
            until(lambda: not self.decoders(), "no decoders")
        # The first packet needs none.
        self.daemon.run("replay", "traffic", "-c", "1", "tcp")
        self.assertEqual(self.decoders(), [])
        with self.paused() as client:
            self.daemon.stop()
            client.kill()

    def test_a_reader_ends_its_segment_though_it_expires(self):
        self.start(2)
        with self.paused() as client:
            self.daemon.run("set", "traffic", "--keep-bytes", "1", "--yes")
            until(lambda: not self.daemon.segments(1), "expiry")
            got = packets_of(client.stdout.read())[1]
            self.assertEqual(client.wait(), INCOMPLETE)
        self.assertGreater(len(got), 1000)
        self.assertLess(len(got), len(self.packets))
        first_difference(self, got, self.packets[:len(got)])
        self.daemon.stop()


if __name__ == "__main__":
    main()
