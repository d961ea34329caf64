// What the decision and the training lab share: recorded trainings are played, others are trained by Python while one watches.

// part: {frames(pack): [{step, ...}], paint(state, frame, frames)}. A training is known by its link without step and look.
function trained(lab, part) {
  const { spec, host } = lab,
    store = new Map(), // link of a live training -> its frames, in the order of their steps
    played = new WeakMap(); // block of a recorded training -> its frames
  const recorded = new Map(Object.entries(spec.recorded));
  const about = (state) => writeLink(spec, { ...state, step: part.last(state), ...(part.looks ?? {}) });
  let state = null,
    shown = [], // the frames of what is on the screen
    running = null,
    asked = null;
  const startButton =
    host.send &&
    button("Train live", () => lab.try(() => (running ? pause() : start())), { title: "Python trains, step by step" });
  const frames = (link) => store.get(link) ?? [];
  const busy = (what) => {
    running = what;
    if (startButton) startButton.textContent = what ? "Stop" : "Train live";
    if (!what) lab.progress(null);
  };

  function keep(link, found) {
    const all = new Map(frames(link).map((frame) => [frame.step, frame]));
    for (const frame of found) all.set(frame.step, frame);
    store.set(
      link,
      [...all.values()].sort((a, b) => a.step - b.step),
    );
  }
  function ask(link, step, from) {
    asked = link;
    busy(link);
    lab.progress(0, "starting …");
    host.send({ lab: spec.lab, do: "train", link: writeLink(spec, { ...readLink(spec, link), step }), again: from === 0 });
  }
  function pause() {
    host.send({ lab: spec.lab, do: "stop" });
    busy(null);
  }
  function start() {
    lab.pause();
    const link = about(state),
      done = state.step >= part.last(state) || (recorded.has(link) && asked !== link);
    if (done) {
      store.delete(link);
      asked = link;
    }
    ask(link, part.last(state), done ? 0 : state.step);
  }
  return {
    start,
    buttons: startButton ? [startButton] : [],
    play: {
      field: "step",
      ms: 120,
      last: () => part.last(state),
      next: (step) => shown.find((frame) => frame.step > step)?.step ?? part.last(state),
      ready: () => shown.length > 1,
    },
    needs: (next) => {
      const link = about(next);
      return recorded.has(link) && asked !== link ? [recorded.get(link)] : [];
    },
    settle(next, changes) {
      // another training starts at its beginning; a recorded one at its end
      if (!Object.keys(changes).some((name) => name !== "step" && !(name in (part.looks ?? {})))) return next;
      if ("dataset" in changes || "per_class" in changes) next = { ...next, ...("places" in next ? { places: "" } : {}) };
      if (running) pause();
      const whole = { ...next, step: part.last(next) };
      return recorded.has(about(whole)) ? whole : { ...next, step: 0 };
    },
    clamp: (next) => ({ ...next, step: Math.min(next.step, part.last(next)) }),
    opened() {
      // a story shows its recording again
      if (running) pause();
      asked = null;
    },
    check(next) {
      if (!host.send && !recorded.has(about(next)))
        throw new InputError(
          "This page has no Python: it plays the recorded trainings of the stories. In a notebook (make lab) everything here can be changed and trained.",
        );
    },
    draw(next, [pack]) {
      const link = about(next);
      if (pack && !played.has(pack)) played.set(pack, part.frames(pack));
      state = next;
      const all = pack ? played.get(pack) : frames(link),
        frame = all.findLast((one) => one.step <= next.step);
      shown = all;
      if (frame && (frame.step === next.step || pack)) return part.paint(next, frame, all);
      if (running !== link) ask(link, next.step, null);
      if (frame) part.paint(next, frame, all);
    },
    hear(message, buffers) {
      if (message.lab !== spec.lab) return;
      const current = message.training === undefined || message.training === running; // else the end of one that was given up
      if (message.error && current) {
        busy(null);
        throw problemOf(message);
      }
      if (message.progress != null && current) lab.progress(message.progress, message.doing);
      if (message.done && current) busy(null);
      if (!buffers?.length) return;
      unpack(bytesOf(buffers[0]))
        .then((pack) => {
          keep(message.training, part.frames(pack));
          if (state && message.training === about(state)) lab.set({ step: message.step }, { keepPlaying: true });
        })
        .catch(lab.fail);
    },
    close() {
      if (running) pause();
      part.close();
    },
  };
}
