"use strict";
// What moves: the current frame, and the video, plots and words that follow it.

const element = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const trace = readTrace();
const last = trace.time.length - 1;
const whole = [trace.time[0], trace.edges[last + 1]];
const strips = trace.panels.map((panel) => stripsPlot(element(`plot-${panel.name}`), trace, panel.rows));
const curves = element("plot-curves"); // a single frame has none
const timePlots = curves ? [curvesPlot(curves, trace), ...strips] : strips;
const plane = element("plane") && planePlot(element("plane"), trace);
const plots = plane ? [...timePlots, plane] : timePlots;
let frame = 0;
let view = whole;
let nextTick = 0;
let clock = wallClock();

function readTrace() {
  const data = JSON.parse(element("trace").textContent);
  data.edges = [...data.time, data.end];
  data.frameAt = (seconds) => { // the last frame that has begun
    let lo = 0, hi = data.time.length - 1;
    while (lo < hi) {
      const middle = (lo + hi + 1) >> 1;
      if (data.time[middle] <= seconds + 1e-6) lo = middle; else hi = middle - 1;
    }
    return lo;
  };
  data.framesIn = ([start, end]) => { // from the one before those on show to the one after them: first, and last + 1
    return [Math.max(0, data.frameAt(start) - 1), Math.min(data.time.length, data.frameAt(end) + 2)];
  };
  return data;
}

// The clock of a report without a video.
function wallClock() {
  let at = whole[0], since = null, rate = 1;
  const now = () => (since === null ? at : Math.min(whole[1], at + (rate * (performance.now() - since)) / 1000));
  const playing = () => since !== null && now() < whole[1];
  const set = (seconds) => { since = playing() ? performance.now() : null; at = seconds; };
  return {
    now,
    playing,
    seek: set,
    play: () => { at = now() < whole[1] ? now() : whole[0]; since = performance.now(); playingChanged(); },
    pause: () => { at = now(); since = null; playingChanged(); },
    setRate: (value) => { set(now()); rate = value; },
  };
}

function videoClock(video) {
  let wanted = null;
  const apply = () => { // while one seek is under way only the newest of the others is kept
    if (video.seeking || wanted === null) return;
    video.currentTime = wanted;
    wanted = null;
  };
  video.addEventListener("seeked", apply);
  video.addEventListener("click", togglePlay);
  for (const event of ["play", "pause", "ended"]) video.addEventListener(event, playingChanged);
  return {
    now: () => wanted ?? video.currentTime,
    seek: (seconds) => { wanted = seconds; apply(); },
    playing: () => !video.paused && !video.ended,
    play: () => video.play().catch(playingChanged), // a browser may refuse; the button then goes on saying "Play"
    pause: () => video.pause(),
    setRate: (value) => { video.playbackRate = value; },
  };
}

function attachVideo(video) {
  const parts = all("script.video-part").map((part) => {
    const bytes = Uint8Array.from(atob(part.textContent), (character) => character.charCodeAt(0));
    part.remove();
    return bytes;
  });
  const change = (newClock) => {
    clock.pause();
    clock = newClock;
    clock.setRate(Number(element("speed").value));
    clock.seek(middleOf(frame));
  };
  video.addEventListener("loadedmetadata", () => {
    change(videoClock(video));
    markFace();
  });
  video.addEventListener("error", () => {
    change(wallClock());
    element("sound").hidden = true;
    element("video-trouble").hidden = false;
    video.remove();
    element("followed").hidden = true;
  });
  element("sound").addEventListener("click", () => {
    video.muted = !video.muted;
    element("sound").setAttribute("aria-pressed", String(video.muted));
  });
  video.src = URL.createObjectURL(new Blob(parts, { type: "video/mp4" }));
}

// Seeking to the middle of a frame shows that frame, however the video's own timestamps are rounded.
const middleOf = (i) => (trace.edges[i] + trace.edges[i + 1]) / 2;

function show(i) {
  frame = Math.min(last, Math.max(0, i));
  const seconds = trace.time[frame];
  if (seconds < view[0] || seconds >= view[1]) setView(seconds - 0.1 * (view[1] - view[0]), view[1] - view[0]);
  for (const plot of plots) plot.place(frame);
  markFace();
  if (plane) element("plane-words").textContent = plane.words(frame);
  element("time").textContent = clockText(seconds, 3);
  element("time").href = `#t=${seconds.toFixed(3)}`;
  element("frame-number").textContent = frame + 1;
  for (const output of all("[data-curve]")) {
    output.textContent = signed(trace.curves[output.dataset.curve].values[frame]);
  }
  for (const output of all("[data-present]")) {
    const { yes, no, present } = output.dataset;
    output.textContent = trace.panels[0].rows[present].values[frame] ? yes : no;
  }
  const word = (value) => (value === null ? "unknown" : signed(value));
  const words = trace.curves.map((curve) => `${curve.name} ${word(curve.values[frame])}`);
  element("slider").value = frame;
  element("slider").setAttribute("aria-valuetext", [clockText(seconds, 3), ...words].join(", "));
}

