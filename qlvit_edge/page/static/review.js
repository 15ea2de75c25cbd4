/* The review of a run: what is shown, and what a reader says of it. */
import { get, leave, open, step } from "./review-server.js";
import { advance, bulk, element, focus, gallery, hasPicture, invert, move, paint, seen, show, toggle, turn } from "./review-tiles.js";
import { CONTROLS, chooseLayout, keyOf, listen, marksNeedShift } from "./review-keys.js";
import { showRandom } from "./review-random.js";
import { showResult } from "./review-result.js";
import { chooseReasons, question } from "./review-reasons.js";
import { left, navigation, sections, warn } from "./review-sections.js";

const at = (id) => document.getElementById(id);
const EVERY = 4000;
let state = null, run = null, section = null, shownSection = null, steps = Promise.resolve(), waiting = 0, asked = 0;

const reader = () => sessionStorage.getItem("reader") ?? "";

function tell(text, loud = false) {
  at("told").textContent = text;
  at("told").classList.toggle("loud", loud);
}

function alarm(text) {
  if (at("alarm").textContent !== text) at("alarm").textContent = text;
  at("alarm").hidden = text === "";
}

function draw() {
  const all = sections(state), there = all.find((one) => one.key === section) ?? all[0];
  section = there.key;
  const fresh = shownSection !== run + section;
  shownSection = run + section;
  at("sections").replaceChildren(...all.map((one) => navigation(one, state, one.key === section, () => { section = one.key; draw(); })));
  at("gallery").hidden = !there.cells;
  at("random").hidden = section !== "random";
  at("result").hidden = section !== "result";
  for (const id of ["classes", "actions", "options", "current"]) at(id).hidden = section === "result";
  if (there.cells) {
    at("heading").textContent = there.name;
    at("heading").append(element("small", there.cells.length - left(there.cells) + " of " + there.cells.length + " decided"
      + (there.single ? "; one by one" : "; least certain first")));
    show(there.cells, run, fresh);
    if (fresh) { scrollTo(0, 0); if (gallery.current !== null) focus(gallery.current); }
  }
  else gallery.painted();
  if (section === "random") showRandom(state, { draw: () => make({ step: "draw" }) });
  if (section === "result") showResult(state, results);
  const signed = state.state === "signed" || state.state === "exported";
  at("worth").textContent = signed ? "SIGNED by " + state.signed_by.join(", ") : "PRELIMINARY: " + state.state;
  at("worth").classList.toggle("signed", signed);
  const open = left(state.cells.filter((cell) => !cell.hidden)) + state.covered.length;
  at("left").textContent = waiting ? "storing …" : open === 0 ? "all " + state.cells.length + " cells decided" : open + " of " + state.cells.length + " cells left";
  at("simulated").hidden = !state.simulated;
  warn(state);
  decisions();
}

/* The buttons beside the gallery, which say their keys. */
function decisions() {
  const classes = state.labels.map((label, index) => pressable(label.toLowerCase(), keyOf(index), () => decide(label)));
  classes.push(pressable("another class …", "", another));
  const used = section === "random" ? CONTROLS.filter(([, , name]) => !["confirm", "second", "invert", "select"].includes(name)) : CONTROLS;
  const actions = used.map(([key, title, name, shown]) => pressable(title, shown ?? key, () => controls[name](), key === " " ? "Space" : key));
  const there = document.activeElement?.closest("#classes, #actions");
  const place = there ? [...there.children].indexOf(document.activeElement) : -1;
  at("classes").replaceChildren(...classes);
  at("actions").replaceChildren(...actions);
  there?.children[place]?.focus();
}

function pressable(text, key, press, shortcut = key) {
  const made = element("button", text);
  made.type = "button";
  if (key) {
    made.append(element("kbd", key.length === 1 ? key.toUpperCase() : key));
    made.setAttribute("aria-keyshortcuts", shortcut);
  }
  made.addEventListener("click", press);
  return made;
}

