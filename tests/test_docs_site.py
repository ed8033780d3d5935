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


def test_the_walks_of_the_design_lead_there() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    walks = re.findall(r"^\| [^|]+ \| `(\S+\.py)` \| `(\w+)` \|$", text, re.M)
    assert len(walks) > 10
    for file, name in walks:
        code = (ROOT / "raymaskdp" / file).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b.*=", code, re.M), f"{file} has no {name}"


def test_files_that_the_docs_name_are_there() -> None:
    package = ROOT / "raymaskdp"
    roots = (ROOT, package, package / "anonymize", package / "anonymize" / "compose")
    for page in [*PAGES, "../README.md", "../CONTRIBUTING.md"]:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for file in re.findall(r"`((?:\w+/)+\w+\.py)`", text):
            assert any((root / file).is_file() for root in roots), f"{page} names {file}"
