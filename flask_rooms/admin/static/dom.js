/** Elements whose text is never taken for HTML, as clients choose the names of rooms and users. */

/** What would not be seen, or would change how the text around it is read. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;

/** An element with attributes and children; strings become text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A name, isolated from the direction of the text around it, with all its characters to be seen. */
export function bdi(name) {
  return make("bdi", {}, visible(name));
}

/** A name whose hidden characters are written as their numbers. */
export function visible(name) {
  const code = (character) => `\\u{${character.codePointAt(0).toString(16)}}`;
  return name === "" ? "(empty)" : name.replace(HIDDEN, code);
}

/** A table that scrolls by itself where it is too wide; columns with a # are numbers. */
export function table(caption, columns, rows) {
  const kind = (column) => (column.startsWith("#") ? { class: "number" } : {});
  const head = columns.map((one) => make("th", { scope: "col", ...kind(one) }, one.replace("#", "")));
  const body = rows.map((row) =>
    make("tr", {}, ...row.map((cell, index) => make("td", kind(columns[index]), ...[cell].flat())))
  );
  return make(
    "div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body))
  );
}

/** A button with a text. */
export function button(text, onclick, kind = "") {
  return make("button", { type: "button", class: kind, onclick }, ...[text].flat());
}

/** Replace what an element shows; the focus stays where it was among the buttons. */
export function show(id, ...children) {
  const element = document.getElementById(id);
  const focused = [...element.querySelectorAll("button, [tabindex]")].indexOf(document.activeElement);
  element.replaceChildren(...children);
  element.querySelectorAll("button, [tabindex]")[focused]?.focus();
}
