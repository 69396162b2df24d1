// Small pieces that every view is made of. Data only ever becomes text, never markup.

import { problemOf } from "/page/api.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("a", {href: "#shop", onclick: f}, "text", element, …)`. */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same in a drawing. */
export function s(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** A table; cells are texts or elements. */
export function table(caption, heads, rows, empty = "None.") {
  if (!rows.length) return h("p", { class: "hint" }, empty);
  const head = h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)));
  const row = (cells) => cells.map((cell, place) => h("td", { "data-head": heads[place] }, cell ?? "–"));
  const body = rows.map((cells) => h("tr", {}, row(cells)));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, head), h("tbody", {}, body)));
}

/** A state in a word, with a colour beside it. */
export function badge(word) {
  return h("span", { class: `badge ${word}` }, word.replaceAll("_", " "));
}

export function sagaLink(id, text = id.slice(-12)) {
  return h("a", { href: `#sagas/${encodeURIComponent(id)}`, title: id }, text);
}

/** The text of an error, with its code. */
export function failure(error) {
  const problem = problemOf(error);
  const id = problem.requestId && ` (request ${problem.requestId})`;
  return h("p", { class: "error", role: "alert" }, h("code", {}, problem.code), ` ${problem.message}${id}`);
}

/** A button that shows what went wrong behind itself, and is not pressed twice at once. */
export function button(text, act, attributes = {}) {
  const made = h("button", { type: "button", ...attributes, onclick: () => attempt(made, made, act) }, text);
  return made;
}

/** Do something; `pressed` rests meanwhile, and an error appears behind `place`. */
export async function attempt(pressed, place, act) {
  if (place.nextElementSibling?.classList.contains("error")) place.nextElementSibling.remove();
  pressed.disabled = true;
  try {
    await act();
  } catch (error) {
    place.after(failure(error));
  } finally {
    pressed.disabled = false; // what was disabled has lost the focus
    if (place.nextElementSibling?.classList.contains("error")) pressed.focus();
  }
}

/**
 * A part of a view that loads itself: `refresh()` asks `load` and hands what it says to `draw`, if it
 * says something new: so nobody loses the place where they are reading.
 */
export function panel(title, load, draw) {
  const body = h("div", {}, h("p", { class: "hint" }, "Loading …"));
  const element = h("section", {}, title && h("h2", {}, title), body);
  let shown = "";
  let asked = 0;
  const show = (data) => {
    const text = JSON.stringify(data);
    if (text === shown) return;
    shown = text;
    body.replaceChildren(...[draw(data)].flat().filter(Boolean));
  };
  const refresh = async (signal) => {
    const turn = (asked += 1);
    try {
      const data = await load(signal);
      if (turn === asked) show(data); // else another question has been asked meanwhile
    } catch (error) {
      if (signal.aborted || turn !== asked) return;
      shown = "";
      body.replaceChildren(failure(error));
    }
  };
  // What somebody reads or is about to press does not move under their hand.
  const isInUse = () => Boolean(element.querySelector(":is(a, button, input, select, summary):focus, details[open]"));
  return { element, show, refresh, isInUse };
}

/** Ask for a reason: the text, or `null` when the person would rather not. */
export function askReason(title, { required = true } = {}) {
  const dialog = document.getElementById("reason");
  const form = dialog.querySelector("form");
  dialog.querySelector("h2").textContent = title;
  form.reason.required = required;
  return asked(dialog, () => form.reason.value.trim());
}

/** Show a dialog until `answer` (called at each submission) has not thrown, or it is left. */
export function asked(dialog, answer) {
  const form = dialog.querySelector("form");
  const go = form.querySelector("[type=submit]");
  return new Promise((resolve) => {
    let found = null;
    form.onsubmit = (event) => {
      event.preventDefault();
      attempt(go, form.querySelector(".actions"), async () => {
        found = await answer();
        dialog.close();
      });
    };
    form.querySelector("[value=cancel]").onclick = () => dialog.close();
    dialog.onclose = () => {
      form.reset(); // no password stays in the page
      form.querySelector(".error")?.remove();
      resolve(found);
    };
    dialog.showModal();
  });
}

/** `{amount: 1999, currency: "USD"}` → $19.99. */
export function money({ amount, currency }) {
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
  return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
}

/** A moment: the time of day, and the day unless it is today. */
export function time(text) {
  if (!text) return null;
  const [moment, now] = [new Date(text), new Date()];
  const isToday = moment.toDateString() === now.toDateString();
  return h("time", { datetime: text, title: text }, isToday ? moment.toLocaleTimeString() : moment.toLocaleString());
}

/** 0.004 → 4 ms, 12.3 → 12.3 s. */
export function seconds(value) {
  if (value == null) return "–";
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${Number(value.toPrecision(3))} s`;
}

export function percent(rate) {
  return rate == null ? "–" : `${Number((rate * 100).toPrecision(3))} %`;
}
