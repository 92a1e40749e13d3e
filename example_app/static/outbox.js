// What this tab says: kept until the server has stored it, also over a lost connection.

import { RequestFailed } from "../js/rooms.js";
import { api, explain, socket } from "./connection.js";

const RETRY = 1000; // milliseconds

export class Outbox {
  #waiting = [];
  #sending = false;
  #isMember;
  #stored;

  /** `isMember(room)`: whether it can be sent now. `stored(message)`: called with each. */
  constructor(isMember, stored) {
    this.#isMember = isMember;
    this.#stored = stored;
  }

  /** Return what waits for a room, in order. */
  of(room) {
    return this.#waiting.filter((one) => one.room === room);
  }

  add(room, text) {
    // The server stores a key once, so a message whose answer was lost may be sent again.
    const key = [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16)).join("");
    this.#waiting.push({ room, text, key });
    this.send();
  }

  drop(key) {
    this.#waiting = this.#waiting.filter((one) => one.key !== key);
  }

  async send() {
    if (this.#sending) return;
    this.#sending = true;
    try {
      let next;
      while (socket.connected && (next = this.#next())) await this.#sendOne(next);
    } finally {
      this.#sending = false;
    }
  }

  #next() {
    return this.#waiting.find((one) => !one.problem && this.#isMember(one.room));
  }

  async #sendOne(one) {
    const { room, text, key } = one;
    try {
      const url = `/rooms/${encodeURIComponent(room)}/messages`;
      this.#stored((await api.post(url, { text, key })).body);
    } catch (error) {
      if (error instanceof RequestFailed) {
        one.problem = explain(error);
        this.#stored(one);
      } else {
        await new Promise((resolve) => setTimeout(resolve, RETRY));
      }
    }
  }
}
