// The inside of DSACap for some photos: the image as it is denoised, and the graph in which its caption is a path.

function insideOf(id) {
  return Object.keys(content.insides).filter((system) => content.insides[system].images[id]);
}

function insideView() {
  const inspected = Object.keys(content.insides);
  const heading = h("h2", titles.inside);
  const system = inspected.find((name) => name === state().get("system")) ?? inspected[0];
  const { decoding, images: recorded } = content.insides[system];
  const shown = images.filter((image) => recorded[image.id]);
  const image = shown.find((one) => String(one.id) === state().get("image")) ?? shown[0];
  const inside = recorded[image.id];
  const radio = (one, at) => {
    const label = `Photo ${at + 1}: ${one.file}`;
    const onchange = () => go({ image: one.id });
    return h(
      "label",
      h("input", { type: "radio", name: "image", value: one.id, checked: one === image, "aria-label": label, onchange }),
      photo(one, ""),
    );
  };
  return [
    heading,
    controls(
      "System",
      choice(
        "System",
        "system",
        inspected.map((name) => [name, labelOf(name)]),
        system,
      ),
    ),
    h("fieldset", { class: "chooser" }, h("legend", `Photo, one of ${shown.length}`), shown.map(radio)),
    h(
      "div",
      { class: "look" },
      h("figure", photo(image, image.references[0] ?? image.file), h("figcaption", image.file)),
      h(
        "div",
        h("p", h("strong", inside.caption)),
        h("p", { class: "muted" }, `by ${labelOf(system)}, ${decoding}; references:`),
        references(image),
      ),
    ),
    h("div", { class: "columns" }, h("section", denoising(inside.frames)), h("section", graphOf(inside, decoding))),
  ];
}

const DENOISING =
  "Denoising starts with as much noise as in training and takes equal steps. noisy: mean squared distance of the incoming latent to the " +
  "clean one (grey bar); error: that of the predicted clean latent (coloured bar). Words that the previous step did not have are marked.";

function denoising(frames) {
  const largest = Math.max(...frames.flatMap((frame) => [frame.noisy, frame.error]), 1e-9);
  const width = 72;
  const bar = (name, value, y) => svg("rect", { class: name, width: (width * value) / largest, height: 8, y });
  const line = (frame, at) =>
    h(
      "tr",
      h("th", { scope: "row", class: "number" }, number(frame.t, 3)),
      h("td", svg("svg", { width, height: 18, "aria-hidden": true }, bar("bar noisy", frame.noisy, 0), bar("bar", frame.error, 9))),
      h("td", { class: "number" }, number(frame.noisy, 3)),
      h("td", { class: "number" }, number(frame.error, 3)),
      h("td", { class: "text" }, at === 0 ? frame.caption : changed(frames[at - 1].caption, frame.caption)),
    );
  const note = frames.length === 1 ? "This system was trained without noise, so there is one step: the clean image." : DENOISING;
  const titles = heads([["t", true], [""], ["noisy", true], ["error", true], ["Caption read at this step"]]);
  const table = h("table", { class: "strip", "aria-label": "Denoising, step by step" }, titles, h("tbody", frames.map(line)));
  return [h("h3", "Denoising"), h("p", { class: "muted" }, note), table];
}

/** The caption, with the words marked that the previous one does not have. */
function changed(before, now) {
  const left = before.split(" ");
  return now.split(" ").flatMap((word) => {
    const at = left.indexOf(word);
    if (at >= 0) left.splice(at, 1);
    return [at >= 0 ? word : h("mark", word), " "];
  });
}

// In sixteenths of a rem, as in page.css: the height of a vertex's line, and the width of the arcs next to the lines.
const LINE = 32;
const ARCS = 96;

const GRAPH =
  "A vertex emits one word or is skipped. Each line is a vertex, with the share of paths that pass it and its most likely words (%). The " +
  "coloured path is the most likely one that gives the caption; vertices and transitions on fewer than 2 of 100 paths are left out.";

function graphOf(inside, decoding) {
  if (!inside.graph) return [h("h3", "Graph"), h("p", "This readout has no graph.")];
  const { vertices, transitions, path } = inside.graph;
  const onPath = new Set(path.slice(1).map((to, at) => `${path[at]}-${to}`));
  const steps = transitions.map(([from, to, p]) => ({ from, to, p, best: onPath.has(`${from}-${to}`) }));
  const words = ["start", ...inside.caption.split(" "), "end"];
  const lines = vertices.map((vertex) => vertexLine(vertex, path.includes(vertex.index) ? words[path.indexOf(vertex.index)] : null));
  const table = h("table", heads([[""], ["vertex", true], ["passed", true], ["words"]]), h("tbody", lines));
  const graph = h("div", { class: "graph" }, table, drawing(vertices, steps, path));
  const columns = [
    ["from", (step) => String(step.from)],
    ["to", (step) => String(step.to), true],
    ["probability", (step) => number(step.p, 3), true],
    ["best path", (step) => (step.best ? "yes" : "")],
  ];
  return [
    h("h3", "Graph"),
    h("p", { class: "muted" }, `The graph from which ${decoding} reads the caption. ${GRAPH}`),
    h("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": "Vertices of the graph" }, graph),
    h("details", h("summary", `${steps.length} transitions as a table`), dataTable("Transitions", columns, steps)),
  ];
}

function vertexLine(vertex, word) {
  const likely = ([other, p]) => `${other} ${number(100 * p, 0)}`;
  const mine = vertex.words.filter(([other]) => other === word);
  const others = vertex.words.filter(([other, p]) => other !== word && p >= 0.01);
  return h(
    "tr",
    h("td", { class: "arcs", "aria-hidden": true }),
    h("th", { scope: "row", class: "number" }, String(vertex.index)),
    h("td", { class: "number" }, `${number(100 * vertex.passed, 0)} %`),
    h(
      "td",
      word ? h("strong", mine.length ? likely(mine[0]) : word) : null,
      word && others.length ? ", " : null,
      h("span", { class: "muted" }, others.map(likely).join(", ")),
    ),
  );
}

function drawing(vertices, steps, path) {
  const place = new Map(vertices.map((vertex, at) => [vertex.index, at]));
  const y = (index) => (place.get(index) + 0.5) * LINE;
  const x = ARCS - 10;
  const arc = ({ from, to, p, best }) => {
    const reach = x - Math.min(1.2 * ARCS - 30, 10 + 16 * Math.sqrt(place.get(to) - place.get(from)));
    const d = `M${x} ${y(from)} C${reach} ${y(from)} ${reach} ${y(to)} ${x} ${y(to)}`;
    if (best) return svg("path", { class: "arc best", d });
    const taken = p * vertices[place.get(from)].passed;
    return svg("path", { class: "arc", d, "stroke-opacity": Math.max(0.12, 0.8 * Math.sqrt(taken)), "stroke-width": 0.75 + 1.5 * taken });
  };
  const dot = ({ index, passed }) =>
    svg("circle", { class: path.includes(index) ? "dot best" : "dot", cx: x, cy: y(index), r: 2 + 3 * Math.sqrt(passed) });
  const height = vertices.length * LINE;
  const size = { width: `${ARCS / 16}rem`, height: `${height / 16}rem`, viewBox: `0 0 ${ARCS} ${height}` };
  const drawn = [...steps].sort((a, b) => a.best - b.best).map(arc); // the best path on top
  return svg("svg", { ...size, "aria-hidden": true }, drawn, vertices.map(dot));
}
