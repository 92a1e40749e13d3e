/** Small charts of numbers over time, as SVG. */

/** How many values a chart shows. */
const KEPT = 150;
const SVG = "http://www.w3.org/2000/svg";

/** A chart of one number, of which it keeps the latest values. */
export class Chart {
  #values = [];
  #line = document.createElementNS(SVG, "polyline");
  #now = document.createElement("strong");
  #svg = document.createElementNS(SVG, "svg");

  constructor(title, unit = "") {
    this.title = title;
    this.unit = unit;
    this.element = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.append(title, this.#now);
    this.#svg.setAttribute("viewBox", "0 0 100 30");
    this.#svg.setAttribute("preserveAspectRatio", "none");
    this.#svg.setAttribute("role", "img");
    this.#svg.append(this.#line);
    this.element.append(caption, this.#svg);
    this.add(null);
  }

  /** Add a value; null where it is not known. */
  add(value) {
    this.#values.push(value);
    this.#values.splice(0, this.#values.length - KEPT);
    const known = this.#values.filter((one) => one !== null);
    const most = Math.max(1, ...known);
    const points = this.#values.flatMap((one, index) =>
      one === null ? [] : [`${(index * 100) / (KEPT - 1)},${29 - (28 * one) / most}`]
    );
    this.#line.setAttribute("points", points.join(" "));
    this.#now.textContent = value === null ? "–" : `${number(value)}${this.unit}`;
    const range = known.length ? `now ${this.#now.textContent}, at most ${number(most)}` : "no value yet";
    this.#svg.setAttribute("aria-label", `${this.title}: ${range}`);
  }
}

/** A number for people. */
export function number(value) {
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
}
