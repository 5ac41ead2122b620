"use strict";
// What stands still: SVG has axes, curves and words, canvases have strips and the trail. Playheads are elements above
// them, so that moving one costs no redraw.

const BUCKETS = 800; // a curve is drawn with at most 5 points per bucket
const CELLS = 1500; // a strip is drawn with at most this many cells
const TICKS = 26; // height in pixels of the axis of time

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const signed = (value) => (value === null ? "–" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2));
const percent = (value) => (value === null ? "–" : `${Math.round(100 * value)} %`);

function clockText(seconds, decimals) {
  const scale = 10 ** decimals;
  const total = Math.round(Math.abs(seconds) * scale);
  const whole = Math.floor(total / scale);
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  const front = minutes < 60 ? `${minutes}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}`;
  const rest = decimals ? "." + String(total % scale).padStart(decimals, "0") : "";
  return `${seconds < 0 ? "−" : ""}${front}:${two(whole % 60)}${rest}`;
}

// The frames of lo..hi-1 to draw: all, or of each bucket the first, lowest, highest, last and first unknown one.
function framesToDraw(values, lo, hi, buckets) {
  const frames = [];
  if (hi - lo <= 5 * buckets) {
    for (let i = lo; i < hi; i++) frames.push(i);
    return frames;
  }
  for (let b = 0; b < buckets; b++) {
    const first = lo + Math.floor(((hi - lo) * b) / buckets);
    const end = lo + Math.floor(((hi - lo) * (b + 1)) / buckets);
    let low = first, high = first, unknown = first;
    for (let i = first; i < end; i++) {
      if (values[i] === null) { if (values[unknown] !== null) unknown = i; continue; }
      if (values[low] === null || values[i] < values[low]) low = i;
      if (values[high] === null || values[i] > values[high]) high = i;
    }
    frames.push(...[...new Set([first, low, high, unknown, end - 1])].sort((x, y) => x - y));
  }
  return frames;
}

// A line through frames as an SVG path that is broken where a value is unknown.
function linePath(frames, values, x, y) {
  let path = "", drawn = false;
  for (const i of frames) {
    const known = values[i] !== null;
    if (known) path += `${drawn ? "L" : "M"}${x(i).toFixed(2)},${y(values[i]).toFixed(2)}`;
    drawn = known;
  }
  return path;
}

// The outline of a band between two curves: a closed polygon for each stretch of known frames.
function bandPath(frames, low, high, x, y) {
  let path = "", stretch = [];
  const point = (i, values) => `${x(i).toFixed(2)},${y(values[i]).toFixed(2)}`;
  const close = () => {
    const corners = [...stretch.map((i) => point(i, high)), ...stretch.reverse().map((i) => point(i, low))];
    if (corners.length) path += `M${corners.join("L")}Z`;
    stretch = [];
  };
  for (const i of frames) { if (low[i] === null || high[i] === null) close(); else stretch.push(i); }
  close();
  return path;
}

// Frames lo..hi-1 of a strip as at most CELLS cells: their edges in seconds, and the mean of the known values in each.
function stripCells(values, edges, lo, hi) {
  const size = Math.ceil((hi - lo) / CELLS);
  const x = [], z = [];
  for (let first = lo; first < hi; first += size) {
    const known = values.slice(first, Math.min(first + size, hi)).filter((value) => value !== null);
    x.push(edges[first]);
    z.push(known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null);
  }
  x.push(edges[hi]);
  return { x, z };
}

// Seconds at which the axis of time has a tick, and their labels.
function timeTicks([start, end], width) {
  const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  const least = ((end - start) * 80) / width;
  const step = steps.find((s) => s >= least) ?? Math.ceil(least / 3600) * 3600;
  const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
  const ticks = [];
  for (let k = Math.ceil(start / step - 1e-9); k * step <= end + 1e-9; k++) {
    ticks.push([k * step, clockText(k * step, decimals)]);
  }
  return ticks;
}

function child(parent, className, text = "", tag = "div") {
  return parent.appendChild(Object.assign(document.createElement(tag), { className, textContent: text }));
}

