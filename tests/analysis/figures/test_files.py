"""Figures as files."""

import io

import pytest

from ream.analysis.figures.files import save, write
from ream.analysis.figures.fronts import pareto_fronts
from ream.analysis.figures.style import WIDTH
from ream.analysis.results.published import load_published
from tests.analysis.figures.drawn import FOLDER


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_figures_have_a_phones_width_and_the_same_bytes_each_time(published, tmp_path):
    for suffix in ("svg", "png"):
        content = []
        for turn in range(2):
            figure = pareto_fronts(published.mixes, 96)
            assert figure.get_figwidth() == WIDTH < 4.5
            save(figure, tmp_path / f"{turn}.{suffix}")
            content.append((tmp_path / f"{turn}.{suffix}").read_bytes())
        assert content[0] == content[1]
        assert b"dc:date" not in content[0]


@pytest.mark.parametrize("form", ["svg", "png"])
def test_dollar_signs_in_names_are_no_formulas(form):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 10], [1, 1000], label=r"$\nothing{$")
    axes.set_yscale("log")
    axes.set_title(r"$\frac$")
    axes.legend()
    file = io.BytesIO()
    write(figure, file, form)
    if form == "svg":
        assert file.getvalue().decode().count(r"$\frac$") == 1
        assert r"\mathdefault" in file.getvalue().decode()
