# SPDX-License-Identifier: BSD-3-Clause
"""What the end-to-end tests share: a daemon of their own, the command, and
savefiles written and read without our code.

A test that cannot run here skips with a reason; then the whole file exits
with 77, which CTest reports as skipped, after everything else in it passed.
"""

import atexit
import ctypes
import errno
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

SOURCE = os.environ.get("SOURCE_DIR") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PCAPD = os.environ.get("PCAPD_BIN") or SOURCE + "/build/release/pcapd"
PCAP = os.environ.get("PCAP_BIN") or SOURCE + "/build/release/src/cli/pcap"
# "", "address,undefined" or "thread": then everything is several times slower.
SANITIZE = os.environ.get("SANITIZE", "")
PATIENCE = 120 if SANITIZE else 60  # seconds until a wait has failed
NS = 10 ** 9
REPORTS = ("runtime error:", "Sanitizer:", "WARNING: ThreadSanitizer")

OK, FAILED, USAGE, INCOMPLETE, NOT_FOUND, PERMISSION, UNREACHABLE = range(7)


def shared(name):
    """A file of the data folder beside the checkout."""
    path = os.path.join(SOURCE, "..", "shared", "data", name)
    if not os.path.exists(path):
        raise unittest.SkipTest("there is no ../shared/data/" + name)
    return path


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise unittest.SkipTest(
                "no %s; scripts/packages installs it" % program)


def until(true, what, patience=None):
    """Polls; returns what `true` returned."""
    end = time.monotonic() + (patience or PATIENCE)
    while True:
        value = true()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.02)


def output(*command, status=0, stdin=None):
    """stdout of somebody else's program."""
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=PATIENCE)
    if status is not None and done.returncode != status:
        raise AssertionError("%s: exit code %d: %s" % (
            " ".join(command), done.returncode,
            done.stderr.decode(errors="replace")))
    return done.stdout


def before_libc(folder, source, **environment):
    """Words before a command, so that functions of source come before libc's
    of the same name; a sanitizer's come before these."""
    need("cc")
    library = os.path.join(folder, "before.so")
    output("cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-", "-ldl",
           stdin=source.encode())
    first = {"address,undefined": ["asan"], "thread": ["tsan"]}
    libraries = [output("cc", "-print-file-name=lib%s.so" % name).decode()
                 .strip() for name in first.get(SANITIZE, [])] + [library]
    return ["env", "LD_PRELOAD=" + ":".join(libraries)] + [
        "%s=%s" % item for item in environment.items()]


