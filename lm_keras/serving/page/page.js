const byId = (id) => document.getElementById(id);
const tables = JSON.parse(byId("tables").textContent);
const TOLD = 5;

// Turns of the conversation: what the user says, and what each model answers, the second one after the first.
let models = [], turns = [], running = null;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// What a model may be asked, the first that fits: its address, and the words on the page.
const KINDS = [
  ["/v1/chat/completions", "Message", "Send"], ["/v1/completions", "Prompt", "Generate"],
  ["/v1/classify", "Text", "Classify"], ["/v1/tag", "Text", "Tag"], ["/v1/translate", "Source", "Translate"],
];
const modelOf = (id) => models.find((model) => model.id === id);
const kindOf = (model) => KINDS.find(([address]) => model && model.endpoints.includes(address));
const isChat = (kind) => kind[0] === "/v1/chat/completions";
const generates = (kind) => kind[0].includes("completions");
const chosen = () => [byId("model").value, byId("other").value].filter(Boolean).map(modelOf);

// The address: everything but the key, after the #, which browsers send to no server.
const ANSWERS = ["assistant", "assistant2"];
const readAddress = () => new URLSearchParams(location.hash.slice(1));
function writeAddress() {
  const found = new URLSearchParams(), [model, other] = chosen();
  found.set("model", model.id);
  if (other) found.set("other", other.id);
  if (isChat(kindOf(model))) {
    if (byId("system").value) found.set("system", byId("system").value);
    for (const turn of turns) {
      found.append("user", turn.user);
      answersOf(turn).forEach((answer, side) => found.append(ANSWERS[side], answer));
    }
  }
  found.set("text", byId("text").value);
  for (const [name, value] of Object.entries(settings())) found.set(name, value);
  history.replaceState(null, "", `#${found}`);
}
function fillTexts(given) {
  byId("text").value = given.get("text") ?? "";
  byId("system").value = given.get("system") ?? "";
  turns = [];
  for (const [name, value] of given) {
    if (name === "user") turns.push({ user: value, answers: [] });
    else if (ANSWERS.includes(name) && turns.length) turns.at(-1).answers[ANSWERS.indexOf(name)] = value;
  }
  turns = turns.filter((turn) => turn.answers[0] !== undefined);
}
// Fills all controls from the address, and says what of it they cannot hold.
function fillPage() {
  const { model, other, ...rest } = Object.fromEntries(readAddress());
  fillTexts(readAddress());
  if (modelOf(model)) byId("model").value = model;
  byId("other").value = "";
  showKind();
  if (other && modelOf(other)) byId("other").value = other;
  for (const name of ["text", "system", "user", ...ANSWERS]) delete rest[name];
  const unknown = fillSettings(rest);
  if (model && byId("model").value !== model) unknown.unshift(["model", model]);
  if (other && byId("other").value !== other) unknown.unshift(["other", other]);
  showKind();
  byId("results").replaceChildren();
  if (!unknown.length) return say("Ready");
  const list = unknown.map((pair) => pair.join("=")).join(", ");
  say(`The address has ${list}, which this server and model do not have; it is left out`, true);
}

// Shows the controls for the models that are chosen.
function showKind() {
  const model = modelOf(byId("model").value), kind = kindOf(model), other = byId("other").value;
  const fitting = models.filter((one) => one !== model && one.endpoints.includes(kind[0]));
  byId("other").replaceChildren(make("option", { value: "" }, "none"),
    ...fitting.map((one) => make("option", { value: one.id }, one.id)));
  if (fitting.some((one) => one.id === other)) byId("other").value = other;
  byId("other").disabled = !fitting.length;
  byId("text-label").textContent = kind[1];
  byId("run").textContent = kind[2];
  byId("conversation").hidden = byId("reset").hidden = !isChat(kind);
  byId("score").hidden = !chosen().every((one) => one.endpoints.includes("/v1/score"));
  byId("legend").hidden = !generates(kind);
  showSettings(kind);
  showTurns();
}

// A model that joins later goes on from the answers of the first.
const answersOf = (turn) => turn.answers.slice(0, chosen().length);
const messagesOf = (side, text) => [
  ...(byId("system").value ? [{ role: "system", content: byId("system").value }] : []),
  ...turns.flatMap(({ user, answers }) => [{ role: "user", content: user },
    { role: "assistant", content: answers[side] ?? answers[0] }]),
  { role: "user", content: text },
];
function showTurns() {
  const line = (role, name, text) => make("li", { class: role }, make("strong", {}, `${name}: `), text);
  byId("turns").replaceChildren(...turns.flatMap((turn) => [line("user", "user", turn.user),
    ...answersOf(turn).map((text, side) => line("assistant", side ? "second model" : "assistant", text))]));
}

