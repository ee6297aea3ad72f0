# SPDX-License-Identifier: GPL-2.0-or-later
"""Honest servers under several connections, driven by everybody's clients: what was
done is counted as the clients count it, and no violation is seen."""

import json
import random
import unittest

import peers  # first: it ends the program where live tests cannot be run
import nbd
import client

SIZE = 4 << 20


class Honest:
    """The tests, mixed into a class for each server. serve() starts it and returns the
    URI of an export of at least SIZE bytes."""

    seed = 0

    def test_libnbd_in_flight(self):
        """Commands in flight on four connections at once, on ranges that overlap."""
        uri = self.serve()
        chance = random.Random(self.seed)
        sent = {"NBD_CMD_READ": 0, "NBD_CMD_WRITE": 0, "NBD_CMD_FLUSH": 0,
                "NBD_CMD_WRITE_ZEROES": 0, "NBD_CMD_DISC": 4}
        with self.captured() as path:
            connections = [client.connect(uri) for _ in range(4)]
            buffers = []
            for turn in range(400):
                h = chance.choice(connections)
                # One region for all: eight blocks.
                offset, length = chance.randrange(16) * 2048, chance.choice([512, 2048, 8192])
                kind = chance.choices(list(sent)[:4], [8, 6, 3, h.can_zero()])[0]
                fua = nbd.CMD_FLAG_FUA if chance.random() < 0.1 else 0
                sent[kind] += 1
                if kind == "NBD_CMD_READ":
                    buffers.append(nbd.Buffer(length))
                    h.aio_pread(buffers[-1], offset)
                elif kind == "NBD_CMD_WRITE":
                    data = client.pattern("turn %d" % turn, length)
                    buffers.append(nbd.Buffer.from_bytearray(data))
                    h.aio_pwrite(buffers[-1], offset, flags=fua)
                elif kind == "NBD_CMD_WRITE_ZEROES":
                    h.aio_zero(length, offset, flags=fua)
                else:
                    h.aio_flush()
                while h.aio_in_flight() > 8:
                    h.poll(-1)
                if chance.random() < 0.02:
                    self.settle(connections)
            self.settle(connections)
            for h in connections:
                h.shutdown()
        report = self.audit(path)
        self.assert_honest(report)
        self.assertEqual(report.counts(), {kind: count for kind, count in sent.items() if count})
        self.assertEqual(sum(c.get("unanswered", 0) for c in report.connections), 0)

    @staticmethod
    def settle(connections):
        for h in connections:
            while h.aio_in_flight():
                h.poll(-1)

    def test_libnbd_across(self):
        """Written and flushed on one connection, read on another: it must be there, and
        the auditor must have looked."""
        uri = self.serve()
        chance = random.Random(100 + self.seed)
        with self.captured() as path:
            connections = [client.connect(uri) for _ in range(3)]
            read = 0
            for turn in range(40):
                writer, reader = chance.sample(connections, 2)
                offset = chance.randrange(32) * 4096
                data = client.pattern("turn %d" % turn, 4096)
                reader.pread(4096, offset)
                if chance.random() < 0.5:
                    writer.pwrite(data, offset)
                    writer.flush()
                else:
                    writer.pwrite(data, offset, nbd.CMD_FLAG_FUA)
                self.assertEqual(reader.pread(4096, offset), data)
                read += 2
            for h in connections:
                h.shutdown()
        report = self.audit(path)
        self.assert_honest(report)
        self.assertEqual(report.counts()["NBD_CMD_READ"], read)
        # Those after a flush are judged at least.
        self.assertGreaterEqual(report.summary["checked"]["reads"], 40)
        self.assertGreaterEqual(report.summary["checked"]["bytes"], 40 * 4096)

    def test_fio(self):
        uri = self.serve()
        with self.captured() as path:
            # Each job has a part of the disk of its own, since it verifies it.
            self.run_command(
                "fio", "--name=live", "--ioengine=nbd", "--uri=" + uri, "--rw=randrw",
                "--bs=4k", "--iodepth=8", "--numjobs=3", "--size=512k",
                "--offset_increment=1m", "--fsync=16", "--verify=crc32c", "--verify_fatal=1",
                "--randseed=7", "--output-format=json", "--output=fio.json")
        # With verify on, reads made to verify are counted apart from others by
        # some versions; writes and syncs are plain.
        jobs = json.loads((self.work / "fio.json").read_text())["jobs"]
        report = self.audit(path)
        self.assert_honest(report)
        self.assertEqual(report.counts()["NBD_CMD_WRITE"],
                         sum(job["write"]["total_ios"] for job in jobs))
        self.assertEqual(report.bytes("NBD_CMD_WRITE"),
                         sum(job["write"]["io_bytes"] for job in jobs))
        self.assertEqual(report.counts()["NBD_CMD_FLUSH"],
                         sum(job["sync"]["total_ios"] for job in jobs))

    def test_nbdcopy(self):
        source = self.work / "source.img"
        source.write_bytes(random.Random(1).randbytes(1 << 20))
        uri = self.serve()
        with self.captured() as path:
            self.run_command("nbdcopy", "--connections=4", "--request-size=32768",
                             "--flush", source, uri)
            self.run_command("nbdcopy", "--connections=4", "--request-size=32768",
                             "--allocated", uri, "copy.img")
        copied = (self.work / "copy.img").read_bytes()
        self.assertEqual(copied[:1 << 20], source.read_bytes())
        report = self.audit(path)
        self.assert_honest(report)
        self.assertEqual(report.bytes("NBD_CMD_WRITE"), 1 << 20)
        self.assertGreaterEqual(report.bytes("NBD_CMD_READ"), 1 << 20)
        self.assertGreaterEqual(report.counts()["NBD_CMD_FLUSH"], 1)

    def test_qemu_io(self):
        uri = self.serve()
        with self.captured() as path:
            said = self.run_command(
                "qemu-io", "-f", "raw", "-c", "aio_write -P 1 0 64k",
                "-c", "aio_write -P 2 64k 64k", "-c", "aio_read 256k 32k", "-c", "aio_flush",
                "-c", "write -f -P 3 128k 4k", "-c", "read -P 1 0 64k", "-c", "read -P 3 128k 4k",
                "-c", "write -z 64k 64k", "-c", "read -P 0 64k 64k", uri)
        self.assertNotIn("Pattern verification failed", said)
        report = self.audit(path)
        self.assert_honest(report)
        # Where the server cannot zero, qemu writes zeroes.
        zeroes = report.counts()["NBD_CMD_WRITE_ZEROES"]
        self.assertLessEqual(zeroes, 1)
        self.assertEqual(report.bytes("NBD_CMD_WRITE"), (132 if zeroes else 196) << 10)
        # qemu reads to probe too, so at least its commands' bytes.
        self.assertGreaterEqual(report.bytes("NBD_CMD_READ"), (32 + 64 + 4 + 64) << 10)


