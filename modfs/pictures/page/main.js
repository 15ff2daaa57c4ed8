// The view: what is seen, chosen and searched, and the hands on it.

const view = {
  from: 0, to: 1, chosen: -1, chosenIn: data.sources[0], inView: false, by: "module", order: "first", terms: [], asked: false, ink: colours(), panes: [],

  redraw() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => { this.asked = false; for (const pane of this.panes) pane.draw(); });
  },

  get length() { return Math.max(1, ...data.sources.map(source => source.length)); },

  show(from, to) {
    const most = this.length, room = most * 0.02 + 1;
    const wide = Math.min(Math.max(to - from, 20), most + 2 * room);
    this.from = Math.max(-room, Math.min(from, most + room - wide));
    this.to = this.from + wide;
    if (this.inView) this.tablesSoon();
    this.redraw();
  },

  fit() { const room = this.length * 0.01; this.show(-room, this.length + room); },

  zoom(times, around = (this.from + this.to) / 2) { this.show(around - (around - this.from) / times, around + (this.to - around) / times); },

  pan(share) { const by = (this.to - this.from) * share; this.show(this.from + by, this.to + by); },

  tablesSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => fillTables(this), 120);
  },

  layOut() {
    const only = element("only").checked && this.terms.length > 0;
    for (const source of data.sources) {
      source.laneOf.fill(undefined);
      layOut(source, this.by, this.order, only ? source.matched : null);
    }
    this.redraw();
  },

  search(query) {
    element("search").value = query;
    this.terms = parseQuery(query);
    let count = 0;
    for (const source of data.sources) {
      source.matched = this.terms.length ? source.calls.map((_, index) => matches(source, index, this.terms)) : null;
      count += source.matched ? source.matched.reduce((sum, one) => sum + one, 0) : 0;
    }
    element("found").textContent = this.terms.length ? count + (count === 1 ? " match" : " matches") : "";
    this.layOut();
    fillTables(this);
  },

  choose(source, index, reveal = true) {
    this.chosen = index;
    this.chosenIn = source;
    if (reveal && index >= 0) {
      const call = source.calls[index];
      if (call[F.end] < this.from || call[F.begin] > this.to) {
        const half = (this.to - this.from) / 2, middle = (call[F.begin] + call[F.end]) / 2;
        this.show(middle - half, middle + half);
      }
      this.panes[data.sources.indexOf(source)].reveal(index);
    }
    fillDetails(this);
    this.redraw();
  },

  // The next call in time (or the one before), of those that match and are shown.
  step(by, source) {
    const calls = source.calls;
    let at = this.chosenIn === source && this.chosen >= 0 ? this.chosen + by : by > 0 ? firstWhere(calls, call => call[F.begin] >= this.from) : calls.length - 1;
    while (at >= 0 && at < calls.length && ((source.matched && !source.matched[at]) || !source.laneOf[at])) at += by;
    if (at >= 0 && at < calls.length) this.choose(source, at);
  },

  // The nearest in time of the lane above or below.
  stepLane(by, source) {
    if (this.chosenIn !== source || this.chosen < 0 || !source.laneOf[this.chosen]) return this.step(1, source);
    const lane = source.lanes[source.lanes.indexOf(source.laneOf[this.chosen]) + by];
    if (!lane) return;
    const begin = source.calls[this.chosen][F.begin], off = index => Math.abs(source.calls[index][F.begin] - begin);
    this.choose(source, lane.calls.reduce((best, index) => off(index) < off(best) ? index : best));
  },

  zoomToChosen() {
    if (this.chosen < 0) return;
    const call = this.chosenIn.calls[this.chosen], room = Math.max(call[F.end] - call[F.begin], 20) * 0.5;
    this.show(call[F.begin] - room, call[F.end] + room);
  },
};

function element(id) { return document.getElementById(id); }

