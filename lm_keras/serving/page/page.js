const byId = (id) => document.getElementById(id);
const tables = JSON.parse(byId("tables").textContent);
const TOLD = 5;
let models = [], messages = [], running = null;

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
const fieldsOf = (kind) => kind[0] === "/v1/translate" ? tables.pairs
  : kind[0].includes("completions") ? tables.sampling.filter((field) =>
    kind[0] === "/v1/completions" || !["num_beams", "length_penalty"].includes(field.name)) : [];

// The address: everything but the key, after the #, which browsers send to no server.
function readAddress() {
  return new URLSearchParams(location.hash.slice(1));
}
function writeAddress() {
  const found = new URLSearchParams();
  found.set("model", byId("model").value);
  if (byId("other").value) found.set("other", byId("other").value);
  if (byId("system").value) found.set("system", byId("system").value);
  for (const turn of messages) found.append(turn.role, turn.content);
  found.set("text", byId("text").value);
  for (const [name, value] of Object.entries(settings())) found.set(name, value);
  history.replaceState(null, "", `#${found}`);
}

function settings() {
  const found = {};
  for (const input of byId("settings").querySelectorAll("[data-default]")) {
    if (input.value !== "" && input.value !== input.dataset.default) found[input.name] = input.value;
  }
  return found;
}
function body(model, kind) {
  const found = { model: model.id };
  for (const [name, value] of Object.entries(settings())) {
    const field = fieldsOf(kind).find((one) => one.name === name);
    if (!field) continue;
    if (name === "max_new_tokens") found.max_tokens = Number(value);
    else if (name === "stop") found.stop = value.replaceAll("\\n", "\n");
    else if (name === "logit_bias") {
      found.logit_bias = Object.fromEntries(value.split(",").map((pair) => {
        const [token, bias] = pair.split(":");
        return [token.trim(), Number(bias)];
      }));
    } else found[name] = field.kind === "number" ? Number(value) : value;
  }
  return found;
}

function showSettings() {
  const kept = settings(), given = readAddress(), box = byId("settings");
  const kind = kindOf(modelOf(byId("model").value));
  box.replaceChildren(...fieldsOf(kind).map((field) => {
    const usual = field.default === null ? "" : String(field.default);
    const value = kept[field.name] ?? given.get(field.name) ?? usual;
    const id = `set-${field.name}`;
    let input;
    if (field.choices.length) {
      input = make("select", {}, ...field.choices.map((one) => make("option", { value: one }, one)));
    } else {
      input = make("input", { type: field.kind === "number" ? "number" : "text",
        min: field.low, max: field.high, step: field.kind === "number" ? (field.whole ? 1 : "any") : null });
    }
    Object.assign(input, { id, name: field.name, value });
    input.dataset.default = usual;
    input.setAttribute("aria-describedby", `${id}-help`);
    return make("label", { for: id }, make("span", {}, field.name), input,
      make("small", { id: `${id}-help` }, field.help));
  }));
  byId("settings-box").hidden = !box.children.length;
}

function showKind() {
  const kind = kindOf(modelOf(byId("model").value));
  const chats = kind[0] === "/v1/chat/completions", other = byId("other").value;
  byId("text-label").textContent = kind[1];
  byId("run").textContent = kind[2];
  byId("conversation").hidden = byId("reset").hidden = !chats;
  byId("score").hidden = !modelOf(byId("model").value).endpoints.includes("/v1/score");
  byId("legend").hidden = !kind[0].includes("completions");
  const fitting = models.filter((one) => one.endpoints.includes(kind[0]) && one.id !== byId("model").value);
  byId("other").replaceChildren(make("option", { value: "" }, "no other model"),
    ...fitting.map((one) => make("option", { value: one.id }, one.id)));
  if (fitting.some((one) => one.id === other)) byId("other").value = other;
  byId("other").disabled = !fitting.length;
  showSettings();
  showTurns();
}
function showTurns() {
  byId("turns").replaceChildren(...messages.map((turn) =>
    make("li", { class: turn.role }, make("strong", {}, `${turn.role}: `), turn.content)));
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
    throw new Error(known ? known.error.message : `status ${reply.status}`);
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

async function work(doIt) {
  if (running) return;
  running = new AbortController();
  byId("stop").disabled = false;
  byId("run").disabled = byId("score").disabled = true;
  byId("results").replaceChildren();
  say("The model works ...");
  const began = performance.now();
  try {
    const asked = [byId("model").value, byId("other").value].filter(Boolean).map(modelOf);
    await doIt(asked, running.signal);
    say(`Done in ${((performance.now() - began) / 1000).toFixed(1)} s`);
  } catch (error) {
    say(error.name === "AbortError" ? "Stopped" : `Error: ${error.message}`, error.name !== "AbortError");
  }
  running = null;
  byId("stop").disabled = true;
  byId("run").disabled = byId("score").disabled = false;
  writeAddress();
}
const run = () => work(async (asked, signal) => {
  const kind = kindOf(asked[0]), chats = kind[0] === "/v1/chat/completions", text = byId("text").value;
  if (chats) messages.push({ role: "user", content: text });
  writeAddress();
  try {
    const all = await Promise.all(asked.map((model) =>
      (kind[0].includes("completions") ? complete : labels)(model, kind, signal)));
    if (chats) {
      messages.push({ role: "assistant", content: all[0] });
      byId("text").value = "";
    }
  } catch (error) {
    if (chats) messages.pop();
    throw error;
  } finally {
    showTurns();
  }
});

async function begin() {
  models = (await (await ask("/v1/models")).json()).data.filter(kindOf);
  byId("model").replaceChildren(...models.map((one) =>
    make("option", { value: one.id }, `${one.id} (${one.task})`)));
  const given = readAddress();
  if (modelOf(given.get("model"))) byId("model").value = given.get("model");
  messages = [...given].filter(([name]) => ["user", "assistant"].includes(name))
    .map(([role, content]) => ({ role, content }));
  byId("system").value = given.get("system") ?? "";
  byId("text").value = given.get("text") ?? "";
  showKind();
  if (modelOf(given.get("other"))) byId("other").value = given.get("other");
  say("Ready");
}
const start = () => begin().catch((error) => say(`Error: ${error.message}`, true));

byId("form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
byId("score").addEventListener("click", () => work((asked, signal) =>
  Promise.all(asked.map((model) => score(model, signal)))));
byId("stop").addEventListener("click", () => running && running.abort());
byId("reset").addEventListener("click", () => {
  messages = [];
  showTurns();
  writeAddress();
  byId("text").focus();
});
byId("copy").addEventListener("click", async () => {
  writeAddress();
  await navigator.clipboard.writeText(location.href).then(() => say("The address is copied"),
    () => say("Copy the address from the bar of the browser"));
});
byId("model").addEventListener("change", () => { messages = []; showKind(); writeAddress(); });
byId("key").addEventListener("change", start);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
  if (event.key === "Escape" && running) running.abort();
});
start();
