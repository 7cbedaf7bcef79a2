#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""Clients that hang, crowd and shout, beside honest ones: these are served,
captures lose nothing, and memory stays bounded. The clients are Python's
gRPC and bare sockets."""

import contextlib
import os
import socket
import threading
import unittest

try:
    import grpc
except ImportError:
    grpc = None

from harness import (SANITIZE, Daemon, main, need, packets_of, savefile,
                     udp_packet, until)

T0 = 10 ** 18
PCAP = "/pcap.v1.Pcap/"
LISTENERS = 200 if SANITIZE else 1000
CHANNELS = 10
SENT = 2000 if SANITIZE else 20000
RSS_MAX = 256 << 20


def named(name):
    """Any request whose first field is the capture's name."""
    return b"\x0a" + bytes([len(name)]) + name.encode()


def rss(pid):
    with open("/proc/%d/statm" % pid) as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@unittest.skipUnless(grpc, "no grpc for Python")
class Hostile(unittest.TestCase):
    def daemon(self, config, *prefix):
        daemon = Daemon(config, prefix=prefix).start()
        self.addCleanup(daemon.kill)
        return daemon

    def channel(self, daemon):
        channel = grpc.insecure_channel(
            "unix:" + daemon.socket,
            # One of its own, and no second try behind our back.
            options=[("grpc.use_local_subchannel_pool", 1),
                     ("grpc.enable_retries", 0),
                     ("grpc.max_metadata_size", 1 << 20)])
        self.addCleanup(channel.close)
        return channel

    def filled(self, daemon, packets=60000):
        path = os.path.join(daemon.folder, "in.pcap")
        with open(path, "wb") as file:
            file.write(savefile([udp_packet(T0 + i, i, 1000)
                                 for i in range(packets)]))
        daemon.run("import", "much", path)

    def ended(self, call):
        """The status of a stream that was not to go on."""
        try:
            for _ in call:
                pass
        except grpc.RpcError as error:
            return error
        self.fail("it ended well")

    def test_calls_without_a_request_make_room(self):
        daemon = self.daemon("request-timeout = 1s\nmax-calls = 8\n")
        channel, never = self.channel(daemon), threading.Event()
        self.addCleanup(never.set)

        def silence():
            never.wait()
            return
            yield

        calls = [channel.stream_stream(PCAP + "List", None, None)(silence())
                 for _ in range(8)]

        def crowded():
            _, said = daemon.run("list", status=None)
            return "max-calls: 8 requests are under way" in said

        until(crowded, "a refusal")
        for call in calls:
            self.assertEqual(self.ended(call).code(),
                             grpc.StatusCode.DEADLINE_EXCEEDED)
        daemon.run("list")
        self.assertIn("request-timeout: no request came for 1 s",
                      daemon.said())

    def test_who_takes_nothing_is_dropped(self):
        daemon = self.daemon("send-timeout = 1s\nmax-replays = 1\n")
        self.filled(daemon)
        stuck = self.channel(daemon).unary_stream(PCAP + "Replay", None,
                                                  None)(named("much"))
        next(stuck)
        _, said = daemon.run("replay", "much", status=None)
        self.assertIn("max-replays: 1 replays are under way", said)
        until(lambda: "send-timeout: nothing was taken for 1 s"
              in daemon.said(), "the end of the stuck one")

        def free():
            out, said = daemon.run("replay", "much", status=None)
            return len(packets_of(out)[1]) == 60000 if out else False

        until(free, "a replay")
        self.ended(stuck)

    def test_a_live_replay_with_nothing_to_send_waits(self):
        daemon = self.daemon("send-timeout = 1s\nrequest-timeout = 1s\n")
        self.filled(daemon, 10)
        waiting = daemon.popen("replay", "much", "--live", "-w", "/dev/null")
        stuck = self.channel(daemon).stream_stream(
            PCAP + "List", None, None)(iter(threading.Event().wait, 0))
        # When a second is over for this one, it was for the other.
        self.assertEqual(self.ended(stuck).code(),
                         grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertIsNone(waiting.poll())
        waiting.terminate()
        self.assertEqual(waiting.wait(30), 0)

    def test_calls_over_one_connection_are_bounded(self):
        daemon = self.daemon("max-streams = 4\n")
        self.filled(daemon, 10)
        channel = self.channel(daemon)
        listen = channel.unary_stream(PCAP + "Listen", None, None)
        calls = [listen(named("much")) for _ in range(4)]
        for call in calls:
            next(call)  # its header
        error = self.ended(listen(named("much")))
        self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(error.details(), "max-streams: 4 calls of this "
                         "connection are under way already")
        # Another connection is not concerned.
        next(self.channel(daemon).unary_stream(PCAP + "Listen", None, None)(
            named("much")))
        calls[0].cancel()

        def room():
            call = listen(named("much"))
            try:
                next(call)
            except grpc.RpcError:
                return False
            return True

        until(room, "room for one more")

    def test_giant_headers_are_refused(self):
        daemon = self.daemon("")
        listing = self.channel(daemon).unary_unary(PCAP + "List", None, None)
        for size in (20000, 200000):
            with self.assertRaises(grpc.RpcError) as caught:
                listing(b"", metadata=[("x-giant", "x" * size)], timeout=30)
            # gRPC's word; it may also just hang up.
            self.assertIn(caught.exception.code(),
                          (grpc.StatusCode.RESOURCE_EXHAUSTED,
                           grpc.StatusCode.UNAVAILABLE))
            daemon.run("list")

    def test_a_thousand_listeners_that_never_read_cost_no_packet(self):
        daemon = self.daemon("max-listeners = 2000\n")
        daemon.run("init", "lo", "udp port 9", "--alias", "live", "--start",
                   "-B", "64")
        until(lambda: daemon.capture("live")["state"] == "running", "running")
        channels = [self.channel(daemon) for _ in range(CHANNELS)]
        listeners = [channels[i % CHANNELS].unary_stream(
            PCAP + "Listen", None, None)(named("live"))
            for i in range(LISTENERS)]
        for call in listeners:
            next(call)  # its header, and nothing else ever
        body = bytes(1000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for i in range(SENT):
                s.sendto(body, ("127.0.0.1", 9))
        until(lambda: int(daemon.capture("live")["packets"]) == SENT,
              "all packets")
        self.assertLess(rss(daemon.process.pid), RSS_MAX * (
            4 if SANITIZE else 1))
        out, said = daemon.run("replay", "live", "--strict")
        self.assertEqual(len(packets_of(out)[1]), SENT)
        self.assertIn("no gaps", said)
        for call in listeners:
            call.cancel()
        daemon.stop()

    def test_connections_that_come_and_go_harm_nobody(self):
        """A server of gRPC's is made and ended for each of them."""
        daemon = self.daemon("")
        hello = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
                 bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))

        def come_and_go():
            for i in range(100 if SANITIZE else 500):
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(daemon.socket)
                    with contextlib.suppress(ConnectionError):
                        s.sendall(hello)
                        if i % 3:  # it is served, or refused, then
                            s.recv(9)

        threads = [threading.Thread(target=come_and_go) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Those that it has not seen go count among its guests.
        until(lambda: "ended" not in daemon.run("list", status=None)[1],
              "a place")
        daemon.run("list")
        daemon.stop()

    def test_running_out_of_descriptors_is_a_pause(self):
        need("prlimit")
        for most in 63, 64:  # each takes two
            daemon = self.daemon("", "prlimit", "--nofile=%d" % most)
            crowd = []
            for _ in range(80):
                crowd.append(socket.socket(socket.AF_UNIX))
                crowd[-1].connect(daemon.socket)
            until(lambda: "connections wait: Too many open files"
                  in daemon.said(), "the last descriptor")
            for s in crowd:
                s.close()
            daemon.run("list")
            self.assertNotIn("was refused", daemon.said())
            daemon.stop()


if __name__ == "__main__":
    main()
