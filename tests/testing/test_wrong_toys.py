"""Every check can fail: each has a toy that is wrong in that one thing, and says what was expected of whom."""

from __future__ import annotations

import pytest

from sslkit.registry.register import KINDS
from sslkit.testing import ConformanceError, plugin_checks
from sslkit.testing.listing import checks_of

# Kind -> check -> (the wrong toy, what the failure says). Of plugins the toy is a namespace.
WRONG = {
    "plugin": {
        "can be loaded": ("api_99", "should be loaded, but .* says SSLKIT_API = 99"),
        "is quiet": ("loud", "should do nothing but register, but it printed 6 characters"),
        "is found by a fresh process": ("hidden", "should be found by a fresh process, but that finds nothing"),
        "registers without torch": ("heavy", "should register without importing torch, but torch is imported"),
    },
    "component": {
        "target imports": ("nowhere", "should be imported, but .* No module named 'wrong_toys.nowhere'"),
        "lives in a file of its name": ("falling", r"should live in falling\.py, but .* wrong_toys\.schedule:falling"),
        "summary is one line": ("wordy", r"a summary of one line, .* but it is 'Two\\nlines\.'"),
        "takes no kwargs": ("component_greedy", "should name every option, but it takes .*options"),
        "positional parameters come from the engine": (
            "component_ordered",
            "nothing from the engine, but warmup is",
        ),
        "every option has a type": ("component_untyped", "should annotate every option, but warmup has no type"),
        "every option is explained": ("component_unexplained", "but warmup has no line under Args:"),
        "can be built from a recipe": ("component_unbuildable", r"learning_rate\.warmup: is required: .*options={"),
    },
    "views": {
        "makes the views that it promises": ("three", r"make num_views = 3 tensors .* \[\(6, 3, 16, 16\), \(6, 3, 16"),
        "pixels are floats between 0 and 1": ("bright", r"float32 views in \[0, 1\], but view 0 is .* to 1\.\d"),
        "draws follow from the key alone": ("neighbours", "draw from each key by itself, but its numbers differ in"),
        "images share no draws": ("alike", "draw different numbers from different keys, but all keys give the same"),
        "views of an image differ": ("twins", "view 0 and view 1 are equal for all images"),
        "takes a batch of one": ("squeezed", r"take a batch of one image, but .* \[\(3, 16, 16\)"),
        "takes images that are not square": ("elongated", r"the same size .* \[\(16, 16\), .* \[\(12, 16\)"),
        "takes grey images or refuses them": ("coloured", "or refuse them, but IndexError is raised"),
        "can be sent to workers": ("stuck", "be picklable, but "),
        "prepare and apply draw nothing": ("noisy", "apply the same to the same draws, but views differ"),
        "shapes are fixed": ("elastic", "always make the same shapes, but they are "),
        "apply looks at each image alone": ("centred", "treat each image of a batch by itself, but view 0 differs"),
        "describes every view": ("taciturn", "should describe each view"),
    },
    "backbone": {
        "feature dim is true": ("narrow", r"return \[N, feature_dim\], but it returns \[4, 8\] .* feature_dim is 4"),
        "eval mode is deterministic": (
            "forgetful",
            "the same images in eval mode, but features differ by",
        ),
        "gradients reach all parameters": ("idle", r"but 2 get no gradient: classifier\.weight, classifier\.bias"),
        "state loads into a fresh one": ("counting", "all of its state in its state dict, but a fresh one"),
        "takes channels last": ("strided", "take channels_last, but it raises view size is not compatible"),
        "takes another size or refuses it": ("widening", r"or refuse them, but .* \[2, 16\]"),
    },
    "head": {
        "out dim is true": ("narrow", r"return \[N, out_dim\], but it returns \[8, 6\] .* out_dim is 3"),
        "gradients reach all parameters": ("idle", r"classifier\.weight, classifier\.bias get no gradient"),
        "takes one image in eval mode": ("batched", "alone as in a batch, in eval mode, but it refuses"),
        "state loads into a fresh one": ("counting", "all of its state in its state dict, but a fresh one"),
    },
    "objective": {
        "loss is a finite scalar": ("rowwise", r"return a finite scalar, but .* of shape \[12\]"),
        "gradient is finite and not zero": ("detached", "a gradient that is not zero, but that of all projections is"),
        "agreeing views lower it": ("repelling", "be lower where the views of an image agree"),
        "order of the batch does not matter": ("placed", "not depend on the order of the images in the batch"),
        "precision is kept inside autocast": ("halved", "compute in float32, but the loss"),
        "one image is right or refused": ("spread", "or refuse it, but loss or gradient is not finite"),
        "state loads into a fresh one": ("counting", "a fresh one with the same state dict has the loss"),
        "two processes equal one": (
            "local",
            "on two processes as on one, but the loss of step 1 .* on rank 0",
        ),
        "state is the same on all ranks": ("ranked", r"after 3 steps objective\.memory differs between rank 0 and"),
    },
    "method": {
        "trains through the engine": ("still", "change its weights in three steps, but all are as they were"),
        "every parameter learns": ("idle", r"2 get none: classifier\.weight, classifier\.bias"),
        "embed can be repeated": ("stirring", "change nothing in embed .* but centre has changed"),
        "micro batches equal the whole batch": ("comparing", "the same gradient in micro-batches as in one, but the"),
        "two processes equal one": ("local", "on two processes as on one, but the loss of step 1"),
        "state is the same on all ranks": ("ranked", "after 3 steps centre differs between rank 0 and rank 1"),
        "resumed equals uninterrupted": ("growing", "go on from its own checkpoint, but that is refused: .*seen"),
        "keeps its state in its state dict": ("counting", "a fresh one with the same state dict has the loss"),
        "backbone can be kept": ("wrapped", "a fresh component can take over, but that fails: .* missing: layers"),
        "a step in bf16 is finite": ("mixing", 'train with precision = "bf16", but RuntimeError: .*BFloat16'),
    },
    "optimizer": {
        "lowers a quadratic": ("ascent", "lower a sum of squared distances, but it goes from"),
        "obeys the rate of each group": ("steady", "parameters alone whose group has the rate 0, but they move"),
        "obeys the weight decay of each group": ("undecayed", "the same with and without"),
        "leaves out what has no gradient": ("restless", "that has no gradient, but it has moved"),
        "state survives a checkpoint": ("counting", "go on as before once its state is loaded, but weight differs"),
    },
    "schedule": {
        "is finite and not negative": ("falling", r"a finite factor from 0 on, but it returns -0\.\d* for step"),
        "is a pure function of progress": ("counting", "depend on the progress alone, but for step"),
    },
    "data": {
        "has a split": ("empty", "in every split that is there, but pretrain has 0"),
        "items are an image and a label": ("arrays", r"item 0 of pretrain is ndarray uint8 \[3, 24, 24\]"),
        "labels are in range": ("beyond", "labels below num_classes = 3, but item 3 of pretrain has 3"),
        "labels agree with items": ("shifted", r"item 0 of pretrain has 1, and labels\[0\] is"),
        "table agrees with items": ("repainted", "in table.name. as in the item, but item 0 of pretrain differs"),
        "can be sent to workers": ("stuck", "splits that can be pickled, but pretrain cannot"),
        "opened again it is the same": ("changing", "the same fingerprint whenever it is opened, but that of pretrain"),
        "an unknown split is absent": ("boundless", "raise sslkit.AbsentError .* but it returns one"),
    },
    "evaluation": {
        "returns an outcome": ("nameless", 'the headline is "accuracy", the metrics are top1'),
        "metrics are finite floats": ("tensors", r"metrics that are finite floats, but top1 is tensor\("),
        "outcome can be written": ("lists", "predictions that are numpy arrays .* but predicted is list"),
        "gives the same metrics twice": ("dice", "find the same metrics twice, but they are"),
        "leaves the weights alone": ("training", "leave weights and buffers as they are, but they have changed"),
    },
    "exporter": {
        "returns what it wrote": ("absent", r"return files that exist, but .*model\.bin does not"),
        "writes into its folder": ("elsewhere", r"the folder that it is given, but .*names\.txt lies elsewhere"),
        "leaves the weights alone": ("changing", "leave weights and buffers as they are, but they have changed"),
    },
    "callback": {
        "hooks exist": ("misspelt", 'hooks that exist, but .*sslkit_step_ends.* did you mean "sslkit_step_end"'),
        "survives a run": ("raising", "survive a small run, but it ends with ValueError: no room on the board"),
        "does not change the training": ("meddling", "leave the training as it is, but .* differs from that of a run"),
        "state survives a checkpoint": ("forgetful", "the state that it was given, but a fresh one has another"),
    },
}
ROWS = [(kind, title, *row) for kind, rows in WRONG.items() for title, row in rows.items()]


@pytest.fixture(scope="module")
def wrong(toys):
    return {str(check): check for check in plugin_checks("wrong")}


@pytest.mark.parametrize("kind", [*KINDS, "plugin", "component"])
def test_every_check_has_its_wrong_toy(kind):
    assert list(WRONG[kind]) == list(checks_of(kind))


@pytest.mark.parametrize(("kind", "title", "toy", "text"), ROWS, ids=[f"{kind}: {title}" for kind, title, *_ in ROWS])
def test_a_check_fails_on_its_wrong_toy(wrong, kind, title, toy, text):
    if kind == "plugin":
        checks = {str(check): check for check in plugin_checks(toy)}
        name = f"plugin {toy}: {title}"
    else:
        checks, name = wrong, f"{'schedule' if kind == 'component' else kind} {toy}: {title}"
    with pytest.raises(ConformanceError, match=text) as caught:
        checks[name]()
    assert "\n" not in str(caught.value)
    assert toy in str(caught.value)
