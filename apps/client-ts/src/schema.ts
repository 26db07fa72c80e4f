// Generated from docs/openapi/order.json by `make openapi`. Do not edit.

/** One attempt at a delivery. */
export interface AttemptView {
  /** The number of the attempt, from 1. */
  number: number;
  /** When the attempt was made. */
  at: string;
  /** The status code of the endpoint's response; null if there was none. */
  status_code: number | null;
  /** Why the attempt failed; null if it did not. */
  error: string | null;
  /** The duration in seconds. */
  duration: number;
}

/** A capture of an authorized order. */
export interface CaptureOrder {
  /**
   * The amount to capture; by default all that is left. 0 captures nothing more and releases the rest, if a part
   * is captured already. In minor units.
   */
  amount?: number;
  /**
   * Whether the rest is released. If false, it stays authorized, and the order can be captured again. A capture of
   * all that is left is always final. By default true.
   */
  final?: boolean;
}

/** A webhook endpoint to be created. Without `events`, it gets an event for every outcome. */
export interface CreateEndpoint {
  /** The URL that events are posted to: https, with a host that resolves to public addresses only. */
  url: string;
  /** A note for people, which has no effect. */
  description?: string;
  /**
   * The types of events that are sent to the endpoint. By default order.authorized, order.partially_captured,
   * order.paid, order.payment_failed, order.canceled, order.refunded, order.expired, refund.succeeded,
   * refund.failed.
   */
  events?: Array<"order.placed" | "order.authorized" | "order.partially_captured" | "order.paid" | "order.payment_failed" | "order.canceling" | "order.canceled" | "order.refunded" | "order.expired" | "order.updated" | "refund.succeeded" | "refund.failed">;
}

/** A refund to be made. */
export interface CreateRefund {
  /** The amount to refund; by default all that is left. In minor units. */
  amount?: number;
  /** The reason, shown to the merchant only. */
  reason?: string;
  /** Labels of the merchant, which are returned unchanged. */
  metadata?: Record<string, string>;
}

/** An endpoint with its newest secret, which only responses to the request that created the secret have. */
export interface CreatedEndpointView {
  /** The endpoint's id. */
  id: string;
  /** The URL that events are posted to: https, with a host that resolves to public addresses only. */
  url: string;
  /** A note for people. */
  description: string | null;
  /** The types of events that are sent to the endpoint. */
  events: Array<"order.placed" | "order.authorized" | "order.partially_captured" | "order.paid" | "order.payment_failed" | "order.canceling" | "order.canceled" | "order.refunded" | "order.expired" | "order.updated" | "refund.succeeded" | "refund.failed" | (string & {})>;
  /**
   * Nothing is sent to a disabled endpoint. Its events are kept until it is enabled. Known values: enabled,
   * disabled. Others may be added.
   */
  status: "enabled" | "disabled" | (string & {});
  /** Why it is disabled: `gone` (it answered 410) or `requested`; null if it is not. */
  disabled_reason: string | null;
  /** Begin of a redelivery of all events that is under way; null if none is. */
  redelivering_since: string | null;
  /** Until when older secrets sign too; null if only the newest one signs. */
  signed_until: string | null;
  /** When the endpoint was created. */
  created_at: string;
  /** The secret that signs the events (Standard Webhooks). Missing if it was rotated since this request. */
  secret: string;
}

