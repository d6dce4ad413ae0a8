"""The catalogue in the docs is what the tables say."""

import importlib.util
from pathlib import Path

import pytest
from PIL import Image

DOCS = Path(__file__).parent.parent / "docs"


def make_catalogue():
    spec = importlib.util.spec_from_file_location("make_catalogue", DOCS / "make_catalogue.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CATALOGUE = make_catalogue()


def test_the_page_is_current():
    assert (DOCS / "catalogue.md").read_text() == CATALOGUE.page(), "run make catalogue"


@pytest.mark.parametrize("stem", sorted(CATALOGUE.PICTURE))
def test_the_pictures_are_current(stem):
    picture = CATALOGUE.PICTURE[stem]
    with Image.open(picture.path) as image:
        assert image.text["Description"] == picture.digest(), "run make catalogue"


def test_every_picture_is_shown_and_no_other_lies_there():
    page = CATALOGUE.page()
    assert {path.stem for path in CATALOGUE.PICTURES.glob("*.png")} == set(CATALOGUE.PICTURE)
    assert all(f"images/catalogue/{stem}.png" in page for stem in CATALOGUE.PICTURE)


def test_pictures_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(CATALOGUE, "PICTURES", tmp_path)
    picture = CATALOGUE.PICTURE["codebooks"]
    CATALOGUE.draw(picture)
    with Image.open(picture.path) as image:
        assert image.size[0] > 800
