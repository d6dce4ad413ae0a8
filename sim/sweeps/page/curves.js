// Curves of the selected runs, drawn as SVG. Colours are Okabe and Ito's, dashes tell a second round of them apart.
"use strict";

const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
const MOST = COLOURS.length * DASHES.length;
const HEIGHT = 380, LEFT = 64, RIGHT = 12, TOP = 28, BOTTOM = 40;

function draw(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function pick(row) {
  if (!report.curves.places.has(row)) return [];
  const input = make("input", { type: "checkbox", checked: selected.has(row), ariaLabel: `draw run ${row + 1}` });
  input.addEventListener("change", () => {
    if (input.checked && selected.size >= MOST) { input.checked = false; return; }
    if (input.checked) selected.add(row); else selected.delete(row);
    drawCurves();
  });
  return [input];
}

function points(row, name) {
  const stored = report.curves.runs[report.curves.places.get(row)][name];
  if (!stored) return [];
  const y = new Float32Array(bytes(stored.y));
  const x = new Uint32Array(bytes(stored.x));
  return Array.from(y, (value, i) => [x[i], value]);
}

function ticks(low, high, log) { // round numbers from low to high
  if (log) {
    const found = [];
    for (let e = Math.floor(low); e <= high; e++) {
      for (const m of [1, 2, 5]) if (e + Math.log10(m) >= low && e + Math.log10(m) <= high) found.push(e + Math.log10(m));
    }
    if (found.length > 9) return found.filter((t) => Math.abs(t - Math.round(t)) < 1e-9);
    if (found.length > 1) return found;
  }
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((m) => m * power >= rough) ?? 10);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(k * step);
  return found;
}

function span(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) if (Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
  if (low > high) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function drawCurves() {
  const width = Math.min(Math.max(get("chart").clientWidth, 300), 960); // letters keep their size
  const log = get("log").checked;
  const up = (value) => (log ? Math.log10(value) : value); // NaN and -Infinity break the line
  const lines = [...selected].map((row) => points(row, get("curve").value).map(([x, y]) => [x, up(y)]));
  const [x0, x1] = span(lines.flat().map((point) => point[0]));
  const [y0, y1] = span(lines.flat().map((point) => point[1]));
  const px = (x) => LEFT + ((x - x0) / (x1 - x0)) * (width - LEFT - RIGHT);
  const py = (y) => HEIGHT - BOTTOM - ((y - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const picture = draw("svg", {
    width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${get("curve").value} by step`,
  });
  const label = (t) => String(Number((log ? 10 ** t : t).toPrecision(4)));
  for (const t of ticks(y0, y1, log)) {
    picture.append(draw("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: py(t), y2: py(t) }));
    picture.append(draw("text", { x: LEFT - 8, y: py(t) + 4, "text-anchor": "end" }, label(t)));
  }
  for (const t of ticks(x0, x1, false).filter(Number.isInteger)) {
    picture.append(draw("text", { x: px(t), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, String(t)));
  }
  picture.append(draw("text", { x: (width + LEFT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, "step"));
  picture.append(draw("text", { x: 0, y: 12 }, get("curve").value));
  lines.forEach((line, k) => picture.append(draw("path", { ...stroke(k), d: path(line, px, py) })));
  get("chart").replaceChildren(...(lines.length ? [picture] : []));
  get("legend").replaceChildren(...[...selected].map(legendEntry));
  get("unselect").disabled = !selected.size;
}

function path(line, px, py) {
  let d = "", pen = "M";
  for (const [x, y] of line) {
    if (!Number.isFinite(y)) { pen = "M"; continue; }
    d += `${pen}${px(x).toFixed(1)} ${py(y).toFixed(1)}`;
    pen = "L";
  }
  return d;
}

function stroke(k) {
  return { stroke: COLOURS[k % COLOURS.length], "stroke-dasharray": DASHES[Math.floor(k / COLOURS.length) % DASHES.length] };
}

function legendEntry(row, k, rows) { // a run is named by what sets it apart from the others that are drawn
  const line = draw("svg", { width: 30, height: 8, "aria-hidden": "true" });
  line.append(draw("line", { x1: 0, x2: 30, y1: 4, y2: 4, "stroke-width": 3, ...stroke(k) }));
  const names = columns.filter((column) => column.label
    && (rows.length < 2 || rows.some((other) => column.codes[other] !== column.codes[row])));
  const text = names.map((column) => `${column.name} ${isEmpty(column, row) ? "–" : shortText(column, cell(column, row)).slice(0, 60)}`);
  return make("li", {}, line, make("span", { textContent: text.join(", ") || `run ${row + 1}` }));
}

function buildCurves() {
  if (!report.curves) return;
  report.curves.places = new Map(report.curves.rows.map((row, place) => [row, place]));
  get("curve").append(...report.curves.names.map((name) => make("option", { value: name, textContent: name })));
  get("log").checked = report.curves.log;
  get("curves-note").textContent = report.curves.note;
  const { rows } = report.curves;
  const first = Math.min(COLOURS.length, rows.length);
  for (let k = 0; k < first; k++) selected.add(rows[Math.floor((k * rows.length) / first)]);
  get("curve").addEventListener("change", drawCurves);
  get("log").addEventListener("change", drawCurves);
  get("unselect").addEventListener("click", () => { selected.clear(); drawCurves(); render(); });
  get("curves").hidden = false;
  window.addEventListener("resize", later(drawCurves));
  drawCurves();
}

buildFilters();
buildColumns();
buildPages();
buildCurves();
get("download").addEventListener("click", download);
renderHead();
arrange();
