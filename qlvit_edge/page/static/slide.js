"use strict";
/* The map of the slide: islands side by side, in the same scale. */
const GAP = 14, DRAWN_EVERY = 1000;

function boundsOf(island) {
  const x = [], y = [], side = island.tile;
  for (const rows of Object.values(island.tiles)) {
    for (const [row, column, many] of rows) {
      x.push(column * side, (column + many) * side);
      y.push(row * side, (row + 1) * side);
    }
  }
  if (island.frame) {
    const [left, top, width, height] = island.frame;
    x.push(left, left + width);
    y.push(top, top + height);
  }
  const low = (all) => all.reduce((a, b) => Math.min(a, b), Infinity), high = (all) => all.reduce((a, b) => Math.max(a, b), -Infinity);
  return x.length === 0 ? null : { island, left: low(x), top: low(y), width: high(x) - low(x), height: high(y) - low(y) };
}

/* Rows of islands, as many across as fit in that scale; null where they do not fit in height. */
function laidOut(all, scale, width, height) {
  const places = [];
  let x = GAP, y = GAP, tallest = 0;
  for (const one of all) {
    const across = one.width * scale, down = one.height * scale;
    if (x > GAP && x + across > width - GAP) { x = GAP; y += tallest + GAP; tallest = 0; }
    if (x + across > width - GAP || y + down > height - GAP) return null;
    places.push({ ...one, x: Math.round(x), y: Math.round(y) });
    x += across + GAP;
    tallest = Math.max(tallest, down);
  }
  return places;
}

function fitted(all, width, height) {
  let low = 0, high = 1, places = null;
  for (let step = 0; step < 24; step++) {
    const middle = (low + high) / 2, found = laidOut(all, middle, width, height);
    if (found === null) high = middle;
    else { low = middle; places = found; }
  }
  return { places: places ?? [], scale: low };
}

function paintIsland(pen, { island, left, top, x, y, width, height }, scale, colour) {
  pen.save();
  pen.translate(x, y);
  const across = (value) => (value - left) * scale, down = (value) => (value - top) * scale;
  for (const [state, name] of [["too fast", "--fast"], ["out of focus", "--focus"], ["counted", "--counted"]]) {
    pen.fillStyle = colour(name);
    for (const [row, column, many] of island.tiles[state] ?? []) {
      /* To whole pixels, so that no seams are seen. */
      const from = Math.floor(across(column * island.tile)), to = Math.floor(across((column + many) * island.tile));
      const above = Math.floor(down(row * island.tile)), below = Math.floor(down((row + 1) * island.tile));
      pen.fillRect(from, above, Math.max(1, to - from), Math.max(1, below - above));
    }
  }
  pen.strokeStyle = colour("--accent");
  pen.lineWidth = 1.5;
  pen.beginPath();
  for (const [px, py] of island.track) pen.lineTo(across(px), down(py));
  pen.stroke();
  const radius = Math.max(2, Math.min(4.5, island.tile * scale / 3));
  for (const [px, py, doubtful] of island.cells) {
    pen.beginPath();
    pen.arc(across(px), down(py), doubtful ? radius + 1 : radius, 0, 2 * Math.PI);
    pen.strokeStyle = colour("--doubtful");
    pen.fillStyle = colour("--cell");
    pen.lineWidth = 2;
    if (doubtful) pen.stroke();
    else pen.fill();
  }
  if (island.frame) {
    pen.strokeStyle = colour("--here");
    pen.lineWidth = 2;
    pen.strokeRect(across(island.frame[0]), down(island.frame[1]), island.frame[2] * scale, island.frame[3] * scale);
  }
  if (island.doubtful) {
    pen.strokeStyle = colour("--doubtful");
    pen.setLineDash([5, 4]);
    pen.lineWidth = 1.5;
    pen.strokeRect(-4, -4, width * scale + 8, height * scale + 8);
  }
  pen.restore();
}

function paintMap(slide) {
  const canvas = at("map"), room = canvas.getBoundingClientRect(), dense = devicePixelRatio || 1;
  if (room.width < 1) return;
  canvas.width = Math.round(room.width * dense);
  canvas.height = Math.round(room.height * dense);
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  pen.scale(dense, dense);
  const all = slide.islands.map(boundsOf).filter((one) => one !== null);
  const { places, scale } = fitted(all, room.width, room.height);
  for (const place of places) paintIsland(pen, place, scale, (name) => style.getPropertyValue(name));
}

const plural = (n, one, many = one + "s") => n + " " + (n === 1 ? one : many);

function wordsOf(slide) {
  const { count, islands } = slide, doubtful = islands.filter((one) => one.doubtful).length;
  const lost = (count.frames.lost ?? 0) + (count.frames.blank ?? 0);
  return [
    islands.length > 1 ? plural(islands.length, "piece") + " of the slide that nothing connects, " + doubtful
      + " of them doubtful (dashed): what lies there may lie on the first one as well" : "",
    count.in_part ? plural(count.in_part, "cell") + " seen only in part" : "",
    count.unplaced ? plural(count.unplaced, "finding") + " in frames without a place, not counted here" : "",
    lost ? plural(lost, "frame") + " without a place" : "",
  ].filter((text) => text !== "").join("; ");
}

function showSlide(slide) {
  at("slide-off").hidden = slide !== null;
  at("mapped").hidden = slide === null;
  at("unique").textContent = slide === null ? "" : slide.count.unique + " unique, " + slide.count.doubtful + " doubtful";
  if (slide === null) return;
  for (const [id, state] of [["frames-counted", "counted"], ["frames-focus", "out of focus"], ["frames-fast", "too fast"]]) {
    at(id).textContent = "(" + plural(slide.count.frames[state] ?? 0, "frame") + ")";
  }
  const words = wordsOf(slide);
  at("slide-words").textContent = words;
  at("map").setAttribute("aria-label", "Map of the slide: " + plural(slide.count.unique, "unique cell") + ", "
    + slide.count.doubtful + " doubtful" + (words ? "; " + words : ""));
  paintMap(slide);
}

async function slides() {
  try {
    if (csrf !== null && state !== null && !document.hidden) {
      if (!state.once) showSlide(null);
      else {
        const { answer, body } = await ask("/api/slide");
        if (answer.status === 200) showSlide(body);
      }
    }
  } catch { /* no server: the page says so, and this is tried again */ }
  setTimeout(slides, DRAWN_EVERY);
}
