#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What must be said of captures of servers and clients that did something odd.

    run_reports.py [NAME...]

Beside each NAME.pcap (or .pcap.zst) stands NAME.expect, a line a statement about
nbdaudit's report on it; '#' begins a comment, and a line that is indented goes on
with the one before:

    status 1                          the exit status
    verdict violations                the summary's
    finding rule=R severity=violation frames.read=30 message~WORDS
                                      a finding of which all of this is true; `=` is
                                      equal, `~` a regular expression found in it
    no finding rule=R                 no finding of which all of this is true
    text WORDS                        a regular expression found in the text report,
                                      whose lines are joined and spaces made one
    no text WORDS                     not found there
    message WORDS                     found in one line of the text form's messages
    no message WORDS
    check EXPRESSION                  a Python expression over the JSON report: capture,
                                      connections, exports, findings, summary, messages

Every word of an expectation can hold spaces in double quotes. A NAME restricts it
to these.
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))


def audit(path, *options):
    environment = dict(os.environ, LC_ALL="C.UTF-8")
    run = subprocess.run([BIN / "nbdaudit", *options, path], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
                         timeout=120)
    if run.returncode not in (0, 1, 2, 3):
        raise RuntimeError("%s: status %d\n%s" % (path.name, run.returncode,
                                                  run.stderr.decode()[-3000:]))
    return run.returncode, run.stdout.decode()


def member(item, path):
    for name in path.split("."):
        if not isinstance(item, dict) or name not in item:
            return None
        item = item[name]
    return item


class Finding:
    """What a line asks of a finding."""

    def __init__(self, words):
        self.tests = []
        for word in shlex.split(words):
            name, how, value = re.match(r"([a-z_.]+)([=~])(.*)$", word, re.S).groups()
            self.tests.append((name, how, value))

    def fits(self, finding):
        for name, how, value in self.tests:
            has = member(finding, name)
            if has is None:
                return False
            if how == "=" and str(has) != value:
                return False
            if how == "~" and not re.search(value, str(has)):
                return False
        return True


class Report:
    def __init__(self, path):
        self.status, output = audit(path, "--format=json", "-m")
        self.objects = [json.loads(line) for line in output.splitlines()]
        self.text = re.sub(r"\s+", " ", audit(path)[1])
        self.lines = [line for line in audit(path, "-m")[1].splitlines()
                      if re.match(r" *\d+ +\d+\.\d{9}  #", line)]
        kinds = {}
        for item in self.objects:
            kinds.setdefault(item["type"], []).append(item)
        self.names = {
            "capture": kinds["capture"][0],
            "summary": kinds["summary"][0],
            "connections": kinds.get("connection", []),
            "exports": kinds.get("export", []),
            "findings": kinds.get("finding", []),
            "messages": kinds.get("message", []),
        }

    def holds(self, statement):
        kind, _, rest = statement.partition(" ")
        if kind == "no":
            if rest.split(" ")[0] not in ("finding", "text", "message"):
                raise ValueError(statement)
            return not self.holds(rest)
        if kind == "status":
            return self.status == int(rest)
        if kind == "verdict":
            return self.names["summary"]["verdict"] == rest
        if kind == "finding":
            wanted = Finding(rest)
            return any(wanted.fits(finding) for finding in self.names["findings"])
        if kind == "text":
            return re.search(rest, self.text) is not None
        if kind == "message":
            return any(re.search(rest, line) for line in self.lines)
        if kind == "check":
            return bool(eval(rest, {}, self.names))
        raise ValueError(statement)


def statements(path):
    said = []
    for line in path.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0] in " \t" and said:
            said[-1] += " " + line.strip()
        else:
            said.append(line.strip())
    return said


def main():
    captures = sorted(path for path in HERE.iterdir()
                      if path.suffix == ".pcap" or path.name.endswith(".pcap.zst"))
    chosen = set(sys.argv[1:])
    known, held, failed = set(), 0, 0
    for path in captures:
        name = path.name.split(".pcap")[0]
        known.add(name)
        if chosen and name not in chosen:
            continue
        expect = HERE / (name + ".expect")
        wanted = statements(expect) if expect.exists() else []
        if not wanted:
            print("%s: nothing is expected of it" % name)
            failed += 1
            continue
        report = Report(path)
        for statement in wanted:
            held += 1
            if not report.holds(statement):
                failed += 1
                print("%s: does not hold: %s" % (name, statement))
                if statement.split(" ")[0] in ("finding", "no"):
                    for finding in report.names["findings"]:
                        print("    %s %s %s: %s" % (finding["severity"], finding["rule"],
                                                    finding["frames"], finding["message"]))
    for expect in sorted(HERE.glob("*.expect")):
        if expect.name[:-len(".expect")] not in known:
            failed += 1
            print("%s has no capture" % expect.name)
    print("%d statements about %d captures, %d do not hold" % (
        held, len(chosen) or len(captures), failed))
    return 1 if failed or not held else 0


if __name__ == "__main__":
    sys.exit(main())
