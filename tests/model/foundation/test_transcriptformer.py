"""TranscriptFormer: how cells are written, its folders of published weights, and what it answers."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from corpuscle.core.errors import ModelError
from corpuscle.core.fingerprint import hash_file
from corpuscle.model.architectures.transcriptformer import TranscriptFormer
from corpuscle.model.architectures.transcriptformer.network import Network
from corpuscle.model.architectures.transcriptformer.sizes import SIZES, Size
from corpuscle.model.data.batches import CountTable
from corpuscle.model.families.inspection import inspected
from corpuscle.model.nn.initial import usual_weights
from corpuscle.model.tokenisers.gene_sequence import GeneSequence
from corpuscle.model.training.fine_tuning import FineTuning, fine_tune

SMALL = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 24, "gene_hidden": 8, "genes": 25}
GENES = [f"ENSG{at:011}" for at in range(30)]
# Not in the order of the vocabulary, which lacks the first two.
IN_FOLDER = [*GENES[:1:-1], "ENSG99999999999"]
SPECIAL = ["unknown", "[PAD]", "[START]", "[END]", "[RD]", "[CELL]", "[MASK]"]


def sequence_of(token_G, **settings):
    given = {"start": 2, "end": 3, "assays": ["unknown"], "longest": 100}
    return GeneSequence(np.asarray(token_G), 50, **given | settings)


def batch_of(counts):
    from scipy.sparse import csr_matrix

    return CountTable(csr_matrix(np.asarray(counts, np.float32))).batch(slice(None))


def cells_of(tokens):
    return [list(zip(part.ids.tolist(), part.values.tolist(), strict=True)) for part in tokens.parts(1)]


def test_a_cell_is_its_genes_in_the_vocabularys_order_with_clipped_counts():
    # The example of the published tokeniser: counts 0 3 0 120 1 7.
    tokens = sequence_of([11, 12, 13, 14, 15, 16]).tokens(batch_of([[0, 3, 0, 120, 1, 7], [0] * 6]))
    assert cells_of(tokens) == [[(2, 1), (12, 3), (14, 30), (15, 1), (16, 7)], [(2, 1)]]
    backwards = sequence_of([16, 15, 14, 13, 12, -1], longest=3).tokens(batch_of([[9, 3, 0, 120, 1, 7]]))
    assert cells_of(backwards) == [[(2, 1), (12, 1), (13, 30), (15, 3)]]


def test_the_order_of_a_training_is_drawn_by_seed_and_cell_alone(draw_counts):
    counts = draw_counts(6, 20)
    tokeniser = sequence_of(np.arange(20) + 10, longest=8)
    together = cells_of(tokeniser.tokens(batch_of(counts), 5))
    alone = [cells_of(tokeniser.tokens(batch_of(counts[[at]]), 5))[0] for at in (3, 1)]
    assert alone == [together[3], together[1]]
    other = cells_of(tokeniser.tokens(batch_of(counts), 6))
    assert all(len(cell) == 9 for cell in together if len(cell) > 8)
    assert other != together
    # Which genes a long cell is left with is drawn, too.
    assert {token for token, _ in other[0]} != {token for token, _ in together[0]}


def test_an_assay_that_is_known_comes_first(make):
    tokeniser = sequence_of(np.arange(30) + 10, assays=["unknown", "10x 3' v3", "Smart-seq2"])
    cells = make(3, obs={"assay": ["Smart-seq2", "new", "10x 3' v3"]})
    batch = CountTable.of(cells, tokeniser.covariates(cells)).batch(slice(None))
    assert [cell[:2] for cell in cells_of(tokeniser.tokens(batch))] == [
        [(52, 1), (2, 1)],
        [(2, 1), (10, cells.counts()[1, 0])],
        [(51, 1), (2, 1)],
    ]
    assert tokeniser.notes(cells) == ["1 of 3 cells are read without their assay: it does not know new"]
    assert tokeniser.covariates(make(2, name="other")) is None


def published_tensors(network):
    """Name a network's weights as the published files do."""
    heads = {"into": "gene_embeddings.mlp", "count_head": "mu.mlp", "gene_head": "gene_id_head"}
    parts = {"up": "layers.0", "norm": "layers.2", "down": "layers.4"}
    of_layer = {"query": "self_attn.linears.0", "key": "self_attn.linears.1", "value": "self_attn.linears.2",
                "out": "self_attn.linears.3", "up": "linear1", "down": "linear2", "norm_attention": "norm1",
                "norm": "norm2"}  # fmt: skip
    whole = {"vectors": "gene_embeddings.embedding.weight", "assay.weight": "aux_embeddings.assay.weight",
             "gene_level.weight": "mu.gene_embedding.weight"}  # fmt: skip
    found = {}
    for name, tensor in network.state_dict().items():
        match name.split("."):
            case [("into" | "count_head" | "gene_head") as head, part, kind]:
                theirs = f"{heads[head]}.{parts[part]}.{kind}"
            case ["layers", layer, part, kind]:
                theirs = f"transformer_encoder.encoder_layers.{layer}.{of_layer[part]}.{kind}"
            case _:
                theirs = whole[name]
        found[theirs] = tensor.clone()
    return found


