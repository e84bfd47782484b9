"use strict";
// A column sorts by its numbers (data-value) or its text; unknown values come last, the original's row first.
(() => {
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    if (value === "") return null;
    return value === undefined ? cell.textContent : Number(value);
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        // scores are read from the largest, names from A
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const second = first === "ascending" ? "descending" : "ascending";
        const now = head.getAttribute("aria-sort");
        const next = now === null ? first : now === first ? second : null;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        table.classList.toggle("sorted", next !== null);
        let rows = original;
        if (next !== null) {
          head.setAttribute("aria-sort", next);
          const sign = next === "ascending" ? 1 : -1;
          const free = original.filter((row) => !row.classList.contains("original"));
          const keyed = free.map((row) => [key(row, column), row]);
          const known = keyed.filter(([value]) => value !== null).sort(([a], [b]) => sign * compare(a, b));
          const unknown = keyed.filter(([value]) => value === null);
          const pinned = original.filter((row) => row.classList.contains("original"));
          rows = [...pinned, ...[...known, ...unknown].map(([, row]) => row)];
        }
        body.append(...rows);
      });
    });
  }
})();
