// The photos with the captions of every system, one page at a time, so that thousands cost no more than a few.

const PER_PAGE = 24;

function photosView() {
  return [photoControls(), content.photos.embedded ? null : folderControl(), h("div", { id: "results" }, photoResults())];
}

/** Redraw the photos but not the controls, in which somebody may be typing. */
function refresh() {
  document.getElementById("results").replaceChildren(...photoResults());
}

function photoResults() {
  const shown = shownRows();
  const by = measure(shown);
  const query = (state().get("q") ?? "").trim();
  const patterns = patternsOf(query);
  const places = sorted(filtered(query ? found(patterns, shown) : [...images.keys()], shown), by);
  const last = Math.max(1, Math.ceil(places.length / PER_PAGE));
  const page = Math.min(last, Math.max(1, Math.trunc(Number(state().get("page"))) || 1));
  const from = (page - 1) * PER_PAGE;
  const here = places.slice(from, from + PER_PAGE);
  const parts = [
    `${number(places.length, 0)} of ${number(images.length, 0)} photos`,
    query ? `with “${query}”` : "",
    places.length < images.length ? (onlyTexts()[state().get("only")] ?? "") : "",
    by.of ? `by ${by.name}, ${state().get("order") === "lowest" ? "lowest" : "highest"} first` : "",
    last > 1 ? `${from + 1} to ${from + here.length}` : "",
  ];
  const status = parts.filter(Boolean).join("; ");
  document.getElementById("status").textContent = status; // for screen readers, which ignore the paragraph below because it is replaced
  const cards = here.map((i) => h("li", card(i, shown, by, patterns)));
  return [
    h("h2", { id: "found", tabindex: -1 }, "Captions"),
    h("p", status),
    content.marks ? h("p", { class: "muted" }, MARKS_MEAN[content.marks.kind]) : null,
    h("ol", { class: "cards", start: from + 1 }, cards),
    pages(page, last),
  ].filter(Boolean);
}

const MARKS_MEAN = {
  truth: "✓: the caption is true of the picture, checked exactly; ✗: it is false, or no sentence of the language of the scenes.",
  faults: "✗: a fault of grammar that rules find; whether a caption is true of its photo is not checked.",
};

/** The choices of the filter by marks. */
function onlyTexts() {
  if (!content.marks) return {};
  const truth = content.marks.kind === "truth";
  const bad = truth ? "with a false caption" : "with a fault of grammar";
  return { bad, good: truth ? "with true captions only" : "without faults" };
}

function photoControls() {
  const shown = shownRows();
  const by = measure(shown);
  const first = { page: null };
  const byRow = rows.map((row) => [row.key, row.name]);
  const scored = content.metrics.length > 0;
  const oninput = (event) => {
    keep({ ...first, q: event.target.value });
    refresh();
  };
  const ways = knownSorts().map((name) => [name, sorts[name]]);
  const only = Object.entries(onlyTexts()).map(([name, text]) => [name, `photos ${text}`]);
  const order = state().get("order") ?? "highest";
  return controls(
    "Photos",
    h("label", "Search captions", h("input", { type: "search", name: "q", value: state().get("q") ?? "", oninput })),
    only.length ? choice("Show", "only", [["", "all photos"], ...only], state().get("only") ?? "", first) : null,
    choice("Sort by", "sort", ways, by.sort, first),
    ["score", "difference"].includes(by.sort) ? choice("Row", "by", byRow, by.row.key, first) : null,
    by.sort === "difference" ? choice("minus", "minus", byRow, by.minus.key, first) : null,
    by.of
      ? choice(
          "Which first",
          "order",
          ["highest", "lowest"].map((name) => [name, `${name} first`]),
          order,
          first,
        )
      : null,
    scored
      ? choice(
          "Score",
          "metric",
          content.metrics.map((name) => [name, name]),
          by.metric,
        )
      : null,
    rowChooser(shown),
  );
}

function rowChooser(shown) {
  const chosen = new Set(shown.map((row) => row.key));
  const toggle = (event) => {
    event.target.checked ? chosen.add(event.target.value) : chosen.delete(event.target.value);
    go({ row: [...chosen], page: null });
  };
  const box = (row) => h("input", { type: "checkbox", name: "row", value: row.key, checked: chosen.has(row.key), onchange: toggle });
  const all = (text, keys) => h("button", { type: "button", name: text, onclick: () => go({ row: keys, page: null }) }, text);
  return h(
    "details",
    { id: "rows" },
    h("summary", `Rows shown: ${shown.length} of ${rows.length}`),
    h(
      "fieldset",
      h("legend", "A row is a system and a way of decoding it"),
      rows.map((row) => h("label", { class: "check" }, box(row), row.name)),
    ),
    h(
      "p",
      all("First of each system", null),
      " ",
      all(
        "All",
        rows.map((row) => row.key),
      ),
    ),
  );
}

