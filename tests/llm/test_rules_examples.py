"""The verdicts that datatrove's and CS336's tests state for their texts, and others that can be told by looking."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm.data.lab.choice import choose_steps
from llm.data.lab.rules import PRESETS, STEPS, Limit, describe, find_steps
from llm.data.lab.rules.language import language, language_of
from llm.data.lab.rules.personal import mask_emails, mask_ips, mask_phone_numbers
from llm.data.lab.rules.sentences import count_sentences
from llm.data.lab.rules.words import unwanted_words
from llm.data.lab.verdict import Edited, Verdict

FRODO = (
    "I wish it need not have happened in my time,' said Frodo. 'So do I,' said Gandalf, 'and so do all who live to "
    "see such times. But that is not for them to decide. All we have to decide is what to do with the time that is "
    "given us.'"
)
VALID = "This should definitely be a valid input text and of high quality according to Gopher rules. "
SENTENCE = "There is nothing in it that anybody could have said in fewer words than these. "


def judge(text: str, *names: str, **thresholds: float) -> tuple[str, str | None]:
    """The text after the steps, and the rule that drops it."""
    for step in find_steps(names):
        if isinstance(step, Limit) and step.name in thresholds:
            step = step.at(thresholds[step.name])
        outcome = step(text)
        if not isinstance(outcome, Verdict):
            text = outcome.text
        elif not outcome.kept:
            return text, outcome.rule
    return text, None


def dropped_by(text: str, *names: str, **thresholds: float) -> str | None:
    return judge(text, *names, **thresholds)[1]


@pytest.mark.parametrize("preset", ["gopher_repetition", "gopher", "fineweb"])
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("I am your father.\n" * 4, "dup_line_frac"),
        ("I am your father.\n\n" * 4, "dup_para_frac"),
        (
            f"I am groot.\n\nYou are a wizard.\n\nI am your father.\n\n{'x' * 30}.\n\n{'x' * 30}.\n\n",
            "dup_para_char_frac",
        ),
        (f"I am groot.\nYou are a wizard.\nI am your father.\n{'x' * 40}.\n{'x' * 40}.\n", "dup_line_char_frac"),
        ("I am Frank, I am Frank, I am Frank", "top_2_gram"),
        ("I am Frank, you are Jhon. I am Frank. I am Frank you are Jhon", "top_3_gram"),
        ("I am a solo traveller " * 4 + FRODO, "duplicated_5_n_grams"),
        ("", "empty"),
    ],
)
def test_repeated_texts_are_dropped_by_the_rule_that_datatrove_names(preset: str, text: str, rule: str) -> None:
    assert dropped_by(text, preset) == rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("I am too small...", "gopher_short_doc"),
        ("I am " * 20, "gopher_below_avg_threshold"),
        ("interconnection " * 20, "gopher_above_avg_threshold"),
        ("# comment " * 20, "gopher_too_many_hashes"),
        ("... comment " * 20, "gopher_too_many_ellipsis"),
        ("the ./!*?<><> apple <?////> orange  ++ interconnection !<>??? have" * 20, "gopher_below_alpha_threshold"),
        (FRODO, None),
        ("- comment\n" * 19 + "comment\n", "gopher_too_many_bullets"),
        (f"{SENTENCE * 3}\n" * 6 + f"{SENTENCE * 3}…\n" * 4, "gopher_too_many_end_ellipsis"),
        ("comment commentary " * 20, "gopher_enough_stop_words"),
    ],
)
def test_quality_is_judged_as_datatrove_does_with_10_to_1000_words(text: str, rule: str | None) -> None:
    assert dropped_by(text, "gopher_quality", gopher_short_doc=10, gopher_long_doc=1000) == rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (VALID * 100, None),
        ("word the be to " * 125_000, "gopher_long_doc"),
        ("the be " * 100, "gopher_below_avg_threshold"),
        ("the with " * 100, None),
        (f"{SENTENCE * 2}\n" * 30 + f"{SENTENCE * 2}...\n" * 70, "gopher_too_many_end_ellipsis"),
        ("The word of the fox " * 9 + "and the end", "gopher_short_doc"),
    ],
)
def test_quality_is_judged_as_the_tests_of_cs336_do(text: str, rule: str | None) -> None:
    assert dropped_by(text, "gopher_quality") == rule


def test_a_text_of_49_words_is_too_short_and_one_of_50_is_not() -> None:
    limit = STEPS["gopher_short_doc"]
    assert limit("word, " * 49) == Verdict(False, "gopher_short_doc", 49, 50)
    assert limit("word, " * 50) == Verdict(True, "gopher_short_doc", 50, 50)


def test_c4_keeps_sentences_and_drops_other_lines() -> None:
    good = "\n".join([SENTENCE.strip()] * 5)
    bad = [
        "Home | About",
        "One word.",
        "And so on...",
        "Please enable JavaScript to see this.",
        "See our Privacy Policy now.",
    ]
    text, rule = judge("\n".join([bad[0], good, *bad[1:], f"{'x' * 1001} is a word."]), "c4")
    assert (text, rule) == (good, None)


def test_c4_drops_citations() -> None:
    text, rule = judge(f"{SENTENCE.strip()}[1][23][citation needed] \n" * 5 + "Look at a[1] here, [edit]please.", "c4")
    assert (text, rule) == (
        f"{SENTENCE.strip()}\n" * 5 + "Look at a[1] here, [edit]please.".replace("[1]", "").replace("[edit]", ""),
        None,
    )


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("This is a sentence with Lorem Ipsum dolor sit amet.", "lorem_ipsum"),
        ("This is some code with a { bracket.", "curly_bracket"),
        ("This is code with a { bracket that is no sentence", None),
        ("This is JavaScript code with a { bracket.", None),
    ],
)
def test_c4_drops_texts_with_braces_and_lorem_ipsum_in_their_sentences(line: str, rule: str | None) -> None:
    assert dropped_by(f"{line}\n" + f"{SENTENCE}\n" * 6, "c4") == rule


def test_c4_drops_texts_with_few_sentences() -> None:
    assert dropped_by("Just one sentence. And another one! Is it? Yes. ", "c4") == "too_few_sentences"
    assert dropped_by("Just one sentence. And another one! Is it? Yes. Good.", "c4") is None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One", 1),
        ("One. Two? Three!", 3),
        ("He said: “Go!” Then he went...", 2),
        ("Dr. A. B. Smith, e.g. in the U.S. today, paid 3.50. Why?", 2),
        ("Really?!?! Yes.", 2),
        ("你好。再见！", 2),
        ("Version 1.2.3 is here", 1),
    ],
)
def test_sentences_are_counted(text: str, count: int) -> None:
    assert count_sentences(text) == count


def test_mc4_wants_three_long_lines() -> None:
    long = "x" * 200
    assert dropped_by(f"{long}\n{long}\n{long}", "< 3 paragraphs") is None
    assert dropped_by(f"{long}\n{long}\n{long[1:]}", "< 3 paragraphs") == "< 3 paragraphs"


FINEWEB = ("empty", "line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "empty"),
        ("A line of more than thirty characters\n" + "Another line of some more words\n" * 10, "line_punct_ratio"),
        ("hi.\nbye.\nok.\nno.\nyes.", "short_line_ratio"),
        (f"{SENTENCE.strip()}\n" * 2, "char_dup_ratio"),
        ("\n\n".join(f"{'pneumonoultramicroscopic' * 2}{i}." for i in range(9)), "list_ratio"),
        ("\n".join(f"{SENTENCE}{i}." for i in range(9)), None),
    ],
)
def test_fineweb_drops_lists(text: str, rule: str | None) -> None:
    assert dropped_by(text, *FINEWEB) == rule


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (FRODO, "en"),
        ("Un magicien n'est jamais en retard Frodon Sacquet. Il arrive précisément à l'heure prévue.", "fr"),
        ("Um mago nunca chega tarde, Frodo Bolseiro. Nem cedo. Ele chega precisamente na hora que pretende.", "pt"),
        ("Molti tra i vivi meritano la morte. E parecchi che sono morti avrebbero meritato la vita.", "it"),
        ("Das ist nicht die Zeit, in der ich leben möchte, sagte er zu mir.", "de"),
        ("El mago nunca llega tarde ni pronto, sino cuando se lo propone.", "es"),
        ("Это не то, что он хотел сказать, но было поздно.", "ru"),
        ("Це не те, що він хотів сказати, але було пізно, і я пішов.", "uk"),
        ("これは日本語の文章です。", "ja"),
        ("你好，世界", "zh"),
        ("안녕하세요 세계", "ko"),
        ("Η γλώσσα μου είναι ελληνική", "el"),
        ("هذا ليس ما كان يريد أن يقول في ذلك اليوم", "ar"),
        ("12345 !?", "und"),
    ],
)
def test_languages_are_told_apart(text: str, code: str) -> None:
    assert language_of(text)[0] == code
    assert (dropped_by(text, "language") is None) == (code == "en")
    if code != "und":
        assert language(code)(text).kept


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "field"), [("hellaswag_val_2000", "query"), ("lambada_2000", "text"), ("gsm8k_test_400", "question")]
)
def test_english_texts_are_taken_for_english(shared_data: Path, name: str, field: str) -> None:
    texts = [json.loads(line)[field] for line in (shared_data / f"tasks/{name}.jsonl").read_text().splitlines()]
    assert sum(STEPS["language"](text).kept for text in texts) >= 0.995 * len(texts)


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="the language is xx, expected one of ar, bg"):
        language("xx")


NUMBERS = ["2831823829", "(283)-182-3829", "(283) 182 3829", "283-182-3829", "123-456-7890", "(555) 123-4567",
    "+1 (283) 182-3829", "1-800-555-1234", "+12831823829", "555.123.4567", "+44 20 7946 0958", "+49 (0)30 123456",
    "+86 138 0013 8000", "+33 1 23 45 67 89"]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
def test_phone_numbers_are_masked(number: str) -> None:
    text = f"Call {number}, or |||PHONE_NUMBER|||."
    assert mask_phone_numbers(text) == (text.replace(number, "|||PHONE_NUMBER|||"), 1)


@pytest.mark.parametrize(
    "text",
    [
        "1700000000",
        "0306406152",
        "12345678901234",
        "2026-11-30",
        "x.com/2831823829",
        "1.800",
        "+5 10 15",
        "10:30-11:45",
    ],
)
def test_other_numbers_are_no_phone_numbers(text: str) -> None:
    assert mask_phone_numbers(text) == (text, 0)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("email@example.com", "M"),
        ("firstname+lastname@sub.example.co.jp.", "M."),
        ("email@[123.123.123.123]", "M"),
        ('"email"@example.com', '"email"@example.com'),
        ("Joe <_______@example.com>", "Joe <M>"),
        ("email@example@example.com", "email@M"),
        (".email@example.com", ".M"),
        ("email..email@example.com", "email..M"),
        ("email.@example.com", "email.@example.com"),
        ("あいうえお@example.com", "あいうえお@example.com"),
        ("email@example", "email@example"),
        ("email@-example.com", "email@-example.com"),
        ("email@example..com", "email@example..com"),
        ("just”not”right@example.com", "just”not”M"),
        ("M and a@b.cd", "M and M"),
    ],
)
def test_addresses_are_found_where_datatrove_finds_them(text: str, masked: str) -> None:
    assert mask_emails(text, "M") == (masked, masked.count("M") - text.count("M"))


def test_masks_that_are_there_already_are_not_counted() -> None:
    text = "Write to |||EMAIL_ADDRESS||| or ada@example.org, |||EMAIL_ADDRESS|||."
    assert mask_emails(text) == (text.replace("ada@example.org", "|||EMAIL_ADDRESS|||"), 1)


@pytest.mark.parametrize("ip", ["163.36.107.25", "214.70.227.4", "3.3.3.0", "2606:4700:4700::1111"])
def test_public_addresses_of_machines_are_masked(ip: str) -> None:
    assert mask_ips(f"at .{ip}, {ip}." if "." in ip else f"{ip}, [{ip}]", "M", public_only=True)[1] == 2


@pytest.mark.parametrize(
    "text",
    [
        "999.999.999.999.",
        "108.0.0.01",
        "00.0000.00.00",
        "912.456.123.123",
        "192.168.o.0",
        "1.2.3.4.5",
        "23:45:10",
        "a::b",
    ],
)
def test_what_is_no_address_of_a_machine_stays(text: str) -> None:
    assert mask_ips(text) == (text, 0)


@pytest.mark.parametrize("ip", ["172.16.0.9", "127.0.0.2", "10.255.255.254", "192.168.1.2", "0.1.2.3", "192.0.2.146"])
def test_private_addresses_of_machines_stay_in_the_presets(ip: str) -> None:
    assert judge(ip, "personal") == (ip, None)
    assert mask_ips(f"It is {ip}.") == ("It is |||IP_ADDRESS|||.", 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("DARN it", 1),
        ("darned", 0),
        ("un_darn", 0),
        ("son of a gun!", 1),
        ("a $#@% b", 1),
        ("非常坏人", 1),
        ("good", 0),
    ],
)
def test_unwanted_words_are_found_as_words(text: str, found: int) -> None:
    verdict = unwanted_words(["Darn", "son of a gun", "$#@%", "坏", ""])(text)
    assert verdict == Verdict(not found, "document_removed_with_badwords", found, 0)


@pytest.mark.parametrize("preset", ["gopher", "c4", "fineweb"])
def test_the_presets_keep_a_page_of_prose_and_mask_what_is_personal(preset: str) -> None:
    page = (
        "When the ship came back to the harbour in the spring, nobody in the village could say who had sent it.\n"
        "The captain walked slowly along the quay, and he asked each fisherman whether he had seen his brother.\n"
        "They had not, but one of them remembered a letter that lay for weeks on the table of the old inn.\n"
        "It was still there! He opened it with great care, because the paper was wet and the ink had begun to run.\n"
        "“Do not look for me,” it said, and that was all; so he sat down, called for some bread, and began to laugh.\n"
        "You can reach his family at donâ€™tcall@example.org or at 163.36.107.25, if you have more to tell them."
    )
    text, rule = judge(page, preset)
    assert rule is None
    assert text == page.replace("donâ€™tcall@example.org", "don’|||EMAIL_ADDRESS|||").replace(
        "163.36.107.25", "|||IP_ADDRESS|||"
    )


def test_a_rule_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    with pytest.raises(ValueError, match="there is no rule 'gofer', expected a preset .gopher, c4, fineweb"):
        find_steps(["gofer"])


def test_the_table_has_all_steps_of_the_presets_with_their_sources() -> None:
    assert {step.name for steps in PRESETS.values() for step in steps} <= STEPS.keys()
    assert all(name == step.name and step.source for name, step in STEPS.items())
    assert all(f"\n{name}" in f"\n{describe()}" for name in [*STEPS, *PRESETS])
    assert "dup_line_frac                  at most 0.3          Gopher" in describe()


def test_each_step_says_what_it_measures_or_edits() -> None:
    assert all(step.about.endswith(".") and f"\n    {step.about}" in describe() for step in STEPS.values())
    texts = [
        "a b\nJavascript is here.\ncookie policy\n[1] " + "x" * 1001,
        "\x07 cafÃ© \ufffd\r",
        "a@b.org +1 212 555 0100",
    ]
    for step in STEPS.values():  # a name in a report of edits is found in the table
        for outcome in map(step, texts):
            if isinstance(outcome, Edited):
                assert all(name == step.name or name in step.about for name in outcome.counts)


def test_no_rules_can_be_followed_by_an_edit_and_a_threshold_is_a_number() -> None:
    assert choose_steps("none") == [] and choose_steps("none, email") == [STEPS["email"]]
    for threshold in ("nan", "", "x"):
        with pytest.raises(ValueError, match="is not RULE=NUMBER"):
            choose_steps("empty", [f"empty={threshold}"])


def test_a_wrong_name_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(ValueError, match="the nearest names are gopher_short_doc"):
        find_steps(["gopher_short"])
    with pytest.raises(ValueError, match="among those chosen; the nearest names are empty"):
        choose_steps("empty", ["emty=1"])
