"use strict";
/* What is asked of the program: pause, stop, another sample, the end. */

async function pause() {
  if (state === null || csrf === null || at("pause").disabled) return;
  try {
    const { answer, body } = await change("/api/pause", { paused: !state.paused });
    if (answer.ok) { state.paused = body.paused; draw(); tell(); }
  } catch { /* the next state says how it is */ }
}

/* The run's number goes with it: what was meant for the run before changes nothing. */
async function order(action, more = {}) {
  try {
    const { answer, body } = await change("/api/run", { action, run: state.run, ...more });
    return answer.ok ? "" : body.error;
  } catch { return "no answer; try again"; }
}

function askSample() {
  if (state === null || at("new").disabled || at("asked").open || at("sure").open) return;
  const over = state.over;
  at("asked-words").textContent = over ? "The same settings, into the same results file."
    : "The run that goes on ends, with all that is counted stored. The next one has the same settings and goes into the same results file.";
  at("begin").textContent = over ? "Start" : "End this run and start";
  at("barcode").hidden = over || !state.barcodes;
  at("sample-id").value = "";
  at("operator").value = at("operator").value || state.operator || "";
  at("sample-refused").textContent = "";
  at("asked").showModal();
  at("sample-id").focus();
}

async function begin(event) {
  event.preventDefault();
  at("begin").disabled = true;
  const refused = await order("begin", { sample: at("sample-id").value, operator: at("operator").value });
  at("begin").disabled = false;
  at("sample-refused").textContent = refused;
  if (refused === "") at("asked").close();
}

async function readBarcode() {
  at("sample-refused").textContent = "";
  try {
    const { answer, body } = await change("/api/barcode", {});
    if (answer.ok) at("sample-id").value = body.text;
    else at("sample-refused").textContent = body.error;
  } catch { at("sample-refused").textContent = "no answer; try again"; }
  at("sample-id").focus();
}

function askSure(action, title, words, yes) {
  at("sure").dataset.action = action;
  at("sure-title").textContent = title;
  at("sure-words").textContent = words;
  at("sure-yes").textContent = yes;
  at("sure").showModal();
  at("sure-no").focus();
}

async function sure(event) {
  event.preventDefault();
  const refused = await order(at("sure").dataset.action);
  at("sure-words").textContent = refused;
  if (refused === "") at("sure").close();
}

/* Browsers let a page sound once somebody has touched it. */
let audio = null, sounding = true;

function unlock() {
  if (!sounding || !("AudioContext" in globalThis)) return;
  audio ??= new AudioContext();
  if (audio.state === "suspended") audio.resume().catch(() => {});
}

function sound(...tones) {
  if (!sounding || audio === null || audio.state !== "running") return false;
  tones.forEach((hertz, number) => {
    const tone = audio.createOscillator(), gain = audio.createGain(), from = audio.currentTime + .25 * number;
    tone.frequency.value = hertz;
    gain.gain.setValueAtTime(0, from);
    gain.gain.linearRampToValueAtTime(.25, from + .02);
    gain.gain.linearRampToValueAtTime(0, from + .22);
    tone.connect(gain).connect(audio.destination);
    tone.start(from);
    tone.stop(from + .24);
  });
  return true;
}

function toggleSound() {
  sounding = !sounding;
  at("sound").setAttribute("aria-pressed", String(sounding));
  unlock();
  sound(660);
}

at("pause").addEventListener("click", pause);
at("new").addEventListener("click", askSample);
at("stop").addEventListener("click", () => askSure("stop", "Stop this run?",
  "What is counted is stored; nothing more is counted." + (state.stays ? "" : " The program ends."), "Stop"));
at("end").addEventListener("click", () => askSure("end", "End the program?",
  "What was counted is stored. This page goes away; it is started again on the device.", "End the program"));
at("sample-form").addEventListener("submit", begin);
at("barcode").addEventListener("click", readBarcode);
at("cancel").addEventListener("click", () => at("asked").close());
at("sure-form").addEventListener("submit", sure);
at("sure-no").addEventListener("click", () => at("sure").close());
at("sound").addEventListener("click", toggleSound);
for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, unlock);
addEventListener("keydown", (event) => {
  const busy = event.target.tagName === "INPUT" || at("asked").open || at("sure").open;
  if (event.repeat || busy || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key.toLowerCase() === "p") pause();
  if (event.key.toLowerCase() === "n") { event.preventDefault(); askSample(); }
});