function folderControl() {
  const label = "The photos are not in this file. It shows them from this folder of yours:";
  const onchange = (event) => go({ photos: event.target.value });
  return controls("Your photos", h("label", label, h("input", { name: "photos", value: photoFolder(), onchange })));
}

function card(i, shown, by, patterns) {
  const image = images[i];
  const scores = shown.map((row) => content.scores[row.at][by.metric]?.[i] ?? null);
  const best = Math.max(...scores.filter((score) => score !== null));
  const lines = shown.map((row, at) => {
    const written = content.captions[row.at][i].map((text, nth) => ({ text: texts[text], mark: markOf(row, i, nth) }));
    const [first, ...more] = written;
    const score = h("td", { class: scores[at] === best ? "number best" : "number" }, number(scores[at], 1));
    return h(
      "tr",
      h("th", { scope: "row" }, row.name),
      h("td", { class: "text" }, judged(first, patterns), others(first, more, patterns)),
      score,
    );
  });
  const titles = heads([["Row"], ["Caption"], [by.metric ?? "", true]]);
  const value = by.of && by.sort !== "agreement" ? h("div", `${by.sort}: ${number(by.of(i), by.digits)}`) : null;
  const agree = agreed ? h("div", { title: "CIDEr of each reference against the others" }, `agreement: ${number(image.agreement, 1)}`) : null;
  const [inspected] = insideOf(image.id);
  const inside = inspected && new URLSearchParams({ view: "inside", system: inspected, image: image.id });
  const look = inside ? h("div", h("a", { href: `#${inside}` }, "look inside")) : null;
  return h(
    "article",
    { class: "card", "aria-label": image.file },
    h("figure", photo(image, image.references[0] ?? image.file), h("figcaption", image.file, value, agree, look)),
    h(
      "div",
      h("table", { class: "captions" }, titles, h("tbody", lines)),
      h("p", { class: "muted" }, image.references.length === 1 ? "A reference:" : `${image.references.length} references:`),
      references(image, (text) => marked(text, patterns)),
    ),
  );
}

/** A caption with its mark. */
function judged({ text, mark }, patterns) {
  const said = content.marks?.names[mark];
  const shown = mark === null || (mark === 0 && content.marks.kind === "faults") ? null : mark === 0 ? "✓" : "✗";
  const sign = shown && h("span", { class: mark ? "sign bad" : "sign good", role: "img", "aria-label": said, title: said }, shown);
  return sign ? [sign, " ", marked(text, patterns)] : marked(text, patterns);
}

/** The other captions drawn for an image, opened if the query matches one of them. */
function others(first, more, patterns) {
  const different = new Set([first, ...more].map(({ text }) => text)).size;
  if (!more.length) return null;
  if (different === 1) return h("div", { class: "muted" }, `the same ${more.length + 1} times`);
  const open = patterns.length > 0 && more.some(({ text }) => patterns.every((pattern) => pattern.test(text)));
  const list = more.map((one) => h("li", judged(one, patterns)));
  const wrong = more.filter(({ mark }) => mark).length;
  const faulty = wrong ? `, ${wrong} ✗` : "";
  return h(
    "details",
    { open },
    h("summary", { class: "muted" }, `${more.length} more drawn, ${different} different in total${faulty}`),
    h("ul", list),
  );
}

/** The text, with the matches of the query marked. */
function marked(text, patterns) {
  const matches = patterns.map((pattern) => pattern.exec(text)).filter(Boolean);
  const parts = [];
  let at = 0;
  for (const match of matches.sort((a, b) => a.index - b.index)) {
    if (match.index < at) continue;
    parts.push(text.slice(at, match.index), h("mark", match[0]));
    at = match.index + match[0].length;
  }
  return [...parts, text.slice(at)];
}

function pages(page, last) {
  const turn = (to) => {
    keep({ page: to === 1 ? null : to });
    refresh();
    document.getElementById("found").focus({ preventScroll: true });
    document.getElementById("results").scrollIntoView();
  };
  const button = (text, to) => h("button", { type: "button", disabled: to < 1 || to > last || to === page, onclick: () => turn(to) }, text);
  const options = Array.from({ length: last }, (_, at) =>
    h("option", { value: at + 1, selected: at + 1 === page }, `${at + 1} of ${last}`),
  );
  const select = h("select", { "aria-label": "Page", onchange: (event) => turn(Number(event.target.value)) }, options);
  const parts = [button("First", 1), button("Previous", page - 1), select, button("Next", page + 1), button("Last", last)];
  return h("nav", { class: "pages", "aria-label": "Pages of photos", hidden: last === 1 }, parts);
}
