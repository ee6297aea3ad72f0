#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Wireshark itself, with the plugin and its profile, on a screen that nobody sees: what
its windows say, as they say it to those who cannot see them either.

The texts are read from the accessibility bus, and its menus are used through it. Exit
status 77, with a reason, where something that this needs is missing.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

import shark

PROFILE = shark.ROOT / "dissector" / "wireshark" / "profile" / "NBD"
BUTTON = ("push button", "button")  # as versions call it
MARK = "window.py: "  # before what the inner one tells


# --- inside: as the user that Wireshark runs as, with a bus of its own ---

class Screen:
    """The windows of the one program on the bus."""

    def __init__(self, until):
        import gi
        gi.require_version("Atspi", "2.0")
        from gi.repository import Atspi, GLib
        self.api, self.failed, self.until = Atspi, GLib.Error, until

    def wait(self, what, look):
        """What `look` finds, as soon as it does."""
        while time.monotonic() < self.until:
            try:
                found = look()
            except self.failed:  # it changes while one looks
                found = None
            if found:
                return found
            time.sleep(0.2)
        raise TimeoutError(what)

    def children(self, node, most=400):
        return [child for child in (node.get_child_at_index(at) for at in
                                    range(min(node.get_child_count(), most))) if child]

    def windows(self):
        desktop = self.api.get_desktop(0)
        return [window for program in self.children(desktop)
                if program.get_name() == "Wireshark" for window in self.children(program)]

    def walk(self, node):
        for child in self.children(node):
            yield child
            yield from self.walk(child)

    def find(self, node, role, name):
        for child in self.walk(node):
            if child.get_role_name() in role and child.get_name() == name:
                return child
        return None

    def cells(self, node):
        return [child.get_name() for child in self.walk(node)
                if child.get_role_name() in ("table cell", "list item")]

    def choose(self, main, *path):
        """An entry of the menus, and what the window says that it opens."""
        before = self.wait("windows", lambda: {window.get_name() for window in self.windows()})
        node = self.wait("menus", lambda: next(
            (child for child in self.children(main) if child.get_role_name() == "menu bar"), None))
        for name in path:
            node = self.wait(name, lambda at=node, name=name: self.find(at, ("menu item",), name))
        node.get_action_iface().do_action(0)

        def new():
            for window in self.windows():
                cells = self.cells(window) if window.get_name() not in before else None
                if cells:
                    return window, {"window": window.get_name(), "cells": cells}
            return None
        window, said = self.wait("a window of " + " > ".join(path), new)
        close = self.wait("its end", lambda: self.find(window, BUTTON, "Close"))
        close.get_action_iface().do_action(0)
        return said


def read(name):
    """What the windows of the file `name` say, as JSON; exit status 3: none was seen."""
    screen = Screen(time.monotonic() + 6)
    try:
        main = screen.wait("the file's window", lambda: next(
            (window for window in screen.windows() if name in window.get_name()), None))
    except TimeoutError:
        sys.exit(3)
    screen.until = time.monotonic() + 60
    said = {}
    try:
        said["light"] = screen.wait("the light", lambda: next(
            (node.get_description() for part in screen.children(main)
             if part.get_role_name() == "status bar" for node in screen.walk(part)
             if "highest expert" in node.get_description()), None))
        packets = screen.wait("packets", lambda: screen.find(main, ("tree",), "Packet list"))
        said["columns"] = screen.wait("columns", lambda: [
            (node.get_name(),
             node.get_component_iface().get_extents(screen.api.CoordType.SCREEN).width)
            for node in screen.children(packets, 20)
            if node.get_role_name() == "table column header"])
        said["buttons"] = screen.wait("buttons", lambda: [
            node.get_name() for node in screen.walk(main) if node.get_role_name() in BUTTON])
        said["menus"] = screen.wait("menus", lambda: [
            node.get_name() for node in screen.walk(main) if node.get_role_name() == "menu item"])
        for key, path in (("exports", ("Statistics", "NBD Exports")),
                          ("consistency", ("Statistics", "NBD Consistency")),
                          ("graphs", ("Statistics", "I/O Graphs")),
                          ("objects", ("File", "Export Objects", "NBD…"))):
            said[key] = screen.choose(main, *path)
    finally:
        print(MARK + json.dumps(said), flush=True)


