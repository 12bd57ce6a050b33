"use strict";
/* The page of `monosweep report`: draws what the content holds.

   unpack -> content, arrays -> family (one at a time) -> scatter --brush--> table, means, traces, parallel
                                                                  --click--> the trial

   Text of users reaches the page as text nodes, and plotly through `plain`, never as HTML. */

/* ---- what the page is made of ---- */

const $ = (id) => document.getElementById(id);
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c7a00", "#7b7b7b"];
const SYMBOLS = ["circle", "square", "diamond", "cross", "triangle-up", "triangle-down", "star", "x"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const SEQUENTIAL = "Viridis";
const MOST_SVG = 5000;       // points beyond which WebGL draws
const MOST_LISTED = 100;     // rows of the table
const MOST_LINES = 200;      // curves drawn at once
const MOST_PARALLEL = 5000;  // lines of parallel coordinates
const MOST_TO_SPLIT = 12;    // values of a knob that splits or colours by kind
const TYPES = { "<f4": Float32Array, "<f8": Float64Array, "<i4": Int32Array, "<u4": Uint32Array, "<u2": Uint16Array, "u1": Uint8Array };

let content, bytes, blockAt;  // the JSON, and where its arrays are
let family;                   // the one shown
let columns;                  // name -> {number(i), text(i), known, …}
let brush = null;             // null: all; else a sorted list of places
let chosen = null;            // the place of the clicked trial
let state = {};               // what a reload keeps

async function unpacked(id) {
  const text = atob($(id).textContent.trim());
  const packed = Uint8Array.from(text, (c) => c.charCodeAt(0));
  $(id).textContent = "";
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function run(code) {
  const script = document.createElement("script");
  script.textContent = code;
  document.head.append(script);
}

function array(place) {
  return new TYPES[place.type](bytes.buffer, blockAt + place.at, place.n);
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/* For plotly, which takes some tags in text for HTML. */
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const words = (name) => name.replaceAll("_", " ");
const count = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;

function shown(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return String(value);
  const text = Number.isInteger(value) && Math.abs(value) < 1e15 ? String(value) : String(Number(value.toPrecision(5)));
  return text.replace(/^-/, "−");
}

function decoded(told) {
  const data = told.data && array(told.data);
  const codes = told.codes && array(told.codes);
  const raw = data ? (i) => data[i] : codes ? (i) => told.values[codes[i]] : () => told.values[0];
  const number = data ? raw : (i) => { const v = raw(i); return typeof v === "number" ? v : NaN; };
  const known = told.values ? told.values.filter((value) => value !== null) : null;
  if (known) known.sort(told.kind === "number" ? (a, b) => a - b : undefined);
  return { raw, number, known, numeric: told.kind === "number", doc: told.doc || "" };
}

/* ---- what a reload keeps ---- */

const KEY = `monosweep ${location.pathname}`;

function remember() {
  try { sessionStorage.setItem(KEY, JSON.stringify({ ...state, scroll: scrollY })); } catch { /* not allowed here */ }
}

function recall() {
  try { return JSON.parse(sessionStorage.getItem(KEY)) || {}; } catch { return {}; }
}

/* ---- light and dark ---- */

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = theme === "dark" ? "Light" : "Dark";
  $("theme").setAttribute("aria-pressed", String(theme === "dark"));
}

const theme = () => state.theme || (prefersDark.matches ? "dark" : "light");

function layout(more) {
  const axis = { gridcolor: css("grid"), zerolinecolor: css("line"), linecolor: css("line"), automargin: true };
  const { xaxis, yaxis, ...rest } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: css("text"), size: 12 },
    margin: { l: 55, r: 15, t: 12, b: 45 }, hoverlabel: { bgcolor: css("card"), font: { color: css("text") } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, modebar: { color: css("faint"), bgcolor: "rgba(0,0,0,0)" },
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  };
}

const BARE = { displayModeBar: false };
const CONFIG = { responsive: true, displaylogo: false, scrollZoom: false, modeBarButtonsToRemove: ["autoScale2d"] };

function draw(id, traces, more, config = {}) {
  return Plotly.react(typeof id === "string" ? $(id) : id, traces, layout(more), { ...CONFIG, ...config });
}

function nothing(id, note, text) {
  Plotly.purge($(id));
  $(id).hidden = true;
  $(note).textContent = text;
}

/* ---- tables ---- */

function table(header, rows, caption) {
  const head = element("tr", {}, ...header.map(([name, kind]) => element("th", { scope: "col", className: kind || "" }, name)));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell, i) =>
    element("td", { className: header[i][1] || "" }, cell instanceof Node ? cell : shown(cell)))));
  return element("table", {}, caption ? element("caption", {}, caption) : null, element("thead", {}, head), element("tbody", {}, ...body));
}

function trialButton(place) {
  const id = columns.trial_id.raw(place);
  return element("button", { className: "id", type: "button", title: "show this trial", onclick: () => choose(place, true) }, id);
}

function drawSweeps() {
  const rows = content.sweeps.map((one) => {
    const ended = one.completed + one.stopped + one.diverged + one.failed;
    const how = one.live ? "running" + (one.seconds_left === null ? "" : `, ${duration(one.seconds_left)} left`) : ended < one.asked ? "not active" : "done";
    return [one.sweep, element("progress", { value: ended, max: one.asked || 1, title: `${ended} of ${one.asked}` }), one.asked,
      one.completed, one.stopped, one.diverged, one.failed, one.live ? one.running : 0, one.asked - ended, how, best(one.best), one.description];
  });
  const header = [["sweep", "text"], ["ended", "text"], ["trials"], ["completed"], ["stopped early"], ["diverged"], ["failed"], ["in training"], ["without a row"], ["", "text"], ["best so far", "text"], ["what it shows", "text long"]];
  const shows = header.map((_, column) => column < 4 || rows.some((row) => row[column])); // no column of zeros
  const of = (row) => row.filter((_, column) => shows[column]);
  $("sweeps").replaceChildren(rows.length ? table(of(header), rows.map(of)) : element("p", { className: "note" }, "no sweep yet"));
}

const best = (values) => Object.entries(values).map(([name, value]) => `${words(name)} ${shown(Number(value.toPrecision(4)))}`).join(", ");

function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  return seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function drawKnobs() {
  const rows = family.knobs.map((name) => {
    const { known, numeric, number } = columns[name];
    const [low, high] = numeric ? extent(everyone(), number) : [];
    const values = known && known.length <= 10 ? known.map(shown).join(", ") : numeric ? `${shown(low)} … ${shown(high)}` : `${known.slice(0, 6).join(", ")}, …`;
    return [name, known ? known.length : "many", values];
  });
  const fixed = family.fixed.map((name) => `${words(name)} ${shown(columns[name].raw(0))}`).join(" · ");
  $("knobs").replaceChildren(
    rows.length ? table([["knob that varies", "text"], ["values"], ["", "text long"]], rows) : element("p", { className: "note" }, "no knob varies"),
    element("p", { className: "note" }, fixed ? `The same in all: ${fixed}` : ""));
}

