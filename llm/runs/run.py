"""The folder of a run, which training leaves, and from which training continues and inference reads.

    config.json  tokenizer.json                     what was asked for
    tokenizer_config.json                           with --from: chat template and special tokens of that model
    metrics.jsonl  loss.png  profile.svg            how it went (profile.svg: with --profile)
    samples.jsonl  layers.jsonl                     what it wrote, and norms by layer: llm/training/records.py
    report.json                                     with --objective classify: how good the model is at the end
    reference.safetensors                           with --objective preference: what the model at --from says
    attention.png                                   with --objective translate: where it looks in the source
    checkpoints/  model.safetensors  ...            what was learned: checkpoints.py

Other tools can open all of it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llm.console import command_line
from llm.model.config import GPTConfig
from llm.model.cost import parameters
from llm.runs.checkpoints import FILES, TOKENIZER, Checkpoint, Checkpoints
from llm.runs.errors import RunError
from llm.runs.files import locked, open_regular, read_json, write_json
from llm.runs.loss_picture import draw_losses
from llm.runs.metrics import Metrics, iterate_metrics
from llm.runs.step_lines import StepLines
from llm.runs.versions import versions
from tokenizer import BaseTokenizer
from tokenizer import load as load_tokenizer
from tokenizer.formats.atomic import PARTIAL, remove_partial, write_file
from tokenizer.formats.beside import SETTINGS_NAME
from tokenizer.text.chat_template import named_tokens

if TYPE_CHECKING:
    from llm.runs.options import Options

T = TypeVar("T")
LARGEST_TOKENIZER = 1 << 28  # bytes: eight times the largest that is published
# How many times larger than the saved model a described one may be. Up to this, it is built, and the error can name the
# arrays that do not fit.
LARGEST_RATIO = 8
TOKENIZER_FILES = {TOKENIZER, SETTINGS_NAME}
ADAPTERS = ("lora_rank", "prefix_tokens", "prompt_tokens")  # options of tuning
MORE = ("base", "task", "versions")  # what config.json may have beside the options
CONFIG, METRICS, PICTURE, PROFILE = "config.json", "metrics.jsonl", "loss.png", "profile.svg"
SAMPLES, LAYERS = "samples.jsonl", "layers.jsonl"
REPORT, REFERENCE = "report.json", "reference.safetensors"  # of --objective classify, preference
ATTENTION = "attention.png"  # of --objective translate


class Run:
    """A run's folder."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.checkpoints = Checkpoints(self.folder)

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def resume_command(self) -> str:
        """The command that continues the run, to be copied."""
        return command_line("train.py", "--resume", "--out", str(self))

    @property
    def exists(self) -> bool:
        """Whether a run has begun here."""
        return (self.folder / CONFIG).exists()

    # --- what was asked for -----------------------------------------------------------------------------------------

    def begin(
        self,
        options: Options,
        tokenizer: BaseTokenizer,
        *,
        base: str | None = None,
        task: Mapping[str, Any] | None = None,
    ) -> None:
        """Create the files of a new run. config.json comes last: with it, the run exists.

        `base`: the checksum of the model that an adapter belongs to (llm/hub/tuned.py). `task`: what is known of the
        task.
        """
        self.check_free()
        with self._writing(TOKENIZER):
            self.checkpoints.folder.mkdir(parents=True, exist_ok=True)
            if settings := settings_to_keep(tokenizer):
                write_file(self.folder / SETTINGS_NAME, json.dumps(settings, indent=2) + "\n")
            tokenizer.save(self.folder / TOKENIZER)
        more = {"base": base, "task": task, "versions": versions()}
        self.write_options(options, {name: value for name, value in more.items() if value})

    def write_options(self, options: Options, more: Mapping[str, Any] | None = None) -> None:
        """Write config.json. `more`: its other values; None: those that it has already."""
        if more is None:
            more = self._read_config(lambda data: {name: data[name] for name in MORE if name in data})
        with self._writing(CONFIG):
            write_json(self.folder / CONFIG, {**options.to_json(), **more})

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self.folder / name} could not be written ({error.strerror or error}); "
                "make room there, or allow writing, or choose another --out"
            ) from error

    def options(self) -> Options:
        # Imported here: it imports tyro, the library for command lines, which `llm.load` does not need.
        from llm.runs.options import Options

        return self._read_config(Options.from_json)

    def model_config(self) -> GPTConfig:
        """The shape of the model, without the options of training."""
        return self._read_config(lambda data: GPTConfig.from_json(data["model"]))

    @property
    def has_spare_ids(self) -> bool:
        """Whether the model may know more ids than the tokenizer: one that others have trained, see --from."""
        return self._read_config(lambda data: data["training"].get("from_") is not None)

    @property
    def has_adapter(self) -> bool:
        """Whether the run has trained an adapter, and holds nothing else."""
        return self._read_config(lambda data: any(dict(data.get("tuning") or {}).get(name) for name in ADAPTERS))

    @property
    def base(self) -> Any:
        """The checksum of the model that the adapter belongs to: llm/hub/tuned.py."""
        return self._read_config(lambda data: data.get("base"))

    @property
    def versions(self) -> dict[str, str]:
        """With what the run was begun; {} if it is older than this."""
        return self._read_config(lambda data: {str(name): str(x) for name, x in data.get("versions", {}).items()})

    @property
    def task(self) -> dict[str, Any]:
        """What is known of the task, such as the names of its classes."""
        return self._read_config(lambda data: dict(data.get("task") or {}))

    def _read_config(self, from_json: Callable[[Any], T]) -> T:
        path = self.folder / CONFIG
        try:
            data = read_json(path)
            if "model_type" in data:
                raise RunError(
                    f"{path} is not the configuration of a run, but of a model of Hugging Face; give its folder as "
                    "--model, or as --from of train.py"
                )
            return from_json(data)
        except RunError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is not the configuration of a run ({error}); put the right one back, or give another run"
            ) from None

    def tokenizer(self) -> BaseTokenizer:
        """The tokenizer of the run. Raises ValueError when the file is missing or damaged."""
        path = self.folder / TOKENIZER
        try:
            with open_regular(path) as file:  # a pipe may never send anything, or never end
                size = os.fstat(file.fileno()).st_size
            if size > LARGEST_TOKENIZER:
                raise RunError(f"{path} has {size:,} bytes, too many for a tokenizer; put the right one back")
            return load_tokenizer(path)
        except OSError as error:
            raise RunError(
                f"{path} cannot be read ({error.strerror or error}); put the one back that the run was begun with"
            ) from None

    def check_size(self, checkpoint: Checkpoint, config: GPTConfig) -> None:
        """Raise RunError when a model of this configuration is far larger than the one in the checkpoint.

        To be called before the model is built: if the configuration was edited, it may need more memory than there is.
        """
        if self.has_adapter:
            return  # the checkpoint holds the adapter alone
        described, saved = parameters(config).total, sum(array.size for array in checkpoint.weights.values())
        if described > LARGEST_RATIO * saved:
            raise self.misfit(checkpoint, f"{described:,} parameters are described, and {saved:,} are saved")

    def misfit(self, checkpoint: Checkpoint, reason: object) -> RunError:
        """What to raise when a checkpoint is not one of the model that config.json describes."""
        return RunError(
            f"the checkpoint of step {checkpoint.step} is of another model than {self.folder / CONFIG} describes "
            f"({reason}); put the {CONFIG} back that the run was begun with"
        )

    # --- how it goes ------------------------------------------------------------------------------------------------

    def open_metrics(self, steps: int) -> Metrics:
        """metrics.jsonl, to append to the lines of the first `steps` steps."""
        return Metrics(self.folder / METRICS, steps)

    def open_lines(self, name: str, steps: int) -> StepLines:
        """samples.jsonl or layers.jsonl, in the same way."""
        return StepLines(self.folder / name, steps)

    def draw_losses(self, step: int) -> None:
        draw_losses(iterate_metrics(self.folder / METRICS), self.folder / PICTURE, f"{self.folder.name}, step {step}")

    def write_profile(self, picture: str) -> Path:
        write_file(self.folder / PROFILE, picture)
        return self.folder / PROFILE

    # --- who may write here -----------------------------------------------------------------------------------------

    def check_free(self) -> None:
        """Raise RunError if a new run would replace files that are in the folder."""
        if self.exists:
            raise RunError(f"{self} holds a run already; add --resume to go on with it, or choose another --out")
        precious = {*FILES, METRICS, SAMPLES, LAYERS, PICTURE, PROFILE, REPORT, REFERENCE, ATTENTION, *TOKENIZER_FILES}
        if self.is_unbegun:
            precious -= TOKENIZER_FILES  # nothing is lost if these are replaced
        found = [path for name in sorted(precious) if (path := self.folder / name).exists()]
        found += map(self.checkpoints.folder_of, self.checkpoints.steps())
        if found:
            raise RunError(
                f"{self} has no {CONFIG} but holds {found[0].relative_to(self.folder)}, which a new run would replace; "
                f"put the {CONFIG} of that run back, or choose another --out"
            )

    @property
    def is_unbegun(self) -> bool:
        """Whether the folder is there, and holds no more than a killed `begin` leaves."""
        if not self.folder.is_dir() or self.exists:
            return False
        names = {path.name for path in self.folder.iterdir() if not path.name.startswith(PARTIAL)}
        # `begin` makes the folder of the checkpoints first. So a tokenizer.json alone was put there by the user.
        checkpoints = self.checkpoints.folder.name
        return not names or checkpoints in names and names <= {checkpoints, *TOKENIZER_FILES}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder if it does not exist, and keep other processes from training here until the block ends.

        Raises RunError when another process is training here, or when nothing can be written to the folder.
        """
        try:
            self._create_folder()
            with locked(self.folder):
                try:
                    yield
                finally:
                    self._remove_if_empty()
        except BlockingIOError:
            raise RunError(f"another process is training in {self}; wait for it, or choose another --out") from None
        except RunError:
            raise
        except BaseException:  # such as a signal before the folder is locked
            self._remove_if_empty()
            raise

    def _create_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise RunError(f"{self} cannot be the folder of a run ({error.strerror}); choose another --out") from None

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            self.folder.rmdir()  # removes only an empty folder: nothing was written to it

    def clean(self) -> None:
        """Delete half-written files of killed processes. Call this only while the run is locked."""
        remove_partial(self.folder)
        remove_partial(self.checkpoints.folder)


def settings_to_keep(tokenizer: BaseTokenizer) -> dict[str, Any]:
    """What the tokenizer of somebody else's model says beyond its vocabulary: names of special tokens, chat template.

    With it, a model that was trained further ends its answers as before. The rest is in the tokenizer.json.
    """
    template = tokenizer.settings.get("chat_template")
    return named_tokens(tokenizer.settings) | ({} if template is None else {"chat_template": template})
