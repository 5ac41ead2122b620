// The bar that a rater moves along: with the mouse, a finger, keys, or the stick of a gamepad. It says nothing until it is touched.

import { element } from "../common/dom.js";
import { signed } from "../common/format.js";
import { word } from "../common/words.js";

const [STEP, LARGE] = [0.05, 0.2];
const STILL = 0.08; // a stick at rest says less than that

let value = 0;
let stick = 0;
let touched = false;
let onTouch = () => {};

/** The value that the rater says now, in [-1, 1]; null as long as the bar isn't touched. @returns {number|null} */
export const padValue = () => (touched ? value : null);

/** Wait for the next touch of the bar, which stays where it is. */
export function restPad() {
  touched = false;
  element("pad").classList.add("untouched");
  element("pad").setAttribute("aria-valuetext", word("annotate.pad.untouched"));
  element("pad-value").textContent = "–";
}

/** Put the bar to the middle, as if it had never been touched. @param {string} target what it is about */
export function resetPad(target) {
  for (const [id, end] of [["pad-top", 1], ["pad-bottom", -1]]) {
    element(id).textContent = `${end < 0 ? "−" : "+"}1 ${word(`${target}.${end}`)}`;
  }
  setPad(0);
  restPad();
}

function touch(to) {
  setPad(to);
  if (touched) return;
  touched = true;
  onTouch();
}

function setPad(to) {
  value = Math.round(100 * Math.max(-1, Math.min(1, to))) / 100 + 0;
  const pad = element("pad");
  pad.setAttribute("aria-valuenow", String(value));
  pad.setAttribute("aria-valuetext", signed(value));
  pad.classList.remove("untouched");
  element("pad-knob").style.bottom = `${50 * (value + 1)}%`;
  element("pad-value").textContent = signed(value);
}

/** Take over what a gamepad says, where there is one; called again and again. */
export function readGamepad() {
  const pads = navigator.getGamepads?.() ?? [];
  const axis = [...pads].find(Boolean)?.axes[1] ?? 0;
  const moved = Math.abs(axis) < STILL ? 0 : -axis; // up is negative there
  if (Math.abs(moved - stick) < 0.01 && (touched || !moved)) return; // at rest it says nothing, but held it does
  stick = moved;
  touch(moved);
}

/** Let mouse and keys move it. @param {{toggle: () => void, touched: () => void}} acts touched: at the first touch */
export function startPad({ toggle, touched: told }) {
  onTouch = told;
  const pad = element("pad");
  const follow = (event) => {
    const box = pad.getBoundingClientRect();
    touch(1 - (2 * (event.clientY - box.top)) / box.height);
  };
  pad.addEventListener("pointermove", follow);
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    follow(event);
  });
  pad.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? LARGE : STEP;
    const to = {
      ArrowUp: value + step, ArrowRight: value + step, ArrowDown: value - step, ArrowLeft: value - step,
      PageUp: value + LARGE, PageDown: value - LARGE, Home: -1, End: 1, 0: 0,
    }[event.key];
    if (event.key === " ") toggle();
    else if (to !== undefined) touch(to);
    else return;
    event.preventDefault();
  });
  setPad(0);
  restPad();
}
