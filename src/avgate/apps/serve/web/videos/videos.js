// The part for recordings: send them, follow them, open what became of them.

import { element, make, say, tell } from "../common/dom.js";
import { openTab } from "../common/tabs.js";
import { word } from "../common/words.js";
import { annotateJob } from "../annotate/annotate.js";
import { askJobs, follow, jobs, onJob, take } from "./jobs.js";
import { askJson } from "../common/api.js";
import { jobRow, uploadRow } from "./rows.js";
import { Upload } from "./upload.js";
import { closeReport, openReport } from "./viewer.js";

const AT_ONCE = 2; // uploads that are sent at the same time
const rows = new Map();
/** @type {Set<Upload>} those with a line of their own */
const onTheWay = new Set();
/** @type {Upload[]} */
const waiting = [];
let sending = 0;

/** Send a recording, with what is chosen. @param {Blob} file @param {string} name */
export function send(file, name) {
  const chosen = [...document.querySelectorAll("#formats input:checked")].map((box) => box.value);
  const options = { level: element("level").value, report: String(element("report").checked) };
  if (element("model").value) options.model = element("model").value; // else the usual one
  if (chosen.length) options.formats = chosen.join(",");
  const upload = new Upload(file, name, options, () => shown.update());
  const start = () => { waiting.push(upload); sendNext(); };
  const shown = uploadRow(upload, { again: start, remove: () => { upload.gone(); empty(); } });
  upload.gone = () => { shown.row.remove(); onTheWay.delete(upload); };
  onTheWay.add(upload);
  element("queue").prepend(shown.row);
  empty();
  start();
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
    const next = row?.row.nextElementSibling ?? row?.row.previousElementSibling;
    row?.row.remove();
    rows.delete(job.id);
    closeReport(job.id);
    (next?.querySelector("button:not([hidden])") ?? element("choose")).focus();
  } else if (row) {
    const before = row.row.dataset.state;
    row.update(job);
    if (before !== job.state && ["done", "failed", "cancelled"].includes(job.state)) say(word(`said.${job.state}`, job));
  } else {
    const made = jobRow(job, { open: openReport, annotate: annotateJob });
    rows.set(job.id, made);
    place(made.row, job);
    for (const upload of onTheWay) if (upload.id === job.id) hand(upload, made.row);
  }
  empty();
}

/** Let the line of a job take the place of its upload's, which may not know yet that it came whole. */
function hand(upload, row) {
  const focused = document.activeElement;
  upload.gone();
  if (!focused.isConnected) row.querySelector("button:not([hidden])")?.focus();
}

/** Put a job's line where its time of creation belongs; uploads stand above all. */
function place(row, job) {
  row.dataset.created = created(job);
  const older = [...element("queue").children].find((each) => "created" in each.dataset && each.dataset.created < row.dataset.created);
  if (older) older.before(row); else element("queue").append(row);
}

const created = (job) => String(job.created ?? job.created_s ?? "");

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
    files.forEach((file) => send(file, file.name));
  });
  const choose = element("choose");
  const take = () => {
    [...choose.files].forEach((file) => send(file, file.name));
    choose.value = ""; // the same file may be chosen again
  };
  choose.addEventListener("change", take);
  take(); // what was chosen before this ran
}

/** Offer what can be written beside CSV and JSON. @param {string[]} names of label formats */
export function offerFormats(names) {
  element("formats").replaceChildren(...names.map((name) => {
    const box = make("input", { type: "checkbox", value: name });
    return make("label", { className: "check" }, box, make("span", {}, name));
  }));
}

/** Let the part begin. */
export async function startVideos() {
  element("viewer-close").addEventListener("click", () => closeReport());
  element("queue-more").addEventListener("click", async () => {
    const oldest = [...jobs.values()].map(created).sort()[0];
    element("queue-more").hidden = (await askJobs(oldest)).length < 50;
  });
  startDropping();
  onJob(showJob);
  try {
    element("queue-more").hidden = (await askJobs()).length < 50;
  } catch (error) {
    tell(element("trouble"), error.message);
  }
  follow();
}
