// What a file is, as far as its name and the browser's guess tell, so that nobody sends a text by mistake.

const RECORDINGS = set("mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts vob flv wmv asf ogg ogv oga opus wav aif aiff caf flac mp3 aac m4a wma 3gp jpg jpeg png webp bmp");
const OTHERS = set("md txt rtf pdf doc docx odt xls xlsx ods ppt pptx odp csv tsv json xml yaml yml toml html htm css js py r m ipynb tex zip gz tar 7z rar exe eaf textgrid annotation safetensors sqlite3");

function set(words) {
  return new Set(words.split(" "));
}

/**
 * What a file is.
 * @param {{type: string}} file
 * @param {string} name
 * @returns {"recording"|"other"|"unknown"} unknown where only the server can tell
 */
export function kindOf(file, name) {
  const suffix = name.includes(".") ? name.split(".").pop().toLowerCase() : "";
  if (RECORDINGS.has(suffix) || /^(video|audio)\//.test(file.type)) return "recording";
  if (OTHERS.has(suffix) || /^(text|font)\/|^application\/(pdf|json|zip)$/.test(file.type)) return "other";
  return "unknown";
}
