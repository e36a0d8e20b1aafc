// Tables that are sorted by the column that is clicked: numbers by their values, what is absent last.
const value = (row, column) => {
  const cell = row.cells[column];
  const number = cell.dataset.value;
  if (number === undefined) return cell.textContent.trim();
  // What Python calls inf.
  return number === "" ? NaN : number === "inf" ? Infinity : number === "-inf" ? -Infinity : Number(number);
};
const absent = (found) => found === "" || Number.isNaN(found);
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map((row) => ({ row, found: value(row, column) }));
      rows.sort((one, other) => {
        if (absent(one.found) || absent(other.found)) return absent(one.found) - absent(other.found);
        const both = typeof one.found === "number" && typeof other.found === "number";
        const order = both
          ? Math.sign(one.found - other.found || 0)
          : String(one.found).localeCompare(String(other.found), "en", { numeric: true });
        return rising ? order : -order;
      });
      table.tBodies[0].append(...rows.map((entry) => entry.row));
    });
  });
}

// Tables with a form above them that hides rows, and all columns but those of one group.
for (const form of document.querySelectorAll("form.filters")) {
  const table = form.nextElementSibling.querySelector("table");
  const output = form.querySelector("output");
  const rows = [...table.tBodies[0].rows].map((row) => ({
    row,
    axes: JSON.parse(row.dataset.axes),
    words: row.textContent.toLowerCase(),
  }));
  const show = () => {
    const wanted = [...form.querySelectorAll("select[data-axis]")].filter((select) => select.value !== "");
    const words = form.querySelector("input").value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const { row, axes, words: found } of rows) {
      const fits =
        wanted.every((select) => String(axes[select.dataset.axis]) === select.value) &&
        words.every((word) => found.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    output.textContent = `${shown} of ${rows.length}`;
    const group = form.querySelector("select[data-groups]");
    if (!group) return;
    for (const cell of table.querySelectorAll("[data-group]")) cell.hidden = cell.dataset.group !== group.value;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
}
