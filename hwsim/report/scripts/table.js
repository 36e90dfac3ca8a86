// The table of all designs: sorting, filtering by words, and the row that is looked at.

const tbody = document.querySelector("#designs tbody");
const rows = Array.from(tbody.rows);
const heads = Array.from(document.querySelectorAll("#designs thead th"));
const indices = new Map(rows.map((row, index) => [row, index]));
const indexOf = (row) => indices.get(row);

function sortKey(kind, column) {
  if (kind === "name") return indexOf;
  if (kind === "status") return (row) => 1 - points[indexOf(row)].front;
  if (kind === "text") return (row) => row.cells[column].textContent;
  const metric = metricIndex(kind);
  return (row) => points[indexOf(row)].values[metric];
}

function sort(head) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  const key = sortKey(head.dataset.sort, head.cellIndex);
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  const sorted = rows.slice().sort((a, b) => (descending ? -1 : 1) * compare(key(a), key(b)) || indexOf(a) - indexOf(b));
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  tbody.append(...sorted);
}

function startTable() {
  heads.forEach((head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head));
  });
  rows.forEach((row) => {
    row.addEventListener("pointerenter", () => light(indexOf(row)));
    row.addEventListener("focusin", () => light(indexOf(row)));
  });
  listeners.kept.push(() => rows.forEach((row) => { row.hidden = !kept.has(indexOf(row)); }));
  listeners.lit.push(() => rows.forEach((row) => row.classList.toggle("lit", indexOf(row) === lit)));
}
