"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const INK = "#1f2328", SOFT = "#59636e", GRID = "#e6eaee", BLUE = "#0b5cad", GOLD = "#b7791f", RED = "#cf222e", TEAL = "#1a7f6b";
  const FILL = { low: .10, medium: .13, high: .17, critical: .22 };
  const CONFIG = { displayModeBar: "hover", displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const HEIGHT = { score: 190, signal: 150, gap: 34 };
  const FONT = { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", size: 12, color: INK };
  const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function numbers(packed) {
    const bytes = Uint8Array.from(atob(packed.data), (c) => c.charCodeAt(0));
    return packed.type === "f8" ? new Float64Array(bytes.buffer) : new Float32Array(bytes.buffer);
  }

  function xaxis(extra) {
    return { type: data.real ? "date" : "linear", gridcolor: GRID, zeroline: false, linecolor: "#c5ccd3",
      ticks: "outside", tickcolor: "#c5ccd3", hoverformat: data.real ? "%Y-%m-%d %H:%M:%S" : ",.6~g", ...extra };
  }
  const yaxis = (extra) => ({ gridcolor: GRID, zeroline: false, nticks: 5, fixedrange: true, hoverformat: ",.5~g", ...extra });
  const heading = (text, top) => ({ text: `<b>${text}</b>`, xref: "paper", yref: "paper", x: 0, y: top, xanchor: "left", yanchor: "bottom",
    showarrow: false, font: { size: 13, color: INK } });

  function rows(heights) {
    const whole = heights.reduce((sum, h) => sum + h + HEIGHT.gap, 0);
    let top = whole;
    return { whole, domains: heights.map((h) => { top -= HEIGHT.gap; const at = [(top - h) / whole, top / whole]; top -= h; return at; }) };
  }

  function band(from, to, fill, extra) {
    return { type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, fillcolor: fill, line: { width: 0 }, layer: "below", ...extra };
  }

  function scoreTraces(scene, x) {
    const score = numbers(scene.score), curve = data.kind === "sensor", floor = data.log ? 0.05 : 0;
    const shown = score.map((s) => Math.max(s, floor));
    const above = shown.map((s) => (s >= 1 ? s : NaN));
    const line = { x, y: shown, name: "score", type: "scatter", mode: curve ? "lines" : "markers", line: { color: INK, width: 1.3 },
      marker: { color: "#8c959f", size: 5 }, hovertemplate: "%{y:.3~g}<extra>score</extra>" };
    const hot = { x, y: above, name: "above", type: "scatter", mode: curve ? "lines" : "markers", line: { color: RED, width: 2 },
      marker: { color: RED, size: 8 }, hoverinfo: "skip", connectgaps: false };
    return [line, hot];
  }

  function signalTraces(signal, x, number, first) {
    const axis = { yaxis: `y${number}` }, actual = numbers(signal.actual), expected = numbers(signal.expected);
    if (data.kind === "sensor") {
      return [
        { x, y: expected, name: "expected", legendgroup: "expected", showlegend: first, mode: "lines", line: { color: GOLD, width: 1.6, dash: "4px,3px" },
          hovertemplate: "%{y:.5~g}<extra>expected</extra>", ...axis },
        { x, y: actual, name: "actual", legendgroup: "actual", showlegend: first, mode: "lines", line: { color: BLUE, width: 1.4 },
          hovertemplate: "%{y:.5~g}<extra>actual</extra>", ...axis },
      ];
    }
    return [
      { x, y: expected, name: "expected", legendgroup: "expected", showlegend: first, mode: "markers", marker: { color: GOLD, size: 9, symbol: "line-ew-open" },
        hovertemplate: "%{y:.5~g}<extra>expected</extra>", ...axis },
      { x, y: actual, name: "actual", legendgroup: "actual", showlegend: first, mode: "markers", marker: { color: BLUE, size: 6 },
        hovertemplate: "%{y:.5~g}<extra>actual</extra>", ...axis },
    ];
  }

  function draw(number) {
    const scene = data.scenes[number], x = numbers(scene.x);
    const { whole, domains } = rows([HEIGHT.score, ...scene.signals.map(() => HEIGHT.signal)]);
    const [low, high] = [x[0], x[x.length - 1]];
    const shade = (span) => shapes(number, domains[0][0], whole, span / 400);
    const traces = scoreTraces(scene, x).map((t) => ({ ...t, showlegend: false }));
    const layout = { height: whole + 86, margin: { l: 56, r: 16, t: 34, b: 44 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff", font: FONT,
      hovermode: "x unified", hoverlabel: { bgcolor: "#fff", bordercolor: "#c5ccd3" }, dragmode: "zoom",
      legend: { orientation: "h", x: 1, xanchor: "right", y: 1 - 8 / whole, yanchor: "middle", bgcolor: "rgba(255,255,255,0)" },
      xaxis: xaxis({ anchor: scene.signals.length ? `y${scene.signals.length + 1}` : "y", title: { text: data.axis, standoff: 8, font: { size: 12, color: SOFT } } }),
      yaxis: yaxis({ domain: domains[0], type: data.log ? "log" : "linear", rangemode: "tozero", ...(data.log ? { dtick: 1 } : {}) }),
      annotations: [heading("score (1 is the threshold)", domains[0][1])], shapes: shade(high - low) };
    scene.signals.forEach((signal, i) => {
      traces.push(...signalTraces(signal, x, i + 2, i === 0));
      layout[`yaxis${i + 2}`] = yaxis({ domain: domains[i + 1] });
      layout.annotations.push(heading(safe(signal.name), domains[i + 1][1]));
    });
    const host = document.getElementById("scene");
    host.style.height = `${layout.height}px`;
    return Plotly.react(host, traces, layout, CONFIG).then(() => {
      host.removeAllListeners("plotly_relayout");
      host.on("plotly_relayout", (change) => {
        if (!Object.keys(change).some((key) => key.startsWith("xaxis."))) return;
        const [from, to] = host.layout.xaxis.range.map(instant);
        Plotly.relayout(host, { shapes: shade(to - from) });
      });
    });
  }

  const instant = (at) => (typeof at === "string" && data.real ? Date.parse(`${at.replace(" ", "T")}${at.includes(" ") ? "Z" : ""}`) : Number(at));

  // What has no width, or too little to be seen at this zoom, is drawn `least` wide.
  function shapes(number, bottom, whole, least) {
    const wide = (from, to) => (to - from < least ? [(from + to - least) / 2, (from + to + least) / 2] : [from, to]);
    const bands = data.anomalies.filter((a) => a.scene === number).map((each) => {
      const [from, to] = wide(each.from, each.to);
      return band(from, to, `rgba(207,34,46,${FILL[each.severity]})`);
    });
    const labelled = data.scenes[number].labelled.map(([begin, end]) => {
      const [from, to] = wide(begin, end);
      return band(from, to, TEAL, { y0: bottom - 9 / whole, y1: bottom - 3 / whole, layer: "above" });
    });
    return [...bands, ...labelled,
      { type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, yref: "y", line: { color: RED, width: 1.2, dash: "dot" } }];
  }

  function drawOverview() {
    const host = document.getElementById("overview"), many = data.overview;
    host.hidden = false;
    const z = many.score.map((row) => Array.from(numbers(row), (s) => (Number.isNaN(s) ? null : Math.min(s, 6))));
    const real = many.score.map((row) => Array.from(numbers(row)));
    const colours = [[0, "#eef2f5"], [0.165, "#d5dde4"], [0.1667, "#ffd8b0"], [0.4, "#f08c4a"], [1, "#8f0a1c"]];
    const trace = { type: "heatmap", x: numbers(many.x), y: many.entities.map(safe), z, customdata: real, zmin: 0, zmax: 6, colorscale: colours, xgap: 0, ygap: 2,
      colorbar: { thickness: 10, len: 1, tickvals: [0, 1, 3, 6], ticktext: ["0", "1", "3", "6+"], outlinewidth: 0 },
      hovertemplate: "%{y}<br>%{x}<br>highest score %{customdata:.3~g}<extra></extra>" };
    const height = 92 + 22 * many.entities.length;
    host.style.height = `${height}px`;
    Plotly.newPlot(host, [trace], { height, margin: { l: 96, r: 16, t: 26, b: 46 }, font: FONT, xaxis: xaxis({ showgrid: false }),
      yaxis: { autorange: "reversed", type: "category", ticks: "", fixedrange: true, automargin: true },
      annotations: [heading("highest score of each entity over time", 1)] }, CONFIG);
    host.on("plotly_click", (event) => {
      const at = data.scenes.findIndex((s) => safe(s.entity) === event.points[0].y);
      if (at >= 0) choose(at);
    });
  }

  let current = 0;
  function choose(number) {
    current = number;
    for (const tab of document.querySelectorAll("#tabs button")) tab.setAttribute("aria-selected", String(Number(tab.dataset.scene) === number));
    return draw(number);
  }

  function zoom(number) {
    const each = data.anomalies[number];
    const scene = numbers(data.scenes[each.scene].x), all = scene[scene.length - 1] - scene[0];
    const room = Math.max((each.to - each.from) * 1.5, each.room || all / 60);
    const ready = each.scene === current ? Promise.resolve() : choose(each.scene);
    ready.then(() => {
      Plotly.relayout("scene", { "xaxis.range": [each.from - room, each.to + room] });
      document.getElementById("scene").scrollIntoView({ behavior: "smooth", block: "center" });
    });
  }

  function tabs() {
    if (data.scenes.length < 2) return;
    data.scenes.forEach((scene, i) => {
      const tab = document.createElement("button");
      Object.assign(tab, { type: "button", textContent: scene.entity, title: scene.entity });
      tab.dataset.scene = i;
      tab.setAttribute("role", "tab");
      tab.addEventListener("click", () => choose(i));
      document.getElementById("tabs").append(tab);
    });
  }

  function training() {
    const made = data.training;
    if (!made.loss.length) return;
    const x = made.loss.map((_, i) => i + 1);
    const line = (y, name, color, dash) => ({ x, y, name, mode: x.length > 1 ? "lines" : "markers", line: { color, width: 2, dash } });
    Plotly.newPlot("training", [line(made.loss, "learned from", BLUE, "solid"), line(made.val_loss, "not learned from", GOLD, "4px,3px")],
      { height: 230, margin: { l: 52, r: 8, t: 34, b: 40 }, font: FONT, xaxis: { title: { text: "epoch", standoff: 6 }, gridcolor: GRID, zeroline: false },
        yaxis: yaxis({ rangemode: "tozero", title: { text: "error" } }), legend: { orientation: "h", x: 1, xanchor: "right", y: 1, yanchor: "bottom" } },
      { ...CONFIG, displayModeBar: false });
  }

  function histogram() {
    const { middles, parts } = data.histogram;
    const colours = { "learned from": "#9fb6cc", "kept back for the threshold": BLUE, "only scored": GOLD };
    const traces = parts.map((part) => ({ x: middles, y: part.share, name: part.name, mode: "lines", line: { color: colours[part.name], width: 2, shape: "hvh" },
      fill: part.name === "learned from" ? "tozeroy" : "none", fillcolor: "rgba(159,182,204,.25)",
      hovertemplate: `score %{x:.2~g}: %{y:.2%}<extra>${part.name}</extra>` }));
    Plotly.newPlot("scores", traces, { height: 230, margin: { l: 58, r: 8, t: 34, b: 40 }, font: FONT,
      xaxis: { type: "log", title: { text: "score", standoff: 6 }, gridcolor: GRID, tickvals: [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000], zeroline: false },
      yaxis: { type: "log", tickformat: ".2~%", gridcolor: GRID, title: { text: "share of rows" }, nticks: 5, fixedrange: true },
      shapes: [{ type: "line", x0: 1, x1: 1, yref: "paper", y0: 0, y1: 1, line: { color: RED, width: 1.5, dash: "dot" } }],
      legend: { orientation: "h", x: 1, xanchor: "right", y: 1, yanchor: "bottom" } }, { ...CONFIG, displayModeBar: false });
  }

  tabs();
  if (data.overview) drawOverview();
  choose(0);
  training();
  histogram();
  document.getElementById("reset").addEventListener("click", () => Plotly.relayout("scene", { "xaxis.autorange": true }));
  for (const row of document.querySelectorAll("tr[data-scene]")) {
    const go = () => zoom(Number(row.dataset.number));
    row.addEventListener("click", go);
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
  }
})();
