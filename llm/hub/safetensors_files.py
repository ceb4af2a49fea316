from safetensors.numpy import load_file

from llm.hub.stored import Stored


def read_safetensors(folder):
    return {n: Stored.from_array(a) for n, a in load_file(folder / "model.safetensors").items()}
