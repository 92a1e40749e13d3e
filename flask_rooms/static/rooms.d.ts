/** Socket requests to Flask-Rooms over a socket of socket.io-client. */

/** The parts of socket.io-client's Socket (4.6 or newer) that are used here. */
export interface RoomsSocket {
  id?: string | undefined;
  connected: boolean;
  sendBuffer?: any;
  emitWithAck(event: any, ...args: any[]): Promise<any>;
  on(event: any, listener: any): unknown;
  once(event: any, listener: any): unknown;
  off(event: any, listener: any): unknown;
}

export interface RoomsOptions {
  /** Milliseconds from the call to the response, at most 2 ** 31 - 1; defaults to 10,000. */
  timeout?: number | undefined;
  /** Sent with each request, unless the request sets the same name. */
  headers?: RoomsHeaders | undefined;
}

/** Names and values; undefined values are not sent. */
export type RoomsHeaders = Record<string, string | number | undefined>;

export interface RequestOptions extends RoomsOptions {
  /** Cancels the request; the promise then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /**
   * Repeat the request on each new socket, before all others, until it is withdrawn or refused
   * with a status of the 400s other than 408 and 429. The data must be JSON. At most 32 requests
   * are standing; another one is a RangeError.
   */
  standing?: boolean | undefined;
}

export interface RoomsRequest extends RequestOptions {
  /** A path, optionally with a query string. */
  url: string;
  /** The verb; defaults to "get". "head" and "options" are supported, too. */
  method?: string | undefined;
  /**
   * For get, head and delete, an object for the query string; otherwise a JSON value or bytes. Or a
   * function that returns one, called each time that the request is sent.
   */
  data?: unknown;
}

export interface RoomsResponse<Body = any> {
  /** The HTTP status; less than 400. */
  status: number;
  /** A JSON value, a string, or bytes, depending on the Content-Type of the response. */
  body: Body;
  /** Names are in lower case. */
  headers: Record<string, string>;
}

/** What a request is known by, while it is standing. A function as `data` counts as no data. */
export interface StandingRequest {
  url: string;
  /** The verb; defaults to "get". */
  method?: string | undefined;
  data?: unknown;
}

/** What repeating a standing request came to. */
export interface Repetition<Body = any> extends StandingRequest {
  method: string;
  /** Undefined if the request has failed. */
  response?: RoomsResponse<Body> | undefined;
  /** Why it has failed; another error is that of the function for the data. */
  error?: RequestFailed | RequestTimeout | Error | undefined;
  /** Whether it will be repeated again. */
  kept: boolean;
}

type Verb = <Body = any>(
  url: string,
  data?: unknown,
  options?: RequestOptions,
) => Promise<RoomsResponse<Body>>;

/** Who is present in a room. */
export interface Person<Data = any> {
  /** The ID of the user; null for a socket without a user. */
  user: string | null;
  /** The ID of a socket without a user. */
  socket?: string;
  /** Since when, in seconds since 1970. */
  since: number;
  /** What is known of the sockets of this person, the same only once. */
  data: Data[];
}

/** How a list differs from the one before it. */
export interface PresenceDifference<Data = any> {
  joined: Person<Data>[];
  changed: Person<Data>[];
  left: Person<Data>[];
}

/** Which events a client has got of a room with a history. */
export interface HistoryPosition {
  epoch: string;
  /** The numbers of the latest events; all numbers below the first count, too. */
  offsets: number[];
}

/** The HTTP verbs, and what is known of rooms; each promise may reject with one of the errors below. */
export interface RoomsClient {
  request<Body = any>(request: RoomsRequest): Promise<RoomsResponse<Body>>;
  get: Verb;
  post: Verb;
  put: Verb;
  patch: Verb;
  delete: Verb;
  /** Repeat a standing request no longer; returns whether it was standing. */
  withdraw(request: StandingRequest): boolean;
  /**
   * Call back each time the standing requests have been repeated on a new socket, with what they
   * came to, in their order. Requests made meanwhile are sent after them.
   *
   * Returns a function that ends it.
   */
  restored(callback: (repetitions: Repetition[]) => void): () => void;
  /**
   * Follow who is present in a room that the socket is in, or is about to join.
   *
   * The callback is called with each list, also with the one that is there already. After a
   * reconnect it is called with the new list, and how it differs from the old one.
   *
   * Returns a function that ends it.
   */
  presence<Data = any>(
    room: string,
    callback: (people: Person<Data>[], difference: PresenceDifference<Data>) => void,
  ): () => void;
  /** Return what `catch_up()` takes as `since` for a room; null before its first event. */
  since(room: string): HistoryPosition | null;
}

/** The response has a status of 400 or more. */
export class RequestFailed extends Error {
  constructor(response: RoomsResponse, request?: string);
  readonly status: number;
  readonly body: any;
  readonly headers: Record<string, string>;
}

/** There was no connection, or no response, in time. */
export class RequestTimeout extends Error {}

/** The socket disconnected before the response arrived; the request may have been carried out. */
export class Disconnected extends Error {}

/**
 * Return the HTTP verbs as functions over one socket.
 *
 * A request made before the socket is connected waits for the connection, within its timeout. The
 * requests of one socket are sent in the order in which they were made, and at most 64 of them are
 * unanswered at a time.
 */
export function rooms(socket: RoomsSocket, options?: RoomsOptions): RoomsClient;
