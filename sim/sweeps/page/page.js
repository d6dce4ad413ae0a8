// The table of runs: filters, sorting, pages. A column is its distinct values in order and, for every run, the
// number of its value, so that filters decide values and sorting compares numbers. Texts reach the page through
// textContent only.
"use strict";

const report = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function bytes(text) {
  const raw = atob(text);
  const found = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
  return found.buffer;
}

const CODES = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };
const columns = report.columns.map((stored, place) => ({
  ...stored,
  place,
  values: stored.kind === "number" ? new Float64Array(bytes(stored.values)) : stored.values,
  codes: new CODES[stored.width](bytes(stored.codes)), // values.length where the cell is empty
}));
const byName = new Map(columns.map((column) => [column.name, column]));
const state = { order: Uint32Array.from({ length: report.rows }, (_, i) => i), page: 0, sorted: null, ascending: true };
const filters = new Map(); // column -> one byte for every value and one for empty cells: 1 keeps the run
const selected = new Set(); // runs whose curves are drawn

function shortText(column, value) {
  if (column.kind !== "number" || Number.isInteger(value) || !Number.isFinite(value)) return String(value);
  return String(Number(value.toPrecision(5)));
}

const isEmpty = (column, row) => column.codes[row] === column.values.length;
const cell = (column, row) => column.values[column.codes[row]];
const fullText = (column, row) => (isEmpty(column, row) ? "" : String(cell(column, row)));

// ---- filters

function keepFrom(column, test, empty) {
  const keep = new Uint8Array(column.values.length + 1);
  for (let i = 0; i < column.values.length; i++) keep[i] = test(column.values[i]) ? 1 : 0;
  keep[column.values.length] = empty ? 1 : 0;
  return keep;
}

function matcher(pattern) { // the whole text where there is a * ? or [, a part of it otherwise
  if (!/[*?[]/.test(pattern)) return (text) => text.toLowerCase().includes(pattern.toLowerCase());
  const source = pattern.replace(/\[(!?)([^\]]+)\]|[\s\S]/g, (found, not, set) => {
    if (set !== undefined) return `[${not ? "^" : ""}${set.replace(/[\\\]^[]/g, "\\$&")}]`;
    if (found === "*") return "[^]*";
    if (found === "?") return "[^]";
    return found.replace(/[.+^${}()|[\]\\/-]/g, "\\$&");
  });
  try {
    const expression = new RegExp(`^(?:${source})$`, "i");
    return (text) => expression.test(text);
  } catch {
    return () => false;
  }
}

function choiceFilter(column) {
  const box = make("div", { className: "choices" });
  const labels = Array.from(column.values, (value) => shortText(column, value));
  if (column.empty) labels.push("(empty)");
  const inputs = labels.map((label) => {
    const input = make("input", { type: "checkbox" });
    box.append(make("label", {}, input, label));
    return input;
  });
  box.addEventListener("change", () => {
    const keep = new Uint8Array(column.values.length + 1);
    inputs.forEach((input, i) => { keep[i] = input.checked ? 1 : 0; });
    setFilter(column, inputs.some((input) => input.checked) ? keep : null);
  });
  return box;
}

function rangeFilter(column) {
  const ends = ["from", "to"].map((label, i) => make("input", {
    type: "number", step: "any", ariaLabel: `${column.name} ${label}`,
    placeholder: shortText(column, column.values[i ? column.values.length - 1 : 0]),
  }));
  const box = make("div", { className: "range" }, ends[0], "to", ends[1]);
  box.addEventListener("input", later(() => {
    const [low, high] = ends.map((end) => end.valueAsNumber);
    const none = Number.isNaN(low) && Number.isNaN(high);
    setFilter(column, none ? null : keepFrom(column, (value) => !(value < low) && !(value > high), false));
  }));
  return box;
}

function textFilter(column) {
  const input = make("input", { type: "search", ariaLabel: column.name, placeholder: "part, or pattern a[12]*" });
  input.addEventListener("input", later(() => {
    setFilter(column, input.value ? keepFrom(column, matcher(input.value), false) : null);
  }));
  return input;
}

function later(act) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(act, 120); };
}

function setFilter(column, keep) {
  if (keep) filters.set(column, keep); else filters.delete(column);
  state.page = 0;
  arrange();
}

function buildFilters() {
  for (const column of columns) {
    if (column.constant || column.name === "key") continue;
    const build = column.choices ? choiceFilter : column.kind === "number" ? rangeFilter : textFilter;
    get("filter-form").append(make("fieldset", {}, make("legend", { textContent: column.name }), build(column)));
  }
  get("filter-form").addEventListener("submit", (event) => event.preventDefault());
  get("reset").addEventListener("click", () => {
    get("filter-form").reset();
    filters.clear();
    arrange();
    get("filters").querySelector("summary").focus();
  });
}

// ---- order and pages

