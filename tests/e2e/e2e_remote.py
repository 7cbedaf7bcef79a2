#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""pcapd from other machines: TLS with a certificate at both ends, who is let
in and as what. On loopback; what is refused is refused with words for both
sides."""

import json
import os
import resource
import random
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from far import Far, fill
from harness import (FAILED, NOT_FOUND, OK, PATIENCE, PCAP, PERMISSION,
                     SANITIZE, UNREACHABLE, USAGE, Daemon, main, need, output,
                     packets_of, until)
from http2 import Connection


class Remote(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.far = Far()
        cls.far.admin("init")
        cls.bundle = cls.far.issue("alice", "viewer")
        cls.far.start()
        fill(cls.far)
        cls.far.join("lab", cls.bundle)
        cls.far.join("ops", cls.far.issue("olga", "operator"))

    @classmethod
    def tearDownClass(cls):
        cls.far.stop()

    def ca(self, folder):
        """A CA of somebody else's, by openssl."""
        need("openssl")
        output("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=another",
               "-days", "30", "-keyout", folder + "/ca.key", "-out",
               folder + "/ca.crt")
        return folder + "/ca.crt", folder + "/ca.key"

    def signed(self, ca, name, start, end, *more):
        """A bundle, from any date to any other, by openssl ca."""
        folder = tempfile.mkdtemp(dir=self.far.folder)
        with open(folder + "/conf", "w") as file:
            file.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s/db\nserial=%s/n\n"
                       "new_certs_dir=%s\ndefault_md=sha256\npolicy=p\n"
                       "unique_subject=no\n[p]\ncommonName=supplied\n[req]\n"
                       "distinguished_name=n\n[n]\n"
                       % (folder, folder, folder))
        open(folder + "/db", "w").close()
        with open(folder + "/n", "w") as file:
            file.write("%016X\n" % time.monotonic_ns())
        output("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:P-256", "-nodes", "-config",
               folder + "/conf", "-subj", "/CN=" + name, "-keyout",
               folder + "/key", "-out", folder + "/req")
        output("openssl", "ca", "-batch", "-notext", "-config",
               folder + "/conf", "-cert", ca[0], "-keyfile", ca[1],
               "-startdate", start, "-enddate", end, "-in", folder + "/req",
               "-out", folder + "/crt")
        bundle = os.path.join(folder, name + ".pem")
        with open(bundle, "wb") as out:
            os.chmod(bundle, 0o600)
            for part in folder + "/crt", folder + "/key", self.far.tls + \
                    "/ca.crt":
                with open(part, "rb") as file:
                    out.write(file.read())
        return bundle

    def own_ca(self):
        return self.far.tls + "/ca.crt", self.far.tls + "/ca.key"

    def refused(self, bundle, client_says, server_says, host="127.0.0.1",
                status=PERMISSION):
        """Both say why."""
        name = "bad%d" % len(self.far.said())
        before = len(self.far.said())
        self.far.join(name, bundle, host)
        _, text = self.far.run("list", name + ":", status=status)
        self.assertIn("pcap: %s: " % name, text)
        self.assertIn(client_says, text)
        self.assertGreater(len(text.splitlines()), 1, "no hint: " + text)
        if server_says:
            until(lambda: server_says in self.far.said()[before:],
                  server_says + " in the log")
        return text

    # --- what works ---

    def test_out_of_descriptors_who_comes_waits_and_is_served_then(self):
        pid = self.far.process.pid
        before = len(self.far.said())
        used = {int(n) for n in os.listdir("/proc/%d/fd" % pid)}
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        none = min(set(range(max(used) + 2)) - used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (none, hard))
        try:
            waiting = self.far.popen("list", "lab:", stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE)
            until(lambda: "connections wait: Too many open files"
                  in self.far.said()[before:], "the last descriptor")
            self.assertIsNone(waiting.poll())
            # Nor can it be read who may come in, and what is shown to them.
            for file, said in (("allow", "nobody may come in over TLS: open"),
                               ("server.crt", "the old certificate stays")):
                os.utime(os.path.join(self.far.tls, file))
                until(lambda: said in self.far.said()[before:], said)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        out, text = waiting.communicate(timeout=PATIENCE)
        self.assertEqual(waiting.returncode, OK, text)
        self.assertIn(b"some", out)
        self.assertNotIn("was refused", self.far.said()[before:])
        until(lambda: "read the TLS certificate again"
              in self.far.said()[before:], "the certificate")

    def test_replay_over_tls_is_the_local_one(self):
        here, _ = self.far.run("replay", "some")
        there, talk = self.far.run("replay", "lab:some")
        self.assertEqual(there, here)
        self.assertIn("2000 packets replayed", talk)
        here, _ = self.far.run("replay", "some", "udp", "port", "1030")
        there, _ = self.far.run("replay", "lab:some", "udp", "port", "1030")
        self.assertEqual(there, here)
        self.assertEqual(len(packets_of(there)[1]), 2)

    def test_a_remote_is_tested_listed_and_removed(self):
        text, _ = self.far.run("remote", "test", "lab")
        self.assertRegex(text.decode(), r"^lab: pcapd [0-9.]+, you are alice "
                                        r"\(viewer\), answered in ")
        self.far.run("remote", "add", "other", "unix://" + self.far.socket)
        text, _ = self.far.run("remote", "test", "other")
        self.assertIn("(operator)", text.decode())
        listed, _ = self.far.run("remote", "list", "--json")
        listed = {r["name"]: r["url"]
                  for r in json.loads(listed)["remotes"]}
        self.assertEqual(listed["lab"], self.far.url())
        _, text = self.far.run("remote", "add", "lab", "unix:///x",
                               status=FAILED)
        self.assertIn("is there already", text)
        self.far.run("remote", "remove", "other")
        _, text = self.far.run("list", "other:", status=NOT_FOUND)
        self.assertIn("unknown remote 'other'", text)

    def test_daemons_errors_name_the_remote(self):
        _, text = self.far.run("replay", "lab:none", status=NOT_FOUND)
        self.assertIn("lab: no capture 'none'", text)

    def test_any_grpc_client_with_a_certificate_is_served(self):
        """The TLS port offers h2, as gRPC's own TLS wants it."""
        context = ssl.create_default_context(
            cafile=self.far.tls + "/ca.crt")
        context.load_cert_chain(self.bundle)
        context.set_alpn_protocols(["h2"])
        with socket.create_connection(("127.0.0.1", self.far.port)) as raw:
            with context.wrap_socket(raw, server_hostname="localhost") as s:
                self.assertEqual(s.version(), "TLSv1.3")
                self.assertEqual(s.selected_alpn_protocol(), "h2")

    def test_pythons_grpc_is_served(self):
        try:
            import grpc
        except ImportError:
            self.skipTest("no python3-grpcio; scripts/packages installs it")
        with open(self.bundle, "rb") as file:
            bundle = file.read()
        with open(self.far.tls + "/ca.crt", "rb") as file:
            ca = file.read()
        creds = grpc.ssl_channel_credentials(ca, bundle, bundle)
        with grpc.secure_channel("localhost:%d" % self.far.port,
                                 creds) as channel:
            version = channel.unary_unary("/pcap.v1.Pcap/Version")
            self.assertIn(b"alice", version(b"", timeout=PATIENCE))
            start = channel.unary_unary("/pcap.v1.Pcap/Start")
            with self.assertRaises(grpc.RpcError) as failed:
                start(b"", timeout=PATIENCE)
            self.assertEqual(failed.exception.code(),
                             grpc.StatusCode.PERMISSION_DENIED)

    def test_certificates_are_read_again(self):
        far = Far()
        far.admin("init")
        far.start()
        old = far.issue("bob", "viewer")
        far.join("old", old)
        far.run("list", "old:")
        for name in os.listdir(far.tls):
            os.unlink(os.path.join(far.tls, name))
        far.admin("init")
        far.join("new", far.issue("carl", "viewer"))
        until(lambda: "read the TLS certificate again" in far.said(),
              "the new certificate")
        far.run("list", "new:")
        far.run("list", "old:", status=PERMISSION)
        far.stop()

    # --- roles ---

    def test_a_viewer_may_look_and_nothing_else(self):
        for command in (["list", "lab:"], ["status", "lab:"],
                        ["interfaces", "lab:"], ["gaps", "lab:some"],
                        ["replay", "lab:some"]):
            self.far.run(*command)
        for command in (["start", "lab:some"], ["stop", "lab:some"],
                        ["delete", "--yes", "lab:some"],
                        ["init", "lab:lo", "--alias", "x"],
                        ["alias", "add", "lab:some", "x"],
                        ["mark", "lab:some", "x"],
                        ["set", "lab:some", "--keep-age", "1d"],
                        ["hold", "lab:some", "--last", "1d", "--reason",
                         "x"]):
            _, text = self.far.run(*command, status=PERMISSION)
            self.assertIn("lab: alice is a viewer", text)
            self.assertIn("A viewer may", text)
        self.far.run("mark", "ops:some", "x")
        self.far.run("mark", "--remove", "ops:some", "x")

    def test_revoking_ends_a_stream_within_a_second(self):
        bundle = self.far.issue("eve", "viewer")
        self.far.join("eves", bundle)
        with self.far.popen("replay", "--live", "eves:some",
                            stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE) as live:
            got = live.stdout.read(24)
            self.assertEqual(len(got), 24)
            said = self.far.admin("revoke", "eve")
            self.assertIn("revoked 1 certificate of eve", said)
            _, text = live.communicate(timeout=PATIENCE)
            self.assertIn("the certificate of eve was revoked",
                          text.decode())
            self.assertEqual(live.returncode, PERMISSION)
        until(lambda: "eve at 127.0.0.1" in self.far.said(), "the log")
        self.refused(bundle, "it was revoked, or never allowed",
                     "the certificate of eve is not on the allow-list")

    # --- who is refused ---

    def test_a_certificate_of_another_ca_is_refused(self):
        folder = tempfile.mkdtemp(dir=self.far.folder)
        bundle = self.signed(self.ca(folder), "mallory", "20200101000000Z",
                             "20400101000000Z")
        self.refused(bundle, "the server does not know the CA",
                     "the certificate of mallory was not signed by the CA")

    def test_an_expired_certificate_is_refused(self):
        bundle = self.signed(self.own_ca(), "old", "20200101000000Z",
                             "20210101000000Z")
        self.refused(bundle, "certificate expired on 2021-01-01 00:00:00 UTC",
                     None)
        self.shows(bundle, "the certificate of old expired on 2021-01-01")

    def test_a_certificate_of_the_future_is_refused(self):
        bundle = self.signed(self.own_ca(), "new", "20400101000000Z",
                             "20410101000000Z")
        self.refused(bundle, "not valid before 2040-01-01 00:00:00 UTC", None)
        self.shows(bundle, "the certificate of new is not valid before 2040")

    def shows(self, bundle, server_says):
        """A client that does not look at its own certificate."""
        before = len(self.far.said())
        self.s_client("-cert", bundle, "-key", bundle)
        until(lambda: server_says in self.far.said()[before:],
              server_says + " in the log")

    def s_client(self, *more):
        need("openssl")
        done = subprocess.run(
            ["openssl", "s_client", "-connect", "127.0.0.1:%d" % self.far.port,
             "-CAfile", self.far.tls + "/ca.crt", "-alpn", "h2"] + list(more),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=PATIENCE)
        return done.stdout.decode(errors="replace")

    def test_no_certificate_is_refused(self):
        before = len(self.far.said())
        self.s_client()
        until(lambda: "peer did not return a certificate" in
              self.far.said()[before:], "the reason in the log")

    def test_tls_1_2_is_refused(self):
        before = len(self.far.said())
        text = self.s_client("-tls1_2", "-cert", self.bundle, "-key",
                             self.bundle)
        self.assertIn("alert protocol version", text)
        until(lambda: "unsupported protocol" in self.far.said()[before:],
              "the reason in the log")

    def test_plaintext_is_refused(self):
        before = len(self.far.said())
        with socket.create_connection(("127.0.0.1", self.far.port)) as s:
            s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            s.settimeout(PATIENCE)
            while s.recv(4096):
                pass
        until(lambda: "was refused: TLS: " in self.far.said()[before:],
              "the reason in the log")

    def test_a_server_of_another_name_is_refused(self):
        far = Far()
        far.admin("init")
        # Its certificate without the address by which it is reached.
        os.unlink(far.tls + "/server.crt")
        os.unlink(far.tls + "/server.key")
        folder = tempfile.mkdtemp(dir=far.folder)
        output("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:P-256", "-nodes", "-subj",
               "/CN=elsewhere", "-keyout", far.tls + "/server.key", "-out",
               folder + "/req")
        with open(folder + "/ext", "w") as file:
            file.write("subjectAltName=DNS:elsewhere\n")
        output("openssl", "x509", "-req", "-in", folder + "/req", "-CA",
               far.tls + "/ca.crt", "-CAkey", far.tls + "/ca.key",
               "-CAcreateserial", "-days", "2", "-extfile", folder + "/ext",
               "-out", far.tls + "/server.crt")
        os.chmod(far.tls + "/server.key", 0o600)
        far.start()
        far.join("far", far.issue("bob", "viewer"))
        _, text = far.run("list", "far:", status=PERMISSION)
        self.assertIn("far: the certificate of elsewhere is not for 127.0.0.1",
                      text)
        until(lambda: "alert bad certificate" in far.said(), "the log")
        far.stop()

    def test_nobody_listens_is_said(self):
        far = Far()
        far.admin("init")
        far.join("far", far.issue("bob", "viewer"))
        _, text = far.run("list", "far:", status=UNREACHABLE)
        self.assertIn("far: cannot reach pcapd at 127.0.0.1 port", text)
        self.assertIn("Does it listen there", text)

    # --- files ---

    def test_a_key_that_others_may_read_is_refused(self):
        far = Far()
        far.admin("init")
        bundle = far.issue("bob", "viewer")
        os.chmod(bundle, 0o640)
        _, text = far.run("remote", "add", "far", far.url(), "--bundle",
                          bundle, status=PERMISSION)
        self.assertIn("that others may read (mode 640)", text)
        self.assertIn("chmod 600 " + bundle, text)
        os.chmod(far.tls + "/server.key", 0o644)
        far.start(wait=False)
        self.assertEqual(far.wait(), PERMISSION)
        self.assertIn("chmod 600 " + far.tls + "/server.key", far.said())

    def test_without_listen_nothing_listens(self):
        daemon = Daemon().start()
        pid = str(daemon.process.pid)
        for table in "tcp", "tcp6":
            with open("/proc/%s/net/%s" % (pid, table)) as file:
                lines = file.read().split("\n")[1:]
            listening = {line.split()[9] for line in lines
                         if line and line.split()[3] == "0A"}
            own = {os.readlink("/proc/%s/fd/%s" % (pid, fd))
                   for fd in os.listdir("/proc/%s/fd" % pid)}
            self.assertFalse({"socket:[%s]" % i for i in listening} & own)
        daemon.stop()

    def test_without_certificates_listening_fails_with_what_to_do(self):
        far = Far()
        far.start(wait=False)
        self.assertEqual(far.wait(), FAILED)
        self.assertIn("pcapd tls init", far.said())

    def test_remotes_conf_with_a_wrong_line_is_not_used(self):
        home = tempfile.mkdtemp(dir=self.far.folder)
        os.mkdir(home + "/pcap")
        with open(home + "/pcap/remotes.conf", "w") as file:
            file.write("[lab]\nurl = tls://127.0.0.1\nnonsense = 1\n")
        os.environ["XDG_CONFIG_HOME"] = home
        _, text = Daemon.run(self.far, "list", "lab:", status=USAGE)
        self.assertIn("remotes.conf:3: expected url, bundle", text)


