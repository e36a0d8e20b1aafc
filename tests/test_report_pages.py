"""The pages of runs and of sweeps in a browser: nothing broken, tables sort, sliders slide, phones have room."""

import pytest

from seatbelt_jax import storage
from seatbelt_jax.plots import text
from seatbelt_jax.report import build
from tests import browser, made_up_runs, made_up_sweep

pytestmark = pytest.mark.slow

# A folder may be called so. It is no picture, and changes no title.
HOSTILE = "<img src=x onerror=document.title=1>"

# On every page: images load, and the page is no wider than its window. With what else it found.
_SOUND = """
  const sound = async () => {
    await Promise.all([...document.images].map((image) => image.decode().catch(() => 0)));
    return {
      images: document.images.length,
      broken: [...document.images].filter((image) => !(image.naturalWidth > 0)).length,
      width: document.documentElement.scrollWidth, window: innerWidth,
      clipped: [...document.querySelectorAll(".scroll")]
        .filter((frame) => frame.scrollWidth > frame.clientWidth)
        .map((frame) => `${frame.closest("section").id}: ${frame.scrollWidth} > ${frame.clientWidth}`),
    };
  };
  const column = (table, number) =>
    [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[number].textContent);
  const slide = (slider, value) => { slider.value = value; slider.dispatchEvent(new Event("input", {bubbles: true})); };
"""
_SWEEP = f"""{_SOUND}
  const table = document.querySelector("#cells table");
  const heads = [...table.tHead.rows[0].cells];
  const margin = heads.findIndex((head) => head.textContent.includes("certified margin"));
  const found = {{ margins: [column(table, margin)] }};
  for (let click = 0; click < 2; click++) {{
    heads[margin].querySelector("button").click();
    found.margins.push(column(table, margin));
  }}
  found.sorted = heads[margin].getAttribute("aria-sort");
  const form = document.querySelector("form.filters");
  const beta = form.querySelector("[data-axis=beta]");
  beta.value = "4";
  form.dispatchEvent(new Event("input"));
  found.filtered = column(table, 0);
  found.counted = form.querySelector("output").textContent;
  beta.value = "";
  form.querySelector("input").value = "FAILED";
  form.dispatchEvent(new Event("input"));
  found.words = column(table, 0);
  found.columns = [...form.querySelectorAll("[data-groups] option")].map((option) => {{
    form.querySelector("[data-groups]").value = option.value;
    form.dispatchEvent(new Event("input"));
    return heads.filter((head) => head.dataset.group && !head.hidden).map((head) => head.dataset.group);
  }});
  const pane = document.querySelector(".pane");
  const moving = () => pane.querySelector(".moving").src;
  const cell = () => pane.querySelector("select.cell").selectedOptions[0].textContent;
  const given = () => pane.querySelector(".given").src;
  const sizes = JSON.parse(document.querySelector(".gallery").dataset.sizes);
  const attacks = pane.querySelector("select.attack");
  const away = () => {{
    const number = pane.querySelector("select.cell").value;
    const attack = JSON.parse(document.getElementById(`pictures-${{number}}`).textContent)[attacks.value];
    return attack.frames.map((frame) => [Math.abs(frame.norm - sizes[attack.name]), frame.label]);
  }};
  const opening = () => [pane.querySelector("output").textContent, away().sort((a, b) => a[0] - b[0])[0][1]];
  found.openings = [opening()];
  for (const other of ["1", "0"]) {{
    attacks.value = other;
    attacks.dispatchEvent(new Event("change"));
    found.openings.push(opening());
  }}
  found.first = cell();
  const before = [moving(), given(), pane.querySelector("output").textContent];
  const slider = pane.querySelector("input[type=range]");
  slide(slider, slider.max);
  found.slid = [moving() !== before[0], given() === before[1], pane.querySelector("output").textContent !== before[2]];
  table.querySelectorAll("a[data-pictures]")[1].click();
  found.second = cell();
  found.openings.push(opening());
  found.changed = given() !== before[1];
  document.querySelector("button.more").click();
  found.panes = document.querySelectorAll(".pane").length;
  found.captions = pane.querySelectorAll("li").length;
  return {{ ...found, ...(await sound()) }};
"""
_RUNS = f"""{_SOUND}
  const table = document.querySelector("#certificates table.sortable");
  const found = {{ methods: [column(table, 1)] }};
  for (let click = 0; click < 2; click++) {{
    table.tHead.rows[0].cells[1].querySelector("button").click();
    found.methods.push(column(table, 1));
  }}
  const attack = document.querySelector("[data-attack]");
  const made = attack.querySelector(".made");
  const before = made.src;
  slide(attack.querySelector("input[type=range]"), 0);
  found.slid = made.src !== before;
  attack.querySelector("button").click();
  found.back = made.src === before;
  for (const closed of document.querySelectorAll("details")) closed.open = true;
  return {{ ...found, ...(await sound()) }};
"""
_OPEN = f"""{_SOUND}
  for (const closed of document.querySelectorAll("details")) closed.open = true;
  return {{ title: document.title, ...(await sound()) }};
"""
_LOUD = "console.error('planted'); document.body.style.width = '3000px'; return await (async () => {%s})();"


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    browser.executable()
    folder = tmp_path_factory.mktemp("pages")
    report = build
    of_sweep = report.report_of_sweep(made_up_sweep.write(folder / "sweep"))
    every = ("metrics", "samples", "attacks", "damage", "certificates", "evaluation")
    runs = [made_up_runs.write(folder / name, *every, seed=seed) for seed, name in enumerate("ab")]
    other = {**made_up_runs.certificate().to_arrays(), "method": "antithetic"}
    storage.write_npz(runs[0] / "certificates" / "antithetic.npz", other)
    of_runs = report.report(runs)
    names = ("seatbelt_vae_tau_0.1_beta_10_seed_3", "vae_beta_1_seed_3", HOSTILE, "beta_tcvae_6")
    of_many = report.report([made_up_runs.write(folder / "many" / name, *every) for name in names])
    pages = {
        f"{name}, {width}": (page, width, body)
        for name, page, body in (("sweep", of_sweep, _SWEEP), ("runs", of_runs, _RUNS))
        for width in (390, 1280)
    }
    pages["many, 1280"] = (of_many, 1280, _OPEN)
    return browser.look(pages, folder)


