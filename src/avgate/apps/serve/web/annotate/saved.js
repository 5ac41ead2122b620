// The saved ratings of a recording: a list of them, to open, download and delete.

import { address, ask, askJson } from "../common/api.js";
import { element, make, say, tell } from "../common/dom.js";
import { moment } from "../common/format.js";
import { word } from "../common/words.js";

/** @typedef {{name: string, targets: string[], size: number, saved: string}} Saved */

let listed = { job: "", items: [] };
let acts = { open: () => {}, gone: () => {}, targets: [] };

/** The address of a saved rating, below the server's. @param {string} job @param {string} name @param {string} format */
export const ratingPath = (job, name, format = "csv") =>
  `api/jobs/${job}/annotations/${encodeURIComponent(name)}?format=${encodeURIComponent(format)}`;

/** A saved rating of the recording that is listed. @param {string} name @returns {Saved|undefined} */
export const savedRating = (name) => listed.items.find((each) => each.name === name);

/** List what is saved of a recording. @param {string} job */
export async function listSaved(job) {
  listed = { job, items: listed.job === job ? listed.items : [] };
  const items = await askJson(`api/jobs/${job}/annotations`).catch((error) => {
    tell(element("saved-trouble"), error.message);
    return null;
  });
  if (!items || listed.job !== job) return;
  tell(element("saved-trouble"), "");
  listed.items = items;
  showSaved();
}

function showSaved() {
  element("saved-list").replaceChildren(...listed.items.map(line));
  element("saved-none").hidden = listed.items.length > 0;
  element("saved-format").closest("label").hidden = !listed.items.length;
}

function line(item) {
  const aria = (key) => ({ label: word("job.action", { action: word(key), name: item.name }) });
  const button = (key, act) => {
    const made = make("button", { type: "button", textContent: word(key), aria: aria(key) });
    made.addEventListener("click", act);
    return made;
  };
  const href = address(ratingPath(listed.job, item.name, element("saved-format").value));
  const link = make("a", { className: "button", href, download: "", aria: aria("annotate.download") }, word("annotate.download"));
  const known = item.targets.some((target) => acts.targets.includes(target));
  const buttons = [link, button("annotate.delete", () => remove(item))];
  if (known) buttons.unshift(button("annotate.open", () => acts.open(item)));
  const when = make("span", { className: "state" }, moment(item.saved));
  const head = make("span", {}, make("strong", { className: "name" }, item.name), " ", when);
  return make("li", { className: "row" }, head, make("div", { className: "buttons" }, ...buttons));
}

async function remove(item) {
  if (!confirm(word("annotate.delete.ask", { name: item.name }))) return;
  const { job } = listed;
  try {
    await ask(ratingPath(job, item.name), { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) { tell(element("saved-trouble"), error.message); return; }
  }
  say(word("said.deleted", { name: item.name }));
  acts.gone(job, item.name);
  await listSaved(job);
  element("saved-title").focus(); // the button that was pressed is gone
}

/** Offer what a rating can be saved as. @param {string[]} names of label formats */
export function offerSavedFormats(names) {
  const all = [...new Set(["csv", ...names])];
  element("saved-format").replaceChildren(...all.map((format) => make("option", { value: format }, format)));
}

/**
 * Let the list begin.
 * @param {{open: (item: Saved) => void, gone: (job: string, name: string) => void, targets: string[]}} given
 *   what opens one, what must know that one is deleted, and the targets that can be opened
 */
export function startSaved(given) {
  acts = given;
  offerSavedFormats([]);
  element("saved-format").addEventListener("change", showSaved);
}