function drawReasons() {
  const total = content.reasons.reduce((sum, one) => sum + one.n, 0);
  const rows = content.reasons.map((one) => {
    const place = family ? placeOf(one.trial_id) : null;
    return [one.n, element("span", { className: one.status }, one.status), one.line, place === null ? one.trial_id : trialButton(place)];
  });
  const header = [["trials"], ["ended", "text"], ["first line of the reason", "text long"], ["one of them", "text"]];
  $("reasons").replaceChildren(total ? table(header, rows, `${count(total, "trial")} failed or diverged`) : element("p", { className: "note" }, "no trial failed or diverged"));
}

function drawClaims() {
  const { claims } = content;
  if (claims.why) {
    $("claims").replaceChildren();
    $("claims-note").textContent = claims.why;
    return;
  }
  const kinds = claims.header.map((name) => [name, name === "measure" ? "text long" : "text"]);
  const rows = claims.rows.map((row) => row.map((cell, i) => i === row.length - 1 ? element("b", { className: cell.split(" ")[0] }, cell) : cell));
  $("claims").replaceChildren(table(kinds, rows));
  $("claims-note").textContent = claims.summary + "; claims that these trials do not cover are left out";
}

/* ---- trials in training ---- */

function setUpLive() {
  const { live } = content, kept = state.live || {};
  $("live-card").hidden = !live.columns.length;
  if (!live.columns.length) return;
  options("live-of", live.columns, live.columns.includes(kept.column) ? kept.column : live.columns.includes("loss") ? "loss" : undefined);
  for (const id of ["live-log-step", "live-log-value"]) if (id in kept) $(id).checked = kept[id];
  const keep = () => {
    state.live = { column: $("live-of").value, ...Object.fromEntries(["live-log-step", "live-log-value"].map((id) => [id, $(id).checked])) };
    drawLive();
  };
  for (const id of ["live-of", "live-log-step", "live-log-value"]) $(id).addEventListener("change", keep);
}

/* One line for each trial, coloured by its sweep. */
function drawLive() {
  const { live } = content;
  if (!live.columns.length) return;
  const name = $("live-of").value, starts = array(live.starts), steps = array(live.values.step), values = array(live.values[name]);
  const sweeps = [...new Set(live.sweeps)], [logStep, logValue] = [$("live-log-step").checked, $("live-log-value").checked];
  const traces = sweeps.slice(0, MOST_TO_SPLIT).map((sweep, k) => {
    const line = { x: [], y: [], customdata: [] };
    live.trials.forEach((id, t) => {
      if (live.sweeps[t] !== sweep) return;
      for (let j = starts[t]; j < starts[t + 1]; j++) { line.x.push(steps[j]); line.y.push(values[j]); line.customdata.push(plain(id)); }
      line.x.push(null); line.y.push(null); line.customdata.push(null);
    });
    const colour = COLOURS[k % COLOURS.length];
    return { type: "scatter", mode: "lines+markers", ...line, connectgaps: false, name: plain(sweep), line: { color: colour, width: 1.2, dash: DASHES[k % DASHES.length] },
      marker: { size: 4, color: colour, symbol: SYMBOLS[k % SYMBOLS.length] }, opacity: 0.8, hovertemplate: "trial %{customdata}<br>step %{x}: %{y:.4g}" };
  });
  draw("live", traces, {
    showlegend: traces.length > 1, hovermode: "closest", xaxis: { title: { text: "training steps" }, type: logStep ? "log" : "linear", ...(logStep ? { dtick: 1 } : {}) },
    yaxis: { title: { text: plain(words(name)) }, type: logValue ? "log" : "linear" }, margin: { l: 60, r: 15, t: 12, b: 45 },
  });
  const noted = [live.trials.length < live.n ? `${live.trials.length} of ${live.n.toLocaleString("en")} trials, those with the least ids (which are hashes)` : count(live.n, "trial")];
  if (sweeps.length > MOST_TO_SPLIT) noted.push(`${MOST_TO_SPLIT} of ${sweeps.length} sweeps`);
  $("live-note").textContent = `${noted.join("; ")}. As last reported by their workers; they have no rows yet, and are in no other panel.`;
}

/* ---- places of trials ---- */

let ids = null;

function placeOf(id) {
  if (!ids) {
    ids = new Map();
    for (let i = 0; i < family.shown; i++) ids.set(columns.trial_id.raw(i), i);
  }
  return ids.has(id) ? ids.get(id) : null;
}

let all = null;
const everyone = () => all || (all = Uint32Array.from({ length: family.shown }, (_, i) => i));
const current = () => brush || everyone();