/** An ISO 4217 code of a currency that has a minor unit. */
export type Currency = "AED" | "AFN" | "ALL" | "AMD" | "AOA" | "ARS" | "AUD" | "AWG" | "AZN" | "BAM" | "BBD" | "BDT" | "BHD" | "BIF" | "BMD" | "BND" | "BOB" | "BOV" | "BRL" | "BSD" | "BTN" | "BWP" | "BYN" | "BZD" | "CAD" | "CDF" | "CHE" | "CHF" | "CHW" | "CLF" | "CLP" | "CNY" | "COP" | "COU" | "CRC" | "CUP" | "CVE" | "CZK" | "DJF" | "DKK" | "DOP" | "DZD" | "EGP" | "ERN" | "ETB" | "EUR" | "FJD" | "FKP" | "GBP" | "GEL" | "GHS" | "GIP" | "GMD" | "GNF" | "GTQ" | "GYD" | "HKD" | "HNL" | "HTG" | "HUF" | "IDR" | "ILS" | "INR" | "IQD" | "IRR" | "ISK" | "JMD" | "JOD" | "JPY" | "KES" | "KGS" | "KHR" | "KMF" | "KPW" | "KRW" | "KWD" | "KYD" | "KZT" | "LAK" | "LBP" | "LKR" | "LRD" | "LSL" | "LYD" | "MAD" | "MDL" | "MGA" | "MKD" | "MMK" | "MNT" | "MOP" | "MRU" | "MUR" | "MVR" | "MWK" | "MXN" | "MXV" | "MYR" | "MZN" | "NAD" | "NGN" | "NIO" | "NOK" | "NPR" | "NZD" | "OMR" | "PAB" | "PEN" | "PGK" | "PHP" | "PKR" | "PLN" | "PYG" | "QAR" | "RON" | "RSD" | "RUB" | "RWF" | "SAR" | "SBD" | "SCR" | "SDG" | "SEK" | "SGD" | "SHP" | "SLE" | "SOS" | "SRD" | "SSP" | "STN" | "SVC" | "SYP" | "SZL" | "THB" | "TJS" | "TMT" | "TND" | "TOP" | "TRY" | "TTD" | "TWD" | "TZS" | "UAH" | "UGX" | "USD" | "USN" | "UYI" | "UYU" | "UYW" | "UZS" | "VED" | "VES" | "VND" | "VUV" | "WST" | "XAD" | "XAF" | "XCD" | "XCG" | "XOF" | "XPF" | "YER" | "ZAR" | "ZMW" | "ZWG";

/** An ISO 4217 code. New codes may be added. */
export type CurrencyCode = string;

/** A page of an endpoint's deliveries, newest event first. */
export interface DeliveryList {
  /** The deliveries. */
  data: Array<DeliveryView>;
  /** The `cursor` of the next page; null on the last page. */
  next_cursor: string | null;
}

/** The delivery of an event to an endpoint. */
export interface DeliveryView {
  /** The delivery's id, and the `webhook-id` of each attempt. */
  id: string;
  /** The endpoint's id. */
  endpoint_id: string;
  /** The order's id; null for a test event. */
  order_id: string | null;
  /**
   * The type of the event. Known values: order.placed, order.authorized, order.partially_captured, order.paid,
   * order.payment_failed, order.canceling, order.canceled, order.refunded, order.expired, order.updated,
   * refund.succeeded, refund.failed, webhook.test. Others may be added.
   */
  type: "order.placed" | "order.authorized" | "order.partially_captured" | "order.paid" | "order.payment_failed" | "order.canceling" | "order.canceled" | "order.refunded" | "order.expired" | "order.updated" | "refund.succeeded" | "refund.failed" | "webhook.test" | (string & {});
  /**
   * The delivery's status. A `dead` delivery is sent again only on request. Known values: pending, delivered,
   * dead. Others may be added.
   */
  status: "pending" | "delivered" | "dead" | (string & {});
  /** The number of attempts. */
  attempt_count: number;
  /** The status code of the endpoint's last response; null if there was none. */
  last_status_code: number | null;
  /** Why the last attempt failed; null if it did not. */
  last_error: string | null;
  /** When the next attempt is due; null if there is none. */
  next_attempt_at: string | null;
  /** When the event happened. */
  created_at: string;
  /** When it was delivered or became dead; null before that. */
  settled_at: string | null;
}

/** A change of an endpoint. What is left out stays as it is; the secret and the waiting deliveries always do. */
export interface EndpointChange {
  /** The URL that events are posted to: https, with a host that resolves to public addresses only. */
  url?: string;
  /** A note for people, which has no effect. */
  description?: string | null;
  /** The types of events that are sent to the endpoint. */
  events?: Array<"order.placed" | "order.authorized" | "order.partially_captured" | "order.paid" | "order.payment_failed" | "order.canceling" | "order.canceled" | "order.refunded" | "order.expired" | "order.updated" | "refund.succeeded" | "refund.failed">;
  /** Whether events are sent. They are kept while they are not. */
  enabled?: boolean;
}

/** All endpoints of a merchant, newest first. */
export interface EndpointList {
  /** The endpoints. */
  data: Array<EndpointView>;
}

