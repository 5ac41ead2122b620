// The followed face in the picture, and whether further people are in view.

import { element, say } from "../common/dom.js";
import { word } from "../common/words.js";

/**
 * Show whose face is estimated.
 * @param {import("./results.js").Result|undefined} result the newest one; none hides it all
 */
export function showFace(result) {
  const box = element("face-box");
  const video = element("preview");
  const others = Boolean(result?.others);
  if (others && element("others").hidden) say(word("live.others"));
  element("others").hidden = !others;
  box.hidden = !result?.face_box || !video.videoWidth;
  if (box.hidden) return;
  const [width, height] = [video.clientWidth, video.clientHeight];
  // The whole picture lies in the middle of the element, mirrored as in a mirror.
  const scale = Math.min(width / video.videoWidth, height / video.videoHeight);
  const [across, down] = [video.videoWidth * scale, video.videoHeight * scale];
  const [x0, y0, x1, y1] = result.face_box;
  const px = (value) => `${value.toFixed(1)}px`;
  box.style.left = px((width - across) / 2 + (1 - x1) * across);
  box.style.top = px((height - down) / 2 + y0 * down);
  box.style.width = px((x1 - x0) * across);
  box.style.height = px((y1 - y0) * down);
}
