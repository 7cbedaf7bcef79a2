# SPDX-License-Identifier: BSD-3-Clause
"""A daemon that other machines reach, here on loopback."""

import os
import socket
import subprocess

from harness import (NS, OK, PATIENCE, PCAPD, Daemon, savefile,
                     udp_packet)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Far(Daemon):
    """A daemon that listens for TLS, and somebody's remotes."""

    def __init__(self, config="", listen="127.0.0.1", **kwargs):
        super().__init__(**kwargs)
        self.tls = os.path.join(self.folder, "tls")
        self.port = free_port()
        self.home = os.path.join(self.folder, "home")
        os.mkdir(self.home)
        self.configure("listen = %s:%d\ntls-dir = %s\n%s" % (
            listen, self.port, self.tls, config))

    def admin(self, *arguments, status=OK):
        done = subprocess.run(
            [PCAPD, "--config", self.config, "tls"] + list(arguments),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE,
            cwd=self.folder)
        text = done.stdout.decode()
        assert done.returncode == status, "%s: %d: %s" % (
            arguments, done.returncode, text)
        return text

    def issue(self, name, role, *more):
        """The path of a new bundle."""
        self.admin("issue", name, "--role", role, *more)
        return os.path.join(self.folder, name + ".pem")

    def url(self, host="127.0.0.1"):
        return "tls://%s:%d" % (host, self.port)

    def run(self, *arguments, **kwargs):
        os.environ["XDG_CONFIG_HOME"] = self.home
        return super().run(*arguments, **kwargs)

    def popen(self, *arguments, **kwargs):
        os.environ["XDG_CONFIG_HOME"] = self.home
        return super().popen(*arguments, **kwargs)

    def join(self, remote, bundle, host="127.0.0.1"):
        self.run("remote", "add", remote, self.url(host), "--bundle", bundle)


def fill(daemon, count=2000):
    """An import, so that there is something to read."""
    path = os.path.join(daemon.folder, "some.pcap")
    with open(path, "wb") as file:
        file.write(savefile([udp_packet(i * NS // 100, i)
                             for i in range(1, count + 1)]))
    daemon.run("import", "some", path)
