// The page is complete without this: it turns stacked panels into tabs, sorts tables, and opens all for printing.
document.documentElement.classList.add("js");
for (const group of document.querySelectorAll("[data-tabs]")) {
  const panels = [...group.querySelectorAll(":scope > .panel")];
  const bar = group.querySelector(":scope > .tabs");
  const show = (chosen) => panels.forEach((panel, i) => {
    panel.hidden = i !== chosen;
    bar.children[i].setAttribute("aria-selected", i === chosen);
  });
  panels.forEach((panel, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = panel.querySelector("h3").textContent;
    button.addEventListener("click", () => show(i));
    bar.append(button);
  });
  show(0);
}
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
    const compare = (a, b) => {
      const [x, y] = [Number(key(a)), Number(key(b))];
      return Number.isNaN(x) || Number.isNaN(y) ? key(a).localeCompare(key(b)) : x - y;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => (up ? 1 : -1) * compare(a, b)));
  }));
}
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open], .long)")];
  closed.forEach((part) => { part.open = true; });
});
addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));
