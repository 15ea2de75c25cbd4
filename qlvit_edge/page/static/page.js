"use strict";
const OLD = 2, GONE = 5, STATE_EVERY = 500, FRAME_EVERY = 200, PATIENCE = 5000;
const at = (id) => document.getElementById(id);
let csrf = null, state = null, stateAt = 0, shown = null, takenAt = null, url = null, run = null, alarmed = "";

async function ask(path, options = {}) {
  const aborter = new AbortController();
  const timer = setTimeout(() => aborter.abort(), PATIENCE);
  try {
    const answer = await fetch(path, { ...options, signal: aborter.signal, credentials: "same-origin" });
    const body = answer.headers.get("content-type") === "image/jpeg"
      ? await answer.blob() : answer.status === 204 ? null : await answer.json();
    return { answer, body };
  } finally { clearTimeout(timer); }
}

function change(path, body) {
  return ask(path, { method: "POST", body: JSON.stringify(body),
    headers: { "content-type": "application/json", "x-csrf-token": csrf ?? "" } });
}

async function open(token) {
  const { answer, body } = token === null ? await ask("/api/session") : await change("/api/session", { token });
  csrf = answer.ok ? body.csrf : null;
  if (!answer.ok && at("login").hidden) {
    at("login").hidden = false;
    at("token").focus();
  }
  at("login").hidden = answer.ok;
  at("main").hidden = !answer.ok;
  if (!answer.ok && token !== null) at("refused").textContent = body.error;
  if (!answer.ok) {
    at("status").textContent = "locked";
    for (const id of ["pause", "stop", "new"]) at(id).disabled = true;
  }
  return answer.ok;
}

const percent = (share) => share === null ? "–" : (100 * share).toFixed(1) + " %";
const range = (limits) => limits === null ? "–" : (100 * limits[0]).toFixed(1) + "–" + (100 * limits[1]).toFixed(1);

function list(id, rows) {
  at(id).replaceChildren(...rows.flatMap(([name, value, warning]) => {
    const term = document.createElement("dt"), data = document.createElement("dd");
    term.textContent = name;
    data.textContent = value;
    data.classList.toggle("warning", Boolean(warning));
    return [term, data];
  }));
}

function classes(found) {
  at("classes").replaceChildren(...found.classes.map((one) => {
    const row = document.createElement("tr"), head = document.createElement("th");
    head.scope = "row";
    const mark = document.createElement("i");
    mark.style.background = seen(state.colours[one.label]);
    head.append(mark, one.label.toLowerCase());
    row.append(head);
    for (const [text, limits] of [[one.count, undefined], [percent(one.share), one.share === null ? null : one.limits], [percent(one.corrected), one.corrected_limits]]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      if (limits) {
        const between = document.createElement("small");
        between.textContent = range(limits);
        cell.append(between);
      }
      row.append(cell);
    }
    return row;
  }));
  at("uncorrected").textContent = found.not_corrected ? "Not corrected: " + found.not_corrected : "";
}

function size(bytes) {
  return bytes === null ? "not known" : (bytes / 2 ** 30).toFixed(1) + " GiB";
}

/* Another run has begun: its frames and its end are its own. */
function renew() {
  run = state.run;
  takenAt = null;
  at("banner").hidden = true;
}

function controls() {
  const over = state.over;
  at("pause").disabled = at("stop").disabled = over;
  at("new").disabled = state.closing || (over && !state.stays);
  at("new").firstChild.textContent = over ? "Start " : "New sample ";
  at("end").hidden = !(over && state.stays && !state.closing);
  at("sample").textContent = [state.sample && "sample " + state.sample, state.operator && "by " + state.operator].filter(Boolean).join(", ");
}

