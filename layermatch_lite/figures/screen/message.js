// Words that change inside an element that stays: a screen reader announces what changes in a live region, not a new region.
function render({ model, el }) {
  const box = document.createElement("div");
  const role = model.get("role");
  box.setAttribute("role", role);
  box.className = role === "alert" ? "lml-error" : "lml-reading";
  const say = () => { box.innerHTML = model.get("value"); };
  model.on("change:value", say);
  say();
  el.appendChild(box);
}
export default { render };
