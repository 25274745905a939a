"""scGPT: published folders of every form, what is refused and why, training, and fine-tuning for integration."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from corpuscle.core.components import build
from corpuscle.core.errors import ComponentError, ModelError, StudyError
from corpuscle.corpus.corpus import Corpus
from corpuscle.model.architectures.scgpt import ScGPT
from corpuscle.model.architectures.scgpt.network import ScgptNetwork, draw_mask
from corpuscle.model.architectures.scgpt.sizes import N_TOKENS, SIZES
from corpuscle.model.architectures.scgpt.weights import RENAMES
from corpuscle.model.families.inspection import inspected
from corpuscle.model.model import Model
from corpuscle.model.tokenisers.tokens import Tokens
from corpuscle.model.training.fine_tuning import FineTuning, fine_tune
from corpuscle.study.preparation import prepare
from corpuscle.study.spec import Study

GENES = [f"GENE{at}" for at in range(20)]
# What a vocabulary has besides, in an order of its own.
VOCAB = {"<eoc>": 3, "<pad>": 9, "<cls>": 14, "OTHER": 0, "ANOTHER": 22}
ARGS = {"embsize": 16, "nheads": 2, "d_hid": 8, "nlayers": 2, "n_bins": 51, "max_seq_len": 1200, "pad_value": -2,
        "mask_value": -1, "input_emb_style": "continuous", "MVC": True, "dropout": 0.2}  # fmt: skip
D = ARGS["embsize"]
DRY = {"width": 32, "layers": 2, "heads": 2, "feed_forward": 64, "dropout": 0.0}
STEPS = {"budget": {"steps": 3}, "batch_size": 8}


def vocabulary() -> dict[str, int]:
    free = iter(sorted(set(range(len(GENES) + len(VOCAB))) - set(VOCAB.values())))
    return VOCAB | {gene: next(free) for gene in reversed(GENES)}


def published_tensors() -> dict[str, torch.Tensor]:
    """A published state dict by its own names, as scGPT without flash attention has them; drawn at random."""
    norm, pair = {"weight": (D,), "bias": (D,)}, lambda n_in, n_out: {"weight": (n_out, n_in), "bias": (n_out,)}
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "encoder.embedding": {"weight": (len(vocabulary()), D)},
        "encoder.enc_norm": norm,
        "value_encoder.linear1": pair(1, D),
        "value_encoder.linear2": pair(D, D),
        "value_encoder.norm": norm,
        "decoder.fc.0": pair(D, D),
        "decoder.fc.2": pair(D, D),
        "decoder.fc.4": pair(D, 1),
        "mvc_decoder.gene2query": pair(D, D),
        "mvc_decoder.W": {"weight": (D, D)},
    }
    for layer in ("transformer_encoder.layers.0", "transformer_encoder.layers.1"):
        shapes |= {
            f"{layer}.self_attn.out_proj": pair(D, D), f"{layer}.linear1": pair(D, 8), f"{layer}.linear2": pair(8, D),
            f"{layer}.norm1": norm, f"{layer}.norm2": norm,
            f"{layer}.self_attn.in_proj": {"weight": (3 * D, D), "bias": (3 * D,)},
        }  # fmt: skip
    rng = torch.Generator().manual_seed(0)
    return {
        f"{part}{'_' if part.endswith('in_proj') else '.'}{name}": torch.randn(shape, generator=rng)
        for part, names in shapes.items()
        for name, shape in names.items()
    }


@pytest.fixture
def folder(tmp_path):
    """Write a folder as it is published: (name of the file, tensors, args, vocabulary) -> its path."""

    def write(name: str = "best_model.pt", tensors: Any = None, args: Any = None, vocab: Any = None) -> Path:
        place = tmp_path / f"published{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        tensors = published_tensors() if tensors is None else tensors
        if name.endswith(".safetensors"):
            save_file(tensors, place / name)
        elif name:
            torch.save(tensors, place / name)
        (place / "args.json").write_text(json.dumps(ARGS if args is None else args))
        (place / "vocab.json").write_text(json.dumps(vocabulary() if vocab is None else vocab))
        return place

    return write


@pytest.fixture
def make(make_corpus, draw_counts):
    """A corpus of so many cells in genes by these symbols; donors are given in turn."""

    def made(n_cells: int = 24, genes=GENES, donors=("d0", "d1", "d2"), seed: int = 0) -> Corpus:
        corpus = make_corpus(draw_counts(n_cells, len(genes), seed))
        cells = corpus.cells.assign(donor=[donors[at % len(donors)] for at in range(n_cells)])
        space = replace(corpus.space, ids=tuple(genes), symbols=tuple(genes))
        return Corpus("toy", cells, corpus.readers, space)

    return made


def model(**settings) -> ScGPT:
    return build(Model, "scgpt", settings)


def renamed(tensors: dict[str, torch.Tensor], old: str, new: str) -> dict[str, torch.Tensor]:
    return {name.replace(old, new): tensor for name, tensor in tensors.items()}


WHOLE = published_tensors()
FLAGGED = WHOLE | {"flag_encoder.weight": torch.zeros(2, D), "cls_decoder._decoder.0.weight": torch.zeros(D, D)}
FORMS = {
    "torch": ("best_model.pt", WHOLE),
    "flash-attn": ("best_model.pt", renamed(FLAGGED, "in_proj_", "Wqkv.")),
    "flash-attn in a wrapper": (
        "best_model.pt",
        renamed(renamed(WHOLE, "in_proj_", "_impl.Wqkv."), "n.out_proj", "n._impl.out_proj"),
    ),
    "data parallel": ("best_model.pt", {f"module.{name}": tensor for name, tensor in WHOLE.items()}),
    "with the optimiser's state": ("best_model.pt", {"model_state_dict": WHOLE, "epoch": 3}),
    "safetensors": ("model.safetensors", WHOLE),
    "bin": ("model.bin", WHOLE),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_published_folder_is_the_same_model(form, folder, make):
    cells = make(9)
    fitted = model(checkpoint=str(folder(*FORMS[form]))).fit(cells, 0)
    expected = model(checkpoint=str(folder())).fit(cells, 0).embed(cells)
    np.testing.assert_array_equal(fitted.embed(cells), expected)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, rtol=1e-5)
    if form == "flash-attn":
        assert "flag_encoder.weight" in fitted.facts["tensors"]
        assert "cls_decoder._decoder.0.weight" in fitted.facts["tensors"]
    assert len(fitted.facts["files"]) == 3
    assert fitted.facts["known"] == {"genes": 1.0, "counts": 1.0}


def test_a_published_model_is_the_network_of_its_tensors(folder, make):
    """The embedding is what the published layers give, written out with torch's own transformer."""
    cells = make(5)
    found = model(checkpoint=str(folder()), ties="middle").fit(cells, 0)
    tokens = found.network.tokeniser.tokens(next(iter_batches(cells)))
    t = WHOLE
    norm = lambda x, name: torch.nn.functional.layer_norm(x, (D,), t[f"{name}.weight"], t[f"{name}.bias"])  # noqa: E731
    body = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(D, 2, 8, batch_first=True), 2, enable_nested_tensor=False
    ).eval()
    prefix = "transformer_encoder."
    body.load_state_dict({name.removeprefix(prefix): part for name, part in t.items() if name.startswith(prefix)})
    for at, row in enumerate(found.embed(cells)):
        cell = tokens.part(slice(at, at + 1))
        genes = norm(t["encoder.embedding.weight"][cell.ids], "encoder.enc_norm")
        hidden = (cell.values[:, None] @ t["value_encoder.linear1.weight"].T + t["value_encoder.linear1.bias"]).relu()
        values = hidden @ t["value_encoder.linear2.weight"].T + t["value_encoder.linear2.bias"]
        with torch.no_grad():
            out = body((genes + norm(values, "value_encoder.norm"))[None])[0, 0]
        np.testing.assert_allclose(row, torch.nn.functional.normalize(out, dim=0), atol=2e-5)


