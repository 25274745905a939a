"""What foundation models can do, each with the test that shows it: the table in docs/foundation.md is made of this."""

import ast
from pathlib import Path

from corpuscle.core import components
from corpuscle.model.families.foundation import FoundationModel
from corpuscle.model.model import Model

ROOT = Path(__file__).parents[2]
HERE, OWN = "tests/contracts/test_foundation.py", "tests/model/foundation/test_{name}.py"
TRAINS = "tests/model/foundation/test_training.py"
# What a model may be able to do, and the function that tests it; {name} is the model's.
ABILITIES = {
    "from scratch": (HERE, "test_it_is_trained_from_scratch"),
    "official weights": (OWN, None),
    "continued": (OWN, None),
    "fine-tuned, frozen": (HERE, "test_it_is_taught_types"),
    "fine-tuned, last blocks": (HERE, "test_it_is_taught_types"),
    "fine-tuned, whole": (HERE, "test_it_is_taught_types"),
    "integration, own": (OWN, None),
    "integration, adversary": (HERE, "test_an_adversary_is_trained_against"),
    "bf16 on a CPU": (HERE, "test_it_is_trained_and_embeds_in_16_bits"),
    "GPU": (HERE, "test_on_a_gpu_it_embeds_as_on_a_cpu"),
}
# The tests of what each model does in its own way.
OWN_TESTS = {
    ("geneformer", "official weights"): "test_a_published_folder_answers_as_its_network",
    ("geneformer", "continued"): "test_continued_training_begins_with_the_published_weights",
    ("scgpt", "official weights"): "test_every_form_of_a_published_folder_is_the_same_model",
    ("scgpt", "continued"): "test_training_goes_on_from_published_weights",
    ("scgpt", "integration, own"): "test_integration_learns",
    ("scbert", "official weights"): "test_a_published_folder_answers_as_its_network",
    ("scbert", "continued"): "test_a_published_training_goes_on_and_leaves_the_given_positions",
    ("transcriptformer", "official weights"): "test_a_published_folder_answers_as_its_weights_do",
    ("transcriptformer", "continued"): "test_a_published_training_goes_on_and_leaves_the_given_vectors",
}


def foundation_models() -> list[str]:
    """The built-in foundation models."""
    return [name for name in components.names(Model) if issubclass(components.find(Model, name), FoundationModel)]


def proof(name: str, ability: str) -> tuple[str, str] | None:
    """The file and function that shows that a model can do something; None where nothing does."""
    file, function = ABILITIES[ability]
    function = OWN_TESTS.get((name, ability)) if function is None else function
    return (file.format(name=name), function) if function else None


def functions(file: str) -> set[str]:
    """The functions that a file of tests has."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def table() -> str:
    """The table of what each model can do, as the documentation has it."""
    names = foundation_models()
    lines = ["| | " + " | ".join(f"`{name}`" for name in names) + " |", "|---|" + "---|" * len(names)]
    for ability in ABILITIES:
        done = "a test waits for one" if ability.startswith("GPU") else "yes"
        marks = (done if proof(name, ability) else "–" for name in names)
        lines.append(f"| {ability} | " + " | ".join(marks) + " |")
    return "\n".join(lines)
