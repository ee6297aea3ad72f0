# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of fleets share: captures of many servers, and reports as objects."""

import ipaddress
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR",
                                   pathlib.Path(__file__).resolve().parent.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
SAMPLES = ROOT / "samples"
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import rewrap  # noqa: E402


def captures():
    """All samples, all captures that the tests have, and those of NBDSCOPE_CAPTURES; or one of
    NBDSCOPE_SHARE of them."""
    folders = [SAMPLES, ROOT / "tests"]
    if os.environ.get("NBDSCOPE_CAPTURES"):
        folders.append(pathlib.Path(os.environ["NBDSCOPE_CAPTURES"]))
    return sorted(path for folder in folders for path in folder.rglob("*")
                  if path.is_file() and (".pcap" in path.name or path.suffix == ".cap"))[
                      ::int(os.environ.get("NBDSCOPE_SHARE", 1))]


def nbdaudit(*arguments):
    """(exit status, standard output, standard error)"""
    run = subprocess.run([BIN / "nbdaudit", *map(str, arguments)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=240,
                         env=dict(os.environ, LC_ALL="C.UTF-8"))
    return run.returncode, run.stdout.decode(), run.stderr.decode()


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def moved(path, server, client, port=None):
    """The segments of a capture with these addresses in place of its own (and the server at
    another port), from time zero."""
    segments = rewrap.read(path)
    servers = {(s.source, s.sport) for s in segments if s.flags & 0x12 == 0x12}
    start = segments[0].time
    server, client = (ipaddress.ip_address(a).packed for a in (server, client))
    out = []
    for s in segments:
        changes = {"time": s.time - start}
        if (s.source, s.sport) in servers:
            changes.update(source=server, target=client, sport=port or s.sport)
        else:
            changes.update(source=client, target=server, dport=port or s.dport)
        out.append(s.copy(**changes))
    return out


def mixed(parts):
    """A capture of all of these segments, in the order of their times."""
    segments = sorted((s for part in parts for s in part), key=lambda s: s.time)
    return rewrap.pcap(rewrap.each(segments, lambda s: rewrap.ether(0x0800, rewrap.ipv4(s))))


def many_servers():
    """What six kinds of servers show, each kind at several addresses, of which some have
    several at different ports; all at the same time."""
    parts = []
    for number, name in enumerate(("multi-conn-unsafe", "multi-conn", "errors", "qemu-io",
                                   "multi-conn-off", "simple")):
        for copy in range(4):
            server = "10.%d.%d.1" % (number, copy // 2)
            # Clients share addresses, too, but not connections.
            client = "10.99.%d.%d" % (number, copy % 2)
            parts.append(moved(SAMPLES / (name + ".pcap"), server, client,
                               10809 + copy % 2 if number % 2 else None if copy % 2 else 10810))
    return mixed(parts)
