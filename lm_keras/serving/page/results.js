"use strict";
// What comes of a request, as a part of the page.

// Tokens without characters of their own have a sign, which is no part of the text.
const NO_TEXT = "\u2205", LINE_END = "\u23ce", END = "\u220e";
const IN_WORDS = { [NO_TEXT]: "no text", [LINE_END]: "line end", [END]: "end of the text" };

// A token as it is named: bytes that are no whole characters come as `bytes:\xc3`.
const quoted = (text) => /^bytes:(\\x[0-9a-f]{2})+$/.test(text) ? text : JSON.stringify(text);
const note = (text) => make("p", { class: "note" }, text);

// A text whose tokens have a colour, one of which can be reached by the Tab key, the others by arrow keys.
// A token is { text, score, rank, alternatives }, where text is what it adds to the text before.
class ColouredText {
  constructor(label) {
    this.text = make("p", { class: "said", role: "group", "aria-label": label });
    this.details = make("div", { class: "details", "aria-live": "polite" },
      note("Point at a token, or go to it by keys, for its probability."));
    this.text.addEventListener("keydown", (event) => this.go(event));
    this.text.addEventListener("focusin", (event) => this.stopAt(event.target));
    this.parts = [this.text, this.details];
    this.tokens = [];
    this.said = "";
    this.spans = [];
    this.drawn = 0;
  }

  addPlain(plain) {
    this.text.append(make("span", { class: "prompt" }, plain));
  }

  // Takes new tokens, and the text that came. It may come later than its tokens: it waits as long as it may
  // become a stop string.
  grow(tokens, piece) {
    this.tokens.push(...tokens);
    this.said += piece;
    while (this.spans.length < this.tokens.length) {
      const { text } = this.tokens[this.spans.length];
      if (this.drawn + text.length > this.said.length) return;
      this.draw(text.length);
    }
  }

  // Draws what is left when no more text comes. A stop string is no part of the text; an unfinished character
  // comes last, and none of the tokens has it.
  end(byModel) {
    const isCut = this.spans.length < this.tokens.length;
    while (this.spans.length < this.tokens.length) {
      this.draw(Math.min(this.tokens[this.spans.length].text.length, this.said.length - this.drawn));
    }
    const hasEnd = byModel && !isCut && this.tokens.length > 0 && this.tokens.at(-1).text === "";
    const rest = this.said.slice(this.drawn), last = this.spans.length - (hasEnd ? 2 : 1);
    if (rest && last < 0) this.addPlain(rest);
    else if (rest) this.write(last, this.spans[last].textContent + rest);
    if (hasEnd) this.write(this.spans.length - 1, "", END);
  }

  draw(length) {
    const token = this.tokens[this.spans.length], p = Math.exp(token.score);
    const level = p >= 0.5 ? 4 : p >= 0.1 ? 3 : p >= 0.01 ? 2 : 1;
    const span = make("span", { class: `token p${level}`, role: "button",
      tabindex: this.spans.length ? -1 : 0 });
    const tell = () => this.tell(token, span);
    for (const name of ["mouseenter", "focus", "click"]) span.addEventListener(name, tell);
    this.spans.push(span);
    this.write(this.spans.length - 1, this.said.slice(this.drawn, this.drawn + length));
    this.drawn += length;
    this.text.append(span);
  }

  write(number, text, sign = text === "" ? NO_TEXT : /^[\r\n]+$/.test(text) ? LINE_END : "") {
    const span = this.spans[number], p = Math.exp(this.tokens[number].score);
    span.textContent = text;
    span.dataset.sign = sign;
    const name = IN_WORDS[sign] ?? (text.trim() || JSON.stringify(text));
    span.setAttribute("aria-label", `${name}, probability ${p.toFixed(3)}`);
  }

  tell(token, span) {
    const rows = token.alternatives.map(([one, score]) => make("tr", {},
      make("td", { class: "text" }, quoted(one)), make("td", {}, Math.exp(score).toFixed(4))));
    const rank = token.rank ? `, rank ${token.rank}` : "";
    const name = token.text === "" ? IN_WORDS[span.dataset.sign] ?? "no text" : quoted(token.text);
    this.details.replaceChildren(
      note(`${name}: ${Math.exp(token.score).toFixed(4)}${rank}`),
      make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "instead"),
        make("th", { scope: "col" }, "probability"))), make("tbody", {}, ...rows)));
  }

  go(event) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const at = this.spans.indexOf(document.activeElement);
    const next = event.key === "Home" ? this.spans[0] : event.key === "End" ? this.spans.at(-1)
      : by && this.spans[at + by];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }

  stopAt(span) {
    for (const one of this.spans) one.tabIndex = one === span ? 0 : -1;
  }
}
function resultOf(model, ...parts) {
  const box = make("section", { class: "result", "aria-label": `Result of ${model.id}` },
    make("h2", {}, `${model.id}, step ${model.step}`), ...parts);
  byId("results").append(box);
  return box;
}

