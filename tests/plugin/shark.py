# SPDX-License-Identifier: GPL-2.0-or-later
"""tshark with the plugin that was just built, and what it says, for the tests here.

Wireshark loads no plugin from a folder of the caller's choice when root runs it, so
root runs it as nobody. Everything it reads is copied to where nobody can read it.
"""

import atexit
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
PLUGIN = pathlib.Path(os.environ.get("NBDSCOPE_PLUGIN", BIN.parent / "plugins" / "nbdscope.so"))
SAMPLES = pathlib.Path(os.environ.get("NBDSCOPE_SAMPLES", ROOT / "samples"))
CAPTURES = os.environ.get("NBDSCOPE_CAPTURES") or None

NOBODY = 65534


class Shark:
    """tshark with the plugin, in a home of its own."""

    def __init__(self, plugin=PLUGIN):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-plugin-"))
        atexit.register(shutil.rmtree, self.dir, ignore_errors=True)
        os.chmod(self.dir, 0o755)
        self.home = self.dir / "home"
        self.home.mkdir()
        os.chmod(self.home, 0o777)
        self.env = dict(os.environ, HOME=str(self.home), LC_ALL="C.UTF-8")
        for name in "XDG_CONFIG_HOME", "XDG_DATA_HOME", "WIRESHARK_PLUGIN_DIR":
            self.env.pop(name, None)
        folders = self.run("tshark", "-G", "folders").stdout
        version = re.search(r"^Global Plugins:\s*(\S+)", folders, re.M).group(1)
        self.plugins = self.dir / "plugins" / os.path.basename(version)
        if plugin:
            self.use(plugin)
        self.version = re.search(r"(\d+)\.(\d+)\.\d+", self.run("tshark", "-v").stdout).groups()

    def use(self, plugin):
        (self.plugins / "epan").mkdir(parents=True, exist_ok=True)
        shutil.copy(plugin, self.plugins / "epan" / "nbdscope.so")
        self.env["WIRESHARK_PLUGIN_DIR"] = str(self.plugins.parent)
        # A sanitizer has to be there before the program is. What tshark itself never
        # gives back is its own affair.
        linked = subprocess.run(["ldd", plugin], text=True, check=True,
                                stdout=subprocess.PIPE).stdout
        runtime = re.findall(r"^\s*lib[au]\w*san\S* => (\S+)", linked, re.M)
        if runtime:
            self.env["LD_PRELOAD"] = " ".join(runtime)
            self.env["ASAN_OPTIONS"] = ":".join(
                filter(None, [self.env.get("ASAN_OPTIONS"), "detect_leaks=0"]))

    def run(self, *argv, check=True, timeout=300, stdin=""):
        """Runs a program of Wireshark's, as nobody if need be."""
        argv = [str(a) for a in argv]
        if os.geteuid() == 0:
            argv = ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY,
                    "--clear-groups"] + argv
        run = subprocess.run(argv, env=self.env, input=stdin.encode(), timeout=timeout,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.dir)
        run.stdout = run.stdout.decode(errors="replace")
        run.stderr = run.stderr.decode(errors="replace")
        if check and run.returncode:
            raise RuntimeError("%s: status %d\n%s" % (" ".join(argv), run.returncode,
                                                     run.stderr[-2000:]))
        return run

    def copy(self, path):
        """A copy that can be read."""
        to = self.dir / os.path.basename(path)
        if not to.exists():
            shutil.copy(path, to)
            os.chmod(to, 0o644)
        return to

    def tshark(self, capture, *argv, **kw):
        return self.run("tshark", "-r", self.copy(capture), *argv, **kw)


class Field:
    def __init__(self, element):
        self.name = element.get("name", "")
        self.show = element.get("show", "")
        self.showname = element.get("showname", "")
        self.value = element.get("value", "")
        self.children = [Field(child) for child in element]

    def find(self, name):
        """The first field of this name inside, or None."""
        for child in self.children:
            if child.name == name:
                return child
            found = child.find(name)
            if found:
                return found
        return None

    def all(self, name):
        found = []
        for child in self.children:
            if child.name == name:
                found.append(child)
            found += child.all(name)
        return found


class Frame:
    """A frame: its number, port of the sender, and its NBD items."""

    def __init__(self, packet):
        self.items = []
        self.port = self.peer = self.number = None
        self.complaints = []
        for proto in packet:
            name = proto.get("name")
            if name == "geninfo":
                self.number = int(proto[0].get("show"))
            elif name == "tcp":
                ports = re.search(r"Src Port: (\d+), Dst Port: (\d+)", proto.get("showname"))
                self.port, self.peer = map(int, ports.groups())
            elif name == "nbd":
                self.items.append(Field(proto))
            elif name in ("_ws.malformed", "_ws.short") or "bug" in proto.get("showname", ""):
                self.complaints.append(proto.get("showname") or name)


def frames(pdml):
    """The frames of a PDML document with NBD in them."""
    # Tree for tree: all of them at a time are large.
    for part in re.finditer(r"<packet>.*?</packet>", pdml, re.S):
        if 'name="nbd"' not in part.group() and "_ws." not in part.group():
            continue
        frame = Frame(ET.fromstring(part.group()))
        if frame.items or frame.complaints:
            yield frame


def pdml(shark, capture, *argv):
    keys = pathlib.Path(capture).with_suffix(".keylog")
    if keys.exists():
        argv += ("-o", "tls.keylog_file:%s" % shark.copy(keys))
    run = shark.tshark(capture, "-n", "-T", "pdml", "-J", "nbd _ws.malformed", *argv, check=False)
    if run.returncode and "cut short" not in run.stderr and "appears" not in run.stderr:
        raise RuntimeError("tshark: status %d\n%s" % (run.returncode, run.stderr[-2000:]))
    # Without what XML cannot hold.
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", run.stdout)
