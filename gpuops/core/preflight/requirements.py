"""What a job needs of its host."""

from __future__ import annotations

from dataclasses import dataclass

from gpuops.core.launch.choice import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What the job needs of its host. ``data_root`` is ``None`` if it needs no files.

    ``loader_workers``: the processes that read data for each worker. ``usual_port``: the port of
    the profile, if the job uses another. ``import_folder``: from which the ranks import before they
    do so from the interpreter. ``data_splits``: the splits that must have a folder with
    samples; if there are none, the trainer counts and names its splits. ``data_about`` shows how
    the files lie, ``data_built_ins`` what trains without files, ``data_imports`` whether there are
    importers.
    """

    workers: int
    loader_workers: int = 0
    master_port: int
    usual_port: int | None = None
    import_folder: str | None = None
    output_dir: str
    runs_dir: str | None = None
    memory_per_worker_bytes: int
    disk_bytes: int
    choice: Choice | None = None
    shrink: bool = False
    wait: bool = False
    keeps_batch: bool = False
    data_root: str | None = None
    data_splits: tuple[str, ...] = ()
    data_about: str = ""
    data_built_in: str | None = None
    data_built_ins: tuple[str, ...] = ()
    data_imports: bool = False
    resume: str | None = None
    resume_checkpoint: str | None = None
