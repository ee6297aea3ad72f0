#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Times nbdaudit beside what it is measured against; see scripts/bench.

    bench.py BINARIES FILE...

For each file a table: wall-clock and processor seconds, medians of runs in turn, and
how many times as long nbdaudit takes, as the median of the ratios of neighbouring runs
(so that a machine that is busy for a while is so for both), with the least and the most.
"""

import os
import pwd
import resource
import shutil
import statistics
import subprocess
import sys
import time

ROUNDS = 7
SLOW_ROUNDS = 3  # of tshark, which takes longest


def once(command):
    """Wall-clock and processor seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL).returncode
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status not in (0, 1, 3):
        sys.exit("%s ended with status %d" % (" ".join(command), status))
    return wall, (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


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
    if shutil.which("tshark"):
        commands["tshark -Y nbd -T fields"] = [
            "tshark", "-r", path, "-Y", "nbd", "-T", "fields", "-e", "frame.number"]

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
    print("%s: %.0f MB, medians of %d runs in turn (tshark: %d)" % (
        path, size / 1e6, ROUNDS, SLOW_ROUNDS))
    print("%-26s %8s %8s %8s %32s" % (
        "", "wall s", "cpu s", "MB/s", "nbdaudit is (of cpu; min to max)"))
    for name in commands:
        ratio = ""
        if name != "nbdaudit":
            pairs = list(zip(times["nbdaudit"], times[name]))
            walls = [mine[0] / other[0] for mine, other in pairs]
            ratio = "%.2f x (%.2f x; %.2f to %.2f)" % (
                statistics.median(walls), cpu["nbdaudit"] / cpu[name], min(walls), max(walls))
        print("%-26s %8.3f %8.3f %8.0f %32s" % (
            name, wall[name], cpu[name], size / 1e6 / wall[name], ratio), flush=True)


def main():
    for path in sys.argv[2:]:
        measure(sys.argv[1], path)


if __name__ == "__main__":
    main()
