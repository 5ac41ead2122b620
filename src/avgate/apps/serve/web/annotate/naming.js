// What ratings are called on the server, and what the page remembers of the rater from one visit to the next.

import { element, tell } from "../common/dom.js";
import { word } from "../common/words.js";

const LONGEST = 60; // the server takes 80 characters, the target's name among them

/**
 * A rater's name as the server keeps it: without accents, as it does with names of files.
 * @param {string} typed such as "Anna Müller"
 * @returns {string} such as "Anna-Muller"; empty where no letter or digit is left
 */
export function plainName(typed) {
  const bare = typed.normalize("NFKD").replace(/\p{M}/gu, "");
  return bare.replace(/[^A-Za-z0-9_-]+/g, "-").slice(0, LONGEST).replace(/^-+|-+$/g, "");
}

/** Show beside the name what a rating by it will be called. @param {string} target */
export function showName(target) {
  const typed = element("rater").value;
  const plain = plainName(typed);
  const unfit = typed.trim() ? word("annotate.name.unfit") : word("annotate.name.none");
  tell(element("rater-as"), plain ? word("annotate.name.as", { name: `${plain}-${target}` }) : unfit);
}

/** What was remembered; empty where there is nothing, or the browser keeps nothing. @param {"rater"|"job"} what */
export function remembered(what) {
  try { return localStorage.getItem(`avgate.annotate.${what}`) ?? ""; } catch { return ""; }
}

/** Remember it. @param {"rater"|"job"} what @param {string} value */
export function remember(what, value) {
  try { localStorage.setItem(`avgate.annotate.${what}`, value); } catch { /* the browser keeps nothing */ }
}
