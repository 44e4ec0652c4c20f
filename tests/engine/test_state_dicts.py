from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sslkit import RunError
from sslkit.engine.state_dicts import load_weights


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture
def given():
    return network(0)


def prefixed(module, prefix):
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "backbone.", "encoder.", "module.backbone.", "_orig_mod.module.encoder."]
)
def test_wrappers_prefixes_are_taken_off_and_counted(tmp_path, given, prefix, caplog):
    torch.save(prefixed(given, prefix), tmp_path / "w.pth")
    fresh = network(1)
    with caplog.at_level(logging.INFO, "sslkit"):
        load_weights(fresh, tmp_path / "w.pth")
    assert equal(fresh, given)
    assert "9 of 9 tensors match" in caplog.text
    assert (repr(prefix) in caplog.text) == bool(prefix)


@pytest.mark.parametrize("table", [("state_dict",), ("model",), ("teacher",), ("checkpoint", "model_state_dict")])
def test_a_state_dict_inside_of_tables_is_found(tmp_path, given, table):
    tree = prefixed(given, "module.")
    for name in reversed(table):
        tree = {name: tree, "epoch": 3, "args": {"lr": 0.1}}
    torch.save(tree, tmp_path / "w.pt")
    fresh = network(1)
    load_weights(fresh, tmp_path / "w.pt")
    assert equal(fresh, given)


def test_safetensors_are_read_whatever_the_file_is_called(tmp_path, given):
    for name in ("w.safetensors", "w.bin"):
        save_file(prefixed(given, "encoder."), tmp_path / name)
        fresh = network(1)
        load_weights(fresh, tmp_path / name)
        assert equal(fresh, given)


def test_half_of_the_names_prefixed_is_refused(tmp_path, given):
    half = {
        ("module." if number % 2 else "") + name: tensor
        for number, (name, tensor) in enumerate(given.state_dict().items())
    }
    torch.save(half, tmp_path / "w.pth")
    fresh = network(1)
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    with pytest.raises(RunError, match=r"5 of 9 tensors match; missing: .*set it"):
        load_weights(fresh, tmp_path / "w.pth", advice="; set it")
    assert all(torch.equal(before[name], tensor) for name, tensor in fresh.state_dict().items())


def test_other_modules_beside_the_prefix_are_left_out(tmp_path, given, caplog):
    torch.save(prefixed(given, "backbone.") | {"projector.0.weight": torch.ones(2)}, tmp_path / "w.pth")
    fresh = network(1)
    with caplog.at_level(logging.INFO, "sslkit"):
        load_weights(fresh, tmp_path / "w.pth")
    assert equal(fresh, given)
    assert "1 tensors of other modules left out: projector.0.weight" in caplog.text


def test_a_classifier_that_the_module_has_not_is_refused_unless_partial_is_asked_for(tmp_path, given, caplog):
    torch.save(given.state_dict() | {"fc.weight": torch.ones(2, 2)}, tmp_path / "w.pth")
    with pytest.raises(RunError, match=r"9 of 9 tensors match; unknown: fc.weight"):
        load_weights(network(1), tmp_path / "w.pth")
    fresh = network(1)
    with caplog.at_level(logging.INFO, "sslkit"):
        load_weights(fresh, tmp_path / "w.pth", partial=True)
    assert equal(fresh, given)
    assert "left as it was: unknown: fc.weight" in caplog.text


def test_a_missing_batch_count_is_no_fault(tmp_path, given):
    kept = {name: tensor for name, tensor in given.state_dict().items() if "num_batches" not in name}
    torch.save(kept, tmp_path / "w.pth")
    fresh = network(1)
    load_weights(fresh, tmp_path / "w.pth")
    assert all(torch.equal(fresh.state_dict()[name], tensor) for name, tensor in kept.items())


def test_another_shape_is_named_with_both(tmp_path, given):
    torch.save(given.state_dict() | {"3.weight": torch.ones(7, 16)}, tmp_path / "w.pth")
    with pytest.raises(RunError, match=r"8 of 9 .* of another shape: 3.weight \(is \[7, 16\], should be \[5, 16\]\)"):
        load_weights(network(1), tmp_path / "w.pth")


def test_two_sets_that_fit_equally_well_are_refused(tmp_path, given):
    torch.save(prefixed(given, "encoder.") | prefixed(network(2), "backbone."), tmp_path / "w.pth")
    with pytest.raises(RunError, match=r"two sets of its tensors fit equally well, (encoder|backbone)\. and"):
        load_weights(network(1), tmp_path / "w.pth")


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize("content", [{"state_dict": Evil()}, Evil()])
def test_code_in_a_file_is_never_run(tmp_path, content, capsys):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(RunError, match="could run code, so it is not loaded"):
        load_weights(network(1), tmp_path / "w.pth")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04K\x01.", b"PK\x03\x04junk", b"\x08\0\0\0\0\0\0\0{}"])
def test_other_files_are_one_line(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(RunError) as caught:
        load_weights(network(1), tmp_path / "w.pth")
    assert "w.pth" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_tensors_is_one_line(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(RunError, match="holds no tensors by name"):
        load_weights(network(1), tmp_path / "w.pth")


def test_two_tables_that_fit_equally_well_are_refused_unless_they_are_the_same(tmp_path, given):
    torch.save({"student": given.state_dict(), "teacher": network(3).state_dict()}, tmp_path / "w.pth")
    with pytest.raises(RunError, match="fit equally well, student and teacher"):
        load_weights(network(1), tmp_path / "w.pth")
    torch.save({"student": given.state_dict(), "teacher": given.state_dict()}, tmp_path / "w.pth")
    fresh = network(1)
    load_weights(fresh, tmp_path / "w.pth")
    assert equal(fresh, given)


@pytest.mark.parametrize("content", [b"\x80\x02.", b"\x80\x02P.", b"\x80\x02]."])
def test_pickles_that_break_their_reader_are_one_line(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(RunError, match=r"w\.pth"):
        load_weights(network(1), tmp_path / "w.pth")
