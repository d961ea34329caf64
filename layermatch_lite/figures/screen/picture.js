// A PNG with an alt text that follows it. Whoever shows one shows sliders, too, which it names.

// Core ipywidgets gives a slider's handle no name of its own; a screen reader should hear that of its label.
function nameSliders(el, tries = 100) {
  const lab = el.closest(".lml-form");
  if (!lab) { // not on the page yet
    if (tries) requestAnimationFrame(() => nameSliders(el, tries - 1));
    return;
  }
  const name = () => {
    if (!el.isConnected) return observer.disconnect();
    for (const handle of lab.querySelectorAll("[role=slider]:not([aria-label])")) {
      const label = handle.closest(".jupyter-widgets")?.querySelector(".widget-label");
      if (label?.textContent) handle.setAttribute("aria-label", label.textContent);
    }
  };
  const observer = new MutationObserver(name);
  observer.observe(lab, { childList: true, subtree: true });
  name();
}

function render({ model, el }) {
  const img = document.createElement("img");
  img.className = "lml-picture";
  img.decoding = "sync"; // the old picture stays until the new one is there: no flicker
  let url = null;
  const name = () => { img.alt = model.get("alt"); };
  const draw = () => {
    const next = URL.createObjectURL(new Blob([model.get("png")], { type: "image/png" }));
    img.src = next;
    if (url) URL.revokeObjectURL(url);
    url = next;
  };
  const size = () => {
    const [width, height] = [model.get("width"), model.get("height")];
    Object.assign(img, { width, height });
    img.style.setProperty("--aspect", width / height);
  };
  model.on("change:alt", name);
  model.on("change:png", draw);
  model.on("change:width change:height", size);
  size();
  name();
  draw();
  el.appendChild(img);
  nameSliders(el);
  return () => { if (url) URL.revokeObjectURL(url); };
}
export default { render };
