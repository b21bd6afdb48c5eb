"use strict";
// The table of all questions: filter, sort, pages, both lists of a question, and a CSV.
// All words are set as text, never as markup; nothing is loaded.
(() => {
  const part = document.getElementById("questions");
  const source = document.getElementById("questions-data");
  if (!part || !source) return;
  const data = JSON.parse(source.textContent);
  const at = Object.fromEntries(data.columns.map((name, i) => [name, i]));
  const table = part.querySelector("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const columns = heads.map((th) => ({ ...th.dataset, label: th.textContent }));
  const filters = Object.fromEntries(
    [...part.querySelectorAll("[data-filter]")].map((field) => [field.dataset.filter, field]));
  const PAGE = 50;
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  let sorted = { key: "difference", up: true };
  let found = [];
  let page = 0;

  const minus = (text) => text.replace("-", "\u2212");
  const times = (v) => v >= 9999.5 ? `${(v / 1000).toFixed(1)} s`
    : v >= 99.5 ? `${v.toFixed(0)} ms` : `${v.toFixed(1)} ms`;
  const looks = {
    score: (v) => minus(v.toFixed(3)),
    signed: (v) => v === 0 ? "0.000" : minus((v > 0 ? "+" : "") + v.toFixed(3)),
    ms: times,
    text: String,
  };
  const shown = (value, look) => value === null ? "" : looks[look](value);

  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const bdi = (text, kind) => make("bdi", kind ? { class: kind } : {}, text);

  const matches = (row) => {
    const words = filters.text.value.trim().toLowerCase().split(/\s+/);
    const text = `${row[at.query]} ${row[at.query_id]}`.toLowerCase();
    const is = (name, value) => filters[name].value === "" || filters[name].value === value;
    return words.every((word) => text.includes(word))
      && row[at.group].toLowerCase().includes(filters.group.value.trim().toLowerCase())
      && is("path", row[at.path]) && is("against", row[at.against])
      && is("refused", String(row[at.refused])) && is("judged", row[at.judged])
      && (filters.strata.value === "" || row[at.strata].includes(Number(filters.strata.value)));
  };

  const compare = (a, b) => {
    const [x, y] = [data.rows[a][at[sorted.key]], data.rows[b][at[sorted.key]]];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    const order = typeof x === "string" ? collator.compare(x, y) : x - y;
    return (sorted.up ? order : -order) || a - b;
  };

  const passages = (ids, relevant, served) => ids.length === 0
    ? make("p", { class: "muted" }, "nothing")
    : make("ol", {}, ...ids.map((id, i) => {
      const [name, snippet] = data.passages[id];
      const told = make("span", { class: "meta" }, bdi(name));
      if (relevant.has(id)) told.append(" ", make("span", { class: "yes" }, "relevant"));
      return make("li", relevant.has(id) ? { class: "relevant" } : {},
        make("span", { class: "meta" }, String(i + 1)), told,
        make("span", { class: "meta" }, i < served ? "" : "not handed over"),
        bdi(snippet, "snippet"));
    }));

  const details = (index, width) => {
    const row = data.rows[index];
    const lists = data.lists[index];
    const facts = make("dl", { class: "facts" });
    const fact = (name, value) => value === "" || value === null
      || facts.append(make("dt", {}, name), make("dd", {}, bdi(value)));
    fact("Reason", row[at.reason]);
    fact("Error", row[at.error]);
    fact("Kinds", row[at.strata].map((s) => data.strata[s]).join(", "));
    for (const [metric, label] of Object.entries(data.metrics)) {
      fact(label, Object.entries(data.arms)
        .filter(([arm]) => row[at[`${arm}:${metric}`]] !== null)
        .map(([arm, name]) => `${name} ${shown(row[at[`${arm}:${metric}`]], "score")}`)
        .join(", "));
    }
    const cell = make("td", { colspan: width, role: "cell" }, facts);
    if (lists === null) {
      cell.append(make("p", { class: "muted" }, "The result does not hold its lists."));
    } else {
      const [first, policy, relevant, kept, total] = lists;
      const known = new Set(relevant);
      const missed = row[at.not_found];
      if (total) {
        fact("Relevant", `${total}${missed ? `, ${missed} not among the candidates` : ""}`);
      }
      const title = row[at.refused] ? "Policy: refused, nothing is handed over" : "Policy";
      cell.append(make("div", { class: "lists" },
        make("div", {}, make("h3", {}, "First stage"), passages(first, known, Infinity)),
        make("div", {}, make("h3", {}, title), passages(policy, known, kept))));
    }
    return make("tr", { role: "row", class: "detail" }, cell);
  };

  const toggle = (button, index) => {
    const row = button.closest("tr");
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) row.nextElementSibling.remove();
    else row.after(details(index, columns.length));
  };

  const question = (row, index, look) => {
    const name = shown(row[at.query], look);
    const button = make("button", {
      type: "button", class: "open", "aria-expanded": "false", "aria-label": `Lists of: ${name}`,
    });
    button.addEventListener("click", () => toggle(button, index));
    const small = make("small", {}, bdi(row[at.query_id]));
    if (row[at.group]) small.append(" \u00b7 ", bdi(row[at.group]));
    if (row[at.judged] !== "judged") small.append(` \u00b7 ${row[at.judged]}`);
    return make("th", { scope: "row", role: "rowheader" }, button, bdi(name), small);
  };

  const line = (index) => {
    const row = data.rows[index];
    return make("tr", { role: "row" }, ...columns.map(({ key, format, label }) => {
      if (key === "query") return question(row, index, format);
      const value = row[at[key]];
      const cell = make("td", { role: "cell", "data-label": label }, shown(value, format));
      if (format !== "text") cell.className = "num";
      if (key === "difference" && value < 0) cell.className += " loss-text";
      if (key === "path" && row[at.refused]) cell.append(make("small", {}, "refused"));
      return cell;
    }));
  };

  const render = () => {
    const pages = Math.max(Math.ceil(found.length / PAGE), 1);
    page = Math.min(page, pages - 1);
    const rows = found.slice(page * PAGE, (page + 1) * PAGE);
    body.replaceChildren(...rows.map(line));
    if (rows.length === 0) {
      body.append(make("tr", { role: "row" }, make("td", { role: "cell", colspan: columns.length },
        "No question is like this. Clear the filter to see all.")));
    }
    const count = (n) => n.toLocaleString("en");
    const from = page * PAGE + 1;
    part.querySelector("[data-count]").textContent = `${count(found.length)} of `
      + `${count(data.rows.length)} questions`
      + (rows.length ? `, ${count(from)} to ${count(from + rows.length - 1)} shown` : "");
    part.querySelector("[data-turn='-1']").disabled = page === 0;
    part.querySelector("[data-turn='1']").disabled = page === pages - 1;
    part.querySelector("[data-page]").textContent = `Page ${page + 1} of ${pages}`;
    heads.forEach((th) => th.dataset.key === sorted.key
      ? th.setAttribute("aria-sort", sorted.up ? "ascending" : "descending")
      : th.removeAttribute("aria-sort"));
  };

  const refresh = () => {
    found = [...data.rows.keys()].filter((i) => matches(data.rows[i])).sort(compare);
    page = 0;
    render();
  };

  // As Python's csv writes it, and queries.csv beside this page; a quote keeps a formula asleep.
  const quoted = (value) => {
    if (value === null) return "";
    const text = typeof value === "string" && /^[=+\-@]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const download = () => {
    const lines = [data.columns, ...found.map((i) => data.rows[i].map((value, c) =>
      c === at.strata ? value.map((s) => data.strata[s]).join("; ") : value))];
    // With a byte order mark, without which some spreadsheets take it for Latin-1.
    const text = `\ufeff${lines.map((row) => `${row.map(quoted).join(",")}\r\n`).join("")}`;
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    make("a", { href: address, download: "questions.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };

  heads.forEach((th, i) => {
    const button = make("button", { type: "button" }, th.textContent);
    button.addEventListener("click", () => {
      const { key, format } = columns[i];
      // What loses most and what takes longest come first; a second click turns them round.
      sorted = { key, up: sorted.key === key ? !sorted.up : format !== "ms" };
      refresh();
    });
    th.replaceChildren(button);
  });
  data.strata.map((name, i) => [name, i]).sort(([a], [b]) => collator.compare(a, b))
    .forEach(([name, i]) => filters.strata.append(make("option", { value: i }, name)));
  for (const field of Object.values(filters)) {
    field.addEventListener(field.tagName === "SELECT" ? "change" : "input", refresh);
  }
  const clear = () => Object.values(filters).forEach((field) => { field.value = ""; });
  part.querySelector("[data-do='clear']").addEventListener("click", () => { clear(); refresh(); });
  part.querySelector("[data-do='csv']").addEventListener("click", download);
  part.querySelectorAll("[data-turn]").forEach((button) => button.addEventListener("click", () => {
    page += Number(button.dataset.turn);
    render();
    table.scrollIntoView({ block: "start" });
  }));
  document.querySelectorAll("a[data-stratum-link]").forEach((link) =>
    link.addEventListener("click", () => {
      clear();
      filters.strata.value = String(data.strata.indexOf(link.dataset.stratumLink));
      refresh();
    }));
  part.querySelectorAll(".static").forEach((element) => element.remove());
  part.querySelectorAll("[hidden]").forEach((element) => { element.hidden = false; });
  refresh();
})();
