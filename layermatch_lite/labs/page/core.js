// What every lab stands on: elements, packed data, lesson links, controls, motion, tooltips. No library and no build step: Python
// joins these files into one module (page/__init__.py).

const NS = "http://www.w3.org/2000/svg";

function put(el, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (name === "text") el.textContent = value;
    else if (value === true) el.setAttribute(name, "");
    else if (value !== false && value != null) el.setAttribute(name, value);
  }
  el.append(...children.filter((c) => c != null));
  return el;
}
const h = (tag, attributes, ...children) => put(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => put(document.createElementNS(NS, tag), attributes, children);

const percent = (v, digits = 0) => (v == null || Number.isNaN(v) ? "–" : `${(100 * v).toFixed(digits)} %`);
const signed = (v, digits = 2) => (v == null || Number.isNaN(v) ? "–" : `${v < 0 ? "−" : "+"}${Math.abs(v).toFixed(digits)}`);
const css = (share) => `${(100 * share).toFixed(2)}%`;
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

// --- packed data: a JSON head and typed arrays, as labs/packs.py writes them -----------------------------------------

const TYPES = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array, float32: Float32Array };

async function unpack(bytes) {
  if (!globalThis.DecompressionStream) throw new InputError("This browser is too old for the labs; take one of 2023 or later.");
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const found = { ...head.about };
  for (const [name, { dtype, shape, start }] of Object.entries(head.arrays)) {
    found[name] = new TYPES[dtype](
      buffer,
      start,
      shape.reduce((a, b) => a * b, 1),
    );
    found[name].shape = shape;
  }
  return found;
}

// --- lesson links: the whole state of a lab as a short text. The same rules as labs/state.py -------------------------

class InputError extends Error {}

function defaults(spec) {
  return Object.fromEntries(spec.fields.map((f) => [f.name, f.default]));
}

function checked(f, value) {
  if (f.options) {
    if (!f.open && !f.options.some((o) => o.value === value)) {
      const have = f.options.map((o) => o.value).join(", ");
      throw new InputError(`${f.name}=${value} is unknown; choose from ${have}.`);
    }
    return value;
  }
  if (f.text) return value;
  const whole = f.whole ? Number.isInteger(value) : true;
  if (!(value >= f.low && value <= f.high) || !whole) {
    throw new InputError(`${f.name}=${value} is not allowed; give a ${f.whole ? "whole " : ""}number in [${f.low}, ${f.high}].`);
  }
  const places = (value - f.low) / f.step;
  if (Math.abs(places - Math.round(places)) > 1e-6) {
    throw new InputError(`${f.name}=${value} is not allowed; give ${f.low} plus a multiple of ${f.step}.`);
  }
  return value;
}

function labOf(link) {
  return link.trim().split("?")[0];
}

