#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every rule of the protocol against a history that breaks it, and one that is as
near to that as is legal.

    run_rules.py [--keep DIRECTORY] [RULE...]

cases_*.py have the histories. A breaking one must be told: with the rule's level and
side (or those that the case gives), in the frame that it returns. In a legal one the
rule must not be told, and no violation, unless the case says that it may.

Coverage: every row of the catalogue has a rule, or stands with a reason among those
that have none; every rule of the protocol has a breaking history and a legal one.
RULE restricts it to these, and leaves coverage out.
"""

import argparse
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
sys.path.insert(0, str(HERE))

import synth  # noqa: E402

# Rows of each group of the catalogue. What those of group F say the consistency engine tells.
ROWS = {"H": 27, "O": 57, "B": 14, "R": 25, "S": 20, "C": 25, "X": 20, "M": 16, "F": 12, "D": 11}

# Rules of the catalogue's rows that the consistency engine tells, with tests of its own.
ELSEWHERE = {"multiplex-without-multi-conn"}

# Bytes of payload in a segment, and of captures that are made of small ones, too.
WHOLE, SMALL, SMALL_MOST = 60000, 3, 20000

GROUPS = ["handshake", "options", "sizes", "requests", "replies", "chunks", "extended", "status",
          "ends", "legal"]


class Case:
    def __init__(self, kind, rule, make, options):
        self.kind, self.rule, self.make, self.options = kind, rule, make, options

    def name(self):
        return "%s %s (%s)" % (self.kind, self.rule, self.make.__name__)


class Cases:
    """What the modules of cases register with."""

    def __init__(self):
        self.list = []

    def breaks(self, rule, **options):
        def register(make):
            self.list.append(Case("breaks", rule, make, options))
            return make
        return register

    def legal(self, rule, **options):
        def register(make):
            self.list.append(Case("legal", rule, make, options))
            return make
        return register


def nbdaudit(*arguments):
    run = subprocess.run([BIN / "nbdaudit", *arguments], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, timeout=120)
    if run.returncode not in (0, 1, 3):
        raise SystemExit("nbdaudit %s: status %d\n%s" % (
            " ".join(map(str, arguments)), run.returncode, run.stderr.decode()[-2000:]))
    return [json.loads(line) for line in run.stdout.decode().splitlines()]


def judge(case, frame, findings, rules):
    """Why the case fails, or None."""
    mine = [finding for finding in findings if finding["rule"] == case.rule]
    level = {finding["severity"] for finding in mine}
    if case.kind == "legal":
        allowed = set(case.options.get("allow", "").split())
        told = {finding["rule"] for finding in findings if finding["severity"] == "violation"}
        if mine and not case.options.get("only"):
            return "it is told: %s" % mine[0]["message"]
        if case.options.get("only") and level - {case.options["only"]}:
            return "it is told as %s: %s" % (", ".join(level), mine[0]["message"])
        if told - allowed:
            return "it is told to break %s: %s" % (
                ", ".join(sorted(told)),
                next(f["message"] for f in findings if f["rule"] in told - allowed))
        return None
    if not mine:
        return "it is not told; what is: %s" % (
            ", ".join(finding["rule"] for finding in findings) or "nothing")
    wanted = case.options.get("severity", rules[case.rule]["severity"])
    fits = [finding for finding in mine if finding["severity"] == wanted]
    if not fits:
        return "it is %s, not %s: %s" % (", ".join(level), wanted, mine[0]["message"])
    side = case.options.get("side", rules[case.rule]["side"])
    if side not in {finding["side"] for finding in fits}:
        return "the fault is the %s's, not the %s's" % (fits[0]["side"], side)
    if frame and frame not in {finding["frames"].get("message") for finding in fits}:
        return "it is told of frame %s, not %d: %s" % (fits[0]["frames"].get("message"), frame,
                                                       fits[0]["message"])
    words = case.options.get("says")
    if words and not any(words in finding["message"] for finding in fits):
        return "it says: %s" % fits[0]["message"]
    return None


def write(case, path, segment):
    """The capture of a case; the frame at fault, and how large it is."""
    capture = synth.Capture()
    synth.Conn.MOST = segment
    frame = case.make(capture)
    capture.write(path)
    return frame, path.stat().st_size


def told(case, path, frame, rules, how):
    """1 if the case fails, else 0."""
    findings = [item for item in nbdaudit("--format=json", path) if item["type"] == "finding"]
    why = judge(case, frame, findings, rules)
    if why:
        print("FAILED  %s%s: %s" % (case.name(), how, why))
    return bool(why)


def coverage(rules, unruled, cases):
    """What is missing, a line each."""
    protocol = {name for name, rule in rules.items() if rule["ref"][0] in ROWS and
                rule["ref"][1:2] == "-"}
    refs = {rules[name]["ref"] for name in protocol}
    for group, count in ROWS.items():
        for number in range(1, count + 1):
            row = "%s-%02d" % (group, number)
            if row not in refs and row not in unruled:
                yield "row %s has no rule, and no reason why" % row
            if row in refs and row in unruled:
                yield "row %s has a rule, and a reason why it has none" % row
    for row, why in unruled.items():
        if why.get("rule") and why["rule"] not in rules:
            yield "row %s is told by %s, which is no rule" % (row, why["rule"])
    for rule in sorted(protocol - ELSEWHERE):
        for kind in ("breaks", "legal"):
            if not any(case.rule == rule and case.kind == kind for case in cases):
                yield "rule %s [%s] has no history that %s" % (
                    rule, rules[rule]["ref"],
                    "breaks it" if kind == "breaks" else "is as near as legal")
    for rule in sorted(protocol):
        for member in ("summary", "expected", "explain", "example", "server", "client", "place",
                       "advice"):
            if not rules[rule].get(member):
                yield "rule %s has no %s" % (rule, member)


def main():
    parser = argparse.ArgumentParser(description="hold nbdaudit against histories of its rules")
    parser.add_argument("--keep", type=pathlib.Path, help="leave the captures here")
    parser.add_argument("rule", nargs="*")
    arguments = parser.parse_args()

    catalogue = nbdaudit("--list-rules", "--format=json")
    rules = {item["rule"]: item for item in catalogue if item["type"] == "rule"}
    unruled = {item["ref"]: item for item in catalogue if item["type"] == "unruled"}
    cases = Cases()
    for group in GROUPS:
        importlib.import_module("cases_" + group).register(cases)

    failures = 0
    with tempfile.TemporaryDirectory() as directory:
        where = arguments.keep or pathlib.Path(directory)
        where.mkdir(parents=True, exist_ok=True)
        for old in where.glob("*.pcap"):
            if re.fullmatch(r"[a-z0-9-]+-(breaks|legal)-\d+\.pcap", old.name):
                old.unlink()
        for number, case in enumerate(cases.list):
            if arguments.rule and case.rule not in arguments.rule:
                continue
            if case.rule not in rules:
                print("FAILED  %s: there is no such rule" % case.name())
                failures += 1
                continue
            path = where / ("%s-%s-%d.pcap" % (case.rule, case.kind, number))
            again = pathlib.Path(directory) / "again.pcap"
            frame, size = write(case, path, WHOLE)
            failures += told(case, path, frame, rules, "")
            # the same in small segments: no header is in one of them, and where the
            # beginning is lost none can be found
            if size <= SMALL_MOST and not case.options.get("whole"):
                write(case, again, SMALL)
                failures += told(case, again, None, rules, ", in segments of %d" % SMALL)
    if not arguments.rule:
        for line in coverage(rules, unruled, cases.list):
            print("MISSING %s" % line)
            failures += 1
        print("%d rows of the catalogue: %d with a rule, %d told by another rule, %d that cannot "
              "or should not be told; %d rules, %d breaking histories, %d legal ones" % (
                  sum(ROWS.values()),
                  len({rule["ref"] for rule in rules.values() if rule["ref"][1:2] == "-"}),
                  sum(1 for row in unruled.values() if row.get("rule")),
                  sum(1 for row in unruled.values() if not row.get("rule")),
                  len({case.rule for case in cases.list}),
                  sum(case.kind == "breaks" for case in cases.list),
                  sum(case.kind == "legal" for case in cases.list)))
    print("%d failures" % failures)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
