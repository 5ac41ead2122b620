// The bar that a rater moves along: with the mouse, a finger, keys, or the stick of a gamepad.

import { element } from "../common/dom.js";
import { signed } from "../common/format.js";

const [STEP, LARGE] = [0.05, 0.2];
const STILL = 0.08; // a stick at rest says less than that

let value = 0;
let stick = 0;

/** The value that the rater says now, in [-1, 1]. @returns {number} */
export const padValue = () => value;

/** Move the bar. @param {number} to */
export function setPad(to) {
  value = Math.round(100 * Math.max(-1, Math.min(1, to))) / 100 + 0;
  const pad = element("pad");
  pad.setAttribute("aria-valuenow", String(value));
  pad.setAttribute("aria-valuetext", signed(value));
  element("pad-knob").style.bottom = `${50 * (value + 1)}%`;
  element("pad-value").textContent = signed(value);
}

/** Take over what a gamepad says, where there is one; called again and again. */
export function readGamepad() {
  const pads = navigator.getGamepads?.() ?? [];
  const axis = [...pads].find(Boolean)?.axes[1] ?? 0;
  const moved = Math.abs(axis) < STILL ? 0 : -axis; // up is negative there
  if (Math.abs(moved - stick) < 0.01) return;
  stick = moved;
  setPad(moved);
}

/** Let mouse and keys move it. @param {{toggle: () => void}} acts */
export function startPad({ toggle }) {
  const pad = element("pad");
  const follow = (event) => {
    const box = pad.getBoundingClientRect();
    setPad(1 - (2 * (event.clientY - box.top)) / box.height);
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
    else if (to !== undefined) setPad(to);
    else return;
    event.preventDefault();
  });
  setPad(0);
}
