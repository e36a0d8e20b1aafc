// A gallery of attacks: a cell and an attack of it are chosen, and a slider goes over its penalties or radii. The
// pictures of a cell are read when it is chosen. Without this the page has none.
for (const gallery of document.querySelectorAll(".gallery")) {
  const template = gallery.querySelector("template");
  const panes = gallery.querySelector(".panes");
  const sizes = JSON.parse(gallery.dataset.sizes);
  const more = gallery.querySelector("button.more");
  const stored = (cell) => JSON.parse(document.getElementById(`pictures-${cell}`).textContent);

  const open = (cell) => {
    const pane = template.content.firstElementChild.cloneNode(true);
    const find = (selector) => pane.querySelector(selector);
    const cells = find("select.cell");
    const attacks = find("select.attack");
    const slider = find("input");
    const output = find("output");
    const notes = find("ol");
    let found;

    const show = () => {
      const frame = found[attacks.value].frames[Number(slider.value)];
      find(".moving").src = frame.source;
      output.textContent = frame.label;
      notes.replaceChildren(
        ...frame.captions.map((caption) => {
          const item = document.createElement("li");
          item.textContent = caption;
          return item;
        }),
      );
    };
    const choose = () => {
      const attack = found[attacks.value];
      find(".given").src = attack.given;
      find(".strip").style.setProperty("--three", attack.three);
      find(".strip").style.setProperty("--two", attack.two);
      for (const part of pane.querySelectorAll(".of-target")) part.hidden = !attack.target;
      if (attack.target) find("img.target").src = attack.target;
      find(".kind").textContent = attack.kind;
      find(".title").textContent = attack.title;
      slider.max = attack.frames.length - 1;
      // All cells open at the same size of the distortion, or as near to it as they come.
      const away = attack.frames.map((frame) => Math.abs(frame.norm - sizes[attack.name]));
      slider.value = away.indexOf(Math.min(...away));
      show();
    };
    const load = () => {
      const before = attacks.selectedOptions[0]?.textContent;
      found = stored(cells.value);
      attacks.replaceChildren(
        ...found.map((attack, index) => {
          const option = new Option(attack.name, index);
          option.selected = attack.name === before;
          return option;
        }),
      );
      choose();
    };
    cells.value = cell;
    cells.addEventListener("change", load);
    attacks.addEventListener("change", choose);
    slider.addEventListener("input", show);
    find("button.close").addEventListener("click", () => pane.remove());
    panes.append(pane);
    load();
    return { pane, cells, load };
  };

  const first = open(gallery.dataset.first);
  first.pane.querySelector("button.close").remove();
  more.addEventListener("click", () => open(first.cells.value));
  for (const link of document.querySelectorAll("a[data-pictures]")) {
    link.addEventListener("click", () => {
      first.cells.value = link.dataset.pictures;
      first.load();
    });
  }
  gallery.hidden = false;
}