def write_vectors(path, genes, n_numbers=12, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(len(genes), n_numbers)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["keys"] = np.array(genes, "S")
        for gene, vector in zip(genes, vectors, strict=True):
            file[f"arrays/{gene}"] = vector
    return vectors


@pytest.fixture
def folder(tmp_path):
    """A folder as the published ones, of a small network with random weights."""
    made = tmp_path / "tf_any"
    (made / "vocabs").mkdir(parents=True)
    vectors = write_vectors(made / "vocabs" / "homo_sapiens_gene.h5", IN_FOLDER)
    size = Size(**SMALL, vector=12)
    network = Network(size, 7 + len(IN_FOLDER), 2, given_vectors=True, scaled_by=None)
    usual_weights(network, torch.Generator().manual_seed(0))
    network.vectors[:7] = torch.rand(7, 12, generator=torch.Generator().manual_seed(1))
    network.vectors[7:] = torch.from_numpy(vectors)
    torch.save(published_tensors(network), made / "model_weights.pt")
    model = {"embed_dim": 16, "model_dim": 24, "num_layers": 2, "num_heads": 2, "seq_len": 25, "softcap": 10,
             "gene_head_hidden_dim": 8, "mu_link_fn": "softmax", "attn_bias": False, "_target_": "a.b"}  # fmt: skip
    data = {"esm2_mappings": ["homo_sapiens_gene.h5"], "special_tokens": SPECIAL, "aux_cols": "assay"}
    config = {"model": {"model_config": model, "data_config": data, "loss_config": {}}}
    (made / "config.json").write_text(json.dumps(config))
    (made / "vocabs" / "assay_vocab.json").write_text(json.dumps({"unknown": 0, "10x 3' v3": 1}))
    return made


@pytest.fixture
def cells(make):
    return make(12, genes=GENES, obs={"assay": ["10x 3' v3"] * 6 + [None] * 6})


def change(path, edit):
    found = json.loads(path.read_text())
    edit(found)
    path.write_text(json.dumps(found))


def test_a_published_folder_answers_as_its_weights_do(folder, cells, tmp_path):
    title = "TranscriptFormer, 2 layers of width 16, 29 genes of homo_sapiens"
    assert TranscriptFormer.official(folder).title == title
    fitted = TranscriptFormer(checkpoint=str(folder)).fit(cells, 0)
    found = fitted.embed(cells)
    tensors = torch.load(folder / "model_weights.pt", weights_only=True)
    assert {name: tuple(tensor.shape) for name, tensor in published_tensors(fitted.network).items()} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items()
    }
    # A gene's token is by its id: START, then the genes of the folder from its first.
    batch = CountTable.of(cells, fitted.network.tokeniser.covariates(cells)).batch(slice(None))
    tokens = fitted.network.tokeniser.tokens(batch)
    assert tokens.ids[:2].tolist() == [7 + 29 + 1, 2]
    shares = fitted.tokens(cells)
    assert (shares["known"] <= 28).all()
    seen = cells.counts().sum(0).A1 > 0
    assert fitted.facts["known"]["genes"] == pytest.approx(seen[2:].sum() / seen.sum())
    assert set(fitted.facts["files"]) == {
        "config.json", "model_weights.pt", "assay_vocab.json", "homo_sapiens_gene.h5"
    }  # fmt: skip
    assert fitted.facts["tensors"] == f"{len(tensors)} tensors are loaded"
    assert inspected(folder).problem == ""
    # The label of the assay counts; without it, a cell is another.
    other = np.asarray(fitted.embed(cells.take(np.arange(6))))
    np.testing.assert_allclose(other, found[:6], atol=1e-5)
    assert "6 of 12 cells are read without their assay" in fitted.note(cells)
    (tmp_path / "kept").mkdir()
    fitted.save(tmp_path / "kept")
    np.testing.assert_array_equal(
        TranscriptFormer(checkpoint="gone").load_fitted(tmp_path / "kept").embed(cells), found
    )


