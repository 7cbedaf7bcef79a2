#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Filters are compiled beside, with a deadline: a name server that never
answers and filters that are built to cost hold up nobody else, names of hosts
are looked up for operators only, and what was compiled once stays with its
capture. Needs root, for a name server and interfaces of its own."""

import ctypes
import os
import select
import signal
import socket
import sqlite3
import subprocess
import threading
import unittest

from harness import (FAILED, NS, OK, PATIENCE, PCAP, UNREACHABLE, USAGE,
                     Daemon, end, main, need, output, packets_of, savefile,
                     udp_packet, until)

CLONE_NEWNET = 0x40000000
NEWS, NOBODY = 9, 65534  # gid of "news", uid and gid of nobody


def costly(number):
    """An error that comes after all of 8 KB was looked at."""
    return " or ".join("port %d" % i for i in range(number, 670)) + " zork"



def in_namespace(name, function):
    """What function makes, inside: sockets stay where they were made."""
    made = []

    def inside():
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/run/netns/" + name) as file:
            if libc.setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        made.append(function())

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join(PATIENCE)
    return made[0]


def name_server():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 53))
    return s


@unittest.skipUnless(os.getuid() == 0, "needs root")
class Filters(unittest.TestCase):
    def setUp(self):
        need("ip", "unshare")
        self.namespace = "pcapd-%d-filters" % os.getpid()
        output("ip", "netns", "add", self.namespace)
        self.addCleanup(output, "ip", "netns", "del", self.namespace,
                        status=None)
        self.ip("link", "set", "lo", "up")
        self.plug()
        self.names = in_namespace(self.namespace, name_server)
        self.addCleanup(self.names.close)
        self.daemon = Daemon("viewer-group = news\n")
        folder = self.daemon.folder
        os.chmod(folder, 0o755)
        self.hosts = folder + "/hosts"
        self.knows("10.9.0.1 gateway.test")
        with open(folder + "/resolv", "w") as file:
            file.write("nameserver 127.0.0.1\noptions timeout:30\n")
        self.daemon.prefix = [
            "ip", "netns", "exec", self.namespace, "unshare", "-m", "sh", "-c",
            "mount --bind %s/resolv /etc/resolv.conf && "
            "mount --bind %s /etc/hosts && exec \"$@\"" % (
                folder, self.hosts), "sh"]
        self.daemon.start()
        path = os.path.join(folder, "some.pcap")
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(i * NS, i) for i in range(50)]))
        self.daemon.run("import", "some", path)

    def tearDown(self):
        self.daemon.stop()

    def ip(self, *words):
        output("ip", "-n", self.namespace, *words)

    def plug(self):
        self.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
        for name in "v0", "v1":
            self.ip("link", "set", name, "up")

    def knows(self, line):
        """In place: it is mounted."""
        with open(self.hosts, "w") as file:
            file.write("127.0.0.1 localhost\n%s\n" % line)

    def asked(self, wait=True):
        """Names that the server was asked for."""
        names = set()
        while select.select([self.names], [], [], PATIENCE if wait else 0)[0]:
            query, at, words = self.names.recv(2000), 12, []
            while query[at]:
                words.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            names.add(".".join(words))
            wait = False
        return names

    def as_viewer(self, *arguments):
        done = subprocess.run(
            [PCAP] + list(arguments), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE,
            user=NOBODY, group=NOBODY, extra_groups=[NEWS],
            env=dict(os.environ, PCAP_SOCKET=self.daemon.socket))
        return done.returncode, done.stdout, done.stderr.decode()

    def begun(self, *arguments, **who):
        return self.daemon.popen(*arguments, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, **who)

    @staticmethod
    def children(pid):
        with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
            return [int(word) for word in file.read().split()]

    def compilers(self):
        """What compiles just now: children of the daemon's children."""
        return [pid for kind in self.children(self.daemon.process.pid)
                for pid in self.children(kind)]

    def signal_compilers(self, number):
        for pid in self.children(self.daemon.process.pid):
            os.kill(pid, number)

    def test_a_silent_name_server_holds_up_nobody(self):
        waiting = [self.begun(*words) for words in (
            ["replay", "some", "host a.test"],
            ["count", "some", "host b.test or host c.test"],
            ["listen", "some", "host d.test"],
            ["replay", "some", "host e.test", "--explain"],
            ["init", "v0", "host", "f.test"],
            ["replay", "some", "host g.test"])]
        self.assertTrue(self.asked())
        self.daemon.run("list")
        out, _ = self.daemon.run("replay", "some", "udp")
        self.assertEqual(len(packets_of(out)[1]), 50)
        self.daemon.run("init", "v0", "udp", "--alias", "live", "--start")
        self.daemon.run("stop", "live")
        self.daemon.run("start", "live")
        self.assertTrue(all(w.poll() is None for w in waiting))
        # Nor is the end held up, and who waits is told.
        self.daemon.process.send_signal(signal.SIGTERM)
        for w in waiting:
            _, text = w.communicate(timeout=PATIENCE)
            self.assertEqual(w.returncode, UNREACHABLE, text.decode())
        self.assertEqual(self.daemon.wait(), 0)
        self.daemon.start()

    def test_names_are_looked_up_for_operators_only(self):
        for command in ["replay"], ["count"], ["replay", "--explain"]:
            status, _, text = self.as_viewer(*command, "some", "host a.test")
            self.assertEqual(status, USAGE, text)
            self.assertIn("unknown host 'a.test'", text)
            self.assertIn("operators only", text)
        self.assertEqual(self.asked(wait=False), set())
        # What is in files is no question to anybody.
        for words in (["host gateway.test or udp"], ["udp port 9999"],
                      ["udp port domain or udp"], ["ip6 host ::1 or udp"]):
            status, out, text = self.as_viewer("replay", "some", *words)
            self.assertEqual(status, OK, text)
            self.assertEqual(len(packets_of(out)[1]), 50)
        self.assertEqual(self.asked(wait=False), set())

    def test_costly_filters_hold_up_nobody(self):
        """One person has one long filter compiled at once, and all have two."""
        def costly_of(user, first, end):
            return [self.begun("replay", "some", costly(i), "--explain",
                               user=user, group=user, extra_groups=[NEWS])
                    for i in range(first, end)]

        stopped = set()

        def are_stopped(count):
            for pid in self.compilers():
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
            return len(stopped) == count

        waiting = costly_of(NOBODY, 1, 7)
        until(lambda: are_stopped(1), "the first one's")
        for _ in range(2):
            status, _, text = self.as_viewer("replay", "some", "udp")
            self.assertEqual(status, OK, text)
            until(lambda: set(self.compilers()) == stopped, "the short one")
        waiting += costly_of(64000, 7, 10)
        until(lambda: are_stopped(2), "the second one's")
        waiting += costly_of(64001, 10, 11)
        self.daemon.run("list")
        status, _, text = self.as_viewer("replay", "some", "udp port 1 or udp")
        self.assertEqual(status, OK, text)
        self.daemon.run("replay", "some", "udp")
        until(lambda: set(self.compilers()) == stopped, "the short ones")
        self.assertTrue(all(w.poll() is None for w in waiting))
        for w in waiting:
            end(w)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        # Nobody waits for them any more.
        until(lambda: not self.compilers(), "their end")

    def test_a_compiler_that_dies_is_an_error(self):
        waiting = self.begun("replay", "some", "host a.test")
        self.assertEqual(self.asked(), {"a.test"})
        for pid in self.compilers():
            os.kill(pid, signal.SIGKILL)
        _, text = waiting.communicate(timeout=PATIENCE)
        self.assertEqual(waiting.returncode, FAILED, text.decode())
        self.assertIn("more memory or time than it may", text.decode())
        self.daemon.run("replay", "some", "udp")

    def test_what_was_compiled_is_not_compiled_again(self):
        hosts = " or ".join("host 10.0.0.%d" % i for i in range(1, 120))
        ways = ["replay"], ["count"], ["replay", "--explain"]
        _, want = self.daemon.run("count", "some", hosts)
        self.signal_compilers(signal.SIGSTOP)
        try:
            for command in ways:
                self.daemon.run(*command, "some", hosts)
            self.assertEqual(self.daemon.run("count", "some", hosts)[1], want)
            # Another filter waits for them.
            other = self.begun("replay", "some", hosts + " or port 80")
            for command in ways:
                self.daemon.run(*command, "some", hosts)
            self.assertIsNone(other.poll())
        finally:
            self.signal_compilers(signal.SIGCONT)
        _, text = other.communicate(timeout=PATIENCE)
        self.assertEqual(other.returncode, OK, text.decode())

    def state(self, name):
        return self.daemon.capture(name)["state"]

    def test_a_program_stays_with_its_capture(self):
        self.daemon.run("init", "v0", "host gateway.test", "--alias", "gate",
                        "--start")
        self.daemon.stop()
        self.knows("")
        self.daemon.start()
        self.assertEqual(self.state("gate"), "running")
        self.assertEqual(self.asked(wait=False), set())
        # An old catalog does not know what a program was compiled for: it is
        # compiled again, as soon as that can be done, and then kept.
        self.daemon.stop()
        with sqlite3.connect(self.daemon.spool + "/catalog.db") as catalog:
            catalog.execute("UPDATE captures SET program_link_type = -1")
        catalog.close()
        self.daemon.start()
        self.assertEqual(self.asked(), {"gateway.test"})
        self.assertEqual(self.state("gate"), "waiting")
        self.knows("10.9.0.1 gateway.test")
        for pid in self.compilers():
            os.kill(pid, signal.SIGKILL)
        until(lambda: self.state("gate") == "running", "another try")
        self.daemon.stop()
        self.knows("")
        self.daemon.start()
        self.assertEqual(self.state("gate"), "running")

    def test_listening_before_the_link_type_is_known(self):
        """The filter is compiled when the first packets tell it; meanwhile
        others are served."""
        self.daemon.run("init", "v0", "udp", "--alias", "live", "--start")
        self.daemon.stop()
        self.ip("link", "del", "v0")
        with sqlite3.connect(self.daemon.spool + "/catalog.db") as catalog:
            catalog.execute("UPDATE captures SET link_type = 0 "
                            "WHERE interface = 'v0'")
        catalog.close()
        self.daemon.start()
        listeners = [self.daemon.popen(
            "listen", "live", "--count", "1", *words, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL) for words in (
                ["host a.test"], ["udp port 9999"])]

        def listening():
            out, _ = self.daemon.run("audit", "--json")
            return out.count(b'"Listen"') == 2

        until(listening, "two listeners")
        self.plug()
        until(lambda: self.state("live") == "running", "the interface")
        sender = in_namespace(self.namespace, lambda: socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW))

        def heard():
            in_namespace(self.namespace, lambda: self.send(sender))
            return listeners[1].poll() is not None

        until(heard, "a packet")
        _, packets = packets_of(listeners[1].stdout.read())
        self.assertEqual(len(packets), 1)
        self.assertEqual(self.asked(), {"a.test"})
        self.assertIsNone(listeners[0].poll())
        for listener in listeners:
            listener.send_signal(signal.SIGINT)
            listener.communicate(timeout=PATIENCE)
        sender.close()

    @staticmethod
    def send(sender):
        sender.sendto(udp_packet(0, 1).body, ("v1", 0))


if __name__ == "__main__":
    main()
