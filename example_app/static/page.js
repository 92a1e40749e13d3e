"use strict";

// One tab: a Socket.IO client whose requests are served by the Flask routes of the example.

const ANSWER_TIMEOUT = 15000; // milliseconds
const $ = (id) => document.getElementById(id);
const rooms = new Set(); // those this tab wants to be in, to join again after a reconnection
let socket;

// ---- requests: {url, data} goes out as an event named like the verb; the answer comes back

async function request(verb, url, data = {}) {
  try {
    const answer = await socket.timeout(ANSWER_TIMEOUT).emitWithAck(verb, { url, data });
    const { statusCode, body } = answer;
    const head = `${verb.toUpperCase()} ${url} ${statusCode}`;
    if (body.message) write(statusCode < 400 ? "answer" : "refusal", head, body.message);
    return answer;
  } catch {
    write("refusal", "error", `No answer to ${verb} ${url}.`);
    return { statusCode: 0, body: {} };
  }
}

async function join(room) {
  const answer = await request("put", "/join-fun-room", { roomName: room });
  if (answer.statusCode === 200) rooms.add(room);
  else rooms.delete(room);
  showRooms();
}

async function leave(room) {
  const answer = await request("put", "/leave-fun-room", { roomName: room });
  if (answer.statusCode === 200) rooms.delete(room);
  showRooms();
}

// ---- what the worker tells

async function connected() {
  $("status").textContent = "connected";
  const { body } = await request("get", "/me");
  $("me").textContent = body.name;
  $("worker").textContent = body.worker;
  $("socket-id").textContent = body.socketId;
  document.title = `${body.name} – Flask-Rooms`;
  write("event", "connected", `as ${body.name}, to the worker ${body.worker}`);
  for (const room of [...rooms]) await join(room);
}

function disconnected(reason) {
  $("status").textContent = "disconnected";
  write("refusal", "disconnected", reason);
}

function banned(message) {
  rooms.clear();
  showRooms();
  write("refusal", "banned", message.text);
}

function connect(name) {
  sessionStorage.setItem("name", name);
  $("welcome").hidden = true;
  $("connected").hidden = false;
  $("me").textContent = name;
  socket = io({ transports: ["websocket"], auth: { name } });
  socket.on("connect", connected);
  socket.on("disconnect", disconnected);
  socket.on("connect_error", (error) => disconnected(error.message));
  socket.on("message", (said) => write("message", `${said.from} in ${said.room}`, said.text));
  socket.on("people", showPeople);
  socket.on("banned", banned);
}

// ---- what is seen; always as text, never as HTML, for others have written it

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function button(text, label, act) {
  const made = element("button", text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

function item(name, note, ...buttons) {
  const made = element("li", "");
  made.append(element("span", name, "name"), element("span", note, "note"), ...buttons);
  return made;
}

function showRooms() {
  $("rooms").replaceChildren(...[...rooms].map((room) =>
    item(room, "", button("Leave", `Leave ${room}`, () => leave(room)))));
}

function showPeople(people) {
  $("people").replaceChildren(...people.map((person) => {
    const url = `/users/${person.id}/ban`;
    const tabs = person.tabs === 1 ? "1 tab" : `${person.tabs} tabs`;
    return person.banned
      ? item(person.name, `${tabs}, banned`,
        button("Forgive", `Forgive ${person.name}`, () => request("delete", url)))
      : item(person.name, tabs,
        button("Ban", `Ban ${person.name}`, () => request("put", url)));
  }));
}

function write(kind, head, text) {
  const log = $("log");
  const line = element("li", "", kind);
  const time = element("time", new Date().toLocaleTimeString());
  line.append(time, element("b", head), element("span", text));
  log.append(line);
  log.scrollTop = log.scrollHeight;
}

// ---- what the person does

function onSubmit(id, act) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
}

onSubmit("connect", () => connect($("name").value.trim()));
onSubmit("join", () => {
  $("speak-room").value = $("room").value;
  join($("room").value);
});
onSubmit("speak", () => {
  request("post", "/speak", { roomName: $("speak-room").value, text: $("text").value });
  $("text").value = "";
});

$("name").value = sessionStorage.getItem("name") ?? "";
