"use strict";
// The data, and what is derived of it: lanes, rows, matches. Nothing here draws.

const data = JSON.parse(document.getElementById("data").textContent);
const F = Object.fromEntries(data.fields.map((name, number) => [name, number]));
const texts = data.texts;
const LANE_KEYS = { module: F.module, program: F.program, who: F.who };
const ROW = 15, GAP = 5, SMALL_ROW = 6;

function text(call, field) { return texts[call[F[field]]]; }

// What a search looks at: one text of a call, without capitals, made when it is first asked for.
const SEARCHED = ["module", "who", "program", "call", "outcome", "result", "reason", "file", "params", "command", "unit", "asked", "alias", "device"];
function haystack(source, index) {
  const known = source.haystacks[index];
  if (known !== undefined) return known;
  const call = source.calls[index];
  return source.haystacks[index] = SEARCHED.map(name => text(call, name)).join("\n").toLowerCase();
}

// A query: words that must all be there; field:"value" must be that very value.
function parseQuery(query) {
  const terms = [];
  for (const found of query.matchAll(/(?:([a-z]+):)?(?:"((?:[^"\\]|\\.)*)"|(\S+))/g)) {
    const quoted = found[2] !== undefined;
    const word = quoted ? found[2].replace(/\\(.)/g, "$1") : found[3];
    if (found[1] !== undefined && SEARCHED.includes(found[1])) terms.push({ field: found[1], word, exact: quoted });
    else terms.push({ field: null, word: (found[1] !== undefined ? found[1] + ":" : "") + word });
  }
  return terms;
}

function matches(source, index, terms) {
  const call = source.calls[index];
  return terms.every(term => {
    if (term.field === null) return haystack(source, index).includes(term.word.toLowerCase());
    const value = text(call, term.field);
    return term.exact ? value === term.word : value.toLowerCase().includes(term.word.toLowerCase());
  });
}

function asQuery(field, value) { return field + ':"' + value.replace(/["\\]/g, "\\$&") + '"'; }

// Lanes: calls with the same key. Rows: calls of a lane that overlap stand one below the other.
function layOut(source, by, order, shown) {
  const key = LANE_KEYS[by], lanes = new Map();
  source.calls.forEach((call, index) => {
    if (shown && !shown[index]) return;
    let lane = lanes.get(call[key]);
    if (!lane) lanes.set(call[key], lane = { name: texts[call[key]], calls: [], wasted: 0, busy: 0, failed: 0, first: call[F.begin] });
    lane.calls.push(index);
    lane.wasted += call[F.wasted];
    lane.busy += call[F.end] - call[F.begin];
    lane.failed += call[F.failed];
  });
  const list = [...lanes.values()];
  const orders = {
    first: (a, b) => a.first - b.first,
    wasted: (a, b) => b.wasted - a.wasted || a.first - b.first,
    busy: (a, b) => b.busy - a.busy || a.first - b.first,
    name: (a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : 0,
  };
  list.sort(orders[order]);
  let top = GAP;
  for (const lane of list) {
    packRows(source, lane);
    lane.rowHeight = lane.rows.length > 8 ? SMALL_ROW : ROW;
    lane.top = top;
    lane.height = Math.max(lane.rows.length * lane.rowHeight, ROW);
    top += lane.height + GAP;
  }
  source.lanes = list;
  source.height = top;
}

// The row that was free first takes the next call, if it is free by then: a heap of rows by end.
function packRows(source, lane) {
  lane.rows = [];
  const heap = []; // [end, row]
  for (const index of lane.calls) {
    const call = source.calls[index];
    let row;
    if (heap.length && heap[0][0] <= call[F.begin]) {
      row = heap[0][1];
      heap[0][0] = Math.max(call[F.end], call[F.begin] + 1);
      sink(heap);
    } else {
      row = lane.rows.length;
      lane.rows.push([]);
      heap.push([Math.max(call[F.end], call[F.begin] + 1), row]);
      rise(heap);
    }
    lane.rows[row].push(index);
    source.laneOf[index] = lane;
    source.rowOf[index] = row;
  }
}

function before(a, b) { return a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]); }

function sink(heap) {
  for (let at = 0; ;) {
    let least = at;
    for (const child of [2 * at + 1, 2 * at + 2]) if (child < heap.length && before(heap[child], heap[least])) least = child;
    if (least === at) return;
    [heap[at], heap[least]] = [heap[least], heap[at]];
    at = least;
  }
}

function rise(heap) {
  for (let at = heap.length - 1; at > 0;) {
    const parent = (at - 1) >> 1;
    if (!before(heap[at], heap[parent])) return;
    [heap[at], heap[parent]] = [heap[parent], heap[at]];
    at = parent;
  }
}

// The first of a sorted list for which ``after`` holds.
function firstWhere(list, after) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (after(list[middle])) high = middle; else low = middle + 1;
  }
  return low;
}

function size(bytes) {
  if (Math.abs(bytes) < 1024) return bytes + " B";
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = bytes / 1024, unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) { value /= 1024; unit++; }
  return value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0) + " " + units[unit];
}

function duration(micro) {
  if (micro < 1000) return micro + " µs";
  if (micro < 1e6) return (micro / 1e3).toFixed(micro < 1e4 ? 2 : 1) + " ms";
  return (micro / 1e6).toFixed(micro < 1e7 ? 3 : 2) + " s";
}

for (const source of data.sources) {
  source.haystacks = new Array(source.calls.length);
  source.laneOf = new Array(source.calls.length);
  source.rowOf = new Array(source.calls.length);
  source.matched = null;
}
