// The documents of a collection: search, sort, open, delete one or many; and the collection itself.

import { request } from "./api.js";
import { recount } from "./collections.js";
import { ask } from "./dialog.js";
import { announce, byId, icon, make, toast } from "./dom.js";
import { watchUploads } from "./upload.js";

const { collection, writes } = document.body.dataset;
const STATES = { indexed: "Ready", pending: "Being read", failed: "Not read" };
const mayWrite = writes === "yes";
const where = new URLSearchParams({ collection });
const table = byId("documents");
let documents = [];
let order = { key: "name", down: false };
const chosen = new Set();

const complain = (error) => toast(error.message);
const file = (one) => `/v1/documents/${one.id}/file?${where}`;
const day = (when) => (when === null ? "\u2013" : new Date(when).toLocaleDateString(undefined, { dateStyle: "medium" }));

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const steps = ["kB", "MB", "GB"];
  let value = bytes / 1000;
  while (value >= 1000 && steps.length > 1) {
    value /= 1000;
    steps.shift();
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${steps[0]}`;
}

async function list() {
  const found = [];
  for (let page = { has_more: true }; page.has_more; ) {
    const query = new URLSearchParams({ collection, limit: 1000 });
    if (page.last_id) query.set("after", page.last_id);
    page = await request("GET", `/v1/documents?${query}`);
    found.push(...page.data);
  }
  documents = found;
  const there = new Set(found.map((one) => one.id));
  for (const id of chosen) if (!there.has(id)) chosen.delete(id);
  show();
  document.body.dataset.ready = "yes";
}

function shown() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (one) => {
    const text = `${one.name} ${one.title ?? ""}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const sign = order.down ? -1 : 1;
  const value = (one) => one[order.key] ?? "";
  const compare = (a, b) =>
    typeof value(a) === "number"
      ? value(a) - value(b)
      : String(value(a)).localeCompare(String(value(b)), undefined, { numeric: true });
  return documents.filter(fits).sort((a, b) => sign * compare(a, b));
}

function show() {
  const rows = shown();
  table.tBodies[0].replaceChildren(...rows.map(row));
  table.hidden = documents.length === 0;
  byId("search").hidden = documents.length < 2;
  const failed = documents.filter((d) => d.state === "failed").length;
  const read = documents.filter((d) => d.state === "indexed").length;
  const all = `${read} read${failed ? `, ${failed} not` : ""}`;
  const some = rows.length === documents.length ? all : `${rows.length} of ${documents.length} shown`;
  byId("count").textContent = documents.length ? some : mayWrite ? "Nothing here yet. Drop files above." : "Nothing here yet.";
  choose();
}

function choose() {
  byId("delete-chosen").hidden = chosen.size === 0;
  byId("delete-chosen").textContent = `Delete ${chosen.size} chosen`;
  const all = byId("choose-all");
  if (all) all.checked = chosen.size > 0 && shown().every((one) => chosen.has(one.id));
}

function row(one) {
  const state = make("td", { class: `state ${one.state}` }, STATES[one.state] ?? one.state);
  if (one.error) state.append(make("div", { class: "title" }, one.error));
  const name = make("td", { class: "what" });
  if (one.state === "failed") name.append(make("div", { class: "name" }, one.name));
  else if (one.kind === "pdf") name.append(make("a", { class: "name", href: file(one), target: "_blank", rel: "noopener" }, one.name));
  else {
    const open = make("button", { type: "button", class: "name as-link" }, one.name);
    open.addEventListener("click", () => read(one).catch(complain));
    name.append(open);
  }
  if (one.title && one.title !== one.name) name.append(make("div", { class: "title" }, one.title));
  const pages = one.pages ? ` (${one.pages} page${one.pages === 1 ? "" : "s"})` : "";
  const cells = [
    name,
    state,
    make("td", { class: "number" }, size(one.bytes)),
    make("td", { class: "number" }, day(one.changed)),
    make("td", { class: "number" }, `${one.passages}${pages}`),
  ];
  if (!mayWrite) return make("tr", {}, ...cells);
  const box = make("input", { type: "checkbox", "aria-label": `Choose ${one.name}` });
  box.checked = chosen.has(one.id);
  box.addEventListener("change", () => {
    if (box.checked) chosen.add(one.id);
    else chosen.delete(one.id);
    choose();
  });
  const label = { type: "button", class: "ghost small", "aria-label": `Delete ${one.name}` };
  const remove = make("button", label, icon("bin", 18));
  remove.addEventListener("click", () => away([one]).catch(complain));
  return make("tr", {}, make("td", { class: "choose" }, box), ...cells, make("td", { class: "act" }, remove));
}

async function read(one) {
  const part = await request("GET", `/v1/documents/${one.id}/text?${where}`);
  byId("reader-title").textContent = one.title || one.name;
  byId("reader-text").textContent = part.end < part.length ? `${part.text}\u2026` : part.text;
  byId("reader-file").href = file(one);
  byId("reader").showModal();
  byId("reader-text").scrollTop = 0;
}

async function away(some) {
  const many = some.length > 1 ? `${some.length} documents` : some[0].name;
  const elsewhere = some.filter((one) => !one.uploaded).length;
  const sure = await ask({
    title: `Delete ${many}?`,
    text: elsewhere
      ? "Taken out of the index. Files that were not uploaded stay where they are, and the next ingestion of their folder brings them back."
      : "Taken out of the index, and what was uploaded is deleted.",
    ok: "Delete",
    danger: true,
  });
  if (!sure) return;
  await request("POST", "/v1/documents/delete", { ids: some.map((one) => one.id), collection });
  announce(`${many} deleted`);
  await Promise.all([list(), recount()]);
  byId("main").focus();
}

const go = (name) => location.assign(`/documents?${new URLSearchParams(name ? { collection: name } : {})}`);
const ways = {
  async create() {
    const name = await ask({ title: "New collection", text: "3 to 63 letters, digits, dots, dashes or underscores.", ok: "Make it", value: "" });
    if (name === null) return;
    await request("POST", "/v1/collections", { name });
    go(name);
  },
  async rename() {
    const name = await ask({ title: `Rename ${collection}`, text: "Conversations and keys follow.", ok: "Rename", value: collection });
    if (name === null || name === collection) return;
    await request("PATCH", `/v1/collections/${encodeURIComponent(collection)}`, { name });
    go(name);
  },
  async drop() {
    const title = `Delete ${collection} with its ${documents.length} documents?`;
    const text = "What was uploaded to it is deleted; files elsewhere stay where they are.";
    if (!(await ask({ title, text, ok: "Delete", danger: true }))) return;
    await request("DELETE", `/v1/collections/${encodeURIComponent(collection)}`);
    go(null);
  },
};
for (const button of document.querySelectorAll("[data-collection-do]")) {
  button.addEventListener("click", () => ways[button.dataset.collectionDo]().catch(complain));
}
byId("search").addEventListener("input", show);
byId("delete-chosen").addEventListener("click", () =>
  away(documents.filter((one) => chosen.has(one.id))).catch(complain),
);
byId("choose-all")?.addEventListener("change", (event) => {
  for (const one of shown()) {
    if (event.target.checked) chosen.add(one.id);
    else chosen.delete(one.id);
  }
  show();
});
for (const button of table.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const key = button.dataset.sort;
    order = { key, down: order.key === key && !order.down };
    for (const head of table.querySelectorAll("[aria-sort]")) head.setAttribute("aria-sort", "none");
    button.closest("th").setAttribute("aria-sort", order.down ? "descending" : "ascending");
    show();
  });
}
watchUploads({ done: () => list().catch(complain) });
list().catch(complain);
