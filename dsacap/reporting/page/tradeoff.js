// The table of quality, diversity, latency, memory and training cost, its plots, and the curves of training.

const GAINS = { CIDEr: 1, SPICE: 1, "BLEU-4": 1, "mBLEU-4": 3, unique: 2 };
const COSTS = {
  memory_allocated_mib: "GPU MiB",
  memory_process_mib: "process MiB",
  parameters: "parameters",
  train_cpu_seconds: "CPU seconds",
};

const TRADEOFF =
  "A row is one file of weights, named by the sha256 of its model.safetensors, with one decoding. Grey line and star: no other row is as " +
  "fast and as high in CIDEr, and better in one of the two. A decoding without randomness has no diversity.";

function tradeoffView() {
  const table = content.tradeoff;
  const known = (row, key) => row[key] !== null && row[key] !== undefined;
  const has = (key) => table.some((row) => known(row, key));
  const name = (row) => `${row.label}, ${row.decoding}`;
  const sizes = Object.keys(table[0] ?? {})
    .filter((key) => key.startsWith("ms_"))
    .map((key) => key.slice(3));
  const measured = ["CIDEr", "SPICE", "BLEU-4"].filter(has);
  const quality = measured.find((metric) => metric === state().get("quality")) ?? measured[0];
  const size = sizes.find((one) => one === state().get("batch")) ?? sizes[0];
  const against = (title, key, x, front = []) => {
    const points = table
      .filter((row) => known(row, key) && known(row, quality))
      .map((row) => ({ row, x: row[key], y: row[quality], name: name(row) }));
    if (!points.length) return h("p", `${title}: not measured.`);
    const series = systems.map((system) => ({ system, points: points.filter((p) => p.row.system === system) }));
    return plot({ title, x, y: { name: quality }, series, front: points.filter((p) => front.includes(p.row)) });
  };
  const front = quality === "CIDEr" ? table.filter((row) => row[`front_${size}`]) : [];
  const columns = [
    ["Row", name],
    ["weights", (row) => h("code", { title: row.weights ?? "none recorded" }, row.weights?.slice(0, 8) ?? "-")],
    ["K", (row) => number(row.steps, 0), true],
    ...Object.entries(GAINS)
      .filter(([key]) => has(key))
      .map(([key, digits]) => [key, (row) => number(row[key], digits), true]),
    ...sizes.map((one) => [`ms, batch ${one}`, (row) => number(row[`ms_${one}`], 1) + (row[`front_${one}`] ? " *" : ""), true]),
    ...Object.entries(COSTS)
      .filter(([key]) => has(key))
      .map(([key, title]) => [title, (row) => number(row[key], 0), true]),
  ];
  return [
    h("h2", "Trade-off, one checkpoint per row"),
    controls(
      "Plots",
      choice(
        "Quality",
        "quality",
        measured.map((metric) => [metric, metric]),
        quality,
      ),
      sizes.length > 1
        ? choice(
            "Batch",
            "batch",
            sizes.map((one) => [one, one]),
            size,
          )
        : null,
    ),
    legend(systems.filter((system) => table.some((row) => row.system === system))),
    h(
      "div",
      { class: "columns" },
      against(`${quality} against latency`, `ms_${size}`, { name: `ms per batch of ${size}, decoding only`, log: true }, front),
      against(`${quality} against diversity`, "unique", { name: "different captions among those drawn for an image" }),
      against(`${quality} against likeness of the captions drawn`, "mBLEU-4", { name: "mBLEU-4 (lower: more diverse)" }),
    ),
    h("p", { class: "muted" }, TRADEOFF),
    dataTable("Quality, diversity, latency, memory and training cost", columns, table),
  ];
}

const TITLES = { val_CIDEr: "CIDEr on validation", loss: "Loss" };

function trainingView() {
  const parts = [curves("Training", false), curves("Tuning", true)].flat();
  return parts.length ? parts : [h("h2", "Training"), h("p", "This run has no curves.")];
}

/** One plot per logged quantity: validation and loss first, then rewards. */
function curves(heading, tuned) {
  const mine = content.curves.filter((curve) => curve.tuned === tuned);
  const rank = (quantity) => ["val_CIDEr", "loss"].indexOf(quantity) + 1 || (quantity.startsWith("reward_") ? 3 : 4);
  const quantities = [...new Set(mine.flatMap((curve) => Object.keys(curve.logged)))].sort((a, b) => rank(a) - rank(b));
  const pictures = quantities.map((quantity) => {
    const scaled = quantity === "val_CIDEr" ? 100 : 1;
    const points = ({ logged, label }) => logged[quantity].map(([step, value]) => ({ x: step, y: value * scaled, name: label }));
    const series = mine.filter((curve) => curve.logged[quantity]).map((curve) => ({ system: curve.system, points: points(curve) }));
    const title = TITLES[quantity] ?? quantity.replace(/^reward_/, "Reward: ").replaceAll("_", " ");
    return plot({ title, label: `${heading}: ${title}`, x: { name: "step" }, y: { name: "" }, series, lines: true });
  });
  return mine.length ? [h("h2", heading), legend(mine.map((curve) => curve.system)), h("div", { class: "columns" }, pictures)] : [];
}
