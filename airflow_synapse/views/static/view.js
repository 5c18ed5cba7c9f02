"use strict";
// Refreshes the page while its job runs, and adapts it to the Airflow UI around it.

const outside = (() => {
  try {
    return window.parent === window ? null : window.parent.document;
  } catch {
    return null; // the surrounding page has another origin
  }
})();

// Theme: Airflow's UI sets it as a class on its root element.

const followTheme = () => {
  const classes = outside.documentElement.classList;
  const theme = ["dark", "light"].find((name) => classes.contains(name));
  if (theme) document.documentElement.dataset.theme = theme;
};
if (outside) {
  followTheme();
  new MutationObserver(followTheme).observe(outside.documentElement, { attributeFilter: ["class"] });
}

// Links: Airflow's frame may not open windows, so the surrounding page opens them.

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || !outside) return;
  event.preventDefault();
  const twin = outside.createElement("a");
  Object.assign(twin, { href: link.href, target: "_blank", rel: "noopener noreferrer" });
  twin.click();
});

// Refresh

const current = () => document.querySelector("main");
const log = () => document.getElementById("log");
const isAtEnd = (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 24;
const showEnd = () => log() && (log().scrollTop = log().scrollHeight);

const replaceWith = (fresh) => {
  const top = log() && !isAtEnd(log()) ? log().scrollTop : null;
  const isOpen = document.getElementById("metadata")?.open;
  current().replaceWith(fresh);
  if (isOpen && document.getElementById("metadata")) document.getElementById("metadata").open = true;
  if (top === null) showEnd();
  else if (log()) log().scrollTop = top;
};

const tellStale = (text) => {
  const line = document.getElementById("stale");
  line.textContent = text;
  line.hidden = !text;
};

const refresh = async () => {
  try {
    const answer = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
    if (answer.status === 401 || answer.status === 403) {
      tellStale("Airflow no longer shows this page. Log in again.");
      return;
    }
    if (!answer.ok) throw new Error(`Airflow answered ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    replaceWith(document.adoptNode(page.querySelector("main")));
    tellStale("");
  } catch (error) {
    tellStale(`The page could not be refreshed: ${error.message}.`);
  }
  plan();
};

const whenSeen = () => {
  if (!document.hidden) refresh();
  else document.addEventListener("visibilitychange", whenSeen, { once: true });
};

const plan = () => {
  const seconds = Number(current().dataset.refresh);
  if (seconds > 0) setTimeout(whenSeen, seconds * 1000);
};

showEnd();
plan();
