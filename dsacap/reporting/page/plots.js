// Plots, as wide as the page allows, each with its data as a table.

const MARKS = [
  (r) => `M${-r} 0A${r} ${r} 0 1 0 ${r} 0A${r} ${r} 0 1 0 ${-r} 0Z`,
  (r) => `M${-r} ${-r}H${r}V${r}H${-r}Z`,
  (r) => `M0 ${-1.3 * r}L${1.2 * r} ${r}H${-1.2 * r}Z`,
  (r) => `M0 ${-1.4 * r}L${1.4 * r} 0L0 ${1.4 * r}L${-1.4 * r} 0Z`,
  (r) => `M0 ${1.3 * r}L${1.2 * r} ${-r}H${-1.2 * r}Z`,
];
const COLOURS = 8;

/** A system's colour and shape, by its index; together they distinguish forty systems. */
function styleOf(system) {
  const at = [...nameOf.keys()].indexOf(system);
  return { colour: `s${at % COLOURS}`, shape: MARKS[at % MARKS.length] };
}

function mark(system, x, y, r, title = null) {
  const { colour, shape } = styleOf(system);
  const path = svg("path", { class: "shape", d: shape(r) }, title && svg("title", title));
  return svg("g", { class: colour, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` }, path);
}

function legend(names) {
  const key = (system) => svg("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": true }, mark(system, 0, 0, 4.5));
  return h(
    "ul",
    { class: "legend" },
    names.map((system) => h("li", key(system), nameOf.get(system))),
  );
}

/** Round values within [low, high]; on a logarithmic axis, 1, 2 and 5 of each decade. */
function ticks(low, high, log) {
  if (log) {
    const decades = Array.from({ length: 14 }, (_, at) => 10 ** (at - 5));
    return decades.flatMap((decade) => [decade, 2 * decade, 5 * decade]).filter((value) => value >= low && value <= high);
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

/** A number with about three significant digits, without trailing zeros. */
function short(value) {
  const digits = 2 - Math.floor(Math.log10(Math.abs(value) || 1));
  return value.toLocaleString("en", { maximumFractionDigits: Math.max(0, Math.min(6, digits)) });
}

const LEFT = 48;
const RIGHT = 12;
const TOP = 16;
const BOTTOM = 40;

/** A plot of `series` [{system, points: [{x, y, name}]}], as lines or points, with its data as a table; `front` are points to join. */
function plot({ title, label = title, x, y, series, lines = false, front = [] }) {
  const points = series.flatMap((one) => one.points);
  const width = Math.max(300, Math.min(620, document.getElementById("main").clientWidth));
  const height = lines ? 260 : 340;
  const xs = scale(
    points.map((p) => p.x),
    x.log,
    LEFT,
    width - RIGHT,
  );
  const ys = scale(
    points.map((p) => p.y),
    false,
    height - BOTTOM,
    TOP,
  );
  const at = (p) => `${xs.place(p.x).toFixed(1)} ${ys.place(p.y).toFixed(1)}`;
  const grid = ys.ticks.map((value) => [
    svg("path", { class: "axis", d: `M${LEFT} ${ys.place(value)}H${width - RIGHT}` }),
    svg("text", { x: LEFT - 6, y: ys.place(value) + 4, "text-anchor": "end" }, short(value)),
  ]);
  const below = xs.ticks.map((value) => svg("text", { x: xs.place(value), y: height - 22, "text-anchor": "middle" }, short(value)));
  const names = [
    svg("text", { x: (width + LEFT - RIGHT) / 2, y: height - 4, "text-anchor": "middle" }, x.name),
    svg("text", { x: 4, y: 11 }, y.name),
  ];
  const ordered = [...front].sort((a, b) => a.x - b.x);
  const stairs = ordered.map((p, n) => (n ? `H${xs.place(p.x)}V${ys.place(p.y)}` : `M${at(p)}`)).join("");
  const line = ({ system, points: mine }) => {
    const few = mine.length < 30 ? mine.map((p) => mark(system, xs.place(p.x), ys.place(p.y), 3)) : null;
    return [svg("g", { class: styleOf(system).colour }, svg("path", { class: "line", d: `M${mine.map(at).join("L")}` })), few];
  };
  const tooltip = (p) => `${p.name}: ${x.name} ${short(p.x)}, ${y.name} ${short(p.y)}`;
  const dots = ({ system, points: mine }) => mine.map((p) => mark(system, xs.place(p.x), ys.place(p.y), 5.5, tooltip(p)));
  const box = { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label };
  const picture = svg("svg", box, grid, below, names, svg("path", { class: "front", d: stairs }), series.map(lines ? line : dots));
  const columns = [
    ["Row", (p) => p.name],
    [x.name, (p) => short(p.x), true],
    [y.name || title, (p) => short(p.y), true],
  ];
  const table = h("details", h("summary", "The same as a table"), dataTable(label, columns, points));
  return h("figure", { class: "plot" }, h("h3", title), picture, table);
}
