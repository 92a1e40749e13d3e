// Who is in the room that is shown, who is banned from it, and what a moderator may do with them.

import { act, api } from "./connection.js";
import { $, avatar, button, element, showItems } from "./dom.js";
import { state, url } from "./state.js";

/** Follow who is in a room; the server sends the list, and what changes. */
export function followPeople(name, room) {
  room.unfollow ??= api.presence(name, (people) => {
    room.people = people.filter(({ user }) => user !== null);
    showPeople();
  });
}

/** Ask who is banned from a room. */
export async function askWhoIsBanned(name, room) {
  room.banned = (await api.get(url(name, "bans"))).body.banned;
  showPeople();
}

export function showPeople() {
  const { people = [], banned = [] } = state.wanted.get(state.current) ?? {};
  const byName = [...people].sort((a, b) => (a.user < b.user ? -1 : 1));
  $("people-title").textContent = `People here: ${people.length}`;
  showItems($("people"), byName.map(({ user, data }) => {
    const mine = user === state.me.user;
    const item = element("li", {}, avatar(user), name(mine ? `${user} (you)` : user));
    if (data.some(({ moderator }) => moderator)) item.append(element("span", { className: "tag" }, "moderator"));
    if (state.me.moderator && !mine) {
      item.append(control("Kick", "delete", "people", user), control("Ban", "put", "bans", user));
    }
    return item;
  }));
  $("banned-box").hidden = banned.length === 0;
  showItems($("banned"), banned.map((user) => {
    const item = element("li", {}, avatar(user), name(user));
    if (state.me.moderator) item.append(control("Forgive", "delete", "bans", user));
    return item;
  }));
}

const name = (text) => element("span", { className: "name" }, text);

const control = (text, verb, path, user) =>
  button(text, `${text} ${user}`, () => act(api[verb](url(state.current, path, user))));
