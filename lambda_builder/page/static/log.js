// The log of a build as it is written, and a search in it.
"use strict";
(() => {
  const MOST = 20000, AGAIN = 5000;
  const panel = document.getElementById("log");
  if (!panel) return;
  const get = (id) => document.getElementById(id);
  const lines = get("log-lines"), state = get("log-state"), search = get("log-search");
  const count = get("log-count"), only = get("log-only"), follow = get("log-follow");
  const form = panel.querySelector("form");
  let hits = [], at = -1, dropped = 0;

  // -- reading -----------------------------------------------------------------------------------

  async function read() {
    let answer;
    try {
      answer = await fetch(`${panel.dataset.url}?follow=true`, { cache: "no-store" });
    } catch {
      return later("The service is not reached; trying again.");
    }
    if (answer.status === 503) return later("All streams are in use; trying again.");
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      state.textContent = problem.detail || `No log (${answer.status}).`;
      return;
    }
    lines.replaceChildren();
    hits = []; at = -1; dropped = 0;
    state.textContent = "Reading; lines come as they are written.";
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const parts = (rest + value).split("\n");
        rest = parts.pop();
        add(parts);
      }
    } catch {
      return later("The log was cut off; reading it again.");
    }
    if (rest) add([rest]);
    state.textContent = lines.childElementCount ? "The log ends here." : "The log is empty.";
  }
  const later = (words) => {
    state.textContent = words;
    setTimeout(read, AGAIN);
  };

  function add(texts) {
    const rows = document.createDocumentFragment();
    for (const text of texts) {
      const row = document.createElement("div");
      row.textContent = text.replace(/\x1b\[[0-9;]*[A-Za-z]/g, "").replace(/\r$/, "");
      match(row);
      rows.append(row);
    }
    lines.append(rows);
    lines.hidden = false;
    while (lines.childElementCount > MOST) {
      if (lines.firstChild === hits[0]) { hits.shift(); at--; }
      lines.firstChild.remove();
      dropped++;
    }
    if (dropped) state.textContent = `The first ${dropped} lines are not shown: see the plain text.`;
    tell();
    if (follow.checked) lines.scrollTop = lines.scrollHeight;
  }

  // -- searching -----------------------------------------------------------------------------------

  function match(row) {
    const wanted = search.value.toLowerCase();
    const hit = wanted !== "" && row.textContent.toLowerCase().includes(wanted);
    row.className = hit ? "hit" : "";
    if (hit) hits.push(row);
  }
  function tell() {
    if (!search.value) count.textContent = "";
    else if (!hits.length) count.textContent = "no match";
    else count.textContent = at < 0 ? `${hits.length} lines` : `${at + 1} of ${hits.length}`;
  }
  function move(step) {
    if (!hits.length) return;
    if (hits[at]) hits[at].classList.remove("at");
    at = at < 0 ? (step > 0 ? 0 : hits.length - 1) : (at + step + hits.length) % hits.length;
    follow.checked = false;
    hits[at].classList.add("at");
    hits[at].scrollIntoView({ block: "center" });
    tell();
  }
  search.addEventListener("input", () => {
    hits = []; at = -1;
    for (const row of lines.children) match(row);
    lines.classList.toggle("only", only.checked && search.value !== "");
    tell();
  });
  only.addEventListener("change", () => lines.classList.toggle("only", only.checked && search.value !== ""));
  form.addEventListener("submit", (event) => { event.preventDefault(); move(1); });
  get("log-prev").addEventListener("click", () => move(-1));
  follow.addEventListener("change", () => { if (follow.checked) lines.scrollTop = lines.scrollHeight; });
  lines.addEventListener("wheel", (event) => { if (event.deltaY < 0) follow.checked = false; }, { passive: true });
  form.hidden = false;
  read();
})();
