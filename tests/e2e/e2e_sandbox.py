#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""pcapd as root starts it: it becomes another user, keeps one capability, and
does all that it is for. The kernel says what it is."""

import ctypes
import errno
import grp
import os
import pwd
import re
import socket
import stat
import subprocess
import tempfile
import unittest

from harness import (OK, PCAPD, PERMISSION, USAGE, Daemon, before_libc, main,
                     need, output, packets_of, savefile, udp_packet, until)

NET_RAW, NET_ADMIN = 1 << 13, 1 << 12
T0 = 10 ** 18


def state(pid):
    """What the kernel says of a process."""
    with open("/proc/%d/status" % pid) as file:
        lines = (line.split(":", 1) for line in file)
        return {key: value.split() for key, value in lines}


# Comes before libc in pcapd itself. The first listen(2) is that of its socket,
# when it is inside: then everything is tried that it claims to be unable to do
# (what ends it is in test_sandbox).
INSIDE = r"""
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static void told(const char *what, long went)
{
	dprintf(2, "probe %s: %s %d\n", what, went >= 0 ? "went" : "refused",
		went >= 0 ? 0 : errno);
}

static void probe(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = open(getenv("PROBE_FILE"), O_RDWR | O_CREAT, 0600);
	int tcp = socket(AF_INET, SOCK_STREAM, 0);

	told("write the spool", write(fd, "\xc3", 1));
	told("run a file", (long)mmap(0, 1, PROT_READ | PROT_EXEC,
				      MAP_PRIVATE, fd, 0));
	told("fast open", sendto(tcp, "x", 1, MSG_FASTOPEN,
				 (struct sockaddr *)&to, sizeof(to)));
	told("connect", connect(tcp, (struct sockaddr *)&to, sizeof(to)));
	told("mptcp", socket(AF_INET, SOCK_STREAM, 262));
	told("own memory", open("/proc/self/mem", O_RDWR));
	told("elsewhere", open("/etc/pcapd-test", O_WRONLY | O_CREAT, 0600));
	told("read elsewhere", open(getenv("PROBE_OTHER"), O_RDONLY));
	told("packets", socket(AF_PACKET, SOCK_RAW, 0));
}

