/** Which failures are retried, with which key, and which error is thrown at the end. The service is a local server. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { ApiError, OutcomeUnknown, Tandem, Unavailable, UnexpectedAnswer } from "../src/index.ts";

const KEY = "tdm_secret_of_this_test";
const ITEMS = [{ sku: "tea-100", quantity: 2, unit_amount: 450 }];
const ORDER = { id: "1", status: "paid", version: 2, updated_at: "2026-01-02T03:04:06.000001Z" };

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
interface Seen { method: string; url: string; headers: Record<string, string | string[] | undefined>; body: string }

function json(status: number, body: unknown, headers: Record<string, string> = {}): Answer {
  return (_, response) => response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
}

function problem(status: number, name: string, headers: Record<string, string> = {}): Answer {
  return json(status, { type: `http://order.test/problems/${name}`, title: name, status, detail: "As the test says." }, headers);
}

const cut: Answer = (request) => void request.socket.destroy();

/** Run a server that gives these answers in order, the last one again and again. */
async function served(answers: Answer[], act: (url: string, seen: Seen[]) => Promise<void>): Promise<void> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks).toString();
      seen.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers, body });
      answers[Math.min(seen.length, answers.length) - 1]?.(request, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await act(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const client = (orderUrl: string, deadline = 10, timeout = 2) => new Tandem({ orderUrl, apiKey: KEY, deadline, timeout });
const place = (tandem: Tandem, options = {}) =>
  tandem.placeOrder({ items: ITEMS, currency: "EUR", payment_method: "pm_ok" }, options);

for (const [status, name] of [[429, "too-many-requests"], [502, "x"], [503, "unavailable"], [504, "x"], [409, "idempotency-key-in-use"]] as const) {
  test(`${status} ${name} is retried with the same key, request id and body`, async () => {
    await served([problem(status, name), problem(status, name), json(201, ORDER)], async (url, seen) => {
      assert.equal((await place(client(url))).id, "1");
      assert.equal(seen.length, 3);
      for (const field of ["idempotency-key", "x-request-id"]) {
        assert.equal(new Set(seen.map((each) => each.headers[field])).size, 1);
        assert.ok(seen[0]?.headers[field]);
      }
      assert.equal(new Set(seen.map((each) => each.body)).size, 1);
    });
  });
}

test("a lost connection is retried, and each call has its own key unless one is passed", async () => {
  await served([cut, json(201, ORDER)], async (url, seen) => {
    const tandem = client(url);
    await place(tandem);
    await place(tandem, { idempotencyKey: "mine" });
    const keys = seen.map((each) => each.headers["idempotency-key"]);
    assert.equal(keys[0], keys[1]);
    assert.notEqual(keys[1], keys[2]);
    assert.equal(keys[2], "mine");
  });
});

for (const status of [400, 401, 403, 404, 409, 422, 500]) {
  test(`${status} is not retried`, async () => {
    await served([problem(status, "order-state")], async (url, seen) => {
      await assert.rejects(place(client(url)), (error: unknown) => {
        assert.ok(error instanceof ApiError);
        assert.deepEqual([error.status, error.problemName], [status, "order-state"]);
        return true;
      });
      assert.equal(seen.length, 1);
    });
  });
}

test("a POST without a response leaves the outcome unknown, and the error has the key but not the API key", async () => {
  await served([cut], async (url, seen) => {
    await assert.rejects(place(client(url, 0.3)), (error: unknown) => {
      assert.ok(error instanceof OutcomeUnknown);
      assert.equal(error.idempotencyKey, seen[0]?.headers["idempotency-key"]);
      assert.doesNotMatch(`${error.stack}`, new RegExp(KEY));
      return true;
    });
  });
});

test("a refusal after a lost response tells the outcome only if it is the service's", async () => {
  await served([cut, problem(401, "unauthorized")], async (url) => {
    await assert.rejects(place(client(url)), OutcomeUnknown);
  });
  await served([cut, problem(422, "validation")], async (url) => {
    await assert.rejects(place(client(url)), ApiError);
  });
});

test("a GET without a response, and a POST that reaches no server, raise Unavailable", async () => {
  let closed = "";
  await served([cut], async (url) => {
    closed = url;
    await assert.rejects(client(url, 0.3).getOrder("1"), Unavailable);
  });
  await assert.rejects(place(client(closed, 0.3)), Unavailable);
});

test("a server that does not respond is given up after the timeout, and the pause is as long as Retry-After", async () => {
  await served([() => undefined, problem(503, "unavailable", { "Retry-After": "1" }), json(201, ORDER)], async (url) => {
    const began = performance.now();
    await place(client(url, 10, 0.2));
    assert.ok(performance.now() - began >= 1200);
  });
});

test("redirects are not followed, and a success without JSON leaves the outcome of a POST unknown", async () => {
  const away: Answer = (_, response) => response.writeHead(307, { Location: "http://elsewhere.test/" }).end();
  await served([away], async (url, seen) => {
    await assert.rejects(client(url).getOrder("1"), UnexpectedAnswer);
    assert.equal(seen.length, 1);
  });
  await served([(_, response) => response.end("<html>Welcome to this hotel</html>")], async (url) => {
    await assert.rejects(place(client(url)), OutcomeUnknown);
    await assert.rejects(client(url).getOrder("1"), UnexpectedAnswer);
  });
});

test("a 404 for a retried DELETE means that the first attempt deleted it", async () => {
  const gone = problem(404, "webhook-endpoint-not-found");
  await served([cut, gone], async (url) => client(url).deleteWebhookEndpoint("1"));
  await served([gone], async (url) => {
    await assert.rejects(client(url).deleteWebhookEndpoint("1"), ApiError);
  });
});

test("queries, waits and versions are sent as the service expects them, and ids cannot change the path", async () => {
  await served([json(200, { ...ORDER, data: [], next_cursor: "a", has_more: false })], async (url, seen) => {
    const tandem = client(url);
    await tandem.listOrders({ status: ["paid", "refunded"], metadata: { cart: "9 & x" } });
    await tandem.cancelOrder("../a?b", { ifMatch: 7, wait: 20 });
    await tandem.listAllEvents({}, { wait: 3 });
    assert.deepEqual(seen.map((each) => each.url), [
      "/v1/orders?status=paid%2Crefunded&metadata.cart=9+%26+x", "/v1/orders/..%2Fa%3Fb/cancel", "/v1/events?wait=3",
    ]);
    assert.equal(seen[1]?.headers["if-match"], '"7"');
    assert.equal(seen[1]?.headers.prefer, "wait=8");
    assert.equal(seen[1]?.body, "{}");
    assert.throws(() => tandem.getOrder(".."), TypeError);
  });
});

test("a call that is canceled ends at once", async () => {
  await served([() => undefined], async (url) => {
    const began = performance.now();
    await assert.rejects(client(url).getOrder("1", { signal: AbortSignal.timeout(100) }), { name: "TimeoutError" });
    assert.ok(performance.now() - began < 1500);
  });
});

test("settings that cannot work are refused without quoting the API key", () => {
  for (const change of [{ orderUrl: "ftp://x" }, { orderUrl: "http://u:p@x" }, { apiKey: "a b" }, { apiKey: "" }, { timeout: 0 }, { merchant: "" }, { merchant: "a b" }]) {
    assert.throws(() => new Tandem({ orderUrl: "http://order.test", apiKey: KEY, ...change }), TypeError);
  }
});

test("what cannot be sent is refused at once, not retried until the outcome is unknown", async () => {
  await served([json(201, ORDER)], async (url, seen) => {
    const tandem = client(url);
    for (const idempotencyKey of ["", "a b", "na\u00efve", "\u20ac", "a\nb", "k".repeat(256)]) {
      await assert.rejects(place(tandem, { idempotencyKey }), TypeError);
    }
    for (const deadline of [0, -1, NaN, Infinity]) await assert.rejects(place(tandem, { deadline }), TypeError);
    await assert.rejects(tandem.placeOrder({ items: 1n } as never), TypeError);
    assert.equal(seen.length, 0);
    await place(tandem, { wait: 2.5 });
    assert.equal(seen[0]?.headers.prefer, "wait=2");
  });
});

test("fetch is called as a function: browsers refuse it as a method of another object", async () => {
  await served([json(200, ORDER)], async (orderUrl) => {
    const strict = function (this: unknown, ...given: Parameters<typeof fetch>) {
      assert.equal(this, undefined);
      return fetch(...given);
    };
    await new Tandem({ orderUrl, apiKey: KEY, fetch: strict as typeof fetch }).getOrder("1");
  });
});

test("a body that is too large is not read", async () => {
  let sent = 0;
  const flood: Answer = (_, response) => {
    response.writeHead(200);
    const block = Buffer.alloc(2 ** 20, " ");
    const more = () => {
      while (sent < 256) {
        sent++;
        if (!response.write(block)) return void response.once("drain", more);
      }
      response.end();
    };
    more();
  };
  await served([flood], async (url, seen) => {
    await assert.rejects(client(url).getOrder("1"), UnexpectedAnswer);
    assert.equal(seen.length, 1);
  });
  assert.ok(sent < 128, `${sent} MiB`);
});

test("lists, feeds and orders of another shape are UnexpectedAnswer, and so is a page that leads to itself", async () => {
  const all = async (tandem: Tandem) => {
    for await (const _ of tandem.all((cursor) => tandem.listOrders({ cursor })));
  };
  const events = async (tandem: Tandem) => {
    for await (const _ of tandem.events({ after: "a" }));
  };
  const same = json(200, { data: [], next_cursor: "a", has_more: true });
  const end = problem(400, "bad-request"); // without the check, the calls end with another error
  for (const act of [all, events, (tandem: Tandem) => tandem.waitUntil("1", "paid")]) {
    await served([json(200, {})], (url) => assert.rejects(act(client(url)), UnexpectedAnswer));
  }
  for (const act of [all, events]) {
    await served([same, same, same, end], (url) => assert.rejects(act(client(url)), UnexpectedAnswer));
  }
});

test("waitUntil keeps its deadline if the service does not respond", async () => {
  await served([() => undefined], async (url) => {
    const began = performance.now();
    await assert.rejects(client(url, 30, 30).waitUntil("1", "paid", 0.5), Unavailable);
    assert.ok(performance.now() - began < 15_000);
  });
});

for (const [header, attempts] of [["9999999999", 1], ["-2050", 2], ["1.5", 2], ["x", 2]] as const) {
  test(`Retry-After: ${header}`, async () => {
    await served([problem(503, "unavailable", { "Retry-After": header }), json(200, ORDER)], async (url, seen) => {
      await client(url).getOrder("1").catch((error) => assert.ok(error instanceof Unavailable));
      assert.equal(seen.length, attempts);
    });
  });
}
