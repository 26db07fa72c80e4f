/** The client against running services: ORDER_URL and API_KEY say where, as in `.run/env`. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, StatusNotReached, Tandem } from "../src/index.ts";

const { ORDER_URL: orderUrl, API_KEY: apiKey } = process.env;
assert.ok(orderUrl && apiKey, "set ORDER_URL and API_KEY: `make run` writes both to .run/env");
const tandem = new Tandem({ orderUrl, apiKey, deadline: 30 });
const ITEMS = [{ sku: "tea-100", quantity: 2, unit_amount: 450 }];
const wanted = { items: ITEMS, currency: "EUR", payment_method: "pm_ok" } as const;

test("an order is placed once, paid, read, labelled, listed and refunded", async () => {
  const placed = await tandem.placeOrder(wanted, { idempotencyKey: "the-cart" });
  assert.equal((await tandem.placeOrder(wanted, { idempotencyKey: "the-cart" })).id, placed.id);
  const paid = await tandem.waitUntil(placed.id, "paid");
  assert.equal(paid.paid_amount, 900);
  assert.deepEqual(await tandem.getOrder(placed.id), paid);
  const labelled = await tandem.labelOrder(paid.id, { metadata: { cart: "9" } }, { ifMatch: paid.version });
  assert.deepEqual(labelled.metadata, { cart: "9" });
  await assert.rejects(tandem.labelOrder(paid.id, { metadata: { cart: "1" } }, { ifMatch: paid.version }), (error) => {
    assert.ok(error instanceof ApiError);
    return error.status === 412;
  });
  const found = [];
  const list = (cursor?: string) => tandem.listOrders({ status: ["paid", "refunded"], metadata: { cart: "9" }, cursor, limit: 1 });
  for await (const order of tandem.all(list)) found.push(order.id);
  assert.deepEqual(found, [paid.id]);
  const refund = await tandem.createRefund(paid.id, { amount: 300, metadata: { case: "1" } }, { wait: 10 });
  assert.deepEqual([refund.status, refund.amount, refund.metadata], ["succeeded", 300, { case: "1" }]);
  assert.deepEqual(await tandem.getRefund(paid.id, refund.id), refund);
});

test("an order has lines of all kinds and is found by its reference", async () => {
  const items = [
    { sku: "tea-100", quantity: 2, unit_amount: 1190, tax_amount: 380 },
    { kind: "shipping", sku: "dhl", quantity: 1, unit_amount: 595 },
    { kind: "discount", sku: "WELCOME", quantity: 1, unit_amount: -595 },
  ] as const;
  const placed = await tandem.placeOrder({ ...wanted, items: [...items], reference: "A-1001" });
  assert.equal(placed.total_amount, 2380);
  assert.deepEqual(placed.items?.map((line) => [line.kind, line.amount]), [["item", 2380], ["shipping", 595], ["discount", -595]]);
  assert.deepEqual((await tandem.listOrders({ reference: "A-1001" })).data?.map((order) => order.id), [placed.id]);
  await assert.rejects(tandem.placeOrder({ ...wanted, reference: "A-1001" }), (error) => {
    assert.ok(error instanceof ApiError);
    assert.equal(error.problemName, "reference-taken");
    assert.equal(error.problem.order_id, placed.id);
    return true;
  });
});

test("a declined order is not waited for until the deadline", async () => {
  const declined = await tandem.placeOrder({ ...wanted, payment_method: "pm_declined" });
  await assert.rejects(tandem.waitUntil(declined.id, "paid"), StatusNotReached);
});

test("events continue at a position, and a follower gets the next one", async () => {
  const all = [];
  for await (const event of tandem.events()) all.push(event);
  assert.ok(all.length > 2);
  const rest = [];
  for await (const event of tandem.events({ after: all[0]?.position })) rest.push(event.id);
  assert.deepEqual(rest, all.slice(1).map((event) => event.id));
  const paid = [];
  for await (const event of tandem.events({ type: "order.paid" })) paid.push(event.id);
  assert.deepEqual(paid, all.filter((event) => event.type === "order.paid").map((event) => event.id));
  setTimeout(() => void tandem.placeOrder(wanted), 200);
  for await (const event of tandem.events({ after: all.at(-1)?.position, follow: true })) {
    assert.equal(event.type, "order.placed");
    break;
  }
});

test("a refused request names the field", async () => {
  await assert.rejects(tandem.placeOrder({ ...wanted, items: [] }), (error) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual(error.problem.errors?.map((each) => each.pointer), ["/items"]);
    return true;
  });
});
