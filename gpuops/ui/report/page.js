"use strict";
// Values under the pointer. They are read back from the lines themselves: 10,000 is a whole side.
const SIDE = 10000;

const scale = (text) => {
  const [low, high, log] = text.split(",").map(Number);
  const bend = log ? Math.log10 : (value) => value;
  const unbend = log ? (value) => 10 ** value : (value) => value;
  return (share) => unbend(bend(low) + share * (bend(high) - bend(low)));
};

const points = (path) => {
  const found = [];
  for (const [, x0, y0, steps] of path.getAttribute("d").matchAll(/M(-?\d+) (-?\d+)l([^M]*)/g)) {
    let [x, y] = [Number(x0), Number(y0)];
    found.push([x, y]);
    const moves = steps.trim().split(/\s+/).map(Number);
    for (let i = 0; i + 1 < moves.length; i += 2) found.push([(x += moves[i]), (y += moves[i + 1])]);
  }
  return found;
};

const figure = (value) =>
  value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-4)
    ? value.toExponential(2)
    : String(Number(value.toPrecision(4)));

const clock = (seconds) => {
  const s = Math.round(seconds), two = (n) => String(n).padStart(2, "0");
  const [h, m] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60)];
  return h ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
};

const charts = [...document.querySelectorAll(".chart")].map((element) => {
  const plot = element.querySelector(".plot");
  const add = (name, line) => {
    const node = plot.appendChild(document.createElement("i"));
    node.className = name;
    node.hidden = true;
    if (line) node.style.setProperty("--line", line);
    return node;
  };
  const outputs = [...element.querySelectorAll("output")];
  return {
    over: element.dataset.over, plot, outputs,
    x: scale(element.dataset.x), y: scale(element.dataset.y),
    where: element.querySelector(".where"), last: outputs.map((output) => output.textContent),
    cursor: add("cursor"),
    lines: [...element.querySelectorAll(".line")].map((path) => ({
      path, dot: add("dot", path.style.getPropertyValue("--line")),
    })),
  };
});

const show = (chart, share) => {
  chart.cursor.hidden = false;
  chart.cursor.style.left = `${100 * share}%`;
  const x = chart.x(share);
  chart.where.textContent = chart.over === "time" ? `at ${clock(x)}` : `at step ${Math.round(x)}`;
  chart.lines.forEach((line, index) => {
    line.points ??= points(line.path);
    const nearest = line.points.reduce((best, point) =>
      Math.abs(point[0] - share * SIDE) < Math.abs(best[0] - share * SIDE) ? point : best);
    chart.outputs[index].textContent = figure(chart.y(1 - nearest[1] / SIDE));
    line.dot.hidden = false;
    line.dot.style.left = `${nearest[0] / (SIDE / 100)}%`;
    line.dot.style.top = `${nearest[1] / (SIDE / 100)}%`;
  });
};

const hide = (chart) => {
  chart.cursor.hidden = true;
  chart.where.textContent = "";
  chart.lines.forEach((line, index) => {
    line.dot.hidden = true;
    chart.outputs[index].textContent = chart.last[index];
  });
};

for (const chart of charts) {
  const alike = charts.filter((other) => other.over === chart.over);
  chart.plot.addEventListener("pointermove", (event) => {
    const box = chart.plot.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    requestAnimationFrame(() => alike.forEach((other) => show(other, share)));
  });
  chart.plot.addEventListener("pointerleave", () => requestAnimationFrame(() => alike.forEach(hide)));
}
