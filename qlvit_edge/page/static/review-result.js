/* The result: its state, what is left to do, the count, signing, and what leaves. */
import { element, percent } from "./review-tiles.js";

const at = (id) => document.getElementById(id);
let readers = "1";

function button(text, press, { strong = false, disabled = false } = {}) {
  const made = element("button", text, strong ? "strong" : "");
  made.type = "button";
  made.disabled = disabled;
  made.addEventListener("click", press);
  return made;
}

const STATES = ["collected", "reviewed", "signed", "exported"];

export function showResult(state, on) {
  const signed = state.state === "signed" || state.state === "exported";
  const steps = element("ol", "", "states");
  for (const name of STATES) {
    const item = element("li", name);
    if (name === state.state) item.setAttribute("aria-current", "step");
    steps.append(item);
  }
  const left = element("ul", "", "todo");
  for (const text of state.left) left.append(element("li", text));
  const parts = [element("h2", "Result of run " + state.run), steps,
    element("p", state.statement_of_review, signed ? "signed" : "preliminary")];
  if (state.left.length) parts.push(element("h3", "Left to do"), left);
  parts.push(element("h3", "Confirmed or changed by people"), counts(state));
  const beside = Object.entries(state.beside).map(([name, n]) => n + " " + name.toLowerCase());
  if (beside.length) parts.push(element("p", "Beside the count: " + beside.join(", ") + ".", "quiet"));
  if (state.estimate) parts.push(element("p", state.estimate.statement + "."));
  else parts.push(element("p", "No random cells were drawn: how often the accepted answers are right is not estimated.", "quiet"));
  parts.push(signing(state, on, signed), leaving(state, on, signed));
  if (state.head) parts.push(element("p", "Hash of the last record: " + state.head, "quiet hash"));
  at("result").replaceChildren(...parts);
}

function counts(state) {
  const table = element("table"), head = element("tr"), body = element("tbody");
  for (const text of ["class", "cells", "share", "95 %"]) {
    const cell = element("th", text);
    cell.scope = "col";
    head.append(cell);
  }
  for (const one of state.differential) {
    const row = element("tr"), name = element("th", one.label.toLowerCase());
    name.scope = "row";
    row.append(name, element("td", String(one.count)), element("td", one.share === null ? "–" : percent(one.share)),
      element("td", one.limits === null ? "–" : one.limits.map((share) => (100 * share).toFixed(1)).join("–")));
    body.append(row);
  }
  if (!state.differential.length) {
    const row = element("tr"), cell = element("td", "nothing yet");
    cell.colSpan = 4;
    row.append(cell);
    body.append(row);
  }
  const top = element("thead");
  top.append(head);
  table.append(top, body);
  return table;
}

function signing(state, on, signed) {
  const group = element("div", "", "row");
  if (signed) {
    group.append(button("Reopen …", on.reopen));
    return group;
  }
  const reviewed = state.state === "reviewed", ready = state.left.length === 0;
  group.append(button("Done: every cell was looked at", on.done, { strong: ready && !reviewed, disabled: !ready || reviewed }));
  const label = element("label", "Readers"), choice = element("select");
  choice.append(new Option("1", "1"), new Option("2", "2"));
  choice.value = state.readers === 2 ? "2" : readers;
  choice.addEventListener("change", () => { readers = choice.value; });
  label.append(choice);
  group.append(label, button("Sign", () => on.sign(Number(choice.value)), { strong: reviewed, disabled: !reviewed }));
  if (state.signed_by.length) group.append(element("span", "signed so far by " + state.signed_by.join(", ") + "; another reader must sign", "quiet"));
  return group;
}

function leaving(state, on, signed) {
  const group = element("div", "", "row");
  group.append(element("span", signed ? "Export" : "Export, marked PRELIMINARY"));
  for (const [format, name] of [["csv", "CSV"], ["jsonl", "JSON Lines"], ["crops", "Reviewed crops (ZIP)"]]) {
    group.append(button(name, () => on.leave(format)));
  }
  return group;
}
