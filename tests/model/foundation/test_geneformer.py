"""Geneformer from published folders: every layout is read, every tensor accounted for, nothing wrong is accepted."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from corpuscle.cli import app, main
from corpuscle.core.errors import ModelError
from corpuscle.model.architectures.geneformer import Geneformer
from corpuscle.model.families.inspection import inspected
from corpuscle.model.tokenisers.rank_value import gene_medians
from corpuscle.source.genes import GeneSpace


@pytest.fixture
def cells(make_corpus, draw_counts, genes):
    corpus = make_corpus(draw_counts(25, 30))
    return replace(corpus, space=GeneSpace(tuple(genes), tuple(genes), corpus.space.columns))


def bare(tensors):
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


def old_norms(tensors):
    return {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
            for name, tensor in tensors.items()}  # fmt: skip


def untied(tensors):
    more = {"cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"].clone(),
            "cls.predictions.decoder.bias": tensors["cls.predictions.bias"].clone(),
            "bert.embeddings.position_ids": torch.arange(12)[None]}  # fmt: skip
    return tensors | more


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("how", [{"form": "safetensors"}, {"form": "bin", "pickled": True}])
@pytest.mark.parametrize("change", [dict, bare, old_norms, untied])
def test_a_published_folder_answers_as_its_network(publish, cells, genes, marked, how, change):  # noqa: PLR0917
    folder, network = publish(genes, marked=marked, change=change, **how)
    fitted = Geneformer(checkpoint=str(folder)).fit(cells, seed=0)
    assert fitted.history.empty
    assert fitted.facts["known"] == {"genes": 1.0, "counts": 1.0}
    assert "tensors are loaded" in fitted.facts["tensors"]
    assert len(fitted.facts["files"]) == 3
    if not marked:
        network.tokeniser = fitted.network.tokeniser
        network.eval()
        from corpuscle.model.data.batches import stream

        expected = np.concatenate([network.embed(batch).numpy() for _, batch in stream(cells, 100)])
        np.testing.assert_allclose(fitted.embed(cells), expected, atol=1e-6)


def test_the_name_of_the_folder_decides_nothing(publish, cells, genes, tmp_path):
    folder, _ = publish(genes)
    renamed = folder.rename(folder.parent / "Geneformer-V2-316M")
    assert Geneformer.official(renamed).title.startswith("Geneformer V1")


def test_weights_without_their_head_answer_and_say_so(publish, cells, genes):
    def classifier(tensors):
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("cls.")}
        return kept | {"classifier.weight": torch.zeros(3, 16), "bert.pooler.dense.bias": torch.zeros(16)}

    folder, _ = publish(genes, change=classifier)
    seen = inspected(folder)
    assert set(seen.accounting.left_out) == {"classifier.weight", "bert.pooler.dense.bias"}
    assert {name.split(".")[0] for name in seen.accounting.drawn} == {"head", "head_norm", "head_bias"}
    found = Geneformer(checkpoint=str(folder)).fit(cells, seed=0).embed(cells)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {n: x for n, x in t.items() if "layer.1.attention.self.key.weight" not in n}, "2 of its 3 parts"),
        (lambda t: t | {"surplus": torch.zeros(2)}, "surplus is no tensor of this model"),
        (lambda t: {n: x for n, x in t.items() if n != "bert.embeddings.LayerNorm.bias"}, "norm.bias is missing"),
        (lambda t: t | {"bert.encoder.layer.0.intermediate.dense.bias": torch.zeros(7)}, r"should have shape \[32\]"),
        (lambda t: t | {"cls.predictions.decoder.weight": torch.ones(32, 16)}, "differs from another"),
    ],
)
def test_every_tensor_is_accounted_for(publish, cells, genes, change, message):
    folder, _ = publish(genes, change=change)
    with pytest.raises(ModelError, match=message):
        Geneformer(checkpoint=str(folder)).fit(cells, seed=0)
    with pytest.raises(ModelError, match=message):
        Geneformer(checkpoint=str(folder)).check(cells.space)


class _Runs:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("what", ["weights", "dictionary"])
def test_no_code_in_a_file_is_executed(publish, cells, genes, what, capsys):
    folder, _ = publish(genes, form="bin", pickled=True)
    if what == "weights":
        torch.save({"a": _Runs()}, folder / "pytorch_model.bin")
    else:
        path = folder.parent / "geneformer" / "token_dictionary_gc30M.pkl"
        path.write_bytes(pickle.dumps({"a": _Runs()}))
    with pytest.raises(ModelError, match=r"print|executed"):
        Geneformer(checkpoint=str(folder)).fit(cells, seed=0)
    assert "executed" not in capsys.readouterr().out


def test_a_vocabulary_of_another_length_is_refused(publish, cells, genes):
    folder, _ = publish(genes)
    path = folder.parent / "geneformer" / "token_dictionary_gc30M.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps({name: token for name, token in table.items() if token != 9}))
    with pytest.raises(ModelError, match="31 tokens, the weights have rows for 32"):
        Geneformer(checkpoint=str(folder)).fit(cells, seed=0)


def test_a_median_that_is_none_is_refused_by_name(publish, cells, genes):
    folder, _ = publish(genes)
    path = folder.parent / "geneformer" / "gene_median_dictionary_gc30M.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {genes[3]: -1.0}))
    with pytest.raises(ModelError, match=f"the median of {genes[3]} should be above 0; it is -1"):
        Geneformer(checkpoint=str(folder)).check(cells.space)


def test_genes_that_the_model_does_not_know_are_refused_with_the_cause(publish, make_corpus, draw_counts, genes):
    folder, _ = publish(genes)
    corpus = make_corpus(draw_counts(25, 30))
    with pytest.raises(ModelError, match=r"0% of the genes.*by symbols, the vocabulary by Ensembl ids"):
        Geneformer(checkpoint=str(folder)).fit(corpus, seed=0)
    mouse = tuple(gene.replace("ENSG", "ENSMUSG") for gene in genes)
    other = replace(corpus, space=GeneSpace(mouse, mouse, corpus.space.columns))
    with pytest.raises(ModelError, match=r"different organisms \(ENSMUSG and ENSG\)"):
        Geneformer(checkpoint=str(folder)).check(other.space)


def test_cells_without_a_known_gene_are_kept_and_reported(publish, make_corpus, draw_counts, genes):
    counts = draw_counts(25, 30)
    counts[3, :20] = 0
    folder, _ = publish(genes[:20])
    corpus = make_corpus(counts)
    corpus = replace(corpus, space=GeneSpace(tuple(genes), tuple(genes), corpus.space.columns))
    fitted = Geneformer(checkpoint=str(folder)).fit(corpus, seed=0)
    found = fitted.embed(corpus)
    assert len(found) == 25
    assert not found[3].any()
    assert found[2].any()
    assert fitted.note(corpus) == "1 of 25 cells have no gene that the model knows, and are at 0"
    assert fitted.tokens(corpus)["known"][3] == 0


def test_what_is_no_published_folder_is_said(tmp_path, cells):
    with pytest.raises(ModelError, match="there is no folder"):
        Geneformer(checkpoint=str(tmp_path / "gone")).check(cells.space)
    with pytest.raises(ModelError, match="holds no published weights"):
        Geneformer(checkpoint=str(tmp_path)).check(cells.space)


@pytest.mark.parametrize(
    ("config", "message"),
    [(None, "known are those of geneformer, scbert, scgpt, transcriptformer"), ({"model_type": "bert"}, "vocab_size")],
)
def test_the_command_ends_in_one_message_and_code_2_where_there_is_no_model(
    tmp_path, capsys, monkeypatch, config, message
):
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("sys.argv", ["corpuscle", "checkpoint", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


def test_the_command_says_what_a_folder_is(publish, genes, tmp_path):
    folder, _ = publish(genes)
    shown = CliRunner().invoke(app, ["checkpoint", str(folder)])
    assert shown.exit_code == 0, shown.output
    assert "Geneformer V1, 2 layers of width 16" in shown.output
    assert "tensors are loaded" in shown.output
    (folder.parent / "geneformer" / "gene_median_dictionary_gc30M.json").unlink()
    shown = CliRunner().invoke(app, ["checkpoint", str(folder)])
    assert shown.exit_code == 2
    assert "lacks the genes' medians" in shown.output


def test_as_published_a_target_is_embedded_once_for_all_corpora(publish, cells, genes):
    folder, _ = publish(genes)
    one, other = (
        Geneformer(checkpoint=str(folder)).fit(part, seed) for part, seed in ((cells, 0), (cells.take(np.arange(9)), 1))
    )
    assert one.embeds_as == other.embeds_as != ""
    np.testing.assert_array_equal(one.embed(cells), other.embed(cells))
    assert Geneformer(checkpoint=str(folder), layer=0).fit(cells, 0).embeds_as != one.embeds_as
    assert not Geneformer(checkpoint=str(folder), budget={"steps": 1}).fit(cells, 0).embeds_as


def test_continued_training_begins_with_the_published_weights(publish, cells, genes):
    folder, _ = publish(genes)
    whole = Geneformer(checkpoint=str(folder), budget={"steps": 3}, batch_size=8, learning_rate=1e-3)
    before, after = Geneformer(checkpoint=str(folder)).fit(cells, 0), whole.fit(cells, 0)
    assert set(after.history["quantity"]) == {"masked_nll_train", "masked_nll_validation"}
    moved = np.abs(after.embed(cells) - before.embed(cells)).max()
    assert 0 < moved < 1


def test_a_changed_file_is_another_model_and_an_unread_one_is_not(publish, genes):
    folder, _ = publish(genes)
    model = Geneformer(checkpoint=str(folder))
    before = model.identity()
    (folder / "training_args.bin").write_bytes(b"never read")
    assert model.identity() == before
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.5}))
    changed = model.identity()
    assert changed != before
    path = folder.parent / "geneformer" / "gene_median_dictionary_gc30M.json"
    path.write_text(path.read_text().replace("0.5", "0.7", 1))
    assert model.identity() != changed


def test_medians_are_those_of_numpy(make_corpus, draw_counts):
    counts = draw_counts(41, 30)
    counts[:, 4] = 0
    times = np.ones(41, int)
    times[5] = 3
    found = gene_medians(make_corpus(counts, times=times))
    scaled = np.repeat(counts / counts.sum(axis=1, keepdims=True) * 10_000, times, axis=0)
    expected = [np.median(column[column > 0]) if (column > 0).any() else np.nan for column in scaled.T]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.isnan(found[4])


def test_the_sum_and_the_mean_of_cells_are_one_cell_to_it(make_corpus, draw_counts):
    counts = draw_counts(12, 30)
    corpus = make_corpus(counts, counts * 7)
    fitted = Geneformer(budget={"steps": 0}).fit(corpus, seed=0)
    found = fitted.embed(corpus)
    np.testing.assert_array_equal(found[:12], found[12:])


def test_a_changed_dictionary_next_to_the_folder_is_another_model(publish, genes):
    folder, _ = publish(genes)
    model = Geneformer(checkpoint=str(folder))
    before = model.identity()
    path = folder.parent / "geneformer" / "gene_median_dictionary_gc30M.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | {genes[0]: 77}))
    assert model.identity() != before


def test_a_moved_folder_is_the_same_model(publish, genes):
    folder, _ = publish(genes)
    before = Geneformer(checkpoint=str(folder)).identity()
    moved = folder.parent.rename(folder.parent.with_name("moved")) / folder.name
    assert Geneformer(checkpoint=str(moved)).identity() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("vocab_size", -1), ("vocab_size", 10**30), ("num_attention_heads", 3), ("num_hidden_layers", None)],
)
def test_a_configuration_that_no_network_has_is_refused(publish, genes, name, value):
    folder, _ = publish(genes)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {name: value}))
    with pytest.raises(
        ModelError, match=r"config\.json: is no configuration of Geneformer: (\w+ should be a whole|width \(16\))"
    ):
        inspected(folder)


def test_widths_and_layers_that_do_not_fit_are_refused_before_anything_runs():
    widths = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 8}
    with pytest.raises(ValueError, match=r"width \(16\) should be a multiple of heads \(3\)"):
        Geneformer(size={**widths, "heads": 3})
    with pytest.raises(ValueError, match="layer should be from -2 to 0, of 2 layers"):
        Geneformer(size=widths, layer=-3)


def test_a_corpus_without_counts_is_refused(publish, make_corpus, genes):
    folder, _ = publish(genes)
    corpus = make_corpus(np.zeros((3, 30), np.float32))
    corpus = replace(corpus, space=GeneSpace(tuple(genes), tuple(genes), corpus.space.columns))
    with pytest.raises(ModelError, match="has no counts: 3 cells, 30 genes"):
        Geneformer(checkpoint=str(folder)).fit(corpus, seed=0)
