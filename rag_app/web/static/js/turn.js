// One question with its answer, in every state that it can be in.

import { byId, icon, make, showSanitised } from "./dom.js";
import { fileName, milliseconds, pages, place, reason, status } from "./words.js";

const evaluator = document.body.dataset.evaluator === "yes";
const feedback = document.body.dataset.feedback === "yes";

export class Turn {
  constructor(question) {
    this.question = question;
    this.id = null;
    this.shape = null;
    this.rating = null;
    this.text = "";
    this.element = byId("turn").content.firstElementChild.cloneNode(true);
    this.element.querySelector(".question-text").textContent = question;
    this.element.turn = this;
  }

  part(name) {
    return this.element.querySelector(`[data-part="${name}"]`);
  }

  // A piece of the answer: text, never markup, until the server has rendered the whole.
  write(piece) {
    this.text += piece;
    this.part("thinking").hidden = true;
    this.part("text").classList.add("streaming");
    // Citations and the marks of Markdown come with the whole; half of them are noise.
    this.part("text").textContent = this.text.replace(/ ?\[\d{1,3}\]|`|\*\*/g, "");
  }

  // The whole answer, as the server sends it at the end or keeps it.
  finish(shape) {
    this.shape = shape;
    this.id = shape.turn ?? null;
    this.settle();
    if (shape.status === "generator_failed") return this.fail(shape.error ?? "");
    const refused = shape.status === "refused";
    this.part("refusal").hidden = !refused;
    this.part("text").hidden = refused;
    if (refused) this.topics(shape.nearest_topics ?? []);
    else showSanitised(this.part("text"), shape.html);
    this.sources(shape.sources ?? []);
    const retrieval = shape.retrieval ?? {};
    this.part("weak").hidden = refused || retrieval.band !== "weak";
    this.part("good").hidden = refused || !retrieval.judged || retrieval.band !== "answer";
    const unsupported = (shape.unsupported ?? []).map((sentence) => sentence.text);
    this.part("unsupported").hidden = refused || unsupported.length === 0;
    const said = unsupported.map((text) => `\u201c${text}\u201d`).join(" ");
    this.part("unsupported").querySelector("span").textContent = `Not found in the sources: ${said}`;
    this.part("degraded").hidden = !retrieval.degraded;
    if (retrieval.degraded) {
      const why = reason(retrieval.degraded_reason ?? "");
      this.part("degraded").querySelector("span").textContent = `Not reranked: ${why}`;
    }
    this.searched(shape.also_searched ?? []);
    this.actions({ thumbs: feedback && this.id !== null && !refused, copy: !refused });
    this.measure();
    return undefined;
  }

  fail(message) {
    this.settle();
    this.part("text").hidden = !this.text;
    const failure = this.part("failure");
    failure.hidden = false;
    failure.querySelector("span").textContent = "No answer";
    failure.querySelector(".quiet").textContent = message;
    this.actions({ thumbs: false, copy: false });
  }

  stopped() {
    this.settle();
    this.part("text").after(make("p", { class: "stopped" }, "Stopped. This answer is not kept."));
    this.actions({ thumbs: false, copy: this.text !== "" });
  }

  settle() {
    this.part("thinking").hidden = true;
    this.part("text").classList.remove("streaming");
  }

  actions({ thumbs, copy }) {
    this.part("under").hidden = false;
    for (const name of ["up", "down"]) this.button(name).hidden = !thumbs;
    this.button("copy").hidden = !copy;
  }

  button(name) {
    return this.element.querySelector(`[data-do="${name}"]`);
  }

  // Which thumb was given; a reason is said with it.
  rated(rating) {
    this.rating = rating;
    const { verdict = null, reason: why = null } = rating ?? {};
    for (const name of ["up", "down"]) {
      this.button(name).setAttribute("aria-pressed", String(name === verdict));
    }
    const said = why === null ? "" : reason(why);
    this.button("down").setAttribute("aria-label", said ? `Bad answer: ${said}` : "Bad answer");
    this.button("down").title = said;
  }

  topics(topics) {
    this.part("topics").hidden = topics.length === 0;
    this.part("topics")
      .querySelector(".topics")
      .replaceChildren(
        ...topics.map((topic) =>
          make("button", { type: "button", class: "chip", "data-topic": topic }, spoken(topic)),
        ),
      );
  }

  sources(sources) {
    this.part("sources").hidden = sources.length === 0;
    this.part("sources").replaceChildren(
      ...sources.map((source) => {
        const file = [fileName(source).split("/").pop(), pages(source)].filter(Boolean).join(", ");
        return make(
          "li",
          {},
          make(
            "button",
            { type: "button", "data-source": source.number, "aria-expanded": "false" },
            make("span", { class: "n" }, String(source.number)),
            make("span", { class: "t" }, source.title),
            ...(place(source) ? [make("span", { class: "h" }, place(source))] : []),
            make("span", { class: "h file", title: fileName(source) }, file),
          ),
        );
      }),
    );
    for (const link of this.part("text").querySelectorAll("a.cite")) {
      const source = sources.find((s) => String(s.number) === link.dataset.source);
      // A number alone at the beginning of a line says nothing.
      const before = link.previousSibling;
      if (before?.nodeType === Node.TEXT_NODE) before.data = before.data.replace(/ $/, "\u00a0");
      link.setAttribute("aria-label", `Source ${link.dataset.source}: ${source?.title ?? ""}`);
      link.setAttribute("aria-expanded", "false");
    }
    for (const link of this.part("text").querySelectorAll("a[href^='http']")) {
      link.target = "_blank";
      link.append("\u00a0", icon("open", 13));
    }
  }

  // Whatever was searched for in other words than the user's is said.
  searched(others) {
    const history = others.some((o) => o.why === "history");
    const words = others.filter((o) => ["spelling", "llm"].includes(o.why)).map((o) => o.text);
    const said = [
      history ? "Read together with your earlier questions." : "",
      words.length ? `Also searched for: ${words.join("; ")}.` : "",
    ].filter(Boolean);
    this.part("searched").hidden = said.length === 0;
    this.part("searched").querySelector("span").textContent = said.join(" ");
    this.button("alone").hidden = !history;
  }

  // For evaluators: what happened, how long it took, and the way to look closer.
  measure() {
    const trace = this.shape.trace;
    if (!evaluator || !trace) return;
    const line = this.part("measured");
    const took = trace.timings_ms.total ?? null;
    line.textContent = `${status(trace.status)}, ${milliseconds(took)}`;
    const query = new URLSearchParams({
      collection: document.body.dataset.collection,
      q: this.question,
    });
    line.href = `/compare?${query}`;
    line.title = "Compare with and without reranking";
    line.hidden = false;
  }
}

// A heading path as people say it.
export const spoken = (topic) => topic.split(" > ").join(": ");
