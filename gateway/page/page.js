// The page: which view is shown, and who is signed in.

import { problemOf, signIn, signOut, watchSession } from "/page/api.js";
import { asked, button, failure } from "/page/dom.js";
import { showSaga, showSagas } from "/page/sagas.js";
import { showShop } from "/page/shop.js";
import { showSystem } from "/page/system.js";

const main = document.getElementById("main");
const VIEWS = {
  shop: showShop,
  sagas: (place, about) => (about.id ? showSaga : showSagas)(place, about),
  system: showSystem,
};

let shown = new AbortController();
let who = null;

/** Show what the address names. A view fills `main` and lives until `signal` is aborted. */
async function show() {
  const [name, id] = location.hash.slice(1).split("/");
  const view = Object.hasOwn(VIEWS, name) ? name : "shop";
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.replaceChildren();
  document.title = `${view[0].toUpperCase()}${view.slice(1)} – The shop`;
  try {
    await VIEWS[view](main, { id: id && decodeURIComponent(id), signal });
  } catch (error) {
    if (signal.aborted) return;
    const problem = problemOf(error);
    main.append(failure(problem));
    if (problem.status === 401) main.append(button("Sign in", askAndShow));
  }
}

/** Whether somebody has signed in. */
async function ask() {
  const dialog = document.getElementById("sign-in");
  const form = dialog.querySelector("form");
  if (dialog.open) return false;
  return asked(dialog, async () => {
    await signIn(form.email.value.trim(), form.password.value);
    return true;
  });
}

function tellSession(session) {
  const before = who;
  who = session?.customer_id ?? null;
  const place = document.getElementById("session");
  const [text, act] = session ? ["Sign out", leave] : ["Sign in", askAndShow];
  place.replaceChildren(session ? `${session.email} (${session.role}) ` : "", button(text, act, { class: "quiet" }));
  // What is on the screen was for somebody else.
  if (before && before !== who) show();
}

async function leave() {
  location.hash = "#shop"; // which asks nobody to sign in again
  await signOut();
}

async function askAndShow() {
  if (await ask()) await show();
}

watchSession({ ask, changed: tellSession });
addEventListener("hashchange", () => {
  show();
  main.focus({ preventScroll: true }); // a screen reader goes where the eye does
});
show();
