/* The gallery: tiles of one class, the current one, selected ones, marks, and what was on the screen. */
import { picture } from "./review-server.js";

const MARKS = "abcdefghijklmnopqrstuvwxyz";
const at = (id) => document.getElementById(id);

export const IN_BULK = ["accepted", "uncertain"];
export const seen = new Set();
const visible = new Set(), tiles = new Map();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const id = Number(entry.target.dataset.cell);
    if (entry.isIntersecting) visible.add(id); else visible.delete(id);
    look(id);
  }
}, { threshold: 0.6 });

/* A cell was seen once its picture has been on the screen. */
function look(id) {
  const tile = tiles.get(id), image = tile?.querySelector("img");
  if (!visible.has(id) || !image?.complete || image.naturalWidth === 0) return;
  seen.add(id);
  tile.classList.add("seen");
}

export const gallery = { cells: [], current: null, selected: new Set(), marks: new Map(), from: 0, wanted: () => {} };

export function element(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

export const percent = (share) => (100 * share).toFixed(share > 0.995 && share < 1 ? 2 : 0) + " %";

function made(cell, run) {
  const tile = element("button", "", "tile");
  tile.type = "button";
  tile.dataset.cell = cell.id;
  tile.setAttribute("role", "option");
  tile.tabIndex = -1;
  const frame = element("span", "", "frame");
  if (cell.picture !== null) {
    const image = element("img");
    image.loading = "lazy";
    image.fetchPriority = "low"; // decisions go first
    image.alt = "";
    image.addEventListener("load", () => look(cell.id));
    picture(image, "/api/review/crop?run=" + run + "&cell=" + cell.id, () => {
      tile.classList.add("blank");
      image.remove();
      frame.prepend(element("span", "no picture", "none"));
    });
    frame.append(image);
  } else {
    tile.classList.add("blank");
    frame.append(element("span", "no picture", "none"));
  }
  frame.append(element("span", "", "mark"), element("span", "", "says"), element("span", "", "badge"));
  tile.append(frame, element("span", "", "people"));
  tile.addEventListener("click", (event) => {
    gallery.current = cell.id;
    toggle(cell.id);
    if (event.shiftKey) getSelection()?.removeAllRanges();
  });
  tile.addEventListener("dblclick", () => gallery.wanted(cell.id));
  watcher.observe(tile);
  return tile;
}

export const hasPicture = (cell) => cell.picture !== null && !tiles.get(cell.id)?.classList.contains("blank");

const BADGES = [
  [(cell) => cell.verdict === "unknown cell", "unknown"],
  [(cell) => cell.verdict === "foreign image", "foreign"],
  [(cell) => cell.verdict === "abstained", "not fit"],
  [(cell) => cell.verdict === "uncertain", "uncertain"],
  [(cell) => cell.doubtful === true, "seen before?"],
  [(cell) => cell.not_counted === "in frames without a place", "no place on the slide"],
  [(cell) => cell.cut, "cut"],
  [(cell) => cell.picture === "annotated", "drawn on"],
];

function fill(tile, cell) {
  const badges = BADGES.filter(([is]) => is(cell)).map(([, word]) => word);
  tile.querySelector(".badge").textContent = badges.join(", ");
  tile.querySelector(".says").textContent = percent(cell.probability);
  const people = cell.decision === null ? cell.second === null ? "" : "or " + cell.second.toLowerCase() : cell.final === null ? "left out"
    : (cell.final === cell.label ? "✓ " : "→ ") + cell.final.toLowerCase();
  tile.querySelector(".people").textContent = people;
  tile.classList.toggle("decided", cell.decision !== null);
  tile.classList.toggle("changed", cell.decision !== null && cell.final !== cell.label);
  tile.classList.toggle("doubt", badges.length > 0);
  tile.title = cell.reason ?? "";
  tile.setAttribute("aria-label", ["cell " + cell.id, cell.label, percent(cell.probability), ...badges,
    hasPicture(cell) ? "" : "no picture", cell.decision === null ? "not decided, " + people : people, cell.why ?? ""].filter(Boolean).join(", "));
}

/* Shows cells; tiles that were made once stay as they are, with their pictures. */
export function show(cells, run, fresh) {
  const ids = new Set(cells.map((cell) => cell.id));
  if (fresh) {
    gallery.selected.clear();
    gallery.from = 0;
  }
  gallery.selected = new Set([...gallery.selected].filter((id) => ids.has(id)));
  gallery.cells = cells;
  for (const cell of cells) {
    if (!tiles.has(cell.id)) tiles.set(cell.id, made(cell, run));
    fill(tiles.get(cell.id), cell);
  }
  const wanted = cells.map((cell) => tiles.get(cell.id)), there = [...at("tiles").children];
  if (wanted.length !== there.length || wanted.some((tile, index) => tile !== there[index])) at("tiles").replaceChildren(...wanted);
  if (fresh || !ids.has(gallery.current)) gallery.current = cells.find((cell) => cell.decision === null)?.id ?? null;
  mark();
  paint();
}

/* Marks are letters that select a tile; they stay until the next block is asked for. */
function mark() {
  gallery.marks = new Map(gallery.cells.slice(gallery.from, gallery.from + MARKS.length)
    .map((cell, index) => [MARKS[index], cell.id]));
  for (const tile of tiles.values()) tile.querySelector(".mark").textContent = "";
  for (const [letter, id] of gallery.marks) tiles.get(id).querySelector(".mark").textContent = letter.toUpperCase();
}

export function paint() {
  for (const [id, tile] of tiles) {
    tile.setAttribute("aria-selected", String(gallery.selected.has(id)));
    tile.classList.toggle("current", id === gallery.current);
    tile.tabIndex = id === gallery.current ? 0 : -1;
  }
  if (gallery.current === null && gallery.cells.length) tiles.get(gallery.cells[0].id).tabIndex = 0;
  gallery.painted?.();
}

export function toggle(id) {
  if (!gallery.selected.delete(id)) gallery.selected.add(id);
  paint();
}

export function focus(id) {
  gallery.current = id;
  paint();
  tiles.get(id)?.focus({ preventScroll: true });
  tiles.get(id)?.scrollIntoView({ block: "nearest" });
}

/* To the next cell that nobody has decided on; to none where there is none. */
export function advance() {
  const start = gallery.cells.findIndex((cell) => cell.id === gallery.current);
  const order = [...gallery.cells.slice(start + 1), ...gallery.cells.slice(0, Math.max(0, start))];
  const next = order.find((cell) => cell.decision === null);
  if (next) focus(next.id);
  else { gallery.current = null; paint(); }
}

export function move(key) {
  const start = gallery.cells.findIndex((cell) => cell.id === gallery.current);
  const columns = getComputedStyle(at("tiles")).gridTemplateColumns.split(" ").length;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -Infinity, End: Infinity }[key];
  if (!gallery.cells.length) return;
  focus(gallery.cells[Math.max(0, Math.min(gallery.cells.length - 1, start < 0 ? 0 : start + by))].id);
}

export function turn(by) {
  const last = Math.floor(Math.max(0, gallery.cells.length - 1) / MARKS.length) * MARKS.length;
  gallery.from = Math.max(0, Math.min(last, gallery.from + by * MARKS.length));
  mark();
  const first = gallery.cells[gallery.from];
  if (first) tiles.get(first.id).scrollIntoView({ block: "start" });
}

/* What is left of a class and has been on the screen, without what must be named one by one. */
export function bulk() {
  return gallery.cells.filter((cell) => cell.decision === null && IN_BULK.includes(cell.verdict) && hasPicture(cell) && seen.has(cell.id));
}

export function invert() {
  const before = new Set(gallery.selected);
  gallery.selected = new Set(bulk().map((cell) => cell.id).filter((id) => !before.has(id)));
  paint();
}
