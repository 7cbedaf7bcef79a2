#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Tables, JSON and messages letter by letter, as golden/ has them: on terminals
of 80 and 200 columns and in a pipe, of a pcapd that always says the same.
UPDATE=1 writes them anew; read what git diff says then."""

import concurrent.futures
import os
import subprocess
import sys
import tempfile
import unittest

from harness import NS, PCAP, SOURCE, main, on_terminal, output

try:
    import grpc
except ImportError as missing:
    print("SKIPPED: %s; scripts/packages installs it" % missing)
    sys.exit(77)

GOLDEN = os.path.join(SOURCE, "tests", "e2e", "golden")
T = 1767225600 * NS  # 2026-01-01T00:00:00Z
LONG = ("tcp port 443 and (host 192.0.2.7 or host 192.0.2.8) and not port 53 "
        "or port 853 and host gr\u00fc\u00df\u6587.example")


def capture(pb, id, **more):
    values = dict(id=id, interface="eth0", state=2, link_type=1,
                  packets=1234567, raw_bytes=99 << 20, stored_bytes=31 << 20,
                  min_ns=T, max_ns=T + 3600 * NS)
    values.update(more)
    return pb.Capture(**values)


def captures(pb):
    return [capture(pb, 1, aliases=["web", "www"], filter=LONG,
                    dropped_kernel=40006, keep_bytes=200 << 30),
            capture(pb, 2, aliases=["a" * 40], interface="", savefile=True,
                    state=1),
            capture(pb, 3, state=3, waiting_for="eth7: no such interface")]


def answers(pb):
    """By method."""
    web, old, waiting = captures(pb)
    gap = pb.Gap
    return {
        "List": pb.ListResponse(captures=[web, old, waiting]),
        "Status": pb.StatusResponse(now_ns=T + 7200 * NS, captures=[
            pb.CaptureStatus(
                capture=web, newest_ns=T + 3600 * NS, synced_ns=T + 7199 * NS,
                queue_blocks=3, queue_max=32, compression_level=-1,
                rate_bytes=1 << 30, rate_over_ns=86400 * NS,
                rate_bytes_per_day=1 << 30, forecast_ns=200 * 86400 * NS,
                dropped_lately=40006, dropped_last_ns=T + 7000 * NS,
                holds=[pb.Hold(id=7, since_ns=T, until_ns=T + 60 * NS,
                               reason="case\n7 \u202e")],
                marks=[pb.Mark(name="start", at_ns=T)]),
            pb.CaptureStatus(capture=old, newest_ns=T)]),
        "Gaps": pb.GapsResponse(capture=web, coverage=pb.Coverage(
            since_ns=T, until_ns=T + 3600 * NS + 123456789,
            from_ns=T, to_ns=T + 3600 * NS, gaps=2, missing=40006, rows=[
                gap(cause=2, from_ns=T + 60 * NS, to_ns=T + 61 * NS,
                    packets=40006),
                gap(cause=8, from_ns=T + 90 * NS, to_ns=T + 100 * NS,
                    detail="eth0: the interface is down, and stays so for "
                           "longer than a line has room")])),
        "Audit": pb.AuditResponse(rows=[
            pb.AuditRow(id=1, at_ns=T, who="alice", role="viewer",
                        origin="192.0.2.9:50000", method="Replay",
                        capture="web", filter=LONG, since_ns=T,
                        until_ns=T + 60 * NS, bytes=5 << 20),
            pb.AuditRow(id=2, at_ns=T, who="bob", origin="user 7",
                        method="Set", capture="web", status=7,
                        detail="keep-age 1d12h")]),
        "Interfaces": pb.InterfacesResponse(interfaces=[
            pb.Interface(name="eth0", addresses=[
                "192.0.2.1", "2001:db8:1111:2222:3333:4444:5555:6666",
                "fe80::1"], up=True, running=True)]),
        "WouldRemove": pb.WouldRemoveResponse(
            capture=web, segments=3, packets=53186, stored_bytes=3 << 30),
        "Count": pb.CountResponse(
            capture=web, packets=1 << 60, intervals=[
                pb.CountResponse.Interval(from_ns=T, packets=1 << 60)],
            blocks_read=1, blocks_known=99),
        "Start": None,
    }


COMMANDS = {
    "list": ["list"],
    "list-wide": ["list", "--wide"],
    "status": ["status"],
    "gaps": ["gaps", "web"],
    "audit": ["audit"],
    "interfaces": ["interfaces"],
    "set-dry-run": ["set", "web", "--keep-bytes", "200M", "--dry-run"],
    "not-found": ["start", "wbe"],
    "unknown": ["listne"],
}

# What a program reads: names, types and order of the fields.
JSON = {
    "list": ["list"],
    "status": ["status"],
    "gaps": ["gaps", "web"],
    "audit": ["audit"],
    "interfaces": ["interfaces", "eth0"],
    "count": ["count", "web", "--by", "1h"],
}


class Same(grpc.GenericRpcHandler):
    def __init__(self, pb):
        self.answers = answers(pb)

    def service(self, details):
        method = details.method.split("/")[-1]

        def once(request, context):
            if self.answers[method] is None:
                context.set_trailing_metadata(
                    [("pcap-hint", "Perhaps 'web'; 'pcap list' shows all.")])
                context.abort(grpc.StatusCode.NOT_FOUND, "no capture 'wbe'")
            return self.answers[method]

        return grpc.unary_unary_rpc_method_handler(
            once, lambda data: data, lambda m: m.SerializeToString())


class Golden(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        output("protoc", "-I", SOURCE + "/proto", "--python_out",
               cls.folder.name, "pcap/v1/pcap.proto")
        sys.path.insert(0, cls.folder.name)
        from pcap.v1 import pcap_pb2
        cls.server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        cls.server.add_generic_rpc_handlers([Same(pcap_pb2)])
        os.environ["PCAP_SOCKET"] = os.path.join(cls.folder.name, "sock")
        cls.server.add_insecure_port("unix:" + os.environ["PCAP_SOCKET"])
        cls.server.start()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop(None).wait()
        cls.folder.cleanup()

    def same(self, where, name, said):
        path = os.path.join(GOLDEN, "%s.%s" % (name, where))
        if os.environ.get("UPDATE"):
            with open(path, "w") as file:
                file.write(said)
        with open(path) as file:
            self.assertEqual(said, file.read())

    def test_on_terminals(self):
        for columns in 80, 200:
            for name, command in COMMANDS.items():
                with self.subTest(name=name, columns=columns):
                    code, said = on_terminal([PCAP] + command, columns)
                    self.same(str(columns), name,
                              "%sexit %d\n" % (said.decode(), code))

    def test_in_a_pipe(self):
        for name, command in COMMANDS.items():
            with self.subTest(name=name):
                done = subprocess.run(
                    [PCAP] + command, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                self.same("pipe", name, "%sexit %d\n" % (
                    done.stdout.decode(), done.returncode))

    def test_json(self):
        for name, command in JSON.items():
            with self.subTest(name=name):
                self.same("json", name, "".join(
                    subprocess.run(
                        [PCAP] + command + [form], stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE, check=name != "status"
                    ).stdout.decode() for form in ("--json",
                                                   "--json=strings")))


if __name__ == "__main__":
    main()
