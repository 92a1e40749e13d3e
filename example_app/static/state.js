// What this tab knows, and the URLs of it.

export const PRIVATE = "private:"; // how the names of private rooms begin

export const state = {
  me: { user: "", moderator: false },
  listed: [], // the rooms that one may see
  current: null, // the room that is shown
  members: new Set(), // the rooms that this socket is in: empty after a disconnect
  wanted: new Map(), // the rooms that this tab wants to be in, with what it knows of them
};

/** Want to be in a room. */
export function want(room) {
  const known = { messages: new Map(), typing: new Map(), unread: 0, people: [], banned: [] };
  if (!state.wanted.has(room)) state.wanted.set(room, known);
  return state.wanted.get(room);
}

export const isMember = (room) => state.members.has(room);
export const called = (room) => room.replace(PRIVATE, "");
export const url = (room, ...rest) => ["/rooms", ...[room, ...rest].map(encodeURIComponent)].join("/");
