#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""A client that is not ours: Python's gRPC over the UNIX socket, with classes
made from what reflection tells. Then what a peer can do wrong: each mistake
gets its status and the daemon lives on."""

import itertools
import json
import os
import random
import re
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

from harness import (NS, PATIENCE, PERMISSION, SOURCE, Daemon, Gates,
                     first_difference, main, need, output, packets_of, savefile,
                     udp_packet, until)

try:
    import grpc
    from google.protobuf import (any_pb2, descriptor_pb2, descriptor_pool,
                                 message_factory)
except ImportError as missing:
    print("SKIPPED: %s; scripts/packages installs it" % missing)
    sys.exit(77)

T0 = 1767225600 * NS
REFLECTION = "grpc.reflection.v1."


def reflection_messages():
    """The few messages of server reflection that are used here."""
    file = descriptor_pb2.FileDescriptorProto(
        name="reflection_for_test.proto", package=REFLECTION[:-1],
        syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, label, kind, text, type_name in fields:
            made.field.add(name=text, number=number, label=label, type=kind,
                           type_name=type_name)

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    text, raw, inner = field.TYPE_STRING, field.TYPE_BYTES, field.TYPE_MESSAGE
    message("ServerReflectionRequest",
            (3, one, text, "file_by_filename", None),
            (4, one, text, "file_containing_symbol", None),
            (7, one, text, "list_services", None))
    message("Files", (1, many, raw, "file_descriptor_proto", None))
    message("Service", (1, one, text, "name", None))
    message("Services", (1, many, inner, "service",
                         "." + REFLECTION + "Service"))
    message("Error", (1, one, field.TYPE_INT32, "error_code", None),
            (2, one, text, "error_message", None))
    message("ServerReflectionResponse",
            (4, one, inner, "file_descriptor_response",
             "." + REFLECTION + "Files"),
            (6, one, inner, "list_services_response",
             "." + REFLECTION + "Services"),
            (7, one, inner, "error_response", "." + REFLECTION + "Error"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return (classes(pool, REFLECTION + "ServerReflectionRequest"),
            classes(pool, REFLECTION + "ServerReflectionResponse"))


def status_messages():
    """google.rpc as it is published, on Google's own Any."""
    one = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    many = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    number, text, inner = 5, 9, 11
    file = descriptor_pb2.FileDescriptorProto(
        name="status_for_test.proto", package="google.rpc", syntax="proto3",
        dependency=["google/protobuf/any.proto"])
    for name, fields in (
            ("Status", [("code", one, number, None),
                        ("message", one, text, None),
                        ("details", many, inner, ".google.protobuf.Any")]),
            ("Pair", [("key", one, text, None), ("value", one, text, None)]),
            ("ErrorInfo", [("reason", one, text, None),
                           ("domain", one, text, None),
                           ("metadata", many, inner, ".google.rpc.Pair")]),
            ("FieldViolation", [("field", one, text, None),
                                ("description", one, text, None)]),
            ("BadRequest", [("field_violations", many, inner,
                             ".google.rpc.FieldViolation")])):
        made = file.message_type.add(name=name)
        for i, (field, label, kind, type_name) in enumerate(fields):
            made.field.add(name=field, number=i + 1, label=label, type=kind,
                           type_name=type_name)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {name: classes(pool, "google.rpc." + name)
            for name in ("Status", "ErrorInfo", "BadRequest")}


def classes(pool, name):
    return message_factory.MessageFactory(pool).GetPrototype(
        pool.FindMessageTypeByName(name))


class Client:
    """Calls by name: client.call("List", name="web")."""

    def __init__(self, path):
        self.channel = grpc.insecure_channel("unix:" + path, options=[
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1)])
        self.ask, self.answer = reflection_messages()
        self.pool = descriptor_pool.DescriptorPool()
        self.services = [s.name for s in self.reflect(
            list_services="*").list_services_response.service]
        seen = set()
        for service in self.services:
            for raw in self.reflect(
                    file_containing_symbol=service
                    ).file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(raw)
                if file.name not in seen:
                    seen.add(file.name)
                    self.pool.Add(file)

    def reflect(self, **request):
        stream = self.channel.stream_stream(
            "/%sServerReflection/ServerReflectionInfo" % REFLECTION,
            self.ask.SerializeToString, self.answer.FromString)
        return next(stream(iter([self.ask(**request)]), timeout=PATIENCE))

    def type(self, name):
        return classes(self.pool, "pcap.v1." + name)

    def method(self, name, service="pcap.v1.Pcap"):
        """(multicallable, request class), shaped as the descriptor says."""
        found = self.pool.FindServiceByName(service).FindMethodByName(name)
        proto = descriptor_pb2.MethodDescriptorProto()
        found.CopyToProto(proto)
        ask = classes(self.pool, found.input_type.full_name)
        answer = classes(self.pool, found.output_type.full_name)
        kind = "%s_%s" % (
            "stream" if proto.client_streaming else "unary",
            "stream" if proto.server_streaming else "unary")
        return getattr(self.channel, kind)(
            "/%s/%s" % (service, name), ask.SerializeToString,
            answer.FromString), ask

    def call(self, name, /, **fields):
        """name: of the method; a field may have that name, too."""
        method, ask = self.method(name)
        return method(ask(**fields), timeout=PATIENCE)

    def raw(self, name, data, stream=False):
        kind = self.channel.unary_stream if stream else \
            self.channel.unary_unary
        answer = kind("/pcap.v1.Pcap/" + name, bytes, bytes)(
            data, timeout=PATIENCE)
        return list(answer) if stream else answer

    def upload(self, alias, data, chunk=65536, file="from-python.pcap"):
        method, ask = self.method("Import")
        pieces = [data[i:i + chunk] for i in range(0, len(data), chunk)]
        return method(iter(
            [ask(alias=alias, file=file, data=pieces[0] if pieces else b"")] +
            [ask(data=piece) for piece in pieces[1:]]), timeout=PATIENCE)


