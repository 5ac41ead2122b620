// Valence and arousal over the last half minute, with their intervals as bands; the newest is at the right.

import { colour, pen } from "../common/dom.js";
import { known, signed } from "../common/format.js";
import { word } from "../common/words.js";
import { ends, joined, WINDOW_S } from "./results.js";

const EDGE = 1.06;
const [LEFT, RIGHT, TOP, BOTTOM] = [26, 46, 20, 22];

/**
 * Draw them.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./results.js").Results} results
 * @param {string[]} names of the targets
 * @param {{said: import("./results.js").Result|undefined, dim: boolean, ended: boolean}} state said: whose numbers are
 *   written, which change less often than the curves; dim: whether the newest means little or is over
 */
export function drawCurves(canvas, results, names, { said, dim, ended }) {
  const { paint, width, height } = pen(canvas);
  const shown = results.kept.map((each) => each.result);
  const now = results.newest?.time_s ?? 0;
  const right = width - RIGHT;
  const x = (seconds) => right - ((now - seconds) / WINDOW_S) * (right - LEFT);
  const each = (height - BOTTOM) / names.length;
  names.forEach((name, k) => {
    const top = k * each + TOP;
    const y = (value) => top + ((EDGE - value) / (2 * EDGE)) * (each - TOP);
    const own = colour(["valence", "arousal"].includes(name) ? name : "other");
    drawAxes(paint, y, right);
    paint.textAlign = "left";
    paint.fillStyle = own;
    const title = word(name);
    const meaning = ["valence", "arousal"].includes(name) ? `: −1 ${word(`${name}.-1`)}, +1 ${word(`${name}.1`)}` : "";
    paint.fillText(title + meaning, LEFT, top - 6);
    paint.save();
    paint.beginPath();
    paint.rect(LEFT, top - 2, right - LEFT, each - TOP + 4);
    paint.clip();
    drawBand(paint, shown, name, x, y, own);
    drawLine(paint, shown, name, x, y, own);
    paint.restore();
    const value = results.newest?.targets[name];
    if (!known(value)) return;
    paint.beginPath();
    paint.arc(right, y(value), 4, 0, 2 * Math.PI);
    paint.fillStyle = dim ? colour("edge") : own;
    paint.fill();
    paint.fillStyle = dim ? colour("muted") : own;
    if (known(said?.targets[name])) paint.fillText(signed(said.targets[name]), right + 7, y(value) + 4);
  });
  drawTimes(paint, (ago) => x(now - ago), height, word(ended ? "live.end" : "now"));
}

function drawAxes(paint, y, right) {
  for (const value of [-1, -0.5, 0, 0.5, 1]) {
    Object.assign(paint, { strokeStyle: colour(value ? "grid" : "line"), lineWidth: value ? 1 : 2 });
    paint.beginPath();
    paint.moveTo(LEFT, y(value));
    paint.lineTo(right, y(value));
    paint.stroke();
  }
  paint.fillStyle = colour("muted");
  paint.textAlign = "right";
  for (const [value, text] of [[-1, "−1"], [0, "0"], [1, "+1"]]) paint.fillText(text, LEFT - 5, y(value) + 4);
}

function drawBand(paint, results, name, x, y, own) {
  let stretch = [];
  const close = () => {
    if (stretch.length > 1) {
      paint.beginPath();
      for (const [left, , high] of stretch) paint.lineTo(left, high);
      for (const [left, low] of stretch.reverse()) paint.lineTo(left, low);
      paint.fill();
    }
    stretch = [];
  };
  Object.assign(paint, { fillStyle: own, globalAlpha: 0.18 });
  results.forEach((result, i) => {
    const both = ends(result, name);
    if (i && !joined(results[i - 1], result)) close();
    if (both) stretch.push([x(result.time_s), y(both[0]), y(both[1])]); else close();
  });
  close();
  paint.globalAlpha = 1;
}

function drawLine(paint, results, name, x, y, own) {
  Object.assign(paint, { strokeStyle: own, lineWidth: 2, lineJoin: "round" });
  paint.beginPath();
  let before = null;
  for (const result of results) {
    const value = result.targets[name];
    const on = before && joined(before, result);
    if (known(value)) paint[on ? "lineTo" : "moveTo"](x(result.time_s), y(value));
    before = known(value) ? result : null;
  }
  paint.stroke();
}

function drawTimes(paint, x, height, newest) {
  paint.textAlign = "center";
  paint.fillStyle = colour("muted");
  for (const seconds of [0, 10, 20, 30]) {
    paint.fillText(seconds ? word("seconds", { n: `−${seconds}` }) : newest, x(seconds), height - 6);
  }
}
