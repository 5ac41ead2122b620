"use strict";
// What stands still: Plotly draws axes, curves and strips. Playheads are elements above them, so that moving one costs
// no redraw.

const BUCKETS = 800; // a curve is drawn with at most 5 points per bucket
const CELLS = 1500; // a strip is drawn with at most this many cells
const MARGIN = { l: 66, r: 52 };

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const plainText = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;"); // Plotly reads tags in labels
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

// The outline of a band between two curves: a closed polygon for each stretch of known frames, parted by null.
function bandOutline(time, low, high, frames) {
  const x = [], y = [];
  let stretch = [];
  const close = () => {
    for (const i of stretch) { x.push(time[i]); y.push(high[i]); }
    for (const i of stretch.reverse()) { x.push(time[i]); y.push(low[i]); }
    if (stretch.length) { x.push(null); y.push(null); }
    stretch = [];
  };
  for (const i of frames) { if (low[i] === null || high[i] === null) close(); else stretch.push(i); }
  close();
  return { x, y };
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

function timeTicks([start, end], width) {
  const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  const least = ((end - start) * 80) / width;
  const step = steps.find((s) => s >= least) ?? Math.ceil(least / 3600) * 3600;
  const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
  const tickvals = [];
  for (let k = Math.ceil(start / step - 1e-9); k * step <= end + 1e-9; k++) tickvals.push(k * step);
  return { tickvals, ticktext: tickvals.map((t) => clockText(t, decimals)) };
}

function baseLayout(width, height) {
  return {
    width, height, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: style("--muted") },
  };
}

function baseAxis() {
  const lines = { gridcolor: style("--grid"), zerolinecolor: style("--line"), zerolinewidth: 2 };
  return { ...lines, fixedrange: true, automargin: false };
}

const child = (parent, className) => parent.appendChild(Object.assign(document.createElement("div"), { className }));
const STILL = { staticPlot: true, displayModeBar: false, responsive: false };

