"use strict";
// The page is whole without this script; with it, tables sort, galleries filter, and colors can be chosen.
const root = document.documentElement;
const kept = {
  read() { try { return localStorage.getItem("fewlabels-theme"); } catch { return null; } },
  write(value) { try { localStorage.setItem("fewlabels-theme", value); } catch { /* a browser that keeps nothing */ } },
};

function choose(theme) {
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  else delete root.dataset.theme;
}
choose(kept.read());

function setUpTheme(bar) {
  const buttons = [...bar.querySelectorAll("button")];
  const show = () => {
    const now = root.dataset.theme || "auto";
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.theme === now));
  };
  for (const button of buttons) button.addEventListener("click", () => {
    choose(button.dataset.theme);
    kept.write(button.dataset.theme);
    show();
  });
  show();
  bar.hidden = false;
}

// "1,234", "57.1%" and "40.0% – 60.0%" are numbers, the first one counts; "–" stands for none.
function valueOf(cell) {
  const text = cell.textContent.trim();
  const number = parseFloat(text.replace(/,/g, ""));
  return { text, number: Number.isNaN(number) ? null : number };
}

function setUpSorting(table) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    if ("unsorted" in head.dataset) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const numeric = head.classList.contains("n");
    button.addEventListener("click", () => {
      const first = numeric ? "descending" : "ascending";
      const other = numeric ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const one of heads) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows].map((row) => ({ row, ...valueOf(row.cells[column]) }));
      rows.sort((a, b) => {
        if (!numeric) return sign * a.text.localeCompare(b.text, undefined, { numeric: true });
        if (a.number === null || b.number === null) return (a.number === null) - (b.number === null);
        return sign * (a.number - b.number);
      });
      body.append(...rows.map((one) => one.row));
    });
  });
}

function setUpGallery(gallery) {
  const bar = gallery.querySelector(".filters");
  if (!bar) return;
  const selects = [...bar.querySelectorAll("select")];
  const items = [...gallery.querySelectorAll("li")];
  const told = bar.querySelector("output");
  const show = () => {
    let count = 0;
    for (const item of items) {
      item.hidden = !selects.every((one) => one.value === "" || item.dataset[one.dataset.filter] === one.value);
      if (!item.hidden) count += 1;
    }
    for (const group of gallery.querySelectorAll(".of-class")) {
      group.hidden = !group.querySelector("li:not([hidden])");
    }
    told.textContent = `${count} of ${items.length} shown`;
  };
  for (const select of selects) select.addEventListener("change", show);
  show();
  bar.hidden = false;
}

function setUpMap(part) {
  const map = part.querySelector("svg.map");
  for (const item of part.querySelectorAll(".legend li")) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(...item.firstElementChild.childNodes);
    item.replaceChildren(button);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      map.querySelector(`g[data-class="${item.dataset.class}"]`).classList.toggle("on", on);
      map.classList.toggle("picked", map.querySelector("g.on") !== null);
    });
  }
}

// Only what scrolls is a stop of the Tab key.
function setUpStops() {
  for (const box of document.querySelectorAll(".scroll, .box, pre")) {
    const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    if (scrolls) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".theme").forEach(setUpTheme);
  document.querySelectorAll("table.sortable").forEach(setUpSorting);
  document.querySelectorAll(".gallery").forEach(setUpGallery);
  document.querySelectorAll(".mapped").forEach(setUpMap);
  setUpStops();
  addEventListener("resize", setUpStops);
  document.addEventListener("toggle", setUpStops, true);
});
