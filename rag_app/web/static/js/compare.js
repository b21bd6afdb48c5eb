// One question with and without reranking. The address holds every control.

import { request } from "./api.js";
import { announce, byId, make, showSanitised, toast } from "./dom.js";
import { draw } from "./rank_lines.js";
import {
  explained,
  milliseconds,
  place,
  probability,
  reason,
  score,
  status,
  threshold,
} from "./words.js";

const FIRST = 10;
const { collection } = document.body.dataset;
const form = byId("controls");
let found = null; // the server's answer
let whole = false; // whether all candidates are shown
let policyFloor = null; // as the policy has it; known after a comparison that did not change it

const given = () => Object.fromEntries(new FormData(form));

function fromAddress() {
  const query = new URLSearchParams(location.search);
  for (const name of ["q", "k", "refuse", "drop"]) {
    const value = query.get(name);
    if (value !== null && form.elements[name]) form.elements[name].value = value;
  }
  if (query.get("scorer")) offer(query.get("scorer")).selected = true;
  const gate = query.get("gate");
  if (["auto", "always", "never"].includes(gate)) form.elements.gate.value = gate;
}

// The option of a scorer, made if the server has not named it yet.
function offer(id) {
  const list = form.elements.scorer;
  const known = [...list.options].find((option) => option.value === id);
  if (known) return known;
  const option = make("option", { value: id }, id);
  if (!byId("others")) list.append(make("optgroup", { id: "others", label: "Others here" }));
  byId("others").append(option);
  return option;
}

// What can score this collection. Without documents there is nothing to score, and no list.
async function offerScorers() {
  const query = new URLSearchParams({ collection });
  const { scorers } = await request("GET", `/v1/compare/scorers?${query}`);
  for (const { id, configured } of scorers) {
    if (configured) form.elements.scorer.options[0].textContent = id;
    else offer(id);
  }
}

function toAddress() {
  const query = new URLSearchParams({ collection });
  for (const [name, value] of Object.entries(given())) {
    if (value && !(name === "gate" && value === "auto")) query.set(name, value);
  }
  history.replaceState(null, "", `/compare?${query}`);
}

async function run() {
  const { q, k, refuse, drop, scorer } = given();
  if (!q.trim()) return;
  toAddress();
  byId("problem").hidden = true;
  byId("run").disabled = true;
  byId("result").setAttribute("aria-busy", "true");
  const body = { question: q, collection };
  if (k) body.k = Number(k);
  if (scorer) body.scorer = scorer;
  try {
    if (refuse || drop) {
      // One threshold alone would switch the other off; what is left out is the policy's.
      const other = policyFloor ?? (await request("POST", "/v1/compare", body)).floor;
      policyFloor = other;
      const low = refuse ? Number(refuse) : other.refuse_below;
      const each = drop ? Number(drop) : other.drop_below;
      if (low !== null) body.refuse_below = low;
      if (each !== null) body.drop_below = each;
    }
    found = await request("POST", "/v1/compare", body);
    if (!refuse && !drop) policyFloor = found.floor;
    whole = false;
    show();
    announce("Compared");
  } catch (error) {
    byId("problem").textContent = error.message;
    byId("problem").hidden = false;
  } finally {
    byId("run").disabled = false;
    byId("result").removeAttribute("aria-busy");
    document.body.dataset.ready = "yes";
  }
}

// Which of the two arms the chosen gate gives.
function chosen() {
  const gate = given().gate;
  if (gate === "always") return "with";
  if (gate === "never") return "without";
  return found.policy.trace.path === "reranked" ? "with" : "without";
}

const spent = (arm, steps = ["retrieve", "rerank", "generate"]) =>
  steps.reduce((sum, step) => sum + (arm.timings_ms[step] ?? 0), 0);
const kept = (arm) => new Set(arm.passages.filter((p) => p.kept).map((p) => p.id));

function show() {
  byId("blank").hidden = true;
  byId("result").hidden = false;
  showDecision();
  showRanks();
  for (const name of ["without", "with"]) showAnswer(name);
  showScores();
}

