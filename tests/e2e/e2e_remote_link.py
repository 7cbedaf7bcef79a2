#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Remotes over a link of their own: by addresses that only the link has, and
when it breaks. The other machine is a network namespace."""

import atexit
import os
import re
import subprocess
import unittest

from far import Far, fill
from harness import (INCOMPLETE, PATIENCE, PCAP, UNREACHABLE, before_libc,
                     main, output, until)

# What takes two minutes takes seconds.
HASTE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

int setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
	int (*next)(int, int, int, const void *, socklen_t) =
		dlsym(RTLD_NEXT, "setsockopt");
	int given, s = 1;

	if (level != IPPROTO_TCP || n != sizeof(given))
		return next(fd, level, name, value, n);
	memcpy(&given, value, n);
	if ((name == TCP_KEEPIDLE || name == TCP_KEEPINTVL) && given == 30)
		return next(fd, level, name, &s, n);
	s = 3000;
	if (name == TCP_USER_TIMEOUT && given == 120000)
		return next(fd, level, name, &s, n);
	return next(fd, level, name, value, n);
}
"""


class Pair:
    """Two machines and a link: here is `near`, there is `far`."""

    def __init__(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest("network namespaces need root")
        self.names = ["pcapd-%d-%s" % (os.getpid(), x) for x in ("n", "f")]
        atexit.register(self.remove)
        for name in self.names:
            output("ip", "netns", "add", name)
            output("ip", "netns", "exec", name, "sysctl", "-qw",
                   "net.ipv6.conf.default.accept_dad=0", status=None)
            output("ip", "-n", name, "link", "set", "lo", "up")
        near, far = self.names
        output("ip", "-n", near, "link", "add", "near0", "type", "veth",
               "peer", "name", "far0", "netns", far)
        output("ip", "-n", near, "addr", "add", "10.9.0.2/24", "dev", "near0")
        output("ip", "-n", far, "addr", "add", "10.9.0.1/24", "dev", "far0")
        output("ip", "-n", near, "link", "set", "near0", "up")
        output("ip", "-n", far, "link", "set", "far0", "up")
        self.here = ["ip", "netns", "exec", near]
        self.there = ["ip", "netns", "exec", far]

    def link_local(self):
        """The address of the other machine on the link."""
        def found():
            said = output("ip", "-n", self.names[1], "-6", "-o", "addr",
                          "show", "far0", "scope", "link")
            return re.search(r"inet6 (fe80::[0-9a-f:]+)/", said.decode())

        return until(found, "an address of the link").group(1)

    def cut(self):
        output("ip", "-n", self.names[1], "link", "set", "far0", "down")

    def mend(self):
        output("ip", "-n", self.names[1], "link", "set", "far0", "up")

    def remove(self):
        for name in self.names:
            output("ip", "netns", "del", name, status=None)


class Link(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pair = Pair()
        cls.address = cls.pair.link_local()
        cls.far = Far(listen="[::]", prefix=cls.pair.there)
        cls.far.admin("init", cls.address, "10.9.0.1")
        cls.bundle = cls.far.issue("alice", "viewer")
        cls.far.start()
        fill(cls.far)

    @classmethod
    def tearDownClass(cls):
        cls.far.stop()
        cls.pair.remove()

    def pcap(self, *arguments, prefix=()):
        return subprocess.Popen(
            self.pair.here + list(prefix) + [PCAP] + list(arguments),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, XDG_CONFIG_HOME=self.far.home))

    def said(self, *arguments):
        process = self.pcap(*arguments)
        out, said = process.communicate(timeout=PATIENCE)
        return process.returncode, out.decode() + said.decode()

    def add(self, name, host):
        code, said = self.said(
            "remote", "add", name, "tls://%s:%d" % (host, self.far.port),
            "--bundle", self.bundle)
        self.assertEqual(code, 0, said)

    def test_an_address_of_the_link_is_in_the_certificate_without_its_zone(
            self):
        for name, host in (("a", "[%s%%near0]"), ("b", "[%s%%25near0]")):
            self.add(name, host % self.address)
            code, said = self.said("remote", "test", name)
            self.assertEqual(code, 0, said)
            self.assertIn("you are alice (viewer)", said)
        self.add("c", "[%s]" % self.address)
        code, said = self.said("remote", "test", "c")
        self.assertEqual(code, UNREACHABLE, said)
        self.assertIn("needs the interface that leads to it: [%s%%eth0]" %
                      self.address, said)

    def test_a_link_that_breaks_ends_who_waits(self):
        haste = before_libc(self.far.folder, HASTE)
        self.add("lab", "10.9.0.1")
        waiting = [self.pcap(*line, prefix=haste)
                   for line in (["listen", "lab:some"],
                                ["replay", "lab:some", "--live"])]
        try:
            for process in waiting:
                process.stdout.read(24)
            self.pair.cut()
            for process in waiting:
                _, said = process.communicate(timeout=PATIENCE)
                self.assertEqual(process.returncode, INCOMPLETE, said)
                self.assertIn(b"the connection to pcapd ended", said)
        finally:
            self.pair.mend()

    def test_ssh_is_told_to_ask_as_well(self):
        folder = os.path.join(self.far.folder, "bin")
        os.mkdir(folder)
        with open(folder + "/ssh", "w") as file:
            file.write('#!/bin/sh\necho "$@" >"%s/words"\nexit 255\n' % folder)
        os.chmod(folder + "/ssh", 0o755)
        self.said("remote", "add", "s", "ssh://sensor")
        path = os.environ["PATH"]
        os.environ["PATH"] = folder + ":" + path
        try:
            code, said = self.said("list", "s:")
        finally:
            os.environ["PATH"] = path
        self.assertEqual(code, UNREACHABLE, said)
        with open(folder + "/words") as file:
            words = file.read()
        self.assertIn("-oServerAliveInterval=30", words)
        self.assertIn("-oServerAliveCountMax=3", words)


if __name__ == "__main__":
    main()
