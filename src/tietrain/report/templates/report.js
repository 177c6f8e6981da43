"use strict";
document.documentElement.classList.add("js");

// Show or hide an arm: its rows, and the groups of its class inside the figures.
for (const box of document.querySelectorAll("input[data-arm]")) {
  box.addEventListener("change", () => {
    for (const part of box.closest("section").getElementsByClassName(box.dataset.arm)) {
      part.classList.toggle("off", !box.checked);
    }
  });
}

// Of many arms, find those whose name holds some text, or show all.
for (const line of document.querySelectorAll(".many")) {
  const rows = line.nextElementSibling.querySelector("table").tBodies[0].rows;
  const find = line.querySelector("input");
  function show(isFound) {
    for (const row of rows) row.classList.toggle("found", isFound(row.cells[0].dataset.by));
  }
  find.addEventListener("input", () => show((name) => find.value !== "" && name.includes(find.value)));
  line.querySelector("button").addEventListener("click", () => show(() => true));
}

// Mark tables that are wider than the page.
function markWide() {
  for (const box of document.querySelectorAll(".scroll")) {
    box.classList.toggle("wide", box.scrollWidth > box.clientWidth);
  }
}
addEventListener("resize", markWide);
markWide();

// Sort by a column, in reverse order at the second click; empty cells stay last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const key = (row) => row.cells[head.cellIndex].dataset.by;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const [p, q] = [Number(x), Number(y)];
      return sign * (Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q);
    });
    body.append(...rows);
  });
}
