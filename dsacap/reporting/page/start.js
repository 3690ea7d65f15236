// Which view is shown; drawn anew whenever the address changes.

const draw = { photos: photosView, inside: insideView, tradeoff: tradeoffView, training: trainingView };

function render() {
  const main = document.getElementById("main");
  const view = Object.hasOwn(draw, state().get("view")) ? state().get("view") : "photos";
  const { name, value, type } = main.contains(document.activeElement) ? document.activeElement : {};
  const open = [...main.querySelectorAll("details[id][open]")].map((element) => element.id);
  main.replaceChildren(...draw[view]().filter(Boolean));
  open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  if (name) {
    // Who chooses goes on where they were.
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
  event.preventDefault(); // the address is the state
  document.getElementById("main").focus();
});
addEventListener("hashchange", () => {
  render();
  scrollTo(0, 0);
});
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return; // a phone's bars come and go
  width = innerWidth;
  render();
});
render();
