"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// What is pointed at, tapped, or reached by an arrow key is told in words below its drawing.
for (const card of all(".card")) {
  const readout = card.querySelector(".readout");
  if (!readout) continue;
  const marks = all("[data-told]", card);
  let at = -1;
  const tell = (place) => {
    if (marks[at]) marks[at].classList.remove("on");
    at = place;
    marks[at].classList.add("on");
    readout.textContent = marks[at].dataset.told;
    readout.classList.add("on");
  };
  const point = (event) => {
    const place = marks.indexOf(event.target.closest("[data-told]"));
    if (place >= 0) tell(place);
  };
  card.addEventListener("pointerover", point);
  card.addEventListener("click", point);
  const chart = card.querySelector(".chart");
  if (chart) chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !marks.length) return;
    event.preventDefault();
    const last = marks.length - 1;
    tell(at < 0 ? (step > 0 ? 0 : last) : Math.min(last, Math.max(0, at + step)));
  });
  for (const button of all(".legend button", card)) {
    button.addEventListener("click", () => {
      const hidden = card.classList.toggle("no-" + button.dataset.kind);
      button.setAttribute("aria-pressed", String(!hidden));
    });
  }
}

// Finding and sorting a list.
for (const input of all(".tools input")) {
  const card = input.closest(".card");
  const rows = all(".rows > .item", card);
  const none = card.querySelector(".none");
  const list = card.querySelector(".rows");
  const everything = card.querySelector(".all");
  const shorten = (short) => {
    list.classList.toggle("short", short);
    everything.hidden = !short;
  };
  shorten(rows.length > 10);
  everything.addEventListener("click", () => shorten(false));
  input.addEventListener("input", () => {
    shorten(false);
    const wanted = input.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.dataset.name.toLowerCase().includes(wanted);
    none.hidden = rows.some((row) => !row.hidden);
  });
}
const order = {
  total: (a, b) => b.dataset.total - a.dataset.total,
  failure: (a, b) => b.dataset.failure - a.dataset.failure,
  last: (a, b) => (a.dataset.last < b.dataset.last) - (a.dataset.last > b.dataset.last),
  name: (a, b) => (a.dataset.name > b.dataset.name) - (a.dataset.name < b.dataset.name),
};
for (const select of all(".tools select")) {
  const list = select.closest(".card").querySelector(".rows");
  select.addEventListener("change", () => list.append(...all(":scope > .item", list).sort(order[select.value])));
}
