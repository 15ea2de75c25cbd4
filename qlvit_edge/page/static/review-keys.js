/* Keys: one finger per class on a chosen layout; confirm and next are never the same key. */
const LAYOUTS = {
  numbers: ["Numbers 1–9", "123456789"],
  left: ["Left hand", "qwertasdfgzxcvb"],
  right: ["Right hand", "yuiophjklnm"],
};

export const CONTROLS = [
  ["Enter", "Confirm the rest", "confirm"],
  [".", "Next class", "next"],
  [",", "Class before", "before"],
  ["-", "Second answer", "second"],
  ["+", "All, or all but these", "invert"],
  [" ", "Select", "select", "Space"],
  ["Delete", "Leave out", "exclude", "Del"],
  ["Backspace", "Undo", "undo", "⌫"],
  ["0", "Field around", "around"],
  ["?", "Keys", "help"],
];

const at = (id) => document.getElementById(id);
let layout = "numbers";

export function chooseLayout(changed) {
  const stored = localStorage.getItem("layout");
  if (stored in LAYOUTS) layout = stored;
  at("layout").replaceChildren(...Object.entries(LAYOUTS).map(([name, [title]]) => new Option(title, name, false, name === layout)));
  at("layout").addEventListener("change", () => {
    layout = at("layout").value;
    localStorage.setItem("layout", layout);
    at("layout").blur();
    changed();
  });
}

export const keyOf = (index) => LAYOUTS[layout][1][index] ?? "";

/* Letters that select a tile: alone where the classes are on numbers, with Shift otherwise. */
export const marksNeedShift = () => layout !== "numbers";

export function listen(on) {
  addEventListener("keydown", (event) => {
    const target = event.target;
    if (["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) {
      if (event.key === "0" && at("around").open) { event.preventDefault(); at("around").close(); }
      return;
    }
    if (!on.ready()) return;
    const used = dispatch(event, on, target);
    if (used) event.preventDefault();
  });
}

function dispatch(event, on, target) {
  const key = event.key, small = key.toLowerCase();
  const isButton = ["BUTTON", "A"].includes(target.tagName) && target.getAttribute("role") !== "option";
  if (isButton && (key === "Enter" || key === " ")) return false; // the button's own
  if (key.startsWith("Arrow") || key === "Home" || key === "End") { on.move(key); return true; }
  if (key === "PageDown" || key === "PageUp") { on.turn(key === "PageDown" ? 1 : -1); return true; }
  if (key === "Escape") { on.clear(); return true; }
  const control = CONTROLS.find(([one]) => one === key);
  if (control) {
    if (!event.repeat || control[2] === "select") on[control[2]]();
    return true;
  }
  if (event.repeat) return true;
  if (/^[a-z]$/.test(small) && event.shiftKey === marksNeedShift()) { on.marked(small); return true; }
  const index = LAYOUTS[layout][1].indexOf(small);
  if (index >= 0 && !event.shiftKey) { on.classed(index); return true; }
  return false;
}
