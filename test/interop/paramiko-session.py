"""A session of paramiko against the gateway: sys.argv = port user key known_hosts work_folder. Exits non-zero at the first surprise."""
import io
import os
import stat
import sys

import paramiko

port, user, key, known_hosts, work = sys.argv[1:]
client = paramiko.SSHClient()
client.load_host_keys(known_hosts)
client.connect("127.0.0.1", int(port), user, pkey=paramiko.Ed25519Key(filename=key), allow_agent=False, look_for_keys=False)
sftp = client.open_sftp()
base = "attachments/originals/paramiko"


def fails(error, function, *args):
    try:
        function(*args)
    except error:
        return
    raise AssertionError(f"{function.__name__}{args} did not fail with {error}")


data = open(os.path.join(work, "data"), "rb").read()
sftp.mkdir(base)
fails(IOError, sftp.mkdir, base)
assert sftp.put(os.path.join(work, "data"), base + "/put").st_size == len(data)
sftp.get(base + "/put", os.path.join(work, "got"))
assert open(os.path.join(work, "got"), "rb").read() == data
sftp.putfo(io.BytesIO(data), base + "/putfo", confirm=True)
target = io.BytesIO()
sftp.getfo(base + "/putfo", target)
assert target.getvalue() == data

with sftp.open(base + "/text", "w") as f:
    f.write("one\n")
with sftp.open(base + "/text", "a") as f:
    f.write("two\n")
with sftp.open(base + "/text") as f:
    assert f.readlines() == ["one\n", "two\n"]
with sftp.open(base + "/text", "r+") as f:
    f.seek(2)
    f.write("E")
    f.seek(0)
    assert f.read() == b"onE\ntwo\n"
fails(IOError, sftp.open, base + "/text", "x")
sftp.open(base + "/exclusive", "x").close()
sftp.truncate(base + "/text", 5)
assert sftp.stat(base + "/text").st_size == 5

with sftp.open(base + "/put", "rb") as f:
    parts = list(f.readv([(0, 10), (len(data) - 10, 10), (1000, 5000)]))
    assert parts == [data[:10], data[-10:], data[1000:6000]]

sftp.utime(base + "/put", (1500000000, 1500000000))
sftp.chmod(base + "/put", 0o600)
attributes = sftp.stat(base + "/put")
assert attributes.st_mtime == 1500000000, attributes
assert stat.S_IMODE(attributes.st_mode) == 0o600, oct(attributes.st_mode)
assert stat.S_ISDIR(sftp.lstat(base).st_mode)

fails(IOError, sftp.rename, base + "/put", base + "/text")
sftp.posix_rename(base + "/put", base + "/text")
sftp.rename(base + "/text", base + "/renamed")
assert sftp.stat(base + "/renamed").st_size == len(data)
fails(IOError, sftp.stat, base + "/put")
names = sorted(sftp.listdir(base))
assert names == ["exclusive", "putfo", "renamed"], names
for entry in sftp.listdir_attr(base):
    assert entry.st_size == sftp.stat(base + "/" + entry.filename).st_size
    assert entry.st_mtime == sftp.stat(base + "/" + entry.filename).st_mtime, entry.filename
assert sftp.normalize(base).endswith("/" + base)
fails(IOError, sftp.remove, base)
fails(IOError, sftp.rmdir, base)
fails(IOError, sftp.listdir, base + "/missing")
sftp.remove(base + "/exclusive")
client.close()
