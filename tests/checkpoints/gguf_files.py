"""GGUF files of the networks of folders_of_models.py, and changed copies of such files."""

import json

import folders_of_models as models
import gguf
import numpy as np

from lm_keras.checkpoints import exchange
from lm_keras.checkpoints.gguf import writing

TEMPLATE = "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"
LLAMA3 = {
    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192, "rope_theta": 500_000.0,
}  # fmt: skip


def written(kind, path, gguf_type="f32", config=None):
    """Write a model as a folder, and that as a file; return what was read of the folder."""
    folder = models.write(path / "folder", kind, config=config)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    imported = exchange.read(folder)
    writing.write(
        path / "m.gguf", gguf_type, imported.build(), imported.config, imported.tokenizer, imported.files
    )
    return imported


def rewritten(source, target, tensors=None, fields=None, dropped=()):
    """Copy a file with other tensors (name: array, or bytes and a type) and other settings."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, (fields or {}).pop("general.architecture", None)
        or reader.fields["general.architecture"].contents())  # fmt: skip
    for name, field in reader.fields.items():
        if name.startswith(("GGUF.", "general.architecture")) or name in dropped or name in (fields or {}):
            continue
        sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type)
    for name, value in (fields or {}).items():
        kinds = {bool: "BOOL", int: "UINT32", float: "FLOAT32", str: "STRING", list: "ARRAY"}
        writer.add_key_value(name, value, gguf.GGUFValueType[kinds[type(value)]])
    there = {t.name: (t.data, t.tensor_type) for t in reader.tensors if t.name not in dropped}
    for name, (data, kind) in (there | (tensors or {})).items():
        writer.add_tensor(name, np.ascontiguousarray(data), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