def collect(stream):
    """(savefile, End, number of lost packets)"""
    out, last, lost = b"", None, 0
    for message in stream:
        event = message.WhichOneof("event")
        if event == "header":
            assert not out
            out = message.header.savefile_header
        elif event == "packets":
            before = out
            out += message.packets.data
            n = len(packets_of(before[:24] + message.packets.data)[1])
            assert n == message.packets.count, "whole packets, counted"
        elif event == "lost":
            lost += message.lost.packets
        elif event == "end":
            assert last is None
            last = message.end
    return out, last, lost


class Case(unittest.TestCase):
    config = ""

    def setUp(self):
        self.daemon = Daemon(self.config).start()
        self.addCleanup(self.daemon.kill)
        self.client = Client(self.daemon.socket)

    def stop(self):
        self.client.channel.close()
        self.daemon.stop()

    def fails(self, code, call, *arguments, **fields):
        """The error's text; it is one line for people."""
        with self.assertRaises(grpc.RpcError) as caught:
            answer = call(*arguments, **fields)
            if hasattr(answer, "__next__"):
                list(answer)
        error = caught.exception
        self.assertEqual(error.code(), code, error.details())
        self.assertTrue(error.details())
        self.assertNotIn("\n", error.details())
        self.lives()
        return error.details()

    def lives(self):
        self.assertIsNone(self.daemon.process.poll(), self.daemon.said())
        self.client.call("Version")


