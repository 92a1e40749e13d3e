// What is said in the room that is shown: stored messages, then those that wait to be sent.

import { $, avatar, element, time } from "./dom.js";
import { state } from "./state.js";

/** Show what is new; messages that come late are put where they belong. */
export function showMessages(waiting) {
  const list = $("messages");
  list.querySelectorAll(".pending").forEach((item) => item.remove());
  const there = new Map([...list.children].map((item) => [item.dataset.number, item]));
  const messages = [...(state.wanted.get(state.current)?.messages.values() ?? [])];
  let next = null;
  for (const message of messages.sort((a, b) => b.number - a.number)) {
    const item = there.get(String(message.number)) ?? list.insertBefore(itemOf(message), next);
    next = item;
  }
  for (const { text, problem } of waiting) {
    const item = itemOf({ user: state.me.user, text, note: problem ?? "waiting to be sent" });
    item.classList.add("pending");
    list.append(item);
  }
  showLast();
}

function showLast() {
  $("log").scrollTop = $("log").scrollHeight;
}

new ResizeObserver(showLast).observe($("log"));

/** Show another room from the beginning. */
export function clearMessages() {
  $("messages").replaceChildren();
}

export function showTyping() {
  const names = [...(state.wanted.get(state.current)?.typing.keys() ?? [])];
  $("typing").textContent = isTyping(names);
}

function isTyping(names) {
  if (names.length === 0) return "";
  return names.length === 1 ? `${names[0]} is typing …` : `${names.join(" and ")} are typing …`;
}

function itemOf({ number, user, text, at, note }) {
  const when = at ? time(at) : element("i", {}, note);
  const by = element("p", { className: "by" }, element("b", {}, user), when);
  const body = element("div", {}, by, element("p", { className: "text" }, text));
  const item = element("li", { className: user === state.me.user ? "own" : "" }, avatar(user), body);
  item.dataset.number = number;
  return item;
}
