// The models that the server has, and what each is and isn't for.

import { element, make } from "./dom.js";
import { word } from "./words.js";

/** @typedef {{name: string, called: string, causal: boolean, targets: string[], short: string, notes: string[],
 *   is_for: string[], is_not_for: string[]}} Model */

/** @type {Map<string, Model>} those that the server has told of */
export const models = new Map();

/** Know what the server says of its models. @param {Model[]} told */
export function knowModels(told) {
  for (const model of told) models.set(model.name, model);
}

/**
 * Fill a choice of models, and tell of the chosen one.
 * @param {Model[]} offered
 * @param {string} choice id of the select
 * @param {string} notes id of the element for what must be known of it
 */
export function offerModels(offered, choice, notes) {
  const select = element(choice);
  select.replaceChildren(...offered.map((model) => make("option", { value: model.name }, model.called || model.name)));
  if (!offered.length) select.append(make("option", { value: "" }, word("model.none")));
  const tell = () => {
    const model = offered.find((each) => each.name === select.value);
    const short = model?.short || (model?.notes?.length ? "" : word("model.silent"));
    element(notes).replaceChildren(
      ...(short ? [make("p", {}, make("strong", {}, short))] : []),
      ...listed("model.is_for", model?.is_for),
      ...listed("model.is_not_for", model?.is_not_for),
      notesOf(model?.notes ?? [], !short),
    );
  };
  select.addEventListener("change", tell);
  tell();
}

/** What must be known, one line each, folded away. @param {string[]} notes @param {boolean} open @param {string} label */
export function notesOf(notes, open = false, label = word("job.notes")) {
  const title = make("summary", { textContent: word("job.notes"), aria: { label } });
  const lines = notes.map((note) => make("p", { className: "caption", textContent: note }));
  return make("details", { hidden: !notes.length, open }, title, ...lines);
}

/** A title and a list below it; nothing where it is empty. @param {string} title a word's name @param {string[]} [items] */
function listed(title, items = []) {
  if (!items.length) return [];
  return [make("p", { className: "caption" }, word(title)), make("ul", {}, ...items.map((item) => make("li", {}, item)))];
}
