// Settings: a field for each, what the address has of them, and what a request has.

let fields = [];

// A value that the page does not send; the message stands at its field, too.
class WrongField extends Error {
  constructor(field, message) {
    super(`${field.name}: ${message}`);
    this.field = field;
    this.reason = message;
  }
}

function makeFields() {
  const made = (prefix, tellOf) => tellOf.map((known) => {
    const id = `${prefix}-${known.name}`, isNumber = known.kind === "number";
    const input = known.choices.length
      ? make("select", {}, ...known.choices.map((one) => make("option", { value: one }, one)))
      : make("input", { type: known.kind, min: known.low, max: known.high, autocomplete: "off",
        step: isNumber ? (known.whole ? 1 : "any") : null });
    Object.assign(input, { id, name: known.name });
    input.setAttribute("aria-describedby", `${id}-wrong ${id}-help`);
    const wrong = make("small", { id: `${id}-wrong`, class: "error" });
    const box = make("div", {}, make("label", { for: id }, known.name), input, wrong,
      make("small", { id: `${id}-help` }, known.help));
    const field = { ...known, group: prefix, isNumber, input, wrong, box, usual: "", isSet: false };
    input.addEventListener("input", () => {
      field.isSet = true;
      mark(field, "");
    });
    return field;
  });
  fields = [...made("set", tables.sampling), ...made("pair", tables.pairs)];
  byId("settings").append(...fields.map((field) => field.box));
}

// Which settings a kind of request has. Searches are for completions; conversations have longer texts.
function fits(field, kind) {
  if (field.group === "pair") return kind[0] === "/v1/translate";
  return kind[0] === "/v1/completions"
    || (isChat(kind) && !["num_beams", "length_penalty"].includes(field.name));
}
function usualOf(field, kind) {
  const usual = (isChat(kind) && field.group === "set" && tables.chat[field.name]) || field.default;
  return usual === null ? "" : String(usual);
}
const shown = () => fields.filter((field) => !field.box.hidden);

// Shows the fields for a kind. What was set stays; what was not is the default of the kind.
function showSettings(kind) {
  for (const field of fields) {
    field.box.hidden = !fits(field, kind);
    field.usual = field.input.placeholder = usualOf(field, kind);
    if (!field.isSet) field.input.value = field.usual;
  }
  byId("settings-box").hidden = !shown().length;
}

// Settings that differ from their defaults, as texts by name.
function settings() {
  return Object.fromEntries(shown().map(({ name, input, usual }) => [name, input.value || usual, usual])
    .filter(([, value, usual]) => value !== usual));
}
// Takes settings from the address, and returns those that no field can hold.
function fillSettings(given) {
  for (const field of fields) {
    field.input.value = field.usual;
    field.isSet = false;
    mark(field, "");
  }
  return Object.entries(given).filter(([name, value]) => {
    const field = shown().find((one) => one.name === name);
    if (!field) return true;
    field.input.value = value;
    field.isSet = field.input.value === value;
    if (!field.isSet) field.input.value = field.usual;
    return !field.isSet;
  });
}

function mark(field, reason) {
  field.wrong.textContent = reason;
  if (reason) field.input.setAttribute("aria-invalid", "true");
  else field.input.removeAttribute("aria-invalid");
}
function showWrong(field, reason) {
  mark(field, reason);
  byId("settings-box").open = true;
  field.input.focus();
}

// Settings as a request has them. A length is always sent, since servers have defaults of their own.
function requested() {
  const found = {};
  for (const field of shown()) {
    const text = field.input.value || field.usual;
    if (field.input.validity.badInput) throw new WrongField(field, "this is no number; correct it");
    if (field.name === "max_new_tokens") found.max_tokens = numberOf(field, text);
    else if (text !== field.usual) found[field.name] = valueOf(field, text);
  }
  return found;
}
function valueOf(field, text) {
  if (field.isNumber) return numberOf(field, text);
  if (field.name === "stop") return text.replaceAll("\\n", "\n");
  if (field.name !== "logit_bias") return text;
  return Object.fromEntries(text.split(",").map((pair) => {
    const [, token, bias] = /^\s*(\d+)\s*:\s*([-+.\de]+)\s*$/i.exec(pair) ?? [];
    if (!token || !Number.isFinite(Number(bias))) {
      throw new WrongField(field, "expected ID:BIAS, and commas between several, such as 262:-5,11:2");
    }
    return [token, Number(bias)];
  }));
}
function numberOf(field, text) {
  const number = Number(text), most = Number.MAX_SAFE_INTEGER;
  if (field.whole && Math.abs(number) > most) {
    throw new WrongField(field, `this page sends whole numbers from ${-most} to ${most} only`);
  }
  return number;
}