function arrange() {
  const kept = new Uint32Array(report.rows);
  const tests = [...filters].map(([column, keep]) => [column.codes, keep]);
  let n = 0;
  for (let row = 0; row < report.rows; row++) {
    if (tests.every(([codes, keep]) => keep[codes[row]])) kept[n++] = row;
  }
  state.order = kept.slice(0, n);
  if (state.sorted) {
    const { codes, values } = state.sorted;
    const sign = state.ascending ? 1 : -1;
    const rank = (code) => (code === values.length ? Infinity : sign * code); // empty cells last, either way
    state.order.sort((a, b) => (codes[a] === codes[b] ? a - b : rank(codes[a]) - rank(codes[b])));
  }
  render();
}

function sortBy(column) {
  state.ascending = state.sorted === column ? !state.ascending : true;
  state.sorted = column;
  state.page = 0;
  arrange();
}

function renderHead() {
  const cells = columns.filter((column) => column.shown).map((column) => {
    const button = make("button", { type: "button", textContent: column.name, title: column.name });
    button.addEventListener("click", () => sortBy(column));
    const head = make("th", { scope: "col" }, button);
    if (column.kind === "number") head.className = "number";
    column.head = head;
    return head;
  });
  if (report.curves) cells.unshift(make("th", { scope: "col", className: "pick", textContent: "curve" }));
  get("head").replaceChildren(...cells);
}

function renderRow(row) {
  const line = make("tr");
  if (report.curves) line.append(make("td", { className: "pick" }, ...pick(row)));
  for (const column of columns) {
    if (!column.shown) continue;
    const text = isEmpty(column, row) ? "" : shortText(column, cell(column, row));
    const spot = make("td", { title: text.length > 24 ? text.slice(0, 300) : "" });
    if (column.kind === "number") spot.className = "number";
    if (column.name === "key") spot.append(detailsButton(row, text));
    else if (text.length) spot.textContent = text.slice(0, 200);
    else spot.append(make("span", { className: "empty", textContent: "–" }));
    line.append(spot);
  }
  if (report.bad.some(([name, value]) => byName.has(name) && fullText(byName.get(name), row) === value)) line.className = "bad";
  return line;
}

function detailsButton(row, text) {
  const button = make("button", { type: "button", className: "key", textContent: text.slice(0, 8), title: "Show this run" });
  button.addEventListener("click", () => {
    get("details-title").textContent = `Run ${text}`;
    const facts = columns.filter((column) => !isEmpty(column, row)).flatMap((column) => [
      make("dt", { textContent: column.name }), make("dd", { textContent: fullText(column, row) }),
    ]);
    get("details-list").replaceChildren(...facts);
    get("details").showModal();
  });
  return button;
}

function render() {
  const size = Number(get("size").value);
  const pages = Math.max(1, Math.ceil(state.order.length / size));
  state.page = Math.min(Math.max(state.page, 0), pages - 1);
  const rows = state.order.subarray(state.page * size, (state.page + 1) * size);
  get("body").replaceChildren(...Array.from(rows, renderRow));
  for (const column of columns) {
    if (column.shown) column.head.ariaSort = state.sorted === column ? (state.ascending ? "ascending" : "descending") : "none";
  }
  const count = (n) => n.toLocaleString("en");
  get("count").textContent = filters.size
    ? `${count(state.order.length)} of ${count(report.rows)} runs` : `${count(report.rows)} runs`;
  get("reset").hidden = !filters.size;
  get("page").value = state.page + 1;
  get("page").max = pages;
  get("pages").textContent = count(pages);
  get("first").disabled = get("previous").disabled = state.page === 0;
  get("next").disabled = get("last").disabled = state.page === pages - 1;
}

// ---- the rest of the page

function buildColumns() {
  for (const column of columns) {
    const input = make("input", { type: "checkbox", checked: column.shown });
    input.addEventListener("change", () => { column.shown = input.checked; renderHead(); render(); });
    get("column-choice").append(make("label", {}, input, column.name));
  }
  const constants = columns.filter((column) => column.constant && column.values.length);
  get("constants").append(...constants.map((column) => make("div", {},
    make("dt", { textContent: column.name }), make("dd", { textContent: fullText(column, 0), title: fullText(column, 0).slice(0, 300) }))));
  get("constants").hidden = !constants.length;
}

function buildPages() {
  const go = { first: () => 0, previous: () => state.page - 1, next: () => state.page + 1, last: () => Infinity };
  for (const [id, page] of Object.entries(go)) get(id).addEventListener("click", () => { state.page = page(); render(); });
  get("page").addEventListener("change", () => { state.page = (Number(get("page").value) || 1) - 1; render(); });
  get("size").addEventListener("change", () => { state.page = 0; render(); });
}

function download() {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [columns.map((column) => quoted(column.name)).join(",")];
  for (const row of state.order) lines.push(columns.map((column) => quoted(fullText(column, row))).join(","));
  const address = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
  make("a", { href: address, download: "runs.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
