// Who is in the room that is shown, and what a moderator may do with them.

import { act, api, socket } from "./connection.js";
import { $, avatar, button, element, showItems } from "./dom.js";
import { isMember, state, url } from "./state.js";

let asking = false;
let askAgain = false;

/** Ask who is there; where many changes come at once, once for all that came meanwhile. */
export async function showPeople() {
  askAgain = true;
  if (asking) return;
  asking = true;
  while (askAgain && socket.connected && isMember(state.current)) {
    askAgain = false;
    const room = state.current;
    const found = await api.get(url(room, "people")).catch(() => null);
    if (found && room === state.current) show(found.body);
  }
  asking = false;
}

/** Show no one until it is known who is in another room. */
export function clearPeople() {
  show({ people: [], banned: [], complete: true });
}

function show({ people, banned, complete }) {
  const { current, me } = state;
  const can = (verb, text, user, ...path) =>
    button(text, `${text} ${user}`, () => act(api[verb](url(current, ...path, user))));
  $("people-title").textContent = `People here: ${people.length}`;
  $("incomplete").hidden = complete;
  showItems($("people"), people.map((user) => {
    const mine = user === me.user;
    const item = person(mine ? `${user} (you)` : user, user);
    if (me.moderator && !mine) {
      item.append(can("delete", "Kick", user, "people"), can("put", "Ban", user, "bans"));
    }
    return item;
  }));
  $("banned-box").hidden = banned.length === 0;
  showItems($("banned"), banned.map((user) => {
    const item = person(user, user);
    if (me.moderator) item.append(can("delete", "Forgive", user, "bans"));
    return item;
  }));
}

function person(text, user) {
  return element("li", {}, avatar(user), element("span", { className: "name" }, text));
}