int listen(int fd, int n)
{
	static int before;
	int (*next)(int, int) = dlsym(RTLD_NEXT, "listen");

	if (!before++)
		probe();
	return next(fd, n);
}
"""


def landlock():
    """Its version; -1: the kernel has none."""
    return ctypes.CDLL(None).syscall(444, None, 0, 1)


class Claims(unittest.TestCase):
    def daemon(self, config="", prefix=(), **more):
        daemon = Daemon(config, prefix=prefix, **more)
        self.addCleanup(daemon.kill)
        return daemon

    def test_the_daemon_can_do_nothing_that_it_claims_not_to(self):
        with tempfile.TemporaryDirectory() as folder:
            other = os.path.join(folder, "other")
            with open(other, "w") as file:
                file.write("private")
            daemon = self.daemon()
            daemon.prefix = before_libc(
                folder, "#define _GNU_SOURCE\n" + INSIDE,
                PROBE_FILE=os.path.join(daemon.spool, "probe"),
                PROBE_OTHER=other)
            daemon.start()
            daemon.run("list")
            daemon.stop()
        seen = dict(re.findall(r"probe ([a-z ]+): (\w+ \d+)", daemon.said()))
        refused = "refused %d"
        want = {"write the spool": "went 0",
                "run a file": refused % errno.EPERM,
                "fast open": refused % errno.EOPNOTSUPP,
                "mptcp": refused % errno.EPROTONOSUPPORT}
        if landlock() >= 1:
            for name in ("own memory", "elsewhere", "read elsewhere"):
                want[name] = refused % errno.EACCES
        if landlock() >= 4:
            want["connect"] = refused % errno.EACCES
        if os.geteuid() == 0:
            want["packets"] = "went 0"
        self.assertEqual({k: seen.get(k) for k in want}, want, daemon.said())

    def test_what_it_writes_is_nobody_elses(self):
        daemon = self.daemon()
        os.mkdir(daemon.spool, 0o755)
        old = os.path.join(daemon.spool, "catalog.db")
        mask = os.umask(0)
        self.addCleanup(os.umask, mask)
        # As an older version left it: SQLite takes an empty file for a new one.
        with open(old, "w"):
            os.chmod(old, 0o644)
        daemon.start()
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(T0 + i, i) for i in range(100)]))
        daemon.run("import", "file", path)
        daemon.run("hold", "file", "--all", status=None)
        modes = {}
        for here, folders, names in os.walk(daemon.spool):
            for name in folders + names:
                path = os.path.join(here, name)
                modes[path] = stat.S_IMODE(os.stat(path).st_mode)
        self.assertGreater(len(modes), 4)
        self.assertEqual({p: oct(m) for p, m in modes.items()
                          if m & (0o007 if p.startswith(old) else 0o077)}, {})
        daemon.stop()

    def test_settings_are_checked_without_a_start(self):
        daemon = self.daemon("max-replays = 3\n")
        said = subprocess.run([PCAPD, "--check-config", "-c", daemon.config],
                              stderr=subprocess.PIPE)
        self.assertEqual((said.returncode, said.stderr), (0, b""))
        daemon.configure("spool = /x\nmax-replays = many\n")
        said = subprocess.run([PCAPD, "--check-config", "-c", daemon.config],
                              stderr=subprocess.PIPE)
        self.assertEqual(said.returncode, USAGE)
        self.assertIn(b"conf:2: max-replays: expected a number", said.stderr)


@unittest.skipIf(os.geteuid() != 0, "only root can give up capabilities")
class Container(unittest.TestCase):
    """uid 0 with few capabilities, and namespaces of users."""

    def caps(self, *names):
        need("setpriv")
        keep = ",".join(["-all"] + ["+" + name for name in names])
        return ["setpriv", "--bounding-set", keep, "--inh-caps", keep]

    def works(self, prefix, config, capture=True):
        daemon = Daemon(config, prefix=prefix).start()
        self.addCleanup(daemon.kill)
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(T0 + i, i) for i in range(100)]))
        daemon.run("import", "file", path)
        out, _ = daemon.run("replay", "file")
        self.assertEqual(len(packets_of(out)[1]), 100)
        _, said = daemon.run("init", "lo", "udp port 31", "--alias", "live",
                             "--start", status=OK if capture else PERMISSION)
        if capture:
            until(lambda: daemon.capture("live")["state"] == "running",
                  "running")
        told = "pcapd may not capture (Operation not permitted): it takes " \
            "CAP_NET_RAW"
        self.assertEqual(told in daemon.said(), not capture, daemon.said())
        seen = state(daemon.process.pid)
        self.assertEqual(int(seen["CapEff"][0], 16) & ~NET_RAW, 0)
        daemon.stop()
        return said, daemon.said()

    def test_one_capability_is_enough(self):
        for more in ((), ("setgid",), ("setgid", "setpcap"), ("setuid",)):
            self.works(self.caps("net_raw", *more), "user =\n")

    def test_a_user_that_cannot_be_become_is_told(self):
        _, log = self.works(self.caps("net_raw"), "user = nobody\n")
        self.assertIn("pcapd cannot become the user nobody (Operation not "
                      "permitted): it goes on as root", log)

    def test_in_a_namespace_of_users(self):
        need("unshare")
        self.works(["unshare", "-Urn", "sh", "-c", 'ip link set lo up; exec '
                    '"$@"', "sh"], "user =\n")
        _, log = self.works(["unshare", "-Urn", "sh", "-c", 'ip link set lo '
                             'up; exec "$@"', "sh"], "user = nobody\n")
        self.assertIn("pcapd cannot become the user nobody", log)

    def test_without_it_all_works_but_capturing(self):
        for prefix in (self.caps(), self.caps("setuid", "setgid", "chown")):
            said, _ = self.works(prefix, "user =\n", capture=False)
            self.assertIn("CAP_NET_RAW", said)
        # The capability of a namespace that the network is not of.
        need("unshare")
        self.works(["unshare", "-Ur"], "user =\n", capture=False)


@unittest.skipIf(os.geteuid() != 0, "only root can become somebody else")
class User(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.user = pwd.getpwnam("nobody")

    def daemon(self, config=""):
        daemon = Daemon("user = nobody\n" + config)
        # The folder is the test's; what is in it the daemon's.
        os.chmod(daemon.folder, 0o755)
        os.chown(daemon.folder, self.user.pw_uid, self.user.pw_gid)
        self.addCleanup(daemon.kill)
        return daemon

    def assert_confined(self, daemon, capabilities):
        seen = state(daemon.process.pid)
        self.assertEqual(seen["Uid"], 4 * [str(self.user.pw_uid)])
        self.assertEqual(seen["Gid"], 4 * [str(self.user.pw_gid)])
        for name in ("CapPrm", "CapEff"):
            self.assertEqual(int(seen[name][0], 16), capabilities, name)
        for name in ("CapInh", "CapBnd", "CapAmb"):
            self.assertEqual(int(seen[name][0], 16), 0, name)
        self.assertEqual(seen["NoNewPrivs"], ["1"])
        self.assertEqual(seen["Seccomp"], ["2"])

    def owners(self, folder):
        found = [folder]
        for here, folders, names in os.walk(folder):
            found += [os.path.join(here, n) for n in folders + names]
        return {os.lstat(path).st_uid for path in found}

    def test_it_captures_stores_and_serves_as_somebody_else(self):
        daemon = self.daemon().start()
        self.assert_confined(daemon, NET_RAW)
        # Loopback is shared with tests beside this one: a port of its own.
        daemon.run("init", "lo", "udp port 29", "--alias", "live", "--start")
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for i in range(50):
                s.sendto(b"%d" % i, ("127.0.0.1", 29))
        out, _ = daemon.run("replay", "live")
        self.assertEqual([p.body[42:] for p in packets_of(out)[1]],
                         [b"%d" % i for i in range(50)])
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(T0 + i, i)
                                 for i in range(30000)]))
        daemon.run("import", "file", path)
        out, _ = daemon.run("replay", "file", "udp")
        self.assertEqual(len(packets_of(out)[1]), 30000)
        daemon.run("delete", "file", "--yes")
        daemon.stop()
        self.assertEqual(self.owners(daemon.spool), {self.user.pw_uid})
        daemon.start()
        self.assert_confined(daemon, NET_RAW)
        out, _ = daemon.run("replay", "live")
        self.assertEqual(len(packets_of(out)[1]), 50)

    def test_net_admin_is_kept_where_it_is_asked_for(self):
        daemon = self.daemon("net-admin = on\n").start()
        self.assert_confined(daemon, NET_RAW | NET_ADMIN)

    def test_a_spool_of_roots_is_handed_over_and_nothing_else(self):
        daemon = self.daemon()
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(T0 + i, i) for i in range(100)]))
        os.mkdir(daemon.spool)
        before = Daemon("user =\n", spool=daemon.spool).start()
        self.addCleanup(before.kill)
        self.assertEqual(state(before.process.pid)["Uid"], 4 * ["0"])
        self.assertEqual(int(state(before.process.pid)["CapEff"][0], 16),
                         NET_RAW)
        before.run("import", "file", path)
        before.stop()
        self.assertEqual(self.owners(daemon.spool), {0})
        victim = os.path.join(daemon.folder, "victim")
        with open(victim, "w"):
            pass
        os.symlink(victim, os.path.join(daemon.spool, "1", "link"))
        daemon.start()
        out, _ = daemon.run("replay", "file")
        self.assertEqual(len(packets_of(out)[1]), 100)
        self.assertEqual(os.stat(victim).st_uid, 0)
        os.unlink(os.path.join(daemon.spool, "1", "link"))
        self.assertEqual(self.owners(daemon.spool), {self.user.pw_uid})

    def test_a_folder_that_is_no_spool_stays_roots(self):
        daemon = self.daemon()
        os.mkdir(daemon.spool)
        keep = os.path.join(daemon.spool, "somebody's")
        with open(keep, "w"):
            pass
        daemon.start(wait=False)
        self.assertEqual(daemon.wait(), PERMISSION)
        self.assertEqual(os.stat(daemon.spool).st_uid, 0)
        self.assertEqual(os.stat(keep).st_uid, 0)

    def test_repair_by_root_leaves_the_spool_to_its_owner(self):
        daemon = self.daemon().start()
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(T0 + i, i) for i in range(100)]))
        daemon.run("import", "file", path)
        daemon.stop()
        os.unlink(daemon.spool + "/catalog.db")
        output(PCAPD, "repair", "--spool", daemon.spool)
        self.assertEqual(self.owners(daemon.spool), {self.user.pw_uid})
        daemon.start()
        out, _ = daemon.run("replay", "file")
        self.assertEqual(len(packets_of(out)[1]), 100)

    def test_a_folder_for_the_socket_is_made(self):
        daemon = self.daemon()
        daemon.socket = os.path.join(daemon.folder, "run", "sock")
        daemon.start()
        daemon.run("list")
        folder = os.stat(os.path.dirname(daemon.socket))
        self.assertEqual(folder.st_uid, self.user.pw_uid)
        self.assertEqual(stat.S_IMODE(folder.st_mode), 0o755)

    def test_the_socket_can_still_be_given_to_a_group(self):
        daemon = self.daemon().start("--socket-group", "daemon")
        self.assertEqual(os.stat(daemon.socket).st_gid,
                         grp.getgrnam("daemon").gr_gid)

    def test_a_user_that_is_not_there_is_an_error(self):
        daemon = Daemon("user = no-such-user\n")
        daemon.start(wait=False)
        self.assertEqual(daemon.wait(), USAGE)
        self.assertIn("user: there is no user no-such-user", daemon.said())
        self.assertFalse(os.path.exists(daemon.spool))


if __name__ == "__main__":
    main()
