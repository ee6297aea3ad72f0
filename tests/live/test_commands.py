# SPDX-License-Identifier: GPL-2.0-or-later
"""What was done on each connection, against the drivers' own counts."""

import collections
import random
import socket
import unittest

import peers  # first: it ends the program where live tests cannot be run
import nbd
import client

SIZE = 1 << 20
BLOCK = 4096

# What the error numbers that libnbd gives back are called on the wire.
ERRORS = {1: "NBD_EPERM", 5: "NBD_EIO", 12: "NBD_ENOMEM", 22: "NBD_EINVAL", 28: "NBD_ENOSPC"}


class Counting:
    """A libnbd connection that counts what it is asked to do, as nbdaudit must."""

    def __init__(self, uri, contexts=(), structured=True):
        self.nbd = client.handle(strict=False)
        for context in contexts:
            self.nbd.add_meta_context(context)
        self.nbd.set_request_structured_replies(structured)
        self.nbd.connect_uri(uri)
        with socket.socket(fileno=self.nbd.aio_get_fd()) as shared:
            self.port = shared.getsockname()[1]
            shared.detach()
        self.commands = collections.defaultdict(
            lambda: {"count": 0, "bytes": 0, "errors": collections.Counter()})

    def do(self, command, call, length, *arguments):
        seen = self.commands[command]
        seen["count"] += 1
        seen["bytes"] += length
        try:
            return call(*arguments)
        except nbd.Error as error:
            seen["errors"][ERRORS[error.errnum]] += 1
            return None

    def read(self, length, offset, flags=0):
        if flags:
            return self.do("NBD_CMD_READ", self.nbd.pread_structured, length, length, offset,
                           lambda *chunk: 0, flags)
        return self.do("NBD_CMD_READ", self.nbd.pread, length, length, offset)

    def write(self, data, offset, flags=0):
        return self.do("NBD_CMD_WRITE", self.nbd.pwrite, len(data), data, offset, flags)

    def zero(self, length, offset, flags=0):
        return self.do("NBD_CMD_WRITE_ZEROES", self.nbd.zero, length, length, offset, flags)

    def trim(self, length, offset):
        return self.do("NBD_CMD_TRIM", self.nbd.trim, length, length, offset)

    def cache(self, length, offset):
        return self.do("NBD_CMD_CACHE", self.nbd.cache, length, length, offset)

    def flush(self):
        return self.do("NBD_CMD_FLUSH", self.nbd.flush, 0)

    def status(self, length, offset):
        return self.do("NBD_CMD_BLOCK_STATUS", self.nbd.block_status, length, length, offset,
                       lambda *extents: 0)

    def close(self):
        self.commands["NBD_CMD_DISC"]["count"] += 1
        self.nbd.shutdown()


