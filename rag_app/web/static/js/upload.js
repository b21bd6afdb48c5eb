// Upload by button or by dropping files anywhere, with progress and a result for each file.

import { failure, request, signIn } from "./api.js";
import { recount } from "./collections.js";
import { byId, icon, make } from "./dom.js";

const BATCH = 20;
const POLL_MS = 150; // at first; a long reading is asked about less and less often
const POLL_MOST_MS = 1500;
const STATES = { queued: "Waiting", running: "Reading", done: "Ready", failed: "Not read" };

// `done` is called once files are in the index.
export function watchUploads({ done }) {
  if (document.body.dataset.writes !== "yes") return;
  const input = byId("files");
  for (const button of document.querySelectorAll("[data-choose]")) {
    button.addEventListener("click", () => input.click());
  }
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = "";
    upload(files, done);
  });
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) document.body.classList.remove("dragging");
  });
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    document.body.classList.remove("dragging");
    upload([...event.dataTransfer.files], done);
  });
}

async function upload(files, done) {
  const lists = [...document.querySelectorAll("[data-uploads]")];
  const home = lists.find((e) => e.offsetParent !== null || !e.children.length) ?? lists[0];
  const list = home.list ?? opened(home);
  const rows = files.map((file) => new Row(file.name, list.count));
  list.rows.push(...rows);
  list.element.append(...rows.map((row) => row.element));
  list.count();
  for (let at = 0; at < files.length; at += BATCH) {
    const some = rows.slice(at, at + BATCH);
    try {
      const job = await send(files.slice(at, at + BATCH), some);
      await follow(job, some);
      if (some.some((row) => row.state === "done")) {
        done();
        recount().catch(() => {}); // numbers beside names: the next page has them
      }
    } catch (error) {
      for (const row of some) row.show("failed", error.message);
    }
  }
}

// A list with how far it is, and a button that takes it away; what was sent goes on.
function opened(home) {
  const element = make("div", { class: "upload-rows", tabindex: "0", role: "group", "aria-label": "Files" });
  const said = make("span", { class: "upload-count" });
  const close = make("button", { type: "button", class: "ghost small", "aria-label": "Close the list of uploads" }, icon("close", 16));
  const list = { element, rows: [] };
  list.count = () => {
    const of = (...states) => list.rows.filter((row) => states.includes(row.state)).length;
    const failed = of("failed");
    said.textContent = `${of("done")} of ${list.rows.length} read${failed ? `, ${failed} not` : ""}`;
  };
  close.addEventListener("click", () => {
    home.replaceChildren();
    home.list = null;
  });
  home.replaceChildren(make("div", { class: "upload-head" }, said, close), element);
  home.list = list;
  return list;
}

// fetch() cannot tell how much has been sent.
function send(files, rows) {
  return new Promise((resolve, reject) => {
    const body = new FormData();
    body.append("collection", document.body.dataset.collection);
    for (const file of files) body.append("files", file);
    const call = new XMLHttpRequest();
    call.open("POST", "/v1/documents");
    call.upload.onprogress = (event) => {
      for (const row of rows) row.progress(event.loaded / event.total);
    };
    call.onload = async () => {
      if (call.status === 401) signIn();
      if (call.status === 202) resolve(JSON.parse(call.responseText));
      else reject(await failure(new Response(call.responseText, { status: call.status })));
    };
    call.onerror = () =>
      reject(new Error("The upload broke off: too large, or the server is not there any more."));
    call.send(body);
  });
}

async function follow(job, rows) {
  let now = job;
  for (let pause = POLL_MS; ; pause = Math.min(pause * 1.5, POLL_MOST_MS)) {
    now.files.forEach((file, i) => rows[i].show(file.state, file.detail));
    if (now.state === "done") return;
    await new Promise((resolve) => setTimeout(resolve, pause));
    now = await request("GET", `/v1/jobs/${job.id}`);
  }
}

class Row {
  constructor(name, changed) {
    this.changed = changed;
    this.state = "sending";
    this.bar = make("progress", { max: "1", value: "0", "aria-label": `Upload of ${name}` });
    this.label = make("span", { class: "state" }, "Sending");
    this.detail = make("span", { class: "detail" });
    this.sign = make("span", {}, icon("doc", 18));
    this.element = make(
      "div",
      { class: "upload" },
      this.sign,
      make("span", { class: "name" }, name),
      this.label,
      this.detail,
      this.bar,
    );
  }

  progress(share) {
    this.bar.value = share;
  }

  show(state, detail) {
    this.state = state;
    this.changed();
    this.element.className = `upload ${state}`;
    this.label.textContent = STATES[state] ?? state;
    this.detail.textContent = detail;
    if (state === "queued" || state === "running") this.bar.removeAttribute("value");
    if (state === "done" || state === "failed") {
      this.sign.replaceChildren(icon(state === "done" ? "check" : "warn", 18));
    }
  }
}
