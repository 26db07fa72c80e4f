// Updates a page in place: fetches it again and changes only what differs, so that the scroll positions, the focus and
// half-written fields stay. It pauses with the button, while the page is hidden or text is selected, and from the start
// if the reader prefers reduced motion.
"use strict";

const CHOICE = "tandem-updates";
const SLOWEST = 60_000; // milliseconds between two attempts while the service does not respond

const main = document.getElementById("main");
const interval = Number(main.dataset.refresh) * 1000;

const bar = document.createElement("p");
const button = document.createElement("button");
const said = document.createElement("span");
let on = (sessionStorage.getItem(CHOICE) ?? (matchMedia("(prefers-reduced-motion: reduce)").matches ? "off" : "on")) === "on";
let timer = 0;
let pause = interval;
let fetching = null;

const keyOf = (node) => node.dataset?.key || node.id || "";
const isKept = (node) => node.dataset?.keep !== undefined;

// Make `from` like `to`, and keep the elements that both have.
function morph(from, to) {
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  if (from.nodeType !== Node.ELEMENT_NODE) return;
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name)) from.removeAttribute(name);
  }
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  morphChildren(from, to);
}

function isSame(node, next) {
  return node.nodeType === next.nodeType && node.nodeName === next.nodeName && keyOf(node) === keyOf(next);
}

// A node is never moved, because it would lose the focus: nodes in front of the one that is wanted are removed.
function morphChildren(from, to) {
  let at = from.firstChild;
  const skipKept = () => {
    while (at !== null && isKept(at)) at = at.nextSibling;
  };
  for (const next of to.childNodes) {
    skipKept();
    let found = at;
    if (keyOf(next)) while (found !== null && !isSame(found, next)) found = found.nextSibling;
    if (found === null || !isSame(found, next)) {
      from.insertBefore(document.importNode(next, true), at);
      continue;
    }
    while (at !== found) {
      const gone = at;
      at = at.nextSibling;
      if (!isKept(gone)) gone.remove();
    }
    morph(found, next);
    at = found.nextSibling;
  }
  while (at !== null) {
    const gone = at;
    at = at.nextSibling;
    if (!isKept(gone)) gone.remove();
  }
}

function say(text, isProblem = false) {
  said.textContent = text;
  // Only problems are announced: an announcement every few seconds would make the page useless with a screen reader.
  if (isProblem) said.setAttribute("role", "status");
  else said.removeAttribute("role");
}

async function update() {
  fetching = new AbortController();
  try {
    const response = await fetch(location.href, { signal: fetching.signal, cache: "no-store" });
    if (response.redirected) {
      on = false;
      button.hidden = true;
      say("Your session has ended. Reload the page to sign in.", true);
      return;
    }
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!on || isReading()) return;
    morph(main, page.getElementById("main"));
    pause = interval;
    say(`Updated at ${new Date().toISOString().slice(11, 19)} UTC`);
  } catch (error) {
    if (error.name === "AbortError") return;
    pause = Math.min(pause * 2, SLOWEST);
    say("Not updated: the service does not respond. It is tried again.", true);
  } finally {
    fetching = null;
  }
}

const isReading = () => document.hidden || !getSelection().isCollapsed;

function plan() {
  clearTimeout(timer);
  if (!on) return;
  timer = setTimeout(async () => {
    if (!isReading()) await update();
    plan();
  }, pause);
}

function show() {
  button.textContent = on ? "Pause updates" : "Resume updates";
  if (!on) say("Updates are paused.");
  else say(`Updates every ${interval / 1000} s`);
}

button.type = "button";
button.className = "quiet";
button.addEventListener("click", () => {
  on = !on;
  sessionStorage.setItem(CHOICE, on ? "on" : "off");
  fetching?.abort();
  pause = interval;
  show();
  plan();
});
addEventListener("pagehide", () => fetching?.abort());
bar.className = "updates";
bar.dataset.keep = "";
said.className = "note";
bar.append(button, " ", said);
main.querySelector("h1").after(bar);
show();
plan();
