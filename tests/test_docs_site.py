"""The documentation's site: its pages exist, and its reference names modules that are there."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
MODULES = [
    module
    for page in sorted((ROOT / "docs" / "reference").glob("*.md"))
    for module in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.M)
]


def test_the_site_has_pages_and_a_reference() -> None:
    assert len(PAGES) > 15
    assert len(MODULES) > 20


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_there(page: str) -> None:
    assert (ROOT / "docs" / page).is_file()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_the_reference_is_there(module: str) -> None:
    assert find_spec(module) is not None


def test_links_inside_the_docs_lead_somewhere() -> None:
    for page in PAGES:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert ((ROOT / "docs" / page).parent / target).exists(), f"{page} links to {target}"
