// A rating over the whole recording, with the estimate behind it.

import { colour, pen } from "../common/dom.js";
import { clock, known } from "../common/format.js";
import { word } from "../common/words.js";

const EDGE = 1.06;
const [LEFT, RIGHT, TOP, BOTTOM] = [26, 12, 20, 22];

/**
 * Draw it.
 * @param {HTMLCanvasElement} canvas
 * @param {{points: {time_s: number, value: number}[], estimate: import("./estimate.js").Estimate|null, target: string,
 *   seconds: number, now_s: number}} shown seconds: the recording's length
 */
export function drawRating(canvas, { points, estimate, target, seconds, now_s }) {
  const { paint, width, height } = pen(canvas);
  const x = (time) => LEFT + (time / Math.max(seconds, 0.1)) * (width - LEFT - RIGHT);
  const y = (value) => TOP + ((EDGE - value) / (2 * EDGE)) * (height - TOP - BOTTOM);
  drawAxes(paint, x, y, width, height, seconds);
  paint.save(); // the estimate and its band may reach beyond the recording's end, or beyond 1
  paint.beginPath();
  paint.rect(LEFT, TOP, width - LEFT - RIGHT, height - TOP - BOTTOM);
  paint.clip();
  const own = colour(target === "arousal" ? "arousal" : "valence");
  if (estimate) {
    Object.assign(paint, { strokeStyle: colour("muted"), fillStyle: colour("muted"), lineWidth: 1.5 });
    drawBand(paint, estimate, x, y);
    paint.setLineDash([5, 3]);
    drawLine(paint, estimate.time_s.map((time_s, i) => ({ time_s, value: estimate.value[i] })), x, y, Infinity);
    paint.setLineDash([]);
  }
  Object.assign(paint, { strokeStyle: own, lineWidth: 2.5 });
  drawLine(paint, points, x, y, 0.1);
  paint.restore();
  paint.textAlign = "left";
  paint.fillStyle = own;
  paint.fillText(`── ${word("annotate.yours")}`, LEFT, 13);
  if (estimate) {
    const right = LEFT + paint.measureText(`── ${word("annotate.yours")}`).width + 16;
    paint.fillStyle = colour("muted");
    paint.fillText(`- - ${word("annotate.estimated")}`, right, 13);
  }
  Object.assign(paint, { strokeStyle: colour("head"), lineWidth: 2 });
  paint.beginPath();
  paint.moveTo(x(now_s), TOP);
  paint.lineTo(x(now_s), height - BOTTOM);
  paint.stroke();
}

/** The moment that a place of the drawing is about. @param {HTMLCanvasElement} canvas @param {number} clientX @param {number} seconds */
export function momentAt(canvas, clientX, seconds) {
  const box = canvas.getBoundingClientRect();
  const share = (clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
  return Math.max(0, Math.min(1, share)) * seconds;
}

function drawAxes(paint, x, y, width, height, seconds) {
  for (const value of [-1, 0, 1]) {
    Object.assign(paint, { strokeStyle: colour(value ? "grid" : "line"), lineWidth: 1, fillStyle: colour("muted"), textAlign: "right" });
    paint.beginPath();
    paint.moveTo(LEFT, y(value));
    paint.lineTo(width - RIGHT, y(value));
    paint.stroke();
    paint.fillText(["−1", "0", "+1"][value + 1], LEFT - 5, y(value) + 4);
  }
  paint.textAlign = "center";
  const steps = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];
  const step = steps.find((each) => x(each) - x(0) >= 60) ?? 7200;
  for (let time = 0; time <= seconds; time += step) paint.fillText(clock(time), x(time), height - 6);
}

function drawBand(paint, { time_s, low, high }, x, y) {
  if (!low || !high) return;
  paint.globalAlpha = 0.14;
  let first = 0;
  const there = (i) => i < time_s.length && known(low[i]) && known(high[i]);
  for (let i = 0; i <= time_s.length; i++) {
    if (there(i)) continue;
    paint.beginPath();
    for (let k = first; k < i; k++) paint.lineTo(x(time_s[k]), y(high[k]));
    for (let k = i - 1; k >= first; k--) paint.lineTo(x(time_s[k]), y(low[k]));
    paint.fill();
    first = i + 1;
  }
  paint.globalAlpha = 1;
}

function drawLine(paint, points, x, y, gap_s) {
  paint.beginPath();
  let before = null;
  for (const point of points) {
    if (!known(point.value)) { before = null; continue; }
    const joined = before && point.time_s - before.time_s <= gap_s;
    paint[joined ? "lineTo" : "moveTo"](x(point.time_s), y(point.value));
    before = point;
  }
  paint.stroke();
}
