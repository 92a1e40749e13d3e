/**
 * Socket requests to Flask-Rooms over a socket of socket.io-client.
 *
 *     import { rooms } from "/rooms.js";
 *
 *     const api = rooms(io());
 *     const { body } = await api.put("/rooms/fun", { as: "Alice" });
 *
 * Arguments and return values are described in rooms.d.ts.
 */

/** The response has a status of 400 or more. */
export class RequestFailed extends Error {
  name = "RequestFailed";

  constructor({ status, body, headers }, request) {
    const reason = typeof body?.message === "string" ? `: ${body.message}` : ".";
    super(`The answer${request ? ` to ${request}` : ""} has status ${status}${reason}`);
    Object.assign(this, { status, body, headers });
  }
}

/** There was no connection, or no response, in time. */
export class RequestTimeout extends Error {
  name = "RequestTimeout";
}

/** The socket disconnected before the response arrived; the request may have been carried out. */
export class Disconnected extends Error {
  name = "Disconnected";
}

// Call a function of the page. What it throws is reported as of any event listener, and ends
// nothing here: neither the next callback, nor what the events of the socket lead to.
function call(callback, ...values) {
  try {
    callback(...values);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

// Add a callback to a set, also one that is in it already; return a function that takes it out.
function follow(followers, callback) {
  const follower = (...values) => callback(...values);
  followers.add(follower);
  return () => followers.delete(follower);
}

// A person of a list of those who are present: a user, or a socket without one.
const nameOf = ({ user, socket }) => (user === null ? `socket ${socket}` : `user ${user}`);

/** The lists of those who are present in rooms, as the server tells them. */
class PresenceLists {
  #lists = new Map(); // room -> its version and people; kept while the socket is disconnected
  #followers = new Map(); // room -> callbacks

  constructor(socket) {
    socket.on("presence_state", (state) => this.#replace(state));
    socket.on("presence_diff", (difference) => this.#change(difference));
    // Versions are those of one worker: what comes over the next connection begins with the list.
    socket.on("disconnect", () => {
      for (const list of this.#lists.values()) list.version = undefined;
    });
  }

  people(room) {
    return [...(this.#lists.get(room)?.people.values() ?? [])];
  }

  follow(room, callback) {
    if (!this.#followers.has(room)) this.#followers.set(room, new Set());
    const end = follow(this.#followers.get(room), callback);
    const joined = this.people(room);
    if (this.#lists.has(room)) call(callback, joined, { joined, changed: [], left: [] });
    return end;
  }

  #replace({ room, version, people }) {
    const before = this.#lists.get(room)?.people ?? new Map();
    const now = new Map(people.map((person) => [nameOf(person), person]));
    this.#lists.set(room, { version, people: now });
    const isSame = (name) => JSON.stringify(before.get(name)) === JSON.stringify(now.get(name));
    const common = [...now.keys()].filter((name) => before.has(name));
    this.#tell(room, {
      joined: people.filter((person) => !before.has(nameOf(person))),
      changed: common.filter((name) => !isSame(name)).map((name) => now.get(name)),
      left: [...before].filter(([name]) => !now.has(name)).map(([, person]) => person),
    });
  }

  #change({ room, version, joined, changed, left }) {
    const list = this.#lists.get(room);
    if (list?.version !== version - 1) return; // of a list that is still on its way
    list.version = version;
    for (const person of [...joined, ...changed]) list.people.set(nameOf(person), person);
    for (const person of left) list.people.delete(nameOf(person));
    this.#tell(room, { joined, changed, left });
  }

  #tell(room, difference) {
    for (const callback of this.#followers.get(room) ?? []) {
      call(callback, this.people(room), difference);
    }
  }
}

// How many numbers of a room are sent to the server, which takes no more: the last one before the
// first gap, and the latest. Those of two workers may arrive in another order than they were given,
// and one is missing where a worker has died; all up to the first count as had.
const NUMBERS = 1000;

/** Which events this client has got of the rooms with a history. */
class Positions {
  #rooms = new Map(); // room -> its epoch, and ranges of numbers; kept while disconnected

  constructor(socket) {
    socket.on("history_offset", (number) => this.#note(number));
  }

  of(room) {
    const had = this.#rooms.get(room);
    if (!had) return null;
    const [[, first], ...later] = had.ranges;
    const latest = [];
    for (const [start, last] of later.reverse()) {
      for (let one = last; one >= start && latest.length < NUMBERS - 1; one--) latest.push(one);
    }
    return { epoch: had.epoch, offsets: [first, ...latest.reverse()] };
  }

  #note({ room, epoch, offset, gone }) {
    const had = this.#rooms.get(room);
    if (!had || gone || (had.epoch !== epoch && gone !== undefined)) {
      this.#rooms.set(room, { epoch, ranges: [[offset, offset]] });
    } else if (had.epoch === epoch && offset > had.ranges[0][1]) {
      had.ranges = withNumber(had.ranges, offset);
    }
    // Else it is had, or of another epoch: catching up, which has failed or is to come, is to tell
    // what is gone with the former one.
  }
}

// Ranges of numbers, and another number, which closes a gap, or begins or extends a range.
function withNumber(ranges, number) {
  const merged = [];
  for (const [first, last] of [...ranges, [number, number]].sort(([a], [b]) => a - b)) {
    const before = merged.at(-1);
    if (before && first <= before[1] + 1) before[1] = Math.max(last, before[1]);
    else merged.push([first, last]);
  }
  const [first, ...later] = merged;
  return [first, ...later.slice(1 - NUMBERS)];
}

// How many requests may be unanswered at once; the rest waits here, where it costs the server
// nothing. A server reads no more from a client with 100 requests in its queue.
const WINDOW = 64;

// In milliseconds; setTimeout() ends at once if it is more.
const MAX_TIMEOUT = 2 ** 31 - 1;

function requireTimeout(timeout) {
  if (typeof timeout === "number" && timeout >= 0 && timeout <= MAX_TIMEOUT) return timeout;
  throw new RangeError(
    `A timeout is a number of milliseconds from 0 to ${MAX_TIMEOUT}, not ${timeout}.`,
  );
}

// The message of the error with which socket.io-client ends a request after its `ackTimeout`.
const ACK_TIMEOUT = "operation has timed out";

// How many requests may be standing: all are repeated at once, within the window.
const MAX_STANDING = 32;

/** The requests to repeat on each new socket, in the order in which they were first made. */
class StandingRequests {
  // Key -> a request. Its function `send` sends it for the first time, or is the latest of those
  // that were to and were given up.
  #all = new Map();

  add({ method, url, data, headers, timeout }) {
    const key = keyOf(method, url, data);
    if (this.#all.size >= MAX_STANDING && !this.#all.has(key)) {
      throw new RangeError(`At most ${MAX_STANDING} requests can be standing; withdraw() ends one.`);
    }
    // The data as they are now, and the latest options.
    const isMade = typeof data === "function"; // anew, each time that the request is sent
    const kept = isMade || data === undefined ? data : JSON.parse(key)[2];
    const send = this.#all.get(key)?.send;
    const request = { method, url, data: kept, headers, timeout, key, send };
    this.#all.set(key, request); // where the key was before
    return request;
  }

  withdraw({ method = "get", url, data }) {
    return this.#all.delete(keyOf(method, url, data));
  }

  /** Take back a request that would fail again, unless it has been made anew since. */
  settle(request, error) {
    if (this.#all.get(request.key) === request && isFinal(error)) this.#all.delete(request.key);
    return this.#all.has(request.key);
  }

  [Symbol.iterator]() {
    return this.#all.values();
  }
}

function keyOf(method, url, data) {
  if (data instanceof ArrayBuffer || ArrayBuffer.isView(data) || data instanceof Blob) {
    throw new TypeError("The data of a standing request must be JSON, not bytes.");
  }
  // For a function that is as without data.
  return JSON.stringify([method.toLowerCase(), url, data]);
}

// Whether a request was refused or aborted, rather than made at the wrong moment.
function isFinal(error) {
  if (error === undefined) return false;
  if (error instanceof RequestFailed) {
    return error.status < 500 && error.status !== 408 && error.status !== 429;
  }
  return !(error instanceof RequestTimeout || error instanceof Disconnected);
}

/** Return the HTTP verbs as functions. */
export function rooms(socket, { timeout = 10_000, headers } = {}) {
  if (typeof socket?.emitWithAck !== "function") {
    throw new TypeError("rooms() takes a socket of socket.io-client, as io() returns it.");
  }
  requireTimeout(timeout);
  // Requests that wait for the connection or for a place in the window, in order. The buffer of
  // socket.io-client would also send requests that have timed out or were aborted.
  const waiting = new Set();
  const sent = new Set();
  const everSent = new WeakSet();
  const lists = new PresenceLists(socket);
  const positions = new Positions(socket);
  const standing = new StandingRequests();
  const onRestored = new Set(); // callbacks
  // The IDs of the sockets on which repeating the standing requests was last begun, and done.
  let begun, restored;

  function sendAll() {
    if (!socket.connected) return;
    if (begun !== socket.id) restore();
    if (restored !== socket.id) return;
    for (const send of waiting) {
      if (sent.size >= WINDOW) return;
      waiting.delete(send);
      sendNow(send);
    }
  }

  function sendNow(send) {
    sent.add(send);
    everSent.add(send);
    send();
  }

  function enqueue(send) {
    waiting.add(send);
    sendAll();
  }

  function dequeue(send) {
    waiting.delete(send);
    if (sent.delete(send)) sendAll();
  }

  socket.on("connect", sendAll);

  // Repeat the standing requests, and only then let the others go.
  async function restore() {
    const id = (begun = socket.id);
    const due = [...standing].filter(({ send }) => !waiting.has(send));
    for (const { send } of due) everSent.add(send);
    const results = due.length > 0 ? await Promise.allSettled(due.map(repeat)) : [];
    if (socket.id !== id) {
      if (begun === id) begun = undefined; // also if the server recovers this very socket
      return;
    }
    const repetitions = results.map(({ value: response, reason: error }, number) => {
      const { method, url, data } = due[number];
      const kept = standing.settle(due[number], error);
      return { method, url, data, response, error, kept };
    });
    restored = id;
    sendAll();
    if (due.length > 0) for (const callback of onRestored) call(callback, repetitions);
  }

  const repeat = (request) => make(request, sendNow);

  function exchange(verb, payload, name, milliseconds, signal, begin) {
    return new Promise((resolve, reject) => {
      let problem = "no connection for";
      let made; // what is sent
      const end = (settle, value) => {
        clearTimeout(timer);
        dequeue(send);
        socket.off("disconnect", disconnected);
        signal?.removeEventListener("abort", aborted);
        settle(value);
      };
      const late = () =>
        end(reject, new RequestTimeout(`There was ${problem} ${name} within ${milliseconds} ms.`));
      const aborted = () => end(reject, signal.reason);
      const disconnected = () => {
        // After a sleep, socket.io-client has kept it instead, for the next connection: there it
        // would come before the standing requests, although it has failed.
        socket.sendBuffer = socket.sendBuffer?.filter(({ data }) => data[1] !== made);
        end(reject, new Disconnected(`The socket disconnected before the answer to ${name} came.`));
      };
      const send = () => {
        problem = "no answer to";
        made = { ...payload };
        try {
          if (typeof made.data === "function") made.data = made.data();
          if (typeof made.data?.then === "function") {
            throw new TypeError(`The data of ${name} are a promise: await it first.`);
          }
        } catch (error) {
          return end(reject, error);
        }
        if (made.data === undefined) delete made.data; // msgpack has a value for it
        socket.once("disconnect", disconnected);
        // With its option `retries` socket.io-client would send it again over the next connection.
        socket.flags = { ...socket.flags, fromQueue: true };
        // Rejects at once if the data cannot be encoded; else only after this request has ended, or
        // if socket.io-client's `ackTimeout` expires.
        const failed = (error) => (error.message === ACK_TIMEOUT ? late() : end(reject, error));
        socket.emitWithAck(verb, made).then((answer) => end(resolve, answer), failed);
      };
      const timer = setTimeout(late, milliseconds);
      signal?.addEventListener("abort", aborted);
      begin(send);
    });
  }

  // Make a request once; `begin` gets the function that sends it.
  async function make({ method, url, data, signal, ...options }, begin) {
    const both = Object.entries({ ...headers, ...options.headers });
    const set = Object.fromEntries(both.filter(([, value]) => value !== undefined));
    const payload = { url, data, headers: set };
    const milliseconds = requireTimeout(options.timeout ?? timeout);
    // Without the query string, which may have what is not for a log.
    const name = `${method.toUpperCase()} ${String(url).split("?")[0]}`;
    const answer = await exchange(method.toLowerCase(), payload, name, milliseconds, signal, begin);
    const response = { status: answer.statusCode, body: answer.body, headers: answer.headers };
    if (response.status >= 400) throw new RequestFailed(response, name);
    return response;
  }

  async function request({ standing: stands = false, ...options }) {
    const made = { ...options, method: options.method ?? "get" };
    made.signal?.throwIfAborted();
    if (!stands) return make(made, enqueue);
    requireTimeout(made.timeout ?? timeout); // before it is kept
    const kept = standing.add(made);
    try {
      return await make(made, (send) => {
        if (!everSent.has(kept.send)) kept.send = send;
        enqueue(send);
      });
    } catch (error) {
      standing.settle(kept, error);
      throw error;
    }
  }

  const verb = (method) => (url, data, options) => request({ ...options, method, url, data });
  return {
    request,
    get: verb("get"),
    post: verb("post"),
    put: verb("put"),
    patch: verb("patch"),
    delete: verb("delete"),
    withdraw: (request) => standing.withdraw(request),
    restored: (callback) => follow(onRestored, callback),
    presence: (room, callback) => lists.follow(room, callback),
    since: (room) => positions.of(room),
  };
}
