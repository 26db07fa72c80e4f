/** Sending a call, with retries until there is a final response or the deadline has passed. */

import { ApiError, OutcomeUnknown, TandemError, Unavailable, UnexpectedAnswer } from "./errors.ts";
import type { Problem } from "./errors.ts";

export interface Settings {
  /** The URL of the order service, such as `http://localhost:8080`. */
  orderUrl: string;
  apiKey: string;
  /** The merchant to act for, with an API key for any merchant. */
  merchant?: string;
  /** Seconds for one attempt, not counting the `wait` it asks for. Default: 10. */
  timeout?: number;
  /** Seconds for a whole call with all its attempts. Default: 60. */
  deadline?: number;
  /** Another `fetch`, for proxies and tests. */
  fetch?: typeof fetch;
}

/** Options of a call. */
export interface Options {
  /** Continues an earlier call. By default each call has a new key; its retries send the same one. */
  idempotencyKey?: string;
  /** How many seconds, at most 10, the service waits for the outcome before it responds. */
  wait?: number;
  /** The `version` of the order that it must still have; otherwise ApiError with status 412. */
  ifMatch?: number;
  /** Cancels the call. Its outcome is then open. */
  signal?: AbortSignal;
  /** Seconds for the call, if not those of the client. */
  deadline?: number;
}

interface Call {
  method: string;
  path: string;
  body?: unknown;
  query?: Record<string, unknown>;
  keyed?: boolean;
}

type Outcome = { body: unknown } | { reason: string; mayHaveActed: boolean; retryAfter: number; problem?: Problem };

/** Seconds: upper limits of the first pause and of any pause, not counting Retry-After. */
const FIRST_PAUSE = 0.1;
const LONGEST_PAUSE = 5;
const MAX_WAIT = 10;
/** Bytes: the largest body that is read, several times the largest page of the service. */
const LARGEST_BODY = 16 * 2 ** 20;

const TEMPORARY = new Set([429, 502, 503, 504]);
const NOT_CONNECTED = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "UND_ERR_CONNECT_TIMEOUT"]);

export class Transport {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #timeout: number;
  readonly #fetch: typeof fetch;
  protected readonly deadline: number;

  constructor(settings: Settings) {
    const url = new URL(settings.orderUrl);
    if (!/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) {
      throw new TypeError("orderUrl is the URL of the order service, such as http://localhost:8080");
    }
    if (!/^[!-~]+$/.test(settings.apiKey)) throw new TypeError("the API key has characters that no API key has");
    this.#url = url.href.replace(/\/+$/, "");
    this.#headers = { Accept: "application/json", Authorization: `Bearer ${settings.apiKey}` };
    if (settings.merchant !== undefined) {
      if (!/^[A-Za-z0-9_.-]{1,64}$/.test(settings.merchant)) {
        throw new TypeError("a merchant's name has 1 to 64 letters, digits, dots, dashes and underscores");
      }
      this.#headers["Tandem-Merchant"] = settings.merchant;
    }
    this.#timeout = positive("timeout", settings.timeout ?? 10);
    this.deadline = positive("deadline", settings.deadline ?? 60);
    this.#fetch = settings.fetch ?? fetch;
  }

