// Draws the view that the address names, and redraws it whenever the address changes.

const draw = { results: resultsView, photos: photosView, inside: insideView, tradeoff: tradeoffView, training: trainingView };

function render() {
  const main = document.getElementById("main");
  const view = views.find((one) => one === state().get("view")) ?? views[0];
  const { name, value, type } = main.contains(document.activeElement) ? document.activeElement : {};
  const open = [...main.querySelectorAll("details[id][open]")].map((element) => element.id);
  main.replaceChildren(...draw[view]().filter(Boolean));
  open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  if (name) {
    // Redrawing replaces the focused element; move the focus to its successor.
    const same = (element) => !["checkbox", "radio"].includes(type) || element.value === value;
    [...main.querySelectorAll(`[name="${name}"]`)].find(same)?.focus({ preventScroll: true });
  }
  const link = (one) => h("li", h("a", { href: `#view=${one}`, "aria-current": one === view ? "page" : null }, titles[one]));
  document.getElementById("views").replaceChildren(...views.map(link));
}

document.getElementById("note").textContent = content.note ?? "";
document.getElementById("note").hidden = !content.note;
document.getElementById("made").textContent = madeOf(content.made);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // following the link would overwrite the state, which is in the address
  document.getElementById("main").focus();
});
addEventListener("hashchange", () => {
  render();
  scrollTo(0, 0);
});
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return; // a phone that shows or hides its bars changes the height only
  width = innerWidth;
  render();
});
render();
