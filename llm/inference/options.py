"""The options of `generate.py`, and which of them do not go together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from llm.hub.read import Weights
from llm.inference.model_choice import sampling_of
from llm.inference.sampling import Sampling
from llm.inference.server.options import ServerOptions
from llm.runs.parsing import DEFAULT_IN_TEXT, flag, read_options, read_some

PICTURES = (".png", ".pdf", ".svg")
ANSWER_TOKENS = 1000  # the default of --max-tokens for an answer in a chat
PROMPT_LOOKUP = "prompt"  # a value of --draft


@dataclass(frozen=True)
class ShowOptions:
    """What is shown of the inside of the model."""

    show_probs: bool = False
    """Show how likely each token was, and which others might have come: at a terminal by colours with a table below,
    else only as a table.
    """
    logit_lens: bool = False
    """Show what each layer would say after the prompt, and after each token of it, if it were the last layer."""
    attention: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """A .png, .pdf or .svg file to draw: which tokens of the text each head of each layer looks at."""

    def __post_init__(self) -> None:
        if self.attention is not None:
            if Path(self.attention).suffix.lower() not in PICTURES:
                raise ValueError(f"--attention needs a file that ends in .png, .pdf or .svg, got {self.attention}")
            if not Path(self.attention).absolute().parent.is_dir():
                raise ValueError(f"--attention: there is no folder {Path(self.attention).parent}")


@dataclass(frozen=True)
class GenerateOptions:
    """Write text with a trained model: python generate.py --prompt "The class" """

    run: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """Folder of the run. Default: the newest one in runs/."""
    checkpoint: Literal["last", "best"] = "last"
    """The newest checkpoint of the run, or the one with the best validation loss."""
    model: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """The model of somebody else, instead of a run: a folder of Hugging Face, a .gguf file, a .bin file of llama2.c.
    Sampling options that are not given have the values that the model comes with.
    """
    weights: Weights = "widened"
    """For --model. widened: all weights are float32 in memory. stored: they stay as they are in the file (bf16, f16,
    q8), and are widened where they are used, which takes less memory and more time.
    """
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: matrices take half of the memory, and are widened where they are used, on the CPU. Sums stay float32."""
    tokenizer: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """For --model: the file or folder of a tokenizer. Default: the one that the model comes with."""
    adapter: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """The folder of an adapter for the model, as PEFT and save_adapter write it. With --serve it can be given several
    times, also as NAME=FOLDER: a request chooses one by its name, in the field "model".
    """
    chat: bool = False
    """Talk with the model: each line is a message, and /help lists the commands. Without a terminal, each line of
    standard input is a message.
    """
    system: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """For --chat: the system message, which says how the model should answer."""
    classify: bool = False
    """For a classifier: print the class of --prompt, or of each line of standard input, and all probabilities."""
    prompt: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """What the text begins with. Default: standard input if it is a pipe; otherwise the model begins a new text."""
    max_tokens: int = 200
    """Largest number of tokens to write. With --chat it is that of an answer, and the default is 1000."""
    sampling: tyro.conf.OmitArgPrefixes[Sampling] = field(default_factory=Sampling)
    num_beams: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """For a translator: the number of beams of the search. 1: always the most likely token. none, the default: 4."""
    length_penalty: Annotated[float | None, DEFAULT_IN_TEXT] = None
    """For a translator: scores are divided by ((5 + tokens) / 6) to this power. none, the default: 0.6."""
    stop: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """End the text before this string. Can be given several times."""
    seed: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """The same seed gives the same text. Default: a new seed each time, which is printed."""
    num_samples: int = 1
    """Number of texts to write, with a line --- between them. The second text has --seed plus 1, and so on."""
    regex: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """Write only text that matches this regular expression as a whole, without the prompt."""
    schema: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """A file with a JSON schema. Write only JSON that is valid by it."""
    draft: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """Write the same text faster: a smaller model with the same vocabulary guesses the next tokens. The folder or file
    of this model, or "prompt": what followed the same words before is the guess, without another model.
    """
    show: tyro.conf.OmitArgPrefixes[ShowOptions] = field(default_factory=ShowOptions)
    serve: bool = False
    """Answer over HTTP, with OpenAI's API and a page, instead of writing one text. Sampling options are for requests
    that do not give their own.
    """
    server: tyro.conf.OmitArgPrefixes[ServerOptions] = field(default_factory=ServerOptions)
    threads: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """Number of threads for matrix products. none, the default: one for a small model, else one for each idle core."""
    device: str = "auto"
    """cpu, cuda, cuda:N for GPU number N, or auto: a GPU if there is one, else the CPU."""

    def __post_init__(self) -> None:
        for name, least in (("max_tokens", 0), ("num_samples", 1), ("seed", 0), ("threads", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{flag(name)} must be at least {least}, got {value}")
        if self.model is not None and (self.run is not None or self.checkpoint == "best"):
            raise ValueError("--run and --checkpoint choose a run, and --model another model; give one of the two")
        if self.model is None and (self.tokenizer is not None or self.weights == "stored"):
            raise ValueError("--tokenizer and --weights stored are for --model; a run has its own tokenizer")
        if self.precision != "fp32" and (self.weights == "stored" or self.device not in ("auto", "cpu")):
            raise ValueError("--precision bf16 is for the CPU, without --weights stored; leave one out")
        if len(self.adapter) > 1 and not self.serve:
            raise ValueError("a text is written with one --adapter; only --serve takes several")
        if self.regex is not None and self.schema is not None:
            raise ValueError("--regex and --schema both say what may be written; give one of the two")
        if "" in self.stop:
            raise ValueError("--stop must have at least one character")
        if self.system is not None and not self.chat:
            raise ValueError("--system is for --chat; add --chat, or leave --system out")
        self._check_kinds_of_writing()

    def check_translator(self, *, translates: bool) -> None:
        """Raise ValueError for options that a translator does not know, or that only a translator knows."""
        beams = {"--num-beams": self.num_beams is not None, "--length-penalty": self.length_penalty is not None}
        others = {"--serve": self.serve, "--adapter": bool(self.adapter), "--logit-lens": self.show.logit_lens,
                  "--num-samples": self.num_samples > 1, **self._of_one_text()}  # fmt: skip
        if given := [name for name, is_given in (others if translates else beams).items() if is_given]:
            reason = "does not go with a translator" if translates else "is for a run of --objective translate"
            raise ValueError(f"{given[0]} {reason}; leave it out")

    def _of_one_text(self) -> dict[str, bool]:
        """Which options are given that only the writing of one text knows."""
        return {
            "--chat": self.chat, "--show-probs": self.show.show_probs, "--regex": self.regex is not None,
            "--schema": self.schema is not None, "--draft": self.draft is not None, "--stop": bool(self.stop),
            "--seed": self.seed is not None,
        }  # fmt: skip

    def _check_kinds_of_writing(self) -> None:
        """Refuse options that one of the ways of writing does not know."""
        in_one_text = {"--prompt": self.prompt is not None, "--num-samples": self.num_samples > 1}
        limit = {"--max-tokens": self.max_tokens != GenerateOptions.max_tokens}
        views = {"--logit-lens": self.show.logit_lens, "--attention": self.show.attention is not None}
        others = self._of_one_text()
        if self.classify:
            all_others = views | others | {"--num-samples": self.num_samples > 1, "--serve": self.serve}
            refuse("--classify", all_others, "a classifier writes no text")
        if self.serve:
            refuse("--serve", in_one_text | views | others | limit, "clients ask for texts, each in its own way")
        if self.chat:
            refuse("--chat", in_one_text | views, "the texts are the messages that you write")
        if self.num_samples > 1:
            refuse("--num-samples", views, "it shows one text")


def refuse(option: str, others: dict[str, bool], reason: str) -> None:
    """Raise ValueError if one of the other options is given."""
    for name, given in others.items():
        if given:
            raise ValueError(f"{option} and {name} do not go together, because {reason}; leave one of them out")


@dataclass(frozen=True)
class _FirstOptions:
    """The options that are read first, because the defaults of others depend on them."""

    model: str | None = None
    chat: bool = False


def parse(arguments: list[str]) -> GenerateOptions:
    """The options. Raises ValueError for a file of the model's sampling values that cannot be read."""
    first, others = read_some(_FirstOptions, arguments, program="generate.py")
    asks_help = bool({"-h", "--help"} & set(others))  # which comes before anything that can fail
    max_tokens = ANSWER_TOKENS if first.chat and not asks_help else GenerateOptions.max_tokens
    defaults = GenerateOptions(sampling=sampling_of(None if asks_help else first.model), max_tokens=max_tokens)
    return read_options(GenerateOptions, arguments, program="generate.py", default=defaults)
