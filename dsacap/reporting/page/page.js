"use strict";
// Shared by all views: the content, the state (kept in the address, so that a view can be linked to), and helpers
// that make elements. Captions go into the page as text nodes, never as markup.

const content = JSON.parse(document.getElementById("content").textContent);
const { rows, images, texts } = content;
rows.forEach((row, at) => {
  row.at = at;
  row.key = `${row.system}/${row.decoding}`;
  row.name = row.decoding ? `${row.label}, ${row.decoding}` : row.label;
});
const systemOf = new Map(content.systems.map((one) => [one.system, one]));
const systems = [...systemOf.keys()];

const titles = { results: "Results", photos: "Captions", inside: "Inside DSACap", tradeoff: "Trade-offs", training: "Training" };
const filled = {
  results: content.board || content.findings || content.reported,
  photos: images.length && rows.length,
  inside: Object.keys(content.insides).length,
  tradeoff: content.tradeoff.length,
  training: content.curves.length,
};
const views = Object.keys(titles).filter((view) => filled[view]); // a view without content is left out

/** The name of a system, as tables show it. */
function labelOf(system) {
  return systemOf.get(system)?.label ?? system;
}

/** The state, from the address: #view=photos&sort=disagreement&q=red */
function state() {
  return new URLSearchParams(location.hash.slice(1));
}

/** Change keys of the address. A null or empty value removes a key; an array sets it several times. */
function keep(changes) {
  const next = state();
  for (const [key, value] of Object.entries(changes)) {
    next.delete(key);
    for (const one of [value].flat()) if (one !== null && one !== "") next.append(key, one);
  }
  history.replaceState(null, "", `#${next}`);
}

function go(changes) {
  keep(changes);
  render();
}

/**
 * Make an element from children: nodes, or strings, which become text. If an object comes first, it gives the
 * attributes (on...: a listener).
 */
function h(tag, ...parts) {
  return furnished(document.createElement(tag), parts);
}

function svg(tag, ...parts) {
  return furnished(document.createElementNS("http://www.w3.org/2000/svg", tag), parts);
}

function furnished(element, parts) {
  const attributes = Object.getPrototypeOf(parts[0] ?? "") === Object.prototype ? parts.shift() : {};
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...parts.flat(Infinity).filter((part) => part !== null && part !== undefined));
  return element;
}

/** A form that is never submitted. */
function controls(label, ...parts) {
  return h("form", { "aria-label": label, onsubmit: (event) => event.preventDefault() }, parts);
}

/** A select of [value, text] pairs. A choice is written to the address, together with `changes`. */
function choice(label, key, options, chosen, changes = {}) {
  const onchange = (event) => go({ ...changes, [key]: event.target.value });
  const made = options.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("label", label, h("select", { name: key, onchange }, made));
}

function number(value, digits) {
  const format = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value === null || value === undefined ? "-" : value.toLocaleString("en", format);
}

function heads(titles) {
  const head = ([text, numeric]) => (text ? h("th", { scope: "col", class: numeric ? "number" : null }, text) : h("td"));
  return h("thead", h("tr", titles.map(head)));
}

/** A table that can be scrolled sideways, also by keyboard. `columns`: [title, cell of a row, whether it is a number] */
function dataTable(caption, columns, lines, head = heads(columns.map(([title, , numeric]) => [title, numeric]))) {
  const cell = (line, [, of, numeric], at) =>
    at === 0 ? h("th", { scope: "row" }, of(line)) : h("td", { class: numeric ? "number" : null }, of(line));
  const body = lines.map((line) =>
    h(
      "tr",
      columns.map((column, at) => cell(line, column, at)),
    ),
  );
  const table = h("table", h("caption", caption), head, h("tbody", body));
  return h("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": caption }, table);
}

/**
 * A table that is sorted by a click on the head of a column. `columns`: as for `dataTable`, and then the value by which
 * a line is sorted, and whether a higher one is better. The address keeps the column under `key`, with a minus sign if
 * the worst comes first. Lines without a value come last.
 */
function sortableTable(caption, columns, lines, key, preset) {
  const asked = state().get(key) ?? preset;
  const reversed = asked.startsWith("-");
  const [title, , , value, higher] = columns.find(([name]) => name === asked.replace(/^-/, "")) ?? columns.find(([name]) => name === preset);
  const sign = higher === reversed ? 1 : -1;
  const known = (line) => value(line) !== null && value(line) !== undefined;
  const ordered = [...lines].sort((a, b) => known(b) - known(a) || (known(a) ? sign * (value(a) - value(b)) : 0));
  const head = columns.map(([name, , numeric, of]) => {
    if (!of) return h("th", { scope: "col", class: numeric ? "number" : null }, name);
    const chosen = name === title;
    const descending = chosen && (sign < 0 ? "descending" : "ascending");
    const onclick = () => go({ [key]: chosen && !reversed ? `-${name}` : name });
    const arrow = h("span", { class: "arrow", "aria-hidden": true }, chosen ? (sign < 0 ? " ▼" : " ▲") : "");
    const button = h("button", { type: "button", class: "sort", name: `${key} ${name}`, onclick }, name, arrow);
    return h("th", { scope: "col", class: numeric ? "number" : null, "aria-sort": descending || null }, button);
  });
  return dataTable(caption, columns, ordered, h("thead", h("tr", head)));
}

/** The reader's folder of photos, for data sets whose photos are not embedded. */
function photoFolder() {
  return state().get("photos") ?? content.photos.folder;
}

function photo(image, alternative) {
  const missing = () => h("span", { class: "photo gone" }, image.file);
  if (!content.photos.embedded && !photoFolder()) return missing();
  const path = image.file.split("/").map(encodeURIComponent).join("/");
  const folder = encodeURI(photoFolder()).replace(/[#?]/g, encodeURIComponent).replace(/\/+$/, "");
  const src = image.webp ? `data:image/webp;base64,${image.webp}` : `${folder}/${path}`;
  return h("img", { class: "photo", src, alt: alternative, loading: "lazy", onerror: (event) => event.target.replaceWith(missing()) });
}

function references(image, shown = (text) => text) {
  return h(
    "ul",
    { class: "references" },
    image.references.map((text) => h("li", shown(text))),
  );
}
