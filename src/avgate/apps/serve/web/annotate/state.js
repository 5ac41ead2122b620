// What the page says of a rating, and which of its buttons can be pressed.

import { element, tell } from "../common/dom.js";
import { word } from "../common/words.js";
import { ownDelay } from "./estimate.js";

/**
 * Say it.
 * @param {{rating: import("./rating.js").Rating, estimate: import("./estimate.js").Estimate|null, doing: string, unsaved: boolean}} now
 *   doing: words for what goes on while it is drawn, or for what was done last
 * @param {boolean} drawing
 */
export function tellState({ rating, estimate, doing, unsaved }, drawing) {
  const own = ownDelay(rating, estimate);
  const words = own && word("annotate.own", { n: own.delay_s.toFixed(1), r: own.r.toFixed(2) });
  tell(element("own-delay"), words || word("annotate.own.unknown"));
  const rated = unsaved ? word("annotate.unsaved", { n: rating.seconds.toFixed(1) }) : "";
  tell(element("rate-state"), [doing, rated].filter(Boolean).join(" "));
  tell(element("rate-anchored"), rating.anchored ? word("annotate.anchored") : "");
  for (const id of ["rate-clear", "rate-save"]) element(id).disabled = rating.empty;
  element("rate-draw").setAttribute("aria-pressed", String(drawing));
  const next = unsaved && !drawing ? "rate-save" : "rate-draw"; // the one thing to do now
  for (const id of ["rate-draw", "rate-save"]) element(id).classList.toggle("primary", id === next);
}
