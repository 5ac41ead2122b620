// The page's words, all from one file: words/en.json, or another language's with ?lang=.

/** @type {Record<string, string>} */
let words = {};

/** Load the words; those that another language lacks stay English. */
export async function loadWords() {
  const asked = new URLSearchParams(location.search).get("lang") ?? "en";
  const language = /^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$/.test(asked) ? asked : "en";
  const load = async (name) => {
    const answer = await fetch(new URL(`../words/${name}.json`, import.meta.url));
    return answer.ok ? answer.json() : null;
  };
  const [english, own] = await Promise.all([load("en"), language === "en" ? null : load(language)]);
  words = { ...english, ...own };
  document.documentElement.lang = own ? language : "en";
  document.title = word("title");
  putWords(document);
}

/**
 * The words of that key.
 * @param {string} key
 * @param {Record<string, string|number>} values for what stands in braces
 * @returns {string}
 */
export function word(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** Whether there are words of that key. @param {string} key @returns {boolean} */
export const hasWord = (key) => key in words;

/** Fill the elements that name their words. @param {ParentNode} root */
export function putWords(root) {
  for (const each of root.querySelectorAll("[data-word]")) each.textContent = word(each.dataset.word);
  for (const each of root.querySelectorAll("[data-label]")) each.setAttribute("aria-label", word(each.dataset.label));
}
