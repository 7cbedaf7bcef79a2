#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""What the documents say about installing pcapd, word for word, on a machine
that is thrown away: README's Install and TLS sections and the examples of
pcapd.conf(5), under the unit and its sandbox. The kernel and systemd say what
came of it."""

import os
import re
import sys
import unittest

from harness import PCAPD, SANITIZE, SOURCE, main, packets_of, until
from machine import Machine

EXPOSURE_MAX = 2.0
CONFIG = "/etc/pcapd.conf"
SEND = """python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(%d): s.sendto(b"number %%d" %% i, ("127.0.0.1", %d))'"""


def examples(path, heading):
    """The lines of a section's indented blocks (README), or of its .EX
    blocks (a manual)."""
    with open(os.path.join(SOURCE, path)) as file:
        text = file.read()
    if path.endswith(".md"):
        section = text.split("\n## %s\n" % heading)[1].split("\n## ")[0]
        return [line[4:] for line in section.splitlines()
                if line.startswith("    ")]
    section = re.split(r"(?m)^\.SH ", text.split(".SH %s\n" % heading)[1])[0]
    return [[line.replace("\\-", "-").replace("\\e", "\\")
             for line in block.splitlines()]
            for block in re.findall(r"(?s)\.EX\n(.*?)\n\.EE", section)]


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = Machine()
        cls.addClassCleanup(cls.machine.off)
        cls.run_ = staticmethod(cls.machine.run)
        cls.run_("useradd -m alice; useradd -m bob")
        for line in examples("README.md", "Install"):
            cls.run_(line, folder=SOURCE)

    def setUp(self):
        self.machine.run("systemctl stop pcapd; rm -rf /var/lib/pcapd/* "
                         "/etc/pcapd /etc/systemd/system/pcapd.service.d %s; "
                         "systemctl daemon-reload; systemctl reset-failed; "
                         "systemctl start pcapd" % CONFIG)

    def tearDown(self):
        # Whatever happened, nothing was killed.
        self.assertNotIn("SYS", self.machine.run(
            "systemctl show pcapd -p Result,ExecMainStatus,ExecMainCode"))
        self.assertNotIn("is not on the list", self.machine.journal())

    def configure(self, text):
        self.machine.run("cat > " + CONFIG, stdin=text.encode())

    def main_pid(self):
        return int(self.machine.run("systemctl show -P MainPID pcapd"))

    def status_of(self, pid):
        text = self.machine.run("cat /proc/%d/status" % pid)
        return dict(line.split(":\t", 1) for line in text.splitlines()
                    if ":\t" in line)

    def file(self, path):
        """What the machine has at path; its own root is the way to it."""
        with open("/proc/%d/root%s" % (self.machine.init, path),
                  "rb") as file:
            return file.read()

    def capture(self, alias, port, user=None):
        """Real packets, over the loopback of the machine; all come back."""
        run = self.machine.run
        run("pcap init lo udp dst port %d --alias %s --start" % (port, alias),
            user=user)
        until(lambda: "running" in run("pcap list", user=user), "a capture")
        run(SEND % (200, port))
        run("pcap replay %s > /tmp/%s.pcap" % (alias, alias), user=user)
        _, packets = packets_of(self.file("/tmp/%s.pcap" % alias))
        self.assertEqual([p.body[42:] for p in packets],
                         [b"number %d" % i for i in range(200)])
        run("pcap delete %s --yes" % alias, user=user, status=None)

    # --- README: Install

    def test_it_captures_as_soon_as_it_is_installed(self):
        run = self.machine.run
        pid = self.main_pid()
        self.capture("first", 4001, user="alice")
        run("pcap list", user="bob", status=5)
        self.assertEqual(self.main_pid(), pid)
        seen = self.status_of(pid)
        self.assertEqual(set(seen["Uid"].split()),
                         {run("id -u pcapd").strip()})
        for name in ("CapPrm", "CapEff", "CapBnd"):
            self.assertEqual(int(seen[name], 16), 1 << 13, name)
        self.assertEqual((seen["NoNewPrivs"], seen["Seccomp"]), ("1", "2"))
        self.assertGreater(int(seen["Seccomp_filters"]), 1)
        self.assertRegex(run("cat /proc/%d/limits" % pid),
                         r"Max core file size +0 +0")
        run("systemctl stop pcapd")
        self.assertEqual(run("systemctl show -P Result pcapd").strip(),
                         "success")
        self.assertEqual(run("find /var/lib/pcapd -perm /077 ! -path "
                             "/var/lib/pcapd"), "")
        run("systemctl start pcapd; pcap status")

    def test_the_unit_is_little_exposed(self):
        said = self.machine.run("systemd-analyze security pcapd.service "
                                "--no-pager")
        level = re.search(r"exposure level for pcapd.service: ([0-9.]+)",
                          said)[1]
        self.assertLess(float(level), EXPOSURE_MAX, said)

    def test_captures_go_on_after_a_restart(self):
        run = self.machine.run
        run("pcap init lo udp dst port 4002 --alias on --start")
        until(lambda: "running" in run("pcap list"), "a capture")
        run("systemctl restart pcapd")
        until(lambda: "running" in run("pcap list"), "the capture again")
        run("pcap stop on; pcap delete on --yes")

    def test_it_works_without_its_own_sandbox(self):
        self.configure("sandbox = off\n")
        self.machine.run("systemctl restart pcapd")
        self.capture("off", 4003)
        self.assertEqual(
            self.status_of(self.main_pid())["NoNewPrivs"], "1")

    def test_all_that_it_does_the_unit_lets_it_do(self):
        """What calls the system in ways of its own, once each."""
        run = self.machine.run
        run("ip link add veth0 type veth peer name veth1; ip link set veth0 "
            "up")
        pid = self.main_pid()
        run("pcap init --alias all --start; pcap init veth0 --alias other "
            "--start")
        until(lambda: run("pcap list").count("running") == 2, "two captures")
        run(SEND % (3000, 4005))
        run("pcap replay all udp dst port 4005 > /tmp/all.pcap")
        _, packets = packets_of(self.file("/tmp/all.pcap"))
        self.assertGreaterEqual(len(packets), 3000)
        run("pcap import file /tmp/all.pcap")
        for command in ("replay file udp --snaplen 60 -w /tmp/cut.pcap",
                        "replay file 'udp and greater 60' --explain",
                        "count file --by 1m udp", "gaps all", "status",
                        "interfaces", "audit", "set all --keep-bytes 1G",
                        "hold file --last 1h --reason x", "mark file seen", "stop all",
                        "start all", "stop other", "stop all",
                        "delete other --yes", "delete all --yes"):
            run("pcap " + command)
        run("ip link del veth0")
        self.assertEqual(self.main_pid(), pid)
        run("systemctl stop pcapd; pcapd check --spool /var/lib/pcapd; "
            "systemctl start pcapd")

    # --- README: Remote

    def test_ssh_works_as_the_readme_says(self):
        run = self.machine.run
        run("useradd -m -G pcap me; echo 127.0.0.1 sensor >> /etc/hosts; "
            "rm -f /run/nologin; ssh-keygen -A; mkdir -p /run/sshd; "
            "/usr/sbin/sshd")
        run("mkdir -p -m 700 .ssh; ssh-keygen -q -N '' -f .ssh/id_ed25519 "
            "-t ed25519; echo 'StrictHostKeyChecking accept-new' > .ssh/config; "
            "mkdir -m 700 ~me/.ssh; cp .ssh/id_ed25519.pub "
            "~me/.ssh/authorized_keys; chown -R me: ~me/.ssh")
        run("pcap init lo udp dst port 4006 or tcp port 22 --alias web --start")
        until(lambda: "running" in run("pcap list"), "a capture")
        run(SEND % (200, 4006))
        for line in examples("README.md", "Remote"):
            if "ssh" in line or "replay lab:" in line:
                run(line)
        _, packets = packets_of(self.file("/root/web.pcap"))
        udp = [p.body[42:] for p in packets if p.body[23] == 17]
        self.assertEqual(udp, [b"number %d" % i for i in range(200)])
        # pcapd found the connection: what comes over it is in no capture.
        self.assertRegex(self.machine.journal(), r"user %s \(operator\) came "
                         r"in by ssh from 127.0.0.1:" % run("id -u me").strip())
        # Users are looked up from inside, also those who came later.
        self.assertRegex(run("pcap audit"), r" me +127\.0\.0\.1:\d+ ")
        run("pcap stop web; pcap delete web --yes")

    def test_tls_comes_up_as_the_readme_says(self):
        run = self.machine.run
        run("echo 127.0.0.1 sensor.example >> /etc/hosts; umask 077; "
            "mkdir -p /tmp/hers; chmod 777 /tmp/hers")
        lines = examples("README.md", "Remote")
        tls = [line for line in lines if "tls" in line or "2020" in line or
               "systemctl" in line]
        self.assertGreaterEqual(len(tls), 5, lines)
        for line in tls:
            if line.startswith("pcap remote add"):
                run("cp alice.pem /tmp/hers; chown alice /tmp/hers/alice.pem")
                run(line, user="alice", folder="/tmp/hers")
                run("pcap list lab:", user="alice")
                run("pcap status lab:", user="alice")
                self.assertRegex(
                    run("pcapd tls list"),
                    r"NAME +ROLE +UNTIL +CERTIFICATE\n"
                    r"alice +viewer +20\d\d-\d\d-\d\d .* UTC +[0-9a-f]{64}\n")
            else:
                # Whatever root's umask is.
                run(("umask 077; " if "tls" in line else "") + line)
        self.assertIn("revoked", run("pcap list lab:", user="alice",
                                     status=5))
        self.assertNotIn("alice", run("pcapd tls list"))

    # --- pcapd.conf(5): EXAMPLE

    def test_every_example_of_the_manual_works(self):
        run = self.machine.run
        blocks = examples("man/pcapd.conf.5", "EXAMPLES")
        self.assertGreaterEqual(len(blocks), 3)
        for block in blocks:
            text = "\n".join(block) + "\n"
            if re.search(r"(?m)^[a-z-]+ = ", text):
                self.configure(text)
            else:
                run(text)
        self.assertIn("spool = /srv/pcapd", self.file(CONFIG).decode())
        self.capture("srv", 4004)
        self.assertTrue(self.file("/srv/pcapd/catalog.db"))

    def test_a_spool_elsewhere_says_what_it_takes(self):
        run = self.machine.run
        for spool, hint in (("/srv/other", "ReadWritePaths="),
                            ("/opt/deep/spool", "install -d -o pcapd -g "
                             "pcapd ")):
            self.configure("spool = %s\n" % spool)
            run("systemctl restart pcapd", status=1)
            self.assertIn(hint + spool, self.machine.journal())
            run("systemctl stop pcapd")
        # Nothing is put where the unit hides or removes it.
        for line, hint in (("spool = /home/pcapd", "ProtectHome="),
                           ("spool = /tmp/pcapd", "removed when pcapd stops"),
                           ("spool = /var/tmp/pcapd", "removed when"),
                           ("socket = /tmp/pcapd.sock", "removed when")):
            self.configure(line + "\n")
            run("systemctl reset-failed")
            run("systemctl restart pcapd", status=1)
            self.assertIn(line.replace(" =", ""), self.machine.journal())
            self.assertIn(hint, self.machine.journal())
            run("systemctl stop pcapd")
        run("systemctl reset-failed")
        # It is there, but not pcapd's.
        run("mkdir -p /srv/other; mkdir -p /etc/systemd/system/"
            "pcapd.service.d; printf '[Service]\\nReadWritePaths=/srv/other\\n'"
            " > /etc/systemd/system/pcapd.service.d/spool.conf; systemctl "
            "daemon-reload")
        self.configure("spool = /srv/other\n")
        run("systemctl restart pcapd", status=1)
        self.assertIn("chown", self.machine.journal())

    def test_wrong_settings_are_not_tried_again(self):
        run = self.machine.run
        self.configure("no-such = 1\n")
        run("systemctl restart pcapd", status=1)
        self.assertEqual(run("systemctl is-active pcapd", status=3).strip(),
                         "failed")
        self.assertEqual(
            set(run("systemctl show -p ExecMainStatus,NRestarts pcapd").split()),
            {"ExecMainStatus=2", "NRestarts=0"})

    # --- reload

    def test_a_reload_with_a_broken_file_fails(self):
        run = self.machine.run
        pid = self.main_pid()
        self.configure("max-replays = 3\n")
        run("systemctl reload pcapd")
        until(lambda: "read the settings again" in self.machine.journal(),
              "a reload")
        for broken in ("max-replays = many\n", "no-such = 1\n", "x\n"):
            self.configure(broken)
            run("systemctl reload pcapd", status=1)
            self.assertIn(CONFIG + ":1: ", self.machine.journal())
            self.assertEqual(self.main_pid(), pid)
        self.assertEqual(run("systemctl is-active pcapd").strip(), "active")
        self.configure("listen = 2020\nmax-replays = 4\nsandbox = off\n")
        run("systemctl reload pcapd")
        want = "sandbox, listen: changed, and waits for a restart"
        until(lambda: want in self.machine.journal(), want)
        self.assertIn("waits for a restart: sandbox, listen",
                      run("systemctl status pcapd --no-pager"))
        self.assertEqual(self.main_pid(), pid)


if __name__ == "__main__":
    # The unit starts what is released: a sanitizer's does what it forbids.
    if SANITIZE or os.path.basename(os.path.dirname(PCAPD)) != "release":
        print("only a release build runs under the unit")
        sys.exit(0)
    main()
