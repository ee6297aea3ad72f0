#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs clang-tidy on the sources that a build compiles.

    tidy.py BUILD DIRECTORY... [-- CLANG-TIDY-ARGUMENT...]

The sources are those of BUILD/compile_commands.json below the directories. A file that
was found clean is not looked at again while nothing of it changed: what the preprocessor
makes of it, comments and macros included, how it is compiled, the checks and clang-tidy
itself. BUILD/tidy keeps which were.

Exit status 1 if anything was found.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def key_of(entry, common):
    """What the file is to clang-tidy, in short; None if it cannot be told."""
    words = shlex.split(entry["command"])
    at = words.index("-o")
    words[at:at + 2] = ["-E", "-C", "-dD", "-o", "-"]
    words.remove("-c")
    # Sanitizers change macros only, and so does optimisation.
    run = subprocess.run(words, cwd=entry["directory"], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL)
    if run.returncode:
        return None
    return hashlib.sha256(common + entry["command"].encode() + run.stdout).hexdigest()


def look(entry, build, arguments, common):
    """What clang-tidy says of a file (nothing: it is clean), and whether it was run."""
    key = key_of(entry, common)
    mark = build / "tidy" / key if key else None
    if mark and mark.exists():
        mark.touch()
        return "", False
    run = subprocess.run(["clang-tidy", "-p", build, "--quiet", *arguments, entry["file"]],
                         cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode or run.stdout:
        return run.stdout or run.stderr, True
    if mark:
        mark.touch()
    return "", True


def main():
    words = sys.argv[1:]
    arguments = words[words.index("--") + 1:] if "--" in words else []
    words = words[:len(words) - len(arguments) - ("--" in words)]
    if len(words) < 2:
        sys.exit(__doc__)
    build, parts = pathlib.Path(words[0]).resolve(), [ROOT / part for part in words[1:]]
    entries = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        if any(part in path.parents for part in parts):
            entries.setdefault(path, entry)
    if not entries:
        sys.exit("nothing to look at in %s" % build)
    (build / "tidy").mkdir(exist_ok=True)
    common = "\n".join([subprocess.run(["clang-tidy", "--version"], stdout=subprocess.PIPE,
                                       text=True).stdout,
                        (ROOT / ".clang-tidy").read_text(), *arguments]).encode()
    # Large files first, so that none is left over for the end.
    files = sorted(entries, key=lambda path: -path.stat().st_size)
    found = looked = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for said, new in pool.map(lambda path: look(entries[path], build, arguments, common),
                                  files):
            found += bool(said)
            looked += new
            print(said, end="", flush=True)
    # Marks of what is no more.
    for mark in sorted((build / "tidy").iterdir(), key=lambda m: -m.stat().st_mtime)[4 * len(files):]:
        mark.unlink()
    print("%d files, %d of them new; %d with findings" % (len(files), looked, found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
