// Adds to the pages what a page cannot do by itself: going from one release to another in two
// choices, hiding what is identical, remembering a lane, and telling the age of the data. Every
// control is made here, so that nothing is dead where scripts do not run.
"use strict";
(() => {
  const page = document.documentElement.dataset;

  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  const remembered = {
    get: () => { try { return localStorage.getItem("lane"); } catch { return null; } },
    set: (lane) => { try { localStorage.setItem("lane", lane); } catch { /* not allowed here */ } },
  };

  const select = (label, names, chosen, change) => {
    const options = names.map(([value, text]) =>
      make("option", { value, selected: value === chosen }, text));
    const choice = make("select", { onchange: change }, ...options);
    return [choice, make("label", {}, label + " ", choice)];
  };

  const ageOfData = () => {
    const days = Math.floor((Date.now() - Date.parse(page.date)) / 864e5);
    if (!(days > Number(page.stale))) return;
    const text = `The data of this page are ${days} days old; what was released since is not in them.`;
    document.querySelector("main").prepend(
      make("p", { className: "notice" }, make("strong", {}, "Stale. "), text));
  };

  const onlyWhatChanged = (table) => {
    const region = table.closest(".scroll");
    const box = make("input", {
      type: "checkbox",
      onchange: () => table.classList.toggle("changed-only", box.checked),
    });
    region.before(make("p", { className: "filter" }, make("label", {}, box, " Only what changed")));
  };

  const fromTo = (place) => {
    const lanes = new Map([...document.querySelectorAll("section[data-lane]")].map(
      (section) => [section.dataset.lane, section]));
    if (!lanes.size) return;
    const all = [...lanes.keys()];
    const names = all.map((lane) => [lane, lane]);
    const status = make("p", { role: "status" });
    const form = make("form", { className: "choose" });

    const draw = (lane) => {
      const { releases, lacking, base } = lanes.get(lane).dataset;
      const known = releases.split(" ");
      const versions = known.map((version) => [version, version]);
      const [from, fromLabel] = select("From torch", versions, known.at(-2), null);
      const [to, toLabel] = select("to", versions, known.at(-1), null);
      const laneLabel = all.length > 1
        ? [select("in", names, lane, (event) => { remembered.set(event.target.value); show(event.target.value); })[1]]
        : [];
      form.onsubmit = (event) => {
        event.preventDefault();
        const [a, b] = [from.value, to.value].sort(
          (one, other) => known.indexOf(one) - known.indexOf(other));
        const pair = `${a}...${b}`;
        if (a === b) status.textContent = "Choose two releases.";
        else if (lacking.split(" ").includes(pair)) status.textContent = `${pair} was not compared.`;
        else location.href = `${base}pair/${pair}/index.html`;
      };
      form.replaceChildren(fromLabel, toLabel, ...laneLabel, make("button", {}, "Compare"), status);
    };

    const show = (lane) => {
      draw(lane);
      for (const [name, section] of lanes) section.hidden = name !== lane;
    };

    const last = remembered.get();
    if (lanes.has(last)) show(last); else draw(all[0]);
    if (all.length > 1) {
      const every = make("button", {
        type: "button",
        onclick: () => { for (const section of lanes.values()) section.hidden = false; },
      }, "Show every lane");
      place.after(make("p", {}, every));
    }
    place.before(form);
  };

  ageOfData();
  document.querySelectorAll("table[data-filter]").forEach(onlyWhatChanged);
  document.querySelectorAll("[data-choose]").forEach(fromTo);
})();
