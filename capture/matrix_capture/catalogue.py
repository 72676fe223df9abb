"""Every artifact of the pipeline, in pipeline order, with its parents and its meaning.

The order of this table is the order of the matrix's columns. An artifact differs *because of* its
parents when one of them differs too; that is how compare finds where a divergence starts.
"""

from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Literal, get_args

Kind = Literal["intermediate", "final", "probe"]
Keep = Literal["always", "digest only"]
Device = Literal["cpu", "cuda"]
Depth = Literal["default", "sublayers"]
DEPTHS: tuple[Depth, ...] = get_args(Depth)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One named tensor, or list of integers, of the pipeline.

    `source` is where in colbert-ai it arises. `order` says which reordering leaves its meaning
    intact: `none`, `elements`, `rows`, `per_key:<artifact>` (elements that share a key may swap) or
    `per_list:<artifact>` (elements within lists of those lengths may swap). `keep` says whether the
    value itself is stored beside the digest, `devices` on which it arises, `depth` how closely one
    must look to see it. `follows` names what comes in from the encoder layer before. `axes` says
    what each axis counts: its first word is the name of one; without a name there is just one.
    """

    kind: Kind
    stage: str
    name: str
    parents: tuple[str, ...]
    meaning: str
    source: str
    _: KW_ONLY
    order: str = "none"
    keep: Keep = "always"
    devices: tuple[Device, ...] = ("cpu", "cuda")
    depth: Depth = "default"
    follows: str | None = None
    axes: tuple[str, ...] = ()

    @property
    def order_key(self) -> str | None:
        """The artifact that the order rule refers to, if any."""
        return self.order.partition(":")[2] or None


# A batch is what the encoder takes at once, a pass what is encoded for the sample or for a chunk.
_BATCH = ("passage of the batch", "token", "dimension")
_PASS = ("embedding of the pass", "dimension")
_CHUNK = ("embedding of the chunk", "dimension")
_CENTROIDS = ("centroid", "dimension")
_MATRIX = ("row", "column")

_probe = partial(Artifact, "probe", "probe", source="matrix_capture.probes", axes=_MATRIX)
_made = partial(Artifact, "intermediate")
_file = partial(Artifact, "final")
_module = partial(_made, "encode", keep="digest only", axes=_BATCH)
_sublayer = partial(_module, depth="sublayers")

_INDEXER = "CollectionIndexer"
_CODEC = "ResidualCodec"

CATALOGUE: tuple[Artifact, ...] = (
    # Probes: a few fixed lines of torch. Between captures of one torch build they reveal a host
    # that drifted; between builds they show a changed operation without ColBERT around it.
    _probe("probe_matmul", (), "product of two seeded 512 by 384 float32 matrices"),
    _probe("probe_softmax", (), "softmax over the rows of a seeded 1024 by 96 float32 matrix"),
    _probe("probe_normalize_input", (), "1024 seeded vectors of 96, uniform in -0.4 to 0.4"),
    _probe("probe_normalize_input_half", ("probe_normalize_input",), "the same in float16"),
    _probe("probe_normalize", ("probe_normalize_input",), "those vectors scaled to unit length"),
    _probe("probe_normalize_half", ("probe_normalize",), "the unit vectors in float16"),
    _probe(
        "probe_sort_input",
        (),
        "1,146,937 seeded integers below 16,383, the size of the codes in the published study",
        keep="digest only",
        axes=("place",),
    ),
    _probe(
        "probe_sort_values",
        ("probe_sort_input",),
        "those integers sorted",
        keep="digest only",
        axes=("place in the sort",),
    ),
    _probe(
        "probe_sort_indices",
        ("probe_sort_input",),
        "where each sorted integer came from; the sort is not stable, so equal ones may swap",
        order="per_key:probe_sort_values",
        keep="digest only",
        axes=("place in the sort",),
    ),
    _probe(
        "file_layout",
        (),
        "byte at which the first tensor begins in a file of the index, as torch.save lays it out; "
        "colbert-ai's mapped loading takes it from byte 320 on",
        source="torch.save",
        axes=(),
    ),
    # Encoding: once for the sample that trains the codec, once more for every chunk of the index.
    _made(
        "encode",
        "weights",
        (),
        "a parameter of the checkpoint, as loaded",
        "Checkpoint.__init__",
        keep="digest only",
        axes=_MATRIX,
    ),
    _made(
        "encode",
        "sample_pids",
        (),
        "the passages drawn to train the codec",
        f"{_INDEXER}._sample_pids",
        axes=("passage of the sample",),
    ),
    _made(
        "encode",
        "num_passages",
        ("sample_pids",),
        "how many passages are encoded in one call",
        "CollectionEncoder.encode_passages",
    ),
    _made(
        "encode",
        "reverse_indices",
        ("sample_pids",),
        "undoes the sort by length; the sort is not stable, so passages of one length may swap",
        "DocTokenizer.tensorize",
        axes=("passage of the pass",),
    ),
    _made(
        "encode",
        "input_ids",
        ("reverse_indices",),
        "token ids of one batch, passages in order of length",
        "DocTokenizer.tensorize",
        axes=("passage of the batch", "token"),
    ),
    _made(
        "encode",
        "attention_mask",
        ("reverse_indices",),
        "which tokens of a batch are not padding",
        "DocTokenizer.tensorize",
        axes=("passage of the batch", "token"),
    ),
    _sublayer(
        "embeddings",
        ("weights", "input_ids", "attention_mask"),
        "what enters the first layer of the encoder",
        "LM.embeddings",
    ),
    _sublayer(
        "attention_self",
        ("embeddings",),
        "attention heads of a layer, side by side",
        "LM.encoder.layer.<n>.attention.self",
        follows="layers",
    ),
    _sublayer(
        "attention_output",
        ("attention_self", "embeddings"),
        "projected attention plus what entered the layer, normalised",
        "LM.encoder.layer.<n>.attention.output",
        follows="layers",
    ),
    _sublayer(
        "intermediate",
        ("attention_output",),
        "feed-forward part of a layer after its activation",
        "LM.encoder.layer.<n>.intermediate",
    ),
    _sublayer(
        "output",
        ("intermediate", "attention_output"),
        "feed-forward part projected back plus its own input, normalised",
        "LM.encoder.layer.<n>.output",
    ),
    _module(
        "layers",
        ("weights", "input_ids", "attention_mask", "embeddings", "output"),
        "output of each layer of the encoder for one batch",
        "LM.encoder.layer.<n>",
        follows="layers",
    ),
    # Of the layers only digests are kept, which tell no distance; here are a few passages whole.
    _made(
        "encode",
        "layer_outputs",
        ("layers",),
        "the same for the first passages of the first batch, which say how far each layer moves",
        "LM.encoder.layer.<n>",
        axes=_BATCH,
    ),
    _module(
        "bert",
        ("layers",),
        "output of the encoder for one batch",
        "HF_ColBERT.LM",
    ),
    _module(
        "linear",
        ("bert", "weights"),
        "that output projected to the dimension of the index",
        "HF_ColBERT.linear",
    ),
    _made(
        "encode",
        "batch_masks",
        ("input_ids",),
        "which tokens of a batch are kept: neither padding nor punctuation",
        "Checkpoint.doc",
        axes=("passage of the batch", "token", ""),
    ),
    _module(
        "masked",
        ("linear", "batch_masks"),
        "the projection with padding and punctuation set to zero",
        "ColBERT.doc",
    ),
    _module(
        "normalized",
        ("masked",),
        "token embeddings scaled to unit length by torch.nn.functional.normalize",
        "ColBERT.doc",
    ),
    _module(
        "half",
        ("normalized",),
        "the unit embeddings in float16, as a GPU hands them on",
        "ColBERT.doc",
        devices=("cuda",),
    ),
    _made(
        "encode",
        "batches",
        ("normalized", "half"),
        "token embeddings of one encoded batch, as the pipeline takes them",
        "Checkpoint.doc",
        axes=_BATCH,
    ),
    _made(
        "encode",
        "D",
        ("batches", "batch_masks", "reverse_indices"),
        "kept token embeddings of all batches, passages back in their own order",
        "Checkpoint.docFromText",
        axes=_PASS,
    ),
    _made(
        "encode",
        "doclens",
        ("batch_masks", "reverse_indices"),
        "number of kept tokens per passage",
        "CollectionEncoder.encode_passages",
        axes=("passage of the pass",),
    ),
    _made(
        "encode",
        "local_sample_embs",
        ("D",),
        "token embeddings of the sampled passages",
        f"{_INDEXER}._sample_embeddings",
        axes=_PASS,
    ),
    # k-means: the shuffled sample becomes centroids.
    _made(
        "kmeans",
        "sample",
        ("local_sample_embs",),
        "95% of the shuffled sample, in float16: what k-means sees",
        f"{_INDEXER}._concatenate_and_split_sample",
        axes=("row of the sample", "dimension"),
    ),
    _made(
        "kmeans",
        "sample_heldout",
        ("local_sample_embs",),
        "the other 5%: what the residual buckets are fitted to",
        f"{_INDEXER}._concatenate_and_split_sample",
        axes=("row of the held-out sample", "dimension"),
    ),
    _made(
        "kmeans",
        "prenorm_centroids",
        ("sample",),
        "centroids as faiss returns them",
        "compute_faiss_kmeans",
        axes=_CENTROIDS,
    ),
    _made(
        "kmeans",
        "postnorm_centroids",
        ("prenorm_centroids",),
        "centroids scaled to unit length by torch.nn.functional.normalize",
        f"{_INDEXER}._train_kmeans",
        axes=_CENTROIDS,
    ),
    _made(
        "kmeans",
        "centroids",
        ("postnorm_centroids",),
        "centroids in the precision of the device",
        f"{_INDEXER}._train_kmeans",
        axes=_CENTROIDS,
    ),
    # Codec: residual statistics of the held-out embeddings.
    _made(
        "codec",
        "heldout_codes",
        ("sample_heldout", "centroids"),
        "nearest centroid of each held-out embedding",
        f"{_CODEC}.compress_into_codes",
        axes=("row of the held-out sample",),
    ),
    _made(
        "codec",
        "heldout_centroids",
        ("heldout_codes", "centroids"),
        "those centroids, one row per held-out embedding",
        f"{_CODEC}.lookup_centroids",
        axes=("row of the held-out sample", "dimension"),
    ),
    _made(
        "codec",
        "avg_residual",
        ("sample_heldout", "heldout_centroids"),
        "average distance between a held-out embedding and its centroid",
        f"{_INDEXER}._compute_avg_residual",
    ),
    _made(
        "codec",
        "bucket_cutoffs",
        ("sample_heldout", "heldout_centroids"),
        "borders between the buckets of a residual",
        f"{_INDEXER}._compute_avg_residual",
        axes=("cutoff",),
    ),
    _made(
        "codec",
        "bucket_weights",
        ("sample_heldout", "heldout_centroids"),
        "value that stands for each bucket",
        f"{_INDEXER}._compute_avg_residual",
        axes=("bucket",),
    ),
    # The codec as the index holds it; what follows is computed from these files.
    _file(
        "codec",
        "index_centroids",
        ("centroids",),
        "centroids, float16",
        "centroids.pt",
        axes=_CENTROIDS,
    ),
    _file(
        "codec",
        "index_avg_residual",
        ("avg_residual",),
        "average residual",
        "avg_residual.pt",
    ),
    _file(
        "codec",
        "index_bucket_cutoffs",
        ("bucket_cutoffs",),
        "borders between residual buckets",
        "buckets.pt",
        axes=("cutoff",),
    ),
    _file(
        "codec",
        "index_bucket_weights",
        ("bucket_weights",),
        "values of the residual buckets",
        "buckets.pt",
        axes=("bucket",),
    ),
    # Compression, chunk by chunk.
    _made(
        "index",
        "embs",
        ("D",),
        "token embeddings of a chunk, float16",
        f"{_CODEC}.compress",
        axes=_CHUNK,
    ),
    _made(
        "index",
        "codes",
        ("embs", "index_centroids"),
        "nearest centroid of each embedding",
        f"{_CODEC}.compress_into_codes",
        axes=("embedding of the chunk",),
    ),
    _made(
        "index",
        "centroids_of_codes",
        ("codes", "index_centroids"),
        "that centroid, one row per embedding",
        f"{_CODEC}.lookup_centroids",
        axes=_CHUNK,
    ),
    _made(
        "index",
        "raw_residuals",
        ("embs", "centroids_of_codes"),
        "embedding minus centroid",
        f"{_CODEC}.binarize",
        axes=_CHUNK,
    ),
    _made(
        "index",
        "residuals",
        ("raw_residuals", "index_bucket_cutoffs"),
        "bucket numbers of the residuals, packed into bytes",
        f"{_CODEC}.compress",
        axes=("embedding of the chunk", "byte"),
    ),
    _file(
        "index",
        "index_codes",
        ("codes",),
        "centroid of each embedding",
        "<chunk>.codes.pt",
        axes=("embedding of the chunk",),
    ),
    _file(
        "index",
        "index_residuals",
        ("residuals",),
        "packed residual of each embedding",
        "<chunk>.residuals.pt",
        axes=("embedding of the chunk", "byte"),
    ),
    _file(
        "index",
        "index_doclens",
        ("doclens",),
        "number of embeddings per passage",
        "doclens.<chunk>.json",
        axes=("passage of the chunk",),
    ),
    _file(
        "index",
        "index_chunk_metadata",
        ("doclens",),
        "first passage, passages, embeddings and first embedding of a chunk",
        "<chunk>.metadata.json",
        axes=("number of the chunk",),
    ),
    # The inverted file: from centroids to passages.
    _made(
        "ivf",
        "codes_before_sort",
        ("codes",),
        "codes of all chunks in a row",
        f"{_INDEXER}._build_ivf",
        axes=("embedding",),
    ),
    _made(
        "ivf",
        "codes_sorted_values",
        ("codes_before_sort",),
        "the codes sorted",
        f"{_INDEXER}._build_ivf",
        axes=("place in the sort",),
    ),
    _made(
        "ivf",
        "codes_sorted_indices",
        ("codes_before_sort",),
        "embedding of each sorted code; the sort is not stable, so equal codes may swap",
        f"{_INDEXER}._build_ivf",
        order="per_key:codes_sorted_values",
        axes=("place in the sort",),
    ),
    _made(
        "ivf",
        "ivf_lengths",
        ("codes_sorted_values", "codes_sorted_indices", "doclens"),
        "number of passages per centroid",
        "optimize_ivf",
        axes=("centroid",),
    ),
    _made(
        "ivf",
        "ivf",
        ("codes_sorted_values", "codes_sorted_indices", "doclens"),
        "passages of each centroid, list after list, padded with zeros",
        "optimize_ivf",
        order="per_list:ivf_lengths",
        axes=("place in the lists",),
    ),
    _file(
        "ivf",
        "index_ivf_lengths",
        ("ivf_lengths",),
        "number of passages per centroid",
        "ivf.pid.pt",
        axes=("centroid",),
    ),
    _file(
        "ivf",
        "index_ivf",
        ("ivf",),
        "passages of each centroid",
        "ivf.pid.pt",
        order="per_list:index_ivf_lengths",
        axes=("place in the lists",),
    ),
    # Search: every query of the lane against the index that was just built.
    _made(
        "search",
        "query_embeddings",
        ("weights",),
        "token embeddings of all queries, padding included",
        "Searcher.encode",
        axes=("query", "token", "dimension"),
    ),
    _made(
        "search",
        "centroid_scores",
        ("query_embeddings", "index_centroids"),
        "similarity of each token of a query to every centroid",
        "CandidateGeneration.get_cells",
        keep="digest only",
        axes=("centroid", "token"),
    ),
    _made(
        "search",
        "candidate_lengths",
        ("centroid_scores", "index_ivf_lengths"),
        "number of candidates per query",
        "CandidateGeneration.generate_candidates",
        axes=("query",),
    ),
    _made(
        "search",
        "candidate_pids",
        ("centroid_scores", "index_ivf", "index_ivf_lengths"),
        "passages in the inverted lists nearest to each query, query after query",
        "CandidateGeneration.generate_candidates",
        order="per_list:candidate_lengths",
        axes=("candidate of the queries",),
    ),
    _made(
        "search",
        "pruned_scores",
        ("centroid_scores", "candidate_pids", "index_codes"),
        "scores of a query's candidates by their centroids, without those that match it badly",
        "IndexScorer.score_pids",
        keep="digest only",
        devices=("cuda",),
        axes=("candidate",),
    ),
    _made(
        "search",
        "approx_scores",
        ("centroid_scores", "candidate_pids", "pruned_scores", "index_codes"),
        "scores of the candidates that are left, by all of their centroids",
        "IndexScorer.score_pids",
        keep="digest only",
        devices=("cuda",),
        axes=("candidate",),
    ),
    _made(
        "search",
        "pruned_lengths",
        ("candidate_lengths", "approx_scores"),
        "number of candidates per query that are scored in full",
        "IndexScorer.score_pids",
        axes=("query",),
    ),
    _made(
        "search",
        "pruned_pids",
        ("centroid_scores", "candidate_pids", "approx_scores", "index_codes"),
        "candidates of each query that are scored in full, query after query",
        "IndexScorer.score_pids",
        order="per_list:pruned_lengths",
        axes=("candidate of the queries",),
    ),
    _made(
        "search",
        "decompressed_embeddings",
        (
            *("pruned_pids", "index_codes", "index_residuals"),
            *("index_centroids", "index_bucket_weights"),
        ),
        "token embeddings of a query's pruned candidates, restored from the index",
        "IndexScorer.score_pids",
        keep="digest only",
        axes=("embedding of the candidates", "dimension"),
    ),
    _file(
        "search",
        "ranked_lengths",
        ("pruned_lengths",),
        "number of results per query",
        "Searcher.dense_search",
        axes=("query",),
    ),
    _file(
        "search",
        "ranked_scores",
        ("query_embeddings", "pruned_pids", "decompressed_embeddings"),
        "scores of the best passages of each query, query after query",
        "Searcher.dense_search",
        axes=("result of the queries",),
    ),
    _file(
        "search",
        "ranked_pids",
        ("pruned_pids", "ranked_scores"),
        "the best passages of each query, query after query; those of one score may swap",
        "Searcher.dense_search",
        order="per_key:ranked_scores",
        axes=("result of the queries",),
    ),
    # Training: a few steps of fine-tuning. What a step makes depends on the steps before as well,
    # which no parent here can say: go by the first occurrence that differs.
    _made(
        "train",
        "train_scores",
        ("weights",),
        "scores of the relevant and the other passage of each query of a step",
        "ColBERT.forward",
        axes=("passage of the step",),
    ),
    _made(
        "train",
        "train_loss",
        ("train_scores",),
        "loss of a step",
        "MixedPrecisionManager.backward",
    ),
    _made(
        "train",
        "gradients",
        ("weights", "train_loss"),
        "gradient of the projection and of two matrices of the encoder, as the backward pass "
        "leaves it",
        "MixedPrecisionManager.step",
        keep="digest only",
        axes=_MATRIX,
    ),
    _made(
        "train",
        "gradient_norm",
        ("weights", "train_loss", "gradients"),
        "length of all gradients of a step together, before they are clipped",
        "torch.nn.utils.clip_grad_norm_",
    ),
    _file(
        "train",
        "trained_weights",
        ("weights", "gradients", "gradient_norm"),
        "parameters of the embeddings, of a layer or of the projection after the last step",
        "BaseColBERT.save",
        keep="digest only",
        axes=_MATRIX,
    ),
    _file(
        "train",
        "trained_projection",
        ("weights", "gradients", "gradient_norm"),
        "weights of the projection after the last step",
        "BaseColBERT.save",
        axes=_MATRIX,
    ),
)

SCOPES = ("probe", "setup", "sample", "heldout", "chunk", "index", "disk", "query", "step")
"""The passes of a run in order; `chunk` carries a number, as in `chunk.0`.

The occurrences within `query` are the queries, those within `step` the steps of training.
"""


def expected(device: Device, depth: Depth) -> tuple[Artifact, ...]:
    """The artifacts that a whole run on a device shows at a depth."""
    deeper = DEPTHS[DEPTHS.index(depth) + 1 :]
    return tuple(a for a in CATALOGUE if device in a.devices and a.depth not in deeper)


BY_NAME: dict[str, Artifact] = {artifact.name: artifact for artifact in CATALOGUE}
POSITION: dict[str, int] = {artifact.name: place for place, artifact in enumerate(CATALOGUE)}
