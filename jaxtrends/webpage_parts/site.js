"use strict";
// The site's one program: filters, learning curves, comparison, copying, old links. It loads records
// from the scripts beside it, asks no server, and builds elements from text alone, never from markup.
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);

  /** An element (of HTML, or of SVG where `svg`), with attributes and children; text is text. */
  function make(svg, name, attributes = {}, ...children) {
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }
  const el = (name, attributes, ...children) => make(false, name, attributes, ...children);
  const svg = (name, attributes, ...children) => make(true, name, attributes, ...children);

  // --- numbers as text: the same as jaxtrends.formats ---------------------------------------------

  function formatNumber(value, digits = 4) {
    if (Number.isNaN(value)) return "nan";
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
    if (Math.abs(value) >= 1e4 && Math.abs(value) < 1e6) return value.toFixed(0);
    if (value === 0) return "0";
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    if (+exponent < -4 || +exponent >= digits) return `${parseFloat(mantissa)}e${+exponent}`;
    return String(parseFloat(value.toPrecision(digits)));
  }

  function formatInterval(estimate, low, high) {
    if (low === high || Number.isNaN(low)) return formatNumber(estimate);
    const half = (high - low) / 2;
    const bounded = Number.isFinite(half);
    const last = bounded ? Math.floor(Math.log10(half)) - 1 : 0;
    const sizes = [estimate, low, high].filter((v) => Number.isFinite(v) && v).map(Math.abs);
    const largest = Math.max(...sizes);
    const plain = !sizes.length || (largest >= 1e-3 && largest < 1e5);
    const text = (value) => {
      if (!Number.isFinite(value)) return formatNumber(value);
      const size = value ? Math.floor(Math.log10(Math.abs(value))) : last;
      const least = low > 0 || high < 0 ? 2 : 1;
      const digits = bounded ? Math.min(Math.max(size - last + 1, least), 7) : 3;
      if (value && (!plain || (digits === 2 && least === 2 && size < -3))) {
        const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
        return `${mantissa}e${+exponent}`;
      }
      const beneath = bounded && least === 1 && size < last;
      const decimals = Math.max(beneath ? -last : digits - 1 - size, 0);
      const shown = value.toFixed(decimals);
      return Number(shown) === 0 ? shown.replace("-", "") : shown;
    };
    return `${text(estimate)} [${text(low)}, ${text(high)}]`;
  }

  // --- Student's t ---------------------------------------------------------------------------------

  function logGamma(x) { // Lanczos
    const c = [76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155, 0.1208650973866179e-2, -0.5395239384953e-5];
    const t = x + 5.5 - (x + 0.5) * Math.log(x + 5.5);
    return -t + Math.log((2.5066282746310005 * (1.000000000190015 + c.reduce((sum, v, n) => sum + v / (x + 1 + n), 0))) / x);
  }

  function incompleteBeta(a, b, x) { // regularised; Lentz's continued fraction
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(b, a, 1 - x);
    const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x));
    const tiny = 1e-300;
    let c = 1, d = 1 / (Math.abs(1 - ((a + b) * x) / (a + 1)) < tiny ? tiny : 1 - ((a + b) * x) / (a + 1)), value = d;
    for (let m = 1; m < 500; m++) {
      for (const term of [(m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)), (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))]) {
        d = 1 + term * d; d = 1 / (Math.abs(d) < tiny ? tiny : d);
        c = 1 + term / c; c = Math.abs(c) < tiny ? tiny : c;
        value *= c * d;
      }
      if (Math.abs(c * d - 1) < 1e-15) break;
    }
    return (front * value) / a;
  }

  const quantiles = new Map();
  /** The 97.5% quantile of Student's t, by bisection. */
  function tQuantile(freedom) {
    if (!quantiles.has(freedom)) {
      let low = 0, high = 1000;
      for (let n = 0; n < 80; n++) {
        const t = (low + high) / 2;
        if (incompleteBeta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2 > 0.025) low = t;
        else high = t;
      }
      quantiles.set(freedom, (low + high) / 2);
    }
    return quantiles.get(freedom);
  }

  const mean = (v) => v.reduce((sum, x) => sum + x, 0) / v.length;
  const variance = (v, m = mean(v)) => v.reduce((sum, x) => sum + (x - m) ** 2, 0) / (v.length - 1);

  function student(values) {
    const m = mean(values);
    if (values.length < 2) return [m, -Infinity, Infinity];
    const half = tQuantile(values.length - 1) * Math.sqrt(variance(values, m) / values.length);
    return [m, m - half, m + half];
  }

  /** The median with its order-statistic interval, as jaxtrends.stats gives it where lanes diverged. */
  function orderStatistics(values) {
    const v = [...values].sort((a, b) => (a === b ? 0 : a - b)), n = v.length;
    const lower = v[(n - 1) >> 1], upper = v[n >> 1];
    const centre = Number.isFinite(upper) ? (lower + upper) / 2 : upper;
    let rank = 0, below = 0, term = 2 ** -n;
    while (rank < n) { // the most ranks on a side that hold no more than 2.5%
      if (below + term > 0.025) break;
      below += term; term *= (n - rank) / (rank + 1); rank++;
    }
    return rank < 1 ? [centre, -Infinity, Infinity] : [centre, v[rank - 1], v[n - rank]];
  }

  /** second - first with its 95% interval: see jaxtrends.comparison.difference. */
  function difference(first, second, name) {
    const a = first.outcomes[name], b = second.outcomes[name];
    const bySeed = new Map(a.seeds.map((seed, n) => [seed, a.values[n] ?? Infinity]));
    const paired = sameData(first, second) ? b.seeds.map((seed, n) => [seed, b.values[n] ?? Infinity]).filter(([seed]) => bySeed.has(seed)).sort((x, y) => x[0] - y[0]) : [];
    if (paired.length > 1) {
      const gaps = paired.map(([seed, value]) => (value === Infinity && bySeed.get(seed) === Infinity ? 0 : value - bySeed.get(seed)));
      const finite = gaps.every(Number.isFinite);
      const [estimate, low, high] = finite ? student(gaps) : orderStatistics(gaps);
      return { estimate, low, high, n: gaps.length, how: finite ? "paired" : "paired, median" };
    }
    const x = b.values.map((v) => v ?? Infinity), y = a.values.map((v) => v ?? Infinity);
    const n = x.length + y.length;
    if (![...x, ...y].every(Number.isFinite)) return { estimate: NaN, low: -Infinity, high: Infinity, n, how: "some diverged" };
    const estimate = mean(x) - mean(y);
    if (Math.min(x.length, y.length) < 2) return { estimate, low: -Infinity, high: Infinity, n, how: "one value" };
    const p = variance(x) / x.length, q = variance(y) / y.length, total = p + q;
    if (total === 0) return { estimate, low: estimate, high: estimate, n, how: "unpaired" };
    const freedom = total ** 2 / (p ** 2 / (x.length - 1) + q ** 2 / (y.length - 1));
    const half = tQuantile(freedom) * Math.sqrt(total);
    return { estimate, low: estimate - half, high: estimate + half, n, how: "unpaired" };
  }

  function sameData(first, second) {
    const a = Object.entries(first.data), b = second.data;
    return a.length === Object.keys(b).length && a.every(([name, digest]) => b[name] === digest);
  }

  const median = (values) => {
    const v = values.map((x) => x ?? Infinity).sort((a, b) => (a === b ? 0 : a - b)), n = v.length;
    const low = v[(n - 1) >> 1], high = v[n >> 1];
    return Number.isFinite(high) ? (low + high) / 2 : high;
  };

  // --- the records ---------------------------------------------------------------------------------

  const base = root.dataset.base;
  const records = new Map();

  /** A record with what its outcomes and curves share, names and lists of seeds and steps, in each. */
  function unshared(record) {
    record.outcomes = Object.fromEntries(Object.entries(record.outcomes).flatMap(([group, found]) =>
      Object.entries(found).map(([last, [seeds, values]]) =>
        [group ? `${group}/${last}` : last, { seeds: record.lists[seeds], values }])));
    for (const curve of record.curves) {
      curve.seeds = record.lists[curve.seeds];
      curve.steps = record.lists[curve.steps];
    }
    return record;
  }

  /** A promise of a record. A page from disk may not fetch a file; it may load a script. */
  function load(slug) {
    if (!records.has(slug)) {
      records.set(slug, new Promise((resolve, reject) => {
        const path = `${base}assets/data/${slug}.js`;
        const script = el("script", { src: path });
        script.onload = () => (script.record ? resolve(unshared(script.record)) : reject(new Error(`${path} holds no record.`)));
        script.onerror = () => reject(new Error(`${path} cannot be loaded: it belongs beside this page.`));
        document.head.append(script);
      }));
    }
    return records.get(slug);
  }

  /** The rows of a curve as numbers: see jaxtrends.curves.encode. */
  function rowsOf(curve) {
    if (!curve.rows) {
      const bytes = Uint8Array.from(atob(curve.codes), (c) => c.charCodeAt(0));
      const codes = new DataView(bytes.buffer), points = curve.steps.length;
      const [start, end] = curve.log ? [Math.log(curve.low), Math.log(curve.high)] : [curve.low, curve.high];
      const values = Array.from({ length: bytes.length / 2 }, (_, n) => {
        const code = codes.getUint16(2 * n, true);
        const at = start + (code / 65534) * (end - start);
        return code === 65535 ? NaN : curve.log ? Math.exp(at) : at;
      });
      curve.rows = Array.from({ length: values.length / points }, (_, n) => values.slice(n * points, (n + 1) * points));
    }
    return curve.rows;
  }

  // --- drawing ---------------------------------------------------------------------------------------

  const MARKERS = ["M-3.5,0A3.5,3.5 0 1 0 3.5,0A3.5,3.5 0 1 0 -3.5,0z", "M-3.2,-3.2H3.2V3.2H-3.2z", "M0,-4.2L4,3H-4z", "M0,-4.4L4.4,0L0,4.4L-4.4,0z", "M0,4.2L4,-3H-4z", "M-4,-1.3H-1.3V-4H1.3V-1.3H4V1.3H1.3V4H-1.3V1.3H-4z"];
  const DASHES = ["", "7 3", "2 2.5", "9 3 2 3"];
  const colour = (n) => `var(--c${n % 8})`;
  const marker = (n) => MARKERS[n % MARKERS.length];
  const dash = (n) => DASHES[Math.floor(n / 8) % DASHES.length] || null;

  function swatch(n) {
    return svg("svg", { width: 30, height: 12, "aria-hidden": "true" },
      svg("line", { x1: 1, x2: 29, y1: 6, y2: 6, style: `stroke:${colour(n)}`, "stroke-width": 2, "stroke-dasharray": dash(n) }),
      svg("path", { d: marker(n), transform: "translate(15 6)", style: `fill:${colour(n)}` }));
  }

  function ticksOf(low, high, log, most) {
    if (log) {
      const from = Math.ceil(Math.log10(low) - 1e-9), to = Math.floor(Math.log10(high) + 1e-9);
      const powers = [];
      const every = Math.max(1, Math.ceil((to - from + 1) / most));
      for (let n = from; n <= to; n += every) powers.push(10 ** n);
      if (powers.length > 2) return powers;
      const fine = [];
      for (let n = from - 1; n <= to; n++) for (const f of [1, 2, 5]) if (f * 10 ** n >= low && f * 10 ** n <= high) fine.push(f * 10 ** n);
      if (fine.length > 2) return fine;
    }
    const raw = (high - low) / most || 1, size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((f) => f * size).find((s) => s >= raw * 0.999);
    const found = [];
    for (let n = Math.ceil(low / step - 1e-9); n <= high / step + 1e-9; n++) found.push(+(n * step).toPrecision(12));
    return found;
  }

  const unitOf = (seconds) => (seconds < 1e-3 ? [1e6, "µs"] : seconds < 1 ? [1e3, "ms"] : [1, "s"]);

  /**
   * Draw series into a place, which keeps them for redrawing when its width changes.
   * series: [{label, number, curve}]; view: {x, xLog, yLog, summary, seeds, name}.
   */
  function draw(place, series, view) {
    place.drawn = { series, view };
    const width = Math.max(place.clientWidth, 260), labelled = width > 620 && series.length <= 8;
    const height = Math.round(Math.min(Math.max(width * 0.48, 250), 430));
    const box = { left: 62, right: width - (labelled ? 165 : 12), top: 12, bottom: height - 42 };
    const unit = (curve) => (view.x === "seconds" ? curve.seconds : view.x === "flops" ? curve.flops : 1);
    const drawn = series.map(({ label, number, curve }) => {
      const rows = rowsOf(curve), first = view.summary === "mean" ? 3 : 0;
      const visible = (v) => (Number.isFinite(v) && (!view.yLog || v > 0) ? v : NaN);
      return {
        label, number, curve,
        x: curve.steps.map((step) => step * unit(curve)),
        y: rows[first].map(visible), low: rows[first + 1].map(visible), high: rows[first + 2].map(visible),
        single: view.seeds ? rows.slice(6).map((row) => row.map(visible)) : [],
        said: rows.slice(first, first + 3),
      };
    });
    const spread = (values, log) => {
      const seen = values.filter((v) => Number.isFinite(v) && (!log || v > 0));
      if (!seen.length) return log ? [0.1, 1] : [0, 1];
      let low = Infinity, high = -Infinity;
      for (const v of seen) { if (v < low) low = v; if (v > high) high = v; }
      if (low === high) return log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
      const pad = log ? (high / low) ** 0.03 : (high - low) * 0.03;
      return log ? [low / pad, high * pad] : [low - pad, high + pad];
    };
    const [x0, x1] = spread(drawn.flatMap((s) => s.x), view.xLog);
    const [y0, y1] = spread(drawn.flatMap((s) => [...s.y, ...s.low, ...s.high, ...s.single.flat()]), view.yLog);
    const scale = (low, high, from, to, log) => (v) => from + (log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low)) * (to - from);
    const px = scale(x0, x1, box.left, box.right, view.xLog), py = scale(y0, y1, box.bottom, box.top, view.yLog);
    const line = (x, y) => {
      let text = "", pen = "M";
      x.forEach((v, n) => {
        if (Number.isFinite(y[n]) && (!view.xLog || v > 0)) { text += `${pen}${px(v).toFixed(1)},${py(y[n]).toFixed(1)}`; pen = "L"; } else pen = "M";
      });
      return text;
    };
    const band = (s) => {
      const kept = s.x.map((_, n) => n).filter((n) => Number.isFinite(s.low[n]) && Number.isFinite(s.high[n]) && (!view.xLog || s.x[n] > 0));
      if (kept.length < 2) return "";
      const at = (n, v) => `${px(s.x[n]).toFixed(1)},${py(v[n]).toFixed(1)}`;
      return `M${kept.map((n) => at(n, s.high)).join("L")}L${kept.reverse().map((n) => at(n, s.low)).join("L")}z`;
    };
    const [factor, seconds] = unitOf(x1);
    const xText = (v) => (view.x === "seconds" ? formatNumber(v * factor) : formatNumber(v));
    const xName = { steps: drawn.some((s) => s.curve.step_name === "point") ? "point of the curve" : "training step", seconds: `time [${seconds}]`, flops: "operations [FLOP]" }[view.x];
    const xScaled = view.x === "seconds" ? ticksOf(x0 * factor, x1 * factor, view.xLog, width / 110).map((v) => v / factor) : ticksOf(x0, x1, view.xLog, width / 110);
    const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const v of ticksOf(y0, y1, view.yLog, height / 60)) {
      picture.append(svg("line", { class: "gridline", x1: box.left, x2: box.right, y1: py(v), y2: py(v) }), svg("text", { x: box.left - 8, y: py(v) + 4, "text-anchor": "end" }, formatNumber(v)));
    }
    for (const v of xScaled) picture.append(svg("line", { class: "frame", x1: px(v), x2: px(v), y1: box.bottom, y2: box.bottom + 5 }), svg("text", { x: px(v), y: box.bottom + 19, "text-anchor": "middle" }, xText(v)));
    picture.append(svg("line", { class: "frame", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }), svg("text", { x: (box.left + box.right) / 2, y: height - 4, "text-anchor": "middle" }, xName));
    for (const s of drawn) {
      const style = `fill:${colour(s.number)}`;
      if (view.seeds) for (const row of s.single) picture.append(svg("path", { class: "seed", d: line(s.x, row), style: `stroke:${colour(s.number)}` }));
      else picture.append(svg("path", { class: "band", d: band(s), style }));
    }
    for (const s of drawn) {
      picture.append(svg("path", { class: "line", d: line(s.x, s.y), style: `stroke:${colour(s.number)}`, "stroke-dasharray": dash(s.number) }));
      const every = Math.max(1, Math.ceil(s.x.length / 8));
      for (let n = (s.number * 3) % every; n < s.x.length; n += every) {
        if (Number.isFinite(s.y[n]) && (!view.xLog || s.x[n] > 0)) picture.append(svg("path", { d: marker(s.number), transform: `translate(${px(s.x[n]).toFixed(1)} ${py(s.y[n]).toFixed(1)})`, style: `fill:${colour(s.number)}` }));
      }
    }
    if (labelled) {
      const names = drawn.map((s) => { const n = s.y.findLastIndex(Number.isFinite); return n < 0 ? null : { s, at: py(s.y[n]), y: py(s.y[n]), x: px(s.x[n]) }; }).filter(Boolean).sort((a, b) => a.at - b.at);
      for (let round = 0; round < 60; round++) for (let n = 1; n < names.length; n++) {
        const overlap = 16 - (names[n].y - names[n - 1].y);
        if (overlap > 0) { names[n].y += overlap / 2; names[n - 1].y -= overlap / 2; }
      }
      for (const { s, y, at, x } of names) {
        const short = s.label.length > 22 ? `${s.label.slice(0, 21)}…` : s.label;
        picture.append(svg("path", { d: `M${x + 4},${at}L${box.right + 8},${y}`, style: `stroke:${colour(s.number)};stroke-width:1;opacity:.45;fill:none` }), svg("text", { class: "name", x: box.right + 12, y: y + 4, style: `fill:${colour(s.number)}` }, short));
      }
    }
    const focus = svg("g", {});
    picture.append(focus);
    place.replaceChildren(picture);
    if (!drawn.length) return;
    const grid = drawn.reduce((longest, s) => (s.x.at(-1) > longest.at(-1) ? s.x : longest), drawn[0].x);
    const tip = el("div", { class: "tip", hidden: true }), voice = el("p", { class: "unseen", role: "status" });
    place.append(tip, voice);
    let index = null;
    const nearest = (s, v) => s.x.reduce((best, x, n) => (Math.abs(x - v) < Math.abs(s.x[best] - v) ? n : best), 0);
    function show(n, speak) {
      index = Math.min(Math.max(n, 0), grid.length - 1);
      const v = grid[index];
      focus.replaceChildren(svg("line", { class: "rule", x1: px(v), x2: px(v), y1: box.top, y2: box.bottom }));
      const head = `${xName.replace(/ \[.*/, "")} ${xText(v)}${view.x === "seconds" ? ` ${seconds}` : ""}`;
      const lines = drawn.filter((s) => v <= s.x.at(-1) * 1.0001).map((s) => {
        const k = nearest(s, v), [y, low, high] = s.said.map((row) => row[k]);
        if (Number.isFinite(s.y[k])) focus.append(svg("circle", { cx: px(s.x[k]), cy: py(s.y[k]), r: 4.5, style: `fill:${colour(s.number)};stroke:var(--paper);stroke-width:1.5` }));
        const said = Number.isFinite(y) ? formatNumber(y) : "diverged";
        const range = Number.isFinite(low) && Number.isFinite(high) && low !== high ? ` [${formatNumber(low, 3)}, ${formatNumber(high, 3)}]` : "";
        return { s, y, text: `${s.label} ${said}${range}` };
      }).sort((a, b) => b.y - a.y);
      tip.replaceChildren(el("b", {}, head), ...lines.map(({ s, text }) => el("div", {}, el("i", { style: `background:${colour(s.number)}` }), text)));
      tip.hidden = false;
      const left = px(v) + 14;
      tip.style.left = `${left + tip.offsetWidth > width ? Math.max(0, px(v) - tip.offsetWidth - 14) : left}px`;
      tip.style.top = `${box.top + 6}px`;
      if (speak) voice.textContent = `${head}: ${lines.map((l) => l.text).join("; ")}`;
    }
    const hide = () => { tip.hidden = true; focus.replaceChildren(); index = null; };
    place.onpointermove = (event) => {
      const at = event.clientX - place.getBoundingClientRect().left;
      show(grid.reduce((best, v, n) => (Math.abs(px(v) - at) < Math.abs(px(grid[best]) - at) ? n : best), 0), false);
    };
    place.onpointerleave = hide;
    place.onblur = hide;
    place.onkeydown = (event) => {
      const steps = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === "Escape") hide();
      if (steps === undefined) return;
      event.preventDefault();
      show(index === null ? (steps > 0 && steps < Infinity ? 0 : steps > 0 ? grid.length - 1 : 0) : Math.min(Math.max(index + steps, 0), grid.length - 1), true);
    };
  }

  const sized = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      if (target.drawn && Math.abs(contentRect.width - (target.width ?? 0)) > 1) {
        target.width = contentRect.width;
        draw(target, target.drawn.series, target.drawn.view);
      }
    }
  });

  let groups = 0;
  /** One of few choices, as a row of radio buttons; `get` and `set`, and `allow` to rule some out. */
  function segments(legend, choices, changed) {
    const name = `segments-${groups++}`;
    const inputs = choices.map(([value], n) => el("input", { type: "radio", name, value, checked: n === 0, onchange: changed }));
    const box = el("fieldset", {}, el("legend", {}, legend), el("span", { class: "segments" }, ...choices.map(([, text], n) => el("label", {}, inputs[n], el("span", {}, text)))));
    return {
      box,
      get: () => inputs.find((input) => input.checked)?.value,
      allow: (allowed) => {
        for (const input of inputs) input.disabled = !allowed(input.value);
        if (inputs.find((input) => input.checked)?.disabled) inputs.find((input) => !input.disabled).checked = true;
      },
      set: (value) => { for (const input of inputs) input.checked = input.value === value; },
    };
  }

  function choice(label, options, changed) {
    const select = el("select", { onchange: changed }, ...options.map(([value, text]) => el("option", { value }, text)));
    return { box: el("label", { class: "field" }, label, select), get: () => select.value, select };
  }

  const letter = (n) => (n < 26 ? "" : String.fromCharCode(64 + Math.floor(n / 26))) + String.fromCharCode(65 + (n % 26));
  const unique = (values) => [...new Set(values)];
  const readable = (name) => name.replaceAll("_", " ");
  const placeOf = (curve) => [curve.study, curve.group].filter(Boolean).join("/");

  /**
   * A plot with its controls, of the curves of one or more records.
   * Series are methods; with several records a series is a method of a record.
   */
  function curvePlot(container, sources) {
    const several = sources.length > 1;
    const curves = sources.flatMap((source) => source.curves.map((curve) => ({ source, curve })));
    const places = unique(curves.map(({ curve }) => placeOf(curve)));
    if (!places.length) { container.replaceChildren(el("p", { class: "soft" }, "These records have no curves.")); return; }
    const off = new Set();
    const where = choice("What was trained", places.map((name) => [name, readable(name)]), () => refill());
    const metric = choice("Metric", [], () => redraw());
    const x = segments("Horizontal axis", [["steps", "steps"], ["seconds", "seconds"], ["flops", "FLOPs"]], () => redraw());
    const xLog = segments("Scale", [["", "linear"], ["log", "log"]], () => redraw());
    const yLog = segments("Vertical axis", [["log", "log"], ["", "linear"]], () => redraw());
    const summary = segments("Line and band", [["median", "median, middle 80%"], ["mean", "mean, 95% t"]], () => redraw());
    const seeds = segments("Single seeds", [["", "hidden"], ["on", "shown"]], () => redraw());
    const methods = el("div", { class: "methods", role: "group", "aria-label": several ? "Runs and methods" : "Methods" });
    const plot = el("div", { class: "plot", tabindex: 0, role: "group", "aria-roledescription": "chart" });
    const note = el("p", { class: "soft" });
    container.replaceChildren(el("div", { class: "curve-controls" }, where.box, metric.box, x.box, xLog.box, yLog.box, summary.box, seeds.box), methods, plot, note);
    const here = () => curves.filter(({ curve }) => placeOf(curve) === where.get());
    const letters = new Map(sources.map((source, n) => [source, letter(n)]));
    const seriesName = ({ source, curve }) => (several ? `${letters.get(source)}: ${readable(curve.method)}` : readable(curve.method));

    function refill() {
      const metrics = unique(here().map(({ curve }) => curve.metric));
      const kept = metric.get();
      metric.select.replaceChildren(...metrics.map((name) => el("option", { value: name }, readable(name))));
      const first = ["validation_cross_entropy", "validation_loss"].find((name) => metrics.includes(name));
      metric.select.value = metrics.includes(kept) ? kept : first ?? metrics[metrics.length - 1];
      const names = unique(here().map(seriesName));
      methods.replaceChildren(...names.map((name, n) => el("label", {}, el("input", { type: "checkbox", checked: !off.has(name), onchange: (event) => { event.target.checked ? off.delete(name) : off.add(name); redraw(); } }), swatch(n), name)));
      redraw();
    }

    function redraw() {
      const names = unique(here().map(seriesName));
      const found = here().filter(({ curve }) => curve.metric === metric.get());
      const chosen = found.filter((one) => !off.has(seriesName(one)));
      x.allow((value) => value === "steps" || (chosen.length > 0 && chosen.every(({ curve }) => curve[value] !== null)));
      const positive = chosen.every(({ curve }) => curve.low > 0);
      yLog.allow((value) => value !== "log" || positive);
      seeds.allow((value) => !value || chosen.some(({ curve }) => rowsOf(curve).length > 6));
      const view = { x: x.get(), xLog: xLog.get() === "log", yLog: yLog.get() === "log", summary: summary.get(), seeds: seeds.get() === "on" };
      draw(plot, chosen.map((one) => ({ label: seriesName(one), number: names.indexOf(seriesName(one)), curve: one.curve })), view);
      sized.observe(plot);
      plot.setAttribute("aria-label", `${readable(metric.get())} of ${readable(where.get())}: ${chosen.map(seriesName).join(", ") || "nothing chosen"}. The arrow keys read values.`);
      const lanes = unique(chosen.map(({ curve }) => curve.lanes));
      const shown = unique(chosen.map(({ curve }) => curve.seeds.length));
      note.textContent = chosen.length ? `${readable(metric.get())}; ${lanes.join(" or ")} lane${lanes.join() === "1" ? "" : "s"} a curve${view.seeds ? `, ${shown.join(" or ")} of them drawn` : ""}. Thinned for drawing; a line ends where more than half of its lanes diverged.` : "Choose a method above.";
    }
    const breadth = (name) => unique(curves.filter(({ curve }) => placeOf(curve) === name).map(({ curve }) => curve.method)).length;
    where.select.value = places.reduce((best, name) => (breadth(name) >= breadth(best) ? name : best)); // the richest, and of those the last
    refill();
  }

  // --- tables ----------------------------------------------------------------------------------------

  function table(name, columns, rows, kinds = []) {
    const cell = (tag, attributes, content) => el(tag, attributes, ...(Array.isArray(content) ? content : [content]));
    return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name },
      el("table", { class: "data" }, el("thead", {}, el("tr", {}, ...columns.map((text, n) => el("th", { scope: "col", class: kinds[n] ?? null }, text)))),
        el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((content, n) => cell(n ? "td" : "th", n ? { class: kinds[n] ?? null } : { scope: "row" }, content)))))));
  }

  // --- comparing -------------------------------------------------------------------------------------

  const chosen = [];

  /** The records that are compared, the first of them against all others, are those that the hash names. */
  function choose(slug, on) {
    const at = chosen.indexOf(slug);
    if (on && at < 0) chosen.push(slug);
    if (!on && at >= 0) chosen.splice(at, 1);
    history.replaceState(null, "", `#${chosen.join(",")}`);
    compare();
  }

  function chosenByHash() {
    const known = all("#choices input").map((input) => input.value);
    const named = hash().split(",");
    chosen.splice(0, chosen.length, ...unique(named).filter((slug) => known.includes(slug)));
    compare();
  }

  async function compare() {
    const place = one("#comparison"), status = one("#compare-status"), asked = chosen.join();
    const inputs = all("#choices input");
    for (const input of inputs) input.checked = chosen.includes(input.value);
    if (chosen.length < 2) {
      const input = inputs.find((one) => one.value === chosen[0]);
      status.textContent = input ? `${input.parentElement.textContent.trim()} is chosen: choose one more.` : "";
      place.replaceChildren();
      return;
    }
    try {
      const sides = await Promise.all(chosen.map(load));
      if (asked === chosen.join()) show(sides, place, status);
    } catch (error) {
      status.textContent = error.message;
      place.replaceChildren();
    }
  }

  function show(sides, place, status) {
    status.textContent = `${sides.length} records. Differences are against A, the first that was chosen.`;
    const heads = sides.map((side, n) => letter(n));
    const text = (v) => (v === undefined ? "—" : typeof v === "string" ? v : JSON.stringify(v));
    const fields = unique(sides.flatMap((side) => Object.keys(side.config)));
    const rows = fields.map((name) => [name, ...sides.map((side) => text(side.config[name]))]);
    const differs = rows.filter((row) => row.slice(2).some((value) => value !== row[1]));
    const same = rows.filter((row) => !differs.includes(row));
    const plot = el("div", { class: "curves" });
    place.replaceChildren(
      el("ul", { class: "sides", "aria-label": "The records that are compared" }, ...sides.map((side, n) => el("li", {}, el("b", {}, letter(n)), side.label))),
      el("h2", {}, "What differs in their configs"),
      differs.length ? table("Config fields that differ", ["Field", ...heads], differs) : el("p", {}, "Nothing: the configs are the same."),
      el("details", {}, el("summary", {}, `${same.length} fields are the same`), table("Config fields that are the same", ["Field", "Value"], same.map((row) => row.slice(0, 2)))),
      el("h2", {}, "Curves"), plot,
      el("h2", {}, "Final values"), finals(sides),
      el("h2", {}, "Verdicts"), verdicts(sides),
    );
    curvePlot(plot, sides);
  }

  function finals(sides) {
    const names = unique(sides.flatMap((side) => Object.keys(side.outcomes))).filter((name) => sides.filter((side) => side.outcomes[name]).length > 1);
    if (!names.length) return el("p", { class: "soft" }, "No outcome is in more than one of them.");
    const how = unique(sides.slice(1).map((side) => (sameData(sides[0], side) ? "paired by the seeds they share" : "unpaired, since the data differ")));
    const body = el("div", {});
    const words = el("input", { type: "search", autocomplete: "off", placeholder: "final_loss, tuned …", oninput: () => fill() });
    function fill() {
      const parts = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const found = names.filter((name) => parts.every((part) => name.toLowerCase().includes(part)));
      const rows = found.slice(0, 300).map((name) => [readable(name), ...sides.map((side) => (side.outcomes[name] ? formatNumber(median(side.outcomes[name].values)) : "—")), ...sides.slice(1).map((side) => {
        if (!side.outcomes[name] || !sides[0].outcomes[name]) return "—";
        const d = difference(sides[0], side, name);
        const clear = d.low > 0 || d.high < 0;
        return [el("span", clear ? { class: "differs" } : {}, formatInterval(d.estimate, d.low, d.high)), ` ${d.how}, n = ${d.n}${clear ? ", clear of 0" : ""}`];
      })]);
      body.replaceChildren(table("Final values", ["Outcome", ...sides.map((_, n) => `${letter(n)}, median`), ...sides.slice(1).map((_, n) => `${letter(n + 1)} − A [95%]`)], rows, ["", ...sides.map(() => "number"), ...sides.slice(1).map(() => "gap")]), el("p", { class: "soft" }, `${found.length} of ${names.length} outcomes${found.length > 300 ? ", the first 300 shown" : ""}.`));
    }
    fill();
    return el("div", {}, el("p", { class: "soft" }, `Mean differences by Student's t, ${how.join("; ")}; where lanes diverged, medians by order statistics. Not corrected for how many there are.`), el("label", { class: "field" }, "Filter outcomes ", words), body);
  }

  function verdicts(sides) {
    const ids = unique(sides.flatMap((side) => side.claims.map((claim) => `${side.experiment} ${claim[0]}`)));
    return table("Verdicts", ["Claim", ...sides.map((_, n) => letter(n))], ids.map((id) => [id, ...sides.map((side) => {
      const claim = side.claims.find((one) => `${side.experiment} ${one[0]}` === id);
      return claim ? `${claim[2]}${claim[3] ? `: ${claim[3]}` : ""}` : "—";
    })]));
  }

  // --- filters, copying, themes ----------------------------------------------------------------------

  const filters = one("#filters");
  /** Of the index the rows of papers that fit are shown, of a paper's page the claims that do. */
  function filter() {
    const { verdict, topic, words } = filters.elements;
    const wanted = words ? words.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
    const rows = all(".papers tbody"), claims = all(".claim");
    for (const row of rows) {
      row.hidden = !(!verdict.value || row.dataset.verdicts.split(" ").includes(verdict.value)) || !(!topic.value || row.dataset.topic === topic.value) || !wanted.every((word) => row.textContent.toLowerCase().includes(word));
    }
    for (const claim of claims) claim.hidden = Boolean(verdict.value) && claim.dataset.verdict !== verdict.value;
    for (const note of all(".filtered")) {
      note.hidden = !verdict.value;
      note.firstElementChild.textContent = `Only claims that came out ${verdict.value.replaceAll("-", " ")} are shown.`;
    }
    const things = rows.length ? rows : claims, shown = things.filter((thing) => !thing.hidden).length;
    one("#found").textContent = shown === things.length ? "" : `${shown} of ${things.length} ${rows.length ? "papers" : "claims"}.`;
  }

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    let done = true;
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      const range = document.createRange();
      range.selectNodeContents(source);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      done = document.execCommand("copy");
    }
    const before = button.firstChild.textContent;
    button.firstChild.textContent = done ? "Copied" : "Selected: press Ctrl+C";
    setTimeout(() => { button.firstChild.textContent = before; }, 1600);
  }

  const THEMES = ["system", "light", "dark"];
  function theme(name) {
    if (name === "system") delete root.dataset.theme;
    else root.dataset.theme = name;
    one("#theme span").textContent = `Theme: ${name}`;
    try { localStorage.setItem("jaxtrends-theme", name); } catch { /* a browser that keeps nothing */ }
  }

  function hash() {
    try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
  }

  /** Show what a link leads to. All results once were one page, whose links still lead somewhere. */
  function followLink() {
    const name = hash();
    if (one("#choices")) { chosenByHash(); return; }
    if (!name) return;
    if (/^compare(=|$)/.test(name)) { location.replace(`${base}compare.html#${encodeURI(name.slice(8))}`); return; }
    let target = document.getElementById(name);
    if (!target) {
      const papers = all("a[data-experiment]").filter((link) => name.startsWith(`${link.dataset.experiment}-`));
      papers.sort((a, b) => b.dataset.experiment.length - a.dataset.experiment.length);
      if (papers.length) { location.replace(`${papers[0].getAttribute("href")}#${encodeURIComponent(name)}`); return; }
      for (let short = name; short && !target; short = short.slice(0, Math.max(short.lastIndexOf("-"), 0))) target = document.getElementById(short);
      target?.scrollIntoView();
    } else if (target.hidden) {
      filters.reset();
      filter();
      target.scrollIntoView();
    }
  }

  root.classList.add("js");
  filters?.addEventListener("input", filter);
  filters?.addEventListener("submit", (event) => event.preventDefault());
  one("#choices")?.addEventListener("change", (event) => choose(event.target.value, event.target.checked));
  one("#choose-search")?.addEventListener("input", (event) => {
    for (const label of all("#choices label")) label.hidden = !label.textContent.toLowerCase().includes(event.target.value.toLowerCase());
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.classList.contains("copy")) copy(button);
    if (button.classList.contains("clear")) { filters.reset(); filter(); }
    if (button.id === "theme") theme(THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % 3]);
  });
  // A plot is made, and its record loaded, when it comes near the window.
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      load(target.dataset.slug).then((record) => curvePlot(target, [record]), (error) => target.replaceChildren(el("p", { class: "soft" }, error.message)));
    }
  }, { rootMargin: "800px" });
  for (const place of all(".curves[data-slug]")) near.observe(place);
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("section.record details:not([open])");
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of folded) details.open = false; });
  addEventListener("hashchange", followLink);
  let kept = null;
  try { kept = localStorage.getItem("jaxtrends-theme"); } catch { /* as above */ }
  if (THEMES.includes(kept) && kept !== "system") theme(kept);
  followLink();
  // What a test holds to the library in Python.
  Object.assign(root, { jaxtrends: { formatInterval, tQuantile, difference, orderStatistics, load, rowsOf } });
})();
