// Cameras and microphones: which there are, and how one is switched on.

import { element, make } from "../common/dom.js";
import { word } from "../common/words.js";

const KINDS = [["camera", "videoinput"], ["microphone", "audioinput"]];

/** Fill the choices of devices; names are known once the browser was allowed to use one. */
export async function offerDevices() {
  const found = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
  for (const [id, kind] of KINDS) {
    const select = element(id);
    const chosen = select.value;
    const named = found.filter((device) => device.kind === kind && device.deviceId);
    const options = named.map((device, i) => {
      const label = device.label || word("live.numbered", { kind: word(`live.${id}`), n: i + 1 });
      return make("option", { value: device.deviceId }, label);
    });
    const usual = make("option", { value: "" }, word("live.usual"));
    select.replaceChildren(usual, ...options, make("option", { value: "none" }, word("live.none")));
    if ([...select.options].some((option) => option.value === chosen)) select.value = chosen;
  }
}

/**
 * Switch on what is chosen.
 * @returns {Promise<MediaStream>}
 * @throws {Error} with words for what is wrong
 */
export async function openDevices() {
  const [camera, microphone] = KINDS.map(([id]) => element(id).value);
  if (camera === "none" && microphone === "none") throw new Error(word("live.error.nothing"));
  if (!navigator.mediaDevices?.getUserMedia) throw new Error(word("live.error.insecure"));
  const wanted = (id) => (id ? { deviceId: { exact: id } } : {});
  const video = camera !== "none" && { ...wanted(camera), width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 25 } };
  // Cleaning would take out what the voice says about arousal.
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
  const audio = microphone !== "none" && { ...wanted(microphone), ...plain };
  try {
    return await navigator.mediaDevices.getUserMedia({ video, audio });
  } catch (error) {
    const key = `live.error.${error.name}`;
    throw new Error(word(key) === key ? word("live.error.other", { error: error.message }) : word(key));
  }
}
