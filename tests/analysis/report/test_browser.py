"""The page in a browser: it draws without a complaint, and clicks and brushes do what they say."""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from monosweep.analysis.figures.data import Selection
from monosweep.analysis.report.content import gather
from monosweep.analysis.report.page import page
from monosweep.analysis.tables.root import open_root
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.root import Store
from monosweep.sweep.store.schema import arrow_table

from ..conftest import Made, curve_of, neurons_of, quick_trials, trial
from .browser import chromium, complaints, look_at, until_drawn

HOSTILE = "<b>no</b> </script><img src=x onerror=document.title='broken'>\nthe second line"
FAILED = trial("p1", TrialStatus.FAILED, error=HOSTILE, lr=0.5)

SPEC: dict[str, Any] = {
    "name": "quick", "base": {"n_features": 32, "bias_offset": -3}, "space": {"lr": {"loguniform": [0.001, 1]}},
    "num_samples": 40, "search": "optuna", "repeats": 3,
}  # fmt: skip
"""Of a search, and of other trials than those of the page."""


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return quick_trials("p0", seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def written(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 24 trials with weights, and of two that ended early."""
    made = Made(tmp_path_factory.mktemp("page") / "results")
    made.commit("quick", "p0", rows)
    made.weights("quick", "p0", rows)
    diverged = trial("p1", TrialStatus.DIVERGED, error="loss is nan at step 8", lr=2.0)
    made.write("trials", "quick", "p1", [FAILED, diverged])
    (made.path / "sweeps").mkdir()
    (made.path / "sweeps" / "quick.json").write_text(json.dumps(SPEC))
    train(made)
    path = made.path / "report.html"
    path.write_text(page(gather(open_root(str(made.path)), Selection())))
    return path


IN_TRAINING = {"quick": trial("p8", seed=80), "<b>other</b>": trial("p9", seed=90)}


def train(made: Made) -> None:
    """Two trials that have recorded five points so far, and a driver that says so."""
    store = Store.open(str(made.path))
    for sweep, row in IN_TRAINING.items():
        store.write_live(sweep, row["pack_id"], arrow_table("curves", list(curve_of(row))[:5]))
    speed = {"steps_per_s": 10.0, "trials_per_hour": 3.0, "seconds_left": 90.0}
    store.write_heartbeat("quick", {
        "state": "running", "pid": 1, "host": "elsewhere", "running": 2, "updated_at": datetime.now(UTC).isoformat(),
        "speed": speed, "best": {"loss": 0.273214, "mono_per_feature": 0.375},
    })  # fmt: skip


@pytest.fixture(scope="module")
def browser(written: Path) -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def drawn(browser: Chrome, written: Path) -> Iterator[Chrome]:
    """The page as it is when it is opened for the first time; what the console says afterwards is a failure."""
    if browser.current_url == written.as_uri():
        browser.execute_script("removeEventListener('pagehide', remember); sessionStorage.clear()")
    look_at(browser, written)
    yield browser
    assert complaints(browser) == []


def text(driver: Chrome, selector: str) -> str:
    return str(driver.find_element(By.CSS_SELECTOR, selector).text)


def plot(driver: Chrome, name: str) -> WebElement:
    """Scrolled to where the mouse reaches it."""
    found = driver.find_element(By.ID, name)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    return found


def traces(driver: Chrome, name: str) -> list[dict[str, Any]]:
    """What plotly was given to draw."""
    script = "return document.getElementById(arguments[0]).data.map((t) => ({...t}))"
    found: list[dict[str, Any]] = driver.execute_script(script, name)
    return found


def pixel(driver: Chrome, name: str, x: float, y: float) -> tuple[float, float]:
    """Where a value is, from the middle of the plot."""
    script = """
        const {xaxis: x, yaxis: y} = document.getElementById(arguments[0])._fullLayout, [a, b] = arguments[1];
        return [x._offset + x.d2p(a), y._offset + y.d2p(b)]"""
    left, top = driver.execute_script(script, name, (x, y))
    size = driver.find_element(By.ID, name).size
    return left - size["width"] / 2, top - size["height"] / 2


def listed(driver: Chrome) -> list[str]:
    """The ids in the table of trials."""
    return [button.text for button in driver.find_elements(By.CSS_SELECTOR, "#table button.id")]


def test_all_is_drawn_and_told(drawn: Chrome, rows: list[dict[str, Any]], written: Path) -> None:
    assert text(drawn, "#title") == str(written.parent) and drawn.title == f"monosweep: {written.parent}"
    assert text(drawn, "#brushed") == "all 26 trials"
    points = [i for t in traces(drawn, "scatter") if t["mode"] == "markers" for i in t["customdata"]]
    assert len(points) == len(set(points)) == 24
    assert "2 trials without a value of both are not drawn" in text(drawn, "#scatter-note")
    assert len(listed(drawn)) == 26
    cells = [cell.text for cell in drawn.find_elements(By.CSS_SELECTOR, "#sweeps tbody td")]
    assert cells[2:9] == [
        "26", "24", "1", "1", "2", "running, 2 min left", "loss 0.2732, mono per feature 0.375",
    ], "and no columns of zeros"  # fmt: skip
    assert text(drawn, "#importance-note").startswith("Of all trials")
    assert drawn.find_element(By.ID, "trouble").is_displayed() is False


def test_the_front_is_drawn_through_who_is_beaten_by_nobody(drawn: Chrome, rows: list[dict[str, Any]]) -> None:
    worth = [(row["loss"], row["mono_per_feature"]) for row in rows]
    front = sorted(a for a in worth if not any(b != a and b[0] <= a[0] and b[1] >= a[1] for b in worth))
    (line,) = (t for t in traces(drawn, "scatter") if t["name"].startswith("Pareto"))
    assert list(zip(line["x"], line["y"], strict=True)) == [pytest.approx(point, rel=1e-6) for point in front]


def test_text_of_users_is_text(drawn: Chrome) -> None:
    assert "<b>no</b> </script><img src=x onerror=document.title='broken'>" in text(drawn, "#reasons")
    assert "the second line" not in text(drawn, "#reasons")
    drawn.find_element(By.XPATH, f"//*[@id='reasons']//button[text()='{FAILED['trial_id']}']").click()
    assert text(drawn, "#trial pre") == HOSTILE
    assert not drawn.find_elements(By.CSS_SELECTOR, "img, #trial b b") and "broken" not in drawn.title


def test_a_click_shows_the_trial(drawn: Chrome, rows: list[dict[str, Any]]) -> None:
    row = min(rows, key=lambda row: row["loss"])
    scatter = plot(drawn, "scatter")
    at = [round(p) for p in pixel(drawn, "scatter", row["loss"], row["mono_per_feature"])]
    ActionChains(drawn, duration=0).move_to_element_with_offset(scatter, *at).pause(0.3).perform()
    assert f"trial {row['trial_id']}" in text(drawn, "#hover") and "bias offset: −1" in text(drawn, "#hover")
    ActionChains(drawn, duration=0).click().perform()
    WebDriverWait(drawn, 10).until(lambda d: text(d, "#h-trial") == f"Trial {row['trial_id']}")
    figures = drawn.find_elements(By.CSS_SELECTOR, "#trial .plot")
    bias, r, image = (drawn.execute_script("return arguments[0].data.map((t) => ({...t}))", f) for f in figures)
    neurons = list(neurons_of(row))
    mono = [n["bias"] for n in neurons if n["r"] > row["mono_threshold"]]
    assert bias[0]["name"] == f"monosemantic ({len(mono)})" and bias[0]["y"] == pytest.approx(sorted(mono), rel=1e-6)
    assert len(bias[1]["y"]) == row["n_neurons"] - len(mono)
    assert r[0]["x"] == pytest.approx(sorted(n["r"] for n in neurons), rel=1e-6) and r[0]["y"][-1] == 1
    assert len(image[0]["z"]) == row["n_neurons"] and len(image[0]["z"][0]) == row["n_features"]
    commands = [code.text for code in drawn.find_elements(By.CSS_SELECTOR, "#trial code")]
    assert any(c.startswith("monosweep replay ") and c.endswith(row["trial_id"]) for c in commands)
    (debug,) = (shlex.split(c) for c in commands if "--pdb" in c)
    assert debug[:2] == ["monosweep", "trial"] and debug[3:] == [row["trial_id"], "--pdb"]
    assert open_root(debug[2]).row(debug[3])["trial_id"] == row["trial_id"]
    (line,) = (t for t in traces(drawn, "traces") if t["name"] == "clicked")
    assert line["y"][-2] == pytest.approx(row["loss"], rel=1e-6)


def test_a_brush_links_all_panels(drawn: Chrome, rows: list[dict[str, Any]]) -> None:
    scatter = plot(drawn, "scatter")
    losses = sorted(row["loss"] for row in rows)
    low, high = pixel(drawn, "scatter", losses[6] - 1e-5, 0.25), pixel(drawn, "scatter", losses[-4] + 1e-5, 0.42)
    actions = ActionChains(drawn, duration=20).move_to_element_with_offset(scatter, *map(round, low)).click_and_hold()
    actions.move_by_offset(*(round(b) - round(a) for a, b in zip(low, high, strict=True))).release().perform()
    WebDriverWait(drawn, 10).until(lambda d: text(d, "#brushed").endswith("brushed"))
    ends = [
        float(drawn.find_element(By.ID, i).get_attribute("value") or "nan")
        for i in ("x-low", "x-high", "y-low", "y-high")
    ]
    assert ends == pytest.approx([losses[6], losses[-4], 0.25, 0.42], abs=0.01)
    inside = {
        row["trial_id"] for row in rows
        if ends[0] <= row["loss"] <= ends[1] and ends[2] <= row["mono_per_feature"] <= ends[3]
    }  # fmt: skip
    assert 3 < len(inside) < 20 and set(listed(drawn)) == inside
    assert text(drawn, "#brushed") == f"{len(inside)} of 26 trials brushed"
    assert text(drawn, "#traces-note").startswith(f"{len(inside)} curves of {len(inside)} brushed trials")
    assert sum(int(t.split()[2]) for trace in traces(drawn, "means") for t in trace["text"]) == len(inside)
    drawn.find_element(By.CSS_SELECTOR, "#parallel-details summary").click()
    WebDriverWait(drawn, 20).until(
        lambda d: text(d, "#parallel-note").startswith(f"{len(inside)} trials of those brushed")
    )
    drawn.refresh()  # as a page does that is renewed
    until_drawn(drawn)
    assert set(listed(drawn)) == inside
    drawn.find_element(By.ID, "clear").click()
    assert text(drawn, "#brushed") == "all 26 trials" and len(listed(drawn)) == 26


def test_numbers_brush_and_keys_show_a_trial(drawn: Chrome, rows: list[dict[str, Any]]) -> None:
    low = drawn.find_element(By.ID, "y-low")
    low.send_keys("0.39", Keys.ENTER)
    inside = {row["trial_id"] for row in rows if row["mono_per_feature"] >= 0.39}
    assert 0 < len(inside) < 24 and set(listed(drawn)) == inside
    drawn.find_element(By.XPATH, "//*[@id='table']//th/button[text()='mono per feature']").send_keys(Keys.ENTER)
    best = max(row["mono_per_feature"] for row in rows)
    cells = [float(c.text) for c in drawn.find_elements(By.XPATH, "//*[@id='table']//tbody/tr/td[7]")]
    assert cells == sorted(cells) and cells[-1] == pytest.approx(best, rel=1e-3)
    first = drawn.find_element(By.CSS_SELECTOR, "#table button.id")
    wanted = first.text
    first.send_keys(Keys.ENTER)
    assert text(drawn, "#h-trial") == f"Trial {wanted}"
    assert drawn.execute_script("return document.activeElement.id") == "h-trial"


def test_means_have_students_interval_over_seeds(drawn: Chrome, rows: list[dict[str, Any]]) -> None:
    plot(drawn, "means")
    for name, value in (("mean-of", "loss"), ("against", "lr"), ("split", "bias_offset")):
        Select(drawn.find_element(By.ID, name)).select_by_value(value)
    found = {t["name"]: t for t in traces(drawn, "means")}
    for offset, name in ((0.0, "bias offset 0"), (-1.0, "bias offset −1")):
        for k, lr in enumerate(found[name]["x"]):
            values = [row["loss"] for row in rows if (row["lr"], row["bias_offset"]) == (lr, offset)]
            half = stats.t.ppf(0.975, 2) * statistics.stdev(values) / 3**0.5
            assert found[name]["y"][k] == pytest.approx(statistics.fmean(values), rel=1e-6)
            assert found[name]["error_y"]["array"][k] == pytest.approx(half, rel=1e-4)
        assert found[name]["mode"] == "lines+markers" and len(found[name]["x"]) == 4
    Select(drawn.find_element(By.ID, "split")).select_by_value("")
    assert "each seed averages over bias offset, bias decay" in text(drawn, "#means-note")


def drawn_live(driver: Chrome, column: str) -> None:
    """Each trial in training is a line of its sweep, and in no other panel."""
    found = {t["name"]: t for t in traces(driver, "live")}
    assert set(found) == {"quick", "&lt;b&gt;other&lt;/b&gt;"}
    for name, row in zip(("quick", "&lt;b&gt;other&lt;/b&gt;"), IN_TRAINING.values(), strict=True):
        points = list(curve_of(row))[:5]
        assert found[name]["x"] == [*(p["step"] for p in points), None]
        assert found[name]["y"] == [*(pytest.approx(p[column], rel=1e-6) for p in points), None]
        assert set(found[name]["customdata"]) == {row["trial_id"], None}
    assert text(driver, "#live-note").startswith("2 trials. As last reported by their workers")


def test_trials_in_training_are_watched(drawn: Chrome) -> None:
    plot(drawn, "live")
    drawn_live(drawn, "loss")
    Select(drawn.find_element(By.ID, "live-of")).select_by_value("n_mono")
    drawn.find_element(By.ID, "live-log-step").click()
    drawn.refresh()  # as a page does that is renewed
    until_drawn(drawn)
    drawn_live(drawn, "n_mono")
    axis = drawn.execute_script("return document.getElementById('live').layout.xaxis.type")
    assert axis == "linear", "what was chosen stays"


def test_a_sweep_without_a_row_yet_is_watched(browser: Chrome, tmp_path: Path) -> None:
    made = Made(tmp_path / "young")
    train(made)
    path = tmp_path / "report.html"
    path.write_text(page(gather(open_root(str(made.path)), Selection())))
    look_at(browser, path)
    drawn_live(browser, "loss")
    assert text(browser, "#trouble") == "No trial has its row yet."
    assert browser.find_element(By.ID, "scatter").is_displayed() is False
    browser.find_element(By.ID, "theme").click()
    assert browser.execute_script("return $('live').layout.font.color") == "#ececec"
    assert complaints(browser) == []


def test_light_and_dark(drawn: Chrome) -> None:
    def back() -> tuple[str, str]:
        script = "return [getComputedStyle(document.body).backgroundColor, $('scatter').layout.font.color]"
        colour, font = drawn.execute_script(script)
        return colour, font

    light = back()
    drawn.find_element(By.ID, "theme").click()
    dark = back()
    assert light == ("rgb(246, 246, 244)", "#1c1c1c") and dark == ("rgb(20, 22, 26)", "#ececec")
    drawn.find_element(By.ID, "theme").click()
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    drawn.execute_script("delete state.theme")
    drawn.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    WebDriverWait(drawn, 10).until(lambda _: back() == dark)
    drawn.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
