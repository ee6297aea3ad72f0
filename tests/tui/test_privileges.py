#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What nbdtop and nbdaudit may do once the interface is open: nothing. As root, with a
file capability, and without either."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from terminal import BIN, HERE, Terminal

sys.path.insert(0, str(HERE.parent / "live"))
import peers  # noqa: E402,F401  it ends the program where live tests cannot be run

NOBODY = 65534


def status(pid):
    """Of every thread: the lines of /proc/PID/task/TID/status by name."""
    threads = []
    for task in pathlib.Path("/proc/%d/task" % pid).iterdir():
        lines = (task / "status").read_text().splitlines()
        threads.append({name: value.strip() for name, _, value in
                        (line.partition(":") for line in lines)})
    return threads


def has_watcher():
    """ThreadSanitizer has a thread of its own in the program."""
    return b"__tsan_init" in (BIN / "nbdtop").read_bytes()


def has_reader():
    """Where there are two processors packets are read by a thread of their own."""
    return len(os.sched_getaffinity(0)) > 1


def sanitized():
    """Sanitizers need what the sandbox forbids: there is none then."""
    data = (BIN / "nbdtop").read_bytes()
    return b"__asan_init" in data or b"__tsan_init" in data


class Privileges(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root can begin as root")

    def check(self, pid, uid):
        threads = status(pid)
        for thread in threads:
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                self.assertEqual(int(thread[kind], 16), 0, (kind, thread))
            self.assertEqual(thread["NoNewPrivs"], "1")
            self.assertEqual(set(thread["Uid"].split()), {str(uid)})
            self.assertNotIn("0", thread["Gid"].split())
            self.assertEqual(thread["Groups"], "")
        return threads

    def usual_user(self):
        run = subprocess.run(["id", "-u", "tcpdump"], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
        return int(run.stdout) if run.returncode == 0 else NOBODY

    def test_root(self):
        with Terminal(["-i", "lo"]) as t:
            t.wait("LIVE")
            threads = self.check(t.pid(), self.usual_user())
            self.assertEqual(len(threads), 2 + has_reader() + has_watcher())
            for thread in threads:
                self.assertEqual(int(thread["CapBnd"], 16), 0)
                self.assertEqual(thread["Seccomp"], "0" if sanitized() else "2")
            self.assertEqual(set(self.priorities(t.pid())), set(self.hurried([0])))
            self.assertEqual(t.quit(), 0)

    @staticmethod
    def priorities(pid):
        """The nice values of the threads."""
        return sorted(os.getpriority(os.PRIO_PROCESS, int(task.name))
                      for task in pathlib.Path("/proc/%d/task" % pid).iterdir())

    @staticmethod
    def hurried(others):
        """What is watched must not starve the one thread that captures, where root may
        say so."""
        own = int(status(os.getpid())[0]["CapEff"], 16)
        may = own >> 23 & 1 and os.getpriority(os.PRIO_PROCESS, 0) == 0
        return sorted([-10 if may else os.getpriority(os.PRIO_PROCESS, 0), *others])

    def test_chosen_user(self):
        with Terminal(["-i", "lo", "-Z", "nobody"]) as t:
            t.wait("LIVE")
            self.check(t.pid(), NOBODY)

    def test_root_stays(self):
        """When asked for, and without any capability all the same."""
        with Terminal(["-i", "lo", "--relinquish-privileges=root"]) as t:
            t.wait("LIVE")
            for thread in status(t.pid()):
                self.assertEqual(int(thread["CapEff"], 16), 0)
                self.assertEqual(int(thread["CapPrm"], 16), 0)
                self.assertEqual(thread["NoNewPrivs"], "1")

    def test_saved_file(self):
        """Packets hold the contents of disks. What root saves is root's, though another
        user writes it by then, and nobody else can read it."""
        work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-privileges-"))
        self.addCleanup(shutil.rmtree, work)
        with Terminal(["-i", "lo", "-w", work / "top.pcapng"]) as t:
            t.wait("LIVE, saving")
            self.assertEqual(t.quit(), 0)
        process = self.audit(BIN / "nbdaudit", "-i", "lo", "-w", work / "audit.pcapng")
        process.terminate()
        process.wait()
        for name in ("top.pcapng", "audit.pcapng"):
            found = (work / name).stat()
            self.assertEqual((found.st_mode & 0o777, found.st_uid), (0o600, 0), name)

    def test_saved_later(self):
        """Where root started it, a file can be made after root has become another user,
        and is root's; elsewhere only where that user may. Nothing is overwritten."""
        work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-privileges-"))
        self.addCleanup(shutil.rmtree, work)
        elsewhere = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-privileges-"))
        self.addCleanup(shutil.rmtree, elsewhere)
        with Terminal(["-i", "lo"], columns=150, shell="cd %s && %%s" % work) as t:
            t.wait("LIVE")

            def save(name, said):
                t.keys("w")
                t.wait("Save to:")
                t.type(name)
                t.keys("Enter")
                t.wait(said)

            save("screen.txt", "Saved to screen.txt")
            save("screen.txt", "File exists")
            save(".screen", "may begin with a dot")
            save(str(elsewhere / "x.txt"), "Permission denied, as privileges were given up")
            save("packets.pcapng", "packets go to packets.pcapng")
            self.assertEqual(t.quit(), 0)
        for name in ("screen.txt", "packets.pcapng"):
            found = (work / name).stat()
            self.assertEqual((found.st_mode & 0o777, found.st_uid), (0o600, 0), name)
        self.assertEqual(list(elsewhere.iterdir()), [])

    def audit(self, *command):
        process = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        end = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < end:
            threads = status(process.pid)
            if threads and all(thread["NoNewPrivs"] == "1" for thread in threads):
                return process
            time.sleep(0.02)
        raise AssertionError("nbdaudit kept its privileges: %s" % process.stderr.read(300))

    def test_nbdaudit(self):
        pid = self.audit(BIN / "nbdaudit", "-i", "lo").pid
        self.check(pid, self.usual_user())
        self.assertEqual(set(self.priorities(pid)), set(self.hurried([])))

    def test_nice(self):
        """A priority that the user chose is kept."""
        process = self.audit("nice", "-n", "3", BIN / "nbdaudit", "-i", "lo")
        self.assertEqual(set(self.priorities(process.pid)), {3})

    def test_session(self):
        """Where sessions share the processors, that of the watcher comes first, and only as
        long as it watches."""
        mine = pathlib.Path("/proc/self/autogroup")
        if not mine.exists() or not mine.read_text().strip() or self.hurried([]) != [-10]:
            self.skipTest("sessions have no share here")
        # in the foreground: else timeout(1) sends the signal twice, which ends all at once
        script = 'timeout --foreground 30 "$0" -i lo >/dev/null 2>&1 & for i in $(seq 100); do ' \
            'grep -q -e -10 /proc/self/autogroup && break; sleep 0.1; done; ' \
            'cat /proc/self/autogroup; sleep 0.3; kill -TERM $!; wait $!; cat /proc/self/autogroup'
        run = subprocess.run(["bash", "-c", script, BIN / "nbdaudit"], start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                             timeout=60)
        self.assertEqual([line.split()[-1] for line in run.stdout.splitlines()], ["-10", "0"])

    def copies(self):
        """The programs where nobody can run them."""
        work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-privileges-"))
        self.addCleanup(shutil.rmtree, work)
        work.chmod(0o755)
        for program in ("nbdtop", "nbdaudit"):
            shutil.copy(BIN / program, work / program)
        return work

    def as_nobody(self, program, *arguments):
        return ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups",
                "--inh-caps=-all", program, *arguments]

    def test_capability(self):
        """A program that has been given the capability works without root, and has it no
        more afterwards."""
        work = self.copies()
        for program in ("nbdtop", "nbdaudit"):
            given = subprocess.run(["setcap", "cap_net_raw+ep", work / program],
                                   stderr=subprocess.PIPE, text=True)
            if given.returncode:
                self.skipTest("file capabilities do not work here: " + given.stderr)
        process = self.audit(*self.as_nobody(work / "nbdaudit", "-i", "lo"))
        self.check(process.pid, NOBODY)
        with Terminal(self.as_nobody(work / "nbdtop", "-i", "lo")[1:],
                      program="/usr/bin/setpriv") as t:
            t.wait("LIVE")
            self.check(t.pid(), NOBODY)
            self.assertEqual(t.quit(), 0)

    def test_none(self):
        """It says what is missing and how to give it."""
        work = self.copies()
        for program in ("nbdtop", "nbdaudit"):
            if program == "nbdaudit":
                run = subprocess.run(self.as_nobody(work / program, "-i", "lo"),
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True, timeout=10)
                code, said = run.returncode, run.stderr
            else:
                with Terminal(self.as_nobody(work / program, "-i", "lo")[1:],
                              program="/usr/bin/setpriv") as t:
                    code, said = t.status(), t.errors()
            self.assertEqual(code, 2)
            self.assertRegex(said, re.escape("no permission to capture on lo"))
            self.assertIn("setcap cap_net_raw+ep %s" % (work / program), said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
