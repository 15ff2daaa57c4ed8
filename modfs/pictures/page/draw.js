// One pane: a canvas that stays in view while its lanes scroll below it.

const AXIS = 22;

function colours() {
  const style = getComputedStyle(document.documentElement);
  const all = {};
  for (const name of ["paper", "ink", "soft", "line", "band", "head", "accent", "chosen", "failed", "moment", ...data.kinds]) all[name] = style.getPropertyValue("--" + name).trim();
  return all;
}

class Pane {
  constructor(source, number, view) {
    this.source = source;
    this.view = view;
    this.root = document.createElement("section");
    this.root.className = "pane";
    this.root.id = "pane" + number;
    if (data.sources.length > 1) this.root.append(heading(source, number));
    this.scroll = document.createElement("div");
    this.scroll.className = "scroll";
    this.space = document.createElement("div");
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", "Calls over time: " + source.title + ". Arrow keys move from call to call; ? tells all keys.");
    this.space.append(this.canvas);
    this.scroll.append(this.space);
    this.root.append(this.scroll);
    this.scroll.addEventListener("scroll", () => view.redraw());
    new ResizeObserver(() => view.redraw()).observe(this.scroll);
  }

  get gutter() { return Math.min(190, Math.max(84, this.scroll.clientWidth * 0.2)) | 0; }
  get width() { return Math.max(10, this.scroll.clientWidth - this.gutter - 8); }
  x(micro) { return this.gutter + (micro - this.view.from) / (this.view.to - this.view.from) * this.width; }
  time(x) { return this.view.from + (x - this.gutter) / this.width * (this.view.to - this.view.from); }

  draw() {
    const wide = this.scroll.clientWidth, high = this.scroll.clientHeight, scale = devicePixelRatio || 1;
    if (!wide || !high) return;
    this.space.style.height = Math.max(this.source.height + AXIS, high) + "px";
    if (this.canvas.width !== Math.round(wide * scale) || this.canvas.height !== Math.round(high * scale)) {
      this.canvas.width = Math.round(wide * scale);
      this.canvas.height = Math.round(high * scale);
      this.canvas.style.width = wide + "px";
      this.canvas.style.height = high + "px";
    }
    const c = this.canvas.getContext("2d"), ink = this.view.ink;
    c.setTransform(scale, 0, 0, scale, 0, 0);
    c.fillStyle = ink.paper;
    c.fillRect(0, 0, wide, high);
    const top = this.scroll.scrollTop - AXIS, lanes = this.source.lanes;
    const first = firstWhere(lanes, lane => lane.top + lane.height >= top);
    for (let at = first; at < lanes.length && lanes[at].top - top < high; at++) this.band(c, lanes[at], at, lanes[at].top - top);
    this.grid(c, high);
    c.save();
    c.beginPath();
    c.rect(this.gutter, AXIS, this.width + 8, high);
    c.clip();
    for (let at = first; at < lanes.length && lanes[at].top - top < high; at++) this.lane(c, lanes[at], lanes[at].top - top, high);
    this.marks(c, high);
    c.restore();
    this.axis(c, wide);
    if (!lanes.length) this.say(c, "nothing matches", high);
  }

  say(c, words, high) {
    c.fillStyle = this.view.ink.soft;
    c.font = "13px system-ui, sans-serif";
    c.fillText(words, this.gutter + 12, Math.min(high / 2, 80));
  }

  band(c, lane, at, y) {
    const ink = this.view.ink;
    if (at % 2) { c.fillStyle = ink.band; c.fillRect(0, y - GAP / 2, this.gutter + this.width + 8, lane.height + GAP); }
    c.font = "12px system-ui, sans-serif";
    c.textBaseline = "top";
    c.textAlign = "left";
    c.fillStyle = lane.failed ? ink.failed : ink.ink;
    c.fillText(clipped(c, shownText(lane.name), this.gutter - 44), 8, Math.max(y, AXIS + 2 - 0) + 1);
    c.fillStyle = ink.soft;
    c.textAlign = "right";
    if (lane.calls.length > 1) c.fillText("×" + lane.calls.length, this.gutter - 6, Math.max(y, AXIS + 2) + 1);
    c.textAlign = "left";
  }

