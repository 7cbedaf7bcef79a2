#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Who may do what on this machine, whose captures are whose, and the audit that
tells of it. Other users are made by changing to them, so it needs root."""

import json
import os
import signal
import sqlite3
import subprocess
import unittest

from far import Far, fill
from harness import (FAILED, NOT_FOUND, NS, OK, PATIENCE, PCAP, PERMISSION,
                     Daemon, end, main, packets_of, until)

GAMES, NEWS, NOBODY = 60, 9, 65534  # gid, "games", "news", uid of base-files


def as_nobody(daemon, *arguments, groups=(), status=OK):
    done = subprocess.run(
        [PCAP] + list(arguments), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE,
        user=NOBODY, group=NOBODY, extra_groups=list(groups),
        env=dict(os.environ, PCAP_SOCKET=daemon.socket))
    text = done.stderr.decode()
    assert done.returncode == status, "%s: %d: %s" % (
        arguments, done.returncode, text)
    return done.stdout, text


def audit(daemon, *more):
    out, _ = daemon.run("audit", "--json", *more)
    return json.loads(out)["audit"]


@unittest.skipUnless(os.getuid() == 0, "needs root")
class Socket(unittest.TestCase):
    """Groups for both roles."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("viewer-group = news\n")
        os.chmod(cls.daemon.folder, 0o755)
        cls.daemon.start("--socket-group", "games")
        fill(cls.daemon)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def test_members_of_the_viewer_group_look(self):
        here, _ = self.daemon.run("replay", "some")
        there, _ = as_nobody(self.daemon, "replay", "some", groups=[NEWS])
        self.assertEqual(there, here)
        _, text = as_nobody(self.daemon, "mark", "some", "x", groups=[NEWS],
                            status=PERMISSION)
        self.assertIn("user 65534 is a viewer: Mark is for operators", text)
        for command in (["set", "some", "--keep-age", "1h"],
                        ["release", "some", "1"]):
            _, text = as_nobody(self.daemon, *command, groups=[NEWS],
                                status=PERMISSION)
            self.assertIn("pcap: %s some: user 65534 is a viewer: "
                          % command[0], text)

    def test_members_of_the_socket_group_do_everything(self):
        as_nobody(self.daemon, "mark", "some", "y", groups=[NEWS, GAMES])
        as_nobody(self.daemon, "mark", "--remove", "some", "y",
                  groups=[GAMES])

    def test_others_are_told(self):
        for command in ["list"], ["replay", "some"], ["mark", "some", "x"]:
            _, text = as_nobody(self.daemon, *command, status=PERMISSION)
            self.assertIn("user 65534 may not use pcapd", text)
            self.assertIn("viewer-group", text)

    def test_without_a_viewer_group_the_socket_is_closed_to_others(self):
        daemon = Daemon()
        os.chmod(daemon.folder, 0o755)
        daemon.start("--socket-group", "games")
        self.assertEqual(os.stat(daemon.socket).st_mode & 0o777, 0o660)
        as_nobody(daemon, "list", groups=[GAMES])
        as_nobody(daemon, "list", groups=[NEWS], status=PERMISSION)
        daemon.stop()

    def test_a_crowd_keeps_neither_root_nor_others_out(self):
        daemon = Far("viewer-group = news\nmax-connections = 5\n"
                     "max-peer-connections = 3\n")
        os.chmod(daemon.folder, 0o755)
        daemon.admin("init")
        daemon.start()
        self.addCleanup(daemon.kill)
        fill(daemon)
        daemon.join("vera", daemon.issue("vera", "viewer"))
        daemon.join("vito", daemon.issue("vito", "viewer"))
        crowd = []

        def listener(target, **who):
            crowd.append(subprocess.Popen(
                [PCAP, "listen", target], stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, bufsize=0, **who,
                env=dict(os.environ, PCAP_SOCKET=daemon.socket)))
            self.addCleanup(end, crowd[-1])
            self.assertEqual(len(crowd[-1].stdout.read(24)), 24)

        for _ in range(3):
            listener("some", user=NOBODY, group=NOBODY, extra_groups=[NEWS])
        _, text = as_nobody(daemon, "list", groups=[NEWS], status=FAILED)
        self.assertIn("max-peer-connections is 3, and user 65534 has 3", text)
        self.assertIn("Try again when a connection has ended.", text)
        listener("vera:some")
        _, text = daemon.run("list", "vito:", status=FAILED)
        self.assertIn("vito: max-connections: viewers have 4 connections "
                      "already, and a quarter of 5 is kept for operators",
                      text)
        self.assertIn("was refused: max-connections: viewers", daemon.said())
        daemon.run("list")
        as_nobody(daemon, "list", groups=[NEWS], status=FAILED)
        daemon.join("olga", daemon.issue("olga", "operator"))
        daemon.run("list", "olga:")
        end(crowd[0])
        until(lambda: subprocess.run([PCAP, "list", "vito:"],
                                     stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL).returncode
              == OK, "room for vito")
        daemon.stop()

    def test_a_group_that_is_not_there_is_an_error(self):
        daemon = Daemon("viewer-group = no-such-group\n")
        daemon.start(wait=False)
        self.assertEqual(daemon.wait(), 2)
        self.assertIn("there is no group no-such-group", daemon.said())


