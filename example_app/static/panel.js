// What happens underneath: the workers and their clocks, and how long calls and messages took.

import { act, api, socket } from "./connection.js";
import { $, button, element, showItems, time } from "./dom.js";
import { state } from "./state.js";

const EVERY = 1000; // milliseconds between two looks
const LINES = 50;

let timer;

/** Show how long a message was on its way; the clocks are one where all runs on one machine. */
export function heard(message) {
  const milliseconds = Math.max(0, Math.round(Date.now() - message.at * 1000));
  write({ at: message.at, text: `${message.user} spoke in ${message.room}, heard here`, milliseconds });
}

socket.on("underneath", write);

function write({ at, text, milliseconds, pid }) {
  const took = milliseconds === null ? "" : `${milliseconds} ms`;
  const where = pid ? ` · process ${pid}` : "";
  const line = element("li", {}, time(at), element("span", {}, text + where), element("b", {}, took));
  $("events").prepend(line);
  [...$("events").children].slice(LINES).forEach((old) => old.remove());
}

async function look() {
  if (!$("underneath").open) return;
  try {
    const { body } = await api.get("/underneath", undefined, { timeout: 3000 });
    showWorkers(body);
    if (body.controls && state.me.moderator) showBroker((await api.get("/controls/broker")).body);
  } catch {
    $("answered").textContent = "This page is not connected; the last answer is shown.";
  }
  clearTimeout(timer);
  timer = setTimeout(look, EVERY);
}

function showWorkers({ workers, missing, milliseconds, controls }) {
  showItems($("workers"), workers.map((worker) => {
    const where = `process ${worker.pid} on ${worker.host}`;
    const clock = `up ${Math.round(worker.age)} s · beats every ${worker.heartbeat_interval} s`;
    const text = element("div", {}, element("b", {}, worker.name), element("p", {}, where), element("p", {}, clock));
    const item = element("li", { className: worker.here ? "here" : "" }, text);
    if (worker.here) text.append(element("p", { className: "tag" }, "holds this window"));
    if (controls && state.me.moderator) {
      item.append(button("Kill", `Kill process ${worker.pid}`, () => act(api.delete(`/controls/workers/${worker.pid}`))));
    }
    return item;
  }));
  const answered = `${workers.length} answered in ${milliseconds} ms`;
  $("answered").textContent = missing.length ? `${answered}; no answer from ${missing.join(", ")}` : answered;
}

function showBroker({ running }) {
  $("broker").hidden = running === null;
  $("broker-state").textContent = running ? "The broker runs." : "The broker is stopped.";
  $("broker-stop").hidden = !running;
  $("broker-start").hidden = running;
}

$("broker-stop").addEventListener("click", () => act(api.delete("/controls/broker")));
$("broker-start").addEventListener("click", () => act(api.put("/controls/broker")));
$("underneath").addEventListener("toggle", () => {
  if ($("underneath").open) look();
  else api.put("/leave-fun-room", { roomName: "panel:underneath" }).catch(() => {});
});
