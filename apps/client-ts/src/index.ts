/**
 * A client for Tandem's order service, for Node, Deno, Bun and browsers.
 *
 *     const tandem = new Tandem({ orderUrl: "http://localhost:8080", apiKey: process.env.API_KEY! });
 *     const order = await tandem.placeOrder({ items, currency: "EUR", payment_method: "pm_ok" }, { wait: 5 });
 */

import { StatusNotReached, UnexpectedAnswer } from "./errors.ts";
import { Operations } from "./operations.ts";
import type { FeedEventView, OrderView } from "./schema.ts";
import { sleep } from "./transport.ts";

export * from "./errors.ts";
export type * from "./schema.ts";
export type { Options, Settings } from "./transport.ts";

/** The known statuses of an order. A later release may add some. */
export type OrderStatus =
  | "pending_payment" | "authorized" | "paid" | "payment_failed" | "canceling" | "canceled" | "refunded" | "expired";

/** The known types of events. */
export type EventType = NonNullable<NonNullable<Parameters<Operations["listAllEvents"]>[0]>["type"]>;

/** An order with one of these statuses changes it only on a further request, or never. */
const SETTLED: ReadonlySet<string> = new Set(["payment_failed", "canceled", "refunded", "expired"]);

const MINUTE = 60_000;

/** Seconds that a request may take longer than the service waits for an event. */
const GRACE = 2;

/** Client for one merchant. Each method sends one call; `options` of a method are the same everywhere. */
export class Tandem extends Operations {
  /**
   * Iterate over a list, page by page:
   *
   *     for await (const order of tandem.all((cursor) => tandem.listOrders({ status: ["paid"], cursor }))) ...
   */
  async *all<T>(list: (cursor?: string) => Promise<{ data: T[]; next_cursor: string | null }>): AsyncGenerator<T> {
    let cursor: string | undefined;
    do {
      const page = checked(await list(cursor));
      yield* page.data;
      const next = page.next_cursor ?? undefined;
      if (next !== undefined && next === cursor) throw new UnexpectedAnswer("the next_cursor repeats itself", null, null);
      cursor = next;
    } while (cursor !== undefined);
  }

  /**
   * Iterate over the events of all orders, oldest first, from the position `after`. With `follow`, wait for further
   * events without end. Store `position` after you have acted on an event: no event is missed, and up to a page of
   * events may come a second time, with the same `id`.
   */
  async *events(
    query: {
      after?: string;
      since?: string;
      type?: EventType;
      order_id?: string;
      follow?: boolean;
      signal?: AbortSignal;
    } = {},
  ): AsyncGenerator<FeedEventView & { position: string }> {
    const { follow, signal, since, type, order_id } = query;
    let after = query.after;
    for (;;) {
      const began = performance.now();
      const filters = after === undefined ? { since, limit: 1 } : { after, limit: 100 };
      const page = continued(await this.listAllEvents({ ...filters, type, order_id }, { wait: follow ? 10 : 0, signal }), after);
      for (const [index, event] of page.data.entries()) {
        const isLast = index === page.data.length - 1;
        yield { ...event, position: isLast || after === undefined ? page.next_cursor : after };
      }
      if (!page.has_more && !follow) return;
      // An empty page that did not wait: too many requests wait there already.
      if (!page.has_more && !page.data.length && performance.now() - began < 1000) await sleep(1, signal);
      after = page.next_cursor;
    }
  }

  /**
   * Wait until an order has a status, or one of several, and return it as it was then. `deadline` is in seconds.
   *
   * Throws StatusNotReached after the deadline, or at once if the order has another status that does not change without
   * a further request: `payment_failed`, `canceled`, `refunded`, `expired`.
   */
  async waitUntil(orderId: string, status: OrderStatus | OrderStatus[], deadline?: number): Promise<OrderView> {
    const wanted = new Set<string>([status].flat());
    const seconds = deadline ?? this.deadline;
    const until = performance.now() + seconds * 1000;
    let order = await this.getOrder(orderId, { deadline: Math.max(seconds, GRACE) });
    if (typeof order.status !== "string" || Number.isNaN(Date.parse(order.updated_at))) {
      throw new UnexpectedAnswer("the response is not an order", null, null);
    }
    let after: string | undefined;
    const since = new Date(Date.parse(order.updated_at) - MINUTE).toISOString();
    while (!wanted.has(order.status)) {
      const left = (until - performance.now()) / 1000;
      if (left <= 0 || SETTLED.has(order.status)) {
        const reason = left <= 0 ? "the deadline has passed" : "only a further request changes that";
        throw new StatusNotReached(`Order ${orderId} is ${order.status}, not ${[...wanted].join(" or ")}: ${reason}`, order);
      }
      const began = performance.now();
      const position = after === undefined ? { since } : { after };
      const page = continued(await this.listAllEvents(
        { ...position, order_id: orderId, limit: 100 }, { wait: Math.min(10, Math.ceil(left)), deadline: left + GRACE },
      ), after);
      after = page.next_cursor;
      for (const event of page.data) {
        if (event.version > order.version && !wanted.has(order.status)) order = event.data;
      }
      if (!page.data.length && !page.has_more && performance.now() - began < 1000) await sleep(Math.min(0.5, left));
    }
    return order;
  }
}

/** Return a page. Throws UnexpectedAnswer if it has no list. */
function checked<Page extends { data: unknown[] }>(page: Page): Page {
  if (!Array.isArray(page.data)) throw new UnexpectedAnswer("the response has no list named data", null, null);
  return page;
}

/** Return a page of events. Throws UnexpectedAnswer if nothing can follow it: it would be requested without end. */
function continued<Page extends { data: unknown[]; next_cursor: string; has_more: boolean }>(page: Page, after?: string): Page {
  const more = checked(page).has_more || page.data.length > 0;
  if (typeof page.next_cursor !== "string" || (more && page.next_cursor === after)) {
    throw new UnexpectedAnswer("the events cannot be continued: next_cursor is missing or repeats itself", null, null);
  }
  return page;
}
