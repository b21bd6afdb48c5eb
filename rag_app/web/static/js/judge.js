// Labels by key press. Nothing here knows a score, or which way a passage came from.

import { request } from "./api.js";
import { announce, byId, make } from "./dom.js";
import { shortcut } from "./keyboard.js";

const { collection } = document.body.dataset;
const GRADES = ["No", "Partly", "Fully"];
const query = new URLSearchParams({ collection });
let name = null; // of the session
let asked = null; // the question that is shown
let grades = []; // of its passages, in their order; undefined where there is none yet
let current = 0; // the passage that a key is for
let begun = 0; // when the question was shown
let before = []; // ids of the questions that were answered here
let sending = false; // a verdict is on its way: a key pressed twice says it once

const path = (rest = "") => `/v1/judge/sessions/${encodeURIComponent(name)}${rest}?${query}`;

async function tried(work) {
  byId("problem").hidden = true;
  try {
    await work();
  } catch (error) {
    byId("problem").textContent = error.message;
    byId("problem").hidden = false;
  } finally {
    document.body.dataset.ready = "yes";
  }
}

async function showHall() {
  name = asked = null;
  byId("desk").hidden = true;
  byId("hall").hidden = false;
  const { sessions, in_log: inLog } = await request("GET", `/v1/judge/sessions?${query}`);
  byId("none").hidden = sessions.length > 0;
  byId("sessions").replaceChildren(...sessions.map(row));
  byId("log-label").hidden = inLog === 0;
  byId("log-text").textContent = `and the ${inLog} questions of the feedback log`;
  const reading = sessions.some((one) => one.state === "reading");
  if (reading) setTimeout(() => name === null && tried(showHall), 1000);
}

function row(session) {
  const far = `${session.done} of ${session.questions}`;
  const said = { ready: `${far} judged`, reading: `running ${far}`, failed: session.error };
  const item = make("li", {}, make("span", {}, session.name), make("span", { class: "quiet" }, said[session.state]));
  if (session.state === "ready") {
    const open = make("button", { type: "button", class: "button plain", "aria-label": `Judge ${session.name}` }, "Judge");
    open.addEventListener("click", () => tried(() => enter(session.name)));
    item.append(open);
  }
  return item;
}

async function enter(session) {
  name = session;
  before = [];
  show(await request("GET", path()));
}

function show(found) {
  byId("hall").hidden = true;
  byId("desk").hidden = false;
  byId("export").href = path("/export");
  byId("export").hidden = found.done === 0;
  byId("progress").max = found.wanted;
  byId("progress").value = Math.min(found.done, found.wanted);
  byId("count").textContent = `${found.done} of ${found.wanted}`;
  byId("interval").textContent = interval(found.standing);
  asked = found.question;
  byId("asked").hidden = asked === null;
  byId("over").hidden = asked !== null;
  if (asked === null) {
    byId("over").focus();
    announce("Every question has your answer");
    return;
  }
  byId("question").textContent = asked.text;
  grades = asked.passages.map((passage) => asked.grades[passage.id]);
  current = 0;
  begun = performance.now();
  byId("passages").replaceChildren(...asked.passages.map(card));
  if (asked.passages.length === 0) byId("passages").replaceChildren(make("li", {}, "Nothing was found for it."));
  byId("question").focus();
  announce(`Question ${found.done + 1} of ${found.wanted}`);
  mark();
}

function interval({ gains, people, word }) {
  if (people === 0) return "No question is judged yet.";
  const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(3)}`;
  const { mean, low, high } = gains["ndcg@10"];
  const words = { helps: "Reranking helps.", hurts: "Reranking hurts.", open: "Not decided yet." };
  return `Gain in nDCG@10 ${signed(mean)}, 95% between ${signed(low)} and ${signed(high)}. ${words[word]}`;
}

function card(passage, index) {
  const choices = GRADES.map((word, grade) => {
    const input = make("input", { type: "radio", name: `passage-${index}`, value: grade });
    input.checked = grades[index] === grade;
    input.addEventListener("change", () => {
      current = index;
      give(grade);
    });
    return make("label", {}, input, make("span", {}, make("kbd", {}, String(grade)), word));
  });
  return make(
    "li",
    {},
    make(
      "fieldset",
      { tabindex: "-1" },
      make("legend", {}, `Passage ${index + 1} of ${asked.passages.length}`),
      make("p", { tabindex: "0" }, passage.text),
      make("div", { class: "grades" }, ...choices),
    ),
  );
}

// Shows which passage the next key is for.
function mark(move = false) {
  const items = [...byId("passages").children];
  items.forEach((item, index) => {
    item.classList.toggle("current", index === current);
    const chosen = item.querySelectorAll("input");
    chosen.forEach((input, grade) => (input.checked = grades[index] === grade));
  });
  if (!move) return;
  items[current]?.querySelector("fieldset")?.focus({ preventScroll: true });
  items[current]?.scrollIntoView({ block: "nearest" });
}

function give(grade) {
  if (asked === null || sending || asked.passages.length === 0) return;
  grades[current] = grade;
  const open = grades.findIndex((value) => value === undefined);
  if (current + 1 < grades.length) {
    current += 1;
    mark(true);
  } else if (open >= 0) {
    current = open;
    mark(true);
  } else answer("graded");
}

function none() {
  grades = Array.from(grades, (value, index) => (index < current ? (value ?? 0) : 0));
  answer("graded");
}

function nowhere() {
  if (grades.slice(0, current).some((value) => value > 0)) {
    announce("A passage is relevant already");
    byId("problem").textContent = "A passage of this question is relevant already; go back to take that away.";
    byId("problem").hidden = false;
    return;
  }
  answer("unanswerable");
}

function answer(kind) {
  if (asked === null || sending) return;
  sending = true;
  const body = { question: asked.id, kind, seconds: (performance.now() - begun) / 1000 };
  if (kind === "graded") {
    body.grades = Object.fromEntries(asked.passages.map((passage, index) => [passage.id, grades[index]]));
  }
  const said = asked.id;
  tried(async () => {
    try {
      const next = await request("POST", path("/verdicts"), body);
      before.push(said);
      show(next);
    } finally {
      sending = false;
    }
  });
}

function back() {
  if (sending) return;
  if (asked !== null && current > 0) {
    current -= 1;
    grades[current] = undefined;
    mark(true);
  } else if (before.length > 0) {
    const id = before.pop();
    query.set("question", id);
    const there = path();
    query.delete("question");
    tried(async () => show(await request("GET", there)));
  }
}

const keys = { n: none, u: nowhere, s: () => answer("skipped"), b: back };
for (const grade of [0, 1, 2]) keys[grade] = () => give(grade);
for (const [key, run] of Object.entries(keys)) shortcut(key, () => name !== null && (asked || key === "b") && run());
for (const button of document.querySelectorAll(".whole [data-key]")) {
  button.addEventListener("click", () => asked && keys[button.dataset.key]());
}
byId("leave").addEventListener("click", () => tried(showHall));
byId("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  const body = {
    name: byId("name").value,
    collection,
    questions: byId("questions").value.split("\n").filter((line) => line.trim()),
    from_log: byId("log").checked,
  };
  tried(async () => {
    await request("POST", "/v1/judge/sessions", body);
    byId("begin").reset();
    await showHall();
    announce("The questions are being run");
  });
});

tried(showHall);
