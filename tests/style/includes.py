# SPDX-License-Identifier: GPL-2.0-or-later
"""The arrows of #include: which room may look into which, and that nowhere they close.

	includes.py ROOT [OBJECTS]

A room is a directory, a module a .c file with its header.  The rooms are listed below as in
docs/architecture.md.  OBJECTS is what was built: of its object files the calls are looked
at in the same way, as a header that many share hides who calls whom.
"""

import os
import re
import subprocess
import sys
import unittest

# Each room, and what it may include besides itself.
BASE = {"include/base"}
PUBLIC = BASE | {"include/nbdscope"}
ROOMS = {
    "include/base": BASE,
    "include/nbdscope": PUBLIC,
    "dissector/decoder": PUBLIC,
    "dissector/wireshark": PUBLIC | {"analyzer/feed"},
    "analyzer/capture": PUBLIC,
    "analyzer/tcp": PUBLIC,
    "analyzer/feed": PUBLIC | {"analyzer/tcp"},
    "analyzer/rules": PUBLIC,
    "analyzer/consistency": PUBLIC | {"analyzer/rules"},
    "analyzer/latency": PUBLIC,
    "analyzer/session": PUBLIC | {"analyzer/latency", "analyzer/rules", "analyzer/consistency"},
    "analyzer/pipeline": PUBLIC | {"analyzer/capture", "analyzer/feed"},
    "analyzer/tls": PUBLIC,
    "analyzer/options": PUBLIC | {"analyzer/capture", "analyzer/metrics", "analyzer/pipeline",
                                  "analyzer/tls"},
    "analyzer/relay": PUBLIC | {"analyzer/capture"},
    "analyzer/evidence": PUBLIC | {"analyzer/capture", "analyzer/feed", "analyzer/pipeline"},
    "analyzer/compare": PUBLIC,
    "analyzer/baseline": PUBLIC | {"analyzer/compare", "analyzer/report"},
    "analyzer/log": PUBLIC | {"analyzer/report"},
    "analyzer/merge": PUBLIC | {"analyzer/baseline", "analyzer/latency", "analyzer/report"},
    "analyzer/report": PUBLIC | {"analyzer/compare", "analyzer/latency", "analyzer/pipeline",
                                 "analyzer/tls"},
    "analyzer/metrics": PUBLIC | {"analyzer/capture", "analyzer/pipeline", "analyzer/report"},
    "analyzer/probe": PUBLIC | {"analyzer/capture", "analyzer/pipeline", "analyzer/relay",
                                "analyzer/report"},
    "analyzer/library": PUBLIC | {"analyzer/pipeline", "analyzer/report"},
    "analyzer": PUBLIC | {"analyzer/baseline", "analyzer/capture", "analyzer/compare",
                          "analyzer/evidence", "analyzer/log", "analyzer/merge",
                          "analyzer/metrics", "analyzer/options", "analyzer/pipeline",
                          "analyzer/probe", "analyzer/relay", "analyzer/report"},
    "tui": PUBLIC | {"analyzer/capture", "analyzer/latency", "analyzer/metrics",
                     "analyzer/options", "analyzer/pipeline", "analyzer/relay",
                     "analyzer/report"},
}

# The only modules that may include each other, and why.
INCLUDE_CIRCLES = [
    # tcp.h is what others see, internal.h what tcp.c and reasm.c share
    {"analyzer/tcp/tcp", "analyzer/tcp/internal"},
]

# The only ones that may call each other.
CALL_CIRCLES = [
    # the chapters of one state machine: each goes on to the next
    {"dissector/decoder/stream", "dissector/decoder/handshake",
     "dissector/decoder/transmission", "dissector/decoder/requests", "dissector/decoder/resync"},
    # and those of another
    {"analyzer/tls/" + name for name in ("handshake", "records", "search")},
    # a flow, and its halves
    {"analyzer/tcp/tcp", "analyzer/tcp/reasm"},
    # what Wireshark asks the plugin for, and what follows from it
    {"dissector/wireshark/" + name for name in ("follow", "objects", "show", "stats", "watch")},
    # the screens are in a table, and go on to each other
    {"tui/" + name for name in ("frame", "prompt", "ui", "view_findings", "view_help",
                                "view_latency", "view_lists", "view_messages", "view_order",
                                "view_setup")},
]


