"use strict";
// What comes of a request, as a part of the page.

// A text whose tokens have a colour, one of which can be reached by the Tab key, the others by arrow keys.
function coloured(label) {
  const text = make("p", { class: "said", role: "group", "aria-label": label });
  const details = make("div", { class: "details", "aria-live": "polite" },
    make("p", { class: "note" }, "Point at a token, or go to it by keys, for its probability."));
  const show = (token) => {
    const rows = token.alternatives.map(([one, score]) => make("tr", {},
      make("td", { class: "text" }, JSON.stringify(one)), make("td", {}, Math.exp(score).toFixed(4))));
    const rank = token.rank ? `, rank ${token.rank}` : "";
    details.replaceChildren(
      make("p", { class: "note" },
        `${JSON.stringify(token.shown)}: ${Math.exp(token.score).toFixed(4)}${rank}`),
      make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "instead"),
        make("th", { scope: "col" }, "probability"))), make("tbody", {}, ...rows)));
  };
  text.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const all = [...text.querySelectorAll("[role=button]")], at = all.indexOf(document.activeElement);
    const next = event.key === "Home" ? all[0] : event.key === "End" ? all.at(-1) : by && all[at + by];
    if (!next) return;
    event.preventDefault();
    document.activeElement.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  return { parts: [text, details], add(token) {
    const p = Math.exp(token.score), level = p >= 0.5 ? 4 : p >= 0.1 ? 3 : p >= 0.01 ? 2 : 1;
    const first = !text.querySelector("[role=button]");
    const span = make("span", { class: `token p${level}`, role: "button", tabindex: first ? 0 : -1,
      "aria-label": `${token.shown.trim() || JSON.stringify(token.shown)}, probability ${p.toFixed(3)}` },
    token.text);
    for (const name of ["mouseenter", "focus", "click"]) span.addEventListener(name, () => show(token));
    text.append(span);
  }, addPlain(plain) {
    text.append(make("span", { class: "prompt" }, plain));
  } };
}
function resultOf(model, ...parts) {
  const box = make("section", { class: "result", "aria-label": `Result of ${model.id}` },
    make("h2", {}, `${model.id}, step ${model.step}`), ...parts);
  byId("results").append(box);
  return box;
}

async function complete(model, kind, signal) {
  const chats = kind[0] === "/v1/chat/completions", text = byId("text").value, sent = body(model, kind);
  const view = coloured(`Text of ${model.id}`);
  resultOf(model, ...view.parts);
  if (chats) Object.assign(sent, { messages: conversation(), logprobs: true, top_logprobs: TOLD });
  else Object.assign(sent, { prompt: text });
  if (sent.num_beams > 1) {
    const reply = await (await ask(kind[0], sent, signal)).json();
    view.addPlain(text);
    view.addPlain(reply.choices[0].text);
    return reply.choices[0].text;
  }
  if (!chats) sent.logprobs = TOLD;
  sent.stream = true;
  let said = "";
  if (!chats) view.addPlain(text);
  for await (const event of events(await ask(kind[0], sent, signal))) {
    const choice = event.choices[0];
    if (!choice) continue;
    said += chats ? choice.delta.content : choice.text;
    const told = choice.logprobs;
    const tokens = chats
      ? told.content.map((one) => [one.token, one.logprob, one.top_logprobs.map((o) => [o.token, o.logprob])])
      : told.tokens.map((one, n) => [one, told.token_logprobs[n],
        Object.entries(told.top_logprobs[n]).sort((a, b) => b[1] - a[1])]);
    for (const [token, score, alternatives] of tokens) {
      view.add({ text: token || "\u23ce", shown: token || "(no text)", score, alternatives });
    }
  }
  return said;
}
const conversation = () => [
  ...(byId("system").value ? [{ role: "system", content: byId("system").value }] : []), ...messages];

async function labels(model, kind, signal) {
  const text = byId("text").value;
  const reply = await ask(kind[0], { ...body(model, kind), input: text }, signal);
  const [found] = (await reply.json()).data;
  if (kind[0] === "/v1/classify") {
    const rows = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]).map(([name, p]) =>
      make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, p.toFixed(4)),
        make("td", {}, make("meter", { value: p, "aria-label": `probability of ${name}` }))));
    resultOf(model, make("p", {}, make("strong", {}, found.label)),
      make("table", {}, make("tbody", {}, ...rows)));
  } else if (kind[0] === "/v1/tag") {
    // Spans count characters as Python does, whole code points.
    const letters = [...text], parts = [];
    let at = 0;
    for (const span of found.spans) {
      parts.push(letters.slice(at, span.start).join(""), make("mark", {
        title: `${span.type}, probability ${span.probability.toFixed(3)}` },
      letters.slice(span.start, span.end).join(""),
      make("small", {}, `${span.type} ${span.probability.toFixed(2)}`)));
      at = span.end;
    }
    resultOf(model, make("p", { class: "entities" }, ...parts, letters.slice(at).join("")),
      make("p", { class: "note" }, `${found.spans.length} spans`));
  } else {
    const rows = found.hypotheses.map((one, n) => make("tr", {}, make("th", { scope: "row" }, String(n + 1)),
      make("td", { class: "text" }, one.text), make("td", {}, one.score.toFixed(3))));
    const names = ["beam", "target", "score"].map((name) => make("th", { scope: "col" }, name));
    resultOf(model, make("table", {}, make("thead", {}, make("tr", {}, ...names)),
      make("tbody", {}, ...rows)));
  }
  return "";
}
async function score(model, signal) {
  const sent = { model: model.id, input: byId("text").value, top_logprobs: TOLD };
  const [found] = (await (await ask("/v1/score", sent, signal)).json()).data;
  const view = coloured(`Scored text of ${model.id}`);
  resultOf(model, ...view.parts, make("p", { class: "note" },
    `${found.tokens.length} tokens, ${found.nats.toFixed(3)} nats`));
  for (const one of found.tokens) {
    view.add({ text: one.token, shown: one.token, score: one.logprob, rank: one.rank,
      alternatives: one.top_logprobs.map((other) => [other.token, other.logprob]) });
  }
}
