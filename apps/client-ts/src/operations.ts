// Generated from docs/openapi/order.json by `make openapi`. Do not edit.

import type {
  CaptureOrder,
  CreateEndpoint,
  CreateRefund,
  CreatedEndpointView,
  DeliveryList,
  EndpointChange,
  EndpointList,
  EndpointView,
  EventList,
  FeedPage,
  LabelOrder,
  NewAttempt,
  OrderList,
  OrderView,
  PlaceOrder,
  Redelivery,
  RefundList,
  RefundView,
  Rotation,
  SendTest,
  WholeDeliveryView,
} from "./schema.ts";
import { segment, Transport } from "./transport.ts";
import type { Options } from "./transport.ts";

/** One method for each operation of the order service. */
export class Operations extends Transport {
  /** List orders, newest first. */
  listOrders(query: { status?: Array<"pending_payment" | "authorized" | "paid" | "payment_failed" | "canceling" | "canceled" | "refunded" | "expired">; customer?: string; reference?: string; created_after?: string; created_before?: string; updated_after?: string; metadata?: Record<string, string>; sort?: "-created_at" | "created_at"; limit?: number; cursor?: string } = {}, options: Options = {}): Promise<OrderList> {
    return this.send({ method: "GET", path: "/v1/orders", query }, options);
  }

  /** Place an order. */
  placeOrder(body: PlaceOrder, options: Options = {}): Promise<OrderView> {
    return this.send({ method: "POST", path: "/v1/orders", body, keyed: true }, options);
  }

  /** Try again to have an order paid, after its payment has failed. */
  createPaymentAttempt(order_id: string, body: NewAttempt, options: Options = {}): Promise<OrderView> {
    return this.send({ method: "POST", path: `/v1/orders/${segment(order_id)}/payment-attempts`, body, keyed: true }, options);
  }

  /** Capture the payment of an authorized order (capture: manual): all of it or a part. */
  captureOrder(order_id: string, body: CaptureOrder = {}, options: Options = {}): Promise<OrderView> {
    return this.send({ method: "POST", path: `/v1/orders/${segment(order_id)}/capture`, body, keyed: true }, options);
  }

  /** Cancel an order and return its money. */
  cancelOrder(order_id: string, options: Options = {}): Promise<OrderView> {
    return this.send({ method: "POST", path: `/v1/orders/${segment(order_id)}/cancel`, body: {}, keyed: true }, options);
  }

  /** List an order's refunds, newest first. */
  listRefunds(order_id: string, query: { limit?: number; cursor?: string } = {}, options: Options = {}): Promise<RefundList> {
    return this.send({ method: "GET", path: `/v1/orders/${segment(order_id)}/refunds`, query }, options);
  }

  /** Refund a paid order, completely or in part. */
  createRefund(order_id: string, body: CreateRefund = {}, options: Options = {}): Promise<RefundView> {
    return this.send({ method: "POST", path: `/v1/orders/${segment(order_id)}/refunds`, body, keyed: true }, options);
  }

  /** Get a refund of an order. */
  getRefund(order_id: string, refund_id: string, options: Options = {}): Promise<RefundView> {
    return this.send({ method: "GET", path: `/v1/orders/${segment(order_id)}/refunds/${segment(refund_id)}` }, options);
  }

  /** List the refunds of all orders, newest first. */
  listAllRefunds(query: { status?: Array<"pending" | "succeeded" | "failed">; created_after?: string; created_before?: string; sort?: "-created_at" | "created_at"; limit?: number; cursor?: string } = {}, options: Options = {}): Promise<RefundList> {
    return this.send({ method: "GET", path: "/v1/refunds", query }, options);
  }

  /** Get an order. */
  getOrder(order_id: string, options: Options = {}): Promise<OrderView> {
    return this.send({ method: "GET", path: `/v1/orders/${segment(order_id)}` }, options);
  }

  /** Change the labels of an order, in any status. */
  labelOrder(order_id: string, body: LabelOrder, options: Options = {}): Promise<OrderView> {
    return this.send({ method: "PATCH", path: `/v1/orders/${segment(order_id)}`, body, keyed: true }, options);
  }

  /** Get an order's history, oldest step first. */
  listEvents(order_id: string, query: { limit?: number; cursor?: string } = {}, options: Options = {}): Promise<EventList> {
    return this.send({ method: "GET", path: `/v1/orders/${segment(order_id)}/events`, query }, options);
  }

  /** List the events of all orders, oldest first. */
  listAllEvents(query: { after?: string; since?: string; type?: "order.placed" | "order.authorized" | "order.partially_captured" | "order.paid" | "order.payment_failed" | "order.canceling" | "order.canceled" | "order.refunded" | "order.expired" | "order.updated" | "refund.succeeded" | "refund.failed" | "order.payment_attempted" | "order.pending_payment" | "payment.create_requested" | "payment.capture_requested" | "payment.capture_declined" | "payment.void_requested" | "payment.void_declined" | "payment.refund_requested" | "payment.updated"; order_id?: string; limit?: number; wait?: number } = {}, options: Options = {}): Promise<FeedPage> {
    return this.send({ method: "GET", path: "/v1/events", query }, options);
  }

