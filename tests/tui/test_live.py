#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdtop on live traffic: nbdkit with fio, nbdcopy and the plugin whose connections
each have a cache of their own behind an unsafe multi-conn flag."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import unittest

from terminal import HERE, Terminal, sample

sys.path.insert(0, str(HERE.parent / "live"))
import peers  # noqa: E402  it ends the program where live tests cannot be run
import client  # noqa: E402
import nbd  # noqa: E402


NO_VIOLATION = re.compile(r"nothing found|\b0 violations|\b0V\b")


class Live(peers.LiveTest):
    def nbdtop(self, *options, columns=80, rows=24):
        t = Terminal(["-i", "lo", *options, "tcp port %d" % self.port], columns, rows)
        self.addCleanup(t.close)
        t.wait("LIVE", "drops: kernel 0, interface 0")
        return t

    def unsafe(self):
        self.nbdkit("--filter=multi-conn", "python", peers.MAKE / "private_cache.py",
                    "multi-conn-mode=unsafe")

    def violate(self):
        """Returns the moment of the read that proves it."""
        a, b = client.connect(self.uri), client.connect(self.uri)
        before = b.pread(1024, 0)
        a.pwrite(client.pattern("at %f" % time.monotonic(), 1024), 0)
        a.flush()
        stale = b.pread(1024, 0)
        moment = time.monotonic()
        self.assertEqual(stale, before)
        self.addCleanup(b.shutdown)
        self.addCleanup(a.shutdown)
        return moment

    def test_violation(self):
        """It is on the screen within two seconds of the read that proves it, whatever the
        screen shows."""
        self.unsafe()
        for columns, rows, screen in ((80, 24, "1"), (120, 40, "4"), (200, 60, "5")):
            with self.subTest(columns=columns, screen=screen):
                t = self.nbdtop(columns=columns, rows=rows)
                t.keys(screen)
                t.wait_frame()
                moment = self.violate()
                t.wait("1 violation", "stale-read-after-flush", seconds=5)
                self.assertLess(time.monotonic() - moment, 2)
                t.keys("5")
                t.wait("violation", "WRITE 1 KiB", "FLUSH", "READ 1 KiB")
                t.keys("1")
                t.wait("1V")
                self.assertEqual(t.quit(), 0)
                t.wait("1 violation,")

    def test_pause(self):
        """The screen stands still, the capture goes on."""
        self.nbdkit("memory", "4M")
        t = self.nbdtop()
        handle = client.connect(self.uri)
        handle.pwrite(bytes(512), 0)
        t.wait("1 connection (1 open)")
        t.keys("4")
        t.wait("NBD" if t.columns > 110 else "WRITE")
        t.keys("p")
        t.wait("PAUSED, 0 behind")
        for turn in range(50):
            handle.pread(512, 512 * turn)
        t.wait("PAUSED, 100 behind")
        self.assertNotIn("READ", "\n".join(t.lines()[3:-2]))
        t.keys("Space")
        t.wait("LIVE", "READ", gone=["PAUSED"])
        handle.shutdown()
        t.wait("(0 open)")

    def test_mouse(self):
        """The screen goes on after a click, of a button that means nothing, too."""
        self.nbdkit("memory", "4M")
        t = self.nbdtop()
        handle = client.connect(self.uri)
        t.wait("1 connection (1 open)")
        t.keys("4")
        t.wait("OPT_GO")
        for button, command in ((0, "READ"), (1, "FLUSH"), (2, "WRITE")):
            with self.subTest(button=button):
                t.click(10, 20, button)
                time.sleep(0.3)  # the button is let go, and that was read
                if command == "READ":
                    handle.pread(512, 0)
                elif command == "FLUSH":
                    handle.flush()
                else:
                    handle.pwrite(bytes(512), 0)
                t.wait(command)
        handle.shutdown()

    def test_waiting(self):
        """A request without an answer is found by its age; so is what is not flushed."""
        self.nbdkit("--filter=delay", "memory", "4M", "delay-read=60")
        t = self.nbdtop(columns=120, rows=40)
        handle = client.connect(self.uri)
        handle.pwrite(bytes(4096), 8192)
        handle.aio_pread(nbd.Buffer(1024), 0x3000)
        stop = threading.Event()

        def poll():
            while not stop.is_set():
                handle.poll(100)

        thread = threading.Thread(target=poll)
        thread.start()
        try:
            t.wait(re.compile(r'(?m)^"" .* 4K +[0-9.]+s '))
            t.keys("2", "Enter")
            t.wait(re.compile(r"(?m)^waiting +NBD_CMD_READ for [1-9][0-9.]*s: 1 KiB at 0x3000"),
                   re.compile(r"(?m) [1-9][0-9.]*s! "))
            t.keys("3")
            t.wait("Not flushed: 1 answered write, 4 KiB, the oldest", "[1w 4K]")
        finally:
            stop.set()
            thread.join()

    def test_fio(self):
        """Four connections under load: numbers move, nothing is dropped, no violation."""
        self.nbdkit("memory", "64M")
        t = self.nbdtop(columns=200, rows=60)
        load = self.spawn(["fio", "--name=load", "--ioengine=nbd", "--uri=" + self.uri,
                           "--rw=randrw", "--bs=4k", "--iodepth=8", "--size=16M", "--numjobs=4",
                           "--offset_increment=16M", "--fsync=16", "--rate_iops=200",
                           "--time_based", "--runtime=5", "--thread"])
        t.wait(re.compile(r'(?m)^"" +127\S+ +yes +4/'), re.compile(r'(?m)^"" .* [0-9.]+[KM] +[0-9.]+[KM] '))
        for screen, seen in (("2", "open"), ("3", "flush"), ("4", "NBD_CMD_WRITE"),
                             ("6", "P99.9")):
            t.keys(screen)
            t.wait(seen)
            for columns, rows in ((40, 10), (80, 24), (120, 40), (200, 60)):
                t.resize(columns, rows)
                t.wait_frame()
                self.assertRegex(t.lines()[0], r"LIVE.* drops:? .*0")
        t.keys("3")
        t.wait(re.compile(r"\d+w"), re.compile(r"covers \d+ writes? of its own and \d+ of others"))
        load.wait(30)
        self.assertEqual(load.returncode, 0)
        t.keys("1")
        t.wait("(0 open)", "drops: kernel 0, interface 0", NO_VIOLATION)

    def test_drops(self):
        """Packets that the kernel dropped are counted, nothing proved rests on them, what
        is in flight stays what is possible, and every screen works at every size."""
        self.nbdkit("memory", "64M")
        t = self.nbdtop(columns=200, rows=60)
        load = self.spawn(["fio", "--name=load", "--ioengine=nbd", "--uri=" + self.uri,
                           "--rw=randrw", "--bs=64k", "--iodepth=8", "--size=32M", "--numjobs=2",
                           "--offset_increment=32M", "--fsync=64", "--time_based", "--runtime=6",
                           "--thread"])
        t.wait(re.compile(r'(?m)^"" +127\S+ +yes +2/'))
        os.kill(t.pid(), signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(t.pid(), signal.SIGCONT)
        t.wait(re.compile(r"drops: kernel [1-9]"), seconds=20)
        for screen in "123456":
            t.keys(screen)
            for columns, rows in ((40, 10), (80, 24), (120, 40), (200, 60)):
                t.resize(columns, rows)
                t.wait_frame()
        t.keys("1")
        t.wait("FLIGHT")
        head, row = t.lines()[3:5]
        flight = row[:head.index("FLIGHT") + 6].split()[-1].rstrip("?")
        # 16, and those whose answers were lost just now: it was hundreds when none was forgotten
        if flight.isdigit():
            self.assertLessEqual(int(flight), 32, row)
        load.wait(30)
        t.wait(NO_VIOLATION)

    def test_nbdcopy(self):
        """Connections that come and go."""
        self.nbdkit("memory", "16M")
        image = self.image(8 << 20)
        image.write_bytes(b"nbdscope" * (1 << 20))
        t = self.nbdtop(columns=120, rows=40)
        self.run_command("nbdcopy", "--connections=4", "--flush", image, self.uri)
        t.wait("(0 open)", re.compile(r"[2-9] connections"), NO_VIOLATION)
        t.keys("3")
        t.wait("All answered writes are flushed")
        t.keys("1", "m")
        t.wait("WRITTEN", re.compile(r'(?m)^"" .* 8M '))
        t.keys("2", "c", "y")
        t.wait("No connection is open")

    def test_left_behind(self):
        """A flush covers also what a connection wrote that has gone."""
        self.nbdkit("memory", "4M")
        t = self.nbdtop(columns=120, rows=40)
        first, second = client.connect(self.uri), client.connect(self.uri)
        first.pwrite(bytes(4096), 0)
        first.shutdown()
        t.wait(re.compile(r'(?m)^"" .* 4K +[0-9.]+m?s +never'), "(1 open)")
        second.flush()
        t.wait(re.compile(r'(?m)^"" (?!.* 4K ).* yes .* [0-9.]+m?s *$'), gone=["never"])
        t.keys("2")
        t.wait_frame()
        self.assertNotIn("4K", t.text().replace("WRITTEN", ""))
        second.shutdown()

    def test_save(self):
        """With -w from the start, and with w from some moment on: pcapng that nbdaudit
        reads."""
        self.nbdkit("memory", "4M")
        whole = self.work / "whole.pcapng"
        t = self.nbdtop("-w", whole)
        t.wait("LIVE, saving")
        handle = client.connect(self.uri)
        handle.pwrite(bytes(512), 0)
        handle.shutdown()
        t.wait("1 connection (0 open)")
        t.keys("w")
        t.type("/tmp/other.pcapng")
        t.keys("Enter")
        t.wait("The packets are saved already: W ends that.")
        self.assertEqual(t.quit(), 0)
        report = self.audit(whole)
        self.assertEqual(report.counts()["NBD_CMD_WRITE"], 1)

        part = pathlib.Path("/tmp") / ("nbdtop-%s.pcapng" % self.work.name)
        self.addCleanup(lambda: part.unlink(missing_ok=True))
        t = self.nbdtop()
        t.keys("w")
        t.wait("Save to:")
        t.type(str(part))
        t.keys("Enter")
        t.wait("packets go to", "LIVE, saving")
        t.keys("W")
        t.wait("Save live packets no longer?")
        t.keys("n")
        t.wait("LIVE, saving", gone=["no longer?"])
        handle = client.connect(self.uri)
        handle.flush()
        handle.shutdown()
        t.wait("1 connection (0 open)")
        self.assertEqual(t.quit(), 0)
        self.assertEqual(self.audit(part).counts()["NBD_CMD_FLUSH"], 1)

    def test_save_afterwards(self):
        """The last packets are kept: those of a connection that is over are saved, those
        of messages that a filter lets through too; and a saving that was begun ends."""
        self.nbdkit("memory", "4M")
        t = self.nbdtop(columns=120, rows=40)
        for _ in range(2):
            handle = client.connect(self.uri)
            handle.pwrite(bytes(512), 0)
            handle.flush()
            handle.shutdown()
        t.wait("2 connections (0 open)", re.compile(r"last \S+ kept"))
        saved = {name: pathlib.Path("/tmp") / ("nbdtop-%s-%s.pcapng" % (self.work.name, name))
                 for name in ("connection", "messages", "rest")}
        for path in saved.values():
            self.addCleanup(lambda path=path: path.unlink(missing_ok=True))

        def save(name):
            t.keys("s", "C-u")
            t.type(str(saved[name]))
            t.keys("Enter")
            t.wait("saved to", re.compile(r"[1-9]\d* packets of"))

        t.keys("2", "End")
        save("connection")
        report = self.audit(saved["connection"])
        self.assertEqual(len(report.connections), 1)
        self.assertEqual(report.counts()["NBD_CMD_WRITE"], 1)
        t.keys("4", "f")
        t.type("write")
        t.keys("Enter")
        t.wait("(4 match")
        save("messages")
        comments = subprocess.run(["tshark", "-r", saved["messages"], "-T", "fields", "-e",
                                   "frame.comment"], stdout=subprocess.PIPE, text=True).stdout
        self.assertEqual(comments.count("nbdtop: NBD_CMD_WRITE 512 bytes at 0x0"), 2)
        self.assertEqual(comments.count("NBD_SUCCESS"), 2)
        t.keys("w")
        t.type(str(saved["rest"]))
        t.keys("Enter")
        t.wait("LIVE, saving")
        client.connect(self.uri).shutdown()
        t.wait("3 connections")
        t.keys("W", "y")
        t.wait("no more packets are saved", gone=["LIVE, saving"])
        client.connect(self.uri).shutdown()
        t.wait("4 connections")
        self.assertEqual(len(self.audit(saved["rest"]).connections), 1)

    def test_pipe(self):
        """What tcpdump captures elsewhere is as live: ages grow, rates are those of the last
        second, and Esc does not end it."""
        self.nbdkit("memory", "4M")
        t = Terminal(["-"], 120, 40, shell="tcpdump -i lo -U -w - 'tcp port %d' 2>/dev/null | %%s"
                     % self.port)
        self.addCleanup(t.close)
        t.wait("LOADING")
        time.sleep(1)
        handle = client.connect(self.uri)
        for turn in range(20):
            handle.pwrite(bytes(4096), 4096 * turn)
            time.sleep(0.1)
        t.wait("LIVE", re.compile(r"[1-9]\S* packets"), gone=["LOADING", "drops"])
        t.keys("Escape")
        t.wait(re.compile(r'(?m)^"" .* ([3-9](\.\d)?|[1-9]\d)s +never'))  # AGE goes on in silence
        t.wait("LIVE", re.compile(r'(?m)^"" +127\S+ +yes +1/1 +\S+ +\S+ +80K'))  # and nothing a second
        handle.shutdown()
        t.wait("(0 open)")
        t.keys("q")
        t.wait("1 connection to 1 export:")  # tcpdump ends with its next packet

    def test_latency_only(self):
        """Heads are enough for latencies; nothing is judged, nor said to be wrong."""
        self.nbdkit("memory", "4M")
        t = self.nbdtop("--latency-only", columns=120, rows=40)
        t.wait("LIVE, latencies only")
        handle = client.connect(self.uri)
        for turn in range(10):
            handle.pwrite(b"x" * 65536, 65536 * turn)
            handle.pread(65536, 65536 * turn)
        handle.shutdown()
        t.wait("(0 open)", NO_VIOLATION)
        t.keys("6")
        t.wait(re.compile(r"READ +10 "), re.compile(r"WRITE +10 "))

    def test_heartbeat(self):
        """nbdaudit on an interface says on a terminal that it is there."""
        with Terminal(["-i", "lo", "port", "1"], 120, 20, program="nbdaudit",
                      shell="%s 2>/dev/tty") as t:
            t.wait("Listening on lo; interrupt")
            t.wait(re.compile(r"Listening on lo: \d+ frames, 0 dropped, 0 connections, "
                              "0 findings"))
            t.keys("C-c")

    def test_overwrite(self):
        """Nothing is overwritten without a question, where there is somebody to ask."""
        path = self.work / "there.pcapng"
        for program, options in (("nbdtop", ["-i", "lo", "-w"]), ("nbdaudit", ["-i", "lo", "-w"]),
                                 ("nbdaudit", ["-o"])):
            path.write_bytes(b"precious")
            arguments = [*options, path] + ([sample("simple")] if "-o" in options else [])
            with Terminal(arguments, program=program, shell="%s 2>/dev/tty") as t:
                t.wait("exists. Overwrite it? [y/N]")
                t.keys("Enter")
                self.assertEqual(t.status(), 2)
                self.assertEqual(path.read_bytes(), b"precious")
            with Terminal(arguments, program=program, shell="%s 2>/dev/tty") as t:
                t.wait("exists. Overwrite it? [y/N]")
                t.keys("y", "Enter")
                if program == "nbdtop":
                    t.wait("LIVE, saving")
                    t.quit()
                elif "-i" in options:
                    t.wait("Listening on")
                    t.keys("C-c")
                t.status()
                self.assertNotEqual(path.read_bytes(), b"precious")

    def test_refused(self):
        for arguments, said in ((["-i", "no-such-interface"], "no-such-interface"),
                                (["-i", "lo", "port", "nonsense"], "filter"),
                                (["-i", "lo", "-w", "/nonexistent/x"], "/nonexistent/x"),
                                (["-i", "lo", "-Z", "no-such-user"], "no-such-user")):
            with Terminal(arguments) as t:
                self.assertEqual(t.status(), 2)
                self.assertIn(said, t.errors())


if __name__ == "__main__":
    unittest.main(verbosity=2)
