#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The report's forms for programs, held against their schemas: JSON against
docs/report.schema.json, in every stored text and of every capture; JUnit and SARIF
against what their standards ask of the parts that are used here."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

try:
    import jsonschema
except ImportError:
    print("skipped: no python3-jsonschema")
    sys.exit(1 if os.environ.get("NBDSCOPE_REQUIRE_PEERS") else 77)

ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR",
                                   pathlib.Path(__file__).resolve().parent.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
SAMPLES = sorted((ROOT / "samples").glob("*.pcap*"))
REPORTS = sorted((ROOT / "tests" / "reports").glob("*.pcap*"))
LIAR = ROOT / "samples" / "multi-conn-unsafe.pcap"
HAZARDS = ROOT / "samples" / "multi-conn-off.pcap"
TLS = ROOT / "samples" / "starttls.pcap"


def strict(schema):
    """The same, but that no member may be there which it does not name."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: strict(value) for key, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema and "allOf" not in schema:
        copy.setdefault("additionalProperties", False)
    return copy


def run(*arguments):
    done = subprocess.run([BIN / "nbdaudit", *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    if done.returncode not in (0, 1, 2, 3):
        raise RuntimeError(done.stderr.decode())
    return done.returncode, done.stdout.decode()


class Json(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.schema = json.loads((ROOT / "docs" / "report.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(cls.schema)
        cls.validator = jsonschema.Draft202012Validator(strict(cls.schema))

    def hold(self, text, where):
        count = 0
        for line in text.splitlines():
            if not line.startswith("{"):
                continue
            errors = list(self.validator.iter_errors(json.loads(line)))
            self.assertFalse(errors, "%s: %s\n%s" % (
                where, "; ".join(e.message[:300] for e in errors[:3]), line[:300]))
            count += 1
        self.assertGreater(count, 0, where)

    def test_stored(self):
        stored = sorted((ROOT / "tests" / "golden").glob("*.jsonl"))
        self.assertEqual(len(stored), len(SAMPLES))
        for path in stored:
            self.hold(path.read_text(), path.name)

    def test_captures(self):
        self.assertGreater(len(REPORTS), 20)
        for path in SAMPLES + REPORTS:
            self.hold(run("--format=json", "-m", path)[1], path.name)

    def test_others(self):
        self.hold(run("--format=json", "-m", LIAR, TLS, "/nonexistent")[1], "several")
        self.hold(run("--format=json", "--list-rules")[1], "rules")

    def test_strict(self):
        """The test can fail."""
        for line in ('{"type":"summary"}', '{"type":"capture","schema":2}', '{"type":"x"}',
                     '{"type":"unruled","ref":"X","why":"y","more":1}'):
            self.assertTrue(list(self.validator.iter_errors(json.loads(line))), line)

    def test_documented(self):
        """Every member stands in docs/json.md."""
        text = (ROOT / "docs" / "json.md").read_text()
        words = set(re.findall(r"[a-z0-9_-]+", text))

        def names(schema):
            if isinstance(schema, list):
                for item in schema:
                    yield from names(item)
            elif isinstance(schema, dict):
                for key, value in schema.items():
                    if key == "properties" and isinstance(value, dict):
                        yield from value
                    yield from names(value)
        missing = {name for name in names(self.schema) if name not in words}
        self.assertFalse(missing)


class Junit(unittest.TestCase):
    CHILDREN = {
        "testsuites": {"testsuite"},
        "testsuite": {"properties", "testcase"},
        "properties": {"property"},
        "property": set(),
        "testcase": {"failure", "error", "skipped", "system-out"},
        "failure": set(), "error": set(), "skipped": set(), "system-out": set(),
    }
    NEEDED = {
        "testsuites": {"name"},
        "testsuite": {"name", "tests", "failures", "errors", "skipped"},
        "property": {"name", "value"},
        "testcase": {"name", "classname"},
        "failure": {"message", "type"}, "error": {"message", "type"}, "skipped": {"message"},
    }

    def walk(self, element):
        self.assertIn(element.tag, self.CHILDREN)
        self.assertEqual(set(element.attrib), self.NEEDED.get(element.tag, set()))
        for child in element:
            self.assertIn(child.tag, self.CHILDREN[element.tag])
            self.walk(child)

    def suites(self, *arguments):
        status, text = run("--format=junit", *arguments)
        root = xml.etree.ElementTree.fromstring(text)
        self.assertEqual(root.tag, "testsuites")
        self.walk(root)
        for suite in root:
            cases = suite.findall("testcase")
            self.assertEqual(int(suite.get("tests")), len(cases))
            for attribute, tag in (("failures", "failure"), ("errors", "error"),
                                   ("skipped", "skipped")):
                self.assertEqual(int(suite.get(attribute)),
                                 sum(case.find(tag) is not None for case in cases), attribute)
            names = [(case.get("classname"), case.get("name")) for case in cases]
            self.assertEqual(len(set(names)), len(names))
        return status, list(root)

    def failed(self, suite):
        return {case.get("name") for case in suite.findall("testcase")
                if case.find("failure") is not None}

    def test_captures(self):
        """What fails is what JSON finds at the level that counts."""
        for path in SAMPLES + REPORTS:
            for level in ("violation", "hazard"):
                status, (suite,) = self.suites("--fail-on=" + level, path)
                found = [json.loads(line) for line in
                         run("--format=json", path)[1].splitlines()]
                levels = ("violation",) if level == "violation" else (
                    "violation", "suspect", "hazard")
                self.assertEqual(self.failed(suite), {
                    f["rule"] for f in found
                    if f["type"] == "finding" and f["severity"] in levels}, path.name)
                self.assertEqual(bool(self.failed(suite)), status == 1, path.name)

    def test_unaudited(self):
        _, (suite,) = self.suites(TLS)
        self.assertEqual((suite.get("errors"), suite.get("failures")), ("1", "0"))
        _, (suite,) = self.suites("--allow-unaudited", TLS)
        self.assertEqual(suite.get("errors"), "0")
        self.assertEqual(suite.get("skipped"), suite.get("tests"))

    def test_several(self):
        with tempfile.TemporaryDirectory() as directory:
            odd = pathlib.Path(directory) / "<&\"'\x01>.pcap"
            odd.write_bytes(LIAR.read_bytes())
            status, suites = self.suites(odd, "/nonexistent", HAZARDS)
        self.assertEqual(status, 2)
        self.assertEqual([suite.get("errors") for suite in suites], ["0", "1", "0"])
        self.assertIn("<&\"'", suites[0].get("name"))
        self.assertTrue(self.failed(suites[0]))


# What SARIF 2.1.0 asks of the parts that are used.
TEXT = {"type": "object", "required": ["text"],
        "properties": {"text": {"type": "string", "minLength": 1}}, "additionalProperties": False}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
LOCATION = {
    "type": "object", "required": ["physicalLocation"], "additionalProperties": False,
    "properties": {
        "id": {"type": "integer", "minimum": -1},
        "message": TEXT,
        "physicalLocation": {
            "type": "object", "required": ["artifactLocation"], "additionalProperties": False,
            "properties": {
                "artifactLocation": {
                    "type": "object", "additionalProperties": False,
                    "properties": {"uri": {"type": "string", "format": "uri-reference",
                                           "pattern": "^[A-Za-z0-9._~/%:-]*$"},
                                   "index": {"type": "integer", "minimum": -1}}},
                "region": {"type": "object", "additionalProperties": False,
                           "properties": {"startLine": {"type": "integer", "minimum": 1}}}}}}}
SARIF = {
    "type": "object", "required": ["version", "runs"], "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "pattern": "sarif-schema-2\\.1\\.0\\.json$"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "minItems": 1, "items": {
            "type": "object", "required": ["tool"], "additionalProperties": False,
            "properties": {
                "tool": {"type": "object", "required": ["driver"], "additionalProperties": False,
                         "properties": {"driver": {
                             "type": "object", "required": ["name"],
                             "additionalProperties": False,
                             "properties": {
                                 "name": {"type": "string"},
                                 "version": {"type": "string"},
                                 "rules": {"type": "array", "uniqueItems": True, "items": {
                                     "type": "object", "required": ["id"],
                                     "additionalProperties": False,
                                     "properties": {
                                         "id": {"type": "string"},
                                         "shortDescription": TEXT, "fullDescription": TEXT,
                                         "help": TEXT,
                                         "defaultConfiguration": {
                                             "type": "object", "additionalProperties": False,
                                             "properties": {"level": LEVEL}},
                                         "properties": {"type": "object"}}}}}}}},
                "results": {"type": "array", "items": {
                    "type": "object", "required": ["message"], "additionalProperties": False,
                    "properties": {
                        "ruleId": {"type": "string"},
                        "ruleIndex": {"type": "integer", "minimum": -1},
                        "level": LEVEL, "message": TEXT,
                        "locations": {"type": "array", "items": LOCATION},
                        "relatedLocations": {"type": "array", "items": LOCATION},
                        "occurrenceCount": {"type": "integer", "minimum": 1},
                        "properties": {"type": "object"}}}},
                "artifacts": {"type": "array", "items": {
                    "type": "object", "additionalProperties": False,
                    "properties": {"location": {"type": "object", "required": ["uri"]},
                                   "properties": {"type": "object"}}}},
                "invocations": {"type": "array", "items": {
                    "type": "object", "required": ["executionSuccessful"],
                    "additionalProperties": False,
                    "properties": {
                        "executionSuccessful": {"type": "boolean"},
                        "toolExecutionNotifications": {"type": "array", "items": {
                            "type": "object", "required": ["message"],
                            "additionalProperties": False,
                            "properties": {"descriptor": {"type": "object"}, "level": LEVEL,
                                           "message": TEXT, "locations": {
                                               "type": "array", "items": LOCATION}}}}}}}}}}}}


class Sarif(unittest.TestCase):
    def log(self, *arguments):
        status, text = run("--format=sarif", *arguments)
        log = json.loads(text)
        errors = list(jsonschema.Draft202012Validator(SARIF).iter_errors(log))
        self.assertFalse(errors, [e.message[:300] for e in errors[:3]])
        (one,) = log["runs"]
        rules = one["tool"]["driver"]["rules"]
        self.assertEqual(len({rule["id"] for rule in rules}), len(rules))
        for result in one["results"]:
            self.assertEqual(rules[result["ruleIndex"]]["id"], result["ruleId"])
            for location in result["locations"] + result["relatedLocations"]:
                artifact = location["physicalLocation"]["artifactLocation"]
                self.assertEqual(one["artifacts"][artifact["index"]]["location"]["uri"],
                                 artifact["uri"])
            ids = [location["id"] for location in result["relatedLocations"]]
            self.assertEqual(len(set(ids)), len(ids))
        return status, one

    def test_captures(self):
        """As many of each rule as in JSON, at the frames that it names."""
        for path in SAMPLES + REPORTS:
            _, one = self.log(path)
            found = [json.loads(line) for line in run("--format=json", path)[1].splitlines()]
            found = [f for f in found if f["type"] == "finding"]
            self.assertEqual(
                sorted((r["ruleId"], r["message"]["text"], r["properties"]["severity"])
                       for r in one["results"]),
                sorted((f["rule"], f["message"], f["severity"]) for f in found), path.name)
            for result in one["results"]:
                self.assertEqual(result["level"] == "error",
                                 result["properties"]["severity"] == "violation")
            self.assertTrue(one["invocations"][0]["executionSuccessful"])

    def test_several(self):
        with tempfile.TemporaryDirectory() as directory:
            odd = pathlib.Path(directory) / "a:%\xff b.pcap"
            odd.write_bytes(LIAR.read_bytes())
            status, one = self.log(odd, "/nonexistent", TLS)
        self.assertEqual(status, 2)
        self.assertEqual(len(one["artifacts"]), 3)
        invocation = one["invocations"][0]
        self.assertFalse(invocation["executionSuccessful"])
        self.assertEqual([n["descriptor"]["id"] for n in invocation["toolExecutionNotifications"]],
                         ["incomplete", "unaudited", "unaudited"])
        self.assertTrue(one["results"])


if __name__ == "__main__":
    unittest.main()
