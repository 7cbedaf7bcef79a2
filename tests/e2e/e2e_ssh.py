#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""ssh:// remotes, through a real sshd on loopback: no port of pcapd's, no
certificates, and pcapd knows which connection carries the packets."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from harness import (NS, PATIENCE, PCAP, UNREACHABLE, Daemon, end, main,
                     need, output, savefile, udp_packet, until)

SSHD = "/usr/sbin/sshd"


class Sshd:
    """One that lets this user in, by a key of its own."""

    def __init__(self, folder, environment):
        self.folder = folder
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        for key in "host", "user":
            output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                   "%s/%s" % (folder, key))
        shutil.copy(folder + "/user.pub", folder + "/authorized")
        with open(folder + "/sshd", "w") as file:
            file.write(
                "Port %d\nListenAddress 127.0.0.1\nHostKey %s/host\n"
                "AuthorizedKeysFile %s/authorized\nStrictModes no\n"
                "PidFile none\nUsePAM no\nPermitRootLogin yes\n"
                "PasswordAuthentication no\nSetEnv %s\n" % (
                    self.port, folder, folder,
                    " ".join("%s=%s" % v for v in environment.items())))
        with open(folder + "/host.pub") as key, \
                open(folder + "/known", "w") as file:
            file.write("[127.0.0.1]:%d %s" % (self.port, key.read()))
        with open(folder + "/ssh_config", "w") as file:
            file.write("IdentityFile %s/user\nIdentitiesOnly yes\n"
                       "UserKnownHostsFile %s/known\nBatchMode yes\n"
                       % (folder, folder))
        # The user's own ssh: what is found first.
        os.mkdir(folder + "/bin")
        with open(folder + "/bin/ssh", "w") as file:
            file.write("#!/bin/sh\nexec /usr/bin/ssh -F %s/ssh_config \"$@\"\n"
                       % folder)
        os.chmod(folder + "/bin/ssh", 0o755)
        if os.getuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.log = open(folder + "/log", "wb")
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", folder + "/sshd"], stdout=self.log,
            stderr=self.log)

        def listens():
            if self.process.poll() is not None:
                with open(folder + "/log") as log:
                    raise AssertionError("sshd ended: " + log.read())
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.port)) == 0

        until(listens, "sshd")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