def on_terminal(command, columns=80, lines=24, typed=b"", **environment):
    """(exit code, what is on it) of a command on a terminal of its own, where
    somebody has typed that."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ,
                struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True, env=dict(os.environ, **environment))
    os.close(slave)
    atexit.register(end, process)
    os.write(master, typed)
    seen, stop = b"", time.monotonic() + PATIENCE
    try:
        while time.monotonic() < stop:
            if select.select([master], [], [], 0.2)[0]:
                seen += os.read(master, 65536)
    except OSError:  # nobody has it open any more
        pass
    os.close(master)
    return process.wait(PATIENCE), seen.replace(b"\r\n", b"\n")


class Piece(ctypes.Structure):
    """ZSTD_inBuffer, ZSTD_outBuffer"""

    _fields_ = [("start", ctypes.c_void_p), ("size", ctypes.c_size_t),
                ("at", ctypes.c_size_t)]


def decoded(path):
    """Everything that libzstd can get out of a file, however it ends; zstd -dc
    may hold back the last 128 KiB of a file that ends within a frame."""
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_createDCtx.restype = ctypes.c_void_p
    zstd.ZSTD_decompressStream.restype = ctypes.c_size_t
    with open(path, "rb") as file:
        data = file.read()
    room = ctypes.create_string_buffer(1 << 17)
    source = Piece(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value,
                   len(data), 0)
    context, plain = ctypes.c_void_p(zstd.ZSTD_createDCtx()), []
    while True:
        out = Piece(ctypes.addressof(room), len(room), 0)
        status = ctypes.c_size_t(zstd.ZSTD_decompressStream(
            context, ctypes.byref(out), ctypes.byref(source)))
        plain.append(room.raw[:out.at])
        if zstd.ZSTD_isError(status) or (
                source.at == source.size and out.at < out.size):
            break
    zstd.ZSTD_freeDCtx(context)
    return b"".join(plain)


class Packet:
    """A record of a savefile."""

    __slots__ = ("ns", "length", "body")

    def __init__(self, ns, body, length=None):
        self.ns, self.body = ns, body
        self.length = len(body) if length is None else length

    def __eq__(self, other):
        return (self.ns, self.length, self.body) == (
            other.ns, other.length, other.body)

    def __repr__(self):
        return "<%d.%09d %d/%d %s>" % (
            self.ns // NS, self.ns % NS, len(self.body), self.length,
            self.body[:16].hex())


def savefile(packets, link_type=1, snaplen=262144, order="<", nano=True):
    magic = 0xa1b23c4d if nano else 0xa1b2c3d4
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen,
                       link_type)]
    for p in packets:
        out.append(struct.pack(order + "IIII", p.ns // NS,
                               p.ns % NS // (1 if nano else 1000),
                               len(p.body), p.length))
        out.append(p.body)
    return b"".join(out)


def packets_of(data):
    """(link type, packets) of a little-endian nanosecond savefile; complains
    of anything that is left over."""
    magic, _, _, _, _, _, link_type = struct.unpack_from("<IHHiIII", data)
    assert magic == 0xa1b23c4d, "magic %x" % magic
    at, packets = 24, []
    while at < len(data):
        sec, nsec, caplen, length = struct.unpack_from("<IIII", data, at)
        at += 16 + caplen
        assert at <= len(data), "the last packet is cut"
        packets.append(Packet(sec * NS + nsec, data[at - caplen:at], length))
    return link_type, packets


def udp_packet(ns, number, size=100):
    """Ethernet, IPv4, UDP from 10.0.0.1 to 10.0.0.2; number is in it twice,
    as the source port (its low bits) and as the first 4 bytes of data."""
    data = struct.pack(">I", number) * ((size - 42 + 3) // 4)
    data = data[:size - 42]
    udp = struct.pack(">HHHH", 1024 + number % 1000, 9999, 8 + len(data), 0)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28 + len(data), 0, 0, 64, 17,
                     0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    return Packet(ns, bytes.fromhex("0200000000020200000000010800") + ip +
                  udp + data)


def first_difference(test, got, want):
    """assertEqual for long lists of packets, with a short message."""
    for i, (g, w) in enumerate(zip(got, want)):
        if g != w:
            test.fail("packet %d: %r, expected %r (of %d, %d)" % (
                i, g, w, len(got), len(want)))
    test.assertEqual(len(got), len(want), "number of packets")


class Daemon:
    """pcapd with a spool and a socket in a folder of its own."""

    def __init__(self, config="", folder=None, prefix=(), spool=None):
        self.folder = folder or tempfile.mkdtemp(prefix="pcapd-test-")
        if not folder:
            atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.spool = spool or os.path.join(self.folder, "spool")
        self.socket = os.path.join(self.folder, "sock")
        self.config = os.path.join(self.folder, "conf")
        self.log = os.path.join(self.folder, "log")
        self.prefix = list(prefix)  # for example: ip netns exec NAME
        self.process = None
        self.configure(config)

    def configure(self, text):
        # As who runs the tests: the folder is theirs.
        if "user =" not in text:
            text += ("\n" if text[-1:] not in ("", "\n") else "") + "user =\n"
        with open(self.config, "w") as file:
            file.write(text)

    def ear(self):
        """What hears it, as systemd would."""
        notify = os.path.join(self.folder, "notify")
        if os.path.exists(notify):
            os.unlink(notify)
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ear.bind(notify)
        os.chmod(notify, 0o777)  # pcapd may be somebody else
        ear.setblocking(False)
        return ear

    def spawn(self, more=(), **environment):
        command = self.prefix + [
            PCAPD, "--config", self.config, "--spool", self.spool,
            "--socket", self.socket, "--socket-group", ""] + list(more)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=dict(os.environ, NOTIFY_SOCKET=os.path.join(
                    self.folder, "notify"), **environment))
        atexit.register(self.kill)

    def start(self, *more, wait=True):
        """Returns when pcapd says that it is ready."""
        ready = self.ear()
        self.spawn(more)
        self.notified = b""

        def told():
            try:
                self.notified += ready.recv(4096)
            except BlockingIOError:
                pass
            if self.process.poll() is not None and wait:
                raise AssertionError("pcapd ended: " + self.said())
            return b"READY=1" in self.notified or not wait

        until(told, "READY=1")
        ready.close()
        return self

    def said(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def wait(self):
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError("pcapd does not end: " + self.said())
        atexit.unregister(self.kill)
        for report in REPORTS:
            assert report not in self.said(), self.said()
        return status

    def stop(self):
        """SIGTERM; a leak or a finding of a sanitizer fails here."""
        self.process.terminate()
        status = self.wait()
        assert status == 0, "exit code %d: %s" % (status, self.said())

    def assert_lives(self):
        """Or was killed by who started it."""
        status = self.process.poll() if self.process else None
        assert status in (None, 0, -signal.SIGKILL), (
            "pcapd ended by itself, %d: %s" % (status, self.said()))

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def popen(self, *arguments, **kwargs):
        """A pcap that goes on; for `with` or an explicit wait."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(
            [PCAP] + list(arguments),
            env=dict(os.environ, PCAP_SOCKET=self.socket), **kwargs)
        atexit.register(end, process)
        return process

    def run(self, *arguments, status=OK, stdin=b""):
        """stdout as bytes, stderr as text; exit code is checked."""
        done = subprocess.run(
            [PCAP] + list(arguments), input=stdin, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=4 * PATIENCE,
            env=dict(os.environ, PCAP_SOCKET=self.socket))
        text = done.stderr.decode(errors="replace")
        if done.returncode == UNREACHABLE and status != UNREACHABLE:
            self.assert_lives()
        if arguments[:1] == ("status",) and status == OK and \
                done.returncode == INCOMPLETE:
            status = INCOMPLETE  # packets were dropped: others look at that
        if status is not None and done.returncode != status:
            raise AssertionError("pcap %s: exit code %d, not %d: %s" % (
                " ".join(arguments), done.returncode, status, text))
        return done.stdout, text

    def list(self):
        """What `pcap list --json` says, by id."""
        out, _ = self.run("list", "--json")
        return {int(c["id"]): c for c in json.loads(out)["captures"]}

    def capture(self, name):
        """The capture with that alias, or None."""
        for capture in self.list().values():
            if name in capture["aliases"]:
                return capture
        return None

    def segments(self, id):
        folder = os.path.join(self.spool, str(id))
        if not os.path.isdir(folder):
            return []
        return [os.path.join(folder, name)
                for name in sorted(os.listdir(folder))
                if name.endswith(".pcap.zst")]