// A lesson link may come as the whole address of a classroom page.
function bare(text) {
  const at = text.search(/[?#&]lesson=/);
  if (at < 0) return text.trim();
  const found = text.slice(at + 8).trim();
  try {
    return found.includes("?") ? found : decodeURIComponent(found); // a link encodes its own values, once
  } catch {
    return found;
  }
}

function readLink(spec, text) {
  const at = text.indexOf("?"),
    query = at < 0 ? "" : text.slice(at + 1);
  if (at < 0 || text.slice(0, at) !== spec.lab) {
    throw new InputError(`“${text.slice(0, 60)}” is not a lesson link for this lab; such a link starts with “${spec.lab}?”.`);
  }
  const state = defaults(spec),
    seen = new Set();
  for (const part of query ? query.split("&") : []) {
    const [name, ...rest] = part.split("=");
    const f = spec.fields.find((one) => one.name === name);
    if (!rest.length) throw new InputError(`the lesson link is garbled at “${part.slice(0, 30)}”; copy it again, whole.`);
    if (!f)
      throw new InputError(
        `“${name.slice(0, 30)}” is no setting of this lab; it has ${spec.fields.map((g) => g.name).join(", ")}.`,
      );
    if (seen.has(name)) throw new InputError("the lesson link sets a value twice; copy it again, whole.");
    seen.add(name);
    let value;
    try {
      value = decodeURIComponent(rest.join("=").replaceAll("+", " "));
    } catch {
      throw new InputError("the lesson link is garbled; copy it again, whole.");
    }
    if (typeof f.default === "number") {
      if (value.trim() === "" || Number.isNaN(Number(value)))
        throw new InputError(`${name}=${value.slice(0, 30)} in the lesson link is not a number; copy the link again.`);
      value = Number(value);
    }
    state[name] = checked(f, value);
  }
  return state;
}

function writeLink(spec, state) {
  const own = spec.fields.filter((f) => state[f.name] !== f.default);
  const code = (v) =>
    encodeURIComponent(v).replaceAll("%2C", ",").replaceAll("%3B", ";").replaceAll("%3A", ":").replaceAll("%2F", "/");
  return `${spec.lab}?${own.map((f) => `${f.name}=${code(state[f.name])}`).join("&")}`;
}

// --- motion ----------------------------------------------------------------------------------------------------------

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// draw(share) on every frame until share is 1; the returned function stops it.
function animate(draw, milliseconds = 300) {
  if (still() || !milliseconds) {
    draw(1);
    return () => {};
  }
  let frame = 0;
  const began = performance.now();
  const step = (now) => {
    const t = clamp((now - began) / milliseconds, 0, 1);
    if (t < 1) frame = requestAnimationFrame(step);
    draw(t < 1 ? 1 - (1 - t) ** 3 : 1);
  };
  frame = requestAnimationFrame(step);
  return () => cancelAnimationFrame(frame);
}

// Numbers that glide to their new values: to(values), and draw(current) in each frame. Under a fast hand they follow at once.
function glide(draw) {
  let now = null,
    stop = () => {},
    called = 0;
  return {
    to(values, milliseconds = 300) {
      stop();
      if (performance.now() - called < 120) milliseconds = 0;
      called = performance.now();
      const from = now && now.length === values.length ? Float64Array.from(now) : Float64Array.from(values);
      const frame = now && now.length === values.length ? milliseconds : 0;
      now = Float64Array.from(from);
      stop = animate((t) => {
        for (let k = 0; k < now.length; k++) now[k] = from[k] + t * (values[k] - from[k]);
        draw(now);
      }, frame);
    },
    stop() {
      stop();
    },
  };
}

// --- tooltips: one box for a page, in plain words, on hover, focus and touch -----------------------------------------

const TIP = (() => {
  let box = null;
  return {
    show(x, y, content) {
      box ??= h("div", { class: "lml-tip", role: "tooltip", id: "lml-tip" });
      if (!box.isConnected) document.body.append(box);
      box.replaceChildren(...(Array.isArray(content) ? content : [content]));
      box.style.display = "block";
      const { offsetWidth: w, offsetHeight: height } = box;
      box.style.left = `${clamp(x + 14, 4, Math.max(4, innerWidth - w - 4))}px`;
      box.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 12) : y + 18}px`;
    },
    hide() {
      if (box) box.style.display = "none";
    },
  };
})();

// A term with its one-line definition.
function term(text, help) {
  if (!help) return h("span", { text });
  const show = (event) => {
    const r = el.getBoundingClientRect();
    TIP.show(r.left, r.bottom - 14, help);
    event.stopPropagation();
  };
  const el = h("span", {
    class: "lml-term",
    tabindex: 0,
    role: "note",
    "aria-label": `${text}: ${help}`,
    text,
    onmouseenter: show,
    onfocus: show,
    onclick: show,
    onmouseleave: TIP.hide,
    onblur: TIP.hide,
  });
  return el;
}

// --- controls: native inputs, so that keyboard, touch and screen readers find what they know -------------------------

let count = 0;

function control(f, onChange) {
  const id = `lml-${++count}`;
  if (f.options && (f.open || f.options.map((o) => o.label).join("").length > 45)) {
    // too long for a row of buttons
    const select = h("select", { id, onchange: () => onChange(select.value) });
    const fill = (value) => {
      if (!f.options.some((o) => o.value === value)) f.options = [...f.options, { value, label: value }]; // it stays on the list
      select.replaceChildren(...f.options.map((o) => h("option", { value: o.value, text: o.label })));
      select.value = value;
    };
    return {
      el: h("div", { class: "lml-control" }, h("label", { for: id }, term(f.label, f.help)), select),
      set: fill,
      bound(options) {
        f.options = options;
      },
    };
  }
  if (f.options) {
    const radios = f.options.map((o) =>
      h("input", {
        type: "radio",
        name: id,
        value: o.value,
        id: `${id}-${o.value}`,
        onchange: () => onChange(typeof f.default === "number" ? Number(o.value) : o.value),
      }),
    );
    const items = f.options.map((o, k) =>
      h("span", { class: "lml-option" }, radios[k], h("label", { for: `${id}-${o.value}`, text: o.label })),
    );
    const el = h(
      "div",
      { class: "lml-control lml-choice", role: "radiogroup", "aria-label": f.label },
      term(f.label, f.help),
      h("span", { class: "lml-options" }, ...items),
    );
    return {
      el,
      set(value) {
        radios.forEach((r, k) => {
          r.checked = f.options[k].value === value;
        });
      },
    };
  }
  const number = f.box;
  const input = h("input", {
    id,
    type: number ? "number" : "range",
    min: f.low,
    max: f.high,
    step: f.step,
    oninput: () => {
      if (input.value !== "") onChange(Number(input.value));
    },
  });
  const show = (v) => (f.unit === "%" ? percent(v) : f.whole ? String(v) : v.toFixed(2));
  const out = h("output", { for: id });
  const el = h(
    "div",
    { class: `lml-control ${number ? "" : "lml-slider"}` },
    h("label", { for: id }, term(f.label, f.help)),
    input,
    number ? null : out,
  );
  return {
    el,
    set(value, text) {
      if (Number(input.value) !== value) input.value = value;
      out.textContent = text ?? show(value);
      input.setAttribute("aria-valuetext", out.textContent);
    },
    limit(low, high) {
      if (Number(input.max) !== high) {
        input.min = low;
        input.max = high;
      }
    },
  };
}

const button = (text, onclick, attributes = {}) => h("button", { type: "button", text, onclick, ...attributes });

// A chosen tab or story, brought into its row where that scrolls sideways.
function reveal(el) {
  const row = el.parentElement;
  if (row.scrollWidth > row.clientWidth) row.scrollLeft = el.offsetLeft - row.offsetLeft - 20;
}

// "Copy link", which says for a moment that it has been done.
function copyButton(link) {
  const copy = button("Copy link", async () => {
    const text = h("textarea", { style: "position:fixed;opacity:0" });
    try {
      await navigator.clipboard.writeText(link());
    } catch {
      document.body.append(text); // a page opened from a file may not use the clipboard directly
      text.value = link();
      text.select();
      document.execCommand("copy");
      text.remove();
    }
    copy.textContent = "Copied";
    setTimeout(() => {
      copy.textContent = "Copy link";
    }, 1500);
  });
  return copy;
}
