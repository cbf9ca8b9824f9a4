"""Haystack 3: embedder, FAISS store and extractive reader in its own pipeline."""

from pathlib import Path

import torch
from haystack import Document, Pipeline
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)
from haystack_integrations.components.readers.transformers import TransformersExtractiveReader
from haystack_integrations.components.retrievers.faiss import FAISSEmbeddingRetriever
from haystack_integrations.document_stores.faiss import FAISSDocumentStore
from protocol import ENCODER, READ, READER, main

# The weights are stored as float16, in which a CPU is slow.
OPTIONS = {
    "model": ENCODER,
    "progress_bar": False,
    "normalize_embeddings": True,
    "local_files_only": True,
    "model_kwargs": {"dtype": torch.float32},
}


def document_embedder():
    embedder = SentenceTransformersDocumentEmbedder(batch_size=32, **OPTIONS)
    embedder.warm_up()
    return embedder


def index(folder, passages):
    documents = [
        Document(id=str(p["id"]), content=p["text"], embedding=p.get("vector")) for p in passages
    ]
    ready = [document for document in documents if document.embedding is not None]
    others = [document for document in documents if document.embedding is None]
    store = FAISSDocumentStore(embedding_dim=384)
    store.write_documents(document_embedder().run(others)["documents"] + ready)
    Path(folder).mkdir(parents=True)
    store.save(f"{folder}/store")


class Haystack:
    def __init__(self, folder):
        store = FAISSDocumentStore(index_path=f"{folder}/store", embedding_dim=384)
        self.pipeline = Pipeline()
        self.pipeline.add_component("embedder", SentenceTransformersTextEmbedder(**OPTIONS))
        self.pipeline.add_component(
            "retriever", FAISSEmbeddingRetriever(document_store=store, top_k=READ)
        )
        self.pipeline.add_component(
            "reader",
            TransformersExtractiveReader(
                READER, top_k=5, no_answer=False, model_kwargs={"dtype": torch.float32}
            ),
        )
        self.pipeline.connect("embedder.embedding", "retriever.query_embedding")
        self.pipeline.connect("retriever.documents", "reader.documents")
        self.pipeline.warm_up()
        self.embedder = None

    def embed(self, texts):
        self.embedder = self.embedder or document_embedder()
        return self.embedder.run([Document(content=text) for text in texts])["documents"]

    def ask(self, question):
        found = self.pipeline.run({"embedder": {"text": question}, "reader": {"query": question}})
        answers = found["reader"]["answers"]
        return answers[0].data or "" if answers else ""


if __name__ == "__main__":
    main(index, Haystack)