function say(text, wrong = false) {
  byId("status").textContent = text;
  byId("status").className = wrong ? "error" : "";
}
function headers() {
  const key = byId("key").value;
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}
async function ask(address, sent, signal) {
  const reply = await fetch(address, { method: sent ? "POST" : "GET", headers: headers(), signal,
    body: sent ? JSON.stringify(sent) : undefined });
  if (reply.status === 401) byId("key-label").hidden = false;
  if (!reply.ok) {
    const known = await reply.json().catch(() => null);
    const error = new Error(known ? known.error.message : `status ${reply.status}`);
    throw Object.assign(error, { param: known && known.error.param });
  }
  return reply;
}
async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (left + value).split("\n\n");
    left = parts.pop();
    for (const part of parts) {
      if (part === "data: [DONE]") return;
      const event = JSON.parse(part.slice("data: ".length));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

// Both models at once; where one fails the other stops, too.
async function ofEach(stopper, doIt) {
  let failed = null;
  const found = await Promise.all(chosen().map(async (model, side) => {
    try {
      return await doIt(model, stopper.signal, side);
    } catch (error) {
      if (error.name !== "AbortError") error.message = `${model.id}: ${error.message}`;
      failed ??= error;
      stopper.abort();
    }
  }));
  if (failed) throw failed;
  return found;
}
// Buttons that have no use now keep the focus, which a disabled one would lose.
function showRunning() {
  byId("stop").setAttribute("aria-disabled", String(!running));
  for (const name of ["run", "score"]) byId(name).setAttribute("aria-disabled", String(Boolean(running)));
}
async function work(doIt) {
  if (running || !models.length) return;
  const stopper = running = new AbortController(), began = performance.now();
  showRunning();
  byId("results").replaceChildren();
  say("The model works ...");
  writeAddress();
  try {
    await doIt(stopper);
    say(`Done in ${((performance.now() - began) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (error.name === "AbortError") say("Stopped");
    else sayWrong(error);
  }
  running = null;
  showRunning();
  writeAddress();
}
function sayWrong(error) {
  say(`Error: ${error.message}`, true);
  const param = error.param === "max_tokens" ? "max_new_tokens" : error.param;
  const field = error.field ?? shown().find((one) => one.name === param);
  if (field) showWrong(field, error.reason ?? error.message);
}
const run = () => work(async (stopper) => {
  const kind = kindOf(chosen()[0]), text = byId("text").value, more = requested(), before = turns;
  const found = await ofEach(stopper, (model, signal, side) => {
    const input = isChat(kind) ? { messages: messagesOf(side, text) }
      : generates(kind) ? { prompt: text } : { input: text };
    return (generates(kind) ? complete : labels)(model, kind, { model: model.id, ...input, ...more }, signal);
  });
  if (!isChat(kind)) return;
  before.push({ user: text, answers: found });
  if (byId("text").value === text) byId("text").value = "";
  showTurns();
});

async function begin() {
  if (models.length) return;
  models = (await (await ask("/v1/models")).json()).data.filter(kindOf);
  byId("model").replaceChildren(...models.map((one) =>
    make("option", { value: one.id }, `${one.id} (${one.task})`)));
  fillPage();
}
const start = () => begin().catch((error) => say(`Error: ${error.message}`, true));

byId("form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
byId("score").addEventListener("click", () => work((stopper) => ofEach(stopper, score)));
byId("stop").addEventListener("click", () => running && running.abort());
byId("reset").addEventListener("click", () => {
  turns = [];
  showTurns();
  writeAddress();
  byId("text").focus();
});
byId("copy").addEventListener("click", async () => {
  writeAddress();
  try {
    await navigator.clipboard.writeText(location.href);
    say("The address is copied");
  } catch {
    say("Copy the address from the bar of the browser");
  }
});
for (const name of ["model", "other"]) {
  byId(name).addEventListener("change", () => { showKind(); writeAddress(); });
}
byId("key").addEventListener("change", start);
// Another address was pasted; what the page writes itself is no such event.
window.addEventListener("hashchange", () => {
  if (running) running.abort();
  if (models.length) fillPage();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
  if (event.key === "Escape" && running) running.abort();
});
makeFields();
showRunning();
start();
