// Where the page begins: words first, then its three parts.

import { askJson } from "./common/api.js";
import { element, tell } from "./common/dom.js";
import { knowModels, offerModels } from "./common/models.js";
import { openTab, startTabs } from "./common/tabs.js";
import { loadWords } from "./common/words.js";
import { startAnnotating } from "./annotate/annotate.js";
import { offerSavedFormats } from "./annotate/saved.js";
import { startLive } from "./live/live.js";
import { offerFormats, showAgain, startVideos } from "./videos/videos.js";

await loadWords();
startTabs();
element("go-live").addEventListener("click", () => {
  openTab("live", true);
  element("live-start").focus();
});

startVideos();
startLive();
startAnnotating();

/** Ask for a list; what fails is said, and leaves the rest at work. @param {string} path */
async function list(path) {
  try {
    return await askJson(path);
  } catch (error) {
    tell(element("trouble"), error.message);
    return [];
  }
}

// A server that has just begun loads its models first, which takes seconds; recordings are taken meanwhile.
list("api/formats").then((formats) => {
  offerFormats(formats);
  offerSavedFormats(formats.map((format) => format.name));
});
list("api/models").then((models) => {
  knowModels(models);
  showAgain();
  offerModels(models, "model", "model-notes");
  offerModels(models.filter((model) => model.causal), "live-model", "live-notes");
  element("live-start").disabled = false;
});
