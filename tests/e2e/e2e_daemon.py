#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""The daemon as the service manager and the administrator see it: readiness,
one a spool, sockets, signals, configuration, and a spool that was damaged."""

import os
import shutil
import signal
import stat
import subprocess
import unittest

from harness import (FAILED, INCOMPLETE, NOT_FOUND, OK, PCAP, PCAPD,
                     PERMISSION, UNREACHABLE, USAGE, Daemon, first_difference,
                     main, output, packets_of, savefile, udp_packet, until)

T0 = 1767225600 * 10 ** 9


def made(n, first=0):
    """Packets that do not compress away: blocks have their full size."""
    packets = [udp_packet(T0 + i, i, 400) for i in range(first, first + n)]
    for p in packets:
        p.body = p.body[:42] + os.urandom(len(p.body) - 42)
    return packets


class Case(unittest.TestCase):
    def daemon(self, *arguments, **kwargs):
        daemon = Daemon(*arguments, **kwargs)
        self.addCleanup(daemon.kill)
        return daemon

    def imported(self, daemon, alias, packets):
        path = os.path.join(daemon.folder, alias + ".pcap")
        with open(path, "wb") as file:
            file.write(savefile(packets))
        daemon.run("import", alias, path)

    def replayed(self, daemon, alias, status=OK):
        out, said = daemon.run("replay", alias, status=status)
        return packets_of(out)[1], said

    def refuses(self, daemon, status, *words, more=()):
        """It ends by itself, with that exit code and those words."""
        daemon.start(*more, wait=False)
        got = daemon.wait()
        said = daemon.said()
        self.assertEqual(got, status, said)
        for word in words:
            self.assertIn(word, said)
        return said


class Alone(Case):
    def test_ready_is_told_when_calls_are_answered(self):
        daemon = self.daemon().start()
        self.assertIn(b"READY=1", daemon.notified)
        self.assertEqual(daemon.list(), {})
        daemon.stop()

    def test_the_socket_is_for_its_group_only(self):
        daemon = self.daemon().start()
        mode = os.stat(daemon.socket).st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o660)
        daemon.stop()

    def test_a_spool_has_one_daemon(self):
        first = self.daemon().start()
        second = self.daemon(spool=first.spool)
        self.refuses(second, FAILED, first.spool)
        self.assertEqual(first.list(), {})
        first.stop()
        second.start()
        second.stop()

    def test_a_socket_that_is_taken_is_not_stolen(self):
        first = self.daemon().start()
        second = self.daemon()
        second.socket = first.socket
        self.refuses(second, FAILED, first.socket)
        self.assertEqual(first.list(), {})
        first.stop()

    def test_a_stale_socket_is_replaced(self):
        daemon = self.daemon().start()
        daemon.kill()
        self.assertTrue(stat.S_ISSOCK(os.stat(daemon.socket).st_mode))
        daemon.run("list", status=UNREACHABLE)
        daemon.start()
        self.assertEqual(daemon.list(), {})
        daemon.stop()

    def test_another_file_in_the_sockets_place_is_not_touched(self):
        daemon = self.daemon()
        with open(daemon.socket, "w") as file:
            file.write("precious")
        self.refuses(daemon, FAILED, daemon.socket)
        with open(daemon.socket) as file:
            self.assertEqual(file.read(), "precious")

    def test_a_spool_that_cannot_be_made(self):
        daemon = self.daemon()
        daemon.spool = daemon.config + "/spool"
        self.refuses(daemon, FAILED, daemon.spool)
        self.assertFalse(os.path.exists(daemon.socket))

    def test_a_spool_that_may_not_be_written(self):
        daemon = self.daemon(prefix=self.as_nobody())
        os.chmod(daemon.folder, 0o777)
        os.mkdir(daemon.spool, 0o755)
        self.refuses(daemon, PERMISSION, daemon.spool, "Permission denied")

    def as_nobody(self):
        command = ["setpriv", "--reuid=65534", "--regid=65534",
                   "--clear-groups"]
        if os.geteuid() != 0 or not shutil.which("setpriv"):
            self.skipTest("changing the user needs root and setpriv")
        if subprocess.run(command + [PCAPD, "--help"],
                          stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode:
            self.skipTest("nobody may not run " + PCAPD)
        return command

    def test_who_may_not_use_the_socket_is_told_so(self):
        nobody = self.as_nobody()
        daemon = self.daemon().start()
        os.chmod(daemon.folder, 0o755)
        done = subprocess.run(
            nobody + [PCAP, "--socket", daemon.socket, "list"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, PERMISSION, done.stderr)
        self.assertIn(daemon.socket, done.stderr.decode())
        daemon.stop()

    def test_without_a_daemon_every_command_says_so(self):
        daemon = self.daemon()
        for command in (["list"], ["replay", "x"], ["listen", "x"],
                        ["start", "x"], ["init", "lo"],
                        ["import", "x", daemon.config], ["interfaces"]):
            out, said = daemon.run(*command, status=UNREACHABLE)
            self.assertEqual(out, b"")
            self.assertIn(daemon.socket, said)
            self.assertIn("pcapd", said)

    def test_help_and_wrong_options(self):
        self.assertIn(b"--spool", output(PCAPD, "--help"))
        for arguments in (["--no-such-option"], ["surplus"], ["--spool"]):
            done = subprocess.run([PCAPD] + arguments, timeout=30,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, USAGE, done.stderr)
            self.assertTrue(done.stderr)


class Configured(Case):
    def test_what_is_wrong_in_the_file_is_said_with_its_line(self):
        for text, line, word in (
                ("\nno-such-key = 1\n", 2, "no-such-key"),
                ("max-replays = many\n", 1, "many"),
                ("max-replays = 4\nsegment-bytes = -5\n", 2, "segment-bytes"),
                ("block-age = 5 fortnights\n", 1, "block-age"),
                ("gibberish\n", 1, "")):
            with self.subTest(text):
                daemon = self.daemon(text)
                said = self.refuses(daemon, USAGE, daemon.config, word)
                self.assertRegex(said, r":%d\b|line %d\b" % (line, line))

    def test_a_file_that_is_not_there(self):
        daemon = self.daemon()
        os.unlink(daemon.config)
        daemon.start(wait=False)
        self.assertNotEqual(daemon.wait(), OK)
        self.assertIn(daemon.config, daemon.said())

    def test_reload_takes_new_limits_and_survives_bad_ones(self):
        daemon = self.daemon("max-captures = 1\n").start()
        self.imported(daemon, "one", made(1))
        path = os.path.join(daemon.folder, "one.pcap")
        _, said = daemon.run("import", "two", path, status=FAILED)
        self.assertIn("max-captures", said)
        daemon.configure("max-captures = lots\n")
        before = len(daemon.said())
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: "lots" in daemon.said()[before:], "a complaint")
        daemon.run("import", "two", path, status=FAILED)
        daemon.configure("max-captures = 2\n")
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: daemon.run("import", "two", path,
                                 status=None)[1].find("max-captures") < 0,
              "the new limit")
        self.assertIsNotNone(daemon.capture("two"))
        daemon.stop()


class Kept(Case):
    def test_everything_is_there_after_a_restart(self):
        daemon = self.daemon().start()
        packets = made(9000)
        self.imported(daemon, "first", packets)
        self.imported(daemon, "second", packets[:7])
        daemon.run("alias", "add", "second", "other-name")
        before = daemon.list()
        daemon.stop()
        daemon.start()
        after = daemon.list()
        for capture in (*before.values(), *after.values()):
            # Counted from the daemon's start.
            capture.pop("received", None)
        self.assertEqual(after, before)
        first_difference(self, self.replayed(daemon, "first")[0], packets)
        first_difference(self, self.replayed(daemon, "other-name")[0],
                         packets[:7])
        daemon.stop()

    def test_delete_takes_the_packets_with_it(self):
        daemon = self.daemon().start()
        self.imported(daemon, "gone", made(100))
        self.imported(daemon, "stays", made(100))
        id = daemon.capture("gone")["id"]
        segments = daemon.segments(id)
        self.assertTrue(segments)
        daemon.run("delete", "gone", status=None)  # nobody said yes
        self.assertIsNotNone(daemon.capture("gone"))
        daemon.run("delete", "gone", "--yes")
        self.assertFalse([s for s in segments if os.path.exists(s)])
        daemon.run("replay", "gone", status=NOT_FOUND)
        self.assertEqual(len(self.replayed(daemon, "stays")[0]), 100)
        daemon.stop()

    def test_a_damaged_frame_is_skipped_and_told(self):
        daemon = self.daemon().start()
        packets = made(12000)
        self.imported(daemon, "hurt", packets)
        id = daemon.capture("hurt")["id"]
        path, = daemon.segments(id)
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            file.write(bytes(5000))
        got, said = self.replayed(daemon, "hurt", status=INCOMPLETE)
        self.subsequence(got, packets)
        self.assertLess(len(packets) // 2, len(got))
        lost = len(packets) - len(got)
        self.assertIn(str(lost), said.replace(",", ""))
        daemon.stop()
        # And a restart does not make it worse.
        daemon.start()
        again, _ = self.replayed(daemon, "hurt", status=INCOMPLETE)
        first_difference(self, again, got)
        daemon.stop()

    def test_a_segment_that_is_gone_is_skipped_and_told(self):
        daemon = self.daemon("segment-bytes = 1M\n").start()
        packets = made(20000)
        self.imported(daemon, "hurt", packets)
        segments = daemon.segments(daemon.capture("hurt")["id"])
        self.assertGreater(len(segments), 3)
        os.unlink(segments[1])
        got, said = self.replayed(daemon, "hurt", status=INCOMPLETE)
        self.subsequence(got, packets)
        self.assertLess(len(packets) // 2, len(got))
        self.assertIn(str(len(packets) - len(got)), said.replace(",", ""))
        daemon.stop()
        daemon.start()
        again, _ = self.replayed(daemon, "hurt", status=None)
        first_difference(self, again, got)
        daemon.stop()

    def test_a_segment_that_was_cut_gives_what_is_left(self):
        """At many places, as after a loss of power."""
        daemon = self.daemon().start()
        packets = made(6000)
        self.imported(daemon, "cut", packets)
        path, = daemon.segments(daemon.capture("cut")["id"])
        daemon.stop()
        whole = os.path.getsize(path)
        kept = path + ".kept"
        shutil.copy(path, kept)
        for part in (0.99, 0.5, 0.1):
            shutil.copy(kept, path)
            os.truncate(path, int(whole * part))
            flushed = output("zstd", "-dc", path, status=None)
            daemon.start()
            got, _ = self.replayed(daemon, "cut", status=None)
            self.subsequence(got, packets)
            self.assertGreaterEqual(
                sum(16 + len(p.body) for p in got),
                len(flushed) - 24 - (1 << 20))
            daemon.stop()

    def subsequence(self, got, want):
        rest = iter((p.ns, p.body) for p in want)
        self.assertTrue(all((p.ns, p.body) in rest for p in got),
                        "something that never was captured")

    def test_a_newer_schema_is_left_alone(self):
        daemon = self.daemon().start()
        daemon.stop()
        catalog = daemon.spool + "/catalog.db"
        # With the same tables it would be taken for an altered number.
        output("sqlite3", catalog, "CREATE TABLE newer (x INTEGER); "
               "PRAGMA user_version = 9999")
        self.refuses(daemon, FAILED, catalog)
        version = output("sqlite3", catalog, "PRAGMA user_version")
        self.assertEqual(version.strip(), b"9999")

    def test_sigterm_in_an_import_ends_cleanly(self):
        daemon = self.daemon().start()
        pipe_read, pipe_write = os.pipe()
        data = savefile(made(8000))
        process = daemon.popen("import", "half", "/dev/stdin",
                               stdin=pipe_read, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        os.close(pipe_read)
        os.write(pipe_write, data[:2 << 20])
        until(lambda: daemon.capture("half"), "the import to begin")
        daemon.stop()
        os.close(pipe_write)
        _, said = process.communicate(timeout=60)
        self.assertNotEqual(process.returncode, OK)
        self.assertTrue(said)
        daemon.start()
        out, _ = daemon.run("replay", "half")
        self.assertTrue(data.startswith(out))
        daemon.stop()


if __name__ == "__main__":
    main()
