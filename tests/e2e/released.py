#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""What the last release served: a spool of its own and what it said of it, in
its own words. Run by itself, as scripts/released does, it makes both with the
pcapd that PCAPD_BIN names."""

import hashlib
import json
import os
import socket
import tarfile
import tempfile
import threading
import time

import grpc
from google.protobuf import (descriptor_pb2, descriptor_pool, json_format,
                             message_factory)
from harness import (NS, PATIENCE, SOURCE, Daemon, output, savefile, udp_packet,
                     until)

FOLDER = SOURCE + "/tests/check/released"
SPOOL, SAID = FOLDER + "/spool.tar.xz", FOLDER + "/spool.json"
T0 = 1577836800 * NS


def api(folder):
    """The API as the files there have it, in a pool of its own."""
    pool = descriptor_pool.DescriptorPool()
    with tempfile.NamedTemporaryFile() as file:
        output("protoc", "-I", folder, "--descriptor_set_out=" + file.name,
               "pcap/v1/pcap.proto")
        for one in descriptor_pb2.FileDescriptorSet.FromString(
                file.read()).file:
            pool.Add(one)
    return pool


class Client:
    """Asks as the API of one pool has it; what comes is bytes."""

    def __init__(self, path, pool):
        self.channel = grpc.insecure_channel("unix:" + path, options=[
            ("grpc.use_local_subchannel_pool", 1)])
        self.methods = pool.FindServiceByName("pcap.v1.Pcap").methods_by_name
        self.classes = message_factory.MessageFactory(pool).GetPrototype
        self.asked = set()

    def method(self, name, kind="unary_unary"):
        self.asked.add(name)
        ask = self.classes(self.methods[name].input_type)
        return getattr(self.channel, kind)("/pcap.v1.Pcap/" + name,
                                           ask.SerializeToString), ask

    def read(self, name, data):
        return self.classes(self.methods[name].output_type).FromString(data)

    def call(self, name, /, **fields):
        """name: of the method; a field may have that name, too."""
        method, ask = self.method(name)
        return self.read(name, method(ask(**fields), timeout=PATIENCE))

    def load(self, pieces):
        """An import that is under way."""
        method, ask = self.method("Import", "stream_unary")
        return method.future((ask(**p) for p in pieces), timeout=PATIENCE)

    def follow(self, name, /, **fields):
        method, ask = self.method(name, "unary_stream")
        return method(ask(**fields), timeout=PATIENCE)

    def replay(self, **fields):
        """(savefile, End)"""
        out, end = b"", None
        for data in self.follow("Replay", **fields):
            message = self.read("Replay", data)
            out += message.header.savefile_header + message.packets.data
            if message.HasField("end"):
                end = message.end
        return out, end


def plain(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


# What differs from one start to the next, or with who closes a segment.
PASSING = ("received", "dropped_kernel", "dropped_interface", "dropped_memory",
           "dropped_disk", "state", "waiting_for", "stored_bytes")


def answers(client, made_ns):
    """What it says of all that is there, but for what comes after made_ns."""
    said = {}
    for capture in client.call("List").captures:
        name = str(capture.id)
        status, = client.call("Status", name=name).captures
        count = client.call("Count", name=name, by_ns=3600 * NS, filter="udp")
        gaps = client.call("Gaps", name=name, until_ns=made_ns)
        out, end = client.replay(name=name)
        some, _ = client.replay(name=name, filter="udp port 1027", snaplen=60)
        said[name] = {
            "capture": {k: v for k, v in plain(capture).items()
                        if k not in PASSING},
            "holds": [plain(hold) for hold in status.holds],
            "marks": [plain(mark) for mark in status.marks],
            "count": [plain(i) for i in count.intervals],
            "gaps": [plain(gap) for gap in gaps.coverage.rows
                     if gap.to_ns < made_ns and (gap.to_ns or gap.detail)],
            "replay": [len(out), hashlib.sha256(out).hexdigest()],
            "filtered": [len(some), hashlib.sha256(some).hexdigest()],
            "end": {k: v for k, v in plain(end).items() if k != "coverage"},
        }
    said["audit"] = [plain(row) for row in client.call(
        "Audit", until_ns=made_ns).rows if row.lasted_ns]
    return said


def packets(first, n, size=100):
    return savefile([udp_packet(T0 + i * NS, i, size + i % 7)
                     for i in range(first, first + n)])


def send(n, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for i in range(n):
            s.sendto(b"%d" % i, ("127.0.0.1", port))


def fill(client, half):
    """What a spool can have, in little room: segments and blocks, gaps of
    several causes, aliases, people, a hold, a mark; then a capture that runs
    and an import that goes on until half is set."""
    call = client.call
    for alias, data in (("whole", packets(0, 2000)),
                        ("whole", packets(5000, 2000)),
                        ("cut", packets(0, 900)[:-5])):
        client.load([{"alias": alias, "file": "a.pcap", "data": data}]).result()
    call("AddAlias", name="whole", alias="entire")
    call("Mark", name="whole", mark="noon", at_ns=T0 + 43200 * NS)
    call("Hold", name="whole", since_ns=T0, until_ns=T0 + 60 * NS,
         reason="case-7")
    call("Set", name="cut", people="root", keep_age_ns=36500 * 86400 * NS)
    call("Init", interface="lo", filter="udp port 9", alias="live", start=True)
    for n in 100, 200, 300:
        send(100, 9)
        until(lambda: call("List", name="live").captures[0].packets == n, "it")
        call("Stop", name="live")
        call("Start", name="live")

    def pieces():
        yield {"alias": "half", "file": "half.pcap", "data": packets(0, 1300, 1000)}
        half.wait(PATIENCE)

    load = client.load(pieces())
    until(lambda: [c for c in call("List").captures
                   if "half" in c.aliases and c.stored_bytes], "half of it")
    return load


def untar(daemon):
    """The spool of the release, for a daemon that has none yet."""
    with tarfile.open(SPOOL) as file:
        file.extractall(daemon.folder)


def make():
    daemon = Daemon("segment-bytes = 256K\n").start()
    half = threading.Event()
    load = fill(Client(daemon.socket, api(FOLDER)), half)
    daemon.kill()
    half.set()
    load.cancel()
    made_ns = time.time_ns()
    with tarfile.open(SPOOL, "w:xz", preset=9) as file:
        file.add(daemon.spool, "spool")
    again = Daemon()
    untar(again)
    again.start()
    said = answers(Client(again.socket, api(FOLDER)), made_ns)
    again.stop()
    with open(SAID, "w") as file:
        json.dump({"made_ns": made_ns, "said": said}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    make()
