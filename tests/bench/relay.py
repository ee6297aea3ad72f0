# SPDX-License-Identifier: GPL-2.0-or-later
"""What the relay costs: the same client against the same server over a Unix socket, with
`nbdaudit --listen --connect` between them and without, in turns.

	relay.py [TURNS]

Prints of each load the throughput without and with it, and their ratio, of the best of the
turns (a disturbance only makes a turn worse); and what of it was not looked at.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
MIB = 1 << 20
SIZE = 512 * MIB


def uri(socket):
    return "nbd+unix:///?socket=%s" % socket


def nbdcopy_to(socket, connections):
    return ["nbdcopy", "--threads=%d" % connections, "--connections=%d" % connections,
            "--allocated", "source", uri(socket)]


def nbdcopy_from(socket, connections):
    return ["nbdcopy", "--threads=%d" % connections, "--connections=%d" % connections,
            uri(socket), "null:"]


def fio(socket, *options):
    return ["fio", "--name=x", "--ioengine=nbd", "--uri=%s" % uri(socket), "--size=%d" % (SIZE // 4),
            "--output-format=json", *options]


LOADS = {
    "nbdcopy, writing": (lambda s: nbdcopy_to(s, 1), SIZE),
    "nbdcopy, reading": (lambda s: nbdcopy_from(s, 1), SIZE),
    "nbdcopy, reading, 4 connections": (lambda s: nbdcopy_from(s, 4), SIZE),
    "fio, random reads and writes of 64 KiB, depth 16": (
        lambda s: fio(s, "--rw=randrw", "--bs=64k", "--iodepth=16"), SIZE // 4),
    "fio, random reads and writes of 4 KiB, depth 16": (
        lambda s: fio(s, "--rw=randrw", "--bs=4k", "--iodepth=16", "--io_size=%d" % (64 * MIB)),
        64 * MIB),
    "fio, random reads of 4 KiB, one at a time": (
        lambda s: fio(s, "--rw=randread", "--bs=4k", "--iodepth=1", "--io_size=%d" % (16 * MIB)),
        16 * MIB),
}


def seconds(command, work):
    began = time.monotonic()
    run = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, check=True)
    took = time.monotonic() - began
    if command[0] == "fio":  # not its own beginning
        job = json.loads(run.stdout[run.stdout.index(b"{"):])["jobs"][0]
        took = job["job_runtime"] / 1000
    return took


def wait_for(path):
    while not path.exists():
        time.sleep(0.02)


def main():
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-bench-"))
    server = relay = None
    try:
        with open(work / "source", "wb") as file:
            for _ in range(SIZE // MIB):
                file.write(os.urandom(MIB))
        server = subprocess.Popen(["nbdkit", "-f", "-U", work / "server", "memory", str(SIZE)])
        wait_for(work / "server")
        relay = subprocess.Popen([BIN / "nbdaudit", "--summary", "--format=json",
                                  "--listen=unix:%s" % (work / "relay"),
                                  "--connect=unix:%s" % (work / "server")],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        wait_for(work / "relay")
        print("%-52s %10s %10s %6s" % ("", "without", "with", "ratio"))
        for name, (command, size) in LOADS.items():
            best = {}
            for _ in range(turns):
                for socket in "server", "relay":
                    took = seconds(command(work / socket), work)
                    best[socket] = min(took, best.get(socket, took))
            print("%-52s %7.0f MiB/s %4.0f MiB/s %5.2f" % (
                name, size / MIB / best["server"], size / MIB / best["relay"],
                best["server"] / best["relay"]))
        relay.send_signal(signal.SIGTERM)
        said = relay.communicate(timeout=600)[0]
        (end,) = [item for item in map(json.loads, said.splitlines())
                  if item["type"] == "capture-end"]
        print("%d packets looked at, %d not" % (end["frames"], end["dropped"]))
    finally:
        for process in relay, server:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
