// The chat: being in rooms, also after a lost connection, and what the person does.

import { act, api, explain, notify, socket } from "./connection.js";
import { $, element, forEars, forEyes, showItems } from "./dom.js";
import { clearMessages, showMessages, showTyping } from "./messages.js";
import { Outbox } from "./outbox.js";
import * as panel from "./panel.js";
import { askWhoIsBanned, followPeople, showPeople } from "./people.js";
import { PRIVATE, called, isMember, state, url, want } from "./state.js";
import { Disconnected, RequestFailed } from "../js/rooms.js";

const TYPING = 3000; // milliseconds for which a person counts as typing

const outbox = new Outbox(isMember, receive);

// ---- being in rooms: memberships end with the connection, so this asks for them again

socket.on("disconnect", () => state.members.clear());
socket.on("connect", async () => {
  try {
    state.me = (await api.get("/me")).body;
    $("me").textContent = state.me.user + (state.me.moderator ? ", moderator" : "");
    await listRooms();
    if (state.current === null) await open(sessionStorage.getItem("room") || "lobby");
    for (const room of [...state.wanted.keys()]) if (!isMember(room)) await enter(room);
  } catch (error) {
    if (error instanceof RequestFailed && error.status === 401) location.reload();
    else if (!(error instanceof Disconnected)) notify(explain(error));
  }
});

async function enter(room) {
  try {
    await api.put("/join-fun-room", { roomName: room });
  } catch (error) {
    if (!(error instanceof RequestFailed)) throw error;
    forget(room);
    notify(explain(error));
    return;
  }
  state.members.add(room);
  const known = want(room);
  followPeople(room, known);
  const after = Math.max(0, ...known.messages.keys());
  const { body } = await api.get(url(room, "messages"), { after });
  body.messages.forEach(receive);
  outbox.send();
  showAll();
  await askWhoIsBanned(room, known);
}

async function open(room) {
  state.current = room;
  want(room);
  clearMessages();
  showAll();
  try {
    if (!isMember(room) && socket.connected) await enter(room);
  } catch {
    // The connection is lost: the room is entered when it is back.
  }
}

function forget(room) {
  state.members.delete(room);
  state.wanted.get(room)?.unfollow?.();
  state.wanted.delete(room);
  if (state.current === room) {
    state.current = [...state.wanted.keys()][0] ?? null;
    clearMessages();
  }
  showAll();
}

async function listRooms() {
  state.listed = (await api.get("/rooms")).body.rooms;
  showRooms();
}

// ---- what the server tells

function receive(message) {
  if (message.user === state.me.user) outbox.drop(message.key);
  const room = state.wanted.get(message.room);
  if (room && message.number && !room.messages.has(message.number)) {
    room.messages.set(message.number, message);
    room.typing.delete(message.user);
    if (message.room !== state.current) room.unread += 1;
  }
  showRooms();
  showMessages(outbox.of(state.current));
  showTyping();
}

socket.on("message", (message) => {
  panel.heard(message);
  receive(message);
});
socket.on("rooms", () => listRooms().catch(() => {}));
socket.on("bans", ({ room }) => {
  if (isMember(room)) askWhoIsBanned(room, want(room)).catch(() => {});
});
socket.on("removed", ({ room }) => {
  forget(room);
  notify(`A moderator has taken you out of ${called(room)}.`);
  listRooms().catch(() => {});
});
socket.on("typing", ({ room, user }) => {
  const typing = state.wanted.get(room)?.typing;
  clearTimeout(typing?.get(user));
  typing?.set(user, setTimeout(() => typing.delete(user) && showTyping(), TYPING));
  showTyping();
});

// ---- what is seen

function showAll() {
  const { current } = state;
  if (current !== null) want(current).unread = 0;
  sessionStorage.setItem("room", current ?? "");
  $("room").textContent = current === null ? "Choose a room" : called(current);
  document.title = current === null ? "Flask-Rooms" : `${called(current)} – Flask-Rooms`;
  $("leave").hidden = current === null;
  $("invite").hidden = !current?.startsWith(PRIVATE);
  for (const control of $("speak").elements) control.disabled = current === null;
  showRooms();
  showMessages(outbox.of(current));
  showTyping();
  showPeople();
}

function showRooms() {
  const names = [...new Set([...state.listed, ...state.wanted.keys()])].sort();
  showItems($("rooms"), names.map((room) => {
    const unread = state.wanted.get(room)?.unread;
    const item = element("button", { type: "button", onclick: () => open(room) });
    item.className = state.wanted.has(room) ? "in" : "";
    const closed = room.startsWith(PRIVATE);
    item.append(forEyes(closed ? "sign lock" : "sign", "#"), called(room));
    if (closed) item.append(forEars(", private"));
    if (unread) item.append(forEyes("unread", String(unread)), forEars(`, ${unread} unread`));
    if (room === state.current) item.setAttribute("aria-current", "true");
    return element("li", {}, item);
  }));
  $("rooms").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

// ---- what the person does

function onSubmit(id, done) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    done();
  });
}

let typedAt = 0;

onSubmit("speak", () => {
  const text = $("text").value.trim();
  if (text) outbox.add(state.current, text);
  $("text").value = "";
  typedAt = 0;
  showMessages(outbox.of(state.current));
});

$("text").addEventListener("input", () => {
  if (!isMember(state.current) || Date.now() - typedAt < TYPING / 2) return;
  typedAt = Date.now();
  api.post(url(state.current, "typing")).catch(() => {});
});

onSubmit("create", async () => {
  const data = { name: $("room-name").value.trim(), private: $("private").checked };
  if (!(await act(api.post("/rooms", data)))) return;
  $("create").reset();
  $("new-room").open = false;
  await open(data.private ? PRIVATE + data.name : data.name);
});

onSubmit("invite", async () => {
  const guest = $("guest").value.trim();
  if (await act(api.put(url(state.current, "guests", guest)))) $("invite").reset();
});

$("leave").addEventListener("click", async () => {
  const room = state.current;
  if (await act(api.put("/leave-fun-room", { roomName: room }))) forget(room);
  $("room").focus();
});

// On a phone the people are folded away.
const narrow = matchMedia("(max-width: 50rem)");
const fold = () => ($("people-box").open = !narrow.matches);
narrow.addEventListener("change", fold);
fold();
