// What was wasted, by whom: the tables beside the lanes, and all that is known of one call.

const TABLES = [["module", "By module"], ["program", "By who asked"], ["reason", "By reason"]];
const MOST_ROWS = 10;
const whole = new Set(); // tables that show all rows

function make(name, words, parent, kind) {
  const made = document.createElement(name);
  if (words !== undefined) made.textContent = words;
  if (kind) made.className = kind;
  if (parent) parent.append(made);
  return made;
}

// For each key: calls, failures, bytes and time of every source. "reason" has failures alone.
function summed(field, view) {
  const rows = new Map(), key = F[field];
  data.sources.forEach((source, number) => source.calls.forEach((call, index) => {
    if (source.matched && !source.matched[index]) return;
    if (view.inView && (call[F.end] < view.from || call[F.begin] > view.to)) return;
    if (field === "reason" && !call[F.failed]) return;
    const name = texts[call[key]];
    let row = rows.get(name);
    if (!row) rows.set(name, row = { name, all: data.sources.map(() => ({ calls: 0, failed: 0, wasted: 0, time: 0 })) });
    const sums = row.all[number];
    sums.calls++;
    sums.failed += call[F.failed];
    sums.wasted += call[F.wasted];
    sums.time += call[F.end] - call[F.begin];
  }));
  const total = (row, what) => row.all.reduce((sum, one) => sum + one[what], 0);
  return [...rows.values()].sort((a, b) => total(b, "wasted") - total(a, "wasted") || total(b, "failed") - total(a, "failed") || total(b, "time") - total(a, "time") || (a.name < b.name ? -1 : 1));
}

const COLUMNS = [["calls", "calls", String], ["failed", "failed", String], ["wasted", "wasted", size], ["time", "time", duration]];

function fillTables(view) {
  const place = document.getElementById("tables");
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : undefined;
  place.replaceChildren();
  for (const [field, title] of TABLES) {
    const rows = summed(field, view);
    make("h2", title, place);
    if (!rows.length) { make("p", field === "reason" ? "nothing failed" : "nothing", place); continue; }
    const table = make("table", undefined, place);
    table.id = "by-" + field;
    headOf(table, field);
    const body = make("tbody", undefined, table);
    for (const row of whole.has(field) ? rows : rows.slice(0, MOST_ROWS)) rowOf(body, row, field, view);
    totalOf(body, rows, field);
    if (rows.length > MOST_ROWS) moreOf(place, field, rows.length, view);
  }
  if (focused) for (const button of place.querySelectorAll("button")) if (button.dataset.key === focused) button.focus();
}

function headOf(table, field) {
  const head = make("tr", undefined, make("thead", undefined, table));
  make("th", field === "program" ? "who" : field, head).scope = "col";
  data.sources.forEach((source, number) => {
    for (const [, title] of columns(field)) make("th", data.sources.length > 1 ? title + " " + "AB"[number] : title, head).scope = "col";
  });
}

// For a reason all calls have failed; two sources leave room for little.
function columns(field) { return data.sources.length > 1 ? COLUMNS.slice(1, 3) : field === "reason" ? COLUMNS.slice(1) : COLUMNS; }

function rowOf(body, row, field, view) {
  const line = make("tr", undefined, body), cell = make("td", undefined, line);
  const button = make("button", shownText(row.name) || "(nothing)", cell);
  button.dataset.key = field + "\n" + row.name;
  button.title = "search for it";
  button.addEventListener("click", () => view.search(asQuery(field, row.name)));
  for (const sums of row.all) for (const [what, , told] of columns(field)) make("td", told(sums[what]), line);
}

function totalOf(body, rows, field) {
  const line = make("tr", undefined, body, "total");
  make("td", "all " + rows.length, line);
  data.sources.forEach((source, number) => {
    for (const [what, , told] of columns(field)) make("td", told(rows.reduce((sum, row) => sum + row.all[number][what], 0)), line);
  });
}

function moreOf(place, field, count, view) {
  const button = make("button", whole.has(field) ? "fewer" : "all " + count, place);
  button.dataset.key = "more\n" + field;
  button.addEventListener("click", () => {
    if (!whole.delete(field)) whole.add(field);
    fillTables(view);
  });
}

// Facts of a call, as [what, told, is bad].
function facts(source, index) {
  const call = source.calls[index], told = (name, field) => call[F[field]] ? [[name, text(call, field)]] : [];
  return [
    ["what", text(call, "call") + " " + text(call, "module")],
    ["ended", text(call, "result") + ", " + text(call, "outcome"), call[F.failed]],
    ...(call[F.failed] ? [["why", text(call, "reason"), true]] : []),
    ["begins", duration(call[F.begin])],
    ["takes", call[F.open] ? "not seen to its end" : duration(call[F.end] - call[F.begin])],
    ...(call[F.wasted] ? [["wasted", size(call[F.wasted]), true]] : []),
    ...(call[F.memory] ? [["memory", size(call[F.memory])]] : []),
    ...(call[F.peak] ? [["held at most", size(call[F.peak])]] : []),
    ["who", text(call, "who") + (call[F.uid] >= 0 ? ", user " + call[F.uid] : "")],
    ...told("command", "command"), ...told("unit", "unit"),
    ...(call[F.file] ? [["file", text(call, "file") + (call[F.size] ? ", " + size(call[F.size]) : "")]] : []),
    ...told("parameters", "params"), ...told("alias", "alias"), ...told("device", "device"), ...told("for the kernel's request", "asked"),
    ...(call[F.for] ? [["waited for", "task " + call[F.for]]] : []),
    ...told("not known", "gaps"),
  ];
}

function partsOf(call) {
  const list = [];
  let from = call[F.begin];
  for (let at = 0; at < call[F.parts].length; at += 2) {
    const kind = call[F.parts][at], to = call[F.parts][at + 1];
    list.push([data.kinds[kind], duration(to - from)]);
    from = to;
  }
  return list;
}

function fillDetails(view) {
  const place = document.querySelector("#details div");
  place.replaceChildren();
  if (view.chosen < 0) { make("p", "Click on a bar, or press an arrow key.", place); return; }
  const list = make("dl", undefined, place);
  for (const [name, told, bad] of [...facts(view.chosenIn, view.chosen), ...partsOf(view.chosenIn.calls[view.chosen])]) {
    make("dt", name, list);
    make("dd", shownText(told), list, bad ? "bad" : undefined);
  }
}
