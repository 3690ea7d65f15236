// Draws the view that the address names, and redraws it whenever the address changes.

const draw = { photos: photosView, inside: insideView, tradeoff: tradeoffView, training: trainingView };

function render() {
  const main = document.getElementById("main");
  const view = Object.hasOwn(draw, state().get("view")) ? state().get("view") : "photos";
  const { name, value, type } = main.contains(document.activeElement) ? document.activeElement : {};
  const open = [...main.querySelectorAll("details[id][open]")].map((element) => element.id);
  main.replaceChildren(...draw[view]().filter(Boolean));
  open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  if (name) {
    // Redrawing replaces the focused element; move the focus to its successor.
    const same = (element) => !["checkbox", "radio"].includes(type) || element.value === value;
    [...main.querySelectorAll(`[name="${name}"]`)].find(same)?.focus({ preventScroll: true });
  }
  const links = Object.entries(views).map(([key, title]) => [
    title,
    { href: `#view=${key}`, "aria-current": key === view ? "page" : null },
  ]);
  document.getElementById("views").replaceChildren(...links.map(([title, attributes]) => h("li", h("a", attributes, title))));
}

document.getElementById("note").textContent = content.note ?? "";
document.getElementById("made").textContent = `Test split, captions of seed ${content.seed}; made from commit ${content.commit}.`;
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
