# SPDX-License-Identifier: GPL-2.0-or-later
"""Each way in which a server can be wrong is found out, by the history that is there for
it; and one that is not wrong is not accused."""

import concurrent.futures
import json
import signal
import subprocess
import time

import probing
import wrong_server

# Histories that show it, rules that they break.
EXPECTED = {
    "read-cache": ({"flush-here", "flush-elsewhere", "fua"}, {"stale-read-after-flush",
                                                              "stale-read-after-fua"}),
    "ignore-fua": ({"fua", "zeroes-fua"}, {"stale-read-after-fua"}),
    "flush-own": ({"flush-elsewhere"}, {"stale-read-after-flush"}),
    "flush-late": ({"flush-here", "flush-of-much"}, {"stale-read-after-flush"}),
    "flush-nothing": ({"flush-here", "new-connection"}, {"stale-read-after-flush"}),
    "zeroes-half": ({"own-zeroes"}, {"zeroes-not-read-back"}),
    "zeroes-own": ({"zeroes-flushed", "zeroes-fua"}, {"stale-read-after-flush",
                                                      "stale-read-after-fua"}),
    "zeroes-nothing": ({"own-zeroes"}, {"zeroes-not-read-back"}),
    "trim-late": ({"trim-then-write"}, {"stale-read-own-write"}),
    "trim-wide": ({"trim-neighbours"}, {"stale-read-own-write"}),
    "swap-replies": ({"many-in-flight"}, {"read-unexplained-data"}),
    "early-reply": ({"half-payload"}, {"reply-before-payload"}),
    "lost-at-disconnect": ({"disconnect-unflushed", "drop-unflushed"},
                           {"stale-read-after-flush"}),
    "page-cache": ({"neighbours"}, {"stale-read-after-flush"}),
    "write-back-again": ({"mixed"}, {"stale-read-after-flush"}),
    "two-replicas": ({"overlap-in-flight"}, {"unstable-read"}),
    "lost-update": ({"neighbours-in-flight"}, {"stale-read-own-write"}),
    "short-disk": ({"last-bytes"}, {"read-unexplained-data"}),
}

# Where the flag is proved to be a lie; of the others it cannot be said.
UNTRUE = {"read-cache", "ignore-fua", "flush-own", "flush-late", "flush-nothing", "zeroes-own",
          "lost-at-disconnect", "page-cache", "write-back-again"}


