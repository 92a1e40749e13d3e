// A client that carries out the lines of its standard input: node client.js MODULE URL
//
// Each line of the standard input is a JSON array, an event to emit with its arguments. Each line
// of the standard output is a JSON object of one member: connected (the socket ID), acknowledged
// (the answer to what was emitted) or received (an event with its arguments).

"use strict";

const readline = require("node:readline");

const LIFETIME = 60000; // milliseconds, after which a reader that waits for a line gets the end instead

const [module_, url] = process.argv.slice(2);
const { io } = require(module_);

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

function fail(error) {
  console.error(error);
  process.exit(1);
}

const socket = io(url, { transports: ["websocket"], reconnection: false });
socket.on("connect", () => say({ connected: socket.id }));
socket.on("connect_error", fail);
socket.on("disconnect", () => say({ received: ["disconnect"] }));
socket.onAny((...received) => say({ received }));

readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => socket.emit(...JSON.parse(line), (acknowledged) => say({ acknowledged })))
  .on("close", () => process.exit(0));

setTimeout(() => fail(`Still here after ${LIFETIME} milliseconds.`), LIFETIME);
