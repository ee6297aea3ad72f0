#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTML form in a browser: headless Chromium, started once for all pages, at two widths,
in the light and in the dark, on paper, and with scripts off."""

import base64
import json
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

import captures

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
except ImportError:
    webdriver = None
DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
if not webdriver or not DRIVER or not BROWSER:
    print("skipped: no chromium, chromium-driver or python3-selenium")
    sys.exit(1 if os.environ.get("NBDSCOPE_REQUIRE_PEERS") else 77)

WIDTHS = (400, 1280)
PAGES = {
    "violations": captures.ROOT / "samples" / "multi-conn-unsafe.pcap",
    "hazards": captures.ROOT / "samples" / "multi-conn-off.pcap",
    "errors": captures.ROOT / "samples" / "errors.pcap",
    "fio": captures.ROOT / "samples" / "fio.pcap.zst",
    "tls": captures.ROOT / "samples" / "starttls.pcap",
}


def start():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--disable-extensions", "--disable-background-networking", "--no-first-run",
                     "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


class Browser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.work = pathlib.Path(cls.directory.name)
        cls.facts = {}
        cls.files = {}
        sources = dict(PAGES)
        for name, make in captures.MADE.items():
            sources[name] = cls.work / (name + ".pcap")
            make(sources[name])
        for name, source in sources.items():
            cls.add(name, source)
        cls.browser = start()
        cls.browser.set_page_load_timeout(120)
        cls.browser.set_script_timeout(120)

    @classmethod
    def tearDownClass(cls):
        cls.browser.quit()
        cls.directory.cleanup()

    @classmethod
    def add(cls, name, *sources):
        cls.files[name] = cls.work / (name + ".html")
        captures.audit("--format=html", "-o", cls.files[name], *sources)

    def setUp(self):
        self.scripts(True)
        self.media()
        self.width(1280)

    # --- the browser ---

    def command(self, name, **arguments):
        return self.browser.execute_cdp_cmd(name, arguments)

    def width(self, pixels):
        self.command("Emulation.setDeviceMetricsOverride", width=pixels, height=900,
                     deviceScaleFactor=1, mobile=False)

    def media(self, scheme="light", kind=""):
        self.command("Emulation.setEmulatedMedia", media=kind,
                     features=[{"name": "prefers-color-scheme", "value": scheme}])

    def scripts(self, on):
        self.command("Emulation.setScriptExecutionDisabled", value=not on)

    def load(self, name):
        self.browser.get_log("browser")
        self.browser.get_log("performance")
        self.browser.get(self.files[name].as_uri())

    def js(self, body, *arguments):
        return self.browser.execute_script(body, *arguments)

    def complaints(self):
        """What the console shows: errors, and what the policy forbade."""
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def requests(self):
        found = []
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    # --- every page ---

    def test_pages(self):
        """Nothing is wider than the window, is loaded, complains, or runs out of a name."""
        for name, file in self.files.items():
            for width in WIDTHS:
                with self.subTest(name=name, width=width):
                    self.width(width)
                    self.load(name)
                    page = self.js("""
                        const top = document.querySelector(".verdict").getBoundingClientRect();
                        return {
                            wide: document.documentElement.scrollWidth,
                            word: document.querySelector(".verdict .word").innerText,
                            top: top.top,
                            scripts: document.scripts.length,
                            images: document.images.length,
                            pwned: window.pwned ?? null,
                            loaded: performance.getEntriesByType("resource").length,
                            empty: [...document.querySelectorAll("section")]
                                .filter((s) => s.innerText.trim().length < 20).length,
                            flat: [...document.querySelectorAll(".plot svg, details[open] .lanes svg")]
                                .filter((s) => s.checkVisibility() &&
                                        s.getBoundingClientRect().width < 200).length,
                        };""")
                    self.assertLessEqual(page["wide"], width)
                    self.assertLess(page["top"], 100)
                    self.assertIn(page["word"], ("Violations", "Suspect", "Hazards", "Clean",
                                                 "Unaudited"))
                    self.assertEqual((page["scripts"], page["images"], page["pwned"]),
                                     (1, 0, None))
                    self.assertEqual((page["loaded"], page["empty"], page["flat"]), (0, 0, 0))
                    self.assertEqual(self.complaints(), [])
                    self.assertEqual(self.requests(), [file.as_uri()])

    def test_policy_works(self):
        """The test above can fail, and the policy would forbid what an escaper let through."""
        self.load("violations")
        self.js("""const s = document.createElement("script");
                   s.textContent = "window.pwned = 1";
                   document.body.append(s);
                   document.body.insertAdjacentHTML("beforeend",
                       "<img src='http://127.0.0.1:9/x' onerror='window.pwned = 2'>" +
                       "<p id='styled' style='position:fixed'>x</p>");""")
        self.assertIsNone(self.js("return window.pwned ?? null"))
        self.assertEqual(self.js("return getComputedStyle(document.querySelector('#styled'))"
                                 ".position"), "static")
        self.assertGreaterEqual(len([c for c in self.complaints() if "Content Security" in c]), 3)

    def test_dark(self):
        seen = {}
        for scheme in ("light", "dark"):
            self.media(scheme)
            self.load("violations")
            seen[scheme] = self.js("""
                const sum = (e, what) => getComputedStyle(document.querySelector(e))[what]
                    .match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0);
                return [sum("body", "backgroundColor"), sum("body", "color"),
                        sum(".finding", "backgroundColor"), sum(".lane", "fill")];""")
        self.assertTrue(all(seen["light"][i] > 600 for i in (0, 2, 3)), seen)
        self.assertTrue(all(seen["dark"][i] < 200 for i in (0, 2, 3)), seen)
        self.assertLess(seen["light"][1], 200)
        self.assertGreater(seen["dark"][1], 600)

    # --- what scripts add ---

    def test_sort(self):
        self.load("crowd")
        self.assertEqual(self.js("""
            const table = document.querySelector("#connections table");
            const heads = [...table.tHead.rows[0].cells];
            const column = (i) => [...table.tBodies[0].rows].map((r) => r.cells[i].innerText);
            const press = (name) => {
                const i = heads.findIndex((h) => h.innerText.startsWith(name));
                heads[i].querySelector("button").click();
                return [heads[i].getAttribute("aria-sort"), ...column(i).slice(0, 3)];
            };
            return [column(0).slice(0, 3), press("id"), press("id"), press("export"),
                    column(0).length];"""),
            [["1", "2", "3"], ["ascending", "1", "2", "3"], ["descending", "60", "59", "58"],
             ["ascending", '"export-0"', '"export-0"', '"export-0"'], 60])

    def test_zoom(self):
        self.load("violations")
        before, after, back = self.js("""
            const section = document.querySelector(".traffic");
            const look = () => [...section.querySelectorAll(".chart")].map((c) =>
                [c.querySelector("svg").getAttribute("viewBox") && c.querySelector("svg")
                     .viewBox.baseVal.width, c.querySelector(".x span:last-child").innerText]);
            const press = (text) => [...section.querySelectorAll(".tools button")]
                .find((b) => b.innerText === text).click();
            const before = look();
            press("+");
            const after = look();
            press("whole time");
            return [before, after, look()];""")
        self.assertEqual(len(before), 4)
        for was, now in zip(before, after):
            self.assertAlmostEqual(now[0], was[0] / 2)
            self.assertNotEqual(was[1], now[1])
        self.assertEqual(before, back)
        # by dragging over one
        svg = self.browser.find_element("css selector", ".traffic .chart svg")
        webdriver.ActionChains(self.browser).move_to_element_with_offset(svg, -100, 0) \
            .click_and_hold().move_by_offset(200, 0).release().perform()
        width = self.js("return document.querySelectorAll('.chart svg')[1].viewBox.baseVal.width")
        self.assertLess(width, before[0][0] * .4)
        # lanes grow in their box, and the page does not
        self.assertEqual(self.js("""
            const lanes = document.querySelector("details[open] .lanes");
            const was = lanes.querySelector("svg").getBoundingClientRect().width;
            lanes.previousElementSibling.querySelector("button").click();
            const now = lanes.querySelector("svg").getBoundingClientRect().width;
            return [now > was * 1.3, lanes.scrollWidth > lanes.clientWidth,
                    document.documentElement.scrollWidth];"""), [True, True, 1280])

    def test_numbers_at_the_pointer(self):
        self.load("fio")
        svg = self.browser.find_element("css selector", ".traffic .chart svg")
        self.js("arguments[0].scrollIntoView({block: 'center'})", svg)
        webdriver.ActionChains(self.browser).move_to_element(svg).perform()
        tip = self.js("return document.querySelector('.chart .tip-box').innerText")
        self.assertRegex(tip, r"at [\d.]+ [mun]?s\nread  [\d.]+ \w+/s\nwritten  [\d.]+ \w+/s")

    def test_links(self):
        """A link to a connection unfolds it."""
        self.load("violations")
        self.browser.find_element("css selector", "#connections td a").click()
        self.assertTrue(self.js("return document.querySelector('#c1').open"))
        self.assertLess(self.js("return document.querySelector('#c1')"
                                ".getBoundingClientRect().top"), 900)
        self.browser.get_log("browser")
        self.browser.get(self.files["violations"].as_uri() + "#%")
        self.js("location.hash = '#%zz'; dispatchEvent(new Event('hashchange'))")
        self.assertEqual(self.complaints(), [])

    def test_many(self):
        """Ten thousand findings: folded, and each can be drawn."""
        capture = self.work / "many.pcap"
        captures.many(capture)
        self.add("many", capture)
        try:
            self.load("many")
            self.assertEqual(self.js("""
                return [[...document.querySelectorAll("[id]")]
                            .filter((e) => /^f\\d+$/.test(e.id)).length,
                        document.documentElement.scrollHeight < 20000,
                        document.documentElement.scrollWidth];"""),
                [10000, True, 1280])
            self.js("document.querySelector('details.more').open = true")
            self.browser.execute_async_script("requestAnimationFrame(() => setTimeout("
                                              "arguments[0], 0))")
            drawn = self.js("""
                const cell = document.querySelector("#f5000 td[data-w]");
                cell.querySelector("button").click();
                const picture = cell.parentNode.nextElementSibling;
                const texts = [...picture.querySelectorAll("text")].map((t) => t.textContent);
                return [texts, picture.querySelector("code").innerText, picture
                        .querySelector("svg").getBoundingClientRect().width > 500,
                        picture.querySelectorAll(".arrow .tip").length];""")
            for text in ("conn 1", "WRITE 512 bytes", "older WRITE 512 bytes", "FLUSH",
                         "READ 512 bytes"):
                self.assertIn(text, drawn[0])
            self.assertRegex(drawn[1], r"^frame\.number in \{8, 12, 13, 14, 15, \d+, \d+\}$")
            self.assertTrue(drawn[2])
            self.assertEqual(drawn[3], 3)
            self.assertEqual(self.complaints(), [])
        finally:
            del self.files["many"]

    # --- without ---

    def test_scripts_off(self):
        """All is there; by the document, as there is no script to ask."""
        self.scripts(False)
        for width in WIDTHS:
            self.width(width)
            self.load("violations")
            self.assertLessEqual(self.command("Page.getLayoutMetrics")["cssContentSize"]["width"],
                                 width)
            root = self.command("DOM.getDocument", depth=-1)["root"]["nodeId"]

            def every(selector):
                return self.command("DOM.querySelectorAll", nodeId=root,
                                    selector=selector)["nodeIds"]
            self.assertEqual(len(every("details.finding")), 4)
            self.assertEqual(len(every("details.finding[open]")), 1)
            self.assertEqual(len(every(".lanes > svg")), 4)
            self.assertEqual(len(every(".chart svg")), 4)
            self.assertEqual(len(every("button")), 0) # which would do nothing
            for selector in ("details[open] .lanes > svg", ".chart svg", ".flags .set"):
                box = self.command("DOM.getBoxModel", nodeId=every(selector)[0])["model"]
                self.assertGreater(box["width"] * box["height"], 100, selector)

    def test_paper(self):
        self.load("violations")
        self.js("addEventListener('beforeprint', () => { window.unfolded = document"
                ".querySelectorAll('details.finding[open]').length; })")
        pdf = base64.b64decode(self.command("Page.printToPDF", printBackground=True)["data"])
        self.assertEqual(pdf[:5], b"%PDF-")
        self.assertEqual(self.js("return window.unfolded"), 4)
        self.assertEqual(self.js("return document.querySelectorAll('details.finding[open]')"
                                 ".length"), 1)
        # in the dark, too, paper is white
        self.media("dark", "print")
        self.width(750)
        self.assertEqual(self.js("""
            const style = (e) => getComputedStyle(document.querySelector(e));
            return [style("body").backgroundColor, style("nav").display, style(".tools").display,
                    document.documentElement.scrollWidth];"""),
            ["rgb(255, 255, 255)", "none", "none", 750])


if __name__ == "__main__":
    unittest.main()