class Hostile(unittest.TestCase):
    """Peers without a certificate, or with one and no manners: honest ones are
    served meanwhile, and pcapd does not grow."""

    @classmethod
    def setUpClass(cls):
        cls.world(cls)

    @staticmethod
    def world(cls):
        cls.far = Far("max-handshakes = 16\nhandshake-timeout = 2s\n"
                      "max-connections = 64\n")
        cls.far.admin("init")
        cls.bundle = cls.far.issue("alice", "viewer")
        cls.far.start()
        fill(cls.far)
        cls.far.join("lab", cls.bundle)
        cls.want, _ = cls.far.run("replay", "lab:some")

    @classmethod
    def tearDownClass(cls):
        cls.far.stop()

    def status(self, key):
        with open("/proc/%d/status" % self.far.process.pid) as file:
            for line in file:
                if line.startswith(key + ":"):
                    return int(line.split()[1])

    def tcp(self):
        return socket.create_connection(("127.0.0.1", self.far.port))

    def honest(self):
        out, _ = self.far.run("replay", "lab:some")
        self.assertEqual(out, self.want)

    def all_gone(self):
        """Threads of connections end; what is left is pcapd's own."""
        def few():
            folder = "/proc/%d/task" % self.far.process.pid
            names = []
            for task in os.listdir(folder):
                try:
                    with open("%s/%s/comm" % (folder, task)) as file:
                        names.append(file.read().strip())
                except OSError:
                    pass
            return "pcapd-tls" not in names
        until(few, "the connections to end")

    def test_handshakes_that_never_come_keep_nobody_out(self):
        self.world(self)  # with a log of its own
        self.addCleanup(self.far.kill)
        before = self.status("VmRSS")
        with self.tcp():
            until(lambda: "the handshake took too long" in self.far.said(),
                  "the end of one")
        slow = [self.tcp() for _ in range(300)]
        self.honest()
        for s in slow[::2]:
            try:
                s.sendall(b"\x16\x03\x01\x02\x00\x01")  # and no more
            except OSError:
                pass
        self.honest()
        if not SANITIZE:
            self.assertLess(self.status("VmRSS") - before, 64 << 10)
        self.all_gone()
        for s in slow:
            s.close()
        self.assertIn("max-handshakes is 16", self.far.said())
        self.honest()

    def test_random_bytes_are_refused(self):
        noise = random.Random(5)
        for i in range(200):
            with self.tcp() as s:
                try:
                    s.sendall(noise.randbytes(noise.randrange(1, 4000)))
                    s.shutdown(socket.SHUT_WR)
                    s.settimeout(PATIENCE)
                    while s.recv(4096):
                        pass
                except OSError:
                    pass
        self.honest()
        self.all_gone()

    def shaken(self):
        context = ssl.create_default_context(cafile=self.far.tls + "/ca.crt")
        context.load_cert_chain(self.bundle)
        context.set_alpn_protocols(["h2"])
        return context.wrap_socket(self.tcp(), server_hostname="localhost")

    def test_a_person_who_sends_garbage_is_cut_off(self):
        noise = random.Random(6)
        for _ in range(20):
            with self.shaken() as s:
                s.settimeout(PATIENCE)
                try:
                    s.sendall(noise.randbytes(3000))
                    while s.recv(4096):
                        pass
                except OSError:
                    pass
        self.honest()
        self.all_gone()

    def test_a_person_who_leaves_without_a_word_is_forgotten(self):
        """Reset in the middle of everything."""
        for _ in range(20):
            s = self.shaken()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         struct.pack("ii", 1, 0))
            s.close()
        self.all_gone()
        self.honest()

    def test_connections_have_a_bound(self):
        operator = self.far.issue("olga", "operator")
        self.far.join("ops", operator)
        self.all_gone()
        # As many as there are: nobody is refused yet, so none has to go.
        for bundle, remote, count, says in (
                (self.bundle, "lab", 48, "viewers have 48 connections "
                 "already, and a quarter of 64 is kept for operators"),
                (operator, "ops", 64, "max-connections is 64, and there are "
                 "64")):
            held = [self.spoken(bundle) for _ in range(count)]
            _, text = self.far.run("list", remote + ":", status=FAILED)
            self.assertIn(says, text)
            if remote == "lab":
                self.far.run("list", "ops:")
            self.far.run("list")  # root's are beside these
            for c in held:
                c.close()
            self.all_gone()
        self.honest()

    def spoken(self, bundle):
        """A connection that is served, and has no call."""
        c = Connection(self.far.port, bundle, deaf=True)
        self.addCleanup(c.close)
        self.assertTrue(c.socket.recv(1))
        return c


