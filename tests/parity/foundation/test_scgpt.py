"""scGPT's network is the published code's: outputs, six losses, gradients and statistics on random weights.

The numbers are outputs of bowang-lab/scGPT (MIT) at commit cebd6fa, with weights drawn at random.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from corpuscle.model.architectures.scgpt.integration import Integration, IntegrationNetwork, similarity_errors
from corpuscle.model.architectures.scgpt.network import Masked, ScgptNetwork
from corpuscle.model.architectures.scgpt.sizes import MASKED, Size
from corpuscle.model.architectures.scgpt.weights import RENAMES
from corpuscle.model.foreign.accounting import Renames, load_renamed
from corpuscle.model.nn.token_network import first_of_cells
from corpuscle.model.tokenisers.tokens import Tokens

PAD = 6
SIZE = Size(width=16, layers=2, heads=2, feed_forward=16, dropout=0.0)
USE = {"mask_share": 0.4, "pooling": "cls"}
PAIR = r"(weight|bias)"
# What a fine-tuned network has besides; published code writes it, and nothing here reads it but this test.
FINE_TUNED = Renames(
    names={
        **RENAMES.names,
        rf"decoder\.zero_logit\.(\d)\.{PAIR}": r"zero_decoder.\1.\2",
        rf"mvc_decoder\.W_zero_logit\.{PAIR}": r"cell_decoder.zeros.\1",
        r"batch_encoder\.embedding\.weight": "batches.0.weight",
        rf"batch_encoder\.enc_norm\.{PAIR}": r"batches.1.\1",
        r"dsbn\.bns\.(\d)\.running_mean": r"norms.mean[\1/2]",
        r"dsbn\.bns\.(\d)\.running_var": r"norms.variance[\1/2]",
        rf"grad_reverse_discriminator\._decoder\.(\d)\.{PAIR}": r"adversary.hidden.\1.\2",
        rf"grad_reverse_discriminator\.out_layer\.{PAIR}": r"adversary.out.\1",
    },
    left_out={r"cls_decoder\..*": "of another test", r"dsbn\.bns\.\d\.num_batches_tracked": "counts steps"},
)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(Path(__file__).parent / "scgpt_tiny.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def weights(golden: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """The tensors of one network; statistics of batch norms are rows, so that they are parts of ours."""
    found = {name.removeprefix(prefix): part for name, part in golden.items() if name.startswith(prefix)}
    return {name: part[None] if "running" in name else part for name, part in found.items()}


def packed(ids_BL: Tensor, values_BL: Tensor) -> Tokens:
    """Cells without padding."""
    kept = ids_BL != PAD
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), kept.sum(1).cumsum(0)])
    return Tokens(starts, ids_BL[kept], values_BL[kept])


def with_padding(ids_BL: Tensor, values_BL: Tensor, batch: int) -> Tokens:
    """Cells without padding, and behind them one of all the padding, which published norms see, but no attention."""
    tokens, is_pad = packed(ids_BL, values_BL), ids_BL == PAD
    starts = torch.cat([tokens.starts, tokens.starts[-1:] + is_pad.sum()])
    batch_BC = torch.zeros(len(starts) - 1, 2)
    batch_BC[:, batch] = 1.0
    ids, values = torch.cat([tokens.ids, ids_BL[is_pad]]), torch.cat([tokens.values, values_BL[is_pad]])
    return Tokens(starts, ids, values, batch_BC)


def close(found: Tensor, expected: Tensor, **tolerance: float) -> None:
    np.testing.assert_allclose(
        found.detach().numpy(), expected.numpy(), **{"rtol": 1e-5, "atol": 1e-5} | tolerance
    )  # fmt: skip


def test_the_network_is_the_published_one(golden):
    with torch.device("meta"):
        network = ScgptNetwork(SIZE, 9, **USE)
    found = load_renamed(network, weights(golden, "base_sd/"), RENAMES, "golden")
    assert not found.drawn
    assert set(found.left_out.values()) == {"a head for the cell types of another corpus"}
    kept, tokens = golden["src"] != PAD, packed(golden["src"], golden["val"])
    genes_TD, hidden_TD = network.body(tokens, None)
    cell_BD = first_of_cells(hidden_TD, tokens)
    close(hidden_TD, golden["base/encoded"][kept])
    close(cell_BD, golden["base/cell_emb"])
    close(network.decoder(hidden_TD)[:, 0], golden["base/mlm_output"][kept])
    close(network.cell_decoder(genes_TD, cell_BD, tokens.cell_T)[0], golden["base/mvc_output"][kept])
    close(similarity_errors(cell_BD).mean(), golden["base/loss_ecs"])
    close(network.pooled(tokens, None), torch.nn.functional.normalize(golden["base/cell_emb"], dim=1))


@pytest.fixture
def fine_tuned(golden) -> IntegrationNetwork:
    with torch.device("meta"):
        network = IntegrationNetwork(SIZE, 9, 2, Integration(batch="donor"), **USE)
    assert not load_renamed(network, weights(golden, "int_sd_before/"), FINE_TUNED, "golden").drawn
    return network.train()


def losses(network: IntegrationNetwork, golden: dict[str, Any]) -> tuple[Any, Tensor]:
    """Return the six losses of the published minibatch, of one batch, and their weighted sum."""
    ids_BL, shown_BL, target_BL = golden["src"], golden["int_input"], golden["int_target"]
    seen = with_padding(ids_BL, shown_BL, 0)
    encoded = network.encoded(seen, None)
    cells = slice(0, len(ids_BL))
    tokens = with_padding(ids_BL, target_BL, 0).part(cells)
    n_tokens = len(tokens.ids)
    is_hidden = seen.values[:n_tokens] == MASKED
    masked = Masked.of(tokens, is_hidden)
    errors = network.errors(masked, type(encoded)(*(part[:n_tokens] for part in encoded)))
    return errors, network.weighted(errors)


def test_the_six_losses_are_the_published_ones(golden, fine_tuned):
    errors, whole = losses(fine_tuned, golden)
    expected = {
        "bin_error": "mse", "zero_error": "nzlp", "cell_bin_error": "mvc", "cell_zero_error": "mvc_nzlp",
        "similarity_error": "ecs10", "batch_error": "dab",
    }  # fmt: skip
    for ours, theirs in expected.items():
        weight = 10 if theirs == "ecs10" else 1
        close(weight * getattr(errors, ours).mean(), golden[f"int/loss_{theirs}"], rtol=1e-6, atol=0)
    assert float(whole.detach()) == pytest.approx(3881.7041, rel=1e-6)


def test_gradients_and_statistics_are_the_published_ones(golden, fine_tuned):
    losses(fine_tuned, golden)[1].backward()
    # Padding is in the norms' statistics, yet its own row is not trained.
    close(fine_tuned.body.genes.weight.grad[:PAD], golden["int_grad/encoder.embedding.weight"][:PAD], rtol=1e-4)
    parts = {
        "grad_reverse_discriminator.out_layer.weight": fine_tuned.adversary.out.weight,
        "grad_reverse_discriminator._decoder.0.weight": fine_tuned.adversary.hidden[0].weight,
        "transformer_encoder.layers.1.linear2.weight": fine_tuned.body.blocks[1].down.weight,
    }
    for name, weight in parts.items():
        close(weight.grad, golden[f"int_grad/{name}"], rtol=1e-4)
    close(fine_tuned.norms.mean[0], golden["int/bn0_running_mean_after"])
    close(fine_tuned.norms.variance[0], golden["int/bn0_running_var_after"])
    assert torch.equal(fine_tuned.norms.mean[1], torch.zeros(16))


def test_in_evaluation_the_statistics_of_the_cells_batch_are_used(golden, fine_tuned):
    fine_tuned.eval()
    hidden_TD = fine_tuned.encoded(with_padding(golden["src"], golden["val"], 1), None).hidden
    kept = golden["src"] != PAD
    close(hidden_TD[: int(kept.sum())], golden["int/eval_encoded_batch1"][kept])


def test_a_cell_of_one_batch_is_normalised_the_same_in_mixed_company(golden, fine_tuned):
    ids, shown = golden["src"], golden["int_input"]
    parts = [with_padding(ids, shown, batch) for batch in (0, 1)]
    alone = [fine_tuned.encoded(part, None).hidden for part in parts]
    means = fine_tuned.norms.mean.clone()
    fine_tuned.norms.mean.zero_()
    # Cells of the two batches in turn.
    cells = [part.part(slice(at, at + 1)) for at in range(len(ids) + 1) for part in parts]
    mixed = Tokens(
        torch.tensor([0, *np.cumsum([len(cell.ids) for cell in cells]).tolist()]),
        torch.cat([cell.ids for cell in cells]),
        torch.cat([cell.values for cell in cells]),
        torch.cat([cell.covariates for cell in cells]),
    )
    hidden = torch.split(fine_tuned.encoded(mixed, None).hidden, mixed.lengths)
    for batch in (0, 1):
        close(torch.cat(hidden[batch::2]), alone[batch].detach())
    close(fine_tuned.norms.mean, means)
