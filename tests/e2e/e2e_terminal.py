#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""A pcapd that lies: every text of every answer, error and hint would set a
terminal's title, move its cursor, forge a line. None of it arrives, on a
terminal, in a pipe or in JSON; and what arrives still has all of the text."""

import concurrent.futures
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

from harness import PATIENCE, PCAP, SANITIZE, SOURCE, main, on_terminal, output

try:
    import grpc
except ImportError as missing:
    print("SKIPPED: %s; scripts/packages installs it" % missing)
    sys.exit(77)

EVIL = "\x1b]0;PWNED\x07\x1b[31mred\n\rFAKE \u009b2J\u202egnp\u2028\x7f"
# What must be seen instead.
SHOWN = ("\\x1b]0;PWNED\\x07\\x1b[31mred\\x0a\\x0dFAKE \\xc2\\x9b2J"
         "\\xe2\\x80\\xaegnp\\xe2\\x80\\xa8\\x7f")
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e"
                    "\u2066-\u2069]")
COMMANDS = [
    ["interfaces"], ["init", "lo", "--alias", "x"], ["start", "x"],
    ["stop", "x"], ["list"], ["list", "--wide"], ["status"], ["gaps", "x"],
    ["set", "x", "--keep-age", "1h"],
    ["hold", "x", "--last", "1h", "--reason", "r"], ["release", "x", "1"],
    ["mark", "x", "m"], ["alias", "add", "x", "y"], ["delete", "x", "--yes"],
    ["count", "x"], ["count", "x", "--by", "1h"], ["audit"], ["version"],
    ["replay", "x", "-w", "/dev/null"], ["listen", "x", "-w", "/dev/null"],
    ["replay", "x", "--explain"], ["complete", "pcap list "],
]


def lies(message, depth=0):
    """Every text of it is EVIL, every list has something in it."""
    for field in message.DESCRIPTOR.fields:
        if "page" in field.name:
            continue  # there is one
        many = field.label == field.LABEL_REPEATED
        if field.type == field.TYPE_MESSAGE:
            if depth < 4:
                to = getattr(message, field.name)
                lies(to.add() if many else to, depth + 1)
        elif field.type == field.TYPE_STRING:
            if many:
                getattr(message, field.name).append(EVIL)
            else:
                setattr(message, field.name, EVIL)
        elif field.type == field.TYPE_BOOL:
            setattr(message, field.name, True)
        elif field.type == field.TYPE_ENUM:
            setattr(message, field.name, 3)
        elif field.type != field.TYPE_BYTES:
            setattr(message, field.name, 7)
    return message


class Liar(grpc.GenericRpcHandler):
    def __init__(self, pb):
        self.methods = pb.DESCRIPTOR.services_by_name["Pcap"].methods_by_name
        self.pb = pb
        self.fails = False
        self.page = None  # of what has pages: what changes a lie

    def refuse(self, context):
        context.set_trailing_metadata(
            [("pcap-hint", urllib.parse.quote(EVIL))])
        context.abort(grpc.StatusCode.NOT_FOUND, EVIL)

    def stream(self):
        """A Header, a Lost and an End, each full of lies."""
        header = self.pb.ReplayResponse()
        lies(header.header)
        header.header.savefile_header = bytes(24)
        lost = self.pb.ReplayResponse()
        lies(lost.lost)
        end = self.pb.ReplayResponse()
        lies(end.end)
        end.end.complete = False
        return [header, lost, end]

    def service(self, details):
        method = self.methods[details.method.split("/")[-1]]
        answer = getattr(self.pb, method.output_type.name)

        def once(request, context):
            if self.fails:
                self.refuse(context)
            lie = lies(answer())
            if self.page and hasattr(lie, "next_page_token"):
                self.page(lie)
            return lie

        def many(request, context):
            if self.fails:
                self.refuse(context)
            yield from self.stream()

        streams = method.name in ("Replay", "Listen")
        make = (grpc.unary_stream_rpc_method_handler if streams
                else grpc.unary_unary_rpc_method_handler)
        return make(many if streams else once, lambda data: data,
                    lambda m: m.SerializeToString())


class Lies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        output("protoc", "-I", SOURCE + "/proto", "--python_out",
               cls.folder.name, "pcap/v1/pcap.proto")
        sys.path.insert(0, cls.folder.name)
        from pcap.v1 import pcap_pb2
        cls.liar = Liar(pcap_pb2)
        cls.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        cls.server.add_generic_rpc_handlers([cls.liar])
        cls.socket = os.path.join(cls.folder.name, "sock")
        cls.server.add_insecure_port("unix:" + cls.socket)
        cls.server.start()
        os.environ["PCAP_SOCKET"] = cls.socket
        os.environ["XDG_CONFIG_HOME"] = cls.folder.name

    @classmethod
    def tearDownClass(cls):
        cls.server.stop(None).wait()
        cls.folder.cleanup()

    def run_in_a_pipe(self, command):
        done = subprocess.run(
            [PCAP] + command, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
        return done.stdout.decode()

    def run_on_a_terminal(self, command):
        # set and release ask.
        return on_terminal([PCAP] + command, 200, typed=b"n\n")[1].decode()

    def check(self, command, said):
        found = OBEYED.search(said)
        self.assertIsNone(found, "%s: %r" % (command, said))

    def test_answers(self):
        self.liar.fails = False
        for command in COMMANDS:
            with self.subTest(command=command):
                said = self.run_in_a_pipe(command)
                self.check(command, said)
                if command[0] not in ("set", "count", "mark", "init"):
                    self.assertIn(SHOWN[:20], said)
                if not SANITIZE:
                    said = self.run_on_a_terminal(command)
                    self.check(command, said)
                    if command[0] in ("set", "release"):
                        self.assertIn("nothing was changed", said)

    def test_errors_and_hints(self):
        self.liar.fails = True
        for command in COMMANDS:
            with self.subTest(command=command):
                for run in [self.run_in_a_pipe, self.run_on_a_terminal][
                        :1 if SANITIZE else 2]:
                    said = run(command)
                    self.check(command, said)
                    if command[0] != "complete":
                        self.assertIn(SHOWN, said)

    def test_json(self):
        self.liar.fails = False
        for command in (["list"], ["status"], ["gaps", "x"], ["audit"],
                        ["interfaces"], ["count", "x"]):
            for form in "--json", "--json=strings":
                with self.subTest(command=command, form=form):
                    said = self.run_in_a_pipe(command + [form])
                    self.check(command, said)
                    if command[0] != "count":
                        self.assertIn(EVIL, texts(json.loads(said)))

    def test_pages_without_end(self):
        """The same page again, pages of nothing, and ever another one."""
        asked = []
        rows = {"GapsResponse": lambda lie: lie.coverage.rows,
                "AuditResponse": lambda lie: lie.rows,
                "CountResponse": lambda lie: lie.intervals}

        def same(lie):
            asked.append(0)
            lie.next_page_token = "7"

        def nothing(lie):
            same(lie)
            lie.next_page_token = str(len(asked))
            del rows[lie.DESCRIPTOR.name](lie)[:]

        def more(lie):
            same(lie)
            lie.next_page_token = str(len(asked))

        self.liar.fails = False
        for command, (self.liar.page, times, want) in itertools.product(
                (["gaps", "x"], ["audit"], ["count", "x", "--by", "1s"]), (
                    (same, 2, "leads on"), (nothing, 1, "leads on"),
                    (more, 100, "at most 100 pages"))):
            with self.subTest(command=command, page=self.liar.page.__name__):
                asked.clear()
                said = self.run_in_a_pipe(command)
                self.assertIn("expected", said)
                self.assertIn(want, said)
                self.assertEqual(len(asked), times)
        self.liar.page = None


def texts(value):
    """Every text in what JSON has."""
    if isinstance(value, dict):
        return [t for v in value.values() for t in texts(v)]
    if isinstance(value, list):
        return [t for v in value for t in texts(v)]
    return [value]


if __name__ == "__main__":
    main()
