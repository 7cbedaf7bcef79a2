#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""How imports end, and what is not there afterwards: files that break off,
clients and daemons that are killed, packets that cannot be stored. What came is
kept, what did not is in `gaps`, and `--strict` knows."""

import json
import os
import signal
import struct
import subprocess
import time
import unittest

from harness import (FAILED, INCOMPLETE, NS, OK, PCAP, PCAPD, UNREACHABLE,
                     USAGE, Daemon, Packet, before_libc, decoded,
                     first_difference, main, need, output, packets_of, savefile, udp_packet,
                     until)

T0 = 1767225600 * NS
NEVER = "0"  # to_ns of a gap without an end


def made(n, size=100, first=0):
    return [udp_packet(T0 + i * 1000003, i, size)
            for i in range(first, first + n)]


def block(kind, body):
    body += bytes(-len(body) % 4)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def pcapng(interfaces, packets):
    """interfaces: (link type, snaplen); packets: (interface, Packet)."""
    out = [block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1))]
    for link_type, snaplen in interfaces:
        out.append(block(1, struct.pack("<HHIHHB3xI", link_type, 0, snaplen,
                                        9, 1, 9, 0)))
    for number, p in packets:
        out.append(block(6, struct.pack("<IIIII", number, p.ns >> 32,
                                        p.ns & 0xffffffff, len(p.body),
                                        p.length) + p.body))
    return b"".join(out)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need("sqlite3", "tcpdump", "zstd", "gzip")
        cls.daemon = Daemon("request-timeout = 1s\n").start()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def file(self, name, data):
        path = os.path.join(self.daemon.folder, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def replay(self, *arguments, status=OK):
        out, _ = self.daemon.run("replay", *arguments, status=status)
        return packets_of(out)[1]

    def gaps(self, alias):
        out, _ = self.daemon.run("gaps", "--json", alias)
        return [g for g in json.loads(out)["gaps"] if g["cause"] == "import"]

    def assert_told(self, alias, why, packets):
        """One gap, from the newest packet on, and everybody who asks knows."""
        gap, = self.gaps(alias)
        self.assertRegex(gap["detail"], why)
        self.assertEqual(int(gap["from_ns"]), packets[-1].ns)
        self.assertFalse(gap["to_ns"] and int(gap["to_ns"]))
        first_difference(self, self.replay(alias, "--strict",
                                           status=INCOMPLETE), packets)
        # From behind the newest packet on it is a gap as well.
        self.replay(alias, "--strict", "--since",
                    "@%d" % (packets[-1].ns // NS + 5), status=INCOMPLETE)

    def audited(self, alias):
        out, _ = self.daemon.run("audit", "--json")
        rows = [r for r in json.loads(out)["audit"]
                if r["method"] == "Import" and r["capture"] == alias]
        return rows[-1]

    def pipe(self, alias):
        """An import of a pipe, with the pipe."""
        return self.daemon.popen("import", alias, "-", stdin=subprocess.PIPE,
                                 stderr=subprocess.PIPE)

    def begin(self, alias, packets):
        """... with these packets in the capture already."""
        process = self.pipe(alias)
        process.stdin.write(savefile(packets))
        process.stdin.flush()
        self.wait_for(alias, len(packets))
        return process

    def wait_for(self, alias, packets):
        def there():
            capture = self.daemon.capture(alias)
            return capture and int(capture["packets"]) == packets

        until(there, "%d packets" % packets)

    def end(self, process, status):
        said = process.communicate(timeout=60)[1].decode()
        self.assertEqual(process.returncode, status, said)
        return said


class Pipes(Case):
    def test_what_came_is_there_while_the_pipe_goes_on(self):
        packets = made(30)
        process = self.begin("live", packets[:10])
        listener = self.daemon.popen("listen", "live", "-c", "20",
                                     stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL)
        self.assertEqual(self.daemon.capture("live")["state"], "importing")
        first_difference(self, self.replay("live"), packets[:10])
        until(lambda: b"Listen" in self.daemon.run("audit", "--json")[0],
              "the listener")
        for i in range(10, 30):
            process.stdin.write(savefile([packets[i]])[24:])
            process.stdin.flush()
        heard = packets_of(listener.communicate(timeout=60)[0])[1]
        first_difference(self, heard, packets[10:])
        self.assertIsNone(process.poll())
        self.end(process, OK)
        first_difference(self, self.replay("live", "--strict"), packets)
        self.assertEqual(self.audited("live")["result"], "")

    def test_a_slow_file_is_not_late(self):
        """request-timeout is a second; the header alone takes longer."""
        packets = made(2)
        process = self.pipe("slow")
        data = savefile(packets)
        began = time.monotonic()
        for at in range(0, 24, 4):
            process.stdin.write(data[at:at + 4])
            process.stdin.flush()
            until(lambda: time.monotonic() - began > at / 8, "a while")
            self.assertIsNone(process.poll())
        process.stdin.write(data[24:])
        self.end(process, OK)
        first_difference(self, self.replay("slow"), packets)

    def test_a_signal_ends_the_pipe_and_keeps_what_came(self):
        packets = made(10)
        process = self.begin("interrupted", packets)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        said = process.stderr.read().decode()
        self.assertEqual(process.returncode, INCOMPLETE, said)
        self.assertIn("after 10 packets: interrupted", said)
        self.assert_told("interrupted", "interrupted", packets)
        self.assertIn("interrupted", self.audited("interrupted")["result"])

    def test_who_is_told_to_end_as_well_writes_its_last(self):
        packets = made(20)
        process = self.begin("both", packets[:10])
        process.send_signal(signal.SIGINT)
        process.stdin.write(savefile(packets[10:])[24:])
        self.end(process, OK)
        first_difference(self, self.replay("both", "--strict"), packets)

    def test_a_client_that_is_killed(self):
        packets = made(10)
        process = self.begin("killed", packets)
        process.kill()
        process.wait()
        until(lambda: self.daemon.capture("killed")["state"] == "stopped",
              "the end of the import")
        self.assert_told("killed", "went away", packets)
        self.assertIn("went away", self.audited("killed")["result"])

    def test_a_file_that_cannot_be_read_on(self):
        packets = made(15000)
        path = self.file("bad.pcap", savefile(packets))
        prefix = before_libc(self.daemon.folder, """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
