"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  let chosen = -1;

  // A page takes the place of this one without a reload: the slider feels like one.
  const swap = (text, url) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const name of ["main", "#crumbs", "#tabs"]) {
      const now = $(name), next = $(name, fresh);
      if (now && next) now.replaceWith(document.adoptNode(next));
    }
    document.title = fresh.title;
    if (url) history.replaceState(null, "", url);
    chosen = -1;
    ready();
  };
  const go = (url) => location.protocol === "file:" ? location.assign(url)
    : fetch(url).then((answer) => answer.ok ? answer.text() : Promise.reject()).then((text) => swap(text, url)).catch(() => location.assign(url));

  // Which rollout, or which row, the keyboard is at.
  const items = () => $$("[data-item]");
  const choose = (number, scroll = true) => {
    const all = items();
    if (!all.length) return;
    chosen = Math.max(0, Math.min(number, all.length - 1));
    all.forEach((one, i) => one.classList.toggle("on", i === chosen));
    if (scroll) all[chosen].scrollIntoView({ block: "nearest" });
    const beside = all[chosen].dataset.expert;
    if (beside) $$("[data-beside]").forEach((one) => { one.hidden = one.dataset.beside !== beside; });
  };
  const follow = (name) => { const link = $(`a[data-key="${name}"]`); if (link) go(link.getAttribute("href")); return Boolean(link); };

  const ready = () => {
    const slider = $("input[type=range][data-keys]");
    if (slider) {
      const keys = JSON.parse(slider.dataset.keys);
      slider.oninput = () => { const out = $("output", slider.form); if (out) out.textContent = keys[slider.value].label; };
      slider.onchange = () => go(keys[slider.value].url).then?.(() => $("input[type=range][data-keys]")?.focus());
    }
    $$(".rollout").forEach((one, i) => { one.onclick = () => choose(i, false); });
    $$("select[data-send]").forEach((one) => { one.onchange = () => one.form.requestSubmit(); });
  };

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=range]), select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && typing) return typing.blur();
    if (typing) return;
    const help = $("#help");
    const actions = {
      j: () => choose(chosen + 1), k: () => choose(chosen - 1),
      Enter: () => { const link = items()[chosen]?.querySelector("a"); if (link && event.target === document.body) link.click(); },
      t: () => $$("details.fold", chosen >= 0 ? items()[chosen] : document).forEach((one) => { one.open = !one.open; }),
      n: () => follow("next"), p: () => follow("previous"), u: () => follow("up"),
      "]": () => follow("later"), "[": () => follow("earlier"),
      "/": () => { const search = $("input[type=search]"); if (search) { event.preventDefault(); search.focus(); } },
      "?": () => help?.open ? help.close() : help?.showModal(),
    };
    if (event.target.matches?.("input[type=range]") && event.key !== "[" && event.key !== "]") return;
    actions[event.key]?.();
  });

  // A running run: only what is marked as live is replaced, so folds and focus stay.
  const live = $("[data-follow]");
  if (live && location.protocol !== "file:") {
    setInterval(() => {
      if (document.hidden || !$("[data-live]")) return;
      fetch(location.href).then((answer) => answer.text()).then((text) => {
        const fresh = new DOMParser().parseFromString(text, "text/html");
        $$("[data-live]").forEach((now) => {
          const next = $(`[data-live="${now.dataset.live}"]`, fresh);
          if (next && next.innerHTML !== now.innerHTML && !now.matches(":hover")) now.replaceWith(document.adoptNode(next));
        });
        live.classList.add("on");
      }).catch(() => live.classList.remove("on"));
    }, Number(live.dataset.follow) * 1000);
  }
  $("#keys")?.addEventListener("click", () => $("#help").showModal());
  ready();
})();
