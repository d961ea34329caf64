// Decision lab: points in the plane, a few labels that can be dragged, and what two methods make of them.

const MARKS = [
  "M0,-1A1,1,0,1,1,0,1A1,1,0,1,1,0,-1Z",
  "M-.9,-.9H.9V.9H-.9Z",
  "M0,-1.1L1,.85H-1Z",
  "M0,-1.2L1.05,0L0,1.2L-1.05,0Z",
]; // of the classes

VIEWS.decision = (lab) => {
  const panels = [0, 1].map(() => {
    const el = h("div", { class: "lml-panel" }),
      canvas = h("canvas", { class: "lml-map" }),
      marks = s("svg", { class: "lml-svg", role: "group" }),
      heading = h("div", { class: "lml-heading" });
    el.append(canvas, marks, heading);
    return { el, canvas, marks, heading, size: [0, 0] };
  });
  lab.stage.append(h("div", { class: "lml-two lml-even" }, ...panels.map((p) => p.el)));
  const steps = lab.spec.fields.find((f) => f.name === "step").high;
  const caption = h("div", { class: "lml-caption" });
  panels[0].el.append(caption);
  let state = null,
    frame = null,
    dragged = null;
  const closing = panels.map((p, i) =>
    sized(p.el, (w, height) => {
      p.size = [w, height];
      if (frame) one(i);
    }),
  );

  // The box of the plane that is shown, and between it and the panel's pixels.
  function scale(p, extent) {
    const [w, height] = p.size,
      [x0, x1, y0, y1] = extent;
    return {
      to: ([x, y]) => [((x - x0) / (x1 - x0)) * w, height - ((y - y0) / (y1 - y0)) * height],
      from: (px, py) => [x0 + (px / w) * (x1 - x0), y0 + ((height - py) / height) * (y1 - y0)],
    };
  }
  function one(i) {
    const p = panels[i],
      m = frame.methods[i];
    p.el.hidden = !m;
    if (!m || !p.size[0]) return;
    const features = state.space === "features",
      reach = 1.15 * Math.max(...m.z.map(Math.abs), 1e-6),
      extent = features ? [-reach, reach, -reach, reach] : frame.extent,
      at = scale(p, extent);
    paintRegions(p, m, features, extent);
    const marks = [],
      xy = (k) => at.to(features ? [m.z[2 * k], m.z[2 * k + 1]] : [frame.x[2 * k], frame.x[2 * k + 1]]),
      r = clamp(Math.min(...p.size) / 80, 3.5, 6);
    const { count } = m;
    for (let k = 0; k < frame.y.length; k++) {
      const q = m.labels[k],
        [x, y] = xy(k),
        wrong = q !== frame.y[k];
      if (!m.mask[k]) {
        marks.push(s("circle", { cx: x, cy: y, r: r * 0.5, fill: "#5b6670" }));
        continue;
      }
      marks.push(
        s("path", {
          d: MARKS[q],
          transform: `translate(${x},${y}) scale(${wrong ? r * 1.25 : r * 0.95})`,
          fill: CLASS[q],
          stroke: wrong ? INK : "white",
          "stroke-width": wrong ? 0.42 : 0.12,
        }),
      );
    }
    if (features)
      m.W.forEach(([x, y], c) => {
        const longest = Math.max(...m.W.map(([a, b]) => Math.hypot(a, b)), 1e-9),
          f = (0.8 * reach) / longest,
          [px, py] = at.to([x * f, y * f]),
          [ox, oy] = at.to([0, 0]),
          [vx, vy] = at.to([m.V[c][0] * f, m.V[c][1] * f]);
        marks.push(
          s("line", { x1: ox, y1: oy, x2: px, y2: py, stroke: INK, "stroke-width": 2 }),
          s("path", {
            d: MARKS[c],
            transform: `translate(${vx},${vy}) scale(15)`,
            fill: "none",
            stroke: INK,
            "stroke-width": 0.14,
          }),
          s("path", {
            d: MARKS[c],
            transform: `translate(${px},${py}) scale(10)`,
            fill: CLASS[c],
            stroke: INK,
            "stroke-width": 0.2,
          }),
        );
      });
    p.marks.replaceChildren(...marks, ...(features ? [] : given(i, at)));
    p.heading.textContent = `${m.name}: ${percent(count.right / frame.y.length)} called right`;
    p.marks.setAttribute(
      "aria-label",
      `${m.name}, step ${frame.step}: ${count.over} of ${frame.y.length} points are over τ, ${count.wrong} of these labels are wrong; ${percent(count.right / frame.y.length)} are called right.`,
    );
  }
  function paintRegions(p, m, features, [x0, x1, y0, y1]) {
    const G = frame.grid,
      image = new ImageData(G, G);
    for (let row = 0; row < G; row++)
      for (let column = 0; column < G; column++) {
        let c = m.regions[row * G + column];
        if (features) {
          const x = x0 + ((column + 0.5) / G) * (x1 - x0),
            y = y0 + ((row + 0.5) / G) * (y1 - y0),
            scores = m.W.map(([a, b], k) => a * x + b * y + m.b[k]);
          c = scores.indexOf(Math.max(...scores));
        }
        const at = 4 * ((G - 1 - row) * G + column),
          color = CLASS[c];
        for (let i = 0; i < 3; i++) image.data[at + i] = 255 - (255 - parseInt(color.slice(1 + 2 * i, 3 + 2 * i), 16)) * 0.3;
        image.data[at + 3] = 255;
      }
    p.canvas.width = p.canvas.height = G;
    p.canvas.getContext("2d").putImageData(image, 0, 0);
  }
  // The labelled points: large marks that can be dragged, or moved with the arrow keys.
  function given(i, at) {
    const p = panels[i],
      n = frame.given.length / 2;
    return Array.from({ length: n }, (_, k) => {
      const c = frame.given_y[k],
        place = dragged?.k === k ? dragged.at : [frame.given[2 * k], frame.given[2 * k + 1]],
        [x, y] = at.to(place);
      const mark = s("path", {
        d: MARKS[c],
        transform: `translate(${x},${y}) scale(12)`,
        fill: CLASS[c],
        stroke: INK,
        "stroke-width": 0.24,
        "data-label": k,
      });
      if (!lab.host.send) return mark; // without Python nothing could be learnt from it
      put(
        mark,
        {
          class: "lml-handle",
          tabindex: 0,
          role: "button",
          "aria-label": `label ${k + 1} of class ${c + 1} at ${place[0].toFixed(2)}, ${place[1].toFixed(2)}; arrow keys move it`,
        },
        [],
      );
      const where = (event) => {
        const box = p.marks.getBoundingClientRect(),
          [a, b] = at.from(event.clientX - box.left, event.clientY - box.top);
        return [clamp(a, -10, 10), clamp(b, -10, 10)];
      };
      mark.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        dragged = { k, at: place };
        mark.setPointerCapture(event.pointerId);
      });
      mark.addEventListener("pointermove", (event) => {
        if (dragged?.k === k) {
          dragged.at = where(event);
          const [a, b] = at.to(dragged.at);
          mark.setAttribute("transform", `translate(${a},${b}) scale(13)`);
        }
      });
      mark.addEventListener("pointercancel", () => {
        dragged = null;
        one(i);
      });
      mark.addEventListener("pointerup", (event) => {
        if (dragged?.k === k) {
          const to = where(event),
            far = Math.hypot(to[0] - place[0], to[1] - place[1]) > 0.02;
          dragged = null;
          if (far) move(k, to);
        }
      });
      mark.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
        if (step) {
          event.preventDefault();
          move(k, [place[0] + step[0], place[1] + step[1]]);
          setTimeout(() => p.marks.querySelector(`[data-label="${k}"]`)?.focus(), 60);
        }
      });
      return mark;
    });
  }
  function move(k, to) {
    const places = Array.from({ length: frame.given.length / 2 }, (_, j) =>
      j === k ? to : [frame.given[2 * j], frame.given[2 * j + 1]],
    );
    lab.try(() => lab.set({ places: places.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join(";") }));
    if (frame) (one(0), one(1));
  }

  return trained(lab, {
    last: () => steps,
    looks: { space: "points" },
    frames(pack) {
      const { steps, names, classes } = pack,
        M = names.length,
        N = pack.y.length,
        G = pack.grid,
        C = classes,
        slice = (name, at, size) => pack[name].subarray(at * size, (at + 1) * size);
      const x = Float64Array.from(pack.x, (v) => v / 1000),
        given = Float64Array.from(pack.given, (v) => v / 1000);
      const rows = (values, width) =>
        Array.from({ length: values.length / width }, (_, k) => Array.from(values.subarray(k * width, (k + 1) * width)));
      return steps.map((step, t) => ({
        step,
        x,
        y: pack.y,
        given,
        given_y: pack.given_y,
        grid: G,
        extent: pack.extent,
        methods: names.map((name, m) => {
          const at = t * M + m,
            labels = slice("labels", at, N),
            mask = slice("mask", at, N),
            count = { over: 0, wrong: 0, right: 0 };
          labels.forEach((q, k) => {
            const wrong = q !== pack.y[k];
            count.right += !wrong;
            count.over += mask[k];
            count.wrong += mask[k] && wrong;
          });
          return {
            name,
            count,
            regions: slice("regions", at, G * G),
            labels,
            mask,
            z: Array.from(slice("z", at, 2 * N), (v) => (v / 32767) * pack.reach[at]),
            W: rows(slice("W", at, 2 * C), 2),
            V: rows(slice("V", at, 2 * C), 2),
            b: Array.from(slice("b", at, C)),
          };
        }),
      }));
    },
    paint(next, found) {
      [state, frame] = [next, found];
      caption.textContent =
        next.space === "features"
          ? "filled: centre w · hollow: its average · black rim: wrong over τ · grey: below τ"
          : "large: labelled · black rim: wrong over τ · grey: below τ";
      panels.forEach((p, i) => {
        p.el.hidden = !frame.methods[i];
        if (frame.methods[i]) one(i);
      });
      const parts = frame.methods.map(
        (m) =>
          `${m.name}: ${m.count.over} over τ, ${m.count.wrong} of these labels wrong, ${percent(m.count.right / frame.y.length)} called right`,
      );
      lab.say(
        `Step ${frame.step} of ${steps}, ${frame.y.length} unlabelled points, τ = ${state.tau.toFixed(2)}. ${parts.join(". ")}.${lab.host.send ? " Drag a large mark to place its label elsewhere." : ""}`,
      );
    },
    close() {
      closing.forEach((off) => off());
    },
  });
};
