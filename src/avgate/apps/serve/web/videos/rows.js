// One line of the list: an upload on its way, or a job.

import { ask, resultAddress } from "../common/api.js";
import { element, make, say, tell } from "../common/dom.js";
import { clock, moment, percent, size } from "../common/format.js";
import { models, notesOf } from "../common/models.js";
import { hasWord, word } from "../common/words.js";
import { drop, take } from "./jobs.js";

/** A line with a name, a bar, words for the state, and buttons. */
function line(name, progress, actions) {
  const labelled = (label) => word("job.action", { action: word(label), name });
  const state = make("span", { className: "state" });
  const about = make("p", { className: "caption", hidden: true });
  const bar = make("progress", { max: 1, aria: { label: progress } });
  const notes = make("p", { className: "caption", hidden: true });
  const buttons = Object.fromEntries(actions.map(([action, label, act]) => {
    const properties = { textContent: word(label), aria: { label: labelled(label) }, data: { action } };
    if (!act) return [action, make("a", { className: "button", ...properties })];
    const button = make("button", { type: "button", ...properties });
    button.addEventListener("click", act);
    return [action, button];
  }));
  const title = make("strong", { className: "name", textContent: name, tabIndex: -1 });
  const row = make("li", { className: "card" }, make("div", { className: "row" }, title, state), about, bar, notes);
  const known = make("div", {});
  row.append(known, make("div", { className: "buttons" }, ...Object.values(buttons)));
  const fold = (lines) => known.replaceChildren(notesOf(lines, known.firstChild?.open, labelled("job.notes")));
  return { row, state, about, bar, notes, fold, buttons };
}

/** Put the keyboard into a line: where one goes on, or on its name; never on what stops or deletes. @param {Element|null} row */
export function landIn(row) {
  const on = row?.querySelector("[data-action]:not([hidden], [data-action=cancel], [data-action=remove])");
  (on ?? row?.querySelector(".name") ?? element("choose")).focus();
}

/** Put the keyboard into the line beside one that goes, if it is in there. @param {Element} row */
export function leave(row) {
  const beside = row.nextElementSibling ?? row.previousElementSibling;
  const had = row.contains(document.activeElement);
  row.remove();
  if (had) landIn(beside);
}

/** Show only some of the buttons; the keyboard stays in the line where one goes. */
function offer({ row, buttons }, shown) {
  const had = Object.values(buttons).find((button) => button === document.activeElement);
  for (const [action, button] of Object.entries(buttons)) button.hidden = !shown.includes(action);
  if (had?.hidden) landIn(row);
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
    ["anyway", "upload.anyway", again],
    ["cancel", "upload.cancel", () => { upload.cancel(); remove(); }],
    ["remove", "upload.remove", remove],
  ]);
  const shown = {
    waiting: ["cancel"], sending: ["pause", "cancel"], offline: ["pause", "cancel"], held: ["pause", "cancel"], paused: ["resume", "cancel"],
    failed: ["again", "remove"], sent: [], cancelled: [], other: ["remove"], unknown: ["anyway", "remove"],
  };
  const update = () => {
    const values = { done: size(upload.done), size: size(upload.file.size), error: upload.error };
    parts.row.dataset.state = upload.state;
    parts.state.textContent = hasWord(`upload.${upload.state}`) ? word(`upload.${upload.state}`, values) : "";
    parts.bar.hidden = ["other", "unknown"].includes(upload.state);
    parts.bar.value = upload.file.size ? upload.done / upload.file.size : 0;
    offer(parts, shown[upload.state]);
  };
  update();
  return { row: parts.row, update };
}

const SHOWN = { queued: ["cancel"], running: ["cancel"], done: ["open", "csv", "annotate", "remove"], failed: ["remove"], cancelled: ["remove"] };

/** A list in an error, such as of all formats: it stands in the notes. */
const ASIDE = / \([^()]{60,}\)/g;

/** Where a job stands, in words. @param {import("./jobs.js").Job} job @param {number} place in the queue; 0 if unknown */
export function stateWords(job, place = 0) {
  const stage = hasWord(`stage.${job.stage}`) ? word(`stage.${job.stage}`) : job.stage;
  const running = job.stage ? word("state.running", { stage }) : word("state.running.plain");
  if (job.state === "running") return `${running}, ${percent(job.progress)}`;
  if (job.state === "queued" && place) return word(place === 1 ? "state.queued.next" : "state.queued.place", { n: place });
  return word(`state.${job.state}`, { error: job.error.replace(ASIDE, "") });
}

/**
 * The line of a job.
 * @param {import("./jobs.js").Job} first
 * @param {{open: Function, annotate: Function}} acts
 */
export function jobRow(first, { open, annotate }) {
  let job = first;
  let place = 0;
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
    ["csv", "job.csv"],
    ["annotate", "job.annotate", () => annotate(job)],
    ["cancel", "job.cancel", cancel],
    ["remove", "job.delete", remove],
  ]);
  parts.buttons.open.className = "primary";
  const update = (newest) => {
    job = newest;
    const model = models.get(job.options?.model);
    const long = job.duration_s >= 1 ? clock(job.duration_s) : "";
    const done = job.state === "done";
    const table = job.results.filter((name) => name.endsWith(".csv")).sort((one, other) => one.length - other.length)[0];
    Object.assign(parts.row.dataset, { state: job.state, job: job.id });
    parts.state.textContent = stateWords(job, place);
    tell(parts.about, [moment(job.created), long, model?.called ?? job.options?.model].filter(Boolean).join(" · "));
    parts.bar.hidden = !["queued", "running"].includes(job.state);
    parts.bar.value = job.progress;
    tell(parts.notes, done ? model?.short ?? "" : job.hint ?? "");
    const aside = job.error && job.error !== job.error.replace(ASIDE, "") ? [job.error] : [];
    parts.fold(done ? job.notes ?? [] : aside);
    if (table) Object.assign(parts.buttons.csv, { href: resultAddress(job.id, table), download: table });
    offer(parts, (SHOWN[job.state] ?? ["remove"]).filter((action) => action !== "csv" || table));
  };
  const wait = (now) => {
    place = now;
    parts.state.textContent = stateWords(job, place);
  };
  update(job);
  return { row: parts.row, update, wait };
}
