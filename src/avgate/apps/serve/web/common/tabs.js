// Tabs, as the ARIA practices have them; the address names the open one.

import { element } from "./dom.js";

const names = ["videos", "live", "annotate"];
const openings = new Map();

/** Do something whenever a tab opens, and now where it is open. @param {string} name @param {() => void} action */
export function onTab(name, action) {
  openings.set(name, action);
  if (!element(name).hidden) action();
}

/** Open a tab. @param {string} name @param {boolean} focus whether the keyboard goes there */
export function openTab(name, focus = false) {
  for (const each of names) {
    const here = each === name;
    element(each).hidden = !here;
    const tab = element(`tab-${each}`);
    tab.setAttribute("aria-selected", String(here));
    tab.tabIndex = here ? 0 : -1;
    if (here && focus) tab.focus();
  }
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
  openings.get(name)?.();
}

/** Let the tabs follow mouse and keyboard, and open the one that the address names. */
export function startTabs() {
  names.forEach((name, i) => {
    const tab = element(`tab-${name}`);
    tab.addEventListener("click", () => openTab(name));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: names.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      openTab(names[(to + names.length) % names.length], true);
    });
  });
  const named = () => names.find((name) => `#${name}` === location.hash) ?? names[0];
  addEventListener("hashchange", () => openTab(named()));
  openTab(named());
}