class Wrong(probing.ProbeTest):
    def test_found_out(self):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            probes = pool.map(lambda mode: self.probe(self.wrong(mode)), EXPECTED)
        for (mode, (histories, rules)), probe in zip(EXPECTED.items(), probes):
            with self.subTest(mode):
                self.assertEqual(probe.status, 1, probe.errors)
                self.assertLessEqual(histories, probe.outcomes("broken"), mode)
                self.assertLessEqual(rules, set(probe.summary["rules"]), mode)
                if mode in UNTRUE:
                    self.assertTrue(probe.probed["untrue"], probe.probed)

    def test_every_mode_is_tried(self):
        here = {"honest", "honest-single", "flush-own-single", "hang-on-flush",
                "hang-on-greeting", "end-on-write", "error-on-flush", "forget-all", "nonsense"}
        self.assertEqual(set(wrong_server.MODES), set(EXPECTED) | here)

    def test_honest(self):
        probe = self.probe(self.wrong("honest"))
        self.assert_honest(probe)
        self.assertTrue(probe.probed["multi_conn"])
        self.assertIn("no broken promise was seen", probe.probed["conclusion"])
        # What the probe does on purpose is not told.
        self.assertEqual(probe.kinds["finding"], [])

    def test_honest_in_all_rounds(self):
        done = self.run_nbdaudit("--probe=" + self.wrong("honest"), "--scratch", "--format=json")
        probe = probing.Probe(done)
        self.assert_honest(probe)
        self.assertEqual(probe.histories["fua"]["rounds"], {"done": 4, "planned": 4})

    def test_small(self):
        for size in (1, 511, 512, 4096, 5000):
            with self.subTest(size):
                self.assert_honest(self.probe(self.wrong("honest", size)), *range(6))

    def test_without_the_flag(self):
        probe = self.probe(self.wrong("honest-single"))
        self.assert_honest(probe)
        self.assertIn("the flag might be true", probe.probed["conclusion"])
        self.assertFalse(probe.histories["fua"]["promised"])
        probe = self.probe(self.wrong("flush-own-single"))
        self.assertEqual(probe.status, 0)
        self.assertEqual(probe.summary["verdict"], "hazards")
        self.assertEqual(probe.histories["flush-elsewhere"]["outcome"], "stale")
        self.assertEqual(probe.histories["flush-here"]["outcome"], "kept")
        self.assertIn("rightly so", probe.probed["conclusion"])

    def test_forgets_all(self):
        probe = self.probe(self.wrong("forget-all"))
        self.assertEqual(probe.outcomes("suspect"), {"after-all-left"})
        self.assertEqual(probe.outcomes("broken"), set())

    def test_hangs(self):
        begin = time.monotonic()
        probe = self.probe(self.wrong("hang-on-flush"), "--probe-seconds=3")
        self.assertLess(time.monotonic() - begin, 20)
        self.assertEqual(probe.status, 2)
        self.assertIn("NBD_CMD_FLUSH was not answered within 1 s",
                      probe.histories["own-write"]["reason"])
        self.assertIn("it was given up", probe.probed["stopped"])
        self.assertEqual(probe.kinds["capture"][0]["complete"], False)
        probe = self.probe(self.wrong("hang-on-greeting"), "--probe-seconds=3")
        self.assertEqual(probe.status, 2)
        self.assertIn("no answer to the handshake within 1 s", probe.errors)

    def test_ends_connections(self):
        probe = self.probe(self.wrong("end-on-write"))
        self.assertEqual(probe.status, 2)
        self.assertIn("server-closed-unanswered", probe.summary["rules"])
        self.assertIn("many-in-flight", probe.outcomes("failed"))
        self.assertIn("could not be carried out", probe.errors)

    def test_fails(self):
        probe = self.probe(self.wrong("error-on-flush"))
        self.assertEqual(probe.status, 2)
        self.assertIn("NBD_CMD_FLUSH failed: Input/output error",
                      probe.histories["flush-here"]["reason"])
        self.assertIn("nothing is known of it", probe.probed["conclusion"])

    def test_nonsense(self):
        probe = self.probe(self.wrong("nonsense"))
        self.assertEqual(probe.status, 2)
        self.assertIn("reply-magic-wrong", probe.summary["rules"])
        self.assertFalse(probe.probed["untrue"])

    def test_saved(self):
        """What is saved is what was audited."""
        saved = self.folder / "probe.pcapng"
        probe = self.probe(self.wrong("flush-own"), "-w", saved)
        done = self.run_nbdaudit("--exclusive", "--format=json", saved)
        again = probing.Probe(done)
        self.assertEqual(done.returncode, 1)
        wrong = [(f["rule"], f["frames"]) for f in probe.kinds["finding"]
                 if f["severity"] == "violation"]
        self.assertEqual([(f["rule"], f["frames"]) for f in again.kinds["finding"]
                          if f["severity"] == "violation"], wrong)
        self.assertEqual(again.kinds["capture"][0]["frames"],
                         probe.kinds["capture"][0]["frames"])
        # Of each history the frames are named.
        history = probe.histories["flush-elsewhere"]
        inside = [f for f in probe.kinds["finding"]
                  if history["first_frame"] <= f["frames"].get("read", 0) <=
                  history["last_frame"]]
        self.assertEqual(sum(history["findings"].values()), len(inside))

    def test_forms(self):
        uri = self.wrong("flush-own")
        expected = {"text": ["CAN_MULTI_CONN is advertised, and is not true",
                             "flush-elsewhere       broken"],
                    "html": ["<code>flush-elsewhere</code>", "is not true"],
                    "junit": ['classname="nbdaudit.probe" name="flush-elsewhere"><failure'],
                    "sarif": ["stale-read-after-flush"]}
        for form, words in expected.items():
            done = self.run_nbdaudit("--probe=" + uri, "--scratch", "--probe-rounds=1",
                                     "--format=" + form)
            self.assertEqual(done.returncode, 1, done.stderr)
            for word in words:
                self.assertIn(word, done.stdout)

    def test_schema(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("python3-jsonschema is not installed")
        with open(probing.ROOT / "docs" / "report.schema.json", encoding="utf-8") as file:
            schema = jsonschema.Draft202012Validator(json.load(file))
        for item in self.probe(self.wrong("page-cache")).objects:
            if item["type"] in ("probe", "probed", "capture", "summary"):
                schema.validate(item)

    def test_same_seed(self):
        """The same commands, whatever the server does in between."""
        def commands(seed):
            done = self.run_nbdaudit("--probe=" + self.uri, "--scratch", "--probe-rounds=1",
                                     "--format=json", "--probe-seed=%d" % seed)
            probe = probing.Probe(done)
            return [(c["id"], {name: (s["count"], s["bytes"]) for name, s in
                               c["commands"].items()}) for c in probe.kinds["connection"]]
        self.uri = self.wrong("honest")
        self.assertEqual(commands(7), commands(7))
        self.assertNotEqual(commands(7), commands(8))

    def test_interrupted(self):
        uri = self.wrong("hang-on-flush")
        audit = subprocess.Popen([probing.BIN / "nbdaudit", "--probe=" + uri, "--scratch",
                                  "--format=json"], stdout=subprocess.PIPE, text=True,
                                 stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        audit.send_signal(signal.SIGINT)
        out, _ = audit.communicate(timeout=probing.SECONDS)
        self.assertEqual(json.loads(out.splitlines()[-1])["type"], "summary")
        self.assertIn('"it was interrupted"', out)

    def test_refused(self):
        uri = self.wrong("honest")
        cases = [
            (["--probe=" + uri], "say so with --scratch"),
            (["--scratch", "a.pcap"], "are for --probe=URI"),
            (["--probe=" + uri, "--scratch", "a.pcap"], "neither files nor an interface"),
            (["--probe=nbds://localhost", "--scratch"], "encrypted"),
            (["--probe=http://localhost", "--scratch"], "not an NBD URI"),
            (["--probe=nbd+unix:///", "--scratch"], "does not name a socket"),
            (["--probe=nbd+unix:///?socket=" + "x" * 200, "--scratch"], "too long"),
            (["--probe=nbd://[::1]:1/", "--scratch"], "cannot connect"),
            (["--probe=" + uri, "--scratch", "--probe-rounds=0"], "not a number from 1"),
            (["--probe=" + uri, "--scratch", "-w", "-"], "cannot both go"),
        ]
        for options, words in cases:
            with self.subTest(options[0]):
                done = self.run_nbdaudit(*options)
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertIn(words, done.stderr)
                self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    probing.main()
