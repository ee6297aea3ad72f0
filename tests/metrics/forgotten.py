# SPDX-License-Identifier: GPL-2.0-or-later
"""forgotten.py NBDAUDIT SCALE: what is counted stays, whatever is folded or forgotten for want
of memory (tests/scale/shapes.c makes the traffic)."""

import pathlib
import subprocess
import sys
import tempfile

from openmetrics import Metrics


def audit(nbdaudit, capture, file, memory):
    subprocess.run([nbdaudit, "-q", "--memory=" + memory, "--metrics-file=%s" % file, capture],
                   check=False, stdin=subprocess.DEVNULL)
    return Metrics(file.read_text(), plain=True)


def main():
    nbdaudit, scale = sys.argv[1:]
    # What connections brought is all counted, also of those that were not listed any more.
    kept = ("nbdscope_connections", "nbdscope_requests", "nbdscope_replies", "nbdscope_data_bytes",
            "nbdscope_read_bytes", "nbdscope_command_duration_seconds_count", "nbdscope_errors",
            "nbdscope_packets_total")
    with tempfile.TemporaryDirectory() as directory:
        capture, file = pathlib.Path(directory, "a.pcap"), pathlib.Path(directory, "a.prom")
        for shape, count in (("short-writers", 8000), ("short-servers", 4000), ("findings", 4000)):
            with open(capture, "wb") as out:
                subprocess.run([scale, "--write", shape, str(count)], stdout=out, check=True)
            whole, short = (audit(nbdaudit, capture, file, memory) for memory in ("1G", "16M"))
            assert whole.get("nbdscope_connections_total") == count, shape
            # or nothing has to be forgotten
            assert whole.get("nbdscope_state_memory_bytes") > \
                short.get("nbdscope_state_memory_limit_bytes"), shape
            assert short.get("nbdscope_state_memory_bytes") <= \
                short.get("nbdscope_state_memory_limit_bytes"), shape
            for key, value in whole.samples.items():
                if key[0].startswith(kept):
                    assert short.samples[key] == value, (shape, key, value, short.samples[key])


if __name__ == "__main__":
    main()
