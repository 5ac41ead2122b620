// Sound of the microphone in pieces of 20 ms, with times on the clock of performance.now().

export const RATE = 16_000; // samples a second
const APART_MS = 100; // where the two clocks are farther apart than that, sound was lost, and its times begin anew

/**
 * Begin to listen.
 * @param {MediaStream} stream
 * @param {(begin_ms: number, samples: Int16Array) => void} got
 * @returns {Promise<() => void>} ends it
 */
export async function listen(stream, got) {
  const context = new AudioContext({ sampleRate: RATE });
  try {
    await context.audioWorklet.addModule(new URL("sound-worklet.js", import.meta.url));
    await context.resume();
  } catch (error) {
    await context.close();
    throw error;
  }
  const node = new AudioWorkletNode(context, "pieces", { numberOfOutputs: 0 });
  const clock = soundClock();
  node.port.onmessage = ({ data: { samples, end } }) => {
    const length = (1000 * samples.length) / RATE;
    got(clock(1000 * end, performance.now()) - length, samples);
  };
  context.createMediaStreamSource(new MediaStream(stream.getAudioTracks())).connect(node);
  return () => { node.port.onmessage = null; context.close(); };
}

/**
 * From the sound's own clock, which counts samples, to that of the page: messages come late by a varying time, so that
 * the earliest ones tell how far the clocks are apart.
 * @returns {(sound_ms: number, now_ms: number) => number}
 */
export function soundClock() {
  let apart = null, earliest = Infinity, seen = 0;
  return (sound_ms, now_ms) => {
    const found = now_ms - sound_ms;
    apart ??= found;
    earliest = Math.min(earliest, found);
    if (++seen % 50 === 0) { // once a second
      if (Math.abs(earliest - apart) > APART_MS) apart = earliest;
      earliest = Infinity;
    }
    return sound_ms + apart;
  };
}