/** A webhook endpoint. */
export interface EndpointView {
  /** The endpoint's id. */
  id: string;
  /** The URL that events are posted to: https, with a host that resolves to public addresses only. */
  url: string;
  /** A note for people. */
  description: string | null;
  /** The types of events that are sent to the endpoint. */
  events: Array<"order.placed" | "order.authorized" | "order.partially_captured" | "order.paid" | "order.payment_failed" | "order.canceling" | "order.canceled" | "order.refunded" | "order.expired" | "order.updated" | "refund.succeeded" | "refund.failed" | (string & {})>;
  /**
   * Nothing is sent to a disabled endpoint. Its events are kept until it is enabled. Known values: enabled,
   * disabled. Others may be added.
   */
  status: "enabled" | "disabled" | (string & {});
  /** Why it is disabled: `gone` (it answered 410) or `requested`; null if it is not. */
  disabled_reason: string | null;
  /** Begin of a redelivery of all events that is under way; null if none is. */
  redelivering_since: string | null;
  /** Until when older secrets sign too; null if only the newest one signs. */
  signed_until: string | null;
  /** When the endpoint was created. */
  created_at: string;
}

/** A page of an order's history, oldest step first. */
export interface EventList {
  /** The steps. */
  data: Array<EventView>;
  /** The `cursor` of the next page; null on the last page. */
  next_cursor: string | null;
}

/** One step of an order's history. */
export interface EventView {
  /** The order's version after this step. */
  version: number;
  /** The kind of change. */
  type: string;
  /**
   * The status before; null for the first step. Known values: pending_payment, authorized, paid, payment_failed,
   * canceling, canceled, refunded, expired. Others may be added.
   */
  from: "pending_payment" | "authorized" | "paid" | "payment_failed" | "canceling" | "canceled" | "refunded" | "expired" | (string & {}) | null;
  /**
   * The status after. Known values: pending_payment, authorized, paid, payment_failed, canceling, canceled,
   * refunded, expired. Others may be added.
   */
  to: "pending_payment" | "authorized" | "paid" | "payment_failed" | "canceling" | "canceled" | "refunded" | "expired" | (string & {});
  /**
   * What caused it: a request of the merchant, or the payment. Known values: merchant, payment. Others may be
   * added.
   */
  actor: "merchant" | "payment" | (string & {});
  /** Details, which depend on the type. */
  data: Record<string, unknown>;
  /** When it was recorded. */
  at: string;
}

/** An event: one step of an order. */
export interface FeedEventView {
  /** The event's id. Webhooks send the same one as `webhook-id`. */
  id: string;
  /**
   * The type of the event. Known values: order.placed, order.authorized, order.partially_captured, order.paid,
   * order.payment_failed, order.canceling, order.canceled, order.refunded, order.expired, order.updated,
   * refund.succeeded, refund.failed, order.payment_attempted, order.pending_payment, payment.create_requested,
   * payment.capture_requested, payment.capture_declined, payment.void_requested, payment.void_declined,
   * payment.refund_requested, payment.updated. Others may be added.
   */
  type: "order.placed" | "order.authorized" | "order.partially_captured" | "order.paid" | "order.payment_failed" | "order.canceling" | "order.canceled" | "order.refunded" | "order.expired" | "order.updated" | "refund.succeeded" | "refund.failed" | "order.payment_attempted" | "order.pending_payment" | "payment.create_requested" | "payment.capture_requested" | "payment.capture_declined" | "payment.void_requested" | "payment.void_declined" | "payment.refund_requested" | "payment.updated" | (string & {});
  /** The order's id. */
  order_id: string;
  /** The order's version after this step. */
  version: number;
  /** When the event was recorded. */
  created_at: string;
  /** The order as it was after this step. */
  data: OrderView;
  /** The refund that succeeded or failed; null for other types. */
  refund: RefundView | null;
}

/** Events of a merchant's orders, oldest first. */
export interface FeedPage {
  /** The events. */
  data: Array<FeedEventView>;
  /** The `after` of the next request. There is always one: events that follow have not happened yet. */
  next_cursor: string;
  /** Whether more events may follow at once; with the filter `type`, even after none. */
  has_more: boolean;
}

