// The server's JSON interface. Errors carry its own words.

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export async function failure(response) {
  if (response.status === 401) signIn();
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // A proxy in between answers in its own way.
  }
  const message = error.message ?? `The server answered ${response.status}.`;
  return new ApiError(response.status, error.code ?? "http_error", message);
}

export function signIn() {
  const here = location.pathname + location.search;
  location.assign(`/login?next=${encodeURIComponent(here)}`);
}

async function send(method, path, body, signal) {
  const options = { method, signal, headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The server cannot be reached. Is it still running?");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

export async function request(method, path, body, signal) {
  return (await send(method, path, body, signal)).json();
}

// Server-sent events as objects, until [DONE].
export async function* stream(path, body, signal) {
  const response = await send("POST", path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const read = JSON.parse(data);
      if (read.error) throw new ApiError(502, read.error.code, read.error.message);
      yield read;
    }
  }
}
