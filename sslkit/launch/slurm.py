"""Hands a run to SLURM: a job that stops in good order before its time is over, and puts itself back into the queue.

Enters: the words of the command line. Leaves: a script in the hidden folder `.slurm` of the run folder, and a submitted
job. The script takes nothing from the environment: it names this very Python, and its folders in full. Called by
`sslkit run --slurm`.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sslkit.errors import RunError
from sslkit.launch.exchange import STOPPED
from sslkit.launch.local import command_of
from sslkit.run_folder import new_folder, write_text
from sslkit.text import one_line

NOTICE_SECONDS: Final = 120
"""How long before a job's end it is told: time for a step, the end of an evaluation, a checkpoint."""

# A trapped `wait` returns at once, and is repeated until it was not interrupted. SIGTERM alone comes from scancel, or
# from a preemption after which SLURM itself puts the job back: neither asks for another start. A code above 128: the
# launcher was told before it could listen.
_SCRIPT: Final = """\
#!/bin/bash
{directives}
# Written by `sslkit run --slurm`. Submitted again with `sbatch`, it goes on with the run.
cd -- {folder} || exit 2
told= process= again=1
tell() {{ [ "$told" = USR1 ] || told=$1; again=1; [ -z "$process" ] || kill -"$1" "$process" 2>/dev/null; }}
trap 'tell USR1' USR1
trap 'tell TERM' TERM
{command} &
process=$!
[ -z "$told" ] || tell "$told"
while [ "$again" ]; do
  again=
  wait "$process"
  code=$?
done
[ "$told" != USR1 ] || [ "$code" -le 128 ] || code={stopped}
if [ "$code" -eq {stopped} ] && [ "$told" != TERM ]; then
  {scontrol} requeue "$SLURM_JOB_ID" && exit
  echo "not put back into the queue; to go on:" sbatch {script} >&2
fi
exit "$code"
"""


def submit(
    words: Sequence[str],
    *,
    name: str,
    into: Path | None,
    runs: Path,
    nodes: int = 1,
    jobs: int = 1,
    options: str = "",
) -> str:
    """Write the job's script and submit it.

    Args:
        words: Of the command line; its `--slurm` is left out in the job.
        name: Of the recipe; names the job.
        into: The run folder, new or of a run that goes on; None creates one: after a requeue it must be the same.
        runs: Where it is created.
        nodes: How many machines to ask for.
        jobs: How many times to run the command, each on machines of its own: a study, whose sweeps divide the runs.
        options: For sbatch, such as `partition=gpu gres=gpu:8 time=24:00:00`; dashes may be left out.

    Returns:
        What to tell the user.

    Raises:
        RunError: There is no sbatch, it refused the job, or the folder holds something else.
    """
    sbatch = _tool("sbatch")
    srun = _tool("srun") if nodes > 1 else None
    extra = _options(options)
    into = (into or new_folder(runs, name)).resolve()
    hidden = into / ".slurm"
    _require_run_folder(into)
    output = hidden / ("output-%j.txt" if jobs == 1 else "output-%A_%a.txt")
    directives = [
        [f"--job-name=sslkit-{name}"],
        [f"--nodes={nodes}", "--ntasks-per-node=1", *([] if jobs == 1 else [f"--array=1-{jobs}"])],
        [f"--signal=B:USR1@{NOTICE_SECONDS}", "--requeue", "--open-mode=append"],
        [f"--output={str(output.parent).replace('%', '%%')}/{output.name}"],
        extra,
    ]
    script = _SCRIPT.format(
        directives="\n".join(f"#SBATCH {shlex.join(line)}" for line in directives if line),
        folder=shlex.quote(str(Path.cwd())),
        command=_command([*_without_slurm(words), "--into", str(into)], hidden, srun),
        scontrol=shlex.quote(shutil.which("scontrol") or "scontrol"),
        script=shlex.quote(str(hidden / "job.sh")),
        stopped=STOPPED,
    )
    hidden.mkdir(parents=True, exist_ok=True)
    write_text(hidden / "job.sh", script)
    done = subprocess.run([sbatch, "--parsable", hidden / "job.sh"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(f"sbatch refused {hidden / 'job.sh'}: {one_line(done.stderr) or f'exit code {done.returncode}'}")
    job = done.stdout.strip().partition(";")[0]
    said = hidden / (f"output-{job}.txt" if jobs == 1 else f"output-{job}_*.txt")
    return f"submitted as job {job}; its folder is {into}\nwhat it says comes to {said}; scancel {job} ends it\n"


def _command(words: Sequence[str], hidden: Path, srun: str | None) -> str:
    """Return the shell command of the whole job: the launcher; on several machines, srun starts one on each."""
    command = shlex.join(command_of(words))
    if srun is None:
        return command
    meeting = f'{shlex.quote(str(hidden))}/rendezvous-"$SLURM_JOB_ID-${{SLURM_RESTART_COUNT:-0}}"'
    launcher = f'exec {command} --node-rank "$SLURM_NODEID" --rendezvous {meeting}'
    return shlex.join([srun, "--ntasks-per-node=1", "--kill-on-bad-exit=1", "/bin/bash", "-c", launcher])


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise RunError(f"--slurm: {name} is not on the PATH; submit from a machine of the cluster, or leave it out")
    return path


def _options(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise RunError(f"--slurm {text!r}: {one_line(error)}") from None
    if "\n" in text:
        raise RunError("--slurm: write the options for sbatch on one line")
    return words if text.lstrip().startswith("-") else [f"--{word}" for word in words]


def _require_run_folder(folder: Path) -> None:
    """Refuse now what the job would refuse after hours in the queue."""
    if "\n" in str(folder):
        raise RunError("--slurm: the run folder's name has a line break in it; choose another one")
    found = list(folder.iterdir()) if folder.is_dir() else []
    if any(not path.name.startswith(".") for path in found) and not any(
        (folder / name).exists() for name in ("resolved.toml", "study.json")
    ):
        raise RunError(f"{folder}: holds other files and no run; name a new or empty folder")


def _without_slurm(words: Sequence[str]) -> list[str]:
    """Return a command line without `--slurm OPTIONS`."""
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and not word.startswith("--slurm="):
            kept.append(word)
        skip = not skip and word == "--slurm"
    return [word for word in kept if word != "--slurm"]