/** A line of an order to be placed. */
export interface Item {
  /**
   * What the line stands for: `item`, the default, `shipping`, `tax` or `discount`, which is negative. Lines of
   * all kinds are added up to the total. By default item.
   */
  kind?: "item" | "shipping" | "tax" | "discount";
  /** The merchant's identifier of the product, or of the shipping, tax or discount. */
  sku: string;
  /** The name of the product, shipping, tax or discount for people. */
  name?: string;
  /** The number of units. */
  quantity: number;
  /** The price of one unit, in minor units. At least 0, and in a discount at most 0. */
  unit_amount: number;
  /**
   * How much of the line's amount (quantity times unit_amount) is tax. It is between 0 and that amount, and is not
   * added to the total. In minor units.
   */
  tax_amount?: number;
}

/** A line of an order. An order that was placed through the sketch's API has only names in its lines. */
export interface ItemView {
  /** What the line stands for. Known values: item, shipping, tax, discount. Others may be added. */
  kind: "item" | "shipping" | "tax" | "discount" | (string & {});
  /** The merchant's identifier of the product, or of the shipping, tax or discount. */
  sku: string | null;
  /** The name of the product, shipping, tax or discount for people. */
  name: string | null;
  /** The number of units. */
  quantity: number;
  /** The price of one unit, negative in a discount. In minor units. */
  unit_amount: number | null;
  /** Quantity times unit amount. In minor units. */
  amount: number | null;
  /** How much of the line's amount is tax; null if unknown. In minor units. */
  tax_amount: number | null;
}

/** A change of an order's labels. */
export interface LabelOrder {
  /** Labels to set, or to remove if null. The others stay. */
  metadata: Record<string, string | null>;
}

/** A capture, void or refund that the payment provider has declined. */
export interface LastErrorView {
  /**
   * What was declined: `capture_declined`, `void_declined`, `refund_declined`, or another code that is added in
   * the future.
   */
  code: string;
  /** One sentence, with the provider's reason if it is known. */
  detail: string;
  /** When the order service learned of it. */
  at: string;
}

/** A new attempt to have an order paid. */
export interface NewAttempt {
  /** The payment provider's token for the payment method. Never a card number. */
  payment_method: string;
}

/** A page of orders, in the order of `sort`; with `updated_after`, by their last change, oldest first. */
export interface OrderList {
  /** The orders. */
  data: Array<OrderView>;
  /** The `cursor` of the next page; null on the last page. */
  next_cursor: string | null;
}

/** An order. */
export interface OrderView {
  id: string;
  /**
   * The order's status; `canceled`, `refunded` and `expired` are final. Known values: pending_payment, authorized,
   * paid, payment_failed, canceling, canceled, refunded, expired. Others may be added.
   */
  status: "pending_payment" | "authorized" | "paid" | "payment_failed" | "canceling" | "canceled" | "refunded" | "expired" | (string & {});
  currency: CurrencyCode;
  /** The order's total. In minor units. */
  total_amount: number;
  /** The captured amount: while the order is `authorized`, what was captured of it so far. In minor units. */
  paid_amount: number;
  /** The refunded amount. In minor units. */
  refunded_amount: number;
  /** The lines of the order. */
  items: Array<ItemView>;
  /** The merchant's identifier of the customer. */
  customer: string | null;
  /** The shop's own order number, unique among the merchant's orders. */
  reference: string | null;
  /** The payment provider's token for the payment method. Never a card number. */
  payment_method: string;
  /** When the payment is captured: at once, or on request. Known values: automatic, manual. Others may be added. */
  capture: "automatic" | "manual" | (string & {});
  /** Labels of the merchant. */
  metadata: Record<string, string>;
  /** Its payment; null until there is one. */
  payment: PaymentView | null;
  /** What the payment provider declined last; null again after something has succeeded. */
  last_error: LastErrorView | null;
  /** The version: one more with each change. It is the ETag. */
  version: number;
  /** When the order was placed. */
  created_at: string;
  /** When the order last changed. */
  updated_at: string;
}

/** The payment of an order, as the order shows it. */
export interface PaymentView {
  /** The payment's id in the payment service. */
  id: string;
  /**
   * The payment's status: `processing`, `authorized`, `captured`, `failed`, `voided`, `expired`, or another one
   * that the payment service adds in the future.
   */
  status: string;
  /** The captured amount: less than the order's total after a partial capture. In minor units. */
  captured_amount: number;
  /** Why the payment, or its last operation, failed. */
  failure_reason: string | null;
}

