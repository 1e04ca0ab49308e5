#!/usr/bin/python3
"""Remote shell for rsync's tests: `rsync-cut.py BYTES SSH-COMMAND...` hands on the first BYTES that rsync sends, then
the connection is lost."""
import os, subprocess, sys

left = int(sys.argv[1])
shell = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE)
while left > 0:
    data = os.read(0, min(left, 65536))
    if not data:
        break
    left -= len(data)
    while data:
        data = data[os.write(shell.stdin.fileno(), data):]
if left > 0:
    shell.stdin.close()
    sys.exit(shell.wait())
shell.kill()
shell.wait()
sys.exit(255)
