#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""pcapd does not capture its own streams to other machines, not even their
first packet, and captures everything else on the link that carries them. Three
hosts on a bridge, over IPv4 and IPv6, untagged and in a VLAN: the sensor, a
client that comes and goes, and a third host that uses the same port; tcpdump
sees all of it."""

import atexit
import ctypes
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import unittest

from far import Far
from harness import (NS, OK, PATIENCE, PCAP, end, main, need, output,
                     packets_of, until)

# Of the sensor, the client and the third host.
FOUR = ["10.77.0.1", "10.77.0.2", "10.77.0.3"]
SIX = ["fd77::1", "fd77::2", "fd77::3"]
NETS = {"lab": FOUR, "six": SIX}
SENSORS, CLIENTS, THIRDS = (frozenset(n[i] for n in NETS.values())
                            for i in range(3))
PORT = 2020
FLOOD = 20000
CLONE_NEWNET = 0x40000000

# bpf(2)
SYS_BPF = 321 if os.uname().machine == "x86_64" else 280
PROG_LOAD, LINK_CREATE = 5, 28
SCHED_CLS, TCX_INGRESS, TCX_EGRESS = 3, 46, 47
VLAN_PUSH, VLAN_POP = 18, 19


def at_port(address, port=PORT):
    return ("[%s]:%d" if ":" in address else "%s:%d") % (address, port)


def bpf(command, attributes):
    libc = ctypes.CDLL(None, use_errno=True)
    room = ctypes.create_string_buffer(attributes.ljust(128, b"\0"))
    fd = libc.syscall(SYS_BPF, command, room, len(room))
    if fd < 0:
        raise unittest.SkipTest("no BPF at an interface: %s" % os.strerror(
            ctypes.get_errno()))
    return fd


def attach(interface, where, helper, *arguments):
    """A program that calls the helper with each packet and lets it pass; gone
    with the descriptor that is returned."""
    code = b"".join(struct.pack("=BBhi", 0xb7, i + 2, 0, value)
                    for i, value in enumerate(arguments))
    code = ctypes.create_string_buffer(code + struct.pack(
        "=BBhiBBhiBBhi", 0x85, 0, 0, helper, 0xb7, 0, 0, 0, 0x95, 0, 0, 0))
    words = ctypes.create_string_buffer(b"GPL")
    program = bpf(PROG_LOAD, struct.pack(
        "=IIQQ", SCHED_CLS, len(code) // 8, ctypes.addressof(code),
        ctypes.addressof(words)))
    link = bpf(LINK_CREATE, struct.pack(
        "=III", program, socket.if_nametoindex(interface), where))
    os.close(program)
    return link


def into_vlan(interface):
    """All that comes and goes has a tag; who captures there sees it."""
    return [attach(interface, TCX_INGRESS, VLAN_POP),
            attach(interface, TCX_EGRESS, VLAN_PUSH, socket.htons(0x8100), 7)]


class Hosts:
    def __init__(self, tagged):
        self.links = []
        if os.geteuid() != 0:
            raise unittest.SkipTest("network namespaces need root")
        need("ip", "tcpdump")
        self.names = ["pcapd-%d-%s" % (os.getpid(), x)
                      for x in ("sensor", "client", "third")]
        atexit.register(self.remove)
        try:
            for name in self.names:
                output("ip", "netns", "add", name)
            self.plug()
            for i, interface in enumerate(("br0", "eth0", "eth0")):
                self.address(i, interface)
                if tagged:
                    self.links += self.make(i, lambda: into_vlan(interface))
        except AssertionError as error:
            self.remove()
            raise unittest.SkipTest("no network namespaces: %s" % error)

    def plug(self):
        sensor = self.names[0]
        output("ip", "-n", sensor, "link", "add", "br0", "type", "bridge",
               "mcast_snooping", "0")
        for name, port in (self.names[1], "p1"), (self.names[2], "p2"):
            output("ip", "-n", sensor, "link", "add", port, "type", "veth",
                   "peer", "name", "eth0", "netns", name)
            output("ip", "-n", sensor, "link", "set", port, "master", "br0",
                   "up")

    def address(self, i, interface):
        name = self.names[i]
        for link in "lo", interface:
            output("ip", "-n", name, "link", "set", link, "up")
        output("ip", "-n", name, "address", "add", FOUR[i] + "/24", "dev",
               interface)
        output("ip", "-n", name, "address", "add", SIX[i] + "/64", "dev",
               interface, "nodad")

    def remove(self):
        while self.links:
            os.close(self.links.pop())
        for name in self.names:
            output("ip", "netns", "del", name, status=None)

    def prefix(self, which):
        return ["ip", "netns", "exec", self.names[which]]

    def make(self, which, function):
        """What function makes, inside: sockets stay where they were made."""
        made, failed = [], []

        def inside():
            libc = ctypes.CDLL(None, use_errno=True)
            with open("/run/netns/" + self.names[which]) as file:
                if libc.setns(file.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            try:
                made.append(function())
            except (OSError, unittest.SkipTest) as error:
                failed.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join(PATIENCE)
        for error in failed:
            raise error
        return made[0]


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listener(address):
    s = socket.socket(family_of(address))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, PORT))
    s.listen(64)
    s.settimeout(PATIENCE)
    return s


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def syn(source, to, port, seq=1):
    tcp = struct.pack("!HHIIBBHHH", port, PORT, seq, 0, 0x50, 2, 1024, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack(
        "!BBH", 0, 6, len(tcp))
    return tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]


class Third:
    """UDP and TCP over port 2020, to the sensor and to the client, and
    attempts at the sensor that get an answer and become no connection."""

    def __init__(self, hosts):
        self.hosts, self.number, self.attempts = hosts, 0, 0
        self.listeners = {client: hosts.make(1, lambda: listener(client))
                          for _, client, _ in NETS.values()}
        self.udp = {f: hosts.make(2, lambda: socket.socket(
            f, socket.SOCK_DGRAM)) for f in (socket.AF_INET, socket.AF_INET6)}
        self.raw = hosts.make(2, lambda: socket.socket(
            socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP))
        self.raw.settimeout(PATIENCE)

    def talk(self):
        self.number += 1
        sensor, client, third = list(NETS.values())[self.number % 2]
        for i in range(10):
            for to in sensor, client:
                self.udp[family_of(to)].sendto(
                    b"third %08d %d" % (self.number, i), (to, PORT))
        s = self.hosts.make(2, lambda: socket.create_connection(
            (client, PORT), PATIENCE))
        far, _ = self.listeners[client].accept()
        with s, far:
            s.sendall(b"here I am")
            assert far.recv(64) == b"here I am"
            far.sendall(b"so you are")
            assert s.recv(64) == b"so you are"
        if family_of(third) == socket.AF_INET:
            self.attempt(sensor, third)

    def attempt(self, sensor=FOUR[0], third=FOUR[2]):
        """Its own kernel, which knows of nothing, resets it. The port."""
        self.attempts += 1
        port = 1024 + self.attempts % 30000
        self.raw.sendto(syn(third, sensor, port), (sensor, 0))
        while True:
            got = self.raw.recv(2048)
            ports = struct.unpack_from("!HH", got, (got[0] & 15) * 4)
            if ports == (PORT, port):
                return port

    def close(self):
        self.raw.close()
        for s in list(self.udp.values()) + list(self.listeners.values()):
            s.close()


def ends_of(body, at=14):
    """(protocol, addresses, ports, TCP's flags) of what is over IP; at: behind
    the link's header."""
    kind = body[0:2] if at == 20 else body[12:14]
    if kind == b"\x81\x00":
        kind, at = body[at + 2:at + 4], at + 4
    if kind == b"\x08\x00":
        protocol, behind = body[at + 9], at + (body[at] & 15) * 4
        addresses = [socket.inet_ntoa(body[at + i:at + i + 4])
                     for i in (12, 16)]
    elif kind == b"\x86\xdd":
        protocol, behind = body[at + 6], at + 40
        addresses = [socket.inet_ntop(socket.AF_INET6, body[at + i:at + i + 16])
                     for i in (8, 24)]
    else:
        return 0, (), (), 0
    if protocol not in (6, 17):
        return 0, (), (), 0
    ports = struct.unpack_from("!HH", body, behind)
    return protocol, addresses, ports, body[behind + 13] if protocol == 6 else 0


def is_own(body, at=14):
    """Between sensor and client over TCP 2020."""
    protocol, addresses, ports, _ = ends_of(body, at)
    return protocol == 6 and PORT in ports and any(
        a in SENSORS for a in addresses) and any(
            a in CLIENTS for a in addresses)


def is_thirds(body, at=14):
    _, addresses, ports, _ = ends_of(body, at)
    return PORT in ports and any(a in THIRDS for a in addresses)


def is_syn(body, port=None, at=14):
    _, _, ports, flags = ends_of(body, at)
    return flags == 2 and (port is None or ports == (port, PORT))


class Exclude(unittest.TestCase):
    LISTEN = " ".join(at_port(net[0]) for net in NETS.values())
    TAGGED, ROUNDS = False, 100

    def setUp(self):
        self.hosts = Hosts(self.TAGGED)
        self.addCleanup(self.hosts.remove)
        self.far = Far(prefix=self.hosts.prefix(0))
        self.far.port = PORT
        self.far.configure("listen = %s\ntls-dir = %s\n" % (
            self.LISTEN, self.far.tls))
        self.far.admin("init", *SENSORS)
        bundle = self.far.issue("alice", "viewer")
        self.far.start()
        for name, net in NETS.items():
            self.far.run("remote", "add", name, "tls://" + at_port(net[0]),
                         "--bundle", bundle)
        self.third = Third(self.hosts)
        self.addCleanup(self.third.close)

    def tearDown(self):
        self.far.stop()

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

    def tcpdump(self, interface):
        """The process, and the path. Its ring has places of the snaplen, and
        in 64 MiB one for each of a flood; only our own packets are longer."""
        path = os.path.join(self.far.folder, interface + ".pcap")
        process = subprocess.Popen(
            self.hosts.prefix(0) + ["tcpdump", "-i", interface, "-U", "-w",
                                    path, "-B", "65536", "-s", "1024",
                                    "--immediate-mode"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        atexit.register(end, process)
        until(lambda: b"listening" in process.stderr.readline(), "tcpdump")
        return process, path

    def status(self, name):
        out, _ = self.far.run("status", name, "--json")
        return json.loads(out)["captures"][0]

    def stored(self, name):
        out, _ = self.far.run("replay", name)
        return packets_of(out)

    def gaps(self, name):
        out, _ = self.far.run("gaps", name, "--all", "--json", status=None)
        return json.loads(out)["gaps"]

    def excluded(self, name):
        return [g for g in self.gaps(name) if g["cause"] == "excluded"]

    def bodies(self, name):
        return [p.body for p in self.stored(name)[1]]

    def test_nothing_of_its_own_streams_is_taken_and_all_the_rest(self):
        names = {"ring": [], "rings": ["--rings", "2", "-s", "9000"]}
        for name, more in names.items():
            self.far.run("init", "br0", "--alias", name, "--start", *more)
        self.far.run("init", "any", "--alias", "all", "--start")
        tcpdump, oracle = self.tcpdump("br0")
        listen = self.client("listen", "lab:ring")
        until(lambda: self.status("ring")["excluded"], "the listener")
        shown = until(lambda: self.status("all")["excluded"], "all of it")
        self.assertEqual(len(shown), 1, shown)
        self.assertRegex(shown[0], r"^%s %s:\d+$" % (
            re.escape(at_port(FOUR[0])), re.escape(FOUR[1])))
        for i in range(self.ROUNDS):
            self.third.talk()
            self.once("list", "six:" if i % 2 else "lab:")
            if i % 10 == 0:
                self.once("replay", "lab:ring" if i % 20 else "six:ring")
            self.third.talk()
        listen.send_signal(signal.SIGINT)
        heard, _ = listen.communicate(timeout=PATIENCE)
        # Its last word is over once nobody is shown any more.
        until(lambda: not self.status("ring")["excluded"], "the end")
        self.third.talk()
        for name in list(names) + ["all"]:
            self.stored(name)  # what the kernel has accepted is there now
        seen = self.seen_by(tcpdump, oracle)
        own = [b for b in seen if is_own(b)]
        want = [b for b in seen if is_thirds(b)]
        self.assertGreater(len(own), 10 * self.ROUNDS)
        self.assertGreater(len(want), 40 * self.ROUNDS)
        self.assertEqual({b[12:14] == b"\x81\x00" for b in own + want},
                         {self.TAGGED})
        for name in names:
            got = self.bodies(name)
            self.assertEqual([b.hex() for b in got if is_own(b)], [], name)
            self.assertEqual(sorted(b for b in got if is_thirds(b)),
                             sorted(want), name)
        # SLL2: on each of the bridge and its ports.
        link_type, packets = self.stored("all")
        self.assertEqual(link_type, 276)
        cooked = [p.body for p in packets]
        self.assertEqual([b for b in cooked if is_own(b, 20)], [])
        self.assertGreaterEqual(len([b for b in cooked if is_thirds(b, 20)]),
                                len(want))
        # What was heard over the link was not heard of itself.
        _, live = packets_of(heard)
        self.assertEqual([p for p in live if is_own(p.body)], [])
        self.assertGreater(len([p for p in live if is_thirds(p.body)]), 0)
        self.ledger_has_it(1 + self.ROUNDS + self.ROUNDS // 10)

    def seen_by(self, tcpdump, path):
        tcpdump.send_signal(signal.SIGINT)
        tcpdump.communicate(timeout=PATIENCE)
        with open(path, "rb") as file:
            data = file.read()
        bodies, at = [], 24
        while at < len(data):
            n = int.from_bytes(data[at + 8:at + 12], "little")
            bodies.append(data[at + 16:at + 16 + n])
            at += 16 + n
        return bodies

    def ledger_has_it(self, connections):
        """A row each; those that ended in one second share one."""
        rows, flows, told = self.excluded("ring"), set(), 0
        for row in rows:
            many = re.fullmatch(r"(\d+) connections to pcapd", row["detail"])
            if many:
                self.assertGreater(int(many[1]), 1)
                told += int(many[1])
            else:
                near, far = row["detail"].split()
                self.assertIn(near, [at_port(a) for a in SENSORS])
                self.assertIn(far.rpartition(":")[0].strip("[]"), CLIENTS)
                flows.add(row["detail"])
                told += 1
            self.assertLess(row["from_ns"], row["to_ns"])
            self.assertGreater(row["packets"], 0)
        self.assertEqual(told, connections)
        packets = sum(row["packets"] for row in rows)
        self.assertEqual(int(self.status("ring")["excluded_packets"]), packets)
        # They are no gaps, and not listed among them.
        out, said = self.far.run("gaps", "ring")
        self.assertIn("no gaps", said)
        self.assertIn("%d packets of pcapd's own connections" % packets, said)
        self.assertNotIn("excluded", out.decode())
        out, _ = self.far.run("gaps", "ring", "--json")
        self.assertEqual(json.loads(out)["gaps"], [])

    def test_an_attempt_that_was_answered_is_there_for_the_next_replay(self):
        self.far.run("init", "br0", "--alias", "ring", "--start")
        self.far.run("init", "any", "--alias", "all", "--start")
        ports = [self.third.attempt() for _ in range(3)]
        for _ in range(10):
            ports.append(self.third.attempt())
            got = self.bodies("ring")
            for port in ports:
                self.assertEqual(len([b for b in got if is_syn(b, port)]), 1)
        cooked = self.bodies("all")
        for port in ports:
            self.assertTrue([b for b in cooked if is_syn(b, port, 20)])

    def test_a_flood_of_attempts_is_taken_and_hides_no_connection(self):
        self.far.run("init", "br0", "--alias", "ring", "--start")
        tcpdump, oracle = self.tcpdump("br0")
        done = threading.Event()

        def flood():
            for i in range(FLOOD):
                packet = syn(FOUR[2], FOUR[0], 1024 + i % 60000, i)
                while True:
                    try:
                        self.third.raw.sendto(packet, (FOUR[0], 0))
                        break
                    except OSError:  # a queue is full
                        pass
            done.set()

        thread = threading.Thread(target=flood)
        thread.start()
        self.once("list", "six:")
        until(done.is_set, "the flood")
        thread.join()
        self.third.attempt()  # behind all of it
        got = self.bodies("ring")
        # A queue on the way may have been full.
        seen = self.seen_by(tcpdump, oracle)
        self.assertGreater(len([b for b in seen if is_syn(b)]), FLOOD // 2)
        self.assertEqual(sorted(b for b in got if is_thirds(b)),
                         sorted(b for b in seen if is_thirds(b)))
        self.assertEqual([b for b in got if is_own(b)], [])
        self.assertLessEqual({g["cause"] for g in self.gaps("ring")},
                             {"excluded", "stopped"})

    def test_a_capture_that_starts_later_leaves_it_out_from_its_beginning(self):
        self.far.run("init", "br0", "--alias", "late")
        self.far.run("init", "br0", "ip", "--alias", "busy", "--start")
        self.far.run("init", "br0", "udp", "--alias", "udp", "--start")
        listen = self.client("listen", "lab:busy")
        until(lambda: self.status("busy")["excluded"], "the listener")
        self.far.run("start", "late")
        for _ in range(5):
            self.third.talk()
        until(lambda: self.status("late")["excluded"], "the start")
        got = self.bodies("late")
        self.assertEqual([b for b in got if is_own(b)], [])
        self.assertGreater(len([b for b in got if is_thirds(b)]), 0)
        self.far.run("stop", "late")
        rows = self.excluded("late")
        self.assertEqual(len(rows), 1)
        self.assertRegex(rows[0]["detail"], r"^%s %s:\d+$" % (
            re.escape(at_port(FOUR[0])), re.escape(FOUR[1])))
        self.assertLess(rows[0]["to_ns"] - rows[0]["from_ns"],
                        PATIENCE * NS)
        listen.send_signal(signal.SIGINT)
        listen.communicate(timeout=PATIENCE)
        until(lambda: self.excluded("busy"), "the end")
        # Whose filter could take nothing of it hears nothing of it.
        self.assertEqual(self.excluded("udp"), [])
        self.assertEqual(self.status("udp")["excluded"], [])
        self.assertEqual(int(self.status("udp")["excluded_packets"]), 0)


class ExcludeTagged(Exclude):
    """In a VLAN, and one socket for all addresses."""

    LISTEN = str(PORT)
    TAGGED, ROUNDS = True, 30


if __name__ == "__main__":
    main()
