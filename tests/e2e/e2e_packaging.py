#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""What an installation brings, as systemd's own tools see it."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

from harness import PCAPD, main, need, output

BUILD = os.path.dirname(PCAPD)
EXPOSURE_MAX = 2.0


class Packaging(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need("cmake", "systemd-analyze", "systemd-sysusers",
             "systemd-tmpfiles")
        cls.root = tempfile.mkdtemp(prefix="pcapd-root-")
        env = dict(os.environ, DESTDIR=cls.root)
        done = subprocess.run(["cmake", "--install", BUILD], env=env,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout.decode()
        cls.files = set()
        for here, _, names in os.walk(cls.root):
            cls.files |= {os.path.relpath(os.path.join(here, n), cls.root)
                          for n in names}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root)

    def installed(self, end):
        found = [f for f in self.files if f.endswith(end)]
        self.assertEqual(len(found), 1, "%s in %r" % (end, self.files))
        return os.path.join(self.root, found[0])

    def test_programs_manuals_and_the_api_are_there(self):
        for end in ("bin/pcap", "sbin/pcapd", "man1/pcap.1", "man8/pcapd.8",
                    "man5/pcapd.conf.5", "pcapd/pcap/v1/pcap.proto",
                    "share/bash-completion/completions/pcap",
                    "share/bash-completion/completions/pcapd"):
            self.installed(end)

    def test_the_unit_is_valid_and_little_exposed(self):
        unit = self.installed("system/pcapd.service")
        with open(unit) as file:
            program = re.search(r"^ExecStart=(\S+)", file.read(), re.M)[1]
        self.assertTrue(os.access(self.root + program, os.X_OK), program)
        said = output("systemd-analyze", "security", "--offline=yes", unit)
        level = re.search(r"exposure level for pcapd.service: ([0-9.]+)",
                          said.decode())[1]
        self.assertLess(float(level), EXPOSURE_MAX, said.decode())
        # It says what it does not understand, and cannot start what is not
        # installed.
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit],
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        wrong = [line for line in done.stdout.decode().splitlines()
                 if "pcapd.service" in line and "not executable" not in line]
        self.assertEqual(wrong, [])

    def test_the_unit_names_what_is_installed_wherever_that_is(self):
        for prefix in ("/usr", "/opt/pcapd"):
            root = tempfile.mkdtemp(dir=self.root)
            output("cmake", "--install", BUILD, "--prefix", root + prefix)
            with open(root + prefix +
                      "/lib/systemd/system/pcapd.service") as file:
                programs = re.findall(r"(?m)^Exec\w+=(/\S+)", file.read())
            self.assertEqual(programs,
                             2 * [root + prefix + "/sbin/pcapd"])
            self.assertTrue(os.access(programs[0], os.X_OK))

    def test_user_and_folders_are_made(self):
        os.makedirs(self.root + "/etc", exist_ok=True)
        output("systemd-sysusers", "--root=" + self.root,
               self.installed("sysusers.d/pcapd.conf"))
        with open(self.root + "/etc/passwd") as file:
            user = re.search(r"^pcapd:[^:]*:(\d+):(\d+):[^:]*:([^:]*):",
                             file.read(), re.M)
        self.assertEqual(user[3], "/var/lib/pcapd")
        with open(self.root + "/etc/group") as file:
            self.assertRegex(file.read(), r"(?m)^pcap:")
        if os.geteuid() != 0:
            self.skipTest("only root can give folders away")
        output("systemd-tmpfiles", "--create", "--root=" + self.root,
               self.installed("tmpfiles.d/pcapd.conf"))
        spool = os.stat(self.root + "/var/lib/pcapd")
        self.assertEqual(str(spool.st_uid), user[1])
        self.assertEqual(spool.st_mode & 0o777, 0o750)
        self.assertEqual(os.stat(self.root + "/etc/pcapd").st_mode & 0o777,
                         0o755)


if __name__ == "__main__":
    main()