ssize_t read(int fd, void *to, size_t n)
{
    ssize_t (*next)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 1500000 &&
        lseek(fd, 0, SEEK_CUR) > 1000000) {
        errno = EIO;
        return -1;
    }
    return next(fd, to, n);
}
""")
        done = subprocess.run(
            prefix + [PCAP, "import", "eio", path], stderr=subprocess.PIPE,
            env=dict(os.environ, PCAP_SOCKET=self.daemon.socket))
        said = done.stderr.decode()
        self.assertEqual(done.returncode, INCOMPLETE, said)
        self.assertIn("Input/output error", said)
        got = self.replay("eio")
        self.assertGreater(len(got), 5000)
        self.assert_told("eio", "bad.pcap: .*Input/output", packets[:len(got)])


class Daemons(Case):
    def setUp(self):
        self.packets = made(10)

    def tearDown(self):
        if self.daemon.process.poll() is not None:
            self.daemon.start()

    def test_one_that_stops(self):
        process = self.begin("stopped", self.packets)
        self.daemon.stop()
        said = self.end(process, UNREACHABLE)
        self.assertIn("after 10 packets", said)
        self.daemon.start()
        self.assert_told("stopped", "pcapd is stopping", self.packets)

    def test_one_that_is_killed(self):
        process = self.begin("crashed", self.packets)
        stored = os.path.join(self.daemon.spool, "catalog.db")
        # What is a second old is in a file.
        id = self.daemon.capture("crashed")["id"]
        until(lambda: any(len(decoded(path)) == 24 + 10 * 116
                          for path in self.daemon.segments(id)),
              "packets in the file")
        until(lambda: self.audited("crashed")["under_way"], "its row")
        self.daemon.kill()
        self.end(process, UNREACHABLE)
        self.daemon.start()
        row = self.audited("crashed")
        self.assertEqual((row["under_way"], row["status"], row["result"]),
                         (False, "unavailable", "pcapd ended before this did"))
        self.assert_told("crashed", "stdin: pcapd ended before the import did",
                         self.packets)
        # It is told once, however often pcapd is started.
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(len(self.gaps("crashed")), 1)
        self.assertEqual(output("sqlite3", "-readonly", stored,
                                "SELECT count(*) FROM imports WHERE state = 0"),
                         b"0\n")
        # The whole of it once more, and nothing is missing.
        self.packets += made(5, first=10)
        process = self.pipe("crashed")
        process.stdin.write(savefile(self.packets))
        said = self.end(process, OK)
        self.assertIn("it broke off after 10 packets before", said)
        self.assertEqual(self.gaps("crashed"), [])
        first_difference(self, self.replay("crashed", "--strict"),
                         self.packets[:10] + self.packets)


class LeftOut(Case):
    def test_a_file_that_breaks_off(self):
        packets = made(10)
        path = self.file("cut.pcap", savefile(packets)[:-1])
        self.daemon.run("import", "cut", path, status=INCOMPLETE)
        self.assert_told("cut", "cut.pcap: truncated", packets[:9])
        self.assertIn("truncated", self.audited("cut")["result"])
        # Another one into the same capture has a gap of its own.
        more = made(5, first=50)
        path = self.file("cut2.pcap", savefile(more)[:-1])
        self.daemon.run("import", "cut", path, status=INCOMPLETE)
        self.assertEqual([int(g["from_ns"]) for g in self.gaps("cut")],
                         [packets[8].ns, more[3].ns])

    def test_a_file_that_broke_off_and_comes_again(self):
        packets, other = made(20), made(20, first=30)

        def comes(data, status=OK, name="again.pcap"):
            _, said = self.daemon.run("import", "again", self.file(name, data),
                                      status=status)
            return "what was missing is no gap any more" in said

        def missing():
            return [int(g["from_ns"]) for g in self.gaps("again")]

        self.assertFalse(comes(savefile(packets[:10])[:-1], INCOMPLETE))
        # Not another file of that name, nor one with another name.
        self.assertFalse(comes(savefile(other)))
        self.assertFalse(comes(savefile(packets), name="other.pcap"))
        self.assertFalse(comes(savefile(packets[:8])))
        self.assertEqual(missing(), [packets[8].ns])
        # It comes further: what is behind that is missing.
        self.assertTrue(comes(savefile(packets[:15])[:-1], INCOMPLETE))
        self.assertEqual(missing(), [packets[13].ns])
        self.assertTrue(comes(savefile(packets)))
        self.assertEqual(missing(), [])
        self.replay("again", "--strict")
        # Nor is it without the catalog, which is made again.
        self.daemon.stop()
        os.unlink(self.daemon.spool + "/catalog.db")
        tool = [PCAPD, "repair", "--spool", self.daemon.spool]
        output(*tool)
        self.daemon.start()
        self.assertEqual(missing(), [])

    def test_a_checksum_that_is_wrong(self):
        packets = made(2000)
        packed = {
            "zst": output("zstd", "-qc", "--check", stdin=savefile(packets)),
            "gz": output("gzip", "-c", stdin=savefile(packets)),
        }
        for kind, data in packed.items():
            data = bytearray(data)
            data[-8 if kind == "gz" else -1] ^= 1
            path = self.file("x.pcap." + kind, data)
            _, said = self.daemon.run("import", "sum-" + kind, path,
                                      status=INCOMPLETE)
            self.assertIn("may have been altered", said)
            got = self.replay("sum-" + kind, "--strict", status=INCOMPLETE)
            doubtful, cut = self.gaps("sum-" + kind)
            self.assertEqual(int(doubtful["packets"]), len(got))
            self.assertEqual(int(doubtful["from_ns"]), packets[0].ns)
            self.assertEqual(int(doubtful["to_ns"]), got[-1].ns + 1)
            self.assertEqual(int(cut["from_ns"]), got[-1].ns)

    def test_what_tshark_reads_of_many_interfaces(self):
        need("tshark", "mergecap")
        a = self.file("a.pcap", savefile(made(50)))
        b = self.file("b.pcap", savefile(made(50, first=50), snaplen=65535))
        c = self.file("c.pcap", savefile(
            [Packet(p.ns, p.body[14:]) for p in made(20, first=10)],
            link_type=101))
        two = os.path.join(self.daemon.folder, "two.pcapng")
        output("mergecap", "-F", "pcapng", "-w", two, a, b)
        self.daemon.run("import", "two-snaplens", two)
        first_difference(self, self.replay("two-snaplens", "--strict"),
                         made(100))
        output("mergecap", "-F", "pcapng", "-w", two, a, c)
        _, said = self.daemon.run("import", "two-types", two,
                                  status=INCOMPLETE)
        self.assertIn("20 packets left out: link type 101", said)
        types = output("tshark", "-r", two, "-T", "fields", "-e",
                       "frame.encap_type").split()
        got = self.replay("two-types", "--strict", status=INCOMPLETE)
        first_difference(self, got, made(50))
        gap, = self.gaps("two-types")
        self.assertEqual(int(gap["packets"]) + len(got), len(types))
        self.assertEqual((int(gap["from_ns"]), int(gap["to_ns"])),
                         (made(1, first=10)[0].ns, made(1, first=29)[0].ns + 1))

    def test_times_and_sizes_that_no_savefile_has(self):
        late = Packet(4320000000 * NS, b"x" * 60)
        packets = made(2) + [late] + made(1, first=3)
        path = self.file("late.pcapng",
                         pcapng([(1, 0)], [(0, p) for p in packets]))
        _, said = self.daemon.run("import", "late", path, status=INCOMPLETE)
        self.assertIn("1 packet left out: a time after 2106", said)
        first_difference(self, self.replay("late"), packets[:2] + packets[3:])
        gap, = self.gaps("late") if self.gaps("late") else self.rows("late")
        self.assertEqual(int(gap["from_ns"]), late.ns)
        huge = Packet(packets[1].ns, bytes(1048561))
        packets = [packets[0], huge, packets[3]]
        path = self.file("huge.pcapng",
                         pcapng([(1, 0)], [(0, p) for p in packets]))
        self.daemon.run("import", "huge", path, status=INCOMPLETE)
        first_difference(self, self.replay("huge", "--strict",
                                           status=INCOMPLETE), packets[::2])
        gap, = self.gaps("huge")
        self.assertEqual((int(gap["from_ns"]), int(gap["packets"])),
                         (huge.ns, 1))

    def rows(self, alias):
        out, _ = self.daemon.run("gaps", "--json", alias, "--until",
                                 "@5000000000")
        return json.loads(out)["gaps"]

    def test_nothing_is_left_of_an_import_that_brought_nothing(self):
        before = self.daemon.list()
        files = {
            "header": savefile(made(1))[:-1],
            "late": pcapng([(1, 0)], [(0, Packet(4320000000 * NS, b"x"))]),
            "cut": pcapng([(1, 0)], [(0, made(1)[0])])[:-1],
        }
        for name, data in files.items():
            self.daemon.run("import", "nothing", self.file(name, data),
                            status=None)
            self.assertEqual(self.daemon.list(), before, name)
        # What was there stays, and an empty file is a file.
        self.daemon.run("import", "none", self.file("e", savefile([])))
        self.daemon.run("import", "none", self.file("h", files["header"]),
                        status=INCOMPLETE)
        self.assertEqual(int(self.daemon.capture("none")["packets"]), 0)


class Order(Case):
    """Files of one capture come out by the times at which they begin."""

    def files(self, name, parts):
        return [self.file("%s%d" % (name, i), savefile(part))
                for i, part in enumerate(parts)]

    def test_files_that_went_in_in_another_order(self):
        parts = [made(40, first=50 * i) for i in range(12)]
        names = self.files("dump.pcap", parts)
        self.daemon.run("import", "order", *sorted(names))
        everything = sum(parts, [])
        first_difference(self, self.replay("order", "--strict"), everything)
        first_difference(self, self.replay("order", "-c", "45"),
                         everything[:45])
        since, until_ns = parts[1][7].ns, parts[10][7].ns
        first_difference(
            self, self.replay("order", "--since", "@%d.%09d" % divmod(
                since, NS), "--until", "@%d.%09d" % divmod(until_ns, NS)),
            [p for p in everything if since <= p.ns < until_ns])
        text = "udp port %d" % (1024 + 51)
        path = self.file("all", savefile(everything))
        want = packets_of(output("tcpdump", "-r", path, "-w", "-",
                                 "--time-stamp-precision=nano", text))[1]
        first_difference(self, self.replay("order", text), want)
        packed = os.path.join(self.daemon.folder, "order.pcap.zst")
        self.daemon.run("replay", "order", "-w", packed)
        first_difference(self, packets_of(output("zstd", "-dc", packed))[1],
                         everything)

    def test_the_order_within_a_file_is_the_file_s(self):
        back = made(30)[::-1]
        self.daemon.run("import", "within", *self.files("w", [
            made(5, first=100), back]))
        first_difference(self, self.replay("within"),
                         back + made(5, first=100))

    def test_files_over_one_another_come_one_after_the_other(self):
        a, b = made(40)[::2], made(40)[1::2]
        self.daemon.run("import", "both-links", *self.files("o", [b, a]))
        first_difference(self, self.replay("both-links"), a + b)

    def test_what_goes_in_at_the_moment_is_there(self):
        self.daemon.run("import", "now", *self.files("m", [
            made(5, first=100), made(5, first=50)]))
        process = self.pipe("now")
        process.stdin.write(savefile(made(5)))
        process.stdin.flush()
        self.wait_for("now", 15)
        got = self.replay("now")
        first_difference(self, got, made(5, first=50) + made(5, first=100) +
                         made(5))
        self.end(process, OK)
        first_difference(self, self.replay("now"), made(5) +
                         made(5, first=50) + made(5, first=100))


class Headers(Case):
    def header(self, *arguments):
        out, _ = self.daemon.run("replay", *arguments)
        return struct.unpack_from("<IHHiIII", out)[5:]

    def test_the_snaplen_is_that_of_the_file(self):
        short = [Packet(p.ns, p.body[:96], p.length)
                 for p in made(3, size=200)]
        self.daemon.run("import", "short",
                        self.file("s", savefile(short, snaplen=96)))
        self.assertEqual(self.header("short")[0], 96)
        self.assertEqual(self.header("short", "-s", "60")[0], 60)
        self.assertEqual(self.daemon.capture("short")["snaplen"], 96)
        # A longer file raises it, and what is in the spool says so too.
        self.daemon.run("import", "short", self.file(
            "l", savefile(made(3, size=200, first=9), snaplen=65535)))
        self.assertEqual(self.header("short")[0], 65535)
        sizes = []
        for path in self.daemon.segments(self.daemon.capture("short")["id"]):
            plain = output("zstd", "-dc", path)
            sizes.append(struct.unpack_from("<I", plain, 16)[0])
            # tcpdump cuts to it what is longer.
            written = output("tcpdump", "-r", "-", "-w", "-",
                             "--time-stamp-precision=nano", stdin=plain)
            self.assertEqual(written[24:], plain[24:])
        self.assertEqual(sizes, [96, 65535])

    def test_no_packet_is_larger_than_the_header_says(self):
        """libpcap would cut a packet to the snaplen of a file that lies, and
        refuses a savefile with packets over 256 KiB: that is said."""
        packets = made(1) + [Packet(T0 + 5, os.urandom(300000))] + made(
            1, first=2)
        lies = self.file("lies", savefile(made(3, size=200), snaplen=96))
        self.daemon.run("import", "lies", lies)
        first_difference(self, self.replay("lies"), made(3, size=200))
        self.assertGreaterEqual(self.header("lies")[0], 200)
        large = self.file("large.pcapng", pcapng([(1, 0)], [
            (0, p) for p in packets]))
        _, said = self.daemon.run("import", "large", large)
        self.assertIn("1 packets have over 262144 bytes", said)
        self.assertGreaterEqual(self.header("large")[0], 300000)
        first_difference(self, self.replay("large"), packets)
        out, _ = self.daemon.run("replay", "large", "-s", "262144")
        self.assertEqual(len(packets_of(output(
            "tcpdump", "-r", "-", "-w", "-",
            "--time-stamp-precision=nano", stdin=out))[1]), 3)

    def test_no_packet_is_larger_than_a_live_header_says(self):
        """Of a capture that was short until somebody imports more."""
        for verb in ("listen",), ("replay", "--live"):
            alias = "live-" + verb[0]
            self.daemon.run("import", alias, self.file(
                "short", savefile(made(1), snaplen=100)))
            reader = self.daemon.popen(
                *verb, alias, "-c", "1" if verb[0] == "listen" else "2",
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            until(lambda: [r for r in json.loads(self.daemon.run(
                "audit", "--json")[0])["audit"]
                if r["capture"] == alias and
                r["method"] == verb[0].capitalize()], "the reader")
            large = Packet(T0 + NS, os.urandom(300000))
            self.daemon.run("import", alias, self.file(
                "large", pcapng([(1, 0)], [(0, large)])))
            out, _ = reader.communicate(timeout=60)
            self.assertGreaterEqual(struct.unpack_from("<I", out, 16)[0],
                                    300000)
            self.assertEqual(packets_of(out)[1][-1], large)

    def test_bits_of_the_check_sequence_come_out_again(self):
        packets = made(3000)
        path = self.file("fcs.pcap", savefile(packets, link_type=0x24000001))
        self.daemon.run("import", "fcs", path)
        self.assertEqual(self.header("fcs")[1], 0x24000001)
        self.assertEqual(self.daemon.capture("fcs")["link_type"], 1)
        segment, = self.daemon.segments(self.daemon.capture("fcs")["id"])
        self.assertEqual(output("zstd", "-dc", segment)[20:24],
                         bytes([1, 0, 0, 0x24]))
        # The index knows what such packets are.
        text = "udp port 1030"
        want = packets_of(output("tcpdump", "-r", path, "-w", "-",
                                 "--time-stamp-precision=nano", text))[1]
        self.assertTrue(want)
        first_difference(self, self.replay("fcs", *text.split()), want)
        out, _ = self.daemon.run("replay", "fcs", "--explain",
                                 "udp port 5353")
        self.assertRegex(out.decode(), r"(?m)\b0 packets|to read +0 +0")
        plain = self.file("plain.pcap", savefile(packets))
        _, said = self.daemon.run("import", "fcs", plain, status=FAILED)
        self.assertIn("1 (EN10MB, with frame check sequences)", said)
        self.daemon.stop()
        output(PCAPD, "check", "--config", self.daemon.config, "--spool",
               self.daemon.spool)
        self.daemon.start()
        self.assertEqual(self.header("fcs")[1], 0x24000001)

    def test_gzip_goes_in(self):
        packets = made(3000)
        path = self.file("x.pcap.gz", output("gzip", "-c",
                                             stdin=savefile(packets)))
        self.daemon.run("import", "gzip", path)
        first_difference(self, self.replay("gzip", "--strict"), packets)
        path = self.file("x.pcap.xz", b"\xfd7zXZ\0 and what is in it")
        _, said = self.daemon.run("import", "xz", path, status=USAGE)
        self.assertIn("packed with xz: unpack it", said)

    def test_names_that_say_what_is_not_written(self):
        self.daemon.run("import", "names", self.file("n", savefile(made(2))))
        for verb in "replay", "listen":
            for name, way in (("x.pcapng", "editcap -"), ("x.gz", "gzip >"),
                              ("x.pcap.gz", "gzip > x.pcap.gz"),
                              ("x.pcapng.zst", "editcap -"), ("x.xz", "xz >"),
                              ("X.PCAPNG", "editcap -"), ("x.erf", "editcap -F")):
                _, said = self.daemon.run(verb, "names", "-w", name,
                                          status=USAGE)
                self.assertIn("'-w - | " + way, said)
                self.assertFalse(os.path.exists(name))

    def test_a_file_that_comes_twice(self):
        path = self.file("once.pcap", savefile(made(5)))
        again = self.file("other-name.pcap", savefile(made(5)))
        other = self.file("other.pcap", savefile(made(5, first=1)))
        _, said = self.daemon.run("import", "twice", path, other)
        self.assertNotIn("SHA-256", said)
        _, said = self.daemon.run("import", "elsewhere", again)
        self.assertNotIn("SHA-256", said)
        _, said = self.daemon.run("import", "twice", again)
        self.assertRegex(said, r"other-name.pcap: the same file, by its "
                         r"SHA-256, went into 'twice' at 20\S+Z already, as "
                         r"once.pcap: ")
        # What went is not remembered.
        count = ("SELECT count(*) FROM imports WHERE capture = %d" %
                 self.daemon.capture("elsewhere")["id"])
        self.daemon.run("delete", "elsewhere", "--yes")
        self.assertEqual(output("sqlite3", "-readonly",
                                self.daemon.spool + "/catalog.db", count),
                         b"0\n")
        digest = output("sha256sum", path).split()[0].decode()
        stored = output("sqlite3", "-readonly",
                        self.daemon.spool + "/catalog.db",
                        "SELECT lower(hex(sha256)) FROM imports WHERE file = "
                        "'once.pcap'").decode().strip()
        self.assertEqual(stored, digest)


if __name__ == "__main__":
    main()