class Ssh(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not os.access(SSHD, os.X_OK):
            raise unittest.SkipTest(
                "no sshd; scripts/packages installs openssh-server")
        need("ssh", "ssh-keygen")
        cls.daemon = Daemon().start()
        folder = cls.folder = tempfile.mkdtemp(dir=cls.daemon.folder)
        cls.sshd = Sshd(folder, {
            "PATH": os.path.dirname(PCAP) + ":/usr/bin:/bin",
            "PCAP_SOCKET": cls.daemon.socket})
        cls.path = os.environ["PATH"]
        os.environ["PATH"] = folder + "/bin:" + cls.path
        os.environ["XDG_CONFIG_HOME"] = folder + "/home"
        path = os.path.join(folder, "some.pcap")
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(i * NS, i)
                                 for i in range(1, 2001)]))
        cls.daemon.run("import", "some", path)
        cls.daemon.run("remote", "add", "lab", "ssh://%s@127.0.0.1:%d" % (
            getpass.getuser(), cls.sshd.port))

    @classmethod
    def tearDownClass(cls):
        os.environ["PATH"] = cls.path
        cls.daemon.stop()
        cls.sshd.stop()

    def test_replay_by_ssh_is_the_local_one(self):
        here, _ = self.daemon.run("replay", "some")
        there, talk = self.daemon.run("replay", "lab:some")
        self.assertEqual(here, there)
        self.assertIn("2000 packets replayed", talk)
        text, _ = self.daemon.run("remote", "test", "lab")
        self.assertIn("lab: pcapd ", text.decode())
        self.assertIn("you are user %d (operator)" % os.getuid(),
                      text.decode())

    def test_pcapd_knows_what_carries_it(self):
        """The address and port of ssh's own socket."""
        with self.daemon.popen("replay", "--live", "lab:some",
                               stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE) as live:
            self.assertEqual(len(live.stdout.read(24)), 24)
            ports = self.ssh_ports()
            said = self.daemon.said()
            self.assertTrue(
                any("by ssh from 127.0.0.1:%d" % port in said
                    for port in ports), (ports, said))
            live.send_signal(signal.SIGINT)
            _, text = live.communicate(timeout=PATIENCE)
            self.assertEqual(live.returncode, 0, text)

    def ssh_ports(self):
        """The local ports of connections to this sshd."""
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table.readlines()[1:]]
        to = "0100007F:%04X" % self.sshd.port
        return [int(r[1].split(":")[1], 16) for r in rows
                if r[2] == to and r[3] == "01"]

    def test_a_connection_that_is_not_there_is_not_believed(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.daemon.socket)
            s.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 22\r\n")
            until(lambda: "names a connection that sshd does not have" in
                  self.daemon.said(), "the log")

    def status(self, name):
        out, _ = self.daemon.run("status", name, "--json")
        return json.loads(out)["captures"][0]

    def send(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"some", ("127.0.0.1", 9))
        return self.status("all")

    def stream_is_left_out(self, stream):
        self.assertEqual(len(stream.stdout.read(24)), 24)
        shown = until(lambda: self.send()["excluded"], "what is left out")
        self.assertRegex(shown[0], r"^127.0.0.1:%d 127.0.0.1:\d+$"
                         % self.sshd.port)
        before = int(self.status("all")["excluded_packets"])
        since = "@%.9f" % time.time()
        until(lambda: int(self.send()["excluded_packets"]) > before + 20,
              "packets of it")
        out, _ = self.daemon.run("count", "all", "tcp port %d" %
                                 self.sshd.port, "--since", since)
        self.assertEqual(out.split()[0], b"0", out)

    def test_a_stream_out_of_a_session_is_not_captured(self):
        """ssh sensor pcap listen: no remote, and the packets leave by ssh."""
        if os.getuid() != 0:
            self.skipTest("needs root")
        self.daemon.run("init", "lo", "--alias", "all", "--start")
        self.addCleanup(self.daemon.run, "delete", "all", status=None)
        self.addCleanup(self.daemon.run, "stop", "all", status=None)
        # As sudo does, which forgets what it does not know.
        for command in ("pcap listen all", "pcap replay --live all | cat",
                        "env -u SSH_CONNECTION pcap listen all; true"):
            stream = subprocess.Popen(
                ["ssh", "-p", str(self.sshd.port),
                 "%s@127.0.0.1" % getpass.getuser(), command],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL)
            try:
                self.stream_is_left_out(stream)
            finally:
                end(stream)
                stream.stdout.close()
            # A cat learns of it when it writes.
            until(lambda: not self.send()["excluded"], "the end")
        # A command that streams nothing hides nothing.
        with self.daemon.popen("list", "lab:", stdout=subprocess.DEVNULL):
            pass
        out, _ = self.daemon.run("gaps", "all", "--all", "--json")
        self.assertLessEqual(len(json.loads(out)["gaps"]), 3)

    def test_a_connection_of_somebody_else_is_not_left_out(self):
        """Whoever may connect names a TCP connection of his own."""
        if os.getuid() != 0:
            self.skipTest("needs root")
        daemon = Daemon("viewer-group = news\n")
        os.chmod(daemon.folder, 0o755)
        daemon.start()
        daemon.run("init", "lo", "tcp", "--alias", "all", "--start")
        script = (
            "import socket, sys\n"
            "l = socket.create_server(('127.0.0.1', 0))\n"
            "c = socket.create_connection(l.getsockname())\n"
            "a, _ = l.accept()\n"
            "u = socket.socket(socket.AF_UNIX); u.connect(sys.argv[1])\n"
            "near, far = (c, a) if sys.argv[2] == 'out' else (a, c)\n"
            "u.sendall(b'PROXY TCP4 %s %s %d %d\\r\\n' % ("
            "b'127.0.0.1', b'127.0.0.1', near.getpeername()[1], "
            "near.getsockname()[1]))\n"
            "print(near.getsockname()[1], flush=True)\n"
            "sys.stdin.read(1); c.sendall(b'secret' * 100)\n"
            "a.recv(600); print('sent', flush=True); sys.stdin.read()\n")
        for groups in [9], []:
            for way in "out", "in":
                with subprocess.Popen(
                        [sys.executable, "-c", script, daemon.socket, way],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                        user=65534, group=65534,
                        extra_groups=groups) as own:
                    port = int(own.stdout.readline())
                    if groups:
                        until(lambda: daemon.said().count(
                            "names a connection that sshd") > (way == "in"),
                            "the log")
                    own.stdin.write(b"x")
                    own.stdin.flush()
                    own.stdout.readline()
                    out, _ = daemon.run(
                        "count", "all", "tcp port %d and greater 600" % port)
                    self.assertGreater(int(out.split()[0]), 0)
                    self.assertEqual(json.loads(daemon.run(
                        "status", "all", "--json")[0])["captures"][0][
                            "excluded"], [])
                    own.stdin.close()
        daemon.stop()

    def test_no_pcapd_there_is_said(self):
        """What `pcap proxy` says there comes through."""
        self.daemon.run("remote", "add", "nobody", "ssh://127.0.0.1:1")
        _, text = self.daemon.run("list", "nobody:", status=UNREACHABLE)
        self.assertIn("nobody: cannot reach pcapd of 127.0.0.1 over ssh",
                      text)
        self.assertIn("What ssh said is above", text)

    def test_the_ssh_is_gone_with_the_command(self):
        self.daemon.run("list", "lab:")
        until(lambda: not self.ssh_ports(), "ssh to end")

    def test_a_first_line_in_pieces_is_a_line(self):
        """The socket answers once it is whole: SETTINGS of HTTP/2."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(self.daemon.socket)
            for piece in b"PRO", b"XY UNKN", b"OWN\r\n":
                s.sendall(piece)
            head = s.recv(9)
            self.assertEqual(head[3], 4, head)


if __name__ == "__main__":
    main()
