"""A session of asyncssh against the gateway: sys.argv = port user key known_hosts work_folder. Exits non-zero at the first surprise."""
import asyncio
import os
import stat
import sys

import asyncssh

port, user, key, known_hosts, work = sys.argv[1:]
base = "attachments/originals/asyncssh"


async def fails(error, awaitable):
    try:
        await awaitable
    except error:
        return
    raise AssertionError(f"did not fail with {error}")


def local(name):
    return os.path.join(work, name)


def content(name):
    with open(local(name), "rb") as file:
        return file.read()


async def whole_files(sftp):
    data = content("data")
    await sftp.put(local("data"), base + "/put", preserve=True)
    await sftp.put(local("data"), base + "/small-blocks", block_size=1000 * 7, max_requests=64)
    await sftp.get(base + "/put", local("got"), preserve=True)
    assert content("got") == data
    assert int(os.stat(local("got")).st_mtime) == 1_500_000_000
    await sftp.copy(base + "/put", base + "/copied")
    assert (await sftp.stat(base + "/copied")).size == len(data)
    await sftp.put(local("tree"), base, recurse=True)
    await sftp.get(base + "/tree", local("back"), recurse=True)
    await sftp.makedirs(base + "/globbed", exist_ok=True)
    await sftp.mput(local("tree/*.txt"), base + "/globbed")
    assert [str(name) for name in await sftp.glob(base + "/globbed/*.txt")] == [base + "/globbed/plain.txt"]
    os.makedirs(local("globbed"))
    await sftp.mget(base + "/globbed/*.txt", local("globbed"))
    assert content("globbed/plain.txt") == b"plain"


async def pieces(sftp):
    async with sftp.open(base + "/text", "w") as file:
        await file.write("one\n")
    async with sftp.open(base + "/text", "a") as file:
        await file.write("two\n")
    async with sftp.open(base + "/text", "r+") as file:
        assert await file.read() == "one\ntwo\n"
        await file.seek(4)
        await file.write("TWO")
        assert (await file.stat()).size == 8
    async with sftp.open(base + "/text") as file:
        assert await file.read() == "one\nTWO\n"
        assert await file.read(2, 1) == "ne"
    async with sftp.open(base + "/text", "rb+") as file:
        await file.truncate(3)
    async with sftp.open(base + "/text", "wb") as file:
        await asyncio.gather(*(file.write(bytes([65 + n]) * 10_000, n * 10_000) for n in range(20)))
        await file.fsync()
        await file.utime((1_400_000_000, 1_400_000_000))
    async with sftp.open(base + "/text", "rb") as file:
        read = await asyncio.gather(*(file.read(10_000, n * 10_000) for n in range(20)))
    assert b"".join(read) == b"".join(bytes([65 + n]) * 10_000 for n in range(20))
    assert (await sftp.stat(base + "/text")).mtime == 1_400_000_000
    await fails(asyncssh.SFTPFailure, sftp.open(base + "/text", "x"))


async def names(sftp):
    await fails(asyncssh.SFTPNoSuchFile, sftp.stat(base + "/missing"))
    await fails(asyncssh.SFTPNoSuchFile, sftp.open(base + "/missing", "r"))
    assert not await sftp.exists(base + "/missing")
    assert await sftp.isfile(base + "/text") and not await sftp.islink(base + "/text")
    assert await sftp.getsize(base + "/text") == 200_000
    await sftp.rename(base + "/text", base + "/text2")
    await fails(asyncssh.SFTPFailure, sftp.rename(base + "/text2", base + "/copied"))
    await sftp.posix_rename(base + "/text2", base + "/copied")
    assert await sftp.getsize(base + "/copied") == 200_000
    await sftp.chmod(base + "/copied", 0o600)
    await sftp.truncate(base + "/copied", 5)
    await sftp.utime(base + "/copied", (1_500_000_000, 1_500_000_000))
    attributes = await sftp.lstat(base + "/copied")
    assert (stat.S_IMODE(attributes.permissions), attributes.size, attributes.mtime) == (0o600, 5, 1_500_000_000)
    await fails(asyncssh.SFTPOpUnsupported, sftp.symlink("target", base + "/link"))
    assert await sftp.realpath("attachments/../attachments") == "/attachments"
    await sftp.chdir("attachments")
    assert await sftp.getcwd() == "/attachments"
    await sftp.chdir("..")
    assert (await sftp.statvfs(base)).bavail > 0
    await fails(asyncssh.SFTPNoSuchFile, sftp.statvfs(base + "/missing"))
    listed = sorted(entry.filename for entry in await sftp.readdir(base) if entry.filename not in (".", ".."))
    assert listed == ["copied", "globbed", "put", "small-blocks", "tree"], listed
    await fails(asyncssh.SFTPFailure, sftp.rmdir(base + "/tree"))
    await sftp.rmtree(base + "/globbed")
    assert not await sftp.exists(base + "/globbed")
    await sftp.remove(base + "/copied")


async def main():
    options = {"username": user, "client_keys": [key], "known_hosts": known_hosts}
    async with asyncssh.connect("127.0.0.1", int(port), **options) as connection:
        async with connection.start_sftp_client() as sftp:
            await sftp.mkdir(base)
            await fails(asyncssh.SFTPFailure, sftp.mkdir(base))
            await whole_files(sftp)
            await pieces(sftp)
            await names(sftp)
        await asyncssh.scp(local("data"), (connection, base + "/scp"), preserve=True)
        await asyncssh.scp((connection, base + "/scp"), local("scp"))
        assert content("scp") == content("data")
        # What one connection writes at once is as whole as one after the other.
        sessions = [await connection.start_sftp_client() for _ in range(3)]
        await asyncio.gather(*(sftp.put(local("data"), f"{base}/many-{n}") for n, sftp in enumerate(sessions)))


asyncio.run(main())
