// The conversation: ask, watch, stop, ask again, edit, open sources, rate.

import { request, stream } from "./api.js";
import { ask as confirm } from "./dialog.js";
import { announce, byId, make, toast } from "./dom.js";
import { noted } from "./history.js";
import { onEscape, shortcut } from "./keyboard.js";
import * as panel from "./source_panel.js";
import { spoken, Turn } from "./turn.js";
import { watchUploads } from "./upload.js";

const { collection, feedback } = document.body.dataset;
const chat = byId("chat");
const turns = byId("turns");
const field = byId("question");
let conversation = chat.dataset.conversation || null;
let running = null; // AbortController of the answer that is being written

const all = () => [...turns.children].map((e) => e.turn).filter(Boolean);

function busy(on) {
  byId("send").hidden = on;
  byId("stop").hidden = !on;
}

// Keeps the end of a new answer in sight, its question at the top at most, until somebody scrolls.
function follower(turn) {
  const main = byId("main");
  let at = null;
  return () => {
    if (at !== null && Math.abs(main.scrollTop - at) > 4) return;
    const question = turn.element.getBoundingClientRect().top - main.getBoundingClientRect().top;
    main.scrollTop = Math.min(main.scrollTop + question, main.scrollHeight - main.clientHeight);
    at = main.scrollTop;
  };
}

async function run(question) {
  if (running || !question.trim()) return;
  const mine = (running = new AbortController());
  const turn = new Turn(question.trim());
  byId("welcome")?.setAttribute("hidden", "");
  byId("begin")?.remove();
  panel.close();
  turns.append(turn.element);
  const follow = follower(turn);
  follow();
  busy(true);
  announce("Reading your documents");
  try {
    const made = conversation ?? (await request("POST", "/v1/conversations", { collection }, mine.signal)).id;
    conversation = made;
    const body = {
      model: `rankgate:${collection}`,
      messages: [{ role: "user", content: turn.question }],
      stream: true,
      conversation,
    };
    let whole = null;
    for await (const event of stream("/v1/chat/completions", body, mine.signal)) {
      const piece = event.choices[0]?.delta?.content;
      if (piece) turn.write(piece);
      if (event.rankgate) whole = event.rankgate;
      follow();
    }
    if (whole === null) throw new Error("The answer broke off. Ask again.");
    turn.finish(whole);
    announce(whole.status === "refused" ? "Not in your documents" : "The answer is there");
    history.replaceState(null, "", `/c/${conversation}`);
    noted(conversation, turn.question);
  } catch (error) {
    if (error.name === "AbortError") {
      turn.stopped();
      announce("Stopped");
    } else {
      turn.fail(error.message);
      announce("No answer");
    }
  } finally {
    running = null;
    busy(false);
    follow();
  }
}

function stop() {
  if (!running) return false;
  running.abort();
  field.focus();
  return true;
}

// Ask a turn's question anew, in the same or other words: it and what followed goes.
async function again(turn, question) {
  if (running) return;
  const list = all();
  const at = list.indexOf(turn);
  const later = list.length - at - 1;
  if (later > 0) {
    const sure = await confirm({
      title: "Ask again from here?",
      text: `${later === 1 ? "The answer" : `The ${later} answers`} after this one will be deleted.`,
      ok: "Ask again",
      danger: true,
    });
    if (!sure) return;
  }
  const kept = list.slice(at).find((t) => t.id !== null);
  if (kept) await request("DELETE", `/v1/conversations/${conversation}/turns/${kept.id}`);
  for (const gone of list.slice(at)) gone.element.remove();
  await run(question);
}

// The same question without what was said before: a conversation of its own.
function alone(question) {
  if (running) return;
  conversation = null;
  turns.replaceChildren();
  run(question);
}

