#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""What bash completes, by the files that packaging/ has for it."""

import os
import pty
import re
import subprocess
import tempfile
import unittest

from harness import (NS, PATIENCE, PCAP, PCAPD, Daemon, end, main, need,
                     savefile, udp_packet)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
ASK = """
source "$1"
COMP_LINE=$3 COMP_POINT=${#3} COMP_WORDS=($3)
[[ $3 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_$4 "$2"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def manual(commands):
    """Which options man/pcap.1 tells of: of each command, and of all of them.
    """
    told = {name: [] for name in commands + ["OPTIONS"]}
    with open(ROOT + "/man/pcap.1") as file:
        lines = file.read().replace("\\-", "-").splitlines()
    at, depth, section = None, 0, None
    for line in lines:
        depth += line.startswith(".RS") - line.startswith(".RE")
        head = re.match(r"\\fBpcap (\w+)" if section == "SYNOPSIS"
                        else r"\.BR? (\w+)", line)
        if line.startswith(".SH"):
            section = at = line[4:]
        elif head and depth == 0 and head[1] in told:
            at = head[1]
        told.setdefault(at, []).extend(re.findall(r"--[a-z-]+", line))
    return told


class Complete(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need("bash")
        cls.daemon = Daemon().start()
        cls.home = tempfile.mkdtemp(dir=cls.daemon.folder)
        os.environ["XDG_CONFIG_HOME"] = cls.home
        os.environ["PCAP_SOCKET"] = cls.daemon.socket
        path = os.path.join(cls.daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(NS, 1)]))
        for name in "some", "sober", "web":
            cls.daemon.run("import", name, path)
        cls.daemon.run("remote", "add", "lab", "unix://" + cls.daemon.socket)
        cls.daemon.run("remote", "add", "gone", "unix:///nowhere")
        # Whoever asks it would wait for a password.
        cls.daemon.run("remote", "add", "far", "ssh://nobody@nowhere.invalid")

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def ask(self, line, program="pcap"):
        done = subprocess.run(
            ["bash", "--norc", "-c", ASK, "ask",
             "%s/packaging/%s.bash" % (ROOT, program),
             PCAPD if program == "pcapd" else PCAP, line, program],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL, timeout=PATIENCE)
        return done.stdout.decode().split()

    def test_commands_are_those_of_the_help(self):
        text, _ = self.daemon.run("--help")
        table = text.decode().split("Commands:\n")[1].split("\n\n")[0]
        self.assertEqual(self.ask("pcap "), re.findall(r"(?m)^  (\w+)", table))
        self.assertEqual(self.ask("pcap sta"), ["start", "status"])
        self.assertEqual(self.ask("pcap --socket /x sto"), ["stop"])
        self.assertEqual(self.ask("pcap help aud"), ["audit"])
        self.assertEqual(self.ask("pcap nonsense "), [])

    def test_the_manual_has_every_option_of_every_command(self):
        commands = self.ask("pcap ")
        told = manual(commands)
        for command in commands:
            for option in self.ask("pcap %s --" % command):
                self.assertIn(option, told[command] + told["OPTIONS"], command)

    def test_options_are_those_of_each_commands_help(self):
        for command in self.ask("pcap "):
            text, _ = self.daemon.run("help", command)
            told = set(re.findall(r"(?m)^ .*?(--[a-z-]+)", text.decode()))
            self.assertEqual(
                set(self.ask("pcap %s --" % command)),
                told - {"--help", "--usage", "--version"}, command)
        self.assertEqual(self.ask("pcap replay web --sn"), ["--snaplen"])

    def test_an_options_value_is_for_bash(self):
        for line in ("pcap replay web -w ", "pcap replay --count ",
                     "pcap --socket "):
            self.assertEqual(self.ask(line), [], line)
        self.assertEqual(self.ask("pcap replay -c 3 we"), ["web"])
        self.assertEqual(self.ask("pcap replay --count=3 we"), ["web"])

    def said(self, line):
        return self.daemon.run("complete", line)[0].decode().split()

    def test_files_are_offered_where_files_are_meant(self):
        for line in ("pcap replay web -w ", "pcap --socket ",
                     "pcap import x ", "pcap import x a.pcap b"):
            self.assertEqual(self.said(line), [":files"], line)
        for line in ("pcap replay web tc", "pcap replay web --count ",
                     "pcap hold web --reason ", "pcap audit --since x "):
            self.assertNotIn(":files", self.said(line), line)

    def test_times_marks_and_holds(self):
        self.daemon.run("mark", "web", "morning", "--at", "@1")
        self.daemon.run("hold", "web", "--since", "@1", "--until", "@2",
                        "--reason", "r")
        self.assertEqual(self.ask("pcap replay web --since "),
                         ["morning", "1m", "10m", "1h", "1d"])
        self.assertEqual(self.ask("pcap replay some --since m"), [])
        self.assertEqual(self.ask("pcap replay web --last 1"),
                         ["1m", "10m", "1h", "1d"])
        (hold,) = self.ask("pcap release web ")
        self.assertEqual(self.ask("pcap release some "), [])
        self.daemon.run("release", "web", hold)
        self.daemon.run("mark", "web", "morning", "--remove")

    def test_only_what_is_stopped_can_be_started(self):
        self.daemon.run("init", "lo", "udp port 9", "--alias", "live")
        self.assertEqual(self.ask("pcap start l"), ["lab:", "live"])
        self.assertEqual(self.ask("pcap stop li"), [])
        self.daemon.run("start", "live")
        self.assertEqual(self.ask("pcap start li"), [])
        self.assertEqual(self.ask("pcap stop li"), ["live"])
        self.assertEqual(self.ask("pcap start we"), [])  # imported
        self.daemon.run("stop", "live")
        self.daemon.run("delete", "live", "--yes")

    def test_captures_and_remotes(self):
        self.assertEqual(set(self.ask("pcap replay ")), {
            "1", "2", "3", "some", "sober", "web", "lab:", "gone:", "far:"})
        self.assertEqual(self.ask("pcap listen l"), ["lab:"])
        self.assertEqual(self.ask("pcap count web "), [])
        # Bash replaces what is behind the colon.
        self.assertEqual(set(self.ask("pcap replay lab:so")),
                         {"some", "sober"})
        self.assertEqual(set(self.ask("pcap gaps lab:")),
                         {"1", "2", "3", "some", "sober", "web"})
        for line in "pcap list gone:", "pcap list far:", "pcap list none:":
            self.assertEqual(self.ask(line), [], line)

    def test_words_of_commands(self):
        self.assertEqual(self.ask("pcap alias "), ["add", "remove"])
        self.assertEqual(self.ask("pcap alias add w"), ["web"])
        self.assertEqual(self.ask("pcap remote t"), ["test"])
        self.assertEqual(self.ask("pcap remote test l"), ["lab"])
        self.assertEqual(self.ask("pcap remote add l"), [])

    def test_interfaces(self):
        self.assertIn("lo", self.ask("pcap init lo"))
        self.assertIn("lo", self.ask("pcap init --alias x lab:l"))

    def test_without_a_daemon_the_rest_is_there(self):
        self.assertEqual(
            set(self.ask("pcap --socket /nowhere replay ")),
            {"lab:", "gone:", "far:"})

    def test_pcapds_verbs_and_options(self):
        self.assertEqual(self.ask("pcapd re", "pcapd"), ["repair", "reindex"])
        self.assertEqual(self.ask("pcapd tls i", "pcapd"), ["init", "issue"])
        self.assertIn("--spool", self.ask("pcapd --s", "pcapd"))
        self.assertEqual(self.ask("pcapd --spool ", "pcapd"), [])

    def test_a_key_on_a_terminal(self):
        """The whole way: readline, a colon in the word, one that is left."""
        folder = tempfile.mkdtemp(dir=self.daemon.folder)
        os.symlink(PCAP, folder + "/pcap")
        master, slave = pty.openpty()
        shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"], stdin=slave, stdout=slave,
            stderr=slave, start_new_session=True,
            env=dict(os.environ, PATH=folder + ":" + os.environ["PATH"],
                     TERM="dumb", PS1="$ "))
        os.close(slave)
        self.addCleanup(os.close, master)
        self.addCleanup(end, shell)
        os.write(master, b"source %s/packaging/pcap.bash\n" % ROOT.encode())
        os.write(master, b"pcap rep\tlab:we\t>/dev/null; exit $?\n")
        said = b""
        while b"packet replayed" not in said and b"packets repl" not in said:
            try:
                said += os.read(master, 4096)
            except OSError:
                break
        self.assertEqual(shell.wait(PATIENCE), 0, said.decode())
        self.assertIn(b"lab:web", said)


if __name__ == "__main__":
    main()
