#!/usr/bin/python3
"""Remote shell for rsync's tests: `rsync-rsh.py SOCKET HOST WORDS...` hands the command line and both byte streams to
a server on a Unix socket; `rsync-rsh.py DIRECTORY HOST WORDS...` runs the command line in a directory by a shell."""
import os, select, socket, struct, sys

place, line = sys.argv[1], " ".join(sys.argv[3:])
if os.path.isdir(place):
    os.chdir(place)
    os.execv("/bin/sh", ["sh", "-c", line])
import signal
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
peer = socket.socket(socket.AF_UNIX)
peer.connect(place)
raw = os.fsencode(line)
peer.sendall(struct.pack("<I", len(raw)) + raw)
os.set_blocking(0, True)
os.set_blocking(1, True)
received = b""
reading = True
while True:
    ready, _, _ = select.select([peer] + ([0] if reading else []), [], [])
    if 0 in ready:
        data = os.read(0, 65536)
        if data:
            peer.sendall(data)
        else:
            reading = False
            peer.shutdown(socket.SHUT_WR)
    if peer in ready:
        data = peer.recv(262144)
        if not data:
            sys.exit(255)
        received += data
        while len(received) >= 5:
            kind, length = struct.unpack("<BI", received[:5])
            if kind == 2:
                sys.exit(length)
            if len(received) < 5 + length:
                break
            payload = memoryview(received)[5:5 + length]
            try:
                while payload:
                    payload = payload[os.write(2 if kind else 1, payload):]
            except OSError:
                sys.exit(254)
            received = received[5 + length:]