function edit(turn) {
  const head = turn.element.querySelector(".question");
  if (running || turn.element.querySelector(".edit")) return;
  const text = make("textarea", { rows: "2", maxlength: "4000", "aria-label": "The question" });
  text.value = turn.question;
  const form = make(
    "form",
    { class: "edit" },
    text,
    make(
      "div",
      {},
      make("button", { class: "button" }, "Ask"),
      make("button", { class: "button plain", type: "button" }, "Cancel"),
    ),
  );
  const leave = () => {
    form.remove();
    head.hidden = false;
    turn.button("edit").focus();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const question = text.value.trim();
    leave();
    if (question) again(turn, question).catch((error) => toast(error.message));
  });
  form.querySelector(".plain").addEventListener("click", leave);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      leave();
    }
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === text) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  head.hidden = true;
  head.after(form);
  text.focus();
}

function openSource(turn, number, opener) {
  panel.open({
    sources: turn.shape.sources,
    number,
    collection,
    opener,
    note: (opened) => rate(turn, { opened }).catch(() => {}),
  });
}

async function rate(turn, judgement) {
  if (feedback !== "yes" || turn.id === null) return;
  await request("POST", "/v1/feedback", { conversation, turn: turn.id, ...judgement });
}

// Shown at once, and taken back if the server does not keep it.
function judge(turn, judgement) {
  const before = turn.rating;
  turn.rated(judgement);
  rate(turn, judgement).then(
    () => announce("Thank you"),
    (error) => {
      turn.rated(before);
      toast(error.message);
    },
  );
}

function thumb(turn, verdict) {
  turn.part("reasons").hidden = verdict !== "down";
  judge(turn, { verdict });
}

turns.addEventListener("click", (event) => {
  const turn = event.target.closest(".turn")?.turn;
  const target = event.target.closest("[data-source], [data-topic], [data-do], [data-reason]");
  if (!turn || !target) return;
  const { source, topic, reason, do: action } = target.dataset;
  if (source) {
    event.preventDefault();
    openSource(turn, Number(source), target);
  } else if (topic) run(spoken(topic));
  else if (reason) {
    turn.part("reasons").hidden = true;
    turn.button("down").focus();
    judge(turn, { verdict: "down", reason });
  } else if (action === "edit") edit(turn);
  else if (action === "retry") again(turn, turn.question).catch((e) => toast(e.message));
  else if (action === "copy") copy(turn);
  else if (action === "alone") alone(turn.question);
  else thumb(turn, action);
});

async function copy(turn) {
  try {
    await navigator.clipboard.writeText(turn.shape?.answer ?? turn.text);
    toast("Copied");
  } catch {
    toast("The browser does not allow copying here.");
  }
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = field.value;
  if (running || !question.trim()) return;
  field.value = "";
  run(question);
});
field.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("composer").requestSubmit();
  }
});
byId("stop").addEventListener("click", stop);
onEscape(panel.close);
onEscape(stop);

const last = () => all().at(-1);
shortcut("/", () => field.focus());
shortcut("e", () => last() && edit(last()));
shortcut("r", () => last() && again(last(), last().question).catch((e) => toast(e.message)));
shortcut("[", () => panel.step(-1));
shortcut("]", () => panel.step(1));
shortcut("s", () => {
  const button = last()?.element.querySelector(".sources [data-source]");
  if (button) openSource(last(), Number(button.dataset.source), button);
});

watchUploads({
  done: () => {
    if (document.body.dataset.empty === "no") return;
    document.body.dataset.empty = "no";
    const begin = byId("begin");
    begin?.querySelector("h2").replaceChildren("Ready. What do you want to know?");
    for (const part of begin?.querySelectorAll(".ways, .lead") ?? []) part.remove();
    field.disabled = byId("send").disabled = false;
    field.focus();
  },
});

async function restore() {
  const kept = await request("GET", `/v1/conversations/${conversation}`);
  for (const one of kept.turns) {
    const turn = new Turn(one.question);
    turns.append(turn.element);
    turn.finish({ ...one.details, ...one, turn: one.id });
    if (one.rating) turn.rated(one.rating);
  }
  byId("main").scrollTop = byId("main").scrollHeight;
}

if (conversation) await restore().catch((error) => toast(error.message));
if (!matchMedia("(max-width: 56rem)").matches) field.focus();
document.body.dataset.ready = "yes";
