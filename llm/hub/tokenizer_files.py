def folder_tokenizer(folder):
    return None


def save_folder_tokenizer(tokenizer, folder, config):
    raise NotImplementedError
