# SPDX-License-Identifier: GPL-2.0-or-later
"""Real servers are probed: those that keep their promises are not accused, and what some of
them break is found."""

import os
import shlex
import signal
import socket
import subprocess
import time

import probing

PLUGIN = probing.HERE / "closing_cache.py"


class Servers(probing.ProbeTest):
    def nbdkit(self, *options, probe=()):
        self.need("nbdkit")
        path = self.folder / "nbdkit.sock"
        self.start("nbdkit", "-f", "-U", path, *options, until=path.exists)
        return self.probe("nbd+unix:///?socket=%s" % path, *probe)

    def image(self, size):
        path = self.folder / "disk"
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def test_nbdkit_memory(self):
        probe = self.nbdkit("memory", "66M")
        self.assert_honest(probe)
        self.assertEqual(probe.outcomes("unasked"), {"after-restart"})
        self.assertEqual(probe.probed["others"], "no other client was connected when it began")

    def test_nbdkit_file(self):
        self.assert_honest(self.nbdkit("file", self.image(8 << 20)))

    def test_nbdkit_block_sizes(self):
        self.assert_honest(self.nbdkit("--filter=blocksize-policy", "memory", "4M",
                                       "blocksize-minimum=4096", "blocksize-maximum=64K",
                                       "blocksize-error-policy=error"))

    def test_nbdkit_cache_tells_zero(self):
        """Its filter lets block status pass that does not know of what is cached."""
        probe = self.nbdkit("--filter=cache", "memory", "4M")
        self.assertEqual(probe.outcomes("broken"), {"block-status"})
        self.assertIn("zero-status-contradicts-data", probe.summary["rules"])

    def test_multi_conn_filter(self):
        left = {"disconnect-unflushed", "drop-unflushed"}
        for mode in ("auto", "emulate", "disable", "unsafe"):
            with self.subTest(mode):
                self.setUp()
                probe = self.nbdkit("--filter=multi-conn", "python", PLUGIN,
                                    "multi-conn-mode=" + mode, "size=4M")
                if mode == "unsafe":
                    self.assertEqual(probe.status, 1)
                    self.assertTrue(probe.probed["untrue"])
                    self.assertLessEqual({"flush-here", "flush-elsewhere", "fua"},
                                         probe.outcomes("broken"))
                    continue
                # Who leaves has his writes stored by the plugin, but in its own time.
                self.assertEqual(probe.outcomes("broken") - left, set())
                self.assertEqual(probe.histories["flush-elsewhere"]["outcome"],
                                 "stale" if mode == "disable" else "kept")
                self.assertEqual(probe.probed["multi_conn"], mode != "disable")

    def test_tls_by_nbdkit(self):
        """nbdkit's nbd plugin speaks TLS, a connection for each of the probe's."""
        self.need("nbdkit")
        keys, behind = self.folder / "keys", self.folder / "tls.sock"
        keys.write_text("alice:%s\n" % ("5a" * 32))
        keys.chmod(0o600)
        for mode, expected in (("auto", "kept"), ("unsafe", "broken")):
            with self.subTest(mode):
                self.start("nbdkit", "-f", "-U", behind, "--tls=require", "--tls-psk", keys,
                           "--filter=multi-conn", "python", PLUGIN, "size=4M",
                           "multi-conn-mode=" + mode, until=behind.exists)
                probe = self.nbdkit("nbd", "socket=%s" % behind, "tls=require",
                                    "tls-psk=%s" % keys, "tls-username=alice")
                self.assertTrue(probe.probed["multi_conn"], probe.errors)
                self.assertEqual(probe.histories["flush-elsewhere"]["outcome"], expected)
                behind.unlink()
                (self.folder / "nbdkit.sock").unlink()

    def test_read_only(self):
        probe = self.nbdkit("-r", "memory", "1M")
        self.assertEqual(probe.status, 2)
        self.assertIn("read-only", probe.errors)

    def test_other_client(self):
        self.need("nbdkit")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        path = self.folder / "n.sock"
        self.start("nbdkit", "-f", "-p", port, "-i", "127.0.0.1", "memory", "1M",
                   until=lambda: self.listens(port))
        self.start("nbdkit", "-f", "-U", path, "memory", "1M", until=path.exists)
        other = socket.create_connection(("127.0.0.1", port))
        other.recv(18)
        local = socket.socket(socket.AF_UNIX)
        local.connect(str(path))
        local.recv(18)
        for uri in ("nbd://127.0.0.1:%d" % port, "nbd+unix:///?socket=%s" % path):
            probe = self.probe(uri)
            self.assertEqual(probe.status, 2)
            self.assertIn("another client is connected", probe.errors)
        other.close()
        local.close()
        self.wait_until(lambda: not self.sockets(port, "01"))
        self.wait_until(lambda: not self.local_connections(path))
        for uri in ("nbd://localhost:%d" % port, "nbd+unix:///?socket=%s" % path):
            self.assert_honest(self.probe(uri))

    def sockets(self, port, state):
        """How many of the server's are in this state, by the kernel's table."""
        with open("/proc/net/tcp", encoding="ascii") as table:
            rows = [line.split() for line in table]
        return sum(row[1].endswith(":%04X" % port) and row[3] == state for row in rows[1:])

    def greets(self, port):
        with socket.create_connection(("127.0.0.1", port), 2) as client:
            try:
                return client.recv(18)
            except TimeoutError:
                return False

    def listens(self, port):
        return self.sockets(port, "0A") > 0

    def local_connections(self, path):
        with open("/proc/net/unix", encoding="utf-8") as table:
            rows = [line.split() for line in table if line.rstrip().endswith(str(path))]
        return sum(row[5] != "01" for row in rows)

    def wait_until(self, condition):
        end = time.monotonic() + probing.SECONDS
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def test_qemu(self):
        self.need("qemu-nbd")
        path = self.folder / "q.sock"
        self.start("qemu-nbd", "-t", "-e", "8", "-f", "raw", "-k", path, self.image(8 << 20),
                   until=path.exists)
        probe = self.probe("nbd+unix:///?socket=%s" % path)
        self.assert_honest(probe)
        self.assertTrue(probe.probed["multi_conn"])

    def test_qemu_alone(self):
        """It takes one connection at a time, says nothing to others, and ends with it."""
        self.need("qemu-nbd")
        path = self.folder / "q.sock"
        self.start("qemu-nbd", "-f", "raw", "-k", path, self.image(8 << 20), until=path.exists)
        probe = self.probe("nbd+unix:///?socket=%s" % path)
        self.assertEqual(probe.status, 0, probe.errors)
        self.assertEqual(probe.probed["connections"], 1)
        self.assertIn("no answer to the handshake", probe.probed["limit"])
        self.assertEqual(probe.histories["fua"]["outcome"], "unasked")
        self.assertEqual(probe.histories["own-write"]["outcome"], "kept")
        self.assertIn("the server ended with its last connection",
                      probe.histories["after-all-left"]["reason"])

    def nbd_server(self, size, *lines):
        self.need("nbd-server")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = self.folder / "config"
        config.write_text("[generic]\nport=%d\nlistenaddr=127.0.0.1\n[disk]\nexportname=%s\n"
                          "flush=true\nfua=true\ntrim=true\n%s\n"
                          % (port, self.image(size), "\n".join(lines)))
        pid = self.folder / "pid"
        # It detaches itself, so that its process is not ours to wait for.
        subprocess.run(["nbd-server", "-C", config, "-p", pid], check=True,
                       stderr=subprocess.DEVNULL)
        self.wait_until(lambda: pid.exists() and pid.read_text() and self.listens(port))
        self.addCleanup(os.kill, int(pid.read_text()), signal.SIGTERM)
        # Its first connection it sometimes overlooks until there is another one.
        self.wait_until(lambda: self.greets(port))
        self.wait_until(lambda: not self.sockets(port, "01"))
        return self.probe("nbd://127.0.0.1:%d/disk" % port)

    def test_nbd_server(self):
        self.assert_honest(self.nbd_server(8 << 20))

    def test_nbd_server_zeroes(self):
        probe = self.nbd_server(66 << 20)
        self.assertEqual(probe.outcomes("broken"), {"large-zeroes"},
                         probe.histories["large-zeroes"])
        self.assertIn("zeroes-not-read-back", probe.summary["rules"])

    def test_nbd_server_copies(self):
        """Each connection has a disk of its own, and the flag is not there."""
        probe = self.nbd_server(8 << 20, "copyonwrite=true")
        self.assertEqual(probe.status, 0, probe.errors)
        self.assertFalse(probe.probed["multi_conn"])
        self.assertEqual(probe.histories["flush-elsewhere"]["outcome"], "stale")
        self.assertEqual(probe.histories["own-write"]["outcome"], "kept")

    def test_restart(self):
        self.need("nbdkit")
        for plugin, outcome in ((["file", str(self.image(4 << 20))], "kept"),
                                (["memory", "4M"], "suspect")):
            with self.subTest(plugin[0]):
                pid, path = self.folder / "pid", self.folder / "r.sock"
                begin = "nbdkit -P %s -U %s %s" % (pid, path, shlex.join(plugin))
                command = "kill -9 $(cat %s); rm -f %s %s; %s" % (pid, path, pid, begin)
                self.assertEqual(os.system(begin), 0)
                probe = self.probe("nbd+unix:///?socket=%s" % path, "--probe-kill=" + command)
                os.kill(int(pid.read_text()), signal.SIGKILL)
                path.unlink()
                self.assertEqual(probe.status, 0, probe.errors)
                self.assertEqual(probe.histories["after-restart"]["outcome"], outcome)
        probe = self.nbdkit("memory", "1M", probe=["--probe-kill=exit 3"])
        self.assertEqual(probe.status, 2)
        self.assertIn("exit status 3", probe.histories["after-restart"]["reason"])


if __name__ == "__main__":
    probing.main()
