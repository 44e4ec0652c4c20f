"""Stands in for the command in tests of the doctor: keeps every promise at once, but for the one in SABOTAGE."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

arguments = sys.argv[1:]
sabotage = os.environ.get("SABOTAGE", "")
folder = Path(arguments[arguments.index("--into") + 1])
checkpoints = folder / "checkpoints"
checkpoints.mkdir(parents=True, exist_ok=True)
text = arguments[arguments.index("--fault") + 1] if "--fault" in arguments else ":@0"
point, action, at = re.fullmatch(r"([\w.]*):(\w*)@(\d+)(?:,rank=1)?", text).groups()
ranks = "--nproc" in arguments
total = 10**6 if "pretrain.epochs=200" in arguments else 12
asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def strike(name, step):
    if name == point and step == int(at):
        if action == "enospc":
            raise OSError(28, "No space left on device")
        if action == "kill" and ranks:
            if sabotage == "leaves a process":
                subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)", str(folder)])
            say(f"rank {0 if sabotage == 'names another' else 1} of 2 was killed by SIGKILL")
            sys.exit(1)
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGTERM)


def save(step, state):
    temporary = checkpoints / f".tmp-{step}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    final = checkpoints / f"step-{step:08d}"
    try:
        (temporary / "model.safetensors").write_text(state)
        if sabotage == "saves halves":
            final.mkdir()
            (final / "MANIFEST.json").write_text(json.dumps({"files": {"model.safetensors": {"sha256": state}}}))
            (final / "model.safetensors").touch()
        strike("checkpoint.write", step)
        (temporary / "optimizer.safetensors").write_text(state)
        files = {path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in temporary.iterdir()}
        (temporary / "MANIFEST.json").write_text(json.dumps({"files": files}))
        strike("checkpoint.before_rename", step)
    except OSError as error:
        if sabotage != "leaves halves":
            shutil.rmtree(temporary)
        say("error: the disk" if sabotage == "says little" else f"error: {final}: {error.strerror}, needs 1 MiB")
        sys.exit(2)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    for old in sorted(checkpoints.glob("step-????????"))[:-2]:
        shutil.rmtree(old)


def load():
    found = sorted(checkpoints.glob("step-????????"), reverse=True)
    for path in found:
        try:
            for name, entry in json.loads((path / "MANIFEST.json").read_text())["files"].items():
                if hashlib.sha256((path / name).read_bytes()).hexdigest() != entry["sha256"] and sabotage != "trusts":
                    raise ValueError(f"{name} has other bytes")
            step = int(path.name[5:])
            say(f"going on after step {step}")
            return step, (path / "model.safetensors").read_text()
        except (OSError, ValueError) as error:
            reason = "something" if sabotage == "names no file" else error
            say(f"warning: checkpoint {path.name} is not whole ({reason})")
            shutil.rmtree(path.with_suffix(".corrupt"), ignore_errors=True)
            path.rename(path.with_suffix(".corrupt"))
    if found and sabotage != "begins again":
        say("error: no checkpoint is whole")
        sys.exit(2)
    return 0, ""


step, state = load()
resumed = step > 0
while step < total:
    step += 1
    strike("step.start", step)
    state = hashlib.sha256(f"{state}{step}{resumed and sabotage == 'other draws'}".encode()).hexdigest()
    if asked or step % 2 == 0:
        save(step - (sabotage == "saves another" and bool(asked)), state)
    if asked:
        (folder / "status.json").write_text(json.dumps({"status": "failed" if sabotage == "lies" else "stopped"}))
        say(f"error: stopped by SIGTERM after step {step:,} of {total}")
        sys.exit(0 if sabotage == "exits with 0" else 75)
    if total > 12:
        time.sleep(0.01)
(folder / "backbone.safetensors").write_text(state)
(folder / "summary.json").write_text(json.dumps({"status": "finished"}))