@unittest.skipUnless(os.getuid() == 0, "needs root")
class People(unittest.TestCase):
    """Captures that are not for everybody."""

    @classmethod
    def setUpClass(cls):
        cls.far = Far("viewer-group = news\n")
        os.chmod(cls.far.folder, 0o755)
        cls.far.admin("init")
        cls.far.join("alice", cls.far.issue("alice", "viewer"))
        cls.far.join("bob", cls.far.issue("bob", "operator"))
        cls.far.start("--socket-group", "games")
        fill(cls.far)
        cls.far.issue("carol", "viewer")
        cls.far.run("set", "some", "--people", "alice,carol")

    @classmethod
    def tearDownClass(cls):
        cls.far.stop()

    def names(self, *command):
        out, _ = self.far.run(*command)
        return [c["aliases"] for c in json.loads(out)["captures"]]

    def test_the_named_ones_see_it(self):
        self.assertIn(["some"], self.names("list", "alice:", "--json"))
        here, _ = self.far.run("replay", "some")
        there, _ = self.far.run("replay", "alice:some")
        self.assertEqual(here, there)
        self.assertEqual(self.far.capture("some")["people"], "alice carol")

    def test_for_others_it_is_not_there(self):
        self.assertNotIn(["some"], self.names("list", "bob:", "--json"))
        for command in (["replay", "bob:some"], ["listen", "bob:some"],
                        ["gaps", "bob:some"], ["status", "bob:some"],
                        ["list", "bob:some"], ["stop", "bob:some"],
                        ["delete", "--yes", "bob:some"],
                        ["mark", "bob:some", "x"],
                        ["set", "bob:some", "--people", ""],
                        ["set", "bob:some", "--keep-age", "1d"],
                        ["hold", "bob:some", "--last", "1d", "--reason", "x"],
                        ["release", "bob:some", "1"],
                        ["alias", "add", "bob:some", "mine"],
                        ["alias", "remove", "bob:some"],
                        ["replay", "bob:1"]):
            if command[0] == "listen":
                command += ["-w", "-"]
            _, text = self.far.run(*command, status=NOT_FOUND)
            self.assertIn("bob: no %s '%s'" % (
                "alias" if command[:2] == ["alias", "remove"] else "capture",
                "1" if command[-1] == "bob:1" else "some"), text)
        path = os.path.join(self.far.folder, "some.pcap")
        _, text = self.far.run("import", "bob:some", path, status=FAILED)
        self.assertIn("is taken", text)
        as_nobody(self.far, "list", "some", groups=[GAMES], status=NOT_FOUND)

    def test_who_makes_one_is_one_of_its_people(self):
        self.far.run("init", "bob:lo", "udp", "port", "9", "--alias", "bobs",
                     "--people", "alice")
        self.assertEqual(self.far.capture("bobs")["people"], "alice bob")
        as_nobody(self.far, "list", "bobs", groups=[GAMES], status=NOT_FOUND)
        # The same for somebody else is one of their own, not a hint at hers.
        as_nobody(self.far, "init", "lo", "udp", "port", "9", "--alias",
                  "mine", groups=[GAMES])
        self.assertNotEqual(self.far.capture("bobs")["id"],
                            self.far.capture("mine")["id"])
        _, text = as_nobody(self.far, "init", "lo", "udp", "port", "8",
                            "--alias", "bobs", groups=[GAMES], status=FAILED)
        self.assertIn("alias 'bobs' is taken\n", text)
        as_nobody(self.far, "start", "--all", groups=[GAMES])
        self.assertEqual(self.far.capture("bobs")["state"], "stopped")
        self.far.run("stop", "mine")
        self.far.run("delete", "--yes", "bobs")
        self.far.run("delete", "--yes", "mine")

    def test_streams_of_those_left_out_end(self):
        for command in (["replay", "some", "--live"], ["listen", "some"]):
            self.far.run("set", "some", "--people", "nobody")
            stream = subprocess.Popen(
                [PCAP] + command + ["-w", "-"], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, user=NOBODY,
                group=NOBODY, extra_groups=[NEWS],
                env=dict(os.environ, PCAP_SOCKET=self.far.socket))
            try:
                self.assertTrue(stream.stdout.read(24))  # it is under way
                self.far.run("set", "some", "--people", "alice,carol")
                _, text = stream.communicate(timeout=PATIENCE)
            finally:
                stream.kill()
                stream.wait()
            self.assertEqual(stream.returncode, PERMISSION, text)
            self.assertIn(b"the capture was limited to others", text)

    def test_the_audit_of_others_captures_says_who_and_when_only(self):
        self.far.run("init", "lo", "udp", "port", "7", "--alias", "case-y",
                     "--people", "alice")
        self.far.run("import", "case-x",
                     os.path.join(self.far.folder, "some.pcap"))
        self.far.run("set", "case-x", "--people", "alice")
        self.far.run("hold", "case-x", "--since", "1970-01-01", "--until",
                     "2100-01-01", "--reason", "burglar")
        self.far.run("mark", "case-x", "door-open")
        self.far.run("release", "case-x", "1")
        self.far.run("delete", "--yes", "case-x")
        self.far.run("delete", "--yes", "case-y")
        out, _ = as_nobody(self.far, "audit", "--json", groups=[GAMES])
        for word in (b"case-x", b"case-y", b"burglar", b"door-open", b"port 7"):
            self.assertNotIn(word, out)
        rows = [r for r in json.loads(out)["audit"] if r["hidden"]]
        self.assertLessEqual({"Init", "Hold", "Mark", "Release", "Delete"},
                             {r["method"] for r in rows})
        out, _ = as_nobody(self.far, "audit", groups=[GAMES])
        self.assertIn(b"(others')", out)
        # Root reads all of it.
        self.assertIn("case-x", {r["capture"] for r in audit(self.far)})

    def test_users_of_this_machine_have_names_too(self):
        self.far.run("set", "some", "--people", "alice nobody")
        as_nobody(self.far, "list", "some", groups=[NEWS])
        self.far.run("set", "some", "--people", "alice,carol")

    def test_a_name_that_is_none_is_refused(self):
        _, text = self.far.run("set", "some", "--people", "a/b", status=2)
        self.assertIn("the name 'a/b'", text)
        for command in (["set", "some"], ["init", "lo", "udp port 7"]):
            _, text = self.far.run(*command, "--people", "alice,carlo",
                                   status=NOT_FOUND)
            self.assertIn("'carlo' is no user here and has no certificate",
                          text)
        self.assertEqual(self.far.capture("some")["people"], "alice carol")

    def test_the_limit_survives_a_lost_catalog(self):
        far = Far()
        far.admin("init")
        far.issue("alice", "viewer")
        far.start()
        fill(far)
        far.run("set", "some", "--people", "alice")
        far.stop()
        for name in os.listdir(far.spool):
            if name.startswith("catalog"):
                os.unlink(os.path.join(far.spool, name))
        done = subprocess.run([os.environ.get("PCAPD_BIN") or
                               PCAP.replace("src/cli/pcap", "pcapd"),
                               "--spool", far.spool, "repair"],
                              stdout=subprocess.DEVNULL)
        self.assertIn(done.returncode, (0, 3))
        far.start()
        self.assertEqual(far.capture("some")["people"], "alice")
        far.stop()


