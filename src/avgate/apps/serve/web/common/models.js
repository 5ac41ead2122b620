// The models that the server has, and what each is and isn't for.

import { element, make } from "./dom.js";
import { word } from "./words.js";

/** @typedef {{name: string, called: string, causal: boolean, targets: string[], notes: string[], is_for: string[], is_not_for: string[]}} Model */

/**
 * Fill a choice of models, and tell of the chosen one.
 * @param {Model[]} models
 * @param {string} choice id of the select
 * @param {string} notes id of the element for what must be known of it
 */
export function offerModels(models, choice, notes) {
  const select = element(choice);
  select.replaceChildren(...models.map((model) => make("option", { value: model.name }, model.called || model.name)));
  if (!models.length) select.append(make("option", { value: "" }, word("model.none")));
  const tell = () => {
    const model = models.find((each) => each.name === select.value);
    const lines = model?.notes?.length ? model.notes : [word("model.silent")];
    element(notes).replaceChildren(
      ...lines.map((line) => make("p", {}, line)),
      ...listed("model.is_for", model?.is_for),
      ...listed("model.is_not_for", model?.is_not_for),
    );
  };
  select.addEventListener("change", tell);
  tell();
}

/** A title and a list below it; nothing where it is empty. @param {string} title a word's name @param {string[]} [items] */
function listed(title, items = []) {
  if (!items.length) return [];
  return [make("p", { className: "caption" }, word(title)), make("ul", {}, ...items.map((item) => make("li", {}, item)))];
}
