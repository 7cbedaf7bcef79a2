#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""README's commands, as they are written, by a shell: on a machine that is a
network namespace with an eth0, where somebody asks port 80 of 10.0.0.7. Install,
Remote and figures are other tests'."""

import atexit
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from harness import (PATIENCE, PCAP, SOURCE, Daemon, end, main, need, output,
                     udp_packet, until)

SENDER = r"""
import socket, struct, time
ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0,
                 bytes([10, 0, 0, 7]), bytes([10, 0, 0, 1]))
tcp = struct.pack(">HHIIBBHHH", 40000, 80, 1, 0, 0x50, 2, 1024, 0, 0)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("peer0", 0))
while True:
    s.send(bytes.fromhex("0200000000020200000000010800") + ip + tcp)
    time.sleep(0.01)
"""


def section(title):
    """Its code, a block a text."""
    with open(SOURCE + "/README.md") as file:
        text = re.search(r"\n## %s\n(.*?)\n## " % title, file.read(),
                         re.S).group(1)
    blocks = re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", text, re.M)
    return [re.sub(r"(?m)^    ", "", block) for block in blocks], text


def pcapng(packet):
    """A section, an interface and a packet."""
    def block(kind, body):
        body += bytes(-len(body) % 4)
        size = struct.pack("<I", len(body) + 12)
        return struct.pack("<I", kind) + size + body + size

    return (block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1)) +
            block(1, struct.pack("<HHI", 1, 0, 0)) +
            block(6, struct.pack("<IIIII", 0, 0x60000, 0, len(packet.body),
                                 len(packet.body)) + packet.body))


class Readme(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("network namespaces need root")
        need("ip", "tcpdump", "zstd", "sqlite3", "bash")
        cls.name = "pcapd-%d-readme" % os.getpid()
        output("ip", "netns", "add", cls.name)
        atexit.register(output, "ip", "netns", "del", cls.name, status=None)
        cls.inside = ["ip", "netns", "exec", cls.name]
        output("ip", "-n", cls.name, "link", "add", "eth0", "type", "veth",
               "peer", "name", "peer0")
        for interface in "lo", "eth0", "peer0":
            output("ip", "-n", cls.name, "link", "set", interface, "up")
        cls.daemon = Daemon(prefix=cls.inside).start()
        cls.folder = tempfile.mkdtemp(dir=cls.daemon.folder)
        os.symlink(PCAP, cls.folder + "/pcap")
        os.symlink(cls.daemon.spool, cls.folder + "/spool")
        with open(cls.folder + "/capture.pcapng", "wb") as file:
            file.write(pcapng(udp_packet(0, 1)))
        cls.sender = subprocess.Popen(cls.inside + [sys.executable, "-c",
                                                    SENDER])
        atexit.register(end, cls.sender)
        # Wherever it is half past ten.
        now = time.gmtime()
        east = 10 * 60 + 30 - now.tm_hour * 60 - now.tm_min
        if east < -12 * 60:
            east += 24 * 60
        zone = "HERE%s%d:%02d" % ("-" if east > 0 else "", abs(east) // 60,
                                  abs(east) % 60)
        cls.environment = dict(
            os.environ, TZ=zone, PCAP_SOCKET=cls.daemon.socket,
            PATH=cls.folder + ":" + os.environ["PATH"])

    @classmethod
    def tearDownClass(cls):
        end(cls.sender)
        cls.daemon.stop()

    def shell(self, line):
        return subprocess.Popen(
            self.inside + ["bash", "-c", "set -o pipefail; " + line],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True)

    def run_to_its_end(self, line):
        out, said = self.shell(line).communicate(timeout=PATIENCE)
        return out.decode(), said.decode()

    def run_until_it_says_something(self, line):
        """And Ctrl-C."""
        process = self.shell(line)
        self.assertIn(b".80: Flags [S]", process.stdout.readline())
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PATIENCE)

    def test_use(self):
        (block,), _ = section("Use")
        lines = [line.partition(" #")[0].strip()
                 for line in block.splitlines()]
        self.assertGreater(len(lines), 15)
        for line in lines:
            with self.subTest(line=line):
                if "listen" in line or "--live" in line:
                    self.run_until_it_says_something(line)
                    continue
                process = self.shell(line)
                out, said = process.communicate(timeout=PATIENCE)
                self.assertEqual(process.returncode, 0, said)
                if line == "pcap start web":
                    until(lambda: int(self.daemon.capture("web")["packets"]),
                          "packets")
        for name in "web.pcap", "ten.pcap":
            self.assertGreater(len(output(
                "tcpdump", "-nr", self.folder + "/" + name)), 0, name)
        self.assertEqual(self.daemon.capture("incident")["packets"], 1)
        self.without_us()
        self.from_a_script()

    def without_us(self):
        blocks, _ = section("The spool, without us")
        _, dump, query = blocks
        # zstd says that the open segment ends early; tcpdump that it is cut.
        out, _ = self.run_to_its_end(dump)
        self.assertIn(".80: Flags [S]", out)
        out = output("sqlite3", self.daemon.spool + "/catalog.db", query)
        self.assertRegex(out.decode(), r"^1\|\d+\|\d{4}-\d\d-\d\d ")

    def from_a_script(self):
        _, text = section("From a script")
        program = re.search(r"```python\n(.*?)```", text, re.S).group(1)
        made = re.search(r"`(protoc -I proto.*?)`", text, re.S).group(1)
        os.symlink(SOURCE + "/proto", self.folder + "/proto")
        program = program.replace("/run/pcapd/pcapd.sock", self.daemon.socket)
        with open(self.folder + "/replay.py", "w") as file:
            file.write(program)
        out, said = self.run_to_its_end(
            " ".join(made.split()) + " && /usr/bin/python3 replay.py | "
            "tcpdump -nr - -c 1")
        self.assertIn(".80: Flags [S]", out, said)


if __name__ == "__main__":
    main()