gallery.painted = () => {
  if (at("gallery").hidden) { at("current").textContent = ""; return; }
  const chosen = gallery.selected.size, cell = state?.cells.find((one) => one.id === gallery.current);
  at("current").textContent = chosen ? chosen + (chosen === 1 ? " cell" : " cells") + " selected"
    : cell ? "cell " + cell.id + (cell.decision ? ": " + (cell.final ?? "left out").toLowerCase() + ", by " + cell.by + (cell.why ? " (" + cell.why + ")" : "") : "") : "";
};

/* One step after another; what is shown meanwhile is what was asked for, and then what is stored. */
function make(said, applied = () => {}) {
  waiting += 1;
  asked += 1; // what is on its way does not know of this step
  applied();
  const wanted = { run, by: reader(), ...said };
  steps = steps.then(async () => {
    try {
      const record = await step(wanted);
      if (waiting === 1 && ["done", "sign", "reopen", "draw"].includes(wanted.step)) tell(wanted.step + ": stored as record " + record.number);
    } catch (error) {
      tell("NOT STORED: " + (error.message || "no answer"), true);
    }
    waiting -= 1;
    if (waiting === 0) await refresh(true);
  });
  return steps;
}

async function decide(label, isNew = false) {
  if (section === "random") {
    if (state.covered.length) answerBlind(label);
    return;
  }
  const found = await targets("change");
  if (!found) return;
  const same = found.cells.filter((cell) => cell.label === label), others = found.cells.filter((cell) => cell.label !== label);
  const more = found.unseen ? { unseen: true } : {};
  if (same.length) {
    make({ step: "confirm", cells: same.map((cell) => cell.id), ...more }, () => apply(same, "confirm"));
  }
  if (others.length) {
    const reason = at("why").value;
    make({ step: "change", cells: others.map((cell) => cell.id), label, reason, ...(isNew ? { new: true } : {}), ...more },
      () => apply(others, "change", label, reason));
  }
  after(found);
  tell(found.cells.length + (found.cells.length === 1 ? " cell is " : " cells are ") + label.toLowerCase() + found.note);
}

/* The cells that a decision is about: those selected, or the current one. */
async function targets(what) {
  if (!gallery.cells.length || at("gallery").hidden) return null;
  const ids = gallery.selected.size ? [...gallery.selected] : gallery.current === null ? [] : [gallery.current];
  const cells = gallery.cells.filter((cell) => ids.includes(cell.id));
  if (!cells.length) { tell("no cell is chosen", true); return null; }
  const late = what === "exclude" ? [] : cells.filter((cell) => hasPicture(cell) && !seen.has(cell.id));
  if (late.length) { tell("the picture of cell " + late[0].id + " has not been on the screen yet", true); return null; }
  const without = what === "exclude" ? [] : cells.filter((cell) => !hasPicture(cell));
  const found = { cells, chosen: gallery.selected.size > 0, unseen: false, note: "" };
  if (without.length && cells.length === 1) {
    if (await question("There is no picture of cell " + cells[0].id + ". Decide without having seen it?", { yes: "Decide unseen" }) === null) return null;
    found.unseen = true;
  } else if (without.length) {
    found.cells = cells.filter(hasPicture);
    found.note = "; " + without.length + " without a picture left: one by one";
    if (!found.cells.length) { tell("without a picture: decide one by one", true); return null; }
  }
  return found;
}

function apply(cells, decision, final = null, why = null) {
  for (const cell of cells) Object.assign(cell, { decision, final: decision === "confirm" ? cell.label : final, by: reader(), why });
  draw();
}

function after(found) {
  const chosen = found.chosen;
  gallery.selected.clear();
  if (chosen) {
    const next = gallery.cells.find((cell) => cell.decision === null);
    gallery.current = next?.id ?? null;
    paint();
  } else advance();
}

async function another() {
  const name = await question("Of which class? It may be one that the model does not have.", { typed: true, yes: "Of this class" });
  if (name !== null) decide(name, true);
}

