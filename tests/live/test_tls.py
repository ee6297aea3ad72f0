#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS on an interface: the key log is followed as it grows, and keys may come a little late."""

import json
import os
import signal
import subprocess
import sys
import time
import unittest

import peers  # first: it ends the program where live tests cannot be run

CLIENT = """
import sys, time, nbd
h = nbd.NBD()
h.set_tls(nbd.TLS_REQUIRE); h.set_tls_username("alice"); h.set_tls_psk_file(sys.argv[1])
h.connect_tcp("127.0.0.1", sys.argv[2])
b = bytes(range(256)) * 16
h.pwrite(b, 0); h.flush(); assert h.pread(4096, 0) == b
print("half", flush=True)
sys.stdin.readline()
h.pwrite(b, 8192); h.flush(); assert h.pread(4096, 8192) == b
h.shutdown()
"""


class Live(peers.LiveTest):
    def setUp(self):
        super().setUp()
        self.psk = self.work / "keys.psk"
        self.psk.write_text("alice:" + bytes(range(32)).hex() + "\n")
        self.log, self.client_log = self.work / "followed.log", self.work / "client.log"
        self.log.touch()
        self.nbdkit("--tls=require", "--tls-psk=%s" % self.psk, "memory", "1M")

    def start(self):
        self.output, self.saved = self.work / "report", self.work / "saved.pcapng"
        errors = self.work / "errors"
        process = self.spawn([peers.BIN / "nbdaudit", "-f", "json", "-m", "--tls-keys=%s" % self.log,
                              "-w", self.saved, "-i", "lo", "port %d" % self.port],
                             stdout=self.output, stderr=errors)
        peers.wait_until(lambda: process.poll() is not None or self.saved.exists(), "nbdaudit to start")
        time.sleep(0.7)
        return process

    def report(self, process):
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        process.wait(30)
        lines = [json.loads(line) for line in self.output.read_text().splitlines()]
        connection, = [line for line in lines if line["type"] == "connection"]
        return connection, lines

    def client(self, log, meanwhile=lambda: None):
        script = self.work / "client.py"
        script.write_text(CLIENT)
        run = subprocess.Popen([sys.executable, script, self.psk, str(self.port)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env=dict(os.environ, SSLKEYLOGFILE=str(log)))
        self.assertEqual(run.stdout.readline(), "half\n")
        meanwhile()
        run.communicate("\n", timeout=30)
        self.assertEqual(run.returncode, 0)

    def check_read(self, connection, lines):
        self.assertTrue(connection["tls"] and connection["tls_read"], connection)
        self.assertEqual(connection["commands"]["NBD_CMD_WRITE"]["replies"], 2)
        self.assertEqual(connection["commands"]["NBD_CMD_READ"]["data_bytes"], 8192)
        self.assertEqual(lines[-1]["judged"]["bytes"], 8192)
        self.assertEqual(lines[-1]["verdict"], "clean")
        # what was saved says the same, with the keys, and has none of them
        run = subprocess.run([peers.BIN / "nbdaudit", "-f", "json", "-m", "--tls-keys=%s" % self.log,
                              self.saved], stdout=subprocess.PIPE, text=True)
        again = [json.loads(line) for line in run.stdout.splitlines()]
        self.assertEqual([m for m in again if m["type"] == "message"],
                         [m for m in lines if m["type"] == "message"])
        for line in self.log.read_text().splitlines():
            secret = line.split()[2]
            for path in (self.saved, self.output):
                data = path.read_bytes()
                self.assertNotIn(secret.encode(), data)
                self.assertNotIn(bytes.fromhex(secret), data)

    def test_followed(self):
        process = self.start()
        self.client(self.log)
        self.check_read(*self.report(process))

    def test_late(self):
        """The keys come when a part of the commands has passed."""
        process = self.start()

        def meanwhile():
            time.sleep(1)
            text = self.client_log.read_text()
            with open(self.log, "a", encoding="ascii") as log:
                log.write(text[:len(text) // 2])  # in the middle of a line
                log.flush()
                time.sleep(0.3)
                log.write(text[len(text) // 2:])

        self.client(self.client_log, meanwhile)
        self.check_read(*self.report(process))

    def test_never(self):
        process = self.start()
        self.client(self.client_log)
        connection, lines = self.report(process)
        self.assertEqual(connection["tls_unread"], "no-key")
        self.assertEqual(connection["tls_client_random"], self.client_log.read_text().split()[1])
        self.assertEqual(lines[-1]["verdict"], "unaudited")
        self.assertEqual(process.returncode, 3)


if __name__ == "__main__":
    unittest.main()