// A plot over time, as high as its element: draw(view) draws it for view = [start, end] in seconds, place(frame) and
// ghost(seconds) move its markers.
function timePlot(element, trace, top, bottom, contents) {
  const box = { left: `${MARGIN.l}px`, right: `${MARGIN.r}px`, top: `${top}px`, bottom: `${bottom}px` };
  const back = child(element, "inside");
  const drawing = child(element, "drawing");
  const inside = child(element, "inside");
  for (const part of [back, inside]) Object.assign(part.style, box);
  const ghost = child(inside, "ghost");
  const head = child(inside, "playhead");
  ghost.hidden = true;
  const plot = { element, back, inside, view: null, width: 0 };
  plot.x = (seconds) => ((seconds - plot.view[0]) / (plot.view[1] - plot.view[0])) * plot.width;
  plot.seconds = (clientX) => {
    const box = inside.getBoundingClientRect();
    return plot.view[0] + ((clientX - box.left) / box.width) * (plot.view[1] - plot.view[0]);
  };
  plot.draw = (view) => {
    plot.view = view;
    plot.width = Math.max(40, element.clientWidth - MARGIN.l - MARGIN.r);
    const { data, layout, anchor } = contents(...trace.framesIn(view));
    Plotly.react(drawing, data, {
      ...baseLayout(element.clientWidth, element.clientHeight),
      margin: { ...MARGIN, t: top, b: bottom, pad: 0 },
      xaxis: { ...baseAxis(), range: view, tickmode: "array", ...timeTicks(view, plot.width), zeroline: false, anchor },
      ...layout,
    }, STILL);
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
  const gap = 30, bottom = 26;
  const inner = element.clientHeight - gap - bottom;
  const each = (inner + gap) / trace.curves.length - gap;
  const colours = trace.curves.map(({ name }) => (["valence", "arousal"].includes(name) ? `--${name}` : "--other"));
  const plot = timePlot(element, trace, gap, bottom, (lo, hi) => {
    const data = [], layout = { annotations: [] };
    trace.curves.forEach((curve, k) => {
      const n = k ? k + 1 : "";
      const frames = framesToDraw(curve.values, lo, hi, BUCKETS);
      // A line can't show a frame that stands alone between two gaps: it gets a point.
      const known = (i) => (curve.values[i] ?? null) !== null;
      const lone = frames.filter((i) => known(i) && !known(i - 1) && !known(i + 1));
      const color = style(colours[k]);
      const trail = (values, of, more) => {
        const [x, y] = [of.map((i) => trace.time[i]), of.map((i) => values[i])];
        data.push({ type: "scatter", xaxis: "x", yaxis: `y${n}`, x, y, connectgaps: false, ...more });
      };
      if (curve.low) {
        const drawn = [curve.low, curve.high].flatMap((values) => framesToDraw(values, lo, hi, BUCKETS / 2));
        const corners = [...new Set(drawn)].sort((one, other) => one - other);
        const outline = bandOutline(trace.time, curve.low, curve.high, corners);
        const look = { mode: "none", fill: "toself", fillcolor: color, opacity: 0.18, hoverinfo: "skip" };
        data.push({ type: "scatter", xaxis: "x", yaxis: `y${n}`, ...outline, ...look });
      }
      if (curve.raw) {
        const rough = framesToDraw(curve.raw, lo, hi, BUCKETS);
        trail(curve.raw, rough, { mode: "lines", line: { color, width: 1 }, opacity: 0.4 });
      }
      trail(curve.values, frames, { mode: "lines", line: { color, width: 2 } });
      trail(curve.values, lone, { mode: "markers", marker: { color, size: 3 } });
      const topEdge = 1 - (k * (each + gap)) / inner;
      layout[`yaxis${n}`] = {
        ...baseAxis(), domain: [Math.max(0, topEdge - each / inner), topEdge], range: [-1.06, 1.06],
        tickvals: [-1, -0.5, 0, 0.5, 1], ticktext: ["−1", "", "0", "", "+1"],
      };
      const words = trace.words[curve.name];
      const band = curve.low ? `  (band: ${plainText(trace.band)})` : "";
      const ends = (words ? `  −1 ${words[0]}, +1 ${words[1]}` : "") + band;
      layout.annotations.push({
        xref: "paper", yref: "paper", x: 0, y: topEdge, xanchor: "left", yanchor: "bottom", showarrow: false,
        text: `<b>${plainText(curve.name)}</b>${ends}`, font: { color, size: 13 },
      });
    });
    return { data, layout, anchor: `y${trace.curves.length > 1 ? trace.curves.length : ""}` };
  });
  const dots = trace.curves.map((_, k) => {
    const dot = child(plot.inside, "dot");
    dot.style.background = `var(${colours[k]})`;
    return dot;
  });
  const placeHead = plot.place;
  plot.place = (frame) => {
    placeHead(frame);
    trace.curves.forEach((curve, k) => {
      const value = curve.values[frame];
      dots[k].hidden = value === null;
      const down = k * (each + gap) + ((1.06 - value) / 2.12) * each;
      dots[k].style.transform = `translate(${plot.x(trace.time[frame])}px, ${down}px)`;
    });
  };
  plot.words = (frame) => trace.curves.map((curve) => `${curve.name} ${signed(curve.values[frame])}`);
  return plot;
}

function stripsPlot(element, trace, rows) {
  const top = 18, bottom = 26;
  const depth = element.clientHeight - top - bottom;
  const each = depth / (rows[rows.length - 1].place + 1);
  const places = rows.map((row) => [each * row.place + 3, each * (row.place + 1) - 1]);
  const plot = timePlot(element, trace, top, bottom, (lo, hi) => {
    const data = rows.map((row, k) => {
      const { x, z } = stripCells(row.values, trace.edges, lo, hi);
      const colorscale = [[0, style(`--${row.hue}-pale`)], [1, style(`--${row.hue}`)]];
      return { type: "heatmap", x, y: places[k], z: [z], zmin: 0, zmax: 1, colorscale, showscale: false };
    });
    const middle = places.map(([from, to]) => (from + to) / 2);
    const beside = { xref: "paper", x: 1, xshift: 8, xanchor: "left", showarrow: false };
    const layout = {
      yaxis: {
        ...baseAxis(), range: [depth, 0], showgrid: false, zeroline: false, ticks: "", tickvals: middle,
        ticktext: rows.map((row) => plainText(row.label)), tickfont: { size: 12.5, color: style("--ink") },
      },
      annotations: [
        { ...beside, yref: "paper", y: 1, yanchor: "bottom", text: "mean", font: { size: 11 } },
        ...rows.map((row, k) => ({ ...beside, yref: "y", y: middle[k], yanchor: "middle", text: percent(row.mean) })),
      ],
    };
    return { data, layout };
  });
  for (const [from, to] of places) {
    Object.assign(child(plot.back, "unknown").style, { top: `${from}px`, height: `${to - from}px` });
  }
  plot.words = (frame) => rows.map((row) => `${row.label}: ${percent(row.values[frame])}`);
  return plot;
}

// Valence across, arousal upwards: faintly the path of what the other plots show, and on a canvas above it the last
// seconds and the current frame.
function planePlot(element, trace) {
  const trailSeconds = 4, edge = 1.08, margin = { l: 30, r: 12, t: 12, b: 30, pad: 0 };
  const valuesOf = (name) => trace.curves.find((curve) => curve.name === name).values;
  const [valence, arousal] = [valuesOf("valence"), valuesOf("arousal")];
  const drawing = element.appendChild(document.createElement("div"));
  const canvas = element.appendChild(document.createElement("canvas"));
  const plot = {};
  let side = 0, colours = {};
  const px = (v) => margin.l + ((v + edge) / (2 * edge)) * (side - margin.l - margin.r);
  const py = (a) => margin.t + ((edge - a) / (2 * edge)) * (side - margin.t - margin.b);
  plot.draw = (view) => {
    side = element.clientWidth;
    colours = { head: style("--head"), card: style("--card") };
    const turns = [valence, arousal].flatMap((values) => framesToDraw(values, ...trace.framesIn(view), BUCKETS / 2));
    const frames = [...new Set(turns)].sort((one, other) => one - other);
    const axis = { ...baseAxis(), range: [-edge, edge], tickvals: [-1, 1], ticktext: ["−1", "+1"] };
    const words = (x, y, text, more) => ({ x, y, text, showarrow: false, ...more });
    const outside = { xref: "paper", yref: "paper" };
    const layout = {
      ...baseLayout(side, side), margin, xaxis: { ...axis }, yaxis: { ...axis },
      shapes: [{ type: "circle", x0: -1, x1: 1, y0: -1, y1: 1, line: { color: style("--line"), width: 1.5 } }],
      annotations: [
        ...trace.corners.map(([x, y, text]) => words(0.5 * x, 0.62 * y, text)),
        words(1, 0, `<b>${trace.words.valence[1]}</b>`, { xanchor: "right", yanchor: "bottom" }),
        words(-1, 0, `<b>${trace.words.valence[0]}</b>`, { xanchor: "left", yanchor: "bottom" }),
        words(0, 1, `<b>${trace.words.arousal[1]}</b>`, { yanchor: "top" }),
        words(0, -1, `<b>${trace.words.arousal[0]}</b>`, { yanchor: "bottom" }),
        words(0.5, 0, "valence", { ...outside, yanchor: "top", yshift: -4 }),
        words(0, 0.5, "arousal", { ...outside, xanchor: "right", xshift: -6, textangle: -90 }),
      ],
    };
    const path = { x: frames.map((i) => valence[i]), y: frames.map((i) => arousal[i]), connectgaps: false };
    const line = { color: style("--other"), width: 1 };
    Plotly.react(drawing, [{ type: "scatter", mode: "lines", ...path, line, opacity: 0.45 }], layout, STILL);
    canvas.width = canvas.height = Math.round(side * devicePixelRatio);
  };
  plot.place = (frame) => {
    const pen = canvas.getContext("2d");
    pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    pen.clearRect(0, 0, side, side);
    pen.strokeStyle = pen.fillStyle = colours.head;
    pen.lineWidth = 3;
    pen.lineCap = "round";
    const known = (i) => valence[i] !== null && arousal[i] !== null;
    for (let i = frame; i > 0 && trace.time[i - 1] > trace.time[frame] - trailSeconds; i--) {
      if (!known(i) || !known(i - 1)) continue;
      pen.globalAlpha = 1 - (trace.time[frame] - trace.time[i - 1]) / trailSeconds;
      pen.beginPath();
      pen.moveTo(px(valence[i - 1]), py(arousal[i - 1]));
      pen.lineTo(px(valence[i]), py(arousal[i]));
      pen.stroke();
    }
    pen.globalAlpha = 1;
    if (!known(frame)) return;
    pen.beginPath();
    pen.arc(px(valence[frame]), py(arousal[frame]), 6.5, 0, 7);
    pen.fill();
    pen.lineWidth = 2;
    pen.strokeStyle = colours.card;
    pen.stroke();
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
