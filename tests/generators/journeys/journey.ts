// Place, read, list and refund with the TypeScript client that openapi-generator has written.

import { Configuration, OrdersApi, ResponseError } from "../typescript-fetch/order";
import { Configuration as PaymentConfiguration, PaymentsApi } from "../typescript-fetch/payment";

declare const process: { env: Record<string, string>; exitCode: number };

function assert(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

async function journey(): Promise<void> {
  const accessToken = process.env.API_KEY;
  const api = new OrdersApi(new Configuration({ basePath: process.env.ORDER_URL, accessToken }));
  const idempotencyKey = crypto.randomUUID();
  const placeOrder = {
    currency: "EUR" as const,
    items: [{ sku: "tea-100", name: "Green tea", quantity: 2, unitAmount: 450 }],
    paymentMethod: "pm_ok",
    metadata: { cart: idempotencyKey },
  };
  const placed = await api.placeOrder({ idempotencyKey, placeOrder, prefer: "wait=10" });
  assert(placed.status === "paid" && placed.totalAmount === 900, placed);
  assert((await api.placeOrder({ idempotencyKey, placeOrder })).id === placed.id, "another order was placed");
  const orderId = placed.id;
  assert((await api.getOrder({ orderId })).items.length === 1, "the order lacks its item");
  const listed = await api.listOrders({ status: ["paid", "refunded"], createdAfter: new Date(Date.now() - 3600_000) });
  assert(listed.data.some((each) => each.id === orderId), listed);

  const labeled = await api.listOrders({ metadata: { "metadata.cart": idempotencyKey } });
  assert(labeled.data.length === 1 && labeled.data[0]?.id === orderId, labeled);

  const refund = await api.createRefund({
    idempotencyKey: crypto.randomUUID(),
    orderId,
    prefer: "wait=10",
    createRefund: { amount: 400 },
  });
  assert(refund.status === "succeeded" && refund.amount === 400, refund);
  assert((await api.listRefunds({ orderId })).data[0]?.id === refund.id, "the refund is not listed");

  const payments = new PaymentsApi(new PaymentConfiguration({ basePath: process.env.PAYMENT_URL, accessToken }));
  const [payment] = (await payments.listPayments({ orderId })).data;
  assert(payment?.refundedAmount === 400, payment);

  const missing = await api.getOrder({ orderId: crypto.randomUUID() }).catch((error: unknown) => error);
  assert(missing instanceof ResponseError && missing.response.status === 404, missing);
}

journey().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
