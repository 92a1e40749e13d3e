// Socket.IO's own server: node socketio_worker.js redis-adapter|redis-streams-adapter URL
//
// It is set up as the adapters' documentation has it, and does what the lines of its standard input
// say, as driver.py explains.

"use strict";

const http = require("node:http");
const readline = require("node:readline");
const { setTimeout: sleep } = require("node:timers/promises");
const { createClient } = require("redis");
const { Server } = require("socket.io");

const [adapter, url] = process.argv.slice(2);

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const now = () => Number(process.hrtime.bigint()); // exact while the machine is younger than 104 days

async function connected(client) {
  // Without a listener the first error would end the process.
  client.on("error", (error) => console.error(`${error}`));
  await client.connect();
  return client;
}

const adapters = {
  "redis-adapter": async () => {
    const publisher = createClient({ url });
    const subscriber = publisher.duplicate();
    await Promise.all([connected(publisher), connected(subscriber)]);
    return require("@socket.io/redis-adapter").createAdapter(publisher, subscriber);
  },
  "redis-streams-adapter": async () => {
    const client = await connected(createClient({ url }));
    return require("@socket.io/redis-streams-adapter").createAdapter(client);
  },
};

let called = 0;
let watched = null;

const commands = (io) => ({
  join({ sid, rooms }) {
    io.of("/").sockets.get(sid).join(rooms);
    say({ did: "join" });
  },

  rooms({ sid }) {
    say({ did: "rooms", rooms: [...(io.of("/").sockets.get(sid)?.rooms ?? [])] });
  },

  watch({ room }) {
    if (watched === null) {
      io.of("/").adapter.on("leave-room", (left) => {
        const at = now();
        if (left === watched) say({ left, at });
      });
    }
    watched = room;
    say({ did: "watch" });
  },

  cpu() {
    const { user, system } = process.cpuUsage(); // in microseconds
    say({ did: "cpu", spent: (user + system) * 1000 });
  },

  called() {
    say({ did: "called", count: called });
  },

  async leave({ sid, rooms, interval, announce }) {
    const errors = {};
    const began = now();
    let longest = 0;
    for (const [number, room] of rooms.entries()) {
      if (number === announce) say({ reached: number });
      const calling = now();
      called += 1;
      try {
        io.in(sid).socketsLeave(room);
      } catch (error) {
        errors[room] = error.name;
      }
      longest = Math.max(longest, now() - calling);
      if (interval) await sleep(interval * 1000);
    }
    say({ did: "leave", began, ended: now(), longest, errors });
  },
});

async function main() {
  const server = http.createServer();
  const io = new Server(server, { adapter: await adapters[adapter]() });
  server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
  const known = commands(io);
  readline
    .createInterface({ input: process.stdin })
    .on("line", (line) => {
      const { do: name, ...given } = JSON.parse(line);
      known[name](given);
    })
    .on("close", () => process.exit(0));
}

// The adapters leave the promises of what they publish alone. One that fails with its connection
// would end the process, which says nothing about leaves: here it is logged instead.
process.on("unhandledRejection", (error) => console.error(`unhandled: ${error}`));

main();
