# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads metrics, and takes offence at whatever the formats do not allow: OpenMetrics 1.0,
and Prometheus' text format 0.0.4."""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(r"^(%s)(?:\{(%s(?:,%s)*)\})? (\S+)$" % (NAME, LABEL, LABEL))
TYPES = ("counter", "gauge", "histogram", "info")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "info": ("_info",),
            "histogram": ("_bucket", "_count", "_sum")}


class Metrics:
    """Of each sample its value, by name and labels."""

    def __init__(self, text, plain=False):
        self.types, self.units, self.help = {}, {}, {}
        self.samples = {}
        self.family = {}
        lines = text.split("\n")
        assert lines.pop() == "", "the last line has no end"
        if not plain:
            assert lines.pop() == "# EOF", "no end"
        current = None
        for line in lines:
            if line.startswith("#"):
                current = self.describe(line, current, plain)
            else:
                self.sample(line, current, plain)
        self.check_histograms()

    def describe(self, line, current, plain):
        match = re.match(r"^# (HELP|TYPE|UNIT) (%s) (.+)$" % NAME, line)
        assert match, line
        word, name, value = match.groups()
        kind = {"HELP": self.help, "TYPE": self.types, "UNIT": self.units}[word]
        assert name not in kind, "twice: " + line
        if name != current:
            assert name not in self.types and name not in self.help, "not in one piece: " + name
        kind[name] = value
        if word == "TYPE":
            assert value in TYPES and not (plain and value == "info"), line
            assert plain or not name.endswith(("_total", "_info")), line
        if word == "UNIT":
            assert not plain and name.endswith("_" + value), line
        return name

    def sample(self, line, current, plain):
        match = SAMPLE.match(line)
        assert match, line
        name, labels, value = match.groups()
        kind = self.types[current]
        suffixes = ("",) if plain and kind != "histogram" else SUFFIXES[kind]
        assert name in [current + suffix for suffix in suffixes], line
        found = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")
        assert len(dict(found)) == len(found), "a label twice: " + line
        key = (name, frozenset(found))
        assert key not in self.samples, "twice: " + line
        self.samples[key] = float(value)
        self.family[name] = current
        assert self.samples[key] >= 0, line

    def check_histograms(self):
        for name in [name for name, kind in self.types.items() if kind == "histogram"]:
            rows = {}
            for (sample, labels), value in self.samples.items():
                if sample == name + "_bucket":
                    rest = dict(labels)
                    bound = float(rest.pop("le"))
                    rows.setdefault(frozenset(rest.items()), []).append((bound, value))
            assert rows, name
            for labels, buckets in rows.items():
                buckets.sort()
                values = [value for _, value in buckets]
                assert values == sorted(values), (name, labels)
                assert buckets[-1][0] == float("inf")
                assert buckets[-1][1] == self.samples[(name + "_count", labels)]
                assert (name + "_sum", labels) in self.samples

    def get(self, name, **labels):
        return self.samples[(name, frozenset(labels.items()))]

    def by(self, name, *wanted):
        """The values of a metric by these labels; what is 0 is left out."""
        found = {}
        for (sample, labels), value in self.samples.items():
            if sample == name and value:
                labels = dict(labels)
                key = tuple(labels[label] for label in wanted)
                found[key[0] if len(key) == 1 else key] = value
        return found

    def names(self):
        return {name for name, _ in self.samples}

    def counters(self):
        """What may only grow."""
        return {key: value for key, value in self.samples.items()
                if key[0].endswith(("_total", "_bucket", "_count", "_sum"))}
