# SPDX-License-Identifier: GPL-2.0-or-later
"""Wireshark's interface "NBD relay": what Wireshark asks of it, and tshark capturing on it."""

import os
import re
import shutil
import signal
import stat
import subprocess
import unittest

import relaying
from relaying import wait_until

relaying.require("nbdkit", "tshark", "nbdcopy", "capinfos", "setpriv")

PROGRAM = relaying.BIN / "nbdrelay"
NOBODY = 65534


class Asked(unittest.TestCase):
    def ask(self, *options, status=0):
        run = subprocess.run([PROGRAM, *options], stdin=subprocess.DEVNULL, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(run.returncode, status, run.stderr)
        return run.stderr if status else run.stdout

    def test_questions(self):
        self.assertIn("interface {value=nbdrelay}{display=NBD relay}",
                      self.ask("--extcap-interfaces", "--extcap-version=4.0"))
        of = "--extcap-interface=nbdrelay"
        self.assertRegex(self.ask("--extcap-dlts", of), r"^dlt \{number=12\}\{name=RAW\}")
        arguments = self.ask("--extcap-config", of)
        self.assertEqual(re.findall(r"\{call=(--\w+)\}", arguments), ["--listen", "--connect"])
        self.assertEqual(arguments.count("{required=true}"), 2)
        self.assertEqual(self.ask("--extcap-capture-filter=tcp port 10809", of), "")
        self.assertIn("syntax error", self.ask("--extcap-capture-filter=tcp port port", of))

    def test_wrong(self):
        of = "--extcap-interface=nbdrelay"
        for options, said in (([], "interface for Wireshark"),
                              (["--extcap-interface=eth0", "--extcap-dlts"], "called nbdrelay"),
                              ([of, "--capture"], "--fifo is missing"),
                              ([of, "--capture", "--fifo=x", "--listen=unix:a"], "it needs to know"),
                              ([of, "--capture", "--fifo=x", "--listen=a", "--connect=b"],
                               "is not unix:PATH")):
            with self.subTest(options):
                self.assertIn(said, self.ask(*options, status=2))


class Captured(relaying.RelayTest):
    """As a user: Wireshark heeds no folder of the caller's choice when root runs it."""

    def setUp(self):
        super().setUp()
        os.chmod(self.work, 0o777)
        self.extcap = self.work / "extcap"
        self.extcap.mkdir()
        shutil.copy(PROGRAM, self.extcap)
        (self.work / "home").mkdir()
        for path in self.extcap, self.extcap / "nbdrelay", self.work / "home":
            os.chmod(path, 0o777)
        self.env = dict(os.environ, HOME=str(self.work / "home"),
                        WIRESHARK_EXTCAP_DIR=str(self.extcap))

    def as_user(self, *command):
        command = list(map(str, command))
        if os.geteuid() == 0:
            return ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups",
                    *command]
        return command

    def start(self, *command, log):
        with open(self.work / log, "wb") as file:
            process = subprocess.Popen(self.as_user(*command), cwd=self.work, env=self.env,
                                       stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.running.append(process)
        return process

    def test_tshark(self):
        interfaces = subprocess.run(self.as_user("tshark", "-D"), env=self.env, text=True,
                                    cwd=self.work, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, timeout=60).stdout
        self.assertIn("nbdrelay (NBD relay)", interfaces)
        self.start("nbdkit", "-f", "-U", self.work / "server", "memory", "8M", log="server.log")
        wait_until((self.work / "server").exists, "nbdkit")
        tshark = self.start("tshark", "-i", "nbdrelay",
                            "-o", "extcap.nbdrelay.listen:unix:%s" % (self.work / "relay"),
                            "-o", "extcap.nbdrelay.connect:unix:%s" % (self.work / "server"),
                            "-w", self.work / "saved.pcapng", log="tshark.log")
        wait_until((self.work / "relay").exists, "the relay: " +
                   (self.work / "tshark.log").read_text())
        os.chmod(self.work / "relay", stat.S_IRWXU | stat.S_IRWXO)
        source = self.random_file("source", 8)
        self.run_command("nbdcopy", "--flush", source, self.uri())
        self.run_command("nbdcopy", self.uri(), "copy")
        self.assertEqual(relaying.digest(self.work / "copy"), relaying.digest(source))
        wait_until(lambda: self.complete("saved.pcapng"), "tshark to have all")
        tshark.send_signal(signal.SIGINT)
        tshark.wait(relaying.SECONDS)
        # that it is over is how a relay ends, too
        wait_until(lambda: not (self.work / "relay").exists(), "the relay to end")
        report = self.audit("saved.pcapng")
        self.assertEqual(report.counts()["NBD_CMD_WRITE", "bytes"], 8 << 20)
        self.assertEqual(report.counts()["NBD_CMD_READ", "bytes"], 8 << 20)
        self.assertIn("Synthetic TCP: no such packets were sent",
                      self.run_command("capinfos", "saved.pcapng"))

    def complete(self, name):
        run = subprocess.run([relaying.BIN / "nbdaudit", "--format=json", name], cwd=self.work,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.PIPE, timeout=relaying.SECONDS)
        return run.stdout.count('"end":"disc') + run.stdout.count('"end":"fin') >= 2


if __name__ == "__main__":
    unittest.main()
