// The frame of every page: colours, menu, collection, history, shortcuts.

import { byId } from "./dom.js";
import "./history.js";
import { onEscape, shortcut } from "./keyboard.js";
import { recall, remember } from "./store.js";

const THEMES = { system: "System", light: "Light", dark: "Dark" };

function showTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme-name").textContent = THEMES[theme];
  byId("theme").setAttribute("aria-label", `Colours: ${THEMES[theme]}`);
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const theme = names[(names.indexOf(recall("theme", "system")) + 1) % names.length];
  remember("theme", theme);
  showTheme(theme);
}

showTheme(recall("theme", "system") in THEMES ? recall("theme", "system") : "system");
byId("theme").addEventListener("click", nextTheme);

// The menu of narrow windows.
const side = byId("side");
const page = document.querySelector(".page");

function setMenu(open) {
  side.classList.toggle("open", open);
  byId("scrim").hidden = !open;
  page.inert = open;
  byId("side-open").setAttribute("aria-expanded", String(open));
  (open ? byId("side-close") : byId("side-open")).focus();
}

byId("side-open").addEventListener("click", () => setMenu(true));
byId("side-close").addEventListener("click", () => setMenu(false));
byId("scrim").addEventListener("click", () => {
  if (side.classList.contains("open")) setMenu(false);
});

byId("collection").addEventListener("change", (event) => {
  const path = document.body.dataset.page === "chat" ? "/" : location.pathname;
  location.assign(`${path}?collection=${encodeURIComponent(event.target.value)}`);
});

// Small menus close by themselves.
const menus = () => [...document.querySelectorAll("details.menu[open]")];
document.addEventListener("click", (event) => {
  const chosen = event.target.closest(".menu-items") !== null;
  for (const menu of menus()) if (chosen || !menu.contains(event.target)) menu.open = false;
});
onEscape(() => {
  const [menu] = menus();
  if (!menu) return false;
  menu.open = false;
  menu.querySelector("summary").focus();
  return true;
});
onEscape(() => {
  if (!side.classList.contains("open")) return false;
  setMenu(false);
  return true;
});

const help = () => byId("shortcuts").showModal();
byId("help").addEventListener("click", help);
byId("letters").checked = recall("letters", "yes") === "yes";
byId("letters").addEventListener("change", (event) =>
  remember("letters", event.target.checked ? "yes" : "no"),
);
shortcut("?", help);
shortcut("t", nextTheme);
shortcut("n", () => location.assign(byId("new-conversation").href));