class NbdkitMemory(Honest, peers.LiveTest):
    seed = 1

    def serve(self):
        self.nbdkit("memory", str(SIZE))
        return self.uri + "/"


class NbdkitFile(Honest, peers.LiveTest):
    seed = 2

    def serve(self):
        self.nbdkit("file", self.image(SIZE))
        return self.uri + "/"


class NbdkitCow(Honest, peers.LiveTest):
    """Writes go to an overlay that all connections share."""

    seed = 3

    def serve(self):
        self.nbdkit("--filter=cow", "memory", str(SIZE))
        return self.uri + "/"


class NbdkitEmulate(Honest, peers.LiveTest):
    """Private caches that the multi-conn filter keeps consistent. Between flushes the order
    of two connections' writes to one place is open, and may look suspect."""

    seed = 4
    allowed = ("stale-read-unordered-writes",)

    def serve(self):
        self.nbdkit("--filter=multi-conn", "python", peers.MAKE / "private_cache.py",
                    "size=%d" % SIZE, "multi-conn-mode=emulate")
        return self.uri + "/"


class QemuNbdRaw(Honest, peers.LiveTest):
    seed = 5

    def serve(self):
        self.qemu_nbd("-e", "8", "--discard=unmap", "-x", "disk", "-f", "raw", self.image(SIZE))
        return self.uri + "/disk"


class QemuNbdQcow2(Honest, peers.LiveTest):
    seed = 6

    def serve(self):
        self.run_command("qemu-img", "create", "-f", "qcow2", "disk.qcow2", str(SIZE))
        self.qemu_nbd("-e", "8", "--discard=unmap", "-x", "disk", "-f", "qcow2", "disk.qcow2")
        return self.uri + "/disk"


class NbdServer(Honest, peers.LiveTest):
    seed = 7

    def serve(self):
        self.nbd_server(self.image(SIZE), "flush = true", "fua = true", "trim = true")
        return self.uri + "/disk"


if __name__ == "__main__":
    unittest.main(verbosity=2)