class Reading(Case):
    def test_reflection_names_every_service(self):
        self.assertLessEqual(
            {"pcap.v1.Pcap", "grpc.health.v1.Health",
             REFLECTION + "ServerReflection"}, set(self.client.services))
        # Clients of before version 1 hear the same.
        ask = self.client.ask(file_containing_symbol="pcap.v1.Pcap")
        old, new = [next(self.client.channel.stream_stream(
            "/grpc.reflection.%s.ServerReflection/ServerReflectionInfo" % v,
            self.client.ask.SerializeToString, self.client.answer.FromString)(
                iter([ask]), timeout=PATIENCE)) for v in ("v1alpha", "v1")]
        self.assertEqual(old, new)
        self.assertTrue(new.file_descriptor_response.file_descriptor_proto)
        self.stop()

    def test_reflection_tells_what_protoc_makes_of_the_proto_file(self):
        need("protoc")
        with tempfile.NamedTemporaryFile() as file:
            output("protoc", "-I", SOURCE + "/proto",
                   "--descriptor_set_out=" + file.name,
                   SOURCE + "/proto/pcap/v1/pcap.proto")
            want = descriptor_pb2.FileDescriptorSet.FromString(
                file.read()).file[0]
        for ask in ({"file_by_filename": "pcap/v1/pcap.proto"},
                    {"file_containing_symbol": "pcap.v1.Pcap"},
                    {"file_containing_symbol": "pcap.v1.Packets"},
                    {"file_containing_symbol": "pcap.v1.Pcap.List"}):
            got = [descriptor_pb2.FileDescriptorProto.FromString(raw)
                   for raw in self.client.reflect(
                       **ask).file_descriptor_response.file_descriptor_proto]
            self.assertIn(want, got)
        for ask in ({"file_by_filename": "no.proto"},
                    {"file_containing_symbol": "pcap.v1.Nothing"}):
            self.assertEqual(
                self.client.reflect(**ask).error_response.error_code, 5)
        self.stop()

    def test_every_number_of_the_api_is_used_or_reserved(self):
        def holes(message, name):
            used = {field.number for field in message.field} | {
                i for r in message.reserved_range for i in range(r.start, r.end)}
            for i in range(1, max(used, default=0)):
                if i not in used:
                    yield "%s.%s = %d" % (name, message.name, i)
            for inner in message.nested_type:
                yield from holes(inner, message.name)

        file = descriptor_pb2.FileDescriptorProto()
        self.client.pool.FindFileByName("pcap/v1/pcap.proto").CopyToProto(file)
        self.assertEqual([h for m in file.message_type
                          for h in holes(m, file.package)], [])
        self.stop()

    def test_health(self):
        check, ask = self.client.method("Check", "grpc.health.v1.Health")
        for name in ("", "pcap.v1.Pcap"):
            self.assertEqual(check(ask(service=name), timeout=9).status, 1)
        self.fails(grpc.StatusCode.NOT_FOUND, check, ask(service="nobody"),
                   timeout=PATIENCE)
        self.stop()

    def test_version_interfaces_and_an_empty_list(self):
        self.assertTrue(self.client.call("Version").version)
        self.assertIn("libpcap", self.client.call("Version").libpcap)
        lo = [i for i in self.client.call("Interfaces").interfaces
              if i.name == "lo"]
        self.assertTrue(lo and lo[0].loopback)
        self.assertEqual(len(self.client.call("List").captures), 0)
        self.stop()

    def test_import_list_and_replay(self):
        packets = [udp_packet(T0 + i * NS, i) for i in range(20000)]
        data = savefile(packets)
        answer = self.client.upload("fromhere", data, chunk=9999)
        self.assertTrue(answer.created)
        self.assertEqual(answer.packets, 20000)
        self.assertEqual(answer.raw_bytes, len(data) - 24)
        self.assertEqual(answer.incomplete, "")
        capture, = self.client.call("List", name="fromhere").captures
        self.assertEqual(list(capture.aliases), ["fromhere"])
        self.assertEqual((capture.packets, capture.raw_bytes),
                         (20000, len(data) - 24))
        self.assertEqual((capture.min_ns, capture.max_ns),
                         (T0, T0 + 19999 * NS))
        self.assertTrue(capture.savefile)
        out, end, lost = collect(self.client.call("Replay", name="fromhere"))
        self.assertTrue(out == data)
        self.assertEqual((end.packets, end.lost, lost), (20000, 0, 0))
        self.assertTrue(end.complete)
        self.assertEqual((end.min_ns, end.max_ns), (T0, T0 + 19999 * NS))
        by_id, _, _ = collect(self.client.call("Replay",
                                               name=str(capture.id)))
        self.assertTrue(by_id == data)
        out, end, _ = collect(self.client.call(
            "Replay", name="fromhere", filter="udp src port 1030",
            since_ns=T0 + 100 * NS, until_ns=T0 + 15000 * NS, snaplen=50,
            max_packets=7))
        want = [p for p in packets[100:15000]
                if p.body[34:36] == struct.pack(">H", 1030)][:7]
        for p in want:
            p.body = p.body[:50]
        first_difference(self, packets_of(out)[1], want)
        self.assertEqual(end.packets, 7)
        out, end, _ = collect(self.client.call("Replay", name="fromhere",
                                               filter="tcp"))
        self.assertEqual((len(out), end.packets, end.examined),
                         (24, 0, 0))
        self.assertTrue(end.complete)
        self.stop()

    def test_zstd_is_sent_only_to_who_asks_and_is_the_same(self):
        need("zstd")
        data = savefile([udp_packet(T0 + i, i) for i in range(30000)])
        self.client.upload("z", data)
        out = b""
        for message in self.client.call("Replay", name="z",
                                        accept_zstd=True):
            event = message.WhichOneof("event")
            if event == "header":
                out += message.header.savefile_header
            elif event == "packets" and message.packets.zstd:
                plain = output("zstd", "-dc", stdin=message.packets.data)
                self.assertEqual(len(plain), message.packets.raw_bytes)
                out += plain
            elif event == "packets":
                out += message.packets.data
        self.assertTrue(out == data)
        for message in self.client.call("Replay", name="z"):
            self.assertFalse(message.packets.zstd)
        self.stop()

    def test_listen_on_loopback(self):
        if os.geteuid() != 0:
            self.skipTest("raw sockets need a privilege")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", 0))
            port = udp.getsockname()[1]
            capture = self.client.call(
                "Init", interface="lo", filter="udp port %d" % port,
                alias="loop", start=True).capture
            until(lambda: self.client.call(
                "List", name="loop").captures[0].state == 2, "running")
            stream = self.client.call("Listen", name="loop", max_packets=5)
            self.assertEqual(next(stream).WhichOneof("event"), "header")
            for i in range(5):
                udp.sendto(b"packet %d" % i, ("127.0.0.1", port))
            data = b""
            end = None
            for message in stream:
                if message.WhichOneof("event") == "packets":
                    data += message.packets.data
                elif message.WhichOneof("event") == "end":
                    end = message.end
            bodies = [p.body[42:] for p in packets_of(savefile([]) + data)[1]]
            self.assertEqual(bodies, [b"packet %d" % i for i in range(5)])
            self.assertEqual(end.packets, 5)
        self.assertEqual(capture.interface, "lo")
        self.client.call("Stop", name="loop")
        self.client.call("Delete", name="loop")
        self.assertEqual(len(self.client.call("List").captures), 0)
        self.stop()

    def test_a_search_ends_when_its_call_is_cancelled(self):
        path = os.path.join(self.daemon.folder, "in.pcap")
        packets = [udp_packet(T0 + i, i, 1000) for i in range(12000)]
        for p in packets:  # that does not compress
            p.body = p.body[:46] + os.urandom(954)
        with open(path, "wb") as file:
            file.write(savefile(packets))
        for method in "Count", "Explain", "Replay":
            with self.subTest(method):
                self.daemon.stop()
                self.daemon = Daemon("segment-bytes = 64K\n").start()
                self.addCleanup(self.daemon.kill)
                self.daemon.run("import", "web", path)
                self.client = Client(self.daemon.socket)
                gates = Gates(self.daemon, 1)
                call, ask = self.client.method(method)
                call = getattr(call, "future", call)(
                    ask(name="web", filter="host 203.0.113.7"))
                gates.wait()
                call.cancel()
                # In order: who answers this knows of the other's end.
                self.client.call("List")
                gates.open_until(lambda: not self.searches())
        self.stop()

    def searches(self):
        folder = "/proc/%d/fd" % self.daemon.process.pid
        for fd in os.listdir(folder):
            try:
                if os.readlink(os.path.join(folder, fd)).endswith(".zst"):
                    return True
            except FileNotFoundError:
                pass  # was closed meanwhile
        return False

    def test_streams_are_told_that_the_daemon_stops(self):
        self.client.upload("tail", savefile([udp_packet(T0, 1)]))
        stream = self.client.call("Replay", name="tail", live=True)
        events = [next(stream).WhichOneof("event"),
                  next(stream).WhichOneof("event")]
        self.assertEqual(events[0], "header")
        listener = self.client.call("Listen", name="tail")
        self.assertEqual(next(listener).WhichOneof("event"), "header")
        script = self.readme('name="tail", live=True')
        self.assertEqual(len(script.stdout.read(24)), 24)
        self.daemon.process.terminate()
        for one in (stream, listener):
            end, error = self.ended(one)
            self.assertFalse(end.complete)
            self.assertIn("stopping", end.note)
            self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
            self.assertEqual(error.details(), "pcapd is stopping")
        self.assertIn("UNAVAILABLE: pcapd is stopping", self.failed(script))
        self.assertEqual(self.daemon.wait(), 0)

    def readme(self, asked):
        """The client in README, which asks for that."""
        with open(SOURCE + "/README.md") as file:
            program = re.search(r"```python\n(.*?)```", file.read(),
                                re.S).group(1)
        program = program.replace("/run/pcapd/pcapd.sock", self.daemon.socket)
        program = program.replace('name="web", filter="tcp port 80"', asked)
        output("protoc", "-I", SOURCE + "/proto/pcap/v1", "--python_out",
               self.daemon.folder, "pcap.proto")
        return subprocess.Popen(
            ["/usr/bin/python3", "-u", "-c", program], cwd=self.daemon.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def failed(self, script):
        said = script.communicate(timeout=PATIENCE)[1].decode()
        self.assertEqual(script.returncode, 1, said)
        return said

    def ended(self, stream):
        """(End, the error behind it or None)"""
        end = None
        try:
            for message in stream:
                self.assertIsNone(end)
                if message.WhichOneof("event") == "end":
                    end = message.end
        except grpc.RpcError as error:
            self.assertIsNotNone(end, error)
            return end, error
        return end, None

    def test_a_replay_without_what_is_damaged_is_data_loss(self):
        self.client.upload("torn", savefile(
            [udp_packet(T0 + i, i, 900) for i in range(3000)]))
        end, error = self.ended(self.client.call("Replay", name="torn"))
        self.assertEqual((end.packets, end.complete, error),
                         (3000, True, None))
        path = self.daemon.segments(1)[0]
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            file.write(bytes(64))
        end, error = self.ended(self.client.call("Replay", name="torn"))
        self.assertGreater(end.lost, 0)
        self.assertEqual(end.packets + end.lost, 3000)
        self.assertEqual(error.code(), grpc.StatusCode.DATA_LOSS)
        self.assertIn("%d packets" % end.lost, error.details())
        # The command says the same as before there was a status.
        said = self.daemon.run("replay", "torn", "-w", "/dev/null",
                               status=3)[1]
        self.assertIn("replay torn is not complete: %d packets" % end.lost,
                      said)
        self.assertIn("DATA_LOSS: ", self.failed(self.readme('name="torn"')))
        self.client.channel.close()
        self.daemon.stop()


class Wrong(Case):
    def test_the_audit_comes_in_pages(self):
        """As they lie in the catalog, though rows come in between; without
        page_size and token as ever."""
        self.client.upload("paged", savefile([udp_packet(T0, 0)]))
        for i in range(7):
            self.client.call("Mark", name="paged", mark="m%d" % i, at_ns=T0)

        def catalog():
            with sqlite3.connect(self.daemon.spool + "/catalog.db") as db:
                return db.execute("SELECT id, detail FROM audit WHERE lasted_ns"
                                  " >= 0 AND method != 'Audit' ORDER BY id "
                                  "DESC").fetchall()

        want = until(lambda: len(catalog()) == 8 and catalog(), "the rows")
        got, token, pages = [], "", 0
        while token or not pages:
            page = self.client.call("Audit", page_size=3, page_token=token)
            self.assertLessEqual(len(page.rows), 3)
            got += reversed(page.rows)
            token, pages = page.next_page_token, pages + 1
            self.assertEqual(len(page.rows), 3 if token else len(page.rows))
        self.assertEqual([(r.id, r.detail) for r in got
                          if r.method != "Audit"], want)
        self.assertGreaterEqual(pages, 3)
        old = self.client.call("Audit", max=2, since_ns=1)
        self.assertEqual(len(old.rows), 2)
        self.assertLess(old.rows[0].id, old.rows[1].id)
        for method, token in itertools.product(
                ("Audit", "Gaps"), ("x", " 1", "+1", "01", "-1", "1" * 30,
                                    "1;", "9" * 60000)):
            name = {"name": "paged"} if method == "Gaps" else {}
            self.assertIn("page_token", self.fails(
                grpc.StatusCode.INVALID_ARGUMENT, self.client.call, method,
                page_token=token, **name))
        self.assertEqual(len(self.client.call(
            "Audit", page_token=str(2 ** 63 - 1), page_size=2 ** 32 - 1,
            max=2 ** 64 - 1).next_page_token), 0)

        shown, said = self.daemon.run("audit", "-n", "2", "--json")
        self.assertEqual(len(json.loads(shown)["audit"]), 2)
        self.assertIn("older rows were left out", said)
        shown, said = self.daemon.run("audit", "-n", "2000000", "--json")
        ids = [r["id"] for r in json.loads(shown)["audit"]]
        self.assertEqual(ids, sorted(set(ids)))
        self.assertEqual(said, "")

    def counted(self, **asked):
        """(the pages, [(from_ns, packets)] of all of them)"""
        pages, token = [], ""
        while token or not pages:
            pages.append(self.client.call("Count", page_token=token, **asked))
            token = pages[-1].next_page_token
        return pages, [(i.from_ns, i.packets)
                       for page in pages for i in page.intervals]

    def test_a_count_comes_in_pages(self):
        """As in one answer; packets are in no order, intervals are. What is
        read is what a page needs, and what is lost is told once."""
        times = [T0 + i * NS // 3 for i in range(60000)]
        random.Random(5).shuffle(times)
        self.client.upload("paged", savefile(
            [udp_packet(ns, i) for i, ns in enumerate(times)]))
        self.client.upload("sorted", savefile(
            [udp_packet(ns, i) for i, ns in enumerate(sorted(times))]))
        by = {"by_ns": NS, "since_ns": T0 + 7 * NS, "until_ns": T0 + 9000 * NS}
        want = [(T0 + i * NS, 3) for i in range(7, 9000)]
        for name, text in itertools.product(("paged", "sorted"), ("", "udp")):
            whole, got = self.counted(name=name, filter=text, **by)
            self.assertEqual((got, len(whole)), (want, 1))
            self.assertEqual(whole[0].packets, 8993 * 3)
            for size in 1000, 8993, 2 ** 32 - 1:
                pages, got = self.counted(name=name, filter=text,
                                          page_size=size, **by)
                self.assertEqual(got, want)
                self.assertEqual(len(pages), -(-8993 // size))
                self.assertEqual([p.packets for p in pages],
                                 [8993 * 3] + [0] * (len(pages) - 1))
                if name == "sorted" and not text:
                    self.assertLess(sum(p.blocks_read for p in pages),
                                    whole[0].blocks_read + 2 * len(pages))
        for token in "x", "-1", "1 ", "9" * 60000:
            self.assertIn("page_token", self.fails(
                grpc.StatusCode.INVALID_ARGUMENT, self.client.call, "Count",
                name="paged", page_token=token, **by))
        # It begins an interval, or there are none.
        for wrong in ({"page_token": str(T0 + 1), **by},
                      {"page_token": str(T0)}):
            self.assertIn("these intervals", self.fails(
                grpc.StatusCode.INVALID_ARGUMENT, self.client.call, "Count",
                name="paged", **wrong))

        with open(self.daemon.segments(1)[0], "r+b") as file:
            file.seek(os.path.getsize(file.name) // 2)
            file.write(bytes(1000))
        pages, got = self.counted(name="paged", filter="udp", page_size=1000,
                                  by_ns=NS)
        lost = 60000 - sum(n for _, n in got)
        self.assertLess(0, lost)
        self.assertEqual({p.lost for p in pages}, {lost})
        self.assertEqual(pages[0].packets, 60000 - lost)
        self.stop()

    def test_more_intervals_than_a_page_has(self):
        """Who knows no pages hears that not all can come; pcap shows all."""
        times = [T0 + i * NS for i in range(70000)]
        self.client.upload("many", savefile(
            [udp_packet(ns, 0, 60) for ns in times]))
        self.assertIn("65536", self.fails(
            grpc.StatusCode.RESOURCE_EXHAUSTED, self.client.call, "Count",
            name="many", by_ns=NS))
        page = self.client.call("Count", name="many", by_ns=NS,
                                page_size=2 ** 32 - 1)
        self.assertEqual(len(page.intervals), 65536)
        shown = json.loads(self.daemon.run("count", "many", "--by", "1s",
                                           "--json")[0])
        self.assertEqual([i["from_ns"] for i in shown["intervals"]], times)
        self.assertEqual(shown["packets"], 70000)
        self.assertNotIn("next_page_token", shown)
        self.stop()

    def test_names_filters_times_and_states(self):
        code, call = grpc.StatusCode, self.client.call
        self.client.upload("here", savefile([udp_packet(T0, 1)]))
        self.assertIn("nobody", self.fails(code.NOT_FOUND, call, "Replay",
                                           name="nobody"))
        self.fails(code.NOT_FOUND, call, "Listen", name="77")
        self.fails(code.NOT_FOUND, call, "Delete", name="nobody")
        self.fails(code.NOT_FOUND, call, "RemoveAlias", alias="nobody")
        self.fails(code.INVALID_ARGUMENT, call, "Replay", name="here",
                   filter="tcp prot 80")
        self.assertIn("8192", self.fails(
            code.RESOURCE_EXHAUSTED, call, "Replay", name="here",
            filter="host " + "1" * 9000))
        self.fails(code.INVALID_ARGUMENT, call, "Replay", name="here",
                   since_ns=2, until_ns=1)
        self.fails(code.INVALID_ARGUMENT, call, "AddAlias", name="here",
                   alias="../etc")
        self.fails(code.INVALID_ARGUMENT, call, "AddAlias", name="here",
                   alias="123")
        self.client.upload("there", savefile([udp_packet(T0, 1)]))
        self.assertIn("there", self.fails(
            code.ALREADY_EXISTS, call, "AddAlias", name="here",
            alias="there"))
        self.fails(code.FAILED_PRECONDITION, call, "Stop", name="here")
        self.fails(code.NOT_FOUND, call, "Init", interface="tcp")
        self.fails(code.INVALID_ARGUMENT, call, "Init", interface="lo",
                   snaplen=1 << 30)
        self.fails(code.INVALID_ARGUMENT, call, "Init", interface="x" * 200)
        self.assertEqual(len(call("List").captures), 2)
        self.stop()

    def test_hints_come_in_the_trailing_metadata(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.client.call("Start", name="nobody")
        trailing = dict(caught.exception.trailing_metadata())
        self.assertIn("pcap list", trailing.get("pcap-hint", ""))
        self.stop()

    def details(self, name, /, **fields):
        """(ErrorInfo, BadRequest or None) of a call that has to fail."""
        with self.assertRaises(grpc.RpcError) as caught:
            answer = self.client.call(name, **fields)
            if hasattr(answer, "__next__"):
                list(answer)
        error = caught.exception
        return self.parts(dict(error.trailing_metadata())[
            "grpc-status-details-bin"], error.code(), error.details())

    def parts(self, status, code, message):
        made = status_messages()
        status = made["Status"].FromString(status)
        self.assertEqual(status.code, code.value[0])
        self.assertEqual(status.message, message)
        found = {}
        for detail in status.details:
            prefix, _, kind = detail.type_url.rpartition(".")
            self.assertEqual(prefix, "type.googleapis.com/google.rpc")
            found[kind] = made[kind].FromString(detail.value)
        self.assertEqual(found["ErrorInfo"].domain, "pcapd")
        return found["ErrorInfo"], found.get("BadRequest")

    def test_errors_have_a_reason_for_programs(self):
        self.client.upload("here", savefile([udp_packet(T0, 1)]))
        self.client.upload("there", savefile([udp_packet(T0, 1)]))
        for reason, name, fields in (
                ("CAPTURE_NOT_FOUND", "Start", {"name": "nobody"}),
                ("CAPTURE_NOT_FOUND", "Replay", {"name": "nobody"}),
                ("CAPTURE_NOT_RUNNING", "Stop", {"name": "here"}),
                ("ALIAS_TAKEN", "AddAlias", {"name": "here",
                                             "alias": "there"}),
                ("INVALID_REQUEST", "Replay", {"name": "here", "since_ns": 2,
                                               "until_ns": 1}),
                ("LIMIT_REACHED", "Replay", {"name": "here",
                                             "filter": "x" * 9000})):
            info, bad = self.details(name, **fields)
            self.assertEqual(info.reason, reason)
            self.assertIsNone(bad)
        self.stop()

    @unittest.skipIf(os.geteuid() != 0, "only root can give up capabilities")
    def test_each_failure_of_several_is_a_status(self):
        """Of a pcapd that may capture no more: neither can be started."""
        ids = [self.client.call("Init", interface="lo", filter="udp port %d" % i
                                ).capture.id for i in (1, 2)]
        self.stop()
        need("setpriv")
        self.daemon.prefix = ["setpriv", "--bounding-set", "-net_raw",
                              "--inh-caps", "-net_raw"]
        self.daemon.start()
        self.client = Client(self.daemon.socket)
        answer = self.client.call("Start", all=True)
        self.assertEqual(len(answer.captures), 0)
        self.assertEqual([f.capture for f in answer.failed], ids)
        self.assertEqual(list(answer.failures),
                         [f.message for f in answer.failed])
        for failure in answer.failed:
            info, bad = self.parts(
                failure.SerializeToString(), grpc.StatusCode.PERMISSION_DENIED,
                failure.message)
            self.assertEqual(info.reason, "NOT_PERMITTED")
            self.assertIsNone(bad)
            self.assertIn("CAP_NET_RAW", failure.hint)
        _, said = self.daemon.run("start", "--all", status=PERMISSION)
        self.assertEqual(said.count("CAP_NET_RAW"), 2, said)
        self.daemon.stop()

    def test_where_a_filter_is_wrong_comes_as_a_bad_request(self):
        self.client.upload("here", savefile([udp_packet(T0, 1)]))
        for text, at in (("tcp prot 80", 4), ("port 80 and", 11),
                         ("  host 10.0.0.1  or or udp", 20)):
            for name in ("Replay", "Count"):
                info, bad = self.details(name, name="here", filter=text)
                self.assertEqual(info.reason, "FILTER_INVALID")
                self.assertEqual(
                    [(m.key, m.value) for m in info.metadata],
                    [("filter_byte", str(at))])
                violation, = bad.field_violations
                self.assertEqual(violation.field, "filter")
                self.assertIn("at byte %d: " % at, violation.description)
        info, bad = self.details("Replay", name="here", filter="port 99999")
        self.assertEqual(bad.field_violations[0].field, "filter")
        self.assertFalse(info.metadata)
        self.stop()

    def test_malformed_messages(self):
        dice = random.Random(3)
        for name in ("List", "Init", "Start", "AddAlias", "Delete"):
            self.fails(grpc.StatusCode.INVALID_ARGUMENT, self.client.raw,
                       name, b"\x0a\xff\xff\xff\x7fshort")
        for name in ("Replay", "Listen"):
            self.fails(grpc.StatusCode.INVALID_ARGUMENT, self.client.raw,
                       name, b"\xff\xff\xff\xff", stream=True)
        for _ in range(300):
            data = dice.randbytes(dice.randint(1, 60))
            for name, stream in (("List", False), ("Replay", True)):
                try:
                    self.client.raw(name, data, stream)
                except grpc.RpcError as error:
                    self.assertIn(error.code(), (
                        grpc.StatusCode.INVALID_ARGUMENT,
                        grpc.StatusCode.NOT_FOUND), data)
        self.lives()
        self.stop()

    def test_text_that_is_no_utf8_or_has_a_nul(self):
        for name in (b"\xff\xfe", b"a\0b", b"\0"):
            with self.assertRaises(grpc.RpcError) as caught:
                self.client.raw("Start", bytes([0x0a, len(name)]) + name)
            self.assertIn(caught.exception.code(), (
                grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND))
        self.lives()
        self.stop()

    def test_oversized_messages(self):
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, self.client.raw,
                   "List", b"\x0a\xff\xff\xff\x02" + b"x" * (6 << 20))
        self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, self.client.upload,
                   "big", bytes(9 << 20), chunk=9 << 20)
        self.assertEqual(len(self.client.call("List").captures), 0)
        self.stop()

    def test_unknown_methods_and_services(self):
        for path in ("/pcap.v1.Pcap/Nothing", "/pcap.v9.Pcap/List", "/x"):
            call = self.client.channel.unary_unary(path, bytes, bytes)
            self.fails(grpc.StatusCode.UNIMPLEMENTED, call, b"",
                       timeout=PATIENCE)
        self.stop()

    def test_uploads_that_make_no_sense(self):
        method, ask = self.client.method("Import")
        code = grpc.StatusCode.INVALID_ARGUMENT
        packets = savefile([udp_packet(T0, 1)])
        self.fails(code, method, iter([]), timeout=PATIENCE)
        self.fails(code, method, iter([ask(data=packets)]), timeout=PATIENCE)
        self.fails(code, self.client.upload, "text", b"no packets " * 20)
        self.fails(code, self.client.upload, "nothing", b"")
        self.fails(code, self.client.upload, "99", packets)
        self.assertEqual(len(self.client.call("List").captures), 0)
        self.stop()

    def test_a_truncated_upload_says_what_went_in(self):
        data = savefile([udp_packet(T0 + i, i) for i in range(100)])
        answer = self.client.upload("cut", data[:-3])
        self.assertEqual(answer.packets, 99)
        self.assertIn("truncated", answer.incomplete)
        self.stop()

    def test_an_upload_that_is_given_up_leaves_a_usable_capture(self):
        data = savefile([udp_packet(T0 + i, i, 500) for i in range(9000)])
        method, ask = self.client.method("Import")
        go_on = threading.Event()

        def pieces():
            yield ask(alias="half", file="f", data=data[:len(data) // 2])
            go_on.wait(PATIENCE)

        future = method.future(pieces())
        until(lambda: [c for c in self.client.call("List").captures
                       if c.packets], "the first packets")
        future.cancel()
        go_on.set()
        until(lambda: self.client.call(
            "List", name="half").captures[0].state == 1, "stopped")
        out, end, _ = collect(self.client.call("Replay", name="half"))
        self.assertTrue(data.startswith(out))
        self.assertTrue(end.complete)
        self.client.upload("half", data)
        again, _, _ = collect(self.client.call("Replay", name="half"))
        self.assertEqual(len(again), len(out) + len(data) - 24)
        self.stop()

    def test_bytes_that_are_no_grpc(self):
        for data in (b"GET / HTTP/1.0\r\n\r\n", os.urandom(4096), b"",
                     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
                     os.urandom(300)):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(self.daemon.socket)
                try:
                    peer.sendall(data)
                    peer.shutdown(socket.SHUT_WR)
                    peer.settimeout(PATIENCE)
                    while peer.recv(4096):
                        pass
                except OSError:
                    pass
            self.lives()
        self.stop()


class Bounds(Case):
    config = ("max-replays = 2\nmax-listeners = 3\nmax-connections = 8\n"
              "max-captures = 4\n")

    def test_replays_at_once(self):
        data = savefile([udp_packet(T0 + i, i, 1400) for i in range(30000)])
        self.client.upload("much", data)
        stuck = []
        for _ in range(2):
            stream = self.client.call("Replay", name="much", live=True)
            next(stream)
            stuck.append(stream)
        said = self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED,
                          self.client.call, "Replay", name="much")
        self.assertIn("max-replays", said)
        for stream in stuck:
            stream.cancel()

        def again():
            try:
                return collect(self.client.call("Replay", name="much"))[0]
            except grpc.RpcError:
                return None

        self.assertTrue(until(again, "room for a replay") == data)
        self.stop()

    def test_streams_that_are_given_up_leave_nothing(self):
        data = savefile([udp_packet(T0 + i, i, 1400) for i in range(9000)])
        self.client.upload("much", data)

        def open_files():
            return len(os.listdir("/proc/%d/fd" % self.daemon.process.pid))

        # Once, so that what is opened once and kept is not counted.
        collect(self.client.call("Replay", name="much"))
        before = open_files()
        for kind in ["Replay", "Listen"] * 20:
            def begin():
                stream = self.client.call(kind, name="much")
                try:
                    next(stream)
                    return stream
                except grpc.RpcError as error:
                    self.assertEqual(error.code(),
                                     grpc.StatusCode.RESOURCE_EXHAUSTED)
                    return None
            until(begin, "room for one more").cancel()
        # SQLite keeps a few descriptors to use again: as many as were open
        # at once, which is far from as many as there were streams.
        until(lambda: open_files() <= before + 6, "files to be closed")
        self.stop()

    def test_listeners_at_once(self):
        self.client.upload("quiet", savefile([udp_packet(T0, 1)]))
        streams = []
        for _ in range(3):
            stream = self.client.call("Listen", name="quiet")
            next(stream)
            streams.append(stream)
        said = self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED,
                          self.client.call, "Listen", name="quiet")
        self.assertIn("max-listeners", said)
        self.stop()

    def test_captures(self):
        data = savefile([udp_packet(T0, 1)])
        for i in range(4):
            self.client.upload("c%d" % i, data)
        said = self.fails(grpc.StatusCode.RESOURCE_EXHAUSTED,
                          self.client.upload, "c4", data)
        self.assertIn("max-captures", said)
        self.client.upload("c0", data)
        self.stop()

    def test_connections(self):
        idle = []
        for _ in range(40):
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(self.daemon.socket)
            idle.append(peer)
        self.lives()
        for peer in idle:
            peer.close()

        def fresh():
            try:
                return Client(self.daemon.socket).call("Version")
            except grpc.RpcError:
                return None

        until(fresh, "a new connection")
        self.stop()


if __name__ == "__main__":
    main()