class Wires:
    """Three machines: sensor, client, and a third, on one bridge."""

    def __init__(self):
        tag = "pr%d" % (os.getpid() % 100000)
        self.names = [tag + end for end in ("s", "c", "t")]
        self.bridge = tag + "b"
        self.hub = tag + "h"
        for name in self.names + [self.hub]:
            output("ip", "netns", "add", name)
        output("ip", "-n", self.hub, "link", "add", self.bridge, "type",
               "bridge")
        output("ip", "-n", self.hub, "link", "set", self.bridge, "up")
        for i, name in enumerate(self.names):
            output("ip", "link", "add", "eth0", "netns", name, "type", "veth",
                   "peer", "name", "p%d" % i, "netns", self.hub)
            output("ip", "-n", self.hub, "link", "set", "p%d" % i, "master",
                   self.bridge, "up")
            output("ip", "-n", name, "addr", "add", "10.9.0.%d/24" % (i + 1),
                   "dev", "eth0")
            output("ip", "-n", name, "link", "set", "eth0", "up")
            output("ip", "-n", name, "link", "set", "lo", "up")

    def on(self, i):
        return ["ip", "netns", "exec", self.names[i]]

    def remove(self):
        for name in self.names + [self.hub]:
            output("ip", "netns", "del", name, status=None)


