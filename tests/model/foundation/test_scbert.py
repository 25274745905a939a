"""scBERT: how cells are written, its folders of published weights, and its training."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from corpuscle.core.errors import ModelError
from corpuscle.model.architectures.scbert import ScBERT
from corpuscle.model.architectures.scbert.network import HIDDEN, Network
from corpuscle.model.architectures.scbert.sizes import SIZES, Size
from corpuscle.model.data.batches import CountTable
from corpuscle.model.families.inspection import inspected
from corpuscle.model.tokenisers.expression_levels import ExpressionLevels
from corpuscle.model.training.fine_tuning import FineTuning, fine_tune

SMALL = {"width": 12, "layers": 2, "heads": 2, "head": 8}
GENES = [f"G{at}" for at in range(30)]
# The folder's own order, in which some of the study's genes are missing and others are new.
LISTED = [*GENES[:3:-1], "OTHER1", "OTHER2"]


def levels_of(token_G, n_listed, counts):
    batch = CountTable(csr_matrix(np.asarray(counts, np.float32))).batch(slice(None))
    return ExpressionLevels(np.asarray(token_G), n_listed).tokens(batch).ids.reshape(-1, n_listed + 1).tolist()


def test_levels_are_those_of_the_published_tokeniser():
    found = levels_of(np.arange(6), 6, [[0, 1, 2, 5, 30, 962], [0, 1, 1, 2, 5, 19991], [0] * 6])
    assert found == [[0, 3, 4, 5, 5, 5, 0], [0, 0, 0, 1, 1, 5, 0], [0] * 7]


def test_what_is_exactly_at_a_levels_edge_reaches_it():
    # Of 10,000 counts, 1, 3, 7, 15 and 31 are log2(1 + x) = 1, 2, 3, 4 and 5.
    assert levels_of(np.arange(6), 6, [[1, 3, 7, 15, 31, 9943]]) == [[1, 2, 3, 4, 5, 5, 0]]
    assert levels_of(np.arange(6), 6, [[2, 6, 14, 30, 62, 19887]]) == [[0, 1, 2, 3, 4, 5, 0]]


def test_counts_per_ten_thousand_are_of_the_listed_genes_and_by_name():
    # The third gene is not listed; the fourth and fifth are one gene.
    assert levels_of([2, 0, -1, 1, 1], 3, [[4, 9995, 70000, 1, 0]]) == [[5, 1, 2, 0]]


def published_tensors(network):
    """Name a network's weights as the published file does."""
    whole = {"level.weight": "token_emb.weight", "positions": "pos_emb.emb.weight", "norm.weight": "norm.weight",
             "norm.bias": "norm.bias", "head.weight": "to_out.weight", "head.bias": "to_out.bias",
             "since_redraw": "performer.calls_since_last_redraw"}  # fmt: skip
    parts = {"norm_attention": "0.norm", "query": "0.fn.to_q", "key": "0.fn.to_k", "value": "0.fn.to_v",
             "out": "0.fn.to_out", "norm": "1.norm", "up": "1.fn.fn.w1", "down": "1.fn.fn.w2"}  # fmt: skip
    found = {}
    for name, tensor in network.state_dict().items():
        match name.split("."):
            case ["layers", layer, "projection"]:
                theirs = f"performer.net.layers.{layer}.0.fn.fast_attention.projection_matrix"
            case ["layers", layer, part, kind]:
                theirs = f"performer.net.layers.{layer}.{parts[part]}.{kind}"
            case _:
                theirs = whole[name]
        found[theirs] = tensor.double() if theirs == "pos_emb.emb.weight" else tensor.clone()
    return found


