// Keys of the labeling tab: a digit for each of the first ten classes, s to skip, u to undo; and what is read aloud.
() => {
  const press = (selector) => {
    const button = document.querySelector(selector);
    if (button && button.offsetParent !== null && !button.disabled) { button.click(); return true; }
    return false;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest("input, textarea, select, [contenteditable=true]")) return;
    let selector = null;
    if (/^[0-9]$/.test(event.key)) selector = `.fl-key-${event.key}`;
    if (event.key === "s") selector = "#fl-skip";
    if (event.key === "u") selector = "#fl-undo";
    if (selector !== null && press(selector)) event.preventDefault();
  });
  // By the second click of a double click the next image is there, which nobody has looked at. Keys count no clicks.
  document.addEventListener("click", (event) => {
    if (event.detail > 1 && event.target.closest("#fl-buttons button, #fl-save, #fl-skip, #fl-undo")) {
      event.preventDefault();
      event.stopPropagation();
    }
  }, true);
  // Panels are put in anew each second, of which a screen reader says all or nothing: it is told in a place that stays.
  const told = document.body.appendChild(document.createElement("div"));
  told.className = "fl-hidden";
  told.setAttribute("role", "status");
  const said = {};
  const tell = () => {
    for (const id of ["fl-answer", "fl-label", "fl-training"]) {
      const panel = document.getElementById(id);
      if (panel === null || panel.offsetParent === null) continue;
      const say = panel.querySelector("[data-say]")?.dataset.say ?? "";
      if (say !== (said[id] ?? "") && say) told.textContent = say;
      said[id] = say;
    }
  };
  new MutationObserver(tell).observe(document.body, { childList: true, subtree: true });
}
