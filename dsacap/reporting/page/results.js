// What the page opens with: the leaderboard, what the claims came to, and how all of it was made.

const decodings = { first: "the first of each system", best: "the best of each system", all: "all of each system" };

function resultsView() {
  const { board, reported, findings } = content;
  return [board ? leaderboard(board) : [], findings ? findingsOf(findings) : [], reported ? reportedBy(reported) : [], provenance()].flat();
}

/** Keep the rows of the system and of the decodings that the address names; `first` and `best` come from the leaderboard. */
function chosenRows(lines) {
  const of = systems.find((system) => system === state().get("of"));
  const which = chosenDecodings();
  const places = new Map(content.board?.rows.map((row) => [`${row.system}/${row.decoding}`, row]));
  const fits = ({ system, decoding }) => which === "all" || (places.get(`${system}/${decoding}`)?.[which] ?? true);
  return lines.filter((line) => (!of || line.system === of) && fits(line));
}

function chosenDecodings() {
  return Object.hasOwn(decodings, state().get("decodings")) ? state().get("decodings") : "first";
}

/** Choices of the system and of its decodings, where there are several. */
function rowControls(lines) {
  const present = systems.filter((system) => lines.some((line) => line.system === system));
  if (present.length === lines.length) return null; // the table has no more to choose from than it shows
  const all = [["", "all"], ...present.map((system) => [system, labelOf(system)])];
  return controls(
    "Rows",
    choice("System", "of", all, state().get("of") ?? "", { decodings: state().get("of") ? null : "all" }),
    choice("Decodings", "decodings", Object.entries(decodings), chosenDecodings()),
  );
}

/** What is left out below a table, and a button that shows it. */
function moreRows(shown, lines) {
  const left = lines.length - shown.length;
  if (!left) return null;
  const onclick = () => go({ of: null, decodings: "all" });
  const text = `${left} more ${left === 1 ? "row" : "rows"}`;
  return h("p", { class: "muted" }, `${text}, of other systems or decodings. `, h("button", { type: "button", name: "all rows", onclick }, "Show all"));
}

const INTERVAL = "±: half of the 95\u00a0% interval, a bootstrap over images.";
const TIMES_100 = ["CIDEr", "SPICE", "BLEU-4", "METEOR", "ROUGE-L"];
const RANKS =
  "Bold and underlined: the best of a column, among all rows; bold: within the 95\u00a0% interval of the best. ↓: lower is better. The head of a column " +
  "sorts by it.";

function leaderboard({ columns, rows: lines, notes }) {
  const shown = chosenRows(lines);
  const scale = `x100, as papers print them: ${TIMES_100.filter((name) => columns.some(({ title }) => title === name)).join(", ")}.`;
  const cell = (at, digits) => (line) => scored(line.cells[at], digits);
  const measured = columns.map(({ title, digits, higher }, at) => [title, cell(at, digits), true, (line) => line.cells[at]?.value, higher]);
  const named = ["System", (line) => [keyOf(line.system), " ", line.label, " ", h("span", { class: "muted" }, line.decoding)]];
  return [
    h("h2", "Leaderboard"),
    rowControls(lines),
    sortableTable(lines.length === 1 ? "All images" : `${shown.length} of ${lines.length} rows`, [named, ...measured], shown, "column", columns[0].title),
    moreRows(shown, lines),
    h("p", { class: "muted" }, lines.length === 1 ? `${scale} ${INTERVAL}` : `${scale} ${INTERVAL} ${RANKS}`),
    notes.map((note) => h("p", { class: "muted" }, note)),
  ].flat();
}

function scored(cell, digits) {
  if (!cell) return "-";
  const half = cell.low === null ? "" : ` ± ${number((cell.high - cell.low) / 2, digits)}`;
  const text = number(cell.value, digits);
  const meaning = { best: "the best", tie: "within the interval of the best" }[cell.mark];
  return [meaning ? h("strong", { class: cell.mark, title: meaning }, text) : text, h("span", { class: "muted" }, half)];
}

function reportedBy({ columns, rows: lines }) {
  const shown = columns.map((title, at) => [title, (line) => line[at], at > 2]);
  return [
    h("h2", "Reported by others"),
    h("p", "Figures that were not measured here, with other encoders, training data and hardware. They cannot be compared with the rows above."),
    dataTable("As given in their sources", shown, lines),
  ];
}

const VERDICTS = {
  supported: "✓ supported",
  "supported, not by noise": "✓ supported, not by noise",
  "not supported": "✗ not supported",
  undecided: "? undecided",
};

function findingsOf({ sentences, claims }) {
  const tests = (claim) => h("details", h("summary", claim.tests.length === 1 ? "1 test" : `${claim.tests.length} tests`), h("ul", { class: "references" }, claim.tests.map((one) => h("li", one))));
  const columns = [
    ["Claim", (claim) => claim.name],
    ["It says that", (claim) => h("div", claim.says, claim.tests.length ? tests(claim) : null)],
    ["Verdict", (claim) => VERDICTS[claim.verdict]],
  ];
  return [
    h("h2", "Findings"),
    sentences.length
      ? h(
          "ul",
          { class: "findings" },
          sentences.map((one) => h("li", one)),
        )
      : null,
    h("h2", "Verdicts on the claims"),
    h("div", { class: "claims" }, dataTable("The primary test of a claim, listed first, decides it; docs/claims.md has the rules", columns, claims)),
  ];
}

function provenance() {
  const { made, files, citation, signatures } = content;
  const [, ...others] = made.commits;
  const list = (lines) =>
    h(
      "ul",
      { class: "references" },
      lines.map((one) => h("li", h("code", one))),
    );
  return [
    h("h2", "How this was made"),
    h("p", madeOf(made)),
    others.length ? h("details", h("summary", others.length === 1 ? "The other commit" : `The other ${others.length} commits`), list(others)) : null,
    files.length
      ? h(
          "ul",
          files.map(({ file, title }) => h("li", h("a", { href: file }, file), `: ${title}`)),
        )
      : null,
    citation ? [h("h3", "How to cite it"), h("pre", citation)] : [],
    signatures.length
      ? h("details", h("summary", "Signatures of the metrics; two numbers are comparable only if theirs are the same"), list(signatures))
      : null,
  ].flat();
}

function madeOf({ what, on, commits }) {
  const [commit, ...others] = commits;
  const day = on && new Date(`${on}T00:00:00Z`).toLocaleDateString("en-GB", { dateStyle: "long", timeZone: "UTC" });
  const when = day ? ` Made on ${day}` : commit ? " Made" : "";
  const from = commit ? ` from commit ${commit}${others.length ? ` and ${others.length} more` : ""}` : "";
  return `${what}${when}${from}${when ? "." : ""}`;
}
