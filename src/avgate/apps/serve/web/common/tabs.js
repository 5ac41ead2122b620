// Tabs, as the ARIA practices have them. The address names the open one, or a recording: #videos, #camera, #annotate,
// #job/ID; Back and Forward go from one to the other.

import { element } from "./dom.js";

const addresses = { videos: "videos", live: "camera", annotate: "annotate" };
const names = Object.keys(addresses);
const openings = new Map();
/** @type {(id: string) => void} */
let showJob = () => {};

/** Do something whenever a tab opens, and now where it is open. @param {string} name @param {() => void} action */
export function onTab(name, action) {
  openings.set(name, action);
  if (!element(name).hidden) action();
}

/** Do something, now and later, with the recording that the address names; "" for none. @param {(id: string) => void} action */
export function onAddress(action) {
  showJob = action;
  action(named().job);
}

/** Open a tab. @param {string} name @param {boolean} focus whether the keyboard goes there */
export const openTab = (name, focus = false) => go(`#${addresses[name]}`, focus);

/** The address of a recording. @param {string} id @returns {string} */
export const jobAddress = (id) => `#job/${id}`;

/** Go to an address of the page. @param {string} hash @param {boolean} focus whether the keyboard goes to its tab */
export function go(hash, focus = false) {
  if (location.hash !== hash) history.pushState(null, "", hash);
  show(focus);
}

function named() {
  const [place, job = ""] = location.hash.slice(1).split("/");
  if (place === "job") return { name: "videos", job };
  return { name: names.find((name) => addresses[name] === place) ?? names[0], job: "" };
}

function show(focus) {
  const { name, job } = named();
  for (const each of names) {
    const here = each === name;
    element(each).hidden = !here;
    const tab = element(`tab-${each}`);
    tab.setAttribute("aria-selected", String(here));
    tab.tabIndex = here ? 0 : -1;
    if (here && focus) tab.focus();
  }
  showJob(job);
  openings.get(name)?.();
}

/** Let the tabs follow mouse, keyboard and address. */
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
  addEventListener("popstate", () => show(false));
  show(false);
}
