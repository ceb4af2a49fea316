def folder_tokenizer(folder):
    return None


def save_folder_tokenizer(tokenizer, folder, config):
    raise NotImplementedError


def gguf_tokenizer(metadata):
    return None


def llama2c_tokenizer(path, n):
    return None