def circles(graph):
    """Strongly connected parts of more than one node (Tarjan)."""
    sys.setrecursionlimit(10000)
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(set(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def sources():
    for top in ("analyzer", "dissector", "include", "tui"):
        for path, _, names in os.walk(os.path.join(ROOT, top)):
            for name in names:
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(path, name), ROOT)


def included(source):
    """The project's own files that it includes."""
    with open(os.path.join(ROOT, source), encoding="utf-8") as file:
        for line in file:
            match = re.match(r'\s*#\s*include\s+(["<])([^">]+)', line)
            if not match:
                continue
            near = os.path.normpath(os.path.join(os.path.dirname(source), match[2]))
            for path in (near, os.path.join("include", match[2])):
                if os.path.exists(os.path.join(ROOT, path)):
                    yield path
                    break


def module(path):
    return re.sub(r"\.[ch]$", "", path)


def objects():
    """Module and object file, of all that was built of the sources."""
    for path, names, files in os.walk(OBJECTS):
        # other builds, which are below this one
        names[:] = [n for n in names if not os.path.exists(os.path.join(path, n, "CMakeCache.txt"))]
        for name in files:
            full = os.path.join(path, name)
            match = re.fullmatch(r"(.*?)/?CMakeFiles/[^/]+\.dir/(.*)\.c\.o",
                                 os.path.relpath(full, OBJECTS))
            if match:
                source = os.path.normpath(os.path.join(match[1], match[2]))
                if os.path.dirname(source) in ROOMS:
                    yield source, full


def calls():
    """Who uses what of whom: {module: {other: names}}."""
    defined, used = {}, {}
    for name, path in objects():
        for line in subprocess.run(["nm", path], check=True, text=True,
                                   stdout=subprocess.PIPE).stdout.splitlines():
            *_, kind, symbol = line.split()
            if kind == "U":
                used.setdefault(name, set()).add(symbol)
            elif kind in "TDBRV":
                defined[symbol] = name
    graph = {}
    for name, symbols in used.items():
        for symbol in symbols:
            other = defined.get(symbol, name)
            if other != name:
                graph.setdefault(name, {}).setdefault(other, set()).add(symbol)
    return graph


class Includes(unittest.TestCase):
    def setUp(self):
        self.files = list(sources())

    def test_rooms(self):
        """A file includes what its room may look into."""
        self.assertGreater(len(self.files), 100)
        for source in self.files:
            room = os.path.dirname(source)
            with self.subTest(source):
                self.assertIn(room, ROOMS, "a new room: add it to the list, and to "
                                           "docs/architecture.md")
                for other in included(source):
                    if os.path.dirname(other) != room:
                        self.assertIn(os.path.dirname(other), ROOMS[room])

    def test_rooms_close_no_circle(self):
        self.assertEqual(circles({r: others - {r} for r, others in ROOMS.items()}), [])

    def test_no_circle(self):
        graph = {}
        for source in self.files:
            for other in included(source):
                if module(other) != module(source):
                    graph.setdefault(module(source), set()).add(module(other))
        for circle in circles(graph):
            with self.subTest(sorted(circle)):
                self.assertIn(circle, INCLUDE_CIRCLES)

    def test_names(self):
        """No struct is named like one of another file."""
        where = {}
        for source in self.files:
            with open(os.path.join(ROOT, source), encoding="utf-8") as file:
                for name in re.findall(r"^(?:typedef )?(?:struct|union|enum) (\w+) \{", file.read(), re.M):
                    where.setdefault(name, set()).add(source)
        for name, files in where.items():
            with self.subTest(name):
                self.assertEqual(len(files), 1, sorted(files))

    def test_all_is_included(self):
        """No header that nobody needs."""
        wanted = {other for source in self.files for other in included(source)}
        tests = subprocess.run(["grep", "-rhoE", r'#include [<"][^">]+', "tests"], cwd=ROOT,
                               check=True, text=True, stdout=subprocess.PIPE).stdout
        for source in self.files:
            if source.endswith(".h") and not source.startswith("include/nbdscope"):
                with self.subTest(source):
                    self.assertTrue(source in wanted or os.path.basename(source) in tests)


class Calls(unittest.TestCase):
    def setUp(self):
        if OBJECTS is None:
            self.skipTest("no build to look at")
        self.graph = calls()

    def test_no_circle(self):
        self.assertGreater(len(self.graph), 50)
        for circle in circles(self.graph):
            if any(circle <= allowed for allowed in CALL_CIRCLES):
                continue
            with self.subTest(sorted(circle)):
                self.fail("\n".join(f"{one} calls {other}: {', '.join(sorted(names))}"
                                    for one in sorted(circle)
                                    for other, names in sorted(self.graph[one].items())
                                    if other in circle))


if __name__ == "__main__":
    ROOT = sys.argv[1]
    OBJECTS = sys.argv[2] if len(sys.argv) > 2 else None
    unittest.main(argv=sys.argv[:1])
