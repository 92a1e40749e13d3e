// The connection: what it does while there is none, and in whose name it is.

import { rooms, RequestFailed } from "../js/rooms.js";
import { $ } from "./dom.js";

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}

if (typeof io === "undefined") {
  status("down", "The Socket.IO client could not be loaded: install npm for ./dev, or go online.");
  throw new Error("no Socket.IO client");
}

export const socket = io({ transports: ["websocket"], reconnectionDelayMax: 2000 });
export const api = rooms(socket);

/** Show a failure in words; what the server says is meant for people. */
export function explain(error) {
  if (error instanceof RequestFailed) return error.body?.message ?? "The server could not do that.";
  return "There was no answer. Try again when the connection is back.";
}

let timer;

/** Show a sentence for a while. */
export function notify(text) {
  $("notice").textContent = text;
  clearTimeout(timer);
  timer = setTimeout(() => ($("notice").textContent = ""), 10_000);
}

/** Make a request for a person, who is told what came of it; return whether it was done. */
export async function act(request) {
  try {
    const { body } = await request;
    if (body?.message) notify(body.message);
    return true;
  } catch (error) {
    notify(explain(error));
    return false;
  }
}

const AWAY = "Connection lost, trying again … What you write is sent when it is back.";

socket.on("connect", () => status("up", "Connected"));
socket.on("connect_error", () => status("down", AWAY));
socket.on("disconnect", (reason) => {
  status("down", AWAY);
  // Socket.IO tries again by itself, except after a disconnect that the server wanted.
  if (reason === "io server disconnect") setTimeout(() => socket.connect(), 500);
});
