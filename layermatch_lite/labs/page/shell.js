// The frame of every lab: stories, main controls, picture, sentence, "More", lesson link.
//
// A lab's own part is a function view(lab), which returns {draw(state, packs, before, dragged)} and, where it needs them,
//   needs(state)                      the keys of the data that a state looks at
//   clamp(state, packs), settle(...)  the state brought in line with these data, or with what has just been changed
//   check(state, packs, changes)      an InputError for what cannot be shown
//   play: {field, last, ms, ...}      what Play moves
//   spoken(name, state), buttons, hear(message, buffers), close()

const VIEWS = {};

// host: {get(key): Promise<pack>, send(message) or null where there is no Python, on(listener), lesson(link)}
function makeLab(spec, host, { link = "", onLink = () => {} } = {}) {
  const lab = { spec, host, state: defaults(spec), packs: new Map() };
  let view = null,
    playing = null,
    closed = false,
    wanted = 0,
    telling = 0,
    pending = null,
    typing = false;
  const told = spec.stories.map((story) => writeLink(spec, readLink(spec, story.link)));
  const error = h("div", { class: "lml-error", role: "alert" });
  const sentence = h("div", { class: "lml-sentence", role: "status" });
  const stage = h("div", { class: "lml-stage" });
  const main = h("div", { class: "lml-main" }),
    more = h("div", { class: "lml-more" });
  const bar = h("div", { class: "lml-bar", role: "progressbar", "aria-label": "progress", hidden: true }, h("span"), h("i"));
  const linkBox = h("input", {
    type: "text",
    class: "lml-link",
    "aria-label": "lesson link",
    spellcheck: false,
    oninput: () => {
      typing = true;
    },
    onchange: () => {
      typing = false;
      lab.try(() => lab.open(linkBox.value));
    },
  });
  const copy = copyButton(() => linkBox.value);
  const stories = spec.stories.map((story) =>
    button(story.name, () => lab.try(() => lab.open(story.link)), { title: story.why }),
  );
  const why = h("div", { class: "lml-why" });
  const details = h("details", { class: "lml-details" }, h("summary", { text: "More" }), more);
  const foot = h(
    "div",
    { class: "lml-foot" },
    button("Reset", () => lab.try(() => lab.open(spec.stories[0].link))),
    linkBox,
    copy,
  );
  lab.el = h(
    "section",
    {
      class: "lml-lab",
      "data-lab": spec.lab,
      "aria-label": spec.title,
      onfocusin: (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"),
    }, // else JupyterLab takes the arrow keys
    h(
      "div",
      { class: "lml-head" },
      h("strong", { class: "lml-title", role: "heading", "aria-level": 2, text: spec.title }),
      h("span", { class: "lml-question", text: spec.question }),
      h("span", { class: "lml-stories", role: "group", "aria-label": "stories" }, ...stories),
    ),
    main,
    error,
    stage,
    bar,
    sentence,
    why,
    details,
  );
  Object.assign(lab, { stage, main });

  lab.say = (text) => {
    if (sentence.textContent !== text) sentence.textContent = text;
  };
  lab.fail = (problem) => {
    lab.pause();
    if (problem instanceof InputError) error.replaceChildren(problem.message);
    else
      error.replaceChildren(
        h("b", { text: `${problem.name || "Error"}: ${problem.message || problem}` }),
        " The lab keeps its last state; press Reset to start over.",
        h("details", {}, h("summary", { text: "details" }), h("pre", { text: problem.details || problem.stack || "" })),
      );
  };
  const clearError = () => error.replaceChildren();
  lab.try = (action) => {
    try {
      const result = action();
      clearError();
      if (result?.catch)
        result.catch((problem) => {
          lab.fail(problem);
          sync();
        });
      return result;
    } catch (problem) {
      lab.fail(problem);
      sync();
    }
  };
  // share in [0, 1] and what is being done; nothing for null
  lab.progress = (share, text = "") => {
    bar.hidden = share == null;
    if (share != null) {
      bar.firstChild.textContent = text;
      bar.lastChild.style.width = css(share);
    }
  };

  const controls = spec.fields
    .filter((f) => f.label)
    .map((f) => {
      const c = control(f, (value) => lab.try(() => lab.set({ [f.name]: value }, { dragged: !f.options })));
      (f.main ? main : more).append(c.el);
      return { f, ...c };
    });
  more.append(foot);
  lab.control = (name) => controls.find((c) => c.f.name === name);

  function sync() {
    for (const { f, el, set } of controls) {
      el.hidden = Boolean(f.view) && f.view !== lab.state.view;
      set(lab.state[f.name], view?.spoken?.(f.name, lab.state));
    }
    lab.link = writeLink(spec, lab.state);
    if (!typing) linkBox.value = lab.link;
    const here = told.indexOf(lab.link);
    stories.forEach((b, k) => {
      if (b.getAttribute("aria-pressed") !== String(k === here)) b.setAttribute("aria-pressed", k === here);
      if (k === here) reveal(b);
    });
    why.textContent = here >= 0 ? spec.stories[here].why : "";
    clearTimeout(telling); // a drag is one move: browsers and kernels need not hear of every pixel
    telling = setTimeout(() => onLink(lab.link), 200);
  }

  // Change some settings and show the result: at once where the data are there, else when they have come.
  lab.set = (changes, { dragged = false, keepPlaying = false } = {}) => {
    if (!keepPlaying) lab.pause();
    let state = { ...(pending ?? lab.state) };
    for (const [name, value] of Object.entries(changes))
      state[name] = checked(
        spec.fields.find((f) => f.name === name),
        value,
      );
    state = view.settle ? view.settle(state, changes) : state;
    return show(state, dragged, changes);
  };
  lab.open = (text) => {
    const link = bare(text);
    if (labOf(link) !== spec.lab && host.labs?.includes(labOf(link))) {
      sync();
      return host.lesson(link);
    } // the classroom switches
    lab.pause();
    const state = readLink(spec, link);
    view.opened?.();
    return show(state, false, {});
  };
  lab.follow = (text) => lab.try(() => lab.open(text)); // the link has been changed from outside
  function show(state, dragged, changes) {
    const keys = view.needs ? view.needs(state) : [],
      mine = ++wanted;
    pending = state; // what is on its way: another change in the meantime builds on it
    const ready = () => {
      pending = null;
      const packs = keys.map((key) => lab.packs.get(key));
      if (view.check) view.check(state, packs, changes);
      const settled = view.clamp ? view.clamp(state, packs) : state;
      const before = lab.state;
      lab.state = settled;
      lab.progress(null);
      try {
        view.draw(settled, packs, before, dragged);
      } catch (problem) {
        lab.state = before;
        throw problem;
      }
      playButton.disabled = false;
      clearError();
      sync();
    };
    if (keys.every((key) => lab.packs.has(key))) return ready();
    lab.progress(0.3, "loading …");
    const slow = setTimeout(() => {
      if (mine === wanted) lab.progress(0.3, "waiting for the kernel: is it running, and free?");
    }, 4000);
    return Promise.all(
      keys.map(async (key) => {
        if (!lab.packs.has(key)) lab.packs.set(key, await host.get(key));
      }),
    )
      .finally(() => clearTimeout(slow))
      .then(() => {
        if (mine === wanted && !closed) ready();
      })
      .catch((problem) => {
        if (mine === wanted) {
          pending = null;
          lab.progress(null);
          throw problem;
        }
      });
  }

  // --- Play: one field runs to its end ---
  const playButton = button("▶ Play", () => lab.try(() => (playing ? lab.pause() : lab.play())), {
    class: "lml-play",
    disabled: true,
  });
  lab.pause = () => {
    clearTimeout(playing);
    playing = null;
    playButton.textContent = "▶ Play";
  };
  lab.play = () => {
    const { field, ms, next = (value) => value + 1 } = view.play,
      last = () => view.play.last(lab.state);
    if (view.play.ready && !view.play.ready()) return view.start();
    const start = lab.state[field] >= last() ? 0 : Math.min(last(), next(lab.state[field]));
    playButton.textContent = "❚❚ Pause";
    const go = (value) => {
      lab.try(() => lab.set({ [field]: value }, { keepPlaying: true }));
      if (!playing) return; // an error has stopped it
      playing =
        value >= last() ? (lab.pause(), null) : setTimeout(() => go(Math.min(last(), next(value))), still() ? 2 * ms : ms);
    };
    playing = 1;
    go(start);
  };
  lab.close = () => {
    closed = true;
    lab.pause();
    clearTimeout(telling);
    view?.close?.();
    TIP.hide();
    fitting.disconnect();
    removeEventListener("resize", resized);
  };

  // On a page the picture takes the height that is left; in a notebook's cell the style sheet gives it one.
  let tallest = 0;
  const fit = () => {
    if (!lab.el.isConnected || lab.el.closest(".jp-Notebook")) return;
    const above = stage.getBoundingClientRect().top - (lab.el.closest(".lml-room") ?? lab.el).getBoundingClientRect().top;
    tallest = Math.max(tallest, sentence.offsetHeight); // it grows and does not shrink again, so that the picture keeps still
    stage.style.height = `${clamp(innerHeight - above - tallest - why.offsetHeight - 46, 230, 820)}px`;
  };
  const fitting = new ResizeObserver(fit);
  for (const part of [lab.el, main, error, sentence]) fitting.observe(part);
  const resized = () => {
    tallest = 0;
    fit();
  };
  addEventListener("resize", resized);

  view = VIEWS[spec.lab](lab);
  if (view.play) main.prepend(playButton);
  for (const extra of view.buttons ?? []) main.append(extra);
  host.on?.((message, buffers) => {
    try {
      view.hear?.(message, buffers);
    } catch (problem) {
      lab.fail(problem);
    }
  });
  lab.ready = (async () => {
    try {
      await lab.open(link || told[0]);
    } catch (problem) {
      // a link that fits nothing: its error, over the first story
      await lab.open(told[0]);
      lab.fail(problem);
    }
  })().catch(lab.fail);
  return lab;
}

// A lab whose own code fails is one error; the others live.
function guardedLab(spec, host, options) {
  try {
    return makeLab(spec, host, options);
  } catch (problem) {
    const el = h(
      "section",
      { class: "lml-lab" },
      h(
        "div",
        { class: "lml-error", role: "alert" },
        h("b", { text: `${spec.title}: ${problem.name}: ${problem.message}` }),
        h("pre", { text: problem.stack }),
      ),
    );
    return { el, spec, link: `${spec.lab}?`, open() {}, follow() {}, try() {}, pause() {}, close() {}, ready: Promise.resolve() };
  }
}
