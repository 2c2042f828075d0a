// Keeps what stands in [data-region] as the server has it: told of changes by server-sent events,
// else by asking every five seconds. The server renders; here nothing is made but copied.
"use strict";
(() => {
  const POLL = 5000, GATHER = 1000, STREAM_AGAIN = 60000;
  const regions = [...document.querySelectorAll("[data-region]")];
  const source = document.querySelector("[data-live]");
  if (!source || !regions.length) return;
  const live = document.getElementById("live"), text = document.getElementById("live-text");
  const button = document.getElementById("pause");
  const url = source.dataset.url || location.pathname + location.search;
  let tag = null, events = null, timer = 0, again = 0, turn = 0, asking = false, wanted = false;
  let paused = sessionStorage.getItem("paused") === "yes", seen = "";

  const say = (mode, words) => {
    live.dataset.mode = mode;
    if (text.textContent !== words) text.textContent = words;
  };
  const resting = () => paused || document.hidden;

  // -- asking the server ---------------------------------------------------------------------

  async function refresh() {
    if (resting()) return;
    if (asking) { wanted = true; return; }
    asking = true;
    const mine = turn;
    let wait = POLL;
    try {
      const answer = await fetch(url, {
        cache: "no-store", redirect: "manual",
        headers: Object.assign({ Accept: "text/html" }, tag ? { "If-None-Match": tag } : {}),
      });
      if (mine !== turn) return;
      if (answer.ok) {
        const html = await answer.text();
        if (mine !== turn) return;
        tag = answer.headers.get("ETag");
        take(new DOMParser().parseFromString(html, "text/html"));
      }
      if (answer.ok || answer.status === 304) tell();
      else if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
        say("lost", "Not signed in any more: load the page again");
        wait = 0;
      } else {
        wait = 1000 * (Number(answer.headers.get("Retry-After")) || 5);
        say("lost", answer.status === 404 ? "Not known any more" : `Busy (${answer.status}), trying again`);
      }
    } catch {
      if (mine === turn) say("lost", "Not reached, trying again");
    } finally {
      asking = false;
      if (mine === turn) {
        if (wanted) soon();
        else if (wait && !(events && events.readyState === EventSource.OPEN)) later(wait);
      }
      wanted = false;
    }
  }

  const tell = () => {
    if (events && events.readyState === EventSource.OPEN) say("live", "Live");
    else say("poll", "Every 5 s");
  };
  const later = (milliseconds) => {
    clearTimeout(timer);
    timer = setTimeout(refresh, milliseconds * (0.9 + 0.2 * Math.random()));
  };
  const soon = () => { clearTimeout(timer); timer = setTimeout(refresh, GATHER); };

  // -- being told ------------------------------------------------------------------------------

  function listen() {
    if (source.dataset.live !== "stream" || events) return;
    events = new EventSource("/async-jobs/changes");
    events.onopen = () => { tell(); soon(); };
    events.addEventListener("change", soon);
    events.addEventListener("reset", soon);
    events.addEventListener("stats", (event) => {
      const stats = JSON.parse(event.data);
      delete stats.oldest_queued_seconds;
      const now = JSON.stringify(stats);
      if (now !== seen) soon();
      seen = now;
    });
    events.onerror = () => {
      if (events.readyState === EventSource.CLOSED) { // refused: all streams are taken
        events = null;
        again = setTimeout(listen, STREAM_AGAIN);
      }
      later(0);
    };
  }

  function stop() {
    turn++;
    clearTimeout(timer);
    clearTimeout(again);
    if (events) events.close();
    events = null;
    asking = wanted = false;
  }
  function go() {
    stop();
    if (resting()) return;
    listen();
    refresh();
  }

  // -- taking over what the server shows -------------------------------------------------------

  function take(fresh) {
    for (const region of regions) {
      const next = fresh.getElementById(region.id);
      if (next) morph(region, next);
    }
    document.title = fresh.title;
  }

  // Changes as little as can be, so that focus, selection and what is open stay.
  function morph(from, to) {
    if (from.isEqualNode(to)) return;
    if (from.nodeType !== Node.ELEMENT_NODE) { from.nodeValue = to.nodeValue; return; }
    if (from.dataset.state !== to.dataset.state) mark(from);
    for (const { name } of [...from.attributes])
      if (name !== "open" && !to.hasAttribute(name)) from.removeAttribute(name);
    for (const { name, value } of to.attributes)
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    const known = new Map([...from.children].filter((e) => e.id).map((e) => [e.id, e]));
    let place = from.firstChild;
    for (const next of [...to.childNodes]) {
      let old = next.id ? known.get(next.id) : place;
      if (!next.id && (!old || old.id || old.nodeName !== next.nodeName)) old = null;
      if (!old) { from.insertBefore(next, place); if (next.dataset && next.dataset.state) mark(next); continue; }
      if (old === place) place = place.nextSibling;
      else from.insertBefore(old, place);
      morph(old, next);
    }
    while (place) { const next = place.nextSibling; place.remove(); place = next; }
  }
  const mark = (element) => {
    requestAnimationFrame(() => element.classList.add("fresh"));
    setTimeout(() => element.classList.remove("fresh"), 1600);
  };

  // -- how long ago ----------------------------------------------------------------------------

  const span = (seconds) =>
    seconds < 1 ? `${Math.max(0, seconds).toFixed(1)} s`
    : seconds < 120 ? `${Math.floor(seconds)} s`
    : seconds < 7200 ? `${Math.floor(seconds / 60)} min`
    : seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
  setInterval(() => {
    if (resting()) return;
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const words = span((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== words) time.textContent = words;
    }
  }, 1000);

  // -- pausing -----------------------------------------------------------------------------------

  const show = () => {
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Go on" : "Pause";
    if (paused) say("paused", "Paused");
  };
  button.addEventListener("click", () => {
    paused = !paused;
    sessionStorage.setItem("paused", paused ? "yes" : "no");
    show();
    go();
  });
  document.addEventListener("visibilitychange", go);
  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => { if (event.persisted) go(); });
  live.hidden = false;
  show();
  go();
})();