  lane(c, lane, y, high) {
    const calls = this.source.calls, view = this.view;
    for (let row = 0; row < lane.rows.length; row++) {
      const rowTop = y + row * lane.rowHeight;
      if (rowTop + lane.rowHeight < AXIS || rowTop > high) continue;
      const list = lane.rows[row];
      let at = firstWhere(list, index => calls[index][F.end] >= view.from), last = -1;
      for (; at < list.length && calls[list[at]][F.begin] <= view.to; at++) last = this.bar(c, list[at], rowTop, lane.rowHeight - (lane.rowHeight > 8 ? 2 : 1), last);
    }
  }

  // Bars narrower than a pixel that would lie upon the one before are not drawn, unless they failed.
  bar(c, index, y, high, last) {
    const call = this.source.calls[index], ink = this.view.ink, failed = call[F.failed];
    const left = this.x(call[F.begin]), right = Math.max(this.x(call[F.end]), left + 1.5);
    const chosen = this.view.chosen === index && this.view.chosenIn === this.source;
    if (right - last < 1 && !failed && !chosen) return last;
    const faint = this.source.matched && !this.source.matched[index];
    c.globalAlpha = faint ? 0.15 : 1;
    let from = Math.max(left, this.gutter - 4);
    const parts = call[F.parts], most = this.gutter + this.width + 12;
    if (!parts.length) { c.fillStyle = failed ? ink.failed : ink.other; c.fillRect(from, y, Math.min(right, most) - from, high); }
    for (let at = 0; at < parts.length && from < most; at += 2) {
      const to = at + 2 >= parts.length ? right : this.x(parts[at + 1]);
      if (to <= from) continue;
      c.fillStyle = ink[data.kinds[parts[at]]];
      c.fillRect(from, y, Math.min(to, most) - from, high);
      from = to;
    }
    if (call[F.open]) this.torn(c, right, y, high);
    if (failed) this.failure(c, Math.max(left, this.gutter - 4), Math.min(right, most), y, high);
    if (chosen) { c.strokeStyle = ink.chosen; c.lineWidth = 2; c.strokeRect(Math.max(left, this.gutter - 4) - 1, y - 1, Math.max(Math.min(right, most) - Math.max(left, this.gutter - 4), 1) + 2, high + 2); }
    c.globalAlpha = 1;
    return right;
  }

  failure(c, left, right, y, high) {
    c.fillStyle = this.view.ink.failed;
    const line = high > 8 ? 3 : 2;
    c.fillRect(left, y + high - line, right - left, line);
    c.fillRect(Math.max(left, right - 3), y, Math.min(3, right - left), high);
  }

  torn(c, right, y, high) {
    c.fillStyle = this.view.ink.paper;
    for (let at = 0; at < high; at += 4) c.fillRect(right - (at % 8 ? 2 : 5), y + at, 5, 4);
  }

  marks(c, high) {
    const ink = this.view.ink;
    c.fillStyle = ink.moment;
    for (const [at] of this.source.requests) { const x = this.x(at); c.beginPath(); c.moveTo(x, AXIS + 1); c.lineTo(x + 4, AXIS + 6); c.lineTo(x, AXIS + 11); c.lineTo(x - 4, AXIS + 6); c.fill(); }
    c.strokeStyle = ink.moment;
    c.setLineDash([3, 3]);
    c.lineWidth = 1;
    for (const [at] of this.source.moments) { const x = Math.round(this.x(at)) + 0.5; c.beginPath(); c.moveTo(x, AXIS); c.lineTo(x, high); c.stroke(); }
    c.setLineDash([]);
  }

  ticks() {
    const about = (this.view.to - this.view.from) / Math.max(2, this.width / 110);
    const power = Math.pow(10, Math.floor(Math.log10(Math.max(about, 1))));
    const step = Math.max(1, [1, 2, 5, 10].find(times => times * power >= about) * power);
    const list = [];
    for (let at = Math.ceil(this.view.from / step) * step; at <= this.view.to; at += step) list.push(at);
    return { step, list };
  }

  grid(c, high) {
    c.fillStyle = this.view.ink.line;
    for (const at of this.ticks().list) c.fillRect(Math.round(this.x(at)), AXIS, 1, high);
    c.fillRect(this.gutter - 1, 0, 1, high);
  }

