// Sagas: the list (of one's own orders, for customers), and one of them live.

import { call, hear, needSession, pause } from "/page/api.js";
import { askReason, badge, button, h, money, panel, sagaLink, seconds, table, time } from "/page/dom.js";

const SAGAS = ["running", "compensating", "completed", "compensated", "attention"];
const ORDERS = ["pending", "paid", "confirmed", "shipped", "delivered", "cancelled"];
const REFRESH_MS = 3_000;

export async function showSagas(main, { signal }) {
  const isStaff = (await needSession()).role === "staff";
  const status = h("select", { name: "status" }, h("option", { value: "" }, "any"),
    (isStaff ? SAGAS : ORDERS).map((word) => h("option", {}, word)));
  const stuck = h("input", { type: "checkbox" });
  let shown = 1;
  const load = () => pages(isStaff, status.value, stuck.checked, shown, signal);
  const found = panel("", load, (data) => [
    isStaff ? sagaTable(data.items) : orderTable(data.items),
    data.next_cursor && button("More", () => ((shown += 1), found.refresh(signal))),
  ]);
  const filter = h("p", { class: "row" },
    h("label", {}, "Status ", status), isStaff && h("label", {}, stuck, " stuck only"));
  filter.addEventListener("change", () => ((shown = 1), found.refresh(signal)));
  main.append(h("h1", {}, isStaff ? "Sagas" : "Your orders"), filter, found.element);
  while (!signal.aborted) {
    if (!document.hidden && !found.isInUse()) await found.refresh(signal);
    await pause(REFRESH_MS, signal);
  }
}

async function pages(isStaff, status, stuck, count, signal) {
  const items = [];
  let cursor = null;
  for (let page = 0; page < count; page += 1) {
    const asked = new URLSearchParams(Object.entries({ status, stuck, cursor }).filter(([, value]) => value));
    const found = isStaff
      ? await call("GET", `/api/sagas?${asked}`, { signal })
      : await call("GET", `/api/orders?${asked}`, { signal });
    items.push(...found.items);
    cursor = found.next_cursor;
    if (!cursor) break;
  }
  return { items, next_cursor: cursor };
}

function sagaTable(items) {
  const rows = items.map((saga) => [
    sagaLink(saga.saga_id),
    h("span", {}, badge(saga.status), saga.stuck && badge("stuck"), saga.violations.length > 0 && badge("violation")),
    time(saga.started_at), seconds(saga.duration_ms == null ? null : saga.duration_ms / 1000),
    saga.failure ? saga.failure.code : saga.remaining.join(", "),
  ]);
  return table("Sagas, newest first", ["Saga", "Status", "Started", "Took", "Failure, or what remains"], rows);
}

function orderTable(items) {
  const rows = items.map((order) => [
    sagaLink(order.order_id), badge(order.status), time(order.created_at), goods(order), money(order.total),
    order.cancellation?.code,
  ]);
  return table("Orders, newest first", ["Order", "Status", "Placed", "Goods", "Total", "Cancelled because"], rows);
}

function goods(order) {
  return order.lines.map((line) => `${line.quantity} × ${line.name}`).join(", ");
}

/** One saga: its events as they arrive, and after each of them where it stands. */
export async function showSaga(main, { id, signal }) {
  const { role } = await needSession();
  const path = encodeURIComponent(id);
  const state = h("span", { class: "hint", role: "status" });
  const timeline = h("ol", { class: "timeline", "aria-live": "polite" });
  const stop = button("Cancel …", () => cancel(id, role), { class: "danger", hidden: true });
  const read = () => call("GET", `/api/sagas/${path}`, { signal });
  let saga = await read(); // whoever is not let in is told so once, not by each panel
  const standing = panel("", async () => (saga = await read()), drawn);
  const order = panel("Order", () => call("GET", `/api/orders/${path}`, { signal }), orderOf);
  main.append(h("h1", {}, "Saga ", h("code", {}, id)), standing.element, stop,
    h("h2", {}, "Timeline ", state), timeline, order.element);

  const look = latest(async () => {
    await Promise.all([standing.refresh(signal), order.refresh(signal)]);
    stop.hidden = saga.finished_at !== null;
  });
  await look();
  const isOver = async () => (await look(), saga.finished_at !== null);
  const tell = (text) => (state.textContent = text);
  const seen = new Set();
  for await (const { data } of hear(`/api/sagas/${path}/events`, { signal, tell, isOver })) {
    if (seen.has(data.event_id)) continue;
    seen.add(data.event_id);
    timeline.append(entry(data, saga));
    look();
  }
  tell("ended");
}

