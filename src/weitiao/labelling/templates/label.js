"use strict";
(() => {
const COMMANDS = { u: undo, s: () => say("skip"), "?": () => say("unsure"), n: note, "/": search, h: hide, f: find, g: takeGuess, d: disputes };
const KEYS = "1234567890abceijklmopqrtvwxyz";  // of labels: what no command has
const TONES = ["#1d5fa6", "#b0530b", "#17724a", "#8a3fa0", "#b23a17", "#0f7c86", "#7a5b06", "#a12a62"];
const RETRY = 700, REFRESH = 2500;  // milliseconds
const byId = id => document.getElementById(id);
const token = new URLSearchParams(location.search).get("token");
const stored = (key, value) => value === undefined ? localStorage.getItem(`weitiao-${key}`) : localStorage.setItem(`weitiao-${key}`, value);
const state = { about: null, example: null, began: 0, busy: false, shown: stored("hide") !== "yes", disputed: false, picks: new Set(), spans: [], selection: null, type: null, at: -1, progress: null };
const annotator = byId("annotator");

// --- the server

async function call(path, body) {
  const headers = { "x-weitiao": token || "page" };
  if (body) headers["content-type"] = "application/json";
  const reply = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  const told = reply.headers.get("content-type")?.includes("json") ? await reply.json() : { problem: await reply.text() };
  if (reply.ok) return told;
  const error = new Error([told.where, told.problem || JSON.stringify(told.detail)].filter(Boolean).join(": ") + (told.fix ? `. ${told.fix}` : ""));
  error.refused = reply.status < 500 && reply.status !== 403;  // a server that was begun anew has another token
  throw error;
}
const asked = (path, values) => call(`${path}?${new URLSearchParams({ annotator: annotator.value, ...values })}`);
const pendingKey = () => `pending-${state.about.name}-${annotator.value}`;

// What is not acknowledged yet outlives this page; its id lets it be sent twice and count once.
async function keep(path, body) {
  body = { ...body, annotator: annotator.value, id: hex() };
  stored(pendingKey(), JSON.stringify({ path, body }));
  return insist(path, body);
}
async function insist(path, body) {
  for (;;) {
    try {
      const reply = await call(path, body);
      stored(pendingKey(), "");
      trouble("");
      return reply;
    } catch (error) {
      if (error.refused) { stored(pendingKey(), ""); throw error; }
      trouble(error instanceof TypeError ? "Not saved yet: the server does not answer. It is tried again; keep this page open." : `Not saved yet: ${error.message}`);
      await new Promise(done => setTimeout(done, RETRY));
    }
  }
}
const hex = () => [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, "0")).join("");
function trouble(text) { byId("trouble").textContent = text; byId("trouble").hidden = !text; }
const status = text => { byId("status").textContent = text; };

// One thing at a time: a key that is hit before the next example is there is not meant for it.
async function alone(work) {
  if (state.busy) return;
  state.busy = true;
  try { await work(); } catch (error) { trouble(error instanceof TypeError ? "The server does not answer." : error.message); } finally { state.busy = false; }
}

// --- acts

const kind = () => state.about.kind;
const guess = () => state.shown ? state.example?.guess : null;
const seconds = () => (performance.now() - state.began) / 1000;

function say(act, answer = null) {
  if (!state.example) return;
  if (state.disputed && act !== "label") return alone(async () => { status(`Not ruled on: ${short(state.example.text)}`); await next(state.example.row); });
  if (state.disputed) act = "adjudicate";
  return alone(async () => {
    const row = state.example;
    await keep("/api/acts", { act, row: row.row, answer, seconds: seconds(), shown: Boolean(guess()) });
    status(`${{ label: "Saved", adjudicate: "Ruled", skip: "Skipped", unsure: "Noted as unsure" }[act]}: ${short(row.text)}`);
    await next();
  });
}
function undo() {
  return alone(async () => {
    const reply = await keep("/api/undo", {});
    status(reply.undone ? `Taken back: ${reply.undone}` : "There is nothing to take back.");
    if (reply.example) show(reply.example);
    refresh();
  });
}
function submit() {
  if (kind() === "label") { if (guess()) say("label", guess().answer); return; }
  if (kind() === "labels") say("label", [...state.picks]);
  if (kind() === "spans") say("label", state.spans);
  if (kind() === "text" && byId("text").value.trim()) say("label", byId("text").value);
}
function press(label) {
  if (!state.example) return;
  if (kind() === "label") return say("label", label);
  if (kind() === "spans") return mark(label);
  state.picks.has(label) ? state.picks.delete(label) : state.picks.add(label);
  drawLabels();
}
function takeGuess() {
  if (!guess()) return;
  if (kind() === "label") return say("label", guess().answer);
  if (kind() === "labels") state.picks = new Set(guess().answer);
  if (kind() === "spans") state.spans = guess().answer.map(span => ({ ...span }));
  if (kind() === "text") { byId("text").value = guess().answer; byId("text").focus(); }
  drawLabels(); drawCells();
}
function note() {
  if (!state.example) return;
  byId("note-form").hidden = false;
  byId("note").value = state.example.note;
  byId("note").focus();
}
function keepNote() {
  return alone(async () => {
    const text = byId("note").value.trim();
    await keep("/api/acts", { act: "note", row: state.example.row, note: text });
    state.example.note = text;
    closeNote(); status("Note kept.");
  });
}
function closeNote() {
  byId("note-form").hidden = true;
  byId("noted").hidden = !state.example?.note;
  byId("noted").textContent = state.example?.note ? `Your note: ${state.example.note}` : "";
  document.activeElement?.blur();
}
function hide() { state.shown = !state.shown; stored("hide", state.shown ? "no" : "yes"); drawGuess(); drawActs(); }
function disputes() { state.disputed = !state.disputed; return alone(next); }
function search() { const field = kind() !== "text" && many() ? byId("filter") : null; field ? field.focus() : find(); }
function find() { byId("find").showModal(); byId("words").select(); }
async function addLabel() {
  if (state.busy) return;
  const name = prompt("Name of the new label")?.trim();
  if (!name) return;
  await alone(async () => { state.about.labels = (await keep("/api/acts", { act: "new-label", answer: name })).labels; drawLabels(); status(`New label: ${name}`); });
}

// --- showing

async function next(passed = "") {
  const reply = await asked("/api/next", { disputed: state.disputed, passed });
  if (!reply.example && state.disputed) { state.disputed = false; status("No more disagreements to rule on."); return next(); }
  show(reply.example);
  refresh();
}
function show(example) {
  state.example = example;
  state.began = performance.now();
  state.selection = null;
  const given = example?.answer;
  state.picks = new Set(kind() === "labels" && given ? given : []);
  state.spans = kind() === "spans" && given ? given : [];
  byId("text").value = kind() === "text" && given ? given : "";
  byId("filter").value = "";
  state.at = -1;
  byId("card").hidden = !example;
  byId("over").hidden = Boolean(example);
  if (!example) {
    byId("over-title").textContent = "Nothing is left to label";
    byId("over-text").textContent = "All rows have what they need from you, or others have them before them just now. Skipped rows can be found with f.";
  } else {
    byId("place").textContent = example.place;
    byId("state").textContent = state.disputed ? "labellers differ here: your answer decides" : example.done?.act ? `you said: ${told(example.done)}` : "";
    drawCells(); closeNote();
  }
  drawSaid(); drawGuess(); drawLabels(); drawActs();
  if (example && kind() === "text") byId("text").focus({ preventScroll: true });
}
const told = done => done.act === "label" ? answerText(done.answer) : done.act;
function answerText(answer) {
  if (Array.isArray(answer)) return answer.length ? answer.map(each => typeof each === "string" ? each : `${cut(each.start, each.end)} (${each.type})`).join(", ") : "none";
  return String(answer);
}
function drawCells() {
  if (!state.example) return;
  const cells = state.example.cells;
  byId("cells").replaceChildren(...cells.map((cell, place) => {
    const box = make("p", "cell" + (cell.text.length > 600 ? " long" : ""));
    if (kind() === "spans" && place === 0) { box.id = "spanned"; box.append(...segments(cell.text)); }
    else box.append(cell.text);
    if (cells.length < 2) return box;
    const part = make("div");
    part.append(make("span", "role", cell.role), box);
    return part;
  }));
}
function drawSaid() {
  const said = Object.entries(state.disputed && state.example?.answers || {});
  byId("said").hidden = !said.length;
  byId("said").replaceChildren(...said.map(([name, answer]) => {
    const line = make("p", "", `${name}: `), take = make("button", "", answerText(answer));
    take.type = "button"; take.onclick = () => say("label", answer);
    line.append(take);
    return line;
  }));
}
function drawGuess() {
  const found = state.example?.guess, box = byId("guess");
  box.hidden = !found;
  if (!found) return;
  if (!state.shown) { box.replaceChildren("The model's guess is hidden."); return; }
  const first = make("span", "", "The model: "), sure = found.confidence === null ? "" : ` ${percent(found.confidence)}`;
  first.append(make("b", kind() === "text" ? "written" : "", answerText(found.answer)), sure);
  const others = found.others.filter(([label, share]) => label !== found.answer && share >= .005).slice(0, 3).map(([label, share]) => make("span", "", `${label} ${percent(share)}`));
  box.replaceChildren(first, ...others);
}
const percent = share => `${(100 * share).toFixed(0)}%`;
const many = () => state.about.labels.length > 9;
function visible() {
  const words = byId("filter").value.trim().toLowerCase();
  return state.about.labels.map((label, place) => [label, KEYS[place]]).filter(([label]) => label.toLowerCase().replaceAll("_", " ").includes(words.replaceAll("_", " ")));
}
function drawLabels() {
  const box = byId("labels");
  byId("filter").hidden = kind() === "text" || !many();
  byId("text").hidden = kind() !== "text";
  box.hidden = kind() === "text";
  byId("hint").textContent = hint();
  if (kind() === "text") return;
  box.classList.toggle("many", state.about.labels.length > 20);
  const given = kind() === "label" ? state.example?.done?.answer : null;
  const buttons = visible().map(([label, key], place) => {
    const on = given === label || state.picks.has(label) || state.type === label;
    const button = make("button", (on ? "picked" : "") + (place === state.at ? " at" : ""));
    button.type = "button"; button.dataset.label = label;
    button.style.setProperty("--tone", tone(label));
    if (kind() === "spans") button.append(make("span", "swatch"));
    button.append(label);
    if (key) button.append(make("kbd", "", key));
    if (kind() === "labels") button.setAttribute("aria-pressed", state.picks.has(label));
    button.onmousedown = event => event.preventDefault();  // a selection of text stays
    button.onclick = () => { press(label); button.blur(); };
    return button;
  });
  const add = make("button", "add", "+ label");
  add.type = "button"; add.onclick = addLabel;
  box.replaceChildren(...buttons, add);
}
function hint() {
  const sure = state.example?.guess ? "; g takes the model's guess" : "";
  return { label: "A key gives the label" + (many() ? ", / searches" : "") + (state.example?.guess ? "; Enter takes the model's guess." : "."), labels: `Keys turn labels on and off; Enter saves, also none${sure}.`,
    spans: `Mark text with the mouse, then hit the key of its type; a click takes a span away; Enter saves, also none${sure}.`, text: `Enter saves${sure ? "; g (outside of the box) takes the model's text" : ""}.` }[kind()];
}
const tone = label => TONES[state.about.labels.indexOf(label) % TONES.length];
function drawActs() {
  const several = state.progress?.agreement.disputed || state.disputed;
  const acts = [["Undo", "u", undo], ["Skip", "s", () => say("skip")], ["Unsure", "?", () => say("unsure")], ["Note", "n", note], ["Find", "f", find],
    [state.shown ? "Hide the guess" : "Show the guess", "h", hide], ...(several ? [[state.disputed ? "Back to labelling" : `Disagreements (${state.progress.agreement.disputed})`, "d", disputes]] : [])];
  const saves = kind() !== "label" && state.example, drawn = JSON.stringify([saves ? "Save" : "", ...acts.map(([name]) => name)]);
  if (byId("acts").dataset.drawn === drawn) return;  // a click on a button that is drawn anew under it is lost
  byId("acts").dataset.drawn = drawn;
  const buttons = acts.map(([name, key, work]) => {
    const button = make("button", "", name);
    button.type = "button"; button.append(make("kbd", "", key));
    button.onclick = () => { button.blur(); work(); };
    return button;
  });
  if (saves) {
    const save = make("button", "", "Save");
    save.type = "button"; save.append(make("kbd", "", "Enter")); save.onclick = () => { save.blur(); submit(); };
    buttons.unshift(save);
  }
  byId("acts").replaceChildren(...buttons);
}

// --- spans: counted in characters as Python counts them, not in UTF-16

const characters = () => [...state.example.cells[0].text];
const cut = (start, end) => characters().slice(start, end).join("");
function segments(text) {
  const found = [...text], parts = [];
  let at = 0;
  for (const span of [...state.spans].sort((one, other) => one.start - other.start)) {
    parts.push(found.slice(at, span.start).join(""));
    const box = make("mark", "", found.slice(span.start, span.end).join(""));
    box.dataset.type = span.type; box.title = "A click takes it away";
    box.style.setProperty("--tone", tone(span.type));
    box.onclick = () => { if (!getSelection().isCollapsed) return; state.spans = state.spans.filter(each => each !== span); drawCells(); };
    parts.push(box);
    at = span.end;
  }
  return [...parts, found.slice(at).join("")];
}
function selected() {
  const chosen = getSelection(), box = byId("spanned");
  if (!box || !chosen.rangeCount || chosen.isCollapsed || !box.contains(chosen.anchorNode) || !box.contains(chosen.focusNode)) return null;
  const range = chosen.getRangeAt(0), before = document.createRange();
  before.selectNodeContents(box); before.setEnd(range.startContainer, range.startOffset);
  const found = characters();
  let start = [...before.toString()].length, end = start + [...range.toString()].length;
  while (start < end && /\s/.test(found[start])) start++;
  while (end > start && /\s/.test(found[end - 1])) end--;
  return end > start ? { start, end } : null;
}
function mark(type) {
  const place = selected();
  if (!place) { state.type = state.type === type ? null : type; drawLabels(); status(state.type ? `What you mark now is ${type}.` : ""); return; }
  state.spans = state.spans.filter(span => span.end <= place.start || span.start >= place.end);
  state.spans.push({ ...place, type });
  state.spans.sort((one, other) => one.start - other.start);
  getSelection().removeAllRanges();
  drawCells();
}

// --- beside the work

let asking = false;
async function refresh() {
  if (asking) return;
  asking = true;
  try {
    state.progress = await asked("/api/progress");
    drawProgress();
    if (state.progress.known.length !== state.about.labels.length) { state.about.labels = state.progress.known; drawLabels(); }
  } catch { /* told where something is to be saved */ } finally { asking = false; }
}
function drawProgress() {
  const p = state.progress, rows = p.rows.toLocaleString("en");
  byId("count").textContent = `${p.settled.toLocaleString("en")} of ${rows} labelled` + (p.own !== p.settled ? ` · ${p.own.toLocaleString("en")} by you` : "") + (p.seconds ? ` · ${p.seconds.toFixed(1)} s each` : "");
  byId("bar").style.width = `${100 * p.settled / p.rows}%`;
  byId("round").textContent = roundText(p);
  byId("train").disabled = p.busy;
  byId("train").hidden = !p.trains;
  drawCurve(p);
  const a = p.agreement, pairs = Object.entries(a.pairs).filter(([, kappa]) => kappa !== null).map(([pair, kappa]) => `κ ${pair}: ${kappa.toFixed(2)}`);
  const least = Object.entries(a.labels).filter(([, alpha]) => alpha !== null && alpha < 1).sort((one, other) => one[1] - other[1])[0];
  byId("agreement-part").hidden = !a.rows;
  byId("agreement").textContent = [`${a.rows} rows by several, ${a.disputed} to be ruled on.`, a.alpha === null ? "" : `Krippendorff's α ${a.alpha.toFixed(2)}.`, pairs.length ? `${pairs.join(", ")}.` : "", least ? `Least agreed on: ${least[0]} (α ${least[1].toFixed(2)}).` : ""].filter(Boolean).join(" ");
  const counts = Object.entries(p.labels).sort((one, other) => other[1] - one[1]);
  const others = Object.entries(p.acts).filter(([act]) => act !== "label").map(([act, n]) => [act === "skip" ? "skipped" : act, n]);
  const seeded = p.seeded.train ? [["from the recipe's data", p.seeded.train]] : [];
  byId("given-part").hidden = !counts.length && !others.length && !seeded.length;
  byId("given").replaceChildren(...[...counts, ...others, ...seeded].flatMap(([name, n]) => [make("dt", "", name), make("dd", "", n.toLocaleString("en"))]));
  drawActs();
}
function roundText(p) {
  const last = p.round, until = p.until === null ? "" : p.until ? ` The next training begins after ${p.until} more.` : "";
  if (p.refused) return p.refused;
  if (!p.trains && !p.points.length) return "No model is trained by this server: rows come in a random order.";
  if (p.busy && last?.doing === "training") return `Round ${last.number} trains${last.rows ? ` on ${last.rows.toLocaleString("en")} labelled rows` : ""}. Go on labelling.`;
  if (p.busy && last?.doing === "choosing") return last.number ? `Round ${last.number} chooses what to label next.` : "Choosing what to label first. You can begin.";
  if (p.busy) return "A round begins. Go on labelling.";
  if (!last) return "No model yet." + until;
  if (last.doing === "failed") return `Round ${last.number} failed: ${last.problem}\n${until.trim()}`;
  const score = p.points.length ? p.points[p.points.length - 1] : null;
  const measured = score && last.number ? `Round ${last.number}, ${last.rows.toLocaleString("en")} rows: ${score.written} ${p.spoken} on ${last.examples ? `${last.examples.toLocaleString("en")} examples of ` : ""}${last.split}.` : "No model yet.";
  return [measured, last.problem, until.trim(), p.queue === "random" ? "" : `What comes is chosen by ${p.queue}.`].filter(Boolean).join(" ");
}
function drawCurve(p) {
  byId("curve-part").hidden = !p.points.length;
  const drawn = JSON.stringify([p.points, p.outlook]);
  if (!p.points.length || state.curve === drawn) return;
  state.curve = drawn;
  byId("curve-title").textContent = capital(`${p.spoken} by labelled rows`);
  byId("outlook").replaceChildren(...(p.outlook?.sentences || []).map(each => make("p", "", each)));
  const most = Math.max(1, ...p.points.map(each => each.high ?? each.score));  // of a share, though an error rate can be over 1
  const within = value => p.share ? clamp(value, 0, most) : value;
  const ahead = (p.outlook?.curve || []).map(each => [each[0], ...each.slice(1).map(within)]), left = 44, right = 288, top = 12, bottom = 128;
  const xs = [...p.points.map(each => each.rows), ...ahead.map(each => each[0])], ys = [...p.points.flatMap(each => [each.score, each.low ?? each.score, each.high ?? each.score]), ...ahead.flatMap(each => each.slice(1))];
  const [x0, x1] = spread(xs), [y0, y1] = spread(ys).map(within), x = v => left + (right - left) * (v - x0) / (x1 - x0), y = v => bottom - (bottom - top) * (v - y0) / (y1 - y0);
  const drawing = svg("svg", { viewBox: "0 0 300 150", role: "img", "aria-label": byId("curve-title").textContent });
  for (const tick of ticks(y0, y1)) {
    drawing.append(svg("line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) }), words(left - 6, y(tick) + 4, p.share ? `${+(100 * tick).toFixed(2)}%` : tick.toLocaleString("en", { maximumSignificantDigits: 6 }), "end"));
  }
  const last = Math.max(...p.points.map(each => each.rows)), path = part => part.map((each, n) => `${n ? "L" : "M"}${x(each[0]).toFixed(1)} ${y(each[1]).toFixed(1)}`).join("");
  if (ahead.length) {
    drawing.append(svg("path", { class: "band", d: path([...ahead.map(each => [each[0], each[2]]), ...[...ahead].reverse().map(each => [each[0], each[3]])]) + "Z" }));
    drawing.append(svg("path", { class: "line ours", d: path(ahead.filter(each => each[0] <= last)) }), svg("path", { class: "line ahead", d: path(ahead.filter(each => each[0] >= last)) }));
  } else if (p.points.length > 1) drawing.append(svg("path", { class: "line ours", d: path(p.points.map(each => [each.rows, each.score])) }));
  for (const each of p.points) {
    if (each.low !== null) drawing.append(svg("line", { x1: x(each.rows), x2: x(each.rows), y1: y(each.low), y2: y(each.high), stroke: "var(--ours)", "stroke-width": 1.5, opacity: .55 }));
    const dot = svg("circle", { class: "dot ours", cx: x(each.rows), cy: y(each.score), r: 3.6 }), title = svg("title", {});
    title.textContent = `round ${each.round}: ${each.written} with ${each.rows.toLocaleString("en")} rows`;
    dot.append(title);
    drawing.append(dot);
  }
  const shownAt = [...new Set([p.points[0].rows, last, ...(ahead.length ? [Math.round(ahead[ahead.length - 1][0])] : [])])];
  shownAt.forEach((rows, n) => { if (!n || x(rows) - x(shownAt[n - 1]) > 34) drawing.append(words(x(rows), 144, rows.toLocaleString("en"), "middle")); });
  byId("curve").replaceChildren(drawing);
}
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
function ticks(low, high, count = 5) {  // round values: 1, 2, 2.5 or 5 times a power of ten
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 2.5, 5, 10].map(each => each * power).find(each => each >= rough * .999);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, n) => (first + n) * step);
}
function spread(values) { const low = Math.min(...values), high = Math.max(...values), edge = (high - low || Math.abs(high) * .1 || 1) * .08; return [low - edge, high + edge]; }
function svg(name, values) { const made = document.createElementNS("http://www.w3.org/2000/svg", name); for (const [key, value] of Object.entries(values)) made.setAttribute(key, value); return made; }
function words(x, y, text, anchor) { const made = svg("text", { class: "tick", x, y, "text-anchor": anchor }); made.textContent = text; return made; }
function make(name, style = "", text = "") { const made = document.createElement(name); if (style) made.className = style; if (text) made.append(text); return made; }
const capital = text => text[0].toUpperCase() + text.slice(1);
const short = text => text.length > 60 ? `${text.slice(0, 60)}…` : text;

