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

function write({ at, text, milliseconds, pid, failed }) {
  const took = milliseconds === null ? "" : `${milliseconds} ms`;
  const where = pid ? element("i", {}, ` process ${pid}`) : "";
  const when = time(at, { second: "2-digit", hour12: false });
  const line = element("li", {}, when, element("span", {}, text, where), element("b", {}, took));
  if (failed) line.className = "failed";
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
  $("admin").hidden = !state.me.moderator;
  const canKill = controls && state.me.moderator;
  const items = [
    ...workers.map((worker) => card(worker, worker.here ? "here" : "", canKill)),
    ...missing.map((worker) => card(worker, "missing", false)),
  ];
  showItems($("workers"), items);
  $("answered").textContent = `${workers.length} of ${items.length} answered in ${milliseconds} ms`;
}

function card(worker, kind, canKill) {
  const clock = `up ${Math.round(worker.age)} s, beats every ${worker.heartbeat_interval} s`;
  const item = element(
    "li",
    { className: kind },
    element("b", {}, worker.pid === null ? "a worker" : `process ${worker.pid}`),
    element("p", {}, element("code", {}, worker.name)),
    element("p", {}, kind === "missing" ? "does not answer" : clock),
  );
  if (worker.numbers) item.append(element("p", {}, stream(worker.numbers)));
  if (kind === "here") item.append(element("p", {}, element("span", { className: "tag" }, "this window")));
  const kill = () => act(api.delete(`/controls/workers/${worker.pid}`));
  if (canKill) item.append(button("Kill", `Kill process ${worker.pid}`, kill));
  return item;
}

/** What a worker has sent to the others: one numbered stream, parts of which may be repeated. */
function stream({ sent, outbox_bytes, retransmissions }) {
  return `stream: ${sent} sent, ${outbox_bytes} bytes waiting, ${retransmissions} repeated`;
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
