// Keys of the labeling tab: a digit for each of the first ten classes, s to skip, u to undo; and what is read aloud.
() => {
  const controls = "#fl-buttons button, #fl-save, #fl-skip, #fl-undo";
  const press = (selector) => {
    const button = document.querySelector(selector);
    if (button && button.offsetParent !== null && !button.disabled) { button.click(); return true; }
    return false;
  };
  // What is pressed goes along with the image that is shown, which is the one before until its answer is here. Keys
  // wait for that, as whoever types sees which images come next; a connection that is lost is not waited for.
  const turn = () => document.querySelector("#fl-label [data-turn]")?.dataset.turn;
  let sent = { turn: null, at: 0 };
  const underway = () => sent.turn !== null && sent.turn === turn() && performance.now() - sent.at < 15000;
  let typed = [];
  document.addEventListener("keydown", (event) => {
    // Enter and Space that are held down press the button that has the focus again and again.
    if (event.repeat && ["Enter", " "].includes(event.key) && event.target.closest(controls)) event.preventDefault();
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest("input, textarea, select, [contenteditable=true]")) return;
    let selector = null;
    if (/^[0-9]$/.test(event.key)) selector = `.fl-key-${event.key}`;
    if (event.key === "s") selector = "#fl-skip";
    if (event.key === "u") selector = "#fl-undo";
    if (selector === null) return;
    if (underway()) typed.push(selector);
    else if (!press(selector)) return;
    event.preventDefault();
  });
  // By the second click of a double click the next image is there, which nobody has looked at. Keys count no clicks.
  document.addEventListener("click", (event) => {
    if (!event.target.closest(controls)) return;
    if (event.detail > 1 || underway()) {
      event.preventDefault();
      event.stopPropagation();
    } else {
      sent = { turn: turn(), at: performance.now() };
    }
  }, true);
  const typeOn = () => {
    if (typed.length === 0 || underway()) return;
    // Those that follow were meant for the images after one that is here still.
    if (document.querySelector("#fl-label [data-refused]")) typed = [];
    else press(typed.shift());
  };
  // An image that is pasted is one to classify, as if it were dropped.
  document.addEventListener("paste", (event) => {
    const place = document.querySelector("#fl-upload");
    const image = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
    if (image === undefined || place === null || place.offsetParent === null) return;
    const dropped = new DataTransfer();
    dropped.items.add(image);
    const hand = () => {
      const input = place.querySelector("input[type=file]");
      if (input === null) return false;
      input.files = dropped.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
      return true;
    };
    // The image before has the place.
    if (!hand()) {
      const waiting = new MutationObserver(() => { if (hand()) waiting.disconnect(); });
      waiting.observe(place, { childList: true, subtree: true });
      place.querySelector("button[aria-label*=emove], button[aria-label*=lear]")?.click();
    }
    event.preventDefault();
  });
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
  // Browsers that let keys scroll a list stop there at Tab; it closes then, and the focus is nowhere. Tab is to go on to
  // the button that saves.
  const passBy = () => {
    for (const list of document.querySelectorAll("#fl-choice ul:not([tabindex])")) list.tabIndex = -1;
  };
  new MutationObserver(() => { tell(); typeOn(); passBy(); }).observe(document.body, { childList: true, subtree: true });
}
