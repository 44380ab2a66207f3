// Keeps the status page up to date: parts are made by the server, and asked for again when something
// happens or a number changes (server-sent events), and after some time. Without this the page is complete too.
"use strict";

(() => {
  const GAP = 1000; // milliseconds between two requests at least,
  const PAUSE = 3000; // and after one that has failed
  const KINDS = ["download", "breaker", "error", "eviction", "removal", "sweep", "summary"];
  const live = document.getElementById("live");
  const parts = [...document.querySelectorAll("[data-part][data-every]")].map((section) => ({
    name: section.dataset.part,
    every: Number(section.dataset.every) * 1000,
    kinds: (section.dataset.kinds || "").split(" "),
    fields: (section.dataset.fields || "").split(" "),
    asked: performance.now(),
  }));
  let due = new Set();
  let stream = null;
  let asking = false;
  let last = 0;
  let gap = GAP;
  let numbers = null; // of the latest summary

  const say = (text) => {
    if (live.textContent !== text) live.textContent = text;
  };

  // Make the old node like the new one, and keep what has not changed: the focus, what is unfolded.
  const morph = (old, fresh) => {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const before = [...old.childNodes];
    const after = [...fresh.childNodes];
    after.forEach((node, index) => {
      if (index < before.length) morph(before[index], node);
      else old.append(document.importNode(node, true));
    });
    before.slice(after.length).forEach((node) => node.remove());
  };

  const ask = async () => {
    const names = [...due];
    due = new Set();
    asking = true;
    last = performance.now();
    for (const part of parts) if (names.includes(part.name)) part.asked = last;
    const query = new URLSearchParams(names.map((name) => ["part", name]));
    const period = new URLSearchParams(location.search).get("period");
    if (period) query.set("period", period);
    try {
      const answer = await fetch(`page/parts?${query}`, { signal: AbortSignal.timeout(15000) });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const section of fresh.querySelectorAll("[data-part]")) {
        const old = document.getElementById(section.id);
        if (old) morph(old, section);
      }
      gap = GAP;
      say(stream && stream.readyState === EventSource.OPEN ? "Updating live" : "Updating every few seconds");
    } catch (error) {
      gap = PAUSE;
      names.forEach((name) => due.add(name));
      say("Not up to date: the daemon does not answer. Retrying.");
    } finally {
      asking = false;
    }
  };

  const tick = () => {
    if (document.hidden) return;
    const now = performance.now();
    for (const part of parts) if (now - part.asked >= part.every) due.add(part.name);
    if (due.size && !asking && now - last >= gap) ask();
  };

  // Ask for what shows a number that is another one now.
  const compare = (now) => {
    for (const part of parts) {
      if (numbers && part.fields.some((name) => name && numbers[name] !== now[name])) due.add(part.name);
    }
    numbers = now;
  };

  const close = () => {
    if (stream) stream.close();
    stream = null;
  };

  const open = () => {
    if (stream && stream.readyState !== EventSource.CLOSED) return;
    const query = new URLSearchParams(KINDS.map((kind) => ["kind", kind]));
    stream = new EventSource(`api/v1/events?${query}`);
    stream.addEventListener("open", () => say("Updating live"));
    for (const kind of KINDS) {
      stream.addEventListener(kind, (event) => {
        // A lost connection is an event called error too, and has no data.
        if (!(event instanceof MessageEvent)) return;
        if (kind === "summary") compare(JSON.parse(event.data).fields);
        for (const part of parts) if (part.kinds.includes(kind)) due.add(part.name);
        tick();
      });
    }
  };

  // A browser has few connections for each address: a page that nobody sees needs none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", () => document.hidden || open());
  setInterval(tick, 250);
  setInterval(() => document.hidden || open(), 10000);
  if (!document.hidden) open();
})();
