"""The list of losses, and the command that prints it."""

import sys

import pytest

from jaxloss import __main__ as command
from jaxloss import catalogue, regression


def test_the_catalogue_finds_losses_in_the_order_they_are_written():
    names = [entry.name for entry in catalogue.entries() if entry.family == "regression"]
    assert names[:3] == ["squared", "absolute", "huber"]
    assert "residual" not in names, "what is imported is not a loss of the family"


def test_helpers_are_not_losses():
    names = {entry.name for entry in catalogue.entries()}
    assert not names & {"class_counts", "effective_number_weights", "pairwise_iou"}


def test_options_are_the_keywords_that_are_not_shared():
    assert catalogue.options(regression.huber) == ["delta"]
    assert catalogue.options(regression.squared) == []


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["jaxloss", *arguments])
    command.main()
    return capsys.readouterr().out


def test_the_command_lists_every_loss(monkeypatch, capsys):
    printed = run(monkeypatch, capsys)
    for entry in catalogue.entries():
        assert f"  {entry.name} " in printed
    assert "regression: Losses between real-valued predictions" in printed


def test_the_command_shows_formula_signature_and_relatives(monkeypatch, capsys):
    call = "regression.huber(predictions, targets, *, delta=1.0, where=None, weights=None,"
    for name in ("huber", "regression.huber"):
        printed = run(monkeypatch, capsys, "show", name)
        assert printed.startswith(f"from jaxloss import regression\n{call}")
        for part in ("\\ell(e)", "Reference:", "log_cosh", "see jaxloss.core.reducing.reduce."):
            assert part in printed
        assert max(map(len, printed.splitlines())) <= command.WIDTH


def test_the_command_shows_all_of_one_name_and_families(monkeypatch, capsys):
    printed = run(monkeypatch, capsys, "show", "regression")
    assert printed.startswith("regression: ")
    assert "  huber " in printed
    assert "evidential.regression(" in printed
    assert "focal" not in printed
    printed = run(monkeypatch, capsys, "show", "kl")
    assert printed.index("classification.kl(") < printed.index("distillation.kl(")


@pytest.mark.parametrize("name", ["training.fit", "kernels.contrastive.clip", "compose.cvar"])
def test_the_command_shows_what_is_no_loss_of_a_family(name, monkeypatch, capsys):
    assert f"\n{name}(" in run(monkeypatch, capsys, "show", name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("hubert", "no loss is called 'hubert'; perhaps 'huber'"),
        ("regression.hubert", "perhaps 'regression.huber'"),
        ("?", "no loss is called '?'; python -m jaxloss lists them all"),
        ("training._x", "no loss is called"),
    ],
)
def test_the_command_refuses_an_unknown_name(name, hint, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, "show", name)
    assert hint in capsys.readouterr().err
