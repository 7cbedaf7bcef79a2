#!/usr/bin/python3 -B
"""pcapd as root starts it: it becomes another user, keeps one capability, and
does all that it is for. The kernel says what it is."""

import grp
import os
import pwd
import socket
import stat
import unittest

from harness import (PCAPD, PERMISSION, USAGE, Daemon, main, output,
                     packets_of, savefile, udp_packet, until)

NET_RAW, NET_ADMIN = 1 << 13, 1 << 12
T0 = 10 ** 18


def state(pid):
    """What the kernel says of a process."""
    with open("/proc/%d/status" % pid) as file:
        lines = (line.split(":", 1) for line in file)
        return {key: value.split() for key, value in lines}


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
