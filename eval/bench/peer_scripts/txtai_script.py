"""txtai: its hybrid embeddings database and its Questions pipeline."""

import numpy as np
import torch
from protocol import ENCODER, READ, READER, main
from txtai import Embeddings
from txtai.pipeline import Questions

# The weights are stored as float16, in which a CPU is slow.
VECTORS = {"model_kwargs": {"dtype": "float32"}, "local_files_only": True}


def index(folder, passages):
    embeddings = Embeddings(
        path=ENCODER,
        method="sentence-transformers",
        vectors=VECTORS,
        content=True,
        hybrid=True,
        gpu=False,
    )
    ready = {p["text"]: p["vector"] for p in passages if "vector" in p}
    encode = embeddings.model.encode

    def encode_others(data, category=None):
        """Vectors that are ready are taken as they are."""
        others = [text for text in data if text not in ready]
        made = dict(zip(others, encode(others, category), strict=True)) if others else {}
        return np.array([ready.get(text, made.get(text)) for text in data], dtype=np.float32)

    embeddings.model.encode = encode_others
    embeddings.index((str(p["id"]), p["text"], None) for p in passages)
    embeddings.save(folder)


class Reader(Questions):
    """The pipeline as it is, but for a model that was taught to say that a text has no answer.

    It then points at the first token, on which `Questions` fails.
    """

    def answer(self, context, tokens, start, end):
        sequences = tokens.sequence_ids(0)
        if sequences[start] != 1 or sequences[end] != 1 or end < start:
            return None
        return super().answer(context, tokens, start, end)


class Txtai:
    def __init__(self, folder):
        self.embeddings = Embeddings()
        self.embeddings.load(folder)
        self.reader = Reader(READER, gpu=False, dtype=torch.float32, local_files_only=True)

    def embed(self, texts):
        return self.embeddings.batchtransform(texts, category="data")

    def ask(self, question):
        texts = [found["text"] for found in self.embeddings.search(question, READ)]
        answers = self.reader([question] * len(texts), texts)
        # It gives no scores to compare passages by: the best passage that answers is taken.
        return next((answer for answer in answers if answer), "")


if __name__ == "__main__":
    main(index, Txtai)
