// Codes and numbers in plain words. The reasons come with the page, from the server's own list.

const REASONS = JSON.parse(document.getElementById("words").textContent);
const STATUSES = {
  reranked: "Reranked",
  skipped: "Skipped",
  degraded: "Not reranked",
  refused: "Refused",
};

export const status = (code) => STATUSES[code] ?? code;
export const explained = (code) => code in REASONS;
export const reason = (code) => REASONS[code] ?? code.replaceAll("_", " ");

export function milliseconds(value) {
  if (value === null || value === undefined) return "\u2013";
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return value >= 10 ? `${Math.round(value)} ms` : `${value.toFixed(1)} ms`;
}

export const score = (value, digits = 3) =>
  value === null || value === undefined ? "\u2013" : value.toFixed(digits);

// A threshold exactly as it decides; a shorter one would let equal numbers fall on both sides.
export const threshold = (value) => (value === null ? "off" : String(value));

// A probability with three digits, or as many as it takes to stand where it stood: what is shown
// as below, at or above a threshold was so when it was decided.
export function probability(value, thresholds = []) {
  if (value === null || value === undefined) return "\u2013";
  const limits = thresholds.filter((limit) => limit !== null);
  for (let digits = 3; digits <= 17; digits += 1) {
    const text = value.toFixed(digits);
    if (limits.every((limit) => Number(text) < limit === value < limit)) return text;
  }
  return String(value);
}

// What a source's file is called: its path is the business of whoever runs the server.
export const fileName = (source) => source.name ?? source.source.split("/").pop();

// Where the quoted words stand in a PDF: "page 3" or "pages 3, 4"; "" where there are no pages.
export function pages(source) {
  const quoted = source.quotes.map((quote) => quote.page ?? source.page);
  const found = [...new Set(quoted.length ? quoted : [source.page])].filter((p) => p !== null);
  if (found.length === 0) return "";
  return `page${found.length > 1 ? "s" : ""} ${found.sort((a, b) => a - b).join(", ")}`;
}

// Title and heading path as one; a path that begins with the title stands for both.
export function place(source) {
  const { title, heading } = source;
  if (!heading || heading === title) return "";
  return heading.startsWith(`${title} > `) ? heading.slice(title.length + 3) : heading;
}