class Commands(peers.LiveTest):
    def compare(self, path, drivers):
        report = self.audit(path)
        self.assertEqual(len(report.connections), len(drivers))
        for driver in drivers:
            connection = report.connection(driver.port)
            self.assertEqual(set(connection["commands"]), set(driver.commands))
            for command, counted in driver.commands.items():
                said = connection["commands"][command]
                with self.subTest(command, port=driver.port):
                    self.assertEqual(said["count"], counted["count"])
                    if command not in ("NBD_CMD_FLUSH", "NBD_CMD_DISC"):
                        self.assertEqual(said["bytes"], counted["bytes"])
                    self.assertEqual(said.get("errors", {}), dict(counted["errors"]))
            self.assertEqual(connection.get("unanswered", 0), 0)
            self.assertEqual(connection["end"], "disconnect")
        self.assert_honest(report)
        return report

    def exercise(self, uri, seed, connections=3, structured=True):
        """Random commands on several connections, one at a time."""
        self.broken = ("request-beyond-export",)
        chance = random.Random(seed)
        contexts = [nbd.CONTEXT_BASE_ALLOCATION] if structured else []
        with self.captured() as path:
            drivers = [Counting(uri, contexts, structured) for _ in range(connections)]
            one = drivers[0].nbd
            choices = ["read", "write", "zero", "flush"]
            choices += ["trim"] * one.can_trim() + ["cache"] * one.can_cache()
            choices += ["status"] * (structured and one.can_meta_context(contexts[0]))
            for turn in range(150):
                driver = chance.choice(drivers)
                length = chance.randrange(1, 4) * BLOCK
                offset = chance.randrange(0, (SIZE - length) // BLOCK) * BLOCK
                choice = chance.choice(choices)
                if choice == "read":
                    flags = nbd.CMD_FLAG_DF if one.can_df() and chance.random() < 0.2 else 0
                    driver.read(length, offset, flags)
                elif choice == "write":
                    flags = nbd.CMD_FLAG_FUA if one.can_fua() and chance.random() < 0.2 else 0
                    driver.write(client.pattern("turn %d" % turn, length), offset, flags)
                elif choice == "flush":
                    driver.flush()
                else:
                    getattr(driver, choice)(length, offset)
            # And errors: past the end of the disk.
            for driver in drivers:
                driver.read(BLOCK, SIZE)
                driver.write(client.pattern("outside", BLOCK), SIZE)
                driver.flush()
                driver.close()
        report = self.compare(path, drivers)
        writes = sum(driver.commands[command]["count"] for driver in drivers
                     for command in ("NBD_CMD_WRITE", "NBD_CMD_WRITE_ZEROES", "NBD_CMD_TRIM"))
        flushes = sum(driver.commands["NBD_CMD_FLUSH"]["count"] for driver in drivers)
        (export,) = report.exports
        self.assertEqual(export["writes"], writes)
        self.assertEqual(export["flushes"], flushes)
        self.assertEqual(sorted(export["connections"]),
                         sorted(connection["id"] for connection in report.connections))
        self.assertIs(export["multi_conn"], one_multi_conn(report))

    def test_nbdkit_memory(self):
        self.nbdkit("memory", str(SIZE))
        self.exercise(self.uri, 1)

    def test_nbdkit_memory_simple(self):
        self.nbdkit("memory", str(SIZE))
        self.exercise(self.uri, 2, structured=False)

    def test_nbdkit_file(self):
        self.nbdkit("file", self.image(SIZE))
        self.exercise(self.uri, 3)

    def test_qemu_nbd(self):
        self.qemu_nbd("-e", "4", "-f", "raw", "--discard=unmap", "-x", "disk", self.image(SIZE))
        self.exercise(self.uri + "/disk", 4)

    def test_qemu_nbd_qcow2(self):
        self.run_command("qemu-img", "create", "-f", "qcow2", "disk.qcow2", str(SIZE))
        self.qemu_nbd("-e", "4", "-f", "qcow2", "--discard=unmap", "-x", "disk", "disk.qcow2")
        self.exercise(self.uri + "/disk", 5)

    def test_nbd_server(self):
        self.nbd_server(self.image(SIZE), "flush = true", "fua = true", "trim = true")
        self.exercise(self.uri + "/disk", 6)

    def test_errors(self):
        """Errors of three kinds, that the server is told to make."""
        for wanted in "EIO", "EPERM", "ENOMEM":
            with self.subTest(wanted):
                self.port = self.free_port()
                self.uri = "nbd://127.0.0.1:%d" % self.port
                (self.work / "ready").unlink(missing_ok=True)
                server = self.nbdkit("--filter=error", "memory", str(SIZE), "error=%s" % wanted,
                                     "error-pwrite-rate=50%", "error-pread-rate=50%",
                                     "error-zero-rate=1")
                with self.captured(wanted + ".pcap") as path:
                    driver = Counting(self.uri)
                    for turn in range(20):
                        driver.write(client.pattern("turn %d" % turn, 512), turn * 512)
                        driver.read(512, turn * 512)
                        driver.zero(512, turn * 512)
                    driver.close()
                failed = sum(sum(counted["errors"].values())
                             for counted in driver.commands.values())
                self.assertGreater(failed, 20)
                self.compare(path, [driver])
                server.terminate()
                server.wait(peers.SECONDS)

    def test_read_only(self):
        self.nbdkit("-r", "memory", str(SIZE))
        with self.captured() as path:
            driver = Counting(self.uri)
            driver.write(client.pattern("refused", 512), 0)
            driver.read(512, 0)
            driver.close()
        self.compare(path, [driver])

    def test_unanswered(self):
        """A server killed with a read before it."""
        server = self.nbdkit("--filter=delay", "memory", str(SIZE), "delay-read=30")
        with self.captured() as path:
            h = client.connect(self.uri)
            h.pwrite(client.pattern("never flushed", 1024), 0)
            h.pwrite(client.pattern("nor this", 1024), 4096)
            h.aio_pread(nbd.Buffer(512), 0)
            h.aio_pread(nbd.Buffer(512), 512)
            self.assertEqual(h.aio_in_flight(), 2)
            server.kill()
            server.wait(peers.SECONDS)
            try:
                while True:
                    h.poll(1000)
            except nbd.Error:
                pass
        report = self.audit(path)
        (connection,) = report.connections
        self.assertEqual(connection["unanswered"], 2)
        self.assertEqual(connection["unflushed_writes"], 2)
        self.assertIn(connection["end"], ("fin", "rst"))


def one_multi_conn(report):
    """Whether the connections, which must agree, were shown CAN_MULTI_CONN."""
    (shown,) = {"NBD_FLAG_CAN_MULTI_CONN" in connection["transmission_flags"]
                for connection in report.connections}
    return shown


if __name__ == "__main__":
    unittest.main(verbosity=2)
