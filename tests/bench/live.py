#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Do nbdtop and nbdaudit lose packets where tcpdump does not?

    live.py BINARIES [--curve] [BLOCKSIZE...]

For each block size: fio reads and writes over four connections to nbdkit, on the
loopback interface. The highest rate is searched at which `tcpdump -w /dev/null` with
the same buffer loses nothing; then tcpdump, nbdaudit -i and nbdtop (in a terminal made
by tmux) look on, one after the other, each with its own load at that rate. Prints what
each lost, and the seconds of processor time that it took for each GB on the wire. Ends
with status 1 if one of ours lost packets. Needs root, and a machine with little else to
do.

With --curve: what each of them loses at a fifth, two fifths and so on of the rate at which
the load goes by itself, and at that.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tui"))

PORT = 10977
# KiB: what nbdaudit and nbdtop ask for, a 64th of the memory from 32 to 256 MiB.
MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
BUFFER = min(max(MEMORY // 64, 32 << 20), 256 << 20) >> 10
SEARCH_SECONDS, SECONDS = 4, 10
SEARCHES = 5
STEPS = 5  # of the curve
SETTLE = 2  # seconds for the last packets to come
FILTER = ["tcp", "port", str(PORT)]


def processor_seconds(pid):
    fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Load:
    """fio to nbdkit at most at so many requests a second (0: as fast as it goes)."""

    def __init__(self, size, rate, seconds):
        command = ["fio", "--name=load", "--ioengine=nbd", "--uri=nbd://127.0.0.1:%d/" % PORT,
                   "--rw=randrw", "--bs=%s" % size, "--iodepth=16", "--numjobs=4",
                   "--size=64M", "--offset_increment=64M", "--fsync=256", "--time_based",
                   "--runtime=%d" % seconds, "--group_reporting", "--output-format=json",
                   "--thread", "--randrepeat=1"]
        if rate:
            # For each job, and for reads and writes each.
            command.append("--rate_iops=%d" % max(1, rate // 8))
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, check=True)
        job = json.loads(run.stdout[run.stdout.index(b"{"):])["jobs"][0]
        self.bytes = job["read"]["io_bytes"] + job["write"]["io_bytes"]
        self.rate = round(job["read"]["iops"] + job["write"]["iops"])
        self.seconds = job["read"]["runtime"] / 1000


class Seen:
    def __init__(self, packets, dropped, seconds, load):
        self.packets, self.dropped, self.seconds, self.load = packets, dropped, seconds, load


def tcpdump(_, size, rate, seconds):
    watcher = subprocess.Popen(["tcpdump", "-i", "lo", "-s0", "-B", str(BUFFER), "-w",
                                os.devnull, *FILTER], stdin=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    while "listening on" not in watcher.stderr.readline():
        assert watcher.poll() is None, "tcpdump cannot capture"
    load = Load(size, rate, seconds)
    time.sleep(SETTLE)
    used = processor_seconds(watcher.pid)
    watcher.send_signal(signal.SIGINT)
    said = watcher.communicate()[1]
    return Seen(int(re.search(r"(\d+) packets? captured", said)[1]),
                int(re.search(r"(\d+) packets? dropped by kernel", said)[1]), used, load)


def nbdaudit(binaries, size, rate, seconds):
    with tempfile.TemporaryFile("w+") as out:
        watcher = subprocess.Popen([binaries / "nbdaudit", "-f", "json", "-i", "lo", *FILTER],
                                   stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.DEVNULL)
        time.sleep(1)
        load = Load(size, rate, seconds)
        time.sleep(SETTLE)
        used = processor_seconds(watcher.pid)
        watcher.send_signal(signal.SIGINT)
        watcher.wait()
        out.seek(0)
        report = [json.loads(line) for line in out]
    (capture,) = [line for line in report if line["type"] == "capture-end"]
    assert report[-1]["findings"]["violation"] == 0
    return Seen(capture["frames"], capture.get("dropped", 0), used, load)


def nbdtop(_, size, rate, seconds):
    from terminal import Terminal

    with Terminal(["-i", "lo", *FILTER], 120, 40) as t:
        t.wait("LIVE")
        pid = t.pid()
        load = Load(size, rate, seconds)
        time.sleep(SETTLE)
        used = processor_seconds(pid)
        assert t.quit() == 0, t.errors()
        words = re.search(r" (\d+) violations?.* (\d+) packets?, (\d+)\s+dropped",
                          t.text().replace("\n", " "))
        assert words[1] == "0"
        return Seen(int(words[2]), int(words[3]), used, load)


def highest(size):
    """The highest rate (0: any) at which tcpdump loses nothing."""
    seen = tcpdump(None, size, 0, SEARCH_SECONDS)
    print("%-6s as fast as it goes: %d requests/s, %.0f MB/s, tcpdump loses %d of %d" % (
        size, seen.load.rate, seen.load.bytes / seen.load.seconds / 1e6, seen.dropped,
        seen.packets + seen.dropped), flush=True)
    if not seen.dropped:
        return 0
    low, high = 0, seen.load.rate
    for _ in range(SEARCHES):
        middle = (low + high) // 2
        seen = tcpdump(None, size, middle, SEARCH_SECONDS)
        print("%-6s %d requests/s: tcpdump loses %d" % (size, seen.load.rate, seen.dropped),
              flush=True)
        low, high = (low, middle) if seen.dropped else (middle, high)
    return low


def curve(binaries, size):
    """What is lost at each of several rates, the last one as fast as it goes."""
    fastest = Load(size, 0, SEARCH_SECONDS).rate
    print("%-6s %10s %8s %26s %26s %26s" % ("", "requests/s", "MB/s", "tcpdump", "nbdaudit",
                                            "nbdtop"))
    for step in range(1, STEPS + 1):
        rate = fastest * step // STEPS if step < STEPS else 0
        seen = [watch(binaries, size, rate, SEARCH_SECONDS)
                for watch in (tcpdump, nbdaudit, nbdtop)]
        print("%-6s %10d %8.0f " % (size, seen[0].load.rate,
                                    seen[0].load.bytes / seen[0].load.seconds / 1e6) +
              " ".join("%16s (%6.2f %%)" % (
                  "%d of %d" % (s.dropped, s.packets + s.dropped),
                  100 * s.dropped / max(1, s.packets + s.dropped)) for s in seen), flush=True)


def compare(binaries, size):
    """At the highest rate at which tcpdump loses nothing: did one of ours lose packets?"""
    lost = False
    rate = highest(size)
    print("%-6s %-10s %10s %8s %10s %8s %8s %10s" % (
        "", "", "packets", "lost", "requests/s", "MB/s", "cpu s", "cpu s/GB"))
    for name, watch in (("tcpdump", tcpdump), ("nbdaudit", nbdaudit), ("nbdtop", nbdtop)):
        seen = watch(binaries, size, rate, SECONDS)
        lost |= name != "tcpdump" and seen.dropped > 0
        print("%-6s %-10s %10d %8d %10d %8.0f %8.2f %10.2f" % (
            size, name, seen.packets, seen.dropped, seen.load.rate,
            seen.load.bytes / seen.load.seconds / 1e6, seen.seconds,
            seen.seconds / (seen.load.bytes / 1e9)), flush=True)
    return lost


def main():
    binaries = pathlib.Path(sys.argv[1]).resolve()
    curves = sys.argv[2:3] == ["--curve"]
    sizes = sys.argv[3 if curves else 2:] or ["4k", "16k", "64k", "256k"]
    os.environ["NBDSCOPE_BIN"] = str(binaries)
    lost = False
    work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-bench-"))
    server = subprocess.Popen(["nbdkit", "-f", "-i", "127.0.0.1", "-p", str(PORT), "-P",
                               work / "ready", "memory", "256M"], stdin=subprocess.DEVNULL)
    try:
        while not (work / "ready").exists():
            assert server.poll() is None, "nbdkit has ended"
            time.sleep(0.05)
        for size in sizes:
            if curves:
                curve(binaries, size)
            else:
                lost |= compare(binaries, size)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(work)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
