// The table of quality, diversity, latency, memory and training cost, its plots, and the curves of training.

const GAINS = { CIDEr: 1, SPICE: 1, "BLEU-4": 1, "mBLEU-4": 3, unique: 2 };
const LOWER = ["mBLEU-4"]; // gains that are better if lower
const COSTS = {
  memory_allocated_mib: "GPU MiB",
  memory_process_mib: "process MiB",
  parameters: "parameters",
  train_cpu_seconds: "CPU seconds",
};

const TRADEOFF =
  "A row is one file of weights, named by the sha256 of its model.safetensors, with one decoding. Bars: 95\u00a0% intervals. Grey line and star: " +
  "no other row is as fast and as high in CIDEr, and better in one of the two. A decoding without randomness has no diversity.";

function tradeoffView() {
  const table = content.tradeoff;
  const known = (row, key) => row[key] !== null && row[key] !== undefined;
  const has = (key) => table.some((row) => known(row, key));
  const name = (row) => `${row.label}, ${row.decoding}`;
  const sizes = Object.keys(table[0])
    .filter((key) => key.startsWith("ms_"))
    .map((key) => key.slice(3));
  const measured = ["CIDEr", "SPICE", "BLEU-4"].filter(has);
  const quality = measured.find((metric) => metric === state().get("quality")) ?? measured[0];
  const size = sizes.find((one) => one === state().get("batch")) ?? sizes[0];
  const front = quality === "CIDEr" ? table.filter((row) => row[`front_${size}`]) : [];
  const against = (title, key, x, joined = []) => {
    const points = table
      .filter((row) => known(row, key) && known(row, quality))
      .map((row) => {
        const [low, high] = row.intervals[quality] ?? [];
        return { row, system: row.system, x: row[key], y: row[quality], low, high, name: name(row) };
      });
    if (!points.length) return null; // not measured
    const series = systems.map((system) => ({ system, points: points.filter((p) => p.system === system) }));
    return plot({ title, x, y: { name: `${quality} (x100)` }, series, front: points.filter((p) => joined.includes(p.row)) });
  };
  const images = size === "1" ? "one image" : `a batch of ${size}`;
  const plots = [
    against(`${quality} against latency`, `ms_${size}`, { name: `milliseconds to decode ${images}`, log: true }, front),
    against(`${quality} against diversity`, "unique", { name: "different captions among those drawn for an image" }),
    against(`${quality} against likeness of the captions drawn`, "mBLEU-4", { name: "mBLEU-4, 0 to 1 (lower: more diverse)" }),
    against(`${quality} against the cost of training`, "train_cpu_seconds", { name: "CPU seconds of training", log: true }),
  ].filter(Boolean);
  const column = (title, key, digits, higher, star = () => "") => [
    title,
    (row) => number(row[key], digits) + star(row),
    true,
    (row) => row[key],
    higher,
  ];
  const columns = [
    ["Row", (row) => [keyOf(row.system), " ", name(row)]],
    ["weights", (row) => h("code", { title: row.weights ?? "none recorded" }, row.weights?.slice(0, 8) ?? "-")],
    column("K", "steps", 0, false),
    ...Object.entries(GAINS)
      .filter(([key]) => has(key))
      .map(([key, digits]) => column(key, key, digits, !LOWER.includes(key))),
    ...sizes.map((one) => column(`ms, batch ${one}`, `ms_${one}`, 1, false, (row) => (row[`front_${one}`] ? " *" : ""))),
    ...Object.entries(COSTS)
      .filter(([key]) => has(key))
      .map(([key, title]) => column(title, key, 0, false)),
  ];
  const shown = chosenRows(table);
  const pick = (key, chosen, options) =>
    choice(
      key[0].toUpperCase() + key.slice(1),
      key,
      options.map((one) => [one, one]),
      chosen,
    );
  return [
    h("h2", "Trade-offs, one checkpoint per row"),
    plots.length
      ? controls("Plots", pick("quality", quality, measured), sizes.length > 1 ? pick("batch", size, sizes) : null)
      : null,
    plots.length ? legend(systems.filter((system) => table.some((row) => row.system === system))) : null,
    h("div", { class: "columns" }, plots),
    h("p", { class: "muted" }, TRADEOFF),
    rowControls(table),
    sortableTable("Quality, diversity, latency, memory and training cost", columns, shown, "cost", quality),
    moreRows(shown, table),
    ...(content.diversity ? diversityOf(content.diversity) : []),
  ];
}

/** The curve of each dial, and mean CIDEr over the range of diversity that all systems share. */
function diversityOf({ between: [low, high], curves: dials }) {
  const named = (dial) => `${labelOf(dial.system)}: ${dial.name}`;
  const points = (dial) => dial.spots.map(({ decoding, mbleu, cider }) => ({ x: mbleu, y: cider, name: `${labelOf(dial.system)}, ${decoding}` }));
  const series = dials.map((dial) => ({ system: dial.system, name: named(dial), points: points(dial) }));
  const mean = (dial) => (dial.mean === null ? h("span", { title: dial.reason }, "n/a") : number(dial.mean, 1));
  const columns = [
    ["System and setting", (dial) => [keyOf(dial.system), " ", named(dial)]],
    ["CIDEr", mean, true],
    ["95\u00a0% interval", (dial) => (dial.mean === null ? "-" : `${number(dial.low, 1)} to ${number(dial.high, 1)}`), true],
    ["seeds", (dial) => dial.seeds, true],
  ];
  return [
    h("h2", "Quality against diversity"),
    plot({ title: "CIDEr against mBLEU-4", x: { name: "mBLEU-4, 0 to 1 (lower: more diverse)" }, y: { name: "CIDEr (x100)" }, series, lines: true }),
    h("div", dataTable(`Mean CIDEr over mBLEU-4 ${low} to ${high}; n/a where the decodings do not cover it`, columns, dials)),
  ];
}

function trainingView() {
  return [curves("Training", false), curves("Tuning", true)].flat();
}

/** One plot for each quantity that was logged. */
function curves(heading, tuned) {
  const mine = content.curves.filter((one) => one.tuned === tuned);
  const pictures = mine.map(({ title, unit, curves: logged }) => {
    const points = (system, values) => values.map(([step, value]) => ({ x: step, y: value, name: labelOf(system) }));
    const series = Object.entries(logged).map(([system, values]) => ({ system, points: points(system, values) }));
    return plot({ title, label: `${heading}: ${title}`, x: { name: "steps of training" }, y: { name: unit }, series, lines: true });
  });
  const present = systems.filter((system) => mine.some((one) => Object.hasOwn(one.curves, system)));
  return mine.length ? [h("h2", heading), legend(present), h("div", { class: "columns" }, pictures)] : [];
}
