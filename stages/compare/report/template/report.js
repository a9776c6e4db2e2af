"use strict";
// Sort a table by a column: numbers by value, words by alphabet, nothing last.
function sort(heading) {
  const body = heading.closest("table").tBodies[0];
  const column = heading.cellIndex;
  const down = heading.getAttribute("aria-sort") !== "descending";
  const valueOf = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    const [x, y] = [valueOf(a), valueOf(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const numbers = !isNaN(x) && !isNaN(y);
    const order = numbers ? x - y : x.localeCompare(y);
    return down ? -order : order;
  };
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...[...body.rows].sort(compare));
}
// Show where a row's figures come from.
function show(row) {
  const dialog = document.getElementById("origins");
  const parts = row.dataset.origins.trim().split(" ").map((number) =>
    document.querySelector(`#origin-${number} > div`).cloneNode(true));
  dialog.querySelector("div").replaceChildren(...parts);
  dialog.showModal();
}
document.addEventListener("click", (event) => {
  const heading = event.target.closest(".sort");
  if (heading) return sort(heading.closest("th"));
  const row = event.target.closest("tr[data-origins]");
  if (row && !String(getSelection())) show(row);
});
