// The live page of esmpage. Whatever a record, a function or a broker says is put into the page
// as text, never as markup.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, cls, text) => {
    const e = document.createElement(tag);
    if (cls) e.className = cls;
    if (text !== undefined) e.textContent = text;
    return e;
  };
  // put changes a text only if it is another one: most of them stay.
  const put = (e, text) => {
    if (e.textContent !== text) e.textContent = text;
  };

  // Numbers and times, for people.
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const num = (n) => (n === null || n === undefined ? "unknown" : whole.format(n));
  const few = (n) => (n === null || n === undefined ? "–" : n >= 100 ? whole.format(n) : String(Number(n.toPrecision(3))));
  const bytes = (n) => {
    if (n === null || n === undefined) return "–";
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    while (n >= 1024 && i < units.length - 1) {
      n /= 1024;
      i++;
    }
    return few(n) + " " + units[i];
  };
  const span = (s) => {
    if (s === null || s === undefined) return "unknown";
    if (s < 1) return Math.round(s * 1000) + " ms";
    if (s < 120) return few(s) + " s";
    if (s < 7200) return Math.round(s / 60) + " min";
    if (s < 172800) return few(s / 3600) + " h";
    return few(s / 86400) + " d";
  };
  const nanos = (n) => span(n / 1e9);
  const two = (n) => String(n).padStart(2, "0");
  const clock = (ms) => {
    const d = new Date(ms);
    return two(d.getHours()) + ":" + two(d.getMinutes()) + ":" + two(d.getSeconds());
  };
  const when = (ms) => {
    const e = make("time", "", clock(ms));
    e.dateTime = new Date(ms).toISOString();
    e.title = new Date(ms).toString();
    return e;
  };

  const columns = ["lag", "age", "pollers", "least", "most", "handled", "polled", "mean", "slow", "errors", "throttles", "held", "budget", "busy", "slots"];
  let about = { title: "esm", acts: false, kept: 3600 };
  let selected = ""; // the id of the Mapping that is looked at
  let looked = ""; // its name, "" before the first message
  let current = null; // the last message
  let stream = null;
  let silent = 0; // when the last message came
  let seq = 0; // of the last event that is listed
  let steps = [];
  let data = empty();
  let shownSpan = 900;

  function empty() {
    const d = { at: [] };
    for (const c of columns) d[c] = [];
    return d;
  }

  // append adds points to the charts. Where some are missing, the line is broken.
  function append(points) {
    const last = () => data.at[data.at.length - 1];
    points.at.forEach((at, i) => {
      const x = at / 1000;
      while (data.at.length > 0 && x < last() - 5) { // the clock was set back
        data.at.pop();
        for (const c of columns) data[c].pop();
      }
      if (data.at.length > 0) {
        if (x <= last()) return;
        if (x - last() > 5) {
          data.at.push(last() + 1);
          for (const c of columns) data[c].push(null);
        }
      }
      data.at.push(x);
      for (const c of columns) data[c].push(points[c][i]);
    });
    const over = data.at.length - about.kept;
    if (over > 0) {
      data.at.splice(0, over);
      for (const c of columns) data[c].splice(0, over);
    }
  }

  // The charts.
  const kinds = [
    { title: "Lag", unit: "records", lines: [["lag", "lag", 1]], show: num },
    { title: "Pollers", unit: "marks are steps", lines: [["pollers", "pollers", 1], ["minimum", "least", 3, true], ["maximum", "most", 2, true]], show: num, marks: true },
    { title: "Records", unit: "a second", lines: [["handled", "handled", 1]], show: few },
    { title: "Invocation", unit: "ms", lines: [["mean", "mean", 1], ["95 % below", "slow", 4]], show: few },
    { title: "Errors and throttles", unit: "calls a second", lines: [["errors", "errors", 2], ["throttles", "throttles", 4, true]], show: few },
    { title: "Oldest record", unit: "seconds", lines: [["age", "age", 1]], show: few },
    { title: "Calls at once", unit: "of the slots", lines: [["busy", "busy", 1], ["slots", "slots", 2, true]], show: num },
    { title: "Read", unit: "bytes a second", lines: [["polled", "polled", 1]], show: bytes },
    { title: "Memory", unit: "bytes", lines: [["held", "held", 1], ["budget", "budget", 2, true]], show: bytes },
  ];
  let charts = [];
  const powers = Array.from({ length: 50 }, (_, i) => 2 ** i);

  function draw() {
    for (const c of charts) c.plot.destroy();
    charts = [];
    const box = $("charts");
    box.replaceChildren();
    if (typeof uPlot !== "function") {
      box.append(make("p", "", "The library for charts could not be loaded."));
      return;
    }
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const figures = kinds.map((kind) => {
      const figure = make("figure");
      const caption = make("figcaption", "", kind.title + " ");
      caption.append(make("span", "", kind.unit));
      figure.append(caption);
      box.append(figure);
      return figure;
    });
    kinds.forEach((kind, i) => { // now each has its width
      const figure = figures[i];
      const at = make("p", "at");
      const axis = { stroke: color("--soft"), grid: { stroke: color("--grid"), width: 1 }, ticks: { stroke: color("--grid"), width: 1 } };
      const plot = new uPlot(
        {
          width: Math.max(200, figure.clientWidth),
          height: 190,
          cursor: { sync: { key: "esm" }, y: false, drag: { x: false, y: false } },
          scales: { x: { time: true, range: () => range() }, y: { range: (u, min, max) => [0, Math.max(1, (max || 0) * 1.1)] } },
          axes: [
            { ...axis, space: 80, values: (u, vs, axis, space, step) => vs.map((v) => clock(v * 1000).slice(0, step < 60 ? 8 : 5)) },
            { ...axis, size: 72, incrs: kind.show === bytes ? powers : undefined, values: (u, vs) => vs.map((v) => (kind.show === bytes ? bytes(v) : short(v))) },
          ],
          series: [{ label: "at", value: (u, v, series, i) => legend(u, v, series, i, (x) => clock(x * 1000)) }].concat(
            kind.lines.map(([label, , c, dashed]) => ({
              label,
              stroke: color("--c" + c),
              width: 1.5,
              dash: dashed ? [4, 4] : undefined,
              points: { show: true, size: 4, fill: color("--c" + c), filter: alone },
              value: (u, v, series, i) => legend(u, v, series, i, kind.show),
            })),
          ),
          hooks: kind.marks ? { drawSeries: [(u, i) => i === 1 && mark(u, color("--c5"))], setCursor: [(u) => put(at, near(u))] } : {},
        },
        rows(kind),
        figure,
      );
      plot.root.querySelector("canvas").setAttribute("role", "img");
      plot.root.querySelector("canvas").setAttribute("aria-label", "Chart: " + kind.title + ", " + kind.unit + ". The numbers are below it, and in the history as JSON.");
      if (kind.marks) figure.append(at);
      charts.push({ kind, plot, figure });
    });
  }

  const short = (v) => (Math.abs(v) >= 1e9 ? v / 1e9 + " G" : Math.abs(v) >= 1e6 ? v / 1e6 + " M" : Math.abs(v) >= 1e4 ? v / 1e3 + " k" : String(v));
  const rows = (kind) => [data.at].concat(kind.lines.map((l) => data[l[1]]));
  // range is what the charts show: as much as was asked for, or there is, but a minute at least.
  const range = () => {
    const n = data.at.length;
    const end = n > 0 ? data.at[n - 1] : Date.now() / 1000;
    return [end - Math.min(shownSpan, Math.max(60, n > 0 ? end - data.at[0] : 0)), end];
  };

  // alone are the points of a series that have no neighbour: no line goes through them.
  function alone(u, series) {
    const of = u.data[series];
    const found = [];
    for (let i = 0; i < of.length; i++) {
      if (of[i] !== null && (i === 0 || of[i - 1] === null) && (i === of.length - 1 || of[i + 1] === null)) found.push(i);
    }
    return found;
  }
  // legend is the number under the cursor, or the last one.
  function legend(u, v, series, i, show) {
    if (i === null || i === undefined) v = u.data[series][u.data[series].length - 1];
    return v === null || v === undefined ? "–" : show(v);
  }

  // mark draws a line for each change of the number of pollers.
  function mark(u, stroke) {
    const ctx = u.ctx;
    ctx.save();
    ctx.strokeStyle = stroke;
    ctx.globalAlpha = 0.5;
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (const s of steps) {
      const x = u.valToPos(s.at / 1000, "x", true);
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
      ctx.moveTo(x, u.bbox.top);
      ctx.lineTo(x, u.bbox.top + u.bbox.height);
    }
    ctx.stroke();
    ctx.restore();
  }

  // near is the change beside the cursor, in words.
  function near(u) {
    if (u.cursor.left === null || u.cursor.left < 0) return "";
    let best = null;
    let distance = 12;
    for (const s of steps) {
      const d = Math.abs(u.valToPos(s.at / 1000, "x") - u.cursor.left);
      if (d < distance) {
        best = s;
        distance = d;
      }
    }
    return best ? clock(best.at) + "  " + best.from + " → " + best.to + ": " + best.reason : "";
  }

  function refresh() {
    for (const c of charts) c.plot.setData(rows(c.kind));
  }

  // The list of Mappings.
  const buttons = new Map();
  function list(mappings) {
    const box = $("mappings");
    const there = new Set(mappings.map((m) => m.id));
    for (const [id, b] of buttons) {
      if (!there.has(id)) {
        b.item.remove();
        buttons.delete(id);
      }
    }
    const wanted = $("filter").value.toLowerCase();
    $("find").hidden = mappings.length < 9;
    for (const m of mappings) {
      let b = buttons.get(m.id);
      if (!b) {
        const item = make("li");
        const button = make("button");
        button.type = "button";
        const name = make("span");
        const line = make("span", "small");
        button.append(name, line);
        button.addEventListener("click", () => select(m.id));
        item.append(button);
        box.append(item);
        b = { item, button, name, line };
        buttons.set(m.id, b);
      }
      put(b.name, m.name);
      b.name.title = m.name;
      b.button.className = m.problems ? "bad" : "";
      const lag = m.lag.sum === null ? "lag unknown" : "lag " + num(m.lag.sum);
      put(b.line, m.phase + " · " + lag + " · " + m.pollers + (m.pollers === 1 ? " poller" : " pollers") + (m.problems ? " · " + m.problems + (m.problems === 1 ? " problem" : " problems") : ""));
      b.button.setAttribute("aria-current", String(m.id === selected));
      b.item.hidden = wanted !== "" && !m.name.toLowerCase().includes(wanted);
    }
  }

  // terms fills a list of names and values.
  function terms(box, entries, wrap) {
    entries.forEach(([name, value, bad], i) => {
      let dt, dd;
      if (wrap) {
        let div = box.children[i];
        if (!div) {
          div = make("div");
          div.append(make("dt"), make("dd"));
          box.append(div);
        }
        [dt, dd] = div.children;
      } else {
        if (!box.children[2 * i]) box.append(make("dt"), make("dd"));
        dt = box.children[2 * i];
        dd = box.children[2 * i + 1];
      }
      put(dt, name);
      put(dd, value);
      dd.className = bad ? "bad" : "";
      dd.dataset.of = name;
    });
  }

  function tiles(d) {
    const s = d.stats;
    const p = (name) => {
      const v = d.point[name];
      return v && v.length ? v[v.length - 1] : null;
    };
    const unknown = s.OffsetLag.unknown;
    terms($("tiles"), [
      ["Lag, records", s.OffsetLag.sum === null ? (unknown ? "unknown for " + num(unknown) + " of " + num(s.Partitions) : "unknown") : num(s.OffsetLag.sum), s.OffsetLag.sum === null],
      ["Oldest record", span(s.TimeLag.seconds)],
      ["Pollers", num(s.ProvisionedPollers) + " (" + num(s.MinPollers) + " to " + num(s.MaxPollers) + ")"],
      ["Records a second", few(p("handled"))],
      ["A call takes", s.InvokeDuration ? nanos(s.InvokeDuration) : "–"],
      ["Calls now", num(s.BusySlots) + " of " + num(s.Slots)],
      ["Errors a second", few(p("errors")), p("errors") > 0],
      ["Throttles a second", few(p("throttles")), p("throttles") > 0],
      ["Partitions", num(s.Partitions) + (s.WaitingPartitions ? ", " + num(s.WaitingPartitions) + " waiting" : ""), s.WaitingPartitions > 0],
      ["Memory", bytes(s.HeldBytes) + " of " + bytes(s.MemoryBudget), s.MemoryLimited],
    ], true);
  }

  function facts(d) {
    const counts = [];
    for (const [k, v] of Object.entries(d.stats)) {
      if (k.endsWith("Count")) counts.push([k, num(v)]);
      if (k.endsWith("SecondsTotal")) counts.push([k.replace("SecondsTotal", "") + ", hours", few(v / 3600)]);
    }
    counts.push(["EventPollerUnits", num(d.stats.EventPollerUnits)], ["ActivePollers, in 5 min", num(d.stats.ActivePollers)], ["ReadyPartitions", num(d.stats.ReadyPartitions)], ["RecordsPerCall", few(d.stats.RecordsPerCall)]);
    counts.push(["Last commit took", nanos(d.stats.CommitDuration)], ["Last fetch took", nanos(d.stats.FetchDuration)]);
    const h = d.stats.InvokeDurations;
    for (const [k, v] of Object.entries(h["at most"])) counts.push(["Calls up to " + k, num(v)]);
    if (h.longer) counts.push(["Calls longer than that", num(h.longer)]);
    const box = $("counts");
    while (box.children.length > 2 * counts.length) box.lastElementChild.remove();
    terms(box, counts);
    const c = d.settings;
    const limit = (n) => (n < 0 ? "no limit" : num(n));
    terms($("settings"), [
      ["Group", c.Group],
      ["Topics", (c.Topics || []).join(", ")],
      ["Minimum pollers", num(c.MinPollers)],
      ["Maximum pollers", num(c.MaxPollers)],
      ["Calls of a poller at once", num(c.PollerConcurrency)],
      ["Calls at once", limit(c.MaxConcurrency)],
      ["Bytes a second of a poller", limit(c.PollerByteRate)],
      ["Mode", c.OnDemand ? "on-demand" : "provisioned"],
      ["Bounds hold for", c.GroupBounds ? "the group" : "this process"],
      ["Batch size", num(c.BatchSize)],
      ["Batch bytes", bytes(c.BatchBytes)],
      ["Batch window", nanos(c.BatchWindow)],
      ["Invoke timeout", c.InvokeTimeout ? nanos(c.InvokeTimeout) : "none"],
      ["Retries", limit(c.MaxRetries)],
      ["Record age", c.MaxRecordAge < 0 ? "no limit" : nanos(c.MaxRecordAge)],
      ["Bisect", c.Bisect ? "yes" : "no"],
      ["Destination", c.Destination ? "yes" : "none"],
      ["Memory budget", bytes(c.MemoryBudget)],
    ]);
  }

  // since is how long ago something began, by the clock of the process.
  const since = (ms, now) => span(Math.max(0, now - ms) / 1000);

  // The partitions.
  const heads = [
    ["Partition", (r) => r.topic + "/" + r.partition, (a, b) => (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition), "text name"],
    ["Held up by", held, (a, b) => (b.held ? b.held.since : Infinity) - (a.held ? a.held.since : Infinity) || 0, "text wide"],
    ["State", (r) => r.state, (a, b) => (a.state < b.state ? -1 : a.state > b.state ? 1 : 0), "text"],
    ["Lag", (r) => num(r.lag), (a, b) => order(a.lag, b.lag)],
    ["Oldest", (r, now) => (r.oldest ? span(Math.max(0, now - r.oldest) / 1000) : "–"), (a, b) => (b.oldest || Infinity) - (a.oldest || Infinity) || 0],
    ["In flight", (r) => num(r.inFlight), (a, b) => a.inFlight - b.inFlight],
    ["Queued", (r) => num(r.queued), (a, b) => a.queued - b.queued],
    ["Call runs for", (r, now) => (r.since ? span(Math.max(0, now - r.since) / 1000) : "–"), (a, b) => (b.since || Infinity) - (a.since || Infinity) || 0],
    ["Committed", (r) => num(r.committed), (a, b) => order(a.committed, b.committed)],
    ["End", (r) => num(r.end), (a, b) => order(a.end, b.end)],
  ];
  // What is unknown comes before all numbers: it may be more than any.
  const order = (a, b) => (a === null ? Infinity : a) - (b === null ? Infinity : b) || 0;
  function held(r, now) {
    const h = r.held;
    if (!h) return "";
    let s = "offset " + num(h.offset) + " (" + num(h.records) + (h.records === 1 ? " record, " : " records, ") + num(h.attempts) + (h.attempts === 1 ? " attempt" : " attempts");
    if (h.since) s += ", for " + since(h.since, now);
    if (h.reason) s += ", given up: " + h.reason;
    if (h.next) s += ", next try " + (h.next > now ? "in " + span((h.next - now) / 1000) : "now");
    return s + ")" + (h.err ? ": " + h.err : "");
  }
  let sortBy = -1; // a column, or -1 for what is worst first
  let down = true;
  let limit = 100;
  const lines = []; // rows of the table, used again

  function head() {
    const tr = $("partitions").tHead.rows[0];
    heads.forEach(([name, , , cls], i) => {
      const th = make("th", cls ? cls.replace("wide", "").replace("name", "") : "");
      th.scope = "col";
      const b = make("button", "", name);
      b.type = "button";
      b.addEventListener("click", () => {
        if (sortBy === i && !down) sortBy = -1;
        else if (sortBy === i) down = false;
        else [sortBy, down] = [i, true];
        [...tr.children].forEach((other, j) => {
          if (j === sortBy) other.setAttribute("aria-sort", down ? "descending" : "ascending");
          else other.removeAttribute("aria-sort");
        });
        if (current && current.shown) table(current.shown, current.at);
      });
      th.append(b);
      tr.append(th);
    });
  }

  function table(d, now) {
    let all = d.rows;
    const wanted = $("search").value.toLowerCase();
    if (wanted) all = all.filter((r) => (r.topic + "/" + r.partition + " " + r.state + " " + held(r, now)).toLowerCase().includes(wanted));
    if (sortBy >= 0) {
      const by = heads[sortBy][2];
      all = [...all].sort((a, b) => (down ? by(b, a) : by(a, b)));
    }
    const body = $("partitions").tBodies[0];
    const n = Math.min(limit, all.length);
    for (let i = 0; i < n; i++) {
      let line = lines[i];
      if (!line) {
        const tr = make("tr");
        const cells = heads.map((h) => make("td", h[3]));
        tr.append(...cells);
        line = { tr, cells };
        lines[i] = line;
      }
      if (line.tr.parentNode !== body) body.append(line.tr);
      const r = all[i];
      heads.forEach((h, j) => put(line.cells[j], h[1](r, now)));
      line.tr.className = r.held ? "bad" : "";
    }
    while (lines.length > n) lines.pop().tr.remove();
    $("more").hidden = n >= all.length;
    put($("more"), "Show more (" + num(all.length - n) + " are left)");
    put($("left"), d.left ? num(d.left) + " more partitions are not shown: these are the ones that are held up and those with the largest lag." : d.rows.length ? "" : "No partition is assigned to this process.");
  }

  // The events, the newest first.
  function happened(events) {
    const box = $("events");
    for (const e of events) {
      if (e.seq <= seq) continue;
      seq = e.seq;
      const li = make("li", e.level);
      li.append(when(e.at), make("span", "kind", e.kind), make("span", "what", e.text));
      box.prepend(li);
    }
    while (box.children.length > 500) box.lastElementChild.remove();
  }

  function change(fresh) {
    for (const s of fresh) {
      if (steps.length === 0 || s.seq > steps[steps.length - 1].seq) steps.push(s);
    }
    if (steps.length > 500) steps.splice(0, steps.length - 500);
    const box = $("steps");
    const last = steps.slice(-8).reverse();
    while (box.children.length > last.length) box.lastElementChild.remove();
    last.forEach((s, i) => {
      const text = clock(s.at) + "  " + s.from + " → " + s.to + ": " + s.reason;
      if (!box.children[i]) box.append(make("li"));
      put(box.children[i], text);
    });
  }

  // What can be changed.
  const form = $("update");
  const fields = { minPollers: (c) => c.MinPollers, maxPollers: (c) => c.MaxPollers, batchSize: (c) => c.BatchSize, batchWindowMs: (c) => Math.round(c.BatchWindow / 1e6) };
  const touched = new Set();
  form.addEventListener("input", (e) => touched.add(e.target.name));
  function controls(d) {
    if (!about.acts) return;
    for (const [name, of] of Object.entries(fields)) {
      if (!touched.has(name)) form.elements[name].value = of(d.settings);
    }
    const over = d.state.phase === "stopping" || d.state.phase === "stopped";
    $("pause").disabled = over || d.state.phase === "paused";
    $("resume").disabled = over || !(d.state.phase === "paused" || d.state.phase === "halted");
  }
  function say(text, bad) {
    put($("said"), text);
    $("said").className = bad ? "bad" : "good";
  }
  async function act(what, done) {
    if (!current || !current.shown) return false;
    say("", false);
    try {
      const r = await fetch("api/act", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ id: current.shown.id, name: current.shown.name, ...what }),
      });
      let answer = {};
      try {
        answer = await r.json();
      } catch {
        answer = { error: "the answer was " + r.status + " and no JSON" };
      }
      say(answer.error || done, !r.ok || !!answer.error);
      return r.ok && !answer.error;
    } catch (e) {
      say("the process could not be reached: " + e.message, true);
      return false;
    }
  }
  $("pause").addEventListener("click", () => act({ do: "pause" }, "It is paused."));
  $("resume").addEventListener("click", () => act({ do: "resume" }, "It goes on."));
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    if (!current || !current.shown) return;
    const set = {};
    for (const [name, of] of Object.entries(fields)) {
      const v = Number(form.elements[name].value);
      if (v !== of(current.shown.settings)) set[name] = v;
    }
    if (Object.keys(set).length === 0) return say("Nothing to change.", false);
    if (await act({ do: "update", ...set }, "Applied.")) touched.clear();
  });
  form.addEventListener("reset", (e) => {
    e.preventDefault();
    touched.clear();
    say("", false);
    if (current && current.shown) controls(current.shown);
  });

  // What comes.
  function show(m) {
    current = m;
    silent = Date.now();
    try {
      render(m);
    } catch (e) {
      link("this page has a fault: " + e.message, true);
    }
  }

  // clear forgets a Mapping, before another one is shown.
  function clear() {
    touched.clear();
    say("", false);
    limit = 100;
    data = empty();
    steps = [];
    seq = 0;
    turn++;
    $("events").replaceChildren();
    $("steps").replaceChildren();
    const query = selected === "" ? "" : "?m=" + encodeURIComponent(selected);
    $("json").href = "api/snapshot" + query;
    $("hist").href = "api/history" + query;
    refresh();
  }

  // render shows a message. What it is about may be another Mapping than before: the first one
  // was removed, or the process is another one, whose ids are other ones.
  function render(m) {
    const d = m.shown;
    $("main").hidden = !d;
    list(m.mappings);
    if (!d) {
      const again = m.mappings.find((x) => x.name === looked) || m.mappings[0];
      link(again ? "that Mapping is gone" : "no Mapping is on this page yet (Page.Add)", true);
      if (again) select(again.id);
      return;
    }
    if (looked !== "" && looked !== d.name && d.id === selected) {
      const again = m.mappings.find((x) => x.name === looked);
      if (again) return select(again.id);
    }
    if (d.id !== selected || d.name !== looked) {
      const first = looked === "";
      selected = d.id;
      looked = d.name;
      if (!first) clear();
      list(m.mappings);
      history();
    }
    if (lost || d.seq < seq || (d.events.length > 0 && d.events[0].seq > seq + 1)) {
      lost = false;
      history(); // some were missed
    }
    happened(d.events);
    change(d.steps);
    append(d.point);
    put($("name"), d.name);
    put($("phase"), d.state.phase + " (AWS: " + d.state.aws + ")");
    $("phase").className = "phase " + d.state.phase;
    put($("explain"), d.explain);
    const box = $("problems");
    const few = d.state.problems.slice(0, 5).map((p) => p.with + ", for " + since(p.since, m.at) + ": " + p.text);
    if (d.state.problems.length > few.length) few.push("and " + num(d.state.problems.length - few.length) + " more problems");
    while (box.children.length > few.length) box.lastElementChild.remove();
    few.forEach((text, i) => {
      if (!box.children[i]) box.append(make("li"));
      put(box.children[i], text);
    });
    put($("last"), d.state.lastAt ? "The last call, " + since(d.state.lastAt, m.at) + " ago: " + d.state.lastResult : "No call has ended yet.");
    put($("reason"), d.reason);
    put($("silence"), d.seq === 0 ? "Nothing has happened, or the Mapping does not have the hooks of this page (Page.Hooks)." : "");
    document.title = d.name + " · " + d.state.phase + " · " + about.title;
    if (document.hidden) return; // nobody sees it
    tiles(d);
    facts(d);
    controls(d);
    table(d, m.at);
    refresh();
  }

  function link(text, off) {
    put($("link"), text);
    $("link").className = off ? "off" : "";
  }

  // history loads what was before. An answer that is about another Mapping than the one that
  // is looked at by then, or older than another one, is thrown away.
  let lost = false; // messages, perhaps
  let turn = 0;
  let loading = 0; // the turn that is loaded
  async function history() {
    if (loading === turn && turn !== 0) return;
    const mine = ++turn;
    loading = mine;
    try {
      const r = await fetch("api/history?m=" + encodeURIComponent(selected));
      if (!r.ok) return;
      const h = await r.json();
      if (mine !== turn || h.id !== selected) return;
      data = empty();
      steps = [];
      seq = 0;
      $("events").replaceChildren();
      append(h.points);
      happened(h.events);
      seq = h.seq;
      change(h.steps);
      refresh();
    } catch {
      // the stream says that nobody is there
    } finally {
      if (loading === mine) loading = 0;
    }
  }

  function follow() {
    if (stream) stream.close();
    const s = new EventSource("api/stream?m=" + encodeURIComponent(selected));
    stream = s;
    silent = Date.now();
    s.addEventListener("message", (e) => {
      if (stream !== s) return;
      let m;
      try {
        m = JSON.parse(e.data);
      } catch {
        return;
      }
      link("live", false);
      show(m);
    });
    s.addEventListener("error", () => {
      if (stream !== s) return;
      lost = true;
      link("not connected: trying again", true);
      if (s.readyState === EventSource.CLOSED) setTimeout(() => stream === s && follow(), 5000);
      ask();
    });
  }

  // ask asks once, where the stream says nothing: the process may be gone, not run the page, or
  // have too many viewers, or a proxy keeps the stream to itself.
  async function ask() {
    const of = selected;
    try {
      const r = await fetch("api/snapshot?m=" + encodeURIComponent(selected));
      const m = await r.json();
      if (selected !== of || !m.mappings) return;
      show(m);
      if (m.shown) link("nothing comes by itself (no Page.Run, too many viewers, or a proxy that buffers): asked for at " + clock(m.at), true);
    } catch {
      link("not connected: the process cannot be reached. Trying again.", true);
    }
  }
  setInterval(() => {
    if (stream && !document.hidden && Date.now() - silent > 8000) {
      silent = Date.now();
      lost = true;
      ask();
      if (stream.readyState === EventSource.OPEN) follow();
    }
  }, 4000);

  // A browser has few connections to one host, so a tab that nobody sees gives its own up.
  let hiding = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) {
      hiding = setTimeout(() => {
        if (stream) stream.close();
        stream = null;
        link("not followed while nobody looks", false);
      }, 10000);
    } else if (!stream) {
      lost = true;
      follow();
    } else if (current) {
      render(current);
    }
  });

  function select(id) {
    if (id === selected && current && current.shown) return;
    selected = id;
    looked = "";
    current = null;
    clear();
    follow();
  }

  for (const b of $("spans").children) {
    b.addEventListener("click", () => {
      shownSpan = Number(b.dataset.span);
      for (const other of $("spans").children) other.setAttribute("aria-pressed", String(other === b));
      refresh();
    });
  }
  $("more").addEventListener("click", () => {
    limit += 200;
    if (current && current.shown) table(current.shown, current.at);
  });
  $("search").addEventListener("input", () => current && current.shown && table(current.shown, current.at));
  $("filter").addEventListener("input", () => current && list(current.mappings));
  $("bad").addEventListener("change", () => $("events").classList.toggle("few", $("bad").checked));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let width = 0;
  new ResizeObserver(() => {
    const w = $("charts").clientWidth;
    if (w === width) return;
    width = w;
    for (const c of charts) c.plot.setSize({ width: Math.max(200, c.figure.clientWidth), height: 190 });
  }).observe($("charts"));

  async function begin() {
    try {
      const r = await fetch("api/about");
      if (r.ok) about = await r.json();
    } catch {
      // the stream says that nobody is there
    }
    put($("title"), about.title);
    $("actions").hidden = !about.acts;
    head();
    draw();
    follow();
  }
  begin();
})();
