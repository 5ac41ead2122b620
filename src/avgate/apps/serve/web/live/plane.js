// The plane of valence and arousal: the newest estimate, its interval as a cloud, and where it was before.

import { colour, pen } from "../common/dom.js";
import { known } from "../common/format.js";
import { word } from "../common/words.js";
import { ends, joined } from "./results.js";

const TRAIL_S = 2;
const EDGE = 1.08;
const [LEFT, BOTTOM, MARGIN] = [26, 24, 8];

const NAMES = ["valence", "arousal"];
const [POINT_S, CLOUD_S] = [0.1, 0.4]; // the time in which each covers two thirds of its way

/** The newest point and cloud as they are shown: they follow what is estimated smoothly. */
export class Eased {
  /** @type {Record<string, number[]|null>} for each target value, low and high */
  shown = {};

  /** @param {import("./results.js").Result} result @param {number} seconds since the last time @returns {boolean} whether they still move */
  follow(result, seconds) {
    let moves = false;
    for (const name of NAMES) {
      const to = [result.targets[name], ...(ends(result, name) ?? [NaN, NaN])];
      const was = this.shown[name];
      if (!known(to[0])) { this.shown[name] = null; continue; }
      this.shown[name] = to.map((value, i) => {
        const share = 1 - Math.exp(-seconds / (i ? CLOUD_S : POINT_S));
        const next = known(was?.[i]) ? was[i] + share * (value - was[i]) : value;
        moves ||= Math.abs(next - value) > 0.002;
        return next;
      });
    }
    return moves;
  }
}

/**
 * Draw it.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./results.js").Results} results
 * @param {Eased} eased
 * @param {boolean} dim whether what is shown means little or is over
 */
export function drawPlane(canvas, results, eased, dim) {
  const { paint, width, height } = pen(canvas);
  if (!width) return; // its tab isn't shown
  const x = (v) => LEFT + ((v + EDGE) / (2 * EDGE)) * (width - LEFT - MARGIN);
  const y = (a) => MARGIN + ((EDGE - a) / (2 * EDGE)) * (height - MARGIN - BOTTOM);
  drawAxes(paint, x, y);
  const newest = results.newest;
  const [valence, arousal] = NAMES.map((name) => eased.shown[name]);
  const here = valence && arousal;
  const head = colour(dim ? "edge" : "head");
  if (here) drawCloud(paint, valence, arousal, x, y, head);
  drawWords(paint, x, y, width, height);
  if (newest) drawTrail(paint, results.recent(TRAIL_S).map((each) => each.result), x, y, head);
  if (!here) return;
  paint.beginPath();
  paint.arc(x(valence[0]), y(arousal[0]), 7, 0, 2 * Math.PI);
  Object.assign(paint, { fillStyle: head, strokeStyle: colour("card"), lineWidth: 2 });
  paint.fill();
  paint.stroke();
}

function drawAxes(paint, x, y) {
  Object.assign(paint, { strokeStyle: colour("grid"), lineWidth: 1 });
  paint.beginPath();
  for (const v of [-1, 0, 1]) {
    paint.moveTo(x(-EDGE), y(v));
    paint.lineTo(x(EDGE), y(v));
    paint.moveTo(x(v), y(-EDGE));
    paint.lineTo(x(v), y(EDGE));
  }
  paint.stroke();
  Object.assign(paint, { strokeStyle: colour("line"), lineWidth: 2 });
  paint.beginPath();
  paint.ellipse(x(0), y(0), x(1) - x(0), y(0) - y(1), 0, 0, 2 * Math.PI);
  paint.stroke();
}

function drawCloud(paint, valence, arousal, x, y, head) {
  const [across, up] = [valence.slice(1), arousal.slice(1)];
  if (![...across, ...up].every(known)) return;
  const middle = [(x(across[0]) + x(across[1])) / 2, (y(up[0]) + y(up[1])) / 2];
  const half = [Math.max(1, (x(across[1]) - x(across[0])) / 2), Math.max(1, (y(up[0]) - y(up[1])) / 2)];
  paint.save();
  paint.translate(...middle);
  paint.scale(...half);
  paint.beginPath();
  paint.arc(0, 0, 1, 0, 2 * Math.PI);
  paint.restore();
  paint.globalAlpha = 0.14;
  paint.fillStyle = head;
  paint.fill();
  paint.globalAlpha = 0.55;
  Object.assign(paint, { strokeStyle: head, lineWidth: 1 });
  paint.setLineDash([4, 4]);
  paint.stroke();
  paint.setLineDash([]);
  paint.globalAlpha = 1;
}

function drawTrail(paint, trail, x, y, head) {
  const there = (result) => known(result.targets.valence) && known(result.targets.arousal);
  Object.assign(paint, { strokeStyle: head, lineWidth: 3, lineCap: "round" });
  const newest = trail.at(-1)?.time_s;
  for (let i = 1; i < trail.length; i++) {
    const [one, other] = [trail[i - 1], trail[i]];
    if (!there(one) || !there(other) || !joined(one, other)) continue;
    paint.globalAlpha = 1 - (newest - one.time_s) / TRAIL_S;
    paint.beginPath();
    paint.moveTo(x(one.targets.valence), y(one.targets.arousal));
    paint.lineTo(x(other.targets.valence), y(other.targets.arousal));
    paint.stroke();
  }
  paint.globalAlpha = 1;
}

function drawWords(paint, x, y, width, height) {
  const aside = width < 320 ? 16 : 0; // else words meet
  const font = paint.font;
  const put = (text, left, top, align) => {
    paint.textAlign = align;
    Object.assign(paint, { lineWidth: 3, lineJoin: "round", strokeStyle: colour("card"), fillStyle: colour("muted") });
    paint.strokeText(text, left, top);
    paint.fillText(text, left, top);
  };
  for (const v of [-1, 1]) {
    for (const a of [-1, 1]) put(word(`corner.${v}.${a}`), x(v), y(a) + (a > 0 ? 8 + aside : -2 - aside), v > 0 ? "right" : "left");
    put(v < 0 ? "−1" : "+1", x(v), height - 8, "center");
    put(v < 0 ? "−1" : "+1", LEFT - 5, y(v) + 4, "right");
  }
  put(word("valence"), x(0), height - 8, "center");
  paint.save();
  paint.translate(LEFT - 12, y(0));
  paint.rotate(-Math.PI / 2);
  put(word("arousal"), 0, 0, "center");
  paint.restore();
  paint.font = `700 ${font}`;
  put(word("valence.1"), x(1), y(0) - 4, "right");
  put(word("valence.-1"), x(-1), y(0) - 4, "left");
  put(word("arousal.1"), x(0), y(1) + 14, "center");
  put(word("arousal.-1"), x(0), y(-1) - 5, "center");
  paint.font = font;
}
