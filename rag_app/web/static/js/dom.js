// Elements without markup in strings: text is always text.

export const byId = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function icon(name, size = 16) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("width", size);
  svg.setAttribute("height", size);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

// The one place where HTML becomes elements. It comes from the server, which rendered and
// sanitised it (rag_app/markdown_html.py); nothing that this page put together goes in here.
export function showSanitised(element, html) {
  element.innerHTML = html;
}

export function announce(text) {
  byId("live").textContent = text;
}

export function toast(text) {
  const line = make("p", {}, text);
  byId("toasts").append(line);
  setTimeout(() => line.remove(), 6000);
}
