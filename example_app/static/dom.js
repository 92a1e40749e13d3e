// What is seen. Texts are set as text, never as HTML: others have written them.

export const $ = (id) => document.getElementById(id);

/** Return a new element with properties and children. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Return a button; `label` is its name for those who do not see what it stands beside. */
export function button(text, label, act, properties = {}) {
  const made = element("button", { type: "button", onclick: act, ...properties }, text);
  made.setAttribute("aria-label", label);
  return made;
}

/** Return what only those see who see; it stands beside words that say the same. */
export function forEyes(className, text) {
  const made = element("span", { className }, text);
  made.setAttribute("aria-hidden", "true");
  return made;
}

/** Return what only screen readers say. */
export const forEars = (text) => element("span", { className: "hidden" }, text);

/** Replace the items of a list, and keep the focus on the button of the same name. */
export function showItems(list, items) {
  const buttons = [...list.querySelectorAll("button")];
  const focused = buttons.indexOf(document.activeElement);
  list.replaceChildren(...items);
  if (focused < 0) return;
  const name = nameOf(buttons[focused]);
  ([...list.querySelectorAll("button")].find((one) => nameOf(one) === name) ?? list).focus();
}

const nameOf = (button) => button.getAttribute("aria-label") ?? button.textContent;

/** Return a time of day, with further options of toLocaleTimeString(). */
export function time(seconds, options = {}) {
  const at = new Date(seconds * 1000);
  const text = at.toLocaleTimeString([], { hour: "numeric", minute: "2-digit", ...options });
  return element("time", { dateTime: at.toISOString() }, text);
}

/** Return a coloured initial; the name stands beside it. */
export function avatar(name) {
  const hue = [...name].reduce((sum, letter) => sum * 31 + letter.codePointAt(0), 7) % 360;
  const made = forEyes("avatar", [...name][0].toUpperCase());
  made.style.background = `oklch(50% 0.13 ${hue})`; // as dark as white letters need, in any hue
  return made;
}
