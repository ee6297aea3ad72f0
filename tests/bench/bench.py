#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Times nbdaudit beside what it is measured against; see scripts/bench.

    bench.py BINARIES FILE...

For each file a table: wall-clock and processor seconds, medians of runs in turn, and
how many times as long nbdaudit takes, as the median of the ratios of neighbouring runs
(so that a machine that is busy for a while is so for both), with the least and the most;
and what each had resident at most. TSHARK is the command to compare with, "tshark" if it
is not set.
"""

import os
import pwd
import shlex
import shutil
import statistics
import subprocess
import sys
import time

ROUNDS = 7
SLOW_ROUNDS = 3  # of tshark, which takes longest


def once(command):
    """Wall-clock and processor seconds of one run, and MiB resident."""
    start = time.perf_counter()
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    wall = time.perf_counter() - start
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode not in (0, 1, 3):
        sys.exit("%s ended with status %d" % (" ".join(command), running.returncode))
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def measure(binaries, path):
    readloop = os.path.join(binaries, "readloop")
    commands = {
        "nbdaudit": [os.path.join(binaries, "nbdaudit"), "--format=json", path],
        "pcap_next_ex loop": [readloop, path],
        "the same with XXH3": [readloop, "--hash", path],
    }
    if shutil.which("tcpdump"):
        # As who started this: else the file must be another user's to read.
        commands["tcpdump -w /dev/null"] = [
            "tcpdump", "-Z", pwd.getpwuid(os.geteuid()).pw_name, "-r", path, "-w", os.devnull]
    tshark = shlex.split(os.environ.get("TSHARK", "tshark"))
    if shutil.which(tshark[0]):
        commands["tshark -Y nbd -T fields"] = [
            *tshark, "-r", path, "-Y", "nbd", "-T", "fields", "-e", "frame.number"]

    once(commands["pcap_next_ex loop"])  # into the page cache
    times = {name: [] for name in commands}
    for turn in range(ROUNDS):
        for name, command in commands.items():
            if name.startswith("tshark") and turn >= SLOW_ROUNDS:
                continue
            times[name].append(once(command))

    size = os.path.getsize(path)
    wall = {name: statistics.median(run[0] for run in runs) for name, runs in times.items()}
    cpu = {name: statistics.median(run[1] for run in runs) for name, runs in times.items()}
    most = {name: max(run[2] for run in runs) for name, runs in times.items()}
    print("%s: %.0f MB, medians of %d runs in turn (tshark: %d)" % (
        path, size / 1e6, ROUNDS, SLOW_ROUNDS))
    print("%-26s %8s %8s %8s %8s %32s" % (
        "", "wall s", "cpu s", "MB/s", "MiB", "nbdaudit is (of cpu; min to max)"))
    for name in commands:
        ratio = ""
        if name != "nbdaudit":
            pairs = list(zip(times["nbdaudit"], times[name]))
            walls = [mine[0] / other[0] for mine, other in pairs]
            ratio = "%.2f x (%.2f x; %.2f to %.2f)" % (
                statistics.median(walls), cpu["nbdaudit"] / cpu[name], min(walls), max(walls))
        print("%-26s %8.3f %8.3f %8.0f %8.0f %32s" % (
            name, wall[name], cpu[name], size / 1e6 / wall[name], most[name], ratio), flush=True)


def main():
    for path in sys.argv[2:]:
        measure(sys.argv[1], path)


if __name__ == "__main__":
    main()
