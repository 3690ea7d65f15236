// Plots, as wide as the page allows: systems in their colours and markers, named beside the plot, each with its data as
// a table. Systems are switched on and off by the legend; the address keeps those that are off.

function mark(system, x, y, r, title = null) {
  const { colour, marker } = systemOf.get(system);
  const path = svg("path", { class: "shape", d: content.markers[marker], transform: `scale(${r})` }, title && svg("title", title));
  return svg("g", { class: `s${colour}`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` }, path);
}

function keyOf(system) {
  return svg("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": true }, mark(system, 0, 0, 4.8));
}

function isOn(system) {
  return !state().getAll("off").includes(system);
}

function legend(names) {
  const toggle = (system) => {
    const off = state().getAll("off");
    go({ off: off.includes(system) ? off.filter((one) => one !== system) : [...off, system] });
  };
  const all = (text, off) => h("button", { type: "button", class: "key", name: text, onclick: () => go({ off }) }, text);
  const one = (system) => {
    const options = { type: "button", class: "key", name: `key ${system}`, "aria-pressed": String(isOn(system)), onclick: () => toggle(system) };
    return h("li", h("button", options, keyOf(system), labelOf(system)));
  };
  return h(
    "ul",
    { class: "legend", "aria-label": "Systems that are drawn" },
    names.map(one),
    names.length > 2 ? [h("li", all("Show all", null)), h("li", all("Hide all", names))] : null,
  );
}

/** Round values within [low, high], on a logarithmic axis those of its decades. */
function ticks(low, high, log) {
  if (log && high / low > 4) {
    const digits = high / low < 30 ? [1, 1.5, 2, 3, 5, 7] : high / low < 1000 ? [1, 2, 5] : [1];
    const decades = Array.from({ length: 16 }, (_, at) => 10 ** (at - 6));
    return decades.flatMap((decade) => digits.map((digit) => digit * decade)).filter((value) => value >= low && value <= high);
  }
  const rough = (high - low) / 6;
  const decade = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * decade).find((size) => size >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, at) => (first + at) * step);
}

/** A scale that maps values to positions between `from` and `to`, with some margin. */
function scale(values, log, from, to) {
  const f = log ? Math.log : (value) => value;
  const [least, most] = [f(Math.min(...values)), f(Math.max(...values))];
  const room = (most - least) * 0.06 || Math.abs(most) * 0.1 || 1;
  const [low, high] = [least - room, most + room];
  const place = (value) => from + ((f(value) - low) / (high - low)) * (to - from);
  return { place, ticks: log ? ticks(Math.exp(low), Math.exp(high), true) : ticks(low, high, false) };
}

/** A tick as text: all of its digits, since neighbours may differ in the last one. */
function exact(value) {
  return value.toLocaleString("en", { maximumSignificantDigits: 6 });
}

/** The ticks of a horizontal axis whose texts do not touch each other. */
function apart({ ticks: all, place }) {
  const kept = [];
  for (const value of all) {
    const room = (LETTER / 2) * (exact(value).length + (kept.length ? exact(kept.at(-1)).length : 0)) + 6;
    if (!kept.length || place(value) - place(kept.at(-1)) > room) kept.push(value);
  }
  return kept;
}

/** A number with about three significant digits, without trailing zeros. */
function short(value) {
  const digits = 2 - Math.floor(Math.log10(Math.abs(value) || 1));
  return value.toLocaleString("en", { maximumFractionDigits: Math.max(0, Math.min(6, digits)) });
}

const LEFT = 48;
const RIGHT = 12;
const TOP = 24;
const BOTTOM = 40;
const LABEL = 15; // from one label to the next
const LETTER = 7; // no narrower than most letters of a label

/** Heights near those wanted, `LABEL` or more apart, and not above `top`. */
function spread(wantedHeights, top) {
  const order = [...wantedHeights.keys()].sort((a, b) => wantedHeights[a] - wantedHeights[b]);
  const places = [];
  let last = top - LABEL;
  for (const at of order) places[at] = last = Math.max(wantedHeights[at], last + LABEL);
  return places;
}

/** The systems' names beside a plot, each joined by a line to a point of the system. */
function sideLabels(ends, right, top) {
  const heights = spread(
    ends.map((end) => end.y),
    top,
  );
  return ends.map(({ system, name, x, y }, at) => [
    svg("g", { class: `s${systemOf.get(system).colour}` }, svg("path", { class: "leader", d: `M${x} ${y}L${right + 6} ${heights[at]}` })),
    mark(system, right + 12, heights[at], 4.5),
    svg("text", { class: "name", x: right + 21, y: heights[at] + 4 }, name),
  ]);
}

/**
 * A plot of `series` [{system, points: [{x, y, low, high, name}]}], as lines or points, with its data as a table; bars
 * are from low to high, and `front` are points to join. A series is named as its system unless it has a name.
 */
function plot({ title, label = title, x, y, series, lines = false, front = [] }) {
  const drawn = series.filter((one) => one.points.length && isOn(one.system));
  if (!drawn.length) return h("figure", { class: "plot" }, h("h3", title), h("p", { class: "muted" }, "All of its systems are switched off."));
  const points = drawn.flatMap((one) => one.points);
  const width = Math.max(300, Math.min(620, document.getElementById("main").clientWidth));
  const nameOf = (one) => one.name ?? labelOf(one.system);
  const longest = Math.max(...drawn.map((one) => nameOf(one).length));
  const beside = width >= 480 ? Math.min(0.5 * width, 28 + LETTER * longest) : RIGHT;
  const right = width - beside;
  const height = Math.max(lines ? 280 : 340, TOP + BOTTOM + LABEL * drawn.length);
  const xs = scale(
    points.map((p) => p.x),
    x.log,
    LEFT,
    right,
  );
  const ys = scale(
    points.flatMap((p) => [p.y, p.low ?? p.y, p.high ?? p.y]),
    false,
    height - BOTTOM,
    TOP,
  );
  const at = (p) => `${xs.place(p.x).toFixed(1)} ${ys.place(p.y).toFixed(1)}`;
  const grid = ys.ticks.map((value) => [
    svg("path", { class: "axis", d: `M${LEFT} ${ys.place(value)}H${right}` }),
    svg("text", { x: LEFT - 6, y: ys.place(value) + 4, "text-anchor": "end" }, exact(value)),
  ]);
  const below = apart(xs).map((value) => [
    svg("path", { class: "axis", d: `M${xs.place(value)} ${height - BOTTOM}v4` }),
    svg("text", { x: xs.place(value), y: height - 22, "text-anchor": "middle" }, exact(value)),
  ]);
  const names = [
    svg("text", { x: (LEFT + right) / 2, y: height - 4, "text-anchor": "middle" }, x.log ? `${x.name} (log scale)` : x.name),
    svg("text", { x: 4, y: 11 }, y.name),
  ];
  const ordered = [...front].filter((p) => isOn(p.system)).sort((a, b) => a.x - b.x);
  const stairs = ordered.map((p, n) => (n ? `H${xs.place(p.x)}V${ys.place(p.y)}` : `M${at(p)}`)).join("");
  const tooltip = (p) => `${p.name}: ${x.name} ${short(p.x)}, ${y.name} ${short(p.y)}${interval(p)}`;
  const line = ({ system, points: mine }) => {
    const step = Math.ceil(mine.length / 8);
    const shapes = mine.filter((_, n) => n % step === 0).map((p) => mark(system, xs.place(p.x), ys.place(p.y), 3, tooltip(p)));
    const path = svg("path", { class: "line", d: `M${mine.map(at).join("L")}` });
    return [svg("g", { class: `s${systemOf.get(system).colour}` }, path), shapes];
  };
  const bar = (p) => (interval(p) ? `M${xs.place(p.x)} ${ys.place(p.low)}V${ys.place(p.high)}` : "");
  const dots = ({ system, points: mine }) => [
    svg("g", { class: `s${systemOf.get(system).colour}` }, svg("path", { class: "interval", d: mine.map(bar).join("") })),
    mine.map((p) => mark(system, xs.place(p.x), ys.place(p.y), 5, tooltip(p))),
  ];
  const end = (mine) => (lines ? mine.at(-1) : mine.reduce((best, p) => (p.y > best.y ? p : best)));
  const ends = drawn.map((one) => {
    const { x, y } = end(one.points);
    return { system: one.system, name: nameOf(one), x: xs.place(x), y: ys.place(y) };
  });
  const box = { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label };
  const curve = svg("path", { class: "front", d: stairs });
  const picture = svg("svg", box, grid, below, names, curve, beside > RIGHT ? sideLabels(ends, right, TOP) : null, drawn.map(lines ? line : dots));
  const columns = [
    ["Row", (p) => p.name],
    [x.name, (p) => short(p.x), true],
    [y.name, (p) => `${short(p.y)}${interval(p)}`, true],
  ];
  const table = h("details", h("summary", "The same as a table"), dataTable(label, columns, points));
  return h("figure", { class: "plot" }, h("h3", title), picture, table);
}

/** The interval of a point as text, if it has one. */
function interval({ low, high }) {
  return low === null || low === undefined ? "" : ` (${short(low)} to ${short(high)})`;
}
