// Elements of the page.

/** The element of that id. @param {string} id @returns {any} */
export const element = (id) => document.getElementById(id);

/**
 * A new element.
 * @param {string} tag
 * @param {object} properties of the element; those of `data` and `aria` go to attributes
 * @param {...(Node|string)} children
 * @returns {any}
 */
export function make(tag, properties = {}, ...children) {
  const { data = {}, aria = {}, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, data);
  for (const [name, value] of Object.entries(aria)) made.setAttribute(`aria-${name}`, value);
  made.append(...children);
  return made;
}

/** Say something to those who listen to the page. @param {string} text */
export function say(text) {
  element("said").textContent = text;
}

/** Show a text in an element, or hide it where there is none. @param {any} where @param {string} text */
export function tell(where, text) {
  if (where.textContent !== text) where.textContent = text;
  where.hidden = !text;
}

/** A colour of the page's style. @param {string} name without the dashes @returns {string} */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/**
 * A canvas as large as the page shows it, empty, ready to be drawn on in the page's pixels.
 * @param {HTMLCanvasElement} canvas
 */
export function pen(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const size = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const paint = canvas.getContext("2d");
  paint.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  paint.clearRect(0, 0, width, height);
  paint.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return { paint, width, height };
}

/** Whether whoever looks at the page wants little to move. @returns {boolean} */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Offer bytes as a file. @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
