// One small question in the way: a confirmation, or a line of text.

import { byId } from "./dom.js";

// Resolves to the text (or true without an input), and to null where it was called off.
export function ask({ title, text = "", ok, value, danger = false }) {
  const dialog = byId("ask");
  const input = byId("ask-input");
  const before = document.activeElement;
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = text;
  byId("ask-text").hidden = !text;
  byId("ask-ok").textContent = ok;
  byId("ask-ok").classList.toggle("danger", danger);
  input.hidden = value === undefined;
  input.disabled = value === undefined;
  input.value = value ?? "";
  dialog.returnValue = "cancel";
  dialog.showModal();
  // What cannot be undone is not one Enter away.
  if (value !== undefined) input.select();
  else if (!danger) byId("ask-ok").focus();
  // Enter in the text field would press the first button, which is Cancel.
  input.onkeydown = (event) => {
    if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      dialog.close("ok");
    }
  };
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        before?.focus?.();
        if (dialog.returnValue !== "ok") resolve(null);
        else resolve(value === undefined ? true : input.value.trim() || null);
      },
      { once: true },
    );
  });
}