  /**
   * Send a call and return the body of the response. Retries lost connections, timeouts, 429, 502, 503, 504 and
   * 409 `idempotency-key-in-use`, with the same idempotency key and body.
   *
   * Throws TypeError for an option or a body that cannot be sent, ApiError if the service refuses the request, and
   * UnexpectedAnswer if the response is not Tandem's. After the deadline, throws OutcomeUnknown if a call with an idempotency key may have been carried out, otherwise Unavailable.
   */
  protected async send<T>(call: Call, options: Options): Promise<T> {
    const seconds = positive("deadline", options.deadline ?? this.deadline);
    const until = performance.now() + seconds * 1000;
    const key = call.keyed ? checked(options.idempotencyKey ?? crypto.randomUUID()) : null;
    const requestId = crypto.randomUUID();
    let mayHaveActed = false;
    for (let attempt = 1; ; attempt++) {
      let outcome: Outcome;
      try {
        outcome = await this.#attempt(call, options, key, requestId, (until - performance.now()) / 1000);
      } catch (error) {
        const gone = call.method === "DELETE" && error instanceof ApiError && error.status === 404;
        if (mayHaveActed && gone && isConclusive(error)) return undefined as T; // an earlier attempt deleted it
        if (mayHaveActed && key !== null && error instanceof TandemError && !isConclusive(error)) {
          throw unknown(call, error.message, key, requestId, error);
        }
        throw error;
      }
      if ("body" in outcome) return outcome.body as T;
      mayHaveActed ||= outcome.mayHaveActed;
      const limit = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.min(attempt - 1, 30));
      const pause = Math.random() * limit + outcome.retryAfter;
      if (performance.now() + pause * 1000 >= until) {
        const reason = `${outcome.reason} (attempt ${attempt}, deadline ${seconds} s)`;
        if (key !== null && mayHaveActed) throw unknown(call, reason, key, requestId);
        if (outcome.problem?.status === 429) throw new ApiError(outcome.problem, key, requestId);
        throw new Unavailable(`${call.method} ${call.path} got no final response: ${reason}`, key, requestId);
      }
      await sleep(pause, options.signal);
    }
  }

  async #attempt(
    call: Call, options: Options, key: string | null, requestId: string, secondsLeft: number,
  ): Promise<Outcome> {
    const left = Math.max(0.001, secondsLeft);
    const wait = Math.max(0, Math.floor(Math.min(options.wait ?? 0, MAX_WAIT, left - 1)));
    const limit = Math.min(this.#timeout + wait, left);
    const headers: Record<string, string> = { ...this.#headers, "X-Request-Id": requestId };
    const query = { ...call.query, ...(call.method === "GET" && options.wait ? { wait } : {}) };
    if (call.body !== undefined) headers["Content-Type"] = "application/json";
    if (key !== null) headers["Idempotency-Key"] = key;
    if (options.ifMatch !== undefined) headers["If-Match"] = `"${options.ifMatch}"`;
    if (call.method !== "GET" && options.wait) headers.Prefer = `wait=${wait}`;
    // Made before the request is sent: a value that cannot be sent is the caller's mistake, not a fault to retry.
    const request = {
      method: call.method,
      headers: new Headers(headers),
      body: call.body === undefined ? undefined : JSON.stringify(call.body),
      redirect: "manual",
    } as const;
    const timeout = AbortSignal.timeout(Math.ceil(limit * 1000));
    const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
    const send = this.#fetch; // browsers refuse fetch as a method of another object
    let response: Response;
    let text: string;
    try {
      response = await send(this.#url + call.path + search(query), { ...request, signal });
      text = await read(response);
    } catch (error) {
      options.signal?.throwIfAborted();
      const neverSent = codes(error).some((code) => NOT_CONNECTED.has(code));
      const reason = neverSent ? "the service could not be reached" : "the service did not respond";
      return { reason, mayHaveActed: !neverSent, retryAfter: 0 };
    }
    return this.#interpret(call, key, response, text, response.headers.get("X-Request-Id") ?? requestId);
  }

  #interpret(call: Call, key: string | null, response: Response, text: string, requestId: string): Outcome {
    const status = response.status;
    const members = parse(text);
    if (status >= 400) {
      const problem = asProblem(members, response);
      const error = new ApiError(problem, key, requestId);
      if (!TEMPORARY.has(status) && !(status === 409 && error.problemName === "idempotency-key-in-use")) throw error;
      const reason = `the service responded with ${status} ${error.problemName}`;
      return { reason, mayHaveActed: status !== 429, retryAfter: retryAfter(response), problem };
    }
    if (status === 204) return { body: undefined };
    if (status >= 200 && status < 300 && members !== null) return { body: members };
    const message = `${call.method} ${call.path} got a response that is not Tandem's: ${status} without a JSON object of at most ${LARGEST_BODY / 2 ** 20} MiB`;
    if (key !== null && status < 300) throw unknown(call, message, key, requestId);
    throw new UnexpectedAnswer(message, key, requestId);
  }
}

/** Percent-encode an id for a path. Throws TypeError if it would change the path. */
export function segment(id: string): string {
  if (["", ".", ".."].includes(id)) throw new TypeError(`${JSON.stringify(id)} is not an id`);
  return encodeURIComponent(id);
}

/** Wait some seconds, or until the signal cancels the call. */
export function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => (clearTimeout(timer), reject(signal?.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", stop), resolve()), seconds * 1000);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

function positive(name: string, seconds: number): number {
  if (!(seconds > 0 && seconds < Infinity)) throw new TypeError(`${name} is in seconds and must be more than 0`);
  return seconds;
}

/** Return an idempotency key. Throws TypeError if the service would not take it. */
function checked(key: string): string {
  if (!/^[!-~]{1,255}$/.test(key)) throw new TypeError("an idempotency key has 1 to 255 visible ASCII characters");
  return key;
}

function unknown(call: Call, reason: string, key: string, requestId: string, cause?: unknown): OutcomeUnknown {
  const advice = `This is not a failure. Make the same call again with idempotencyKey ${key}: it is not carried out twice.`;
  return new OutcomeUnknown(
    `The outcome of ${call.method} ${call.path} is unknown: ${reason}. ${advice}`, key, requestId, cause,
  );
}

/**
 * Whether a refusal also tells the outcome of earlier attempts with the same idempotency key. The service looks up the
 * key before the resource, but after it has checked the API key (401, 403). A server error or a proxy tells nothing.
 */
function isConclusive(error: TandemError): boolean {
  const refused = error instanceof ApiError && ![401, 403].includes(error.status) && error.status < 500;
  return refused && error.problem.type !== "about:blank";
}

/** A query string. Lists are separated by commas; the members of an object become `name.member`. */
function search(query: Record<string, unknown>): string {
  const pairs: Array<[string, string]> = [];
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === null) continue;
    if (Array.isArray(value)) pairs.push([name, value.join(",")]);
    else if (typeof value === "object") {
      for (const [member, each] of Object.entries(value)) pairs.push([`${name}.${member}`, String(each)]);
    } else pairs.push([name, String(value)]);
  }
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

/** Return the body, or nothing of one that is larger than LARGEST_BODY. */
async function read(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (let size = 0; reader; ) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    size += value.byteLength;
    if (size > LARGEST_BODY) {
      reader.cancel().catch(() => undefined);
      return "";
    }
    text += decoder.decode(value, { stream: true });
  }
  return text;
}

function parse(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function asProblem(members: Record<string, unknown> | null, response: Response): Problem {
  const text = (name: string, otherwise: string) =>
    typeof members?.[name] === "string" ? (members[name] as string) : otherwise;
  const listed = Array.isArray(members?.errors) ? members.errors : [];
  return {
    ...members,
    type: text("type", "about:blank"),
    title: text("title", response.statusText),
    status: response.status,
    detail: text("detail", ""),
    errors: listed.filter((each) => typeof each?.pointer === "string" && typeof each?.detail === "string"),
  };
}

/** The seconds of a Retry-After header, a number or a date; 0 if it is missing or not valid. */
function retryAfter(response: Response): number {
  const header = response.headers.get("Retry-After") ?? "";
  if (/^[0-9]+$/.test(header)) return Number(header);
  // Date.parse takes a number such as -2050 for a year.
  const seconds = /^[A-Za-z]/.test(header) ? (Date.parse(header) - Date.now()) / 1000 : 0;
  return seconds > 0 ? seconds : 0;
}

/** The codes of an error and of what caused it. */
function codes(error: unknown): string[] {
  const found: string[] = [];
  for (let each: unknown = error; each instanceof Error; each = each.cause) {
    const causes = each instanceof AggregateError ? each.errors : [each];
    for (const cause of causes) if (typeof cause?.code === "string") found.push(cause.code);
  }
  return found;
}