def test_by_length_an_embedding_is_the_mean_of_its_tokens(folder, cells):
    upstream = TranscriptFormer(checkpoint=str(folder)).fit(cells, 0).embed(cells)
    mean = TranscriptFormer(checkpoint=str(folder), scale="length").fit(cells, 0).embed(cells)
    known = (cells.counts()[:, 2:] > 0).sum(1).A1
    # Of a cell with as many genes as are read, the last is only predicted.
    n_read = np.minimum(known + 1, 25)
    np.testing.assert_allclose(mean * n_read[:, None] / 25, upstream, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layout", ["prefix", "under a name", "not zipped", "no names of files"])
def test_all_layouts_of_a_folder_are_the_same_model(folder, cells, layout):
    expected = TranscriptFormer(checkpoint=str(folder)).fit(cells, 0).embed(cells)
    path = folder / "model_weights.pt"
    tensors = torch.load(path, weights_only=True)
    match layout:
        case "prefix":
            torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, path)
        case "under a name":
            torch.save({"state_dict": tensors, "epoch": 3}, path)
        case "not zipped":
            torch.save(tensors, path, _use_new_zipfile_serialization=False)
        case "no names of files":
            change(folder / "config.json", lambda found: found["model"]["data_config"].pop("esm2_mappings"))
    np.testing.assert_array_equal(TranscriptFormer(checkpoint=str(folder)).fit(cells, 0).embed(cells), expected)


