// The recording of a job in a player; where the browser can't play it, the copy that its report holds.

import { address, ask, resultAddress } from "../common/api.js";
import { element, tell } from "../common/dom.js";
import { word } from "../common/words.js";

let copy = "";

/** Load a job's recording. @param {import("../videos/jobs.js").Job} job */
export function loadRecording(job) {
  const video = element("rated-video");
  tell(element("rated-trouble"), "");
  tell(element("rated-copy"), "");
  video.onerror = () => loadCopy(job, video);
  video.src = address(`api/jobs/${job.id}/input`);
}

/** Unload it. */
export function dropRecording() {
  const video = element("rated-video");
  video.onerror = null;
  video.removeAttribute("src");
  video.load();
}

async function loadCopy(job, video) {
  const trouble = () => tell(element("rated-trouble"), word("annotate.cant-play"));
  video.onerror = trouble;
  const report = job.results.find((name) => name.endsWith(".html"));
  const page = report && await ask(resultAddress(job.id, report)).then((answer) => answer.text()).catch(() => "");
  const parts = [...(page || "").matchAll(/<script type="application\/octet-stream" class="video-part">([^<]*)<\/script>/g)];
  if (!parts.length) { trouble(); return; }
  const bytes = parts.map(([, text]) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)));
  URL.revokeObjectURL(copy);
  copy = URL.createObjectURL(new Blob(bytes, { type: "video/mp4" }));
  video.src = copy;
  tell(element("rated-copy"), word("annotate.copy"));
}