/** An order to be placed. Its total, the sum of quantity times unit amount over all lines, must be 0 to 2^63 - 1. */
export interface PlaceOrder {
  currency: Currency;
  /** The lines of the order. */
  items: Array<Item>;
  /** The merchant's identifier of the customer. */
  customer?: string;
  /** The shop's own order number, such as A-1001. No other order of the merchant may have it. */
  reference?: string;
  /** The payment provider's token for the payment method. Never a card number. */
  payment_method: string;
  /**
   * `automatic` captures the payment at once; `manual` only authorizes it, until the order is captured. By default
   * automatic.
   */
  capture?: "automatic" | "manual";
  /** Labels of the merchant, which are returned unchanged. */
  metadata?: Record<string, string>;
}

/** A redelivery of all events since a time. */
export interface Redelivery {
  /** Events that happened at or after this time are sent again. */
  since: string;
}

/** A page of refunds, newest first, or in the order of `sort`. */
export interface RefundList {
  /** The refunds. */
  data: Array<RefundView>;
  /** The `cursor` of the next page; null on the last page. */
  next_cursor: string | null;
}

/** A refund. */
export interface RefundView {
  id: string;
  /** The order's id. */
  order_id: string;
  /** The id of the refunded payment in the payment service. */
  payment_id: string;
  /** The refund's status. Known values: pending, succeeded, failed. Others may be added. */
  status: "pending" | "succeeded" | "failed" | (string & {});
  /** The amount of the refund. In minor units. */
  amount: number;
  currency: CurrencyCode;
  /** The merchant's reason. */
  reason: string | null;
  /** Why it failed, if it did. */
  failure_reason: string | null;
  /** Labels of the merchant. */
  metadata: Record<string, string>;
  /** When the refund was requested. */
  created_at: string;
  /** When its status last changed. */
  updated_at: string;
}

/** A rotation of an endpoint's secret. The old secret keeps signing for a time, at most a week. */
export interface Rotation {
  /** For how many seconds the old secret signs events too; by default a day, or what the operator has set. */
  overlap_seconds?: number;
}

/** A test of an endpoint. */
export interface SendTest {
  /**
   * The type of the event. Its order is an example: no order has its id, and its metadata have `test`. By default
   * webhook.test.
   */
  type?: "webhook.test" | "order.placed" | "order.authorized" | "order.partially_captured" | "order.paid" | "order.payment_failed" | "order.canceling" | "order.canceled" | "order.refunded" | "order.expired" | "order.updated" | "refund.succeeded" | "refund.failed";
}

/** A delivery with the event that is sent and its newest attempts. */
export interface WholeDeliveryView {
  /** The delivery's id, and the `webhook-id` of each attempt. */
  id: string;
  /** The endpoint's id. */
  endpoint_id: string;
  /** The order's id; null for a test event. */
  order_id: string | null;
  /**
   * The type of the event. Known values: order.placed, order.authorized, order.partially_captured, order.paid,
   * order.payment_failed, order.canceling, order.canceled, order.refunded, order.expired, order.updated,
   * refund.succeeded, refund.failed, webhook.test. Others may be added.
   */
  type: "order.placed" | "order.authorized" | "order.partially_captured" | "order.paid" | "order.payment_failed" | "order.canceling" | "order.canceled" | "order.refunded" | "order.expired" | "order.updated" | "refund.succeeded" | "refund.failed" | "webhook.test" | (string & {});
  /**
   * The delivery's status. A `dead` delivery is sent again only on request. Known values: pending, delivered,
   * dead. Others may be added.
   */
  status: "pending" | "delivered" | "dead" | (string & {});
  /** The number of attempts. */
  attempt_count: number;
  /** The status code of the endpoint's last response; null if there was none. */
  last_status_code: number | null;
  /** Why the last attempt failed; null if it did not. */
  last_error: string | null;
  /** When the next attempt is due; null if there is none. */
  next_attempt_at: string | null;
  /** When the event happened. */
  created_at: string;
  /** When it was delivered or became dead; null before that. */
  settled_at: string | null;
  /** The event that is sent. */
  payload: Record<string, unknown>;
  /** The newest 100 attempts, oldest first. */
  attempts: Array<AttemptView>;
}
