// What the page says to the gateway: the session, requests, and event streams that go on.

const KEPT = "session";
const PATIENCE_MS = 35_000;
// The services say at least something every 15 s: a line that is silent for longer is dead.
const SILENCE_MS = 40_000;
const LONGEST_WAIT_MS = 15_000;
const ASKED_FOR = "This is only for people who have signed in.";

let session = kept();
let renewing = null;
let askToSignIn = () => Promise.resolve();
let tellOfSession = () => {};

/** An error as the gateway tells it (RFC 9457), or in the same form what kept it from telling. */
export class Problem extends Error {
  constructor(status, code, detail, requestId = "") {
    super(detail);
    Object.assign(this, { status, code, requestId });
  }
}

/**
 * Say who asks people to sign in and who is told of a change. `ask` settles when they have, or when
 * they would rather not: what needed it is then refused.
 */
export function watchSession({ ask, changed }) {
  [askToSignIn, tellOfSession] = [ask, changed];
  changed(session);
}

/** Who is signed in, after asking if nobody was. Throws a `Problem` when nobody is still. */
export async function needSession() {
  if (!session) await renewed();
  if (!session) throw new Problem(401, "unauthenticated", ASKED_FOR);
  return session;
}

export async function signIn(email, password) {
  const found = await plain("POST", "/api/sessions", { email, password });
  keep({ ...found, email });
}

export async function signOut() {
  const refresh_token = session?.refresh_token;
  keep(null);
  if (refresh_token) await plain("DELETE", "/api/sessions", { refresh_token });
}

/** One request, signed in where somebody is. The answer's JSON; throws a `Problem`. */
export async function call(method, path, { body, signal } = {}) {
  // A lost answer is then found again, by the gateway's own retries too.
  const headers = method === "POST" ? { "Idempotency-Key": newKey() } : {};
  return content(await send(method, path, { body, headers, limited: () => patient(signal) }));
}

/**
 * The events of a stream: `{id, event, data}`. When the line breaks it goes on behind the last one.
 * `isOver` is asked when the stream ended in good order. `tell` hears "live" and "reconnecting".
 */
export async function* hear(path, { signal, tell = () => {}, isOver = async () => false }) {
  let last = "";
  for (let failures = 0; !signal.aborted; ) {
    let wait_ms = 0;
    try {
      for await (const message of connection(path, last, signal, tell)) {
        failures = 0;
        if (message.id) last = message.id;
        yield message;
      }
      if (await isOver()) return;
    } catch (error) {
      if (signal.aborted) return;
      const problem = problemOf(error);
      if (problem.status >= 400 && problem.status < 500 && problem.status !== 429) throw problem;
      wait_ms = problem.wait_ms ?? 0;
    }
    tell("reconnecting");
    failures += 1;
    // At random, so that all who lost the same line do not come back at once.
    const backoff_ms = Math.min(LONGEST_WAIT_MS, 500 * 2 ** failures) * (0.5 + Math.random() / 2);
    await pause(Math.max(wait_ms, backoff_ms), signal);
  }
}

/** Some time; shorter when `signal` says that nobody waits any more. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, signal.aborted ? 0 : ms);
    signal.addEventListener("abort", done);
  });
}

/** Any error as a `Problem`: browsers throw all sorts of things when a line breaks. */
export function problemOf(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem(0, "no_answer", `The shop does not answer: ${error.message}`);
}

async function* connection(path, last, signal, tell) {
  const silence = new AbortController();
  const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
  const until = AbortSignal.any([signal, silence.signal]);
  const watch = () => setTimeout(() => silence.abort(), SILENCE_MS);
  let timer = watch();
  try {
    const answer = await send("GET", path, { headers, limited: () => until });
    if (!answer.ok) await content(answer);
    tell("live");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = watch();
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const message = messageOf(block);
        if (message.data) yield { ...message, data: JSON.parse(message.data) };
      }
    }
  } finally {
    clearTimeout(timer);
    silence.abort(); // whoever stops listening also hangs up
  }
}

function messageOf(block) {
  const message = { id: "", event: "", data: "" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name === "data") message.data += value;
    else if (name) message[name] = value;
  }
  return message;
}

/** Sign in where that is asked for. `limited` gives each attempt its time: people take theirs. */
async function send(method, path, { body, headers, limited }) {
  for (let attempt = 0; ; attempt += 1) {
    const used = session?.access_token;
    const answer = await fetch(path, {
      method,
      signal: limited(),
      headers: {
        ...headers,
        ...(used && { Authorization: `Bearer ${used}` }),
        ...(body && { "Content-Type": "application/json" }),
      },
      body: body && JSON.stringify(body),
    });
    if (answer.status !== 401 || attempt === 2) return answer;
    // Somebody else may have renewed it meanwhile; and a refresh token is good for one use only.
    if (session?.access_token === used) await renewed();
    if (!session) throw new Problem(401, "unauthenticated", ASKED_FOR);
  }
}

/** Once for everybody who waits for it. */
function renewed() {
  renewing ??= renew().finally(() => (renewing = null));
  return renewing;
}

async function renew() {
  const { refresh_token, email, renewal } = session ?? {};
  if (refresh_token) {
    try {
      const body = { refresh_token };
      const found = await plain("POST", "/api/sessions/refresh", body, { "Idempotency-Key": renewal });
      return keep({ ...found, email });
    } catch (error) {
      if (error.status !== 401) throw error;
      keep(null);
    }
  }
  await askToSignIn();
}

async function plain(method, path, body, more = {}) {
  const headers = { "Content-Type": "application/json", ...more };
  const signal = patient();
  return content(await fetch(path, { method, headers, signal, body: JSON.stringify(body) }));
}

async function content(answer) {
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const said = await answer.json().catch(() => ({}));
  const places = (said.errors ?? []).map((each) => `${each.pointer ?? each.parameter}: ${each.detail}`);
  const detail = [said.detail ?? answer.statusText, ...places].join(" · ");
  const problem = new Problem(answer.status, said.code ?? "no_problem", detail, said.request_id);
  problem.wait_ms = 1000 * (Number(answer.headers.get("Retry-After")) || 0);
  throw problem;
}

function patient(signal) {
  const limit = AbortSignal.timeout(PATIENCE_MS);
  return signal ? AbortSignal.any([signal, limit]) : limit;
}

function newKey() {
  // Not randomUUID: that is only there on https and localhost.
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-");
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return null; // no storage, or not ours
  }
}

function keep(found) {
  // If the answer to its renewal is lost, the same key brings it again: without one, a token that is
  // used twice counts as stolen.
  session = found && { ...found, renewal: newKey() };
  try {
    if (session) sessionStorage.setItem(KEPT, JSON.stringify(session));
    else sessionStorage.removeItem(KEPT);
  } catch {
    // No storage: then it lasts as long as the page does.
  }
  tellOfSession(found);
}
