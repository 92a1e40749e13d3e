/** Socket requests of Flask-Rooms, over a socket of socket.io-client. */

/** What is needed of socket.io-client's Socket, 4.6 or newer. */
export interface RoomsSocket {
  connected: boolean;
  emitWithAck(event: any, ...args: any[]): Promise<any>;
  once(event: any, listener: any): unknown;
  off(event: any, listener: any): unknown;
}

export interface RoomsOptions {
  /** Milliseconds for a request, from the call to the answer; 10,000 unless given. */
  timeout?: number;
  /** Sent with each request, unless it has its own of that name. */
  headers?: RoomsHeaders;
}

/** Names and values; one that is undefined is not sent. */
export type RoomsHeaders = Record<string, string | number | undefined>;

export interface RequestOptions extends RoomsOptions {
  /** Gives the request up; the promise is then rejected with the signal's reason. */
  signal?: AbortSignal;
}

export interface RoomsRequest extends RequestOptions {
  /** A path, with a query if you like. */
  url: string;
  /** "get" unless given; "head" and "options" are known, too. */
  method?: string;
  /** For get, head and delete an object for the query string, else a JSON value or bytes. */
  data?: unknown;
}

export interface RoomsResponse<Body = any> {
  /** As in HTTP, and less than 400. */
  status: number;
  /** A JSON value, a string, or bytes, by the answer's Content-Type. */
  body: Body;
  /** With names in lower case. */
  headers: Record<string, string>;
}

type Verb = <Body = any>(
  url: string,
  data?: unknown,
  options?: RequestOptions,
) => Promise<RoomsResponse<Body>>;

/** The verbs of HTTP; each promise may be rejected with one of the errors below. */
export interface RoomsClient {
  request<Body = any>(request: RoomsRequest): Promise<RoomsResponse<Body>>;
  get: Verb;
  post: Verb;
  put: Verb;
  patch: Verb;
  delete: Verb;
}

/** The answer has a status of 400 or more. */
export class RequestFailed extends Error {
  constructor(response: RoomsResponse);
  readonly status: number;
  readonly body: any;
  readonly headers: Record<string, string>;
}

/** There was no answer in time. */
export class RequestTimeout extends Error {}

/** The socket disconnected before the answer came: the request may have been carried out. */
export class Disconnected extends Error {}

/**
 * Return the verbs of HTTP as functions, over one socket.
 *
 * A request that is made before the socket is connected waits for that, within its timeout; the
 * requests of one socket are sent in the order in which they were made.
 */
export function rooms(socket: RoomsSocket, options?: RoomsOptions): RoomsClient;
