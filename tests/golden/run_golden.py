#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds nbdaudit's words on every sample against those stored beside this file.

    run_golden.py [--update] [SAMPLE...]

For samples/NAME.pcap (or .pcap.zst, ...) the stored texts are NAME.txt, what the
plain command says, NAME.jsonl, what it says with --format=json, and NAME.messages,
with --messages; each ends with the exit status. --update (scripts/golden) writes
them, to be read in the diff before they are committed. SAMPLE restricts it to these.
"""

import argparse
import difflib
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))

FORMS = {
    "txt": [],
    "jsonl": ["--format=json"],
    "messages": ["--messages"],
}


def audit(sample, arguments):
    """What nbdaudit says, with its exit status. The file's name is given relative
    to the project, so that it is the same everywhere."""
    environment = dict(os.environ, TZ="UTC", LC_ALL="C.UTF-8")
    environment.pop("COLUMNS", None)
    run = subprocess.run([BIN / "nbdaudit", *arguments, sample.relative_to(ROOT)],
                         cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    text = run.stdout.decode(errors="surrogateescape")
    # Bytes of memory are those of this build's structures.
    text = re.sub(r'"memory":\d+', '"memory":0', text)
    text = re.sub(r'"version":"[^"]*"', '"version":""', text)
    for line in run.stderr.decode(errors="surrogateescape").splitlines():
        text += "standard error: %s\n" % line
    return text + "exit status: %d\n" % run.returncode


def main():
    parser = argparse.ArgumentParser(description="compare nbdaudit's output on the samples")
    parser.add_argument("--update", action="store_true", help="store what it says now")
    parser.add_argument("sample", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()

    samples = sorted((ROOT / "samples").glob("*.pcap*"))
    chosen = [path.resolve() for path in arguments.sample] or samples
    if not samples:
        sys.exit("no samples in %s" % (ROOT / "samples"))

    compared = differing = 0
    known = set()
    for sample in samples:
        stem = sample.name.split(".pcap")[0]
        for form, options in FORMS.items():
            stored = HERE / ("%s.%s" % (stem, form))
            known.add(stored)
            if sample not in chosen:
                continue
            said = audit(sample, options)
            compared += 1
            if arguments.update:
                stored.write_text(said, errors="surrogateescape")
                continue
            wanted = stored.read_text(errors="surrogateescape") if stored.exists() else ""
            if said != wanted:
                differing += 1
                lines = list(difflib.unified_diff(
                    wanted.splitlines(), said.splitlines(),
                    "stored %s" % stored.name, "nbdaudit", n=1, lineterm=""))
                print("\n".join(line[:400] for line in lines[:40]))
                if len(lines) > 40:
                    print("... and %d lines more" % (len(lines) - 40))

    # Text that no sample produces any more proves nothing: it must go.
    for form in FORMS:
        for stored in sorted(set(HERE.glob("*.%s" % form)) - known - {HERE / "CMakeLists.txt"}):
            if arguments.update:
                stored.unlink()
            else:
                differing += 1
                print("%s has no sample" % stored.name)

    verb = "stored" if arguments.update else "compared"
    print("%d outputs %s, %d differ" % (compared, verb, differing))
    if differing:
        print("If this is what is meant: scripts/golden, and read the diff.")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
