"""What people write by hand: sentence-transformers, FAISS and a transformers reader."""

import json
from pathlib import Path

import faiss
import numpy as np
import torch
from protocol import ENCODER, READ, READER, main
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

MAX_ANSWER_TOKENS = 30


def encoder():
    # The weights are stored as float16, in which a CPU is slow.
    return SentenceTransformer(
        ENCODER, device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    )


def index(folder, passages):
    vectors = np.empty((len(passages), 384), dtype=np.float32)
    to_embed = [row for row, passage in enumerate(passages) if "vector" not in passage]
    texts = [passages[row]["text"] for row in to_embed]
    vectors[to_embed] = encoder().encode(texts, normalize_embeddings=True)
    for row, passage in enumerate(passages):
        if "vector" in passage:
            vectors[row] = passage["vector"]
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    Path(folder).mkdir(parents=True)
    faiss.write_index(flat, f"{folder}/passages.faiss")
    Path(folder, "passages.json").write_text(json.dumps([p["text"] for p in passages]))


class Script:
    def __init__(self, folder):
        self.encoder = encoder()
        self.index = faiss.read_index(f"{folder}/passages.faiss")
        self.texts = json.loads(Path(folder, "passages.json").read_text())
        self.tokenizer = AutoTokenizer.from_pretrained(READER, local_files_only=True)
        self.reader = AutoModelForQuestionAnswering.from_pretrained(
            READER, local_files_only=True, dtype=torch.float32
        ).eval()

    def embed(self, texts):
        return self.encoder.encode(texts, batch_size=32, normalize_embeddings=True)

    @torch.inference_mode()
    def ask(self, question):
        query = self.encoder.encode([question], normalize_embeddings=True)
        _, rows = self.index.search(query, READ)
        texts = [self.texts[row] for row in rows[0]]
        inputs = self.tokenizer(
            [question] * len(texts),
            texts,
            padding=True,
            truncation="only_second",
            max_length=384,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        offsets = inputs.pop("offset_mapping")
        outputs = self.reader(**inputs)
        # The best span of each passage, by how far it beats "no answer here".
        best, answer = -np.inf, ""
        for row, text in enumerate(texts):
            inside = torch.tensor([s == 1 for s in inputs.sequence_ids(row)])
            start = outputs.start_logits[row].masked_fill(~inside, -torch.inf)
            end = outputs.end_logits[row].masked_fill(~inside, -torch.inf)
            scores = (start[:, None] + end[None, :]).triu().tril(MAX_ANSWER_TOKENS - 1)
            scores = scores.masked_fill(
                ~torch.ones_like(scores, dtype=torch.bool).triu().tril(MAX_ANSWER_TOKENS - 1),
                -torch.inf,
            )
            first, last = divmod(int(scores.argmax()), scores.shape[1])
            null = outputs.start_logits[row, 0] + outputs.end_logits[row, 0]
            margin = float(scores[first, last] - null)
            if margin > best:
                best = margin
                answer = text[offsets[row, first, 0] : offsets[row, last, 1]]
        return answer


if __name__ == "__main__":
    main(index, Script)