  /** List the merchant's endpoints, newest first. */
  listWebhookEndpoints(options: Options = {}): Promise<EndpointList> {
    return this.send({ method: "GET", path: "/v1/webhook-endpoints" }, options);
  }

  /** Create an endpoint that events are sent to. */
  createWebhookEndpoint(body: CreateEndpoint, options: Options = {}): Promise<CreatedEndpointView> {
    return this.send({ method: "POST", path: "/v1/webhook-endpoints", body, keyed: true }, options);
  }

  /** Get an endpoint. */
  getWebhookEndpoint(webhook_endpoint_id: string, options: Options = {}): Promise<EndpointView> {
    return this.send({ method: "GET", path: `/v1/webhook-endpoints/${segment(webhook_endpoint_id)}` }, options);
  }

  /** Change an endpoint. Its secret stays, and deliveries that wait go to the new URL. */
  changeWebhookEndpoint(webhook_endpoint_id: string, body: EndpointChange = {}, options: Options = {}): Promise<EndpointView> {
    return this.send({ method: "PATCH", path: `/v1/webhook-endpoints/${segment(webhook_endpoint_id)}`, body }, options);
  }

  /** Delete an endpoint, with its pending and dead deliveries. */
  deleteWebhookEndpoint(webhook_endpoint_id: string, options: Options = {}): Promise<void> {
    return this.send({ method: "DELETE", path: `/v1/webhook-endpoints/${segment(webhook_endpoint_id)}` }, options);
  }

  /** Create a new secret for an endpoint. */
  rotateWebhookSecret(webhook_endpoint_id: string, body: Rotation = {}, options: Options = {}): Promise<CreatedEndpointView> {
    return this.send({ method: "POST", path: `/v1/webhook-endpoints/${segment(webhook_endpoint_id)}/rotate-secret`, body, keyed: true }, options);
  }

  /** Enable an endpoint again that was disabled because it answered 410, or on request. */
  enableWebhookEndpoint(webhook_endpoint_id: string, options: Options = {}): Promise<EndpointView> {
    return this.send({ method: "POST", path: `/v1/webhook-endpoints/${segment(webhook_endpoint_id)}/enable`, body: {}, keyed: true }, options);
  }

  /** Send an event to an endpoint to test it: webhook.test, or an example of another type. */
  sendTestEvent(webhook_endpoint_id: string, body: SendTest = {}, options: Options = {}): Promise<WholeDeliveryView> {
    return this.send({ method: "POST", path: `/v1/webhook-endpoints/${segment(webhook_endpoint_id)}/test`, body, keyed: true }, options);
  }

  /** Send all events since a time again, with the same ids, whether their deliveries succeeded or are dead. */
  redeliverWebhooks(webhook_endpoint_id: string, body: Redelivery, options: Options = {}): Promise<EndpointView> {
    return this.send({ method: "POST", path: `/v1/webhook-endpoints/${segment(webhook_endpoint_id)}/redeliver`, body, keyed: true }, options);
  }

  /** List the deliveries to an endpoint, newest event first. */
  listWebhookDeliveries(webhook_endpoint_id: string, query: { status?: "pending" | "delivered" | "dead"; type?: "order.placed" | "order.authorized" | "order.partially_captured" | "order.paid" | "order.payment_failed" | "order.canceling" | "order.canceled" | "order.refunded" | "order.expired" | "order.updated" | "refund.succeeded" | "refund.failed" | "webhook.test"; created_after?: string; created_before?: string; limit?: number; cursor?: string } = {}, options: Options = {}): Promise<DeliveryList> {
    return this.send({ method: "GET", path: `/v1/webhook-endpoints/${segment(webhook_endpoint_id)}/deliveries`, query }, options);
  }

  /** Get a delivery with its attempts. */
  getWebhookDelivery(webhook_endpoint_id: string, webhook_delivery_id: string, options: Options = {}): Promise<WholeDeliveryView> {
    return this.send({ method: "GET", path: `/v1/webhook-endpoints/${segment(webhook_endpoint_id)}/deliveries/${segment(webhook_delivery_id)}` }, options);
  }

  /** Send an event again with the same id, whether its delivery succeeded, is dead or is pending. */
  redeliverWebhook(webhook_endpoint_id: string, webhook_delivery_id: string, options: Options = {}): Promise<WholeDeliveryView> {
    return this.send({ method: "POST", path: `/v1/webhook-endpoints/${segment(webhook_endpoint_id)}/deliveries/${segment(webhook_delivery_id)}/redeliver`, body: {}, keyed: true }, options);
  }
}
