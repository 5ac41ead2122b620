// The part for recordings: send them, follow them, open what became of them.

import { element, make, say, tell } from "../common/dom.js";
import { go, jobAddress, openTab } from "../common/tabs.js";
import { word } from "../common/words.js";
import { annotateJob } from "../annotate/annotate.js";
import { askJobs, follow, jobs, onJob, take } from "./jobs.js";
import { askJson } from "../common/api.js";
import { kindOf } from "./kinds.js";
import { jobRow, landIn, leave, uploadRow } from "./rows.js";
import { Upload } from "./upload.js";
import { startViewer } from "./viewer.js";

const AT_ONCE = 2; // uploads that are sent at the same time
const rows = new Map();
/** @type {Set<Upload>} those with a line of their own */
const onTheWay = new Set();
/** @type {Upload[]} */
const waiting = [];
let sending = 0;

/** Send files in their order, with what is chosen. @param {Iterable<File>} files */
function sendAll(files) {
  const first = element("queue").firstElementChild;
  for (const file of files) send(file, file.name, first);
}

/** Send a recording, with what is chosen. @param {Blob} file @param {string} name @param {Element|null} before whom it is listed */
export function send(file, name, before = element("queue").firstElementChild) {
  const chosen = [...document.querySelectorAll("#formats input:checked")].map((box) => box.value);
  const options = { level: element("level").value, report: String(element("report").checked) };
  if (element("model").value) options.model = element("model").value; // else the usual one
  if (chosen.length) options.formats = chosen.join(",");
  const upload = new Upload(file, name, options, () => shown.update());
  const start = () => { waiting.push(upload); sendNext(); };
  const shown = uploadRow(upload, { again: start, remove: () => { upload.gone(); empty(); } });
  upload.row = shown.row;
  upload.gone = () => { leave(shown.row); onTheWay.delete(upload); };
  onTheWay.add(upload);
  element("queue").insertBefore(shown.row, before);
  empty();
  const kind = kindOf(file, name);
  if (kind === "recording") start(); else upload.set(kind);
}

async function sendNext() {
  if (sending >= AT_ONCE || !waiting.length) return;
  const upload = waiting.shift();
  if (upload.state === "cancelled") { sendNext(); return; }
  sending += 1;
  try {
    await upload.send();
    if (upload.state === "sent") await sent(upload);
  } finally {
    sending -= 1;
    sendNext();
  }
}

async function sent(upload) {
  say(word("said.sent", { name: upload.name }));
  if (!jobs.has(upload.job)) await askJson(`api/jobs/${upload.job}`).then(take).catch(() => {}); // it comes as an event, too
  upload.gone();
  empty();
}

function showJob(job, gone) {
  const row = rows.get(job.id);
  if (gone) {
    if (row) leave(row.row);
    rows.delete(job.id);
  } else if (row) {
    const before = row.row.dataset.state;
    row.update(job);
    if (before !== job.state && ["done", "failed", "cancelled"].includes(job.state)) say(word(`said.${job.state}`, job));
  } else {
    const made = jobRow(job, { open: ({ id }) => go(jobAddress(id)), annotate: annotateJob });
    rows.set(job.id, made);
    place(made.row, job);
    for (const upload of onTheWay) if (upload.id === job.id) hand(upload, made.row);
  }
  count();
  empty();
}

/** Let the line of a job take the place of its upload's, which may not know yet that it came whole. */
function hand(upload, row) {
  const had = upload.row.contains(document.activeElement);
  upload.row.replaceWith(row);
  upload.gone();
  if (had) landIn(row);
}

/** Say to those that wait which of them are before them: the oldest is begun first. */
function count() {
  const queued = [...jobs.values()].filter((job) => job.state === "queued").sort((one, other) => (created(one) < created(other) ? -1 : 1));
  queued.forEach((job, i) => rows.get(job.id)?.wait(i + 1));
}

/** Show all that is known of jobs once more, such as when their models are known. */
export function showAgain() {
  for (const job of jobs.values()) rows.get(job.id)?.update(job);
}

/** Put a job's line where its time of creation belongs; uploads stand above all. */
function place(row, job) {
  row.dataset.created = created(job);
  const older = [...element("queue").children].find((each) => "created" in each.dataset && each.dataset.created < row.dataset.created);
  if (older) older.before(row); else element("queue").append(row);
}

const created = (job) => String(job.created ?? "");

function empty() {
  element("queue-empty").hidden = element("queue").children.length > 0;
}

function startDropping() {
  const over = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    element("drop").classList.add("over");
  };
  addEventListener("dragover", over);
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) element("drop").classList.remove("over"); });
  addEventListener("drop", (event) => {
    element("drop").classList.remove("over");
    const files = [...(event.dataTransfer?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    openTab("videos");
    sendAll(files);
  });
  const choose = element("choose");
  const take = () => {
    sendAll([...choose.files]);
    choose.value = ""; // the same file may be chosen again
  };
  choose.addEventListener("change", take);
  take(); // what was chosen before this ran
}

/** Offer what can be written beside CSV and JSON. @param {{name: string, label: string}[]} formats of labels */
export function offerFormats(formats) {
  element("formats").replaceChildren(...formats.map(({ name, label }) => {
    const box = make("input", { type: "checkbox", value: name });
    return make("label", { className: "check" }, box, make("span", {}, label));
  }));
}

/** Let the part begin. */
export async function startVideos() {
  const more = async (before = "") => {
    const found = await askJobs(before);
    element("queue-more").hidden = found.length < 50;
    if (found.length === 50 && found.at(-1).state === "queued") await more(created(found.at(-1))); // all that wait are counted
  };
  element("queue-more").addEventListener("click", () => more([...jobs.values()].map(created).sort()[0]));
  startDropping();
  onJob(showJob);
  startViewer();
  try {
    await more();
  } catch (error) {
    tell(element("trouble"), error.message);
  }
  follow();
}
