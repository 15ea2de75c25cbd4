/* Questions in words, and the usual reasons. */
const REASONS = ["looks so in the picture", "shape of the nucleus", "granules", "colour of the cytoplasm", "size of the cell"];
const REASONS_NOT = ["no cell that is counted", "smudged or damaged", "cut or overlapped", "cannot be told"];
const at = (id) => document.getElementById(id);

/* Returns what was typed, or true for a yes; null if the reader thought better of it. */
export function question(text, { typed = false, yes = "Yes" } = {}) {
  at("asked").textContent = text;
  for (const id of ["answer", "answering"]) at(id).hidden = !typed;
  at("answer").value = "";
  at("yes").textContent = yes;
  at("question").returnValue = "";
  at("question").showModal();
  (typed ? at("answer") : at("no")).focus();
  return new Promise((resolve) => at("question").addEventListener("close", () => {
    const said = at("question").returnValue === "yes";
    resolve(!said ? null : typed ? at("answer").value.trim() || null : true);
  }, { once: true }));
}

export function chooseReasons() {
  at("no").addEventListener("click", () => at("question").close(""));
  at("options").open = innerWidth > 900;
  for (const [id, usual] of [["why", REASONS], ["whynot", REASONS_NOT]]) {
    at(id).replaceChildren(...usual.map((text) => new Option(text)), new Option("other …"));
    at(id).addEventListener("change", async () => {
      if (at(id).selectedIndex === at(id).length - 1) {
        const text = await question("Which reason?", { typed: true, yes: "Use it" });
        if (text !== null) at(id).add(new Option(text), 0);
        at(id).selectedIndex = 0;
      }
      at(id).blur();
    });
  }
}
