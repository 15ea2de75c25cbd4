/* Random cells, one by one, without the model's answer. */
import { picture } from "./review-server.js";
import { element } from "./review-tiles.js";

const at = (id) => document.getElementById(id);

const ABOUT = "Cells that the model accepted are drawn at random and shown one by one without its answer. "
  + "How often it is right on them is an unbiased estimate for all its accepted answers, unless the reader remembers them: "
  + "best drawn before the gallery is read, or read by somebody else. Each is recorded as a decision on its cell; "
  + "the comparison is shown when all are classed, and then stays.";

export function showRandom(state, on) {
  const section = at("random"), parts = [element("h2", "Random cells")];
  const asked = state.covered[0] ?? null;
  if (state.drawn.length === 0) {
    const draw = element("button", "Draw 20 cells", "strong");
    draw.type = "button";
    draw.disabled = state.goes_on || state.state === "signed" || state.state === "exported";
    draw.addEventListener("click", on.draw);
    parts.push(element("p", ABOUT), draw);
    if (state.goes_on) parts.push(element("p", "They are drawn when the run has ended.", "quiet"));
  } else if (asked !== null) {
    const image = element("img");
    picture(image, "/api/review/crop?run=" + state.run + "&cell=" + asked);
    image.alt = "The cell that is to be classed";
    const done = state.drawn.length - state.covered.length;
    parts.push(element("p", "Cell " + (done + 1) + " of " + state.drawn.length + ": of which class is it? Its key classes it and goes on."), image);
  } else {
    parts.push(element("p", state.estimate.statement + "."));
    const differing = new Set(state.estimate.differing);
    if (differing.size) parts.push(element("h3", "On these people and model differ"), table(state, differing));
  }
  if (asked === null || section.dataset.asked !== String(asked)) section.replaceChildren(...parts);
  section.dataset.asked = String(asked);
}

function table(state, differing) {
  const list = element("ul", "", "differing");
  for (const cell of state.cells.filter((one) => differing.has(one.id))) {
    const item = element("li"), image = element("img");
    picture(image, "/api/review/crop?run=" + state.run + "&cell=" + cell.id);
    image.alt = "";
    item.append(image, element("span", "cell " + cell.id + ": the model says " + cell.label.toLowerCase() + ", now "
      + (cell.final === null ? "left out" : cell.final.toLowerCase())));
    list.append(item);
  }
  return list;
}
