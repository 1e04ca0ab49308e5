r"""Drives fzsftp, FileZilla's SFTP engine, as its window does: over its line protocol, with file data in shared memory.

sys.argv = port user key.ppk script.json. The script is a list of steps:
  ["run", 'cd "folder"']             any command; what is said to it is printed as JSON, a line a step
  ["refused", 'rm "missing"']        a command that must fail
  ["chmod", '600 "file"']            which the engine always answers alike; what goes wrong has a text
  ["put" | "reput", local, remote]   "reput" begins where the remote file ends
  ["get" | "reget", remote, local]
  ["cut", local, remote, bytes]      a "put" in which the engine is killed when it asks for more than so many bytes
Exits non-zero at the first surprise.
"""
import json
import mmap
import os
import subprocess
import sys

port, user, key, script = sys.argv[1:]
AREA = 256 * 1024
# Kinds of messages, as characters from "0" on, and those of more or less than one line.
REPLY, DONE, ERROR, LIST_ENTRY, HOST_KEYS, IO_OPEN, IO_NEXT, IO_FINALIZE = "0", "1", "2", "8", "9:;", "K", "L", "M"
# The engine asks how fast it may receive and send: as fast as it can.
QUOTAS = {"@": "-0-", "A": "-1-"}
LINES = {"8": 3, "9": 2, ":": 2, ";": 2, "@": 0, "A": 0, "J": 0}


class Engine:
    def __init__(self):
        self.area = os.memfd_create("fzsftp")
        os.ftruncate(self.area, AREA)
        self.memory = mmap.mmap(self.area, AREA)
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(["fzsftp", "-v"], stdin=pipe, stdout=pipe, pass_fds=[self.area])
        self.local = None
        self.limit = sys.maxsize
        kind, texts = self.message()
        assert kind == REPLY and "started" in texts[0], texts

    def message(self):
        kind = self.process.stdout.read(1).decode()
        assert kind, "fzsftp ended"
        return kind, [self.process.stdout.readline().decode().rstrip("\r\n") for _ in range(LINES.get(kind, 1))]

    def send(self, line):
        self.process.stdin.write((line + "\n").encode())
        self.process.stdin.flush()

    def command(self, line, local=None):
        """Returns whether it went well, and all texts of the reply."""
        texts = []
        self.send(line)
        while True:
            kind, words = self.message()
            if kind == REPLY:
                return True, words
            if kind == DONE:
                return words[0] == "1", texts
            if kind in QUOTAS:
                self.send(QUOTAS[kind])
            elif kind in HOST_KEYS:
                self.send("y")
            elif kind == IO_OPEN:
                self.open_local(words[0], local)
            elif kind == IO_NEXT:
                self.next_buffer(int(words[0]))
            elif kind == IO_FINALIZE:
                self.write_out(int(words[0]))
                self.send("-1")
            elif kind in (ERROR, LIST_ENTRY):
                texts.append(words if kind == LIST_ENTRY else words[0])

    def open_local(self, offset, local):
        path, reads = local
        if reads:
            self.local = open(path, "rb")
            self.local.seek(int(offset))
            self.send(f"-{self.area} {AREA}")
        else:
            is_continued = int(offset or 0) != 0
            self.local = open(path, "ab" if is_continued else "wb")
            self.send(f"-{self.area} {AREA}" + (f" {self.local.tell()}" if is_continued else ""))
        self.reads = reads

    def next_buffer(self, done):
        if not self.reads:
            self.write_out(done)
            return self.send(f"-0 {AREA}")
        if self.local.tell() >= self.limit:
            self.process.kill()
            sys.exit(0)
        data = self.local.read(AREA)
        self.memory[: len(data)] = data
        self.send(f"-0 {len(data)}" if data else "-")

    def write_out(self, length):
        self.local.write(self.memory[:length])
        self.local.flush()


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


engine = Engine()
for line in (f"keyfile {quoted(key)}", f"open {quoted(user + '@127.0.0.1')} {port}"):
    ok, texts = engine.command(line)
    assert ok, (line, texts)
for verb, *words in json.load(open(script)):
    if verb in ("run", "refused", "chmod"):
        ok, texts = engine.command(f"chmod {words[0]}" if verb == "chmod" else words[0])
        ok = texts == [] if verb == "chmod" else ok
    elif verb in ("put", "reput", "cut"):
        engine.limit = words[2] if verb == "cut" else sys.maxsize
        ok, texts = engine.command(f"{verb.replace('cut', 'put')} {quoted(words[0])} {quoted(words[1])}", (words[0], True))
    else:
        ok, texts = engine.command(f"{verb} {quoted(words[0])} {quoted(words[1])}", (words[1], False))
    if engine.local:
        engine.local.close()
        engine.local = None
    assert ok == (verb != "refused"), (verb, words, texts)
    print(json.dumps(texts, ensure_ascii=False))
# At the end of its input it sometimes ends with 1, whatever went before.
engine.send("quit")
engine.process.stdin.close()
assert engine.process.wait(timeout=10) == 0
