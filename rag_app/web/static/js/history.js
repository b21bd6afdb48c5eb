// The list of conversations: rename, delete, and the new one on top.

import { request } from "./api.js";
import { ask } from "./dialog.js";
import { announce, byId, icon, make, toast } from "./dom.js";

const list = byId("history");

list.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const item = button.closest("li");
  const run = button.dataset.do === "rename" ? rename : remove;
  run(item).catch((error) => toast(error.message));
});

async function rename(item) {
  const link = item.querySelector("a");
  const title = await ask({ title: "Rename", ok: "Rename", value: link.textContent });
  if (title === null) return;
  const changed = await request("PATCH", path(item), { title });
  link.textContent = link.title = changed.title;
  item.querySelector("summary").setAttribute("aria-label", `More for: ${changed.title}`);
  link.focus();
  announce("Renamed");
}

async function remove(item) {
  const sure = await ask({
    title: "Delete this conversation?",
    text: `\u201c${item.querySelector("a").textContent}\u201d and its answers are deleted for good.`,
    ok: "Delete",
    danger: true,
  });
  if (!sure) return;
  await request("DELETE", path(item));
  const open = item.querySelector("[aria-current]") !== null;
  const next = item.nextElementSibling ?? item.previousElementSibling;
  item.remove();
  announce("Deleted");
  if (open) location.assign(byId("new-conversation").href);
  else (next?.querySelector("a") ?? byId("new-conversation")).focus();
}

const path = (item) => `/v1/conversations/${item.dataset.conversation}`;

// The conversation that is open now, on top of today's.
export function noted(id, title) {
  if (list.querySelector(`[data-conversation="${CSS.escape(id)}"]`)) return;
  document.title = `${title} \u00b7 rankgate`;
  document.querySelector(".topbar-title").textContent = title;
  for (const link of list.querySelectorAll("[aria-current]")) link.removeAttribute("aria-current");
  list.querySelector(":scope > .quiet")?.remove();
  let group = list.querySelector("ul");
  if (list.querySelector("h2")?.textContent !== "Today") {
    group = make("ul");
    list.prepend(make("h2", {}, "Today"), group);
  }
  const exported = (format, name) =>
    make("a", { href: `/v1/conversations/${id}/export?format=${format}`, download: "" }, name);
  const summary = make("summary", { class: "ghost small", "aria-label": `More for: ${title}` });
  summary.append(icon("more", 18));
  group.prepend(
    make(
      "li",
      { "data-conversation": id },
      make("a", { href: `/c/${id}`, title, "aria-current": "page" }, title),
      make(
        "details",
        { class: "menu" },
        summary,
        make(
          "div",
          { class: "menu-items" },
          make("button", { type: "button", "data-do": "rename" }, "Rename"),
          exported("markdown", "Export as Markdown"),
          exported("json", "Export as JSON"),
          make("button", { type: "button", "data-do": "delete", class: "danger" }, "Delete"),
        ),
      ),
    ),
  );
}