  axis(c, wide) {
    const ink = this.view.ink, { step, list } = this.ticks();
    c.fillStyle = ink.head;
    c.fillRect(0, 0, wide, AXIS);
    c.fillStyle = ink.line;
    c.fillRect(0, AXIS - 1, wide, 1);
    c.font = "11px system-ui, sans-serif";
    c.textBaseline = "middle";
    const [unit, digits] = step >= 1e6 ? [1e6, 0] : step >= 1e3 ? [this.view.to > 2e6 ? 1e6 : 1e3, this.view.to > 2e6 ? 3 : 0] : [1e3, 3];
    const shortened = Math.max(0, Math.min(digits, Math.ceil(-Math.log10(step / unit))));
    const taken = []; // what the names of moments leave free
    c.textAlign = "center";
    c.fillStyle = ink.moment;
    for (const [at, name] of this.source.moments) {
      if (at < this.view.from || at > this.view.to) continue;
      const words = clipped(c, shownText(name), 110), half = c.measureText(words).width / 2, x = Math.max(this.gutter + half, Math.min(this.x(at), wide - half - 4));
      if (taken.some(([left, right]) => x + half > left && x - half < right)) continue;
      taken.push([x - half - 6, x + half + 6]);
      c.fillText(words, x, AXIS / 2);
    }
    c.fillStyle = ink.soft;
    for (const at of list) {
      const words = (at / unit).toFixed(shortened) + (unit === 1e6 ? " s" : " ms"), half = c.measureText(words).width / 2;
      const x = Math.max(this.gutter + half - 2, Math.min(this.x(at), wide - half - 4));
      if (!taken.some(([left, right]) => x + half > left && x - half < right)) { taken.push([x - half - 8, x + half + 8]); c.fillText(words, x, AXIS / 2); }
    }
    c.textAlign = "left";
  }

  // The call below the pointer, or -1: the nearest within three pixels of its row.
  callAt(x, y) {
    if (x < this.gutter - 4 || y < AXIS) return -1;
    const at = y - AXIS + this.scroll.scrollTop, calls = this.source.calls, lanes = this.source.lanes;
    const lane = lanes[firstWhere(lanes, one => one.top + one.height + GAP >= at)];
    if (!lane || at < lane.top) return -1;
    const list = lane.rows[Math.min(lane.rows.length - 1, Math.floor((at - lane.top) / lane.rowHeight))];
    const time = this.time(x), slack = (this.view.to - this.view.from) / this.width * 3;
    let best = -1, least = slack;
    for (let place = Math.max(0, firstWhere(list, index => calls[index][F.begin] > time + slack) - 3); place < list.length; place++) {
      const call = calls[list[place]], off = time < call[F.begin] ? call[F.begin] - time : time > call[F.end] ? time - call[F.end] : 0;
      if (off <= least) { best = list[place]; least = off; }
      if (call[F.begin] > time + slack) break;
    }
    return best;
  }

  reveal(index) {
    const lane = this.source.laneOf[index];
    if (!lane) return;
    const top = lane.top + this.source.rowOf[index] * lane.rowHeight, room = this.scroll.clientHeight - AXIS;
    if (top < this.scroll.scrollTop + 4 || top + lane.rowHeight > this.scroll.scrollTop + room - 4) this.scroll.scrollTop = Math.max(0, top - room / 2);
  }
}

function heading(source, number) {
  const title = document.createElement("h2"), kernel = document.createElement("small");
  kernel.textContent = "  kernel " + shownText(source.kernel) + ", " + source.calls.length + " calls in " + duration(source.length);
  title.append("AB"[number] + ": " + shownText(source.title), kernel);
  return title;
}

// Names may hold anything: what does not show, or changes the direction of what follows, is replaced.
function shownText(words) { return words.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]/gu, "\ufffd"); }

const widths = new Map();
function clipped(c, words, room) {
  const key = c.font + room + words;
  const known = widths.get(key);
  if (known !== undefined) return known;
  if (widths.size > 20000) widths.clear();
  let made = words.length > 400 ? words.slice(0, 400) : words;
  if (c.measureText(made).width > room) {
    const long = made;
    made = long.slice(0, firstWhere([...long].map((_, at) => at), at => c.measureText(long.slice(0, at + 1) + "…").width > room)) + "…";
  }
  widths.set(key, made);
  return made;
}
