/* Talking to the server: sessions, questions, and steps one after another. */
const PATIENCE = 20000, AGAIN = 3000;
let csrf = null;

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE) });
  const json = (answer.headers.get("content-type") ?? "").startsWith("application/json");
  return { answer, body: json ? await answer.json() : null };
}

export class Refused extends Error {
  constructor(text, status) { super(text); this.status = status; }
}

/* Returns whether this browser may see the page, with a token or without. */
export async function open(token) {
  const { answer, body } = token === null ? await ask("/api/session") : await ask("/api/session", posted({ token }));
  csrf = answer.ok ? body.csrf : null;
  return { ok: answer.ok, error: body?.error ?? "" };
}

function posted(body) {
  return { method: "POST", body: JSON.stringify(body),
    headers: { "content-type": "application/json", "x-csrf-token": csrf ?? "" } };
}

/* Asks; logs in again, once, where the server has forgotten this browser. */
async function asked(path, options) {
  let found = await ask(path, options());
  if (found.answer.status === 401 || (found.answer.status === 403 && options().method === "POST")) {
    if (!(await open(null)).ok) throw new Refused("log in again", 401);
    found = await ask(path, options());
  }
  if (!found.answer.ok) throw new Refused(found.body?.error ?? "refused", found.answer.status);
  return found;
}

export async function get(path) {
  const { answer, body } = await asked(path, () => ({}));
  return answer.status === 204 ? null : body;
}

/* Shows a picture, also after the server was away; says so where there is none. */
export function picture(image, path, missing = () => {}) {
  let tries = 0;
  image.addEventListener("error", async () => {
    tries += 1;
    try {
      await asked(path, () => ({}));
      if (tries < 5) image.src = path; else missing();
    } catch (error) {
      if (error.status === 404) missing();
      else setTimeout(() => { image.src = path; }, AGAIN);
    }
  });
  image.src = path;
}

export async function step(said) {
  return (await asked("/api/review/step", () => posted(said))).body;
}

/* The file that leaves, and its name. It may be large: this has no limit of time. */
export async function leave(said) {
  const options = () => ({ ...posted(said), credentials: "same-origin" });
  let answer = await fetch("/api/review/export", options());
  if ((answer.status === 401 || answer.status === 403) && (await open(null)).ok) answer = await fetch("/api/review/export", options());
  if (!answer.ok) throw new Refused((await answer.json()).error, answer.status);
  const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition"))[1];
  return { name, content: await answer.blob() };
}