def broken(folder, what):
    path = folder / "model_weights.pt"
    tensors = torch.load(path, weights_only=True)
    config = folder / "config.json"
    match what:
        case "a tensor is missing":
            del tensors["transformer_encoder.encoder_layers.1.linear2.weight"]
        case "a tensor too many":
            tensors["decoder.weight"] = torch.zeros(2)
        case "another width":
            change(config, lambda found: found["model"]["model_config"].update(model_dim=32))
        case "another kind":
            change(config, lambda found: found["model"]["model_config"].update(softcap=30))
        case "a gene too many":
            write_vectors(folder / "vocabs" / "homo_sapiens_gene.h5", [*IN_FOLDER, "ENSG88888888888"])
        case "no START":
            change(config, lambda found: found["model"]["data_config"].update(special_tokens=[*SPECIAL[:2], *"xyzuv"]))
        case "no layers":
            change(config, lambda found: found["model"]["model_config"].update(num_layers="12"))
        case "heads that do not divide":
            change(config, lambda found: found["model"]["model_config"].update(num_heads=3))
        case "assays of another":
            (folder / "vocabs" / "assay_vocab.json").write_text(json.dumps({"unknown": 0}))
        case "no assays":
            (folder / "vocabs" / "assay_vocab.json").unlink()
        case "no vectors":
            (folder / "vocabs" / "homo_sapiens_gene.h5").write_text("x")
        case "another model":
            config.write_text(json.dumps({"model_type": "bert"}))
    torch.save(tensors, path)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("a tensor is missing", "layers.1.down.weight is missing"),
        ("a tensor too many", "decoder.weight is no tensor of this model"),
        ("another width", r"layers.0.up.weight should have shape \[32, 16\], it has \[24, 16\]"),
        ("another kind", "softcap = 30: published TranscriptFormers have"),
        ("a gene too many", "make 37 tokens, the weights have rows for 36"),
        ("no START", r"special_tokens should have \[END\] and \[START\]"),
        ("no layers", "num_layers should be a number from 1; '12'"),
        ("heads that do not divide", r"no network has this size: width \(16\) should be a multiple of heads \(3\)$"),
        ("assays of another", r"assay.weight should have shape \[1, 16\], it has \[2, 16\]"),
        ("no assays", "lacks vocabs/assay_vocab.json"),
        ("no vectors", "should be an HDF5 file with the genes in `keys`"),
        ("another model", "is no configuration of Geneformer"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_clear_error(folder, cells, what, message):
    broken(folder, what)
    with pytest.raises(ModelError, match=message):
        TranscriptFormer(checkpoint=str(folder)).fit(cells, 0)


@pytest.mark.parametrize("gone", ["assay_vocab.json", "homo_sapiens_gene.h5"])
def test_a_folder_that_lacks_a_file_is_looked_at_all_the_same(folder, gone):
    (folder / "vocabs" / gone).unlink()
    seen = inspected(folder)
    assert seen.problem == f"it lacks vocabs/{gone}"
    assert seen.accounting.loaded == 41
    assert TranscriptFormer(checkpoint=str(folder), budget={"steps": 1}).memory(30) > 0
    (folder / "model_weights.pt").unlink()
    assert "model_weights.pt" in inspected(folder).problem


def test_symbols_where_ids_are_needed_are_refused(folder, make):
    with pytest.raises(ModelError, match="the study names genes by symbols, the vocabulary by Ensembl ids"):
        TranscriptFormer(checkpoint=str(folder)).fit(make(12), 0)


def test_a_published_training_goes_on_and_leaves_the_given_vectors(folder, cells):
    before = TranscriptFormer(checkpoint=str(folder)).fit(cells, 0)
    model = TranscriptFormer(checkpoint=str(folder), budget={"steps": 3}, batch_size=4)
    after = model.fit(cells, 0)
    assert torch.equal(after.network.vectors, before.network.vectors)
    assert not np.array_equal(after.embed(cells), before.embed(cells))
    assert len(after.history)
    # Whoever trains also embeds, which of so small a network takes the more.
    assert model.memory(30) >= TranscriptFormer(checkpoint=str(folder)).memory(30) > 0


def test_cells_of_another_species_enter_by_their_proteins(folder, cells, make, tmp_path):
    model = TranscriptFormer(checkpoint=str(folder))
    expected = model.fit(cells, 0).embed(cells)
    mouse = [f"ENSMUSG{at:011}" for at in range(30)]
    with h5py.File(folder / "vocabs" / "homo_sapiens_gene.h5") as human, h5py.File(tmp_path / "mouse.h5", "w") as file:
        genes = [gene for gene in mouse if gene.replace("MUS", "") in human["arrays"]]
        # The same proteins in the same order as of the human genes, by other names.
        file["keys"] = np.array(genes[::-1], "S")
        for gene in genes:
            file[f"arrays/{gene}"] = human["arrays"][gene.replace("MUS", "")][:]
    ours = make(12, name="mouse", genes=mouse, obs={"assay": ["10x 3' v3"] * 6 + [None] * 6})
    with pytest.raises(ModelError, match=r"different organisms|Ensembl"):
        model.fit(ours, 0)
    other = TranscriptFormer(checkpoint=str(folder), gene_vectors=str(tmp_path / "mouse.h5")).fit(ours, 0)
    np.testing.assert_allclose(other.embed(ours), expected, atol=1e-5)


def test_from_scratch_genes_may_enter_by_given_vectors(cells, tmp_path):
    write_vectors(tmp_path / "human.h5", GENES[3:])
    model = TranscriptFormer(budget={"steps": 2}, size=SMALL, gene_vectors=str(tmp_path / "human.h5"))
    fitted = model.fit(cells, 0)
    assert fitted.network.vectors.shape == (7 + 27, 12)
    assert "vectors" not in dict(fitted.network.named_parameters())
    assert fitted.facts["config"]["gene_vectors"] == hash_file(tmp_path / "human.h5")
    identity = model.identity()
    write_vectors(tmp_path / "human.h5", GENES[3:], seed=1)
    assert model.identity() != identity


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match=r"width \(64\) should be a multiple of heads \(3\)"):
        TranscriptFormer(budget={"steps": 1}, size={"width": 64, "heads": 3})