// The box about the followed person's face, on the picture as it is fitted into its element.
function markFace() {
  const picture = document.querySelector("#picture video, #picture img");
  const box = picture && trace.boxes && trace.boxes[frame];
  if (!picture) return;
  const size = [picture.videoWidth || picture.naturalWidth, picture.videoHeight || picture.naturalHeight];
  element("followed").hidden = !box || !size[0]; // not loaded yet
  if (!box || !size[0]) return;
  const room = [picture.clientWidth, picture.clientHeight];
  const scale = Math.min(room[0] / size[0], room[1] / size[1]);
  const [left, top, width, height] = box.map((part, k) => (part / 1000) * size[k % 2] * scale);
  const aside = [0, 1].map((k) => (room[k] - size[k] * scale) / 2);
  Object.assign(element("followed").style, {
    transform: `translate(${aside[0] + left}px, ${aside[1] + top}px)`, width: `${width}px`, height: `${height}px`,
  });
}

function seek(i) {
  show(i);
  clock.seek(middleOf(frame));
}

function seekFragment() {
  const match = /^#t=(-?[\d.]+)$/.exec(location.hash);
  if (match) seek(trace.frameAt(Number(match[1])));
}

function togglePlay() {
  if (!clock.playing()) { clock.play(); return; }
  clock.pause();
  seek(trace.frameAt(clock.now())); // the picture, the plots and the words rest on the same frame
}

function playingChanged() {
  const playing = clock.playing();
  element("play").classList.toggle("playing", playing);
  element("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  cancelAnimationFrame(nextTick);
  if (playing) nextTick = requestAnimationFrame(tick);
}

function tick() {
  show(trace.frameAt(clock.now()));
  if (clock.playing()) nextTick = requestAnimationFrame(tick); else playingChanged();
}

function setView(start, span) {
  const [first, end] = whole;
  span = Math.min(end - first, Math.max(span, Math.min(0.5, end - first)));
  start = Math.min(Math.max(start, first), end - span);
  view = [start, start + span];
  for (const plot of plots) { plot.draw(view); plot.place(frame); }
  element("zoom-all").disabled = element("zoom-out").disabled = span >= end - first;
}

function zoom(factor, around = trace.time[frame]) {
  const span = view[1] - view[0];
  setView(around - (around - view[0]) * factor, span * factor);
}

function redraw() {
  setView(view[0], view[1] - view[0]);
  show(frame);
}

function hover(plot, event) {
  const seconds = plot && plot.seconds(event.clientX);
  const inside = plot && seconds >= view[0] && seconds < view[1];
  for (const each of timePlots) each.ghost(inside ? seconds : null);
  element("tip").hidden = !inside;
  if (!inside) return;
  const i = trace.frameAt(seconds);
  const tip = element("tip");
  tip.textContent = [clockText(trace.time[i], 3), ...plot.words(i)].join("\n");
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const top = Math.max(8, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 70));
  tip.style.transform = `translate(${left}px, ${top}px)`;
}

function listen() {
  for (const plot of timePlots) {
    const goTo = (event) => {
      seek(trace.frameAt(Math.min(Math.max(plot.seconds(event.clientX), view[0]), view[1] - 1e-4)));
    };
    plot.element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      plot.element.setPointerCapture(event.pointerId);
      goTo(event);
    });
    plot.element.addEventListener("pointermove", (event) => {
      if (plot.element.hasPointerCapture(event.pointerId)) goTo(event);
      hover(plot, event);
    });
    plot.element.addEventListener("pointerleave", () => hover(null));
    plot.element.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 0.8 : 1.25, plot.seconds(event.clientX));
    }, { passive: false });
  }
  const click = (id, action) => element(id).addEventListener("click", action);
  click("play", togglePlay);
  click("back", () => seek(frame - 1));
  click("on", () => seek(frame + 1));
  click("zoom-in", () => zoom(0.5));
  click("zoom-out", () => zoom(2));
  click("zoom-all", () => setView(whole[0], whole[1] - whole[0]));
  element("slider").addEventListener("input", () => seek(Number(element("slider").value)));
  element("speed").addEventListener("change", () => clock.setRate(Number(element("speed").value)));
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", seekFragment);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  if (element("picture")) new ResizeObserver(markFace).observe(element("picture"));
  for (const picture of all("#picture img")) picture.addEventListener("load", markFace);
  if (!timePlots.length) return;
  let width = timePlots[0].element.clientWidth;
  new ResizeObserver(([{ target }]) => {
    if (width === target.clientWidth) return;
    width = target.clientWidth;
    redraw();
  }).observe(timePlots[0].element);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
  const second = (sign) => trace.frameAt(trace.time[frame] + sign);
  const actions = {
    ArrowLeft: () => seek(event.shiftKey ? Math.min(second(-1), frame - 1) : frame - 1),
    ArrowRight: () => seek(event.shiftKey ? Math.max(second(1), frame + 1) : frame + 1),
    Home: () => seek(0),
    End: () => seek(last),
    "+": () => zoom(0.5),
    "=": () => zoom(0.5),
    "-": () => zoom(2),
    0: () => setView(whole[0], whole[1] - whole[0]),
    " ": event.target.closest("button, summary, a") ? undefined : togglePlay,
    // The page of a server shows it in a frame, and can't hear its keys.
    Escape: parent === window ? undefined : () => parent.postMessage("close", "*"),
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

listen();
redraw();
seekFragment();
// The video's bytes stand at the end of the page, so that everything else is there first.
addEventListener("DOMContentLoaded", () => { if (element("video")) attachVideo(element("video")); });
