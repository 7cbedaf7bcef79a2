# SPDX-License-Identifier: BSD-3-Clause
"""Sends on an interface, as a process: its name, packets a second, seconds."""

import os
import socket
import struct
import sys
import time

from harness import udp_packet


def send(interface, rate, seconds):
    """Numbered packets of all sizes that do not compress; says how many."""
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    out.bind((interface, 0))
    out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    noise = os.urandom(1 << 24)
    head = udp_packet(0, 0, 100).body[:42]
    begun, i = time.monotonic(), 0
    while True:
        due = (time.monotonic() - begun) * rate
        while i < due:
            at = i * 7919 % (len(noise) - 1400)
            out.send(head + struct.pack(">I", i) +
                     noise[at:at + 20 + i * 31 % 1300])
            i += 1
        if time.monotonic() - begun > seconds:
            break
        time.sleep(0.002)
    print(i)


if __name__ == "__main__":
    send(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