def test_no_page_complains(seen):
    assert set(seen.found) == {"sweep, 390", "sweep, 1280", "runs, 390", "runs, 1280", "many, 1280"}
    assert {name: found["failed"] for name, found in seen.found.items() if "failed" in found} == {}
    assert seen.complaints == []


@pytest.mark.parametrize("name", ["sweep, 390", "sweep, 1280", "runs, 390", "runs, 1280"])
def test_images_load_and_nothing_is_wider_than_the_window(seen, name):
    found = seen.found[name]
    # A sweep opens one cell and, asked to, another: three pictures each.
    assert found["images"] == 6 if name.startswith("sweep") else found["images"] > 10
    assert found["broken"] == 0
    assert found["window"] == int(name.split()[-1]) and found["width"] <= found["window"]


@pytest.mark.parametrize("name", ["sweep, 1280", "runs, 1280", "many, 1280"])
def test_no_table_is_clipped_at_1280_pixels(seen, name):
    assert seen.found[name]["clipped"] == []


def test_the_name_of_a_folder_is_text(seen):
    found = seen.found["many, 1280"]
    assert HOSTILE in found["title"] and found["broken"] == 0 and found["images"] > 40


@pytest.mark.parametrize("width", [390, 1280])
def test_the_table_of_cells_is_sorted_and_filtered(seen, width):
    found = seen.found[f"sweep, {width}"]
    as_made, rising, falling = found["margins"]
    expected = ["0.100spectral", "0.200spectral", "0.300spectral"]
    assert [one for one in as_made if one[0] == "0"] == ["0.300spectral", "0.100spectral", "0.200spectral"]
    # What is absent stays last.
    assert rising[:3] == expected and falling[:3] == expected[::-1]
    assert set(rising[3:]) == set(falling[3:]) == {text.ABSENT} and found["sorted"] == "descending"
    assert found["filtered"] == ["seatbelt_beta4"] and found["counted"] == f"1 of {len(as_made)}"
    assert found["words"] == ["lost"]
    assert found["columns"] == [["all_layers"] * 4, ["top_layer"] * 4]


@pytest.mark.parametrize("width", [390, 1280])
def test_the_gallery_opens_cells_and_slides(seen, width):
    found = seen.found[f"sweep, {width}"]
    assert found["slid"] == [True, True, True]
    assert found["first"] == "seatbelt_beta1" and found["second"] != found["first"] and found["changed"]
    assert found["panes"] == 2 and found["captions"] == 3
    # Both cells open at the budget whose distortion is nearest to one and the same, for each attack.
    labels = [label for label, _ in found["openings"]]
    assert labels == [nearest for _, nearest in found["openings"]] and len(labels) == 4 and labels[0] != labels[1]


@pytest.mark.parametrize("width", [390, 1280])
def test_the_tables_and_pictures_of_runs(seen, width):
    found = seen.found[f"runs, {width}"]
    rising = ["antithetic", "spectral", "spectral"]
    assert found["methods"] == [rising, rising, rising[::-1]]
    assert found["slid"] and found["back"]


def test_the_browser_sees_what_is_wrong(tmp_path):
    browser.executable()
    page = build.report([made_up_runs.write(tmp_path / "run", "attacks")])
    page.write_text(page.read_text().replace('src="data:image/png;base64,', 'src="data:image/png;base64,x', 1))
    seen = browser.look({"loud": (page, 390, _LOUD % (_SOUND + "return await sound();"))}, tmp_path)
    assert len(seen.complaints) == 1 and "planted" in seen.complaints[0]
    assert seen.found["loud"]["broken"] == 1 and seen.found["loud"]["width"] > 2500