// --- keys

document.addEventListener("keydown", event => {
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || !state.about) return;
  const field = event.target.closest?.("input, textarea, dialog");
  if (field) return inField(event, field);
  if (event.repeat) return;  // a key that is held does not act on row after row
  if (event.key === "Enter" && !event.target.closest?.("button")) { event.preventDefault(); return submit(); }
  if (event.key === "Escape") { state.type = null; getSelection().removeAllRanges(); return drawLabels(); }
  if (COMMANDS[event.key]) { event.preventDefault(); return COMMANDS[event.key](); }
  const place = KEYS.indexOf(event.key.toLowerCase());
  if (place >= 0 && event.key.length === 1 && kind() !== "text" && place < state.about.labels.length) { event.preventDefault(); press(state.about.labels[place]); }
});
function inField(event, field) {
  if (event.key === "Escape" && field.id !== "find") { if (field.id === "filter") { field.value = ""; state.at = -1; drawLabels(); } if (field.id === "note") closeNote(); field.blur(); return; }
  if (field.id === "text" && event.key === "Enter" && !event.shiftKey) { event.preventDefault(); if (!event.repeat) submit(); }
  if (field.id === "filter") inFilter(event, field);
}
function inFilter(event, field) {
  const shown = visible();
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    state.at = clamp(state.at + (event.key === "ArrowDown" ? 1 : -1), 0, shown.length - 1);
    drawLabels();
    byId("labels").children[state.at]?.scrollIntoView({ block: "nearest" });
  }
  if (event.key === "Enter") {
    event.preventDefault();
    if (event.repeat) return;
    const chosen = shown[Math.max(0, state.at)];
    if (!chosen || !field.value.trim() && state.at < 0) return submit();
    field.value = ""; state.at = -1; field.blur();
    press(chosen[0]); drawLabels();
  }
}
byId("filter").addEventListener("input", () => { state.at = byId("filter").value.trim() ? 0 : -1; drawLabels(); });
byId("note-form").addEventListener("submit", event => { event.preventDefault(); keepNote(); });
byId("train").addEventListener("click", () => { byId("train").blur(); alone(async () => { await call("/api/round", {}); await refresh(); }); });
document.addEventListener("mouseup", () => { if (state.about?.kind === "spans" && state.type && selected()) { mark(state.type); } });
annotator.addEventListener("change", () => { annotator.value = annotator.value.trim() || "me"; stored("annotator", annotator.value); annotator.blur(); alone(begin); });
annotator.addEventListener("keydown", event => { if (event.key === "Enter") annotator.blur(); });
let typing;
byId("words").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(lookUp, 150); });
byId("find").querySelector("form").addEventListener("submit", async event => { event.preventDefault(); clearTimeout(typing); if (await lookUp()) byId("found").querySelector("button")?.click(); });
async function lookUp() {  // returns whether what is found is of what stands there
  const words = byId("words").value;
  let rows;
  try { rows = (await asked("/api/find", { words })).rows; } catch (error) { trouble(error instanceof TypeError ? "The server does not answer." : error.message); return false; }
  if (words !== byId("words").value) return false;
  byId("found").replaceChildren(...rows.map(row => {
    const line = make("li"), button = make("button", "", short(row.text));
    button.type = "button"; button.append(make("small", "", `  ${row.place}${row.done.act ? ` · ${told0(row.done)}` : ""}`));
    button.onclick = () => { byId("find").close(); alone(async () => { state.disputed = false; show((await asked(`/api/row/${row.row}`)).example); }); };
    line.append(button);
    return line;
  }));
  if (words.trim() && !rows.length) byId("found").append(make("li", "soft small", "No example holds this."));
  return true;
}
const told0 = done => done.act === "label" ? (typeof done.answer === "string" ? done.answer : "labelled") : done.act;

async function begin() {
  const pending = stored(pendingKey());
  if (pending) { const { path, body } = JSON.parse(pending); await insist(path, body).catch(error => trouble(error.message)); }
  await next();
}
async function start() {
  state.about = await call("/api/about");
  annotator.value = new URLSearchParams(location.search).get("as") || stored("annotator") || "me";
  byId("about").textContent = `${state.about.task} · ${state.about.model.split("/").pop()}`;
  await begin();
  setInterval(refresh, REFRESH);
}
alone(start);
})();
