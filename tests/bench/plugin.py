#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Times tshark with the plugin beside tshark without; see scripts/bench.

    plugin.py PLUGIN FILE...

Each prints its usual lines for all frames, and reassembles TCP. Exit status 1: the
plugin takes more than 1.1 times as long as tshark that dissects no NBD, or more than 1.3
times its memory.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import time
from operator import truediv

MOST_TIME, MOST_MEMORY = 1.1, 1.3
ROUNDS = 5

PLUGIN = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "").resolve()
os.environ["NBDSCOPE_PLUGIN"] = str(PLUGIN)
sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "plugin"))
import shark # noqa: E402


def once(which, stream, *argv):
    """Wall-clock and processor seconds of one run, and the most that was resident (MiB)."""
    # The file is standard input: whoever tshark runs as need not reach it.
    command = ["tshark", "-r", "-", "-n", "-o", "tcp.desegment_tcp_streams:TRUE", *argv]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=%d" % shark.NOBODY, "--regid=%d" % shark.NOBODY,
                   "--clear-groups"] + command
    stream.seek(0)
    start = time.perf_counter()
    with subprocess.Popen(command, env=which.env, stdin=stream, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, cwd=which.dir) as run:
        said = run.stderr.read()
        status, used = os.wait4(run.pid, 0)[1:]
        run.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if run.returncode:
        sys.exit("tshark ended with status %d: %s" % (run.returncode, said.decode()))
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    plugin, plain = shark.Shark(PLUGIN), shark.Shark(None)
    ways = {
        "no NBD": (plain, "--disable-protocol", "nbd"),
        "built-in dissector": (plain,),
        "plugin": (plugin,),
        "plugin, no NBD": (plugin, "--disable-protocol", "nbd"),
        "plugin, -Y nbd.error": (plugin, "-Y", "nbd.error"),
        "no NBD, -Y tcp.flags.reset": (plain, "--disable-protocol", "nbd", "-Y", "tcp.flags.reset"),
    }
    much = False
    for path in sys.argv[2:]:
        times = {name: [] for name in ways}
        with open(path, "rb") as stream:
            once(plain, stream)  # into the page cache
            for _ in range(ROUNDS):
                for name, way in ways.items():
                    times[name].append(once(way[0], stream, *way[1:]))
        median = {name: [statistics.median(column) for column in zip(*runs)]
                  for name, runs in times.items()}
        base = median["no NBD"]
        print("%s: %.0f MB, tshark %s.%s, medians of %d runs in turn" % (
            path, os.path.getsize(path) / 1e6, *plain.version, ROUNDS))
        print("%-28s %8s %8s %8s %28s" % ("tshark with", "wall s", "cpu s", "MiB",
                                          "times no NBD"))
        for name, took in median.items():
            print("%-28s %8.2f %8.2f %8.0f %28s" % (
                name, *took, "%.2f x, %.2f x, %.2f x" % tuple(map(truediv, took, base))))
        much |= (median["plugin"][0] > MOST_TIME * base[0]
                 or median["plugin"][2] > MOST_MEMORY * base[2])
    return 1 if much else 0


if __name__ == "__main__":
    sys.exit(main())
