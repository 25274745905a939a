// The page is complete without this: it turns stacked panels into tabs, sorts tables, offers figures as files, and opens
// for printing what a reader on paper needs.
document.documentElement.classList.add("js");
const make = (tag, properties) => Object.assign(document.createElement(tag), { type: "button" }, properties);
let tabs = 0;
for (const group of document.querySelectorAll("[data-tabs]")) {
  const panels = [...group.querySelectorAll(":scope > .panel")];
  const bar = group.querySelector(":scope > .tabs");
  const show = (chosen, focus) => panels.forEach((panel, i) => {
    const tab = bar.children[i];
    panel.hidden = i !== chosen;
    tab.setAttribute("aria-selected", i === chosen);
    tab.tabIndex = i === chosen ? 0 : -1;
    if (focus && i === chosen) tab.focus();
  });
  panels.forEach((panel, i) => {
    const tab = make("button", { textContent: panel.querySelector("h3").textContent, id: `tab-${tabs}` });
    panel.id = `panel-${tabs++}`;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    tab.addEventListener("click", () => show(i));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) show((i + step + panels.length) % panels.length, true);
    });
    bar.append(tab);
  });
  show(0);
}
// A button in the head of each column, so that the keyboard reaches it; the state is said by aria-sort.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.querySelectorAll("th:not(.group)")];
  heads.forEach((head) => {
    const column = Number(head.dataset.c ?? head.cellIndex);
    const button = make("button", { title: "Sort" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "nan" || y === "nan") return (x === "nan") - (y === "nan");
        const apart = Number.isNaN(Number(x)) || Number.isNaN(Number(y)) ? x.localeCompare(y) : Number(x) - Number(y);
        return up ? apart : -apart;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  });
}
// The drawings are in the page: a file is made of one when it is asked for. Colours are those of the light page.
for (const figure of document.querySelectorAll("figure[data-stem]")) {
  const button = make("button", { className: "save", textContent: "SVG" });
  button.setAttribute("aria-label", `Save ${figure.dataset.stem} as SVG`);
  button.addEventListener("click", () => {
    const drawing = new XMLSerializer().serializeToString(figure.querySelector("svg"));
    const url = URL.createObjectURL(new Blob([drawing], { type: "image/svg+xml" }));
    make("a", { href: url, download: `${figure.dataset.stem}.svg` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  figure.querySelector(".files")?.append(" · ", button);
}
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.print:not([open])")];
  opened.forEach((part) => { part.open = true; });
});
addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));
