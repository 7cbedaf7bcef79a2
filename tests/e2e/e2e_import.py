#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Savefiles go in, and exactly what went in comes out: compared with zstd,
tcpdump and a reader of our own, for whole files, ranges, filters, counts and
damaged files."""

import os
import random
import struct
import subprocess
import unittest

from harness import (FAILED, INCOMPLETE, NOT_FOUND, NS, SANITIZE, USAGE,
                     Daemon, Packet, first_difference, main, need, output,
                     packets_of, savefile, shared, udp_packet)

NANO = "--time-stamp-precision=nano"
T0 = 1767225600 * NS


def made(n, size=100, step=1000003):
    return [udp_packet(T0 + i * step, i, size) for i in range(n)]


def epoch(ns):
    return "@%d.%09d" % (ns // NS, ns % NS)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need("sqlite3", "tcpdump", "zstd")
        cls.daemon = Daemon("segment-bytes = 4M\n").start()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def file(self, name, data):
        path = os.path.join(self.daemon.folder, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def replay(self, *arguments, status=0):
        out, said = self.daemon.run("replay", *arguments, status=status)
        return packets_of(out)[1], said


class Mixed(Case):
    """102,031 real packets, imported once."""

    @classmethod
    def setUpClass(cls):
        packed = shared("mixed.pcap.zst")
        super().setUpClass()
        cls.plain = output("zstd", "-dc", packed)
        cls.path = os.path.join(cls.daemon.folder, "mixed.pcap")
        with open(cls.path, "wb") as file:
            file.write(cls.plain)
        cls.packets = packets_of(cls.plain)[1]
        cls.daemon.run("import", "mixed", packed)
        cls.id = cls.daemon.capture("mixed")["id"]

    def test_replay_gives_every_byte_in_order(self):
        out, said = self.daemon.run("replay", "mixed")
        self.assertEqual(len(out), len(self.plain))
        self.assertTrue(out == self.plain, "same length, other bytes")
        self.assertIn("102031", said.replace(",", ""))

    def test_w_writes_the_same_file_and_never_over_another(self):
        path = os.path.join(self.daemon.folder, "out.pcap")
        out, _ = self.daemon.run("replay", "mixed", "-w", path)
        self.assertEqual(out, b"")
        with open(path, "rb") as file:
            self.assertTrue(file.read() == self.plain)
        self.daemon.run("replay", "mixed", "-c", "1", "-w", path,
                        status=FAILED)
        self.assertEqual(os.path.getsize(path), len(self.plain))
        self.daemon.run("replay", "mixed", "-c", "1", "-w", path, "--force")
        with open(path, "rb") as file:
            first_difference(self, packets_of(file.read())[1],
                             self.packets[:1])

    def test_w_zst_has_the_frames_as_they_are_stored(self):
        path = os.path.join(self.daemon.folder, "out.pcap.zst")
        self.daemon.run("replay", "mixed", "-w", path)
        output("zstd", "-tq", path)
        self.assertTrue(output("zstd", "-dc", path) == self.plain)
        with open(path, "rb") as file:
            packed = file.read()
        rows = output("sqlite3", self.daemon.spool + "/catalog.db",
                      "SELECT segment, offset, stored_bytes FROM blocks "
                      "WHERE capture = %d" % self.id).decode().split()
        self.assertGreater(len(rows), 30)
        at = 0
        for row in rows:
            segment, offset, length = (int(x) for x in row.split("|"))
            with open("%s/%d/%020d.pcap.zst" % (self.daemon.spool, self.id,
                                                segment), "rb") as file:
                file.seek(offset)
                frame = file.read(length)
            at = packed.find(frame, at)
            self.assertGreater(at, 0, row)

    def test_w_zst_of_a_part_is_packed_too(self):
        path = os.path.join(self.daemon.folder, "part.pcap.zst")
        out, _ = self.daemon.run("replay", "mixed", "-c", "9000", "udp")
        self.daemon.run("replay", "mixed", "-c", "9000", "-w", path, "udp")
        self.assertTrue(output("zstd", "-dc", path) == out)
        self.assertLess(os.path.getsize(path), 0.9 * len(out))

    def test_segments_are_savefiles_for_zstd_and_tcpdump(self):
        segments = self.daemon.segments(self.id)
        self.assertGreater(len(segments), 4)
        everything = []
        for path in segments:
            plain = output("zstd", "-dc", path)
            self.assertLessEqual(len(plain), 24 + (4 << 20) + (1 << 20))
            written = output("tcpdump", NANO, "-r", "-", "-w", "-",
                             stdin=plain)
            self.assertTrue(written[24:] == plain[24:])
            everything += packets_of(plain)[1]
            listed = output("zstd", "-l", path).decode()
            self.assertIn(os.path.basename(path), listed)
            output("zstd", "-t", "-q", path)
        first_difference(self, everything, self.packets)

    def test_the_seek_table_says_where_every_frame_lies(self):
        """The format as zstd's contrib/seekable_format documents it."""
        for path in self.daemon.segments(self.id)[:3]:
            with open(path, "rb") as file:
                data = file.read()
            frames, descriptor, magic = struct.unpack("<IBI", data[-9:])
            self.assertEqual(magic, 0x8F92EAB1)
            entry = 12 if descriptor & 0x80 else 8
            self.assertEqual(descriptor & 0x7c, 0, "reserved bits")
            content = frames * entry + 9
            table = len(data) - content - 8
            skippable, length = struct.unpack_from("<II", data, table)
            self.assertEqual((skippable, length), (0x184D2A5E, content))
            at, plain = 0, b""
            for i in range(frames):
                packed, unpacked = struct.unpack_from(
                    "<II", data, table + 8 + i * entry)
                frame = data[at:at + packed]
                number, = struct.unpack_from("<I", frame)
                if number == 0xFD2FB528:
                    got = output("zstd", "-dc", stdin=frame)
                else:
                    self.assertEqual(number & ~0xf, 0x184D2A50)
                    got = b""
                self.assertEqual(len(got), unpacked, "frame %d" % i)
                at += packed
                plain += got
            self.assertEqual(at, table, "frames end where the table starts")
            self.assertEqual(plain, output("zstd", "-dc", path))

    def test_the_catalog_adds_up(self):
        need("sqlite3")
        rows = output(
            "sqlite3", "-readonly", self.daemon.spool + "/catalog.db",
            "SELECT count(*), sum(packets), sum(raw_bytes), min(min_ns),"
            " max(max_ns) FROM blocks WHERE capture = %s" % self.id)
        blocks, packets, raw, first, last = map(int, rows.split(b"|"))
        self.assertGreaterEqual(blocks, len(self.plain) >> 20)
        self.assertEqual((packets, raw), (102031, len(self.plain) - 24))
        self.assertEqual(first, min(p.ns for p in self.packets))
        self.assertEqual(last, max(p.ns for p in self.packets))

    def test_random_ranges_filters_and_counts(self):
        """Ranges by our reader, filters by tcpdump, both by both."""
        seed = 20260101
        dice = random.Random(seed)
        first, last = self.packets[0].ns, self.packets[-1].ns
        filters = ["", "tcp", "udp port 53", "ip6", "not ip", "arp",
                   "tcp[tcpflags] & tcp-syn != 0", "greater 1000", "vlan",
                   "host 192.168.1.1 or portrange 440-450"]
        expected = {}
        for text in filters:
            expected[text] = packets_of(output(
                "tcpdump", NANO, "-r", self.path, "-w", "-", text))[1]
        self.assertLess(0, len(expected["udp port 53"]))
        for i in range(8 if SANITIZE else 40):
            text = dice.choice(filters)
            want, arguments = expected[text], ["mixed"] + text.split()
            since = until = None
            if dice.random() < 0.7:
                since = dice.randint(first, last)
                if dice.random() < 0.5:  # exactly on a packet: at or after
                    since = dice.choice(self.packets).ns
                arguments += ["--since", epoch(since)]
            if dice.random() < 0.7:
                until = dice.randint((since or first) + 1, last + 2)
                if dice.random() < 0.3:
                    until = max((since or first) + 1,
                                dice.choice(self.packets).ns)
                arguments += ["--until", epoch(until)]
            want = [p for p in want if (since is None or p.ns >= since) and
                    (until is None or p.ns < until)]
            if dice.random() < 0.4:
                count = dice.choice([1, 2, 100, 5000])
                arguments += ["-c", str(count)]
                want = want[:count]
            with self.subTest(seed=seed, number=i, arguments=arguments):
                got, _ = self.replay(*arguments)
                first_difference(self, got, want)

    def test_other_ways_to_say_a_time(self):
        want = [p for p in self.packets
                if T0 + 10 * NS <= p.ns < T0 + 11 * NS + NS // 2]
        self.assertTrue(want)
        for since, end in [
                ("2026-01-01T00:00:10Z", "2026-01-01T00:00:11.5Z"),
                ("2026-01-01T02:00:10+02:00", "2025-12-31T19:00:11.5-05:00"),
                ("2026-01-01 00:00:10", "2026-01-01 00:00:11.500"),
                ("@1767225610", "@1767225611.5")]:
            got, said = self.replay("mixed", "--since", since,
                                    "--until", end)
            first_difference(self, got, want)
            self.assertIn("2026-01-01", said, "the resolved range")

    def test_snaplen_cuts_and_keeps_the_length(self):
        got, _ = self.replay("mixed", "-s", "60", "-c", "500")
        first_difference(self, got, [Packet(p.ns, p.body[:60], p.length)
                                     for p in self.packets[:500]])

    def test_nothing_in_range_is_an_empty_savefile_and_success(self):
        got, said = self.replay("mixed", "--since", "@1", "--until", "@2")
        self.assertEqual(got, [])
        self.assertRegex(said, r"(?i)no packets|\b0 packets")

    def test_bad_times_and_filters_say_so(self):
        for arguments in (["--since", "@2", "--until", "@1"],
                          ["--since", "yesterday-ish"],
                          ["--last", "10 parsecs"],
                          ["-c", "-1"], ["-c", "many"],
                          ["tcp", "prot", "80"]):
            out, said = self.daemon.run("replay", "mixed", *arguments,
                                        status=USAGE)
            self.assertEqual(out, b"")
            self.assertTrue(said.startswith("pcap: "), said)
        _, said = self.daemon.run("replay", "mixed", "host " + "a" * 9000,
                                  status=FAILED)
        self.assertIn("8192", said)

    def test_a_second_import_appends(self):
        self.daemon.run("import", "twice", self.path)
        _, said = self.daemon.run("import", "twice", self.path)
        got, _ = self.replay("twice")
        first_difference(self, got, self.packets + self.packets)


class LinkTypes(Case):
    def check(self, name):
        path = shared("linktypes/" + name)
        want = output("tcpdump", NANO, "-r", path, "-w", "-")
        alias = name.replace(".", "-")
        self.daemon.run("import", alias, path)
        out, _ = self.daemon.run("replay", alias)
        self.assertEqual(packets_of(out)[0], packets_of(want)[0], "link type")
        first_difference(self, packets_of(out)[1], packets_of(want)[1])

    def test_cisco_hdlc(self):
        self.check("BGP_redist.pcap")

    def test_linux_cooked(self):
        self.check("KakaoTalk_chat.pcap")

    def test_pcapng_of_ethernet(self):
        self.check("alexa-app.pcapng")

    def test_ppp(self):
        self.check("dlt_ppp.pcap")

    def test_raw_ip(self):
        self.check("ocs.pcap")

    def test_null_loopback(self):
        self.check("opc-ua.pcap")

    def test_pcapng_of_linux_cooked(self):
        self.check("quic-v2.pcapng")

    def test_the_broken_one_gives_what_is_whole_and_says_so(self):
        path = shared("linktypes/fuzz-2021-10-13.pcap")
        want = output("tcpdump", NANO, "-r", path, "-w", "-", status=1)
        _, said = self.daemon.run("import", "fuzz", path, status=INCOMPLETE)
        self.assertIn("fuzz-2021-10-13.pcap", said)
        self.assertIn("truncated", said)
        out, _ = self.daemon.run("replay", "fuzz")
        self.assertEqual(packets_of(out)[0], packets_of(want)[0])
        first_difference(self, packets_of(out)[1], packets_of(want)[1])


class Files(Case):
    """Files made here, for what published ones do not have."""

    def same(self, alias, data, want):
        path = self.file(alias, data)
        self.daemon.run("import", alias, path)
        got, _ = self.replay(alias)
        first_difference(self, got, want)

    def test_both_byte_orders_and_precisions(self):
        packets = made(1000)
        rounded = [Packet(p.ns // 1000 * 1000, p.body) for p in packets]
        for order in "<>":
            name = {"<": "little", ">": "big"}[order]
            self.same(name + "-ns", savefile(packets, order=order), packets)
            self.same(name + "-us",
                      savefile(packets, order=order, nano=False), rounded)

    def test_in_zstd(self):
        packets = made(5000)
        data = savefile(packets)
        self.same("packed", output("zstd", "-c", stdin=data), packets)
        # Frames one after another, as in a segment of a spool.
        half = len(data) // 2
        self.same("packed-frames", output("zstd", "-c", stdin=data[:half]) +
                  output("zstd", "-c", stdin=data[half:]), packets)

    def test_a_segment_of_ours_is_a_savefile_too(self):
        packets = made(5000)
        self.daemon.run("import", "first-life",
                        self.file("first.pcap", savefile(packets)))
        id = self.daemon.capture("first-life")["id"]
        self.daemon.run("import", "second-life", *self.daemon.segments(id))
        got, _ = self.replay("second-life")
        first_difference(self, got, packets)

    def test_a_damaged_frame_costs_its_packets_and_says_so(self):
        """Both ways: as stored frames, and decoded by the daemon."""
        packets = made(8000, 1000)
        self.daemon.run("import", "hurt", self.file("h.pcap",
                                                    savefile(packets)))
        path = self.daemon.segments(self.daemon.capture("hurt")["id"])[0]
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 0x10]))
        for filter in ((), ("ip",)):
            got, said = self.replay("hurt", *filter, status=INCOMPLETE)
            missing = len(packets) - len(got)
            self.assertGreater(missing, 0)
            self.assertLess(missing, 2000)
            self.assertRegex(said, r"%d packets are (missing|in damaged)" %
                             missing)
            kept = set(p.ns for p in got)
            self.assertEqual(got, [p for p in packets if p.ns in kept])

    def test_several_files_in_one_command(self):
        packets = made(300)
        self.daemon.run("import", "several",
                        self.file("a", savefile(packets[:100])),
                        self.file("b", savefile(packets[100:])))
        got, _ = self.replay("several")
        first_difference(self, got, packets)

    def test_time_that_runs_backwards(self):
        """Order is the order of capture; a range still finds all of it."""
        dice = random.Random(7)
        packets = made(20000, size=200)
        dice.shuffle(packets)
        self.same("shuffled", savefile(packets), packets)
        low, high = T0 + 5000 * 1000003, T0 + 6000 * 1000003
        got, _ = self.replay("shuffled", "--since", epoch(low),
                             "--until", epoch(high))
        first_difference(self, got,
                         [p for p in packets if low <= p.ns < high])

    def test_sizes_up_to_the_largest(self):
        packets = [Packet(T0 + i, os.urandom(size), max(size, 70000))
                   for i, size in enumerate(
                       [0, 1, 13, 14, 65535, 65536, 262143, 262144] * 5)]
        self.same("sizes", savefile(packets), packets)

    def test_no_packets(self):
        path = self.file("none.pcap", savefile([], link_type=101))
        self.daemon.run("import", "none", path)
        out, said = self.daemon.run("replay", "none")
        self.assertEqual(packets_of(out), (101, []))
        self.assertRegex(said, r"(?i)no packets|\b0 packets")

    def test_a_truncated_file_goes_in_up_to_there(self):
        packets = made(3000)
        data = savefile(packets)
        for cut, whole in ((len(data) - 1, 2999), (24 + 116 * 7 + 5, 7),
                           (24 + 116 * 7 + 16, 7), (24 + 116 * 7 + 17, 7)):
            alias = "cut-%d" % cut
            path = self.file(alias, data[:cut])
            _, said = self.daemon.run("import", alias, path,
                                      status=INCOMPLETE)
            self.assertIn("truncated", said)
            got, _ = self.replay(alias)
            first_difference(self, got, packets[:whole])

    def test_a_truncated_zstd_file_goes_in_up_to_there(self):
        packets = made(30000, size=400)
        for p in packets:
            p.body = p.body[:42] + os.urandom(358)
        packed = output("zstd", "-c", "-1", stdin=savefile(packets))
        path = self.file("cut.zst", packed[:len(packed) // 2])
        _, said = self.daemon.run("import", "cut-zstd", path,
                                  status=INCOMPLETE)
        got, _ = self.replay("cut-zstd")
        self.assertLess(len(packets) // 3, len(got))
        first_difference(self, got, packets[:len(got)])

    def test_what_is_no_savefile_changes_nothing(self):
        before = self.daemon.list()
        for name, data in (("text", b"no packets in here, sorry\n" * 9),
                           ("empty", b""), ("short", savefile([])[:20]),
                           ("zeros", bytes(4096)),
                           ("zstd-text", output("zstd", "-c",
                                                stdin=b"text" * 99))):
            path = self.file(name, data)
            _, said = self.daemon.run("import", "bad-" + name, path,
                                      status=USAGE)
            self.assertIn(path, said)
        self.assertEqual(self.daemon.list(), before)

    def test_a_file_that_is_not_there(self):
        before = self.daemon.list()
        _, said = self.daemon.run("import", "absent", "/nowhere.pcap",
                                  status=None)
        self.assertIn("/nowhere.pcap", said)
        self.assertIn("No such file", said)
        self.assertEqual(self.daemon.list(), before)

    def test_another_link_type_changes_nothing(self):
        packets = made(100)
        self.daemon.run("import", "ether",
                        self.file("e.pcap", savefile(packets)))
        before = self.daemon.list()
        path = self.file("raw.pcap", savefile(packets, link_type=101))
        _, said = self.daemon.run("import", "ether", path, status=FAILED)
        self.assertRegex(said, "(?i)link.type")
        self.assertEqual(self.daemon.list(), before)
        got, _ = self.replay("ether")
        first_difference(self, got, packets)

    def test_a_malformed_alias_is_refused(self):
        path = self.file("alias.pcap", savefile(made(1)))
        before = self.daemon.list()
        for alias in ("12345", "a/b", "..%2f", "ä", "a" * 65, ""):
            self.daemon.run("import", alias, path, status=USAGE)
        self.assertEqual(self.daemon.list(), before)

    def test_an_unknown_name_is_not_found(self):
        for name in ("nobody", "4711"):
            out, said = self.daemon.run("replay", name, status=NOT_FOUND)
            self.assertEqual(out, b"")
            self.assertIn(name, said)

    def test_a_reader_that_goes_away_ends_quietly(self):
        self.daemon.run("import", "long", self.file(
            "long.pcap", savefile(made(40000, size=300))))
        with self.daemon.popen("replay", "long", stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE) as process:
            process.stdout.read(1000)
            process.stdout.close()
            said = process.stderr.read().decode()
            process.wait()
        self.assertNotIn("pcap:", said)
        got, _ = self.replay("long", "-c", "3")
        self.assertEqual(len(got), 3)


if __name__ == "__main__":
    main()
