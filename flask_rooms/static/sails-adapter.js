/**
 * Adapts socket.io-client 4 for sails.io.js 1.2.1, which was written for socket.io-client 2.
 *
 * In a page, load this script after socket.io-client and before sails.io.js. In Node:
 *
 *     const io = require("sails.io.js")(adapt(require("socket.io-client")));
 */
(function () {
  "use strict";

  function adapt(io) {
    // sails.io.js stores its options in non-enumerable properties. socket.io-client 4 copies only
    // enumerable ones, so it would connect to its default path, without the query.
    function enumerable(options) {
      const copy = {};
      for (const name of Object.getOwnPropertyNames(options)) {
        if (options[name] !== undefined) copy[name] = options[name];
      }
      return copy;
    }

    // Unlike a listener, this runs first, and the page's removeAllListeners() does not remove it.
    function observe(socket, event, observer) {
      const emitReserved = socket.emitReserved;
      socket.emitReserved = (emitted, ...args) => {
        if (emitted === event) observer(...args);
        return emitReserved.call(socket, emitted, ...args);
      };
    }

    // sails.io.js waits for events that socket.io-client 2 also emitted on the socket.
    function forward(socket) {
      const tell = (event) => (...args) => socket.emitReserved(event, ...args);
      socket.io.on("reconnect", tell("reconnect"));
      socket.io.on("reconnect_attempt", tell("reconnecting"));
      observe(socket, "connect_error", tell("error"));
    }

    // At most so many requests are unanswered at once; the rest waits here, where it costs the
    // server nothing.
    const WINDOW = 64;

    function pace(socket, sails) {
      const emit = socket.emit;
      let waiting = [];
      let unanswered = new Set();

      function send([answer, ...event]) {
        const request = {};
        unanswered.add(request);
        const answered = (...args) => {
          if (unanswered.delete(request)) sendAll();
          answer(...args);
        };
        try {
          emit.call(socket, ...event, Object.assign(answered, answer)); // emitWithAck() marks its own
        } catch (error) {
          unanswered.delete(request); // it cannot be encoded
          throw error;
        }
      }
      // One that cannot be encoded keeps no other from being sent; the page is told.
      function sendNext() {
        try {
          send(waiting.shift());
        } catch (error) {
          queueMicrotask(() => {
            throw error;
          });
        }
      }
      function sendAll() {
        while (waiting.length > 0 && unanswered.size < WINDOW) sendNext();
      }
      socket.emit = (...event) => {
        const flags = Object.keys(socket.flags || {}); // they are those of one event, now
        if (typeof event.at(-1) !== "function" || flags.length > 0) {
          return emit.call(socket, ...event);
        }
        const request = [event.pop(), ...event];
        if (waiting.length === 0 && unanswered.size < WINDOW) send(request);
        else waiting.push(request);
        return socket;
      };
      observe(socket, "disconnect", () => {
        unanswered = new Set(); // what was sent before is not answered any more
        // sails.io.js now tells the page that these have failed, so they must not be carried out
        // later. After a sleep, socket.io-client has kept some for the next connection.
        const ended = new Set(sails._requestCtxs);
        waiting = waiting.filter(([, , request]) => !ended.has(request));
        socket.sendBuffer = socket.sendBuffer.filter(({ data }) => !ended.has(data[1]));
      });
      observe(socket, "connect", sendAll);
    }

    function connect(url, options) {
      if (!options?.eventQueue) return io(url, options); // it is no socket of sails.io.js
      const socket = io(url, enumerable(options));
      forward(socket);
      pace(socket, options);
      return socket;
    }
    return Object.assign(connect, io);
  }

  if (typeof module === "object" && module.exports) module.exports = adapt;
  else globalThis.io = adapt(globalThis.io);
})();