@unittest.skipUnless(os.getuid() == 0, "needs root")
class ThreeMachines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need("ip", "tcpdump")
        cls.wires = Wires()
        cls.addClassCleanup(cls.wires.remove)
        cls.far = Far(listen="10.9.0.1", prefix=cls.wires.on(0))
        cls.far.admin("init", "10.9.0.1")
        cls.far.start()
        cls.bundle = cls.far.issue("alice", "viewer")

    @classmethod
    def tearDownClass(cls):
        cls.far.stop()

    def pcap(self, *arguments, **kwargs):
        """On the client's machine, where there is no socket of pcapd's."""
        return subprocess.Popen(
            self.wires.on(1) + [PCAP, "-S", "/nowhere"] + list(arguments),
            env=dict(os.environ, XDG_CONFIG_HOME=self.far.home),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, **kwargs)

    def run_there(self, *arguments):
        with self.pcap(*arguments) as process:
            out, text = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0, text)
        return out

    def test_replay_and_listen_are_those_of_the_sensor(self):
        self.far.join("lab", self.bundle, "10.9.0.1")
        self.far.run("init", "eth0", "udp", "port", "5353", "--alias", "net",
                     "--start")
        until(lambda: self.far.capture("net")["state"] == "running", "eth0")
        with self.far.popen("listen", "net", "-c", "200", "-w", "-",
                            stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE) as here, \
                self.pcap("listen", "lab:net", "-c", "200", "-w",
                          "-") as there:
            first_here = here.stdout.read(24)
            first_there = there.stdout.read(24)
            # From the third machine, to the sensor.
            subprocess.run(self.wires.on(2) + [
                sys.executable, "-c",
                "import socket\ns = socket.socket(socket.AF_INET, "
                "socket.SOCK_DGRAM)\nfor i in range(200):\n"
                " s.sendto(b'%06d' % i * 50, ('10.9.0.1', 5353))"],
                check=True)
            local, _ = here.communicate(timeout=PATIENCE)
            remote, _ = there.communicate(timeout=PATIENCE)
        self.assertEqual(first_here + local, first_there + remote)
        self.assertEqual(len(packets_of(first_there + remote)[1]), 200)
        here, _ = self.far.run("replay", "net")
        self.assertEqual(self.run_there("replay", "lab:net"), here)
        self.assertEqual(
            self.run_there("replay", "lab:net", "udp[8:4] = 0x30303030"),
            self.far.run("replay", "net", "udp[8:4] = 0x30303030")[0])
        # And a tool that is not ours reads it.
        text = output("tcpdump", "-nr", "-", "--count",
                      stdin=self.run_there("replay", "lab:net"))
        self.assertIn(b"200 packets", text)


if __name__ == "__main__":
    main()
