# SPDX-License-Identifier: BSD-3-Clause
"""HTTP/2 by hand (RFC 9113, RFC 7541): what no client of gRPC's would send."""

import socket
import ssl
import struct
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY,
 WINDOW_UPDATE, CONTINUATION) = range(10)
ACK, END_STREAM, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
CANCEL = struct.pack(">I", 8)


def frame(kind, flags=0, stream=0, body=b""):
    return (struct.pack(">I", len(body))[1:] + bytes([kind, flags]) +
            struct.pack(">I", stream) + body)


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v)
                                          for k, v in pairs))


def number(n, bits=7, first=0):
    """HPACK's integer."""
    most = (1 << bits) - 1
    if n < most:
        return bytes([first | n])
    out, n = [first | most], n - most
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + [n])


def string(text):
    return number(len(text)) + text


def field(name, value, kept=False):
    """A literal; kept: as an entry of the table."""
    return (b"\x40" if kept else b"\x00") + string(name) + string(value)


def request(method):
    """The fields of a call."""
    return (field(b":method", b"POST") + field(b":scheme", b"http") +
            field(b":path", b"/pcap.v1.Pcap/" + method.encode()) +
            field(b":authority", b"localhost") + field(b"te", b"trailers") +
            field(b"content-type", b"application/grpc"))


def call(stream, method, message=b""):
    return (frame(HEADERS, END_HEADERS, stream, request(method)) +
            frame(DATA, END_STREAM, stream,
                  b"\0" + struct.pack(">I", len(message)) + message))


class Connection:
    """To a socket's path, or by TLS to a port of this machine with a bundle.
    What comes is read and forgotten, unless it is deaf."""

    def __init__(self, to, bundle=None, deaf=False, acknowledge=True, more=()):
        if bundle:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            context.load_cert_chain(bundle)
            plain = socket.create_connection(("127.0.0.1", int(to)), 30)
            self.socket = context.wrap_socket(plain)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(30)
            self.socket.connect(to)
        self.sent = 0
        self.is_cut = False
        self.send(PREFACE + settings(*more))
        if acknowledge:
            self.send(frame(SETTINGS, ACK))
        if not deaf:
            threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            while self.socket.recv(1 << 16):
                pass
        except (OSError, ValueError):
            pass

    def await_headers(self, count):
        """Of answers, so many; of one that is deaf."""
        data = b""
        while count:
            while len(data) < 9 or len(data) < 9 + int.from_bytes(data[:3],
                                                                  "big"):
                some = self.socket.recv(1 << 16)
                assert some, "it was cut"
                data += some
            count -= data[3] == HEADERS
            data = data[9 + int.from_bytes(data[:3], "big"):]

    def send(self, data):
        """False: the connection was cut."""
        try:
            self.socket.sendall(data)
            self.sent += len(data)
        except OSError:
            self.is_cut = True
        return not self.is_cut

    def flood(self, data, most):
        """Until it is cut, or has sent so many bytes."""
        while self.sent < most and self.send(data):
            pass

    def close(self):
        self.socket.close()
