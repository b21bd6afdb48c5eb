// Shortcuts, and what Esc closes. Single letters rest in text fields and can be switched off.

import { recall } from "./store.js";

const shortcuts = new Map();
const escapes = [];

export const shortcut = (key, run) => shortcuts.set(key, run);

// Asked in the order of registration; the first that had something to close returns true.
export const onEscape = (close) => escapes.push(close);

const writing = (target) => target.closest?.("input, textarea, select, [contenteditable]");

document.addEventListener("keydown", (event) => {
  if (event.isComposing || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (escapes.some((close) => close())) event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || writing(event.target)) return;
  const run = shortcuts.get(event.key);
  if (run && recall("letters", "yes") === "yes") {
    event.preventDefault();
    run();
  }
});
