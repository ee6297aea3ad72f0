#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTML form without a browser: every page is well-formed, holds nothing that could load
or run but its own style and script, and says what the JSON form says."""

import base64
import functools
import hashlib
import html.parser
import os
import pathlib
import re
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

import captures

VOID = {"meta", "br", "link", "img", "input", "hr", "col"}
RAW = {"script", "style"}
# All that a page may be made of; SVG's own are read as XML.
ELEMENTS = {
    "html", "head", "meta", "title", "style", "script", "body", "header", "main", "section",
    "nav", "footer", "div", "span", "p", "h1", "h2", "h3", "ul", "li", "dl", "dt", "dd", "table",
    "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption",
    "code", "a", "b", "bdi", "br", "data",
}
SVG = {"svg", "g", "rect", "path", "text", "title"}
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "scope", "colspan",
    "open", "tabindex", "role", "hidden", "value", "xmlns", "viewbox", "width", "height", "x", "y",
    "rx", "d", "preserveaspectratio", "aria-label", "aria-hidden", "data-v", "data-w", "data-width",
    "data-unit",
}
LEVELS = ("violation", "suspect", "hazard", "note")


class Page(html.parser.HTMLParser):
    """Reads a page, and is stricter than a browser: what is opened is closed, in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.ids, self.links, self.faults = [], [], [], []
        self.elements, self.texts, self.rows = [], [], []
        self.raw = {"script": [], "style": []}
        self.csp = []
        self.feed(text)
        self.close()
        if self.stack:
            self.faults.append("not closed: %s" % self.stack)

    def handle_starttag(self, tag, attrs):
        inside_svg = "svg" in self.stack
        if tag not in (SVG if inside_svg or tag == "svg" else ELEMENTS):
            self.faults.append("element %s" % tag)
        names = [name for name, _ in attrs]
        if len(set(names)) != len(names):
            self.faults.append("%s: an attribute twice: %s" % (tag, names))
        for name in set(names) - ATTRIBUTES:
            self.faults.append("attribute %s of %s" % (name, tag))
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if "href" in attrs:
            self.links.append(attrs["href"])
        if attrs.get("http-equiv") == "Content-Security-Policy":
            self.csp.append(attrs["content"])
        if tag == "summary" and self.stack[-1] != "details":
            self.faults.append("a summary in %s" % self.stack[-1])
        if tag == "tr":
            self.rows.append([len([t for t in self.stack if t == "table"]), 0])
        if tag in ("td", "th") and self.rows:
            self.rows[-1][1] += int(attrs.get("colspan", 1))
        if tag == "table":
            self.rows.append("table")
        self.elements.append((tag, attrs, len(self.texts)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if not self.stack or self.stack[-1] != tag:
            self.faults.append("</%s> in %s at %s" % (tag, self.stack[-3:], self.getpos()))
            if tag in self.stack:
                while self.stack.pop() != tag:
                    pass
            return
        self.stack.pop()

    def handle_data(self, data):
        if self.stack and self.stack[-1] in RAW:
            self.raw[self.stack[-1]].append(data)
        else:
            self.texts.append(data)

    def handle_comment(self, data):
        self.faults.append("a comment: %s" % data)

    def handle_pi(self, data):
        self.faults.append("<?%s" % data)

    def of_class(self, name):
        return [e for e in self.elements if name in (e[1].get("class") or "").split()]


def luminance(colour):
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [p / 12.92 if p <= .03928 else ((p + .055) / 1.055) ** 2.4 for p in parts]
    return .2126 * red + .7152 * green + .0722 * blue


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + .05) / (dark + .05)


@functools.lru_cache(maxsize=None)
def stored(path):
    """The page of a stored capture, which several tests look at."""
    return captures.page(path)


class Html(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.work = pathlib.Path(cls.directory.name)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def hold(self, text):
        """What holds of every page. Returns it."""
        page = Page(text)
        self.assertEqual(page.faults[:5], [])
        self.assertTrue(text.startswith("<!DOCTYPE html>\n"))
        self.assertEqual(len(set(page.ids)), len(page.ids))
        for link in page.links:
            self.assertEqual(link[:1], "#")
            self.assertIn(link[1:], page.ids)
        # nothing is allowed but what stands there
        (policy,) = page.csp
        for kind, name in (("style", "style-src"), ("script", "script-src")):
            content = "".join(page.raw[kind])
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            self.assertIn("%s 'sha256-%s';" % (name, digest), policy)
            self.assertEqual(len([e for e in page.elements if e[0] == kind]), 1)
        self.assertTrue(policy.startswith("default-src 'none'; "))
        self.assertNotIn("unsafe", policy)
        # every picture is XML, and says what it shows
        pictures = re.findall(r"<svg.*?</svg>", text, re.S)
        self.assertEqual(len(pictures), len([e for e in page.elements if e[0] == "svg"]))
        for picture in pictures:
            root = xml.etree.ElementTree.fromstring(picture)
            self.assertEqual(root.get("role"), "img")
            self.assertGreater(len(root.get("aria-label")), 10)
            self.assertIsNone(re.search(r"-?nan|-?inf", picture))
        # tables are rectangular
        width = None
        for row in page.rows:
            if row == "table":
                width = None
            elif width is None:
                width = row[1]
            else:
                self.assertEqual(row[1], width)
        self.assertEqual(len([e for e in page.elements if e[0] == "h1"]), 1)
        for character in text:
            if character in "\x00\x07\x1b\u202e\u200b\x7f\ufffe" or 0x80 <= ord(character) < 0xa0:
                self.fail("U+%04x" % ord(character))
        return page

    def agree(self, page, facts):
        """It says what the JSON form says."""
        summary = facts[-1]
        (head,) = page.of_class("verdict")
        self.assertIn("v-" + summary["verdict"], head[1]["class"])
        words = {"violations": "Violations", "suspect": "Suspect", "hazards": "Hazards",
                 "clean": "Clean", "unaudited": "Unaudited"}
        (word,) = page.of_class("word")
        self.assertEqual(page.texts[word[2]], words[summary["verdict"]])
        found = [f for f in facts if f["type"] == "finding"]
        # by the numbers that --extract takes
        self.assertEqual({i for i in page.ids if re.fullmatch(r"f\d+", i)},
                         {"f%d" % f["number"] for f in found})
        text = " ".join("".join(page.texts).split())
        shown = len(page.of_class("finding"))
        for level in LEVELS:
            sections = [e for e in page.of_class("rule")
                        if e[0] == "section" and "s-" + level in e[1]["class"]]
            rules = {f["rule"] for f in found if f["severity"] == level}
            self.assertEqual(len(sections), len(rules))
        # of those in full all is said: the sentence, the frames, the filter
        filters = re.findall(r"frame\.number (?:== \d+|in \{[0-9, ]+\})", text)
        self.assertEqual(len(filters), sum(1 for f in self.in_full(found) if f["frames"]))
        self.assertEqual(shown, len(self.in_full(found)))
        for f in self.in_full(found):
            self.assertIn(" ".join(f["message"].split()), text)
            self.assertIn("--extract=%d -w FILE" % f["number"], text)
        # every finding in full that has a frame has its picture
        self.assertEqual(len(page.of_class("lanes")),
                         sum(1 for f in self.in_full(found)
                             if f["frames"] and ("connection" in f or f.get("witnesses"))))
        for name in {f for c in facts if c["type"] == "connection"
                     for f in c.get("transmission_flags", [])}:
            self.assertIn(name, text)

    @staticmethod
    def in_full(found):
        most = {"violation": 20, "suspect": 20, "hazard": 10, "note": 3}
        count, full = {}, []
        for f in found:
            kind = (f["rule"], f["severity"])
            count[kind] = count.get(kind, 0) + 1
            if count[kind] <= most[f["severity"]]:
                full.append(f)
        return full

    def test_captures(self):
        self.assertGreater(len(captures.SAMPLES), 15)
        for path in captures.SAMPLES + captures.REPORTS:
            with self.subTest(path.name):
                self.agree(self.hold(stored(path)), captures.facts(path))

    def charts(self, page):
        """The numbers beside the charts: {name of a series: values}, and ns of a span."""
        series = {}
        for _, attributes, _ in page.of_class("series"):
            name, *values = attributes["value"].split(",")
            series[name] = [float(v) if v else None for v in values]
        (width,) = {int(e[1]["data-width"]) for e in page.elements if "data-width" in e[1]}
        (count,) = {len(values) for values in series.values()}
        self.assertLessEqual(count, 256)
        return series, width

    def test_charts(self):
        """Their sums are those of the connections."""
        compared = []
        for path in captures.SAMPLES + captures.REPORTS:
            connections = [o for o in captures.facts(path) if o["type"] == "connection"]
            page = Page(stored(path))
            if not page.of_class("series"):
                continue
            series, width = self.charts(page)
            with self.subTest(path.name):
                for name, command in (("read", "NBD_CMD_READ"), ("written", "NBD_CMD_WRITE")):
                    moved = sum(c["commands"].get(command, {}).get("data_bytes", 0)
                                for c in connections)
                    self.assertAlmostEqual(sum(series.get(name, [0])) * width / 1e9, moved,
                                           delta=moved / 1e3 + 1)
                # of an ended connection it is what was so at its end: no flush came after
                last = max((f["flush_request"] for c in connections
                            for f in c.get("flush_order", [])), default=0)
                if "not flushed" in series and all(
                        c["last_frame"] > last for c in connections if c["unflushed_bytes"]):
                    left = sum(c["unflushed_bytes"] for c in connections)
                    self.assertRegex("".join(page.texts), r"yet; %s at the end" % (
                        "%d bytes" % left if left < 1024 else r"[\d.]+ [KM]iB"))
                    self.assertGreaterEqual(series["not flushed"][-1], left)
                    compared.append(path.name)
                longest = max((s.get("latency_us", {}).get("max", 0) for c in connections
                               for name, s in c["commands"].items()
                               if name in ("NBD_CMD_READ", "NBD_CMD_WRITE", "NBD_CMD_FLUSH",
                                           "NBD_CMD_TRIM", "NBD_CMD_WRITE_ZEROES")), default=0)
                self.assertAlmostEqual(max(v for name, values in series.items() if "p99" in name
                                           for v in values if v is not None), longest * 1000,
                                       delta=1)
        self.assertGreater(len(compared), 20)

    def test_long(self):
        """An hour takes no more spans than a moment, and loses nothing."""
        cap = captures.S.Capture()
        x = captures.S.open(cap, flags=captures.MULTI)
        for n in range(600):
            captures.write(x, n, 512 * (n * 37 % 1800), n + 1)
            cap.wait(6)
            if n % 50 == 49:
                captures.flush(x, 10000 + n)
        x.bye()
        path = self.work / "long.pcap"
        cap.write(path)
        page = self.hold(captures.page(path))
        series, width = self.charts(page)
        self.assertGreater(len(series["written"]), 128)
        self.assertAlmostEqual(sum(series["written"]) * width / 1e9, 600 * 512, delta=300)
        self.assertEqual(max(series["not flushed"]), 50 * 512)
        self.assertIn("; 0 bytes at the end", "".join(page.texts))
        drawn = [e for e in page.elements if e[0] == "path" and
                 (e[1].get("class") or "").startswith("m-write")]
        self.assertGreater(sum(e[1]["d"].count("z") for e in drawn), 100)

    def test_other_port(self):
        """A finding is on the map of its own server's export, not on those of its name."""
        cap = captures.S.Capture()
        for port in (10809, 10810):
            x = captures.S.open(cap, flags=captures.MULTI, port=port)
            captures.write(x, 1, 0, 1, tag=1)
            captures.write(x, 1, 0, 2, tag=2)
            captures.flush(x, 3)
            captures.read(x, 0, 4, captures.block(1, 1 if port == 10809 else 2))
            x.bye()
        path = self.work / "other-port.pcap"
        cap.write(path)
        maps = [m.split("</figure>")[0]
                for m in captures.page(path).split('<figure class="chart')
                if m.startswith(" map")]
        self.assertEqual([(":10809" in m, 'class="mark' in m) for m in maps],
                         [(True, True), (False, False)])

    def test_neighbours(self):
        """Around a finding stands what else went on, once each."""
        text = captures.page(captures.ROOT / "samples" / "multi-conn-unsafe.pcap")
        (first, *_) = re.findall(r'<svg[^>]*viewBox="0 0 900.*?</svg>', text, re.S)
        root = xml.etree.ElementTree.fromstring(first)
        titles = [t.text for t in root.iter("{http://www.w3.org/2000/svg}title")]
        self.assertEqual(len(set(titles)), len(titles))
        for title in titles:
            self.assertRegex(title, r"^connection [12], NBD_CMD_\w+(, 1024 bytes at 0x\w+)?, "
                                    r"frames \d+ to \d+, [\d.]+ us$")
        near = [g for g in root.iter("{http://www.w3.org/2000/svg}g")
                if g.get("class") == "near"]
        self.assertGreater(len(near), 4)
        classes = [g.get("class") for g in root.iter("{http://www.w3.org/2000/svg}g")]
        for name in ("write", "flush", "fault", "stale", "arrow", "arrow came"):
            self.assertIn(name, classes)
        # bars are in their lanes, and in order of their frames
        bars = sorted((int(g[3].text), int(g[1].get("x")))
                      for g in root.iter("{http://www.w3.org/2000/svg}g")
                      if len(g) == 5)
        self.assertEqual([x for _, x in bars], sorted(x for _, x in bars))

    def test_made(self):
        verdicts = {}
        for name, make in captures.MADE.items():
            path = self.work / (name + ".pcap")
            make(path)
            with self.subTest(name):
                page, facts = self.hold(captures.page(path)), captures.facts(path)
                self.agree(page, facts)
                verdicts[name] = facts[-1]["verdict"]
        self.assertEqual(verdicts, {
            "hostile": "violations", "suspect": "suspect", "unjudged": "clean", "clean": "clean",
            "nothing-written": "clean", "empty": "unaudited", "crowd": "hazards"})

    def test_never_hollow(self):
        """Beside "clean" stands how much that means."""
        for name, doubtful in (("clean", False), ("unjudged", True), ("nothing-written", True)):
            path = self.work / (name + ".pcap")
            captures.MADE[name](path)
            page = self.hold(captures.page(path))
            (head,) = page.of_class("verdict")
            with self.subTest(name):
                self.assertEqual("doubtful" in head[1]["class"], doubtful)
                self.assertEqual("of contents nothing is known" in "".join(page.texts), doubtful)

    def test_names(self):
        """Each hostile name is shown as the text form shows it."""
        path = self.work / "names.pcap"
        captures.hostile(path)
        page = self.hold(captures.page(path))
        shown = "".join(page.texts)
        names = {c["export"] for c in captures.facts(path)
                 if c["type"] == "connection" and "export" in c}
        self.assertEqual(len(names), len(captures.HOSTILE))
        for name in ("<script>window.pwned=1</script>", "\\xe2\\x80\\xaeexe.gpj\\xe2\\x80\\xac",
                     "nul\\x00nul\\x1b[31mred\\a", "<!--<script>", "&lt;b&gt; &amp; &#x3c;"):
            self.assertTrue(name in shown or name.replace("\\a", "\\x07") in shown, name)

    def test_file_names(self):
        path = self.work / "<script>alert(1)<\\script> \x1b\u202e\".pcap"
        captures.clean(path)
        self.hold(captures.page(path))
        self.hold(captures.page(self.work / "<b>none</b>"))

    def test_several(self):
        """The verdicts first, then each."""
        paths = captures.SAMPLES[:4] + [self.work / "none"]
        page = self.hold(captures.page(*paths))
        self.assertEqual(len([e for e in page.elements if e[0] == "main"]), 5)
        self.assertEqual(len(page.of_class("verdict")), 5)
        rows = [e for e in page.elements if e[0] == "tr" and
                (e[1].get("class") or "").startswith("v-")]
        self.assertEqual(len(rows), 5)
        self.assertIn("5 captures", page.texts)

    def test_several_without_a_place(self):
        """The verdicts are there, and that the rest is not is said."""
        environment = dict(os.environ, TMPDIR=str(self.work / "none"))
        done = subprocess.run([captures.BIN / "nbdaudit", "--format=html", *captures.SAMPLES[:2]],
                              env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"captures are missing from the report", done.stderr)
        self.assertIn(b"2 captures", done.stdout)
        self.assertTrue(done.stdout.endswith(b"</html>\n"))

    def test_compared(self):
        """Beside an earlier report: what is new is marked, what is gone is told."""
        earlier = self.work / "earlier.json"
        samples = captures.ROOT / "samples"
        captures.audit("--format=json", "-o", earlier, samples / "multi-conn-unsafe-fua.pcap")
        page = self.hold(captures.page("--baseline=%s" % earlier,
                                       samples / "multi-conn-unsafe.pcap"))
        text = " ".join("".join(page.texts).split())
        self.assertIn("compared", page.ids)
        self.assertRegex(text, r"findings4 new \(4 violations?\), 4 gone, 0 as before")
        self.assertEqual(page.texts.count("new"), 4)
        self.assertIn("violation: stale-read-after-fua [V3]", text)
        captures.audit("--format=json", "-o", earlier, samples / "multi-conn-unsafe.pcap")
        page = self.hold(captures.page("--baseline=%s" % earlier,
                                       samples / "multi-conn-unsafe.pcap"))
        self.assertIn("0 new, 0 gone, 4 as before", "".join(page.texts))
        self.assertEqual(page.texts.count("new"), 0)

    def test_summary(self):
        brief = self.hold(captures.page("--summary", captures.ROOT / "samples" / "errors.pcap"))
        self.assertEqual(brief.of_class("finding"), [])
        self.assertEqual(len(brief.of_class("tally")), 1)

    def test_severity(self):
        path = captures.ROOT / "samples" / "errors.pcap"
        page = self.hold(captures.page("--severity=violation", path))
        self.assertEqual(len(page.of_class("finding")), 6)
        self.assertIn("4 are not shown, as they are below --severity", "".join(page.texts))

    def test_many(self):
        """Ten thousand findings: folded, whole, and below 5 MB; more of them are counted."""
        path = self.work / "many.pcap"
        captures.many(path)
        text = captures.page(path)
        self.assertLess(len(text.encode()), 5000000)
        page = self.hold(text)
        self.assertEqual(sorted(int(i[1:]) for i in page.ids if re.fullmatch(r"f\d+", i)),
                         list(range(1, 10001)))
        self.assertIn("10000 violations in 11 connections to 1 export", "".join(page.texts))
        captures.many(path, readers=30)
        text = captures.page(path)
        self.assertLess(len(text.encode()), 5000000)
        page = self.hold(text)
        count = len([i for i in page.ids if re.fullmatch(r"f\d+", i)])
        self.assertGreater(count, 8000)
        self.assertIn("and %d for which this page has no room" % (30000 - count),
                      "".join(page.texts))

    def test_long_names(self):
        path = self.work / "long-names.pcap"
        captures.long_names(path)
        text = captures.page(path)
        self.assertLess(len(text.encode()), 5000000)
        page = self.hold(text)
        self.assertIn("(4094 bytes)", "".join(page.texts))

    def test_little_memory(self):
        path = self.work / "less.pcap"
        captures.many_and_less(path)
        page = self.hold(captures.page("--memory=1M", path))
        text = "".join(page.texts)
        self.assertIn("for want of room", text)
        # what made room is counted in the table, and leads nowhere
        self.assertIn("unflushed-at-disconnect", text)
        self.assertNotIn("r-unflushed-at-disconnect-hazard", page.ids)

    def test_contrast(self):
        """Text can be read, in the light and in the dark (WCAG 2: 4.5 to 1)."""
        css = (captures.ROOT / "analyzer" / "report" / "html" / "report.css").read_text()
        themes = re.findall(r":root \{(.*?)\}", css, re.S)
        self.assertEqual(len(themes), 3)
        for theme in themes:
            colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", theme))
            for text in ("text", "dim", "link", "violation", "suspect", "hazard", "note", "good"):
                for ground in ("page", "card", "inset"):
                    self.assertGreaterEqual(contrast(colours[text], colours[ground]), 4.5,
                                            (text, ground))
            for level in LEVELS:
                self.assertGreaterEqual(contrast(colours[level], colours[level + "-soft"]), 4.5)
            for bar in ("read", "write", "flush", "stale", *LEVELS):
                self.assertGreaterEqual(contrast(colours["bar-text"], colours[bar]), 4.5, bar)
            self.assertGreaterEqual(contrast(colours["text"], colours["near"]), 4.5)

    def test_strict(self):
        """The test can fail."""
        good = captures.page(captures.SAMPLES[0])
        self.assertEqual(Page(good).faults, [])
        for bad in ("<b>", "</b>", "<script>1</script>", "<img src=x>", "<p onclick=x>x</p>",
                    "<p style=x></p>", "<!-- -->", "<iframe></iframe>"):
            page = Page(good.replace("<footer>", bad + "<footer>"))
            self.assertTrue(page.faults or len([e for e in page.elements if e[0] == "script"]) > 1,
                            bad)


if __name__ == "__main__":
    unittest.main()
