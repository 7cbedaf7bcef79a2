# SPDX-License-Identifier: BSD-3-Clause
"""Two network namespaces with a link between them, and what tells of packets
that were sent over it."""

import atexit
import os
import subprocess
import unittest

from harness import PATIENCE, SANITIZE, Packet, end, need, output, packets_of

RATE = 4000 if SANITIZE else 20000  # packets a second


class Link:
    """Frames written to `near` arrive at `far`, and nothing else does: no
    addresses, no neighbour discovery."""

    def __init__(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest("network namespaces need root")
        need("ip", "tcpreplay", "tcpdump")
        self.names = ["pcapd-%d-%s" % (os.getpid(), x) for x in ("a", "b")]
        self.near, self.far = "near0", "far0"
        atexit.register(self.remove)
        try:
            for name in self.names:
                output("ip", "netns", "add", name)
                for which in ("default", "all"):
                    self.inside(name, "sysctl", "-qw",
                                "net.ipv6.conf.%s.disable_ipv6=1" % which,
                                status=None)
            self.plug()
        except AssertionError as error:
            self.remove()
            raise unittest.SkipTest("no network namespaces: %s" % error)
        self.sender = ["ip", "netns", "exec", self.names[0]]
        self.receiver = ["ip", "netns", "exec", self.names[1]]

    def plug(self):
        a, b = self.names
        output("ip", "-n", a, "link", "add", self.near, "mtu", "65535",
               "type", "veth", "peer", "name", self.far, "mtu", "65535",
               "netns", b)
        for name, interface in ((a, self.near), (b, self.far)):
            output("ip", "-n", name, "link", "set", interface, "arp", "off",
                   "multicast", "off", "up")

    def unplug(self):
        output("ip", "-n", self.names[0], "link", "del", self.near)

    def inside(self, name, *command, status=0):
        return output("ip", "netns", "exec", name, *command, status=status)

    def remove(self):
        for name in self.names:
            output("ip", "netns", "del", name, status=None)

    def send(self, path, rate=RATE, *more):
        """A tcpreplay, under way, which sleeps between packets."""
        process = subprocess.Popen(
            self.sender + ["tcpreplay", "-q", "-T", "nano", "-i", self.near,
                           "-p", str(rate), *more, path],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        atexit.register(end, process)
        return process

    def send_all(self, path, rate=RATE):
        sent(self.send(path, rate))


def sent(tcpreplay):
    said, _ = tcpreplay.communicate(timeout=PATIENCE * 2)
    assert tcpreplay.returncode == 0, said


def in_file(path):
    """Whole packets so far in a file that somebody is writing."""
    with open(path, "rb") as file:
        data = file.read()
    return packets_of(whole(data))[1] if len(data) >= 24 else []


def whole(data):
    at = 24
    while at + 16 <= len(data):
        length = int.from_bytes(data[at + 8:at + 12], "little")
        if at + 16 + length > len(data):
            break
        at += 16 + length
    return data[:at]


def content(packets):
    """Two captures of one packet need not agree in the last microseconds."""
    return [Packet(0, p.body, p.length) for p in packets]
