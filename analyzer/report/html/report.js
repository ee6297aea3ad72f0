// SPDX-License-Identifier: GPL-2.0-or-later
// What nbdaudit's page can do where scripts are on: sort its tables, zoom its charts and
// lanes, show numbers at the pointer, draw the lanes of folded findings, copy filters, and
// unfold all for paper. Nothing is in here that the page does not say without it.
"use strict";
(() => {
	const SVG = "http://www.w3.org/2000/svg";

	// An element with attributes and text; never with markup, as texts are anybody's.
	const make = (name, attributes = {}, text = "", space = null) => {
		const e = space ? document.createElementNS(space, name) : document.createElement(name);
		for (const [key, value] of Object.entries(attributes))
			e.setAttribute(key, value);
		if (text)
			e.textContent = text;
		return e;
	};
	const button = (text, what) => {
		const b = make("button", { type: "button", class: "tool" }, text);
		b.addEventListener("click", what);
		return b;
	};

	// --- numbers, as the report writes them ---

	const three = (n, unit) => `${Number(n.toPrecision(3))} ${unit}`;
	const duration = (ns) => ns < 1e3 ? `${Math.round(ns)} ns`
		: ns < 999500 ? three(ns / 1e3, "us")
		: ns < 999500000 ? three(ns / 1e6, "ms") : three(ns / 1e9, "s");
	const size = (bytes) => {
		const units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
		let unit = 0;
		while (bytes >= 1023.5 && unit < 6) {
			bytes /= 1024;
			unit++;
		}
		return three(bytes, units[unit]);
	};
	const units = [(n) => `${size(n)}/s`, duration, size];

	// --- tables ---

	const key = (row, column) => {
		const cell = row.cells[column];
		if (!cell)
			return "";
		const text = cell.dataset.v ?? cell.textContent.trim();
		if (text === "")
			return -Infinity;
		const n = Number(text.replace(/^(\d+) of .*/, "$1"));
		return Number.isNaN(n) ? text : n;
	};
	const compare = (a, b) => typeof a === typeof b
		? (a < b ? -1 : a > b ? 1 : 0)
		: typeof a === "number" ? -1 : 1;
	const sort = (table, column, head) => {
		const up = head.getAttribute("aria-sort") !== "ascending";
		table.querySelectorAll("tr.picture").forEach((row) => row.remove());
		const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
		rows.sort((a, b) => up ? compare(a[0], b[0]) : compare(b[0], a[0]));
		for (const other of head.parentNode.cells)
			other.removeAttribute("aria-sort");
		head.setAttribute("aria-sort", up ? "ascending" : "descending");
		table.tBodies[0].append(...rows.map((pair) => pair[1]));
	};
	for (const table of document.querySelectorAll("table.sort")) {
		if (table.tBodies[0].rows.length < 2 && !table.querySelector("td[data-w]"))
			continue;
		[...table.tHead.rows[0].cells].forEach((head, column) => {
			const b = make("button", { type: "button" }, head.textContent);
			b.addEventListener("click", () => sort(table, column, head));
			head.replaceChildren(b);
		});
	}

	// --- lanes ---

	const zoomable = (lanes) => {
		const svg = lanes.querySelector("svg");
		let scale = 1;
		const set = (to) => {
			scale = Math.min(8, Math.max(1, to));
			lanes.classList.toggle("zoomed", scale > 1);
			svg.style.width = `${100 * scale}%`;
		};
		const tools = make("p", { class: "tools" });
		const larger = button("+", () => set(scale * 1.5));
		const smaller = button("\u2212", () => set(scale / 1.5));
		larger.setAttribute("aria-label", "Zoom in");
		smaller.setAttribute("aria-label", "Zoom out");
		tools.append(larger, smaller);
		lanes.before(tools);
	};
	document.querySelectorAll(".lanes").forEach(zoomable);

	// The lanes of a finding that is a row only, from what stands in it: for each command
	// role, connection, type, frames, times in us, length, FUA.
	const names = ["READ", "WRITE", "DISC", "FLUSH", "TRIM", "CACHE", "ZEROES", "STATUS"];
	const classes = { e: "stale", s: "stale", w: "write", f: "flush", r: "fault" };
	const drawn = (cell) => {
		const bars = cell.dataset.w.split(";").map((text) => {
			const [role, ...rest] = text.split(" ");
			const [connection, type, first, last, from, to, length, fua] = rest.map(Number);
			const label = `${"es".includes(role) ? "older " : ""}${names[type] ?? "command"}` +
				`${length ? ` ${size(length)}` : ""}${fua ? " FUA" : ""}`;
			return { role, connection, first, last, from, to, label };
		});
		const lanes = [...new Set(bars.map((b) => b.connection))].sort((a, b) => a - b);
		const frames = [...new Set(bars.flatMap((b) => b.last ? [b.first, b.last] : [b.first]))]
			.sort((a, b) => a - b);
		const at = new Map();
		let x = 72;
		for (const frame of frames) {
			for (const b of bars)
				if (b.last === frame)
					x = Math.max(x, at.get(b.first) + b.label.length * 7 + 16);
			at.set(frame, x);
			x += 14;
		}
		const width = Math.max(1100, x + 40), height = lanes.length * 52 + 34;
		const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
			"aria-label": cell.textContent }, "", SVG);
		lanes.forEach((id, i) => {
			svg.append(make("rect", { class: "lane", x: 0, y: i * 52 + 2, width, height: 46 },
				"", SVG));
			svg.append(make("text", { class: "name", x: 6, y: i * 52 + 22 }, `conn ${id}`, SVG));
		});
		for (const b of bars) {
			const left = at.get(b.first), right = b.last ? at.get(b.last) : width - 10;
			const y = lanes.indexOf(b.connection) * 52 + 6;
			const g = make("g", { class: `${classes[b.role] ?? "read"}${b.last ? "" : " open"}` },
				"", SVG);
			g.append(make("rect", { x: left, y, width: Math.max(4, right - left), height: 24,
				rx: 4 }, "", SVG));
			g.append(make("text", { class: "l", x: (left + right) / 2, y: y + 16 }, b.label, SVG));
			g.append(make("text", { class: "n", x: left, y: y + 35 }, String(b.first), SVG));
			if (b.last)
				g.append(make("text", { class: "n e", x: right, y: y + 35 }, String(b.last), SVG));
			svg.append(g);
		}
		const arrow = (from, to, name) => {
			if (!from || !to || !from.last || from.last > to.first)
				return;
			const left = at.get(from.last), right = at.get(to.first);
			const y = lanes.indexOf(from.connection) * 52 + 18;
			const v = lanes.indexOf(to.connection) * 52 + 18, bend = Math.max(12, (right - left) / 2);
			const g = make("g", { class: name }, "", SVG);
			g.append(make("path", { d: `M${left} ${y}C${left + bend} ${y} ${right - 6 - bend} ${v} ` +
				`${right - 6} ${v}` }, "", SVG));
			g.append(make("path", { class: "tip", d: `M${right} ${v}l-7-4v8z` }, "", SVG));
			svg.append(g);
		};
		const of = (roles) => bars.find((b) => roles.includes(b.role));
		arrow(of("w"), of("f") ?? of("r"), "arrow");
		arrow(of("f"), of("r"), "arrow");
		arrow(of("s") ?? of("e"), of("r"), "arrow came");
		const axis = make("g", { class: "axis" }, "", SVG);
		axis.append(make("path", { d: `M72 ${height - 24}H${width - 10}` }, "", SVG));
		let free = 0;
		for (const b of bars.slice().sort((p, q) => p.from - q.from)) {
			const left = at.get(b.first);
			if (left < free)
				continue;
			axis.append(make("text", { x: left, y: height - 8 },
				b.from ? `+${duration(b.from * 1000)}` : "0", SVG));
			free = left + 70;
		}
		svg.append(axis);
		const box = make("div", { class: "lanes", tabindex: 0 });
		box.append(svg);
		return box;
	};
	const toggle = (cell) => {
		const row = cell.parentNode, next = row.nextElementSibling;
		if (next && next.classList.contains("picture")) {
			next.remove();
			return;
		}
		const level = row.closest("section.rule");
		const picture = make("tr", { class: "picture" });
		const wide = make("td", { colspan: row.cells.length });
		wide.append(drawn(cell));
		const frames = cell.textContent.replace(" lanes", "");
		wide.append(make("code", {}, `frame.number in {${frames}}`));
		picture.append(wide);
		row.after(picture);
		if (level)
			zoomable(picture.querySelector(".lanes"));
	};
	// There may be ten thousand: one listener, and buttons once they are unfolded.
	for (const more of document.querySelectorAll("details.more")) {
		more.addEventListener("toggle", () => {
			for (const cell of more.querySelectorAll("td[data-w]:not(.ready)")) {
				cell.classList.add("ready");
				cell.append(" ", button("lanes", () => toggle(cell)));
			}
		}, { once: true });
	}

	// --- charts: all of a capture show the same time ---

	for (const traffic of document.querySelectorAll("section.traffic")) {
		const charts = [...traffic.querySelectorAll(".chart")];
		const all = charts.map((chart) => chart.querySelector("svg"));
		const whole = all[0].viewBox.baseVal.width, step = Number(all[0].dataset.width);
		let from = 0, to = whole;
		const show = (a, b) => {
			from = Math.max(0, Math.min(a, whole - 1));
			to = Math.min(whole, Math.max(b, from + 1));
			charts.forEach((chart, i) => {
				const box = all[i].viewBox.baseVal;
				box.x = from;
				box.width = to - from;
				const labels = chart.querySelectorAll(".x span");
				[from, (from + to) / 2, to].forEach((at, k) => {
					labels[k].textContent = duration(at * step);
				});
			});
			back.hidden = from === 0 && to === whole;
		};
		const zoom = (factor, middle = (from + to) / 2) => {
			const share = (middle - from) / (to - from), wide = (to - from) * factor;
			show(middle - share * wide, middle + (1 - share) * wide);
		};
		const tools = make("p", { class: "tools" });
		const back = button("whole time", () => show(0, whole));
		const nearer = button("+", () => zoom(.5)), farther = button("\u2212", () => zoom(2));
		nearer.setAttribute("aria-label", "Zoom in on time");
		farther.setAttribute("aria-label", "Zoom out");
		back.hidden = true;
		tools.append("Drag over a chart to zoom ", back, nearer, farther);
		charts[0].before(tools);

		charts.forEach((chart, i) => {
			const svg = all[i], plot = chart.querySelector(".plot");
			const series = [...chart.querySelectorAll("data.series")].map((data) => {
				const [name, ...values] = data.value.split(",");
				return { name, values };
			});
			const span = (event) => {
				const r = svg.getBoundingClientRect();
				return from + (event.clientX - r.left) / r.width * (to - from);
			};
			const tip = make("div", { class: "tip-box" });
			tip.hidden = true;
			plot.append(tip);
			let start = null, band = null;
			svg.addEventListener("pointerdown", (event) => {
				start = span(event);
				svg.setPointerCapture(event.pointerId);
				band = make("rect", { class: "band", y: 0, height: 1000 }, "", SVG);
				svg.append(band);
			});
			svg.addEventListener("pointermove", (event) => {
				const x = span(event), at = Math.floor(x);
				if (band) {
					band.setAttribute("x", Math.min(start, x));
					band.setAttribute("width", Math.abs(x - start));
				}
				const lines = series.filter((s) => s.values[at])
					.map((s) => `${s.name}  ${units[svg.dataset.unit](Number(s.values[at]))}`);
				tip.hidden = !lines.length;
				tip.textContent = [`at ${duration(at * step)}`, ...lines].join("\n");
				const r = plot.getBoundingClientRect(), right = event.clientX > r.left + r.width / 2;
				tip.style.left = right ? "" : `${event.clientX - r.left + 14}px`;
				tip.style.right = right ? `${r.right - event.clientX + 14}px` : "";
				tip.style.top = "6px";
			});
			const release = (event) => {
				if (band)
					band.remove();
				const x = span(event);
				if (start !== null && Math.abs(x - start) > (to - from) / 50)
					show(Math.min(start, x), Math.max(start, x));
				start = band = null;
			};
			svg.addEventListener("pointerup", release);
			svg.addEventListener("pointercancel", release);
			svg.addEventListener("pointerleave", () => {
				tip.hidden = true;
			});
			svg.addEventListener("dblclick", () => show(0, whole));
		});
	}

	// --- filters ---

	for (const filter of document.querySelectorAll(".filter")) {
		const code = filter.querySelector("code");
		const b = button("copy", async () => {
			const range = document.createRange();
			range.selectNodeContents(code);
			getSelection().removeAllRanges();
			getSelection().addRange(range);
			try {
				await navigator.clipboard.writeText(code.textContent);
				b.textContent = "copied";
			} catch {
				b.textContent = "selected";
			}
		});
		filter.append(b);
	}

	// --- what a link leads to is unfolded, and on paper all findings are ---

	const unfold = () => {
		const target = document.getElementById(location.hash.slice(1));
		for (let e = target; e; e = e.parentElement)
			if (e.tagName === "DETAILS")
				e.open = true;
		if (target)
			target.scrollIntoView();
	};
	addEventListener("hashchange", unfold);
	if (location.hash)
		unfold();
	let folded = [];
	addEventListener("beforeprint", () => {
		folded = [...document.querySelectorAll("details:not([open]):not(.more)")];
		for (const e of folded)
			e.open = true;
	});
	addEventListener("afterprint", () => {
		for (const e of folded)
			e.open = false;
	});
})();
