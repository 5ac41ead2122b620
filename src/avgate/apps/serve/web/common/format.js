// Numbers as people read them.

import { word } from "./words.js";

/** @param {number|null|undefined} value @returns {boolean} */
export const known = (value) => typeof value === "number" && Number.isFinite(value);

/** A value with its sign: +0.12, −0.30. @param {number|null|undefined} value */
export const signed = (value) => (known(value) ? (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2) : "–");

/** @param {number} share in [0, 1] */
export const percent = (share) => word("percent", { n: Math.round(100 * share) });

/** Bytes in the unit that fits. @param {number} bytes */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const unit = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  const number = bytes / 1000 ** unit;
  return `${number.toFixed(number < 10 && unit ? 1 : 0)} ${units[unit]}`;
}

/** Minutes and seconds: 0:07, 12:30. @param {number} seconds */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** A time of the clock: 12:31, with its date where that isn't today. @param {string|undefined} iso */
export function moment(iso) {
  const when = new Date(iso ?? "");
  if (Number.isNaN(when.getTime())) return "";
  const language = document.documentElement.lang;
  const time = when.toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const today = when.toDateString() === new Date().toDateString();
  return today ? time : `${when.toLocaleDateString(language, { dateStyle: "medium" })}, ${time}`;
}

/**
 * A point of the plane in words, as the report has them.
 * @param {number|null|undefined} valence
 * @param {number|null|undefined} arousal
 */
export function pointWords(valence, arousal) {
  if (!known(valence) || !known(arousal)) return word("no-estimate");
  if (Math.hypot(valence, arousal) < 0.1) return word("neutral");
  const degree = (value) => (Math.abs(value) < 0.35 ? "slight" : Math.abs(value) < 0.7 ? "plain" : "very");
  const side = (name, value) => word(`degree.${degree(value)}`, { word: word(`${name}.${value < 0 ? -1 : 1}`) });
  return `${side("valence", valence)}, ${side("arousal", arousal)}`;
}

/** The number in the middle. @param {number[]} values @returns {number} NaN of none */
export function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted.length ? sorted[sorted.length >> 1] : NaN;
}
