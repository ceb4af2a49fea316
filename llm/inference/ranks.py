"""Write with a model whose every layer is split over ranks: mpiexec -n 2 python generate.py --run runs/large

So a model can write that is too large for one machine. Each rank reads its part of the weights, one tensor of the file
after the other. Then all ranks compute the same text: the logits have the same bits on all of them, and so each draws
the same tokens. Rank 0 reads the prompt and prints.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from llm.console import say
from llm.hub.errors import HubError
from llm.hub.read import empty_model, load_tokenizer
from llm.hub.source import RUN, Source, open_model
from llm.hub.tuned import is_tuned
from llm.inference.command import write
from llm.inference.model_choice import LoadedModel
from llm.inference.options import GenerateOptions, parse
from llm.inference.terminal.streams import read_prompt
from llm.parallel.blas import blas_threads
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.find_job import find_job
from llm.parallel.runtime import set_blas_threads
from llm.parallel.shards import check_split, shard
from llm.parallel.tensor.gpt import SplitGPT
from llm.runs.find import newest_run
from llm.runs.run import Run

PATIENCE = 300.0  # seconds that a rank waits for another one: some read their part faster than others


def start_ranks(arguments: list[str]) -> int:
    """What `generate.py` does, on each rank; returns the exit status."""
    job = find_job()
    options = job.on_first(lambda: complete(parse(arguments)))
    job.world.patience = PATIENCE
    loaded = load_split(options.model or str(options.run), job.world, options.tokenizer)
    set_blas_threads(blas_threads(options.threads, loaded.model.num_parameters()))
    return job.end(write(loaded, options))


def complete(options: GenerateOptions) -> GenerateOptions:
    """The options, with what one rank decides for all. Raises ValueError if ranks cannot do what they ask for."""
    check_options(options)
    if options.run is not None and not Run(options.run).exists:
        raise ValueError(
            f"{options.run} holds no run, there is no config.json in it; give the folder that train.py made"
        )
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    run = str(newest_run()) if options.run is None and options.model is None else options.run
    return replace(options, seed=seed, run=run, prompt=read_prompt() if options.prompt is None else options.prompt)


def check_options(options: GenerateOptions) -> None:
    """Raise ValueError if the options ask for what a model on several ranks cannot do."""
    others = {
        "--chat": options.chat, "--serve": options.serve, "--classify": options.classify,
        "--adapter": bool(options.adapter), "--weights stored": options.weights == "stored",
        "--checkpoint best": options.checkpoint == "best", "--logit-lens": options.show.logit_lens,
        "--attention": options.show.attention is not None, "--device": options.device not in ("auto", "cpu"),
    }  # fmt: skip
    refuse(others)


def refuse(others: Mapping[str, bool]) -> None:
    """Raise ValueError if one of these options is given, which are not possible with several ranks."""
    for name, is_given in others.items():
        if is_given:
            raise ValueError(f"{name} is not possible with several ranks; leave it out, or start without mpiexec")


def load_split(path: str, ranks: Communicator, tokenizer_path: str | None = None) -> LoadedModel:
    """The part of this rank of the model at a path, a run or another model."""
    source = open_model(path)
    check_split(source.config, ranks.size)
    if source.family == RUN and tokenizer_path is not None:
        raise ValueError(f"{path} is a run, which has its own tokenizer; leave --tokenizer out")
    tokenizer = load_tokenizer(source, tokenizer_path)
    if tokenizer is None:
        raise HubError(f"{path} has no tokenizer; give the file or folder of one with --tokenizer")
    ends = () if source.family == RUN else source.read_defaults(tokenizer).end_tokens
    model = read_part(source, ranks)
    say(f"the model is split over {ranks.size} ranks; this one has {model.num_parameters():,} of its parameters")
    return LoadedModel(path, model, tokenizer, ends)


def read_part(source: Source, ranks: Communicator, dtype: Any = np.float32) -> SplitGPT:
    """The part of this rank. In memory there is never more than that and one tensor of the whole model."""
    if source.classes is not None or is_tuned(source):
        raise HubError(f"{source.where} is a classifier or has an adapter, and cannot be split over ranks")
    whole = empty_model(source, dtype)  # checks the file. Its zeros take no memory
    model = SplitGPT(source.config, ranks, rng=None, dtype=dtype)
    own = dict(model.named_parameters())
    for name, p in whole.named_parameters():
        part = shard(source.config, name, p.shape, ranks.rank, ranks.size)
        if part is not None:
            array = np.empty(p.shape, dtype)
            source.parts[name].fill(array, source.tensors.__getitem__)
            own[name].data[...] = part.part(array)
    model.family, model.path = source.family, str(source.where)
    model.eval()
    return model