const KEYS = [
  ["← →", "the call before, the next one"], ["↑ ↓", "the lane above, below"], ["Enter", "zoom to the chosen call"],
  ["+ −", "zoom in, out (w and s, too)"], ["a d", "move earlier, later"], ["0", "all of it"], ["PgUp PgDn", "scroll"],
  ["/", "search; words must all be there, module:\"xfs\" is that very value"], ["l", "other lanes"], ["o", "another order"],
  ["m", "only matches"], ["Esc", "nothing chosen, nothing searched"], ["?", "this"],
  ["wheel", "scroll; with Ctrl or Shift: zoom"], ["drag", "move; with Shift: zoom to what is dragged over"],
];

function cycle(id) {
  const select = element(id);
  select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
  select.dispatchEvent(new Event("change"));
}

const ACTIONS = {
  ArrowLeft: pane => view.step(-1, pane.source), ArrowRight: pane => view.step(1, pane.source),
  ArrowUp: pane => view.stepLane(-1, pane.source), ArrowDown: pane => view.stepLane(1, pane.source),
  Enter: () => view.zoomToChosen(), "+": () => view.zoom(1.5), "=": () => view.zoom(1.5), "-": () => view.zoom(1 / 1.5),
  w: () => view.zoom(1.5), s: () => view.zoom(1 / 1.5), a: () => view.pan(-0.25), d: () => view.pan(0.25), 0: () => view.fit(), Home: () => view.fit(),
  PageDown: pane => pane.scroll.scrollBy(0, pane.scroll.clientHeight * 0.8), PageUp: pane => pane.scroll.scrollBy(0, -pane.scroll.clientHeight * 0.8),
  "/": () => element("search").select(), l: () => cycle("lanes"), o: () => cycle("order"), m: () => element("only").click(),
  Escape: () => { view.search(""); view.choose(view.chosenIn, -1); }, "?": () => element("keys").showModal(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || element("keys").open) return;
  const target = event.target;
  if (event.key === "Escape" && target === element("search")) { view.search(""); view.panes[0].canvas.focus(); return; }
  if (event.key === "Enter" && target === element("search")) { focusedPane().canvas.focus(); view.chosen = -1; view.step(1, focusedPane().source); event.preventDefault(); return; }
  if (target.matches("input[type=search], select") || (event.key === "Enter" && target.matches("button"))) return;
  const action = ACTIONS[event.key];
  if (action) { action(focusedPane()); event.preventDefault(); }
}

function focusedPane() { return view.panes.find(pane => pane.canvas === document.activeElement) || view.panes[Math.max(0, data.sources.indexOf(view.chosenIn))]; }

function tip(pane, event) {
  const place = element("tip"), index = pane.callAt(event.offsetX, event.offsetY);
  const request = index < 0 && event.offsetY >= AXIS && event.offsetY < AXIS + 12 ? pane.source.requests.find(one => Math.abs(pane.x(one[0]) - event.offsetX) < 5) : undefined;
  place.hidden = index < 0 && !request;
  if (place.hidden) return;
  place.replaceChildren();
  const list = request ? [["the kernel asked for", texts[request[1]]], ["in", texts[request[2]]], ["by", texts[request[3]] || "?"], ["answer", texts[request[4]] || "?"]] : facts(pane.source, index).slice(0, 9);
  for (const [name, told, bad] of list) {
    const line = make("div", undefined, place);
    make("b", name + " ", line);
    make("span", shownText(told).slice(0, 300), line, bad ? "bad" : undefined);
  }
  const left = event.clientX + 16 + place.offsetWidth > innerWidth ? event.clientX - place.offsetWidth - 12 : event.clientX + 16;
  place.style.left = Math.max(2, left) + "px";
  place.style.top = Math.max(2, Math.min(event.clientY + 14, innerHeight - place.offsetHeight - 6)) + "px";
}

