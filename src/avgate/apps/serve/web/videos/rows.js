// One line of the list: an upload on its way, or a job.

import { ask } from "../common/api.js";
import { make, say, tell } from "../common/dom.js";
import { percent, size } from "../common/format.js";
import { hasWord, word } from "../common/words.js";
import { drop, take } from "./jobs.js";

/** A line with a name, a bar, words for the state, and buttons. */
function line(name, progress, actions) {
  const state = make("span", { className: "state" });
  const bar = make("progress", { max: 1, aria: { label: progress } });
  const notes = make("p", { className: "caption", hidden: true });
  const aria = { label: word("job.action", { action: word("job.notes"), name }) };
  const known = make("details", { hidden: true }, make("summary", { textContent: word("job.notes"), aria }));
  const buttons = Object.fromEntries(actions.map(([action, label, act]) => {
    const aria = { label: word("job.action", { action: word(label), name }) };
    const button = make("button", { type: "button", textContent: word(label), aria });
    button.addEventListener("click", act);
    return [action, button];
  }));
  const head = make("div", { className: "row" }, make("strong", { className: "name", textContent: name }), state);
  const row = make("li", { className: "card" }, head, bar, notes, known);
  row.append(make("div", { className: "buttons" }, ...Object.values(buttons)));
  return { row, state, bar, notes, known, buttons };
}

/** What must be known of a result, one line each, folded away. */
function showNotes(known, notes) {
  known.hidden = !notes.length;
  while (known.children.length > 1) known.lastChild.remove();
  known.append(...notes.map((note) => make("p", { className: "caption", textContent: note })));
}

/** Show only some of the buttons; the keyboard isn't lost with the one that goes. */
function offer(buttons, shown) {
  const had = Object.values(buttons).includes(document.activeElement);
  for (const [action, button] of Object.entries(buttons)) button.hidden = !shown.includes(action);
  if (had && document.activeElement.hidden) Object.values(buttons).find((button) => !button.hidden)?.focus();
}

/**
 * The line of an upload.
 * @param {import("./upload.js").Upload} upload
 * @param {{again: () => void, remove: () => void}} acts
 */
export function uploadRow(upload, { again, remove }) {
  const parts = line(upload.name, word("upload.progress", { name: upload.name }), [
    ["pause", "upload.pause", () => upload.pause()],
    ["resume", "upload.resume", again],
    ["again", "upload.again", again],
    ["cancel", "upload.cancel", () => { upload.cancel(); remove(); }],
    ["remove", "upload.remove", remove],
  ]);
  const shown = {
    waiting: ["cancel"], sending: ["pause", "cancel"], offline: ["pause", "cancel"], held: ["pause", "cancel"], paused: ["resume", "cancel"],
    failed: ["again", "remove"], sent: [], cancelled: [],
  };
  const update = () => {
    const values = { done: size(upload.done), size: size(upload.file.size), error: upload.error };
    parts.row.dataset.state = upload.state;
    parts.state.textContent = hasWord(`upload.${upload.state}`) ? word(`upload.${upload.state}`, values) : "";
    parts.bar.value = upload.file.size ? upload.done / upload.file.size : 0;
    offer(parts.buttons, shown[upload.state]);
  };
  update();
  return { row: parts.row, update };
}

const SHOWN = { queued: ["cancel"], running: ["cancel"], done: ["open", "annotate", "remove"], failed: ["remove"], cancelled: ["remove"] };

/**
 * The line of a job.
 * @param {import("./jobs.js").Job} first
 * @param {{open: Function, annotate: Function}} acts
 */
export function jobRow(first, { open, annotate }) {
  let job = first;
  const refused = (error) => tell(parts.notes, error.message);
  const cancel = () => ask(`api/jobs/${job.id}/cancel`, { method: "POST" }).then((answer) => answer.json()).then(take).catch(refused);
  const remove = () => {
    if (!confirm(word("job.delete.ask", { name: job.name }))) return;
    ask(`api/jobs/${job.id}`, { method: "DELETE" })
      .catch((error) => { if (error.status !== 404) throw error; })
      .then(() => { drop(job.id); say(word("said.deleted", { name: job.name })); }, refused);
  };
  const parts = line(job.name, word("job.progress", { name: job.name }), [
    ["open", "job.open", () => open(job)],
    ["annotate", "job.annotate", () => annotate(job)],
    ["cancel", "job.cancel", cancel],
    ["remove", "job.delete", remove],
  ]);
  parts.buttons.open.className = "primary";
  const update = (newest) => {
    job = newest;
    const stage = hasWord(`stage.${job.stage}`) ? word(`stage.${job.stage}`) : job.stage;
    const running = job.stage ? word("state.running", { stage }) : word("state.running.plain");
    const words = job.state === "running" ? `${running}, ${percent(job.progress)}` : word(`state.${job.state}`, { error: job.error });
    parts.row.dataset.state = job.state;
    parts.row.dataset.job = job.id;
    parts.state.textContent = words;
    parts.bar.hidden = !["queued", "running"].includes(job.state);
    parts.bar.value = job.progress;
    tell(parts.notes, job.state === "done" ? "" : job.hint ?? "");
    showNotes(parts.known, job.state === "done" ? job.notes ?? [] : []);
    offer(parts.buttons, SHOWN[job.state] ?? ["remove"]);
  };
  update(job);
  return { row: parts.row, update };
}
