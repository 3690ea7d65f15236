// Which photos are shown, and in which order.

const sorts = {
  order: "order of the data set",
  disagreement: "disagreement of the rows shown",
  score: "score of a row",
  difference: "difference of two rows",
};

function shownRows() {
  const keys = state().getAll("row");
  const chosen = rows.filter((row) => keys.includes(row.key));
  return chosen.length ? chosen : rows.filter((row) => row.first);
}

/** A pattern for each term of the query, at the beginning of a word; all of them have to stand in one caption. */
function patternsOf(query) {
  const terms = query.split(/\s+/).filter(Boolean);
  return terms.map((term) => new RegExp(`(?<![\\p{L}\\p{N}])${term.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&")}`, "iu"));
}

/** Places of the images with a caption, or a file name, that fits all patterns. */
function found(patterns, shown) {
  const fits = (text) => patterns.every((pattern) => pattern.test(text));
  const known = texts.map(fits); // a caption is looked at once, however often it was said
  const said = (i) => shown.some((row) => content.captions[row.at][i].some((text) => known[text]));
  return [...images.keys()].filter((i) => said(i) || images[i].references.some(fits) || fits(images[i].file));
}

const wordsOf = [];
function words(text) {
  return (wordsOf[text] ??= texts[text].toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);
}

/** 1 - Dice's coefficient pooled over all pairs of the rows' first captions: the share of their words that two of them do not share. */
function disagreement(i, shown) {
  const counts = new Map(); // word -> how often each row says it
  let total = 0;
  for (const row of shown) {
    for (const word of words(content.captions[row.at][i][0])) {
      const of = counts.get(word) ?? new Map();
      counts.set(word, of.set(row.at, (of.get(row.at) ?? 0) + 1));
      total += 1;
    }
  }
  let shared = 0; // two rows share a word as often as the one that says it less
  for (const of of counts.values()) {
    const sorted = [...of.values()].sort((a, b) => a - b);
    sorted.forEach((count, at) => (shared += count * (sorted.length - 1 - at)));
  }
  return shown.length < 2 || total === 0 ? 0 : 1 - (2 * shared) / ((shown.length - 1) * total);
}

/** What photos are sorted by: `of` gives an image's value, or null; without it they keep their order. */
function measure(shown) {
  const asked = state();
  const rowOf = (key, otherwise) => rows.find((row) => row.key === asked.get(key)) ?? otherwise;
  const metric = content.metrics.find((name) => name === asked.get("metric")) ?? content.metrics[0];
  const sort = Object.hasOwn(sorts, asked.get("sort")) ? asked.get("sort") : "order";
  const row = rowOf("by", rows[0]);
  const minus = rowOf("minus", rows.find((other) => other !== row) ?? row);
  const score = (i, of = row) => content.scores[of.at][metric]?.[i] ?? null;
  const ways = {
    order: { name: "", of: null },
    disagreement: { name: "disagreement", digits: 2, of: (i) => disagreement(i, shown) },
    score: { name: `${metric} of ${row.name}`, digits: 1, of: score },
    difference: {
      name: `${metric} of ${row.name} minus that of ${minus.name}`,
      digits: 1,
      of: (i) => (score(i) === null || score(i, minus) === null ? null : score(i) - score(i, minus)),
    },
  };
  return { sort, metric, row, minus, ...ways[sort] };
}

/** Those without a value come last, either way. */
function sorted(places, by) {
  if (!by.of) return places;
  const sign = state().get("order") === "lowest" ? 1 : -1;
  const keyed = places.map((i) => [i, by.of(i)]);
  keyed.sort(([i, a], [j, b]) => (a === null) - (b === null) || sign * (a - b) || i - j);
  return keyed.map(([i]) => i);
}