def test_the_laws_of_a_cells_genes_and_counts_sum_to_one(cells):
    fitted = TranscriptFormer(budget={"steps": 0}, size=SMALL).fit(cells, 0)
    network = fitted.network
    count = torch.arange(1.0, 400.0)
    for mean in (0.01, 3.5, 150.0):
        law = (-network.count_losses(torch.full_like(count, mean), count, exact=True)).exp()
        assert float(law.sum()) == pytest.approx(1, abs=1e-3)
    found = fitted.negative_log_likelihood(cells)
    n_genes = (cells.counts() > 0).sum(1).A1
    assert found["n_genes"].tolist() == np.minimum(n_genes, 25).tolist()
    # What predicts a gene has seen those before it alone: the first counts' likelihood is not changed by the last.
    tokens = next(network.passes(CountTable.of(cells).batch(np.array([0]))))
    with torch.inference_mode():
        whole = network.sequences(tokens, None).hidden_TD
        tokens.values[-1] += 9
        np.testing.assert_allclose(network.sequences(tokens, None).hidden_TD[:-1], whole[:-1], atol=1e-6)


def test_expected_counts_are_shares_of_the_cells_own_genes(cells):
    fitted = TranscriptFormer(budget={"steps": 0}, size={**SMALL, "genes": 40}).fit(cells, 0)
    (_, found), *_ = fitted.expected_fractions(cells)
    np.testing.assert_array_equal(found > 0, cells.counts().toarray() > 0)


def test_it_learns_what_follows_what(make):
    counts = np.zeros((24, 30), np.int32)
    counts[:12, :8], counts[12:, 20:26] = 4, 9
    cells = make(counts)
    model = TranscriptFormer(budget={"steps": 60}, learning_rate=1e-2, batch_size=24, validation_share=0.0)
    fitted = model.fit(cells, 0)
    of = fitted.history[fitted.history["quantity"] == "gene_cross_entropy_train"]["value"].to_numpy()
    assert of[0] > 3.5
    # Knowing how common each token is, without what came before, leaves 2.69 nats.
    assert of[-1] < 2.4
    embedded = fitted.embed(cells)
    assert np.linalg.norm(embedded[0] - embedded[23]) > 10 * np.linalg.norm(embedded[0] - embedded[11])


def test_from_scratch_no_gene_is_expected_to_have_more_counts_for_its_name(cells):
    network = TranscriptFormer(budget={"steps": 0}).fit(cells, 0).network
    assert not network.gene_level.weight.any()


def test_fine_tuning_reads_assays_too(folder, cells):
    fitted = TranscriptFormer(checkpoint=str(folder)).fit(cells, 0)
    settings = FineTuning(weights="whole", budget={"steps": 1}, learning_rate=1e-30, validation_share=0.0)
    labels = np.array(["a", "b"] * 6)
    tuned = fine_tune(fitted, cells, labels, settings, 0)
    np.testing.assert_allclose(tuned._learner.embed(cells), fitted.embed(cells), atol=1e-5)


def test_published_sizes_have_the_published_numbers_of_weights():
    counts = {}
    for name, n_names in (("sapiens", 23829), ("metazoa", 247388)):
        size = SIZES[name]
        with torch.device("meta"):
            network = Network(size, n_names, 40, given_vectors=True, scaled_by=None)
        counts[name] = sum(weight.numel() for weight in network.parameters()) / 1e6, network.vectors.numel() / 1e6
    # Published: 368 and 444 million that are trained.
    assert counts["sapiens"] == pytest.approx((368.86, 61.0), abs=0.02)
    assert counts["metazoa"] == pytest.approx((444.02, 633.31), abs=0.02)


def test_a_corpus_of_two_assays_teaches_their_tokens(make):
    labels = pd.Categorical(["a", "b"] * 12)
    fitted = TranscriptFormer(budget={"steps": 1}, size=SMALL, batch_size=8).fit(make(24, obs={"assay": labels}), 0)
    assert list(fitted.network.tokeniser.assays) == ["unknown", "a", "b"]
    assert fitted.network.assay.weight.shape == (3, 16)


def test_assays_and_an_adversarys_batches_do_not_mix(make):
    labels = {"assay": ["a", "b", None] * 8, "batch": ["x", "y"] * 12}
    model = TranscriptFormer(budget={"steps": 1}, size=SMALL, batch_size=8, adversary={"label": "batch"})
    fitted = model.fit(make(24, obs=labels), 0)
    assert list(fitted.network.tokeniser.assays) == ["unknown", "a", "b"]
    assert "batch_share_train" in set(fitted.history["quantity"])
