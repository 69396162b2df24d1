// Charts by hand: a drawing for the eye, and the same numbers as a table for everybody.

import { h, s, table } from "/page/dom.js";

const WIDTH = 960;
const HEIGHT = 250;
const LEFT = 60;
const TOP = 24;
const BASE = HEIGHT - 34;

/** Lines over time: `labels` along the way, `series` name → as many numbers. */
export function lines(title, labels, series) {
  const names = Object.keys(series);
  const top = rounded(Math.max(...Object.values(series).flat()));
  const end = labels.length - 1;
  const x = (place) => LEFT + ((WIDTH - LEFT) * place) / end;
  const y = (value) => TOP + (BASE - TOP) * (1 - value / top);
  const grid = [0, top / 2, top].flatMap((value) => [
    s("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }),
    s("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, value.toLocaleString()),
  ]);
  const marks = [0, Math.floor(end / 2), end].map((place, at) =>
    s("text", { x: x(place), y: HEIGHT - 6, "text-anchor": ["start", "middle", "end"][at] }, labels[place]));
  const drawn = names.map((name, number) => {
    const points = series[name].map((value, place) => `${x(place)},${y(value)}`).join(" ");
    return s("polyline", { class: `line series-${number}`, points });
  });
  const rows = labels
    .map((label, place) => [label, ...names.map((name) => String(series[name][place]))])
    .filter(([, ...values]) => values.some((value) => value !== "0"));
  return h("figure", {}, h("figcaption", {}, title),
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}, as in the table below` },
      grid, marks, drawn),
    h("ul", { class: "legend" }, names.map((name, number) => h("li", { class: `series-${number}` }, name))),
    h("details", {}, h("summary", {}, "As a table"), table(title, ["Time", ...names], rows)));
}

/** Bars that lie in a table, beside their numbers: `rows` of `{label, value, text}`. */
export function bars(title, heads, rows) {
  const most = Math.max(...rows.map((row) => row.value));
  return table(title, [...heads, ""], rows.map(({ label, value, text }) => [
    label, text ?? value.toLocaleString(),
    s("svg", { class: "lying", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("rect", { class: "bar", width: (100 * value) / most, height: 10 })),
  ]));
}

/** A small histogram that stands in a table. `buckets` as insight has them. */
export function histogram(title, buckets) {
  const most = Math.max(...buckets.map((bucket) => bucket.count));
  const told = buckets.map(({ up_to_s, count }) => `${up_to_s == null ? "longer" : `up to ${up_to_s} s`}: ${count}`);
  const drawn = buckets.map(({ count }, place) => {
    const height = count ? Math.max(2, (34 * count) / most) : 0.5;
    return s("rect", { class: "bar", x: place * 12, y: 36 - height, width: 10, height }, s("title", {}, told[place]));
  });
  const spoken = told.filter((_, place) => buckets[place].count).join(", ");
  const said = { role: "img", "aria-label": `${title}: ${spoken}` };
  return s("svg", { class: "small", viewBox: `0 0 ${buckets.length * 12} 36`, ...said }, drawn);
}

/** A round number at or above, which half of it can be told of. */
function rounded(value) {
  const step = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [2, 4, 6, 8, 10].map((times) => times * step).find((top) => top >= value);
}
