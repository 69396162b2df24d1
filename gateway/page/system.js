// The system, for staff: all sagas together, the services behind the gateway, and dead letters.

import { call, hear, needSession, pause } from "/page/api.js";
import { bars, histogram, lines } from "/page/charts.js";
import { askReason, badge, button, h, money, panel, percent, sagaLink, seconds, table, time } from "/page/dom.js";
import { violation } from "/page/sagas.js";

const ROUND_MS = 1_500;
const ROUNDS = 4;
const MINUTES = 60;

export async function showSystem(main, { signal }) {
  await needSession();
  // Whoever is not let in is told so once, not by each panel.
  const first = await call("GET", "/api/insight/overview", { signal });
  const state = h("span", { class: "hint", role: "status" });
  const size = h("select", {}, ["1m", "1h", "1d"].map((name) => h("option", { selected: name === "1h" }, name)));
  const overview = [panel("", null, drawTiles), panel("", null, drawMinutes)];
  const show = (data) => overview.filter((each) => !each.isInUse()).forEach((each) => each.show(data));
  const panels = [
    panel("Steps", () => windowOf("steps", size.value, signal), drawSteps),
    panel("Why sagas failed", () => windowOf("failures", size.value, signal), drawFailures),
    panel("Stuck", () => call("GET", "/api/insight/stuck?limit=100", { signal }), drawStuck),
    panel("Violations", () => call("GET", "/api/insight/violations?limit=50", { signal }), drawViolations),
    panel("Services", () => call("GET", "/api/gateway/upstreams?limit=100", { signal }), drawUpstreams),
    panel("Dead letters", () => call("GET", "/api/dead-letters?limit=50", { signal }), (page) => letters(page, again)),
  ];
  const again = () => Promise.all(panels.map((each) => each.refresh(signal)));
  size.addEventListener("change", again);
  main.append(h("h1", {}, "System ", state), ...overview.map((each) => each.element),
    h("p", { class: "row" }, h("label", {}, "Steps and failures of the last ", size)),
    ...panels.map((each) => each.element));
  show(first);
  const news = { waits: true };
  const tell = (text) => (state.textContent = text);
  const listen = async () => {
    for await (const { data } of hear("/api/insight/overview/events", { signal, tell })) {
      show(data);
      news.waits = true;
    }
  };
  await Promise.all([listen(), keepFresh(panels, news, signal)]);
}

/** Look again when there are news, and now and then for what no event of the overview announces. */
async function keepFresh(panels, news, signal) {
  for (let round = 0; !signal.aborted; round += 1) {
    if (!document.hidden && (news.waits || round % ROUNDS === 0)) {
      news.waits = false;
      await Promise.all(panels.filter((each) => !each.isInUse()).map((each) => each.refresh(signal)));
    }
    await pause(ROUND_MS, signal);
  }
}

async function windowOf(what, size, signal) {
  const asked = new URLSearchParams({ window: size });
  const found = what === "steps"
    ? await call("GET", `/api/insight/steps?${asked}`, { signal })
    : await call("GET", `/api/insight/failures?${asked}`, { signal });
  // Without its moments, so that it is only drawn anew when a number has changed.
  const { from, to, ...counts } = found.windows[size];
  return counts;
}

function drawTiles(data) {
  const { sagas, in_flight: flight, windows } = data;
  const held = Object.entries(flight.money ?? {}).map(([currency, amount]) => money({ amount, currency }));
  const goods = Object.values(flight.stock ?? {}).reduce((sum, count) => sum + count, 0);
  const skipped = Object.values(data.skipped).reduce((sum, count) => sum + count, data.events_from_the_future);
  const hour = windows["1h"];
  const tiles = {
    running: sagas.running, compensating: sagas.compensating, attention: sagas.attention, stuck: sagas.stuck,
    violations: data.violations, "money in flight": held.join(" + ") || "–", "goods held": goods,
    "completed in 1 h": percent(hour.completed_rate),
    "95 % within, 1 h": seconds(hour.duration?.p95_s_at_most), "records skipped": skipped,
  };
  const worries = ["attention", "stuck", "violations"];
  const tile = (name, value) => h("div", { class: worries.includes(name) && value > 0 && "worry" },
    h("dt", {}, name), h("dd", {}, String(value)));
  return h("dl", { class: "tiles" }, Object.entries(tiles).map(([name, value]) => tile(name, value)));
}

