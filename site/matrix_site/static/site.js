// Choosing two releases and a lane, hiding what is identical, telling the age of the data. Every
// control is made here: nothing is dead where scripts do not run.
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
    set: (lane) => { try { localStorage.setItem("lane", lane); } catch {} },
  };

  const select = (label, names, chosen, change) => {
    const options = names.map((value) =>
      make("option", { value, selected: value === chosen }, value));
    const choice = make("select", { name: label, onchange: change }, ...options);
    return [choice, make("label", {}, label + " ", choice)];
  };

  const ageOfData = () => {
    const days = Math.floor((Date.now() - Date.parse(page.date)) / 864e5);
    if (!(days > Number(page.stale))) return;
    document.querySelector("main").prepend(make("p", { className: "notice" },
      make("strong", {}, "Stale. "),
      `The data of this page are ${days} days old; what was released since is not in them.`));
  };

  const onlyWhatChanged = (table) => {
    const region = table.closest(".scroll");
    const box = make("input", {
      type: "checkbox",
      onchange: () => table.classList.toggle("changed-only", box.checked),
    });
    region.before(make("p", { className: "filter" }, make("label", {}, box, " Only what changed")));
  };

  const pairPage = ({ dataset }, pair) =>
    dataset.lacking.split(" ").includes(pair) ? "" : `${dataset.base}pair/${pair}/index.html`;

  // Squares lead to their pairs.
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
        && pairPage(section, `${releases[row]}...${releases[column + 1]}`);
    };
    picture.onmousemove = (event) => { picture.style.cursor = at(event) ? "pointer" : ""; };
    picture.onclick = (event) => { if (at(event)) location.href = at(event); };
  };

  const fromTo = (place) => {
    const lanes = new Map([...document.querySelectorAll("section[data-lane]")]
      .filter((section) => section.dataset.releases)
      .map((section) => [section.dataset.lane, section]));
    if (!lanes.size) return;
    const all = [...lanes.keys()];
    const status = make("p", { role: "status" });
    const form = make("form", { className: "choose" });

    const draw = (lane) => {
      const known = lanes.get(lane).dataset.releases.split(" ");
      const [from, fromLabel] = select("From torch", known, known.at(-2), null);
      const [to, toLabel] = select("to", known, known.at(-1), null);
      const change = (event) => {
        remembered.set(event.target.value);
        show(event.target.value);
        form.elements.in.focus();
      };
      const laneLabel = all.length > 1 ? [select("in", all, lane, change)[1]] : [];
      form.onsubmit = (event) => {
        event.preventDefault();
        const [i, j] = [from, to].map((choice) => known.indexOf(choice.value));
        const pair = `${known[Math.min(i, j)]}...${known[Math.max(i, j)]}`;
        const found = pairPage(lanes.get(lane), pair);
        if (i === j) status.textContent = "Choose two releases.";
        else if (!found) status.textContent = `${pair} was not compared.`;
        else location.href = found + (i > j ? "#back" : "");
      };
      form.replaceChildren(fromLabel, toLabel, ...laneLabel, make("button", {}, "Compare"), status);
    };

    const every = make("button", {
      hidden: true,
      onclick: () => {
        remembered.set("");
        for (const section of lanes.values()) section.hidden = false;
        every.hidden = true;
      },
    }, "Show every lane");

    const show = (lane) => {
      draw(lane);
      every.hidden = false;
      for (const [name, section] of lanes) section.hidden = name !== lane;
    };

    const last = remembered.get();
    if (lanes.has(last)) show(last); else draw(all[0]);
    place.before(form);
    place.after(every);
  };

  ageOfData();
  document.querySelectorAll("table[data-filter]").forEach(onlyWhatChanged);
  document.querySelectorAll("section[data-lane]").forEach(squares);
  document.querySelectorAll("[data-choose]").forEach(fromTo);
})();
