/* What there is to read of a run, in the order in which it is read. */
import { IN_BULK, element } from "./review-tiles.js";

const at = (id) => document.getElementById(id);

const NAMES = { abstained: "not judged", "unknown cell": "unknown cells", "foreign image": "foreign images" };

export const left = (cells) => cells.filter((cell) => cell.decision === null).length;

/* The sections: classes as the model gave them, what it did not class, random cells, the result. */
export function sections(state) {
  const shown = state.cells.filter((cell) => !cell.hidden), found = [];
  for (const label of state.labels) {
    const cells = shown.filter((cell) => cell.label === label && IN_BULK.includes(cell.verdict));
    if (cells.length) found.push({ key: "class " + label, name: label.toLowerCase(), cells });
  }
  for (const verdict of new Set(shown.map((cell) => cell.verdict).filter((one) => !IN_BULK.includes(one)))) {
    found.push({ key: "verdict " + verdict, name: NAMES[verdict] ?? verdict, cells: shown.filter((cell) => cell.verdict === verdict), single: true });
  }
  for (const one of found) one.cells.sort((a, b) => a.probability - b.probability || a.id - b.id);
  return [...found, { key: "random", name: "random cells" }, { key: "result", name: "result" }];
}

export function navigation(one, state, isShown, press) {
  const made = element("button", one.name), open = one.cells ? left(one.cells) : one.key === "random" ? state.covered.length : 0;
  made.type = "button";
  if (one.cells || open) made.append(element("small", open ? open + " left" : "✓"));
  if (isShown) made.setAttribute("aria-current", "true");
  made.addEventListener("click", press);
  return made;
}

export function warn(state) {
  const none = state.cells.filter((cell) => cell.picture === null).length, texts = [];
  if (state.goes_on) texts.push("The run goes on: cells still come, and it can be signed when it has ended.");
  if (none) {
    texts.push(none + " of " + state.cells.length + " cells have no picture here (frames are kept with run --keep): "
      + "they are not confirmed with others, only one by one.");
  }
  if (state.familiar === false) texts.push(state.statement);
  at("warning").textContent = texts.join(" ");
  at("warning").hidden = texts.length === 0;
}