@pytest.fixture
def folder(tmp_path):
    """A folder as the published one, of a small network with random weights, and the network."""
    made = tmp_path / "scbert"
    made.mkdir()
    network = Network(Size(**SMALL), len(LISTED) + 1, given_positions=True)
    ScBERT(budget={"steps": 1}).initialise(network, torch.Generator().manual_seed(0))
    network.since_redraw += 7
    # As the published file is: with what was logged, numbers of numpy.
    save = {"epoch": 3, "model_state_dict": published_tensors(network), "losses": np.float64(0.5)}
    torch.save(save, made / "panglao_pretrain.pth")
    (made / "genes.txt").write_text("\n".join(LISTED))
    return made, network.eval()


@pytest.fixture
def cells(make):
    return make(8)


def expected_of(network, cells):
    token_G = [LISTED.index(gene) if gene in LISTED else -1 for gene in cells.space.ids]
    network.tokeniser = ExpressionLevels(np.array(token_G), len(LISTED))
    return network.embed(CountTable.of(cells).batch(slice(None))).numpy()


def test_a_published_folder_answers_as_its_network(folder, cells, tmp_path):
    place, network = folder
    fitted = ScBERT(checkpoint=str(place)).fit(cells, 0)
    np.testing.assert_allclose(fitted.embed(cells), expected_of(network, cells), atol=1e-6)
    assert inspected(place).problem == ""
    assert ScBERT.official(place).title == "scBERT, 2 layers of width 12, 28 genes"
    assert fitted.facts["tensors"] == f"{len(network.state_dict())} tensors are loaded"
    assert set(fitted.facts["files"]) == {"panglao_pretrain.pth", "genes.txt"}
    assert fitted.network.since_redraw == 7
    expressed = ScBERT(checkpoint=str(place), pooling="expressed").fit(cells, 0)
    network.expressed_only = True
    np.testing.assert_allclose(expressed.embed(cells), expected_of(network, cells), atol=1e-6)
    (tmp_path / "kept").mkdir()
    fitted.save(tmp_path / "kept")
    kept = ScBERT(checkpoint="gone").load_fitted(tmp_path / "kept")
    np.testing.assert_array_equal(kept.embed(cells), fitted.embed(cells))


@pytest.mark.parametrize("layout", ["bare", "prefix", "not zipped", "safetensors", "no count of batches"])
def test_all_layouts_of_the_weights_are_the_same_model(folder, cells, layout):
    place, network = folder
    path = place / "panglao_pretrain.pth"
    tensors = published_tensors(network)
    match layout:
        case "bare":
            torch.save(tensors, path)
        case "prefix":
            torch.save({"model_state_dict": {f"module.{name}": each for name, each in tensors.items()}}, path)
        case "not zipped":
            torch.save({"model_state_dict": tensors}, path, _use_new_zipfile_serialization=False)
        case "safetensors":
            from safetensors.torch import save_file

            path.unlink()
            save_file(tensors, place / "weights.safetensors")
        case "no count of batches":
            del tensors["performer.calls_since_last_redraw"]
            torch.save(tensors, path)
    found = ScBERT(checkpoint=str(place)).fit(cells, 0).embed(cells)
    np.testing.assert_allclose(found, expected_of(network, cells), atol=1e-6)


@pytest.mark.parametrize("form", ["json", "h5ad"])
def test_the_list_of_genes_may_be_in_any_form(folder, cells, form):
    place, network = folder
    (place / "genes.txt").unlink()
    if form == "json":
        (place / "order.json").write_text(json.dumps(LISTED))
    else:
        var = pd.DataFrame(index=LISTED)
        anndata.AnnData(csr_matrix((2, len(LISTED)), dtype=np.float32), var=var).write_h5ad(place / "panglao.h5ad")
    # Another list, of another model, is no reason to stop.
    (place / "others.txt").write_text("A\nB")
    found = ScBERT(checkpoint=str(place)).fit(cells, 0).embed(cells)
    np.testing.assert_allclose(found, expected_of(network, cells), atol=1e-6)


