// Tooltips on charts. The page is complete without them.
"use strict";
for (const svg of document.querySelectorAll("svg[data-hover]")) {
  const data = JSON.parse(document.getElementById(svg.dataset.hover).textContent);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  line.setAttribute("class", "cursor");
  line.setAttribute("y1", data.top);
  line.setAttribute("y2", data.bottom);
  line.style.display = "none";
  svg.append(line);
  const plot = svg.parentElement;
  const figure = plot.parentElement;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  figure.append(tip);

  // The point nearest to x, or for steps the last one before it.
  const find = (xs, x, steps) => {
    let low = 0, high = xs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (xs[middle] <= x) low = middle; else high = middle - 1;
    }
    if (!steps && low + 1 < xs.length && xs[low + 1] - x < x - xs[low]) low += 1;
    return low;
  };

  const show = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale;
    const first = data.series.find((s) => s.x.length > 0);
    if (!first || x < data.left - 12 || x > data.right + 12) return hide();
    const at = find(first.x, x, first.steps);
    const place = first.steps ? Math.min(Math.max(x, data.left), data.right) : first.x[at];
    line.setAttribute("x1", place);
    line.setAttribute("x2", place);
    line.style.display = "";
    tip.replaceChildren();
    const head = document.createElement("b");
    head.textContent = data.series[0] === first ? data.moments[at] : "";
    tip.append(head);
    for (const s of data.series) {
      if (s.x.length === 0) continue;
      const i = find(s.x, place, s.steps);
      // A series that has no point near here (an instance that is gone) says nothing.
      if (!s.steps && Math.abs(s.x[i] - place) > 60) continue;
      const row = document.createElement("div");
      const key = document.createElement("i");
      key.className = "key " + s.ink;
      const name = document.createElement("span");
      name.textContent = s.name;
      const value = document.createElement("span");
      value.textContent = s.v[i];
      row.append(key, name, value);
      tip.append(row);
    }
    tip.hidden = false;
    const outer = figure.getBoundingClientRect();
    const left = box.left - outer.left + place / scale;
    const flip = left + tip.offsetWidth + 24 > outer.width;
    tip.style.left = Math.max(4, flip ? left - tip.offsetWidth - 12 : left + 12) + "px";
    tip.style.top = box.top - outer.top + 24 + "px";
  };
  const hide = () => {
    tip.hidden = true;
    line.style.display = "none";
  };
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerdown", show);
  svg.addEventListener("pointerleave", hide);
  plot.addEventListener("scroll", hide);
}