function svg(parent, tag, attributes = {}, text = "") {
  const made = parent.appendChild(document.createElementNS("http://www.w3.org/2000/svg", tag));
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

// A canvas that covers width x height pixels of the page, ready to be drawn on in these.
function pen(canvas, width, height) {
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  const context = canvas.getContext("2d");
  context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  return context;
}

// Room to the left and right of what runs over time, in pixels, the same in all plots: for labels and for means.
function sides(trace, width) {
  const ruler = document.createElement("canvas").getContext("2d");
  ruler.font = `12.5px ${getComputedStyle(document.body).fontFamily}`;
  const labels = trace.panels.flatMap((panel) => panel.rows.map((row) => ruler.measureText(row.label).width));
  return { left: Math.ceil(Math.min(0.4 * width, Math.max(24, ...labels) + 10)), right: 50 };
}

// A plot over time, as high as its element: draw(view) draws it for view = [start, end] in seconds, place(frame) and
// ghost(seconds) move its markers. `contents` draws what is inside the axes, and says how far below the top they begin.
function timePlot(element, trace, contents) {
  const back = child(element, "inside");
  const drawing = svg(element, "svg", { class: "drawing" });
  const inside = child(element, "inside");
  const ghost = child(inside, "ghost");
  const head = child(inside, "playhead");
  ghost.hidden = true;
  const plot = { element, back, drawing, inside, view: null, left: 0, width: 0 };
  plot.x = (seconds) => ((seconds - plot.view[0]) / (plot.view[1] - plot.view[0])) * plot.width;
  plot.seconds = (clientX) => {
    const box = inside.getBoundingClientRect();
    return plot.view[0] + ((clientX - box.left) / box.width) * (plot.view[1] - plot.view[0]);
  };
  plot.draw = (view) => {
    const room = sides(trace, element.clientWidth);
    Object.assign(plot, { view, left: room.left });
    plot.width = Math.max(40, element.clientWidth - room.left - room.right);
    drawing.replaceChildren();
    const top = contents(...trace.framesIn(view));
    const bottom = element.clientHeight - TICKS;
    const box = { left: `${room.left}px`, width: `${plot.width}px`, top: `${top}px`, bottom: `${TICKS}px` };
    for (const part of [back, inside]) Object.assign(part.style, box);
    const ticks = timeTicks(view, plot.width);
    for (const [seconds, text] of ticks) {
      const x = room.left + plot.x(seconds);
      svg(drawing, "text", { x, y: bottom + 17, "text-anchor": "middle" }, text);
    }
    const lines = ticks.map(([seconds]) => `M${room.left + plot.x(seconds)},${top}V${bottom}`).join("");
    drawing.prepend(svg(drawing, "path", { class: "grid", d: lines }));
  };
  plot.place = (frame) => {
    head.style.transform = `translateX(${plot.x(trace.time[frame])}px)`;
  };
  plot.ghost = (seconds) => {
    ghost.hidden = seconds === null;
    if (seconds !== null) ghost.style.transform = `translateX(${plot.x(seconds)}px)`;
  };
  return plot;
}

function curvesPlot(element, trace) {
  let top = 0, each = 0;
  const edge = 1.06;
  const colours = trace.curves.map(({ name }) => (["valence", "arousal"].includes(name) ? `--${name}` : "--other"));
  const down = (k, value) => k * (each + top) + ((edge - value) / (2 * edge)) * each; // in pixels below the first axes
  const headings = trace.curves.map((curve, k) => {
    const heading = child(element, "heading");
    heading.style.color = `var(${colours[k]})`;
    child(heading, "", curve.name, "b");
    const words = trace.words[curve.name];
    heading.append([words && ` −1 ${words[0]}, +1 ${words[1]}`, curve.low && ` (band: ${trace.band.replace(" %", "\u00a0%")})`].join(""));
    return heading;
  });
  const clip = svg(svg(svg(element, "svg", { width: 0, height: 0 }), "clipPath", { id: "within" }), "rect");
  const plot = timePlot(element, trace, (lo, hi) => {
    // Where the window is narrow, headings break into lines, and the curves begin further down.
    top = 16 + Math.max(...headings.map((heading) => heading.offsetHeight));
    each = (element.clientHeight - TICKS) / trace.curves.length - top;
    const room = { x: plot.left, y: 0, width: plot.width, height: element.clientHeight };
    Object.entries(room).forEach(([name, value]) => clip.setAttribute(name, value));
    const x = (i) => plot.left + plot.x(trace.time[i]);
    trace.curves.forEach((curve, k) => {
      const y = (value) => top + down(k, value);
      headings[k].style.bottom = `${element.clientHeight - y(edge) + 2}px`;
      for (const value of [-1, -0.5, 0, 0.5, 1]) {
        svg(plot.drawing, "path", { class: value ? "grid" : "zero", d: `M${plot.left},${y(value)}h${plot.width}` });
      }
      for (const [value, text] of [[-1, "−1"], [0, "0"], [1, "+1"]]) {
        svg(plot.drawing, "text", { x: plot.left - 6, y: y(value) + 4, "text-anchor": "end" }, text);
      }
      const within = svg(plot.drawing, "g", { "clip-path": "url(#within)", style: `color: var(${colours[k]})` });
      const known = (i) => (curve.values[i] ?? null) !== null;
      if (curve.low) {
        const drawn = [curve.low, curve.high].flatMap((values) => framesToDraw(values, lo, hi, BUCKETS / 2));
        const corners = [...new Set(drawn)].sort((one, other) => one - other);
        svg(within, "path", { class: "band", d: bandPath(corners, curve.low, curve.high, x, y) });
      }
      if (curve.raw) {
        svg(within, "path", { class: "raw", d: linePath(framesToDraw(curve.raw, lo, hi, BUCKETS), curve.raw, x, y) });
      }
      const frames = framesToDraw(curve.values, lo, hi, BUCKETS);
      svg(within, "path", { class: "curve", d: linePath(frames, curve.values, x, y) });
      // A line can't show a frame that stands alone between two gaps: it gets a point.
      const lone = frames.filter((i) => known(i) && !known(i - 1) && !known(i + 1));
      const points = lone.map((i) => `M${x(i).toFixed(2)},${y(curve.values[i]).toFixed(2)}h0`).join("");
      svg(within, "path", { class: "lone", d: points });
    });
    return top;
  });
  const dots = colours.map((colour) => {
    const dot = child(plot.inside, "dot");
    dot.style.background = `var(${colour})`;
    return dot;
  });
  const placeHead = plot.place;
  plot.place = (frame) => {
    placeHead(frame);
    trace.curves.forEach((curve, k) => {
      const value = curve.values[frame];
      dots[k].hidden = value === null;
      dots[k].style.transform = `translate(${plot.x(trace.time[frame])}px, ${down(k, value)}px)`;
    });
  };
  plot.words = (frame) => trace.curves.map((curve) => `${curve.name} ${signed(curve.values[frame])}`);
  return plot;
}

function stripsPlot(element, trace, rows) {
  const top = 18;
  const depth = element.clientHeight - top - TICKS;
  const each = depth / (rows[rows.length - 1].place + 1);
  const places = rows.map((row) => [each * row.place + 3, each * (row.place + 1) - 1]);
  const labels = rows.map((row) => Object.assign(child(element, "label", row.label), { title: row.label }));
  const plot = timePlot(element, trace, (lo, hi) => {
    const right = plot.left + plot.width + 8;
    svg(plot.drawing, "text", { x: right, y: top - 4 }, "mean");
    const paint = pen(canvas, plot.width, depth);
    const pixel = (seconds) => Math.round(plot.x(seconds) * devicePixelRatio) / devicePixelRatio; // else seams show
    rows.forEach((row, k) => {
      const [from, to] = places[k];
      svg(plot.drawing, "text", { x: right, y: top + (from + to) / 2 + 4 }, percent(row.mean));
      Object.assign(labels[k].style, { width: `${plot.left - 8}px`, top: `${top + from}px`, lineHeight: `${to - from}px` });
      const [pale, strong] = [style(`--${row.hue}-pale`), style(`--${row.hue}`)];
      const { x, z } = stripCells(row.values, trace.edges, lo, hi);
      z.forEach((value, cell) => {
        if (value === null) return;
        const place = [pixel(x[cell]), from, pixel(x[cell + 1]) - pixel(x[cell]), to - from];
        paint.globalAlpha = 1;
        paint.fillStyle = pale;
        paint.fillRect(...place);
        paint.globalAlpha = value;
        paint.fillStyle = strong;
        paint.fillRect(...place);
      });
    });
    return top;
  });
  for (const [from, to] of places) {
    Object.assign(child(plot.back, "unknown").style, { top: `${from}px`, height: `${to - from}px` });
  }
  const canvas = child(plot.back, "", "", "canvas");
  plot.words = (frame) => rows.map((row) => `${row.label}: ${percent(row.values[frame])}`);
  return plot;
}

// Valence across, arousal upwards: faintly the path of what the other plots show, above it the last seconds, then words
// and the current frame, so that each stays readable.
function planePlot(element, trace) {
  const trailSeconds = 4, edge = 1.08, left = 26, bottom = 24, margin = 8;
  const valuesOf = (name) => trace.curves.find((curve) => curve.name === name).values;
  const [valence, arousal] = [valuesOf("valence"), valuesOf("arousal")];
  const under = svg(element, "svg", { class: "drawing" });
  const canvas = child(element, "", "", "canvas");
  const over = svg(element, "svg", { class: "drawing" });
  const dot = child(element, "dot");
  const plot = {};
  let side = 0, head = "";
  const px = (v) => left + ((v + edge) / (2 * edge)) * (side - left - margin);
  const py = (a) => margin + ((edge - a) / (2 * edge)) * (side - margin - bottom);
  plot.draw = (view) => {
    side = element.clientWidth;
    head = style("--head");
    under.replaceChildren();
    over.replaceChildren();
    const across = [-1, 0, 1].map((v) => `M${px(-edge)},${py(v)}H${px(edge)}M${px(v)},${py(-edge)}V${py(edge)}`);
    svg(under, "path", { class: "grid", d: across.join("") });
    svg(under, "ellipse", { class: "zero", cx: px(0), cy: py(0), rx: px(1) - px(0), ry: py(0) - py(1) });
    const turns = [valence, arousal].flatMap((values) => framesToDraw(values, ...trace.framesIn(view), BUCKETS / 2));
    const frames = [...new Set(turns)].sort((one, other) => one - other);
    const both = arousal.map((a, i) => (valence[i] === null ? null : a));
    svg(under, "path", { class: "path", d: linePath(frames, both, (i) => px(valence[i]), py) });
    const words = (x, y, text, anchor, more = {}) => svg(over, "text", { x, y, "text-anchor": anchor, ...more }, text);
    for (const [x, y, text] of trace.corners) {
      words(px(x), py(y) + (y > 0 ? 8 : -2), text, x > 0 ? "end" : "start");
    }
    const bold = { class: "end" };
    words(px(1), py(0) - 4, trace.words.valence[1], "end", bold);
    words(px(-1), py(0) - 4, trace.words.valence[0], "start", bold);
    words(px(0), py(1) + 14, trace.words.arousal[1], "middle", bold);
    words(px(0), py(-1) - 5, trace.words.arousal[0], "middle", bold);
    for (const [v, text] of [[-1, "−1"], [1, "+1"]]) {
      words(px(v), side - 8, text, "middle");
      words(left - 5, py(v) + 4, text, "end");
    }
    words(px(0), side - 8, "valence", "middle");
    words(0, 0, "arousal", "middle", { transform: `translate(${left - 9} ${py(0)}) rotate(-90)` });
  };
  plot.place = (frame) => {
    const paint = pen(canvas, side, side);
    paint.strokeStyle = head;
    paint.lineWidth = 3;
    paint.lineCap = "round";
    const known = (i) => valence[i] !== null && arousal[i] !== null;
    for (let i = frame; i > 0 && trace.time[i - 1] > trace.time[frame] - trailSeconds; i--) {
      if (!known(i) || !known(i - 1)) continue;
      paint.globalAlpha = 1 - (trace.time[frame] - trace.time[i - 1]) / trailSeconds;
      paint.beginPath();
      paint.moveTo(px(valence[i - 1]), py(arousal[i - 1]));
      paint.lineTo(px(valence[i]), py(arousal[i]));
      paint.stroke();
    }
    dot.hidden = !known(frame);
    if (known(frame)) dot.style.transform = `translate(${px(valence[frame])}px, ${py(arousal[frame])}px)`;
  };
  plot.words = (frame) => {
    const [v, a] = [valence[frame], arousal[frame]];
    if (v === null || a === null) return "no estimate at this frame";
    const degree = (value) => (Math.abs(value) < 0.35 ? "slightly " : Math.abs(value) < 0.7 ? "" : "very ");
    const side = (value, [low, high]) => degree(value) + (value < 0 ? low : high);
    if (Math.hypot(v, a) < 0.1) return "close to neutral";
    return `${side(v, trace.words.valence)}, ${side(a, trace.words.arousal)}`;
  };
  return plot;
}
