// The shop: what there is, and an order for some of it.

import { call } from "/page/api.js";
import { attempt, button, h, money, table } from "/page/dom.js";

// The sandbox's scripted outcomes, as the API tells them.
const TOKENS = {
  tok_ok: "paid",
  tok_declined: "declined",
  tok_flaky: "fails twice, then paid",
  tok_timeout: "paid, but the answer is lost",
  tok_outage: "provider down for good",
};
const PLACES = { 12345: "delivered", "00000": "refused by the carrier", 99999: "lost in transit" };

// Outlives the view, so that a look elsewhere empties no basket: SKU → quantity, SKU → product.
const basket = new Map();
const known = new Map();

export async function showShop(main, { signal }) {
  const list = h("div");
  const order = orderForm();
  const find = h("form", { role: "search", class: "row" },
    h("label", {}, "Search ", h("input", { name: "q", type: "search", maxlength: "200" })),
    h("button", {}, "Find"));
  const load = (cursor) => more(list, find.elements.q.value.trim(), cursor, order.changed, signal);
  find.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(find.querySelector("button"), find, () => load());
  });
  main.append(h("h1", {}, "Shop"), find, list, order.element);
  await load();
}

async function more(list, text, cursor, changed, signal) {
  const asked = new URLSearchParams({ limit: "50", ...(text && { q: text }), ...(cursor && { cursor }) });
  const page = await call("GET", `/api/products?${asked}`, { signal });
  for (const product of page.items) known.set(product.sku, product);
  const rows = page.items.map((product) => [
    h("span", {}, h("strong", {}, product.name), h("br"), h("small", {}, product.description)),
    h("code", {}, product.sku),
    money(product.price),
    product.available == null ? "unknown" : product.available.toLocaleString(),
    quantityOf(product, changed),
  ]);
  if (!cursor) list.replaceChildren();
  list.append(table("Products", ["Product", "SKU", "Price", "Available", "Quantity"], rows, "Nothing like that."));
  if (page.next_cursor) {
    const next = button("More", async () => {
      await more(list, text, page.next_cursor, changed, signal);
      next.remove();
    });
    list.append(next);
  }
}

function quantityOf(product, changed) {
  const input = h("input", { type: "number", min: "0", max: "1000", step: "1", value: basket.get(product.sku) ?? 0,
    "aria-label": `Quantity of ${product.name}` });
  input.addEventListener("input", () => {
    const count = input.valueAsNumber;
    if (count > 0) basket.set(product.sku, count);
    else basket.delete(product.sku);
    changed();
  });
  return input;
}

function orderForm() {
  const lines = h("ul", { "aria-live": "polite" });
  const place = h("button", {}, "Place the order");
  const form = h("form", { class: "card" },
    h("h2", {}, "Your order"), lines,
    h("div", { class: "fields" },
      choice("Payment token", "token", TOKENS),
      field("Street", "line1", "1 Main St", 200, "address-line1"),
      field("City", "city", "Springfield", 200, "address-level2"),
      field("Postal code", "postal_code", "12345", 20, "postal-code", "places"),
      field("Country", "country", "US", 2, "country")),
    h("datalist", { id: "places" }, Object.entries(PLACES).map(([code, text]) => h("option", { value: code }, text))),
    h("p", { class: "hint" }, "This is a sandbox: token and postal code decide how the order ends. ",
      Object.entries(PLACES).map(([code, text]) => `${code}: ${text}`).join(", "), "."),
    h("p", { class: "actions" }, place));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(place, place, () => placeOrder(form));
  });
  const changed = () => {
    lines.replaceChildren(...told());
    place.disabled = basket.size === 0;
  };
  changed();
  return { element: form, changed };
}

function told() {
  if (!basket.size) return [h("li", { class: "hint" }, "Nothing yet: choose a quantity above.")];
  const totals = new Map();
  const items = [...basket].map(([sku, count]) => {
    const { name, price } = known.get(sku);
    totals.set(price.currency, (totals.get(price.currency) ?? 0) + price.amount * count);
    return h("li", {}, `${count} × ${name}`);
  });
  const sums = [...totals].map(([currency, amount]) => money({ amount, currency }));
  return [...items, h("li", {}, h("strong", {}, `Together ${sums.join(" + ")}`))];
}

async function placeOrder(form) {
  const { token, ...address } = Object.fromEntries(new FormData(form));
  const lines = [...basket].map(([sku, quantity]) => ({ sku, quantity }));
  const body = { lines, payment: { method: "card", token }, shipping_address: address };
  const order = await call("POST", "/api/orders", { body });
  basket.clear();
  location.hash = `#sagas/${order.saga_id}`;
}

function choice(label, name, options) {
  const made = Object.entries(options).map(([value, text]) => h("option", { value }, `${value}: ${text}`));
  return h("label", {}, label, h("select", { name }, made));
}

function field(label, name, value, maxlength, autocomplete, list) {
  return h("label", {}, label, h("input", { name, value, maxlength, autocomplete, list, required: true }));
}