function hold(pane) {
  const canvas = pane.canvas;
  let grip = null;
  canvas.addEventListener("pointerdown", event => {
    if (event.button !== 0) return;
    grip = { x: event.offsetX, from: view.from, to: view.to, moved: false, zoom: event.shiftKey };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", event => {
    if (!grip) return tip(pane, event);
    if (Math.abs(event.offsetX - grip.x) > 3) grip.moved = true;
    if (grip.moved && !grip.zoom) { const by = (event.offsetX - grip.x) / pane.width * (grip.to - grip.from); view.show(grip.from - by, grip.to - by); }
    element("tip").hidden = true;
  });
  canvas.addEventListener("pointerup", event => {
    if (grip && !grip.moved) view.choose(pane.source, pane.callAt(event.offsetX, event.offsetY), false);
    else if (grip && grip.zoom) { const ends = [pane.time(grip.x), pane.time(event.offsetX)].sort((a, b) => a - b); view.show(ends[0], ends[1]); }
    grip = null;
  });
  canvas.addEventListener("pointercancel", () => { grip = null; });
  canvas.addEventListener("pointerleave", () => { element("tip").hidden = true; });
  canvas.addEventListener("dblclick", () => view.zoomToChosen());
  canvas.addEventListener("wheel", event => {
    if (event.ctrlKey || event.shiftKey) { view.zoom(Math.pow(1.002, -(event.deltaY || event.deltaX)), pane.time(event.offsetX)); event.preventDefault(); }
    else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) { view.pan(event.deltaX / pane.width); event.preventDefault(); }
  }, { passive: false });
}

function legend() {
  const used = new Set();
  for (const source of data.sources) for (const call of source.calls) for (let at = 0; at < call[F.parts].length; at += 2) used.add(call[F.parts][at]);
  data.kinds.forEach((kind, number) => {
    if (!used.has(number)) return;
    const item = make("li", undefined, element("legend"));
    make("i", undefined, item).style.background = "var(--" + kind + ")";
    item.append(kind);
    item.title = data.told[number];
  });
  const failed = make("li", undefined, element("legend"));
  make("i", undefined, failed).style.background = "var(--failed)";
  failed.append("failed");
  if (data.sources.some(source => source.requests.length)) make("li", "◆ the kernel asked for a module", element("legend")).style.color = "var(--moment)";
}

function begin() {
  const only = data.sources[0];
  element("title").textContent = data.sources.length > 1 ? shownText(only.title) + " and " + shownText(data.sources[1].title)
    : shownText(only.title) + ": kernel " + shownText(only.kernel) + ", " + only.calls.length + " calls in " + duration(only.length) + (only.leftOut ? ", " + only.leftOut + " more without a time" : "");
  data.sources.forEach((source, number) => {
    const pane = new Pane(source, number, view);
    view.panes.push(pane);
    element("panes").append(pane.root);
    hold(pane);
  });
  legend();
  for (const [key, told] of KEYS) { const list = element("keys").querySelector("dl") || make("dl", undefined, element("keys")); make("dt", key, list); make("dd", told, list); }
  make("button", "close", element("keys")).addEventListener("click", () => element("keys").close());
  element("lanes").addEventListener("change", event => { view.by = event.target.value; view.layOut(); });
  element("order").addEventListener("change", event => { view.order = event.target.value; view.layOut(); });
  element("search").addEventListener("input", event => view.search(event.target.value));
  element("only").addEventListener("change", () => view.layOut());
  element("inview").addEventListener("change", event => { view.inView = event.target.checked; fillTables(view); });
  element("in").addEventListener("click", () => view.zoom(1.5));
  element("out").addEventListener("click", () => view.zoom(1 / 1.5));
  element("fit").addEventListener("click", () => view.fit());
  element("help").addEventListener("click", () => element("keys").showModal());
  document.addEventListener("keydown", onKey);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { view.ink = colours(); view.redraw(); });
  view.fit();
  view.search("");
  fillDetails(view);
  view.panes[0].canvas.focus({ preventScroll: true });
  requestAnimationFrame(() => requestAnimationFrame(() => { document.documentElement.dataset.drawn = String(Math.round(performance.now())); }));
}

begin();