def test_a_file_of_a_classifier_answers_without_its_head(folder, cells):
    place, network = folder
    tensors = {name: each for name, each in published_tensors(network).items() if not name.startswith("to_out")}
    torch.save(tensors | {"to_out.conv1.weight": torch.zeros(1, 1, 1, 12), "to_out.fc3.bias": torch.zeros(3)},
               place / "panglao_pretrain.pth")  # fmt: skip
    seen = inspected(place)
    assert set(seen.accounting.left_out) == {"to_out.conv1.weight", "to_out.fc3.bias"}
    assert set(seen.accounting.drawn) == {"head.weight", "head.bias"}
    found = ScBERT(checkpoint=str(place), budget={"steps": 1}).fit(cells, 0)
    assert np.isfinite(found.embed(cells)).all()


class Evil:
    def __reduce__(self):
        return eval, ("1 + 1",)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no list", "lacks the list of its 28 genes, in its order, next to the weights: panglao_10000.h5ad"),
        ("a list too short", "lacks the list of its 28 genes"),
        ("two lists", "genes.txt and other.txt list other genes; leave one of them"),
        ("a gene twice", "lists G29 twice"),
        ("a tensor is missing", "layers.1.out.bias is missing"),
        ("a tensor too many", "decoder.weight is no tensor of this model"),
        ("another width", r"layers.0.up.weight should have shape \[48, 12\], it has \[48, 11\]"),
        ("heads longer than all", r"no network has this size: heads should be greater than 0 \(it is 0\)$"),
        ("code", "would have code executed"),
        ("two files of weights", "holds no published weights"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_clear_error(folder, cells, what, message):
    place, network = folder
    tensors = published_tensors(network)
    match what:
        case "no list":
            (place / "genes.txt").unlink()
        case "a list too short":
            (place / "genes.txt").write_text("\n".join(LISTED[:-1]))
        case "two lists":
            (place / "other.txt").write_text("\n".join(LISTED[::-1]))
        case "a gene twice":
            (place / "genes.txt").write_text("\n".join([*LISTED[:-1], LISTED[0]]))
        case "a tensor is missing":
            del tensors["performer.net.layers.1.0.fn.to_out.bias"]
        case "a tensor too many":
            tensors["decoder.weight"] = torch.zeros(2)
        case "another width":
            name = "performer.net.layers.0.1.fn.fn.w1.weight"
            tensors[name] = tensors[name][:, :-1].clone()
        case "heads longer than all":
            tensors["performer.net.layers.0.0.fn.fast_attention.projection_matrix"] = torch.zeros(8, 1000)
        case "code":
            tensors["x"] = Evil()
        case "two files of weights":
            torch.save(tensors, place / "other.pth")
    torch.save({"model_state_dict": tensors}, place / "panglao_pretrain.pth")
    with pytest.raises(ModelError, match=message):
        ScBERT(checkpoint=str(place)).fit(cells, 0)


def test_ids_where_symbols_are_needed_are_refused(folder, make):
    with pytest.raises(ModelError, match="the study names genes by Ensembl ids, the vocabulary by symbols"):
        ScBERT(checkpoint=str(folder[0])).fit(make(8, genes=[f"ENSG{at:011}" for at in range(30)]), 0)


def test_levels_above_0_are_hidden_as_published(make):
    network = ScBERT(budget={"steps": 0}).fit(make(6), 0).network
    ids = torch.zeros(200 * 31, dtype=torch.int64).reshape(200, 31)
    ids[:, :21] = 3
    ids[:100, 20] = 0
    from corpuscle.model.tokenisers.tokens import Tokens

    tokens = Tokens(torch.arange(201) * 31, ids.ravel(), torch.zeros(200 * 31))
    place, is_hidden = network.chosen(tokens, torch.Generator().manual_seed(0))
    cell, position = place // 31, place % 31
    # 15 % of 20 are 3; of 21, rounded up, 4.
    assert torch.bincount(cell).tolist() == [3] * 100 + [4] * 100
    assert (tokens.ids[place] > 0).all()
    assert len(set(place.tolist())) == 700
    assert set(position.tolist()) == set(range(21))
    assert float(is_hidden.float().mean()) == pytest.approx(0.9, abs=0.04)
    assert HIDDEN == 6


def test_features_are_drawn_anew_as_often_as_asked(make):
    cells = make(20)
    given = {"budget": {"steps": 3}, "size": SMALL, "batch_size": 8, "validation_share": 0.0}

    def projection(redraw):
        fitted = ScBERT(**given, redraw=redraw).fit(cells, 0)
        return fitted.network.layers[0].projection.clone(), int(fitted.network.since_redraw)

    never, at_end, often = projection(0), projection(3), projection(2)
    assert torch.equal(never[0], at_end[0])
    assert not torch.equal(never[0], often[0])
    assert (never[1], at_end[1], often[1]) == (0, 3, 1)
    assert torch.equal(projection(2)[0], often[0])


def test_a_published_training_goes_on_and_leaves_the_given_positions(folder, cells):
    place, network = folder
    model = ScBERT(checkpoint=str(place), budget={"steps": 2}, batch_size=4)
    after = model.fit(cells, 0)
    assert torch.equal(after.network.positions, network.positions)
    assert not np.allclose(after.embed(cells), expected_of(network, cells))
    assert model.memory(30) > 0


def test_it_learns_levels_from_their_company(make):
    rng = np.random.default_rng(0)
    counts = np.zeros((32, 30), np.int32)
    # Each cell has all its genes at one of two levels, which one hidden gene tells from the others.
    high = rng.random(32) < 0.5
    counts[high, :8], counts[~high, :20] = 40, 40
    counts[:, 29] = np.where(high, 8680, 40000)
    model = ScBERT(budget={"steps": 14}, learning_rate=1e-2, batch_size=32, validation_share=0.0, warmup="capped")
    history = model.fit(make(counts), 0).history
    of = history[history["quantity"] == "level_cross_entropy_train"]["value"].to_numpy()
    assert of[0] > 1.2
    # Without a look at the cell, the levels that there are leave 0.66 nats.
    assert of[-1] < 0.3


def test_from_scratch_what_tells_genes_apart_begins_small(make):
    fitted = ScBERT(budget={"steps": 0}).fit(make(np.eye(300, dtype=np.float32)), 0)
    assert float(fitted.network.positions.detach().std()) == pytest.approx(0.1, rel=0.05)


def test_the_published_size_has_the_published_numbers_of_weights():
    with torch.device("meta"):
        network = Network(SIZES["panglao"], 16907, given_positions=True)
    assert sum(weight.numel() for weight in network.parameters()) == 5_007_207
    assert network.positions.numel() == 3_381_400
    assert sum(layer.projection.numel() for layer in network.layers) == 102_144


def test_when_only_the_last_block_learns_so_does_the_norm_behind_it(make):
    cells = make(12)
    fitted = ScBERT(budget={"steps": 0}, size=SMALL).fit(cells, 0)
    settings = FineTuning(weights="last", learning_rate=1e-2, budget={"steps": 2}, validation_share=0.0)
    tuned = fine_tune(fitted, cells, np.array(["a", "b"] * 6), settings, 0)
    after = tuned._learner.network.module.state_dict()
    moved = {name for name, tensor in fitted.network.state_dict().items() if not torch.equal(tensor, after[name])}
    assert {name.split(".")[1] for name in moved if name.startswith("layers")} == {"1"}
    assert {name for name in moved if not name.startswith("layers")} == {"norm.weight", "norm.bias"}


def test_lists_of_other_things_next_to_the_weights_are_not_read(folder, cells):
    place, network = folder
    (place / "a table.csv").write_text("\n".join(LISTED[::-1]) + "\n" * 10_000_000)
    found = ScBERT(checkpoint=str(place)).fit(cells, 0).embed(cells)
    np.testing.assert_allclose(found, expected_of(network, cells), atol=1e-6)