function extent(places, number) {
  let low = Infinity, high = -Infinity;
  for (const i of places) {
    const v = number(i);
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return [low, high];
}

const isSet = (value) => value !== null && !Number.isNaN(value);

/* Positive numbers whose largest is eight times the least or more. */
function overDecades(name) {
  const [low, high] = extent(everyone(), columns[name].number);
  return columns[name].numeric && low > 0 && high >= 8 * low;
}

/* ---- colours by a knob ---- */

/* By kind where a knob has few values: {kinds, kindOf}; else by a scale: {number}. */
function colouring() {
  const name = $("colour").value;
  if (!name) return { name, kinds: [""], kindOf: () => 0 };
  const { known, numeric, raw, number } = columns[name];
  if (known && (known.length <= MOST_TO_SPLIT || !numeric)) {
    const kinds = known.slice(0, MOST_TO_SPLIT);
    const kind = new Map(kinds.map((value, k) => [value, k]));
    const others = known.length > MOST_TO_SPLIT || false;
    return { name, kinds: others ? [...kinds, "others"] : kinds, kindOf: (i) => kind.has(raw(i)) ? kind.get(raw(i)) : kinds.length, numeric };
  }
  return { name, number, log: overDecades(name) };
}

/* Ordered colours for numbers, without the end that the background swallows; distinct ones for words. */
function kindColours({ kinds, numeric }) {
  if (!numeric || kinds.length < 2) return kinds.map((_, k) => COLOURS[k % COLOURS.length]);
  const [low, high] = theme() === "dark" ? [0.25, 1] : [0, 0.8];
  return kinds.map((_, k) => viridis(low + (high - low) * k / (kinds.length - 1)));
}

const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

function viridis(share) {
  const place = Math.min(share * 4, 3.9999), k = Math.floor(place), t = place - k;
  return `rgb(${VIRIDIS[k].map((c, j) => Math.round(c + t * (VIRIDIS[k + 1][j] - c))).join(",")})`;
}

/* ---- the scatter plot ---- */

const DONE = "completed";

/* Trials that can be drawn, by kind of colour and whether they were trained to the end. */
function scatterGroups(x, y, colour) {
  const groups = new Map();
  const { raw: status } = columns.status;
  let left = 0;
  for (let i = 0; i < family.shown; i++) {
    if (!isSet(x.raw(i)) || !isSet(y.raw(i))) { left++; continue; }
    const kind = colour.kinds ? colour.kindOf(i) : 0;
    const done = status(i) === DONE;
    const key = kind * 2 + (done ? 0 : 1);
    if (!groups.has(key)) groups.set(key, { kind, done, places: [] });
    groups.get(key).places.push(i);
  }
  return { groups: [...groups.values()].sort((a, b) => a.kind - b.kind || b.done - a.done), left };
}

function marker({ kind, done, places }, colour, colours, size) {
  const symbol = SYMBOLS[kind % SYMBOLS.length] + (done ? "" : "-open");
  if (colour.kinds) return { color: colours[kind] || css("faint"), symbol, size, opacity: 0.8 };
  const value = colour.log ? (i) => Math.log10(colour.number(i)) : colour.number;
  const [cmin, cmax] = extent(everyone(), value);
  const ticks = colour.log ? logTicks(cmin, cmax) : {};
  return {
    color: places.map(value), colorscale: SEQUENTIAL, cmin, cmax, symbol, size, opacity: 0.85, showscale: done,
    colorbar: { title: { text: plain(words(colour.name)), side: "right" }, thickness: 12, outlinewidth: 0, ...ticks },
  };
}

function logTicks(low, high) {
  const values = [0, 1, 2, 3, 4].map((k) => low + (high - low) * k / 4);
  return { tickvals: values, ticktext: values.map((v) => String(Number((10 ** v).toPrecision(2)))) };
}

function drawScatter() {
  const [xName, yName] = [$("x").value, $("y").value], [x, y] = [columns[xName], columns[yName]];
  const colour = colouring(), colours = colour.kinds ? kindColours(colour) : [];
  const { groups, left } = scatterGroups(x, y, colour);
  const n = family.shown - left, type = n > MOST_SVG ? "scattergl" : "scatter", size = n > MOST_SVG ? 4 : n > 500 ? 6 : 9;
  const inBrush = brush && new Set(brush);
  const traces = groups.map((group) => ({
    type, mode: "markers", x: group.places.map(x.raw), y: group.places.map(y.raw), customdata: group.places,
    name: plain(`${colour.name ? `${words(colour.name)} ${shown(colour.kinds ? colour.kinds[group.kind] : "")}` : "completed"}${group.done ? "" : ", not completed"}`),
    showlegend: Boolean(colour.kinds) && (Boolean(colour.name) || !group.done),
    hoverinfo: "none", marker: marker(group, colour, colours, size),
    selectedpoints: inBrush ? group.places.flatMap((i, k) => inBrush.has(i) ? [k] : []) : null,
    unselected: { marker: { opacity: 0.12 } },
  }));
  traces.push(...frontTrace(xName, yName), ...chosenTrace(x, y, type, size));
  const done = draw("scatter", traces, {
    dragmode: "select", selectdirection: "any", hovermode: "closest", uirevision: `${xName} ${yName}`,
    xaxis: { title: { text: plain(titled(xName)) }, ...scaled(x, $("log-x").checked) },
    yaxis: { title: { text: plain(titled(yName)) }, ...scaled(y, $("log-y").checked) },
    selections: [], newselection: { line: { color: css("accent") } }, margin: { l: 60, r: 20, t: 30, b: 50 },
  }, { modeBarButtonsToAdd: ["select2d", "lasso2d"] });
  $("scatter-note").textContent = scatterNote(left);
  return done;
}

const scaled = ({ numeric }, log) => ({ type: numeric ? (log ? "log" : "linear") : "category" });

function titled(name) {
  const objective = family.objectives.find((one) => one.name === name);
  return words(name) + (objective ? ` (${objective.mode === "min" ? "less" : "more"} is better)` : "");
}

function scatterNote(left) {
  const how = new Map();
  for (let i = 0; i < family.shown; i++) how.set(columns.status.raw(i), (how.get(columns.status.raw(i)) || 0) + 1);
  const others = [...how].filter(([status]) => status !== DONE).map(([status, n]) => `${n} ${status}`).join(", ");
  const parts = [];
  if (left) parts.push(`${count(left, "trial")} without a value of both are not drawn${others ? ` (of all trials: ${others})` : ""}`);
  if ($("log-x").checked || $("log-y").checked) parts.push("A logarithmic axis leaves out values that are not above 0");
  if (family.shown < family.n) parts.push(`${family.shown.toLocaleString("en")} of ${family.n.toLocaleString("en")} trials are on this page, those with the least ids (which are hashes)`);
  if (family.breaking) parts.push(`${count(family.breaking, "trial")} that broke ${family.constraints.join(" or ")} can be on no front`);
  if (!frontPlaces().length) parts.push(`No front: no completed trial has all objectives${family.breaking ? " and keeps the constraints" : ""}`);
  return parts.join(". ") + (parts.length ? "." : "");
}

const frontPlaces = () => { const mask = array(family.front); return [...everyone()].filter((i) => mask[i]); };

/* The steps of the front, where the axes are the two objectives. */
function frontTrace(xName, yName) {
  const names = family.objectives.map((one) => one.name);
  const places = frontPlaces();
  if (names.length < 2 || !places.length || !names.includes(xName) || !names.includes(yName) || xName === yName) return [];
  const [x, y] = [columns[xName], columns[yName]], order = places.sort((a, b) => x.number(a) - x.number(b));
  const better = family.objectives.find((one) => one.name === xName).mode === "min";
  const lines = names.length === 2 ? "lines+markers" : "markers";
  return [{
    type: "scatter", mode: lines, x: order.map(x.number), y: order.map(y.number), customdata: order, hoverinfo: "none",
    name: `Pareto front (${order.length})`, line: { color: css("best"), width: 2, shape: better ? "hv" : "vh" }, selectedpoints: null,
    marker: { color: "rgba(0,0,0,0)", size: 13, line: { color: css("best"), width: 2 } }, unselected: { marker: { opacity: 1 } },
  }];
}

function chosenTrace(x, y, type, size) {
  if (chosen === null || !isSet(x.raw(chosen)) || !isSet(y.raw(chosen))) return [];
  return [{
    type: "scatter", mode: "markers", x: [x.raw(chosen)], y: [y.raw(chosen)], name: "clicked", hoverinfo: "skip", showlegend: false,
    marker: { color: "rgba(0,0,0,0)", size: size + 11, symbol: "circle", line: { color: css("text"), width: 3 } }, unselected: { marker: { opacity: 1 } },
  }];
}

function hoverText(place) {
  const names = [...new Set([$("x").value, $("y").value, ...family.knobs, "seed"])].filter((name) => columns[name]);
  const status = columns.status.raw(place);
  return [`trial ${columns.trial_id.raw(place)}${status === DONE ? "" : `, ${status}`}`, ...names.map((name) => `${words(name)}: ${shown(columns[name].raw(place))}`)].join("\n");
}

function watchScatter() {
  const plot = $("scatter"), hover = $("hover");
  plot.on("plotly_hover", ({ points, event }) => {
    const place = points[0].customdata;
    if (place === undefined) return;
    hover.textContent = hoverText(place);
    hover.hidden = false;
    hover.style.left = `${Math.min(event.clientX + 14, innerWidth - hover.offsetWidth - 8)}px`;
    hover.style.top = `${Math.min(event.clientY + 14, innerHeight - hover.offsetHeight - 8)}px`;
  });
  plot.on("plotly_unhover", () => { hover.hidden = true; });
  plot.on("plotly_click", ({ points }) => { if (points[0].customdata !== undefined) choose(points[0].customdata, false); });
  plot.on("plotly_selected", (event) => {
    if (!event) return;
    const places = new Set(event.points.map((point) => point.customdata).filter((place) => place !== undefined));
    if (!places.size && !event.range && !event.lassoPoints) return;
    const box = event.range && event.range.x ? { x: [...event.range.x].sort(ascending), y: [...event.range.y].sort(ascending) } : null;
    setBrush([...places], box, false);
  });
  plot.on("plotly_deselect", () => setBrush(null, null, true));
}

const ascending = (a, b) => a - b;

/* ---- the brush ---- */

const ENDS = ["x-low", "x-high", "y-low", "y-high"];

/* `places`: null for all; `box`: what it was in numbers, if it was a box; `redraw`: whether the scatter does not show it yet. */
function setBrush(places, box, redraw) {
  brush = places && Uint32Array.from(places).sort();
  state.box = box;
  state.brushed = places && !box ? places.slice(0, 2000).map((i) => columns.trial_id.raw(i)) : null;
  const ends = box ? [...box.x, ...box.y] : ["", "", "", ""];
  ENDS.forEach((id, k) => { $(id).value = typeof ends[k] === "number" ? Number(ends[k].toPrecision(6)) : ends[k] ?? ""; });
  if (redraw) drawScatter();
  drawBrushed();
}

function inBox(box) {
  const [x, y] = [columns[$("x").value], columns[$("y").value]];
  const inside = (value, [low, high]) => value >= low && value <= high;
  return [...everyone()].filter((i) => inside(x.number(i), box.x) && inside(y.number(i), box.y));
}

function brushByNumbers(event) {
  event.preventDefault();
  const read = (id, end) => { const text = $(id).value.trim().replace("−", "-"); return text === "" ? end : Number(text); };
  const box = { x: [read("x-low", -Infinity), read("x-high", Infinity)], y: [read("y-low", -Infinity), read("y-high", Infinity)] };
  if ([...box.x, ...box.y].some(Number.isNaN)) { $("brushed").textContent = "a brush's ends are numbers such as 0.25"; return; }
  setBrush(inBox(box), box, true);
}

function drawBrushed() {
  $("brushed").textContent = brush ? `${brush.length.toLocaleString("en")} of ${count(family.shown, "trial")} brushed` : `all ${count(family.shown, "trial")}`;
  $("h-table").textContent = brush ? "The brushed trials" : "All trials (brush some above)";
  drawTable();
  drawMeans();
  drawTraces();
  if ($("parallel-details").open) drawParallel();
}

/* ---- the table ---- */

function tableColumns() {
  const names = [...family.knobs, "seed", ...family.metrics.slice(0, 7), "status"];
  return ["trial_id", ...new Set(names)].filter((name) => columns[name]);
}

function sorted(places, { name, down }) {
  const { raw, numeric } = columns[name], sign = down ? -1 : 1;
  const key = (i) => { const v = raw(i); return isSet(v) ? v : null; };
  const compare = (a, b) => a === b ? 0 : a === null ? 1 : b === null ? -1 : sign * (numeric ? a - b : a < b ? -1 : 1);
  return Array.from(places).sort((i, j) => compare(key(i), key(j)) || i - j);
}

function drawTable() {
  const names = tableColumns(), first = family.objectives[0];
  const sort = state.sort && columns[state.sort.name] ? state.sort : { name: first.name, down: first.mode === "max" };
  const places = current(), listed = sorted(places, sort).slice(0, MOST_LISTED);
  const heads = names.map((name) => {
    const resort = () => { state.sort = { name, down: sort.name === name && !sort.down }; drawTable(); };
    const cell = element("th", { scope: "col", title: columns[name].doc, className: columns[name].numeric ? "" : "text" }, element("button", { type: "button", onclick: resort }, words(name)));
    if (sort.name === name) cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    return cell;
  });
  const rows = listed.map((i) => element("tr", { className: i === chosen ? "chosen" : "" }, ...names.map((name) => {
    if (name === "trial_id") return element("td", { className: "text" }, trialButton(i));
    const value = columns[name].raw(i);
    return element("td", { className: `${columns[name].numeric ? "" : "text"} ${name === "status" ? value : ""}` }, shown(value));
  })));
  $("table").replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
  const cut = listed.length < places.length ? `${listed.length} of ${places.length.toLocaleString("en")} listed, by ${words(sort.name)}. ` : "";
  $("table-note").textContent = `${cut}A column's name sorts; a trial's id shows it. Metrics have seven digits here and all of them in the tables.`;
}

/* ---- a column against a knob ---- */

/* Student's interval of the mean, for three values or more. */
function interval(values) {
  const n = values.length, mean = values.reduce((a, b) => a + b, 0) / n;
  if (n < 3) return { mean, half: null, n };
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (n - 1);
  return { mean, half: content.student[Math.min(n - 1, content.student.length) - 1] * Math.sqrt(variance / n), n };
}

/* One series for each value of `split`: by value of the knob, the mean over trials of each seed; these are independent. */
function cells(of, against, split) {
  const others = family.knobs.filter((name) => name !== against && name !== split);
  const found = new Map();
  for (const i of current()) {
    const value = columns[of].number(i), x = columns[against].raw(i), s = split ? columns[split].raw(i) : "";
    if (Number.isNaN(value) || !isSet(x)) continue;
    if (!found.has(s)) found.set(s, new Map());
    const series = found.get(s);
    if (!series.has(x)) series.set(x, { seeds: new Map(), settings: new Set(), n: 0 });
    const cell = series.get(x), seed = columns.seed ? columns.seed.raw(i) : 0;
    if (!cell.seeds.has(seed)) cell.seeds.set(seed, []);
    cell.seeds.get(seed).push(value);
    cell.settings.add(others.map((name) => columns[name].raw(i)).join("\u0000"));
    cell.n++;
  }
  return { found, others };
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const byValue = ([a], [b]) => typeof a === "number" && typeof b === "number" ? a - b : String(a) < String(b) ? -1 : 1;

/* Whether all cells average over the same settings of the other knobs, so that a line between them compares like with like. */
function alike(series) {
  const said = series.map(([, cell]) => [...cell.settings].sort().join("\u0001"));
  return said.every((one) => one === said[0]);
}

/* The other knobs that differ within a point. */
function averagedOver(series, others) {
  const found = new Set();
  for (const [, byX] of series) for (const { settings } of byX.values()) {
    const [first, ...rest] = [...settings].map((setting) => setting.split("\u0000"));
    for (const setting of rest) setting.forEach((value, k) => { if (value !== first[k]) found.add(others[k]); });
  }
  return [...found];
}

function drawMeans() {
  const [of, against, split] = [$("mean-of").value, $("against").value, $("split").value];
  if (!against) return nothing("means", "means-note", "No knob varies.");
  const { found, others } = cells(of, against, split);
  const numeric = columns[against].numeric, log = numeric && overDecades(against);
  let few = false, unlike = false, left = 0;
  const series = [...found].sort(byValue);
  const drawn = series.slice(0, MOST_TO_SPLIT);
  left = series.length - drawn.length;
  const colours = kindColours({ kinds: drawn.map(([s]) => s), numeric: split && columns[split].numeric });
  const traces = drawn.map(([s, byX], k) => {
    const points = [...byX].sort(byValue);
    const means = points.map(([, cell]) => interval([...cell.seeds.values()].map(mean)));
    few ||= means.some(({ half }) => half === null);
    const same = alike(points);
    unlike ||= !same;
    return {
      type: "scatter", mode: numeric && same ? "lines+markers" : "markers", name: plain(split ? `${words(split)} ${shown(s)}` : words(of)),
      x: points.map(([x]) => typeof x === "number" ? x : plain(shown(x))), y: means.map((m) => m.mean),
      error_y: { type: "data", array: means.map((m) => m.half || 0), thickness: 1.3, width: 3 },
      text: means.map((m, j) => `${count(m.n, "seed")}, ${count(points[j][1].n, "trial")}`), hovertemplate: "%{x}: %{y:.4g}<br>%{text}",
      marker: { color: colours[k], symbol: SYMBOLS[k % SYMBOLS.length], size: 8 }, line: { color: colours[k], dash: DASHES[k % DASHES.length] },
    };
  });
  const noted = [`Means over seeds${few ? "; fewer than three seeds have no interval" : " with Student's 95 % interval"}`];
  const averaged = averagedOver(series, others);
  if (averaged.length) noted.push(`each seed averages over ${averaged.map(words).join(", ")}`);
  if (unlike && numeric) noted.push("points that differ in other knobs too are not joined");
  if (left) noted.push(`${MOST_TO_SPLIT} of ${series.length} values of ${words(split)} drawn`);
  $("means").hidden = false;
  draw("means", traces, {
    showlegend: Boolean(split), xaxis: { title: { text: plain(words(against)) }, type: numeric ? (log ? "log" : "linear") : "category", ...valueTicks(against) },
    yaxis: { title: { text: plain(words(of)) } }, margin: { l: 60, r: 15, t: 12, b: 50 },
  });
  $("means-note").textContent = `${brush ? "Of the brushed trials. " : ""}${noted.join("; ")}.`;
}

/* A knob's own values where they are few. */
function valueTicks(name) {
  const { known, numeric } = columns[name];
  return numeric && known && known.length <= 8 ? { tickvals: known, ticktext: known.map((v) => shown(v)) } : {};
}

/* ---- over training ---- */

function drawTraces() {
  const { traces: told } = family;
  if (!told.columns.length) return nothing("traces", "traces-note", "No curves of these trials are recorded.");
  const name = $("trace-of").value, trials = array(told.trials), starts = array(told.starts);
  const steps = array(told.values.step), values = array(told.values[name]);
  const inBrush = brush && new Set(brush), colour = colouring();
  const there = [...trials.keys()].filter((k) => !inBrush || inBrush.has(trials[k]));
  const kept = there.filter((_, k) => there.length <= MOST_LINES || Math.floor(k * MOST_LINES / there.length) !== Math.floor((k - 1) * MOST_LINES / there.length));
  const colours = colour.kinds ? kindColours(colour) : null;
  const groups = new Map();
  for (const k of kept) {
    const key = colours ? colour.kindOf(trials[k]) : binOf(colour, trials[k]);
    if (!groups.has(key)) groups.set(key, { x: [], y: [], places: [], n: 0 });
    const group = groups.get(key);
    addLine(group, k);
  }
  function addLine(group, k) {
    for (let j = starts[k]; j < starts[k + 1]; j++) { group.x.push(steps[j]); group.y.push(values[j]); group.places.push(trials[k]); }
    group.x.push(null); group.y.push(null); group.places.push(null);
    group.n++;
  }
  const drawn = [...groups].sort((a, b) => a[0] - b[0]).map(([key, group]) => ({
    type: "scatter", mode: "lines", x: group.x, y: group.y, customdata: group.places, connectgaps: false,
    name: plain(colours ? (colour.name ? `${words(colour.name)} ${shown(colour.kinds[key])}` : "trials") : binName(colour, key)),
    line: { color: colours ? colours[key] || css("faint") : viridis(key / (BINS - 1)), width: kept.length > 60 ? 1 : 1.6, dash: colours && !colour.numeric ? DASHES[key % DASHES.length] : "solid" },
    opacity: kept.length > 60 ? 0.55 : 0.85, hovertemplate: "step %{x}: %{y:.4g}",
  }));
  const line = chosen === null ? -1 : trials.indexOf(chosen);
  if (line >= 0) {
    const group = { x: [], y: [], places: [], n: 0 };
    addLine(group, line);
    drawn.push({ type: "scatter", mode: "lines", x: group.x, y: group.y, customdata: group.places, name: "clicked", line: { color: css("text"), width: 3.5 }, hovertemplate: "step %{x}: %{y:.4g}" });
  }
  $("traces").hidden = false;
  draw("traces", drawn, {
    showlegend: drawn.length > 1, hovermode: "closest", xaxis: { title: { text: "training steps" }, type: $("log-step").checked ? "log" : "linear", ...($("log-step").checked ? { dtick: 1 } : {}) },
    yaxis: { title: { text: plain(words(name)) }, type: $("log-value").checked ? "log" : "linear" }, margin: { l: 60, r: 15, t: 12, b: 45 },
  });
  const places = current();
  const noted = [`${count(kept.length, "curve")} of ${count(places.length, brush ? "brushed trial" : "trial")}`];
  if (there.length > kept.length) noted.push(`an even sample of the ${there.length.toLocaleString("en")} that there are`);
  if (there.length < places.length) noted.push(`${(places.length - there.length).toLocaleString("en")} have no curve on this page${told.n < family.shown ? `, which has those of ${told.n.toLocaleString("en")}, the front's first` : ""}`);
  $("traces-note").textContent = `${noted.join("; ")}. A click shows the trial.`;
}

const BINS = 6;

function binOf({ number, log }, place) {
  const value = (i) => log ? Math.log10(number(i)) : number(i);
  const [low, high] = extent(everyone(), value), v = value(place);
  return Number.isNaN(v) ? 0 : Math.min(BINS - 1, Math.floor(BINS * (v - low) / ((high - low) || 1)));
}

function binName({ name, number, log }, bin) {
  const [low, high] = extent(everyone(), (i) => log ? Math.log10(number(i)) : number(i));
  const end = (k) => { const v = low + (high - low) * k / BINS; return String(Number((log ? 10 ** v : v).toPrecision(2))); };
  return `${words(name)} ${end(bin)} – ${end(bin + 1)}`;
}

/* ---- importance ---- */

function drawImportance() {
  const told = family.importance;
  if (told.why) return nothing("importance", "importance-note", `None: ${told.why}.`);
  const order = told.knobs.map((_, k) => k).sort((a, b) => told.share[0][a] - told.share[0][b]);
  const traces = family.objectives.map((objective, o) => ({
    type: "bar", orientation: "h", name: plain(words(objective.name)), y: order.map((k) => plain(words(told.knobs[k]))), x: order.map((k) => told.share[o][k]),
    error_x: { type: "data", symmetric: false, array: order.map((k) => Math.max(0, told.high[o][k] - told.share[o][k])), arrayminus: order.map((k) => Math.max(0, told.share[o][k] - told.low[o][k])), thickness: 1.2, width: 3, color: css("text") },
    marker: { color: COLOURS[o % COLOURS.length], pattern: { shape: ["", "/", ".", "x"][o % 4], fillmode: "overlay", fgcolor: css("card"), solidity: 0.35 } }, hovertemplate: "%{x:.2f}",
  }));
  $("importance").hidden = false;
  draw("importance", traces, { barmode: "group", showlegend: traces.length > 1, xaxis: { title: { text: "share of what sets the best tenth apart (PED-ANOVA)" }, rangemode: "tozero" }, yaxis: { ticks: "outside", tickcolor: "rgba(0,0,0,0)" }, margin: { l: 90, r: 15, t: 12, b: 45 } });
  const sampled = told.n < family.shown ? `By ${told.n.toLocaleString("en")} of the trials. ` : "";
  $("importance-note").textContent = `${sampled}Of all trials, not of the brushed ones; bars reach over the middle 90 % of resampled trials.`;
}

/* ---- parallel coordinates ---- */

function drawParallel() {
  const places = current(), step = Math.max(1, places.length / MOST_PARALLEL), kept = [];
  for (let k = 0; k < places.length; k += step) kept.push(places[Math.floor(k)]);
  const names = [...new Set([...family.knobs.slice(0, 10), ...family.objectives.map((one) => one.name)])];
  const whole = kept.filter((i) => names.every((name) => isSet(columns[name].raw(i))));
  const [first] = family.objectives;
  const dimensions = names.map((name) => {
    const { numeric, number, raw, known } = columns[name];
    const label = words(name);
    if (!numeric) return { label, values: whole.map((i) => known.indexOf(raw(i))), tickvals: known.map((_, k) => k), ticktext: known };
    const few = known && known.length <= 8 ? { tickvals: known, ticktext: known.map(shown) } : {};
    if (!overDecades(name)) return { label, values: whole.map(number), ...few };
    const values = whole.map((i) => Math.log10(number(i))), [low, high] = extent(everyone(), (i) => Math.log10(number(i)));
    return { label, values, ...logTicks(low, high) };
  });
  draw("parallel", [{
    type: "parcoords", dimensions, labelangle: names.length > 7 ? -20 : 0, labelfont: { color: css("text") }, tickfont: { color: css("text") }, rangefont: { color: css("faint") },
    line: { color: whole.map(columns[first.name].number), colorscale: SEQUENTIAL, reversescale: first.mode === "min", showscale: true, colorbar: { title: { text: plain(words(first.name)), side: "right" }, thickness: 12, outlinewidth: 0 } },
  }], { margin: { l: 90, r: 40, t: 70, b: 30 } });
  const noted = [`${count(whole.length, "trial")}${brush ? " of those brushed" : ""}`];
  if (kept.length < places.length) noted.push(`an even sample of ${places.length.toLocaleString("en")}`);
  if (whole.length < kept.length) noted.push(`${kept.length - whole.length} without all values left out`);
  if (family.knobs.length > 10) noted.push(`10 of ${family.knobs.length} knobs`);
  $("parallel-note").textContent = `${noted.join("; ")}. Drag along an axis to keep a range of it.`;
}

/* ---- the clicked trial ---- */

function choose(place, scroll) {
  chosen = place;
  state.chosen = place === null ? null : columns.trial_id.raw(place);
  drawScatter();
  drawTable();
  drawTraces();
  drawTrial();
  if (scroll) { $("trial-card").scrollIntoView({ behavior: "auto", block: "nearest" }); $("h-trial").focus(); }
}

function drawTrial() {
  if (chosen === null) {
    $("h-trial").textContent = "The clicked trial";
    $("trial").replaceChildren(element("p", { className: "note" }, "Click a point of a plot, or an id in a table, to see a trial's knobs, metrics, neurons and commands here."));
    return;
  }
  const id = columns.trial_id.raw(chosen);
  $("h-trial").textContent = `Trial ${id}`;
  const figures = element("div", { className: "figures" });
  const right = element("div", {}, figures, ...trialCommands(id));
  $("trial").replaceChildren(trialNumbers(), right);
  const missing = [...drawParts(figures), ...drawImage(figures)];
  if (missing.length) right.prepend(element("p", { className: "note" }, missing.join(" ")));
}

function trialNumbers() {
  const value = (name) => columns[name].raw(chosen);
  const list = (title, names) => {
    const rows = names.filter((name) => columns[name] && isSet(value(name))).map((name) => {
      const v = value(name), full = typeof v === "number" ? String(Number(v.toPrecision(7))).replace(/^-/, "−") : v;
      return element("tr", { title: columns[name].doc }, element("td", { className: "text" }, words(name)), element("td", { className: "long" }, shown(full)));
    });
    return rows.length ? [element("h3", {}, title), element("table", {}, element("tbody", {}, ...rows))] : [];
  };
  const others = Object.keys(columns).filter((name) => ![...family.knobs, ...family.fixed, ...family.metrics, "seed", "trial_id", "error", "status"].includes(name));
  const error = columns.error && value("error");
  return element("div", { className: "numbers" },
    element("p", {}, "It ", element("b", { className: value("status") }, value("status")), ` after ${count(value("last_step"), "step")}.`),
    error ? element("pre", {}, error) : null,
    ...list("Knobs that vary", [...family.knobs, "seed"]), ...list("Metrics", family.metrics), ...list("Knobs that do not vary", family.fixed), ...list("Where and when", others));
}

function trialCommands(id) {
  const lines = family.commands.map(([what, command]) => {
    const code = element("code", {}, command.replace("TRIAL", id));
    const button = element("button", { type: "button", onclick: () => copy(code, button) }, "Copy");
    button.setAttribute("aria-label", `Copy the command: ${what}`);
    return element("div", { className: "command" }, button, element("span", {}, `${what}: `, code));
  });
  return [element("h3", {}, "Commands"), ...lines];
}

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);  // for the reader's own Ctrl-C
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function drawParts(figures) {
  const missing = [];
  for (const part of family.parts) {
    const trials = array(part.trials), starts = array(part.starts), line = trials.indexOf(chosen);
    if (line < 0) { missing.push(`Its ${words(part.column)} by ${part.table} is not on this page${trials.length ? `, which has those of ${count(trials.length, "trial")}` : ""}.`); continue; }
    const within = (name) => array(part.values[name]).slice(starts[line], starts[line + 1]);
    const plot = figures.appendChild(element("div", { className: "plot" }));
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `${part.label} of trial`);
    (part.kind === "cdf" ? drawCdf : drawRanks)(plot, part, within);
  }
  return missing;
}

function drawCdf(plot, part, within) {
  const values = within(part.column).filter((v) => !Number.isNaN(v)).sort(), n = values.length;
  draw(plot, [{ type: "scatter", mode: "lines", x: [...values], y: [...values.keys()].map((k) => (k + 1) / n), line: { shape: "hv", color: COLOURS[0], width: 2 }, hovertemplate: "%{y:.2f} of them ≤ %{x:.3g}" }],
    { xaxis: { title: { text: plain(part.label) } }, yaxis: { title: { text: `share of ${part.table}` }, range: [0, 1.02] }, margin: { l: 50, r: 10, t: 25, b: 45 } }, BARE);
}

function drawRanks(plot, part, within) {
  const values = within(part.column), other = part.split_by && within(part.split_by);
  const at = part.split_at && columns[part.split_at] ? columns[part.split_at].number(chosen) : NaN;
  const order = [...values.keys()].filter((k) => !Number.isNaN(values[k])).sort((a, b) => values[a] - values[b]);
  const rank = new Map(order.map((k, r) => [k, r + 1]));
  const kinds = other && !Number.isNaN(at) ? [order.filter((k) => other[k] > at), order.filter((k) => !(other[k] > at))] : [order];
  draw(plot, kinds.map((kind, k) => ({
    type: "scatter", mode: "markers", x: kind.map((i) => rank.get(i)), y: kind.map((i) => values[i]), name: plain(`${part.split_into[k]} (${kind.length})`),
    marker: { color: COLOURS[k], symbol: SYMBOLS[k], size: 5 }, hovertemplate: "%{y:.3g}",
  })), { showlegend: kinds.length > 1, xaxis: { title: { text: `${part.table}, by ${plain(part.label)}` } }, yaxis: { title: { text: plain(part.label) } }, margin: { l: 50, r: 10, t: 25, b: 45 } }, BARE);
}

function drawImage(figures) {
  const told = family.images.find((image) => image.trial === chosen);
  if (!told) return family.images.length ? [`Its response map is not on this page, which has those of ${count(family.images.length, "trial")}.`] : [];
  const values = array(told.values), width = values.length / told.rows, scale = (told.high - told.low) / 255;
  const rows = Array.from({ length: told.rows }, (_, r) => Array.from(values.subarray(r * width, (r + 1) * width), (v) => told.low + v * scale));
  const signed = told.low < 0, dark = theme() === "dark";
  const colorscale = signed ? "RdBu" : dark ? "Viridis" : "Blues";
  figures.append(element("h3", { style: "grid-column: 1 / -1" }, told.title));
  const plot = figures.appendChild(element("div", { className: "plot", style: "grid-column: 1 / -1; height: 430px; max-width: 640px" }));
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", told.title);
  draw(plot, [{ type: "heatmap", z: rows, colorscale, reversescale: !signed && !dark, ...(signed ? { zmid: 0 } : { zmin: 0 }), hovertemplate: "row %{y}, column %{x}: %{z:.3g}<extra></extra>", colorbar: { thickness: 12, outlinewidth: 0 } }],
    { xaxis: { title: { text: plain(told.x) }, showgrid: false }, yaxis: { title: { text: plain(told.y) }, autorange: "reversed", showgrid: false }, margin: { l: 60, r: 10, t: 8, b: 45 } }, BARE);
  return [];
}

/* ---- choices ---- */

function options(id, names, wanted, none) {
  const made = names.map((name) => element("option", { value: name, title: columns && columns[name] ? columns[name].doc : "" }, words(name)));
  $(id).replaceChildren(...(none ? [element("option", { value: "" }, none)] : []), ...made);
  const kept = state.choices && state.choices[id];
  $(id).value = kept !== undefined && (names.includes(kept) || (none && kept === "")) ? kept : wanted ?? (none ? "" : names[0]);
}

function keepChoices() {
  state.choices = Object.fromEntries(["x", "y", "colour", "mean-of", "against", "split", "trace-of"].map((id) => [id, $(id).value]));
  state.boxes = Object.fromEntries(["log-x", "log-y", "log-step", "log-value"].map((id) => [id, $(id).checked]));
}

function setUp() {
  const numbers = Object.keys(columns).filter((name) => columns[name].numeric);
  const measured = [...new Set([...family.metrics, ...numbers])];
  const [first, second] = family.objectives, [knob, other] = byImportance();
  options("x", [...new Set([...measured, ...family.knobs])], first.name);
  options("y", [...new Set([...measured, ...family.knobs])], second ? second.name : family.metrics.find((name) => name !== first.name) || first.name);
  options("colour", [...family.knobs, "status", ...measured.filter((name) => !family.knobs.includes(name))], knob, "nothing");
  options("mean-of", measured, second ? second.name : first.name);
  options("against", [...family.knobs, "seed"].filter((name) => columns[name]), knob);
  options("split", family.knobs, other, "nothing");
  options("trace-of", family.traces.columns, family.traces.columns.includes(first.name) ? first.name : undefined);
  for (const [id, on] of Object.entries(state.boxes || {})) $(id).checked = on;
  if (!state.boxes) $("log-x").checked = first.name.endsWith("loss") && overDecades(first.name);
  $("h-scatter").textContent = second ? `${words(first.name)} against ${words(second.name)}` : words(first.name);
}

/* Varied knobs, the most important for the headline first; one that follows another splits nothing. */
function byImportance() {
  const told = family.importance, o = family.objectives.length > 1 ? 1 : 0;
  const knobs = told.why ? [...family.knobs].sort((a, b) => size(b) - size(a)) : [...told.knobs].sort((a, b) => told.share[o][told.knobs.indexOf(b)] - told.share[o][told.knobs.indexOf(a)]);
  const splits = knobs.slice(1).find((name) => columns[name].known && columns[name].known.length <= 6 && !follows(name, knobs[0]));
  return [knobs[0], splits];
}

const size = (name) => columns[name].known ? columns[name].known.length : Infinity;

function follows(name, other) {
  const seen = new Map();
  for (const i of everyone()) {
    const key = columns[other].raw(i), value = columns[name].raw(i);
    if (seen.has(key) && seen.get(key) !== value) return false;
    seen.set(key, value);
  }
  return true;
}

function show(name) {
  family = content.families.find((one) => one.family === name) || content.families[0];
  columns = Object.fromEntries(Object.entries(family.columns).map(([name, told]) => [name, decoded(told)]));
  for (const objective of family.objectives) columns[objective.name] ||= { raw: () => NaN, number: () => NaN, known: [], numeric: true, doc: "" };
  state.family = family.family;
  [ids, all, brush, chosen] = [null, null, null, null];
  setUp();
  chosen = state.chosen ? placeOf(state.chosen) : null;
  const kept = state.box ? inBox(openEnds(state.box)) : state.brushed ? state.brushed.map(placeOf).filter((i) => i !== null) : null;
  drawKnobs();
  drawReasons();
  const first = drawScatter();
  drawImportance();
  drawTrial();
  setBrush(kept, state.box && openEnds(state.box), Boolean(kept));
  return first;
}

/* JSON has no infinity. */
const openEnds = ({ x, y }) => ({ x: [x[0] ?? -Infinity, x[1] ?? Infinity], y: [y[0] ?? -Infinity, y[1] ?? Infinity] });

function redraw() {
  drawLive();
  if (!family) return;
  drawScatter();
  drawImportance();
  drawTrial();
  drawBrushed();
}

/* ---- a page that is renewed ---- */

function renew() {
  if (!content.renewed_s) return;
  const button = $("renewing");
  button.hidden = false;
  const say = () => { button.textContent = state.paused ? "Renewing is paused" : `Renewed every ${content.renewed_s} s`; };
  button.onclick = () => { state.paused = !state.paused; say(); };
  say();
  let busy = false;
  addEventListener("pointerdown", () => { busy = true; });
  addEventListener("pointerup", () => { busy = false; });
  setInterval(() => {
    const typing = ["INPUT", "SELECT"].includes(document.activeElement && document.activeElement.tagName);
    if (!state.paused && !busy && !typing) location.reload();
  }, content.renewed_s * 1000);
}

/* ---- start ---- */

function listen() {
  const redrawing = { x: axes, y: axes, colour: () => { drawScatter(); drawTraces(); }, "log-x": drawScatter, "log-y": drawScatter,
    "mean-of": drawMeans, against: drawMeans, split: drawMeans, "trace-of": drawTraces, "log-step": drawTraces, "log-value": drawTraces };
  for (const [id, act] of Object.entries(redrawing)) $(id).addEventListener("change", () => { keepChoices(); act(); });
  function axes() { setBrush(brush && [...brush], null, true); }
  $("brush").addEventListener("submit", brushByNumbers);
  $("brush-front").onclick = () => setBrush(frontPlaces(), null, true);
  $("clear").onclick = () => setBrush(null, null, true);
  $("parallel-details").addEventListener("toggle", () => { state.parallel = $("parallel-details").open; if (state.parallel) drawParallel(); });
  $("family").addEventListener("change", () => { Object.assign(state, { choices: undefined, boxes: undefined, box: null, brushed: null, chosen: null, sort: null }); show($("family").value); });
  $("h-trial").tabIndex = -1;
}

/* What a page without a row has as well. */
function listenAlways() {
  $("theme").onclick = () => { state.theme = theme() === "dark" ? "light" : "dark"; setTheme(theme()); redraw(); };
  prefersDark.addEventListener("change", () => { setTheme(theme()); redraw(); });
  $("print").onclick = () => print();
  addEventListener("beforeprint", () => { setTheme("light"); redraw(); });
  addEventListener("afterprint", () => { setTheme(theme()); redraw(); });
  addEventListener("pagehide", remember);
}

function leftOut() {
  const parts = content.families.length > 1 ? ["families are shown one at a time"] : [];
  if (content.selection) parts.push(`only trials of ${content.selection}`);
  if (content.where) parts.push("trials in training, whose knobs no table has yet");
  parts.push("trials that repeat another are hidden, as in every query");
  return `Left out: ${parts.join("; ")}. Written by monosweep ${content.version}, drawn by plotly.js; this file asks no network for anything.`;
}

async function start() {
  state = recall();
  setTheme(theme());
  if (typeof DecompressionStream === "undefined") throw new Error("this page needs a browser from 2023 or later");
  run(new TextDecoder().decode(await unpacked("plotly")));
  bytes = await unpacked("content");
  const length = new DataView(bytes.buffer).getUint32(0, true);
  blockAt = 4 + length;
  content = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  $("title").textContent = content.root;
  $("subtitle").textContent = `${content.selection ? `${content.selection} · ` : ""}written ${content.written}`;
  $("left-out").textContent = leftOut();
  drawSweeps();
  drawClaims();
  renew();
  setUpLive();
  drawLive();
  listenAlways();
  if (!content.families.length) {
    drawReasons();
    for (const card of document.querySelectorAll("main > .card:nth-child(n+4)")) card.hidden = true;
    $("trouble").hidden = false;
    $("trouble").textContent = "No trial has its row yet.";
    $("family-label").hidden = true;
    document.documentElement.dataset.ready = "yes";
    return;
  }
  options("family", content.families.map((one) => one.family), state.family);
  if (state.family) $("family").value = state.family;
  $("family-label").hidden = content.families.length < 2;
  listen();
  await show($("family").value);
  watchScatter();
  if (state.parallel) $("parallel-details").open = true;
  if (state.scroll) scrollTo(0, state.scroll);
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  $("trouble").hidden = false;
  $("trouble").textContent = `This page cannot be drawn: ${error.message}`;
  throw error;
});
