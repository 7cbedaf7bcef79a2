#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""The command as people and scripts use it: exit codes, messages, where things
go, signals, terminals, pipes. What packets come out is other tests' matter."""

import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time
import unittest

from harness import (FAILED, INCOMPLETE, NOT_FOUND, NS, OK, PATIENCE, PCAP,
                     PERMISSION, UNREACHABLE, USAGE, Daemon, Packet, main, need,
                     output, packets_of, savefile, udp_packet, until)

T0 = 1767225600 * NS  # 2026-01-01T00:00:00Z


def made(n, step=NS):
    return [udp_packet(T0 + i * step, i) for i in range(n)]


def ended(process):
    return process.wait(PATIENCE)


class Case(unittest.TestCase):
    """A daemon with 100 packets, a second each, as capture "web"."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon().start()
        cls.path = os.path.join(cls.daemon.folder, "web.pcap")
        with open(cls.path, "wb") as file:
            file.write(savefile(made(100)))
        cls.daemon.run("import", "web", cls.path)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def path_of(self, name):
        return os.path.join(self.daemon.folder, name)

    def says(self, arguments, status, *texts, stdin=b""):
        out, said = self.daemon.run(*arguments, status=status, stdin=stdin)
        for text in texts:
            self.assertIn(text, said)
        return out, said


class Results(Case):
    def test_import_says_what_went_in(self):
        out, said = self.daemon.run("import", "one", self.path, "-",
                                    stdin=savefile(made(3)))
        lines = said.splitlines()
        self.assertEqual(out, b"")
        self.assertRegex(lines[0], r"web\.pcap: 100 packets, 11\.3K, into "
                                   r"the new \d+ \(one\)$")
        self.assertRegex(lines[1], r"^stdin: 3 packets, 348, into \d+ "
                                   r"\(one\)$")
        self.assertEqual(self.daemon.capture("one")["packets"], 103)

    def test_json_has_every_field_of_the_api(self):
        with open(os.path.join(os.path.dirname(__file__), "..", "..", "proto",
                               "pcap", "v1", "pcap.proto")) as file:
            body = re.search(r"\nmessage Capture \{(.*?)\n\}", file.read(),
                             re.S).group(1)
        body = re.sub(r"enum.*?\}", "", body, flags=re.S)
        fields = re.findall(r"(\w+) = \d+;", body)
        capture = self.daemon.capture("web")
        self.assertEqual(sorted(capture), sorted(fields))
        self.assertEqual(capture["min_ns"], T0)
        self.assertEqual(capture["state"], "stopped")
        self.assertIs(capture["savefile"], True)

    def test_the_table_names_the_captures(self):
        out, _ = self.daemon.run("list", "web")
        head, row = out.decode().splitlines()
        self.assertEqual(head.split()[:4], ["ID", "ALIASES", "INTERFACE",
                                            "STATE"])
        self.assertIn("(imported)", row)
        self.assertIn("2026-01-01 00:00:00", row)

    def test_interfaces_have_the_loopback_and_any(self):
        out, _ = self.daemon.run("interfaces", "--json")
        all = {i["name"]: i for i in json.loads(out)["interfaces"]}
        self.assertIs(all["lo"]["loopback"], True)
        self.assertIn("any", all)
        for i in all.values():
            self.assertNotIn(None, i["addresses"])
        out, _ = self.daemon.run("interfaces", "local:lo")
        self.assertIn("up,running,loopback", out.decode())

    def test_aliases_come_and_go(self):
        self.daemon.run("import", "first", self.path)
        self.daemon.run("alias", "add", "first", "second")
        self.assertEqual(self.daemon.capture("first")["aliases"],
                         ["first", "second"])
        self.daemon.run("alias", "remove", ":first")
        self.assertIsNone(self.daemon.capture("first"))
        self.daemon.run("delete", "second", "--yes")
        self.assertIsNone(self.daemon.capture("second"))

    def test_errors_name_the_alias_that_was_typed(self):
        self.daemon.run("import", "zz", self.path)
        self.daemon.run("alias", "add", "zz", "aa")
        for name in ("zz", "aa", str(self.daemon.capture("aa")["id"])):
            for verb in "start", "stop":
                _, said = self.daemon.run(verb, name, status=FAILED)
                self.assertIn("capture '%s'" % name, said)
        self.daemon.run("delete", "zz", "--yes")

    def test_version_tells_both(self):
        out, _ = self.daemon.run("version")
        ours, theirs = out.decode().splitlines()
        self.assertRegex(ours, r"^pcap \d+\.\d+\.\d+$")
        self.assertEqual(theirs.split()[:2], ["pcapd", ours.split()[1]])


class BadInput(Case):
    def test_each_is_said_and_changes_nothing(self):
        text = self.path_of("text")
        with open(text, "w") as file:
            file.write("this is a text and not a savefile\n" * 3)
        long = " ".join(["udp or"] * 1300) + " udp"
        cases = [
            # No command, or not one of ours.
            ([], USAGE, "Commands:"),
            (["relay"], USAGE, "unknown command 'relay', perhaps 'replay'"),
            (["xyzzy"], USAGE, "unknown command 'xyzzy'; 'pcap help'"),
            (["listne"], USAGE, "perhaps 'listen'"),
            (["show"], USAGE, "unknown command 'show'; 'pcap help'"),
            (["replay", "wbe"], NOT_FOUND, "Perhaps 'web'"),
            (["status", "wed"], NOT_FOUND, "Perhaps 'web'"),
            (["delete", "wbe", "--yes"], NOT_FOUND, "List captures"),
            (["stop", "wbe"], NOT_FOUND, "List captures"),
            (["help", "relay"], USAGE, "Perhaps 'replay'."),
            (["list", "--sokcet", "x"], USAGE, "--sokcet"),
            (["list", "a", "b"], USAGE, "one capture at most"),
            (["version", "local:", "b"], USAGE, "one machine at a time"),
            # What is not there.
            (["replay", "nope"], NOT_FOUND, "no capture 'nope'"),
            (["listen", "99"], NOT_FOUND, "no capture '99'"),
            (["start", "nope"], NOT_FOUND, "no capture 'nope'"),
            (["stop", "nope"], NOT_FOUND, "no capture 'nope'"),
            (["list", "nope"], NOT_FOUND, "no capture 'nope'"),
            (["delete", "nope", "--yes"], NOT_FOUND, "no capture 'nope'"),
            (["alias", "add", "nope", "x"], NOT_FOUND, "no capture 'nope'"),
            (["alias", "remove", "nope"], NOT_FOUND, "no alias 'nope'"),
            (["interfaces", "nope"], NOT_FOUND, "no such interface 'nope'"),
            (["replay", "lab:web"], NOT_FOUND, "unknown remote 'lab'"),
            (["init", "lab:lo"], NOT_FOUND, "unknown remote 'lab'"),
            (["import", "lab:x", self.path], NOT_FOUND,
             "unknown remote 'lab'"),
            (["stop", "lab:--all"], NOT_FOUND, "unknown remote 'lab'"),
            # Names.
            (["import", "12", self.path], USAGE, "'12'"),
            (["import", "a b", self.path], USAGE, "'a b'"),
            (["import", "x" * 65, self.path], USAGE, "64"),
            (["alias", "add", "web", "../x"], USAGE, "'../x'"),
            (["alias", "add", "web"], USAGE, "a capture and an alias"),
            (["alias", "drop", "web"], USAGE,
             "expected 'add' or 'remove', not 'drop'"),
            # One capture or all of them.
            # No option is guessed from its beginning.
            (["stop", "--al"], USAGE,
             "unrecognized option '--al', perhaps '--all'"),
            (["replay", "web", "--sinc", "@1"], USAGE, "perhaps '--since'"),
            (["replay", "web", "--sinc=@1"], USAGE, "perhaps '--since'"),
            (["--socke", "x", "list"], USAGE, "perhaps '--socket'"),
            (["hold", "web", "--reason", "--al"], USAGE, "say --since"),
            (["start", "web", "--all"], USAGE, "either a capture or --all"),
            (["stop", "web", "--all"], USAGE, "either a capture or --all"),
            (["stop"], USAGE, "say which capture to stop"),
            (["start"], USAGE, "there is no capture to start"),
            (["start", "web"], FAILED, "savefiles"),
            (["stop", "web"], FAILED, "web"),
            # Filters.
            (["replay", "web", "tcp", "pot", "80"], USAGE, '"pot"'),
            (["replay", "web", "port", "http", "and"], USAGE,
             "syntax error"),
            (["replay", "web", long], FAILED, "8192"),
            (["replay", "web", "-F", self.path_of("none")], FAILED,
             "No such file or directory"),
            (["replay", "web", "-F", self.path], USAGE, "expected a filter"),
            (["replay", "web", "-F", text, "udp"], USAGE, "got both"),
            (["listen", "web", "-F", text], USAGE, "syntax error"),
            (["init", "lo", "-F", text], USAGE, "syntax error"),
            (["replay", "web", "--flow", "tcp,10.0.0.1:1,::1:2"], USAGE,
             "of one family"),
            (["replay", "web", "--flow", "tcp,10.0.0.1,10.0.0.2"], USAGE,
             "PROTO,A:PORT,B:PORT"),
            (["replay", "web", "--flow", "udp,localhost:1,10.0.0.1:2"],
             USAGE, "numeric"),
            (["replay", "web", "--flow", "udp,1.1.1.1:65536,1.1.1.2:1"],
             USAGE, "not 'udp,1.1.1.1:65536,1.1.1.2:1'"),
            (["count", "web", "--flow", "gre,10.0.0.1:1,10.0.0.2:2"], USAGE,
             "not 'gre,"),
            (["count", "web", "--flow", "icmp,10.0.0.1) or (udp,1.1.1.1"],
             USAGE, "--flow"),
            (["count", "web", "--flow", "tcp," + "1" * 300], USAGE,
             "--flow"),
            # Numbers and times.
            (["replay", "web", "-c", "0"], USAGE,
             "--count: expected a whole number from 1 on, not '0'"),
            (["replay", "web", "-s", "300000"], USAGE,
             "from 1 to 262144, not '300000'"),
            (["init", "lo", "-B", "0"], USAGE, "from 1 to 2047, not '0'"),
            (["init", "lo", "-s", "x"], USAGE, "--snaplen"),
            (["listen", "web", "--for", "10"], USAGE, "90s"),
            (["replay", "web", "--since", "tuesday"], USAGE, "'tuesday'"),
            (["replay", "web", "--since", "10m", "--until", "20m"], USAGE,
             "--until has to be after --since"),
            (["replay", "web", "--since", "10m", "--last", "20m"], USAGE,
             "give one of them"),
            (["replay", "web", "--live", "--until", "now"], USAGE, "--until"),
            # Files.
            (["import", "x"], USAGE, "at least one file"),
            (["import", "x", text], USAGE, "not a savefile"),
            (["import", "x", "/dev/null"], USAGE, "/dev/null"),
            (["import", "x", self.path_of("none")], FAILED,
             "No such file or directory"),
            (["import", "x", self.daemon.folder], FAILED,
             "Is a directory"),
            (["replay", "web", "-w", self.path], FAILED, "is there already"),
            (["replay", "web", "-w", self.path_of("no/file")], FAILED,
             "No such file or directory"),
            (["delete", "web"], USAGE, "--yes"),
        ]
        before = self.daemon.list()
        for arguments, status, text in cases:
            with self.subTest(arguments=arguments):
                out, said = self.says(arguments, status, text)
                self.assertEqual(out, b"")
                self.assertLess(len(said.splitlines()),
                                3 if arguments else 60, said)
        self.assertEqual(self.daemon.list(), before)
        with open(self.path, "rb") as file:
            self.assertEqual(len(packets_of(file.read())[1]), 100)

    def test_a_forgotten_interface_is_explained(self):
        self.says(["init", "tcp", "port", "80"], NOT_FOUND,
                  "tcp: no such interface", "The first word is the interface",
                  "'any' means all")

    def test_one_bad_file_does_not_keep_the_next_one_out(self):
        cut = self.path_of("cut")
        with open(cut, "wb") as file:
            file.write(savefile(made(10))[:-7])
        out, said = self.says(["import", "some", cut, self.path], INCOMPLETE,
                              "cut")
        self.assertEqual(out, b"")
        self.assertIn("cut: 9 packets", said)
        self.assertIn("web.pcap: 100 packets", said)
        self.assertEqual(self.daemon.capture("some")["packets"], 109)
        self.says(["import", "some", cut, "/dev/null", self.path], USAGE)
        self.daemon.run("delete", "some", "--yes")

    def test_another_link_type_is_refused(self):
        path = self.path_of("raw.pcap")
        with open(path, "wb") as file:
            file.write(savefile(made(1), link_type=101))
        self.says(["import", "web", path], FAILED, "101", "1 ")


class Writing(Case):
    def test_a_file_is_written_once_and_over_only_if_asked(self):
        path = self.path_of("out.pcap")
        out, said = self.daemon.run("replay", "web", "-w", path)
        self.assertEqual(out, b"")
        self.assertRegex(
            said, r"\A100 packets replayed, 100 examined\n"
            r"range: 2026-01-01T00:00:00\+00:00 to \S+; no gaps\n\Z")
        self.says(["replay", "web", "-c", "1", "-w", path], FAILED,
                  "is there already", "--force overwrites it")
        with open(path, "rb") as file:
            self.assertEqual(packets_of(file.read())[1], made(100))
        self.daemon.run("replay", "web", "-c", "1", "-w", path, "--force")
        with open(path, "rb") as file:
            self.assertEqual(packets_of(file.read())[1], made(1))
        self.daemon.run("replay", "web", "-w", "/dev/null")

    def test_no_file_is_made_for_an_error(self):
        path = self.path_of("never.pcap")
        self.daemon.run("replay", "nope", "-w", path, status=NOT_FOUND)
        self.daemon.run("replay", "web", "tcp", "pot", "-w", path,
                        status=USAGE)
        self.assertFalse(os.path.exists(path))

    def test_a_full_disk_is_said(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        self.says(["replay", "web", "-w", "/dev/full"], FAILED,
                  "No space left on device")

    def test_nothing_found_is_an_empty_savefile(self):
        out, said = self.daemon.run("replay", "web", "tcp")
        self.assertEqual(packets_of(out), (1, []))
        self.assertRegex(said, r"\A0 packets replayed, 0 examined\n"
                         r"range: .*; no gaps\n\Z")

    def test_options_may_stand_between_the_words_of_a_filter(self):
        out, _ = self.daemon.run("replay", "web", "udp", "-c", "2", "src",
                                 "port", "1027", "or", "src", "port", "--",
                                 "1029")
        self.assertEqual(packets_of(out)[1], [made(6)[3], made(6)[5]])

    def test_a_filter_comes_from_a_file(self):
        path = self.path_of("filter")
        with open(path, "w") as file:
            file.write("# two of a hundred\nsrc port 1027 # this\n"
                       "or\r\nsrc port 1029\n")
        two = [made(6)[3], made(6)[5]]
        out, _ = self.daemon.run("replay", "web", "-F", path)
        self.assertEqual(packets_of(out)[1], two)
        with open(path, "rb") as file:
            out, _ = self.daemon.run("replay", "web", "-F", "-",
                                     stdin=file.read())
        self.assertEqual(packets_of(out)[1], two)
        out, _ = self.daemon.run("count", "web", "-F", path)
        self.assertEqual(out, b"2\n")

    def test_a_flow_of_each_protocol_is_that_of_tcpdump(self):
        four = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
        six = [bytes.fromhex("20010db8" + "00" * 11 + n) for n in ("01", "02")]
        packets = []
        for protocol in (1, 6, 17, 58, 132):
            for a, b, a_port, b_port in ((0, 1, 80, 4000), (1, 0, 4000, 80),
                                         (0, 1, 4000, 80), (1, 0, 80, 80)):
                body = struct.pack(">HH", a_port, b_port) + bytes(20)
                packets.append(b"\2" * 12 + b"\x08\0" + struct.pack(
                    ">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64,
                    protocol, 0, four[a], four[b]) + body)
                packets.append(b"\2" * 12 + b"\x86\xdd" + struct.pack(
                    ">IHBB16s16s", 0x60000000, len(body), protocol, 64,
                    six[a], six[b]) + body)
        path = self.path_of("flows.pcap")
        with open(path, "wb") as file:
            file.write(savefile([Packet(T0 + i, p)
                                 for i, p in enumerate(packets)]))
        self.daemon.run("import", "flows", path)
        self.addCleanup(self.daemon.run, "delete", "flows", "--yes")
        for flow, wanted in (
                ("tcp,10.0.0.1:80,10.0.0.2:4000", 2),
                ("udp,10.0.0.2:80,10.0.0.1:4000", 1),
                ("sctp,10.0.0.2:80,10.0.0.1:80", 1),
                ("tcp,[2001:db8::1]:80,[2001:DB8:0::2]:4000", 2),
                ("udp,[2001:db8::2]:4000,[2001:db8::1]:80", 2),
                ("sctp,[2001:db8::1]:4000,[2001:db8::2]:80", 1),
                ("icmp,10.0.0.1,10.0.0.2", 4),
                ("icmp6,2001:db8::1,[2001:db8::2]", 4)):
            with self.subTest(flow=flow):
                out, _ = self.daemon.run("replay", "flows", "--flow", flow)
                proto, a, b = flow.replace("[", "").replace("]", "").split(",")
                ends = [end.rpartition(":")[::2] if proto[:4] != "icmp" else
                        (end, "") for end in (a, b)]
                dump = " or ".join(
                    "(%s and src host %s and dst host %s" % (proto, f[0], t[0])
                    + (" and src port %s and dst port %s" % (f[1], t[1])
                       if f[1] else "") + ")"
                    for f, t in (ends, ends[::-1]))
                done = subprocess.run(
                    ["tcpdump", "--nano", "-r", path, "-w", "-", dump],
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                    check=True)
                self.assertEqual(packets_of(out), packets_of(done.stdout))
                self.assertEqual(len(packets_of(out)[1]), wanted)

    def test_a_flow_is_found_in_both_directions(self):
        tshark = subprocess.run(
            ["tshark", "-r", self.path, "-T", "fields", "-E", "separator=,",
             "-e", "ip.src", "-e", "udp.srcport", "-e", "ip.dst",
             "-e", "udp.dstport"], stdout=subprocess.PIPE, check=True)
        flows = [line.split(",") for line in
                 tshark.stdout.decode().splitlines()]
        for i in (0, 41, 99):
            a, a_port, b, b_port = flows[i]
            ends = ["%s:%s" % (a, a_port), "%s:%s" % (b, b_port)]
            wanted = [made(100)[k] for k, f in enumerate(flows)
                      if f in (flows[i], [b, b_port, a, a_port])]
            self.assertTrue(wanted)
            for order in (ends, ends[::-1]):
                out, _ = self.daemon.run("replay", "web", "--flow",
                                         ",".join(["udp"] + order))
                self.assertEqual(packets_of(out)[1], wanted)
            out, _ = self.daemon.run("count", "web", "--flow",
                                     ",".join(["tcp"] + ends))
            self.assertEqual(out, b"0\n")
            out, _ = self.daemon.run("count", "web", "len", "==", "0",
                                     "--flow", ",".join(["udp"] + ends))
            self.assertEqual(out, b"0\n")

    def test_a_reader_that_has_enough_ends_it_quietly(self):
        many = self.path_of("many.pcap")
        with open(many, "wb") as file:
            file.write(savefile(made(30000, 1000)))
        self.daemon.run("import", "many", many)
        process = self.daemon.popen("replay", "many", stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE)
        self.assertEqual(len(process.stdout.read(1000)), 1000)
        process.stdout.close()
        said = process.stderr.read().decode()
        self.assertEqual(ended(process), OK, said)
        self.assertNotIn("pcap:", said)

    def test_a_reader_that_is_gone_ends_it_while_nothing_comes(self):
        process = self.daemon.popen("replay", "web", "--live",
                                    stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE)
        process.stdout.read(24 + 100 * 116)
        process.stdout.close()
        self.assertEqual(ended(process), OK)


class Times(Case):
    def range(self, *arguments, zone="UTC"):
        os.environ["TZ"] = zone
        try:
            out, said = self.daemon.run("replay", "web", *arguments)
        finally:
            os.environ["TZ"] = "UTC"
        ranges = [line for line in said.splitlines() if "range" in line]
        self.assertEqual(len(ranges), 1, said)
        return ([(p.ns - T0) // NS for p in packets_of(out)[1]],
                ranges[0].partition("; ")[0])

    def test_the_range_is_resolved_and_said(self):
        berlin = "CET-1CEST,M3.5.0,M10.5.0/3"
        for since, until_, zone, said in [
                ("2026-01-01T00:00:10Z", "2026-01-01T00:00:13Z", "UTC",
                 "2026-01-01T00:00:10+00:00 to 2026-01-01T00:00:13+00:00"),
                ("2026-01-01 01:00:10", "2026-01-01 01:00:13", berlin,
                 "2026-01-01T01:00:10+01:00 to 2026-01-01T01:00:13+01:00"),
                ("@1767225609.5", "@1767225612.000000001", "UTC",
                 "2026-01-01T00:00:09.5+00:00 to "
                 "2026-01-01T00:00:12+00:00")]:
            with self.subTest(since=since):
                got, text = self.range("--since", since, "--until", until_,
                                       zone=zone)
                self.assertEqual(got, [10, 11, 12])
                self.assertEqual(text, "range: " + said)

    def test_one_end_is_enough(self):
        got, said = self.range("--since", "@1767225698")
        self.assertEqual(got, [98, 99])
        self.assertEqual(said, "range: 2026-01-01T00:01:38+00:00 to "
                               "2026-01-01T00:01:39+00:00")
        got, said = self.range("--until", "@1767225602")
        self.assertEqual(got, [0, 1])
        self.assertEqual(said, "range: 2026-01-01T00:00:00+00:00 to "
                               "2026-01-01T00:00:02+00:00")

    def test_last_is_counted_from_now(self):
        before = int(time.time())
        process = self.daemon.popen("replay", "web", "--live", "--last", "1w",
                                    stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE)
        process.stdout.read(24)
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read().decode()
        since = re.search(r"^range: (\S+) to now and on$", said, re.M).group(1)
        stamp = int(output("date", "-ud", since, "+%s"))
        self.assertIn(stamp, range(before - 604800,
                                   int(time.time()) - 604800 + 1))
        self.assertEqual(ended(process), OK)

    def test_a_range_in_the_future_is_said(self):
        since = str(int(time.time()) + 90000)
        for command in (["replay", "web"], ["count", "web"], ["gaps", "web"],
                        ["audit"]):
            _, said = self.says(command + ["--since", "@" + since], OK,
                                "the range begins in the future: ")
            self.assertRegex(said, r" is (25|24\.9) h from now\n")
            self.assertNotIn("no gaps", said)
        _, said = self.daemon.run("replay", "web", "--since", "@1767225600")
        self.assertNotIn("future", said)


class Ending(Case):
    """Streams without an end of their own, on imported packets."""

    def live(self, *more, **kwargs):
        """Returns when the stored packets have come."""
        process = self.daemon.popen("replay", "web", "--live", *more,
                                    stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, **kwargs)
        self.stored = process.stdout.read(24 + 100 * 116)
        return process

    def test_signals_end_it_cleanly(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number=number):
                process = self.live()
                process.send_signal(number)
                self.assertEqual(process.stdout.read(), b"")
                self.assertEqual(process.stderr.read(),
                                 b"100 packets replayed\n")
                self.assertEqual(ended(process), OK)

    def test_a_packed_tail_is_whole_after_a_signal(self):
        path = self.path_of("tail.pcap.zst")
        process = self.daemon.popen("replay", "web", "--live", "-w", path,
                                    stderr=subprocess.PIPE)

        def has_all():
            """Also while it goes on."""
            if not os.path.exists(path):
                return False
            got = subprocess.run(["zstd", "-dcq", path],
                                 stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL).stdout
            return len(got) == 24 + 100 * 116

        until(has_all, "all packets in the file", 10)
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        self.assertEqual(ended(process), OK)
        output("zstd", "-tq", path)

    def test_nohup_is_respected(self):
        process = self.live(preexec_fn=lambda: signal.signal(
            signal.SIGHUP, signal.SIG_IGN))
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(ended(process), OK)

    def test_a_second_signal_ends_a_blocked_one(self):
        many = self.path_of("blocks.pcap")
        with open(many, "wb") as file:
            file.write(savefile(made(300000, 1000)))
        self.daemon.run("import", "blocks", many)
        process = self.daemon.popen("replay", "blocks",
                                    stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE)
        process.stdout.read(24)

        def blocked():
            """Nobody reads, the pipe is full, a thread writes."""
            tasks = "/proc/%d/task" % process.pid
            for task in os.listdir(tasks):
                with open("%s/%s/wchan" % (tasks, task)) as file:
                    if "pipe" in file.read():
                        return True
            return False

        try:
            until(blocked, "a full pipe", 5)
        except AssertionError:
            process.kill()
            self.skipTest("/proc/PID/task/TID/wchan does not tell")
        process.send_signal(signal.SIGINT)

        def dead():
            process.send_signal(signal.SIGINT)
            return process.poll() is not None

        until(dead, "the end")
        self.assertEqual(process.returncode, -signal.SIGINT)

    def test_a_count_ends_it(self):
        process = self.live("-c", "103")
        path = self.path_of("more.pcap")
        with open(path, "wb") as file:
            file.write(savefile(made(10)))
        self.daemon.run("import", "web", path)
        _, packets = packets_of(self.stored + process.stdout.read())
        self.assertEqual(len(packets), 103)
        self.assertEqual(ended(process), OK)
        self.assertIn(b"103 packets replayed", process.stderr.read())
        # For the other tests: as it was.
        self.daemon.run("delete", "web", "--yes")
        self.daemon.run("import", "web", self.path)

    def test_the_time_ends_a_listener(self):
        start = time.monotonic()
        out, said = self.daemon.run("listen", "web", "--for", "1s")
        self.assertGreaterEqual(time.monotonic() - start, 1)
        self.assertEqual(packets_of(out), (1, []))
        self.assertEqual(said.splitlines()[:2], [
            "web holds savefiles: packets come when somebody imports more",
            "0 packets captured"])

    def test_a_daemon_that_stops_is_told_from_an_end(self):
        other = Daemon().start()
        other.run("import", "web", self.path)
        streams = [other.popen(*a, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
                   for a in (["replay", "web", "--live"], ["listen", "web"])]
        for s in streams:
            s.stdout.read(24)
        other.stop()
        for s in streams:
            self.assertEqual(ended(s), INCOMPLETE)
            self.assertIn(b"is not complete: ", s.stderr.read())

    def test_a_daemon_that_hangs_does_not_keep_a_listener(self):
        process = self.daemon.popen("listen", "web", stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE)
        process.stdout.read(24)
        self.daemon.process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        try:
            self.assertEqual(ended(process), OK)
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)
        self.assertTrue(
            process.stderr.read().endswith(b"0 packets captured\n"))

    def test_a_daemon_that_dies_is_told_from_an_end(self):
        other = Daemon().start()
        other.run("import", "web", self.path)
        process = other.popen("replay", "web", "--live",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(24 + 100 * 116)
        other.kill()
        self.assertEqual(ended(process), INCOMPLETE)
        said = process.stderr.read().decode()
        self.assertIn("100 packets replayed", said)
        self.assertIn("replay web: the connection to pcapd ended", said)
        self.assertIn("its log says why", said)


class Terminal(Case):
    def open(self, *arguments, stdout=None):
        """pcap on a terminal of 80 columns."""
        self.master, slave = pty.openpty()
        self.addCleanup(os.close, self.master)
        termios.tcsetwinsize(slave, (24, 80)) if hasattr(
            termios, "tcsetwinsize") else None
        process = subprocess.Popen(
            [PCAP] + list(arguments), stdin=slave, stdout=stdout or slave,
            stderr=slave, start_new_session=True,
            env=dict(os.environ, PCAP_SOCKET=self.daemon.socket))
        os.close(slave)
        self.addCleanup(process.wait)
        self.seen = b""
        return process

    def see(self, text):
        """Reads the terminal until text is on it, or to its end."""
        end = time.monotonic() + PATIENCE
        while text is None or text not in self.seen:
            self.assertLess(time.monotonic(), end, self.seen)
            if not select.select([self.master], [], [], 1)[0]:
                continue
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:  # nobody has it open any more
                self.assertIsNone(text, self.seen)
                break
        return self.seen

    def test_packets_are_not_written_to_it(self):
        for command in ("replay", "listen"):
            process = self.open(command, "web")
            self.assertIn(b"packets are not written to a terminal",
                          self.see(None))
            self.assertIn(b"-w FILE", self.seen)
            self.assertIn(b"tcpdump -r -", self.seen)
            self.assertEqual(ended(process), USAGE)

    def test_packets_are_written_to_it_if_asked(self):
        process = self.open("replay", "web", "-c", "1", "-w", "-")
        self.assertIn(struct.pack("<I", 0xa1b23c4d), self.see(None))
        self.assertEqual(ended(process), OK)

    def test_delete_asks_and_needs_a_yes(self):
        self.daemon.run("import", "gone", self.path)
        for answer, status, left in ((b"n\n", FAILED, True),
                                     (b"\n", FAILED, True),
                                     (b"\x04", FAILED, True),
                                     (b"yes\n", OK, False)):
            process = self.open("delete", "gone")
            self.see(b"(gone) with 100 packets, 11.3K? [y/N] ")
            os.write(self.master, answer)
            self.see(None)
            self.assertEqual(ended(process), status, self.seen)
            self.assertEqual(self.daemon.capture("gone") is not None, left)

    def test_the_table_fits(self):
        process = self.open("list")
        for line in self.see(None).decode().splitlines():
            self.assertLessEqual(len(line), 80)
        self.assertEqual(ended(process), OK)

    def test_progress_is_shown_after_a_second_and_erased(self):
        self.daemon.run("import", "slow", self.path)
        process = self.open("replay", "slow", "--live",
                            stdout=subprocess.DEVNULL)
        more = self.path_of("second.pcap")
        with open(more, "wb") as file:
            file.write(savefile(made(1)))
        end = time.monotonic() + PATIENCE
        while b"packets" not in self.seen:
            self.assertLess(time.monotonic(), end)
            self.daemon.run("import", "slow", more)
            while select.select([self.master], [], [], 0.2)[0]:
                self.seen += os.read(self.master, 65536)
        self.assertRegex(self.seen, rb"\r[\d.]+K, 1\d\d packets")
        process.send_signal(signal.SIGINT)
        lines = self.see(None).split(b"\r\x1b[K")
        self.assertRegex(lines[-1], rb"^1\d\d packets replayed\r\n$")
        self.assertEqual(ended(process), OK)
        self.daemon.run("delete", "slow", "--yes")

    def test_a_pipe_has_no_progress_between_its_readers_lines(self):
        process = self.open("replay", "web", "--live", stdout=subprocess.PIPE)
        more = self.path_of("second.pcap")
        with open(more, "wb") as file:
            file.write(savefile(made(1)))
        begun = time.monotonic()
        process.stdout.read(24 + 100 * 116)
        while time.monotonic() < begun + 2:  # progress begins after one
            self.daemon.run("import", "web", more)
            process.stdout.read(116)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        self.assertRegex(self.see(None), rb"\A1\d\d packets replayed\r\n\Z")
        self.assertEqual(ended(process), OK)
        self.daemon.run("delete", "web", "--yes")
        self.daemon.run("import", "web", self.path)

    def test_help_fits(self):
        out, _ = self.daemon.run("--help")
        self.assertIn(b"Exit codes", out)
        commands = re.findall(r"^  (\w+)  +\w", out.decode(), re.M)
        self.assertGreater(len(commands), 18, commands)
        for command in commands:
            asked, _ = self.daemon.run("help", command)
            self.assertEqual(asked, self.daemon.run(command, "--help")[0])
            self.assertEqual(asked, self.daemon.run(command, "-h")[0])
            self.assertTrue(asked.startswith(b"Usage: pcap "))
            out += asked
        for line in out.decode().splitlines():
            self.assertLessEqual(len(line), 80)


class Reaching(Case):
    def test_the_socket_is_named_in_three_ways(self):
        elsewhere = dict(os.environ, PCAP_SOCKET="/nonexistent")
        for arguments in (["--socket", self.daemon.socket, "list"],
                          ["list", "--socket", self.daemon.socket],
                          ["list", "-S" + self.daemon.socket]):
            subprocess.run([PCAP] + arguments, env=elsewhere, check=True,
                           stdout=subprocess.DEVNULL)

    def test_no_daemon_is_said(self):
        path = self.path_of("nobody")
        for arguments in (["list"], ["replay", "web"],
                          ["import", "x", self.path]):
            self.says(["--socket", path] + arguments, UNREACHABLE,
                      "pcap: cannot reach pcapd at %s: no such file" % path,
                      "systemctl start pcapd", "PCAP_SOCKET")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
        self.says(["--socket", path, "list"], UNREACHABLE,
                  "nobody listens there")
        out, said = self.says(["--socket", path, "version"], OK)
        self.assertRegex(out, rb"^pcap .*\npcapd: cannot reach")
        self.assertEqual(said, "")
        self.says(["--socket", "x" * 200, "list"], USAGE, "107 bytes")

    def test_no_permission_names_the_group(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        need("setpriv")
        os.chmod(self.daemon.folder, 0o755)
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
             PCAP, "--socket", self.daemon.socket, "list"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if b"failed to execute" in done.stderr:
            self.skipTest("others may not run the programs here")
        group = output("stat", "-c", "%G", self.daemon.socket).strip()
        self.assertEqual(done.returncode, PERMISSION, done.stderr)
        self.assertIn(b"may not connect to pcapd", done.stderr)
        self.assertIn(b"the group '%s' may" % group, done.stderr)

    def test_what_is_not_pcapd_is_an_error(self):
        path = self.path_of("other")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen()
            process = self.daemon.popen("--socket", path, "list",
                                        stderr=subprocess.PIPE)
            peer, _ = s.accept()
            peer.recv(100)
            peer.sendall(b"220 ready\r\n" * 10)
            peer.close()
            said = process.stderr.read()
            self.assertEqual(ended(process), UNREACHABLE, said)
            self.assertTrue(said.startswith(b"pcap: "), said)


class Interfaces(unittest.TestCase):
    """With real packets, on the loopback."""

    @classmethod
    def setUpClass(cls):
        try:
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
        except OSError as error:
            raise unittest.SkipTest("no raw sockets here: %s" % error)
        cls.daemon = Daemon().start()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def send(self, port, n):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for i in range(n):
                s.sendto(b"%d" % i, ("127.0.0.1", port))

    def test_a_capture_is_found_again_by_its_filter(self):
        _, said = self.daemon.run("init", "lo", "tcp", "port", "80",
                                 "--alias", "a")
        self.assertRegex(said, r"^created (\d+) \(a\)\n$")
        _, said = self.daemon.run("init", "lo", "tcp  port http", "--alias",
                                 "b")
        self.assertRegex(said, r"^added the alias to \d+ \(a, b\), which has "
                              r"that interface and filter\n$")
        _, said = self.daemon.run("init", "local:lo", "tcp port 80")
        self.assertRegex(said, r"^\d+ \(a, b\) has that interface and filter "
                              r"already\n$")
        self.daemon.run("delete", "a", "--yes")

    def test_start_and_stop_say_what_they_did(self):
        self.daemon.run("init", "lo", "udp port 9", "--alias", "only")
        _, said = self.daemon.run("start")
        self.assertRegex(said, r"^started \d+ \(only\)\n$")
        _, said = self.daemon.run("start", "only", status=FAILED)
        self.assertIn("runs already", said)
        _, said = self.daemon.run("delete", "only", "--yes", status=FAILED)
        self.assertIn("pcap stop only", said)
        _, said = self.daemon.run("stop", "--all")
        self.assertRegex(said, r"stopped \d+ \(only\)\n")
        _, said = self.daemon.run("stop", "only", status=FAILED)
        self.assertIn("does not run", said)
        self.daemon.run("init", "lo", "udp port 10", "--alias", "two")
        _, said = self.daemon.run("start", status=USAGE)
        self.assertRegex(said, r"say which capture to start, or --all: "
                               r"\d+ \(only\), \d+ \(two\)\n")
        _, said = self.daemon.run("start", "local:--all")
        self.assertEqual(len(said.splitlines()), 2)
        self.daemon.run("stop", "--all")
        self.daemon.run("delete", "only", "--yes")
        self.daemon.run("delete", "two", "--yes")

    def test_no_interface_is_every_interface(self):
        _, said = self.daemon.run("init", "", "udp port 4", "--alias", "all")
        self.assertEqual(self.daemon.capture("all")["interface"], "any")
        _, said = self.daemon.run("init", "any", "udp port 4")
        self.assertRegex(said, r"already\n$")
        self.daemon.run("delete", "all", "--yes")

    def test_a_listener_ends_with_the_counts_of_tcpdump(self):
        self.daemon.run("init", "lo", "udp port 9999", "--alias", "l",
                        "--start")
        process = self.daemon.popen("listen", "l", "-c", "5",
                                    stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE)
        head = process.stdout.read(24)
        self.send(9999, 5)
        _, packets = packets_of(head + process.stdout.read())
        self.assertEqual([p.body[-1:] for p in packets],
                         [b"%d" % i for i in range(5)])
        self.assertEqual(ended(process), OK)
        self.assertRegex(process.stderr.read().decode(),
                         r"^5 packets captured\n"
                         r"\d+ packets received by filter\n"
                         r"0 packets dropped by kernel\n$")
        self.daemon.run("stop", "l")
        self.daemon.run("delete", "l", "--yes")


if __name__ == "__main__":
    main()
