// Hiding lines, reading values and sorting tables; the page is whole without it.
"use strict";
document.documentElement.classList.add("live");

for (const figure of document.querySelectorAll(".picture")) {
  const plot = figure.querySelector(".plot"), svg = plot.querySelector("svg"), tip = plot.querySelector(".tip");
  const series = JSON.parse(figure.querySelector("script").textContent).series;
  const hidden = new Set();
  const mark = document.createElementNS(svg.namespaceURI, "circle");
  mark.setAttribute("class", "mark");
  mark.setAttribute("r", 4);
  let at = null; // [series, point] that is shown

  const visible = () => series.map((_, s) => s)
    .filter(s => series[s].points.length && !series[s].labels.some(label => hidden.has(label)));

  function show(s, p) {
    at = [s, p];
    const [x, y, text] = series[s].points[p];
    mark.setAttribute("cx", x);
    mark.setAttribute("cy", y);
    svg.append(mark);
    tip.textContent = text;
    tip.hidden = false;
    const box = svg.viewBox.baseVal, scale = svg.clientWidth / box.width || plot.clientWidth / box.width;
    const left = Math.min(Math.max(x * scale - tip.offsetWidth / 2, 0), plot.clientWidth - tip.offsetWidth);
    const above = y * scale - tip.offsetHeight - 10;
    tip.style.left = `${left}px`;
    tip.style.top = `${above >= 0 ? above : y * scale + 10}px`;
  }

  function clear() {
    at = null;
    tip.hidden = true;
    mark.remove();
  }

  function nearest(x, y, reach) {
    let best = null, least = reach * reach;
    for (const s of visible()) {
      series[s].points.forEach(([px, py], p) => {
        const distance = (px - x) ** 2 + (py - y) ** 2;
        if (distance < least) [best, least] = [[s, p], distance];
      });
    }
    return best;
  }

  function point(event) {
    const matrix = svg.getScreenCTM();
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    const found = nearest(place.x, place.y, (event.pointerType === "touch" ? 40 : 28) / matrix.a);
    if (found) show(...found); else clear();
  }
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("pointerleave", event => { if (event.pointerType !== "touch") clear(); });
  plot.addEventListener("blur", clear);

  plot.addEventListener("keydown", event => {
    const along = { ArrowLeft: -1, ArrowRight: 1 }[event.key] || 0, across = { ArrowUp: -1, ArrowDown: 1 }[event.key] || 0;
    if (event.key === "Escape") return clear();
    const order = visible();
    if (!(along || across) || !order.length) return;
    event.preventDefault();
    if (!at) return show(order[0], 0);
    const s = order[(order.indexOf(at[0]) + across + order.length) % order.length];
    const last = series[s].points.length - 1;
    show(s, Math.min(Math.max(at[1] + along, 0), last));
  });

  for (const button of figure.querySelectorAll(".toggles button")) {
    button.addEventListener("click", () => {
      const label = button.textContent, off = !hidden.delete(label);
      if (off) hidden.add(label);
      button.setAttribute("aria-pressed", String(!off));
      for (const { labels, ids } of series) {
        const gone = labels.some(one => hidden.has(one));
        for (const id of ids) document.getElementById(id)?.classList.toggle("off", gone);
      }
      clear();
    });
  }
}

// "1,767 ± 331" is 1767; "–" has no value and comes last, words after the numbers.
function value(text) {
  const found = text.replace(/,/g, "").replace(/^[−–](?=\d)/, "-").match(/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?/i);
  return found ? Number(found[0]) : NaN;
}
const absent = text => /^[–—-]?$/.test(text);

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (!body || body.rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map(row => {
        const text = row.cells[column].textContent.trim();
        return { row, text, number: value(text), absent: absent(text) };
      });
      const present = rows.filter(one => !one.absent);
      const numeric = 2 * present.filter(one => !isNaN(one.number)).length >= present.length;
      const rank = one => one.absent ? 2 : numeric && isNaN(one.number) ? 1 : 0;
      const sign = down ? -1 : 1;
      rows.sort((one, other) => rank(one) - rank(other) || sign * (numeric && !rank(one) ? one.number - other.number
        : one.text.localeCompare(other.text, "en", { numeric: true })));
      body.append(...rows.map(one => one.row));
    });
  });
}