/** Runs `act` now, or once more after the run that is under way: however often it is asked for. */
function latest(act) {
  let running = null;
  let again = null;
  return function run() {
    if (!running) running = act().finally(() => (running = null));
    else return (again ??= running.then(() => ((again = null), run())));
    return running;
  };
}

function drawn(saga) {
  const steps = saga.steps.map((step) => [
    step.name, step.participant, badge(step.status), step.compensation, String(step.attempts),
    step.finished_at && step.started_at && seconds(between(step.started_at, step.finished_at)),
  ]);
  const { failure } = saga;
  return [
    h("p", {}, badge(saga.status), saga.stuck && badge("stuck"), " ",
      saga.remaining.length > 0 && `Remaining: ${saga.remaining.join(", ")}.`,
      saga.duration_ms != null && `Nothing remains. It took ${seconds(saga.duration_ms / 1000)}.`),
    failure && h("p", { class: "error" },
      h("code", {}, failure.code), ` ${failure.step ?? "from outside"}: ${failure.detail}`),
    table("Steps", ["Step", "Participant", "Status", "Undone by", "Attempts", "Took"], steps),
    saga.violations.length > 0 && h("h2", {}, "Violations"),
    ...saga.violations.map(violation),
  ];
}

async function cancel(id, role) {
  const isStaff = role === "staff";
  const reason = await askReason("Why cancel?", { required: isStaff });
  if (reason == null) return;
  const path = encodeURIComponent(id);
  if (isStaff) await call("POST", `/api/sagas/${path}/cancel`, { body: { reason } });
  else await call("POST", `/api/orders/${path}/cancel`, { body: reason ? { reason } : {} });
}

function entry(event, saga) {
  const since = saga.started_at && between(saga.started_at, event.occurred_at);
  const { code } = event.data;
  return h("li", {}, h("details", {},
    h("summary", {}, h("time", { datetime: event.occurred_at }, since == null ? "" : `${since.toFixed(3)} s`), " ",
      h("strong", {}, event.type), " ", h("small", {}, event.participant), code && h("code", {}, ` ${code}`)),
    h("pre", { tabindex: "0" }, JSON.stringify(event.data, null, 2))));
}

function between(start, end) {
  return (Date.parse(end) - Date.parse(start)) / 1000;
}

function orderOf(order) {
  const { shipment, payment, cancellation, cancellation_request: request } = order;
  const facts = {
    Status: badge(order.status),
    Goods: goods(order),
    Total: money(order.total),
    Payment: payment.status,
    Parcel: shipment.status && `${shipment.status} ${shipment.tracking_number ?? ""}`,
    "Asked to cancel": request && `${request.status}, by ${request.by}${request.reason ? `: ${request.reason}` : ""}`,
    Cancelled: cancellation && `${cancellation.code}: ${cancellation.detail}`,
  };
  const told = Object.entries(facts).filter(([, value]) => value);
  return h("dl", {}, told.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]).flat());
}

/** An event that the choreography does not allow. `saga_id` is there where several are listed. */
export function violation(found) {
  const { event } = found;
  return h("details", { class: "card" },
    h("summary", {}, badge(found.status), " ", h("code", {}, found.code),
      ` ${found.name}: ${event.type} of ${event.participant}`),
    found.saga_id && h("p", {}, "In saga ", sagaLink(found.saga_id, found.saga_id)),
    h("p", {}, found.rule), h("p", {}, found.advice),
    h("p", {}, "The way so far:"),
    h("ol", {}, found.trace.map((each) => h("li", {}, time(each.occurred_at), ` ${each.participant} ${each.type}`))));
}
