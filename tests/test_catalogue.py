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


def test_the_command_shows_formula_signature_and_relatives(monkeypatch, capsys):
    for name in ("huber", "regression.huber"):
        printed = run(monkeypatch, capsys, "show", name)
        assert printed.startswith("regression.huber(predictions, targets, delta=1.0, where=None")
        for part in ("\\ell(e)", "Reference:", "log_cosh"):
            assert part in printed


def test_the_command_refuses_an_unknown_name(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, "show", "hubert")
    assert "no loss is called 'hubert'" in capsys.readouterr().err