class Audit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.far = Far()
        cls.far.admin("init")
        cls.far.join("alice", cls.far.issue("alice", "viewer"))
        cls.far.join("olga", cls.far.issue("olga", "operator"))
        cls.far.start()
        fill(cls.far)

    @classmethod
    def tearDownClass(cls):
        cls.far.stop()

    def row(self, **want):
        """The newest with those values, when it is there."""
        def find():
            for row in reversed(audit(self.far)):
                if all(row[k] == v for k, v in want.items()):
                    return row
            return None
        return until(find, "a row of the audit with %s" % want)

    def test_a_replay_leaves_who_where_what_and_how_much(self):
        out, _ = self.far.run("replay", "alice:some", "udp", "port", "1030",
                              "--since", "@1.5", "--until", "@10.5")
        row = self.row(who="alice", method="Replay", under_way=False)
        self.assertEqual(row["capture"], "some")
        self.assertEqual(row["filter"], "udp port 1030")
        self.assertEqual((row["since_ns"], row["until_ns"]),
                         (3 * NS // 2, 21 * NS // 2))
        self.assertRegex(row["origin"], r"^127\.0\.0\.1:[0-9]+$")
        self.assertEqual((row["role"], row["status"]), ("viewer", "ok"))
        self.assertGreater(row["bytes"], len(out))

    def test_a_change_leaves_what_was_changed(self):
        self.far.run("mark", "olga:some", "incident", "--at", "@7")
        row = self.row(who="olga", method="Mark", under_way=False)
        self.assertEqual(row["capture"], "some")
        self.assertEqual(row["detail"],
                         "mark incident, at 1970-01-01T00:00:07Z")
        for given, told in (("none", "keep-age none"), ("36h", "1d12h")):
            self.far.run("set", "olga:some", "--keep-age", given, "--yes")
            until(lambda: told in self.row(who="olga", method="Set",
                                           under_way=False)["detail"], told)
        self.far.run("set", "olga:some", "--keep-age", "none")

    def test_a_change_that_failed_says_why(self):
        self.far.run("mark", "olga:none", "x", status=NOT_FOUND)
        row = self.row(who="olga", method="Mark", capture="none",
                       under_way=False)
        self.assertEqual(row["status"], "not found")
        self.assertIn("no capture 'none'", row["result"])

    def test_what_was_not_permitted_leaves_a_row(self):
        self.far.run("start", "alice:some", status=PERMISSION)
        row = self.row(who="alice", method="Start")
        self.assertEqual(row["status"], "denied")
        self.assertIn("alice is a viewer", row["result"])

    def test_a_stream_has_its_row_while_it_lasts(self):
        with self.far.popen("replay", "--live", "alice:some",
                            stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE) as live:
            live.stdout.read(24)
            row = self.row(who="alice", method="Replay", under_way=True)
            self.assertIn("live", row["detail"])
            live.send_signal(signal.SIGINT)
            live.communicate(timeout=PATIENCE)
        ended = self.row(id=row["id"], under_way=False)
        self.assertEqual(ended["status"], "cancelled")
        self.assertGreater(ended["bytes"], 24)

    def test_looking_leaves_nothing(self):
        before = len(audit(self.far))
        for command in ["list"], ["status"], ["gaps", "some"], ["audit"]:
            self.far.run(*command)
        rows = audit(self.far)[before:]
        self.assertEqual({r["method"] for r in rows} - {"Audit"}, set())

    def test_it_is_for_operators(self):
        self.far.run("audit", "olga:")
        self.far.run("audit", "alice:", status=PERMISSION)

    def test_the_catalog_has_the_same(self):
        self.far.run("mark", "some", "m")
        self.row(method="Mark", capture="some", under_way=False,
                 who=caller())
        rows = audit(self.far, "-n", "20000")
        with sqlite3.connect(os.path.join(self.far.spool,
                                          "catalog.db")) as db:
            got = db.execute("SELECT id, who, method FROM audit").fetchall()
        got = {g[0]: g[1:] for g in got}
        for row in rows:
            self.assertEqual(got[row["id"]], (row["who"], row["method"]))

    def test_what_was_under_way_at_a_crash_has_ended(self):
        far = Far()
        far.admin("init")
        far.start()
        fill(far)
        live = far.popen("replay", "--live", "some", stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL)
        live.stdout.read(24)
        until(lambda: [r for r in audit(far) if r["method"] == "Replay"],
              "the row")
        far.kill()
        live.stdout.read()
        live.wait()
        far.start()
        rows = [r for r in audit(far) if r["method"] == "Replay"]
        self.assertEqual([(r["under_way"], r["status"], r["result"])
                          for r in rows],
                         [(False, "unavailable",
                           "pcapd ended before this did")])
        ids = [r["id"] for r in audit(far)]
        self.assertEqual(ids, sorted(set(ids)))
        far.stop()


def caller():
    import pwd
    return pwd.getpwuid(os.getuid()).pw_name


if __name__ == "__main__":
    main()
