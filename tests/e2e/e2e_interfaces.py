#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Interfaces that go down, come up, are removed, made again, renamed, or were
never there: what is sent while they are there is captured, and the ledger says
when they were not."""

import json
import os
import socket
import subprocess
import sys
import time
import unittest

from link import Link, content, in_file
from harness import (INCOMPLETE, NOT_FOUND, NS, PERMISSION, Daemon,
                     USAGE, first_difference, main, output, packets_of, savefile,
                     udp_packet, until)

T0 = 10 ** 18
RAW = 101  # LINKTYPE_RAW
# An interface without link layer, into which stdin goes as one packet.
TUN = '''
import fcntl, os, struct, subprocess, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", sys.argv[1].encode(),
                                         0x1001))
subprocess.check_call(["ip", "link", "set", sys.argv[1], "up"])
os.write(tun, os.read(0, 2000))
os.read(0, 1)
'''


class Interfaces(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.link = Link()

    def setUp(self):
        self.daemon = Daemon(prefix=self.link.receiver).start()
        self.addCleanup(self.daemon.kill)
        self.sent = []

    def ip(self, *arguments, far=True):
        output("ip", "-n", self.link.names[far], *arguments)

    def begin(self, interface=None):
        interface = interface or self.link.far
        self.daemon.run("init", interface, "--alias", "live", "--start")

    def state(self):
        return self.daemon.capture("live")["state"]

    def until_state(self, state):
        until(lambda: self.state() == state, state)

    def until_running(self, near=None):
        """The link carries packets, and the capture has it."""
        until(lambda: "state UP" in output(
            "ip", "-n", self.link.names[0], "link", "show",
            near or self.link.near).decode(), "the link")
        self.until_state("running")

    def send(self, n=50):
        first = len(self.sent)
        path = os.path.join(self.daemon.folder, "some.pcap")
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(T0 + i, i)
                                 for i in range(first, first + n)]))
        self.sent += in_file(path)
        self.link.send_all(path)
        until(lambda: int(self.daemon.capture("live")["packets"]) >=
              len(self.sent), "%d packets" % len(self.sent))

    def all_is_there(self):
        out, _ = self.daemon.run("replay", "live")
        first_difference(self, content(packets_of(out)[1]),
                         content(self.sent))

    def outages(self):
        out, _ = self.daemon.run("gaps", "live", "--json")
        return [g for g in json.loads(out)["gaps"] if g["cause"] == "down"]

    def assert_outage(self, gap, before, after, reason):
        self.assertGreaterEqual(gap["from_ns"], before)
        self.assertLessEqual(gap["to_ns"], after)
        self.assertGreater(gap["to_ns"], gap["from_ns"])
        self.assertIn(reason, gap["detail"])

    def test_down_and_up(self):
        self.begin()
        self.until_running()
        before = time.time_ns()
        self.send()
        self.ip("link", "set", self.link.far, "down")
        down = time.time_ns()
        self.until_state("waiting")
        (gap,) = self.outages()
        self.assertEqual(gap["to_ns"], 0)  # it goes on
        self.assertIn("waits: %s: the interface is down" % self.link.far,
                      self.daemon.run("status", "live")[0].decode())
        self.ip("link", "set", self.link.far, "up")
        self.until_running()
        after = time.time_ns()
        self.send()
        self.all_is_there()
        (gap,) = self.outages()
        # It begins with the newest packet, which is from before.
        self.assertLessEqual(gap["from_ns"], down)
        self.assert_outage(gap, before, after, "the interface is down")
        self.daemon.run("replay", "live", "--strict", status=INCOMPLETE)
        self.daemon.stop()

    def test_removed_and_made_again(self):
        self.begin()
        self.until_running()
        for _ in range(2):
            before = time.time_ns()
            self.send()
            self.link.unplug()
            self.until_state("waiting")
            self.link.plug()
            self.until_running()
            after = time.time_ns()
        self.send()
        # In one go, which a look from time to time would not see.
        self.link.unplug()
        self.link.plug()
        self.until_running()
        until(lambda: len(self.outages()) >= 3, "the third outage")
        self.send()
        self.all_is_there()
        outages = self.outages()
        for one, next_one in zip(outages, outages[1:]):
            self.assertLessEqual(one["to_ns"], next_one["from_ns"])
        self.assertTrue(any(before <= g["from_ns"] <= g["to_ns"] <= after
                            for g in outages), outages)
        self.daemon.stop()

    def test_renamed_away_and_back(self):
        self.begin()
        self.until_running()
        self.send()
        sent = list(self.sent)
        self.ip("link", "set", self.link.far, "down")
        self.ip("link", "set", self.link.far, "name", "other0")
        self.ip("link", "set", "other0", "up")
        self.until_state("waiting")
        # A capture is of a name: what other0 gets is not captured.
        until(lambda: "state UP" in output(
            "ip", "-n", self.link.names[0], "link", "show",
            self.link.near).decode(), "the link")
        path = os.path.join(self.daemon.folder, "lost.pcap")
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(T0, 7777)]))
        self.link.send_all(path)
        self.ip("link", "set", "other0", "down")
        self.ip("link", "set", "other0", "name", self.link.far)
        self.ip("link", "set", self.link.far, "up")
        self.until_running()
        self.send()
        self.assertEqual(len(self.sent), len(sent) + 50)
        self.all_is_there()
        self.daemon.stop()

    def test_missing_at_start_and_after_a_restart(self):
        before = time.time_ns()
        self.begin()
        self.until_running()
        self.send()
        self.daemon.stop()
        self.link.unplug()
        self.daemon.start()
        self.assertEqual(self.state(), "waiting")
        self.assertIn("no such interface",
                      self.daemon.capture("live")["waiting_for"])
        out, _ = self.daemon.run("gaps", "live", "--json")
        causes = [g["cause"] for g in json.loads(out)["gaps"]]
        self.assertEqual(sorted(causes), ["down", "restart"])
        self.link.plug()
        self.until_running()
        self.send()
        self.all_is_there()
        # It came down, and then up.
        outages = self.outages()
        self.assert_outage(outages[0], before, time.time_ns(),
                           "no such interface")
        for gap in outages[1:]:
            self.assertEqual(gap["from_ns"], outages[0]["to_ns"])
            self.assertIn("is down", gap["detail"])
        self.daemon.stop()

    def test_a_stop_ends_an_outage(self):
        self.begin()
        self.until_running()
        self.ip("link", "set", self.link.far, "down")
        self.until_state("waiting")
        self.daemon.run("stop", "live")
        (gap,) = self.outages()
        self.assertGreater(gap["to_ns"], gap["from_ns"])
        self.daemon.run("start", "live")
        self.until_state("waiting")
        self.daemon.kill()
        self.ip("link", "set", self.link.far, "up")
        self.daemon.start()
        self.until_running()
        # What went on at the kill is not taken to go on.
        for gap in self.outages():
            self.assertGreater(gap["to_ns"], 0)
        self.send()
        self.all_is_there()
        self.daemon.stop()

    def test_a_quiet_link_is_covered_and_holds_no_block(self):
        """Days are the same as seconds: nothing waits for a next packet."""
        self.daemon.stop()
        self.daemon.configure("block-age = 1s\nsegment-age = 2s\n")
        self.daemon.start()
        self.begin()
        self.until_running()
        self.send()
        until(lambda: self.status()["queue_blocks"] == 0, "the block to close")
        stored = int(self.daemon.capture("live")["stored_bytes"])
        self.assertGreater(stored, 0)
        newest = self.status()["newest_ns"]
        until(lambda: self.status()["synced_ns"] > newest + 3 * NS,
              "coverage without packets")
        out, _ = self.daemon.run("gaps", "live", "--json")
        answer = json.loads(out)
        self.assertEqual(answer["gaps"], [])
        self.assertGreater(answer["to_ns"], newest + 3 * NS)
        self.send()
        self.all_is_there()
        self.daemon.stop()

    def test_a_name_is_an_interface_and_nothing_else(self):
        """Some of libpcap's names say what to run, or where to connect."""
        mark = os.path.join(self.daemon.folder, "ran")
        ear = socket.socket(socket.AF_UNIX)
        ear.bind(os.path.join(self.daemon.folder, "ear"))
        ear.listen(4)
        ear.setblocking(False)
        self.addCleanup(ear.close)
        self.daemon.stop()
        self.daemon.configure("sandbox = off\n")
        self.daemon.start()
        for name in ("dbus://unixexec:path=/usr/bin/touch,argv1=" + mark,
                     "dbus://unix:path=%s/ear" % self.daemon.folder,
                     "dbus-system", "netmap:lo", "lo/../lo", "nflog/1", "@lo",
                     "dag0", "vale0"):
            _, text = self.daemon.run("init", ":" + name[:63],
                                      status=NOT_FOUND)
            self.assertIn("no such interface", text)
        for name in "usbmon0", "nflog", "nflog:5", "nfqueue:1", "bluetooth0":
            _, text = self.daemon.run("init", ":" + name,
                                      status=PERMISSION)
            self.assertIn("other-devices is off", text)
        self.assertFalse(os.path.exists(mark))
        self.assertRaises(BlockingIOError, ear.accept)
        out, _ = self.daemon.run("interfaces", "--json")
        names = {i["name"] for i in json.loads(out)["interfaces"]}
        self.assertEqual(names, {"any", "lo", self.link.far})
        self.daemon.stop()
        self.daemon.configure("other-devices = on\n")
        self.daemon.start()
        out, _ = self.daemon.run("interfaces", "--json")
        self.assertLessEqual(names, {
            i["name"] for i in json.loads(out)["interfaces"]})
        # Whether this kernel has it is libpcap's word now.
        _, text = self.daemon.run("init", ":nflog:5", status=None)
        self.assertNotIn("other-devices", text)
        self.daemon.stop()

    def test_one_that_is_not_there_yet(self):
        """It is defined all the same, and waits once it is started."""
        self.link.unplug()
        far = self.link.far
        # Words that only the kernel's filter has, and a netmask.
        words = "udp and inbound and not ip broadcast"
        _, said = self.daemon.run("init", far, words, "--alias", "live")
        self.assertIn("%s is not there; once started, the capture waits until "
                      "it appears\n" % far, said)
        self.assertEqual(self.state(), "stopped")
        # The same once more, and started.
        _, said = self.daemon.run("init", far, words, "--alias", "also",
                                  "--start")
        self.assertIn("added the alias", said)
        self.assertIn("%s is not there; the capture starts when it appears\n"
                      % far, said)
        self.assertEqual(self.state(), "waiting")
        self.assertEqual(len(self.daemon.list()), 1)
        # One that waits already is not to be started.
        _, said = self.daemon.run("init", far, words)
        self.assertIn("waits: open %s: no such interface\n" % far, said)
        self.assertNotIn("once started", said)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.state(), "waiting")
        self.link.plug()
        # ip broadcast takes an address, as it does with one that is there.
        self.ip("address", "add", "10.0.0.2/24", "dev", far)
        self.until_running()
        self.send()
        self.all_is_there()
        # It is the same one still, when the program is compared.
        _, said = self.daemon.run("init", far, words)
        self.assertIn("already", said)
        self.assertNotIn("not there", said)
        self.daemon.stop()
        self.daemon.start()
        self.daemon.run("init", far, words)
        self.assertEqual(len(self.daemon.list()), 1)
        self.until_running()
        self.send()
        self.all_is_there()
        self.daemon.stop()

    def test_one_that_is_down(self):
        far = self.link.far
        self.ip("link", "set", far, "down")
        _, said = self.daemon.run("init", far, "udp", "--alias", "live",
                                  "--start")
        self.assertIn("%s is down; the capture starts when it comes up\n"
                      % far, said)
        self.assertEqual(self.state(), "waiting")
        (gap,) = self.outages()
        self.assertIn("the interface is down", gap["detail"])
        self.ip("link", "set", far, "up")
        self.until_running()
        self.send()
        self.all_is_there()
        self.daemon.stop()

    def test_one_that_comes_with_another_link_type(self):
        """Its filter is compiled for that, and its packets are of that, also
        when it is gone again."""
        if not os.path.exists("/dev/net/tun"):
            self.skipTest("no /dev/net/tun")
        self.daemon.run("init", "tun7", "udp port 9999", "--alias", "live",
                        "--start")
        tun = subprocess.Popen(
            self.link.receiver + [sys.executable, "-c", TUN, "tun7"],
            stdin=subprocess.PIPE)
        self.addCleanup(tun.kill)
        self.until_state("running")
        packet = udp_packet(T0, 5).body[14:]
        tun.stdin.write(packet)
        tun.stdin.flush()
        until(lambda: int(self.daemon.capture("live")["packets"]), "a packet")
        tun.stdin.close()
        self.assertEqual(tun.wait(), 0)
        self.until_state("waiting")

        def replayed():
            out, _ = self.daemon.run("replay", "live", "udp port 9999")
            link_type, packets = packets_of(out)
            self.assertEqual((link_type, [p.body for p in packets]),
                             (RAW, [packet]))

        replayed()
        until(lambda: self.status()["synced_ns"] > self.status()["newest_ns"],
              "the packet to be on the disk")
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.state(), "waiting")
        replayed()
        self.daemon.run("init", "tun7", "udp port 9999")
        self.assertEqual(len(self.daemon.list()), 1)
        self.daemon.run("stop", "live")
        self.daemon.stop()
        self.daemon.start()
        replayed()
        self.daemon.stop()

    def test_words_of_a_filter_are_no_interface(self):
        for words in (["tcp", "port", "80"], ["port", "53"], ["icmp"],
                      ["not", "arp"], ["tcp port 80"], ["(tcp or udp)"],
                      ["10.0.0.1"], ["80"], ["!arp"], ["tcp[13]=2"],
                      ["less", "100"], ["multicast"], ["vlan", "5"],
                      ["0123456789abcdef"], ["eth0\n"], ["-" * 3],
                      [".."], ["inbound"], ["\u00e9th0"]):
            with self.subTest(words=words):
                _, text = self.daemon.run("init", "--", *words,
                                          status=NOT_FOUND)
                self.assertIn("no such interface", text)
        _, text = self.daemon.run("init", "tcp", "port", "80",
                                  status=NOT_FOUND)
        self.assertIn("a word of filters", text)
        self.assertIn("'any' means all", text)
        _, text = self.daemon.run("init", "0123456789abcdef", "tcp",
                                  status=NOT_FOUND)
        self.assertIn("1 to 15 of A-Z", text)
        # A host is none either, if the rest is no filter.
        _, text = self.daemon.run("init", "example.com", "and", "port", "80",
                                  status=USAGE)
        self.assertIn("The first word is the interface, and example.com is "
                      "not there", text)
        self.assertEqual(self.daemon.list(), {})
        # An interface that is there may have such a name.
        self.ip("link", "set", self.link.far, "down")
        self.ip("link", "set", self.link.far, "name", "tcp")
        self.addCleanup(self.rename_back, "tcp")
        _, said = self.daemon.run("init", "tcp", "port", "80")
        self.assertIn("tcp is down", said)
        self.daemon.stop()

    def rename_back(self, name):
        self.ip("link", "set", name, "down")
        self.ip("link", "set", name, "name", self.link.far)
        self.ip("link", "set", self.link.far, "up")

    def test_who_streams_is_told_why_nothing_comes(self):
        far = self.link.far
        self.daemon.run("init", far, "udp", "--alias", "live")

        def told(*command):
            stream = self.daemon.popen(*command, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, bufsize=0)
            self.addCleanup(stream.stderr.close)
            self.addCleanup(stream.wait)
            self.addCleanup(stream.kill)
            return stream.stderr.readline().decode().rstrip()

        streams = (["listen", "live"], ["replay", "live", "--live"])
        for command in streams:
            self.assertEqual(told(*command), "live does not run: packets come "
                                             "when somebody starts it")
        self.ip("link", "set", far, "down")
        self.daemon.run("start", "live")
        self.until_state("waiting")
        for command in streams:
            self.assertEqual(
                told(*command),
                "live waits: open %s: the interface is down" % far)
        self.link.unplug()
        until(lambda: "no such" in self.daemon.capture("live")["waiting_for"],
              "the end of the interface")
        for command in streams:
            self.assertEqual(told(*command),
                             "live waits: open %s: no such interface" % far)
        self.link.plug()
        self.until_running()
        self.daemon.stop()

    def status(self):
        out, _ = self.daemon.run("status", "live", "--json")
        return json.loads(out)["captures"][0]


if __name__ == "__main__":
    main()
