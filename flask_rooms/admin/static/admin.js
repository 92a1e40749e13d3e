/** The admin page: asks for the state of the cluster again and again, and shows it. */

import { Chart, number } from "./charts.js";
import { bdi, button, make, show, table, visible } from "./dom.js";

/** Milliseconds between two looks at the workers, and at the rooms, which cost more. */
const WORKERS = 2000;
const ROOMS = 10000;

const element = (id) => document.getElementById(id);
const namespace = () => element("namespace").value || "/";
let paused = false;

// -- asking ----------------------------------------------------------------------------------

async function ask(path, options = {}) {
  const response = await fetch(path, { credentials: "same-origin", ...options });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The server has answered ${response.status}.`);
  return answer;
}

function data(name, about = {}) {
  return ask(`data/${name}?${new URLSearchParams({ namespace: namespace(), ...about })}`);
}

function tell(text, problem = false) {
  const status = element("status");
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("problem", problem);
}

/** Do something, and say what went wrong if it fails. */
async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    tell(error.message, true);
    return false;
  }
}

// -- the workers -----------------------------------------------------------------------------

const charts = {
  sockets: new Chart("Sockets"),
  memberships: new Chart("Memberships"),
  calls: new Chart("Calls", "/s"),
  events: new Chart("Events", "/s"),
  failed: new Chart("Failed calls", "/s"),
  refusals: new Chart("Refusals", "/s"),
};
const RATES = ["calls", "events", "failed", "refusals"];
element("charts").append(...Object.values(charts).map((chart) => chart.element));

/** The last look: worker -> its numbers, and when. */
let before = { numbers: {}, at: 0 };

/** How much a number of one worker has grown in a second; null if it is not known. */
function rate(worker, name, at) {
  const former = before.numbers[worker.name];
  if (!former) return null;
  return (Math.max(0, worker.numbers[name] - former[name]) * 1000) / (at - before.at);
}

async function look() {
  const { workers, totals, complete, missing, here, acts } = await data("cluster");
  const at = performance.now();
  charts.sockets.add(totals.sockets);
  charts.memberships.add(totals.memberships);
  const rates = (name) => workers.map((one) => rate(one, name, at)).filter((one) => one !== null);
  const sum = (values) => (values.length ? values.reduce((a, b) => a + b) : null);
  for (const name of RATES) charts[name].add(sum(rates(name)));
  show("workers", workerTable(workers, here, at));
  show("acts", actTable(acts));
  before = { numbers: Object.fromEntries(workers.map((one) => [one.name, one.numbers])), at };
  const silent = missing.map((one) => `No answer from ${visible(one.name)}.`).join(" ");
  const known = `${workers.length} workers, ${number(totals.sockets)} sockets.`;
  tell(complete ? known : `${known} ${silent || "There may be more."}`, !complete);
}

function workerTable(workers, here, at) {
  const columns = ["Worker", "Process", "Version", "#Sockets", "#Users", "#Rooms", "#Memberships",
    "#Calls/s", "#Events/s", "#Outbox"];
  return table("Workers", columns, workers.map((one) => {
    const { sockets, users, rooms, memberships, outbox_bytes } = one.numbers;
    const per = (name) => (rate(one, name, at) === null ? "–" : number(rate(one, name, at)));
    return [
      [bdi(one.name), one.name === here ? " (this one)" : ""],
      place(one), visible(one.version ?? "–"),
      ...[sockets, users, rooms, memberships].map(number),
      per("calls"), per("events"), `${number(outbox_bytes)} B`,
    ];
  }));
}

function place({ host, pid }) {
  return host === null ? "–" : [`${pid} on `, bdi(host)];
}

function actTable(acts) {
  if (!acts.length) return make("p", { class: "quiet" }, "Nothing since this worker started.");
  return table("What operators did", ["Time", "Who", "Act", "To whom", "Outcome"], acts.map((one) => [
    new Date(one.at * 1000).toLocaleString(), bdi(one.who), one.act, bdi(one.target), bdi(one.outcome),
  ]));
}

// -- rooms, people, sockets ------------------------------------------------------------------

async function lookAtRooms() {
  show("rooms", ...roomTable(await data("rooms")));
}

function roomTable({ rooms, count, complete }, caption = "Largest rooms") {
  const open = (name) => button(bdi(name), () => attempt(() => openRoom(name)), "link");
  const rows = rooms.map(({ name, members }) => [open(name), number(members)]);
  return [
    table(caption, ["Room", "#Members"], rows),
    make("p", { class: "quiet" }, shown(rooms.length, count, complete)),
  ];
}

function shown(some, all, complete) {
  const told = some < all ? `The first ${some} of ${number(all)}.` : `${number(all)} in all.`;
  return complete ? told : `${told} Not every worker has answered.`;
}

async function search(text) {
  if (/^[a-z2-7]{16}_[a-z2-7]{24}$/.test(text)) return openPerson(text);
  const [rooms, people] = await Promise.all([
    data("rooms", { prefix: text }), data("people", { text }),
  ]);
  const open = (id) => button(bdi(id), () => attempt(() => openPerson(id)), "link");
  show(
    "found",
    make("h3", {}, "Rooms that begin with it"), ...roomTable(rooms, "Rooms found"),
    make("h3", {}, "Users whose ID contains it"),
    table("Users found", ["User"], people.users.map((id) => [open(id)])),
    make("p", { class: "quiet" }, shown(people.users.length, people.count, people.complete)),
  );
}

function openDetail(title, ...body) {
  element("detail").hidden = false;
  element("detail-title").replaceChildren(...title);
  show("detail-body", ...body);
}

async function openRoom(name, focus = true) {
  const room = await data("room", { name });
  const again = () => openRoom(name, false);
  const sid = (id) => button(bdi(id), () => attempt(() => openPerson(id)), "link");
  const out = (who) => act("Take out", { act: "leave", room: name, ...who }, again);
  openDetail(
    ["Room ", bdi(name)],
    make("p", { class: "quiet" }, shown(room.sockets.length, room.count, room.complete)),
    act("Take everyone out", { act: "empty", room: name }, again),
    make("h3", {}, "Users"),
    table("Users in the room", ["User", "Act"], room.users.map((id) => [
      button(bdi(id), () => attempt(() => openPerson(id)), "link"), out({ user: id }),
    ])),
    make("h3", {}, "Sockets"),
    table("Sockets in the room", ["Socket", "Worker", "Act"], room.sockets.map((one) => [
      sid(one.sid), place(one.worker), out({ sid: one.sid }),
    ])),
  );
  if (focus) element("detail-title").focus();
}

async function openPerson(id, focus = true) {
  const person = await data("person", { id });
  const again = () => openPerson(id, false);
  const room = (name) => button(bdi(name), () => attempt(() => openRoom(name)), "link");
  const all = person.is_socket ? { sid: id } : { user: id };
  openDetail(
    [person.is_socket ? "Socket " : "User ", bdi(id)],
    make("p", { class: "quiet" }, shown(person.sockets.length, person.count, person.complete)),
    act(person.is_socket ? "Disconnect" : "Disconnect everywhere", { act: "disconnect", ...all }, again),
    ...person.sockets.map((one) => make(
      "div", {}, make("h3", {}, bdi(one.sid)),
      make("p", { class: "quiet" }, "Process ", ...[place(one.worker)].flat()),
      table(`Rooms of ${one.sid}`, ["Room", "Act"], one.rooms.map((name) => [
        room(name), act("Take out", { act: "leave", room: name, sid: one.sid }, again),
      ])),
    )),
  );
  if (focus) element("detail-title").focus();
}

// -- acts ------------------------------------------------------------------------------------

/** A button that asks first, does something, and shows what has become of it. */
function act(text, what, again) {
  const about = ["room", "user", "sid"].filter((key) => key in what);
  const told = about.map((key) => `${key === "sid" ? "socket" : key} ${visible(what[key])}`).join(", ");
  const press = async () => {
    if (!(await confirmed(`${text}: ${told}?`))) return;
    await attempt(async () => {
      const outcome = await ask("acts", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Flask-Rooms-Admin": "1" },
        body: JSON.stringify({ namespace: namespace(), ...what }),
      });
      await Promise.all([again(), look(), lookAtRooms()]);
      tell(`${text}: ${outcome.changed} changed, ${outcome.unknown.length} unknown.`);
    });
  };
  const name = make("button", { type: "button", class: "danger", "aria-label": `${text}: ${told}` }, text);
  name.addEventListener("click", press);
  return name;
}

function confirmed(question) {
  const dialog = element("confirm");
  element("question").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// -- begin -----------------------------------------------------------------------------------

/** Do something now and again, as long as the page is looked at. */
async function repeat(work, pause) {
  if (!paused && document.visibilityState === "visible") await attempt(work);
  setTimeout(() => repeat(work, pause), pause);
}

element("search").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => search(element("text").value));
});
element("namespace").addEventListener("change", () => attempt(lookAtRooms));
element("pause").addEventListener("click", ({ target }) => {
  paused = !paused;
  target.setAttribute("aria-pressed", String(paused));
});
repeat(look, WORKERS);
repeat(lookAtRooms, ROOMS);
