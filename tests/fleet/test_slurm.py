#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A folder of captures as a Slurm job array, by a real slurmctld and slurmd of our own."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import fleet

ARRAY = fleet.ROOT / "examples" / "slurm" / "nbdaudit-array"
NEEDS = ("slurmctld", "slurmd", "sbatch", "sinfo", "scancel")
CONFIG = """ClusterName=nbdscope
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd.pid
SlurmctldLogFile={here}/slurmctld.log
SlurmdLogFile={here}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={processors} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=5 State=UP
"""


def skip(why):
    print("skipped: " + why)
    sys.exit(1 if os.environ.get("NBDSCOPE_REQUIRE_PEERS") else 77)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


class Cluster:
    """One node on this machine; ends with everything that it started."""

    def __init__(self, here):
        self.here = here
        self.daemons = []
        for name in ("state", "spool"):
            (here / name).mkdir()
        controller, node = free_ports(2)
        self.config = here / "slurm.conf"
        self.config.write_text(CONFIG.format(
            here=here, controller=controller, node=node, host=socket.gethostname().split(".")[0],
            processors=os.cpu_count()))
        (here / "cgroup.conf").write_text("CgroupAutomount=no\n")
        self.env = dict(os.environ, SLURM_CONF=str(self.config), LC_ALL="C.UTF-8",
                        NBDAUDIT=str(fleet.BIN / "nbdaudit"))

    def start(self):
        for name in ("slurmctld", "slurmd"):
            with (self.here / (name + ".out")).open("w") as out:
                self.daemons.append(subprocess.Popen(
                    [shutil.which(name), "-D", "-f", self.config], stdin=subprocess.DEVNULL, stdout=out,
                    stderr=out, env=self.env, start_new_session=True))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            said = subprocess.run(["sinfo", "-h", "-o", "%T"], env=self.env, timeout=30,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            if said.stdout.strip() == "idle":
                return
            if any(d.poll() is not None for d in self.daemons):
                break
            time.sleep(0.1)
        raise RuntimeError("Slurm did not come up:\n" + "".join(
            (self.here / name).read_text()[-2000:] for name in (
                "slurmctld.out", "slurmd.out")))

    def stop(self):
        """Jobs first: what runs them belongs to nobody else."""
        if not self.daemons:
            return
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run(["scancel", "--user=root"], env=self.env, timeout=10,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for daemon in reversed(self.daemons):
            with contextlib.suppress(ProcessLookupError):
                daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(self.daemons):
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            # slurmd leaves its stepds in groups of their own, which end with their jobs
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait(10)
        self.daemons = []
        for stepd in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(stepd, signal.SIGKILL)

    def left(self):
        """Processes that know this cluster."""
        mark = b"SLURM_CONF=" + os.fsencode(self.config)
        out = []
        for folder in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if int(folder.name) != os.getpid() and mark in (folder / "environ").read_bytes():
                    out.append(int(folder.name))
        return out


class Slurm(unittest.TestCase):
    maxDiff = 3000

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        cls.addClassCleanup(cls.folder.cleanup)
        cls.here = pathlib.Path(cls.folder.name)
        cls.cluster = Cluster(cls.here)
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.start()
        # As people have them: below each other, with blanks, and some that are something else.
        cls.captures = cls.here / "captures"
        (cls.captures / "one night").mkdir(parents=True)
        for name in ("multi-conn-unsafe.pcap", "simple.pcap", "fio.pcap.zst"):
            shutil.copy(fleet.SAMPLES / name, cls.captures / "one night")
        (cls.captures / "many servers.pcap").write_bytes(fleet.many_servers())
        (cls.captures / "notes.txt").write_text("no capture\n")
        # sbatch --wait looks at its job every ten seconds: the other tests run meanwhile.
        cls.waiting = cls.begin("-w", "-n", 3, "-t", 4, "-o", cls.here / "reports", cls.captures)

    @classmethod
    def begin(cls, *arguments):
        return subprocess.Popen([ARRAY, *map(str, arguments)], env=cls.cluster.env, cwd=cls.here,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def submit(self, *arguments):
        run = self.begin(*arguments)
        out, error = run.communicate(timeout=60)
        return run.returncode, out, error

    def merged(self, out):
        """The exit status of the merged report that comes into this folder."""
        deadline = time.monotonic() + 60
        while not (out / "status").exists() or not (out / "status").read_text():
            self.assertLess(time.monotonic(), deadline, "the report did not come")
            time.sleep(0.05)
        return int((out / "status").read_text())

    def test_z_folder(self):
        out = self.here / "reports"
        said, error = self.waiting.communicate(timeout=90)
        self.assertEqual(self.waiting.returncode, 1, said + error)  # as the merged report
        self.assertIn("4 captures in 3 shards, 4 tasks", said)
        self.assertEqual((out / "status").read_text(), "1\n")
        self.assertEqual(len(list((out / "parts").glob("*.json"))), 12)
        files = sorted(p for p in self.captures.rglob("*.pcap*"))
        whole, text, _ = fleet.nbdaudit("-f", "json", *files)
        whole, merged = fleet.lines(text), fleet.lines((out / "report.json").read_text())

        def plain(objects):
            drop = {"memory", "number"}
            return sorted(str(sorted((k, str(v)) for k, v in o.items() if k not in drop))
                          for o in objects)

        self.assertEqual(plain(whole), plain(merged))
        self.assertIn("violations: ", (out / "report.txt").read_text())
        # A second time there would be two reports in one folder.
        status, _, error = self.submit("-o", out, self.captures)
        self.assertEqual(status, 2)
        self.assertIn("already", error)

    def test_options(self):
        out = self.here / "options"
        status, said, error = self.submit(
            "-o", out, "-r", "--fail-on=never", "-r", "--severity=violation", "-s", "--mem=0",
            self.captures / "one night" / "multi-conn-unsafe.pcap",
            self.captures / "one night" / "simple.pcap", "--", "--exclusive", "--port=1234")
        self.assertEqual(status, 0, said + error)
        self.assertEqual(self.merged(out), 0)
        levels = {o["severity"] for o in fleet.lines((out / "report.json").read_text())
                  if o["type"] == "finding"}
        self.assertEqual(levels, {"violation"})

    def test_missing(self):
        """A task that dies, or a capture that is not whole, is told; the rest is reported."""
        out = self.here / "missing"
        cut = self.here / "cut.pcap"
        cut.write_bytes((fleet.SAMPLES / "simple.pcap").read_bytes()[:-7])
        dying = self.here / "nbdaudit"
        dying.write_text("#!/bin/sh\ncase \"$*\" in *--shard=2/2*multi-conn*) kill -9 $$;; esac\n"
                         "exec %s \"$@\"\n" % (fleet.BIN / "nbdaudit"))
        dying.chmod(0o755)
        self.cluster.env["NBDAUDIT"], before = str(dying), self.cluster.env["NBDAUDIT"]
        try:
            status, said, error = self.submit(
                "-n", 2, "-o", out, cut, fleet.SAMPLES / "multi-conn.pcap",
                fleet.SAMPLES / "simple.pcap")
        finally:
            self.cluster.env["NBDAUDIT"] = before
        self.assertEqual(status, 0, said + error)
        self.assertEqual(self.merged(out), 2)
        summaries = {o["capture"]: o["verdict"] for o in fleet.lines((out / "report.json").read_text())
                     if o["type"] == "summary"}
        log = (out / "merge.log").read_text()
        self.assertIn("3.json cannot be used: No such file", log)
        self.assertIn("shard 2 of 2 is missing", log)
        # The file that is cut says so itself.
        self.assertRegex(log, r"cut\.pcap: .*")
        self.assertEqual(len(summaries), 4)

    def test_bad_usage(self):
        for arguments in ((), ("-n", "0", self.captures), ("-n", "x", self.captures),
                          (self.here / "nothing",), ("-z",)):
            status, out, error = self.submit("-o", self.here / "bad", *arguments)
            self.assertEqual((status, out), (2, ""), error)
            self.assertNotEqual(error, "")

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()
        deadline = time.monotonic() + 5
        while cls.cluster.left() and time.monotonic() < deadline:
            time.sleep(0.05)
        left = cls.cluster.left()
        assert not left, "left behind: %s" % left


if __name__ == "__main__":
    lacking = [name for name in NEEDS if not shutil.which(name)]
    if lacking:
        skip("there is no " + ", ".join(lacking))
    if os.geteuid():
        skip("slurmd needs root")
    unittest.main()
