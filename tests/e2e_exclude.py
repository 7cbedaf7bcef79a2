#!/usr/bin/env python3
"""pcapd does not capture its own streams to other machines, and captures
everything else on the link that carries them. Three hosts on a bridge: the
sensor, a client that comes and goes, and a third host that uses the same
port; tcpdump sees all of it."""

import atexit
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import threading
import unittest

from e2e_remote import Far
from harness import (NS, OK, PATIENCE, PCAP, end, main, need, output,
                     packets_of, until)

SENSOR, CLIENT, THIRD = "10.77.0.1", "10.77.0.2", "10.77.0.3"
PORT = 2020
ROUNDS = 100
CLONE_NEWNET = 0x40000000


class Hosts:
    def __init__(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest("network namespaces need root")
        need("ip", "tcpdump")
        self.names = ["pcapd-%d-%s" % (os.getpid(), x)
                      for x in ("sensor", "client", "third")]
        atexit.register(self.remove)
        try:
            for name in self.names:
                output("ip", "netns", "add", name)
                for which in ("default", "all"):
                    output("ip", "netns", "exec", name, "sysctl", "-qw",
                           "net.ipv6.conf.%s.disable_ipv6=1" % which,
                           status=None)
            self.plug()
        except AssertionError as error:
            self.remove()
            raise unittest.SkipTest("no network namespaces: %s" % error)

    def plug(self):
        sensor = self.names[0]
        output("ip", "-n", sensor, "link", "add", "br0", "type", "bridge")
        for name, port, address in ((self.names[1], "p1", CLIENT),
                                    (self.names[2], "p2", THIRD)):
            output("ip", "-n", sensor, "link", "add", port, "type", "veth",
                   "peer", "name", "eth0", "netns", name)
            output("ip", "-n", sensor, "link", "set", port, "master", "br0",
                   "up")
            output("ip", "-n", name, "address", "add", address + "/24", "dev",
                   "eth0")
            output("ip", "-n", name, "link", "set", "eth0", "up")
            output("ip", "-n", name, "link", "set", "lo", "up")
        output("ip", "-n", sensor, "address", "add", SENSOR + "/24", "dev",
               "br0")
        output("ip", "-n", sensor, "link", "set", "br0", "up")
        output("ip", "-n", sensor, "link", "set", "lo", "up")

    def remove(self):
        for name in self.names:
            output("ip", "netns", "del", name, status=None)

    def prefix(self, which):
        return ["ip", "netns", "exec", self.names[which]]

    def make(self, which, function):
        """What function makes, inside: sockets stay where they were made."""
        made = []

        def inside():
            libc = ctypes.CDLL(None, use_errno=True)
            with open("/run/netns/" + self.names[which]) as file:
                if libc.setns(file.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(function())

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join(PATIENCE)
        return made[0]


def listener():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((CLIENT, PORT))
    s.listen(64)
    s.settimeout(PATIENCE)
    return s


class Third:
    """UDP and TCP over port 2020, to the sensor and to the client."""

    def __init__(self, hosts):
        self.hosts, self.number = hosts, 0
        self.listener = hosts.make(1, listener)
        self.udp = hosts.make(
            2, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def talk(self):
        for _ in range(10):
            self.number += 1
            for to in SENSOR, CLIENT:
                self.udp.sendto(b"third %08d" % self.number, (to, PORT))
        s = self.hosts.make(2, lambda: socket.create_connection(
            (CLIENT, PORT), PATIENCE))
        far, _ = self.listener.accept()
        with s, far:
            s.sendall(b"here I am")
            assert far.recv(64) == b"here I am"
            far.sendall(b"so you are")
            assert s.recv(64) == b"so you are"

    def close(self):
        self.udp.close()
        self.listener.close()


def says_something(body, at=14):
    """What a client sends before pcapd has taken the connection, SYN and
    hello, may be taken from the ring before it is known; nothing else."""
    length = int.from_bytes(body[at + 2:at + 4], "big")
    said = body[at + 20 + (body[at + 32] >> 4) * 4:at + length]
    return said and said[:3] != b"\x16\x03\x01"


def kind(body, at=14):
    """(said between sensor and client over TCP 2020, of the third host)"""
    if body[at - 2:at] != b"\x08\x00" and at == 14:
        return False, False
    ends = {socket.inet_ntoa(body[at + 12:at + 16]),
            socket.inet_ntoa(body[at + 16:at + 20])}
    ports = {int.from_bytes(body[at + 20 + i:at + 22 + i], "big")
             for i in (0, 2)}
    own = body[at + 9] == 6 and ends == {SENSOR, CLIENT} and PORT in ports
    third = THIRD in ends and PORT in ports and body[at + 9] in (6, 17)
    return own and bool(says_something(body, at)), third


class Exclude(unittest.TestCase):
    def setUp(self):
        self.hosts = Hosts()
        self.addCleanup(self.hosts.remove)
        self.far = Far(listen=SENSOR, prefix=self.hosts.prefix(0))
        self.far.port = PORT
        self.far.configure("listen = %s:%d\ntls-dir = %s\n" % (
            SENSOR, PORT, self.far.tls))
        self.far.admin("init", SENSOR)
        bundle = self.far.issue("alice", "viewer")
        self.far.start()
        self.far.join("lab", bundle, SENSOR)

    def client(self, *arguments, **kwargs):
        process = subprocess.Popen(
            self.hosts.prefix(1) + [PCAP] + list(arguments),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, XDG_CONFIG_HOME=self.far.home), **kwargs)
        atexit.register(end, process)
        return process

    def once(self, *arguments):
        process = self.client(*arguments)
        out, said = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, OK, said.decode())
        return out

    def tcpdump(self, path):
        process = subprocess.Popen(
            self.hosts.prefix(0) + ["tcpdump", "-i", "br0", "-U", "-w", path,
                                    "-B", "16384", "--immediate-mode"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        atexit.register(end, process)
        until(lambda: b"listening" in process.stderr.readline(), "tcpdump")
        return process

    def status(self, name):
        out, _ = self.far.run("status", name, "--json")
        return json.loads(out)["captures"][0]

    def stored(self, name):
        out, _ = self.far.run("replay", name)
        return packets_of(out)

    def excluded(self, name):
        out, _ = self.far.run("gaps", name, "--json", status=None)
        return [g for g in json.loads(out)["gaps"]
                if g["cause"] == "excluded"]

    def test_its_own_streams_are_left_out_and_only_these(self):
        oracle = os.path.join(self.far.folder, "oracle.pcap")
        names = {"ring": [], "rings": ["--rings", "2", "-s", "9000"]}
        for name, more in names.items():
            self.far.run("init", "br0", "--alias", name, "--start", *more)
        self.far.run("init", "any", "--alias", "all", "--start")
        third = Third(self.hosts)
        self.addCleanup(third.close)
        tcpdump = self.tcpdump(oracle)
        listen = self.client("listen", "lab:ring")
        until(lambda: self.status("ring")["excluded"], "the listener")
        shown = self.status("all")["excluded"]
        self.assertEqual(len(shown), 1, shown)
        self.assertRegex(shown[0], r"^%s:%d %s:\d+$" % (
            SENSOR.replace(".", r"\."), PORT, CLIENT.replace(".", r"\.")))
        for i in range(ROUNDS):
            third.talk()
            self.once("list", "lab:")
            if i % 10 == 0:
                self.once("replay", "lab:ring")
            third.talk()
        listen.send_signal(signal.SIGINT)
        heard, _ = listen.communicate(timeout=PATIENCE)
        # Its last word is over once nobody is shown any more.
        until(lambda: not self.status("ring")["excluded"], "the end")
        third.talk()
        for name in list(names) + ["all"]:
            self.stored(name)  # what the kernel has accepted is there now
        tcpdump.send_signal(signal.SIGINT)
        tcpdump.communicate(timeout=PATIENCE)
        seen = self.of_tcpdump(oracle)
        own = [b for b in seen if kind(b)[0]]
        want = [b for b in seen if kind(b)[1]]
        self.assertGreater(len(own), 10 * ROUNDS)
        self.assertGreater(len(want), 40 * ROUNDS)
        for name in names:
            _, packets = self.stored(name)
            bodies = [p.body for p in packets]
            self.assertEqual([b for b in bodies if kind(b)[0]], [], name)
            got = [b for b in bodies if kind(b)[1]]
            self.assertEqual(sorted(got), sorted(want), name)
        # SLL2: on each of the bridge and its ports.
        link_type, packets = self.stored("all")
        self.assertEqual(link_type, 276)
        cooked = [p.body for p in packets if p.body[:2] == b"\x08\x00"]
        self.assertEqual([b for b in cooked if kind(b, 20)[0]], [])
        self.assertGreaterEqual(len([b for b in cooked if kind(b, 20)[1]]),
                                len(want))
        # What was heard over the link was not heard of itself.
        _, live = packets_of(heard)
        self.assertEqual([p for p in live if kind(p.body)[0]], [])
        self.assertGreater(len([p for p in live if kind(p.body)[1]]), 0)
        self.ledger_has_it(1 + ROUNDS + ROUNDS // 10)

    def of_tcpdump(self, path):
        with open(path, "rb") as file:
            data = file.read()
        bodies, at = [], 24
        while at < len(data):
            n = int.from_bytes(data[at + 8:at + 12], "little")
            bodies.append(data[at + 16:at + 16 + n])
            at += 16 + n
        return bodies

    def ledger_has_it(self, connections):
        """A row each; over 32 that ended in one second share one."""
        rows, flows, told = self.excluded("ring"), set(), 0
        for row in rows:
            many = re.fullmatch(r"(\d+) connections to pcapd", row["detail"])
            if many:
                self.assertGreater(int(many[1]), 32)
                told += int(many[1])
            else:
                self.assertRegex(row["detail"], r"^%s:%d %s:\d+$" % (
                    SENSOR.replace(".", r"\."), PORT,
                    CLIENT.replace(".", r"\.")))
                flows.add(row["detail"])
                told += 1
            self.assertLess(row["from_ns"], row["to_ns"])
        self.assertEqual(told, connections)
        self.assertGreater(len(flows), 0)
        _, said = self.far.run("gaps", "ring")
        self.assertIn("no gaps", said)

    def test_a_capture_that_starts_later_leaves_it_out_from_its_beginning(self):
        self.far.run("init", "br0", "--alias", "late")
        self.far.run("init", "br0", "udp", "--alias", "busy", "--start")
        listen = self.client("listen", "lab:busy")
        until(lambda: self.status("busy")["excluded"], "the listener")
        self.far.run("start", "late")
        third = Third(self.hosts)
        self.addCleanup(third.close)
        for _ in range(5):
            third.talk()
        until(lambda: self.status("late")["excluded"], "the start")
        _, packets = self.stored("late")
        self.assertEqual([p for p in packets if kind(p.body)[0]], [])
        self.assertGreater(len([p for p in packets if kind(p.body)[1]]), 0)
        self.far.run("stop", "late")
        rows = self.excluded("late")
        self.assertEqual(len(rows), 1)
        self.assertLess(rows[0]["to_ns"] - rows[0]["from_ns"],
                        PATIENCE * NS)
        listen.send_signal(signal.SIGINT)
        listen.communicate(timeout=PATIENCE)

    def tearDown(self):
        self.far.stop()


if __name__ == "__main__":
    main()
