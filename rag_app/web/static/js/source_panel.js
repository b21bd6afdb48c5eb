// A cited source beside the answer: its passage with the quoted words marked.

import { request } from "./api.js";
import { byId, make, showSanitised } from "./dom.js";
import { fileName, pages, place } from "./words.js";

const AROUND = 500;
const panel = byId("source-panel");
const sheet = matchMedia("(max-width: 40rem)");
let shown = null; // {sources, index, collection, opener, note}

export const isOpen = () => shown !== null;

// `note` is told the number of each source that is opened.
export function open({ sources, number, collection, opener, note }) {
  mark(false);
  shown = { sources, collection, opener, note, index: sources.findIndex((s) => s.number === number) };
  panel.hidden = false;
  setModal(sheet.matches);
  show();
  byId("source-title").focus();
  // The answer is narrower now, and its lines have moved.
  opener?.scrollIntoView({ block: "nearest" });
}

export function close() {
  if (!shown) return false;
  const { opener } = shown;
  mark(false);
  shown = null;
  panel.hidden = true;
  setModal(false);
  if (opener?.isConnected) opener.focus();
  return true;
}

export function step(by) {
  if (!shown) return;
  const index = shown.index + by;
  if (index < 0 || index >= shown.sources.length) return;
  mark(false);
  shown.index = index;
  show();
}

byId("source-close").addEventListener("click", close);
byId("source-previous").addEventListener("click", () => step(-1));
byId("source-next").addEventListener("click", () => step(1));
byId("scrim").addEventListener("click", close);
sheet.addEventListener("change", () => shown && setModal(sheet.matches));

// Over a whole phone nothing behind the panel can be meant.
function setModal(modal) {
  document.querySelector(".page").inert = modal;
  byId("side").inert = modal;
  byId("scrim").hidden = !modal;
  if (modal) panel.setAttribute("aria-modal", "true");
  else panel.removeAttribute("aria-modal");
}

function mark(expanded) {
  shown?.opener?.closest(".turn")
    ?.querySelectorAll(`[data-source="${shown.sources[shown.index]?.number}"]`)
    .forEach((e) => e.setAttribute("aria-expanded", String(expanded)));
}

async function show() {
  const here = shown;
  const { sources, index, collection } = here;
  const source = sources[index];
  mark(true);
  byId("source-number").textContent = `Source ${source.number} of ${sources.length}`;
  byId("source-title").textContent = source.title;
  byId("source-path").textContent = [place(source), fileName(source), pages(source)]
    .filter(Boolean)
    .join(" \u00b7 ");
  byId("source-previous").disabled = index === 0;
  byId("source-next").disabled = index === sources.length - 1;
  link(source, collection);
  const text = byId("source-text");
  text.replaceChildren();
  const still = () => shown === here && shown.index === index;
  const quoted = (said) => [
    ...source.quotes.flatMap((quote) => [make("mark", {}, quote.text), "\n\n"]),
    make("span", { class: "gap" }, said),
  ];
  if (source.document === null) {
    // A kept answer, and its passage is not in the index any more: there is nothing to read.
    text.replaceChildren(...quoted("The source is gone: its document was deleted or has changed."));
    here.note?.(source.number);
    return;
  }
  try {
    const parts = await excerpts(source, collection);
    if (still()) text.replaceChildren(...parts);
  } catch (error) {
    // The document may have gone since; what it said is still in the answer's record.
    if (still()) {
      text.replaceChildren(...quoted(`The document cannot be read now: ${error.message}`));
    }
  }
  if (still()) text.querySelector("mark")?.scrollIntoView({ block: "center" });
  here.note?.(source.number);
}

function link(source, collection) {
  const anchor = byId("source-file");
  anchor.hidden = source.document === null;
  if (anchor.hidden) return;
  const file = `/v1/documents/${source.document}/file?collection=${encodeURIComponent(collection)}`;
  const pdf = source.page !== null;
  anchor.href = pdf ? `${file}#page=${source.page}` : file;
  anchor.querySelector("span").textContent = pdf
    ? `Open the PDF at page ${source.page}`
    : `Download ${fileName(source).split("/").pop()}`;
}

// The quoted places with some text around; places close to each other are one.
async function excerpts(source, collection) {
  const quotes = [...source.quotes].sort((a, b) => a.start - b.start);
  const spans = [];
  for (const quote of quotes) {
    const last = spans.at(-1);
    if (last && quote.start - AROUND <= last.end) {
      last.quotes.push(quote);
      last.end = Math.max(last.end, quote.end + AROUND);
    } else {
      const start = Math.max(0, quote.start - AROUND);
      spans.push({ start, end: quote.end + AROUND, quotes: [quote] });
    }
  }
  const read = await Promise.all(
    spans.map((span) => {
      const quotes = span.quotes.map((quote) => `${quote.start}-${quote.end}`).join(",");
      const query = new URLSearchParams({ collection, start: span.start, end: span.end, quotes });
      return request("GET", `/v1/documents/${source.document}/text?${query}`);
    }),
  );
  return read.flatMap((part, i) => [
    ...(part.start > 0 ? [make("span", { class: "gap" }, "\u2026")] : []),
    ...(part.html === undefined ? marked(part, spans[i].quotes) : [rendered(part.html)]),
    ...(i === read.length - 1 && part.end < part.length
      ? [make("span", { class: "gap" }, "\u2026")]
      : []),
  ]);
}

// A rendered part; the server has put a letter of private use before and after each quote.
function rendered(html) {
  const box = make("div", { class: "rendered" });
  showSanitised(box, html);
  const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  let inside = false;
  for (const node of nodes) {
    const made = [];
    for (const part of node.data.split(/([\ue000\ue001])/)) {
      if (part === "\ue000" || part === "\ue001") inside = part === "\ue000";
      else if (part) made.push(inside && part.trim() ? make("mark", {}, part) : part);
    }
    node.replaceWith(...made);
  }
  return box;
}

function marked(part, quotes) {
  // Offsets count characters as Python does; JavaScript's own strings count surrogates.
  const letters = Array.from(part.text);
  const cut = (from, to) => letters.slice(from - part.start, to - part.start).join("");
  const pieces = [];
  let at = part.start;
  for (const quote of quotes) {
    const start = Math.max(at, quote.start);
    if (quote.end <= start) continue;
    pieces.push(cut(at, start), make("mark", {}, cut(start, quote.end)));
    at = quote.end;
  }
  pieces.push(cut(at, part.end));
  // Not from the middle of a word.
  if (part.start > 0) pieces[0] = pieces[0].replace(/^\S*\s/, "");
  if (part.end < part.length) pieces.push(pieces.pop().replace(/\s\S*$/, ""));
  return pieces;
}
