// All labs on one page, and the two hosts of the labs: Python in a notebook, or nothing but this page.

function makeClassroom(specs, host, { link = "", onLink = () => {}, plans = [] } = {}) {
  const room = { labs: new Map() };
  const error = h("div", { class: "lml-error", role: "alert" });
  const place = h("div", { class: "lml-place" });
  const names = specs.map((spec) => spec.lab);
  const tabs = specs.map((spec) => button(spec.title, () => room.show(spec.lab), { role: "tab", "aria-selected": "false" }));
  tabs.forEach((tab, k) =>
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: k + 1, ArrowLeft: k - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to != null) {
        event.preventDefault();
        const next = (to + tabs.length) % tabs.length;
        tabs[next].focus();
        room.show(names[next]);
      }
    }),
  );
  const plan = h("select", { "aria-label": "lesson plan" }, ...plans.map((p, k) => h("option", { value: k, text: p.name })));
  let at = -1;
  const next = button("Next ▸", () => go(at + 1)),
    back = button("◂", () => go(at - 1), { "aria-label": "back in the plan" });
  const where = h("span", { class: "lml-where" });
  plan.addEventListener("change", () => {
    at = -1;
    go(0);
  });
  function go(k) {
    const links = plans[plan.value].links;
    at = (k + links.length) % links.length;
    where.textContent = `${at + 1} of ${links.length}`;
    room.open(links[at]);
  }
  const box = h("input", {
    type: "text",
    "aria-label": "open a lesson link",
    placeholder: "lesson link",
    spellcheck: false,
    onchange: () => {
      room.open(box.value);
    },
  });
  const current = () => [...room.labs.values()].find((lab) => lab.el === place.firstChild);
  room.el = h(
    "div",
    { class: "lml-room" },
    h(
      "div",
      { class: "lml-top" },
      h("div", { class: "lml-tabs", role: "tablist", "aria-label": "labs" }, ...tabs),
      h(
        "div",
        { class: "lml-plan" },
        plans.length ? h("span", { class: "lml-planned" }, plan, back, next, where) : null,
        box,
        copyButton(() => current()?.link ?? ""),
      ),
    ),
    error,
    place,
  );
  room.show = (name, link = "") => {
    tabs.forEach((tab, k) => {
      tab.setAttribute("aria-selected", names[k] === name);
      tab.tabIndex = names[k] === name ? 0 : -1;
      if (names[k] === name) reveal(tab);
    });
    for (const [other, lab] of room.labs) if (other !== name) lab.pause();
    let lab = room.labs.get(name);
    if (!lab) {
      const quiet = {
        onLink: (text) => {
          if (lab && place.firstChild === lab.el) onLink(text);
        },
      };
      lab = guardedLab(specs[names.indexOf(name)], { ...host, lesson: room.open, labs: names }, { link, ...quiet });
      room.labs.set(name, lab);
      place.replaceChildren(lab.el);
    } else {
      if (place.firstChild !== lab.el) place.replaceChildren(lab.el);
      if (link) lab.try(() => lab.open(link));
    }
    lab.ready.then(() => {
      if (place.firstChild === lab.el) onLink(lab.link);
    });
    return lab;
  };
  room.open = (text) => {
    const link = bare(text),
      name = labOf(link);
    error.replaceChildren();
    if (!names.includes(name) || !link.includes("?")) {
      error.textContent = `“${link.slice(0, 80)}” is not a lesson link; a lesson link starts with one of ${names.map((n) => `${n}?`).join(", ")}.`;
      return null;
    }
    box.value = "";
    return room.show(name, link);
  };
  room.follow = room.open;
  room.close = () => {
    for (const lab of room.labs.values()) lab.close();
  };
  if (!link || !room.open(link)) room.show(names[0]);
  return room;
}

// --- in a notebook, JupyterLab or Voilà: Python is the host ----------------------------------------------------------

function render({ model, el }) {
  const waiting = new Map(),
    asked = new Map(),
    listeners = [];
  const hear = (message, buffers) => {
    if (message.key && waiting.has(message.key)) {
      const { resolve, reject } = waiting.get(message.key);
      waiting.delete(message.key);
      if (message.error) {
        asked.delete(message.key);
        reject(problemOf(message));
      } else unpack(bytesOf(buffers[0])).then(resolve, reject);
    } else for (const listener of listeners) listener(message, buffers);
  };
  model.on("msg:custom", hear);
  const host = {
    get(key) {
      if (!asked.has(key))
        asked.set(
          key,
          new Promise((resolve, reject) => {
            waiting.set(key, { resolve, reject });
            model.send({ want: key });
          }),
        );
      return asked.get(key);
    },
    send: (message) => model.send(message),
    on: (listener) => listeners.push(listener),
  };
  const specs = model.get("specs"),
    link = model.get("link");
  let mine = null;
  const onLink = (text) => {
    if (text !== model.get("link")) {
      mine = text;
      model.set("link", text);
      model.save_changes();
    }
  };
  const shown =
    specs.length > 1
      ? makeClassroom(specs, host, { link, onLink, plans: model.get("plans") })
      : guardedLab(specs[0], host, { link, onLink });
  const opened = () => {
    const text = model.get("link");
    if (text === mine) return;
    mine = null;
    shown.follow(text);
  };
  model.on("change:link", opened);
  el.append(shown.el);
  return () => {
    model.off("change:link", opened);
    model.off("msg:custom", hear);
    shown.close();
  };
}

const bytesOf = (buffer) =>
  buffer.buffer ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength) : new Uint8Array(buffer);
function problemOf(message) {
  if (!message.details) return new InputError(message.error);
  return Object.assign(new Error(message.error), { name: message.kind, details: message.details });
}

// --- on a page without Python: the data lie in the page --------------------------------------------------------------

// A link that was encoded as a whole has no ? of its own.
function decoded(text) {
  try {
    return text.includes("?") ? text : decodeURIComponent(text);
  } catch {
    return text;
  }
}

function boot({ specs, plans }) {
  const cache = new Map();
  const host = {
    get(key) {
      if (!cache.has(key)) {
        const found = document.getElementById(`pack-${key}`);
        if (!found)
          return Promise.reject(
            new InputError(`“${key}” is not in this page; open the lab in a notebook, where Python can read it.`),
          );
        cache.set(key, unpack(Uint8Array.from(atob(found.textContent.trim()), (c) => c.charCodeAt(0))));
      }
      return cache.get(key);
    },
    send: null,
  };
  const asked = decoded(bare(location.hash.slice(1) || (/[?&]lesson=/.test(location.search) ? location.search : "")));
  const shown = makeClassroom(specs, host, { link: asked, plans, onLink: (text) => history.replaceState(null, "", `#${text}`) });
  addEventListener("hashchange", () => {
    shown.open(decoded(location.hash.slice(1)));
  });
  document.getElementById("labs").replaceChildren(shown.el);
}
