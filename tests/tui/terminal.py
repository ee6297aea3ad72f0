# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdtop in a terminal of its own, made by tmux: keys in, screens out.

    with Terminal(["samples/fio.pcap.zst"], columns=80, rows=24) as t:
        t.wait("6 connections")
        t.keys("4")
        self.assertIn("NBD_CMD_WRITE", t.text())

Importing this module ends the program with exit status 77, a skip, if there is no
tmux; with NBDSCOPE_REQUIRE_PEERS set that is a failure instead.
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
SAMPLES = pathlib.Path(os.environ.get("NBDSCOPE_SAMPLES", ROOT / "samples"))

SECONDS = 8  # the longest that anything is waited for

SIZES = [(80, 24), (120, 40), (200, 60)]


def runs(pid):
    """The process is there, and is more than a memory of its parent."""
    try:
        stat = pathlib.Path("/proc/%s/stat" % pid).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class Terminal:
    """A terminal with nbdtop in it. Its exit status is known once it has ended."""

    count = 0

    def __init__(self, arguments, columns=80, rows=24, environment=None, program="nbdtop",
                 shell=None):
        Terminal.count += 1
        self.socket = "nbdtop-test-%d-%d" % (os.getpid(), Terminal.count)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-tui-"))
        self.columns, self.rows = columns, rows
        # Nobody's own setup has a say in it.
        variables = {"LC_ALL": "C.UTF-8", "TERM": "screen-256color", "HOME": str(self.work),
                     "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", ""),
                     "UBSAN_OPTIONS": os.environ.get("UBSAN_OPTIONS", ""),
                     "LSAN_OPTIONS": "print_suppressions=0:suppressions=%s" % (
                         HERE / "lsan.suppressions")}
        variables.update(environment or {})
        command = "exec env -u NO_COLOR -u XDG_CONFIG_HOME %s %s %s 2>%s" % (
            " ".join("%s=%s" % (name, shlex.quote(value)) for name, value in variables.items()),
            shlex.quote(str(BIN / program)), " ".join(shlex.quote(str(a)) for a in arguments),
            shlex.quote(str(self.work / "errors")))
        if shell:
            command = shell % command.replace("exec ", "", 1)
        script = self.work / "run"
        # The screen stays as the program left it, for a look at its last words.
        # A Ctrl-C is for nbdtop, not for the shell around it.
        script.write_text("trap : INT\n(%s)\necho $? >%s\nmv %s %s\nsleep 1000\n" % (
            command, self.work / "status.new", self.work / "status.new", self.work / "status"))
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", rows,
                  "sh %s" % script)
        self.tmux("set", "-g", "status", "off")
        self.tmux("resize-window", "-x", columns, "-y", rows)

    def tmux(self, *arguments):
        run = subprocess.run(["tmux", "-L", self.socket, *map(str, arguments)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, timeout=SECONDS)
        if run.returncode:
            raise AssertionError("tmux %s: %s" % (arguments, run.stderr.decode()))
        return run.stdout.decode()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        if not self.work.exists():
            return
        try:
            pid = self.tmux("list-panes", "-F", "#{pane_pid}").strip()
            self.tmux("kill-server")
        except AssertionError:
            pid = None  # the test has done so
        # What the shell has started ends with its terminal; be sure of it.
        end = time.monotonic() + SECONDS
        while pid and runs(pid) and time.monotonic() < end:
            time.sleep(0.01)
        shutil.rmtree(self.work)

    # Keys

    def keys(self, *keys):
        """Keys by tmux's names: "F1", "Enter", "Escape", "C-l", "x"."""
        self.tmux("send-keys", "-t", "0", *keys)

    def type(self, text):
        self.tmux("send-keys", "-t", "0", "-l", text)

    def click(self, x, y, button=0):
        """A mouse button (64, 65: the wheel) at a column and row, both from 0."""
        for code in (button, 3) if button < 64 else (button,):  # 3: let go
            codes = [0x1b, 0x5b, 0x4d, 32 + code, 33 + x, 33 + y]
            self.tmux("send-keys", "-t", "0", "-H", *("%x" % code for code in codes))

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.tmux("resize-window", "-x", columns, "-y", rows)

    # Screens

    def lines(self):
        """The screen, row by row."""
        text = self.tmux("capture-pane", "-p", "-t", "0")
        return text.split("\n")[:self.rows]

    def text(self):
        return "\n".join(self.lines())

    def escapes(self):
        """The screen with the sequences that colour it."""
        return self.tmux("capture-pane", "-p", "-e", "-t", "0")

    def row_with(self, text):
        for number, line in enumerate(self.lines()):
            if text in line:
                return number
        raise AssertionError("%r is not on the screen:\n%s" % (text, self.text()))

    def wait(self, *texts, gone=(), seconds=SECONDS):
        """Waits until all of these (strings or patterns) are on the screen, and none of
        those in gone. Returns the seconds that it took."""
        begin = time.monotonic()
        while True:
            screen = self.text()
            missing = [t for t in texts if not (t.search(screen) if hasattr(t, "search")
                                                else t in screen)]
            still = [t for t in gone if t in screen]
            took = time.monotonic() - begin
            if not missing and not still:
                return took
            if took > seconds:
                raise AssertionError("after %.1f s: missing %r, still there %r, in\n%s\n%s" % (
                    took, missing, still, screen, self.errors()))
            time.sleep(0.03)

    def wait_frame(self):
        """Waits until the screen has been drawn at the terminal's size."""
        end = time.monotonic() + SECONDS
        while True:
            lines = self.lines()
            if len(lines) == self.rows and "F10Quit" in lines[-1] and \
                    lines[0].startswith("nbdtop "):
                return
            if time.monotonic() > end:
                raise AssertionError("no frame of %dx%d:\n%s" % (
                    self.columns, self.rows, "\n".join(lines)))
            time.sleep(0.03)

    def errors(self):
        path = self.work / "errors"
        return path.read_text(errors="replace") if path.exists() else ""

    def pid(self):
        """The process id of nbdtop."""
        pane = int(self.tmux("list-panes", "-F", "#{pane_pid}"))
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            todo = [pane]
            while todo:
                parent = todo.pop()
                try:
                    children = pathlib.Path("/proc/%d/task/%d/children" % (parent, parent))
                    for child in map(int, children.read_text().split()):
                        name = pathlib.Path("/proc/%d/comm" % child).read_text().strip()
                        if name in ("nbdtop", "nbdaudit"):
                            return child
                        todo.append(child)
                except FileNotFoundError:
                    pass
            time.sleep(0.02)
        raise AssertionError("no nbdtop is running: %s" % self.errors())

    def status(self):
        """Waits for the end of nbdtop and returns its exit status."""
        path = self.work / "status"
        end = time.monotonic() + SECONDS
        while not path.exists():
            if time.monotonic() > end:
                raise AssertionError("nbdtop has not ended:\n%s" % self.text())
            time.sleep(0.02)
        return int(path.read_text())

    def quit(self):
        """Ends nbdtop and returns its exit status."""
        self.keys("q")
        return self.status()


def sample(name):
    (path,) = [p for p in SAMPLES.glob(name + ".pcap*")]
    return path


def end_where_there_is_no_terminal():
    if shutil.which("tmux"):
        return
    print("there is no tmux: nbdtop's screens cannot be tested")
    sys.exit(1 if os.environ.get("NBDSCOPE_REQUIRE_PEERS") else 77)


end_where_there_is_no_terminal()