def iter_batches(cells: Corpus):
    from corpuscle.model.data.batches import stream

    for _, batch in stream(cells, 1000):
        yield batch


def without(*names: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in WHOLE.items() if not name.startswith(names)}


REFUSED = {
    "attention is missing": (
        {"tensors": without("transformer_encoder.layers.1.self_attn.in_proj")},
        r"body.blocks.1.qkv.weight is missing; body.blocks.1.qkv.bias is missing",
    ),
    "an unknown tensor": ({"tensors": WHOLE | {"pos.weight": torch.zeros(3)}}, "pos.weight is no tensor"),
    "another width": ({"args": ARGS | {"embsize": 32}}, r"should have shape \[25, 32\], it has \[25, 16\]"),
    "fewer layers": ({"args": ARGS | {"nlayers": 1}}, "body.blocks.1.* is no tensor of a network of this size"),
    "another vocabulary": ({"vocab": vocabulary() | {"NEW": 25}}, "has 25 rows, and there are 26 tokens of vocab"),
    "no token of the cell": (
        {"vocab": {name.replace("<cls>", "CLS"): token for name, token in vocabulary().items()}},
        "has no token <cls>",
    ),
    "values as categories": ({"args": ARGS | {"input_emb_style": "category"}}, "only 'continuous' can be used here"),
    "no width": ({"args": {name: ARGS[name] for name in ARGS if name != "embsize"}}, "embsize should be a whole"),
    "heads that do not divide": (
        {"args": ARGS | {"nheads": 3}},
        r"args.json: gives no size of a network: width \(16\) should be a multiple of heads \(3\)$",
    ),
    "no weights": ({"name": ""}, "and lacks best_model.pt"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_with_a_folder_is_one_clear_error(what, folder, make):
    parts, message = REFUSED[what]
    with pytest.raises(ModelError, match=message):
        model(checkpoint=str(folder(**parts))).fit(make(), 0)


def test_a_vocabulary_of_other_genes_is_refused_with_the_cause(folder, make):
    place = str(folder())
    with pytest.raises(
        ModelError, match=r"only 0% of the genes .* names genes by Ensembl ids, the vocabulary by symbols"
    ):
        model(checkpoint=place).fit(make(genes=[f"ENSG{at:011}" for at in range(20)]), 0)
    with pytest.raises(ModelError, match="names differ in capitals, as those of mouse and human do"):
        model(checkpoint=place).fit(make(genes=[gene.capitalize() for gene in GENES]), 0)


KNOWN_IN_PART = """
name = "known in part"
models = [{{ name = "scgpt", checkpoint = "{folder}" }}, {{ name = "untrained", model = {{ name = "scgpt" }} }}]
sources = {{ blood = {{ path = "blood.h5ad" }}, other = {{ path = "other.h5ad" }} }}
genes = {{ space = "union", by = "symbol" }}
holdout = {{ blood = {{ by = "cell", share = 0.3 }} }}
tasks = [{{ name = "annotation", on = ["blood"] }}]
corpora = [
  {{ name = "known", parts = [{{ source = "blood", n_cells = 9 }}] }},
  {{ name = "mixed", parts = [{{ source = "blood", n_cells = 9 }}, {{ source = "other", n_cells = {n_other} }}] }},
]
"""


@pytest.mark.parametrize(("n_other", "share"), [(3, None), (12, "43%")])
def test_most_counts_unknown_is_found_when_a_study_is_checked(folder, write, tmp_path, n_other, share):
    """Of the genes, the vocabulary knows 20 of 60 either way."""
    rng, unknown = np.random.default_rng(0), [f"NEW{at}" for at in range(40)]
    for name, genes in (("blood", GENES), ("other", unknown)):
        counts = np.array([rng.permutation(np.arange(len(genes)) < 10) * 3 for _ in range(20)], np.int32)
        write(name, counts, genes=genes)
    given = Study.parse(KNOWN_IN_PART.format(folder=folder(), n_other=n_other), tmp_path)
    if share is None:
        assert prepare(given).corpora["mixed", 0].n_cells == 9 + n_other
        return
    with pytest.raises(StudyError) as caught:
        prepare(given)
    ((place, message),) = [(problem.place, problem.message) for problem in caught.value.problems]
    assert place == "models[0]"
    assert re.search(
        rf"^model 'scgpt': corpus 'mixed': .*only 33% of the genes and {share} of the counts have a token", message
    )
    assert "another model, or of other genes" in message


def test_a_folder_is_recognised_from_its_settings(folder, make, tmp_path):
    title = "scGPT, 2 layers of width 16, 25 tokens, 51 bins"
    place = folder()
    assert ScGPT.official(place).title == title
    assert ScGPT.official(tmp_path) is None
    with pytest.raises(ModelError, match=f"is {title}: another model's"):
        build(Model, "geneformer", {"checkpoint": str(place)}).check(make().space)
    seen = inspected(folder("best_model.pt", FLAGGED))
    assert (seen.model, seen.problem, seen.accounting.loaded) == ("scgpt", "", len(WHOLE))
    assert set(seen.accounting.left_out) == {"flag_encoder.weight", "cls_decoder._decoder.0.weight"}
    (place / "vocab.json").unlink()
    with pytest.raises(ModelError, match=r"and lacks vocab\.json"):
        model(checkpoint=str(place)).check(make().space)
    with pytest.raises(ModelError, match="there is no folder"):
        model(checkpoint=str(tmp_path / "gone")).check(make().space)


def test_without_decoders_it_embeds_and_they_are_drawn_to_go_on(folder, make):
    cells, place = make(), str(folder(tensors=without("mvc_decoder")))
    fitted = model(checkpoint=place).fit(cells, 0)
    assert "drawn at random; a cell's embedding does not depend on it" in fitted.facts["tensors"]
    np.testing.assert_array_equal(fitted.embed(cells), model(checkpoint=str(folder())).fit(cells, 0).embed(cells))
    assert np.isfinite(model(checkpoint=place, **STEPS).fit(cells, 0).embed(cells)).all()


def test_training_goes_on_from_published_weights(folder, make):
    cells, place = make(), str(folder())
    before = model(checkpoint=place).fit(cells, 0)
    same = model(checkpoint=place, budget={"steps": 0}).fit(cells, 0)
    after = model(checkpoint=place, **STEPS).fit(cells, 0)
    np.testing.assert_array_equal(before.embed(cells), same.embed(cells))
    assert not np.allclose(before.embed(cells), after.embed(cells))
    assert after.history["step"].max() == 3


def test_genes_that_the_vocabulary_lacks_change_nothing(folder, make):
    cells = make(9, genes=[*GENES[:18], "NEW1", "NEW2"])
    fitted = model(checkpoint=str(folder())).fit(cells, 0)
    # Of the 19 genes with a count.
    assert fitted.facts["known"]["genes"] == pytest.approx(17 / 19)
    assert fitted.network.tokeniser.token_G[-2:].tolist() == [-1, -1]
    named = {gene: vocabulary()[gene] for gene in GENES[:18]}
    assert fitted.network.tokeniser.token_G[:18].tolist() == list(named.values())


def test_the_full_size_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network = ScgptNetwork(SIZES["whole-human"], N_TOKENS, mask_share=0.4, pooling="cls")
    # 51,856,898 with a head for one cell type of 527,873; the published file has 163 tensors with that of flags.
    assert sum(parameter.numel() for parameter in network.parameters()) == 51_856_898 - 527_873
    assert len(network.state_dict()) == 163 - 1


def test_settings_that_contradict_each_other_are_refused():
    widths = {"width": 9, "layers": 1, "heads": 2, "feed_forward": 4}
    for settings, message in (
        ({"checkpoint": "a", "integration": {"batch": "donor"}}, "integration is a training"),
        ({"integration": {}, "budget": {"steps": 1}}, "batch"),
        ({"size": widths}, "multiple of heads"),
        ({"size": "whole human"}, "did you mean 'whole-human'"),
    ):
        with pytest.raises(ComponentError, match=message):
            model(**settings)


def test_published_trainings_are_data():
    published = model(budget="published", batch_size=8)
    assert published.n_steps(1000) == 6 * 113
    assert published.published.warmup == 10_000
    tuned = model(budget="published", batch_size=8, integration={"batch": "donor"})
    assert tuned.n_steps(1000) == 30 * 113
    rate = tuned._optimiser(tuned._schedule(1000)).stepping.rate_schedule
    assert (rate.decay, rate.factor, rate.epochs, rate.warmup) == ("stepwise", 0.9, 1, 0)


def test_a_share_of_each_cells_values_is_hidden():
    starts = torch.tensor([0, 11, 11, 13, 33])
    tokens = Tokens(starts, torch.arange(33), torch.arange(33.0))
    for first_too, expected in ((False, [4, 0, 0, 7]), (True, [4, 0, 0, 8])):
        hidden = torch.zeros(33)
        for seed in range(40):
            masked = draw_mask(tokens, 0.4, torch.Generator().manual_seed(seed), first_too=first_too)
            assert torch.bincount(masked.cell, minlength=4).tolist() == expected
            assert torch.equal(masked.shown.values == -1, masked.is_hidden)
            assert torch.equal(masked.value, tokens.values[masked.is_hidden])
            hidden += masked.is_hidden
        assert (hidden[[0, 11, 13]] > 0).tolist() == [first_too, False, first_too]
        assert (hidden[[*range(1, 11), *range(14, 33)]] > 0).all()


def test_a_tiny_network_learns_which_bins_are_hidden(make):
    cells = make(40)
    settings = {"budget": {"steps": 60}, "batch_size": 16, "learning_rate": 1e-2, "size": DRY, "mask_share": 0.3}
    curve = model(**settings).fit(cells, 0).history
    for name in ("bin_error_train", "cell_bin_error_train"):
        values = curve.loc[curve["quantity"] == name, "value"].to_numpy()
        assert values[-1] < 0.6 * values[0]


@pytest.fixture
def integration(make):
    """A model that was fine-tuned for integration on 24 cells of three donors."""
    return model(**STEPS, integration={"batch": "donor", "n_genes": 7}).fit(make(), 0)


def test_fine_tuned_for_integration_it_writes_the_variable_genes_with_their_zeros(integration, make):
    tokens = integration.network.tokeniser.tokens(next(iter_batches(make())))
    assert set(tokens.lengths) == {8}
    assert (integration.network.tokeniser.token_G >= 0).sum() == 7
    assert (tokens.values == 0).sum() > 24, "zeros are kept, and the cell's own token has one, too"
    assert set(integration.history["quantity"]) >= {
        f"{name}_{part}"
        for name in (
            "bin_error", "zero_error", "cell_bin_error", "cell_zero_error", "similarity_error", "batch_error",
        )
        for part in ("train", "validation")
    }  # fmt: skip


def test_an_integrated_cell_is_the_same_in_any_company_and_depends_on_its_batch(integration, make, tmp_path):
    cells = make(12, seed=1)
    found = integration.embed(cells)
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_allclose(integration.embed(cells.take(order)), found[order], atol=1e-5)
    np.testing.assert_allclose(
        np.concatenate([integration.embed(cells.take(np.array([at]))) for at in range(12)]), found, atol=1e-5
    )
    other = integration.embed(make(12, donors=("d1", "d2", "d0"), seed=1))
    assert np.abs(found - other).max() > 1e-3
    integration.save(tmp_path)
    np.testing.assert_array_equal(integration.settings.load_fitted(tmp_path).embed(cells), found)


def test_batches_that_were_not_in_training_are_refused_with_their_names(integration, make):
    with pytest.raises(ModelError, match=r"6 of 12 cells are of a donor that the model was not trained on \(new\)"):
        integration.embed(make(12, donors=("d0", "new")))
    cells = make()
    bare = Corpus("bare", cells.cells.drop(columns="donor"), cells.readers, cells.space)
    with pytest.raises(ModelError, match="has no column 'donor', which the model needs of each cell"):
        integration.embed(bare)


def test_what_was_fine_tuned_for_integration_can_be_taught_types_with_its_batches(integration, make):
    cells = make()
    cells.cells["cell_type"] = np.where(np.arange(len(cells)) % 2, "a", "b")
    way = FineTuning(weights="whole", budget={"steps": 2})
    tuned = fine_tune(integration, cells, cells.labels("cell_type"), way, seed=0)
    assert tuned.label_probabilities(cells).shape == (len(cells), 2)


def test_integration_needs_two_batches_and_a_batch_of_each_cell(make):
    tuned = model(**STEPS, integration={"batch": "donor"})
    with pytest.raises(ModelError, match="all cells have the 'donor' 'd0'; integration needs at least two"):
        tuned.fit(make(donors=("d0",)), 0)
    with pytest.raises(ModelError, match="8 of 24 cells have no 'donor', and each needs one"):
        tuned.fit(make(donors=("d0", "", "d1")), 0)
    with pytest.raises(ModelError, match="has no column 'batch'"):
        model(**STEPS, integration={"batch": "batch"}).fit(make(), 0)


def test_integration_begins_with_the_published_weights_and_draws_the_rest_by_the_seed(folder, make):
    place, cells = str(folder()), make()
    settings = {"checkpoint": place, "integration": {"batch": "donor"}, "budget": {"steps": 0}}
    one, again, other = (model(**settings).fit(cells, seed).network.state_dict() for seed in (0, 0, 1))
    for name, tensor in WHOLE.items():
        ours = one[RENAMES.our_name(name)]
        assert torch.equal(ours[tuple(slice(0, n) for n in tensor.shape)], tensor), name
    assert torch.equal(one["norms.variance"], torch.ones(3, D))
    assert all(torch.equal(one[name], again[name]) for name in one)
    differ = {name for name in one if not torch.equal(one[name], other[name])}
    new = ("batches.0", "zero_decoder", "adversary.hidden", "adversary.out", "cell_decoder.zeros")
    assert {name for name in differ if name.startswith("body")} == set()
    assert all(any(name.startswith(part) for name in differ) for part in new)


def test_integration_learns(make):
    settings = {"budget": {"steps": 40}, "batch_size": 20, "learning_rate": 1e-2, "size": DRY}
    curve = model(**settings, integration={"batch": "donor"}).fit(make(60), 0).history
    for name in ("bin_error", "cell_bin_error", "zero_error"):
        values = curve.loc[curve["quantity"] == f"{name}_train", "value"].to_numpy()
        assert values[-1] < 0.9 * values[0], name
