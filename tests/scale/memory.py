#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# memory.py NBDAUDIT|NBDTOP SCALE [MIB...] [SHAPE...]
#
# Does --memory bound all state?  Traffic that makes an auditor large (tests/scale/shapes.c)
# is audited, and what the program took at most is asked of the kernel: it stays below
# --memory and 32 MiB.  Above 64 MiB there is as much more traffic as memory (--times=N:
# N times as much).  With --table the numbers are printed and nothing fails.
import os
import pty
import select
import subprocess
import sys
import tempfile

SLACK = 32

def measure(nbdaudit, scale, shape, count, mib, form):
    """Exit status, MiB of resident memory, seconds of processor time."""
    if form == "top":
        return measure_top(nbdaudit, scale, shape, count, mib)
    source = subprocess.Popen([scale, "--write", shape, count], stdout=subprocess.PIPE)
    pid = os.posix_spawn(nbdaudit,
                         [nbdaudit, f"--memory={mib}M", "-f", form, "-o", "/dev/null", "-"],
                         os.environ,
                         file_actions=[(os.POSIX_SPAWN_DUP2, source.stdout.fileno(), 0)])
    source.stdout.close()
    _, status, usage = os.wait4(pid, 0)
    source.wait()
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024, \
        usage.ru_utime + usage.ru_stime

def measure_top(nbdtop, scale, shape, count, mib):
    """The same of nbdtop, which reads a file and is left when it has."""
    with tempfile.NamedTemporaryFile(suffix=".pcap") as capture:
        subprocess.run([scale, "--write", shape, count], stdout=capture, check=True)
        pid, fd = pty.fork()
        if pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(nbdtop, [nbdtop, f"--memory={mib}M", capture.name])
        before, still = -1, 0
        while still < 10: # processor time does not grow any more: all was read
            try:
                while select.select([fd], [], [], 0.2)[0]:
                    os.read(fd, 65536)
            except OSError:
                break
            with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            ticks, before = int(fields[11]) + int(fields[12]), before
            still = still + 1 if ticks - before <= 1 else 0
            before = ticks
        os.write(fd, b"q")
        _, status, usage = os.wait4(pid, 0)
        os.close(fd)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024, \
        usage.ru_utime + usage.ru_stime

def main():
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    table = "--table" in sys.argv
    times = [float(word[8:]) for word in sys.argv if word.startswith("--times=")]
    nbdaudit, scale = words[:2]
    form = "top" if os.path.basename(nbdaudit).startswith("nbdtop") else "json"
    limits = [int(word) for word in words[2:] if word.isdigit()] or [64]
    only = [word for word in words[2:] if not word.isdigit()]
    shapes = [line.split() for line in
              subprocess.check_output([scale, "--list"], text=True).splitlines()]
    bad = 0
    for shape, count in shapes:
        if count == "0" or (only and shape not in only):
            continue
        for mib in limits:
            many = int(int(count) * (times[0] if times else max(1, mib / 64)))
            status, rss, seconds = measure(nbdaudit, scale, shape, str(many), mib, form)
            good = status in (0, 1, 3) and rss <= mib + SLACK
            print(f"{shape:22} {many:>9} --memory={mib}M: {rss:8.1f} MiB, {seconds:6.2f} s, "
                  f"exit {status}{'' if good else '  TOO MUCH'}", flush=True)
            bad += not good
    return 1 if bad and not table else 0

sys.exit(main())
