// Which sense the model relies on at the moment, as bars with words and numbers.

import { element, make } from "../common/dom.js";
import { known, percent } from "../common/format.js";
import { hasWord, word } from "../common/words.js";

const RELIED = /^(.+)_(reliability|weight)$/;
const ATTENDED = /^(.+)_attended$/;
const PRESENCE = { voice: "audio" }; // whose gate means nothing without what

const label = (sense) => (hasWord(`reliance.sense.${sense}`) ? word(`reliance.sense.${sense}`) : sense);

/**
 * Prepare the bars.
 * @param {string[]} gates names
 * @returns {(result: import("./results.js").Result) => void} shows a result
 */
export function relianceBars(gates) {
  const relied = gates.filter((name) => RELIED.test(name));
  const shown = relied.length ? relied : gates.filter((name) => ATTENDED.test(name));
  const kind = relied.length ? "reliability" : "attended";
  element("reliance").hidden = !shown.length;
  element("reliance-title").textContent = word(`reliance.${kind}`);
  element("reliance-text").textContent = word(`reliance.${kind}.text`);
  const bars = shown.map((gate) => {
    const sense = gate.match(relied.length ? RELIED : ATTENDED)[1];
    const bar = make("span", { className: "part" });
    const aria = { label: label(sense), valuemin: 0, valuemax: 100, valuenow: 0 };
    const track = make("div", { className: `track ${sense}`, role: "meter", aria }, bar);
    const value = make("span", { className: "value" });
    const name = make("span", {}, label(sense));
    return { gate, sense, bar, track, value, name, row: make("div", { className: "bar" }, name, track, value) };
  });
  element("reliance-bars").replaceChildren(...bars.map((each) => each.row));
  return (result) => {
    for (const { gate, sense, bar, track, value, name } of bars) {
      // Where nobody speaks, it is other sounds that are relied on.
      const called = label(sense === "voice" && result.present.voice === false && result.present.audio ? "sound" : sense);
      if (name.textContent !== called) {
        name.textContent = called;
        track.setAttribute("aria-label", called);
      }
      const there = (result.present[PRESENCE[sense] ?? sense] ?? true) && known(result.gates[gate]);
      const share = there ? Math.round(100 * result.gates[gate]) : 0;
      bar.style.width = `${share}%`;
      track.setAttribute("aria-valuenow", String(share));
      track.setAttribute("aria-valuetext", there ? percent(result.gates[gate]) : word("reliance.absent"));
      value.textContent = there ? percent(result.gates[gate]) : word("reliance.absent");
    }
  };
}
