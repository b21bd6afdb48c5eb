// The documents of a collection: what was read, what was not and why; delete.

import { request } from "./api.js";
import { recount } from "./collections.js";
import { ask } from "./dialog.js";
import { announce, byId, icon, make, toast } from "./dom.js";
import { watchUploads } from "./upload.js";

const { collection } = document.body.dataset;
const STATES = { indexed: "Ready", pending: "Being read", failed: "Not read" };

async function list() {
  const documents = [];
  for (let page = { has_more: true }; page.has_more; ) {
    const query = new URLSearchParams({ collection, limit: 1000 });
    if (page.last_id) query.set("after", page.last_id);
    page = await request("GET", `/v1/documents?${query}`);
    documents.push(...page.data);
  }
  byId("documents").tBodies[0].replaceChildren(...documents.map(row));
  byId("documents").hidden = documents.length === 0;
  const read = documents.filter((d) => d.state === "indexed").length;
  const failed = documents.filter((d) => d.state === "failed").length;
  byId("count").textContent = documents.length
    ? `${read} read${failed ? `, ${failed} not` : ""}`
    : "Nothing here yet. Drop files above.";
  document.body.dataset.ready = "yes";
}

function row(one) {
  const state = make("td", { class: one.state }, STATES[one.state] ?? one.state);
  if (one.error) state.append(make("div", { class: "title" }, one.error));
  const name = make("td", {}, make("div", { class: "name" }, one.name));
  if (one.title && one.title !== one.name) name.append(make("div", { class: "title" }, one.title));
  const remove = make(
    "button",
    { type: "button", class: "ghost small", "aria-label": `Delete ${one.name}` },
    icon("bin", 18),
  );
  remove.addEventListener("click", () => away(one).catch((error) => toast(error.message)));
  return make(
    "tr",
    {},
    name,
    state,
    make("td", { class: "number" }, one.pages ? String(one.pages) : "\u2013"),
    make("td", { class: "number" }, String(one.passages)),
    make("td", {}, remove),
  );
}

async function away(one) {
  const sure = await ask({
    title: `Delete ${one.name}?`,
    text: one.uploaded
      ? "It is taken out of the index, and the uploaded file is deleted."
      : "It is taken out of the index. The file stays where it is, and the next ingestion of its folder brings it back.",
    ok: "Delete",
    danger: true,
  });
  if (!sure) return;
  const query = new URLSearchParams({ collection });
  await request("DELETE", `/v1/documents/${one.id}?${query}`);
  announce(`${one.name} is deleted`);
  await Promise.all([list(), recount()]);
  byId("main").focus();
}

watchUploads({ done: () => list().catch((error) => toast(error.message)) });
list().catch((error) => toast(error.message));
