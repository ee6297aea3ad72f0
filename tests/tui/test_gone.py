#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdtop whose terminal is taken away: it ends within a second, told by SIGHUP or, if
that is ignored as under nohup, by the terminal itself."""

import contextlib
import fcntl
import os
import pathlib
import pty
import select
import signal
import struct
import tempfile
import termios
import time
import unittest

from terminal import BIN, Terminal, runs, sample


@contextlib.contextmanager
def without_hangup(ignored):
    """What is started meanwhile ignores SIGHUP, or does not."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


class Gone(unittest.TestCase):
    def start(self, arguments, stdin=None):
        """nbdtop in a terminal that is this test's; once its screen is there."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(TERM="xterm-256color", LC_ALL="C.UTF-8")
            if stdin:
                os.dup2(os.open(stdin, os.O_RDONLY), 0)
            os.execv(BIN / "nbdtop", ["nbdtop", *map(str, arguments)])
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        said, end = b"", time.monotonic() + 8
        while b"Quit" not in said:
            self.assertLess(time.monotonic(), end, said)
            if select.select([terminal], [], [], 0.1)[0]:
                said += os.read(terminal, 65536)
        return pid, terminal

    def ends(self, pid):
        begin = time.monotonic()
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() - begin > 1:
                stat = pathlib.Path("/proc/%d/stat" % pid).read_text()
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self.fail("it is still there: " + stat)
            time.sleep(0.01)

    def test_terminal_closed(self):
        for ignored in (False, True):
            for arguments, stdin in (([sample("simple")], None), (["-"], sample("fio")),
                                     (["--replay=0.1", sample("multi-conn")], None)):
                with self.subTest(arguments=arguments, ignored=ignored), without_hangup(ignored):
                    pid, terminal = self.start(arguments, stdin)
                    os.close(terminal)
                    self.ends(pid)

    def test_while_it_waits(self):
        """Nothing comes: neither packets nor keys."""
        with tempfile.TemporaryDirectory() as work:
            path = pathlib.Path(work) / "fifo"
            os.mkfifo(path)
            for ignored in (False, True):
                for options in ([], ["--replay=1"]):
                    with self.subTest(options=options, ignored=ignored), without_hangup(ignored):
                        pipe = os.open(path, os.O_RDWR)
                        os.write(pipe, sample("simple").read_bytes()[:5000])
                        pid, terminal = self.start([*options, path])
                        os.close(terminal)
                        self.ends(pid)
                        os.close(pipe)

    def test_nobody_reads(self):
        """The terminal takes no more text, as a line that has gone dead, and then goes."""
        for ignored in (False, True):
            with self.subTest(ignored=ignored), without_hangup(ignored):
                pid, terminal = self.start([sample("multi-conn")])
                for key in b"1234567" * 40:
                    os.write(terminal, bytes([key]))
                    time.sleep(0.005)
                os.close(terminal)
                self.ends(pid)

    def test_tmux_killed(self):
        for ignored in (False, True):
            with self.subTest(ignored=ignored), \
                    Terminal([sample("simple")],
                             shell="(trap '' HUP; %s)" if ignored else None) as t:
                t.wait("1 connection")
                pid = t.pid()
                t.tmux("kill-server")
                end = time.monotonic() + 1
                while runs(pid):
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.01)


if __name__ == "__main__":
    unittest.main(verbosity=2)