class Gates:
    """All segments of a capture but the first, replaced by pipes: a search
    waits at each of them until it is opened."""

    def __init__(self, daemon, id):
        self.paths = daemon.segments(id)[1:]
        self.passed = 0
        assert len(self.paths) > 3, self.paths
        for path in self.paths:
            os.unlink(path)
            os.mkfifo(path)

    def open(self):
        """Lets a search through, if one waits."""
        try:
            os.close(os.open(self.paths[self.passed],
                             os.O_WRONLY | os.O_NONBLOCK))
        except OSError as e:
            if e.errno != errno.ENXIO:
                raise
            return False
        self.passed += 1
        return True

    def wait(self):
        """A search has come, and goes to the next one."""
        until(self.open, "a search")

    def open_until(self, over):
        """The search comes to its end, though not to the last gate."""
        def is_over():
            opened = self.open()
            assert self.passed < len(self.paths), "it goes on to the end"
            return not opened and over()

        until(is_over, "the end of the search")


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def main():
    os.environ["TZ"] = "UTC"
    program = unittest.main(exit=False, verbosity=2, buffer=False)
    result = program.result
    for test, reason in result.skipped:
        print("SKIPPED %s: %s" % (test, reason), flush=True)
    if not result.wasSuccessful() or not (result.testsRun or result.skipped):
        sys.exit(1)
    sys.exit(77 if result.skipped else 0)