function showDecision() {
  const gate = given().gate;
  const did = found.gate.action === "skip" ? "skips" : "reranks";
  const { scorer } = found;
  const titles = {
    auto: scorer.fitted ? `The gate ${did}` : "Reranked: no gate is fitted for this scorer",
    always: "Reranked, whatever the gate says",
    never: "Not reranked, whatever the gate says",
  };
  byId("decision-title").textContent = titles[gate];
  const asked = scorer.configured ? "What this server does" : "What this scorer would do";
  const itself = scorer.fitted ? `The gate itself ${did}` : "No gate is fitted for this scorer";
  byId("decision-eyebrow").textContent = gate === "auto" ? asked : itself;
  const rule = found.gate.action === "skip" && !explained(found.gate.reason);
  const words = reason(found.gate.reason);
  const why = rule ? `the rule \u201c${words}\u201d holds` : words;
  const detail = found.gate.detail && found.gate.detail !== why ? ` (${found.gate.detail})` : "";
  byId("decision-detail").textContent = `Because ${why}${detail}.`;
  byId("decision-detail").hidden = !scorer.fitted;
  byId("scorer-note").textContent = scorer.note ?? "";
  byId("scorer-note").hidden = scorer.note === null;
  const before = kept(found.without);
  const after = kept(found.with);
  const into = [...after].filter((id) => !before.has(id)).length;
  const out = [...before].filter((id) => !after.has(id)).length;
  const floor = found.floor;
  const where = scorer.fitted ? "" : " (without)";
  const rows = [
    ["Search without", milliseconds(spent(found.without, ["retrieve", "rerank"]))],
    ["Search with", milliseconds(spent(found.with, ["retrieve", "rerank"]))],
    ["Into the answer", String(into)],
    ["Out of the answer", String(out)],
    ["Candidates", String(found.with.passages.length)],
    [`Refuse below${where}`, threshold(floor.refuse_below)],
    [`Drop below${where}`, threshold(floor.drop_below)],
  ];
  byId("facts").replaceChildren(
    ...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
}

function showRanks() {
  const { id, configured } = found.scorer;
  byId("after-title").textContent = configured ? "With reranking" : `With reranking by ${id}`;
  const count = whole ? Infinity : FIRST;
  const before = list(byId("before"), found.without, count, null);
  const after = list(byId("after"), found.with, count, found.without);
  const hadKept = kept(found.without);
  const hasKept = kept(found.with);
  const ids = new Set([...before.keys(), ...after.keys()]);
  const rank = (arm) => new Map(arm.passages.map((p) => [p.id, p.after]));
  const was = rank(found.without);
  const is = rank(found.with);
  const moves = [...ids].map((id) => {
    let kind = was.get(id) === is.get(id) ? "same" : "moves";
    if (hasKept.has(id) && !hadKept.has(id)) kind = "enters";
    if (!hasKept.has(id) && hadKept.has(id)) kind = "leaves";
    return { from: before.get(id) ?? null, to: after.get(id) ?? null, kind };
  });
  draw(byId("lines"), moves.filter((m) => (m.from && m.to) || m.kind === "enters" || m.kind === "leaves"));
  const total = found.with.passages.length;
  byId("all").hidden = total <= FIRST;
  byId("all").textContent = whole ? `Show the first ${FIRST}` : `Show all ${total} candidates`;
}

// Fills a list; id to its item.
function list(element, arm, count, earlier) {
  const passages = [...arm.passages].sort((a, b) => a.after - b.after);
  const was = new Map((earlier?.passages ?? []).map((p) => [p.id, p.after]));
  const items = new Map();
  const children = [];
  const { refuse_below: refuse, drop_below: floor } = arm.floor;
  const limits = [refuse, floor];
  let cut = false;
  if (arm.status === "refused" && refuse !== null) {
    const best = Math.max(...passages.map((p) => p.relevance_score ?? 0));
    const said = probability(best, limits);
    children.push(floorLine(`refused: best ${said}, floor ${threshold(refuse)}`));
  }
  for (const passage of passages.slice(0, count)) {
    const value = passage.relevance_score;
    if (!cut && floor !== null && value !== null && value < floor) {
      children.push(floorLine(`floor ${threshold(floor)}`));
      cut = true;
    }
    const item = make(
      "li",
      { class: passage.kept ? "kept" : "", title: passage.text.slice(0, 300) },
      make("span", { class: "rank" }, String(passage.after)),
      make("span", { class: "t" }, passage.title ?? passage.source ?? passage.id),
      make("span", { class: "s" }, shown(passage, limits)),
      make("span", { class: "h" }, place({ title: passage.title ?? "", heading: passage.heading ?? "" })),
    );
    const old = was.get(passage.id);
    if (old !== undefined) {
      item.append(make("span", { class: "visually-hidden" }, `was ${old}`));
    }
    items.set(passage.id, item);
    children.push(item);
  }
  element.replaceChildren(...children);
  return items;
}

// What ordered the passage: its probability, or else its raw score.
function shown(passage, limits) {
  if (passage.relevance_score !== null) return probability(passage.relevance_score, limits);
  return passage.raw_score === null ? "" : `raw ${score(passage.raw_score)}`;
}

const floorLine = (text) => make("li", { class: "cut" }, text);

function showAnswer(name) {
  const arm = found[name];
  const article = byId(`answer-${name}`);
  const mine = chosen() === name;
  article.classList.toggle("given", mine);
  article.querySelector("h3").textContent =
    (name === "with" ? "With reranking" : "Without reranking") + (mine ? ", what is answered" : "");
  const steps = Object.entries(arm.timings_ms)
    .filter(([step]) => step !== "total")
    .map(([step, ms]) => `${step} ${milliseconds(ms)}`);
  const did = arm.trace.path === "degraded" ? `${status("degraded")}: ${reason(arm.trace.reason)}. ` : "";
  article.querySelector(".time").textContent = `${did}${milliseconds(spent(arm))}: ${steps.join(", ")}`;
  const text = article.querySelector(".answer-text");
  if (arm.html) showSanitised(text, arm.html);
  else text.textContent = arm.error ?? "";
  // Here a citation only tells the number; sources open in the chat.
  for (const link of text.querySelectorAll("a.cite")) {
    const source = arm.sources.find((s) => String(s.number) === link.dataset.source);
    link.replaceWith(make("span", { class: "cite", title: source?.title ?? "" }, `[${link.textContent}]`));
  }
}

function showScores() {
  const without = new Map(found.without.passages.map((p) => [p.id, p]));
  const rows = [...found.with.passages].sort((a, b) => a.after - b.after);
  const cell = (text) => make("td", { class: "number" }, text);
  byId("scores").tBodies[0].replaceChildren(
    ...rows.map((p) => {
      const first = without.get(p.id);
      const both = first.kept && p.kept ? "both" : p.kept ? "with" : first.kept ? "without" : "no";
      return make(
        "tr",
        {},
        make("th", { scope: "row", title: p.id }, [p.title, place({ title: p.title ?? "", heading: p.heading ?? "" })].filter(Boolean).join(": ")),
        cell(String(first.after)),
        cell(String(p.after)),
        cell(score(p.dense)),
        cell(score(p.bm25, 2)),
        cell(score(p.fused, 4)),
        cell(score(p.raw_score)),
        cell(probability(first.relevance_score, Object.values(found.without.floor))),
        cell(probability(p.relevance_score, Object.values(found.with.floor))),
        make("td", {}, both),
      );
    }),
  );
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
form.addEventListener("change", (event) => {
  if (event.target.name === "gate") {
    toAddress();
    if (found) show();
  } else if (found && event.target.name !== "q" && form.reportValidity()) run();
});
byId("all").addEventListener("click", () => {
  whole = !whole;
  showRanks();
});
byId("share").addEventListener("click", async () => {
  toAddress();
  try {
    await navigator.clipboard.writeText(location.href);
    toast("Link copied");
  } catch {
    toast(location.href);
  }
});
new ResizeObserver(() => found && !byId("result").hidden && showRanks()).observe(byId("ranks"));

fromAddress();
offerScorers().catch(() => {}); // the comparison itself tells what is wrong
if (byId("q").value) run();
else {
  byId("q").focus();
  document.body.dataset.ready = "yes";
}