// Shows the text that a model generates, and returns it.
async function complete(model, kind, sent, signal) {
  const view = new ColouredText(`Text of ${model.id}`);
  const box = resultOf(model, ...view.parts);
  if (!isChat(kind)) view.addPlain(sent.prompt);
  if (sent.num_beams > 1) {
    const [choice] = (await (await ask(kind[0], sent, signal)).json()).choices;
    view.addPlain(choice.text);
    view.details.hidden = true;
    return choice.text;
  }
  const told = isChat(kind) ? { logprobs: true, top_logprobs: TOLD } : { logprobs: TOLD };
  let reason = null;
  for await (const event of events(await ask(kind[0], { ...sent, ...told, stream: true }, signal))) {
    const [choice] = event.choices;
    if (!choice) continue;
    reason = choice.finish_reason ?? reason;
    if (choice.truncated) {
      const left = isChat(kind) ? counted(choice.messages_left_out, "message")
        : counted(choice.tokens_left_out, "token");
      box.append(note(`The text is too long: the model does not read the first ${left}.`));
    }
    if (isChat(kind)) view.grow(tokensOfTurn(choice.logprobs), choice.delta.content ?? "");
    else view.grow(tokensOfText(choice.logprobs), choice.text);
  }
  view.end(reason === "stop");
  return view.said;
}
const tokensOfTurn = (told) => (told?.content ?? []).map((one) => ({ text: one.token, score: one.logprob,
  alternatives: one.top_logprobs.map((other) => [other.token, other.logprob]) }));
const tokensOfText = (told) => (told?.tokens ?? []).map((text, n) => ({ text, score: told.token_logprobs[n],
  alternatives: Object.entries(told.top_logprobs[n]).sort((a, b) => b[1] - a[1]) }));

async function score(model, signal) {
  const sent = { model: model.id, input: byId("text").value, top_logprobs: TOLD };
  const [found] = (await (await ask("/v1/score", sent, signal)).json()).data;
  const view = new ColouredText(`Scored text of ${model.id}`);
  resultOf(model, ...view.parts,
    note(`${counted(found.tokens.length, "token")}, ${found.nats.toFixed(3)} nats`));
  view.grow(found.tokens.map((one) => ({ text: one.token, score: one.logprob, rank: one.rank,
    alternatives: one.top_logprobs.map((other) => [other.token, other.logprob]) })),
  found.tokens.map((one) => one.token).join(""));
}
const counted = (number, name) => `${number} ${name}${number === 1 ? "" : "s"}`;

// Shows labels or targets of the text.
async function labels(model, kind, sent, signal) {
  const [found] = (await (await ask(kind[0], sent, signal)).json()).data;
  const parts = { "/v1/classify": classes, "/v1/tag": spans, "/v1/translate": targets }[kind[0]];
  const box = resultOf(model, ...parts(found, sent.input));
  const { tokens, tokens_read: read } = found;
  if (found.truncated) box.append(note(`The text is too long: the model reads ${read} of ${tokens} tokens.`));
}
function classes(found) {
  const rows = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]).map(([name, p]) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, p.toFixed(4)),
      make("td", {}, make("meter", { value: p, "aria-label": `probability of ${name}` }))));
  return [make("p", {}, make("strong", {}, found.label)), make("table", {}, make("tbody", {}, ...rows))];
}
function spans(found, text) {
  // Spans count characters as Python does, whole code points.
  const letters = [...text], parts = [];
  let at = 0;
  for (const span of found.spans) {
    parts.push(letters.slice(at, span.start).join(""),
      make("mark", { title: `${span.type}, probability ${span.probability.toFixed(3)}` },
        letters.slice(span.start, span.end).join(""),
        make("small", {}, `${span.type} ${span.probability.toFixed(2)}`)));
    at = span.end;
  }
  return [make("p", { class: "entities" }, ...parts, letters.slice(at).join("")),
    note(counted(found.spans.length, "span"))];
}
function targets(found) {
  const rows = found.hypotheses.map((one, n) => make("tr", {}, make("th", { scope: "row" }, String(n + 1)),
    make("td", { class: "text" }, one.text), make("td", {}, one.score.toFixed(3))));
  const names = ["beam", "target", "score"].map((name) => make("th", { scope: "col" }, name));
  return [make("table", {}, make("thead", {}, make("tr", {}, ...names)), make("tbody", {}, ...rows))];
}
