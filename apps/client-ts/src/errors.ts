/** The errors that the client throws. None of them contains the API key. */

/** Why a service refused a request (RFC 9457, problem details). */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  request_id?: string;
  errors?: Array<{ pointer: string; detail: string }>;
  /** Members that only some kinds of problems have, such as `order_id` of `reference-taken`. */
  [extension: string]: unknown;
}

/** Base of all errors of this client. A call with the same `idempotencyKey` continues the earlier one. */
export class TandemError extends Error {
  readonly idempotencyKey: string | null;
  readonly requestId: string | null;

  constructor(message: string, idempotencyKey: string | null, requestId: string | null, cause?: unknown) {
    super(message, { cause });
    this.name = new.target.name;
    this.idempotencyKey = idempotencyKey;
    this.requestId = requestId;
  }
}

/** The service refused the request; `problem` says why, and `problemName` is the last segment of its type. */
export class ApiError extends TandemError {
  readonly problem: Problem;
  readonly status: number;
  readonly problemName: string;

  constructor(problem: Problem, idempotencyKey: string | null, requestId: string | null) {
    const fields = (problem.errors ?? []).map((each) => ` ${each.pointer || "/"}: ${each.detail}`).join(";");
    super(`${problem.status} ${problem.title}: ${problem.detail}${fields}`, idempotencyKey, requestId);
    this.problem = problem;
    this.status = problem.status;
    this.problemName = problem.type.slice(problem.type.lastIndexOf("/") + 1);
  }
}

/**
 * The service may have carried out the call: there was no final response before the deadline. This is not a failure.
 * Make the same call again with `idempotencyKey: error.idempotencyKey`: it is not carried out twice.
 */
export class OutcomeUnknown extends TandemError {}

/** There was no final response before the deadline, and no call with an idempotency key was carried out. */
export class Unavailable extends TandemError {}

/** A response that is not Tandem's. */
export class UnexpectedAnswer extends TandemError {}

/** `waitUntil` ended before the order had the status. `order` is the order as it is now. */
export class StatusNotReached<Order> extends TandemError {
  readonly order: Order;

  constructor(message: string, order: Order) {
    super(message, null, null);
    this.order = order;
  }
}
