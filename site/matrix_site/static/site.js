// Choosing two releases and a lane, hiding what is identical, telling the age of the data. Every
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

  const pairPage = (section, a, b) => `${section.dataset.base}pair/${a}...${b}/index.html`;

  // Every square leads to the page of its pair.
  const squares = (section) => {
    const picture = section.querySelector("svg.triangle");
    if (!picture) return;
    const releases = section.dataset.releases.split(" ");
    const pattern = picture.querySelector("pattern");
    const [room, size] = ["x", "width"].map((name) => Number(pattern.getAttribute(name)));
    const at = (event) => {
      const box = picture.getBoundingClientRect();
      const scale = picture.viewBox.baseVal.width / box.width;
      const [column, row] = [event.clientX - box.left, event.clientY - box.top].map(
        (place) => Math.floor((place * scale - room) / size));
      return row >= 0 && column >= row && column + 1 < releases.length
        ? [releases[row], releases[column + 1]] : null;
    };
    picture.onmousemove = (event) => { picture.style.cursor = at(event) ? "pointer" : ""; };
    picture.onclick = (event) => {
      const pair = at(event);
      if (pair) location.href = pairPage(section, ...pair);
    };
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
      const { releases, lacking } = lanes.get(lane).dataset;
      const known = releases.split(" ");
      const versions = known.map((version) => [version, version]);
      const [from, fromLabel] = select("From torch", versions, known.at(-2), null);
      const [to, toLabel] = select("to", versions, known.at(-1), null);
      const change = (event) => { remembered.set(event.target.value); show(event.target.value); };
      const laneLabel = all.length > 1 ? [select("in", names, lane, change)[1]] : [];
      form.onsubmit = (event) => {
        event.preventDefault();
        const [a, b] = [from.value, to.value].sort(
          (one, other) => known.indexOf(one) - known.indexOf(other));
        const pair = `${a}...${b}`;
        if (a === b) status.textContent = "Choose two releases.";
        else if (lacking.split(" ").includes(pair)) status.textContent = `${pair} was not compared.`;
        else location.href = pairPage(lanes.get(lane), a, b);
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
  document.querySelectorAll("section[data-lane]").forEach(squares);
  document.querySelectorAll("[data-choose]").forEach(fromTo);
})();
