// Makes the pages lively: figures to pan and zoom, answers and lists without a reload. Nothing depends on it.
"use strict";
const me = document.currentScript;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const iso = (ms) => new Date(ms).toISOString();
const get = async (url) => (await fetch(url, { headers: { accept: "application/json" } })).json();

/** Put the part of a fetched page that has this id in place of ours, unless somebody is typing there. */
function swap(id, html) {
  const old = document.getElementById(id);
  const fresh = new DOMParser().parseFromString(html, "text/html").getElementById(id);
  if (!old || !fresh || (old.contains(document.activeElement) && document.activeElement.matches("input"))) return;
  old.replaceWith(document.adoptNode(fresh));
}

async function refresh(id) {
  const answer = await fetch(location.href).catch(() => null);
  if (answer && answer.ok && !answer.redirected) swap(id, await answer.text());
  const next = document.getElementById(id);
  setTimeout(refresh, 1000 * Number((next && next.dataset.refresh) || 30), id);
}
document.querySelectorAll("[data-refresh]").forEach((e) => setTimeout(refresh, 1000 * e.dataset.refresh, e.id));

document.addEventListener("submit", async (event) => {
  const form = event.target, id = form.dataset.swap;
  if (!id || !event.submitter) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form, event.submitter));
  const answer = await fetch(form.action, { method: "POST", body }).catch(() => null);
  if (!answer) return form.submit();
  document.activeElement.blur();
  swap(id, await answer.text());
  const part = document.getElementById(id);
  part.tabIndex = -1;
  part.focus();
});

/** A figure: channels above each other, the score below, all on one time axis. */
class Signal {
  constructor(figure) {
    this.figure = figure;
    this.plot = figure.querySelector(".plot");
    this.told = figure.querySelector(".told");
    this.range = [Date.parse(figure.dataset.from), Date.parse(figure.dataset.to)];
    this.asked = 0;
    figure.querySelectorAll("[data-move]").forEach((a) =>
      a.addEventListener("click", (event) => { event.preventDefault(); this.move(a.dataset.move); }));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.load();
  }

  move(how) {
    const [from, to] = this.range, half = (to - from) / 2;
    const by = { earlier: [-half, -half], later: [half, half], closer: [half / 2, -half / 2], wider: [-half, half] };
    this.show(from + by[how][0], to + by[how][1]);
  }

  show(from, to) {
    this.range = [from, to];
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.load(), 60);
  }

  async load() {
    const asked = ++this.asked, query = new URLSearchParams({ from: iso(this.range[0]), to: iso(this.range[1]) });
    const points = Math.max(300, Math.min(1500, Math.round(this.figure.clientWidth * 1.5)));
    const data = await get(`${this.figure.dataset.series}&${query}&points=${points}`);
    if (asked !== this.asked) return;
    if (data.error) return void (this.told.textContent = data.error);
    [this.data, this.model] = [data, null];
    this.told.textContent = data.waits ? `${data.waits} days are being made ready …` : "";
    this.draw();
    if (data.waits) setTimeout(() => asked === this.asked && this.load(), 1500);
    const model = await get(`${this.figure.dataset.expected}&${query}&points=${points}`);
    if (asked !== this.asked) return;
    this.model = model.error ? null : model;
    if (!data.waits) this.told.textContent = model.error || model.why;
    this.draw();
  }

  draw() {
    if (!this.data) return;
    const lines = [...this.data.channels, { ...this.data.score, score: true }], count = lines.length, traces = [];
    const date = (series) => series.time.map(iso);
    const points = this.data.channels[0] && this.data.channels[0].name === "amount" ? "lines+markers" : "lines";
    const layout = {
      margin: { l: 58, r: 8, t: 6, b: 34 }, height: 110 + 105 * count, showlegend: false, hovermode: "x", dragmode: "pan",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: css("--quiet"), size: 12 },
      xaxis: { range: this.range.map(iso), gridcolor: css("--edge"), anchor: `y${count}`, type: "date" }, shapes: [],
    };
    lines.forEach((line, i) => {
      const n = i ? i + 1 : "", model = this.model && this.model.channels.find((c) => c.name === line.name);
      const top = 1 - i / count, name = line.score ? "score" : line.name;
      layout[`yaxis${n}`] = { domain: [top - 0.9 / count, top], gridcolor: css("--edge"), zeroline: false, fixedrange: true,
        title: { text: line.unit ? `${name}<br>${line.unit}` : name, font: { size: 11 } }, ...(line.score ? { range: [0, Math.max(1.2, ...line.value.filter((v) => v !== null)) * 1.05] } : {}) };
      const mode = line.score ? "lines" : points;
      if (model) traces.push({ x: date(model), y: model.value, yaxis: `y${n}`, mode, name: "expected", line: { color: css("--expected"), width: 1.3 } });
      traces.push({ x: date(line), y: line.value, yaxis: `y${n}`, mode, name, line: { color: css(line.score ? "--ink" : "--actual"), width: 1.4 } });
      if (line.score) layout.shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, yref: `y${n}`, y0: 1, y1: 1, line: { color: css("--alarm"), dash: "dash", width: 1.3 } });
    });
    for (const a of this.data.anomalies)
      layout.shapes.push({ type: "rect", yref: "paper", y0: 0, y1: 1, x0: a.start, x1: a.end, fillcolor: css("--shade"), line: { width: a.start === a.end ? 1.5 : 0, color: css("--alarm") } });
    this.plot.hidden = false;
    this.figure.classList.add("lively");
    this.plot.setAttribute("role", "img");
    this.plot.setAttribute("aria-label", [...this.figure.querySelectorAll(".still svg")].map((s) => s.getAttribute("aria-label")).join(". "));
    Plotly.react(this.plot, traces, layout, { responsive: true, displaylogo: false, scrollZoom: false, displayModeBar: false });
    if (this.listens) return;
    this.listens = true;
    this.plot.on("plotly_relayout", (change) => {
      const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      if (from) this.show(Date.parse(`${from.replace(" ", "T")}Z`), Date.parse(`${to.replace(" ", "T")}Z`));
    });
  }
}

const figures = document.querySelectorAll("figure.signal");
if (figures.length) {
  const plotly = document.createElement("script");
  plotly.src = me.dataset.plotly;
  plotly.onload = () => figures.forEach((figure) => { figure.signal = new Signal(figure); });
  document.head.append(plotly);
}