function answerBlind(label) {
  const cell = state.covered[0], image = at("random").querySelector("img");
  if (!image?.complete || image.naturalWidth === 0) { tell("its picture has not come yet", true); return; }
  tell("");
  make({ step: "blind", cells: [cell], label }, () => { state.covered = state.covered.slice(1); if (state.covered.length) draw(); });
}

const controls = {
  async confirm() {
    if (at("gallery").hidden) return;
    const single = section.startsWith("verdict ");
    if (gallery.selected.size || single) {
      const found = await targets("confirm");
      if (!found) return;
      make({ step: "confirm", cells: found.cells.map((cell) => cell.id), ...(found.unseen ? { unseen: true } : {}) },
        () => apply(found.cells, "confirm"));
      after(found);
      tell(found.cells.length + " confirmed" + found.note);
      return;
    }
    const cells = bulk();
    if (cells.length) {
      make({ step: "confirm", cells: cells.map((cell) => cell.id) }, () => apply(cells, "confirm"));
      advance();
    }
    const open = gallery.cells.filter((cell) => cell.decision === null);
    const unseen = open.filter((cell) => hasPicture(cell) && !seen.has(cell.id)).length, blank = open.length - unseen;
    tell(cells.length + " confirmed" + (unseen ? "; " + unseen + " not on the screen yet: Page Down" : "")
      + (blank ? "; " + blank + " without a picture: one by one" : ""), unseen + blank > 0 && !cells.length);
  },
  next() { go(1); },
  before() { go(-1); },
  async second() {
    if (section === "random") return;
    const found = await targets("change");
    if (!found) return;
    const reason = at("why").value;
    for (const label of new Set(found.cells.map((cell) => cell.second).filter(Boolean))) {
      const cells = found.cells.filter((cell) => cell.second === label);
      make({ step: "change", cells: cells.map((cell) => cell.id), label, reason, ...(found.unseen ? { unseen: true } : {}) },
        () => apply(cells, "change", label, reason));
    }
    after(found);
    tell(found.cells.length + " changed to the model's second answer" + found.note);
  },
  invert() { if (!at("gallery").hidden) invert(); },
  select() { if (gallery.current !== null && !at("gallery").hidden) toggle(gallery.current); },
  async exclude() {
    if (section === "random") { if (state.covered.length) answerBlind(null); return; }
    const found = await targets("exclude");
    if (!found) return;
    const reason = at("whynot").value;
    make({ step: "exclude", cells: found.cells.map((cell) => cell.id), reason }, () => apply(found.cells, "exclude", null, reason));
    after(found);
    tell(found.cells.length + " left out");
  },
  undo() { make({ step: "undo" }).then(() => { if (!at("told").classList.contains("loud")) tell("undone"); }); },
  around() {
    const cell = section === "random" ? state.covered[0] : gallery.current;
    if (cell === null || cell === undefined || section === "result") return;
    at("field").src = "/api/review/field?run=" + run + "&cell=" + cell;
    at("around").showModal();
  },
  help() {
    const rows = [...CONTROLS.map(([key, title, , shown]) => [shown ?? key, title]),
      [marksNeedShift() ? "Shift + letter" : "letter", "select the cell with this mark"],
      ["Page Down, Page Up", "the next 26 cells get the marks"], ["arrows", "another cell"], ["Esc", "select nothing"],
      ["selected cells", "Enter, -, Del and the classes then act on these only"]];
    at("keys").replaceChildren(...rows.flatMap(([key, title]) => [element("dt", key), element("dd", title)]));
    at("help").showModal();
  },
};

function go(by) {
  const all = sections(state), place = all.findIndex((one) => one.key === section);
  section = all[Math.max(0, Math.min(all.length - 1, place + by))].key;
  tell("");
  draw();
}