function drawMinutes({ at, series }) {
  const of = new Map(series.map((each) => [Date.parse(each.minute), each]));
  const last = Math.floor(Date.parse(at) / 60_000);
  const moments = Array.from({ length: MINUTES }, (_, place) => (last - MINUTES + 1 + place) * 60_000);
  const clock = (moment) => new Date(moment).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const names = ["started", "completed", "compensated"];
  const numbers = names.map((name) => [name, moments.map((moment) => of.get(moment)?.[name] ?? 0)]);
  return lines("Sagas a minute, last hour", moments.map(clock), Object.fromEntries(numbers));
}

function drawSteps({ steps }) {
  const rows = steps.map(({ step, participant, done, failed, compensated, failure_rate, latency }) => [
    step, participant, String(done), `${failed} (${percent(failure_rate)})`, String(compensated),
    latency && seconds(latency.mean_ms / 1000), latency && seconds(latency.p95_s_at_most),
    latency && histogram(`How long ${step} took`, latency.buckets),
  ]);
  return table("Steps", ["Step", "Participant", "Done", "Failed", "Undone", "Mean", "95 % within", "Latencies"], rows);
}

function drawFailures({ ended, by_code, by }) {
  const reasons = by_code.map(({ step, code, count, rate }) => ({
    label: `${step ?? "from outside"}: ${code}`, value: count, text: `${count} (${percent(rate)})`,
  }));
  const others = Object.entries(by).map(([name, found]) => {
    const rows = found.slice(0, 10).map((each) => ({ label: `${each[name]}: ${each.code}`, value: each.count }));
    return bars(`By ${name.replaceAll("_", " ")}`, [name.replaceAll("_", " "), "Sagas"], rows);
  });
  const whole = bars("By step and code", ["Step and code", "Sagas"], reasons);
  return [h("p", { class: "hint" }, `${ended} sagas ended.`), whole, ...others];
}

function drawStuck({ items }) {
  const rows = items.map((each) => [
    sagaLink(each.saga_id), badge(each.status), each.step, each.participant, time(each.since), time(each.due),
    each.last_event,
  ]);
  const heads = ["Saga", "Status", "Waits for", "Participant", "Since", "Due", "Last event"];
  return table("Stuck sagas, the longest first", heads, rows);
}

function drawViolations({ items, by_code }) {
  const codes = Object.entries(by_code).map(([label, value]) => ({ label, value }));
  return [bars("By code", ["Code", "Events"], codes), ...items.map(violation)];
}

function drawUpstreams({ items }) {
  const rows = items.map(({ upstream, breaker, instances, rates, bulkhead, last_errors: errors }) => [
    upstream,
    h("span", {}, instances.length > 1 ? instances.map((each) => badge(each.breaker.state)) : badge(breaker)),
    ...[rates.requests_per_s, rates.failures_per_s, rates.retries_per_s, rates.refused_per_s].map(String),
    `${bulkhead.running} / ${bulkhead.queued} / ${bulkhead.long_running}`,
    errors.length ? lastErrors(errors) : null,
  ]);
  const heads = ["Service", "Breaker", "Requests", "Failures", "Retries", "Refused"];
  const caption = "As the gateway sees them: what happened a second, over the last ten";
  return table(caption, [...heads, "Running / waiting / streams", "Last errors"], rows);
}

function lastErrors(errors) {
  return h("details", {}, h("summary", {}, errors[0].said),
    h("ul", {}, errors.map(({ at, method, path, said, request_id: id }) =>
      h("li", {}, time(at), ` ${method} ${path}: ${said} (request ${id})`))));
}

function letters({ items }, again) {
  const rows = items.map((letter) => [
    h("details", {}, h("summary", {}, `${letter.type || "unreadable"} for ${letter.participant}`),
      h("p", {}, letter.detail), h("pre", { tabindex: "0" }, letter.stack || "No stack.")),
    letter.cause, letter.saga_id && sagaLink(letter.saga_id), time(letter.occurred_at),
    h("span", { class: "actions" },
      button("Replay …", () => replay(letter, again)),
      button("Discard …", () => discard(letter, again), { class: "danger" })),
  ]);
  return table("Messages that could not be processed", ["Message", "Cause", "Saga", "When", "What to do"], rows);
}

async function replay({ dead_letter_id: id }, again) {
  const reason = await askReason("Why replay it?");
  if (reason == null) return;
  await call("POST", `/api/dead-letters/${encodeURIComponent(id)}/replay`, { body: { reason } });
  await again();
}

async function discard({ dead_letter_id: id }, again) {
  const reason = await askReason("Why discard it?");
  if (reason == null) return;
  const asked = new URLSearchParams({ reason });
  await call("DELETE", `/api/dead-letters/${encodeURIComponent(id)}?${asked}`);
  await again();
}
