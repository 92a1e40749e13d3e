// Evaluates the expressions of its standard input: node console.js NODE_MODULES
//
// Each line of the standard input is a JSON string, the source of an expression, which may be a
// promise. For each of them comes one line on the standard output, in order: a JSON object of one
// member, value or error. `npm` requires a package of npm, and `load` imports a module from a URL.

"use strict";

const path = require("node:path");
const readline = require("node:readline");

const PATIENCE = 60000; // milliseconds without a line; who waits for an answer then gets the end

const [nodeModules] = process.argv.slice(2);

globalThis.npm = (name) => require(path.resolve(nodeModules, name));

// Node itself imports modules from files only, and the same source only once.
let loaded = 0;
globalThis.load = async (url) => {
  const source = await (await fetch(url)).text();
  return import(`data:text/javascript,${encodeURIComponent(source)}//${++loaded}`);
};

const timer = setTimeout(() => {
  console.error(`Nothing has happened for ${PATIENCE} milliseconds.`);
  process.exit(1);
}, PATIENCE);

async function answer(line) {
  timer.refresh();
  try {
    return { value: (await (0, eval)(JSON.parse(line))) ?? null };
  } catch (error) {
    return { error: String(error?.stack ?? error) };
  }
}

readline
  .createInterface({ input: process.stdin })
  .on("line", async (line) => process.stdout.write(JSON.stringify(await answer(line)) + "\n"))
  .on("close", () => process.exit(0));