const results = {
  done: () => make({ step: "done" }),
  sign: (readers) => make({ step: "sign", readers }),
  async reopen() {
    const reason = await question("Why are the signatures taken back?", { typed: true, yes: "Reopen" });
    if (reason !== null) make({ step: "reopen", reason });
  },
  async leave(format) {
    tell("preparing …");
    try {
      const { name, content } = await leave({ step: "export", run, by: reader(), format });
      const link = element("a");
      link.href = URL.createObjectURL(content);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      tell(name + " was made");
    } catch (error) { tell(error.message || "no answer", true); }
    await refresh(true);
  },
};

async function refresh(always = false) {
  asked += 1;
  const mine = asked;
  try {
    const have = always || state === null ? "" : "&have=" + encodeURIComponent(state.version);
    const found = await get("/api/review/run?run=" + run + have);
    alarm("");
    if (found !== null && mine === asked) {
      state = found;
      draw();
    }
  } catch (error) {
    if (error.status === 401) return login("");
    alarm(error.status ? error.message : "The program does not answer, or has ended. Decisions that it had answered are in the file. Trying again …");
  }
}

async function list() {
  const found = await get("/api/review/runs");
  at("runs").replaceChildren(...found.runs.map((one) => new Option("run " + one.run + (one.sample ? ", sample " + one.sample : "") + ", " + one.model, one.run)));
  at("back").hidden = !found.live;
  document.title = "Review of " + found.file;
  const wanted = Number(new URLSearchParams(location.search).get("run"));
  run = found.runs.some((one) => one.run === wanted) ? wanted : found.runs.at(-1)?.run ?? null;
  at("runs").value = run;
}

function login(error) {
  at("login").hidden = false;
  at("desk").hidden = at("who").hidden = true;
  at("refused").textContent = error;
  at("token").focus();
}

async function enter() {
  at("login").hidden = true;
  try { await list(); } catch (error) {
    if (error.status === 401) { login(""); return; }
    alarm(error.status ? error.message : "The program does not answer. Trying again …");
    setTimeout(enter, 2000);
    return;
  }
  alarm(run === null ? "This file holds no run yet." : "");
  if (run === null) { setTimeout(enter, 2000); return; }
  const named = reader() !== "";
  at("who").hidden = named;
  at("desk").hidden = at("reader").hidden = !named;
  at("reader").textContent = reader();
  if (!named) { at("name").focus(); return; }
  await refresh(true);
}

async function start() {
  const token = location.hash.slice(1);
  if (token) history.replaceState(null, "", location.pathname + location.search);
  chooseReasons();
  chooseLayout(() => { if (state) draw(); });
  listen({ ...controls, move, turn, ready: () => !at("desk").hidden && state !== null,
    clear: () => { gallery.selected.clear(); paint(); },
    marked: (letter) => { const id = gallery.marks.get(letter); if (id !== undefined && !at("gallery").hidden) toggle(id); },
    classed: (index) => { if (state.labels[index] !== undefined) decide(state.labels[index]); } });
  gallery.wanted = (id) => { gallery.current = id; controls.around(); };
  try {
    const found = await open(token ? decodeURIComponent(token) : null);
    if (found.ok) await enter();
    else login(token ? found.error : "");
  } catch { alarm("The program does not answer. Trying again …"); setTimeout(enter, 2000); }
  setInterval(() => { if (state !== null && waiting === 0 && !document.hidden && at("login").hidden) refresh(); }, EVERY);
}

addEventListener("beforeunload", (event) => { if (waiting) event.preventDefault(); });
at("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const found = await open(at("token").value.trim());
    if (found.ok) await enter(); else at("refused").textContent = found.error;
  } catch { at("refused").textContent = "no answer; try again"; }
  at("token").value = "";
});
at("who").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = at("name").value.trim();
  if (name) { sessionStorage.setItem("reader", name); at("name").blur(); enter(); }
});
at("reader").addEventListener("click", () => { sessionStorage.removeItem("reader"); enter(); });
at("runs").addEventListener("change", () => { run = Number(at("runs").value); section = null; at("runs").blur(); refresh(true); });
start();
