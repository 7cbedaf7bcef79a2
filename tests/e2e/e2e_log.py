#!/usr/bin/python3 -B
# SPDX-License-Identifier: BSD-3-Clause
"""What somebody without a role makes pcapd log: he forges no line, and fills
no disk. He speaks HTTP/2 by hand, as gRPC complains of what he says."""

import os
import re
import socket
import struct
import unittest

from harness import Daemon, main

FLOOD = 3000
LINES_MAX = 200


def frame(kind, flags, stream, body):
    return (struct.pack(">I", len(body))[1:] + bytes([kind, flags]) +
            struct.pack(">I", stream) + body)


def text(value):
    """A string of HPACK."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    out, rest = b"\x7f", len(value) - 127
    while rest > 127:
        out, rest = out + bytes([rest & 127 | 128]), rest >> 7
    return out + bytes([rest]) + value


def headers(stream, scheme):
    fields = [(b":method", b"POST"), (b":scheme", scheme), (b":path", b"/x"),
              (b":authority", b"l"), (b"te", b"trailers")]
    return frame(1, 5, stream, b"".join(
        b"\0" + text(name) + text(value) for name, value in fields))


class Log(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon().start()
        self.addCleanup(self.daemon.kill)

    def say(self, schemes):
        """Until they are said, or the connection is closed."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.daemon.socket)
            try:
                s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
                          frame(4, 0, 0, b""))
                for i, scheme in enumerate(schemes):
                    s.sendall(headers(2 * i + 1, scheme))
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass

    def test_a_peer_forges_no_line(self):
        # The oracle: a line of the log begins with who logs, once.
        self.say([b"x\npcapd: alice (operator) came in from 10.0.0.1:1",
                  b"\x1b]0;TITLE\x07\x1b[2J", b"y\r<0>kernel: emergency",
                  b"\xc2\x9b31m\xe2\x80\xaedesrever"])
        self.daemon.run("list")
        self.daemon.stop()
        with open(self.daemon.log, "rb") as file:
            log = file.read()
        self.assertNotRegex(log, rb"(?m)^pcapd: alice")
        self.assertNotRegex(log, rb"[\x00-\x09\x0b-\x1f\x7f]")
        self.assertNotRegex(log.decode(), "[\x80-\x9f\u202a-\u202e]")
        for line in log.splitlines():
            self.assertTrue(line.startswith(b"pcapd: "), line)

    def test_a_flood_of_complaints_is_counted(self):
        self.say(b"Q" * 1000 for _ in range(FLOOD))
        self.daemon.run("list")
        self.daemon.stop()
        log = self.daemon.said()
        self.assertLess(len(log.splitlines()), LINES_MAX)
        self.assertLess(os.path.getsize(self.daemon.log), 1000 * LINES_MAX)
        complaints = len(re.findall(r"(?m)^pcapd: gRPC: ", log))
        if complaints:
            held = re.findall(r"(?m)^pcapd: (\d+) more like this: gRPC: ",
                              log)
            self.assertTrue(held, log)


if __name__ == "__main__":
    main()
