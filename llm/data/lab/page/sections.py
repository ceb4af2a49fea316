"""The parts of the page: what came in and went out, what each rule took, duplicates, before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llm.data.lab.page.differences import side_by_side
from llm.data.lab.page.figures import detection, histogram, lengths, number, size
from llm.data.lab.page.findings import Example, Findings, RuleFindings
from llm.data.lab.page.html import Html, document, element, join
from llm.data.lab.page.style import STYLE
from llm.data.lab.rules.table import STEPS

SHOWN, LINES = 420, 12  # characters and lines of an example
TITLES = {"clean": "Cleaning", "dedup": "De-duplication", "mix": "Mixing"}
# The page has no scripts and loads nothing. Even if a text in it were not escaped, it could not make the browser do so.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(chapters: Sequence[Findings]) -> Html:
    """The whole page."""
    title = "What was dropped, and why"
    return document(title, element("h1", title), *map(chapter, chapters), style=STYLE, policy=POLICY)


def chapter(found: Findings) -> Html:
    command = str(found.report.get("command", ""))
    working = [rule for rule in found.rules.values() if rule.documents]
    idle = [rule for rule in found.rules.values() if not rule.documents]
    return element(
        "article",
        element("h2", TITLES.get(command, command), " ", element("small", found.folder)),
        overview(found),
        section("What each rule took", funnel(found, working), _idle(idle)),
        section("Before and after", before_and_after(found)),
        section("Duplicates side by side", *clusters(found)) if found.clusters.groups else None,
        section("Rule by rule", element("div", *map(rule_card, working), detection_card(found.report), class_="cards"))
        if working
        else None,
    )


def section(title: str, *children: object) -> Html:
    return element("section", element("h3", title), *children)


def overview(found: Findings) -> Html:
    """The account: in = kept + dropped + problems."""
    ends = ("kept", "dropped")
    figures = [_figure("came in", found, "in", ""), *(_figure(name, found, name, name) for name in ends)]
    shares = {name: _percent(found.count("documents", name), found.count("documents", "in")) for name in ends}
    firsts = found.report.get("first_problems") or {}
    return join(
        element("div", *figures, _problems(found), class_="figures"),
        _bar(shares, "bar whole"),
        *(element("p", f"{name}: the first is in {place}", class_="note") for name, place in firsts.items()),
        _edits(found),
        element("p", f"{found.unreadable:,} lines of this folder cannot be read.", class_="warning")
        if found.unreadable
        else None,
    )


def _problems(found: Findings) -> Html | None:
    if not (problems := found.report.get("problems")):
        return None
    names = ", ".join(f"{name} {count:,}" for name, count in problems.items())
    total = f"{sum(problems.values()):,}"
    return element("div", element("b", total), "could not be read", element("span", names), class_="figure")


def _edits(found: Findings) -> Html | None:
    edits = found.report.get("edits")
    return element("p", "Edited: ", ", ".join(f"{n} {count:,} times" for n, count in edits.items())) if edits else None


def _figure(label: str, found: Findings, name: str, kind: str) -> Html:
    documents = found.count("documents", name)
    share = f", {_percent(documents, found.count('documents', 'in'))}" if kind else ""
    sizes = f"{size(found.count('bytes', name))}{share}"
    return element(
        "div", element("b", f"{documents:,}"), label, element("span", sizes), class_=f"figure {kind}".strip()
    )


def _bar(shares: Mapping[str, str], kind: str, **attributes: str) -> Html:
    parts = (element("i", style=f"width:{share}", class_=name) for name, share in shares.items())
    return element("div", *parts, class_=kind, **attributes)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "0%"


# --- the funnel -------------------------------------------------------------------------------------------------------


def funnel(found: Findings, rules: Iterable[RuleFindings]) -> Html:
    """A line for each rule in order: what was left when it began, and what it took."""
    left, whole, lines = found.count("documents", "in"), found.count("documents", "in"), []
    left -= sum((found.report.get("problems") or {}).values())
    for rule in rules:
        after = left - rule.documents
        shares = {"kept": _percent(after, whole), "dropped": _percent(rule.documents, whole)}
        bar = _bar(shares, "bar", title=f"{left:,} documents before, {after:,} after")
        lines.append(element("tr", element("th", breakable(rule.name), scope="row"), element("td", bar, class_="wide"),
                             element("td", f"{rule.documents:,}"), element("td", size(rule.bytes)),
                             element("td", _percent(rule.documents, left))))  # fmt: skip
        left = after
    names = ("rule", "left and taken", "documents", "bytes", "of what was left")
    header = element("tr", *(element("th", name, scope="col") for name in names))
    if not lines:
        return element("p", "No rule took anything.")
    return element("table", element("thead", header), element("tbody", *lines), class_="funnel")


def breakable(name: str) -> Html:
    """A name that may go on in the next line after "_"."""
    first, *others = name.split("_")
    return join(first, *(join("_", element("wbr"), part) for part in others))


def _idle(rules: Sequence[RuleFindings]) -> Html | None:
    if not rules:
        return None
    names = ", ".join(rule.name for rule in rules)
    return element("p", f"{len(rules)} other rules took nothing: {names}.", class_="note")


# --- before and after -------------------------------------------------------------------------------------------------


def before_and_after(found: Findings) -> Html:
    kept = found.lengths["kept"]
    before = kept + found.lengths["dropped"]
    if not before:
        return element("p", "No documents.")
    bins = range(min(before), max(before) + 1)
    labels = [size(2**bits // 2) for bits in bins]
    picture = lengths([before[bits] for bits in bins], [kept[bits] for bits in bins], labels)
    legend = element("p", element("i", class_="kept"), " kept ", element("i", class_="dropped"),
                     " dropped. Height: the square root of the number of documents; from left to right: their lengths.",
                     class_="legend")  # fmt: skip
    columns = [
        element("div", element("h4", f"{title}: {sample.size} documents at random"), *map(quotation, sample.items()))
        for title, sample in (("Before", found.before), ("After", found.after))
    ]
    return join(element("figure", picture, legend), element("div", *columns, class_="columns"))


def quotation(example: Example, note: object = None) -> Html:
    """The beginning of a document, with where it is from."""
    beginning = example.text.lstrip()
    text = "\n".join(beginning[:SHOWN].split("\n")[:LINES])
    text += " …" if len(beginning.rstrip()) > len(text) or example.characters > len(example.text) else ""
    about = f"{example.source} · {example.characters:,} characters"
    return element("blockquote", element("p", text), element("footer", note, about))


# --- duplicates -------------------------------------------------------------------------------------------------------


def clusters(found: Findings) -> Iterable[Html]:
    groups, counts = found.clusters.groups, found.clusters.counts
    yield element("p", "The first document in order is kept. Marked: what only one of the two has.", class_="note")
    for number_ in sorted(groups):
        duplicates = groups[number_]
        first = found.firsts.get(duplicates[0].duplicate_of or "")
        title = f"{counts[number_] + 1:,} documents" + ("" if len(duplicates) == counts[number_] else ", some of them")
        pairs = [pair(first, each) for each in duplicates] if first else [quotation(each) for each in duplicates]
        yield element("details", element("summary", title, " ", element("small", duplicates[0].duplicate_of)), *pairs,
                      open="" if number_ == min(groups) else None, class_="cluster")  # fmt: skip


def pair(first: Example, duplicate: Example) -> Html:
    left, right = side_by_side(first.text, duplicate.text)
    alike = "" if duplicate.similarity is None else f"similarity {duplicate.similarity:.2f} · "
    return element(
        "div",
        element("blockquote", element("p", left), element("footer", f"kept · {first.source}")),
        element("blockquote", element("p", right), element("footer", f"dropped · {alike}{duplicate.source}")),
        class_="columns",
    )


# --- rules ------------------------------------------------------------------------------------------------------------


def rule_card(rule: RuleFindings) -> Html:
    reached = "" if rule.documents == rule.reached else f" of {rule.reached:,} that reached it"
    taken = f"{rule.documents:,} document{'s' * (rule.documents != 1)}{reached}, {size(rule.bytes)}"
    drops = None
    if rule.threshold is not None and rule.takes_below is not None and rule.documents < rule.reached:
        drops = f"drops what is {'below' if rule.takes_below else 'above'} {number(rule.threshold)}"
    step = STEPS.get(rule.name)
    examples = [quotation(each, element("b", f"{number(each.number)} · ")) for each in rule.examples.items()]
    return element(
        "div",
        element("h4", breakable(rule.name), " ", element("small", drops)),
        element("p", step.about, class_="about") if step else None,
        element("p", taken, f" · {step.source}" if step else None, class_="note"),
        element("figure", histogram(rule)),
        element("details", element("summary", "Examples of what it took"), *examples) if examples else None,
        class_="card",
    )


def detection_card(report: Mapping[str, Any]) -> Html | None:
    """The curve that `dedup` has computed from its parameters, if it looked for near duplicates."""
    try:
        points = [(float(x), float(y)) for x, y in report.get("detection", ())]
    except (TypeError, ValueError):
        return None
    if not points:
        return None
    note = "Upwards: the probability that a pair is found, up to 1. To the right: the similarity of the two."
    return element("div", element("h4", "How likely near duplicates are found"), element("p", note, class_="note"),
                   element("figure", detection(points)), class_="card")  # fmt: skip