def inside(capture, name):
    xvfb = subprocess.Popen(["Xvfb", "-displayfd", "1", "-screen", "0", "1280x900x24",
                             "-nolisten", "tcp"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)
    display = xvfb.stdout.readline().decode().strip()
    env = dict(os.environ, DISPLAY=":" + display, QT_QPA_PLATFORM="xcb", QT_ACCESSIBILITY="1",
               QT_LINUX_ACCESSIBILITY_ALWAYS_ON="1")
    wireshark = subprocess.Popen(["wireshark", "-C", "NBD", "-r", capture], env=env,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # Who asks while the program is still starting is told nothing from then on: so
        # each time another one asks.
        for _ in range(12):
            time.sleep(2)
            if subprocess.run([sys.executable, __file__, "--read", name],
                              check=False).returncode != 3:
                break
    finally:
        for program in wireshark, xvfb:
            program.send_signal(signal.SIGTERM)
        for program in wireshark, xvfb:
            program.wait()


# --- outside ---

class Window(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shark = shark.Shark()
        to = cls.shark.home / ".config" / "wireshark" / "profiles"
        to.mkdir(parents=True)
        shutil.copytree(PROFILE, to / "NBD")
        run = cls.shark.home / "run"
        run.mkdir()
        for path in (cls.shark.home, *cls.shark.home.rglob("*")):
            if os.geteuid() == 0:
                os.chown(path, shark.NOBODY, shark.NOBODY)
        run.chmod(0o700)
        cls.shark.env["XDG_RUNTIME_DIR"] = str(run)
        capture = cls.shark.copy(shark.SAMPLES / "multi-conn-unsafe.pcap")
        here = cls.shark.dir / "tests"
        shutil.copytree(shark.HERE, here)
        here.chmod(0o755)
        out = cls.shark.run("dbus-run-session", "--", sys.executable, here / "window.py",
                            "--inside", capture, capture.name, check=False, timeout=150)
        told = [line[len(MARK):] for line in out.stdout.splitlines() if line.startswith(MARK)]
        cls.said = json.loads(told[0]) if told else {}
        cls.trouble = out.stderr[-1500:]

    def get(self, key):
        self.assertIn(key, self.said, self.trouble)
        return self.said[key]

    def test_light(self):
        """It is red as soon as the file is there."""
        self.assertEqual(self.get("light"), "ERROR is the highest expert information level")

    def test_columns(self):
        """Latencies and rules have room; what comes last is not off the screen."""
        width = dict(self.get("columns"))
        self.assertEqual(list(width)[-2:], ["Info", "Comment"])
        self.assertGreaterEqual(width["Latency"], 100)
        self.assertGreaterEqual(width["Finding"], 180)
        self.assertLess(sum(list(width.values())[:-2]), 1000)

    def test_buttons(self):
        self.assertLessEqual({"NBD", "Violations", "Findings", "No answer"},
                             set(self.get("buttons")))

    def test_exports(self):
        cells = self.get("exports")["cells"]
        self.assertEqual([cell.strip() for cell in cells].count("(default)"), 2)
        self.assertIn("4096", [cell.strip() for cell in cells])
        self.assertFalse([cell for cell in cells if "." in cell and "127.0.0.1" not in cell], cells)

    def test_consistency(self):
        cells = self.get("consistency")["cells"]
        at = cells.index("stale-read-after-flush (violation)")
        self.assertEqual(cells[at + 1], "4")

    def test_graphs(self):
        cells = self.get("graphs")["cells"]
        self.assertIn("Unflushed bytes", cells)
        self.assertIn("MAX(Y Field)", cells)

    def test_objects(self):
        said = self.get("objects")
        self.assertIn("NBD", said["window"])
        self.assertIn("default.img", said["cells"])

    def test_follow(self):
        major, minor = map(int, self.shark.version)
        if (major, minor) < (4, 2):
            self.skipTest("this Wireshark follows a fixed list of protocols")
        self.assertIn("NBD Stream", self.get("menus"))


def missing():
    for program in "wireshark", "Xvfb", "dbus-run-session":
        if not shutil.which(program):
            return program
    if not importlib.util.find_spec("gi"):
        return "Python's gi (python3-gi)"
    import gi
    try:
        gi.require_version("Atspi", "2.0")
    except ValueError:
        return "Atspi (gir1.2-atspi-2.0)"
    if not os.path.exists("/usr/libexec/at-spi-bus-launcher"):
        return "at-spi-bus-launcher (at-spi2-core)"
    return None


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(*sys.argv[2:])
        sys.exit()
    if sys.argv[1:2] == ["--read"]:
        read(*sys.argv[2:])
        sys.exit()
    if missing():
        print("skipped: %s not found" % missing())
        sys.exit(77)
    unittest.main()
