/**
 * Lets sails.io.js 1.2.1, which was written for socket.io-client 2, work with socket.io-client 4.
 *
 * In a page, load it between the two. In Node:
 *
 *     const io = require("sails.io.js")(adapt(require("socket.io-client")));
 */
(function () {
  "use strict";

  function adapt(io) {
    // sails.io.js keeps its options in properties that are not enumerable; socket.io-client 4 copies
    // only those that are, and so would connect to a path of its own, without the query.
    function enumerable(options) {
      const copy = {};
      for (const name of Object.getOwnPropertyNames(options)) {
        if (options[name] !== undefined) copy[name] = options[name];
      }
      return copy;
    }

    // Events of which socket.io-client 2 told the socket, too, and sails.io.js waits for them.
    function forward(socket) {
      const tell = (event) => (...args) => socket.listeners(event).forEach((hear) => hear(...args));
      socket.io.on("reconnect", tell("reconnect"));
      socket.io.on("reconnect_attempt", tell("reconnecting"));
      socket.on("connect_error", tell("error"));
    }

    function connect(url, options) {
      const socket = io(url, options && enumerable(options));
      forward(socket);
      return socket;
    }
    return Object.assign(connect, io);
  }

  if (typeof module === "object" && module.exports) module.exports = adapt;
  else globalThis.io = adapt(globalThis.io);
})();
