// Which photos are shown, and in which order.

const sorts = {
  order: "order of the data set",
  disagreement: "disagreement of the rows shown",
  score: "score of a row",
  difference: "difference of two rows",
  agreement: "agreement of the references",
};
const agreed = images.some((image) => image.agreement !== null && image.agreement !== undefined);

/** The sorts for which this page has numbers. */
function knownSorts() {
  const scored = content.metrics.length > 0;
  const known = { order: true, disagreement: rows.length > 1, score: scored, difference: scored && rows.length > 1, agreement: agreed };
  return Object.keys(sorts).filter((name) => known[name]);
}

/** The rows that are chosen, and those by which photos are sorted. */
function shownRows() {
  const keys = state().getAll("row");
  const chosen = rows.filter((row) => keys.includes(row.key));
  const shown = chosen.length ? chosen : rows.filter((row) => row.first);
  const { sort, row, minus } = sorting();
  const compared = { score: [row], difference: [row, minus] }[sort] ?? [];
  return rows.filter((one) => shown.includes(one) || compared.includes(one));
}

/** What the address says of sorting. */
function sorting() {
  const asked = state();
  const rowOf = (key, otherwise) => rows.find((row) => row.key === asked.get(key)) ?? otherwise;
  const row = rowOf("by", rows[0]);
  return {
    sort: knownSorts().find((name) => name === asked.get("sort")) ?? "order",
    metric: content.metrics.find((name) => name === asked.get("metric")) ?? content.metrics[0],
    row,
    minus: rowOf("minus", rows.find((other) => other !== row) ?? row),
  };
}

/** The mark of a row's caption of an image: null if captions are not marked. */
function markOf(row, i, caption = 0) {
  return content.marks ? parseInt(content.marks.rows[row.at][i][caption], 36) : null;
}

const wanted = { bad: (marks) => marks.some((mark) => mark > 0), good: (marks) => marks.every((mark) => mark === 0) };

/** Keep the images whose first captions have the marks that the address asks for. */
function filtered(places, shown) {
  const only = state().get("only");
  if (!content.marks || !Object.hasOwn(wanted, only)) return places;
  return places.filter((i) => wanted[only](shown.map((row) => markOf(row, i))));
}

/** One pattern per term of the query, which matches at the beginning of a word; one caption has to match all. */
function patternsOf(query) {
  const terms = query.split(/\s+/).filter(Boolean);
  return terms.map((term) => new RegExp(`(?<![\\p{L}\\p{N}])${term.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&")}`, "iu"));
}

/** Indices of the images with a caption, or a file name, that matches all patterns. */
function found(patterns, shown) {
  const fits = (text) => patterns.every((pattern) => pattern.test(text));
  const fitting = texts.map(fits); // each distinct caption is matched once
  const captioned = (i) => shown.some((row) => content.captions[row.at][i].some((text) => fitting[text]));
  return [...images.keys()].filter((i) => captioned(i) || images[i].references.some(fits) || fits(images[i].file));
}

const wordsOf = [];
function words(text) {
  return (wordsOf[text] ??= texts[text].toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);
}

/** 1 - Dice's coefficient pooled over all pairs of the rows' first captions: the share of their words that two of them do not share. */
function disagreement(i, shown) {
  const counts = new Map(); // word -> row -> how often its caption has the word
  let total = 0;
  for (const row of shown) {
    for (const word of words(content.captions[row.at][i][0])) {
      const of = counts.get(word) ?? new Map();
      counts.set(word, of.set(row.at, (of.get(row.at) ?? 0) + 1));
      total += 1;
    }
  }
  let shared = 0; // two rows share the smaller of their counts of a word
  for (const of of counts.values()) {
    const sorted = [...of.values()].sort((a, b) => a - b);
    sorted.forEach((count, at) => (shared += count * (sorted.length - 1 - at)));
  }
  return shown.length < 2 || total === 0 ? 0 : 1 - (2 * shared) / ((shown.length - 1) * total);
}

/** The measure by which photos are sorted: `of` returns an image's value or null; without `of` they keep their order. */
function measure(shown) {
  const { sort, metric, row, minus } = sorting();
  const score = (i, of = row) => content.scores[of.at][metric]?.[i] ?? null;
  const ways = {
    order: { name: "", of: null },
    disagreement: { name: "disagreement", digits: 2, of: (i) => disagreement(i, shown) },
    agreement: { name: sorts.agreement, digits: 1, of: (i) => images[i].agreement ?? null },
    score: { name: `${metric} of ${row.name}`, digits: 1, of: score },
    difference: {
      name: `${metric} of ${row.name} minus that of ${minus.name}`,
      digits: 1,
      of: (i) => (score(i) === null || score(i, minus) === null ? null : score(i) - score(i, minus)),
    },
  };
  return { sort, metric, row, minus, ...ways[sort] };
}

/** Sort image indices by a measure; those without a value come last in either direction. */
function sorted(places, by) {
  if (!by.of) return places;
  const sign = state().get("order") === "lowest" ? 1 : -1;
  const keyed = places.map((i) => [i, by.of(i)]);
  keyed.sort(([i, a], [j, b]) => (a === null) - (b === null) || sign * (a - b) || i - j);
  return keyed.map(([i]) => i);
}
