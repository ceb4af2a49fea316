"""The course cannot rot: excerpts and figures are those of today's source, and the tests named see each fault."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from docs.course import book, excerpts, exercise, plain
from docs.course.__main__ import main
from docs.course.chapters import COURSE, ROOT, Chapter, chapters
from docs.course.exercise import Outcome

CHAPTERS = chapters()
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.name)
each_page = pytest.mark.parametrize("page", sorted(COURSE.glob("*.md")), ids=lambda path: path.name)


# --- text and figures -------------------------------------------------------------------------------------------------


def test_chapters_are_numbered_and_listed() -> None:
    assert [c.number for c in CHAPTERS] == [*range(1, len(CHAPTERS) + 1)]
    listed = re.findall(r"^\d+\. \[(.+?)\]\((.+?)\)", (COURSE / "README.md").read_text("utf-8"), re.MULTILINE)
    assert listed == [(c.title, c.page.name) for c in CHAPTERS]


@each_chapter
def test_excerpts_are_what_the_source_says(chapter: Chapter) -> None:
    text = chapter.page.read_text("utf-8")
    assert "<!-- source: " in text
    assert text == excerpts.with_excerpts(text, ROOT), "python -m docs.course build takes them anew"


@each_chapter
def test_a_chapter_shows_its_figure_and_names_its_experiment_and_exercise(chapter: Chapter) -> None:
    text = chapter.page.read_text("utf-8")
    assert text.startswith(f"# {chapter.number}. {chapter.title}\n")
    assert re.findall(r"!\[.+?\]\((.+?)\)", text) == [f"experiments/{chapter.picture.name}"]
    assert f"python -m docs.course.experiments.{chapter.experiment.stem}" in text
    assert f"python -m docs.course break {chapter.number}\n" in text
    assert all(test.split("::")[-1].split("[")[0] in text for test in chapter.exercise.tests)
    assert 900 <= len(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL).split()) <= 1600


@each_chapter
def test_a_figure_is_what_the_experiment_draws(chapter: Chapter) -> None:
    drawn = chapter.figure()
    ElementTree.fromstring(drawn)
    assert chapter.picture.read_text("utf-8") == drawn, "python -m docs.course build draws it anew"


@each_page
def test_in_the_terminal_no_line_of_text_is_wide_and_no_tex_is_left(page: Path) -> None:
    text = page.read_text("utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    shown = [line for line in plain.page(prose, 80).splitlines() if not line.startswith("|")]
    assert [line for line in shown if len(line) > 80] == []
    assert [line for line in shown if re.search(r"\\|\$|\*\*", re.sub(r"^    .*", "", line))] == []


@pytest.mark.parametrize(("tex", "text"), [
    (r"\frac{f(x+h) - f(x-h)}{2h}", "(f(x+h) - f(x-h))/(2h)"), (r"x_i^2", "xᵢ²"),
    (r"\sum_{k} X_{ik} W_{kj}", "Σₖ Xᵢₖ Wₖⱼ"), (r"W_{ab}", "W_(ab)"), (r"\frac{1}{x_i}", "1/xᵢ"),
    (r"\hat x = \frac{h}{\sqrt{v + \epsilon}}", "x\u0302 = h/√(v + ε)"), (r"e^{z_i - m}", "e^(zᵢ - m)"),
    (r"\frac{\partial L}{\partial x}", "(∂ L)/(∂ x)"), (r"X^\top G", "Xᵀ G"),
    (r"\text{loss} \approx \log V", "loss ≈ log V"),
])  # fmt: skip
def test_formulas_can_be_read_as_text(tex: str, text: str) -> None:
    assert re.sub(" +", " ", plain.formula(tex)) == text


# --- exercises --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("course") / "copy"
    exercise.make_copy(folder)
    return folder


# One always, the others when slow tests run: each starts a program.
some = [pytest.param(c, id=c.name, marks=[] if c.number == 2 else [pytest.mark.slow]) for c in CHAPTERS]


@pytest.mark.parametrize("chapter", some)
def test_a_mutation_fails_the_tests_it_names_and_no_others_and_the_original_passes(
    chapter: Chapter, copy: Path
) -> None:
    named, file = chapter.exercise.tests, copy / chapter.exercise.file
    files, original = sorted({test.split("::")[0] for test in named}), file.read_text("utf-8")
    assert len(chapter.exercise.hints) == 3
    file.write_text(chapter.exercise.mutated(original), "utf-8")
    changed = file.stat()
    try:
        broken = exercise.run_tests(chapter, copy, files)
    finally:
        file.write_text(original, "utf-8")
        # As if it were repaired within a second: the bytecode of the mutation seems to be that of the original then.
        os.utime(file, ns=(changed.st_atime_ns, changed.st_mtime_ns))
    is_named = {test: [n for n in named if test == n or test.split("[")[0] == n] for test in broken.failed}
    assert [test for test, names in is_named.items() if not names] == [], "fails, but is not named"
    assert {name for names in is_named.values() for name in names} == set(named), broken.text
    repaired = exercise.run_tests(chapter, copy, files)
    assert repaired.passed, repaired.text


def test_a_reader_breaks_asks_and_repairs(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: Any) -> None:
    broken, chapter = tmp_path / "02", CHAPTERS[1]
    file, original = broken / chapter.exercise.file, (ROOT / chapter.exercise.file).read_text("utf-8")
    monkeypatch.setattr(exercise, "run_tests", _by_comparison(original))

    def say(*arguments: str) -> tuple[int, str, str]:
        status, said = main([*arguments, "--into", str(broken)]), capsys.readouterr()
        assert len(said.err.splitlines()) <= 1
        return status, said.out, said.err

    assert "first run python -m docs.course break 2 --into" in say("check", "2")[2]
    assert "first run python -m docs.course break 2 --into" in say("hint", "2")[2]
    status, out, _ = say("break", "2")
    assert status == 0 and chapter.exercise.file in out and f"check 2 --into {broken}" in out
    assert "is broken already" in say("break", "2")[2]
    assert "no copy for chapter 1" in say("break", "1")[2]
    assert [say("hint", "2")[1].split(":")[0] for _ in range(3)] == [f"Hint {k} of 3" for k in (1, 2, 3)]
    assert f"diff {file}" in say("hint", "2")[1]
    status, _, error = say("check", "2")
    assert status == 1 and "as break has left it" in error
    test = broken / chapter.exercise.tests[0].partition("::")[0]
    test.write_text("def test_nothing(): ...\n", "utf-8")
    status, out, _ = say("check", "2")
    assert status == 1 and f"hint 2 --into {broken} helps" in out
    assert test.read_text("utf-8") == (ROOT / test.relative_to(broken)).read_text("utf-8"), "the original is run"
    file.write_text(file.read_text("utf-8") + "# mine\n", "utf-8")
    assert "changes of yours" in say("break", "2")[2] and file.read_text("utf-8").endswith("# mine\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    assert main(["break", "2", "--again", "--into", str(tmp_path / "mine")]) == 1, "only a copy gets another name"
    assert "is no copy for chapter 2" in capsys.readouterr().err and (tmp_path / "mine" / "file").exists()
    assert say("break", "2", "--again")[0] == 0
    assert (tmp_path / "02-old1" / chapter.exercise.file).read_text("utf-8").endswith("# mine\n")
    file.write_text(original, "utf-8")
    status, out, _ = say("check", "2")
    assert status == 0 and out.startswith("green")
    monkeypatch.setattr(exercise, "folder_of", lambda chapter, into: broken)
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("repaired") and lines[0].endswith(CHAPTERS[0].title)
    failed = Outcome(False, ["tests/x.py"], "E   SyntaxError: invalid syntax\nERROR tests/x.py")
    monkeypatch.setattr(exercise, "run_tests", lambda *_: failed)
    status, out, _ = say_without_folder(capsys, "check", "2")
    assert status == 1 and "the tests could not run" in out and "RROR tests" not in out.replace("ERROR", "")


def say_without_folder(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str, str]:
    status, said = main([*arguments]), capsys.readouterr()
    return status, said.out, said.err


def _by_comparison(original: str) -> Any:
    """Instead of the tests, which take long."""

    def run_tests(chapter: Chapter, folder: Path) -> Outcome:
        passed = (folder / chapter.exercise.file).read_text("utf-8") == original
        return Outcome(passed, [] if passed else chapter.exercise.tests, "")

    return run_tests


@pytest.mark.parametrize("number", ["0", "99", "x", "-1", "²", "1.5", ""])
def test_a_wrong_number_is_met_by_a_sentence(number: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["show", "--", number]) == 1
    assert f"there is no chapter {number!r}; give a number from 1 to" in capsys.readouterr().err


@pytest.mark.control
def test_a_copy_whose_source_is_not_the_one_imported_is_noticed(copy: Path, tmp_path: Path) -> None:
    """As with an installed package of another checkout."""
    file = copy / CHAPTERS[1].exercise.file
    target = file.rename(file.with_name("elsewhere.py"))
    file.write_text("import sys\nfrom minigrad import elsewhere\nsys.modules[__name__] = elsewhere\n", "utf-8")
    try:
        with pytest.raises(exercise.CourseError, match="from another checkout"):
            exercise.run_tests(CHAPTERS[1], copy)
    finally:
        target.rename(file)


# --- the book ---------------------------------------------------------------------------------------------------------


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.add(tag)
        self.ids |= {found["id"] or ""} if "id" in found else set()
        self.targets += [found[name] or "" for name in ("href", "src") if name in found]


def test_the_book_needs_no_network_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("latex2mathml")
    pytest.importorskip("mdit_py_plugins")
    text, links = book.book(tmp_path / "book.html"), Links()
    links.feed(text)
    assert "script" not in links.tags and "math" in links.tags
    inside = [t[1:] for t in links.targets if t.startswith("#")]
    assert set(inside) <= links.ids and inside
    files = [t for t in links.targets if not re.match(r"#|data:|https://", t)]
    assert [t for t in files if not (tmp_path / t.split("#")[0]).exists()] == []
    assert not re.search(
        r"(?<!\\)\$|<mtext>\\\\|\\(?:frac|sum|sqrt)", re.sub(r"<pre>.*?</pre>|<code>.*?</code>", "", text, flags=re.S)
    )


@each_page
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.control
def test_an_excerpt_that_was_edited_is_noticed() -> None:
    text = CHAPTERS[1].page.read_text("utf-8")
    edited = text.replace("heappush", "push")
    assert excerpts.with_excerpts(edited, ROOT) == text != edited
    with pytest.raises(exercise.CourseError, match="no missing"):
        excerpts.excerpt("x = 1", "missing", "a.py")
