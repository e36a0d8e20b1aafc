// Turns the attacks' pictures into a slider over the penalty or radius. Without it the page shows each pair at its own.
for (const attack of document.querySelectorAll("[data-attack]")) {
  const frames = JSON.parse(attack.querySelector("script").textContent);
  const pairs = [...attack.querySelectorAll(".pair")];
  const control = attack.querySelector(".budget");
  const slider = control.querySelector("input");
  const output = control.querySelector("output");
  const own = control.querySelector("button");
  const label = output.textContent;
  const first = pairs.map((pair) => ({
    given: pair.querySelector(".given").src,
    made: pair.querySelector(".made").src,
    caption: pair.querySelector("figcaption").textContent,
  }));
  const show = (row, name) => {
    pairs.forEach((pair, index) => {
      pair.querySelector(".given").src = row[index].given;
      pair.querySelector(".made").src = row[index].made;
      pair.querySelector("figcaption").textContent = row[index].caption;
    });
    output.textContent = name;
    own.hidden = row === first;
  };
  slider.addEventListener("input", () => {
    const frame = frames[Number(slider.value)];
    show(frame.pairs, frame.label);
  });
  own.addEventListener("click", () => show(first, label));
  control.hidden = false;
}