function cells(header) {
  const found = JSON.parse(header);
  at("cells-total").textContent = found.all + (found.listed.length < found.all ? ", the first " + found.listed.length + " are listed" : "")
    + (found.all ? ", from left to right" : "");
  at("cells-none").hidden = found.all > 0;
  at("cells-rows").replaceChildren(...found.listed.map((one, number) => {
    const row = document.createElement("tr"), head = document.createElement("th");
    head.scope = "row";
    head.textContent = number + 1;
    row.append(head);
    for (const text of [one.label.toLowerCase(), percent(one.probability), one.reason ? one.verdict + ": " + one.reason : one.verdict]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    row.lastChild.classList.toggle("not", one.verdict !== "accepted");
    return row;
  }));
}

/* What computes now: that the CPU stands in for an Edge TPU must be seen. */
function accelerator(found) {
  if (found === null) return [];
  const away = found.finding !== null, frames = Object.entries(found.frames).map(([name, n]) => n + " by the " + name);
  return [
    ["computed by", found.computes + (away ? ", not the Edge TPU: " + found.finding : ""), away],
    ["frames computed", frames.join(", ") || "–"],
    ["Edge TPU lost", found.losses, found.losses > 0],
  ];
}

function census(found) {
  at("census").hidden = found === null;
  if (found === null) return;
  const about = (name, value, digits) => value === null ? [] : [[name, "about " + value.toFixed(digits)]];
  list("census-counts", [...Object.entries(found.counts), ...about("red cells per white cell", found.red_per_white, 1),
    ...about("platelets per 1000 red cells", found.platelets_per_1000_red, 0)]);
}

/* What goes on all the same, but not as it should. */
function trouble(stopped) {
  const text = stopped === null ? "" : "NO MORE PICTURES ARE SAVED: " + stopped + (state.over ? "" : ". Counting goes on.");
  if (at("trouble").textContent !== text) at("trouble").textContent = text;
  at("trouble").hidden = text === "";
}

function draw() {
  if (state.run !== run) renew();
  at("model").textContent = state.model;
  at("simulated").hidden = !state.simulated;
  controls();
  at("pause").firstChild.textContent = state.paused ? "Go on " : "Pause ";
  at("total").textContent = state.differential.cells + " cells counted"
    + (state.stop_at === null ? "" : " of " + state.stop_at);
  at("goal").hidden = state.stop_at === null;
  at("goal").value = state.stop_at === null ? 0 : Math.min(1, state.differential.cells / state.stop_at);
  classes(state.differential);
  const entries = (object) => Object.entries(object);
  list("beside", [...entries(state.differential.apart), ...entries(state.differential.beside)]
    .map(([name, n]) => [name.toLowerCase(), n]));
  list("verdicts", [...entries(state.verdicts), ...entries(state.unfit).map(([why, n]) => ["not fit: " + why, n])]);
  census(state.census);
  trouble(state.pictures_stopped);
  const device = state.device, hot = device.temperature !== null && device.temperature >= 80;
  const held = device.throttling;
  list("device", [
    ["frames a second", device.frames_per_second === null ? "–" : device.frames_per_second.toFixed(1)],
    ["frames stored", state.frames],
    ["frames left out", device.dropped, device.dropped > 0],
    ...state.losses.map((one) => ["frames " + one.what, one.frames, one.place !== "overtaken"]),
    ...(state.restarts ? [["the model's process was started again", state.restarts + (state.restarts === 1 ? " time" : " times"), true]] : []),
    ["reconnections", device.reconnections, device.reconnections > 0],
    ["temperature", device.temperature === null ? "not known" : device.temperature.toFixed(0) + " °C", hot],
    ["throttling", held === null ? "not known" : held.join(", ") || "none", held !== null && held.length > 0],
    ["memory free", size(device.memory_free), device.memory_free !== null && device.memory_free < 2 ** 27],
    ["disk free", size(device.disk_free), device.disk_free !== null && device.disk_free < 2 ** 30],
    ["kernels", device.kernels],
    ...accelerator(device.accelerator),
  ]);
  at("statement").textContent = state.warning || state.statement
    || (state.guarded ? "" : "This model file cannot tell cells that it does not know.");
  at("statement").classList.toggle("warning", Boolean(state.warning) || state.familiar === false || !state.guarded);
  at("notes").replaceChildren(...state.notes.slice(-4).reverse().map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
}

/* What ended as it should is said, and is no alarm. */
const ENDINGS = {
  counted: () => "Enough cells are counted: " + state.differential.cells + " of " + state.stop_at + ". The run has ended.",
  finished: () => "The run has ended: the source has no more frames, or as many as were asked for were seen.",
  stopped: () => "The run was stopped; all that was counted is stored.",
};

function ending() {
  if (!state.over || state.failure !== null || !(state.outcome in ENDINGS)) return "";
  return ENDINGS[state.outcome]() + (state.closing ? " The program has ended, too." : "");
}

function announce() {
  const text = ending(), full = text !== "" && state.outcome === "counted";
  if (full && at("banner").hidden) sound(660, 880, 1100);
  if (at("banner").textContent !== text) at("banner").textContent = text;
  at("banner").classList.toggle("full", full);
  at("banner").hidden = text === "";
}

/* Whatever else happens, the picture's age is right: it is worked out here, by this clock. */
function tell() {
  const now = performance.now(), silent = (now - stateAt) / 1000;
  const age = takenAt === null ? null : (now - takenAt) / 1000;
  const gone = csrf !== null && stateAt > 0 && silent > OLD, left = gone && state.closing;
  const lost = gone && !left;
  const running = state !== null && !state.over;
  at("picture").querySelector("figure").classList.toggle("old", age !== null && age > OLD);
  at("age").textContent = age === null ? "" : age < 10 ? age.toFixed(1) + " s old" : Math.round(age) + " s old";
  let alarm = "", since = 0;
  if (lost) {
    alarm = "The program does not answer: what is shown is old. Trying again …";
    since = silent;
  } else if (state !== null && state.over && ending() === "") {
    alarm = state.failure === null ? "THE RUN HAS ENDED (" + state.outcome + "): nothing is counted any more"
      : "THE RUN HAS FAILED, nothing is counted any more: " + state.failure;
  } else if (running && age !== null && age > GONE && !(state.paused && !state.live)) {
    alarm = "NO PICTURE from the camera";
    since = age;
  }
  /* The seconds stand apart: a screen reader says the finding once, not every second. */
  if (at("finding").textContent !== alarm) at("finding").textContent = alarm;
  at("since").textContent = since === 0 ? "" : "(" + Math.round(since) + " s)";
  at("alarm").hidden = alarm === "";
  if (alarm === "") alarmed = "";
  else if (alarmed !== alarm && sound(330, 220, 330)) alarmed = alarm;
  if (csrf === null || state === null) return;
  announce();
  const outcome = state.failure === null ? state.outcome : "failed";
  const status = lost ? "no connection" : left ? "run " + outcome + ", program ended" : !running ? "run " + outcome
    : state.paused ? "paused: nothing is counted" : "counting";
  if (at("status").textContent !== status) at("status").textContent = status;
}

async function states() {
  try {
    if (csrf === null && at("login").hidden) await open(null);
    if (csrf !== null) {
      const { answer, body } = await ask("/api/state");
      if (answer.status === 401) await open(null);
      else if (answer.ok) { state = body; stateAt = performance.now(); draw(); }
    }
  } catch { /* no server: tell() says so, and this is tried again */ }
  setTimeout(states, STATE_EVERY);
}

async function frames() {
  try {
    if (csrf !== null && !document.hidden) {
      const asked = performance.now();
      const { answer, body } = await ask("/api/frame" + (shown === null ? "" : "?after=" + encodeURIComponent(shown)));
      if (answer.status === 200) {
        const next = URL.createObjectURL(body);
        at("frame").src = next;
        if (url !== null) URL.revokeObjectURL(url);
        url = next;
        shown = answer.headers.get("x-picture");
        at("number").textContent = "frame " + answer.headers.get("x-frame");
        cells(answer.headers.get("x-cells"));
        takenAt = asked - 1000 * Number(answer.headers.get("x-age"));
        at("frame").hidden = false;
        at("none").hidden = true;
        tell();
      }
    }
  } catch { /* as above */ }
  setTimeout(frames, FRAME_EVERY);
}

/* Review is a page of its own; not every installation has it. */
async function reviews() {
  try {
    at("review").hidden = !(await fetch("/review", { method: "HEAD", credentials: "same-origin" })).ok;
  } catch { /* it stays hidden */ }
}

async function start() {
  const token = location.hash.slice(1);
  if (token) {
    history.replaceState(null, "", location.pathname);
    try { await open(decodeURIComponent(token)); } catch { /* tried again without it */ }
  }
  states();
  frames();
  slides();
  growth();
  reviews();
  setInterval(tell, 100);
}

at("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  try { await open(at("token").value.trim()); } catch { at("refused").textContent = "no answer; try again"; }
  at("token").value = "";
});
addEventListener("DOMContentLoaded", start);
